"""What goes from night to night: hops told again as the fewest events that fold to the same hops."""

import polars as pl

from hoptrace.schemas.events import EVENTS

C = pl.col
REFUSED = {
    "rejected": "reject",
    "turned_away": "tempfail",
    "discarded": "discard",
    "quarantined": "quarantine",
    "pending": "hold",
}


def unfold_hops(
    hops: pl.DataFrame, recipients: pl.DataFrame, notices: pl.DataFrame, filters: pl.DataFrame
) -> pl.DataFrame:
    """EVENTS rows from which `assemble_hops` makes the same hops, recipients, notices and filters again.

    Tries are merged to at most three per recipient: the first, the last deferral, the decisive one, with the sums of all.
    """
    own = hops.select("hop", "host", "instance", "queue_id", "message_id")
    parts = [*unfold_lives(hops), *unfold_tries(recipients, own), *unfold_refusals(recipients, own)]
    parts.append(
        notices.join(own, on="hop").select(
            "host", "instance", "queue_id", "next_queue_id", "action", stamp="at", kind=pl.lit("notice")
        )
    )
    parts.append(
        filters.join(own, on="hop").select(
            "host", "instance", "queue_id", "next_queue_id", stamp="at", kind=pl.lit("filter")
        )
    )
    numbered = [part.with_columns(place=pl.lit(number, pl.Int64)) for number, part in enumerate(parts)]
    return EVENTS.sorted(EVENTS.conform(pl.concat(numbered, how="diagonal_relaxed")))


def unfold_firsts(hops: pl.DataFrame, firsts: pl.DataFrame) -> pl.DataFrame:
    """EVENTS without a queue ID that tell `match_series` the first try at the door (hop, asked, first_attempt_at) of these hops' mail."""
    client = hops.select("hop", "host", "sender", "client_name", "client_ip", "helo")
    rows = firsts.join(client, on="hop", how="inner").sort("hop", "asked")
    return EVENTS.conform(
        rows.select(
            "host",
            "sender",
            "client_name",
            "client_ip",
            "helo",
            stamp="first_attempt_at",
            place=pl.lit(0, pl.Int64),
            kind=pl.lit("arrive"),
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
        at("queued", "queue", "sender", "size", "nrcpt"),
        at("first_seen", "hold", when=was_held),
        at("first_seen", "release", when=was_held).with_columns(stamp=C("stamp") + hops.filter(was_held)["held_us"]),
        at("held_from", "hold"),
        at("aborted_at", "lost"),
        at("expired_at", "expire"),
        at("requeued_at", "requeue"),
        at("refused_at", "refuse", pl.lit("reject").alias("action"), "sender"),
        at("deleted_at", "delete"),
        at("left", "leave"),
    ]


def unfold_tries(recipients: pl.DataFrame, own: pl.DataFrame) -> list[pl.DataFrame]:
    """Delivery attempts: first, last deferral, decisive."""
    tries = recipients.filter(C("try_kind") == "attempt").join(own, on="hop", how="inner", suffix="_own")
    base = ["host", "instance", "queue_id", "recipient", "original_recipient"]
    said = ["service", "folder", "action", "dsn", "relay_name", "relay_ip", "next_queue_id", "reply", "code", "delay"]
    several = C("first_end") < C("logged_at")
    counts = C("last_deferred").is_not_null() & ((C("attempts") > 1) | (C("last_deferred") == C("first_end")))
    first = (several & counts).fill_null(False).cast(pl.Int64)
    middle = several & (C("last_deferred") > C("first_end")) & (C("last_deferred") < C("logged_at"))
    rest_connect = C("connect_us") - pl.when(several).then("first_connect").otherwise(0)
    rest_transmit = C("transmit_us") - pl.when(several).then("first_transmit").otherwise(0)
    kind = pl.lit("attempt").alias("kind")
    return [
        tries.filter(several).select(
            *base,
            kind,
            stamp="first_end",
            status=pl.lit("deferred"),
            repeat=first,
            delay_connect="first_connect",
            delay_transmit="first_transmit",
            delay_queue=pl.lit(0, pl.Int64),
        ),
        tries.filter(middle).select(
            *base,
            kind,
            stamp="last_deferred",
            status=pl.lit("deferred"),
            repeat=pl.lit(1, pl.Int64),
            delay_connect=pl.lit(0, pl.Int64),
            delay_transmit=pl.lit(0, pl.Int64),
            delay_queue=pl.lit(0, pl.Int64),
        ),
        tries.select(
            *base,
            *said,
            kind,
            stamp="logged_at",
            status="logged_status",
            repeat=C("attempts") - first - middle.fill_null(False).cast(pl.Int64),
            delay_connect=rest_connect,
            delay_transmit=rest_transmit,
            delay_queue=C("logged_at") - C("try_start") - rest_connect - rest_transmit,
        ),
    ]


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
