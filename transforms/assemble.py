"""Events of one shard, folded into hops: one row per stay of a message in a queue, and one per recipient there.

A shard holds every event of its (host, queue ID) pairs, so nothing here looks further than one queue ID on one host.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import polars as pl

from hoptrace.schemas.events import EVENTS, KINDS
from hoptrace.schemas.fleet import Fleet
from hoptrace.transforms.frames import LOW
from hoptrace.transforms.hash import hash_columns
from hoptrace.transforms.kinds import Kinds, part_kinds, take
from hoptrace.transforms.names import name_hosts
from hoptrace.transforms.replies import TAKEN, UNSURE, judge_reply
from hoptrace.transforms.stamps import queue_id_time
from hoptrace.transforms.uses import CLOSING_ACTIONS, TRAILING_US, number_hops
from hoptrace.transforms.verdicts import drop_by_filters, fold_filters

C = pl.col
PROBES = ("deliverable", "undeliverable", "undeliverable-but-not-cached")
STATUS_WORDS = {"softbounce": "deferred", "delivered": "sent", "force-expired": "expired"}
LIFE = (
    "arrive",
    "message",
    "queue",
    "attempt",
    "leave",
    "expire",
    "hold",
    "release",
    "delete",
    "requeue",
    "refuse",
    "lost",
    "store",
)
"""Kinds that show a stay in a queue; the others only speak of one."""

QUEUED = "queued"
"""Action of kind queue in open_hops: no line of the queue's own said so yet."""

UNSURE_TRY = pl.Struct({
    "at": pl.Int64, "start": pl.Int64, "attempts": pl.Int64, "connect_us": pl.Int64, "transmit_us": pl.Int64,
    "relay_name": pl.String, "relay_ip": pl.String, "reply": pl.String,
})  # fmt: skip
"""A try whose answer was lost, with the sums of all tries up to it."""


@dataclass(frozen=True)
class Stays:
    """What a shard folds to.

    hops: hop (UInt64 key), the columns of table `hops` as integers of microseconds, and queued, taken (queued by its arrival,
        no line of the queue's own says so), last_seen, closed_at,
        held_from, held_us, held_until, deleted_at, expired_at, aborted_at, refused_at, orig_queue_id, probe.
    recipients: hop, the columns of `hop_recipients`, and at (its decisive line), try_start, last_deferred, folder,
        waiting_us, connect_us, transmit_us, code, unsure_tries (list of UNSURE_TRY, null where there is none).
    notices: hop, next_queue_id, action, at. filters: hop, and the columns of `fold_filters` (next_queue_id: several parted by '/').
    doors: EVENTS of tries at the door that belong to no hop here.
    """

    hops: pl.DataFrame
    recipients: pl.DataFrame
    notices: pl.DataFrame
    filters: pl.DataFrame
    doors: pl.DataFrame


def first_of(kinds: Kinds, kind: str, columns: dict[str, str]) -> pl.DataFrame:
    """Per hop_no the first event of `kind`, its columns under new names."""
    rows = take(kinds, kind, ["hop_no", *columns.values()]).filter(C("hop_no").shift().ne_missing(C("hop_no")))
    return rows.select("hop_no", *(C(old).alias(new) for new, old in columns.items()))


def last_stamp(kinds: Kinds, kind: str, name: str) -> pl.DataFrame:
    """Per hop_no the last stamp of `kind`, as column `name`."""
    rows = take(kinds, kind, ["hop_no", "stamp"]).filter(C("hop_no").shift(-1).ne_missing(C("hop_no")))
    return rows.rename({"stamp": name})


def highest(numbers: pl.Series) -> int:
    """The highest hop_no; 0 where there is none."""
    return int(numbers.to_numpy().max(initial=0))


def lay_beside(hops: pl.DataFrame, part: pl.DataFrame) -> pl.DataFrame:
    """`hops` with the columns of `part`, one row per hop_no at most; null where it has none."""
    size = 1 + highest(hops["hop_no"])
    part = part.filter(C("hop_no") < size)
    rows = pl.Series([None], dtype=pl.UInt32).new_from_index(0, size)
    rows = rows.scatter(part["hop_no"], pl.int_range(part.height, dtype=pl.UInt32, eager=True))
    return hops.hstack(part.drop("hop_no").select(pl.all().gather(rows.gather(hops["hop_no"]))))


def tell_hops(kinds: Kinds, names: Iterable[str], hops: pl.DataFrame) -> pl.Series:
    """Whether each of `hops` (hop_no) has an event of the kinds in `names`."""
    told = pl.concat([take(kinds, kind, ["hop_no"])["hop_no"] for kind in names])
    size = 1 + max(highest(told), highest(hops["hop_no"]))
    return pl.Series([False]).new_from_index(0, size).scatter(told, True).gather(hops["hop_no"])


def list_holds(kinds: Kinds) -> pl.DataFrame:
    """hop_no, stamp, until: each time from 'placed on hold' until released or removed (null while it is held)."""
    columns = ["hop_no", "stamp", "place", "action"]
    ons = [take(kinds, "hold", columns), take(kinds, "refuse", columns).filter(C("action") == "hold")]
    began = pl.concat(ons).with_columns(on=True)
    held = began.select("hop_no").unique()
    ends = [take(kinds, kind, columns) for kind in ("release", "leave", "delete", "requeue")]
    ended = pl.concat(ends).join(held, on="hop_no", how="semi").with_columns(on=False)
    return (
        pl.concat([began, ended])
        .sort("hop_no", "stamp", "place")
        .with_columns(
            until=pl.when(C("hop_no") == C("hop_no").shift(-1)).then(C("stamp").shift(-1)),
        )
        .filter("on")
        .select("hop_no", "stamp", "until")
    )


def fold_holds(kinds: Kinds) -> pl.DataFrame:
    """hop_no, held_from (null once released), held_us and held_until, the end of the last of `list_holds`."""
    return (
        list_holds(kinds)
        .group_by("hop_no")
        .agg(
            held_from=C("stamp").filter(C("until").is_null()).min(),
            held_us=(C("until") - C("stamp")).sum(),
            held_until=C("until").filter(C("until") > C("stamp")).max(),
        )
    )


def share_holds(rows: pl.DataFrame, kinds: Kinds) -> pl.DataFrame:
    """`rows` (hop_no, at, status, held_us) of recipients: one that was settled was not held by what came later."""
    spans = list_holds(kinds).drop_nulls("until")
    settled = ~C("status").is_in(["deferred", "pending"])
    if spans.is_empty():
        return rows
    rows = rows.with_row_index("_row")
    each = rows.filter(settled).select("_row", "hop_no", "at").join(spans, on="hop_no")
    before = (pl.min_horizontal("at", "until") - C("stamp")).clip(lower_bound=0)
    held = each.group_by("_row").agg(_held=before.sum())
    return (
        rows.join(held, on="_row", how="left", maintain_order="left")
        .with_columns(held_us=pl.coalesce("_held", "held_us"))
        .drop("_row", "_held")
    )


def name_hops(kinds: Kinds, numbered: Kinds, spans: pl.DataFrame) -> pl.DataFrame:
    """`spans` with host, queue_id and instance of each hop's first event; the queue's own daemons name the instance."""
    own = ("host", "queue_id", "instance")
    parts = [
        part.hstack(take(kinds, KINDS[kind], own)[part["first_row"]])
        for (kind,), part in spans.partition_by("first_kind", as_dict=True).items()
    ]
    nameless = spans.clear().with_columns(pl.lit(None, pl.String).alias(name) for name in own)
    named = pl.concat([nameless, *parts]).sort("hop_no")
    for kind in ("queue", "message", "leave"):
        named = lay_beside(named, first_of(numbered, kind, {f"_{kind}": "instance"}))
    return named.with_columns(instance=pl.coalesce("_queue", "_message", "_leave", "instance")).drop(
        "_queue", "_message", "_leave"
    )


def fold_hops(events: Kinds, kinds: Kinds, spans: pl.DataFrame) -> pl.DataFrame:
    """One row per hop_no: who brought it, what it is, when it came and went; of `events`, and of what `number_hops` makes of them."""
    hops = name_hops(events, kinds, spans.filter(tell_hops(kinds, LIFE, spans)))
    refused = {
        "refuse": take(kinds, "refuse", ["hop_no", "stamp", "action"]).filter(C("action").is_in(CLOSING_ACTIONS))
    }
    queues = take(kinds, "queue", ["hop_no", "stamp", "sender", "size", "nrcpt", "action"])
    taken = (C("action") == QUEUED).fill_null(False)
    queued = {"queue": queues.filter(~taken)}
    identified = {
        kind: take(kinds, kind, ["hop_no", "message_id"]).filter(C("message_id").is_not_null())
        for kind in ("message", "store")
    }
    senders = [
        take(kinds, kind, ["hop_no", "sender"]).filter(C("sender").is_not_null())
        for kind in ("expire", "refuse", "door", "filter")
    ]
    parts = [
        first_of(
            kinds,
            "arrive",
            {
                "client_name": "client_name",
                "client_ip": "client_ip",
                "helo": "helo",
                "sasl_user": "sasl_user",
                "arrival": "arrival",
                "orig_queue_id": "orig_queue_id",
                "_sender": "sender",
                "_size": "size",
                "_nrcpt": "nrcpt",
                "_message_id": "message_id",
                "_taken": "stamp",
            },
        ),
        first_of(kinds, "client", {"_client_name": "client_name", "_client_ip": "client_ip", "_helo": "helo"}),
        first_of(identified, "message", {"message_id": "message_id"}),
        first_of(queued, "queue", {"sender": "sender", "size": "size", "nrcpt": "nrcpt", "queued": "stamp"}),
        first_of({"queue": queues.filter(taken)}, "queue", {"_queued": "stamp"}),
        first_of(identified, "store", {"_stored_id": "message_id"}),
        pl.concat(senders).unique("hop_no", keep="first", maintain_order=True).rename({"sender": "_any_sender"}),
        *(
            last_stamp(kinds, kind, name)
            for kind, name in (
                ("leave", "left"),
                ("delete", "deleted_at"),
                ("requeue", "requeued_at"),
                ("expire", "expired_at"),
                ("lost", "aborted_at"),
                ("store", "stored_at"),
            )
        ),
        last_stamp(refused, "refuse", "refused_at"),
        fold_holds(kinds),
        find_probes(kinds),
    ]
    for part in parts:
        hops = lay_beside(hops, part)
    proven = queue_id_time(hops["queue_id"], hops["first_seen"])
    hops = hops.with_columns(
        epoch=pl.coalesce(proven, "first_seen"),
        client_name=pl.coalesce("client_name", "_client_name"),
        client_ip=pl.coalesce("client_ip", "_client_ip"),
        helo=pl.coalesce("helo", "_helo"),
        sender=pl.coalesce("sender", "_sender", "_any_sender"),
        size=pl.coalesce("size", "_size"),
        nrcpt=pl.coalesce("nrcpt", "_nrcpt"),
        message_id=pl.coalesce("message_id", "_message_id", "_stored_id"),
        # Programs without a queue manager tell a message's size when they have it in their queue.
        queued=pl.coalesce("queued", "_queued", pl.when(C("_size").is_not_null()).then("_taken")),
        taken=C("queued").is_null(),
        held_us=C("held_us").fill_null(0),
        partial=~tell_hops(kinds, ("arrive", "message", "store"), hops),
        probe=C("probe").fill_null(False),
        closed_at=pl.max_horizontal(
            "left",
            "deleted_at",
            "requeued_at",
            "refused_at",
            "stored_at",
            pl.when(C("queued").is_null()).then("aborted_at"),
        ),
    ).with_columns(closed=C("closed_at").is_not_null(), arrived=C("epoch"))
    hops = hops.with_columns(name_stays(hops))
    return hops.drop("first_kind", "first_row", *(name for name in hops.columns if name.startswith("_")))


def set_arrivals(hops: pl.DataFrame, fleet: Fleet) -> pl.DataFrame:
    """`hops` with `arrived` in true time where a queue ID tells it, which holds the time of a clock that may be known to be off."""
    clocks = dict(fleet.clocks())
    if not clocks:
        return hops
    ahead = C("host").replace_strict(clocks, default=0, return_dtype=pl.Int64)
    told = queue_id_time(hops["queue_id"], hops["first_seen"]).is_not_null()
    return hops.with_columns(arrived=pl.when(told).then(C("arrived") - ahead).otherwise("arrived"))


def name_stays(hops: pl.DataFrame) -> pl.Series:
    """`hop`: the hash of host, queue ID and epoch, but for its last SHARD_BITS, those of the hash of host and queue ID: so a hop
    stays in the shard that its events came to."""
    keys = pl.DataFrame(
        {"whole": hash_columns(hops, ["host", "queue_id", "epoch"]), "shard": hash_columns(hops, ["host", "queue_id"])}
    )
    return keys.select(hop=(C("whole") & ~LOW) | (C("shard") & LOW)).to_series()


def find_probes(kinds: Kinds) -> pl.DataFrame:
    """hop_no, probe: hops all of whose attempts are address probes, which are no mail."""
    tries = take(kinds, "attempt", ["hop_no", "status"])
    probes = tries.filter(C("status").str.to_lowercase().is_in(PROBES))
    real = tries.filter(~C("status").str.to_lowercase().is_in(PROBES).fill_null(False))
    return probes.select("hop_no").unique().join(real, on="hop_no", how="anti").with_columns(probe=True)


def fold_attempts(kinds: Kinds) -> pl.DataFrame:
    """One row per (hop_no, recipient, original_recipient) of the attempts: the first success or refusal decides, else the last try.

    Sendmail's word Deferred counts before its dsn, which may be that of a later command.
    """
    by = ["hop_no", "recipient", "original_recipient"]
    said = ["service", "dsn", "relay_name", "relay_ip", "next_queue_id", "reply", "folder", "action", "code", "delay"]
    spent = ["delay_queue", "delay_connect", "delay_transmit"]
    word = C("status").str.to_lowercase()
    tries = (
        take(kinds, "attempt", [*by, "stamp", "place", "status", "repeat", *said, *spent])
        .filter(~word.is_in(PROBES).fill_null(False))
        .select(
            *by,
            *said,
            "stamp",
            "place",
            C("repeat").fill_null(1),
            pl.when(C("reply").str.starts_with("Deferred").fill_null(False) & (word == "bounced"))
            .then(pl.lit("deferred"))
            .otherwise(word.replace(STATUS_WORDS))
            .alias("status"),
            connect=C("delay_connect").fill_null(0),
            transmit=C("delay_transmit").fill_null(0),
            busy=pl.when(C("delay_transmit").is_null()).then("delay").otherwise(pl.sum_horizontal(*spent)).fill_null(0),
        )
    )
    alone = ~tries.select(pl.struct(by)).to_series().is_duplicated()
    return pl.concat([fold_single(tries.filter(alone)), fold_series(tries.filter(~alone), by)], how="diagonal_relaxed")


def fold_single(tries: pl.DataFrame) -> pl.DataFrame:
    """Recipients that were tried once: `fold_series` without its work."""
    return tries.select(
        pl.exclude("stamp", "place", "repeat", "connect", "transmit", "busy"),
        at="stamp",
        try_start=C("stamp") - C("busy"),
        first_end="stamp",
        first_connect="connect",
        first_transmit="transmit",
        last_deferred=pl.when((C("status") == "deferred") & (C("repeat") > 0)).then("stamp"),
        attempts="repeat",
        waiting_us=pl.lit(0, pl.Int64),
        connect_us="connect",
        transmit_us="transmit",
        unsure_tries=pl.lit(None, pl.List(UNSURE_TRY)),
    )


def fold_series(tries: pl.DataFrame, by: list[str]) -> pl.DataFrame:
    """Recipients that were tried several times."""
    tries = tries.sort(*by, "stamp", "place", maintain_order=True)
    same = pl.all_horizontal(C(k).eq_missing(C(k).shift()) for k in by).fill_null(False)
    tries = tries.with_columns(
        waited=pl.when(same).then(C("stamp") - C("connect") - C("transmit") - C("stamp").shift()).otherwise(0)
    )
    final = C("status").is_in(["sent", "bounced"])
    decided = tries.filter(final).unique(by, keep="first", maintain_order=True).select(*by, C("stamp").alias("_until"))
    tries = tries.join(decided, on=by, how="left", nulls_equal=True, maintain_order="left")
    copies = tries.filter(final & (C("stamp") > C("_until"))).group_by(by).agg(copies=pl.len())
    tries = tries.filter(C("_until").is_null() | (C("stamp") <= C("_until")))
    rows = tries.group_by(by, maintain_order=True).agg(
        pl.col(
            "status",
            "service",
            "dsn",
            "relay_name",
            "relay_ip",
            "next_queue_id",
            "reply",
            "folder",
            "action",
            "code",
            "delay",
        ).last(),
        at=C("stamp").last(),
        try_start=(C("stamp") - C("busy")).last(),
        first_end=C("stamp").first(),
        first_connect=C("connect").first(),
        first_transmit=C("transmit").first(),
        last_deferred=C("stamp").filter((C("status") == "deferred") & (C("repeat") > 0)).max(),
        attempts=C("repeat").sum(),
        waiting_us=C("waited").sum(),
        connect_us=C("connect").sum(),
        transmit_us=C("transmit").sum(),
    )
    for more in (copies, list_unsure(tries, by)):
        rows = rows.join(more, on=by, how="left", nulls_equal=True, maintain_order="left")
    return rows


def list_unsure(tries: pl.DataFrame, by: list[str]) -> pl.DataFrame:
    """unsure_tries of the recipients `by` that have such: those of their `tries`, in order, of which the remote may have a copy."""
    lost = ~C("status").is_in(TAKEN).fill_null(False) & C("reply").str.contains(UNSURE).fill_null(False)
    those = tries.join(
        tries.filter(lost).select(by).unique(), on=by, how="semi", nulls_equal=True, maintain_order="left"
    )
    told = those.select(
        *by,
        at="stamp",
        start=C("stamp") - C("busy"),
        **{
            name: C(one).cum_sum().over(by)
            for name, one in (("attempts", "repeat"), ("connect_us", "connect"), ("transmit_us", "transmit"))
        },
        relay_name="relay_name",
        relay_ip="relay_ip",
        reply="reply",
        lost=lost,
    ).filter("lost")
    fields = [C(field.name).cast(field.dtype) for field in UNSURE_TRY.fields]
    return told.group_by(by, maintain_order=True).agg(unsure_tries=pl.struct(fields))


def tell_unsure(rows: pl.DataFrame) -> pl.DataFrame:
    """Recipients with unsure_tries where their only try was one, and unsure where any was."""
    rows = rows.with_columns(unsure=(C("unsure") & (C("try_kind") == "attempt")) | C("unsure_tries").is_not_null())
    alone = C("unsure") & C("unsure_tries").is_null()
    if not rows.select(alone.any()).item():
        return rows
    own = {"at": "logged_at", "start": "try_start"}
    only = pl.struct(C(own.get(f.name, f.name)).cast(f.dtype).alias(f.name) for f in UNSURE_TRY.fields)
    return rows.with_columns(unsure_tries=pl.when(alone).then(pl.concat_list(only)).otherwise("unsure_tries"))


def fold_refusals(kinds: Kinds) -> pl.DataFrame:
    """Recipients refused inside a queue ID: RCPT TO at the door, or the whole message after DATA (which names one)."""
    columns = ["hop_no", "stamp", "recipient", "original_recipient", "dsn", "reply", "code", "sender", "action"]
    refused = take(kinds, "refuse", columns).filter(C("action").is_in([*CLOSING_ACTIONS, "quarantine", "hold"]))
    rows = pl.concat(
        [take(kinds, "door", columns).with_columns(after_data=False), refused.with_columns(after_data=True)]
    )
    temporary = (C("action") == "tempfail") | C("dsn").str.starts_with("4") | (C("code") // 100 == 4)
    return rows.select(
        "hop_no",
        "recipient",
        "original_recipient",
        "dsn",
        "reply",
        "code",
        try_sender="sender",
        status=pl.when(C("action") == "hold")
        .then(pl.lit("pending"))
        .when(C("action") == "discard")
        .then(pl.lit("discarded"))
        .when(C("action") == "quarantine")
        .then(pl.lit("quarantined"))
        .when(temporary.fill_null(False))
        .then(pl.lit("turned_away"))
        .otherwise(pl.lit("rejected")),
        at="stamp",
        try_start="stamp",
        first_end="stamp",
        attempts=pl.lit(1, pl.Int64),
        after_data="after_data",
    ).unique(["hop_no", "recipient", "status"], keep="last", maintain_order=True)


def fold_store(kinds: Kinds) -> pl.DataFrame:
    """What a mail store did with it, one row per user or redirect target; the sieve line's word counts before mail_log's."""
    columns = ["hop_no", "stamp", "recipient", "user", "action", "reply", "folder"]
    rows = take(kinds, "store", columns).with_columns(
        who=pl.when(C("action") == "redirected").then("recipient").otherwise("user"),
    )
    return rows.select(
        "hop_no",
        recipient=pl.coalesce("who", "user"),
        original_recipient=C("user"),
        status="action",
        reply="reply",
        folder="folder",
        at="stamp",
        try_start="stamp",
        first_end="stamp",
        attempts=pl.lit(1, pl.Int64),
    ).unique(["hop_no", "recipient", "status"], keep="last", maintain_order=True)


def fold_recipients(kinds: Kinds, hops: pl.DataFrame, filters: pl.DataFrame) -> pl.DataFrame:
    """One row per recipient of each hop, with its last word there; what the whole hop suffered is laid upon the unresolved."""
    folds = {"attempt": fold_attempts, "refusal": fold_refusals, "store": fold_store}
    parts = [fold(kinds).with_columns(try_kind=pl.lit(kind)) for kind, fold in folds.items()]
    known = ("hop", "host", "arrived", "held_us", "left", "expired_at", "deleted_at", "requeued_at", "held_from")
    rows = lay_beside(pl.concat(parts, how="diagonal_relaxed"), hops.select("hop_no", *known))
    rows = rows.filter(C("hop").is_not_null()).with_columns(logged_status="status", logged_at="at")
    told = C("status") != "pending"
    rows = rows.filter(told | ~C("hop_no").is_in(rows.filter(told)["hop_no"].unique().implode()))
    by_store = (C("try_kind") == "store") & (C("status") == "rejected")
    rows = rows.with_columns(status=pl.when(by_store).then(pl.lit("bounced")).otherwise("status"))
    rows = drop_by_filters(rows, filters)
    waits = C("status") == "deferred"
    put_back = (waits | (C("status") == "pending")) & C("requeued_at").is_not_null()
    gone = waits & (C("deleted_at").is_not_null() | (C("left").is_not_null() & C("requeued_at").is_null()))
    rows = rows.with_columns(
        status=pl.when(waits & C("expired_at").is_not_null())
        .then(pl.lit("expired"))
        .when(put_back)
        .then(pl.lit("requeued"))
        .when(gone)
        .then(pl.lit("deleted"))
        .otherwise("status"),
        at=pl.when(waits & C("expired_at").is_not_null())
        .then("expired_at")
        .when(put_back)
        .then("requeued_at")
        .when(gone)
        .then(pl.coalesce("deleted_at", "left"))
        .otherwise("at"),
    )
    return (
        tell_unsure(judge_reply(share_holds(rows, kinds)))
        .with_columns(
            in_queue_us=(
                C("first_end") - C("first_connect").fill_null(0) - C("first_transmit").fill_null(0) - C("arrived")
            ).clip(lower_bound=0),
        )
        .drop("hop_no", "arrived", "left", "expired_at", "deleted_at", "requeued_at", "held_from")
    )


def forget_own_senders(kinds: Kinds, hops: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """`kinds`, where Sendmail's ctladdr is no recipient's: it is the user whose alias or .forward made the recipient, or else the
    sender, where that is a local user (deliver.c, getctladdr)."""
    tries = kinds.get("attempt", pl.DataFrame())
    if not {"original_recipient", "instance"} <= set(tries.columns):
        return dict(kinds)
    sendmails = C("instance").str.contains(r"^(?:sendmail|sm-)") & C("original_recipient").is_not_null()
    if not tries.select(sendmails.any()).item():
        return dict(kinds)

    def local(name: str) -> pl.Expr:
        return C(name).str.to_lowercase().str.replace("@[^@]*$", "")

    senders = hops.select("hop_no", _sender="sender")
    own = sendmails & (local("original_recipient") == local("_sender"))
    asked = pl.when(~own.fill_null(False)).then("original_recipient").alias("original_recipient")
    tries = tries.join(senders, on="hop_no", how="left", maintain_order="left").with_columns(asked).drop("_sender")
    return {**kinds, "attempt": tries}


def part_strangers(kinds: Kinds, hops: pl.DataFrame) -> tuple[dict[str, pl.DataFrame], pl.DataFrame]:
    """(kinds, doors): refusals that a session lent to a hop of another sender are door tries of their own."""
    doors = (
        take(kinds, "door", [*EVENTS.schema, "hop_no"])
        .join(hops.select("hop_no", _hop_sender="sender"), on="hop_no", how="left", maintain_order="left")
        .with_columns(_hops=C("hop_no").is_in(hops["hop_no"].implode()))
    )
    foreign = ((C("sender") != C("_hop_sender")) | ~C("_hops")).fill_null(False)
    strange = doors.filter(foreign).with_columns(queue_id=pl.lit(None, pl.String), kind=pl.lit("door"))
    return {**kinds, "door": doors.filter(~foreign)}, EVENTS.conform(strange)


def close_settled(hops: pl.DataFrame, recipients: pl.DataFrame) -> pl.DataFrame:
    """`hops`, those closed that no line ends but whose every recipient is settled: some programs log no 'removed'.

    Adds ended_at, when that was known: at closed_at, or where no line said so, TRAILING_US after the hop's last line; and
    settled_from, when its first recipient was settled.
    """
    waits = C("status").is_in(["deferred", "requeued"])
    settled = ~waits & (C("status") != "pending")
    fates = recipients.group_by("hop").agg(
        waiting=waits.any(), settled=settled.sum(), last_at=C("at").max(), settled_from=C("at").filter(settled).min()
    )
    told = hops.join(fates, on="hop", how="left", maintain_order="left")
    done = (C("closed_at").is_null() & ~C("waiting") & (C("settled") >= C("nrcpt").fill_null(1))).fill_null(False)
    return (
        told.with_columns(
            closed_at=pl.when(done).then("last_at").otherwise("closed_at"),
            ended_at=pl.when(done).then(C("last_seen") + TRAILING_US).otherwise("closed_at"),
        )
        .with_columns(closed=C("closed_at").is_not_null())
        .drop("waiting", "settled", "last_at")
    )


def assemble_hops(events: pl.DataFrame, fleet: Fleet, hosts: frozenset[str]) -> Stays:
    """`assemble_kinds` of one frame of EVENTS with `key`."""
    return assemble_kinds(part_kinds(events), fleet, hosts)


def assemble_kinds(kinds: Kinds, fleet: Fleet, hosts: frozenset[str]) -> Stays:
    """Fold a shard's events (with `key`, the hash of host and queue_id) to hops, recipients and notices.

    A store that could not keep a message refused it: that try stands in the log of the host that made it. What later happens
    in a mailbox is no stay. `hosts` are those with a log; with `fleet` they tell which clients and relays are hosts of ours.
    """
    kinds = {kind: frame for kind, frame in kinds.items() if kind != "mailbox"}
    if "store" in kinds and "action" in kinds["store"].columns:
        kinds["store"] = kinds["store"].filter((C("action") != "failed").fill_null(True))
    numbered, spans = number_hops(kinds)
    hops = set_arrivals(fold_hops(kinds, numbered, spans), fleet)
    numbered, doors = part_strangers(forget_own_senders(numbered, hops), hops)
    said = fold_filters(numbered)
    recipients = fold_recipients(numbered, hops, said)
    hops = close_settled(hops, recipients)
    recipients = name_hosts(recipients, "relay_name", "relay_ip", "host", "relay_host", fleet, hosts)
    hops = name_hosts(hops, "client_name", "client_ip", "host", "client_host", fleet, hosts)
    filters = said.join(hops.select("hop_no", "hop"), on="hop_no", how="inner", maintain_order="left").drop("hop_no")
    told = ["hop_no", "next_queue_id", "action", "stamp"]
    expired = take(numbered, "expire", told).filter(C("next_queue_id").is_not_null())
    notices = (
        pl.concat([take(numbered, "notice", told), expired])
        .rename({"stamp": "at"})
        .join(hops.select("hop_no", "hop", "host"), on="hop_no", how="inner")
        .drop("hop_no")
    )
    return Stays(hops.drop("hop_no", "loopback"), recipients.drop("host"), notices, filters, doors)
