"""What later happened to delivered messages in their mailboxes: rows of `mailbox_events`, and their words in a story."""

from collections.abc import Sequence
from datetime import datetime, timezone, tzinfo
from typing import Any

import polars as pl

from hoptrace.pipeline.printing import clean, counted, moment
from hoptrace.pipeline.store import Store

Row = dict[str, Any]
C = pl.col

DELIVERED = ("saved", "filed")
BY_DELIVERY = ("lmtp", "lda")
VERBS = {
    "saved": "saved in {folder}", "copied": "copied to {folder}", "downloaded": "downloaded",
    "deleted": "marked as deleted in {folder}", "undeleted": "no longer marked as deleted in {folder}",
    "expunged": "removed from {folder}",
}  # fmt: skip
PROTOCOLS = {"imap": "over IMAP", "pop3": "over POP3", "doveadm": "by an administrator (doveadm)"}
ALWAYS = datetime.min.replace(tzinfo=timezone.utc)


def add_mailbox(store: Store, rows: Sequence[Row]) -> None:
    """Give each row of `deliveries` or `open` its `mailbox`: rows of `mailbox_events` after its delivery, oldest first.

    They are of the same user and Message-ID; before the message was named as removed also the totals (`messages`) of
    sessions that downloaded or removed messages of that user which no line names.
    """
    kept = [row for row in rows if row["outcome"] == "delivered" and row["place"] == "mailbox"]
    for row in rows:
        row["mailbox"] = []
    if not kept:
        return
    ids = {row["message_id"] for row in kept if row["message_id"]}
    stays = {stay["queue_id"] for row in kept for stay in row["hops"] or [] if stay["queue_id"]}
    first = min(row["resolved_at"] or ALWAYS for row in kept)
    days = [night["day"] for night in store.days() if night["ends_at"] is None or night["ends_at"] > first]
    events = store.scan("mailbox_events", days)
    named = events.filter(C("message_id").is_in(list(ids)) | C("session").is_in(list(stays))).collect().to_dicts()
    users = {row["trace_id"]: _users(row, named) for row in kept}
    whose = list({user for each in users.values() for user in each})
    unnamed = C("messages").is_not_null() & C("user").str.to_lowercase().is_in(whose) & (C("at") >= first)
    both = named + events.filter(unnamed).collect().to_dicts()
    both.sort(key=lambda event: (event["at"], event["host"], event["session"] or "", event["action"]))
    for row in kept:
        row["mailbox"] = _after(row, both, users[row["trace_id"]] | _users(row, named))


def mailbox_lines(row: Row, zone: tzinfo) -> list[str]:
    """The events of `row["mailbox"]` in words, times in `zone`."""
    named: dict[tuple[Any, ...], list[Row]] = {}
    for event in row["mailbox"]:
        if event["messages"] is None:
            named.setdefault((event["session"] or event["at"], event["host"]), []).append(event)
    lines = [_sentence(events, zone) for events in named.values()]
    for action in ("downloaded", "expunged"):
        totals = [event for event in row["mailbox"] if event["messages"] is not None and event["action"] == action]
        if totals:
            lines.append(_total(totals, zone))
    return lines


def _users(row: Row, named: Sequence[Row]) -> set[str]:
    """What the store may call the recipient: as it logged the delivery, else by the address or what stands before its @."""
    stays = {(stay["host"], stay["queue_id"]) for stay in row["hops"] or [] if stay["queue_id"]}
    logged = {
        event["user"].lower()
        for event in named
        if event["user"] and event["action"] in DELIVERED and (event["host"], event["session"]) in stays
    }
    address = (row["recipient"] or "").lower()
    return logged or ({address, address.rpartition("@")[0]} - {""})


def _after(row: Row, events: Sequence[Row], users: set[str]) -> list[Row]:
    """The events of this message, and the totals that may be about it."""
    since = row["resolved_at"] or ALWAYS
    mine = [
        event
        for event in events
        if event["at"] >= since and event["protocol"] not in BY_DELIVERY and (event["user"] or "").lower() in users
    ]
    named = [event for event in mine if event["message_id"] and event["message_id"] == row["message_id"]]
    told = {event["action"] for event in named}
    gone = min((event["at"] for event in named if event["action"] == "expunged"), default=None)
    totals = [
        event
        for event in mine
        if event["messages"] is not None and event["action"] not in told and (gone is None or event["at"] < gone)
    ]
    return sorted(named + totals, key=lambda event: event["at"])


def _sentence(events: list[Row], zone: tzinfo) -> str:
    """What one session did to the message: 'Downloaded and deleted over POP3 from 10.77.2.5 at ...'."""
    actions = [event["action"] for event in events]
    first, last = events[0], events[-1]
    copies = [event for event in events if event["action"] == "copied"]
    sources = [event for event in events if event["action"] == "expunged"]
    if {"downloaded", "expunged"} <= set(actions) and first["protocol"] == "pop3":
        what = "downloaded and deleted"
    elif len(copies) == len(sources) == 1 and copies[0]["folder"] != sources[0]["folder"]:
        what = f"moved from {_folder(sources[0])} to {_folder(copies[0])}"
    else:
        what = ", then ".join(dict.fromkeys(VERBS[each["action"]].format(folder=_folder(each)) for each in events))
    return f"Later {what}{_by(first)} at {moment(last['at'], zone)}"


def _total(totals: list[Row], zone: tzinfo) -> str:
    """What is known of a user's sessions when the log names no message."""
    first, more = totals[0], len(totals) - 1
    verb = "downloaded" if first["action"] == "downloaded" else "removed"
    others = f", and {counted(more, 'later session')} did so too" if more else ""
    said = (
        f"{counted(first['messages'], 'message')} of this mailbox {'was' if first['messages'] == 1 else 'were'} {verb}"
    )
    return f"Later {said}{_by(first)} at {moment(first['at'], zone)}{others}; the log does not say which"


def _by(event: Row) -> str:
    how = PROTOCOLS.get(event["protocol"], f"over {clean(event['protocol'])}" if event["protocol"] else "")
    where = f"from {clean(event['client_ip'])}" if event["client_ip"] else ""
    return "".join(f" {part}" for part in (how, where) if part)


def _folder(event: Row) -> str:
    return clean(event["folder"]) or "its folder"
