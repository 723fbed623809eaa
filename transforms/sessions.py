"""SMTP sessions: a recipient refused before there was a queue ID, or a client lost in DATA, told to the queue ID of the session."""

from collections.abc import Callable

import polars as pl

from hoptrace.schemas.events import EVENTS
from hoptrace.transforms.hash import hash_columns
from hoptrace.transforms.kinds import Kinds, take

C = pl.col
KIND = EVENTS.schema["kind"]
SESSION_KINDS = ("arrive", "door", "lost", "refuse", "proxy", "connect", "disconnect")
PROCESS_KINDS = (*SESSION_KINDS, "part")
"""Kinds that are told by their process: those of sessions, and the pieces of one task's line."""

MARKS = ("arrive", "connect", "disconnect")
MARK_COLUMNS = ("stamp", "host", "place", "pid", "session", "queue_id", "client_name", "client_ip", "helo")
"""All that is needed of the lines that begin and end sessions and mails."""

NAMELESS_MARK = ("key", "stamp", "place", "pid", "queue_id")
"""... where the daemon gives its sessions no ID: its own lines name the client then."""

QUIET_GAP_US = 10 * 60_000_000
"""Two lines of one process this far apart are two sessions, whatever is between them."""


def select_sessions(kinds: Kinds) -> dict[str, pl.DataFrame]:
    """What is needed of the events of SMTP sessions, and of pieces of lines, by kind, with `key`, the hash of host and session.

    A session is called by its ID where the daemon logs one, else by its process.
    """
    sessions = {}
    for kind in PROCESS_KINDS:
        if kind in kinds:
            columns = MARK_COLUMNS if kind in MARKS else {*kinds[kind].columns, *MARK_COLUMNS} - {"key"}
            frame = take(kinds, kind, columns)
            named = C("session").is_not_null() | C("pid").is_not_null()
            frame = frame.filter(C("queue_id").is_null() | (named if kind == "arrive" else pl.lit(False)))
            if frame.height:
                keyed = frame.with_columns(key_session(frame).alias("key"))
                nameless = kind in MARKS and frame["session"].null_count() == frame.height
                sessions[kind] = keyed.select(NAMELESS_MARK if nameless else keyed.columns)
    return sessions


def key_session(frame: pl.DataFrame) -> pl.Series:
    """The hash of host and session."""
    by_process = hash_columns(frame, ["host", "pid"])
    if frame["session"].null_count() == frame.height:
        return by_process
    return hash_columns(frame, ["host", "session"]).zip_with(frame["session"].is_not_null(), by_process)


def fold_sessions(kinds: Kinds) -> pl.DataFrame:
    """The events of kind door, refuse and lost that name no queue ID, with that of their session's mail where there is one;
    and who brought a mail, as a client event, where only its session's first line says so.

    What befell a recipient before the session's next client= line belongs to the mail that line begins (the mail's sender
    decides later whether it is the same one); a lost connection to the mail begun last. The event then stands beside that
    line, and `since` is the stamp of the earlier of the two lines that it was told by. A before-queue proxy that refuses a
    message is a door. `kinds` are those of `select_sessions`.
    """
    kinds = refuse_at_door(kinds)
    marks = mark_sessions(kinds)
    parts = [EVENTS.empty().with_columns(since=C("stamp")), lend_clients(kinds, marks)]
    mails = take(kinds, "arrive", ["queue_id", "stamp", "place"]).select(_id="queue_id", _stamp="stamp", _place="place")
    for kind in ("door", "refuse", "lost"):
        if kind in marks:
            spots = kinds[kind].with_columns(kind=pl.lit(kind, KIND))
            which = marks[kind]["_last" if kind == "lost" else "_next"]
            parts.append(lend_mails(spots.hstack(gather_rows(mails, which))))
    told = pl.concat(parts, how="diagonal").filter(C("queue_id").is_not_null() | (C("kind") == "door"))
    return EVENTS.conform(told).with_columns(told["since"], C("repeat").fill_null(1))


def lend_mails(spots: pl.DataFrame) -> pl.DataFrame:
    """Events with the queue ID _id of their session's mail, beside its line (_stamp, _place); as they are where there is none."""
    beside = C("_id").is_not_null() & (C("kind") != "lost")
    return spots.select(
        pl.exclude("_id", "_stamp", "_place", "stamp", "place", "queue_id"),
        queue_id="_id",
        stamp=pl.max_horizontal("stamp", "_stamp"),
        place=pl.when(beside).then(C("_place") + 1).otherwise("place"),
        since=pl.min_horizontal("stamp", "_stamp"),
    )


def refuse_at_door(kinds: Kinds) -> Kinds:
    """`kinds` in which what a before-queue proxy rejected is a door."""
    if "proxy" not in kinds or "action" not in kinds["proxy"].columns:
        return kinds
    rejected = (C("action") == "reject").fill_null(False)
    refused = [kinds[kind] for kind in ("door",) if kind in kinds] + [kinds["proxy"].filter(rejected)]
    return {**kinds, "proxy": kinds["proxy"].filter(~rejected), "door": pl.concat(refused, how="diagonal")}


def mark_sessions(kinds: Kinds) -> dict[str, pl.DataFrame]:
    """Per kind, row for row: _next and _last, the rows of kind arrive that began the session's next and last mail, and _begin,
    the row of kind connect that began the session."""
    needed = ("key", "stamp", "place", "queue_id", "session", "pid")
    rows = pl.concat(
        take(kinds, kind, needed).select(
            "key",
            "stamp",
            "place",
            _row=pl.int_range(pl.len(), dtype=pl.UInt32),
            _kind=pl.lit(number, pl.UInt8),
            _named=C("queue_id").is_not_null(),
            _own=C("session").is_not_null() | C("pid").is_not_null(),
        )
        for number, kind in enumerate(SESSION_KINDS)
    ).sort("key", "stamp", "place", "_kind", "_row")
    arrive, connect, disconnect = (SESSION_KINDS.index(kind) for kind in MARKS)
    begins = (
        (C("key") != C("key").shift())
        | (C("_kind") == connect)
        | (C("_kind").shift() == disconnect)
        | (C("stamp") - C("stamp").shift() > QUIET_GAP_US)
    )
    rows = rows.with_columns(_session=begins.fill_null(True).cum_sum())
    mail, begin = (C("_kind") == arrive) & C("_named"), C("_kind") == connect
    found = rows.select(
        "_kind",
        "_row",
        _next=fill_session(mail, pl.Expr.backward_fill),
        _last=fill_session(mail, pl.Expr.forward_fill),
        _begin=fill_session(begin, pl.Expr.forward_fill),
    )
    parts = found.sort("_row").partition_by("_kind", as_dict=True, include_key=False, maintain_order=True)
    return {SESSION_KINDS[number]: part.drop("_row") for (number,), part in parts.items()}


def fill_session(those: pl.Expr, fill: Callable[[pl.Expr], pl.Expr]) -> pl.Expr:
    """The nearest row of `those` in the order and direction of `fill`, within the session."""
    row, session = fill(pl.when(those).then("_row")), fill(pl.when(those).then("_session"))
    return pl.when((session == C("_session")) & C("_own")).then(row)


def gather_rows(frame: pl.DataFrame, rows: pl.Series) -> pl.DataFrame:
    """The `rows` of `frame`; null where a row is null."""
    return frame.select(pl.all().gather(rows))


def cut_sessions(told: pl.DataFrame, ends_at: int) -> pl.DataFrame:
    """The EVENTS that `fold_sessions` told with a line from before `ends_at` for a mail after it: the next night cannot tell them."""
    return told.filter(C("queue_id").is_not_null() & (C("since") < ends_at) & (C("stamp") >= ends_at)).drop("since")


def lend_clients(kinds: Kinds, marks: dict[str, pl.DataFrame]) -> pl.DataFrame:
    """A client event beside every mail whose own line names no client, from its session's connect line."""
    who = ["client_name", "client_ip", "helo"]
    begun = marks["arrive"]["_begin"] if "arrive" in marks else pl.Series(dtype=pl.UInt32)
    first = gather_rows(take(kinds, "connect", [*who, "stamp"]).rename({"stamp": "since"}), begun)
    mails = take(kinds, "arrive", MARK_COLUMNS)
    bare = (
        C("session").is_not_null() & C("_own_ip").is_null() & C("queue_id").is_not_null() & C("client_ip").is_not_null()
    )
    lent = mails.with_columns(_own_ip="client_ip").with_columns(first).filter(bare).drop("_own_ip")
    return lent.with_columns(kind=pl.lit("client", KIND), place=C("place") + 1)
