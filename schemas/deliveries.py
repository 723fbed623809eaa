"""Table `deliveries` (and `open`, of the same shape): what became of one message for one recipient, across all hosts."""

import polars as pl

from hoptrace.schemas.table import TIME, Table

TEXT = pl.String
STAGES = ("receive", "in_queue", "waiting_retry", "held", "filter", "connect", "transmit", "between_hosts")

STAGE_SECONDS = pl.Struct({stage: pl.Float64() for stage in STAGES})
STAY = pl.Struct(
    {
        "host": TEXT(),
        "queue_id": TEXT(),
        "arrived_at": TIME,
        "handed_over_at": TIME,
        "attempts": pl.Int64(),
        "relay": TEXT(),
        "reply": TEXT(),
        "stages": STAGE_SECONDS,
        "evidence": TEXT(),
    }
)

DELIVERIES = Table(
    "deliveries",
    {
        "trace_id": (TEXT, "hash of the root hop's host, queue ID and epoch (24 hex digits)"),
        "message_id": (TEXT, "Message-ID without brackets; null where there is none"),
        "sender": (TEXT, "envelope sender at the entrance; '' is the null sender"),
        "recipient": (TEXT, "recipient after alias, forward and list; null where the log has not named it yet"),
        "original_recipient": (TEXT, "recipient as asked for at the entrance"),
        "n_recipients": (pl.Int64, "recipients this row stands for; 1 but where the log has not named them"),
        "entry_host": (TEXT, "first host of ours"),
        "client_name": (TEXT, "who handed it to us"),
        "client_ip": (TEXT, "its address"),
        "sasl_user": (TEXT, "authenticated user"),
        "size": (pl.Int64, "bytes at the entrance"),
        "submitted_at": (TIME, "when our fleet first took it; null where it never did"),
        "first_attempt_at": (TIME, "first try of the same series at our door"),
        "resolved_at": (TIME, "the last logged fact about it"),
        "settled_at": (TIME, "when the outcome was known; null in `open`"),
        "outcome": (
            TEXT,
            "delivered, bounced, returned, rejected, deferred_at_door, aborted, discarded, quarantined, "
            "deleted, missing, unknown; in `open`: queued, held, in_transit",
        ),
        "place": (TEXT, "delivered: mailbox, outside or program"),
        "folder": (
            TEXT,
            "mailbox folder, where the store tells; the filter's own name for what it put into quarantine",
        ),
        "delay_s": (pl.Float64, "seconds from submitted_at to resolved_at; in `open` to the end of the night"),
        "delay_class": (TEXT, "on_time < 4 h <= late < 4 d <= overdue"),
        "warned_at": (TIME, "arrival of the first delay notice to the sender"),
        "warning_due": (pl.Boolean, "a failed attempt of a stay older than its host's delay_warning; null where unset"),
        "returned_at": (TIME, "arrival of the bounce notice to the sender"),
        "return_due": (pl.Boolean, "a stay older than its host's queue_lifetime; null where unset"),
        "caused_by": (TEXT, "for a notice: trace_id of the message that it is about"),
        "path": (pl.List(TEXT), "hosts in order, each stay once"),
        "hops": (pl.List(STAY), "one struct per stay"),
        "worst_host": (TEXT, "host where most of the delay went"),
        "worst_stage": (TEXT, "stage where most of it went there"),
        "attempts": (pl.Int64, "tries over all stays"),
        "dsn": (TEXT, "last enhanced status code"),
        "reply": (TEXT, "last reply"),
        "cause": (TEXT, "why, from a fixed vocabulary; null for delivered mail"),
        "verdict": (
            TEXT,
            "a content filter's finding: infected, banned, spam, forged (DMARC policy), blocked, greylisted, deferred, bad_header, "
            "oversized, clean, unchecked, dmarc_fail, dkim_fail; null where no filter's log says one",
        ),
        "spam_score": (pl.Float64, "the spam score that this filter gave; null where its log names none"),
        "spam_required": (pl.Float64, "the score from which it takes a message for spam, where its log says so"),
        "verdict_by": (TEXT, "the filter: amavis, rspamd, spamd, pmg-smtp-filter ..."),
        "verdict_at": (TIME, "when it said so"),
        "certainty": (TEXT, "certain, likely or incomplete"),
        "would_settle": (
            TEXT,
            "host and UTC hour of the log that would settle an unknown or incomplete row: 'mx01 2026-01-02 07:00Z'",
        ),
        "flags": (pl.List(TEXT), "maybe_duplicate, quarantined_copy, recipients_incomplete, cold_start"),
    },
    order=("submitted_at", "resolved_at", "trace_id", "original_recipient", "recipient"),
    personal={
        "message_id": "message_id",
        "sender": "address",
        "recipient": "address",
        "original_recipient": "address",
        "client_name": "host",
        "client_ip": "ip",
        "sasl_user": "user",
        "folder": "folder",
        "reply": "text",
        "hops.relay": "text",
        "hops.reply": "text",
    },
)

OPEN = Table("open", DELIVERIES.columns, DELIVERIES.order, DELIVERIES.personal)
