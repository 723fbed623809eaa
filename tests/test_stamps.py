"""Stamps: years, zones, doubled and skipped hours, and what queue IDs prove."""

from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoptrace.schemas.errors import HoptraceError
from hoptrace.transforms.stamps import conflicts, first_stamp, local_to_utc, queue_id_time, with_year

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def us(text: str) -> int:
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return ((moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)) - EPOCH) // timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("Jan  2 02:22:43 mx01 postfix/qmgr[1]: x", "2026-01-02T01:22:43Z"),
        ("Jan 02 02:22:43 mx01 postfix/qmgr[1]: x", "2026-01-02T01:22:43Z"),
        ("<22>Jan  2 02:22:43 mx01 postfix/qmgr[1]: x", "2026-01-02T01:22:43Z"),
        ("Dec 31 23:59:59 mx01 postfix/qmgr[1]: x", "2025-12-31T22:59:59Z"),
        ("Jul  9 02:22:43 mx01 postfix/qmgr[1]: x", "2025-07-09T00:22:43Z"),
        ("Jul  2 02:22:43 mx01 postfix/qmgr[1]: x", "2026-07-02T00:22:43Z"),
        ("Feb 29 02:22:43 mx01 postfix/qmgr[1]: x", "2024-02-29T01:22:43Z"),
        ("2026-01-02T06:28:31.732114+00:00 mx01 a: x", "2026-01-02T06:28:31.732114Z"),
        ("2026-01-02T06:28:31.7+05:30 mx01 a: x", "2026-01-02T00:58:31.700000Z"),
        ("2026-01-02T06:28:31.1234567891-0930 mx01 a: x", "2026-01-02T15:58:31.123456Z"),
        ("2026-01-02T06:28:31Z mx01 a: x", "2026-01-02T06:28:31Z"),
        ("2026-01-02 06:28:31 Start queue run", "2026-01-02T05:28:31Z"),
        ("2026-01-02 06:28:31.250 +0300 1vb0Qh-0004mx-1J Completed", "2026-01-02T03:28:31.250000Z"),
        ("2026-07-02 06:28:31 Start queue run", "2026-07-02T04:28:31Z"),
        ("<22>1 2026-01-02T06:28:31.118163+01:00 mx03 postfix 207 - -  x", "2026-01-02T05:28:31.118163Z"),
    ],
)
def test_first_stamp(line: str, expected: str) -> None:
    assert first_stamp(f"\xff\n{line}\n".encode(), "Europe/Copenhagen", us("2026-01-01T12:00:00Z")) == us(expected)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "Απρ 15 12:20:28 mx01 a: x",
        "jan  2 02:22:43 mx01 a: x",
        "Jan 32 02:22:43 mx01 a: x",
        "Feb 30 02:22:43 mx01 a: x",
        "Jan  2 24:22:43 mx01 a: x",
        "Jan  2 02:22:43x mx01 a: x",
        "2026-13-02T06:28:31Z mx01 a: x",
        "2025-02-29T06:28:31Z mx01 a: x",
        "<22>1 - mx03 postfix 207 - -  x",
        "\tcontinued",
    ],
)
def test_no_stamp(line: str) -> None:
    assert first_stamp(line.encode() + b"\n", "UTC", 0) is None


@settings(deadline=None)
@given(
    st.sampled_from(
        ["Europe/Copenhagen", "America/St_Johns", "Australia/Lord_Howe", "Africa/Casablanca", "Asia/Kolkata", "UTC"]
    ),
    st.lists(st.datetimes(datetime(2019, 1, 1), datetime(2030, 12, 31)), min_size=1, max_size=30),
    st.booleans(),
)
def test_zones_agree_with_zoneinfo(zone: str, moments: list[datetime], second: bool) -> None:
    info = ZoneInfo(zone)
    local = np.array([us(moment.isoformat()) for moment in moments], np.int64)
    passes = np.full(local.size, second)
    expected = []
    for moment in moments:
        here = moment.replace(tzinfo=info, fold=int(second))
        gap = here.utcoffset() != moment.replace(tzinfo=info, fold=1 - int(second)).utcoffset() and (
            here.astimezone(timezone.utc).astimezone(info).replace(tzinfo=None) != moment
        )
        here = moment.replace(tzinfo=info, fold=0) if gap else here
        expected.append(us(here.astimezone(timezone.utc).isoformat()))
    assert local_to_utc(local, zone, passes).tolist() == expected


def test_the_doubled_and_the_skipped_hour() -> None:
    local = np.array([us("2026-10-25T02:30:00Z")] * 2, np.int64)
    first, second = local_to_utc(local, "Europe/Copenhagen", np.array([False, True])).tolist()
    assert (first, second) == (us("2026-10-25T00:30:00Z"), us("2026-10-25T01:30:00Z"))
    skipped = np.array([us("2026-03-29T02:30:00Z")], np.int64)
    assert local_to_utc(skipped, "Europe/Copenhagen").tolist() == [us("2026-03-29T01:30:00Z")]


def test_unknown_zone_is_named() -> None:
    with pytest.raises(HoptraceError, match="Europe/Kopenhagen"):
        local_to_utc(np.array([0]), "Europe/Kopenhagen")


@settings(deadline=None)
@given(st.integers(us("2000-01-01T00:00:00Z"), us("2060-01-01T00:00:00Z")), st.integers(1, 12), st.integers(1, 28))
def test_the_year_is_the_nearest(near: int, month: int, day: int) -> None:
    found = int(with_year(np.array([(month * 32 + day) * 86_400_000_000], np.int64), near)[0])
    assert abs(found - near) <= 184 * 86_400_000_000
    moment = EPOCH + timedelta(microseconds=found)
    assert (moment.month, moment.day) == (month, day)


@pytest.mark.parametrize(
    ("queue_id", "expected"),
    [
        ("3mPVKl0Mhjz7sXv", "2015-07-05T12:52:11.053285Z"),
        ("1vrbVs-0000000001X-2abc", "2026-02-15T12:46:12Z"),
        ("1vrbVs-00001X-2a", "2026-02-15T12:46:12Z"),
        ("601KRXoN015126", "2026-01-01T20:27:33Z"),
        ("5BVCEQ2H014605", "2025-12-31T12:14:26Z"),
        ("u31FFPtp032300", "2016-04-01T15:15:25Z"),
        ("k1SN9pkK15806618", "2006-02-28T23:09:51Z"),
        ("6C1KRXoN015126", None),
        ("61UKRXoN015126", None),
        ("601KRXoN01512A", None),
        ("60110203015126", None),
        ("5ED4A32", None),
        ("NOQUEUE", None),
        ("", None),
        ("z", None),
        ("æøåæøåæøåæøåz1", None),
        ("4djJKC5JTjzDA7", None),
    ],
)
def test_queue_id_time(queue_id: str, expected: str | None) -> None:
    assert queue_id_time(pl.Series([queue_id])).to_list() == [expected and us(expected)]


def test_absurd_queue_id_times_are_null() -> None:
    ids = pl.Series(["3mPVKl0Mhjz7sXv", "3mPVKl0Mhjz7sXv", None])
    stamps = pl.Series([us("2015-08-05T12:52:11Z"), us("2026-01-01T00:00:00Z"), 0])
    assert queue_id_time(ids, stamps).is_not_null().to_list() == [True, False, False]


@settings(deadline=None)
@given(st.lists(st.one_of(st.none(), st.text(max_size=30))))
def test_any_queue_id(ids: list[str | None]) -> None:
    assert len(queue_id_time(pl.Series(ids, dtype=pl.String))) == len(ids)


@pytest.mark.parametrize(
    ("stamp", "zone", "year"),
    [
        ("2015-07-05T12:52:11Z", False, False),
        ("2015-07-05T13:06:00Z", False, False),
        ("2015-07-05T13:52:11Z", True, False),
        ("2015-07-05T06:52:11Z", True, False),
        ("2015-07-05T18:22:11Z", True, False),
        ("2016-07-04T12:52:11Z", False, True),
        ("2014-07-05T12:52:11Z", False, True),
        ("2015-07-09T12:52:11Z", False, False),
    ],
)
def test_conflicts(stamp: str, zone: bool, year: bool) -> None:
    found = conflicts(pl.Series(["3mPVKl0Mhjz7sXv"]), pl.Series([us(stamp)]))
    assert (found[0].tolist(), found[1].tolist()) == ([zone], [year])
