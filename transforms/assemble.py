"""Events of one shard, folded into hops: one row per stay of a message in a queue, and one per recipient there.

A shard holds every event of its (host, queue ID) pairs, so nothing here looks further than one queue ID on one host.
"""

from dataclasses import dataclass

import polars as pl

from hoptrace.schemas.events import EVENTS
from hoptrace.schemas.fleet import Fleet
from hoptrace.transforms.hash import hash_columns
from hoptrace.transforms.names import name_hosts
from hoptrace.transforms.replies import judge_reply
from hoptrace.transforms.stamps import queue_id_time

C = pl.col
TRAILING_US = 3_600_000_000
"""A line this long after a queue ID was done with belongs to the ID's next use, whatever it says."""

TRANSACTION_US = 60_000_000
"""Lines this soon after a refusal are the rest of the refused transaction."""

CLOSING_ACTIONS = ("reject", "discard", "tempfail")
PROBES = ("deliverable", "undeliverable", "undeliverable-but-not-cached")
STATUS_WORDS = {"softbounce": "deferred", "delivered": "sent", "force-expired": "expired"}


@dataclass(frozen=True)
class Stays:
    """What a shard folds to.

    hops: hop (UInt64 key), the columns of table `hops` as integers of microseconds, and queued, last_seen, closed_at,
        held_from, held_us, deleted_at, expired_at, aborted_at, refused_at, orig_queue_id, probe.
    recipients: hop, the columns of `hop_recipients`, and at (its decisive line), try_start, last_deferred, folder,
        waiting_us, connect_us, transmit_us, code.
    notices: hop, next_queue_id, action, at.
    doors: EVENTS of tries at the door that belong to no hop here.
    """

    hops: pl.DataFrame
    recipients: pl.DataFrame
    notices: pl.DataFrame
    doors: pl.DataFrame


def number_hops(events: pl.DataFrame) -> pl.DataFrame:
    """`events` in order of (key, stamp, place) with `hop_no`, a number per hop: a queue ID that comes back starts another.

    Long queue IDs never come back. A short one starts anew where a client or a local submission is named, or where a
    Message-ID or an envelope appears after the queue was done with the ID.
    """
    narrow = events.select(
        "key", "stamp", "place", "kind",
        C("kind").is_in(["leave", "delete", "requeue"]).alias("closes")
        | ((C("kind") == "refuse") & C("action").is_in(CLOSING_ACTIONS)).fill_null(False),
        queue_id_time(events["queue_id"], events["stamp"]).is_not_null().alias("long"),
    ).with_row_index("row").sort("key", "stamp", "place", "row")
    turning = narrow.filter(C("kind").is_in(["arrive", "message", "queue", "attempt"]) | C("closes")).with_columns(
        same=(C("key") == C("key").shift()).fill_null(False),
        after=C("closes").shift().fill_null(False),
        before=C("kind").cast(pl.String).shift(),
        gap=C("stamp") - C("stamp").shift(),
    )
    refused, gap = C("before") == "refuse", C("gap")
    starts = turning.filter(
        C("same") & ~C("long")
        & ((C("kind") == "arrive")
           | (C("after") & C("kind").is_in(["message", "queue"]) & (~refused | (gap > TRANSACTION_US)))
           | (C("after") & (gap > TRAILING_US))
           | ((C("kind") == "message") & (C("before") == "arrive") & (gap > TRAILING_US)))
    ).select("row", pl.lit(True).alias("again"))
    numbered = narrow.join(starts, on="row", how="left", maintain_order="left").select(
        "row",
        ((C("key") != C("key").shift()).fill_null(True) | C("again").fill_null(False)).cum_sum().alias("hop_no"),
    )
    return events[numbered["row"]].with_columns(numbered["hop_no"])


def first_of(events: pl.DataFrame, kind: str, columns: dict[str, str]) -> pl.DataFrame:
    """Per hop_no the first event of `kind`, its columns under new names."""
    return (
        events.filter(C("kind") == kind)
        .unique("hop_no", keep="first", maintain_order=True)
        .select("hop_no", *(C(old).alias(new) for new, old in columns.items()))
    )


def fold_holds(events: pl.DataFrame) -> pl.DataFrame:
    """hop_no, held_from (null once released), held_us: from 'placed on hold' until released or removed."""
    marks = events.filter(
        C("kind").is_in(["hold", "release", "leave", "delete", "requeue"]) | ((C("kind") == "refuse") & (C("action") == "hold"))
    ).select("hop_no", "stamp", on=(C("kind") == "hold") | (C("kind") == "refuse"))
    spans = marks.with_columns(
        until=pl.when(C("hop_no") == C("hop_no").shift(-1)).then(C("stamp").shift(-1)),
    ).filter("on")
    return spans.group_by("hop_no").agg(
        held_from=C("stamp").filter(C("until").is_null()).min(),
        held_us=(C("until") - C("stamp")).sum(),
    )


def fold_hops(events: pl.DataFrame) -> pl.DataFrame:
    """One row per hop_no of numbered events: who brought it, what it is, when it came and went."""
    spans = events.group_by("hop_no", maintain_order=True).agg(
        C("host").first(),
        C("queue_id").first(),
        C("instance").filter(C("kind").is_in(["queue", "leave", "message"])).first().alias("_instance"),
        C("instance").first(),
        first_seen=C("stamp").min(),
        last_seen=C("stamp").max(),
        left=C("stamp").filter(C("kind") == "leave").max(),
        deleted_at=C("stamp").filter(C("kind") == "delete").max(),
        requeued_at=C("stamp").filter(C("kind") == "requeue").max(),
        expired_at=C("stamp").filter(C("kind") == "expire").max(),
        aborted_at=C("stamp").filter(C("kind") == "lost").max(),
        refused_at=C("stamp").filter((C("kind") == "refuse") & C("action").is_in(CLOSING_ACTIONS)).max(),
        stored_at=C("stamp").filter(C("kind") == "store").max(),
        begins=C("kind").is_in(["arrive", "message", "store"]).any(),
        probe=(C("kind") == "attempt").any() & C("status").is_in(PROBES).filter(C("kind") == "attempt").all(),
    )
    arrive = first_of(events, "arrive", {
        "client_name": "client_name", "client_ip": "client_ip", "helo": "helo", "sasl_user": "sasl_user",
        "arrival": "arrival", "orig_queue_id": "orig_queue_id", "_sender": "sender", "_size": "size", "_nrcpt": "nrcpt",
        "_message_id": "message_id",
    })
    client = first_of(events, "client", {"_client_name": "client_name", "_client_ip": "client_ip", "_helo": "helo"})
    message = first_of(events.filter(C("message_id").is_not_null()), "message", {"message_id": "message_id"})
    queue = first_of(events, "queue", {"sender": "sender", "size": "size", "nrcpt": "nrcpt", "queued": "stamp"})
    store = first_of(events.filter(C("message_id").is_not_null()), "store", {"_stored_id": "message_id"})
    late_sender = (
        events.filter(C("sender").is_not_null()).unique("hop_no", keep="first", maintain_order=True)
        .select("hop_no", C("sender").alias("_any_sender"))
    )
    proven = queue_id_time(spans["queue_id"], spans["first_seen"])
    hops = spans.with_columns(proven.alias("_proven"))
    for part in (arrive, client, message, queue, store, late_sender, fold_holds(events)):
        hops = hops.join(part, on="hop_no", how="left", maintain_order="left")
    hops = hops.with_columns(
        epoch=pl.coalesce("_proven", "first_seen"),
        instance=pl.coalesce("_instance", "instance"),
        client_name=pl.coalesce("client_name", "_client_name"),
        client_ip=pl.coalesce("client_ip", "_client_ip"),
        helo=pl.coalesce("helo", "_helo"),
        sender=pl.coalesce("sender", "_sender", "_any_sender"),
        size=pl.coalesce("size", "_size"),
        nrcpt=pl.coalesce("nrcpt", "_nrcpt"),
        message_id=pl.coalesce("message_id", "_message_id", "_stored_id"),
        held_us=C("held_us").fill_null(0),
        partial=~C("begins"),
        closed_at=pl.max_horizontal("left", "deleted_at", "requeued_at", "refused_at", "stored_at",
                                    pl.when(C("queued").is_null()).then("aborted_at")),
    ).with_columns(closed=C("closed_at").is_not_null(), arrived=C("epoch"))
    hops = hops.with_columns(hash_columns(hops, ["host", "queue_id", "epoch"]).alias("hop"))
    return hops.drop("_instance", "_proven", "_sender", "_size", "_nrcpt", "_message_id", "_stored_id", "_any_sender", "begins", "_client_name",
                     "_client_ip", "_helo")


def fold_attempts(events: pl.DataFrame) -> pl.DataFrame:
    """One row per (hop_no, recipient, original_recipient) of the attempts: the first success or refusal decides, else the last try."""
    by = ["hop_no", "recipient", "original_recipient"]
    word = C("status").str.to_lowercase()
    tries = events.filter((C("kind") == "attempt") & ~C("status").str.to_lowercase().is_in(PROBES).fill_null(False)).select(
        *by, "stamp", "place", "service", "dsn", "relay_name", "relay_ip", "next_queue_id", "reply", "folder", "action", "code",
        C("repeat").fill_null(1),
        word.replace(STATUS_WORDS).alias("status"),
        "delay", "delay_before",
        connect=C("delay_connect").fill_null(0),
        transmit=C("delay_transmit").fill_null(0),
        busy=pl.when(C("delay_transmit").is_null()).then("delay").otherwise(
            pl.sum_horizontal("delay_queue", "delay_connect", "delay_transmit")),
    ).sort(*by, "stamp", "place", maintain_order=True)
    same = pl.all_horizontal(C(k).eq_missing(C(k).shift()) for k in by).fill_null(False)
    tries = tries.with_columns(again=same, waited=pl.when(same).then(C("stamp") - C("connect") - C("transmit") - C("stamp").shift()).otherwise(0))
    final = C("status").is_in(["sent", "bounced"])
    decided = tries.filter(final).unique(by, keep="first", maintain_order=True).select(*by, C("stamp").alias("_until"))
    tries = tries.join(decided, on=by, how="left", nulls_equal=True, maintain_order="left")
    copies = tries.filter(final & (C("stamp") > C("_until"))).group_by(by).agg(copies=pl.len())
    tries = tries.filter(C("_until").is_null() | (C("stamp") <= C("_until")))
    rows = tries.group_by(by, maintain_order=True).agg(
        pl.col("status", "service", "dsn", "relay_name", "relay_ip", "next_queue_id", "reply", "folder", "action", "code", "delay").last(),
        at=C("stamp").last(),
        try_start=(C("stamp") - C("busy").fill_null(0)).last(),
        first_end=C("stamp").first(),
        first_connect=C("connect").first(),
        first_transmit=C("transmit").first(),
        last_deferred=C("stamp").filter((C("status") == "deferred") & (C("repeat") > 0)).max(),
        attempts=C("repeat").sum(),
        waiting_us=C("waited").sum(),
        connect_us=C("connect").sum(),
        transmit_us=C("transmit").sum(),
    )
    return rows.join(copies, on=by, how="left", nulls_equal=True, maintain_order="left")


def fold_refusals(events: pl.DataFrame) -> pl.DataFrame:
    """Recipients refused inside a queue ID: RCPT TO at the door, or the whole message after DATA (which names one)."""
    rows = events.filter(
        C("kind").is_in(["door"]) | ((C("kind") == "refuse") & C("action").is_in([*CLOSING_ACTIONS, "quarantine"]))
    )
    temporary = (C("action") == "tempfail") | C("dsn").str.starts_with("4") | (C("code") // 100 == 4)
    return rows.select(
        "hop_no", "recipient", "original_recipient", "dsn", "reply", "code", try_sender="sender",
        status=pl.when(C("action") == "discard").then(pl.lit("discarded"))
        .when(C("action") == "quarantine").then(pl.lit("quarantined"))
        .when(temporary.fill_null(False)).then(pl.lit("turned_away")).otherwise(pl.lit("rejected")),
        at="stamp", try_start="stamp", first_end="stamp", attempts=pl.lit(1, pl.Int64),
        after_data=C("kind") == "refuse",
    ).unique(["hop_no", "recipient", "status"], keep="last", maintain_order=True)


def fold_store(events: pl.DataFrame) -> pl.DataFrame:
    """What a mail store did with it, one row per user or redirect target; the sieve line's word counts before mail_log's."""
    rows = events.filter(C("kind") == "store").with_columns(
        who=pl.when(C("action") == "redirected").then("recipient").otherwise("user"),
    )
    return rows.select(
        "hop_no",
        recipient=pl.coalesce("who", "user"),
        original_recipient=C("user"),
        status="action",
        reply="reply", folder="folder", at="stamp", try_start="stamp", first_end="stamp", attempts=pl.lit(1, pl.Int64),
    ).unique(["hop_no", "recipient", "status"], keep="last", maintain_order=True)


def fold_recipients(events: pl.DataFrame, hops: pl.DataFrame) -> pl.DataFrame:
    """One row per recipient of each hop, with its last word there; what the whole hop suffered is laid upon the unresolved."""
    folds = {"attempt": fold_attempts, "refusal": fold_refusals, "store": fold_store}
    parts = [fold(events).with_columns(try_kind=pl.lit(kind)) for kind, fold in folds.items()]
    rows = pl.concat(parts, how="diagonal_relaxed").join(
        hops.select("hop_no", "hop", "host", "arrived", "held_us", "left", "expired_at", "deleted_at", "requeued_at", "held_from"),
        on="hop_no", how="inner", maintain_order="left",
    ).with_columns(logged_status="status", logged_at="at")
    waits = C("status") == "deferred"
    gone = waits & (C("deleted_at").is_not_null() | (C("left").is_not_null() & C("requeued_at").is_null()))
    rows = rows.with_columns(
        status=pl.when(waits & C("expired_at").is_not_null()).then(pl.lit("expired"))
        .when(waits & C("requeued_at").is_not_null()).then(pl.lit("requeued"))
        .when(gone).then(pl.lit("deleted")).otherwise("status"),
        at=pl.when(waits & C("expired_at").is_not_null()).then("expired_at")
        .when(waits & C("requeued_at").is_not_null()).then("requeued_at")
        .when(gone).then(pl.coalesce("deleted_at", "left")).otherwise("at"),
    )
    return judge_reply(rows).with_columns(
        in_queue_us=(C("first_end") - C("first_connect").fill_null(0) - C("first_transmit").fill_null(0) - C("arrived")).clip(lower_bound=0),
    ).drop("hop_no", "arrived", "left", "expired_at", "deleted_at", "requeued_at", "held_from")


def part_strangers(events: pl.DataFrame, hops: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """(events, doors): refusals that a session lent to a hop of another sender are door tries of their own."""
    senders = hops.select("hop_no", _hop_sender="sender")
    marked = events.join(senders, on="hop_no", how="left", maintain_order="left")
    foreign = ((C("kind") == "door") & (C("sender") != C("_hop_sender"))).fill_null(False)
    doors = marked.filter(foreign).with_columns(queue_id=pl.lit(None, pl.String)).select(EVENTS.schema.keys())
    return marked.filter(~foreign).drop("_hop_sender"), doors


def close_settled(hops: pl.DataFrame, recipients: pl.DataFrame) -> pl.DataFrame:
    """`hops`, those closed that no line ends but whose every recipient is settled: some programs log no 'removed'."""
    waits = C("status").is_in(["deferred", "requeued"])
    fates = recipients.group_by("hop").agg(waiting=waits.any(), settled=(~waits).sum(), last_at=C("at").max())
    told = hops.join(fates, on="hop", how="left", maintain_order="left")
    done = C("closed_at").is_null() & ~C("waiting") & (C("settled") >= C("nrcpt"))
    return told.with_columns(closed_at=pl.when(done.fill_null(False)).then("last_at").otherwise("closed_at")).with_columns(
        closed=C("closed_at").is_not_null()
    ).drop("waiting", "settled", "last_at")


def assemble_hops(events: pl.DataFrame, fleet: Fleet, hosts: frozenset[str]) -> Stays:
    """Fold a shard's events (EVENTS columns and `key`, the hash of host and queue_id) to hops, recipients and notices.

    A store that could not keep a message refused it: that try stands in the log of the host that made it. `hosts` are those
    with a log; with `fleet` they tell which clients and relays are hosts of ours.
    """
    refused_by_store = (C("kind") == "store") & (C("action") == "failed")
    numbered = number_hops(events.filter(~refused_by_store.fill_null(False)))
    hops = fold_hops(numbered)
    numbered, doors = part_strangers(numbered, hops)
    recipients = fold_recipients(numbered, hops)
    hops = close_settled(hops, recipients)
    recipients = name_hosts(recipients, "relay_name", "relay_ip", "host", "relay_host", fleet, hosts)
    hops = name_hosts(hops, "client_name", "client_ip", "host", "client_host", fleet, hosts)
    notices = numbered.filter(C("kind") == "notice").select("hop_no", "next_queue_id", "action", at="stamp").join(
        hops.select("hop_no", "hop", "host"), on="hop_no", how="inner"
    ).drop("hop_no")
    return Stays(hops.drop("hop_no", "loopback"), recipients.drop("host"), notices, doors)
