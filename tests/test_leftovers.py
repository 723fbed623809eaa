"""gc and prune: what goes is what nobody can come to, and days that are old; nothing else."""

import json
import os
import time
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from hoptrace.pipeline import cli
from hoptrace.pipeline.leftovers import collect
from hoptrace.pipeline.prune import prune
from hoptrace.pipeline.status import status
from hoptrace.pipeline.store import Store
from hoptrace.schemas.catalog import DAY_TABLES, TABLES
from tests.frames import DAY1, DAY2, make_store
from tests.test_store import publish, rows

DAY = timedelta(days=1)
NOW = timedelta()


def files(store: Store) -> set[str]:
    return {held.path for table in TABLES for held in store.root.list(table)}


def tables(store: Store) -> dict[str, pl.DataFrame]:
    return {table: store.read(table) for table in TABLES}


def same(store: Store, before: dict[str, pl.DataFrame]) -> bool:
    for table, frame in before.items():
        assert_frame_equal(store.read(table), frame)
    return True


def age(store: Store, path: str, hours: float) -> None:
    at = time.time() - 3600 * hours
    os.utime(Path(store.root.below(path)), (at, at))


LEFT = {
    "a part of a killed run": (f"hops/day={DAY1}/part-{'0' * 32}.parquet", True),
    "one of a day without a night": (f"hops/day=2026-05-05/part-{'0' * 32}.parquet", True),
    "one of nights": (f"nights/part-{'0' * 32}.parquet", True),
    "a commit that did not come to be": (f"hops/_delta_log/_commit_{'0' * 8}-0000-0000-0000-{'0' * 12}.json.tmp", True),
    "the same, of the object store": ("hops/_delta_log/00000000000000000009.json#1", True),
    "a file of somebody else": ("hops/notes.txt", False),
    "a table of somebody else": (f"mine/day={DAY1}/part-{'0' * 32}.parquet", False),
    "a part of another writer": (f"hops/day={DAY1}/part-00000-{'0' * 30}.parquet", False),
}


@pytest.mark.parametrize("case", LEFT)
def test_what_is_left_over(tmp_path: Path, case: str) -> None:
    path, goes = LEFT[case]
    store = make_store(tmp_path)
    before, kept = tables(store), files(store)
    store.root.write(path, b"1234")
    assert not collect(store, DAY).files, "too young"
    age(store, path, 25)
    assert len(collect(store, DAY, dry_run=True).files) == goes
    assert (tmp_path / path).exists()
    found = collect(store, DAY)
    assert (found.size, [held.path for held in found.files]) == ((4, [path]) if goes else (0, []))
    assert (tmp_path / path).exists() is not goes
    assert files(store) - {path} == kept
    assert same(store, before)


def test_a_replaced_day_stays_for_who_reads_it(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.prepare()
    publish(store, DAY1, "a")
    reader = store.scan("deliveries")
    for path in files(store):
        age(store, path, 240)
    publish(store, DAY1, "b")
    publish(store, DAY2, "c")
    assert not collect(store, DAY).files, "written long ago, but replaced just now"
    assert reader.collect()["trace_id"].to_list() == ["a"]
    gone = collect(store, NOW)
    assert sorted({held.path.split("/")[0] for held in gone.files}) == ["deliveries", "nights"]
    assert store.read("deliveries")["trace_id"].to_list() == ["b", "c"]
    assert not collect(store, NOW).files


def test_a_night_killed_between_its_commits_is_kept_as_it_was(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.prepare()
    publish(store, DAY1, "a")
    before = tables(store)
    half = store.write_part(TABLES["deliveries"], DAY1, rows("x"))
    store._commits.replace_day(TABLES["deliveries"], DAY1, [half.action(DAY1, 0)], store.versions()["deliveries"])
    assert not collect(store, NOW).files
    assert same(store, before)
    publish(store, DAY1, "a")
    assert any(held.path.endswith(half.path) for held in collect(store, NOW).files)
    assert_frame_equal(store.read("deliveries"), before["deliveries"])


def test_old_days_go_and_nothing_else(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.prepare()
    days = ["2026-01-27", "2026-02-02", "2026-02-27", "2026-03-01", "2026-03-02"]
    for day in days:
        publish(store, day, day)
    before = tables(store)
    reader = store.scan("deliveries")
    assert prune(store, 35) == []
    assert prune(store, 3, dry_run=True) == days[:3]
    assert same(store, before)
    assert prune(store, 3) == days[:3]
    assert reader.collect().height == 5, "who reads sees the days as they were"
    for table, frame in before.items():
        assert_frame_equal(store.read(table), frame.filter(pl.col("day").is_in(days[3:])))
    collect(store, NOW)
    for table, frame in before.items():
        assert_frame_equal(store.read(table), frame.filter(pl.col("day").is_in(days[3:])))
    assert not [path for path in files(store) if any(day in path for day in days[:3])]
    assert prune(store, 1) == days[3:4]
    assert prune(store, 1) == []
    assert [night["day"] for night in store.days()] == days[4:]


def test_a_killed_prune_is_ended_by_the_next(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    store._commits.drop_nights([DAY1])
    store._commits.drop_days(DAY_TABLES["hops"], [DAY1])
    assert prune(store, 1) == [DAY1]
    assert prune(store, 1) == []
    assert store.known_days() == {DAY2}


def test_the_first_day_after_a_prune_is_not_stale(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    prune(store, 1)
    assert [(row["day"], row["state"]) for row in status(store)] == [(DAY2, "ok")]


def test_the_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = make_store(tmp_path)
    path = f"hops/day={DAY1}/part-{'0' * 32}.parquet"
    store.root.write(path, b"1234")
    age(store, path, 2)
    place = ["--store", str(tmp_path)]
    assert cli.main(["gc", *place, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["files"] == 0
    assert cli.main(["gc", *place, "--older-than", "1h", "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"files": 1, "bytes": 4, "paths": [path], "dry_run": True}
    assert cli.main(["gc", *place, "--older-than", "1h"]) == 0
    assert capsys.readouterr().out == f"{tmp_path}: removed 1 file, 4 bytes.\n"
    assert cli.main(["prune", *place, "--keep", "35d"]) == 0
    assert cli.main(["prune", *place, "--keep", "1d", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.split("\n", 1)[1]) == {"days": [DAY1], "dry_run": False}
    for wrong in (["--keep", "0d"], ["--keep", "35"], ["--keep", "12h"], []):
        assert cli.main(["prune", *place, *wrong]) == 2
    assert cli.main(["gc", "--store", str(tmp_path / "absent")]) == 1
