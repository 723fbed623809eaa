"""Verdicts by Message-ID: which stay takes which scan."""

import polars as pl
import pytest

from hoptrace.schemas.events import EVENTS
from hoptrace.transforms.kinds import part_kinds
from hoptrace.transforms.scans import BEFORE_US, match_scans, select_scans, wait_scans
from tests.made import event, frame, shuffled, us

HALF_HOUR = 1800.0
HOPS = {"message_id": pl.String, "host": pl.String, "hop": pl.UInt64, "arrived": pl.Int64}


def scan(
    second: float, score: float, mid: str | None = "m@far.test", host: str = "mx1", **more: object
) -> dict[str, object]:
    return event(second, host, None, "filter", instance="spamd", message_id=mid, score=score, **more)


def scores(scans: list[dict[str, object]], *arrivals: float) -> dict[int, float]:
    """Hop number -> the score that it takes; hops arrive at these seconds, all with one Message-ID at mx1."""
    hops = pl.DataFrame([("m@far.test", "mx1", n, us(at)) for n, at in enumerate(arrivals)], schema=HOPS, orient="row")
    lines = select_scans(part_kinds(frame(scans)))
    one = match_scans(lines, hops)
    assert match_scans(shuffled(lines, 1), shuffled(hops, 2)).sort("hop").equals(one.sort("hop"))
    return dict(one.select("hop", "score").iter_rows())


@pytest.mark.parametrize(
    ("scans", "arrivals", "expected"),
    [
        ([scan(1, 5)], [0], {0: 5}),
        ([scan(-1, 5)], [0], {0: 5}),
        ([scan(-BEFORE_US / 1e6, 5)], [0], {0: 5}),
        ([scan(-BEFORE_US / 1e6 - 1, 5)], [0], {}),
        ([scan(HALF_HOUR, 5)], [0], {0: 5}),
        ([scan(HALF_HOUR + 1, 5)], [0], {}),
        ([scan(3, 5), scan(2, 7)], [0], {0: 7}),
        ([scan(2, 5), scan(-2, 7)], [0], {0: 7}),
        ([scan(2, 5), scan(102, 7)], [0, 100], {0: 5, 1: 7}),
        ([scan(2, 5)], [0, 100], {0: 5, 1: 5}),
        ([scan(2, 5, host="out1")], [0], {}),
        ([scan(2, 5, mid="other@far.test")], [0], {}),
        ([], [0], {}),
        ([scan(2, 5)], [], {}),
    ],
)
def test_the_nearest_scan_of_the_same_message_id(
    scans: list[dict[str, object]], arrivals: list[float], expected: dict[int, float]
) -> None:
    assert scores(scans, *arrivals) == expected


@pytest.mark.parametrize("mid", [None, "", "undef", "(unknown)"])
def test_what_names_no_message_is_no_scan(mid: str | None) -> None:
    assert select_scans(part_kinds(frame([scan(1, 5, mid=mid)]))).is_empty()


def test_a_verdict_with_a_queue_id_is_no_scan() -> None:
    assert select_scans(part_kinds(frame([scan(1, 5) | {"queue_id": "ABCDE1"}]))).is_empty()


def test_scans_wait_for_mail_that_comes_after_midnight() -> None:
    lines = select_scans(part_kinds(frame([scan(-700, 1), scan(-600, 2), scan(-1, 3), scan(0, 4)])))
    late = wait_scans(lines, us(0))
    assert late.columns == EVENTS.empty().columns
    assert late["score"].to_list() == [2, 3]
