"""Reading a log: a range of a stored file comes as chunks of whole lines, and a report of what was read."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO

import numpy as np
from isal import isal_zlib

from hoptrace.transforms.cut import count_lines
from hoptrace.transforms.decompress import MAGIC_BYTES, Damage, compression_of, decompress
from hoptrace.transforms.storage import open_file

BLOCK_BYTES = 1 << 20
MAX_LINE_BYTES = 64 << 20
PLACE_SHIFT = 37


@dataclass(frozen=True)
class Copies:
    """What a file, or a range of it, has that counts by another file.

    `spans`: pairs of int64, little-endian, in order: from which byte of the text to which its lines are `lines` copies of lines of
    the files `copy_of`. `shared`: how many lines that are kept stand in the files `shared_with` too.
    `hosts_elsewhere`: hosts whose lines count by another file because fleet.toml says so (`source`).
    """

    spans: bytes = b""
    lines: int = 0
    copy_of: str | None = None
    shared: int = 0
    shared_with: str | None = None
    hosts_elsewhere: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.spans or self.hosts_elsewhere)

    def bounds(self) -> "np.ndarray[Any, Any]":
        """(n, 2): where the spans begin and end."""
        return np.frombuffer(self.spans, "<i8").reshape(-1, 2)

    def cover(self, offsets: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
        """Which of the lines that begin at these bytes of the text are copies (bool)."""
        bounds = self.bounds()
        if not bounds.size:
            return np.zeros(offsets.size, np.bool_)
        span = np.searchsorted(bounds[:, 0], offsets, "right") - 1
        return (span >= 0) & (offsets < bounds[span, 1])

    def within(self, start: int, end: int) -> "Copies":
        """The same for the lines that begin in [start, end) of the text."""
        bounds = self.bounds()
        mine = bounds[(bounds[:, 1] > start) & (bounds[:, 0] < end)]
        return replace(self, spans=mine.tobytes())


NO_COPIES = Copies()


@dataclass(frozen=True)
class Range:
    """A part of a stored log file.

    A line belongs to the range in which it starts. `start` and `end` are bytes of a plain file; a compressed file is
    one range whose `end` is None. `size` is the file's stored size when it was listed, `place` the minute of its first
    stamp since 2000 << PLACE_SHIFT, `fold_at` the byte offset in the text from which lines of a doubled hour are its
    second pass. `followed_at` is the first stamp of the next file of the rotation (UTC microseconds), `absent` the names
    of files that should be between the two; `copies` what of it counts by another file; `modified` when the stored file was
    written last (UTC microseconds).
    """

    path: str
    start: int
    end: int | None
    size: int
    place: int
    folder_host: str
    first: bool
    last: bool
    fold_at: int | None = None
    followed_at: int | None = None
    absent: str | None = None
    copies: Copies = NO_COPIES
    modified: int | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Chunk:
    """Whole lines, each ending in a line feed; `offset` is that of the first one in the uncompressed file.

    `following`: lines after them, where one may go on with a line of the chunk (`transforms.following`).
    """

    data: bytes
    offset: int
    following: bytes = b""


@dataclass
class FileReport:
    """What was read of a range: its stored bytes and their CRC-32 in hex, its lines, what was wrong with it, whether lines are
    lacking for that; when the file was written last (UTC microseconds), and what of it stands in other files (see `Copies`)."""

    path: str
    start: int
    stored_bytes: int = 0
    checksum: str = "00000000"
    lines: int = 0
    error: str | None = None
    cut: bool = False
    modified: int | None = None
    copies: int = 0
    copy_of: str | None = None
    shared: int = 0
    shared_with: str | None = None


def read_chunks(r: Range, chunk_bytes: int) -> Iterator[Chunk | FileReport]:
    """The lines that start in range `r`, in chunks of about `chunk_bytes` bytes, and last of all the FileReport.

    Plain, gzip (of many members too), bzip2, xz and Zstandard files are told by their first bytes. Lines keep their
    bytes, NULs and carriage returns too; a final line without line feed is given one. Where a file is truncated,
    corrupt or shorter than `r.size`, the whole lines up to there come, and the report says what and where; a line
    longer than MAX_LINE_BYTES is cut there, and the report says so. Raises HoptraceError where a file is gone or cannot
    be read: what a second try may mend is no damage to publish.
    """
    said = r.copies if r.first else NO_COPIES
    report = FileReport(r.path, r.start, modified=r.modified, copy_of=said.copy_of)
    report.shared, report.shared_with = said.shared, said.shared_with
    lines = LineCutter(chunk_bytes, max(0, r.start - 1), dropping=r.start > 0)
    try:
        with open_file(r.path, max(0, r.start - 1)) as stream:
            for chunk in cut_range(stream, r, lines, Meter(report)):
                report.lines += count_lines(chunk.data)
                yield chunk
    except Damage as error:
        for chunk in lines.rest(whole=False):
            report.lines += count_lines(chunk.data)
            yield chunk
        report.cut = True
        report.error = f"{error}; the lines from byte {lines.offset} of its text on are missing"
    report.error = "; ".join(text for text in (report.error, lines.problem()) if text) or None
    yield report


def read_head(path: str, head_bytes: int) -> tuple[bytes, bool]:
    """The first `head_bytes` bytes of a file's text, and whether it is stored compressed; what is damaged is left out.

    Raises HoptraceError where it cannot be opened.
    """
    with open_file(path) as stream:
        stored = blocks(stream, min(BLOCK_BYTES, max(head_bytes, MAGIC_BYTES)))
        first = next(stored, b"")
        compressed = compression_of(first[:MAGIC_BYTES]) is not None
        head = bytearray()
        try:
            for text in decompress(chained(first, stored)) if compressed else chained(first, stored):
                head += text
                if len(head) >= head_bytes:
                    break
        except Damage:
            pass
        return bytes(head[:head_bytes]), compressed


class Meter:
    """Counts and sums up stored bytes as they pass into a report."""

    def __init__(self, report: FileReport) -> None:
        self._report = report
        self._sum = 0

    @property
    def stored_bytes(self) -> int:
        """How many stored bytes of the range came so far."""
        return self._report.stored_bytes

    def count(self, stored: bytes | memoryview) -> None:
        """Takes the next stored bytes of the range."""
        self._sum = isal_zlib.crc32(stored, self._sum)
        self._report.stored_bytes += len(stored)
        self._report.checksum = f"{self._sum:08x}"

    def through(self, stored: Iterable[bytes]) -> Iterator[bytes]:
        """The same blocks, counted."""
        for block in stored:
            self.count(block)
            yield block


class LineCutter:
    """Cuts text that comes in blocks of any size into chunks of whole lines."""

    def __init__(self, chunk_bytes: int, offset: int, *, dropping: bool = False) -> None:
        self.offset = offset  # of the first byte that no chunk holds yet
        self.dropping = dropping  # all that comes until the next line feed
        self._chunk_bytes = chunk_bytes
        self._whole: list[bytes | memoryview] = []
        self._whole_bytes = 0
        self._open: list[bytes | memoryview] = []  # the line that has not ended
        self._open_bytes = 0
        self._cut_lines: list[int] = []

    def add(self, block: bytes) -> Iterator[Chunk]:
        """The chunks that `block` fills."""
        part_bytes = min(BLOCK_BYTES, MAX_LINE_BYTES, self._chunk_bytes)
        for start in range(0, len(block), part_bytes):
            yield from self._add(block[start : start + part_bytes])

    def _add(self, block: bytes) -> Iterator[Chunk]:
        view = memoryview(block)
        at = 0
        while at < len(block):
            line_end = block.find(b"\n", at)
            if self.dropping:
                stop = line_end + 1 or len(block)
                self.dropping = not line_end + 1
                self.offset += stop - at
                at = stop
                continue
            if self._open_bytes + (line_end if line_end >= 0 else len(block)) - at > MAX_LINE_BYTES:
                yield from self._take()
                keep = MAX_LINE_BYTES - self._open_bytes
                self._cut_lines.append(self.offset)
                yield Chunk(b"".join((*self._open, view[at : at + keep], b"\n")), self.offset)
                self.offset += MAX_LINE_BYTES
                self._open, self._open_bytes, self.dropping = [], 0, True
                at += keep
                continue
            # From here on no line is too long: the block itself is not longer than a line may be.
            cut = block.rfind(b"\n", at) + 1
            if cut:
                self._whole += [*self._open, view[at:cut]]
                self._whole_bytes += self._open_bytes + cut - at
                self._open, self._open_bytes = [], 0
            if max(cut, at) < len(block):
                self._open.append(view[max(cut, at) :])
                self._open_bytes += len(block) - max(cut, at)
            at = len(block)
        if self._whole_bytes >= self._chunk_bytes:
            yield from self._take()

    def rest(self, *, whole: bool) -> Iterator[Chunk]:
        """The lines that no chunk holds yet; the last one, if it has no line feed, only where the text is `whole`."""
        if whole and self._open:
            self._whole += [*self._open, b"\n"]
            self._whole_bytes += self._open_bytes
            self._open, self._open_bytes = [], 0
        yield from self._take()

    def problem(self) -> str | None:
        """What was dropped of lines that are too long."""
        if not self._cut_lines:
            return None
        count, first = len(self._cut_lines), self._cut_lines[0]
        return f"{count} lines longer than {MAX_LINE_BYTES} bytes were cut there, the first at byte {first} of its text"

    def _take(self) -> Iterator[Chunk]:
        if self._whole:
            yield Chunk(b"".join(self._whole), self.offset)
            self.offset += self._whole_bytes
            self._whole, self._whole_bytes = [], 0


def cut_range(stream: BinaryIO, r: Range, lines: LineCutter, meter: Meter) -> Iterator[Chunk]:
    """The chunks of range `r` of `stream`, which stands one byte before its start; raises Damage."""
    stored = blocks(stream)
    if r.end is not None:
        yield from cut_plain(stored, r.start, r.end, lines, meter)
    else:
        yield from cut_whole(meter.through(stored), lines)
    if meter.stored_bytes < (r.size if r.end is None else r.end - r.start):
        raise Damage(
            f"changed since it was listed: it had {r.size} bytes, now it ends at {r.start + meter.stored_bytes}"
        )
    yield from lines.rest(whole=True)


def cut_whole(stored: Iterator[bytes], lines: LineCutter) -> Iterator[Chunk]:
    """The chunks that a whole file's blocks fill, compressed or not; raises Damage, when all blocks have passed."""
    first = next(stored, b"")
    packed = compression_of(first[:MAGIC_BYTES]) is not None
    try:
        for text in decompress(chained(first, stored)) if packed else chained(first, stored):
            yield from lines.add(text)
    except Damage:
        for _ in stored:
            pass
        raise


def cut_plain(stored: Iterator[bytes], start: int, end: int, lines: LineCutter, meter: Meter) -> Iterator[Chunk]:
    """The chunks that a plain file's blocks from byte `start` - 1 on fill, up to the end of the line at `end` - 1."""
    at = max(0, start - 1)
    for block in stored if end > start else ():
        meter.count(memoryview(block)[max(0, start - at) : max(0, end - at)])
        past = len(block) >= end - at
        stop = block.find(b"\n", max(0, end - at - 1)) + 1 if past else 0
        yield from lines.add(block[:stop] if stop else block)
        at += len(block)
        if stop or (past and lines.dropping):
            break


def blocks(stream: BinaryIO, block_bytes: int = BLOCK_BYTES) -> Iterator[bytes]:
    """What is left of `stream`, in blocks."""
    while block := stream.read(block_bytes):
        yield block


def chained(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    """`first`, if it is not empty, then `rest`."""
    if first:
        yield first
    yield from rest
