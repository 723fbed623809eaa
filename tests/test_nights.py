"""Nights: whatever the cuts, their union is one run over the span."""

from datetime import datetime, timedelta, timezone
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from hoptrace.pipeline.inputs import plan_inputs
from hoptrace.schemas.fleet import Fleet, load_fleet
from hoptrace.transforms.cover import add_coverage
from hoptrace.transforms.grammar import load_grammars
from hoptrace.transforms.parse import parse_chunk
from hoptrace.transforms.plan import Night
from hoptrace.transforms.publishable import NightTables
from hoptrace.transforms.read import Chunk, read_chunks
from tests.made import (
    DAY,
    FLEET,
    HOUR,
    READ,
    SECOND,
    Row,
    busy_log,
    came,
    event,
    frame,
    from_host,
    handed,
    instants,
    left,
    lost,
    shuffled,
    tried,
    turned,
    us,
)
from tests.plain import PUBLISHED, publish, run_nights, run_plain

AFTER = 30 * HOUR
"""Long enough after the last line for everything told by absence to be told."""

C = pl.col


def assert_same_nights(rows: list[Row] | pl.DataFrame, cuts: list[int]) -> dict[str, pl.DataFrame]:
    """Cut at `cuts` and not cut at all, `rows` make the same tables, which are returned."""
    events = rows if isinstance(rows, pl.DataFrame) else frame(rows)
    first, last = events["stamp"].min(), events["stamp"].max() + AFTER  # type: ignore[operator]
    one = publish(run_nights(events, FLEET, [first, last], READ))
    many = publish(run_nights(events, FLEET, [first, *sorted({cut for cut in cuts if first < cut < last}), last], READ))  # type: ignore[operator]
    for name in PUBLISHED:
        assert_frame_equal(many[name], one[name], check_exact=True)
    assert_frame_equal(counted(many), counted(one))
    return one


def counted(tables: dict[str, pl.DataFrame]) -> pl.DataFrame:
    """The sketch of what is settled."""
    return tables["delay_stats"].filter(C("metric") != "open_age")


@pytest.mark.parametrize("seed", range(6))
def test_any_cuts_make_the_rows_of_one_run(seed: int) -> None:
    events = frame(busy_log(seed, hours=2))
    one = assert_same_nights(events, list(instants(events, 6, seed)))
    assert {"delivered", "bounced", "returned", "rejected", "aborted", "missing"} <= set(one["deliveries"]["outcome"])


@pytest.mark.parametrize("half", [20, 21])
def test_long_nights_make_the_rows_of_one_run(half: int) -> None:
    events = frame(busy_log(half, hours=60))
    assert_same_nights(events, [us(hour * 3600) for hour in range(half % 12, 90, 12)])


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10_000), places=st.sets(st.integers(0, 200), max_size=12))
def test_cuts_between_neighbouring_lines(seed: int, places: set[int]) -> None:
    events = frame(busy_log(seed, mails=19, hours=0.5))
    stamps = events["stamp"].unique().sort()
    assert_same_nights(events, [stamps[place % stamps.len()] for place in places])


def test_the_order_of_lines_does_not_matter() -> None:
    events = frame(busy_log(3))
    bounds = [us(-1), us(3600), us(200_000)]
    one = publish(run_nights(events, FLEET, bounds, READ))
    other = publish(run_nights(shuffled(events, 7), FLEET, bounds, READ))
    for name, table in one.items():
        assert_frame_equal(other[name], table, check_exact=True)


SESSION = [
    event(0, "mx1", None, "connect", pid=5),
    turned(1, "mx1", "a@far.test", "no@our.test", 550, pid=5),
    *({**row, "pid": 5} for row in came(10, "mx1", "ABCDE1", "m@far.test")),
    event(12, "mx1", None, "disconnect", pid=5),
    tried(20, "mx1", "ABCDE1", "b@our.test"),
    left(21, "mx1", "ABCDE1"),
]


@pytest.mark.parametrize("cuts", [[5], [10.05], [10.15], [20.5], [2, 5, 9], [5, 11, 20.5]])
def test_a_refusal_before_the_cut_belongs_to_the_mail_after_it(cuts: list[float]) -> None:
    one = assert_same_nights(SESSION, [us(cut) for cut in cuts])
    assert sorted(one["deliveries"]["outcome"]) == ["delivered", "rejected"]
    assert one["deliveries"]["trace_id"].n_unique() == 1


@pytest.mark.parametrize("cut", [3, 8])
def test_a_client_lost_after_the_cut(cut: float) -> None:
    rows = [
        event(0, "mx1", "ABCDE2", "arrive", pid=6, client_name="far.test", client_ip="192.0.2.9", arrival="smtp"),
        event(5, "mx1", None, "lost", pid=6, stage="DATA"),
        turned(40_000, "mx1", "z@far.test", "no@our.test", 550),
    ]
    assert "aborted" in assert_same_nights(rows, [us(cut)])["deliveries"]["outcome"].to_list()


GREY: Row = {"sender": "g@far.test", "recipient": "b@our.test", "pid": 77}
GREYLISTED = [
    turned(0, "mx1", **GREY),
    turned(300, "mx1", **GREY),
    *came(600, "mx1", "ABCDE3", "m1@far.test", GREY["sender"]),
    tried(700, "mx1", "ABCDE3", GREY["recipient"]),
    left(701, "mx1", "ABCDE3"),
    turned(1000, "mx1", **GREY),
    *came(5000, "mx1", "ABCDE4", "m2@far.test", GREY["sender"]),
    tried(9000, "mx1", "ABCDE4", GREY["recipient"]),
    left(9001, "mx1", "ABCDE4"),
]


@pytest.mark.parametrize("cuts", [[100], [550], [650], [800], [3000], [5500], [100, 350, 650, 900, 2000, 6000]])
def test_first_attempts_survive_the_cut(cuts: list[float]) -> None:
    """The first mail takes the first try; the second mail the oldest that is left."""
    one = assert_same_nights(GREYLISTED, [us(cut) for cut in cuts])["deliveries"]
    assert one["first_attempt_at"].dt.epoch("us").to_list() == [us(0), us(300)]


def test_a_hop_is_not_published_before_its_last_line() -> None:
    """Between the last delivery and 'removed' a cut must not close it."""
    rows = [
        *came(0, "out1", "ABCDE5", "m@far.test"),
        tried(5, "out1", "ABCDE5", "b@far.test"),
        left(6, "out1", "ABCDE5"),
    ]
    one = assert_same_nights(rows, [us(5.5)])
    assert one["hops"]["left_at"].dt.epoch("us").to_list() == [us(6)]


def test_what_waits_for_days_is_told_once() -> None:
    rows = [
        *came(0, "out1", "ABCDE6", "m@far.test"),
        *(tried(3600 * hour, "out1", "ABCDE6", "b@far.test", "deferred") for hour in range(1, 70)),
        tried(3600 * 70, "out1", "ABCDE6", "b@far.test"),
        left(3600 * 70 + 1, "out1", "ABCDE6"),
    ]
    bounds = [us(-1) + day * DAY for day in range(4)]
    nights = run_nights(frame(rows), FLEET, bounds, READ)
    assert [night.tables["deliveries"].height for night in nights] == [0, 0, 1]
    assert [night.tables["open"]["outcome"].to_list() for night in nights] == [["queued"], ["queued"], []]
    row = publish(nights)["deliveries"].row(0, named=True)
    assert (row["attempts"], row["delay_s"], row["delay_class"], row["warning_due"]) == (70, 252_000, "late", True)
    assert nights[-1].carried.filter(C("queue_id").is_not_null()).filter(C("stamp") < us(3600)).is_empty()
    assert all(night.carried.height < 12 for night in nights), [a.carried.height for a, _ in pairwise(nights)]


@pytest.mark.parametrize("cut", [4, 100, 1000, 3000, 7000])
@pytest.mark.parametrize("took", [2500, 7000])
def test_a_giver_that_comes_late_changes_no_row(took: float, cut: float) -> None:
    """out1 was done with the mail long before smtp1 logged that it had handed it over."""
    rows = [
        *came(0, "smtp1", "ABCDE7", "m@far.test"),
        handed(took, "smtp1", "ABCDE7", "b@far.test", "out1", "ABCDE8", delay_transmit=(took - 5) * SECOND),
        left(took + 0.1, "smtp1", "ABCDE7"),
        *came(6, "out1", "ABCDE8", "m@far.test", **from_host("smtp1")),
        tried(8, "out1", "ABCDE8", "b@far.test"),
        left(9, "out1", "ABCDE8"),
    ]
    one = assert_same_nights(rows, [us(cut)])
    assert [(row["path"], row["outcome"]) for row in one["deliveries"].iter_rows(named=True)] == [
        (["out1"], "delivered")
    ]
    assert one["handoffs"].select("from_queue_id", "to_queue_id", "late").rows() == [("ABCDE7", "ABCDE8", True)]


@pytest.mark.parametrize("cut", [30, 61, 100, 4000])
def test_a_second_copy_is_a_duplicate(cut: float) -> None:
    """The first copy was there when its answer was lost; the try after it made another, which is no other mail."""
    copies = [
        [*came(at - 0.5, "out1", one, "m@far.test", **from_host("smtp1")), tried(end, "out1", one, "b@far.test"), left(end, "out1", one)]
        for at, one, end in ((60, "ABCDEA", 90), (3660, "ABCDEB", 3670))
    ]  # fmt: skip
    rows = [
        *came(0, "smtp1", "ABCDE9", "m@far.test"),
        lost(60, "smtp1", "ABCDE9", "b@far.test", "out1"),
        handed(3660, "smtp1", "ABCDE9", "b@far.test", "out1", "ABCDEB"),
        left(3661, "smtp1", "ABCDE9"),
        *copies[0],
        *copies[1],
    ]
    one = assert_same_nights(rows, [us(cut)])
    (row,) = one["deliveries"].iter_rows(named=True)
    assert (row["delay_s"], row["attempts"], row["flags"], row["certainty"]) == (90, 2, ["maybe_duplicate"], "likely")
    assert one["handoffs"].select("to_queue_id", "duplicate").rows() == [("ABCDEA", False), ("ABCDEB", True)]


@pytest.mark.parametrize("cut", [-2.0, -1.0, 0.0, 0.5, 1.0, 2.5])
@pytest.mark.parametrize("offset", ["2s", "-2s"])
def test_lines_of_a_clock_that_is_off_are_read_once(offset: str, cut: float, tmp_path: Path) -> None:
    """A cut parts the lines by the time that they tell, its host's clock put right."""
    logs = tmp_path / "mx01" / "mail.log"
    logs.parent.mkdir()
    noon = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
    texts = ["smtpd[1]: ABC01: client=far.test[192.0.2.9]", "cleanup[1]: ABC01: message-id=<m@far.test>",
             "qmgr[1]: ABC01: from=<a@far.test>, size=9, nrcpt=1 (queue active)",
             "smtp[1]: ABC01: to=<b@far.test>, relay=far.test[192.0.2.9]:25, delay=1, delays=0/0/0/1, dsn=2.0.0, status=sent (ok)",
             "qmgr[1]: ABC01: removed"]  # fmt: skip
    lines = [f"{(noon + timedelta(seconds=n / 2)).isoformat()} mx01 postfix/{text}" for n, text in enumerate(texts)]
    logs.write_text("".join(line + "\n" for line in lines))
    (tmp_path / "fleet.toml").write_text(f'[hosts.mx01]\nclock_offset = "{offset}"\n')
    fleet = load_fleet(str(tmp_path / "fleet.toml"))
    at = round(noon.timestamp() * 1e6)
    bounds = [at - HOUR, at + round((cut - float(offset[:-1])) * 1e6), at + 2 * HOUR]
    told = publish(read_nights(str(logs), fleet, bounds))
    (row,) = told["deliveries"].iter_rows(named=True)
    assert (row["submitted_at"], row["resolved_at"], row["attempts"]) == (
        noon - timedelta(seconds=float(offset[:-1])), noon + timedelta(seconds=1.5 - float(offset[:-1])), 1,
    )  # fmt: skip
    assert told["hops"]["closed"].to_list() == [True]


def read_nights(logs: str, fleet: Fleet, bounds: list[int]) -> list[NightTables]:
    """The nights between `bounds` of what stands in the files `logs`."""
    nights: list[NightTables] = []
    for starts_at, ends_at in pairwise(bounds):
        night = Night(starts_at, ends_at)
        ranges = plan_inputs([logs], fleet, night.window.starts_at, night.window.ends_at, 1 << 28)
        parsed = [
            parse_chunk(chunk, r, load_grammars(), fleet, night.window)
            for r in ranges
            for chunk in read_chunks(r, 1 << 20)
            if isinstance(chunk, Chunk)
        ]
        events, coverage = pl.concat([each.events for each in parsed]), add_coverage(each.coverage for each in parsed)
        nights.append(run_plain(events, fleet, night, coverage, nights[-1].carried if nights else None))
    return nights


@pytest.mark.parametrize("cut", [6, 50, 3000])
def test_who_had_it_before_the_hold_was_not_held(cut: float) -> None:
    rows = [
        *came(0, "out1", "ABCDE7", "m@far.test", nrcpt=2),
        tried(5, "out1", "ABCDE7", "b@far.test"),
        tried(5, "out1", "ABCDE7", "c@far.test", "deferred"),
        event(40, "out1", "ABCDE7", "hold"),
        event(2040, "out1", "ABCDE7", "release"),
        tried(4000, "out1", "ABCDE7", "c@far.test"),
        left(4001, "out1", "ABCDE7"),
    ]
    one = assert_same_nights(rows, [us(cut)])
    held = {row["recipient"]: row["hops"][0]["stages"]["held"] for row in one["deliveries"].iter_rows(named=True)}
    assert held == {"b@far.test": 0.0, "c@far.test": 2000.0}
    assert sorted(one["hop_recipients"]["held_s"]) == [0.0, 2000.0]
