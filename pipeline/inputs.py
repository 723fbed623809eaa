"""The inputs of a run: which files, and which parts of them, hold the lines of the days asked for."""

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from itertools import groupby, pairwise
from pathlib import PurePosixPath
from typing import TypeVar

import numpy as np

from hoptrace.pipeline.rotation import PACKED, ROTATED, name_absent
from hoptrace.schemas.fleet import DAY_US, HOUR_US, Fleet
from hoptrace.transforms.cut import LOCAL, YEARLESS, cut_heads
from hoptrace.transforms.fold import doubled_hours, find_fold
from hoptrace.transforms.read import PLACE_SHIFT, Range, read_head
from hoptrace.transforms.stamps import first_stamp
from hoptrace.transforms.storage import GS, StoredFile, list_files

HEAD_BYTES = 1 << 17
LISTING_THREADS = 16
SLACK_US = HOUR_US  # lines may stand this far from their place in the order of time
YEAR_2000_US = int(datetime(2000, 1, 1, tzinfo=timezone.utc).timestamp()) * 1_000_000
MINUTE_US = 60 * 1_000_000

In = TypeVar("In")
Out = TypeVar("Out")


@dataclass(frozen=True)
class LogFile:
    """A log file as its head shows it: host and zone of its first stamp, that stamp in UTC µs (None: has none).

    `followed_at`: the first stamp of the next file of its rotation; `absent`: names of files that should be between them.
    """

    stored: StoredFile
    host: str
    folder_host: str
    zone: str
    first_at: int | None
    zoneless: bool
    compressed: bool
    followed_at: int | None = None
    absent: str | None = None

    @property
    def chain(self) -> tuple[str, str]:
        """What the files of one rotation share: host, and path without number, date or compression."""
        path = PurePosixPath(self.stored.path)
        return self.host, str(path.parent / ROTATED.sub("", PACKED.sub("", path.name)))

    @property
    def place(self) -> int:
        """The minute of its first stamp since 2000, shifted to leave room for byte offsets."""
        return max(0, (self.first_at or 0) - YEAR_2000_US) // MINUTE_US << PLACE_SHIFT


def plan_inputs(
    patterns: Sequence[str], fleet: Fleet, starts_at_us: int, ends_at_us: int, range_bytes: int
) -> list[Range]:
    """The ranges, of about `range_bytes` bytes, of the files that may hold lines stamped in [starts_at_us, ends_at_us).

    Patterns are paths, folders, globs and gs:// addresses. Files that begin later, and files whose successor (the next
    of the same host, folder and name) begins more than an hour before, are left out. The ranges come by path and start.
    Raises HoptraceError where a pattern names no file, or a file cannot be read.
    """
    near_us = (starts_at_us + ends_at_us) // 2
    stored = in_threads(list_files, patterns)
    distinct = {identity(file.path): file for files in stored for file in files}
    files = in_threads(lambda file: look_at(file, fleet, near_us), distinct.values())
    needed = needed_files(files, starts_at_us, ends_at_us)
    days = (starts_at_us - DAY_US, ends_at_us + DAY_US)
    folds = in_threads(lambda file: fold_of(file, fleet, *days), needed)
    ranges = [part for file, fold in zip(needed, folds) for part in split_file(file, fold, range_bytes)]
    return sorted(ranges, key=lambda part: (part.path, part.start))


def identity(path: str) -> str:
    """What two names of one file have in common."""
    return path if path.startswith(GS) else os.path.realpath(path)


def in_threads(function: Callable[[In], Out], items: Iterable[In]) -> list[Out]:
    """`function` of every item, in order, many at a time."""
    with ThreadPoolExecutor(LISTING_THREADS) as threads:
        return list(threads.map(function, items))


def look_at(stored: StoredFile, fleet: Fleet, near_us: int) -> LogFile:
    """What the head of a stored file shows; raises HoptraceError where it cannot be read."""
    head, compressed = read_head(stored.path, HEAD_BYTES)
    head = head[: head.rfind(b"\n") + 1] or head + b"\n"
    folder_host = fleet.host_at(stored.path) or fleet.host_named(PurePosixPath(stored.path).parent.name)
    heads = cut_heads(head)
    stamped = np.flatnonzero(heads.form)
    line = int(stamped[0]) if stamped.size else None
    named = heads.hosts[heads.host[line]] if line is not None and heads.host[line] >= 0 else None
    host = fleet.host_named(named.decode("utf-8", "backslashreplace")) if named else folder_host
    zone = fleet.zone_of(host)
    zoneless = line is not None and int(heads.form[line]) in (LOCAL, YEARLESS)
    return LogFile(stored, host, folder_host, zone, first_stamp(head, zone, near_us), zoneless, compressed)


def needed_files(files: Iterable[LogFile], starts_at_us: int, ends_at_us: int) -> list[LogFile]:
    """The files that may hold lines stamped in [starts_at_us, ends_at_us); those without any stamp are among them."""
    unknown = [file for file in files if file.first_at is None]
    known = sorted(
        (file for file in files if file.first_at is not None),
        key=lambda file: (file.chain, file.first_at, file.stored.path),
    )
    needed = unknown
    for _, group in groupby(known, key=lambda file: file.chain):
        chain = follow_on(list(group))
        over = {id(file) for file, after in pairwise(chain) if (after.first_at or 0) < starts_at_us - SLACK_US}
        needed += [file for file in chain if id(file) not in over and (file.first_at or 0) < ends_at_us + SLACK_US]
    return needed


def follow_on(chain: Sequence[LogFile]) -> list[LogFile]:
    """The files of one rotation, oldest first, each with what follows it, and what is absent after it."""
    absent = name_absent([PurePosixPath(file.stored.path).name for file in chain])
    after = [*(file.first_at for file in chain[1:]), None]
    return [replace(file, followed_at=at, absent=names) for file, at, names in zip(chain, after, [*absent, None])]


def fold_of(file: LogFile, fleet: Fleet, starts_at_us: int, ends_at_us: int) -> int | None:
    """Where in its text `file` has the second pass of a doubled hour in [starts_at_us, ends_at_us); None: nowhere."""
    if not file.zoneless:
        return None
    (part,) = split_file(replace(file, compressed=True), None, 1)
    folds = (find_fold(part, hour, file.zone, fleet) for hour in doubled_hours(file.zone, starts_at_us, ends_at_us))
    return next((fold for fold in folds if fold is not None), None)


def split_file(file: LogFile, fold_at: int | None, range_bytes: int) -> list[Range]:
    """The ranges of a file: one of a compressed file, parts of about `range_bytes` bytes of a plain one."""
    path, size = file.stored.path, file.stored.size
    after = (file.followed_at, file.absent)
    if file.compressed:
        return [Range(path, 0, None, size, file.place, file.folder_host, True, True, fold_at, *after)]
    parts = max(1, round(size / range_bytes))
    bounds = [size * part // parts for part in range(parts + 1)]
    return [
        Range(path, start, end, size, file.place, file.folder_host, start == 0, end == size, fold_at, *after)
        for start, end in pairwise(bounds)
    ]
