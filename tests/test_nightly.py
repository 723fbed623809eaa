"""The nightly job on the sample fleet: however the work is cut, its tables are those of the pure functions."""

import random
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from hoptrace.pipeline import nightly
from hoptrace.pipeline.inputs import plan_inputs
from hoptrace.pipeline.nightly import began_at, bounds_of, run_nightly
from hoptrace.pipeline.options import NightlyOptions
from hoptrace.pipeline.prune import prune
from hoptrace.pipeline.publish import check_counts
from hoptrace.pipeline.sample import sample_folder
from hoptrace.pipeline.store import Store
from hoptrace.schemas.catalog import DAY_TABLES
from hoptrace.schemas.errors import HoptraceError
from hoptrace.schemas.fleet import load_fleet
from hoptrace.transforms.cover import add_coverage
from hoptrace.transforms.grammar import load_grammars
from hoptrace.transforms.parse import parse_chunk
from hoptrace.transforms.plan import Night
from hoptrace.transforms.read import Chunk, read_chunks
from tests.nights_at_length import split_logs
from tests.plain import run_plain

DAY1, DAY2 = date(2026, 1, 1), date(2026, 1, 2)
COMPARED = (
    "deliveries",
    "open",
    "hops",
    "hop_recipients",
    "handoffs",
    "notices",
    "mailbox_events",
    "delay_stats",
    "coverage",
    "unparsed",
    "open_hops",
)


def options_of(store: Path, **more: object) -> NightlyOptions:
    folder = sample_folder()
    return NightlyOptions(
        **{
            "logs": (str(folder / "logs" / "*" / "*"),),
            "store": str(store),
            "day": DAY1,
            "until": DAY2,
            "fleet": str(folder / "fleet.toml"),
            "cold_start": True,
            **more,
        }
    )  # type: ignore[arg-type]


def read_tables(store: Path) -> dict[str, pl.DataFrame]:
    """The tables of both days, in full row order."""
    source = Store(str(store))
    days = [str(DAY1), str(DAY2)]
    return {name: ordered(source.read(name, days)) for name in COMPARED}


def ordered(rows: pl.DataFrame) -> pl.DataFrame:
    text = rows.select(pl.struct(pl.all()).struct.json_encode().alias("text"))["text"]
    return rows.with_columns(text.alias("_text")).sort("_text").drop("_text")


@pytest.fixture(scope="module")
def one_shard(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pl.DataFrame]:
    """The two nights in one shard, every file a chunk."""
    store = tmp_path_factory.mktemp("one")
    run_nightly(options_of(store, shards=1), ())
    return read_tables(store)


@pytest.mark.parametrize(("shards", "chunk", "parts", "seed"), [(3, 1 << 16, 50_000, 1), (16, 10_000, 1 << 28, 2)])
def test_shards_chunks_ranges_and_order_change_nothing(
    one_shard: dict[str, pl.DataFrame],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    shards: int,
    chunk: int,
    parts: int,
    seed: int,
) -> None:
    def plan_shuffled(*given: object) -> list[object]:
        ranges = plan_inputs(*given)  # type: ignore[arg-type]
        random.Random(seed).shuffle(ranges)
        return list(ranges)

    monkeypatch.setattr(nightly, "CHUNK_BYTES", chunk)
    monkeypatch.setattr(nightly, "RANGE_BYTES", parts)
    monkeypatch.setattr(nightly, "plan_inputs", plan_shuffled)
    run_nightly(options_of(tmp_path, shards=shards), ())
    for name, rows in read_tables(tmp_path).items():
        assert_frame_equal(rows, one_shard[name], check_exact=True)


def test_files_in_pieces_change_nothing(one_shard: dict[str, pl.DataFrame], tmp_path: Path) -> None:
    """Pieces of files, parted at line ends, tell what the files did."""
    logs = split_logs(sample_folder() / "logs", tmp_path / "pieces", seed=3)
    run_nightly(options_of(tmp_path / "store", logs=(logs,)), ())
    found = read_tables(tmp_path / "store")
    for name in COMPARED[:-1]:
        assert_frame_equal(found[name], one_shard[name], check_exact=True)


def read_sample(night: Night) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
    """Events and coverage of the sample's lines in a night's window, without Beam."""
    fleet, grammars = load_fleet(options_of(Path()).fleet), load_grammars()
    window = night.window
    for r in plan_inputs(options_of(Path()).logs, fleet, window.starts_at, window.ends_at, 1 << 28):
        for item in read_chunks(r, 1 << 25):
            if isinstance(item, Chunk):
                parsed = parse_chunk(item, r, grammars, fleet, window)
                yield parsed.events, parsed.coverage


def test_the_pipeline_equals_the_pure_functions(one_shard: dict[str, pl.DataFrame]) -> None:
    fleet = load_fleet(options_of(Path()).fleet)
    state, began_at = None, None
    for day, cold in ((DAY1, True), (DAY2, False)):
        night = Night(*bounds_of(day, options_of(Path()), fleet), cold, None if cold else began_at)
        began_at = night.cold_at
        parts = list(read_sample(night))
        coverage = add_coverage([coverage for _, coverage in parts])
        told = run_plain(pl.concat([events for events, _ in parts]), fleet, night, coverage, state)
        state = told.carried
        for name, frame in {**told.tables, "open_hops": told.carried}.items():
            rows = DAY_TABLES[name].conform(frame)
            published = one_shard[name].filter(pl.col("day") == str(day)).select(rows.columns)
            assert_frame_equal(ordered(rows), ordered(published), check_exact=True)
            assert rows.height or name == "notices"


def test_a_night_without_lines(tmp_path: Path) -> None:
    """A day that no log reaches is published empty, and keeps what was open."""
    logs = tmp_path / "logs" / "out1"
    logs.mkdir(parents=True)
    (logs / "mail.log").write_text("")
    run_nightly(options_of(tmp_path / "store", logs=(str(logs / "*"),), fleet=None), ())
    assert all(rows.is_empty() for rows in read_tables(tmp_path / "store").values())


HEADER = "2026-01-01T12:00:0{}.000000+01:00 mx01 "
LINES = {
    "quiet": "postfix/smtpd[1]: disconnect from unknown[192.0.2.1] ehlo=1 quit=1 commands=2",
    "door": "postfix/smtpd[1]: NOQUEUE: reject: RCPT from unknown[192.0.2.1]: 550 5.1.1 <no@our.test>: Recipient address rejected: "
    "User unknown; from=<a@far.test> to=<no@our.test> proto=ESMTP helo=<x>",
    "store": "dovecot: lmtp(b@our.test)<5><abcDEF123+/456>: sieve: msgid=<m@far.test>: stored mail into mailbox 'INBOX'",
    "strange": "postfix/smtpd[1]: what nobody ever heard of",
}


@pytest.mark.parametrize("kind", LINES)
def test_a_night_of_one_kind_of_line(kind: str, tmp_path: Path) -> None:
    logs = tmp_path / "logs" / "mx01"
    logs.mkdir(parents=True)
    (logs / "mail.log").write_text("".join(HEADER.format(k) + LINES[kind] + "\n" for k in range(3)))
    rows = run_nightly(options_of(tmp_path / "store", logs=(str(logs / "*"),), fleet=None, shards=3), ())
    tables = read_tables(tmp_path / "store")
    assert len(rows) == 2
    assert tables["coverage"]["lines"].sum() == 3
    assert tables["deliveries"].height == {"door": 3, "store": 1}.get(kind, 0)
    assert tables["unparsed"].height == (kind == "strange")


COUNTS = {
    "lines read": 9,
    "lines": 9,
    "events": 4,
    "quiet": 3,
    "unparsed": 1,
    "outside": 1,
    "events with a queue ID": 4,
    "events assembled": 4,
    "hops assembled": 2,
    "hops placed": 2,
    "hops traced": 2,
    "recipients assembled": 3,
    "recipients placed": 3,
    "recipients traced": 3,
}


def test_counts_that_agree() -> None:
    check_counts(COUNTS)
    check_counts({})


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("by", [-1, 1])
def test_a_count_that_disagrees(name: str, by: int) -> None:
    with pytest.raises(HoptraceError, match="nothing was published"):
        check_counts({**COUNTS, name: COUNTS[name] + by})


def test_a_cold_start_is_known_when_its_night_is_pruned(tmp_path: Path) -> None:
    logs = tmp_path / "logs" / "mx01" / "mail.log"
    logs.parent.mkdir(parents=True)
    logs.write_text(HEADER.format(1) + LINES["quiet"] + "\n")
    options = options_of(tmp_path / "store", logs=(str(logs),), fleet=None)
    first, second = run_nightly(options, ())
    assert first["began_at"] == second["began_at"] == first["starts_at"]
    store = Store(str(tmp_path / "store"))
    began = began_at(store, DAY2)
    assert prune(store, 1) == [str(DAY1)]
    assert began_at(store, date(2026, 1, 3)) == began == round(first["starts_at"].timestamp() * 1e6)
    assert began_at(store, DAY2) is None
