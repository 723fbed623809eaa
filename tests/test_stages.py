"""Stages add up to the delay, whatever the numbers."""

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from hoptrace.schemas.deliveries import STAGES
from hoptrace.transforms.runs import Runs
from hoptrace.transforms.stages import find_worst, settle_remainder, split_stay

MOMENT = st.one_of(st.none(), st.integers(-(10**9), 10**13))
TIME = st.integers(0, 10**13)
SCHEMA = {
    "last": pl.UInt32,
    "step": pl.Int32,
    "host": pl.String,
    "arrived": pl.Int64,
    "at": pl.Int64,
    "queued": pl.Int64,
    "partial": pl.Boolean,
    "connect_us": pl.Int64,
    "transmit_us": pl.Int64,
    "waiting_us": pl.Int64,
    "held_us": pl.Int64,
    "next_kind": pl.String,
    "previous_at": pl.Int64,
}
STAY = st.tuples(
    TIME, MOMENT, MOMENT, st.booleans(), MOMENT, MOMENT, MOMENT, MOMENT, st.sampled_from([None, "relay", "filter"])
)
WALKS = st.lists(st.tuples(st.lists(STAY, min_size=1, max_size=4), st.integers(0, 10**13)), min_size=1, max_size=5)


def steps_of(walks: list[tuple[list[tuple[object, ...]], int]]) -> pl.DataFrame:
    rows = []
    for last, (stays, _) in enumerate(walks):
        previous = None
        for number, stay in enumerate(stays):
            rows.append((last, len(stays) - 1 - number, f"h{number}", *stay, previous if number else None))
            previous = stay[1] if stay[1] is not None else 0
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


@given(WALKS)
def test_stages_add_up_to_the_delay(walks: list[tuple[list[tuple[object, ...]], int]]) -> None:
    split = split_stay(steps_of(walks))
    runs = Runs(split["last"])
    assert split.select(pl.min_horizontal(pl.col(STAGES).min())).item() >= 0
    settled = settle_remainder(split, runs, pl.Series([delay for _, delay in walks], dtype=pl.Int64))
    assert settled[STAGES[0]].dtype == pl.Int64
    sums = settled.group_by("last").agg(total=pl.sum_horizontal(pl.col(STAGES).sum())).sort("last")
    assert sums["total"].to_list() == [delay for _, delay in walks]
    assert settled.select(pl.col(STAGES).null_count()).row(0) == (0,) * len(STAGES)
    assert find_worst(settled, runs).height == len(walks)


def test_where_an_hour_went() -> None:
    minute = 60_000_000
    walk = [([(0, 60 * minute, minute, False, minute, 2 * minute, 50 * minute, 20 * minute, None)], 60 * minute)]
    split = split_stay(steps_of(walk))
    (row,) = settle_remainder(split, Runs(split["last"]), pl.Series([60 * minute])).iter_rows(named=True)
    assert {stage: row[stage] // minute for stage in STAGES} == {
        "receive": 1,
        "in_queue": 6,
        "waiting_retry": 30,
        "held": 20,
        "filter": 0,
        "connect": 1,
        "transmit": 2,
        "between_hosts": 0,
    }


def test_the_earlier_stay_on_a_tie() -> None:
    rows = pl.DataFrame(
        {
            "last": [0, 0],
            "step": [1, 0],
            "host": ["first", "second"],
            **{stage: [0, 0] for stage in STAGES},
            "held": [5, 5],
        }
    )
    assert find_worst(rows, Runs(rows["last"])).row(0) == ("first", "held")
