"""Copies: lines of a host that stand in more than one file, told by their longest common runs, and counted once.

A run is LEAST_LINES lines or more in the same order, or all lines that one of two files has of the host. What the shorter of two
files has of a run is left out; a line that stands twice in one file is two.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hoptrace.schemas.fleet import Fleet
from hoptrace.transforms.columns import valid_utf8
from hoptrace.transforms.cut import NO_STAMP, cut_heads, line_ends
from hoptrace.transforms.hash import hash_spans
from hoptrace.transforms.jit import compiled
from hoptrace.transforms.read import Chunk, Copies, Range, read_chunks

Array = np.ndarray[Any, Any]

LEAST_LINES = 64
MOST_PLACES = 64
"""In so many places of one file a run of the other is looked for; lines that are all the same would fit everywhere."""

CHUNK_BYTES = 8 << 20


@dataclass(frozen=True)
class FileLines:
    """The lines of a file, one value a line: where it starts and ends in the text, its host (index into `hosts`, -1: of no
    interest), hashes of the whole line and of what follows its header (0: has no stamp). `first`, `last`: the bytes of the first
    and last line."""

    range: Range
    starts: Array
    ends: Array
    host: Array
    line: Array
    text: Array
    hosts: list[str]
    first: bytes = b""
    last: bytes = b""

    @property
    def path(self) -> str:
        """The file's path."""
        return self.range.path

    def of(self, host: str) -> Array:
        """The numbers of the lines of a host."""
        return np.flatnonzero(self.host == self.hosts.index(host)) if host in self.hosts else np.zeros(0, np.int64)


def read_lines(r: Range, fleet: Fleet) -> FileLines:
    """The lines of a whole file. A line without a stamp belongs to the host of the line before it."""
    hosts: dict[str, int] = {r.folder_host: 0}
    parts: list[tuple[Array, ...]] = []
    last = 0
    first_line = last_line = b""
    for chunk in read_chunks(r, CHUNK_BYTES):
        if isinstance(chunk, Chunk) and chunk.data:
            part, last = cut_lines(chunk, r, fleet, hosts, last)
            parts.append(part)
            first_line = first_line or bytes(chunk.data[: chunk.data.index(b"\n")])
            last_line = bytes(chunk.data[chunk.data.rfind(b"\n", 0, -1) + 1 : -1])
    left = np.array([name in r.copies.hosts_elsewhere for name in hosts])
    if not parts:
        parts = [tuple(np.zeros(0, np.int64) for _ in range(3)) + tuple(np.zeros(0, np.uint64) for _ in range(2))]
    starts, ends, host, line, text = (np.concatenate(each) for each in zip(*parts))
    return FileLines(r, starts, ends, np.where(left[host], -1, host), line, text, list(hosts), first_line, last_line)


def cut_lines(chunk: Chunk, r: Range, fleet: Fleet, hosts: dict[str, int], last: int) -> tuple[tuple[Array, ...], int]:
    """The columns of `FileLines` of a chunk, and the host of its last line; `last`: that of the line before it."""
    text = valid_utf8(chunk.data)
    heads = cut_heads(text)
    feeds = line_ends(chunk.data).astype(np.int64)
    starts = np.concatenate(([0], feeds[:-1] + 1))
    names = [fleet.host_named(name.decode("utf-8", "backslashreplace")) for name in heads.hosts] + [r.folder_host]
    codes = np.array([hosts.setdefault(name, len(hosts)) for name in names], np.int64)[heads.host]
    stamped = heads.form != NO_STAMP
    before = np.maximum.accumulate(np.where(stamped, np.arange(stamped.size), -1))
    codes = np.where(before >= 0, codes[before], last)
    line = hash_spans(np.frombuffer(chunk.data, np.uint8), starts, feeds, np.zeros(feeds.size, np.uint64))
    said = hash_spans(np.frombuffer(text, np.uint8), heads.texts, heads.text_ends, heads.pid.astype(np.uint64))
    said = np.where(stamped & (heads.texts < heads.text_ends), said | np.uint64(1), np.uint64(0))
    columns = (starts + chunk.offset, feeds + 1 + chunk.offset, codes, line, said)
    return columns, int(codes[-1]) if codes.size else last


def find_copies(files: Sequence[FileLines]) -> list[Copies]:
    """What each of the files has that stands in another of them, in the order of `files`.

    Of files with as many lines of a host the first one's count.
    """
    left = [np.zeros(file.host.size, np.bool_) for file in files]
    sources: list[set[str]] = [set() for _ in files]
    for host in sorted({host for file in files for host in file.hosts}):
        for torn in settle_host(host, files, left, sources):
            if torn.fits(files):
                left[torn.file][torn.line] = True
    shared = [share(file, files, left) for file in files]
    return [
        Copies(
            spans=spans_of(file, out),
            lines=int(out.sum()),
            copy_of=", ".join(sorted(of)) or None,
            shared=number,
            shared_with=", ".join(sorted(others)) or None,
        )
        for file, out, of, (number, others) in zip(files, left, sources, shared)
    ]


@dataclass(frozen=True)
class TornLine:
    """The first or last line of a file beside a run, and the line of the other file there: it may be a piece of that."""

    file: int
    line: int
    other: int
    other_line: int

    def fits(self, files: Sequence[FileLines]) -> bool:
        """Whether it is: whoever copied by bytes cut it."""
        other, at = files[self.other], self.other_line
        whole = read_line(other.range, int(other.starts[at]), int(other.ends[at]))
        return whole.startswith(files[self.file].last) if self.line else whole.endswith(files[self.file].first)


def read_line(r: Range, start: int, end: int) -> bytes:
    """The line at these bytes of a file's text, without its line feed."""
    for chunk in read_chunks(r, CHUNK_BYTES):
        if isinstance(chunk, Chunk) and chunk.offset <= start < chunk.offset + len(chunk.data):
            return bytes(chunk.data[start - chunk.offset : end - 1 - chunk.offset])
    return b""


def settle_host(host: str, files: Sequence[FileLines], left: list[Array], sources: list[set[str]]) -> list[TornLine]:
    """Marks in `left` the lines of a host that a longer file has, and names that file in `sources`; what may be torn lines.

    Every line has the number of the first file's line that it is a copy of, or one of its own. A file takes a number once,
    so what it has twice stays two, however many files have it once.
    """
    mine = [(file.of(host), n) for n, file in enumerate(files)]
    order = sorted((one for one in mine if one[0].size), key=lambda one: -one[0].size)
    total = sum(lines.size for lines, _ in order)
    numbers: list[Array] = []
    torn: list[TornLine] = []
    for at, (lines, n) in enumerate(order):
        begin = sum(numbered.size for numbered in numbers)
        own = np.arange(begin, begin + lines.size)
        out = np.zeros(lines.size, np.bool_)
        taken = np.zeros(total, np.bool_)
        for a, b, size, earlier in longest_first(order[:at], lines, files, files[n]):
            theirs, ours = numbers[earlier][a : a + size], slice(b, b + size)
            fits = ~out[ours] & ~taken[theirs]
            if fits.any():
                taken[theirs[fits]] = True
                own[ours] = np.where(fits, theirs, own[ours])
                out[ours] |= fits
                sources[n].add(files[order[earlier][1]].path)
                torn += torn_beside((a, b, size), (lines, n, files[n].host.size), order[earlier])
        left[n][lines[out]] = True
        numbers.append(own)
    return torn


def torn_beside(run: tuple[int, int, int], ours: tuple[Array, int, int], theirs: tuple[Array, int]) -> list[TornLine]:
    """The lines beside a run that may be torn; `ours`: a file's lines of the host, its number and how many lines it has."""
    a, b, size = run
    (lines, n, total), (others, other) = ours, theirs
    found = []
    if lines[b] == 1 and a > 0:
        found.append(TornLine(n, 0, other, int(others[a - 1])))
    if lines[b + size - 1] == total - 2 and a + size < others.size:
        found.append(TornLine(n, total - 1, other, int(others[a + size])))
    return found


def longest_first(
    earlier: Sequence[tuple[Array, int]], lines: Array, files: Sequence[FileLines], file: FileLines
) -> list[tuple[int, int, int, int]]:
    """(place in the earlier file's lines of the host, place in `lines`, how many, which of `earlier`), the longest first."""
    runs = [
        (int(a), int(b), int(size), number)
        for number, (theirs, n) in enumerate(earlier)
        for a, b, size in find_runs(files[n].line[theirs], file.line[lines])
    ]
    return sorted(runs, key=lambda run: (-run[2], run[3], run[1], run[0]))


def find_runs(a: Array, b: Array) -> Array:
    """(place in a, place in b, length) of the common runs of two sequences of hashes that cannot be made longer.

    Of LEAST_LINES or more, or all of the shorter sequence.
    """
    least = min(LEAST_LINES, a.size, b.size)
    if not least:
        return np.zeros((0, 3), np.int64)
    windows, wanted = roll(a, least), roll(b, least)
    order = np.argsort(windows, kind="stable")
    ranked = windows[order]
    low = np.searchsorted(ranked, wanted, "left")
    many = np.minimum(np.searchsorted(ranked, wanted, "right") - low, MOST_PLACES)
    found = np.flatnonzero(many)
    if not found.size:
        return np.zeros((0, 3), np.int64)
    out = np.empty((int(many.sum()), 3), np.int64)
    return out[: _extend(a, b, order, found, low, many, least, out)]


def roll(hashes: Array, size: int) -> Array:
    """A hash of every `size` neighbours."""
    out = np.empty(hashes.size - size + 1, np.uint64)
    _roll(hashes, size, out)
    return out


@compiled
def _roll(hashes: Any, size: int, out: Any) -> None:
    prime = np.uint64(0x9FB21C651E98DF25)
    top = np.uint64(1)
    for _ in range(size - 1):
        top *= prime
    value = np.uint64(0)
    for k in range(hashes.size):
        if k >= size:
            value -= hashes[k - size] * top
        value = value * prime + hashes[k]
        if k >= size - 1:
            out[k - size + 1] = value


@compiled
def _extend(a: Any, b: Any, order: Any, found: Any, low: Any, many: Any, least: int, out: Any) -> int:
    """Fills `out` with the runs that begin where windows of both are the same; their count."""
    count = 0
    for j in found:
        for k in range(low[j], low[j] + many[j]):
            i = order[k]
            if i > 0 and j > 0 and a[i - 1] == b[j - 1]:
                continue  # found before, one line earlier
            size = 0
            while i + size < a.size and j + size < b.size and a[i + size] == b[j + size]:
                size += 1
            if size >= least:
                out[count, 0], out[count, 1], out[count, 2] = i, j, size
                count += 1
    return count


def spans_of(file: FileLines, left: Array) -> bytes:
    """The bytes of the text that lines marked in `left` take: starts and ends, neighbours as one (see `Copies.spans`)."""
    if not left.any():
        return b""
    edges = np.diff(left.astype(np.int8), prepend=0, append=0)
    return np.stack([file.starts[edges[:-1] == 1], file.ends[edges[1:] == -1]], axis=1).astype("<i8").tobytes()


def share(file: FileLines, files: Sequence[FileLines], left: Sequence[Array]) -> tuple[int, set[str]]:
    """How many different lines of a file that are kept stand in others too, where they are kept, and which files these are.

    Those with the same bytes; or, where they are half of either file's lines of a host, those with the same text: the same log
    came two ways, with other headers.
    """
    out = left[[other is file for other in files].index(True)]
    lines: set[str] = set()
    most = 0
    for other, gone in zip(files, left):
        common = 0 if other is file else sum(common_lines(file, out, other, gone, host) for host in file.hosts)
        if common:
            lines.add(other.path)
            most = max(most, common)
    return most, lines


def common_lines(file: FileLines, out: Array, other: FileLines, gone: Array, host: str) -> int:
    """How many kept lines of a host two files have in common."""
    mine, theirs = file.of(host), other.of(host)
    mine, theirs = mine[~out[mine] & (file.text[mine] != 0)], theirs[~gone[theirs] & (other.text[theirs] != 0)]
    if not mine.size or not theirs.size:
        return 0
    same = int(np.intersect1d(file.line[mine], other.line[theirs]).size)
    texts, others = np.unique(file.text[mine]), np.unique(other.text[theirs])
    alike = int(np.intersect1d(texts, others, assume_unique=True).size)
    return alike if alike >= LEAST_LINES and 2 * alike >= min(texts.size, others.size) else same
