"""Commits to Delta Lake tables: one day replaced at a time, never over the work of somebody who was faster."""

import random
import re
import time
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import polars as pl
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.transaction import AddAction, CommitProperties, create_table_with_add_actions

from hoptrace.pipeline.parts import DAY, delta_schema, write_part
from hoptrace.pipeline.roots import Root
from hoptrace.schemas.catalog import STORE_VERSION
from hoptrace.schemas.errors import HoptraceError
from hoptrace.schemas.nights import NIGHTS
from hoptrace.schemas.table import TIME, Table

MADE_BY = "hoptrace store "
KEEP_OLD_VERSIONS = {
    "delta.enableExpiredLogCleanup": "false",
    "delta.logRetentionDuration": "interval 36500 days",
    "delta.deletedFileRetentionDuration": "interval 36500 days",
    "delta.checkpointInterval": "20",
}
TRIES = 60
COMMIT = re.compile(r"/(\d{20})\.json$")


class BeatenError(HoptraceError):
    """Another run published the day first."""


class Commits:
    """The Delta logs of the tables under `root`."""

    def __init__(self, root: Root) -> None:
        self.root = root

    def open(self, table: str, version: int | None = None) -> DeltaTable | None:
        """The table at `version` (default: the newest), or None where it does not exist."""
        try:
            return DeltaTable(self.root.below(table), version=version, storage_options=dict(self.root.options) or None)
        except TableNotFoundError:
            return None
        except (DeltaError, OSError) as error:
            raise HoptraceError(f"{self.root.below(table)}: cannot read this table ({brief(error)})") from error

    def version(self, table: str) -> int:
        """The table's newest version, -1 where it does not exist."""
        opened = self.open(table)
        return -1 if opened is None else opened.version()

    def check_version(self) -> None:
        """Raise HoptraceError where another version of the schemas made this store."""
        nights = self.open(NIGHTS.name)
        made_by = nights and nights.metadata().description
        if nights is not None and made_by != f"{MADE_BY}{STORE_VERSION}":
            found = re.fullmatch(rf"{MADE_BY}(\d+)", made_by or "")
            which = f"is of store version {found[1]}" if found else "was not made by hoptrace"
            raise HoptraceError(
                f"{self.root.url}: this store {which}, and this hoptrace writes and reads version {STORE_VERSION}; "
                "use the hoptrace that made it, or give --store a new place and run its nights again"
            )

    def files(self, table: str, version: int | None = None) -> pl.DataFrame:
        """Files of the table at `version`: path (below the table), day (null without days), at (commit's time)."""
        schema: Any = {"path": pl.String, DAY: pl.String, "at": TIME}
        opened = self.open(table, version)
        if opened is None and version is not None:
            raise HoptraceError(f"{self.root.below(table)}: version {version} of a night is gone; run it again")
        actions = None if opened is None else opened.get_add_actions(flatten=True)
        if actions is None or not actions.num_rows:
            return pl.DataFrame(schema=schema)
        frame = pl.DataFrame(actions)
        day = pl.col(f"partition.{DAY}") if f"partition.{DAY}" in frame.columns else pl.lit(None)
        at = pl.col("modification_time").cast(pl.Int64).cast(pl.Datetime("ms", "UTC"))
        return frame.select("path", day.cast(pl.String).alias(DAY), at.cast(TIME).alias("at"))

    def day_files(self, table: str, day: str, version: int | None = None) -> set[str]:
        """Paths of the day's files in the table at `version`; none at version -1."""
        if version == -1:
            return set()
        return set(self.files(table, version).filter(pl.col(DAY) == day)["path"].to_list())

    def nights(self) -> pl.DataFrame:
        """The rows of `nights` as they stand."""
        return self._nights_at(self.version(NIGHTS.name))

    def replace_day(self, table: Table, day: str, actions: list[AddAction], base: int) -> int:
        """Make `actions` the day's only files; returns the new version. HoptraceError where `base` had other files."""
        for attempt in range(TRIES):
            opened = self.open(table.name)
            if opened is None:
                opened = self._create(table, [DAY])
            if opened.version() != base:
                before, now = (self.day_files(table.name, day, version) for version in (base, opened.version()))
                if before != now:
                    raise _beaten(self.root, day)
            opened = self._widen(opened, table)
            if self._commit(opened, actions, [DAY], [(DAY, "=", day)]):
                return opened.version() + 1
            _wait(attempt)
        raise _crowded(self.root, table.name)

    def drop_days(self, table: Table, days: Collection[str]) -> None:
        """Take the days' files out of the table, a commit per day; a day that has none is passed over."""
        for day in sorted(days):
            for attempt in range(TRIES):
                opened = self.open(table.name)
                if opened is None or not self.day_files(table.name, day, opened.version()):
                    break
                if self._commit(opened, [], [DAY], [(DAY, "=", day)]):
                    break
                _wait(attempt)
            else:
                raise _crowded(self.root, table.name)

    def drop_nights(self, days: Collection[str]) -> None:
        """Take the days' rows out of `nights`, in one commit."""
        for attempt in range(TRIES):
            opened = self.open(NIGHTS.name)
            rows = self._nights_at(-1 if opened is None else opened.version())
            kept = rows.filter(~pl.col(DAY).is_in(list(days)))
            if opened is None or kept.height == rows.height:
                return
            part = write_part(self.root, NIGHTS, None, NIGHTS.sorted(kept))
            if self._commit(opened, [part.action("", int(time.time() * 1000))], [], None):
                return
            _wait(attempt)
        raise _crowded(self.root, NIGHTS.name)

    def since(self, table: str, at: datetime) -> set[str]:
        """Paths of every file that a version named which was the newest one at `at` or after."""
        opened = self.open(table)
        if opened is None:
            return set()
        newest = opened.version()
        logged = self.root.list(f"{table}/_delta_log")
        before = [int(found[1]) for each in logged if each.written_at <= at and (found := COMMIT.search(each.path))]
        first = min(max(before, default=0), newest)
        with ThreadPoolExecutor(16) as pool:
            each = pool.map(lambda version: self.files(table, version)["path"].to_list(), range(first, newest + 1))
            return {path for paths in each for path in paths}

    def replace_night(self, night: dict[str, Any], base: int) -> None:
        """Make `night` its day's row of `nights`; HoptraceError where that row changed since `base`."""
        row = pl.DataFrame([night], schema=NIGHTS.schema)
        same_day = pl.col(DAY) == night[DAY]
        for attempt in range(TRIES):
            opened = self.open(NIGHTS.name) or self._create(NIGHTS, [])
            rows = self._nights_at(opened.version())
            if opened.version() != base and not rows.filter(same_day).equals(self._nights_at(base).filter(same_day)):
                raise _beaten(self.root, night[DAY])
            opened = self._widen(opened, NIGHTS)
            part = write_part(self.root, NIGHTS, None, NIGHTS.sorted(pl.concat([rows.filter(~same_day), row])))
            at_ms = int(night["published_at"].timestamp() * 1000)
            if self._commit(opened, [part.action(night[DAY], at_ms)], [], None):
                return
            _wait(attempt)
        raise _crowded(self.root, NIGHTS.name)

    def _nights_at(self, version: int) -> pl.DataFrame:
        if version < 0:
            return NIGHTS.empty()
        paths = [self.root.below(NIGHTS.name, path) for path in self.files(NIGHTS.name, version)["path"].to_list()]
        options = dict(self.root.options) or None
        return NIGHTS.conform(pl.read_parquet(paths, storage_options=options)) if paths else NIGHTS.empty()

    def _create(self, table: Table, partition_by: list[str]) -> DeltaTable:
        try:
            create_table_with_add_actions(
                self.root.below(table.name), delta_schema(table), [], mode="error", partition_by=partition_by,
                description=f"{MADE_BY}{STORE_VERSION}", configuration=KEEP_OLD_VERSIONS,
                storage_options=dict(self.root.options) or None,
            )  # fmt: skip
        except (DeltaError, OSError) as error:
            made_meanwhile = self.open(table.name)
            if made_meanwhile is None:
                raise _unwritten(self.root, table.name, error) from error
        opened = self.open(table.name)
        assert opened is not None
        return opened

    def _widen(self, opened: DeltaTable, table: Table) -> DeltaTable:
        have = {field.name for field in opened.schema().fields}
        missing = [field for field in delta_schema(table).fields if field.name not in have]
        if not missing:
            return opened
        opened.alter.add_columns(missing)
        return self.open(table.name) or opened

    def _commit(self, opened: DeltaTable, actions: list[AddAction], by: list[str], filters: Any) -> bool:
        try:
            opened.create_write_transaction(
                list(actions), mode="overwrite", schema=opened.schema(), partition_by=by, partition_filters=filters,
                commit_properties=CommitProperties(max_commit_retries=0),
            )  # fmt: skip
        except CommitFailedError:
            return False
        except (DeltaError, OSError) as error:
            raise _unwritten(self.root, opened.table_uri, error) from error
        return True


def _beaten(root: Root, day: str) -> BeatenError:
    return BeatenError(
        f"{root.url}: another run published {day} while this one was at work, so nothing of this run was published; "
        "run the day again if its inputs were not the same"
    )


def _crowded(root: Root, table: str) -> HoptraceError:
    return HoptraceError(f"{root.below(table)}: too many others write here at once; run this again")


def _unwritten(root: Root, table: str, error: Exception) -> HoptraceError:
    return HoptraceError(f"{root.url}: cannot write table {table} ({brief(error)}); is there room and permission?")


def brief(error: Exception) -> str:
    """The first line of what an error says."""
    return " ".join((str(error) or type(error).__name__).split())[:300]


def _wait(attempt: int) -> None:
    time.sleep(random.uniform(0, min(1.0, 0.02 * 2**attempt)))  # noqa: S311
