"""The hour that a night ends within: what is rare in it is not known before it has ended, so its rare values wait for that."""

import polars as pl

from hoptrace.schemas.delay_stats import TAILED
from hoptrace.schemas.events import EVENTS
from hoptrace.transforms.stamps import HOUR
from hoptrace.transforms.summarise import PARTIAL, put_together

C = pl.col
KIND = "counted"
WORDS = {name: pl.String() if dtype == pl.Categorical else dtype for name, dtype in PARTIAL.items()}


def hold_counts(stats: pl.DataFrame, ends_at: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """PARTIAL `stats` without the dimensions TAILED of an hour that goes on after the night, and EVENTS that tell those to the next."""
    waits = C("dimension").is_in(list(TAILED)) & (C("metric") != "open_age") & (C("hour") + HOUR > ends_at)
    held = stats.filter(waits).select(C(name).cast(dtype) for name, dtype in WORDS.items())
    return stats.filter(~waits), EVENTS.conform(
        held.select(
            stamp="hour", kind=pl.lit(KIND), place=pl.int_range(pl.len(), dtype=pl.Int64),
            host=pl.lit(""), reply=pl.struct(pl.all()).struct.json_encode(),
        )
    )  # fmt: skip


def restore_counts(state: pl.DataFrame) -> pl.DataFrame:
    """PARTIAL of what `hold_counts` told."""
    told = state.filter(C("kind") == KIND).select(C("reply").str.json_decode(pl.Struct(WORDS)))
    return put_together([told.unnest("reply")])
