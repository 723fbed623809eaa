"""What goes from night to night: hops told again as the fewest events that fold to the same hops."""

import polars as pl

from hoptrace.schemas.events import EVENTS
from hoptrace.transforms.assemble import QUEUED
from hoptrace.transforms.verdicts import SAID

C = pl.col
REFUSED = {
    "rejected": "reject",
    "turned_away": "tempfail",
    "discarded": "discard",
    "quarantined": "quarantine",
    "pending": "hold",
}
SUMS = ("attempts", "connect_us", "transmit_us")


def unfold_hops(
    hops: pl.DataFrame, recipients: pl.DataFrame, notices: pl.DataFrame, filters: pl.DataFrame
) -> pl.DataFrame:
    """EVENTS rows from which `assemble_hops` makes the same hops, recipients, notices and filters again.

    Tries are merged to the first, the last deferral and the decisive one of a recipient, with the sums of all, and those whose
    answer was lost.
    """
    own = hops.select("hop", "host", "instance", "queue_id", "message_id")
    parts = [*unfold_lives(hops), *unfold_tries(recipients, own), *unfold_refusals(recipients, own)]
    parts.append(
        notices.join(own, on="hop").select(
            "host", "instance", "queue_id", "next_queue_id", "action", stamp="at", kind=pl.lit("notice")
        )
    )
    parts.append(
        filters.join(own.drop("instance"), on="hop").select(
            "host",
            *SAID,
            "message_id",
            pl.when(~C("scanned")).then("queue_id").alias("queue_id"),
            stamp="at",
            kind=pl.lit("filter"),
        )
    )
    numbered = [part.with_columns(place=pl.lit(number, pl.Int64)) for number, part in enumerate(parts)]
    return EVENTS.sorted(EVENTS.conform(pl.concat(numbered, how="diagonal_relaxed")))


def unfold_firsts(hops: pl.DataFrame, firsts: pl.DataFrame) -> pl.DataFrame:
    """EVENTS without a queue ID that tell `match_series` the first try at the door (hop, asked, first_attempt_at) of these hops'
    mail; of kind leave for a try inside their queue ID that came back. What is ahead the next night finds itself."""
    client = hops.select("hop", "host", "sender", "client_name", "client_ip", "helo", "first_seen")
    rows = firsts.filter(~C("ahead")).join(client, on="hop", how="inner").sort("hop", "asked")
    return EVENTS.conform(
        rows.select(
            "host",
            "sender",
            "client_name",
            "client_ip",
            "helo",
            stamp=pl.coalesce("first_attempt_at", "first_seen"),
            place=pl.lit(0, pl.Int64),
            kind=pl.when("came_back").then(pl.lit("leave")).otherwise(pl.lit("arrive")),
            recipient="asked",
            orig_queue_id=C("hop").cast(pl.String),
        )
    )


def unfold_clashes(hops: pl.DataFrame, clashes: pl.DataFrame) -> pl.DataFrame:
    """EVENTS without a queue ID that tell which of these hops' hand-overs (hop, queue_id) clash with the taker's stamps."""
    rows = hops.select("hop", "host", stamp="first_seen").join(clashes.unique(), on="hop", how="inner")
    return EVENTS.conform(
        rows.sort("hop", "queue_id").select(
            "host",
            "stamp",
            place=pl.lit(0, pl.Int64),
            kind=pl.lit("clash"),
            orig_queue_id=C("hop").cast(pl.String),
            next_queue_id="queue_id",
        )
    )


def fold_clashes(state: pl.DataFrame) -> pl.DataFrame:
    """hop, queue_id of what `unfold_clashes` told."""
    told = state.filter(C("kind") == "clash")
    return told.select(hop=C("orig_queue_id").cast(pl.UInt64), queue_id="next_queue_id")


def unfold_lives(hops: pl.DataFrame) -> list[pl.DataFrame]:
    """The events of the hops themselves, in the order that a queue logs them."""

    def at(column: str, kind: str, *more: str | pl.Expr, when: pl.Expr | None = None) -> pl.DataFrame:
        rows = hops.filter(C(column).is_not_null() if when is None else when)
        return rows.select("host", "instance", "queue_id", *more, stamp=C(column), kind=pl.lit(kind))

    client = (
        "client_name",
        "client_ip",
        "helo",
        "sasl_user",
        "arrival",
        "orig_queue_id",
        "sender",
        "size",
        "nrcpt",
        "message_id",
    )
    was_held = C("held_us") > 0
    return [
        at("first_seen", "arrive", *client, when=C("arrival").is_not_null() | C("client_ip").is_not_null()),
        at("first_seen", "message", "message_id", when=~C("partial") & C("stored_at").is_null()),
        at("first_seen", "filter", "sender"),
        at("last_seen", "filter"),
        at("queued", "queue", "sender", "size", "nrcpt", pl.when("taken").then(pl.lit(QUEUED)).alias("action")),
        at("held_until", "hold", when=was_held).with_columns(stamp=C("stamp") - hops.filter(was_held)["held_us"]),
        at("held_until", "release", when=was_held),
        at("held_from", "hold"),
        at("aborted_at", "lost"),
        at("expired_at", "expire"),
        at("requeued_at", "requeue"),
        at("deleted_at", "delete"),
        at("left", "leave"),
    ]


def unfold_tries(recipients: pl.DataFrame, own: pl.DataFrame) -> list[pl.DataFrame]:
    """Delivery attempts: first, those whose answer was lost, last deferral, decisive."""
    tries = recipients.filter(C("try_kind") == "attempt").join(own, on="hop", how="inner", suffix="_own")
    tries = tries.with_row_index("_try")
    lost = list_lost(tries)
    reached = lost.group_by("_try").agg(
        C("at").first().alias("_lost_from"),
        C("at").last().alias("_lost_until"),
        *(C(f"_{name}").last() for name in SUMS),
    )
    tries = tries.join(reached, on="_try", how="left", maintain_order="left")
    base = ["host", "instance", "queue_id", "recipient", "original_recipient"]
    said = ["service", "folder", "action", "dsn", "relay_name", "relay_ip", "next_queue_id", "reply", "code", "delay"]
    several = C("first_end") < C("logged_at")
    apart = several & (C("first_end") < C("_lost_from")).fill_null(True)
    counts = C("last_deferred").is_not_null() & ((C("attempts") > 1) | (C("last_deferred") == C("first_end")))
    first = (apart & counts).fill_null(False).cast(pl.Int64)
    before = pl.coalesce("_lost_until", "first_end")
    middle = several & (C("last_deferred") > before) & (C("last_deferred") < C("logged_at"))
    idle = (C("logged_status") == "deferred") & (C("last_deferred") < C("logged_at"))  # its last line tells of no try
    begun = {
        "attempts": first,
        "connect_us": pl.when(apart).then("first_connect").otherwise(0),
        "transmit_us": pl.when(apart).then("first_transmit").otherwise(0),
    }
    rest = {name: C(name) - pl.coalesce(C(f"_{name}"), begun[name]) for name in SUMS}
    nothing = pl.lit(0, pl.Int64)
    kind, deferred = pl.lit("attempt").alias("kind"), pl.lit("deferred").alias("status")
    lost = lost.join(
        tries.select("_try", *base, **{f"begun_{name}": begun[name] for name in SUMS}),
        on="_try",
        how="left",
        maintain_order="left",
    )
    since = {name: C(f"_{name}") - pl.coalesce(C(f"_{name}").shift().over("_try"), f"begun_{name}") for name in SUMS}
    return [
        tries.filter(apart).select(
            *base,
            kind,
            deferred,
            stamp="first_end",
            repeat=first,
            delay_connect="first_connect",
            delay_transmit="first_transmit",
            delay_queue=nothing,
        ),
        lost.select(
            *base,
            kind,
            deferred,
            "relay_name",
            "relay_ip",
            "reply",
            stamp="at",
            repeat=since["attempts"],
            delay_connect=since["connect_us"],
            delay_transmit=since["transmit_us"],
            delay_queue=C("at") - C("start") - since["connect_us"] - since["transmit_us"],
        ),
        tries.filter(middle).select(
            *base,
            kind,
            deferred,
            stamp="last_deferred",
            repeat=pl.when(idle).then(rest["attempts"]).otherwise(1),
            delay_connect=nothing,
            delay_transmit=nothing,
            delay_queue=nothing,
        ),
        tries.select(
            *base,
            *said,
            kind,
            stamp="logged_at",
            status="logged_status",
            repeat=pl.when(middle & idle).then(0).otherwise(rest["attempts"] - middle.fill_null(False).cast(pl.Int64)),
            delay_connect=rest["connect_us"],
            delay_transmit=rest["transmit_us"],
            delay_queue=C("logged_at") - C("try_start") - rest["connect_us"] - rest["transmit_us"],
        ),
    ]


def list_lost(tries: pl.DataFrame) -> pl.DataFrame:
    """The unsure_tries before the decisive try: _try, at, start, relay_name, relay_ip, reply, and the sums of all tries up to each."""
    told = tries.filter(C("unsure_tries").is_not_null()).select("_try", "logged_at", "unsure_tries", _all="attempts")
    told = told.explode("unsure_tries").select("_try", "logged_at", "_all", C("unsure_tries").struct.unnest())
    return (
        told.filter((C("at") < C("logged_at")) | (C("attempts") < C("_all")))
        .drop("logged_at", "_all")
        .rename({name: f"_{name}" for name in SUMS})
    )


def unfold_refusals(recipients: pl.DataFrame, own: pl.DataFrame) -> list[pl.DataFrame]:
    """Refusals inside a queue ID, and what a mail store did."""
    rows = recipients.join(own, on="hop", how="inner", suffix="_own")
    refused = rows.filter(C("try_kind") == "refusal").select(
        "host",
        "instance",
        "queue_id",
        "recipient",
        "original_recipient",
        "dsn",
        "reply",
        "code",
        stamp="logged_at",
        sender="try_sender",
        kind=pl.when("after_data").then(pl.lit("refuse")).otherwise(pl.lit("door")),
        action=C("logged_status").replace(REFUSED),
    )
    stored = rows.filter(C("try_kind") == "store").select(
        "host",
        "instance",
        "queue_id",
        "reply",
        "folder",
        "message_id",
        stamp="logged_at",
        kind=pl.lit("store"),
        recipient="recipient",
        user="original_recipient",
        action="logged_status",
    )
    return [refused, stored]
