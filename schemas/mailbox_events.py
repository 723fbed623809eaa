"""Table `mailbox_events`: what was done to messages in their mailboxes, by deliveries and by people's programs."""

import polars as pl

from hoptrace.schemas.table import TIME, Table

TEXT = pl.String

MAILBOX_EVENTS = Table(
    "mailbox_events",
    {
        "at": (TIME, "when the mail store logged it"),
        "host": (TEXT, "the mail store"),
        "user": (TEXT, "whose mailbox, as the store calls the user"),
        "action": (
            TEXT,
            "by a delivery: saved (into INBOX), filed (into another folder), redirected, discarded, rejected, failed; "
            "later: downloaded, deleted (marked so), undeleted, expunged (gone), copied, saved; a move is copied and expunged",
        ),
        "message_id": (TEXT, "Message-ID without its brackets; null where the log does not name the message"),
        "folder": (TEXT, "mailbox folder; of a copy the one that it went to"),
        "recipient": (TEXT, "whom it was redirected to"),
        "messages": (pl.Int64, "of how many messages, not named by the log, a session's totals tell this; else null"),
        "size": (pl.Int64, "bytes of the message, or of all that the totals tell of"),
        "client_ip": (TEXT, "address of the person's program, where the log has the login of its session"),
        "protocol": (TEXT, "lmtp, lda, imap, pop3, doveadm"),
        "session": (TEXT, "the store's session ID; of a delivery also its queue ID in hops"),
        "reply": (TEXT, "why it was rejected, discarded or failed"),
    },
    order=("at", "host", "user", "session", "action", "message_id", "folder", "recipient", "size"),
    personal={
        "user": "user",
        "message_id": "message_id",
        "folder": "folder",
        "recipient": "address",
        "client_ip": "ip",
        "session": "session",
        "reply": "text",
    },
)
