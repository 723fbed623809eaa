"""What became of a recipient: the outcome that its last logged fact tells, and when it was settled."""

from collections.abc import Mapping

import polars as pl

from hoptrace.transforms.holes import Logs
from hoptrace.transforms.watch import watch_holders, watch_relays, watch_stores

C = pl.col
DOOR_WAIT_US = 24 * 3_600_000_000
"""A client that does not come back within this time has given up."""

HANDOVER_WAIT_US = 6 * 3_600_000_000
"""A hand-over to a host of ours that shows nothing in this covered time is missing there."""

SHOWN_BY_US = 2 * HANDOVER_WAIT_US
"""A host whose log says nothing at all from the end of that time up to here has none, as far as this hand-over goes."""

UNFINISHED_US = 6 * 3_600_000_000
"""A message whose queue never took it, and of which nothing was heard for this long, was given up by its client."""

PROGRAM_WORDS = r"(?i)^delivered to command|^delivered via .* service"
MAILBOX_WORDS = r"(?i)delivered to (?:mailbox|maildir|file)|\bsaved$|^250 2\.\d\.\d <[^>]*> \S+ saved"
PIPED = "piped message to program "
COMMAND = r"^delivered to command: \W*(?:\S*/)?([\w.-]+)"
DROPPED = r"(?i)^delivered to file:? /dev/null|^discarded\b"
SMTP_MAILERS = ("smtp", "esmtp", "smtp8", "dsmtp", "relay")
"""Sendmail's mailers that hand on to another host, wherever their line names none."""

MAILBOX_PROGRAMS = ("virtual", "dovecot", "maildrop", "procmail", "cyrus", "dovecot-lda", "deliver")

FINAL = {
    "bounced": "bounced",
    "expired": "returned",
    "rejected": "rejected",
    "turned_away": "deferred_at_door",
    "discarded": "discarded",
    "deleted": "deleted",
    "quarantined": "quarantined",
    "stored": "delivered",
}

HOP_TIMES = (
    "held_from", "deleted_at", "aborted_at", "refused_at", "left", "first_seen", "last_seen", "queued", "arrived",
)  # fmt: skip
"""What `judge_outcomes` asks of the hop, all in microseconds."""


def judge_outcomes(rows: pl.DataFrame, ends_at: int, programs: Mapping[str, str], logs: Logs) -> pl.DataFrame:
    """Adds outcome, place, resolved (µs), settled (µs, null while unsettled), unread_host and unread_at (host and µs of the log
    that would tell what is unknown) and unshown (a store of ours says that it saved it, and no line there is linked to it) to last
    rows.

    `rows` has status, service, reply, relay_name, relay_host, loopback, next_queue_id, clash (see `find_clashes`), at, try_start,
    hop_host, and the hop's held_from, deleted_at, aborted_at, refused_at, left, first_seen, last_seen, queued, arrived.
    `ends_at`: end of the night (µs); what is told by absence needs its deadline to lie before it.
    `programs`: what the fleet says that a pipe or command means: mailbox, filter or discard.
    """
    rows = place_sent(rows, programs)
    sent, place = C("status") == "sent", C("place")
    inside = (
        C("relay_host").is_not_null()
        & place.is_null()
        & (~C("loopback").fill_null(False) | C("next_queue_id").is_not_null())
    )
    lost = (sent & inside) | (C("status") == "redirected")
    rows = watch_relays(rows, lost, logs, HANDOVER_WAIT_US, SHOWN_BY_US)
    deadline = pl.coalesce(
        "shown_at", C("at") + pl.when(C("relay_host").is_null()).then(HANDOVER_WAIT_US).otherwise(SHOWN_BY_US)
    )
    watched = C("relay_whole").fill_null(False) & ~C("clash").fill_null(False)
    pending = C("status") == "pending"
    waits = C("status").is_in(["deferred", "requeued"])
    gone = pl.coalesce("deleted_at", "left")
    never_queued = pending & C("queued").is_null() & C("held_from").is_null()
    silent = never_queued & (C("last_seen") + UNFINISHED_US < ends_at)
    rows = watch_holders(
        rows, pending & (C("left").is_not_null() | silent) & C("deleted_at").is_null(), logs, UNFINISHED_US
    )
    untold = pending & C("holder_unread_at").is_not_null()
    outcome = (
        pl.when(C("status").is_in(list(FINAL)))
        .then(C("status").replace_strict(FINAL, default=None, return_dtype=pl.String))
        .when((pending | waits) & C("held_from").is_not_null())
        .then(pl.lit("held"))
        .when(waits)
        .then(pl.lit("queued"))
        .when(sent & (place == "dropped"))
        .then(pl.lit("discarded"))
        .when(lost & (deadline >= ends_at))
        .then(pl.lit("in_transit"))
        .when(lost & watched)
        .then(pl.lit("missing"))
        .when(lost)
        .then(pl.lit("unknown"))
        .when(sent)
        .then(pl.lit("delivered"))
        .when(pending & C("refused_at").is_not_null())
        .then(pl.lit("rejected"))
        .when(untold & (C("left").is_not_null() | C("aborted_at").is_null()))
        .then(pl.lit("unknown"))
        .when(pending & gone.is_not_null())
        .then(pl.lit("deleted"))
        .when((never_queued & C("aborted_at").is_not_null()) | silent)
        .then(pl.lit("aborted"))
        .otherwise(pl.lit("queued"))
    )
    rows = rows.with_columns(outcome=outcome)
    resolved = (
        pl.when(pending & (C("outcome") == "deleted"))
        .then(gone)
        .when(pending & (C("outcome") == "rejected"))
        .then("refused_at")
        .when(pending & (C("outcome") == "aborted"))
        .then(pl.coalesce("aborted_at", "last_seen"))
        .when(pending & (C("outcome") == "unknown"))
        .then(pl.coalesce("left", "last_seen"))
        .when(pending)
        .then(pl.coalesce("held_from", "last_seen"))
        .otherwise(C("at"))
    )
    settled = (
        pl.when(C("outcome").is_in(["queued", "held", "in_transit"]))
        .then(None)
        .when(C("outcome").is_in(["missing", "unknown"]) & ~pending)
        .then(deadline)
        .when((C("outcome") == "unknown") & C("left").is_null())
        .then(resolved + UNFINISHED_US)
        .when((C("outcome") == "aborted") & C("aborted_at").is_null())
        .then(resolved + UNFINISHED_US)
        .when(C("outcome") == "deferred_at_door")
        .then(pl.when(resolved + DOOR_WAIT_US < ends_at).then(resolved + DOOR_WAIT_US))
        .otherwise(resolved)
    )
    delivered = C("outcome") == "delivered"
    place = (
        pl.when(delivered & (C("status") == "stored"))
        .then(pl.when(C("reply").str.starts_with(PIPED)).then(pl.lit("program")).otherwise(pl.lit("mailbox")))
        .when(delivered)
        .then(pl.coalesce("place", pl.lit("outside")))
    )
    unknown = C("outcome") == "unknown"
    elsewhere = C("relay_host").is_not_null() & ~C("loopback").fill_null(False) & C("next_queue_id").is_not_null()
    saved = delivered & sent & (C("place") == "mailbox") & elsewhere
    rows = watch_stores(rows, saved, logs)
    return rows.with_columns(
        unshown=saved.fill_null(False),
        resolved=resolved,
        settled=settled,
        place=place,
        unread_host=pl.when(unknown & pending)
        .then("hop_host")
        .when(unknown | C("store_unread_at").is_not_null())
        .then("relay_host"),
        unread_at=pl.when(unknown & pending)
        .then("holder_unread_at")
        .when(unknown)
        .then("relay_unread_at")
        .otherwise("store_unread_at"),
    )


def place_here(meaning: Mapping[str, str], programs: Mapping[str, str]) -> pl.Expr:
    """The place of what a queue that names no relay gave to a mailer or transport of its own (`service`; Sendmail, Exim).

    Its recipient is then a command behind `|`, a file, or a user.
    """
    mailer = C("service").str.to_lowercase()
    here = C("relay_name").is_null() & C("relay_ip").is_null() & mailer.is_not_null() & ~mailer.is_in(SMTP_MAILERS)
    command = C("recipient").str.extract(r"^\|\W*(?:\S*/)?([\w.-]+)")
    known = {**dict.fromkeys(MAILBOX_PROGRAMS, "mailbox"), **{name: meaning[what] for name, what in programs.items()}}
    return (
        pl.when(here & C("recipient").str.starts_with("|"))
        .then(command.replace_strict(known, default="program", return_dtype=pl.String))
        .when(here & (C("recipient") == "/dev/null"))
        .then(pl.lit("dropped"))
        .when(here)
        .then(pl.lit("mailbox"))
    )


def place_sent(rows: pl.DataFrame, programs: Mapping[str, str]) -> pl.DataFrame:
    """Adds place to rows of status sent: mailbox, program, dropped; null where another host took it."""
    reply = C("reply").fill_null("")
    meaning = {"mailbox": "mailbox", "discard": "dropped", "filter": "program"}
    known = {**dict.fromkeys(MAILBOX_PROGRAMS, "mailbox"), **{name: meaning[what] for name, what in programs.items()}}
    named = pl.coalesce(reply.str.extract(COMMAND), C("relay_name").str.to_lowercase())
    place = (
        pl.when(reply.str.contains(DROPPED) | (C("service") == "discard").fill_null(False))
        .then(pl.lit("dropped"))
        .when(reply.str.contains(MAILBOX_WORDS))
        .then(pl.lit("mailbox"))
        .when(named.is_in(list(known)))
        .then(named.replace_strict(known, default=None, return_dtype=pl.String))
        .when(reply.str.contains(PROGRAM_WORDS) | (C("relay_name") == "local").fill_null(False))
        .then(pl.lit("program"))
        .otherwise(place_here(meaning, programs))
    )
    loop = C("loopback").fill_null(False) & C("next_queue_id").is_null()
    return rows.with_columns(
        place=pl.when(C("status") == "sent").then(pl.coalesce(place, pl.when(loop).then(pl.lit("program"))))
    )
