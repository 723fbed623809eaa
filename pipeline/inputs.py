"""The inputs of a run: which files, and which parts of them, hold the lines of the days asked for."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fnmatch import fnmatch
from itertools import accumulate, groupby, pairwise
from typing import TypeVar

from hoptrace.pipeline.log_file import LogFile, look_at
from hoptrace.pipeline.rotation import in_order, name_absent, rank, same_rank
from hoptrace.pipeline.suspects import find_suspects
from hoptrace.schemas.errors import HoptraceError
from hoptrace.schemas.fleet import DAY_US, HOUR_US, Fleet
from hoptrace.transforms.copies import find_copies, read_lines
from hoptrace.transforms.fold import doubled_hours, find_fold
from hoptrace.transforms.read import NO_COPIES, Copies, Range
from hoptrace.transforms.storage import GS, list_files

LISTING_THREADS = 16
SLACK_US = HOUR_US  # lines may stand this far from their place in the order of time

In = TypeVar("In")
Out = TypeVar("Out")


def plan_inputs(
    patterns: Sequence[str], fleet: Fleet, starts_at_us: int, ends_at_us: int, range_bytes: int
) -> list[Range]:
    """The ranges, of about `range_bytes` bytes, of the files that may hold lines stamped in [starts_at_us, ends_at_us).

    Patterns are paths, folders, globs and gs:// addresses. Files that begin later, and files whose successor (the next
    of the same host, folder and name) begins more than an hour before, are left out. Files that may hold copies of each
    other's lines are read, and their ranges tell which lines count elsewhere. The ranges come by path and start.
    Raises HoptraceError where a pattern names no file, or a file cannot be read.
    """
    near_us = (starts_at_us + ends_at_us) // 2
    stored = in_threads(list_files, patterns)
    distinct = {identity(file.path): file for files in stored for file in files}
    files = in_threads(lambda file: look_at(file, fleet, near_us), distinct.values())
    sources = named_sources(files, fleet)
    needed = needed_files(files, starts_at_us, ends_at_us)
    elsewhere = [hosts_elsewhere(file, sources) for file in needed]
    copies = copies_of(needed, elsewhere, fleet, near_us)
    days = (starts_at_us - DAY_US, ends_at_us + DAY_US)
    folds = in_threads(lambda file: fold_of(file, fleet, *days), needed)
    ranges = [
        part for file, fold, twice in zip(needed, folds, copies) for part in split_file(file, fold, range_bytes, twice)
    ]
    return sorted(ranges, key=lambda part: (part.path, part.start))


def identity(path: str) -> str:
    """What two names of one file have in common."""
    return path if path.startswith(GS) else os.path.realpath(path)


def in_threads(function: Callable[[In], Out], items: Iterable[In]) -> list[Out]:
    """`function` of every item, in order, many at a time."""
    with ThreadPoolExecutor(LISTING_THREADS) as threads:
        return list(threads.map(function, items))


def named_sources(files: Iterable[LogFile], fleet: Fleet) -> dict[str, str]:
    """Host -> pattern of the files that its lines count by; raises HoptraceError where no file fits it but others have the host."""
    sources = {name: host.source for name, host in fleet.hosts.items() if host.source}
    listed = list(files) if sources else []
    for host, pattern in sources.items():
        having = [file.stored.path for file in listed if host in file.hosts]
        if having and not any(fnmatch(file.stored.path, pattern) for file in listed):
            raise HoptraceError(
                f"hosts.{host}.source is {pattern!r}, which no log file given fits, though {having[0]} has lines of {host}; "
                "mend the pattern, or give those files with --logs"
            )
    return sources


def hosts_elsewhere(file: LogFile, sources: dict[str, str]) -> frozenset[str]:
    """The hosts whose lines in this file do not count, since fleet.toml names another source."""
    return frozenset(host for host, pattern in sources.items() if not fnmatch(file.stored.path, pattern))


def copies_of(
    files: Sequence[LogFile], elsewhere: Sequence[frozenset[str]], fleet: Fleet, near_us: int
) -> list[Copies]:
    """What each of the files has that counts by another one."""
    apart = [replace(NO_COPIES, hosts_elsewhere=tuple(sorted(hosts))) for hosts in elsewhere]
    chains = Counter(file.chain for file in files)
    suspects = find_suspects(files, elsewhere, near_us)
    suspects.sort(key=lambda n: (-chains[files[n].chain], files[n].stored.path))
    read = in_threads(lambda n: read_lines(replace(files[n].whole(), copies=apart[n]), fleet), suspects)
    found = dict(zip(suspects, find_copies(read)))
    return [
        replace(found[n], hosts_elsewhere=alone.hosts_elsewhere) if n in found else alone
        for n, alone in enumerate(apart)
    ]


def needed_files(files: Iterable[LogFile], starts_at_us: int, ends_at_us: int) -> list[LogFile]:
    """The files that may hold lines stamped in [starts_at_us, ends_at_us); those without any stamp are among them."""
    listed = list(files)
    known = [
        file
        for file in follow_on(listed)
        if (file.first_at or 0) < ends_at_us + SLACK_US
        and not (file.followed_at is not None and file.followed_at < starts_at_us - SLACK_US)
    ]
    return [file for file in listed if file.first_at is None] + known


def follow_on(files: Iterable[LogFile]) -> list[LogFile]:
    """The files that have a stamp, by rotation, oldest first, each with what follows it, and what is absent after it."""
    known = sorted(
        (file for file in files if file.first_at is not None),
        key=lambda file: (file.chain, file.first_at, rank(file.name) or (2, 0), file.stored.path),
    )
    return [file for _, chain in groupby(known, key=lambda file: file.chain) for file in follow_chain(list(chain))]


def follow_chain(chain: Sequence[LogFile]) -> list[LogFile]:
    """The same of the files of one rotation.

    Of files that begin at the same time, or have the same number or date, one may be a copy: none follows the other. A file that
    is not where its name says follows none.
    """
    inside = in_order([file.name for file in chain])
    own = [file for file, fits in zip(chain, inside) if fits]
    steps: list[list[LogFile]] = []
    for file in own:
        if steps and (steps[-1][-1].first_at == file.first_at or same_rank(steps[-1][-1].name, file.name)):
            steps[-1].append(file)
        else:
            steps.append([file])
    told = [
        [file.name for at, file in enumerate(step) if not at or not same_rank(step[at - 1].name, file.name)]
        for step in steps
    ]
    absent = [*name_absent([name for each in told for name in each]), None]
    last = accumulate(len(each) for each in told)
    after = [*(step[0].first_at for step in steps[1:]), None]
    begins = [step[0].first_at or 0 for step in steps]
    strange = [
        replace(file, followed_at=next((at for at in begins if at > (file.first_at or 0)), None))
        for file, fits in zip(chain, inside)
        if not fits
    ]
    return strange + [
        replace(file, followed_at=at, absent=absent[end - 1])
        for step, at, end in zip(steps, after, last)
        for file in step
    ]


def fold_of(file: LogFile, fleet: Fleet, starts_at_us: int, ends_at_us: int) -> int | None:
    """Where in its text `file` has the second pass of a doubled hour in [starts_at_us, ends_at_us); None: nowhere."""
    if not file.zoneless:
        return None
    part = file.whole()
    folds = (find_fold(part, hour, file.zone, fleet) for hour in doubled_hours(file.zone, starts_at_us, ends_at_us))
    return next((fold for fold in folds if fold is not None), None)


def split_file(file: LogFile, fold_at: int | None, range_bytes: int, copies: Copies) -> list[Range]:
    """The ranges of a file: one of a compressed file, parts of about `range_bytes` bytes of a plain one."""
    whole = replace(
        file.whole(),
        fold_at=fold_at,
        followed_at=file.followed_at,
        absent=file.absent,
        copies=copies,
        modified=file.stored.modified,
    )
    if file.compressed:
        return [whole]
    size = file.stored.size
    parts = max(1, round(size / range_bytes))
    bounds = [size * part // parts for part in range(parts + 1)]
    return [
        replace(whole, start=start, end=end, first=start == 0, last=end == size, copies=copies.within(start, end))
        for start, end in pairwise(bounds)
    ]
