"""Runs of rows give what grouping by their key gives."""

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from hoptrace.transforms.runs import Runs

C = pl.col
ROW = st.tuples(
    st.integers(0, 5), st.integers(-9, 9), st.sampled_from([True, False, None]), st.sampled_from(["a", None])
)
SCHEMA = {"key": pl.Int64, "n": pl.Int64, "flag": pl.Boolean, "text": pl.String}


@pytest.mark.parametrize("size", [0, 1, 30])
@settings(deadline=None)
@given(data=st.data())
def test_runs_are_groups(size: int, data: st.DataObject) -> None:
    drawn = data.draw(st.lists(ROW, min_size=min(size, 1), max_size=size))
    rows = pl.DataFrame(drawn, schema=SCHEMA, orient="row").sort("key", maintain_order=True).with_row_index("at")
    marked = rows["flag"].fill_null(value=False)
    runs = Runs(rows["key"])
    pairs = pl.struct("n", "text")
    grouped = rows.group_by("key", maintain_order=True).agg(
        n=C("n").sum(),
        flag=C("flag").any(),
        most=C("n").max(),
        first=C("at").filter(C("flag")).first().cast(pl.Int64),
        all=pairs,
        some=pairs.filter(C("flag")),
    )
    told = runs.sums(rows.select("n")).hstack(
        [
            *runs.any(rows.select("flag")),
            runs.highest(rows["n"]).alias("most"),
            runs.first(marked).alias("first"),
            runs.lists(rows.select(all=pairs)["all"]),
            runs.lists(rows.select(some=pairs)["some"], marked.to_numpy()),
        ]
    )
    assert_frame_equal(told, grouped.drop("key"), check_dtypes=False)
    assert runs.spread(grouped["key"]).to_list() == rows["key"].to_list()
