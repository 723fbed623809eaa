"""Tables `hops` and `hop_recipients`: one stay of a message in one queue, and its recipients there."""

import polars as pl

from hoptrace.schemas.table import TIME, Table

TEXT = pl.String

HOPS = Table(
    "hops",
    {
        "host": (TEXT, "host of the queue"),
        "instance": (TEXT, "mail program instance"),
        "queue_id": (TEXT, "queue ID, or the mail store's session ID"),
        "epoch": (pl.Int64, "the hop's first own time in UTC microseconds; tells reused IDs apart"),
        "arrived_at": (
            TIME,
            "arrival: from the queue ID where it holds a time, less its host's clock_offset, else the first line",
        ),
        "first_seen_at": (TIME, "stamp of its first line"),
        "left_at": (TIME, "stamp of the line that ended it (removed, Completed); null while open"),
        "arrival": (TEXT, "smtp, submission, pickup, lmtp, requeue, notice, local"),
        "client_name": (TEXT, "who handed it over"),
        "client_ip": (TEXT, "address of the client"),
        "helo": (TEXT, "name the client gave"),
        "sasl_user": (TEXT, "authenticated user"),
        "message_id": (TEXT, "Message-ID without brackets"),
        "sender": (TEXT, "envelope sender; '' is the null sender"),
        "size": (pl.Int64, "bytes"),
        "nrcpt": (pl.Int64, "recipients in the envelope"),
        "closed": (pl.Boolean, "the queue is done with it"),
        "partial": (pl.Boolean, "its beginning was not in the logs"),
    },
    order=("host", "epoch", "queue_id", "instance"),
    personal={
        "client_name": "host",
        "client_ip": "ip",
        "helo": "host",
        "sasl_user": "user",
        "message_id": "message_id",
        "sender": "address",
    },
)

HOP_RECIPIENTS = Table(
    "hop_recipients",
    {
        "host": (TEXT, "host of the queue"),
        "instance": (TEXT, "mail program instance"),
        "queue_id": (TEXT, "queue ID"),
        "epoch": (pl.Int64, "the hop's epoch"),
        "recipient": (TEXT, "envelope recipient"),
        "original_recipient": (TEXT, "as asked for, where logged"),
        "status": (TEXT, "last status: sent, deferred, bounced, expired, rejected, discarded, deleted, held"),
        "dsn": (TEXT, "enhanced status code"),
        "relay_name": (TEXT, "next hop's name as logged"),
        "relay_ip": (TEXT, "next hop's address"),
        "next_queue_id": (TEXT, "the message's ID at the next hop, as its reply names it"),
        "attempts": (pl.Int64, "tries logged"),
        "first_attempt_at": (TIME, "stamp of the first try"),
        "last_attempt_at": (TIME, "stamp of the last try"),
        "in_queue_s": (pl.Float64, "seconds in the active queue before the first try"),
        "waiting_retry_s": (pl.Float64, "seconds between the end of one try and the start of the next"),
        "held_s": (pl.Float64, "seconds on hold"),
        "connect_s": (pl.Float64, "seconds connecting, all tries"),
        "transmit_s": (pl.Float64, "seconds in the SMTP dialogue, all tries"),
        "reply": (TEXT, "last reply"),
        "cause": (TEXT, "why, from a fixed vocabulary"),
    },
    order=("host", "epoch", "queue_id", "instance", "recipient", "original_recipient"),
    personal={
        "recipient": "address",
        "original_recipient": "address",
        "relay_name": "server",
        "relay_ip": "ip",
        "reply": "text",
    },
)
