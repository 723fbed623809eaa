"""Counts and delay sketches per hour and dimension, that add up by plain SUM.

The sketch is DDSketch's log buckets (Masson, Rim, Lee: VLDB 2019): bucket k holds delays in (g^(k-1), g^k] milliseconds with
g = (1 + e) / (1 - e), so that any quantile read from it is within the relative error e of a delay that was there.
"""

import math

import numpy as np
import polars as pl

from hoptrace.schemas.delay_stats import DELAY_STATS, FEW, OTHER, RELATIVE_ERROR, TAILED
from hoptrace.schemas.deliveries import STAGES
from hoptrace.transforms.hash import hash_columns
from hoptrace.transforms.tally import tally

C = pl.col
HOUR_US = 3_600_000_000
GROWTH = (1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR)
BOUNDS_COUNT = 1500
BOUNDS = pl.lit(pl.Series([math.floor(1000 * GROWTH**k) for k in range(BOUNDS_COUNT)]))
"""Upper bounds of the buckets in microseconds, up to three centuries."""

WORDS = ("population", "outcome", "delay_class")
KEYS = ["hour", "dimension", "value", "population", "metric", "outcome", "delay_class", "bucket"]
TEXT = pl.Categorical
PARTIAL = {name: TEXT if dtype == pl.String else dtype for name, dtype in DELAY_STATS.schema.items()} | {
    "hour": pl.Int64()
}
"""DELAY_STATS on its way: hour in microseconds, words as numbers of a dictionary."""


def bucket_of(us: pl.Expr) -> pl.Expr:
    """The sketch's bucket of a delay in microseconds; null for null, 0 for what is under a millisecond."""
    return pl.when(us.is_not_null()).then(BOUNDS.search_sorted(us.fill_null(0))).cast(pl.Int32)


def delay_of(bucket: pl.Expr) -> pl.Expr:
    """Seconds that stand for a bucket: within RELATIVE_ERROR of everything in it."""
    return pl.when(bucket == 0).then(0.0).otherwise(2 * (pl.lit(GROWTH).pow(bucket)) / (GROWTH + 1) / 1000)


def count_rows(rows: pl.DataFrame, metric: str, dimensions: dict[str, pl.Expr]) -> list[pl.DataFrame]:
    """Per dimension the rows (at, mine, us, population, outcome, delay_class, message, n_recipients) that are `mine` counted by
    hour and bucket, as PARTIAL; null values are left out. A message counts once per value and words: with the first of all its
    rows (of several at once that with the lowest bucket), whether that is mine or another night's."""
    ready = rows.select(
        "at",
        "mine",
        (C("at") // HOUR_US * HOUR_US).alias("hour"),
        C(WORDS).cast(TEXT),
        "n_recipients",
        C("message").hash(),
        bucket=bucket_of(C("us")),
        **{name: value.cast(TEXT) for name, value in dimensions.items()},
    )
    numbers = ready.select(C(word).to_physical() for word in WORDS)
    words = hash_columns(numbers, WORDS).to_numpy()
    told = ready.select(
        C("at").cast(pl.Int64), "mine", "hour", C("bucket").fill_null(-1).cast(pl.Int16), "message",
        C("n_recipients").cast(pl.Int64),
        *(C(name).to_physical().cast(pl.Int64).fill_null(-1) for name in dimensions),
    )  # fmt: skip
    at, mine, hour, bucket, message, recipients, *values = (told[name].to_numpy() for name in told.columns)
    order = np.argsort(at * (2 * BOUNDS_COUNT) + bucket)
    parts = []
    for dimension, value in zip(dimensions, values, strict=True):
        first, (all_recipients, messages) = tally(order, mine, words, value, hour, bucket, message, recipients)
        parts.append(
            ready.select("hour", *WORDS, "bucket", value=dimension)[first].with_columns(
                dimension=pl.lit(dimension, TEXT),
                metric=pl.lit(metric, TEXT),
                recipients=pl.Series(all_recipients),
                messages=pl.Series(messages),
            )
        )
    return parts


def name_route() -> pl.Expr:
    """The hosts of a row's path, and 'outside' where the mail was delivered there: a>b>outside."""
    return C("path").list.join(">") + pl.when(C("place") == "outside").then(pl.lit(">outside")).otherwise(pl.lit(""))


def domain_of(column: str) -> pl.Expr:
    """The domain of an address, in lower case; null for the null sender and for addresses without one."""
    return C(column).str.extract(r"@([^@]+)$").str.to_lowercase()


def population_of(notice: pl.Expr) -> pl.Expr:
    """The population of a row: notices where it is one, else mail."""
    return pl.when(notice).then(pl.lit("notices")).otherwise(pl.lit("mail"))


def summarise_deliveries(rows: pl.DataFrame, starts_at: int, ends_at: int) -> pl.DataFrame:
    """DELAY_STATS of the rows (integers of microseconds, us_<stage> columns) settled in the night: end_to_end, and dwell by stage."""
    base = rows.filter(C("settled_at") < ends_at).with_columns(
        at="settled_at",
        mine=C("settled_at") >= starts_at,
        us=pl.when(C("outcome") == "delivered").then((C("delay_s") * 1e6).round().cast(pl.Int64)),
        population=population_of(C("caused_by").is_not_null() | (C("sender") == "")),
        message="trace_id",
    )
    parts = count_rows(
        base,
        "end_to_end",
        {
            "fleet": pl.lit("all"),
            "entry_host": C("entry_host"),
            "route": name_route(),
            "recipient_domain": domain_of("recipient"),
            "sender_domain": domain_of("sender"),
            "cause": C("cause"),
        },
    )
    needed = ("at", "mine", "population", "outcome", "delay_class", "message", "n_recipients")
    delivered = base.filter(C("outcome") == "delivered")
    spent = pl.concat([delivered.select(*needed, us=f"us_{stage}", stage=pl.lit(stage)) for stage in STAGES])
    return put_together([*parts, *count_rows(spent.filter(C("us") > 0), "dwell", {"stage": C("stage")})])


def summarise_open(rows: pl.DataFrame, ends_at: int) -> pl.DataFrame:
    """DELAY_STATS of what is open at the end of the night: open_age, in the night's last hour."""
    base = rows.with_columns(
        at=pl.lit(ends_at - 1, pl.Int64),
        mine=True,
        us=(C("delay_s") * 1e6).round().cast(pl.Int64),
        population=population_of(C("caused_by").is_not_null() | (C("sender") == "")),
        message="trace_id",
    )
    return put_together(
        count_rows(
            base,
            "open_age",
            {
                "fleet": pl.lit("all"),
                "host": C("path").list.last(),
                "recipient_domain": domain_of("recipient"),
                "cause": C("cause"),
            },
        )
    )


def summarise_stays(recipients: pl.DataFrame, hops: pl.DataFrame, starts_at: int, ends_at: int) -> pl.DataFrame:
    """DELAY_STATS of the hand-overs of the night: dwell by host, hop to hop (route) and next hop."""
    rows = (
        recipients.filter(C("status").is_in(["sent", "bounced", "expired", "stored"]) & (C("at") < ends_at))
        .join(hops.select("hop", "host", "arrived", "sender"), on="hop", how="inner")
        .with_columns(
            mine=C("at") >= starts_at,
            us=(C("at") - C("arrived")).clip(lower_bound=0),
            outcome=C("status"),
            population=population_of(C("sender") == ""),
            delay_class=pl.lit(None, pl.String),
            n_recipients=pl.lit(1, pl.Int64),
            message="hop",
        )
    )
    return put_together(
        count_rows(
            rows,
            "dwell",
            {
                "host": C("host"),
                "next_hop": pl.coalesce("relay_host", "relay_name"),
                "hop": pl.concat_str(["host", pl.coalesce("relay_host", "relay_name")], separator=">"),
            },
        )
    )


def put_together(parts: list[pl.DataFrame]) -> pl.DataFrame:
    """PARTIAL frames, or DELAY_STATS with the hour in microseconds, one after another as PARTIAL."""
    frames = [part.select(C(name).cast(dtype) for name, dtype in PARTIAL.items()) for part in parts if part.height]
    return pl.concat(frames) if frames else pl.DataFrame(schema=PARTIAL)


def add_up(parts: list[pl.DataFrame]) -> pl.DataFrame:
    """PARTIAL frames as one DELAY_STATS (hour in microseconds) in order, equal keys summed."""
    every = put_together(parts)
    place = pl.Series([0], dtype=pl.UInt64).new_from_index(0, every.height)
    for name in KEYS:
        ranks, count = rank(every[name])
        place = place * count + ranks
    summed = (
        every.select(place=place, recipients="recipients", messages="messages")
        .with_row_index("row")
        .group_by("place")
        .agg(C("recipients", "messages").sum(), C("row").first())
        .sort("place")
    )
    keys = every.select(KEYS)[summed["row"]]
    words = [name for name, dtype in PARTIAL.items() if dtype == TEXT]
    return keys.with_columns(C(words).cast(pl.String)).hstack(summed.select("recipients", "messages"))


def rank(values: pl.Series) -> tuple[pl.Series, int]:
    """(of each value its number among the distinct ones in order, null first; how many there are)."""
    found = values.unique().to_frame("value")
    words = found.with_columns(word=C("value").cast(pl.String) if values.dtype == TEXT else "value")
    ordered = words.sort("word", nulls_last=False).with_columns(rank=pl.int_range(pl.len(), dtype=pl.UInt64))
    ranks = values.to_frame("value").join(ordered, on="value", how="left", nulls_equal=True, maintain_order="left")
    return ranks["rank"], ordered.height


def cut_tail(stats: pl.DataFrame, late_us: int) -> pl.DataFrame:
    """PARTIAL `stats` in which the rare values of the dimensions TAILED are called OTHER: those of fewer than FEW recipients
    in the hour, of one metric. What took `late_us` or longer keeps its name."""
    late = (C("bucket") >= bucket_of(pl.lit(late_us))).fill_null(False)
    rare = (
        C("dimension").is_in(list(TAILED))
        & ~late
        & (C("recipients").sum().over("hour", "dimension", "metric", "value") < FEW)
    )
    return stats.with_columns(value=pl.when(rare).then(pl.lit(OTHER, TEXT)).otherwise("value"))
