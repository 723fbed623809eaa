"""What a last logged fact tells, and when it was settled."""

import polars as pl
import pytest

from hoptrace.transforms.holes import whole_logs
from hoptrace.transforms.outcomes import (
    DOOR_WAIT_US,
    HANDOVER_WAIT_US,
    HOP_TIMES,
    SHOWN_BY_US,
    UNFINISHED_US,
    judge_outcomes,
    place_sent,
)
from hoptrace.transforms.stamps import DAY, MINUTE

ENDS = 30 * DAY
AT = 10 * DAY + 7
TEXT = ("status", "service", "reply", "relay_name", "relay_ip", "relay_host", "recipient", "next_queue_id", "hop_host")
TIMES = ("at", "try_start", *HOP_TIMES)
YES = ("loopback", "clash")
SCHEMA = {**dict.fromkeys(TEXT, pl.String), **dict.fromkeys(YES, pl.Boolean), **dict.fromkeys(TIMES, pl.Int64)}
SHOWN = (AT + HANDOVER_WAIT_US) // MINUTE * MINUTE + MINUTE
"""When the log of another host shows that it is there long after: its first line then."""

Facts = dict[str, object]


def judge(facts: Facts, ends_at: int = ENDS) -> tuple[object, ...]:
    """outcome, place and settled of one row; what `facts` lack is null. `read_until`: up to when the log of the relay is read."""
    row: Facts = {
        "at": AT,
        "loopback": False,
        "last_seen": AT,
        "first_seen": 1,
        "arrived": 1,
        "queued": 2,
        "hop_host": "mx0",
    }
    rows = pl.DataFrame([{**row, **{name: fact for name, fact in facts.items() if name in SCHEMA}}], schema=SCHEMA)
    until = facts.get("read_until")
    logs = whole_logs({"mx0": 2 * ENDS, **({"mx1": until} if isinstance(until, int) else {})}, 0)
    return judge_outcomes(rows, ends_at, {"spamtrap": "discard"}, logs).select("outcome", "place", "settled").row(0)


def handed(**more: object) -> Facts:
    return {"status": "sent", "reply": "250 Ok: queued as X", "relay_host": "mx1", "next_queue_id": "X", **more}


CASES: dict[str, tuple[Facts, tuple[object, ...]]] = {
    "outside": ({"status": "sent", "reply": "250 ok"}, ("delivered", "outside", AT)),
    "a mailbox": ({"status": "sent", "reply": "delivered to maildir"}, ("delivered", "mailbox", AT)),
    "saved by a store": ({"status": "stored"}, ("delivered", "mailbox", AT)),
    "a program": ({"status": "sent", "reply": "delivered to command: /bin/x"}, ("delivered", "program", AT)),
    "a program that is a mailbox": (
        {"status": "sent", "reply": "delivered to command: /usr/bin/procmail -t"}, ("delivered", "mailbox", AT),
    ),
    "a program that the fleet says drops it": (
        {"status": "sent", "reply": "delivered to command: /opt/spamtrap"}, ("discarded", None, AT),
    ),
    "thrown away": ({"status": "sent", "reply": "delivered to file: /dev/null"}, ("discarded", None, AT)),
    "handed over, not long ago": (handed(at=ENDS - 1), ("in_transit", None, None)),
    "handed over, and the log there is whole": (
        handed(read_until=ENDS), ("missing", None, SHOWN),
    ),
    "handed over, and the log there ends before": (
        handed(read_until=SHOWN), ("unknown", None, AT + SHOWN_BY_US),
    ),
    "handed over, and no log there": (handed(), ("unknown", None, AT + SHOWN_BY_US)),
    "handed over, and there at an impossible time": (handed(read_until=ENDS, clash=True), ("unknown", None, SHOWN)),
    "redirected": ({"status": "redirected"}, ("unknown", None, AT + HANDOVER_WAIT_US)),
    "refused": ({"status": "bounced"}, ("bounced", None, AT)),
    "given up": ({"status": "expired"}, ("returned", None, AT)),
    "waiting": ({"status": "deferred"}, ("queued", None, None)),
    "held": ({"status": "deferred", "held_from": 5}, ("held", None, None)),
    "turned away": ({"status": "turned_away"}, ("deferred_at_door", None, AT + DOOR_WAIT_US)),
    "turned away today": ({"status": "turned_away", "at": ENDS - DOOR_WAIT_US}, ("deferred_at_door", None, None)),
    "not tried yet": ({"status": "pending", "at": None}, ("queued", None, None)),
    "not tried, and removed": ({"status": "pending", "at": None, "deleted_at": 7}, ("deleted", None, 7)),
    "refused after DATA": ({"status": "pending", "at": None, "refused_at": 7}, ("rejected", None, 7)),
    "lost in DATA": ({"status": "pending", "at": None, "queued": None, "aborted_at": 7}, ("aborted", None, 7)),
    "never heard of again": (
        {"status": "pending", "at": None, "queued": None}, ("aborted", None, AT + UNFINISHED_US),
    ),
    "not heard of for a while": (
        {"status": "pending", "at": None, "queued": None, "last_seen": ENDS - UNFINISHED_US}, ("queued", None, None),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_judge_outcomes(name: str) -> None:
    facts, expected = CASES[name]
    assert judge(facts) == expected


@pytest.mark.parametrize("name", [name for name, (_, told) in CASES.items() if told[2] is not None])
def test_what_is_settled_stays(name: str) -> None:
    """A later night tells the same of the same facts."""
    facts, expected = CASES[name]
    assert judge(facts, 2 * ENDS) == expected


PLACES = [
    ("250 2.0.0 <b@our.test> 93b6I/NRL1YjfgAAMW3Dmg Saved", "store1", False, "mailbox"),
    ("delivered via dovecot service", "dovecot", False, "mailbox"),
    ("delivered via smtp2sms service", "smtp2sms", False, "program"),
    ("250 ok", "127.0.0.1", True, "program"),
    ("250 ok", "mx.far.test", False, None),
    (None, None, None, None),
]


@pytest.mark.parametrize(("reply", "relay", "loop", "place"), PLACES)
def test_place_sent(reply: str | None, relay: str | None, loop: bool | None, place: str | None) -> None:
    row = {"status": "sent", "reply": reply, "relay_name": relay, "loopback": loop}
    assert place_sent(pl.DataFrame([row], schema=SCHEMA), {})["place"].item() == place
