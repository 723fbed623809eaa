"""Lines that were cut for syslog: put together again, whatever the cuts, or left alone."""

import random
from itertools import pairwise

import pytest

from hoptrace.schemas.fleet import Fleet
from hoptrace.transforms.kinds import part_kinds
from hoptrace.transforms.wrapped import rejoin_lines
from tests.made import Row, event, frame, shuffled, us

WHOLE = (
    "Passed CLEAN {RelayedInbound}, [192.0.2.9]:1 <a@far.test> -> <b@our.test>,<c@our.test>, Queue-ID: ABCDE1, "
    "Message-ID: <m@far.test>, mail_id: x1, Hits: -1.2, size: 1473, queued_as: ABCDE2, 1650 ms"
)


def pieces(text: str, *cuts: int, at: float = 0, pid: int = 77, task: str = "00077-01") -> list[Row]:
    """`text` as it is logged when cut before the characters `cuts`."""
    ends = (0, *sorted(cuts), len(text))
    return [
        event(
            at + number / 100,
            "mx1",
            None,
            "part",
            instance="amavis",
            pid=pid,
            session=task,
            reply="..." * (first > 0) + text[first:last] + "..." * (last < len(text)),
        )
        for number, (first, last) in enumerate(pairwise(ends))
    ]


@pytest.mark.parametrize("seed", range(30))
def test_cut_anywhere(seed: int) -> None:
    rnd = random.Random(seed)
    rows = pieces(WHOLE, *rnd.sample(range(10, len(WHOLE)), rnd.randint(1, 4)))
    told = rejoin_lines(part_kinds(shuffled(frame(rows), seed)), Fleet())
    assert told.select("stamp", "host", "kind", "queue_id", "next_queue_id", "recipient", "score", "place").rows() == [
        (us(0), "mx1", "filter", "ABCDE1", "ABCDE2", to, -1.2, 0) for to in ("b@our.test", "c@our.test")
    ]


def test_several_tasks_at_once_and_one_task_twice() -> None:
    other = WHOLE.replace("ABCDE1", "ABCDE3")
    rows = [
        *pieces(WHOLE, 100),
        *pieces(other, 120, pid=78, task="00078-01"),
        *pieces(other.replace("ABCDE3", "ABCDE4"), 90, at=1),
    ]
    told = rejoin_lines(part_kinds(frame(rows)), Fleet())
    assert sorted(told["queue_id"].unique()) == ["ABCDE1", "ABCDE3", "ABCDE4"]


@pytest.mark.parametrize(
    "rows",
    [
        pieces(WHOLE, 100)[:1],
        pieces(WHOLE, 100)[1:],
        pieces(WHOLE, 100, 150)[:2],
        [pieces(WHOLE, 100)[0], {**pieces(WHOLE, 100)[1], "pid": 99}],
        [pieces(WHOLE, 100)[0], {**pieces(WHOLE, 100)[1], "stamp": us(100)}],
        [],
    ],
)
def test_a_line_without_its_beginning_or_end_is_none(rows: list[Row]) -> None:
    assert rejoin_lines(part_kinds(frame(rows)), Fleet()).is_empty()
