"""Hops: the same for any order of lines, told again as the events that carry over, and cut at any instant."""

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from hoptrace.schemas.events import EVENTS
from hoptrace.transforms.assemble import Stays, assemble_hops
from hoptrace.transforms.assemble_hops import cut_ahead
from hoptrace.transforms.carry import unfold_hops
from hoptrace.transforms.kinds import part_kinds, whole_events
from hoptrace.transforms.sessions import fold_sessions, select_sessions
from tests.made import FLEET, READ, Row, busy_log, came, event, frame, keyed, left, shuffled, tried, turned, us

C = pl.col
KNOWN = frozenset(READ)
LOGS = st.builds(lambda seed: owned(frame(busy_log(seed, mails=38, hours=1))), st.integers(0, 500))
QUICK = settings(max_examples=12, deadline=None)


def owned(events: pl.DataFrame) -> pl.DataFrame:
    """Events of queue IDs, with those that sessions lend them."""
    both = pl.concat([events, fold_sessions(select_sessions(part_kinds(events))).drop("since")])
    return keyed(both.filter(C("queue_id").is_not_null()))


def fold(events: pl.DataFrame) -> Stays:
    return assemble_hops(events, FLEET, KNOWN)


def carry(stays: Stays) -> pl.DataFrame:
    return keyed(unfold_hops(stays.hops, stays.recipients, stays.notices, stays.filters))


def assert_same_stays(one: Stays, other: Stays) -> None:
    for name in ("hops", "recipients", "notices", "filters"):
        ours, theirs = getattr(one, name), getattr(other, name)
        order = [
            column
            for column in ("hop", "recipient", "original_recipient", "status", "next_queue_id")
            if column in ours.columns
        ]
        assert_frame_equal(ours.sort(order), theirs.select(ours.columns).sort(order), check_exact=True)


@QUICK
@given(LOGS, st.integers(0, 1000))
def test_any_order_of_lines_makes_the_same_hops(events: pl.DataFrame, seed: int) -> None:
    assert_same_stays(fold(shuffled(events, seed)), fold(events))


@QUICK
@given(LOGS)
def test_told_again_they_are_the_same_hops(events: pl.DataFrame) -> None:
    stays = fold(events)
    again = fold(carry(stays))
    assert_same_stays(again, stays)
    assert_frame_equal(carry(again), carry(stays), check_row_order=False)


@QUICK
@given(LOGS, st.integers(0, 10_000))
def test_cut_anywhere_they_are_the_same_hops(events: pl.DataFrame, place: int) -> None:
    stamps = events["stamp"].unique().sort()
    cut = stamps[place % stamps.len()]
    before, after = events.filter(C("stamp") < cut), events.filter(C("stamp") >= cut)
    assert_same_stays(fold(pl.concat([carry(fold(before)), after])), fold(events))


def test_what_is_carried_is_little() -> None:
    rows = [
        *came(0, "out1", "ABCDE1", "m@far.test"),
        *(tried(600 * k, "out1", "ABCDE1", "b@far.test", "deferred") for k in range(1, 500)),
    ]
    stays = fold(keyed(rows))
    assert carry(stays).height < 12
    (row,) = fold(carry(stays)).recipients.iter_rows(named=True)
    assert (row["attempts"], row["at"], row["first_end"]) == (499, us(600 * 499), us(600))


def test_cut_ahead_holds_only_what_goes_on() -> None:
    rows = keyed(
        [*came(0, "out1", "ABCDE1", "m@far.test"), *came(0, "out1", "ABCDE2", "m@far.test"), left(50, "out1", "ABCDE2")]
    )
    cut = whole_events(cut_ahead(part_kinds(rows), us(10)))
    assert cut["queue_id"].unique().to_list() == ["ABCDE2"]
    assert cut["stamp"].max() < us(10)  # type: ignore[operator]


ONE = "ABCDE1"
HOPS: dict[str, tuple[list[Row], int]] = {
    "a short ID comes back with a client": (
        [*came(0, "mx1", ONE, "1@x"), left(2, "mx1", ONE), *came(3, "mx1", ONE, "2@x")],
        2,
    ),
    "... without the end of the first": ([*came(0, "mx1", ONE, "1@x"), *came(300, "mx1", ONE, "2@x")], 2),
    "... with a Message-ID only": (
        [*came(0, "mx1", ONE, "1@x")[1:], left(2, "mx1", ONE), *came(3, "mx1", ONE, "2@x")[1:]],
        2,
    ),
    "a late line belongs to the hop": (
        [*came(0, "mx1", ONE, "1@x"), left(2, "mx1", ONE), tried(3, "mx1", ONE, "b@x")],
        1,
    ),
    "an hour later it does not": (
        [*came(0, "mx1", ONE, "1@x"), left(2, "mx1", ONE), tried(4000, "mx1", ONE, "b@x")],
        2,
    ),
    "two hosts, one ID": ([*came(0, "mx1", ONE, "1@x"), *came(0, "smtp1", ONE, "2@x")], 2),
    "a mailbox session is none": ([event(0, "store1", "sess1", "mailbox", user="b@our.test")], 0),
    "a store that failed made none": ([event(0, "store1", "sess1", "store", action="failed", user="b@our.test")], 0),
    "nothing": ([], 0),
}


@pytest.mark.parametrize("name", HOPS)
def test_hops(name: str) -> None:
    rows, count = HOPS[name]
    stays = fold(keyed(rows))
    assert stays.hops.height == count
    assert stays.hops["hop"].is_unique().all()


FATES: dict[str, tuple[list[Row], dict[str, object]]] = {
    "sent": ([tried(1, "mx1", ONE, "b@x")], {"status": "sent", "attempts": 1, "cause": None}),
    "sent after two tries": (
        [
            tried(1, "mx1", ONE, "b@x", "deferred"),
            tried(61, "mx1", ONE, "b@x", "deferred"),
            tried(121, "mx1", ONE, "b@x"),
        ],
        {
            "status": "sent",
            "attempts": 3,
            "waiting_us": 118_000_000,
            "connect_us": 900_000,
            "transmit_us": 2_100_000,
            "last_deferred": us(61),
        },
    ),
    "the first success decides": (
        [tried(1, "mx1", ONE, "b@x"), tried(5, "mx1", ONE, "b@x", "bounced")],
        {"status": "sent", "at": us(1), "copies": 1},
    ),
    "repeated lines": ([tried(1, "mx1", ONE, "b@x", "deferred", repeat=3)], {"status": "deferred", "attempts": 3}),
    "a word in capitals": ([tried(1, "mx1", ONE, "b@x", "SOFTBOUNCE")], {"status": "deferred"}),
    "expired": (
        [tried(1, "mx1", ONE, "b@x", "deferred"), event(9, "mx1", ONE, "expire")],
        {"status": "expired", "at": us(9)},
    ),
    "deleted": (
        [tried(1, "mx1", ONE, "b@x", "deferred"), event(9, "mx1", ONE, "delete")],
        {"status": "deleted", "at": us(9)},
    ),
    "held, then sent": (
        [event(1, "mx1", ONE, "hold"), event(51, "mx1", ONE, "release"), tried(60, "mx1", ONE, "b@x")],
        {"status": "sent", "held_us": 50_000_000},
    ),
    "a status nobody logged": ([tried(1, "mx1", ONE, "b@x", None)], {"status": None}),  # type: ignore[arg-type]
    "refused in the session": (
        [turned(1, "mx1", "a@far.test", "b@x", 550, queue_id=ONE)],
        {"status": "rejected", "after_data": False},
    ),
    "turned away": ([turned(1, "mx1", "a@far.test", "b@x", 450, queue_id=ONE)], {"status": "turned_away"}),
}


@pytest.mark.parametrize("name", FATES)
def test_fates(name: str) -> None:
    rows, wanted = FATES[name]
    (row,) = fold(keyed([*came(0, "mx1", ONE, "m@x"), *rows])).recipients.iter_rows(named=True)
    assert {column: row[column] for column in wanted} == wanted


def test_a_refusal_of_another_sender_is_a_door() -> None:
    stays = fold(
        keyed([*came(0, "mx1", ONE, "m@x", "a@far.test"), turned(0.05, "mx1", "z@far.test", "b@x", 550, queue_id=ONE)])
    )
    assert stays.recipients.is_empty()
    assert stays.doors["sender"].to_list() == ["z@far.test"]
    assert stays.doors["queue_id"].to_list() == [None]
    assert stays.doors.columns == EVENTS.empty().columns
