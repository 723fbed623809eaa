"""`hoptrace find`: which rows fit a question, and the story that is told of them."""

from datetime import timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from hoptrace.pipeline import printing
from hoptrace.pipeline.find import Question, bare_id, find, parse_at
from hoptrace.pipeline.store import Store
from hoptrace.pipeline.story import VERDICT_WORDS, outcome_sentence, story, story_page
from hoptrace.schemas.deliveries import DELIVERIES
from hoptrace.schemas.errors import HoptraceError
from hoptrace.schemas.verdicts import VERDICTS
from tests.frames import DAY1, DAY2, T0, delivery, make_store

GOLDEN = Path(__file__).parent / "golden"
COPENHAGEN = ZoneInfo("Europe/Copenhagen")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return make_store(tmp_path_factory.mktemp("find") / "store")


def traces(store: Store, **asked: Any) -> str:
    return "".join(row["trace_id"][0] for row in find(store, Question(**asked)).rows)


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"sender": "ANNA@"}, "abf"),
        ({"sender": "<>"}, "ce"),
        ({"sender": "bad.example"}, "d"),
        ({"recipient": "Firma.Example"}, "ac"),
        ({"recipient": "info@"}, "b"),
        ({"recipient": "eva"}, "b"),
        ({"sender": "anna", "recipient": "bo@"}, "a"),
        ({"message_id": " <a@klub.test> "}, "a"),
        ({"message_id": "a@klub"}, ""),
        ({"queue_id": "4dj3896Q2Lz11B"}, "a"),
        ({"queue_id": "Xk3bQ:R1"}, "b"),
        ({"queue_id": "4dj38F3333z11B"}, "f"),
        ({"ip": "198.51.100.9"}, "ac"),
        ({"ip": "203.0.113.5"}, "d"),
        ({"ip": "10.77.0.4"}, ""),
        ({"sender": "anna", "day": DAY1}, "abfg"),
        ({"sender": "anna", "day": DAY2}, "f"),
        ({"recipient": ".*"}, ""),
    ],
)
def test_what_fits(store: Store, asked: dict[str, Any], found: str) -> None:
    assert "".join(sorted(traces(store, **asked))) == found


@pytest.mark.parametrize(
    ("minutes", "within", "found"),
    [
        (0, 60, "abcdf"),
        (200, 30, "af"),
        (250, 30, "aef"),
        (-200, 60, ""),
        (60 * 24, 60, "f"),
    ],
)
def test_a_time_finds_what_was_on_its_way(store: Store, minutes: int, within: int, found: str) -> None:
    at = T0 + timedelta(minutes=minutes)
    assert "".join(sorted(traces(store, at=at, within=timedelta(minutes=within)))) == found


def test_limit_keeps_the_nearest_and_says_how_many_there_are(store: Store) -> None:
    answer = find(store, Question(at=T0 + timedelta(seconds=100), limit=1))
    assert [row["trace_id"][0] for row in answer.rows] == ["d"]
    assert answer.found == 6
    text = printing.render(story_page(answer, COPENHAGEN))
    assert "1 of 6 shown; narrow the question, or raise --limit" in text


def test_nothing_found_says_how_to_go_on(store: Store) -> None:
    text = printing.render(story_page(find(store, Question(sender="nobody")), COPENHAGEN))
    assert "No message fits." in text


def test_a_day_that_is_not_there(store: Store) -> None:
    with pytest.raises(HoptraceError, match="--day 2026-04-01: the store has 2026-03-01 to 2026-03-02; see"):
        find(store, Question(sender="a", day="2026-04-01"))


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("find_late.txt", {"queue_id": "4dj3893npLzCvj"}),
        ("find_mailbox.txt", {"recipient": "info@skole.test"}),
        ("find_hostile.txt", {"recipient": "x@firma"}),
        ("find_rejected.txt", {"recipient": "nobody"}),
        ("find_queued.txt", {"recipient": "ole@late"}),
        ("find_notice.txt", {"recipient": "anna"}),
    ],
)
def test_stories(store: Store, name: str, asked: dict[str, Any]) -> None:
    answer = find(store, Question(**asked))
    assert printing.render(story_page(answer, COPENHAGEN)) == (GOLDEN / name).read_text("utf-8")


OUTCOMES = {
    "delivered": "Delivered at 2026-03-01 14:03:22.",
    "bounced": "Refused for good after we had accepted it, at 2026-03-01 14:03:22: 550 no",
    "returned": "Given up at 2026-03-01 14:03:22, and returned to the sender: 550 no",
    "rejected": "Refused at our door at 2026-03-01 14:03:22, never accepted: 550 no",
    "deferred_at_door": "Put off at our door, last at 2026-03-01 14:03:22; the client has not come back: 550 no",
    "aborted": "The client left at 2026-03-01 14:03:22, before we had answered: never accepted: 550 no",
    "discarded": "Accepted, then dropped by a rule or filter at 2026-03-01 14:03:22: 550 no",
    "quarantined": "Put into quarantine at 2026-03-01 14:03:22, not delivered: 550 no",
    "deleted": "Deleted from the queue by an operator at 2026-03-01 14:03:22: 550 no",
    "missing": "Handed over at 2026-03-01 14:03:22, but the next host's log, which is whole, never shows it.",
    "unknown": "Last seen at 2026-03-01 14:03:22; what followed is unknown, for a log is not whole there.",
    "queued": "Still queued on smtp01 when the night ended, 2 d 3 h old: 550 no",
    "held": "On hold on smtp01 when the night ended, 2 d 3 h old.",
    "in_transit": "Handed over at 2026-03-01 14:03:22, and not yet seen at the next host when the night ended.",
}


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_every_outcome_has_its_sentence(outcome: str) -> None:
    age = 2 * 86400 + 3 * 3600.0 if outcome in ("queued", "held") else None
    row = delivery("a", "b@c", outcome, resolved_at=T0, delay_s=age, reply="550 no", cause=None, place=None, hops=[])
    assert outcome_sentence(row, COPENHAGEN) == OUTCOMES[outcome]


def test_the_story_tells_verdict_and_score() -> None:
    found = {"verdict": "spam", "spam_score": 7.2, "spam_required": 5.0, "verdict_by": "amavis", "verdict_at": T0}
    told = "Taken for spam by amavis at 2026-03-01 14:03:22"
    for score, required, end in ((7.2, 5.0, ", score 7.2 of 5 required"), (29.0, None, ", score 29"), (None, 5.0, "")):
        row = DELIVERIES.conform(
            pl.DataFrame(
                [delivery("a", "b@c", "delivered", **{**found, "spam_score": score, "spam_required": required})]
            )
        ).row(0, named=True)
        page = printing.render(story({**row, "mailbox": []}, [], COPENHAGEN))
        assert [line.strip() for line in page.splitlines() if "spam" in line] == [told + end]
    assert set(VERDICT_WORDS) == set(VERDICTS)


def test_times_and_ids_as_people_write_them() -> None:
    assert parse_at("2026-03-01 14:03", COPENHAGEN).isoformat() == "2026-03-01T13:03:00+00:00"
    assert parse_at("2026-03-01", COPENHAGEN).isoformat() == "2026-02-28T23:00:00+00:00"
    assert parse_at("2026-03-01T14:03:00Z", COPENHAGEN).isoformat() == "2026-03-01T14:03:00+00:00"
    with pytest.raises(HoptraceError, match="--at 'noon' is no time; write it as 'YYYY-MM-DD HH:MM'"):
        parse_at("noon", COPENHAGEN)
    assert bare_id("<a@b>") == bare_id("a@b") == "a@b"
    assert bare_id("<a@b") == "<a@b"
