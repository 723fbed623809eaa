"""The sketch: quantiles within the promised error, sums that no order and no cut changes."""

import math

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from hoptrace.schemas.delay_stats import DELAY_STATS, RELATIVE_ERROR
from hoptrace.transforms.summarise import add_up, bucket_of, count_rows, delay_of
from tests.made import FLEET, READ, busy_log, frame, shuffled, us
from tests.plain import run_nights

C = pl.col
DELAYS = st.lists(st.integers(1001, 10**13), min_size=1, max_size=200)


def rows_of(delays: list[int | None]) -> pl.DataFrame:
    return pl.DataFrame(
        {"us": delays, "message": [f"m{k // 2}" for k in range(len(delays))]},
        schema={"us": pl.Int64, "message": pl.String},
    ).with_columns(
        at=pl.lit(0, pl.Int64),
        mine=True,
        population=pl.lit("mail"),
        outcome=pl.lit("delivered"),
        delay_class=pl.lit(None, pl.String),
        n_recipients=pl.lit(1, pl.Int64),
    )


def sketch(delays: list[int | None]) -> pl.DataFrame:
    return add_up(count_rows(rows_of(delays), "dwell", {"fleet": pl.lit("all")}))


@settings(deadline=None)
@given(DELAYS, st.integers(0, 200), st.floats(0, 1))
def test_quantiles_of_merged_sketches_are_within_the_error(delays: list[int], place: int, q: float) -> None:
    merged = add_up([sketch(list(part)) for part in (delays[:place], delays[place:]) if part])
    assert_frame_equal(merged.drop("messages"), sketch(list(delays)).drop("messages"))
    rank = min(len(delays) - 1, math.floor(q * len(delays)))
    exact = sorted(delays)[rank] / 1e6
    reached = merged.sort("bucket").with_columns(C("recipients").cum_sum().alias("reached")).filter(C("reached") > rank)
    estimate = reached.head(1).select(delay_of(C("bucket"))).item()
    assert abs(estimate - exact) <= exact * RELATIVE_ERROR * 1.001


@pytest.mark.parametrize(
    ("delay", "bucket"), [(None, None), (-5, 0), (0, 0), (1000, 0), (1001, 1), (1020, 1), (1021, 2), (4 * 10**15, 1451)]
)
def test_buckets(delay: int | None, bucket: int | None) -> None:
    for rows in ([delay], [delay, 5, None]):
        assert pl.DataFrame({"us": rows}, schema={"us": pl.Int64}).select(bucket_of(C("us"))).to_series()[0] == bucket


def test_a_message_counts_once() -> None:
    assert sketch([2000, 900_000, 5_000_000, 5_000_000])["messages"].sum() == 2
    assert sketch([None, None])["messages"].to_list() == [1]


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 20))
def test_parts_add_up_in_any_order(seed: int) -> None:
    stats = add_up([run_nights(frame(busy_log(seed % 3, mails=19)), FLEET, [us(-1), us(10**6)], READ)[0].stats])
    half = stats.height // 2
    assert_frame_equal(add_up([shuffled(stats, seed).tail(-half), shuffled(stats, seed).head(half)]), stats)
    assert_frame_equal(add_up([stats, stats])["recipients"].to_frame(), stats.select(C("recipients") * 2))


def test_nothing_adds_up_to_nothing() -> None:
    assert add_up([]).is_empty()
    assert add_up([DELAY_STATS.empty()]).columns == list(DELAY_STATS.schema)
