"""Table `delay_stats`: counts and delay sketches per hour and dimension, that add up by plain SUM."""

import polars as pl

from hoptrace.schemas.table import TIME, Table

TEXT = pl.String
RELATIVE_ERROR = 0.01
"""Largest relative error of a quantile read from the sketch: buckets grow by (1 + e) / (1 - e)."""

DELAY_STATS = Table(
    "delay_stats",
    {
        "hour": (TIME, "UTC hour of settled_at; for per-hop rows of the hand-over"),
        "dimension": (
            TEXT,
            "fleet, entry_host, host, route (path, a>b>c), hop (a>b), recipient_domain, sender_domain, next_hop, stage, cause",
        ),
        "value": (TEXT, "the dimension's value; 'all' for fleet"),
        "population": (TEXT, "mail or notices"),
        "metric": (TEXT, "end_to_end, dwell or open_age"),
        "outcome": (TEXT, "outcome of the rows counted"),
        "delay_class": (TEXT, "on_time, late or overdue"),
        "bucket": (
            pl.Int32,
            "log bucket of the delay: 0 is under a millisecond, k covers (g^(k-1), g^k] ms with "
            "g = 1.01/0.99; null where there is no delay to measure",
        ),
        "recipients": (pl.Int64, "rows in the bucket"),
        "messages": (pl.Int64, "traces whose first such row of the hour lies in the bucket"),
    },
    order=("hour", "dimension", "value", "population", "metric", "outcome", "delay_class", "bucket"),
)
