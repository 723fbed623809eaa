"""The pages that people read after a night, as they could have mailed them in."""

import json
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from hoptrace.pipeline import printing
from hoptrace.pipeline.coverage import coverage_json, coverage_page
from hoptrace.pipeline.printing import clean, span
from hoptrace.pipeline.status import status, status_page
from hoptrace.pipeline.store import Store
from hoptrace.pipeline.summary import summary, summary_page
from tests.frames import DAY1, DAY2, make_store

GOLDEN = Path(__file__).parent / "golden"
COPENHAGEN = ZoneInfo("Europe/Copenhagen")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return make_store(tmp_path_factory.mktemp("summary") / "store")


def test_summary(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: "/usr/bin/hoptrace")
    text = printing.render(summary_page(store, [DAY1, DAY2], COPENHAGEN))
    assert text.replace(store.root.url, "/var/lib/hoptrace") == (GOLDEN / "summary.txt").read_text("utf-8")


def test_coverage(store: Store) -> None:
    text = printing.render(coverage_page(store, None, COPENHAGEN))
    assert text == (GOLDEN / "coverage.txt").read_text("utf-8")


def test_summary_of_a_night_without_mail(store: Store, tmp_path: Path) -> None:
    quiet = Store(str(tmp_path))
    quiet.publish(DAY1, {}, {"counts": {"lines": 0}})
    text = printing.render(summary_page(quiet, [DAY1], COPENHAGEN))
    assert "0 messages for 0 recipients, and 0 notices, from 0 log lines" in text
    assert "Slowest" not in text
    assert printing.render(coverage_page(quiet, None, COPENHAGEN)).startswith("\nLogs read (Europe/Copenhagen)")


@pytest.mark.parametrize("page", [summary_page, None])
def test_nothing_steers_the_terminal_and_nothing_is_wider_than_100(store: Store, page: object) -> None:
    shown = coverage_page(store, None, COPENHAGEN) if page is None else summary_page(store, [DAY1, DAY2], COPENHAGEN)
    text = printing.render(shown)
    assert not printing.UNSAFE.search(text.replace("\n", ""))
    copied = [each for each in text.split("\n") if store.root.url in each]
    assert all(len(each) <= 100 for each in text.split("\n") if each not in copied)
    assert text == "\n".join(each.rstrip() for each in text.split("\n"))


def test_the_same_as_data(store: Store) -> None:
    told = summary(store, [DAY1, DAY2])
    assert (told["messages"], told["recipients"], told["notices"], told["warnings_missing"]) == (5, 5, 1, 1)
    assert {row["outcome"]: row["recipients"] for row in told["outcomes"]} == {
        "delivered": 2, "bounced": 1, "rejected": 1, "queued": 1,
    }  # fmt: skip
    assert sum(row["on_time"] + row["late"] + row["overdue"] for row in told["outcomes"]) == 4
    only_first = summary(store, [DAY1])
    assert {row["outcome"]: row["recipients"] for row in only_first["outcomes"]}["queued"] == 41
    assert json.loads(json.dumps(coverage_json(store, None), default=str))["holes"][0]["host"] == "out01"


def test_status_names_what_is_stale_and_missing(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store")
    assert [row["state"] for row in status(store)] == ["ok", "ok"]
    store.publish("2026-03-04", {}, {"cold_start": True})
    assert [row["state"] for row in status(store)] == ["ok", "ok", "missing", "ok"]
    store.publish(DAY1, {}, {"cold_start": True})
    assert [row["state"] for row in status(store)] == ["ok", "stale", "missing", "ok"]
    text = printing.render(status_page(store))
    for said in (
        "2026-03-02: 2026-03-01, from which it went on, was run again and ends otherwise",
        "2026-03-03: not there; run from 2026-03-03 on.",
        "hoptrace nightly --stale runs what is stale again.",
    ):
        assert said in text
    empty = Store(str(tmp_path))
    assert "no night has been published here yet" in " ".join(printing.render(status_page(empty)).split())


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (None, ""), (0, "0 s"), (0.004, "0 s"), (0.25, "0.25 s"), (9.999, "10 s"), (12.7, "12 s"), (185, "3 min 5 s"),
        (3600, "1 h"), (15120, "4 h 12 min"), (2 * 86400 + 3 * 3600, "2 d 3 h"), (-2.5, "-2.5 s"),
    ],
)  # fmt: skip
def test_spans(seconds: float | None, said: str) -> None:
    assert span(seconds) == said


def test_clean() -> None:
    assert clean("a\x1b[31m\x00\r\n\u202e\x9bæ") == "a\\x1b[31m\\x00\\r\\n\\u202e\\x9bæ"
    assert clean("[bold]not markup[/]") == "[bold]not markup[/]"
