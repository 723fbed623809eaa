"""The store: a night is one atomic step for readers, and two runs never mix."""

import pickle
import shutil
from datetime import datetime, timedelta, timezone
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable

from hoptrace.pipeline import commits
from hoptrace.pipeline.commits import Commits
from hoptrace.pipeline.store import Store
from hoptrace.schemas.catalog import DAY_TABLES, TABLES
from hoptrace.schemas.deliveries import DELIVERIES
from hoptrace.schemas.errors import HoptraceError
from hoptrace.schemas.events import OPEN_HOPS

DAY1, DAY2 = "2026-03-01", "2026-03-02"
NOON = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)


def rows(*ids: str) -> pl.DataFrame:
    stay = {"host": "mx01", "queue_id": "4dj3893npLzCvj", "arrived_at": NOON, "stages": {"receive": 0.5}}
    return pl.DataFrame(
        {
            "trace_id": ids,
            "submitted_at": [NOON + timedelta(microseconds=n) for n in range(len(ids))],
            "path": [["mx01"]] * len(ids),
            "hops": [[stay]] * len(ids),
        }
    )


def publish(store: Store, day: str, *ids: str, base: dict[str, int] | None = None) -> None:
    parts = [store.write_part(DELIVERIES, day, rows(each)) for each in ids]
    store.publish(day, {"deliveries": parts}, {"counts": {"lines": len(ids)}}, base)


def ids(store: Store, days: list[str] | None = None) -> list[str]:
    return store.read("deliveries", days)["trace_id"].to_list()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(str(tmp_path / "the store"))
    made.prepare()
    return made


def test_a_day_is_read_as_it_was_published(store: Store) -> None:
    publish(store, DAY1, "a", "b")
    publish(store, DAY2, "c")
    read = store.read("deliveries")
    assert read.schema == pl.Schema({**DELIVERIES.schema, "day": pl.String})
    assert read["trace_id"].to_list() == ["a", "b", "c"]
    assert read["day"].to_list() == [DAY1, DAY1, DAY2]
    assert read["hops"][0].to_list()[0]["stages"]["receive"] == 0.5
    assert ids(store, [DAY2]) == ["c"]
    assert ids(store, ["2026-03-09"]) == []
    assert store.read("open").is_empty()
    assert store.read("open").schema["day"] == pl.String
    nights = store.days()
    assert [night["day"] for night in nights] == [DAY1, DAY2]
    assert set(nights[0]["versions"]) == set(DAY_TABLES)
    assert nights[0]["counts"] == {"lines": 2}
    assert store.read("nights")["day"].to_list() == [DAY1, DAY2]


def test_a_day_published_again_replaces_itself_only(store: Store) -> None:
    publish(store, DAY1, "a", "b")
    publish(store, DAY2, "c")
    before = store.days()[0]["versions"]["deliveries"]
    publish(store, DAY1, "d")
    assert ids(store) == ["d", "c"]
    publish(store, DAY1)
    assert ids(store) == ["c"]
    assert [night["day"] for night in store.days()] == [DAY1, DAY2]
    old = DeltaTable(store.root.below("deliveries"), version=before).to_pandas()
    assert sorted(old["trace_id"]) == ["a", "b"]


def test_parts_that_no_night_names_are_invisible(store: Store) -> None:
    stray = store.write_part(DELIVERIES, DAY1, rows("stray"))
    assert stray.rows == 1
    assert pickle.loads(pickle.dumps(stray)) == stray
    assert store.days() == []
    assert ids(store) == []
    publish(store, DAY1, "a")
    store.write_part(DELIVERIES, DAY1, rows("stray2"))
    assert ids(store) == ["a"]


@pytest.mark.parametrize("day2_meanwhile", [False, True])
def test_of_two_runs_that_started_from_the_same_store_one_loses(store: Store, day2_meanwhile: bool) -> None:
    publish(store, DAY1, "old")
    base = store.versions()
    publish(store, DAY1, "first", base=base)
    if day2_meanwhile:
        publish(store, DAY2, "other day", base=base)
    with pytest.raises(HoptraceError, match=f"another run published {DAY1} while this one was at work"):
        publish(store, DAY1, "second", base=base)
    assert ids(store, [DAY1]) == ["first"]


def test_a_publication_that_the_engine_runs_twice_is_one(store: Store) -> None:
    publish(store, DAY1, "old")
    base = store.versions()
    part = store.write_part(DELIVERIES, DAY1, rows("new"))
    for _ in range(2):
        store.publish(DAY1, {"deliveries": [part]}, {}, base)
    assert ids(store) == ["new"]
    assert len(store.days()) == 1


def test_two_first_nights_at_once(store: Store) -> None:
    base = store.versions()
    assert set(base.values()) == {-1}
    publish(store, DAY1, "first", base=base)
    with pytest.raises(HoptraceError, match="another run published"):
        publish(store, DAY1, "second", base=base)
    publish(store, DAY2, "other day", base=base)
    assert ids(store) == ["first", "other day"]


def test_a_commit_between_look_and_commit_loses_no_row(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another day's night lands exactly between reading `nights` and committing it: both rows stay."""
    publish(store, DAY1, "a")
    done: list[bool] = []
    real = Commits._commit

    def interrupted(self: Commits, opened: DeltaTable, *rest: object) -> bool:
        if opened.table_uri.rstrip("/").endswith("nights") and not done:
            done.append(True)
            publish(Store(store.root.url), "2026-03-03", "c")
        return real(self, opened, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Commits, "_commit", interrupted)
    publish(store, DAY2, "b")
    assert done
    assert ids(store) == ["a", "b", "c"]


@pytest.mark.parametrize("dies_at", range(len(DAY_TABLES) + 1))
def test_a_kill_before_the_night_is_named_leaves_the_old_day(
    store: Store, monkeypatch: pytest.MonkeyPatch, dies_at: int
) -> None:
    publish(store, DAY1, "old")
    commits_done: list[bool] = []
    real = Commits._commit

    def mortal(self: Commits, *rest: object) -> bool:
        if len(commits_done) == dies_at:
            raise KeyboardInterrupt
        commits_done.append(True)
        return real(self, *rest)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(Commits, "_commit", mortal)
        with pytest.raises(KeyboardInterrupt):
            publish(store, DAY1, "new")
        with pytest.raises(KeyboardInterrupt):
            publish(store, DAY2, "next day")
    assert ids(store) == ["old"]
    publish(store, DAY1, "again")
    publish(store, DAY2, "next day")
    assert ids(store) == ["again", "next day"]


def test_plain_readers_see_the_same_rows(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    publish(store, DAY1, "a", "b")
    publish(store, DAY2, "c")
    where = store.root.below("deliveries")
    frame = DeltaTable(where).to_pandas()
    assert sorted(frame["trace_id"]) == ["a", "b", "c"]
    assert set(frame["day"]) == {DAY1, DAY2}
    lazily = pl.scan_delta(where).filter(pl.col("submitted_at") == NOON).collect()
    assert sorted(lazily["trace_id"]) == ["a", "b", "c"]
    assert pl.scan_delta(where).filter(pl.col("submitted_at") > NOON).collect().is_empty()
    assert DeltaTable(store.root.below("open")).to_pandas().empty


def test_open_hops_come_back_as_events(store: Store) -> None:
    event = pl.DataFrame({"stamp": [5], "host": ["mx01"], "place": [1 << 39], "kind": ["arrive"]})
    part = store.write_part(OPEN_HOPS, DAY1, event)
    store.publish(DAY1, {"open_hops": [part]}, {})
    read = store.read("open_hops", [DAY1])
    assert read.drop("day").schema == pl.Schema(OPEN_HOPS.schema)
    assert read["place"].to_list() == [1 << 39]
    assert read["kind"].to_list() == ["arrive"]


def test_a_column_added_later_is_null_in_old_nights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(str(tmp_path / "store"))
    publish(store, DAY1, "a")
    from hoptrace.pipeline import store as module
    from hoptrace.schemas.table import Table

    wider = Table("deliveries", {**DELIVERIES.columns, "colour": (pl.String, "of the envelope")}, DELIVERIES.order)
    tables = {**DAY_TABLES, "deliveries": wider}
    monkeypatch.setattr(module, "DAY_TABLES", tables)
    monkeypatch.setattr(module, "TABLES", {**TABLES, "deliveries": wider})
    part = store.write_part(wider, DAY2, rows("b").with_columns(colour=pl.lit("red")))
    store.publish(DAY2, {"deliveries": [part]}, {})
    assert store.read("deliveries")["colour"].to_list() == [None, "red"]
    assert pl.scan_delta(store.root.below("deliveries")).collect().height == 2


def test_a_store_of_another_version(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(commits, "STORE_VERSION", 7)
        publish(store, DAY1, "a")
    for use in (store.days, store.prepare, lambda: store.read("deliveries")):
        with pytest.raises(HoptraceError, match=r"is of store version 7, and .* version 1; use the hoptrace"):
            use()


def test_no_store_there(tmp_path: Path) -> None:
    with pytest.raises(HoptraceError, match=r"absent: no store here; write one with: hoptrace nightly --store"):
        Store(str(tmp_path / "absent")).days()
    with pytest.raises(HoptraceError, match="a store is a local folder or gs://bucket/prefix"):
        Store("s3://bucket/store")
    with pytest.raises(HoptraceError, match="'2026-3-1' is no day; give it as YYYY-MM-DD"):
        Store(str(tmp_path)).write_part(DELIVERIES, "2026-3-1", rows("a"))
    with pytest.raises(HoptraceError, match="no table 'delivery'; there are deliveries, open,"):
        Store(str(tmp_path)).scan("delivery")


def test_no_permission_to_write(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "store", Path("/sys/hoptrace")):
        with pytest.raises(HoptraceError, match=r"cannot write here \(.+\); give --store a place that"):
            Store(str(place)).prepare()


def test_a_table_that_lost_its_log_is_an_error_not_a_traceback(store: Store) -> None:
    publish(store, DAY1, "a")
    shutil.rmtree(store.root.below("deliveries", "_delta_log"))
    with pytest.raises(HoptraceError, match="deliveries"):
        store.read("deliveries")


def test_a_part_that_is_gone_is_an_error_not_a_traceback(store: Store) -> None:
    publish(store, DAY1, "a")
    shutil.rmtree(store.root.below("deliveries", f"day={DAY1}"))
    with pytest.raises(HoptraceError, match="deliveries: cannot read its files"):
        store.read("deliveries")


def test_old_versions_outlive_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(commits.KEEP_OLD_VERSIONS, "delta.checkpointInterval", "2")
    store = Store(str(tmp_path / "store"))
    publish(store, DAY1, "a")
    for number in range(1, 6):
        publish(store, f"2026-04-{number:02d}", str(number))
    assert list(Path(store.root.url, "deliveries", "_delta_log").glob("*.checkpoint.parquet"))
    assert ids(store) == ["a", *"12345"]
    assert DeltaTable(store.root.below("deliveries"), version=1).to_pandas()["trace_id"].to_list() == ["a"]
