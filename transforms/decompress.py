"""Compressed logs: told by their first bytes, and decompressed piece by piece with every kind of damage noticed."""

import bz2
import lzma
import struct
import zlib
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any, Protocol

import zstandard
from isal import igzip_lib, isal_zlib

STORED_PIECE = 8192  # what a decompressor gets at once: what comes out of the piece that holds damage is lost
MAGIC_BYTES = 6
PADDING = b"\0"


class Damage(Exception):  # noqa: N818 - it is what the file has, not what the program did
    """Compressed bytes that end early or are not what they should be; says what and where in the stored bytes."""


class Decompressor(Protocol):
    """One gzip member, bzip2 or xz stream or Zstandard frame."""

    @property
    def eof(self) -> bool:
        """Whether its end was read."""

    @property
    def unused_data(self) -> bytes:
        """What came after its end."""

    def decompress(self, data: bytes, /) -> bytes:
        """What `data` adds to the text."""


class SkippableFrame:
    """A Zstandard frame that holds no text, as pzstd writes (RFC 8878, 3.1.2): magic, 4 bytes length, content."""

    def __init__(self) -> None:
        self._header = b""
        self._left = -1
        self.unused_data = b""

    @property
    def eof(self) -> bool:
        """Whether its end was read."""
        return self._left == 0

    def decompress(self, data: bytes, /) -> bytes:
        """Nothing; takes `data` up to the frame's end."""
        if self._left < 0:
            taken = 8 - len(self._header)
            self._header, data = self._header + data[:taken], data[taken:]
            if len(self._header) < 8:
                return b""
            self._left = struct.unpack("<4xI", self._header)[0]
        self.unused_data = data[self._left :]
        self._left -= min(self._left, len(data))
        return b""


def compression_of(head: bytes) -> str | None:
    """gzip, bzip2, xz, zstd or skippable, told by a file's first MAGIC_BYTES bytes; None for anything else."""
    if head.startswith(b"\x1f\x8b\x08"):
        return "gzip"
    if head.startswith(b"BZh") and head[3:4] in b"123456789" and head[4:6] in (b"\x31\x41", b"\x17\x72"):
        return "bzip2"
    if head.startswith(b"\xfd7zXZ\x00"):
        return "xz"
    if head.startswith(b"\x28\xb5\x2f\xfd"):
        return "zstd"
    return "skippable" if head[1:4] == b"\x2a\x4d\x18" and 0x50 <= head[0] <= 0x5F else None


def decompressor(compression: str) -> Decompressor:
    """A fresh decompressor for one member, stream or frame."""
    makers: dict[str, Any] = {
        "gzip": lambda: isal_zlib.decompressobj(wbits=31),
        "bzip2": bz2.BZ2Decompressor,
        "xz": lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ),
        "zstd": lambda: zstandard.ZstdDecompressor(max_window_size=1 << 31).decompressobj(),
        "skippable": SkippableFrame,
    }
    made: Decompressor = makers[compression]()
    return made


ERRORS: Any = (igzip_lib.IsalError, zlib.error, lzma.LZMAError, zstandard.ZstdError, OSError, EOFError, ValueError)


def decompress(stored: Iterable[bytes]) -> Iterator[bytes]:
    """The text of a compressed file, of however many members, given as its stored bytes in blocks of any size.

    Raises Damage after all that could be read, where the file ends early, is corrupt, or goes on with something else.
    """
    current: Decompressor | None = None
    name, begun, end, rest = "", 0, 0, b""
    for piece in chain(pieces(stored), (b"",)):
        rest += piece
        end += len(piece)
        while rest:
            if current is None:
                rest = rest.lstrip(PADDING) if name else rest
                if piece and len(rest) < MAGIC_BYTES:
                    break  # too little to tell what begins here
                begun = end - len(rest)
                name, current = member_at(rest, name, begun)
            if current is None:
                break
            try:
                text = current.decompress(rest)
            except ERRORS as error:
                raise Damage(f"corrupt {name} data near stored byte {end - len(rest)}: {error}") from error
            if text:
                yield text
            rest, current = (current.unused_data, None) if current.eof else (b"", current)
    if current is not None:
        raise Damage(f"truncated: ends at stored byte {end} inside the {name} data that begins at stored byte {begun}")


def member_at(head: bytes, before: str, begun: int) -> tuple[str, Decompressor | None]:
    """What begins with `head`, after a member of the kind `before`, and its decompressor; none where nothing is left.

    Raises Damage where it is not compressed data.
    """
    if not head:
        return before, None
    name = compression_of(head[:MAGIC_BYTES])
    if name is None:
        raise Damage(f"the bytes from stored byte {begun} on are not compressed data")
    return name, decompressor(name)


def pieces(stored: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces of STORED_PIECE bytes and a shorter last one, wherever the blocks of `stored` end."""
    waiting = b""
    for block in stored:
        buffer = waiting + block
        cut = len(buffer) // STORED_PIECE * STORED_PIECE
        yield from (buffer[i : i + STORED_PIECE] for i in range(0, cut, STORED_PIECE))
        waiting = buffer[cut:]
    if waiting:
        yield waiting
