"""SMTP sessions: a recipient refused before there was a queue ID, or a client lost in DATA, told to the queue ID of the session."""

import polars as pl

from hoptrace.schemas.events import EVENTS

C = pl.col
KIND = EVENTS.schema["kind"]
SESSION_KINDS = ("arrive", "door", "lost", "refuse", "proxy", "connect", "disconnect")
QUIET_GAP_US = 10 * 60_000_000
"""Two lines of one process this far apart are two sessions, whatever is between them."""


def fold_sessions(events: pl.DataFrame) -> pl.DataFrame:
    """The events of kind door, refuse and lost that name no queue ID, with that of their session's mail where there is one.

    What befell a recipient before the session's next client= line belongs to the mail that line begins (the mail's sender
    decides later whether it is the same one); a lost connection to the mail begun last. The event then stands beside that
    line. A before-queue proxy that refuses a message is a door.
    """
    refused = (C("kind") == "proxy") & (C("action") == "reject")
    rows = events.with_columns(kind=pl.when(refused.fill_null(False)).then(pl.lit("door", KIND)).otherwise("kind"))
    rows = rows.filter(C("kind").is_in(SESSION_KINDS)).sort("host", "pid", "stamp", "place", nulls_last=False)
    same = (C("host") == C("host").shift()) & (C("pid") == C("pid").shift())
    cut = (C("kind") == "connect") | (C("kind").shift() == "disconnect") | (C("stamp") - C("stamp").shift() > QUIET_GAP_US)
    rows = rows.with_columns(_session=(~same.fill_null(False) | cut.fill_null(True)).cum_sum())
    begins = pl.when((C("kind") == "arrive") & C("queue_id").is_not_null()).then(pl.struct("queue_id", "stamp", "place"))
    rows = rows.with_columns(
        _next=begins.fill_null(strategy="backward").over("_session"), _last=begins.fill_null(strategy="forward").over("_session")
    )
    found = rows.filter(C("kind").is_in(["door", "refuse", "lost"]) & C("queue_id").is_null()).with_columns(
        _mail=pl.when(C("kind") == "lost").then("_last").otherwise("_next")
    )
    belongs = C("_mail").struct.field("queue_id").is_not_null() & C("pid").is_not_null()
    return found.with_columns(
        queue_id=pl.when(belongs).then(C("_mail").struct.field("queue_id")),
        stamp=pl.when(belongs).then(pl.max_horizontal("stamp", C("_mail").struct.field("stamp"))).otherwise("stamp"),
        place=pl.when(belongs & (C("kind") != "lost")).then(C("_mail").struct.field("place") + 1).otherwise("place"),
    ).filter(C("queue_id").is_not_null() | (C("kind") == "door")).select(EVENTS.schema.keys())
