"""Mailbox events: what stores' lines tell of messages in mailboxes, whatever the nights are cut to."""

from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from hoptrace.schemas.mailbox_events import MAILBOX_EVENTS
from hoptrace.transforms.mailbox import OPEN_US
from tests.engines import read_fast
from tests.made import DAY, FLEET, READ, Row, event, frame, shuffled, us
from tests.plain import run_nights

C = pl.col
LOGIN = "dovecot: pop3-login: Login: user=<eva@skole.test>, method=PLAIN, rip=10.77.2.5, lip=10.77.0.41, mpid=7, session=<S1>"
GONE = "dovecot: pop3(eva@skole.test)<7><S1>: expunge: box=INBOX, uid={}, msgid=<{}@far.test>, size=900"
END = "dovecot: pop3(eva@skole.test)<7><S1>: Disconnected: Logged out top=0/0, retr={}/{}, del={}/{}, size={}"
IMAP = "dovecot: imap(eva@skole.test)<8><S2>: "
IMAP_LOGIN = LOGIN.replace("pop3", "imap").replace("S1", "S2")
IMAP_END = (
    IMAP
    + "Disconnected: Logged out in=72 out=9 deleted=1 expunged={} trashed=0 hdr_count=0 hdr_bytes=0 body_count={} body_bytes={}"
)
SAVE = "dovecot: lmtp(eva@skole.test)<9><L1>: save: box=INBOX, uid=65, msgid=<m1@far.test>, size=4023"
SIEVE = "dovecot: lmtp(eva@skole.test)<9><L1>: sieve: msgid=<m1@far.test>: stored mail into mailbox 'INBOX'"
FILED = "dovecot: lmtp(eva@skole.test)<9><L1:R2>: sieve: msgid=<m1@far.test>: fileinto action: stored mail into mailbox 'Spam'"
LDA = "dovecot: lda(eva@skole.test): sieve: msgid=<m1@far.test>: stored mail into mailbox 'INBOX'"


def lines(*timed: tuple[float, str]) -> list[Row]:
    """Events of log lines of store1, as its grammar reads them."""
    read, _ = read_fast([line for _, line in timed])
    rows = []
    for (second, line), found in zip(timed, read, strict=True):
        assert found is not None, line
        kind, fields = found
        rows.append({**event(second, "store1", fields.pop("queue_id", None), kind), "instance": "dovecot", **fields})
    return rows


def rows_of(events: list[Row] | pl.DataFrame, cuts: list[int]) -> pl.DataFrame:
    """MAILBOX_EVENTS of all nights between `cuts` and the last one's end."""
    events = events if isinstance(events, pl.DataFrame) else frame(events)
    bounds = sorted({us(-10), *cuts, us(0) + 30 * DAY})
    nights = run_nights(events, FLEET, bounds, READ)
    table = pl.concat([MAILBOX_EVENTS.conform(night.tables["mailbox_events"]) for night in nights])
    return MAILBOX_EVENTS.sorted(table)


def told(events: list[Row]) -> list[tuple[Any, ...]]:
    some = rows_of(events, []).select("action", "message_id", "messages", "size", "client_ip", "protocol")
    return some.rows()


BOTH = [(0, LOGIN), (1, GONE.format(1, "m1")), (1.1, GONE.format(2, "m2")), (2, END.format(2, 1900, 2, 2, 1800))]


def test_a_session_that_read_all_downloaded_what_it_removed() -> None:
    ours = ("eva@skole.test", "INBOX", "10.77.2.5", "pop3", "S1")
    some = rows_of(lines(*BOTH), [])
    assert some.select("user", "folder", "client_ip", "protocol", "session").unique().rows() == [ours]
    assert [(row[0], row[1]) for row in told(lines(*BOTH))] == [
        ("expunged", "m1@far.test"), ("expunged", "m2@far.test"), ("downloaded", "m1@far.test"), ("downloaded", "m2@far.test"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("totals", "also"),
    [
        ((2, 1900, 1, 5, 9000), [("downloaded", None, 2, 1900)]),
        ((5, 9100, 3, 5, 9000), [("downloaded", "m1@far.test", None, 900), ("downloaded", None, 4, None),
                                 ("expunged", None, 2, None)]),
        ((1, 12, 1, 1, 9000), [("downloaded", None, 1, 12)]),
        ((0, 0, 1, 5, 9000), []),
    ],
)  # fmt: skip
def test_totals_tell_of_what_no_line_names(totals: tuple[int, ...], also: list[tuple[Any, ...]]) -> None:
    events = lines((0, LOGIN), (1, GONE.format(1, "m1")), (2, END.format(*totals)))
    assert sorted(map(str, [row[:4] for row in told(events)])) == sorted(
        map(str, [("expunged", "m1@far.test", None, 900), *also])
    )


def test_only_totals_are_known() -> None:
    assert told(lines((0, LOGIN), (2, END.format(2, 1900, 2, 2, 1800)))) == [
        ("downloaded", None, 2, 1900, "10.77.2.5", "pop3"), ("expunged", None, 2, None, "10.77.2.5", "pop3"),
    ]  # fmt: skip


def test_logins_that_change_nothing_leave_no_rows() -> None:
    assert (
        told(lines((0, LOGIN), (2, END.format(0, 0, 0, 5, 9000)), (3, IMAP_LOGIN), (9, IMAP_END.format(0, 0, 0)))) == []
    )


def test_what_an_imap_session_did() -> None:
    named = "box=Arkiv, uid=1, msgid=<m1@far.test>, size=900"
    events = lines(
        (0, IMAP_LOGIN), (1, IMAP + "copy from INBOX: " + named), (2, IMAP + "delete: " + named),
        (3, IMAP + "expunge: " + named), (4, IMAP_END.format(3, 2, 5000)),
    )  # fmt: skip
    assert [row[:4] for row in told(events)] == [
        ("copied", "m1@far.test", None, 900), ("deleted", "m1@far.test", None, 900), ("expunged", "m1@far.test", None, 900),
        ("downloaded", None, 2, 5000), ("expunged", None, 2, None),
    ]  # fmt: skip


def test_the_two_lines_of_one_delivery_are_one_row() -> None:
    events = lines((0, SAVE), (0.01, SIEVE), (1, FILED))
    assert [row[:4] for row in told(events)] == [
        ("saved", "m1@far.test", None, 4023),
        ("filed", "m1@far.test", None, None),
    ]


def test_two_deliveries_are_two_rows() -> None:
    again = [(5, SAVE), (5.1, SIEVE)]
    assert len(told(lines((0, SAVE), (0.01, SIEVE), *again))) == 2
    assert len(told(lines((0, LDA), (5, LDA), (500, LDA)))) == 3


def test_a_login_is_remembered_for_days_not_for_ever() -> None:
    late = OPEN_US / 1_000_000
    events = lines((0, IMAP_LOGIN), (late, IMAP + "delete: box=A, uid=1, msgid=<m1@a>, size=1"),
                   (late + 1, IMAP + "delete: box=A, uid=1, msgid=<m2@a>, size=1"))  # fmt: skip
    assert [row[4] for row in told(events)] == ["10.77.2.5", None]
    nightly = [us(0) + day * DAY for day in range(12)]
    assert rows_of(events, nightly)["client_ip"].to_list() == ["10.77.2.5", None]


ALL = lines(
    (0, SAVE), (0.01, SIEVE), (20, FILED), (90, LDA), (120, LDA), (130, LDA), (200, LOGIN), (210, GONE.format(1, "m1")),
    (250, GONE.format(2, "m2")), (300, END.format(5, 9100, 3, 5, 9000)), (310, IMAP_LOGIN),
    (400, IMAP + "expunge: box=INBOX, uid=1, msgid=<m3@far.test>, size=9"), (90_000, IMAP_END.format(4, 2, 10)),
    (90_100, IMAP_LOGIN), (200_000, IMAP + "delete: box=INBOX, uid=1, msgid=<m4@far.test>, size=9"),
)  # fmt: skip


@settings(max_examples=30, deadline=None)
@given(
    st.sets(st.sampled_from([us(s) for s in (0.005, 1, 19, 91, 125, 200.5, 220, 260, 305, 350, 401, 86_400, 100_000)]))
)
def test_any_cuts_make_the_rows_of_one_run(cuts: set[int]) -> None:
    one = rows_of(ALL, [])
    assert one.height == 15
    assert_frame_equal(rows_of(ALL, sorted(cuts)), one, check_exact=True)
    assert_frame_equal(rows_of(shuffled(frame(ALL), 3), sorted(cuts)), one, check_exact=True)


def test_sessions_that_ended_are_not_carried() -> None:
    night, _ = run_nights(frame(ALL), FLEET, [us(-10), us(85_000), us(300_000)], READ)
    assert night.carried["action"].to_list() == ["login", "expunge"]
