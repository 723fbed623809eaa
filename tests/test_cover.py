"""Coverage and unknown templates: partial sums add up in any order."""

import itertools

import polars as pl
from polars.testing import assert_frame_equal

from hoptrace.transforms.cover import add_coverage, add_encoded, add_templates, read_hosts
from hoptrace.transforms.frames import decode_frame, encode_frame
from hoptrace.transforms.parse import COVERAGE_PARTIAL, UNPARSED_PARTIAL
from tests.made import HOUR, T0


def part(host: str | None, hour: int | None, lines: int, first: int, last: int) -> pl.DataFrame:
    row = dict.fromkeys(COVERAGE_PARTIAL, 0)
    at = None if hour is None else T0 + hour * HOUR
    return pl.DataFrame(
        [
            {
                **row,
                "host": host,
                "hour": at,
                "lines": lines,
                "events": lines,
                "first_at": T0 + first,
                "last_at": T0 + last,
                "read_at": T0 + last,
            }
        ],
        schema=COVERAGE_PARTIAL,
    )


PARTS = [
    part("mx1", 0, 3, 5, 9),
    part("mx1", 0, 4, 1, 6),
    part("mx1", 1, 2, 3_600_000_001, 3_600_000_002),
    part("mx2", 0, 0, 7, 7),
    part(None, None, 1, 8, 8),
]


def test_sums_do_not_depend_on_order_or_grouping() -> None:
    whole = add_coverage(PARTS)
    assert whole.filter(host="mx1")["lines"].to_list() == [7, 2]
    for order in itertools.permutations(PARTS):
        inner = add_encoded([encode_frame(rows) for rows in order[:2]])
        assert_frame_equal(decode_frame(add_encoded([b"", inner, *(encode_frame(rows) for rows in order[2:])])), whole)


def test_hosts_with_a_log_are_those_of_which_something_was_understood() -> None:
    coverage = add_encoded([encode_frame(rows) for rows in PARTS])
    assert {host: at for host, at in read_hosts(coverage).items() if host} == {"mx1": T0 + 3_600_000_002}
    assert read_hosts(add_encoded([])) == {}
    assert read_hosts(add_encoded([encode_frame(PARTS[0].clear())])) == {}


def test_templates_keep_the_smallest_example() -> None:
    rows = [("p", "t", 2, "b", "mx1"), ("p", "t", 3, "a", "mx2"), ("p", "t", 1, "a", "mx1"), (None, "u", 1, "z", "mx1")]
    frames = [pl.DataFrame([row], schema=UNPARSED_PARTIAL, orient="row") for row in rows]
    for order in itertools.permutations(frames):
        assert add_templates(order).select("program", "template", "lines", "example", "host").rows() == [
            (None, "u", 1, "z", "mx1"),
            ("p", "t", 6, "a", "mx1"),
        ]
    assert add_templates([]).is_empty()
