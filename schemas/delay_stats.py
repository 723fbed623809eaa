"""Table `delay_stats`: counts and delay sketches per hour and dimension, that add up by plain SUM."""

import polars as pl

from hoptrace.schemas.table import TIME, Table

TEXT = pl.String
RELATIVE_ERROR = 0.01
"""Largest relative error of a quantile read from the sketch: buckets grow by (1 + e) / (1 - e)."""

TAILED = ("recipient_domain", "sender_domain", "next_hop", "hop")
"""Dimensions of which strangers choose the values, so that most values are rare."""

FEW, OTHER = 10, "(other)"
"""A value of these with fewer recipients in the hour is counted under OTHER, except for what was late: that keeps its name."""

DELAY_STATS = Table(
    "delay_stats",
    {
        "hour": (TIME, "UTC hour of settled_at; for per-hop rows of the hand-over"),
        "dimension": (
            TEXT,
            "fleet, entry_host, host, route (path, a>b>c), hop (a>b), recipient_domain, sender_domain, next_hop, stage, cause",
        ),
        "value": (
            TEXT,
            "the dimension's value; 'all' for fleet; '(other)' for domains and next hops of fewer than 10 recipients in the hour, "
            "except for what was late: that keeps its name",
        ),
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
        "messages": (
            pl.Int64,
            "messages (per-hop rows: stays in a queue) whose first row of this value, population, outcome and delay_class is "
            "among these: over all hours and buckets each counts once",
        ),
    },
    order=("hour", "dimension", "value", "population", "metric", "outcome", "delay_class", "bucket"),
    personal={"value": "statistic"},
)
