"""Delays by hour and dimension: quantiles read from the sketch in `delay_stats`, by adding up its buckets."""

from collections.abc import Sequence

import polars as pl
from rich.console import RenderableType

from hoptrace.pipeline import printing
from hoptrace.pipeline.store import Store
from hoptrace.schemas.delay_stats import RELATIVE_ERROR
from hoptrace.schemas.errors import HoptraceError

DIMENSIONS = (
    "fleet", "entry_host", "host", "route", "recipient_domain", "sender_domain", "next_hop", "stage", "cause",
)  # fmt: skip
METRICS = ("end_to_end", "dwell", "open_age")
POPULATIONS = ("mail", "notices")
QUANTILES = (0.5, 0.95, 0.99)
GROWTH = (1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR)


def column_of(quantile: float) -> str:
    """Name of a quantile's column: 0.5 -> p50_s, 0.999 -> p99.9_s."""
    return f"p{quantile * 100:.6g}_s"


def bucket_seconds(bucket: pl.Expr) -> pl.Expr:
    """The delay in seconds that stands for a bucket: within 1 % of every delay in it; 0 for those under 1 ms."""
    middle = 2 * GROWTH / (GROWTH + 1) * (GROWTH ** (bucket.cast(pl.Float64) - 1)) / 1000
    return pl.when(bucket <= 0).then(0.0).otherwise(middle)


def merge_quantiles(sketch: pl.DataFrame, by: Sequence[str], quantiles: Sequence[float] = QUANTILES) -> pl.DataFrame:
    """Rows of `delay_stats` added up by the columns `by`.

    Gives `by`, recipients, messages, late, overdue, measured (recipients that have a delay) and for each quantile its
    delay in seconds (p50_s ...; null where nothing was measured), most recipients first.
    """
    group = list(by)
    counts = sketch.group_by(group).agg(
        pl.col("recipients", "messages").sum(),
        pl.col("recipients").filter(pl.col("delay_class") == "late").sum().alias("late"),
        pl.col("recipients").filter(pl.col("delay_class") == "overdue").sum().alias("overdue"),
    )
    buckets = sketch.drop_nulls("bucket").group_by(*group, "bucket").agg(pl.col("recipients").sum()).sort("bucket")
    upto = buckets.with_columns(
        pl.col("recipients").cum_sum().over(group).alias("upto"), pl.col("recipients").sum().over(group).alias("all")
    )
    found = upto.group_by(group).agg(
        pl.col("all").first().alias("measured"),
        *(
            bucket_seconds(pl.col("bucket").filter(pl.col("upto") >= (q * pl.col("all")).ceil().clip(1)).min())
            .alias(column_of(q))
            for q in quantiles
        ),
    )  # fmt: skip
    joined = counts.join(found, on=group, how="left", nulls_equal=True).with_columns(pl.col("measured").fill_null(0))
    return joined.sort(["recipients", *group], descending=[True, *(False for _ in group)])


def quantiles(
    store: Store,
    dimension: str,
    *,
    metric: str = "end_to_end",
    population: str = "mail",
    days: Sequence[str] | None = None,
    value: str | None = None,
    points: Sequence[float] = QUANTILES,
) -> pl.DataFrame:
    """Per value of `dimension`: recipients, messages, late, overdue, and delays in seconds at `points` (p50_s ...)."""
    for name, given, known in (
        ("dimension", dimension, DIMENSIONS), ("metric", metric, METRICS), ("population", population, POPULATIONS),
    ):  # fmt: skip
        if given not in known:
            raise HoptraceError(f"{name} {given!r} is not one of {', '.join(known)}")
    if not all(0 < point < 1 for point in points):
        raise HoptraceError("a quantile lies between 0 and 1, for example 0.95")
    if metric == "open_age" and days is None:
        days = [night["day"] for night in store.days()[-1:]]
    rows = store.scan("delay_stats", days).filter(
        pl.col("dimension") == dimension, pl.col("metric") == metric, pl.col("population") == population
    )
    if value is not None:
        rows = rows.filter(pl.col("value") == value)
    return merge_quantiles(rows.collect(), ["value"], points)


def stats_page(frame: pl.DataFrame, dimension: str, metric: str, limit: int) -> list[RenderableType]:
    """What `hoptrace stats` prints."""
    delays = [name for name in frame.columns if name.startswith("p") and name.endswith("_s")]
    if frame.is_empty():
        return [printing.line(f"No {metric} rows for dimension {dimension} on these days.")]
    heads = [dimension, ">recipients", ">messages", ">late", ">overdue", *(f">{name[:-2]}" for name in delays)]
    rows = [
        [row["value"], *(printing.number(row[name]) for name in ("recipients", "messages", "late", "overdue")),
         *(printing.span(row[name]) or "-" for name in delays)]
        for row in frame.head(limit).iter_rows(named=True)
    ]  # fmt: skip
    page: list[RenderableType] = [printing.table(heads, rows, wide=[dimension])]
    if frame.height > limit:
        page.append(printing.line(f"{frame.height - limit} more; see --limit"))
    return page
