"""Rows that people read: copies merged, notices dated, and what is flagged."""

import polars as pl
import pytest

from hoptrace.transforms.deliver import date_notices, merge_copies, name_trace
from hoptrace.transforms.publishable import NightTables
from tests.made import (
    FLEET,
    HOUR,
    READ,
    WARN_US,
    Row,
    came,
    event,
    frame,
    from_host,
    handed,
    left,
    lost,
    night_of,
    tried,
    turned,
    us,
)
from tests.plain import run_plain

C = pl.col
ENDS = 1000
SCHEMA = {
    "last": pl.UInt32,
    "trace_id": pl.String,
    "original_recipient": pl.String,
    "recipient": pl.String,
    "outcome": pl.String,
    "resolved_at": pl.Int64,
    "settled_at": pl.Int64,
}
COPIES: dict[str, tuple[list[tuple[str, int, int | None]], list[int], bool]] = {
    # outcome, resolved, settled of the copies; which of them are told, and whether any of them waits
    "one": ([("delivered", 5, 5)], [0], False),
    "the first success": ([("delivered", 9, 9), ("delivered", 5, 5)], [1], False),
    "a success and a failure": ([("bounced", 1, 1), ("delivered", 5, 5)], [1], False),
    "the last failure": ([("bounced", 1, 1), ("returned", 5, 5)], [1], False),
    "a failure, and what may still succeed": ([("bounced", 9, 9), ("queued", 5, None)], [1], True),
    "a success, and what may still come": ([("queued", 9, None), ("delivered", 5, 5)], [1], True),
    "a failure, and one that is settled tomorrow": ([("bounced", 9, 9), ("missing", 5, ENDS)], [1], True),
}


@pytest.mark.parametrize("name", COPIES)
def test_merge_copies(name: str) -> None:
    copies, told, waits = COPIES[name]
    rows = pl.DataFrame([(n, "t", "a", "b", *copy) for n, copy in enumerate(copies)], schema=SCHEMA, orient="row")
    other = rows.head(1).with_columns(recipient=pl.lit("c"), last=pl.lit(99, pl.UInt32), settled_at=pl.lit(1, pl.Int64))
    for mixed in (rows, rows.reverse()):
        merged = merge_copies(pl.concat([mixed, other]), ENDS).sort("last")
        assert merged["last"].to_list() == [*told, 99]
        assert merged["waits"].to_list() == [waits, False]


NOTICES: dict[str, tuple[Row, Row, tuple[int | None, int | None]]] = {
    # the recipient's last stay; the notice; warned, returned
    "a delay notice while it waited": (
        {"status": "sent", "at": 9 * HOUR, "last_deferred": 5 * HOUR}, {"notice": "delay_notice", "made": WARN_US}, (WARN_US, None),
    ),
    "a delay notice for somebody who had it": (
        {"status": "sent", "at": HOUR, "last_deferred": None}, {"notice": "delay_notice", "made": WARN_US}, (None, None),
    ),
    "a delay notice after it was gone": (
        {"status": "sent", "at": 2 * HOUR, "last_deferred": HOUR}, {"notice": "delay_notice", "made": WARN_US}, (None, None),
    ),
    "a bounce": ({"status": "bounced", "at": 5, "last_deferred": None}, {"notice": "bounce_notice", "made": 6}, (None, 6)),
    "a bounce for another recipient": (
        {"status": "sent", "at": 5, "last_deferred": None}, {"notice": "bounce_notice", "made": 6}, (None, None),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NOTICES)
def test_date_notices(name: str) -> None:
    stay, notice, expected = NOTICES[name]
    schema = {"row": pl.UInt32, "hop": pl.UInt64, "at": pl.Int64, "status": pl.String, "last_deferred": pl.Int64}
    rows = pl.DataFrame([{"row": 1, "hop": 7, **stay}], schema=schema)
    walks = pl.DataFrame(
        {"last": [1], "step": [0], "row": [1]}, schema={"last": pl.UInt32, "step": pl.Int32, "row": pl.UInt32}
    )
    told = pl.DataFrame([{"hop": 7, **notice}], schema={"hop": pl.UInt64, "notice": pl.String, "made": pl.Int64})
    dated = date_notices(rows, walks, told).select("warned", "returned").rows()
    assert (dated or [(None, None)]) == [expected]


def run(*rows: Row) -> NightTables:
    return run_plain(frame(rows), FLEET, night_of(-10, 200_000, cold_start=False), READ)


def test_any_try_may_have_left_a_copy() -> None:
    """The first answer was lost outside our hosts; the second try was only put off, the third went well."""
    told = run(
        *came(0, "out1", "ABCDE1", "m@far.test"),
        {**lost(5, "out1", "ABCDE1", "b@far.test", "mx1"), "relay_name": "mx.far.test", "relay_ip": "192.0.2.9"},
        tried(300, "out1", "ABCDE1", "b@far.test", "deferred"),
        tried(900, "out1", "ABCDE1", "b@far.test"),
        left(901, "out1", "ABCDE1"),
    )
    (row,) = told.tables["deliveries"].iter_rows(named=True)
    assert (row["outcome"], row["attempts"], row["flags"]) == ("delivered", 3, ["maybe_duplicate"])


def test_a_copy_is_told_as_it_was_when_it_went() -> None:
    """Attempts and stages of the giver are those up to the try that made the copy."""
    told = run(
        *came(0, "smtp1", "ABCDE1", "m@far.test"),
        tried(10, "smtp1", "ABCDE1", "b@far.test", "deferred"),
        lost(60, "smtp1", "ABCDE1", "b@far.test", "out1"),
        *came(59.5, "out1", "ABCDE2", "m@far.test", **from_host("smtp1")),
        tried(70, "out1", "ABCDE2", "b@far.test"),
        left(71, "out1", "ABCDE2"),
        tried(4000, "smtp1", "ABCDE1", "b@far.test", "deferred"),
        handed(9000, "smtp1", "ABCDE1", "b@far.test", "out1", "ABCDE3"),
        *came(8999.5, "out1", "ABCDE3", "m@far.test", **from_host("smtp1")),
        tried(9001, "out1", "ABCDE3", "b@far.test"),
        left(9002, "out1", "ABCDE3"),
        left(9003, "smtp1", "ABCDE1"),
    )
    (row,) = told.tables["deliveries"].iter_rows(named=True)
    assert [(stay["host"], stay["queue_id"], stay["attempts"]) for stay in row["hops"]] == [
        ("smtp1", "ABCDE1", 2),
        ("out1", "ABCDE2", 1),
    ]
    assert row["delay_s"] == pytest.approx(70)
    assert row["hops"][0]["stages"]["waiting_retry"] == pytest.approx(49)


def test_who_came_back_is_told_once_with_the_first_attempt() -> None:
    told = run(
        *came(0, "mx1", "ABCDE1", "m@far.test"),
        turned(0.5, "mx1", "a@far.test", "c@our.test", queue_id="ABCDE1"),
        tried(1, "mx1", "ABCDE1", "b@our.test"),
        left(2, "mx1", "ABCDE1"),
        *came(600, "mx1", "ABCDE2", "m@far.test"),
        tried(601, "mx1", "ABCDE2", "c@our.test"),
        left(602, "mx1", "ABCDE2"),
    )
    rows = told.tables["deliveries"].sort("recipient")
    assert rows.select("recipient", "outcome", "first_attempt_at").rows() == [
        ("b@our.test", "delivered", None),
        ("c@our.test", "delivered", us(0.5)),
    ]
    assert told.tables["hop_recipients"].filter(C("status") == "turned_away").height == 1


def test_the_name_of_a_trace_is_that_of_its_first_hop() -> None:
    hops = pl.DataFrame({"host": ["mx1", "mx1", "mx2"], "queue_id": ["A", "A", "A"], "epoch": [1, 2, 1]})
    names = name_trace(hops)
    assert names.n_unique() == 3
    assert names.str.len_chars().unique().to_list() == [24]
    assert name_trace(hops.reverse()).reverse().to_list() == names.to_list()


def test_a_client_that_left_in_the_middle_submitted_nothing() -> None:
    told = run(
        event(0, "mx1", "ABCDE1", "arrive", client_name="far.test", client_ip="192.0.2.9", arrival="smtp"),
        event(1, "mx1", "ABCDE1", "lost", stage="DATA"),
    )
    assert told.tables["deliveries"].select("outcome", "submitted_at").rows() == [("aborted", None)]


def test_what_ours_were_told_after_data_stands_in_their_own_log() -> None:
    told = run(
        *came(0, "smtp1", "ABCDE1", "m@far.test"),
        tried(5, "smtp1", "ABCDE1", "b@far.test", "deferred", relay_name="out1.our.test", relay_ip="10.0.0.3"),
        *came(4, "out1", "ABCDE2", "m@far.test", **from_host("smtp1"))[:2],
        event(
            4.5, "out1", "ABCDE2", "refuse", action="reject", dsn="4.7.1", sender="a@far.test", recipient="b@far.test"
        ),
        handed(600, "smtp1", "ABCDE1", "b@far.test", "out1", "ABCDE3"),
        *came(599, "out1", "ABCDE3", "m@far.test", **from_host("smtp1")),
        tried(601, "out1", "ABCDE3", "b@far.test"),
        left(602, "out1", "ABCDE3"),
        left(603, "smtp1", "ABCDE1"),
    )
    assert told.tables["deliveries"]["outcome"].to_list() == ["delivered"]
    assert told.tables["open"].is_empty()
