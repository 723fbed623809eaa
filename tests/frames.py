"""Small stores for tests: two nights of a fleet with three hosts, written as the nightly job writes them."""

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import polars as pl

from hoptrace.pipeline.store import Store
from hoptrace.schemas.catalog import DAY_TABLES

DAY1, DAY2 = "2026-03-01", "2026-03-02"
T0 = datetime(2026, 3, 1, 13, 3, 22, 512000, tzinfo=timezone.utc)


def after(seconds: float) -> datetime:
    """A moment after the first mail's submission."""
    return T0 + timedelta(seconds=seconds)


def stay(host: str, queue_id: str | None, arrived: float, left: float | None, **more: Any) -> dict[str, Any]:
    """One stay of a delivery's `hops`."""
    return {
        "host": host, "queue_id": queue_id, "arrived_at": after(arrived), "attempts": 1, "relay": None, "reply": None,
        "handed_over_at": None if left is None else after(left), "evidence": None,
        "stages": more.pop("stages", {"receive": 0.1}), **more,
    }  # fmt: skip


def delivery(trace: str, recipient: str | None, outcome: str, **more: Any) -> dict[str, Any]:
    """One row of `deliveries` or `open`."""
    return {
        "trace_id": trace * 24, "recipient": recipient, "original_recipient": recipient, "outcome": outcome,
        "message_id": f"{trace}@klub.test", "sender": "anna@klub.test", "n_recipients": 1, "entry_host": "smtp01",
        "client_name": "pc.klub.test", "client_ip": "192.0.2.7", "size": 12345, "submitted_at": T0,
        "delay_class": "on_time", "certainty": "certain", "path": ["smtp01"], **more,
    }  # fmt: skip


SLOW = delivery(
    "a", "bo@firma.example", "delivered", sasl_user="anna", place="outside", resolved_at=after(15128.2),
    settled_at=after(15128.2), delay_s=15128.2, delay_class="late", warning_due=True, warned_at=after(14400),
    path=["smtp01", "out01"], worst_host="out01", worst_stage="waiting_retry", attempts=10, dsn="2.0.0",
    hops=[
        stay("smtp01", "4dj3893npLzCvj", 0, 0.45, relay="out01.nordhost.test[10.77.0.32]:25",
             reply="250 2.0.0 Ok: queued as 4dj3896Q2Lz11B", evidence="queued_as",
             stages={"receive": 0.1, "in_queue": 0.02, "connect": 0.03, "transmit": 0.3}),
        stay("out01", "4dj3896Q2Lz11B", 0.5, 15128.2, relay="mx.firma.example[198.51.100.9]:25", attempts=9,
             reply="250 2.0.0 Ok: queued as 9F1", stages={"in_queue": 0.05, "waiting_retry": 15120.0, "transmit": 7.7}),
    ],
)  # fmt: skip
MAILBOX = delivery(
    "b", "eva@skole.test", "delivered", place="mailbox", folder="Junk", resolved_at=after(3.2), settled_at=after(3.2),
    delay_s=3.2, path=["smtp01", "store01"], worst_host="smtp01", worst_stage="transmit", certainty="likely",
    original_recipient="info@skole.test",
    hops=[stay("smtp01", "4dj38B1111zCvj", 0, 2.0, relay="store01[10.77.0.40]:24", evidence="message_id_client"),
          stay("store01", "Xk3bQ:R1", 2.1, 3.2)],
)  # fmt: skip
EVIL = delivery(
    "c", "x@firma.example", "bounced", message_id="\x1b[31mevil\u202e@spam.test", sender="", client_name=None,
    sasl_user=None, resolved_at=after(60.5), settled_at=after(60.5), delay_s=60.5, worst_host="smtp01",
    worst_stage="connect", reply="550 5.1.1 no\x07 such\x1b]0;owned user", cause="no_such_user", dsn="5.1.1",
    return_due=False, flags=["maybe_duplicate"],
    hops=[stay("smtp01", "4dj38C2222zCvj", 0, 60.5, relay="mx.firma.example[198.51.100.9]:25")],
)  # fmt: skip
REJECTED = delivery(
    "d", "nobody@skole.test", "rejected", message_id=None, sender="spam@bad.example", submitted_at=None, size=None,
    first_attempt_at=after(100), resolved_at=after(100), settled_at=after(100), delay_s=None, delay_class=None,
    client_ip="203.0.113.5", reply="550 5.1.1 <nobody@skole.test>: User unknown", path=["smtp01"], hops=[],
)  # fmt: skip
NOTICE = delivery(
    "e", "anna@klub.test", "delivered", sender="", message_id="e@out01.nordhost.test", submitted_at=after(14400),
    resolved_at=after(14402), settled_at=after(14402), delay_s=2.0, place="mailbox", caused_by="a" * 24,
)  # fmt: skip
QUEUED = delivery(
    "f", "ole@late.example", "queued", resolved_at=after(90000), delay_s=100000.0, delay_class="late",
    warning_due=True, worst_host="out01", worst_stage="waiting_retry", path=["smtp01", "out01"],
    reply="451 4.7.1 try again later",
    hops=[stay("out01", "4dj38F3333z11B", 1, None, attempts=12)],
)  # fmt: skip
UNNAMED = delivery("g", None, "queued", n_recipients=40, resolved_at=after(20), delay_s=100.0)


HOUR = datetime(2026, 3, 1, 13, tzinfo=timezone.utc)


def sketch(value: str, buckets: dict[int, int], **more: Any) -> list[dict[str, Any]]:
    """Rows of `delay_stats` of one route."""
    same = {
        "hour": HOUR, "dimension": "route", "value": value, "population": "mail", "metric": "end_to_end",
        "outcome": "delivered", "delay_class": "on_time", **more,
    }  # fmt: skip
    return [{**same, "bucket": bucket, "recipients": n, "messages": n} for bucket, n in buckets.items()]


HOURS = [
    {
        "host": "out01", "hour": HOUR, "lines": 1200000, "bytes": 150000000, "events": 1100000, "quiet": 99990,
        "unparsed": 10, "first_at": after(-3000), "last_at": after(500), "hole": "maillog.2.gz is truncated",
        "zone_conflicts": 3, "year_conflicts": 0,
    },
    {
        "host": "smtp01", "hour": HOUR, "lines": 500, "bytes": 60000, "events": 400, "quiet": 100, "unparsed": 0,
        "first_at": after(-3000), "last_at": after(500), "zone_conflicts": 0, "year_conflicts": 0, "skew_s": -0.42,
    },
]  # fmt: skip
WARNING = {
    "kind": "delay_notice", "host": "out01", "queue_id": "4dj4", "made_at": after(14400), "outcome": "delivered",
    "recipient": "anna@klub.test", "about_trace_id": "a" * 24, "trace_id": "e" * 24, "resolved_at": after(14402),
}  # fmt: skip
STRANGE = [
    {
        "program": "postfix/smtpd", "template": "warning: \x1b[2Jhostname # does not resolve to address #", "lines": 9,
        "example": "warning: ...", "host": "out01",
    },
    {"program": "cron", "template": "(root) CMD (#)", "lines": 1, "example": "(root) CMD (1)", "host": "out01"},
]  # fmt: skip
READ = [
    {
        "path": "/logs/out01/maillog.2.gz", "size": 99, "checksum": "0badcafe", "lines": 1200000,
        "error": "cut short after 1,200,000 lines; restore the file and run again",
    },
    {"path": "/logs/smtp01/maillog", "size": 60000, "checksum": "00000001", "lines": 500, "error": None},
]  # fmt: skip
TABLES: dict[str, dict[str, list[dict[str, Any]]]] = {
    DAY1: {
        "deliveries": [SLOW, MAILBOX, EVIL, REJECTED, NOTICE],
        "open": [{**QUEUED, "delay_s": 40000.0}, UNNAMED],
        "notices": [WARNING],
        "delay_stats": [
            *sketch("smtp01>store01", {300: 90, 403: 10}), *sketch("smtp01>out01", {825: 1}, delay_class="late"),
        ],
        "coverage": HOURS,
        "unparsed": STRANGE,
        "files": READ,
    },
    DAY2: {"open": [QUEUED]},
}  # fmt: skip


def make_store(place: Path | str) -> Store:
    """A store at `place` with both nights."""
    store = Store(str(place))
    store.prepare()
    state = ""
    for number, day in enumerate(TABLES):
        parts = {
            name: [store.write_part(DAY_TABLES[name], day, pl.DataFrame(rows, schema=_fitting(name, rows)))]
            for name, rows in TABLES[day].items()
        }
        starts = datetime.fromisoformat(f"{day}T00:00:00+00:00")
        night = {
            "starts_at": starts, "ends_at": starts + timedelta(days=1), "cold_start": not number, "state_of": state,
            "inputs": TABLES[day].get("files", []), "counts": {"lines": 1200500 if not number else 0},
        }  # fmt: skip
        state = f"{day}@{store.publish(day, parts, night)['versions']['open_hops']}"
    return store


def _fitting(name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {column: dtype for column, dtype in DAY_TABLES[name].schema.items() if any(column in row for row in rows)}
