"""What became of a recipient: the outcome that its last logged fact tells, and when it was settled."""

import polars as pl

C = pl.col
DOOR_WAIT_US = 24 * 3_600_000_000
"""A client that does not come back within this time has given up."""

HANDOVER_WAIT_US = 6 * 3_600_000_000
"""A hand-over to a host of ours that shows nothing in this covered time is missing there."""

PROGRAM_WORDS = r"(?i)^delivered to command|^delivered via .* service"
MAILBOX_WORDS = r"(?i)delivered to (?:mailbox|maildir|file)|\bsaved$|^250 2\.0\.0 <[^>]*> \S+ saved"

FINAL = {
    "bounced": "bounced", "expired": "returned", "rejected": "rejected", "turned_away": "deferred_at_door",
    "discarded": "discarded", "deleted": "deleted", "quarantined": "quarantined", "stored": "delivered",
}


def judge_outcomes(rows: pl.DataFrame, ends_at: int) -> pl.DataFrame:
    """Adds outcome, place, resolved (µs), settled (µs, null while unsettled) to last rows.

    `rows` has status, reply, relay_name, relay_host, relay_read_until (µs up to which the next host's log is whole, null where
    its log is not read), at, and the hop's held_from, deleted_at, aborted_at, refused_at, left, last_seen, queued, arrived.
    `ends_at`: end of the night (µs); what is told by absence needs the deadline to lie before it.
    """
    reply = C("reply").fill_null("")
    mailbox = reply.str.contains(MAILBOX_WORDS) | C("relay_name").is_in(["virtual", "dovecot", "maildrop", "procmail", "cyrus"]).fill_null(False)
    program = reply.str.contains(PROGRAM_WORDS)
    local = C("relay_name").is_in(["local"]).fill_null(False)
    inside = C("relay_host").is_not_null() & ~mailbox & ~program
    sent = C("status") == "sent"
    lost = (sent & inside) | (C("status") == "redirected")
    deadline = C("at") + HANDOVER_WAIT_US
    watched = (C("relay_read_until") >= deadline).fill_null(False)
    pending = C("status") == "pending"
    waits = C("status").is_in(["deferred", "requeued"])
    gone = pl.coalesce("deleted_at", "left")
    outcome = (
        pl.when(C("status").is_in(list(FINAL))).then(C("status").replace_strict(FINAL, default=None, return_dtype=pl.String))
        .when((pending | waits) & C("held_from").is_not_null()).then(pl.lit("held"))
        .when(waits).then(pl.lit("queued"))
        .when(lost & (deadline >= ends_at)).then(pl.lit("in_transit"))
        .when(lost & watched).then(pl.lit("missing"))
        .when(lost).then(pl.lit("unknown"))
        .when(sent).then(pl.lit("delivered"))
        .when(pending & C("refused_at").is_not_null()).then(pl.lit("rejected"))
        .when(pending & gone.is_not_null()).then(pl.lit("deleted"))
        .when(pending & C("aborted_at").is_not_null() & C("queued").is_null()).then(pl.lit("aborted"))
        .otherwise(pl.lit("queued"))
    )
    rows = rows.with_columns(outcome=outcome)
    resolved = (
        pl.when(pending & (C("outcome") == "deleted")).then(gone)
        .when(pending & (C("outcome") == "rejected")).then("refused_at")
        .when(pending & (C("outcome") == "aborted")).then("aborted_at")
        .when(pending).then(pl.coalesce("held_from", "last_seen"))
        .otherwise(C("at"))
    )
    settled = (
        pl.when(C("outcome").is_in(["queued", "held", "in_transit"])).then(None)
        .when(C("outcome").is_in(["missing", "unknown"])).then(deadline)
        .when(C("outcome") == "deferred_at_door").then(
            pl.when(resolved + DOOR_WAIT_US < ends_at).then(resolved + DOOR_WAIT_US))
        .otherwise(resolved)
    )
    place = (
        pl.when(C("outcome") != "delivered").then(None)
        .when((C("status") == "stored") | mailbox).then(pl.lit("mailbox"))
        .when(program | local).then(pl.lit("program")).otherwise(pl.lit("outside"))
    )
    return rows.with_columns(resolved=resolved, settled=settled, place=place)
