"""What befell a recipient in a session is told to the mail of that session."""

import pytest

from hoptrace.transforms.kinds import part_kinds
from hoptrace.transforms.sessions import cut_sessions, fold_sessions, select_sessions
from tests.made import Row, event, frame, shuffled, turned, us

ONE, TWO = "ABCDE1", "ABCDE2"


def began(at: float, queue_id: str = ONE, pid: int | None = 5, **more: object) -> Row:
    return event(at, "mx1", queue_id, "arrive", pid=pid, client_ip="192.0.2.9", **more)


def no(at: float, pid: int | None = 5, host: str = "mx1") -> Row:
    return turned(at, host, "a@far.test", "no@our.test", 550, pid=pid)


def lost(at: float) -> Row:
    return event(at, "mx1", None, "lost", pid=5, stage="DATA")


CONNECT, GONE = event(1, "mx1", None, "connect", pid=5), event(20, "mx1", None, "disconnect", pid=5)
CASES: dict[str, tuple[list[Row], list[tuple[str, str | None, int]]]] = {
    "before the mail": ([CONNECT, no(2), began(3)], [("door", ONE, us(3))]),
    "after the mail": ([CONNECT, began(3), no(4)], [("door", None, us(4))]),
    "between two mails": ([CONNECT, began(3), no(4), began(5, TWO)], [("door", TWO, us(5))]),
    "another session of the process": ([no(2), GONE, began(21)], [("door", None, us(2))]),
    "a new connection": ([no(0), CONNECT, began(3)], [("door", None, us(0))]),
    "a long silence": ([no(0), began(601)], [("door", None, us(0))]),
    "another host": ([no(2, host="smtp1"), began(3)], [("door", None, us(2))]),
    "no process ID": ([no(2, pid=None), began(3, pid=None)], [("door", None, us(2))]),
    "lost in the mail": ([CONNECT, began(3), lost(9)], [("lost", ONE, us(9))]),
    "lost before any": ([CONNECT, lost(9)], []),
    "nothing": ([], []),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("seed", [0, 1])
def test_sessions(name: str, seed: int) -> None:
    rows, told = CASES[name]
    events = shuffled(frame(rows), seed) if seed and rows else frame(rows)
    found = fold_sessions(select_sessions(part_kinds(events)))
    assert [
        (str(kind), queue_id, stamp) for kind, queue_id, stamp in found.select("kind", "queue_id", "stamp").rows()
    ] == told


@pytest.mark.parametrize(("cut", "crosses"), [(2, False), (2.5, True), (3, True), (3.5, False)])
def test_what_the_next_night_could_not_tell(cut: float, crosses: bool) -> None:
    told = fold_sessions(select_sessions(part_kinds(frame([CONNECT, no(2), began(3)]))))
    assert cut_sessions(told, us(cut)).height == crosses
