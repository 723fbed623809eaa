"""Rows that stand together, such as the stays of one walk: told by where each run of them starts, without grouping."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

Array = np.ndarray[Any, Any]


class Runs:
    """The runs of equal values of a key (integers, no null) whose equal values stand together."""

    def __init__(self, key: pl.Series) -> None:
        numbers = key.to_numpy()
        self.rows = len(numbers)
        self.starts = np.flatnonzero(np.concatenate([[True] * bool(self.rows), numbers[1:] != numbers[:-1]]))
        self.lengths = np.diff(self.starts, append=self.rows)

    def sums(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Of each column of numbers without null the sum in each run."""
        return pl.DataFrame([pl.Series(s.name, np.add.reduceat(s.to_numpy(), self.starts)) for s in frame])

    def any(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Of each boolean column whether any of a run is true; null is not."""
        columns = frame.select(pl.all().fill_null(value=False))
        return pl.DataFrame([pl.Series(s.name, np.logical_or.reduceat(s.to_numpy(), self.starts)) for s in columns])

    def highest(self, numbers: pl.Series) -> pl.Series:
        """The highest number (no null) of each run."""
        return pl.Series(numbers.name, np.maximum.reduceat(numbers.to_numpy(), self.starts))

    def first(self, marked: pl.Series) -> pl.Series:
        """Of each run the place of the first row that is marked (boolean, no null), null where none is."""
        places = np.where(marked.to_numpy(), np.arange(self.rows), self.rows)
        found = np.minimum.reduceat(places, self.starts)
        return pl.select(pl.when(pl.Series(found < self.rows)).then(pl.Series(found))).to_series()

    def spread(self, values: pl.Series) -> pl.Series:
        """Each run's value (one a run, in order) beside each of its rows."""
        return values.gather(np.repeat(np.arange(self.starts.size), self.lengths))

    def lists(self, values: pl.Series, kept: Sequence[bool] | Array | None = None) -> pl.Series:
        """The values of each run as a list, those only that are `kept`."""
        lengths = self.lengths if kept is None else np.add.reduceat(np.asarray(kept, np.int64), self.starts)
        ends = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        items = values if kept is None else values.filter(pl.Series(kept))
        arrow = items.rechunk().to_arrow(compat_level=pl.CompatLevel.newest())
        series = pl.from_arrow(pa.LargeListArray.from_arrays(pa.array(ends), arrow))
        assert isinstance(series, pl.Series)
        return series.alias(values.name)
