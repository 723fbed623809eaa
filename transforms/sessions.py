"""SMTP sessions: a recipient refused before there was a queue ID, or a client lost in DATA, told to the queue ID of the session."""

import polars as pl

from hoptrace.schemas.events import EVENTS

C = pl.col
KIND = EVENTS.schema["kind"]
SESSION_KINDS = ("arrive", "door", "lost", "refuse", "proxy", "connect", "disconnect")
MARK_COLUMNS = (
    "stamp", "host", "place", "instance", "service", "pid", "session", "kind", "queue_id", "client_name", "client_ip", "helo",
)  # fmt: skip
"""All that is needed of the lines that begin and end sessions and mails."""

QUIET_GAP_US = 10 * 60_000_000
"""Two lines of one process this far apart are two sessions, whatever is between them."""


def fold_sessions(events: pl.DataFrame) -> pl.DataFrame:
    """The events of kind door, refuse and lost that name no queue ID, with that of their session's mail where there is one;
    and who brought a mail, as a client event, where only its session's first line says so.

    What befell a recipient before the session's next client= line belongs to the mail that line begins (the mail's sender
    decides later whether it is the same one); a lost connection to the mail begun last. The event then stands beside that
    line, and `since` is the stamp of the earlier of the two lines that it was told by. A before-queue proxy that refuses a
    message is a door.
    """
    if "action" not in events.columns:
        events = events.with_columns(action=pl.lit(None, pl.String))
    refused = (C("kind") == "proxy") & (C("action") == "reject")
    events = (
        events.filter(C("kind").is_in(SESSION_KINDS))
        .with_columns(kind=pl.when(refused.fill_null(False)).then(pl.lit("door", KIND)).otherwise("kind"))
        .with_row_index("_row")
    )
    marks = mark_sessions(events)
    spots = events.filter(C("kind").is_in(["door", "refuse", "lost"]) & C("queue_id").is_null()).join(
        marks.select("_row", "_next", "_last"), on="_row", how="left", maintain_order="left"
    )
    mails = events.select(_mail="_row", _id="queue_id", _stamp="stamp", _place="place")
    found = spots.with_columns(_mail=pl.when(C("kind") == "lost").then("_last").otherwise("_next")).join(
        mails, on="_mail", how="left", maintain_order="left"
    )
    belongs = C("_id").is_not_null()
    lent = found.with_columns(
        queue_id="_id",
        stamp=pl.when(belongs).then(pl.max_horizontal("stamp", "_stamp")).otherwise("stamp"),
        place=pl.when(belongs & (C("kind") != "lost")).then(C("_place") + 1).otherwise("place"),
        since=pl.when(belongs).then(pl.min_horizontal("stamp", "_stamp")).otherwise("stamp"),
    ).filter(C("queue_id").is_not_null() | (C("kind") == "door"))
    both = pl.concat([lent, lend_clients(events, marks)], how="diagonal")
    return EVENTS.conform(both).with_columns(both["since"])


def mark_sessions(events: pl.DataFrame) -> pl.DataFrame:
    """_row, _next, _last, _begin: per event the row of its session's next and last mail, and of the line that began it."""
    own = name_session()
    rows = events.select(
        "_row", "host", "stamp", "place", "kind", C("queue_id").is_not_null().alias("_named"), _own=own
    ).sort("host", "_own", "stamp", "place", "_row", nulls_last=False)
    same = (C("host") == C("host").shift()) & (C("_own") == C("_own").shift())
    cut = (
        (C("kind") == "connect")
        | (C("kind").shift() == "disconnect")
        | (C("stamp") - C("stamp").shift() > QUIET_GAP_US)
    )
    rows = rows.with_columns(_session=(~same.fill_null(False) | cut.fill_null(True)).cum_sum())
    mail = pl.when((C("kind") == "arrive") & C("_named")).then(pl.struct("_row", "_session"))
    begin = pl.when(C("kind") == "connect").then(pl.struct("_row", "_session"))
    sought = {"_next": mail.backward_fill(), "_last": mail.forward_fill(), "_begin": begin.forward_fill()}
    rows = rows.with_columns(**sought)
    return rows.select(
        "_row",
        *(
            pl.when((C(name).struct.field("_session") == C("_session")) & C("_own").is_not_null())
            .then(C(name).struct.field("_row"))
            .alias(name)
            for name in sought
        ),
    )


def cut_sessions(told: pl.DataFrame, ends_at: int) -> pl.DataFrame:
    """The EVENTS that `fold_sessions` told with a line from before `ends_at` for a mail after it: the next night cannot tell them."""
    return told.filter(C("queue_id").is_not_null() & (C("since") < ends_at) & (C("stamp") >= ends_at)).drop("since")


def name_session() -> pl.Expr:
    """The session's own name on its host: its ID where the daemon logs one, else the process."""
    return pl.coalesce("session", C("pid").cast(pl.String))


def lend_clients(events: pl.DataFrame, marks: pl.DataFrame) -> pl.DataFrame:
    """A client event beside every mail whose own line names no client, from its session's connect line."""
    who = ("client_name", "client_ip", "helo")
    bare = events.filter(
        (C("kind") == "arrive") & C("session").is_not_null() & C("client_ip").is_null() & C("queue_id").is_not_null()
    ).drop(who)
    first = events.filter(C("kind") == "connect").select(*who, _begin="_row", since="stamp")
    known = bare.join(marks.select("_row", "_begin"), on="_row", how="left", maintain_order="left").join(
        first, on="_begin", how="inner", maintain_order="left"
    )
    return known.filter(C("client_ip").is_not_null()).with_columns(kind=pl.lit("client", KIND), place=C("place") + 1)
