"""SMTP sessions: a recipient refused before there was a queue ID, or a client lost in DATA, told to the queue ID of the session."""

import polars as pl

from hoptrace.schemas.events import EVENTS

C = pl.col
KIND = EVENTS.schema["kind"]
SESSION_KINDS = ("arrive", "door", "lost", "refuse", "proxy", "connect", "disconnect")
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
    refused = (C("kind") == "proxy") & (C("action") == "reject")
    rows = events.with_columns(kind=pl.when(refused.fill_null(False)).then(pl.lit("door", KIND)).otherwise("kind"))
    rows = rows.filter(C("kind").is_in(SESSION_KINDS)).with_columns(_own=name_session()).sort(
        "host", "_own", "stamp", "place", nulls_last=False)
    same = (C("host") == C("host").shift()) & (C("_own") == C("_own").shift())
    cut = (C("kind") == "connect") | (C("kind").shift() == "disconnect") | (C("stamp") - C("stamp").shift() > QUIET_GAP_US)
    rows = rows.with_columns(_session=(~same.fill_null(False) | cut.fill_null(True)).cum_sum())
    begins = pl.when((C("kind") == "arrive") & C("queue_id").is_not_null()).then(pl.struct("queue_id", "stamp", "place"))
    rows = rows.with_columns(
        _next=begins.fill_null(strategy="backward").over("_session"), _last=begins.fill_null(strategy="forward").over("_session")
    )
    found = rows.filter(C("kind").is_in(["door", "refuse", "lost"]) & C("queue_id").is_null()).with_columns(
        _mail=pl.when(C("kind") == "lost").then("_last").otherwise("_next")
    )
    belongs = C("_mail").struct.field("queue_id").is_not_null() & C("_own").is_not_null()
    lent = found.with_columns(
        queue_id=pl.when(belongs).then(C("_mail").struct.field("queue_id")),
        stamp=pl.when(belongs).then(pl.max_horizontal("stamp", C("_mail").struct.field("stamp"))).otherwise("stamp"),
        place=pl.when(belongs & (C("kind") != "lost")).then(C("_mail").struct.field("place") + 1).otherwise("place"),
        since=pl.when(belongs).then(pl.min_horizontal("stamp", C("_mail").struct.field("stamp"))).otherwise("stamp"),
    ).filter(C("queue_id").is_not_null() | (C("kind") == "door"))
    return pl.concat([part.select(*EVENTS.schema.keys(), "since") for part in (lent, lend_clients(rows))])


def cut_sessions(told: pl.DataFrame, ends_at: int) -> pl.DataFrame:
    """The EVENTS that `fold_sessions` told with a line from before `ends_at` for a mail after it: the next night cannot tell them."""
    return told.filter(C("queue_id").is_not_null() & (C("since") < ends_at) & (C("stamp") >= ends_at)).drop("since")


def name_session() -> pl.Expr:
    """The session's own name on its host: its ID where the daemon logs one, else the process."""
    return pl.coalesce("session", C("pid").cast(pl.String))


def lend_clients(rows: pl.DataFrame) -> pl.DataFrame:
    """A client event beside every mail whose own line names no client, from its session's connect line."""
    who = ("client_name", "client_ip", "helo")
    known = rows.filter(C("session").is_not_null()).with_columns(
        pl.when(C("kind") == "connect").then(name).fill_null(strategy="forward").over("_session").alias(f"_{name}")
        for name in (*who, "stamp")
    )
    bare = (C("kind") == "arrive") & C("client_ip").is_null() & C("queue_id").is_not_null() & C("_client_ip").is_not_null()
    return known.filter(bare).with_columns(
        kind=pl.lit("client", KIND), place=C("place") + 1, since="_stamp", **{name: C(f"_{name}") for name in who}
    )
