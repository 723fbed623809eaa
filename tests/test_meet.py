"""Joins of keys that a stranger can choose."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from hoptrace.transforms.meet import PAIRS_PER_ROW, meet
from tests.made import shuffled

SIDE = st.lists(st.tuples(st.sampled_from([None, "a", "b"]), st.integers(0, 100)), max_size=30)


def side(name: str, rows: list[tuple[str | None, int]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema={"key": pl.String, f"{name}_at": pl.Int64}, orient="row").with_row_index(name)


@given(SIDE, SIDE)
def test_few_rows_meet_as_in_a_join(ours: list[tuple[str | None, int]], theirs: list[tuple[str | None, int]]) -> None:
    left, right = side("l", ours), side("r", theirs)
    assert_frame_equal(
        meet(left, right, ["key"], "l_at", "r_at").sort("l", "r"), left.join(right, on="key").sort("l", "r")
    )


@pytest.mark.parametrize("count", [1000, 20_000])
def test_many_rows_meet_the_nearest(count: int) -> None:
    left = side("l", [("hot", 10 * k) for k in range(count)] + [("calm", 0)])
    right = side("r", [("hot", 10 * k + 1) for k in range(count)] + [("calm", 99), ("calm", 100)])
    met = meet(left, right, ["key"], "l_at", "r_at")
    assert met.filter(key="calm").height == 2
    hot = met.filter(key="hot")
    assert hot.height <= PAIRS_PER_ROW * 2 * count
    assert hot.filter(pl.col("l") == pl.col("r")).height == count
    mixed = meet(shuffled(left, 1), shuffled(right, 2), ["key"], "l_at", "r_at")
    assert_frame_equal(mixed.sort("l", "r"), met.sort("l", "r"))


def test_one_meets_many() -> None:
    left, right = side("l", [("hot", 5)]), side("r", [("hot", k) for k in range(5000)])
    assert meet(left, right, ["key"], "l_at", "r_at").height == 5000
