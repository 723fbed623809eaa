"""Tries at the door: series, the acceptances that end them, and what is left for the next night."""

import polars as pl
import pytest

from hoptrace.transforms.assemble import assemble_hops
from hoptrace.transforms.carry import unfold_firsts
from hoptrace.transforms.doors import Series, accepted, match_series, name_client, outside, write_refusals
from tests.made import FLEET, READ, Row, came, frame, from_host, keyed, tried, turned, us

C = pl.col
WHO: Row = {"sender": "a@far.test", "recipient": "b@our.test"}
H = 3600


def series_of(tries: list[Row], mails: list[float] = [], ends: float = 1000 * H, **client: str) -> Series:  # noqa: B006
    rows: list[Row] = []
    for number, at in enumerate(mails):
        rows += [
            *came(at, "mx1", f"ABCDE{number}", "m@far.test", WHO["sender"], **client),
            tried(at + 1, "mx1", f"ABCDE{number}", WHO["recipient"]),
        ]
    stays = assemble_hops(keyed(rows), FLEET, frozenset(READ))
    return match_series(name_client(frame(tries)), name_client(accepted(stays.hops, stays.recipients)), us(ends))


def soft(at: float, **more: object) -> Row:
    return turned(at, "mx1", **{**WHO, **more})  # type: ignore[arg-type]


def hard(at: float) -> Row:
    return turned(at, "mx1", **WHO, code=550)


CASES: dict[str, tuple[list[Row], list[float], list[float], int]] = {
    # tries, acceptances; the first attempts of the mails that came in, and how many never did
    "one try, one mail": ([soft(0)], [300], [0], 0),
    "two tries, one mail": ([soft(0), soft(100)], [300], [0], 0),
    "two tries, two mails": ([soft(0), soft(100)], [300, 301], [0, 100], 0),
    "a mail before any try takes none": ([soft(100)], [0, 300], [100], 0),
    "a mail without a try": ([], [0], [], 0),
    "given up": ([soft(0), soft(100)], [], [], 1),
    "given up after a mail": ([soft(0), soft(400)], [300], [0], 1),
    "too late": ([soft(0)], [24 * H + 1], [], 1),
    "by way of other tries": ([soft(0), soft(20 * H), soft(40 * H)], [60 * H], [0], 0),
    "two refusals": ([hard(0), hard(100)], [], [], 2),
    "softly, then hard": ([soft(0), hard(100)], [], [], 1),
    "another net": ([soft(0, client_ip="198.51.100.1", client_name="else.example")], [300], [], 1),
    "another net of the same domain": ([soft(0, client_ip="198.51.100.1", client_name="two.far.test")], [300], [0], 0),
    "another sender": ([soft(0, sender="z@far.test")], [300], [], 1),
    "the domain in capitals": ([soft(0, recipient="b@OUR.test")], [300], [0], 0),
    "without a sender": ([soft(0, sender=None)], [], [], 1),
    "without an address": ([soft(0, client_ip=None, client_name=None)], [], [], 1),
}


@pytest.mark.parametrize("name", CASES)
def test_series(name: str) -> None:
    tries, mails, firsts, never = CASES[name]
    told = series_of(tries, mails)
    assert sorted(told.firsts["first_attempt_at"]) == [us(at) for at in firsts]
    assert told.never.height == never
    rows = write_refusals(told.never, us(1000 * H))
    assert rows["settled_at"].null_count() == 0
    assert rows["trace_id"].is_unique().all()


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("cut", [50, 250, 350, 10 * H, 30 * H])
def test_series_in_two_nights(name: str, cut: float) -> None:
    """The first attempts of mails after the cut are those of one run, from what the first night left."""
    tries, mails, firsts, _ = CASES[name]
    early = series_of([row for row in tries if row["stamp"] < us(cut)], [at for at in mails if at < cut], cut)
    late = [row for row in tries if row["stamp"] >= us(cut)]
    state = pl.concat([early.waiting, frame(late)])
    stays = assemble_hops(
        keyed(
            [
                row
                for at in mails
                if at >= cut
                for row in (
                    *came(at, "mx1", f"Z{at}", "m@far.test", WHO["sender"]),
                    tried(at + 1, "mx1", f"Z{at}", WHO["recipient"]),
                )
            ]
        ),
        FLEET,
        frozenset(READ),
    )
    told = match_series(name_client(state), name_client(accepted(stays.hops, stays.recipients)), us(1000 * H))
    assert sorted([*early.firsts["first_attempt_at"], *told.firsts["first_attempt_at"]]) == [us(at) for at in firsts]


INSIDE: dict[str, tuple[list[tuple[str, float]], list[tuple[str, float]], list[float | None], int]] = {
    # what happens in which order (inside: a 450 in the queue ID A, whose mail goes on); (queue ID, first attempt) of those that
    # have one, the recipients of A that came back, and series that are told as a refusal of their own
    "inside, then taken": ([("inside", 0), ("taken", 300)], [("T300", 0)], [0], 0),
    "inside, never again": ([("inside", 0)], [("A0", 0)], [], 0),
    "at the door, then inside": ([("door", 0), ("inside", 300)], [("A300", 0)], [], 0),
    "inside, then at the door": ([("inside", 0), ("door", 300)], [], [0], 1),
    "inside twice": ([("inside", 0), ("inside", 300)], [("A300", 0)], [0], 0),
    "inside twice, then taken": ([("inside", 0), ("inside", 300), ("taken", 600)], [("T600", 0)], [0, 300], 0),
    "inside, then refused": ([("inside", 0), ("hard", 300)], [], [0], 1),
    "taken, then inside": ([("taken", 0), ("inside", 300)], [("A300", 300)], [], 0),
    "too late": ([("inside", 0), ("taken", 25 * H)], [("A0", 0)], [], 0),
}


@pytest.mark.parametrize("name", INSIDE)
@pytest.mark.parametrize("cut", [None, 100, 400])
def test_tries_inside_a_queue_id(name: str, cut: float | None) -> None:
    story, first, back, never = INSIDE[name]
    rows: list[Row] = []
    tries = [soft(at) if kind == "door" else hard(at) for kind, at in story if kind in ("door", "hard")]
    for kind, at in story:
        if kind == "inside":
            rows += [*came(at - 0.5, "mx1", f"A{at:.0f}", "m@far.test", WHO["sender"]), soft(at, queue_id=f"A{at:.0f}")]
            rows.append(tried(at + 1, "mx1", f"A{at:.0f}", "else@our.test"))
        if kind == "taken":
            rows += [
                *came(at, "mx1", f"T{at:.0f}", "m@far.test", WHO["sender"]),
                tried(at + 1, "mx1", f"T{at:.0f}", WHO["recipient"]),
            ]
    stays = assemble_hops(keyed(rows), FLEET, frozenset(READ))
    names = stays.hops.select("hop", "queue_id")
    doors, mails = name_client(frame(tries)), name_client(accepted(stays.hops, stays.recipients))
    published = 0
    if cut is not None:
        early = match_series(doors.filter(C("stamp") < us(cut)), mails.filter(C("at") < us(cut)), us(cut))
        published = early.never.filter("ends").height
        state = name_client(pl.concat([early.waiting, unfold_firsts(stays.hops, early.firsts)]))
        doors = pl.concat([state, doors.filter(C("stamp") >= us(cut))])
    told = match_series(doors, mails, us(1000 * H))
    firsts = told.firsts.join(names, on="hop")
    assert sorted(firsts.filter(~C("came_back")).select("queue_id", "first_attempt_at").rows()) == [
        (queue_id, us(at)) for queue_id, at in first
    ]
    assert sorted(firsts.filter("came_back")["queue_id"].unique()) == [f"A{at:.0f}" for at in back]
    assert told.never.height + published == never


def test_what_waits() -> None:
    told = series_of([soft(0), soft(100), soft(400)], [300], ends=500)
    assert told.waiting.sort("stamp").select("stamp", C("kind").cast(pl.String)).rows() == [
        (us(100), "door"),
        (us(300), "arrive"),
        (us(400), "door"),
    ]
    assert series_of([soft(0)], ends=25 * H).waiting.is_empty()


def test_a_try_is_open_until_a_day_has_passed() -> None:
    for ends, settled in ((23 * H, None), (24 * H, None), (24 * H + 1, us(24 * H))):
        assert write_refusals(series_of([soft(0)], ends=ends).never, us(ends))["settled_at"].to_list() == [settled]


def test_our_own_hosts_stand_in_their_own_logs() -> None:
    tries = frame([soft(0, **from_host("smtp1")), soft(1)])
    assert outside(tries, FLEET, frozenset(READ))["client_ip"].to_list() == ["192.0.2.9"]
    assert outside(tries.clear(), FLEET, frozenset()).is_empty()


NETS = [("192.0.2.77", "192.0.2"), ("2001:db8:1:2:3::4", "2001:db8:1:2:"), ("::1", "::"), ("odd", "odd"), (None, None)]


@pytest.mark.parametrize(("address", "net"), NETS)
def test_nets(address: str | None, net: str | None) -> None:
    assert name_client(frame([soft(0, client_ip=address)]))["net"].to_list() == [net]


EXIM: Row = {"instance": "exim", "pid": 7, "reply": "Unrouteable address"}


@pytest.mark.parametrize(
    ("tries", "never"),
    [
        ([{**hard(0), **EXIM}, {**hard(0), **EXIM}], 1),
        ([{**hard(0), **EXIM}, {**hard(1.5), **EXIM}], 1),
        ([{**hard(0), **EXIM}, {**hard(3), **EXIM}], 2),
        ([{**hard(0), **EXIM}, {**hard(0), **EXIM, "pid": 8}], 2),
        ([{**hard(0), **EXIM}, {**hard(0), **EXIM, "reply": "Sender verify failed"}], 2),
        ([{**hard(0), **EXIM, "pid": None}, {**hard(0), **EXIM, "pid": None}], 1),
        ([{**hard(0), "pid": 7}, {**hard(0), "pid": 7}], 2),
    ],
)
def test_a_reject_in_exims_two_logs_counts_once(tries: list[Row], never: int) -> None:
    assert series_of(tries).never.height == never


def test_the_copy_after_the_night_counts_in_the_next() -> None:
    tries: list[Row] = [{**hard(0), **EXIM}, {**hard(0.001), **EXIM}]
    assert [series_of(tries, ends=ends).never.height for ends in (0.0005, 0.5)] == [0, 1]
