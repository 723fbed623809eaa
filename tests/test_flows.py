"""Stories: what became of some mails, as a few lines of several hosts' logs tell it; read and traced in one process."""

import csv
from datetime import datetime, timezone
from pathlib import Path

import polars as pl
import pytest

from hoptrace.pipeline.inputs import plan_inputs
from hoptrace.schemas.fleet import DAY_US, HOUR_US, load_fleet
from hoptrace.transforms.cover import add_coverage
from hoptrace.transforms.grammar import load_grammars
from hoptrace.transforms.parse import parse_chunk
from hoptrace.transforms.plan import Night
from hoptrace.transforms.read import Chunk, read_chunks
from tests.plain import PUBLISHED, publish, run_nights, run_plain

FLOWS = Path(__file__).parent / "flows"
STORIES = sorted(path.name for path in FLOWS.iterdir() if (path / "logs").is_dir())
DAY = int(datetime(2026, 3, 10, tzinfo=timezone.utc).timestamp()) * 1_000_000
WRONG = {}
"""Stories that are not told right yet, and why."""


def read_events(story: Path, night: Night) -> tuple[pl.DataFrame, dict[str, int], pl.DataFrame]:
    """The events of a story's logs, up to when each host's log is read, and their coverage; a grammar knows every line."""
    fleet, grammars = load_fleet(str(story / "fleet.toml")), load_grammars()
    parts, read_until, coverage = [], {}, []
    for part in plan_inputs([str(story / "logs" / "*" / "*")], fleet, night.starts_at, night.ends_at, 1 << 26):
        for chunk in read_chunks(part, 1 << 20):
            if isinstance(chunk, Chunk):
                parsed = parse_chunk(chunk, part, grammars, fleet, night.window)
                assert parsed.unparsed.is_empty(), parsed.unparsed.to_dicts()
                assert parsed.counts["outside"] == 0
                parts.append(parsed.events)
                coverage.append(parsed.coverage)
                read_until[part.folder_host] = night.ends_at
    return pl.concat(parts), read_until, add_coverage(coverage)


def tell(row: dict[str, object], columns: list[str], table: str) -> tuple[str, ...]:
    """A row of deliveries or open as the expected tables write it."""
    path, delay, settled = row["path"], row["delay_s"], row["settled_at"]
    told = {
        **row,
        "table": table,
        "path": " > ".join(path) if isinstance(path, list) else "",
        "settled_at": str(datetime.fromtimestamp(settled / 1e6, timezone.utc)) if isinstance(settled, int) else "",
        "delay_s": f"{delay:.1f}" if isinstance(delay, float) and table == "deliveries" else "",
        "flags": ", ".join(row["flags"]) if isinstance(row["flags"], list) else "",
        "evidence": ", ".join(hop["evidence"] for hop in row["hops"] if hop["evidence"])
        if isinstance(row["hops"], list)
        else "",
        "warned": "yes" if row["warned_at"] is not None else "",
    }
    return tuple(str(told[column]) if told[column] is not None else "" for column in columns)


@pytest.mark.parametrize("name", STORIES)
def test_story(name: str, request: pytest.FixtureRequest) -> None:
    if name in WRONG:
        request.applymarker(pytest.mark.xfail(reason=WRONG[name], strict=True))
    story = FLOWS / name
    night = Night(DAY, DAY + 4 * DAY_US, cold_start=True)
    events, read_until, coverage = read_events(story, night)
    with (story / "expected" / "deliveries.csv").open(encoding="utf-8") as file:
        columns, *expected = list(csv.reader(file))
    read = coverage if "would_settle" in columns else read_until
    tables = run_plain(events, load_fleet(str(story / "fleet.toml")), night, read).tables
    both = ("deliveries", "open")
    told = [tell(row, columns, table) for table in both for row in tables[table].iter_rows(named=True)]
    assert sorted(told) == sorted(tuple(row) for row in expected)


@pytest.mark.parametrize(
    "name",
    [
        "exim_split_lines",
        "queue_only",
        "opensmtpd_one_removed",
        "sendmail_ctladdr",
        "sendmail_split",
        "sieve_other_ends",
    ],
)
def test_a_story_cut_into_nights_tells_the_same(name: str) -> None:
    night = Night(DAY, DAY + 4 * DAY_US)
    events, read_until, _ = read_events(FLOWS / name, night)
    fleet = load_fleet(str(FLOWS / name / "fleet.toml"))

    def tables(*cuts: int) -> dict[str, pl.DataFrame]:
        nights = run_nights(events, fleet, [DAY, *cuts, night.ends_at], read_until)
        return {table: rows.drop("day", strict=False) for table, rows in publish(nights).items()}

    whole = tables()
    stamps = events["stamp"].unique().sort().to_list()
    for cut in {stamps[len(stamps) // 3], stamps[len(stamps) // 2] + 1, stamps[-1]} - {DAY}:
        parts = tables(cut, cut + 3 * HOUR_US)
        assert [table for table in PUBLISHED if not parts[table].equals(whole[table])] == []
