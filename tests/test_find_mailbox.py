"""What `hoptrace find` tells of a delivered message's later life in its mailbox."""

from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from hoptrace.pipeline import printing
from hoptrace.pipeline.find import Question, find
from hoptrace.pipeline.mailbox import mailbox_lines
from hoptrace.pipeline.store import Store
from hoptrace.pipeline.story import story_page
from hoptrace.schemas.catalog import DAY_TABLES
from hoptrace.schemas.mailbox_events import MAILBOX_EVENTS
from tests.frames import DAY1, MAILBOX, after, delivery

UTC = ZoneInfo("UTC")
POP = {"host": "store01", "user": "eva@skole.test", "protocol": "pop3", "client_ip": "10.77.2.5", "folder": "INBOX"}
IMAP = {**POP, "protocol": "imap", "session": "S9"}
OURS = {"message_id": "b@klub.test"}


def did(seconds: float, action: str, **more: Any) -> dict[str, Any]:
    return {**POP, "session": "S1", "at": after(seconds), "action": action, **more}


def tell(place: Path, events: list[dict[str, Any]], row: dict[str, Any] = MAILBOX) -> list[str]:
    """The words that `find` has for `events`, in a store with `row` and them."""
    store = Store(str(place))
    store.prepare()
    table = DAY_TABLES["deliveries"]
    types = {name: dtype for name, dtype in table.schema.items() if name in row}
    parts = {"deliveries": [store.write_part(table, DAY1, pl.DataFrame([row], schema=types))]}
    if events:
        frame = MAILBOX_EVENTS.conform(pl.DataFrame(events, infer_schema_length=None))
        parts["mailbox_events"] = [store.write_part(MAILBOX_EVENTS, DAY1, frame)]
    store.publish(
        DAY1, parts, {"starts_at": after(-50_000), "ends_at": after(36_400), "cold_start": True, "counts": {}}
    )
    (found,) = find(store, Question(sender="anna")).rows
    page = printing.render(story_page(find(store, Question(sender="anna")), UTC)).replace("\n  ", " ")
    lines = mailbox_lines(found, UTC)
    assert all(line.split(" at 2026")[0] in " ".join(page.split()) for line in lines)
    return lines


STORIES = {
    "downloaded and deleted": (
        [did(60, "expunged", **OURS), did(60.1, "downloaded", **OURS), did(60.1, "expunged", message_id="other@x")],
        ["Later downloaded and deleted over POP3 from 10.77.2.5 at 2026-03-01 13:04:22"],
    ),
    "moved": (
        [did(9, "copied", **{**IMAP, **OURS, "folder": "Arkiv"}), did(9.5, "expunged", **{**IMAP, **OURS})],
        ["Later moved from INBOX to Arkiv over IMAP from 10.77.2.5 at 2026-03-01 13:03:32"],
    ),
    "marked, then removed by another session": (
        [did(9, "deleted", **{**IMAP, **OURS}), did(99, "expunged", **{**IMAP, **OURS, "session": "S8", "client_ip": None})],
        [
            "Later marked as deleted in INBOX over IMAP from 10.77.2.5 at 2026-03-01 13:03:31",
            "Later removed from INBOX over IMAP at 2026-03-01 13:05:01",
        ],
    ),
    "only totals": (
        [did(30, "downloaded", messages=3, size=99), did(30, "expunged", messages=1), did(40, "downloaded", messages=1)],
        [
            "Later 3 messages of this mailbox were downloaded over POP3 from 10.77.2.5 at 2026-03-01 13:03:52, and 1 later "
            "session did so too; the log does not say which",
            "Later 1 message of this mailbox was removed over POP3 from 10.77.2.5 at 2026-03-01 13:03:52; "
            "the log does not say which",
        ],
    ),
    "totals after it was removed": (
        [did(60, "expunged", **OURS), did(70, "downloaded", messages=3)],
        ["Later removed from INBOX over POP3 from 10.77.2.5 at 2026-03-01 13:04:22"],
    ),
    "another user, another message, before the delivery, the delivery itself": (
        [did(60, "expunged", **OURS, user="ole@skole.test"), did(60, "expunged", message_id="other@x"),
         did(-60, "expunged", **OURS), did(3.2, "saved", **OURS, protocol="lmtp"), did(-9, "downloaded", messages=2)],
        [],
    ),
    "nothing is known": ([], []),
}  # fmt: skip


@pytest.mark.parametrize("name", STORIES)
def test_later_life(name: str, tmp_path: Path) -> None:
    events, lines = STORIES[name]
    assert tell(tmp_path, events) == lines


def test_the_user_is_whom_the_store_saved_it_for(tmp_path: Path) -> None:
    saved = did(3.2, "filed", **OURS, user="Eva.H", protocol="lmtp", session="Xk3bQ:R1")
    events = [saved, did(60, "expunged", **OURS, user="eva.h"), did(70, "expunged", **OURS, user="eva@skole.test")]
    assert tell(tmp_path, events) == ["Later removed from INBOX over POP3 from 10.77.2.5 at 2026-03-01 13:04:22"]


def test_a_store_may_know_users_without_their_domain(tmp_path: Path) -> None:
    assert len(tell(tmp_path, [did(60, "expunged", **OURS, user="eva")])) == 1


def test_what_left_the_fleet_has_no_later_life(tmp_path: Path) -> None:
    outside = delivery("b", "eva@skole.test", "delivered", place="outside", resolved_at=after(3), settled_at=after(3))
    assert tell(tmp_path, [did(60, "expunged", **OURS)], outside) == []
