"""Table `handoffs`: one row per link between two hops, with the evidence for it."""

import polars as pl

from hoptrace.schemas.table import Table

TEXT = pl.String

HANDOFFS = Table(
    "handoffs",
    {
        "from_host": (TEXT, "host that handed over"),
        "from_queue_id": (TEXT, "its queue ID"),
        "from_epoch": (pl.Int64, "its epoch"),
        "to_host": (TEXT, "host that took it"),
        "to_queue_id": (TEXT, "its queue ID or session ID"),
        "to_epoch": (pl.Int64, "its epoch"),
        "recipient": (TEXT, "recipient as handed over; null where the whole message was"),
        "kind": (TEXT, "relay, filter, forward, redirect, requeue, bounce_notice, delay_notice, success_notice"),
        "evidence": (
            TEXT,
            "queued_as, orig_queue_id, filter_log, lmtp_session, forwarded_as, requeued, notice, "
            "sieve_redirect, message_id_client, notice_by_time, message_id",
        ),
        "strength": (TEXT, "certain or likely"),
        "gap_s": (pl.Float64, "seconds from the giver's status line to the taker's first line; may be negative"),
        "since_try_s": (
            pl.Float64,
            "seconds from the start of the giver's try to the taker's arrival; negative where clocks disagree; null where no try led "
            "to it",
        ),
        "late": (pl.Boolean, "the giver logged it too late to change a published row: it links no traces"),
        "duplicate": (pl.Boolean, "a second copy: an earlier try, whose answer was lost, had left one"),
    },
    order=("from_host", "from_epoch", "from_queue_id", "to_host", "to_epoch", "to_queue_id", "recipient"),
    personal={"recipient": "address"},
)
