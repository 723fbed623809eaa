"""Quantiles read from the sketch lie within one percent of the delays that went into it."""

import math
import random
from pathlib import Path

import polars as pl
import pytest

from hoptrace.pipeline import printing
from hoptrace.pipeline.stats import GROWTH, merge_quantiles, quantiles, stats_page
from hoptrace.schemas.delay_stats import DELAY_STATS
from hoptrace.schemas.errors import HoptraceError
from tests.frames import DAY1, DAY2, make_store


def bucket(milliseconds: float) -> int:
    return 0 if milliseconds < 1 else math.ceil(math.log(milliseconds) / math.log(GROWTH))


def sketch(delays: list[float], value: str | None, **more: object) -> pl.DataFrame:
    counts = pl.Series("bucket", [bucket(d * 1000) for d in delays]).value_counts(name="recipients")
    return DELAY_STATS.conform(counts.with_columns(value=pl.lit(value), messages=pl.lit(1), **more))  # type: ignore[arg-type]


def test_quantiles_are_within_one_percent_in_any_split() -> None:
    dice = random.Random(4)
    delays = sorted(dice.lognormvariate(1, 3) for _ in range(5000))
    shuffled = dice.sample(delays, len(delays))
    parts = [sketch(shuffled[n::7], "a>b") for n in range(7)]
    found = merge_quantiles(pl.concat(parts), ["value"], (0.0001, 0.5, 0.95, 0.99, 0.9999)).row(0, named=True)
    assert found["recipients"] == found["measured"] == 5000
    for name, q in (("p0.01_s", 0.0001), ("p50_s", 0.5), ("p95_s", 0.95), ("p99_s", 0.99), ("p99.99_s", 0.9999)):
        exact = delays[max(1, math.ceil(q * 5000)) - 1]
        assert found[name] == pytest.approx(exact, rel=0.0101, abs=0.001)


def test_values_stay_apart_and_null_is_a_value() -> None:
    rows = pl.concat([sketch([1.0] * 3, "x"), sketch([100.0], None), sketch([0.0001], "fast")])
    unmeasured = sketch([1.0], "x").with_columns(bucket=pl.lit(None, pl.Int32), recipients=pl.lit(10, pl.Int64))
    found = merge_quantiles(pl.concat([rows, unmeasured]), ["value"], (0.5,))
    assert found.select("value", "recipients", "measured").rows() == [("x", 13, 3), (None, 1, 1), ("fast", 1, 1)]
    assert found["p50_s"].to_list() == pytest.approx([1.0, 100.0, 0.0], rel=0.0101)


def test_an_empty_sketch_and_one_without_delays() -> None:
    assert merge_quantiles(DELAY_STATS.empty(), ["value"]).is_empty()
    none = sketch([1.0], "x").with_columns(bucket=pl.lit(None, pl.Int32))
    assert merge_quantiles(none, ["value"])["p50_s"].to_list() == [None]


def test_stats_of_a_store(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store")
    found = quantiles(store, "route", points=(0.9, 0.91))
    assert found["value"].to_list() == ["smtp01>store01", "smtp01>out01"]
    assert found["p90_s"].to_list()[0] < 1 < found["p91_s"].to_list()[0]
    assert found["late"].to_list() == [0, 1]
    assert quantiles(store, "route", days=[DAY2]).is_empty()
    assert quantiles(store, "route", days=[DAY1], value="smtp01>out01")["recipients"].to_list() == [1]
    text = printing.render(stats_page(found, "route", "end_to_end", 1))
    assert "1 more; see --limit" in text
    for wrong in ({"dimension": "planet"}, {"dimension": "route", "metric": "speed"}):
        with pytest.raises(HoptraceError, match=r"'(planet|speed)' is not one of"):
            quantiles(store, **wrong)  # type: ignore[arg-type]
