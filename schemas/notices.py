"""Table `notices`: every bounce, delay and success notice, with its own fate."""

import polars as pl

from hoptrace.schemas.table import TIME, Table

TEXT = pl.String

NOTICES = Table(
    "notices",
    {
        "kind": (TEXT, "bounce_notice, delay_notice or success_notice"),
        "host": (TEXT, "host that made it"),
        "queue_id": (TEXT, "the notice's own queue ID"),
        "made_at": (TIME, "arrival of the notice's own hop"),
        "recipient": (TEXT, "who is told: the sender of the original"),
        "about_trace_id": (TEXT, "trace of the original message"),
        "about_queue_id": (TEXT, "queue ID of the original on that host"),
        "trace_id": (TEXT, "the notice's own trace"),
        "outcome": (TEXT, "what became of the notice, as in deliveries or open"),
        "resolved_at": (TIME, "last logged fact about the notice"),
    },
    order=("made_at", "host", "queue_id", "recipient"),
    personal={"recipient": "address"},
)
