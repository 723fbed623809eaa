"""The store: Delta Lake tables by day, of which readers see what the table `nights` names, and nothing else."""

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from typing import Any

import polars as pl

from hoptrace.pipeline.commits import BeatenError, Commits, brief
from hoptrace.pipeline.parts import DAY, Part, stored_schema, write_part
from hoptrace.pipeline.roots import root_of
from hoptrace.pipeline.version import VERSION
from hoptrace.schemas.catalog import DAY_TABLES, TABLES
from hoptrace.schemas.errors import HoptraceError
from hoptrace.schemas.nights import NIGHTS
from hoptrace.schemas.table import Table
from hoptrace.transforms.pseudonyms import Pseudonyms

Night = dict[str, Any]
"""A row of `nights`, with `versions`, `inputs`, `counts` and `witness` as objects instead of JSON."""

JSON_COLUMNS = ("versions", "inputs", "counts", "witness")


class Store:
    """A store under `root`, a local folder or gs:// prefix. Cheap to make; picklable.

    `pseudonyms`: what is written of people is written as these.
    """

    def __init__(self, root: str, pseudonyms: Pseudonyms | None = None) -> None:
        self.root = root_of(root)
        self.pseudonyms = pseudonyms
        self._commits = Commits(self.root)

    def prepare(self) -> None:
        """Make the store's folder; raises HoptraceError where it cannot be written or another version made it."""
        self.root.prepare()
        self._commits.check_version()

    def versions(self) -> dict[str, int]:
        """Table -> its newest Delta version now (-1: none): what a run started from, for `publish`."""
        with ThreadPoolExecutor(len(TABLES)) as pool:
            return dict(zip(TABLES, pool.map(self._commits.version, TABLES), strict=True))

    def write_part(self, table: Table, day: str, frame: pl.DataFrame) -> Part:
        """Write `frame` as a part of `table` for `day`, that nobody sees before `publish` names it."""
        _require_day(day)
        hidden = frame if self.pseudonyms is None else self.pseudonyms.hide(table, table.conform(frame))
        return write_part(self.root, table, day, hidden)

    def publish(
        self, day: str, parts: Mapping[str, Iterable[Part]], night: Night, base: Mapping[str, int] | None = None
    ) -> Night:
        """Replace `day` in every table by `parts` (table name -> parts; none: no rows), last of all in `nights`.

        Until that last commit readers see the day as it was. `base` is `versions()` as of the start of the run
        (default: of this call); HoptraceError where the day was published by another run since then.
        Returns the row of `nights`.
        """
        _require_day(day)
        foreign = set(parts) - set(DAY_TABLES)
        if foreign:
            raise ValueError(f"no tables of a night: {sorted(foreign)}")
        base = base if base is not None else self.versions()
        actions = {name: list(parts.get(name, ())) for name in DAY_TABLES}
        try:
            return self._publish(day, actions, night, base)
        except BeatenError:
            if not self._published_before(day, actions):
                raise
            return self._publish(day, actions, night, self.versions())

    def _publish(self, day: str, parts: Mapping[str, Sequence[Part]], night: Night, base: Mapping[str, int]) -> Night:
        at_ms = int(datetime.now(timezone.utc).timestamp() * 1000)

        def replace(name: str) -> int:
            actions = [part.action(day, at_ms) for part in parts[name]]
            return self._commits.replace_day(DAY_TABLES[name], day, actions, base[name])

        first, *others = DAY_TABLES
        written = {first: replace(first)}  # alone: who is faster here is the one who publishes the night
        with ThreadPoolExecutor(len(others)) as pool:
            written.update(zip(others, pool.map(replace, others), strict=True))
        published = datetime.fromtimestamp(at_ms / 1000, timezone.utc)
        row = {"hoptrace": VERSION, **night, DAY: day, "published_at": published, "versions": written}
        self._commits.replace_night(_pack(row), base[NIGHTS.name])
        return row

    def _published_before(self, day: str, parts: Mapping[str, Sequence[Part]]) -> bool:
        """Whether some of these very parts are in a table: then the engine merely ran this publication twice."""
        return any(
            self._commits.day_files(name, day) & {part.path for part in each} for name, each in parts.items() if each
        )

    def days(self) -> list[Night]:
        """The published nights in order of their day; empty for a store that has none yet."""
        self.root.require()
        self._commits.check_version()
        return [_unpack(row) for row in self._commits.nights().sort(DAY).iter_rows(named=True)]

    def scan(self, table: str, days: Sequence[str] | None = None) -> pl.LazyFrame:
        """The rows of `table` on published `days` (default: all), with the column `day` last; in no certain order."""
        if table not in TABLES:
            raise HoptraceError(f"{self.root.url}: no table {table!r}; there are {', '.join(TABLES)}")
        nights = [night for night in self.days() if days is None or night[DAY] in days]
        if table == NIGHTS.name:
            return pl.LazyFrame([_pack(night) for night in nights], schema=NIGHTS.schema)
        schema = stored_schema(TABLES[table])
        files = self._files(table, nights)
        if not files:
            return _as_read(TABLES[table], pl.LazyFrame(schema=schema))
        scanned = pl.scan_parquet(
            [self.root.below(table, path) for path in files],
            schema=schema, hive_partitioning=True, hive_schema={DAY: pl.String}, missing_columns="insert",
            extra_columns="ignore", glob=False, storage_options=dict(self.root.options) or None,
        )  # fmt: skip
        return _as_read(TABLES[table], scanned)

    def read(self, table: str, days: Sequence[str] | None = None) -> pl.DataFrame:
        """`scan`, collected and in the table's own order within each day."""
        try:
            frame = self.scan(table, days).collect()
        except (OSError, pl.exceptions.ComputeError) as error:
            raise HoptraceError(f"{self.root.below(table)}: cannot read its files ({brief(error)})") from error
        return frame.sort(list(dict.fromkeys((DAY, *TABLES[table].order))))

    def drop(self, days: Collection[str]) -> None:
        """Take `days` out of `nights`, which is what readers go by, then their parts out of every table by commits."""
        self._commits.drop_nights(days)
        with ThreadPoolExecutor(len(DAY_TABLES)) as pool:
            list(pool.map(lambda table: self._commits.drop_days(table, days), DAY_TABLES.values()))

    def known_days(self) -> set[str]:
        """Every day that `nights` or the newest version of a table names, published or not."""
        with ThreadPoolExecutor(len(DAY_TABLES)) as pool:
            each = pool.map(lambda name: self._commits.files(name)[DAY].to_list(), DAY_TABLES)
            return {day for days in each for day in days} | {night[DAY] for night in self.days()}

    def named(self, table: str, since: datetime) -> set[str]:
        """Paths below the table's folder that the published nights name, or any version that was newest at `since` or later."""
        nights = self.days() if table in DAY_TABLES else []
        return {*self._files(table, nights), *self._commits.since(table, since)}

    def _files(self, table: str, nights: Sequence[Night]) -> list[str]:
        """Paths below the table's folder that hold `nights`: from the newest version where that still has them."""
        wanted = [night for night in nights if table in night["versions"]]
        if not wanted:
            return []
        newest = self._commits.files(table).filter(pl.col(DAY).is_in([night[DAY] for night in wanted]))
        by_day = {str(day): part for (day,), part in newest.partition_by(DAY, as_dict=True).items()}
        found: list[str] = []
        older: dict[int, list[str]] = {}
        for night in wanted:
            files = by_day.get(night[DAY])
            if files is not None and (files["at"] == night["published_at"]).all():
                found += files["path"].to_list()
            else:
                older.setdefault(night["versions"][table], []).append(night[DAY])
        with ThreadPoolExecutor(16) as pool:
            read = pool.map(lambda version: self._commits.files(table, version), older)
            for files, days in zip(read, older.values(), strict=True):
                found += files.filter(pl.col(DAY).is_in(days))["path"].to_list()
        return sorted(found)


def _as_read(table: Table, frame: pl.LazyFrame) -> pl.LazyFrame:
    return frame.cast(table.schema)  # type: ignore[arg-type]


def _pack(night: Night) -> Night:
    packed = {name: night.get(name) for name in NIGHTS.schema}
    for name in JSON_COLUMNS:
        if packed[name] is not None and not isinstance(packed[name], str):
            packed[name] = json.dumps(packed[name], ensure_ascii=False)
    return packed


def _unpack(night: Night) -> Night:
    return {**night, **{name: json.loads(night[name]) for name in JSON_COLUMNS if night[name] is not None}}


def _require_day(day: str) -> None:
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", day):
        raise HoptraceError(f"{day!r} is no day; give it as YYYY-MM-DD")
