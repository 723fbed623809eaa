"""`hoptrace gc`: files that no reader can come to any more, of killed runs and of days replaced or pruned."""

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from rich.console import RenderableType

from hoptrace.pipeline import printing
from hoptrace.pipeline.roots import Held
from hoptrace.pipeline.store import Store
from hoptrace.schemas.catalog import TABLES

PART = re.compile(r"(?:day=\d{4}-\d\d-\d\d/)?part-[0-9a-f]{32}\.parquet")
UNFINISHED = re.compile(r"_delta_log/(?:_commit_[0-9a-f-]{36}\.json\.tmp|[^/]+#\d+)")
"""What Delta Lake's writers leave of a commit that they were killed in: `_commit_UUID.json.tmp`, `NAME.json#1`."""


@dataclass(frozen=True)
class Leftovers:
    """What `collect` removed, or would remove: its files, and how many bytes they are."""

    files: Sequence[Held]

    @property
    def size(self) -> int:
        """Bytes as stored."""
        return sum(file.size for file in self.files)


def collect(store: Store, older_than: timedelta, *, dry_run: bool = False) -> Leftovers:
    """Remove the parts, written and out of use for longer than `older_than`, that nobody can come to.

    Kept are the files that a published night names, those of every table's newest version, and those of each version that was
    the newest within `older_than`: so a reader or run at work for less than that loses nothing. No other file is touched.
    Raises HoptraceError where there is no store, or one of another version.
    """
    store.days()
    limit = datetime.now(timezone.utc) - older_than
    with ThreadPoolExecutor(8) as pool:
        found = [file for files in pool.map(lambda table: leftovers_of(store, table, limit), TABLES) for file in files]
        if not dry_run:
            list(pool.map(lambda file: store.root.remove(file.path), found))
    return Leftovers(found)


def leftovers_of(store: Store, table: str, limit: datetime) -> list[Held]:
    """The files of `table` that nobody could come to since `limit`."""
    old = [(file, file.path.removeprefix(f"{table}/")) for file in store.root.list(table) if file.written_at < limit]
    parts = [(file, path) for file, path in old if PART.fullmatch(path)]
    named = store.named(table, limit) if parts else set()
    return [file for file, path in parts if path not in named] + [
        file for file, path in old if UNFINISHED.fullmatch(path)
    ]


def collected_page(found: Leftovers, store: Store, dry_run: bool) -> list[RenderableType]:
    """What `hoptrace gc` prints."""
    count = f"{len(found.files)} file{'' if len(found.files) == 1 else 's'}, {found.size} bytes"
    return [printing.line(f"{store.root.url}: {'would remove' if dry_run else 'removed'} {count}.")]
