"""Files that may hold lines of other files too: of one host, at the same time. Only these are read for copies."""

from collections.abc import Iterator, Sequence

import numpy as np

from hoptrace.pipeline.log_file import HEAD_BYTES, LogFile, last_stamp, stamps_of
from hoptrace.transforms.copies import LEAST_LINES
from hoptrace.transforms.read import read_head


def find_suspects(files: Sequence[LogFile], elsewhere: Sequence[frozenset[str]], near_us: int) -> list[int]:
    """Which of the files (by number, in order) may have lines in common with another of them.

    `elsewhere`: per file the hosts that count by other files, whatever it has of them.
    """
    hosts = [file.hosts - apart for file, apart in zip(files, elsewhere)]
    known = [n for n, file in enumerate(files) if file.first_at is not None and file.stored.size and hosts[n]]
    order = sorted(known, key=lambda n: (files[n].first_at or 0, files[n].stored.path))
    found: set[int] = set()
    for one, other in pairs(order, hosts, [is_shared(file) for file in files]):
        if beside(files[one], files[other], near_us):
            found |= {one, other}
    return sorted(found)


def pairs(order: Sequence[int], hosts: Sequence[frozenset[str]], shared: Sequence[bool]) -> Iterator[tuple[int, int]]:
    """Pairs of files, as they stand in `order`, that have a host in common; one that is shared may have any host."""
    seen: dict[str, list[int]] = {}
    for at, other in enumerate(order):
        with_host = {one for host in hosts[other] for one in seen.get(host, ())}
        others = order[:at] if shared[other] else [one for one in order[:at] if shared[one]] if any(shared) else []
        yield from ((one, other) for one in sorted(with_host.union(others)))
        for host in hosts[other]:
            seen.setdefault(host, []).append(other)


def is_shared(file: LogFile) -> bool:
    """Whether a file seems to be many hosts', none of which its folder names; it may have more of them after its head."""
    return len(file.hosts) > 1 and file.folder_host not in file.hosts


def beside(one: LogFile, other: LogFile, near_us: int) -> bool:
    """Whether `one`, which begins first, may go on long enough beside `other` to hold a run of its lines.

    A plain file's last lines tell. A compressed one of a rotation is over where the next one begins, or where it was written last;
    it is read for its last lines only if `other` is of its rotation: if not, it is read for copies at once.
    """
    began, written = other.first_at or 0, one.stored.modified
    if one.first_at == began:
        return True
    followed = one.chain != other.chain and one.followed_at is not None and one.followed_at < began
    if one.compressed and followed:
        return False
    if one.compressed and written is not None and (one.first_at or 0) <= written <= began:
        return False
    if one.compressed and one.chain != other.chain:
        return True
    return overlap(one, other, near_us)


def overlap(one: LogFile, other: LogFile, near_us: int) -> bool:
    """The same by the last lines of `one` and the first of `other`."""
    ends_at = last_stamp(one, near_us)
    if ends_at is None or one.chain != other.chain:
        return ends_at is None or ends_at >= (other.first_at or 0)
    if ends_at < (other.first_at or 0):
        return False
    head, _ = read_head(other.stored.path, HEAD_BYTES)
    stamps = stamps_of(head.rpartition(b"\n")[0] + b"\n", other, near_us)
    count = int(np.count_nonzero(stamps <= ends_at))
    return count >= LEAST_LINES or (count == stamps.size and len(head) < HEAD_BYTES)
