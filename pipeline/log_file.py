"""A log file as its head shows it, and when its lines end."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePosixPath

import numpy as np

from hoptrace.pipeline.rotation import PACKED, ROTATED
from hoptrace.schemas.fleet import Fleet
from hoptrace.transforms.cut import LOCAL, NO_STAMP, YEARLESS, cut_heads
from hoptrace.transforms.read import PLACE_SHIFT, Chunk, Range, read_chunks, read_head
from hoptrace.transforms.stamps import MINUTE, YEAR_2000, first_stamp, to_utc
from hoptrace.transforms.storage import StoredFile, open_file

HEAD_BYTES = 1 << 17
TAIL_CHUNK_BYTES = 4 << 20


@dataclass(frozen=True)
class Head:
    """What the first HEAD_BYTES of a file's text hold: its first line with a stamp (empty: none), how that is written, the hosts
    that lines name, whether a line with a stamp names none, and whether the file is stored compressed."""

    first_line: bytes
    form: int
    first_host: str | None
    hosts: tuple[str, ...]
    unnamed: bool
    compressed: bool


@dataclass(frozen=True)
class LogFile:
    """A log file as its head shows it: host and zone of its first stamp, that stamp in UTC µs (None: has none), all its hosts.

    `followed_at`: the first stamp of the next file of its rotation; `absent`: names of files that should be between them;"""

    stored: StoredFile
    host: str
    folder_host: str
    zone: str
    first_at: int | None
    zoneless: bool
    compressed: bool
    hosts: frozenset[str] = frozenset()
    followed_at: int | None = None
    absent: str | None = None

    @property
    def name(self) -> str:
        """Its name in its folder."""
        return PurePosixPath(self.stored.path).name

    @property
    def chain(self) -> tuple[str, str]:
        """What the files of one rotation share: host, and path without number, date or compression."""
        path = PurePosixPath(self.stored.path)
        return self.host, str(path.parent / ROTATED.sub("", PACKED.sub("", path.name)))

    @property
    def place(self) -> int:
        """The minute of its first stamp since 2000, shifted to leave room for byte offsets."""
        return max(0, (self.first_at or 0) - YEAR_2000) // MINUTE << PLACE_SHIFT

    def whole(self) -> Range:
        """The file as one range."""
        path, size = self.stored.path, self.stored.size
        return Range(path, 0, None, size, self.place, self.folder_host, first=True, last=True)


@lru_cache(maxsize=8192)
def head_of(stored: StoredFile) -> Head:
    """What the head of a stored file shows; raises HoptraceError where it cannot be read."""
    text, compressed = read_head(stored.path, HEAD_BYTES)
    text = text[: text.rfind(b"\n") + 1] or text + b"\n"
    heads = cut_heads(text)
    stamped = np.flatnonzero(heads.form != NO_STAMP)
    hosts = [host.decode("utf-8", "backslashreplace") for host in heads.hosts]
    if not stamped.size:
        return Head(b"", NO_STAMP, None, tuple(hosts), False, compressed)
    line = int(stamped[0])
    first = hosts[heads.host[line]] if heads.host[line] >= 0 else None
    unnamed = bool((heads.host[stamped] < 0).any())
    cut = text[int(heads.starts[line]) : int(heads.ends[line])] + b"\n"
    return Head(cut, int(heads.form[line]), first, tuple(hosts), unnamed, compressed)


def look_at(stored: StoredFile, fleet: Fleet, near_us: int) -> LogFile:
    """What a stored file is, by its head; raises HoptraceError where it cannot be read."""
    head = head_of(stored)
    folder_host = fleet.host_at(stored.path) or fleet.host_named(PurePosixPath(stored.path).parent.name)
    host = fleet.host_named(head.first_host) if head.first_host else folder_host
    zone = fleet.zone_of(host)
    first_at = first_stamp(head.first_line, zone, near_us) if head.first_line else None
    hosts = frozenset([*(fleet.host_named(name) for name in head.hosts), *([folder_host] if head.unnamed else [])])
    return LogFile(stored, host, folder_host, zone, first_at, head.form in (LOCAL, YEARLESS), head.compressed, hosts)


@lru_cache(maxsize=8192)
def last_stamp(file: LogFile, near_us: int) -> int | None:
    """The latest stamp among the last lines of a file (UTC microseconds); a compressed one is read for it to its end."""
    text = b""
    if file.compressed:
        for chunk in read_chunks(file.whole(), TAIL_CHUNK_BYTES):
            text = chunk.data if isinstance(chunk, Chunk) else text
    else:
        with open_file(file.stored.path, max(0, file.stored.size - HEAD_BYTES)) as stream:
            text = bytes(stream.read(HEAD_BYTES)).rpartition(b"\n")[0] + b"\n"
    stamps = stamps_of(text[-HEAD_BYTES:].partition(b"\n")[2] or text, file, near_us)
    return int(stamps.max()) if stamps.size else None


def stamps_of(text: bytes, file: LogFile, near_us: int) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    """The stamps of whole lines of a file, as UTC microseconds."""
    heads = cut_heads(text)
    stamped = np.flatnonzero(heads.form != NO_STAMP)
    zones = np.zeros(stamped.size, np.int32)
    return to_utc(heads.form[stamped], heads.stamp[stamped], zones, [file.zone], near_us)
