"""EVENTS made from terse rows, `event(second, host, queue_id, kind, column=value ...)`, and mails as lists of them."""

import dataclasses
import random
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any

import polars as pl

from hoptrace.schemas.events import EVENTS
from hoptrace.schemas.fleet import Fleet, Host
from hoptrace.transforms.hash import hash_columns
from hoptrace.transforms.plan import Night

T0 = 1_767_222_000_000_000
"""Second 0 of made events: midnight of the first of January 2026 in Copenhagen."""

SECOND, HOUR, DAY = 1_000_000, 3_600_000_000, 86_400_000_000
HOSTS = ("mx1", "smtp1", "out1", "store1")
WARN_US = 4 * HOUR

Row = dict[str, Any]


def us(second: float) -> int:
    """UTC microseconds of a second of the made day."""
    return T0 + round(second * SECOND)


def made_fleet(**more: Any) -> Fleet:
    """Four hosts, known by name and by address 10.0.0.1 to 10.0.0.4, that warn after 4 h and give up after 4 d."""
    fleet = Fleet(
        hosts={
            name: Host(name, None, (f"{name}.our.test", f"10.0.0.{number}"), (), WARN_US, 4 * DAY, 0, None)
            for number, name in enumerate(HOSTS, 1)
        }
    )
    return dataclasses.replace(fleet, **more)


FLEET = made_fleet()
READ = dict.fromkeys(HOSTS, T0 + 30 * DAY)
"""Every host's log is whole, for longer than any made mail lasts."""


def event(second: float, host: str, queue_id: str | None, kind: str, **more: Any) -> Row:
    """One event."""
    return {
        "stamp": us(second),
        "host": host,
        "queue_id": queue_id,
        "kind": kind,
        "instance": "postfix",
        "repeat": 1,
        **more,
    }


def frame(rows: Iterable[Row]) -> pl.DataFrame:
    """EVENTS of `rows`; a row that names no place has that of its number."""
    placed = [{"place": number, **row} for number, row in enumerate(rows)]
    return pl.DataFrame(placed, schema=EVENTS.schema) if placed else EVENTS.empty()


def keyed(rows: Iterable[Row] | pl.DataFrame) -> pl.DataFrame:
    """`rows` as `assemble_hops` takes them."""
    events = rows if isinstance(rows, pl.DataFrame) else frame(rows)
    return events.with_columns(hash_columns(events, ["host", "queue_id"]).alias("key"))


def night_of(first: float, last: float, cold_start: bool = True) -> Night:
    """The night between two seconds."""
    return Night(us(first), us(last), cold_start)


def came(
    second: float, host: str, queue_id: str, mid: str | None, sender: str = "a@far.test", nrcpt: int = 1, **client: Any
) -> list[Row]:
    """A mail accepted by an smtpd of `host`: client, Message-ID, envelope."""
    client = {"client_name": "far.test", "client_ip": "192.0.2.9", "arrival": "smtp", **client}
    return [
        event(second, host, queue_id, "arrive", service="smtpd", pid=11, **client),
        event(second + 0.1, host, queue_id, "message", service="cleanup", message_id=mid),
        event(second + 0.2, host, queue_id, "queue", service="qmgr", sender=sender, size=1000, nrcpt=nrcpt),
    ]


def tried(second: float, host: str, queue_id: str, recipient: str, status: str = "sent", **more: Any) -> Row:
    """A delivery attempt, one second long."""
    said = {
        "sent": ("2.0.0", "250 2.0.0 Ok"),
        "deferred": ("4.4.1", "connect to far.test[192.0.2.9]:25: Connection timed out"),
        "bounced": ("5.1.1", "550 5.1.1 user unknown"),
    }
    dsn, reply = said.get(status, (None, None))
    return event(
        second,
        host,
        queue_id,
        "attempt",
        **{
            "service": "smtp",
            "recipient": recipient,
            "status": status,
            "dsn": dsn,
            "reply": reply,
            "relay_name": "far.test",
            "relay_ip": "192.0.2.9",
            "delay_queue": 0,
            "delay_connect": 300_000,
            "delay_transmit": 700_000,
            **more,
        },
    )


def handed(second: float, host: str, queue_id: str, recipient: str, to: str, next_id: str, **more: Any) -> Row:
    """An attempt that another host of ours took under `next_id`."""
    return tried(
        second,
        host,
        queue_id,
        recipient,
        "sent",
        relay_name=f"{to}.our.test",
        relay_ip=f"10.0.0.{HOSTS.index(to) + 1}",
        next_queue_id=next_id,
        reply=f"250 2.0.0 Ok: queued as {next_id}",
        **more,
    )


def lost(second: float, host: str, queue_id: str, recipient: str, to: str) -> Row:
    """An attempt whose answer was lost: host `to` of ours may have a copy."""
    return tried(
        second,
        host,
        queue_id,
        recipient,
        "deferred",
        dsn="4.4.2",
        relay_name=f"{to}.our.test",
        relay_ip=f"10.0.0.{HOSTS.index(to) + 1}",
        reply=f"lost connection with {to}.our.test while sending end of data -- message may be sent more than once",
    )


def left(second: float, host: str, queue_id: str) -> Row:
    """The queue is done with it."""
    return event(second, host, queue_id, "leave", service="qmgr")


def from_host(host: str) -> Row:
    """The client columns of a host of ours."""
    return {"client_name": f"{host}.our.test", "client_ip": f"10.0.0.{HOSTS.index(host) + 1}"}


def turned(second: float, host: str, sender: str, recipient: str, code: int = 450, **more: Any) -> Row:
    """A recipient refused at the door."""
    return event(
        second,
        host,
        more.pop("queue_id", None),
        "door",
        **{
            "service": "smtpd",
            "pid": 11,
            "client_name": "far.test",
            "client_ip": "192.0.2.9",
            "sender": sender,
            "recipient": recipient,
            "code": code,
            "dsn": f"{code // 100}.7.1",
            "reply": f"{code} {code // 100}.7.1 <{recipient}>: refused",
            "stage": "RCPT",
            **more,
        },
    )


def two_hops(second: float, number: int, recipient: str = "b@far.test", wait: float = 5) -> list[Row]:
    """A mail through smtp1 and out1 to the outside, `wait` seconds at each."""
    one, two = f"A{number:05X}", f"B{number:05X}"
    return [
        *came(second, "smtp1", one, f"m{number}@far.test"),
        handed(second + wait, "smtp1", one, recipient, "out1", two),
        left(second + wait + 0.1, "smtp1", one),
        *came(second + wait - 0.5, "out1", two, f"m{number}@far.test", **from_host("smtp1")),
        tried(second + 2 * wait, "out1", two, recipient),
        left(second + 2 * wait + 0.1, "out1", two),
    ]


def shuffled(rows: pl.DataFrame, seed: int) -> pl.DataFrame:
    """`rows` in another order."""
    return rows.sample(fraction=1.0, shuffle=True, seed=seed)


def busy_log(seed: int, mails: int = 84, hours: float = 6) -> list[Row]:
    """A log of every kind of fate, at random moments: relayed, forwarded, bounced with notice, deferred, expired, held,
    requeued, deleted, greylisted, refused, split by sessions, reused queue IDs, stored, redirected and missing mail."""
    rnd = random.Random(seed)
    stories = (
        _relayed,
        _deferred,
        _bounced,
        _held,
        _expired,
        _requeued,
        _greylisted,
        _refused,
        _session,
        _reused,
        _stored,
        _missing,
        _queued,
        _forwarded,
        _aborted,
        _one_line,
        _cut_off,
        _filtered,
        _read,
        _split,
        _put_off,
        _greylisted_inside,
        _deferred_after_data,
        _sent_again,
        _told_late,
        _scanned,
        _kept,
        _wrapped,
        _put_back,
        _passed,
    )
    rows: list[Row] = []
    for number in range(mails):
        story = stories[number % len(stories)]
        rows += story(rnd.uniform(0, hours * 3600), number, rnd)
    return rows


def _relayed(at: float, n: int, rnd: random.Random) -> list[Row]:
    return two_hops(at, n, wait=rnd.choice([1, 30, 900]))


def _deferred(at: float, n: int, rnd: random.Random) -> list[Row]:
    one, wait = f"C{n:05X}", rnd.choice([60, 1200, 4000])
    tries = [tried(at + wait * k, "out1", one, "b@far.test", "deferred") for k in range(1, rnd.randint(2, 6))]
    end = at + wait * (len(tries) + 1)
    notice = [] if end - at < 14400 else _notice(at + 14400, "out1", one, f"N{n:05X}", "delay_notice")
    return [
        *came(at, "out1", one, f"m{n}@far.test", nrcpt=2),
        tried(at + 1, "out1", one, "c@far.test"),
        *tries,
        *notice,
        tried(end, "out1", one, "b@far.test"),
        left(end + 0.1, "out1", one),
    ]


def _notice(at: float, host: str, one: str, child: str, kind: str) -> list[Row]:
    return [
        event(at + 0.05, host, one, "notice", service="bounce", action=kind, next_queue_id=child),
        event(at, host, child, "message", service="cleanup", message_id=f"{child}@{host}"),
        event(at + 0.1, host, child, "queue", service="qmgr", sender="", size=3000, nrcpt=1),
        tried(at + 2, host, child, "a@far.test"),
        left(at + 2.1, host, child),
    ]


def _bounced(at: float, n: int, rnd: random.Random) -> list[Row]:
    one, wait = f"D{n:05X}", rnd.choice([1, 100])
    return [
        *came(at, "smtp1", one, f"m{n}@far.test"),
        tried(at + wait, "smtp1", one, "no@far.test", "bounced"),
        *_notice(at + wait + 0.1, "smtp1", one, f"E{n:05X}", "bounce_notice"),
        left(at + wait + 1, "smtp1", one),
    ]


def _held(at: float, n: int, rnd: random.Random) -> list[Row]:
    one, wait = f"F{n:05X}", rnd.choice([10, 2000])
    rows = [*came(at, "smtp1", one, f"m{n}@far.test"), event(at + 1, "smtp1", one, "hold", service="postsuper")]
    if rnd.random() < 0.4:
        return rows
    if rnd.random() < 0.3:
        return [*rows, event(at + wait, "smtp1", one, "delete", service="postsuper")]
    return [
        *rows,
        event(at + wait, "smtp1", one, "release", service="postsuper"),
        tried(at + wait + 5, "smtp1", one, "b@far.test"),
        left(at + wait + 6, "smtp1", one),
    ]


def _expired(at: float, n: int, rnd: random.Random) -> list[Row]:
    one = f"G{n:05X}"
    return [
        *came(at, "out1", one, f"m{n}@far.test"),
        *(tried(at + k * 1500, "out1", one, "b@far.test", "deferred") for k in range(1, 4)),
        event(at + 4500.1, "out1", one, "expire", service="qmgr", sender="a@far.test", status="expired"),
        *_notice(at + 4500.2, "out1", one, f"H{n:05X}", "bounce_notice"),
        left(at + 4501, "out1", one),
    ]


def _requeued(at: float, n: int, rnd: random.Random) -> list[Row]:
    one, two, wait = f"I{n:05X}", f"J{n:05X}", rnd.choice([5, 700])
    return [
        *came(at, "out1", one, f"m{n}@far.test"),
        tried(at + 1, "out1", one, "b@far.test", "deferred"),
        event(at + wait, "out1", one, "requeue", service="postsuper"),
        event(
            at + wait + 1,
            "out1",
            two,
            "arrive",
            service="pickup",
            arrival="requeue",
            orig_queue_id=one,
            sender="a@far.test",
        ),
        event(at + wait + 1.1, "out1", two, "message", message_id=f"m{n}@far.test"),
        event(at + wait + 1.2, "out1", two, "queue", sender="a@far.test", size=1000, nrcpt=1),
        tried(at + 2 * wait + 5, "out1", two, "b@far.test"),
        left(at + 2 * wait + 6, "out1", two),
    ]


def _greylisted(at: float, n: int, rnd: random.Random) -> list[Row]:
    one, who, pid = f"K{n:05X}", {"sender": f"g{n}@far.test", "recipient": "b@our.test"}, {"pid": 1000 + n}
    wait = rnd.choice([300, 1900, 5000])
    doors = [turned(at + k * wait, rnd.choice(["mx1", "smtp1"]), **who, **pid) for k in range(rnd.randint(1, 4))]
    if rnd.random() < 0.3:
        return doors
    end = at + len(doors) * wait
    return [
        *doors,
        *came(end, "mx1", one, f"m{n}@far.test", who["sender"]),
        tried(end + rnd.choice([1, 3000]), "mx1", one, "b@our.test"),
        left(end + 3001, "mx1", one),
    ]


def _greylisted_inside(at: float, n: int, rnd: random.Random) -> list[Row]:
    """Of two recipients one is turned away inside the queue ID, and comes again or not; the other is tried for long."""
    one, wait, who = f"GI{n:04X}", rnd.choice([300, 4000]), {"sender": f"i{n}@far.test", "recipient": "c@our.test"}
    again = rnd.randint(0, 3)
    rows = [
        *came(at, "mx1", one, f"m{n}@far.test", who["sender"]),
        turned(at + 0.05, "mx1", queue_id=one, **who),
        tried(at + 1, "mx1", one, "b@our.test", "deferred"),
        tried(at + 3 * wait, "mx1", one, "b@our.test"),
        left(at + 3 * wait + 0.1, "mx1", one),
        *(turned(at + k * wait, "mx1", **who, pid=5000 + n) for k in range(1, again)),
    ]
    if again == 3 or rnd.random() < 0.3:
        return rows
    two, end = f"GJ{n:04X}", at + (again + 1) * wait
    return [*rows, *came(end, "mx1", two, f"m{n}@far.test", who["sender"]),
            tried(end + 2, "mx1", two, who["recipient"]), left(end + 3, "mx1", two)]  # fmt: skip


def _deferred_after_data(at: float, n: int, rnd: random.Random) -> list[Row]:
    """A milter defers the whole message once or twice; then it comes in, or not."""
    wait, tries, rows, mid = rnd.choice([300, 4000]), rnd.randint(1, 2), [], f"m{n}@far.test"
    who = {"sender": f"d{n}@far.test", "recipient": "b@our.test"}
    for k in range(tries):
        one, begin = f"DA{n:03X}{k}", at + k * wait
        rows += [
            *came(begin, "mx1", one, mid, who["sender"])[:2],
            event(begin + 0.3, "mx1", one, "refuse", service="cleanup", action="reject", dsn="4.7.1",
                  reply="4.7.1 try again later", stage="END-OF-MESSAGE", **who),
        ]  # fmt: skip
    if rnd.random() < 0.4:
        return rows
    two, end = f"DB{n:04X}", at + tries * wait
    return [*rows, *came(end, "mx1", two, mid, who["sender"]), tried(end + 2, "mx1", two, "b@our.test"),
            left(end + 3, "mx1", two)]  # fmt: skip


def _sent_again(at: float, n: int, rnd: random.Random) -> list[Row]:
    """One or two tries whose answer was lost, of which out1 has copies or not; then a last try, or none."""
    one, mid, wait, rows = f"AG{n:04X}", f"m{n}@far.test", rnd.choice([60, 1300, 5000]), []
    times = rnd.randint(1, 3)
    for k in range(1, times + 1):
        then, copy = at + k * wait, f"AH{n:03X}{k}"
        if k == 2 and rnd.random() < 0.5:
            rows.append(tried(then, "smtp1", one, "b@far.test", "deferred"))
            continue
        rows.append(lost(then, "smtp1", one, "b@far.test", "out1"))
        if rnd.random() < 0.7:
            end = then + rnd.choice([1, 700, 4000])
            rows += [
                *came(then - 0.5, "out1", copy, mid, **from_host("smtp1")),
                tried(end, "out1", copy, "b@far.test", rnd.choice(["sent", "sent", "bounced"])),
                left(end + 0.1, "out1", copy),
            ]
    last, two, way = at + (times + 1) * wait, f"AI{n:04X}", rnd.choice(["handed", "handed", "bounced", "never"])
    rows += came(at, "smtp1", one, mid)
    if way == "handed":
        rows += [
            handed(last, "smtp1", one, "b@far.test", "out1", two),
            *came(last - 0.5, "out1", two, mid, **from_host("smtp1")),
            tried(last + wait, "out1", two, "b@far.test"),
            left(last + wait + 0.1, "out1", two),
        ]
    elif way == "bounced":
        rows.append(tried(last, "smtp1", one, "b@far.test", "bounced"))
    return rows if way == "never" else [*rows, left(last + 0.1, "smtp1", one)]


def _told_late(at: float, n: int, rnd: random.Random) -> list[Row]:
    """A transfer that the giver logs long after the next host was done with the mail."""
    one, two, mid, took = f"AT{n:04X}", f"AU{n:04X}", f"m{n}@far.test", rnd.choice([1000, 2500, 7000, 30_000])
    return [
        *came(at, "smtp1", one, mid),
        handed(at + took, "smtp1", one, "b@far.test", "out1", two, delay_transmit=(took - 5) * SECOND),
        left(at + took + 0.1, "smtp1", one),
        *came(at + 6, "out1", two, mid, **from_host("smtp1")),
        tried(at + 8, "out1", two, "b@far.test"),
        left(at + 9, "out1", two),
    ]


def _refused(at: float, n: int, rnd: random.Random) -> list[Row]:
    return [
        turned(at + k * 60, "mx1", f"spam{n}@far.test", "b@our.test", 550, pid=2000 + n)
        for k in range(rnd.randint(1, 3))
    ]


def _session(at: float, n: int, rnd: random.Random) -> list[Row]:
    """One session: a refused recipient, then a mail (of this sender or another) for the next one."""
    one, pid, gap = f"L{n:05X}", 3000 + n, rnd.choice([0.5, 20, 300])
    sender = rnd.choice([f"s{n}@far.test", "another@far.test"])
    rows = came(at + 1 + gap, "mx1", one, f"m{n}@far.test", f"s{n}@far.test")
    rows[0]["pid"] = pid
    return [
        event(at, "mx1", None, "connect", pid=pid, service="smtpd"),
        turned(at + 1, "mx1", sender, "no@our.test", 550, pid=pid),
        *rows,
        event(at + 3 + gap, "mx1", None, "disconnect", pid=pid, service="smtpd"),
        tried(at + 5 + gap, "mx1", one, "b@our.test"),
        left(at + 6 + gap, "mx1", one),
    ]


def _aborted(at: float, n: int, rnd: random.Random) -> list[Row]:
    pid, gap = 4000 + n, rnd.choice([1, 200])
    client = {"client_name": "far.test", "client_ip": "192.0.2.9", "arrival": "smtp"}
    return [
        event(at, "mx1", f"P{n:05X}", "arrive", service="smtpd", pid=pid, **client),
        event(at + gap, "mx1", None, "lost", service="smtpd", pid=pid, stage="DATA"),
    ]


def _one_line(at: float, n: int, rnd: random.Random) -> list[Row]:
    """A program that tells all about a mail in one line, and logs no end."""
    one, wait = f"1a2b{n:02x}", rnd.choice([2, 900, 3000])
    return [
        event(
            at,
            "out1",
            one,
            "arrive",
            instance="exim",
            client_name="smtp1.our.test",
            client_ip="10.0.0.2",
            arrival="smtp",
            sender=f"e{n}@far.test",
            size=500,
            nrcpt=2,
            message_id=f"m{n}@far.test",
        ),
        tried(at + 1, "out1", one, "b@far.test"),
        tried(at + 2, "out1", one, "c@far.test", "deferred"),
        tried(at + 2 + wait, "out1", one, "c@far.test"),
    ]


def _cut_off(at: float, n: int, rnd: random.Random) -> list[Row]:
    """A mail whose beginning is not in the log: its last tries, or its end only."""
    one = f"Z{n:05X}"
    tries = [tried(at + k * 700, "out1", one, "b@far.test", "deferred") for k in range(rnd.randint(0, 3))]
    return [*tries, left(at + 2500, "out1", one)]


def _filtered(at: float, n: int, rnd: random.Random) -> list[Row]:
    """A mail that only its filter's verdict tells of."""
    return [
        event(at, "mx1", f"O{n:05X}", "filter", instance="amavis", sender="a@far.test", message_id=f"m{n}@far.test")
    ]


def _scanned(at: float, n: int, rnd: random.Random) -> list[Row]:
    """Mails that share a Message-ID with others, each scanned before, while or after its queue takes it."""
    rows, mid = [], f"shared{n % 2}@far.test"
    for k in range(3):
        one, begin, score = f"G{n:04X}{k}", at + k * rnd.choice([2, 300, 1500]), float(rnd.randint(-2, 12))
        wait, said = rnd.choice([5, 900]), {"message_id": mid, "score": score, "required_score": 5.0}
        for when in (rnd.choice([-500, -3, 1, 700]), 2000):
            rows.append(
                event(
                    begin + when,
                    "mx1",
                    None,
                    "filter",
                    instance="spamd",
                    action="spam" if score >= 5 else "clean",
                    **said,
                )
            )
        rows += [
            *came(begin, "mx1", one, mid),
            tried(begin + wait, "mx1", one, "b@far.test"),
            left(begin + wait + 1, "mx1", one),
        ]
    return rows


def _kept(at: float, n: int, rnd: random.Random) -> list[Row]:
    """A filter quarantines a mail for one recipient, and passes it with a copy in quarantine for the other."""
    one, two, wait = f"HA{n:04X}", f"HB{n:04X}", rnd.choice([5, 1800])
    said = {"instance": "amavis", "score": 29.0, "action": "spam", "folder": f"spam-{n}.gz"}
    door = {"relay_name": "127.0.0.1", "relay_ip": "127.0.0.1"}
    return [
        *came(at, "mx1", one, f"m{n}@far.test", nrcpt=2),
        *came(at + 2, "mx1", two, f"m{n}@far.test", client_name="localhost", client_ip="127.0.0.1"),
        event(at + 2.5, "mx1", one, "filter", recipient="b0@our.test", status="quarantined", **said),
        event(at + 2.6, "mx1", one, "filter", recipient="b1@our.test", next_queue_id=two, **said),
        tried(at + 3, "mx1", one, "b0@our.test", reply="250 2.7.0 Ok, discarded, id=1-2 - spam", **door),
        tried(at + 3, "mx1", one, "b1@our.test", next_queue_id=two, reply=f"250 2.0.0 Ok: queued as {two}", **door),
        left(at + 3.1, "mx1", one),
        tried(at + 3 + wait, "mx1", two, "b1@our.test"),
        left(at + 4 + wait, "mx1", two),
    ]


def _wrapped(at: float, n: int, rnd: random.Random) -> list[Row]:
    """A filter's line in three pieces."""
    one, wait = f"VA{n:04X}", rnd.choice([5, 1800])
    text = (
        f"Blocked SPAM {{DiscardedInbound,Quarantined}}, [192.0.2.9]:1 <a@far.test> -> <b@our.test>, quarantine: spam-{n}.gz, "
        f"Queue-ID: {one}, Message-ID: <m{n}@far.test>, mail_id: x1, Hits: 29, size: 1473, 1650 ms"
    )
    cuts = (0, rnd.randint(60, 100), rnd.randint(110, 180), len(text))
    pieces = ["..." * (a > 0) + text[a:b] + "..." * (b < len(text)) for a, b in pairwise(cuts)]
    own = {"instance": "amavis", "pid": 4000 + n, "session": f"{4000 + n:05d}-01"}
    return [
        *came(at, "mx1", one, f"m{n}@far.test"),
        *(event(at + wait + k / 10, "mx1", None, "part", reply=piece, **own) for k, piece in enumerate(pieces)),
        tried(
            at + wait + 0.4,
            "mx1",
            one,
            "b@our.test",
            relay_name="127.0.0.1",
            relay_ip="127.0.0.1",
            reply="250 2.7.0 Ok, discarded",
        ),
        left(at + wait + 0.5, "mx1", one),
    ]


def _put_back(at: float, n: int, rnd: random.Random) -> list[Row]:
    """A filter takes mail off the hold queue, and puts it back under another ID or keeps it."""
    one, two, wait = f"WA{n:04X}", f"WB{n:04X}", rnd.choice([5, 1800])
    who = {"sender": "a@far.test", "recipient": "b@our.test", "instance": "mailscanner"}
    rows = [
        event(at, "mx1", one, "arrive", service="smtpd", client_ip="192.0.2.9", arrival="smtp"),
        event(at + 0.1, "mx1", one, "refuse", **{**who, "instance": "postfix"}, action="hold", stage="header"),
        event(at + 0.2, "mx1", one, "message", message_id=f"m{n}@far.test"),
        event(at + wait, "mx1", one, "filter", action="spam", score=7.2, required_score=4.0, instance="mailscanner"),
    ]
    if rnd.random() < 0.5:
        kept = event(
            at + wait + 0.2, "mx1", one, "filter", action="store", status="quarantined", instance="mailscanner"
        )
        return [*rows, kept]
    return [
        *rows,
        event(at + wait + 0.3, "mx1", one, "requeue", next_queue_id=two, instance="mailscanner"),
        event(at + wait + 0.2, "mx1", two, "queue", sender="a@far.test", size=1000, nrcpt=1),
        tried(at + 2 * wait + 1, "mx1", two, "b@our.test"),
        left(at + 2 * wait + 2, "mx1", two),
    ]


def _passed(at: float, n: int, rnd: random.Random) -> list[Row]:
    """A filter that has stays of its own: it passes one recipient on, and quarantines the other."""
    one, stay, two, wait = f"XA{n:04X}", f"25B4A4695A3F{n:04X}", f"XB{n:04X}", rnd.choice([5, 1800])
    door, pmg = {"relay_name": "127.0.0.1", "relay_ip": "127.0.0.1"}, {"instance": "pmg-smtp-filter"}
    handed_over = {"next_queue_id": stay, "reply": f"250 2.5.0 OK ({stay})", **door}
    moved = event(
        at + 3,
        "mx1",
        stay,
        "attempt",
        recipient="b1@our.test",
        status="quarantined",
        action="spam",
        folder="C1A4",
        **pmg,
    )
    return [
        *came(at, "mx1", one, f"m{n}@far.test", nrcpt=2),
        event(at + 1, "mx1", stay, "message", message_id=f"m{n}@far.test", **pmg),
        event(at + 1.5, "mx1", stay, "filter", action="scored", score=6.0, required_score=5.0, **pmg),
        *came(at + 2, "mx1", two, f"m{n}@far.test", client_name="localhost", client_ip="127.0.0.1"),
        event(
            at + 2.5,
            "mx1",
            stay,
            "attempt",
            recipient="b0@our.test",
            status="sent",
            action="passed",
            next_queue_id=two,
            relay_name="localhost",
            **pmg,
        ),
        moved,
        event(at + 3.1, "mx1", stay, "leave", **pmg),
        tried(at + 3.2, "mx1", one, "b0@our.test", **handed_over),
        tried(at + 3.2, "mx1", one, "b1@our.test", **handed_over),
        left(at + 3.3, "mx1", one),
        tried(at + 3 + wait, "mx1", two, "b0@our.test"),
        left(at + 4 + wait, "mx1", two),
    ]


def _read(at: float, n: int, rnd: random.Random) -> list[Row]:
    """A user's session with the mailbox, which is no mail."""
    return [event(at, "store1", f"imap{n:04d}", "mailbox", instance="dovecot", user="b@our.test", action="session")]


def _put_off(at: float, n: int, rnd: random.Random) -> list[Row]:
    """A program that writes down each time that it does not try yet (no attempt), and notices that only their parent begins."""
    one, notice, wait = f"3c4d{n:02x}", f"5e6f{n:02x}", rnd.choice([900, 4000])
    mail = event(at, "out1", one, "arrive", client_ip="192.0.2.9", arrival="smtp", sender=f"p{n}@far.test", nrcpt=1)
    again = [tried(at + k * wait, "out1", one, "b@far.test", "deferred", repeat=int(k == 3)) for k in range(5)]
    told = event(at + 2.5 * wait, "out1", one, "notice", action="delay_notice", next_queue_id=notice)
    end = [tried(at + 5 * wait, "out1", one, "b@far.test"), left(at + 5 * wait + 1, "out1", one)]
    return [mail, *again, told, tried(at + 2.5 * wait + 60, "out1", notice, f"p{n}@far.test"), *end]


def _split(at: float, n: int, rnd: random.Random) -> list[Row]:
    """A filter takes one mail and gives two; only its own log names both."""
    one, wait = f"Q{n:05X}", rnd.choice([5, 2500])
    rows = [
        *came(at, "mx1", one, None, nrcpt=2),
        left(at + 3, "mx1", one),
        event(at + 2.9, "mx1", one, "filter", instance="amavis", next_queue_id=f"QA{n:04X}/QB{n:04X}"),
    ]
    for k, child in enumerate((f"QA{n:04X}", f"QB{n:04X}")):
        rows += [
            tried(at + 2.95, "mx1", one, f"b{k}@our.test", relay_name="127.0.0.1", relay_ip="127.0.0.1"),
            *came(at + 2, "mx1", child, None, client_name="localhost", client_ip="127.0.0.1"),
            tried(at + 3 + wait, "mx1", child, f"b{k}@our.test"),
            left(at + 4 + wait, "mx1", child),
        ]
    return rows


def _reused(at: float, n: int, rnd: random.Random) -> list[Row]:
    """One short queue ID, used twice."""
    one, gap = f"R{n:05X}", rnd.choice([3, 800])
    rows = []
    for k in range(2):
        begin = at + k * gap
        rows += [
            *came(begin, "mx1", one, f"m{n}.{k}@far.test", f"r{k}@far.test"),
            tried(begin + 1, "mx1", one, f"b{k}@our.test"),
            left(begin + 1.5, "mx1", one),
        ]
    return rows


def _stored(at: float, n: int, rnd: random.Random) -> list[Row]:
    """Taken by mx1, saved by store1, which redirects a copy through mx1 to the outside."""
    one, session, three, wait = f"S{n:05X}", f"sess{n:04d}", f"T{n:05X}", rnd.choice([1, 400])
    mid, user = f"m{n}@far.test", "b@our.test"
    store = {"message_id": mid, "user": user, "service": "lmtp"}
    return [
        *came(at, "mx1", one, mid),
        event(at + wait, "store1", session, "store", action="stored", folder="INBOX", **store),
        event(at + wait + 0.1, "store1", session, "store", action="redirected", recipient="c@far.test", **store),
        handed(at + wait + 0.5, "mx1", one, user, "store1", session),
        left(at + wait + 1, "mx1", one),
        *came(at + wait + 0.2, "mx1", three, mid, **from_host("store1")),
        tried(at + 2 * wait + 3, "mx1", three, "c@far.test"),
        left(at + 2 * wait + 4, "mx1", three),
    ]


def _missing(at: float, n: int, rnd: random.Random) -> list[Row]:
    one = f"U{n:05X}"
    return [
        *came(at, "smtp1", one, f"m{n}@far.test"),
        handed(at + 1, "smtp1", one, "b@far.test", "out1", f"V{n:05X}"),
        left(at + 1.5, "smtp1", one),
    ]


def _queued(at: float, n: int, rnd: random.Random) -> list[Row]:
    return [
        *came(at, "out1", f"W{n:05X}", f"m{n}@far.test", nrcpt=3),
        tried(at + 30, "out1", f"W{n:05X}", "b@far.test", "deferred"),
    ]


def _forwarded(at: float, n: int, rnd: random.Random) -> list[Row]:
    one, two, wait = f"X{n:05X}", f"Y{n:05X}", rnd.choice([1, 500])
    there = came(at + wait, "mx1", two, f"m{n}@far.test")[1:]
    return [
        *came(at, "mx1", one, f"m{n}@far.test"),
        *there,
        tried(
            at + wait + 0.3,
            "mx1",
            one,
            "list@our.test",
            relay_name="local",
            relay_ip=None,
            service="local",
            next_queue_id=two,
            reply=f"forwarded as {two}",
        ),
        left(at + wait + 0.4, "mx1", one),
        tried(at + 2 * wait + 2, "mx1", two, "c@far.test", original_recipient="list@our.test"),
        left(at + 2 * wait + 3, "mx1", two),
    ]


def instants(rows: pl.DataFrame, count: int, seed: int) -> Iterator[int]:
    """Moments at which to cut: at a line, right after one, or between."""
    rnd, stamps = random.Random(seed), rows["stamp"].unique().sort()
    for _ in range(count):
        yield stamps[rnd.randrange(1, stamps.len())] + rnd.choice([0, 1, 250_000])
