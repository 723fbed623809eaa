"""What analysts import: the tables of a store as pandas DataFrames, and quantiles of delays."""

from collections.abc import Iterable, Sequence
from datetime import date

import pandas as pd
import polars as pl

from hoptrace.pipeline import stats
from hoptrace.pipeline.store import Store

Days = str | date | Iterable[str | date] | None


def table(
    store: str,
    name: str,
    days: Days = None,
    where: pl.Expr | Sequence[pl.Expr] | None = None,
    columns: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Table `name` of the store at `store` (folder or gs://), as docs/tables.md has it, with its column `day`.

    `days`: a day or several, default all published ones. `where`: Polars expressions over the table's columns, decided
    while reading. `columns`: only these. Raises HoptraceError where store or table cannot be read.
    """
    scanned = Store(store).scan(name, _days(days))
    if where is not None:
        scanned = scanned.filter(where)
    return (scanned if columns is None else scanned.select(columns)).collect().to_pandas()


def quantiles(
    store: str,
    dimension: str,
    *,
    metric: str = "end_to_end",
    population: str = "mail",
    days: Days = None,
    value: str | None = None,
    points: Sequence[float] = stats.QUANTILES,
) -> pd.DataFrame:
    """Delays in seconds at `points` per value of `dimension` (p50_s ...), with counts; see `hoptrace stats --help`."""
    found = stats.quantiles(
        Store(store), dimension, metric=metric, population=population, days=_days(days), value=value, points=points
    )
    return found.to_pandas()


def nights(store: str) -> pd.DataFrame:
    """The published nights, one row each."""
    return Store(store).scan("nights").collect().to_pandas()


def _days(days: Days) -> list[str] | None:
    if days is None:
        return None
    return [str(day) for day in ([days] if isinstance(days, str | date) else days)]
