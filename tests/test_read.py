"""Reading: every line of every kind of file comes exactly once, and damage is told."""

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from hoptrace.schemas.errors import HoptraceError
from hoptrace.transforms import read
from hoptrace.transforms.decompress import compression_of
from hoptrace.transforms.read import Chunk, FileReport, Range, read_chunks, read_head

TEXT = b"".join(b"Jan  2 02:22:43 mx01 postfix/qmgr[%d]: 3pJjgB6dpKz1JBPW: removed\n" % n for n in range(9000))
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda text: gzip.compress(text, mtime=0),
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}
SKIPPABLE = b"\x50\x2a\x4d\x18\x04\x00\x00\x00abcd"


def whole(path: Path, *, plain: bool = False) -> Range:
    size = path.stat().st_size
    return Range(str(path), 0, size if plain else None, size, 0, "mx01", first=True, last=True)


def ranges(path: Path, cuts: list[int]) -> list[Range]:
    size = path.stat().st_size
    bounds = [0, *sorted(cut for cut in cuts if 0 < cut < size), size]
    return [Range(str(path), a, b, size, 0, "mx01", a == 0, b == size) for a, b in pairwise(bounds)]


def read_all(r: Range, chunk_bytes: int = 1 << 16) -> tuple[list[Chunk], FileReport]:
    *chunks, report = read_chunks(r, chunk_bytes)
    assert isinstance(report, FileReport)
    assert all(isinstance(chunk, Chunk) and chunk.data.endswith(b"\n") for chunk in chunks)
    kept = [chunk for chunk in chunks if isinstance(chunk, Chunk)]
    assert report.lines == sum(chunk.data.count(b"\n") for chunk in kept)
    return kept, report


def text_of(chunks: list[Chunk]) -> bytes:
    return b"".join(chunk.data for chunk in chunks)


def line_places(chunks: list[Chunk]) -> list[tuple[int, bytes]]:
    """Every line with its offset."""
    placed = []
    for chunk in chunks:
        at = chunk.offset
        for line in chunk.data.splitlines(keepends=True) if b"\r" not in chunk.data else split(chunk.data):
            placed.append((at, line))
            at += len(line)
    return placed


def split(data: bytes) -> list[bytes]:
    return [line + b"\n" for line in data.split(b"\n")[:-1]]


def expected_places(text: bytes) -> list[tuple[int, bytes]]:
    if text and not text.endswith(b"\n"):
        text += b"\n"
    placed, at = [], 0
    for line in split(text):
        placed.append((at, line))
        at += len(line)
    return placed


@pytest.mark.parametrize("kind", PACKERS)
@pytest.mark.parametrize("members", [1, 2, 3])
def test_compressed_files_are_told_by_content(tmp_path: Path, kind: str, members: int) -> None:
    path = tmp_path / "mail.log"  # the name says nothing
    size = len(TEXT) // members + 1
    stored = b"".join(PACKERS[kind](TEXT[at : at + size]) for at in range(0, len(TEXT), size))
    path.write_bytes(stored)
    chunks, report = read_all(whole(path))
    assert text_of(chunks) == TEXT
    assert line_places(chunks) == expected_places(TEXT)
    assert report == FileReport(str(path), 0, len(stored), f"{zlib.crc32(stored):08x}", 9000, None)
    assert len(chunks) > 4


def test_members_of_several_kinds_and_padding(tmp_path: Path) -> None:
    path = tmp_path / "odd"
    parts = [
        PACKERS["gzip"](b"a\n"),
        bytes(512),
        PACKERS["zstd"](b"b\n"),
        SKIPPABLE,
        PACKERS["gzip"](b""),
        PACKERS["xz"](b"c"),
    ]
    path.write_bytes(b"".join(parts) + bytes(4))
    chunks, report = read_all(whole(path))
    assert (text_of(chunks), report.lines, report.error) == (b"a\nb\nc\n", 3, None)
    path.write_bytes(SKIPPABLE + PACKERS["zstd"](b"d\n"))
    assert text_of(read_all(whole(path))[0]) == b"d\n"


@given(st.lists(st.integers(0, 20_000), max_size=5), st.integers(0, 8200))
@settings(max_examples=60, deadline=None)
def test_members_may_end_anywhere(tmp_path_factory: pytest.TempPathFactory, sizes: list[int], before: int) -> None:
    path = tmp_path_factory.mktemp("members") / "log"
    junk = bytes(n * 7919 % 251 for n in range(20_000))
    parts = [b"\x50\x2a\x4d\x18" + before.to_bytes(4, "little") + bytes(before)] + [
        gzip.compress(junk[:n]) for n in sizes
    ]
    path.write_bytes(b"".join(parts))
    chunks, report = read_all(whole(path))
    text = b"".join(junk[:n] for n in sizes)
    assert text_of(chunks) == text + (b"" if not text or text.endswith(b"\n") else b"\n")
    assert report.error is None


@pytest.mark.parametrize("kind", PACKERS)
@pytest.mark.parametrize("lost", [1, 4, 9, 0.5])
def test_truncated_files_give_their_whole_lines_and_say_so(tmp_path: Path, kind: str, lost: float) -> None:
    path = tmp_path / "cut"
    stored = PACKERS[kind](TEXT)
    cut = stored[: -int(lost)] if lost >= 1 else stored[: int(len(stored) * lost)]
    path.write_bytes(cut)
    chunks, report = read_all(whole(path))
    assert TEXT.startswith(text_of(chunks))
    assert report.error is not None
    assert (
        f"truncated: ends at stored byte {len(cut)} inside the {kind} data that begins at stored byte 0" in report.error
    )
    assert f"the lines from byte {len(text_of(chunks))} of its text on are missing" in report.error
    assert (report.stored_bytes, report.checksum) == (len(cut), f"{zlib.crc32(cut):08x}")
    if kind != "bzip2":  # bzip2 gives nothing of a block that is not whole, Zstandard blocks hold 128 KiB
        assert len(text_of(chunks)) > len(TEXT) * (0.8 if lost >= 1 else 0.1)


def test_a_second_member_that_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "cut"
    first = gzip.compress(b"a\nb")
    path.write_bytes(first + gzip.compress(b"c\nd\n")[:-8])
    chunks, report = read_all(whole(path))
    assert text_of(chunks) == b"a\nbc\nd\n"
    assert f"inside the gzip data that begins at stored byte {len(first)}" in str(report.error)


@pytest.mark.parametrize("kind", PACKERS)
def test_corrupt_files_give_the_lines_before_and_say_where(tmp_path: Path, kind: str) -> None:
    noise = b"".join(
        b"%d %s\n" % (n, zlib.crc32(b"%d" % n).to_bytes(4, "big").hex().encode() * 8) for n in range(60_000)
    )
    packer = zstandard.ZstdCompressor(write_checksum=True).compress if kind == "zstd" else PACKERS[kind]
    stored = bytearray(packer(noise))
    middle = len(stored) * 3 // 4
    stored[middle : middle + 2000] = b"\xff" * 2000
    path = tmp_path / "corrupt"
    path.write_bytes(stored)
    chunks, report = read_all(whole(path))
    assert f"corrupt {kind} data near stored byte" in str(report.error)
    assert report.stored_bytes == len(stored)
    sound = noise[: len(text_of(chunks))]
    same = sum(1 for a, b in zip(split(sound), split(text_of(chunks))) if a == b)
    assert same > 30_000


def test_a_wrong_checksum_and_what_follows_are_told(tmp_path: Path) -> None:
    path = tmp_path / "sum"
    stored = bytearray(gzip.compress(TEXT * 4))
    stored[-6] ^= 1
    path.write_bytes(stored)
    chunks, report = read_all(whole(path))
    assert "corrupt gzip data" in str(report.error)
    assert "checksum" in str(report.error)
    assert len(text_of(chunks)) > len(TEXT)
    path.write_bytes(gzip.compress(b"a\n") + b"and some text\n")
    chunks, report = read_all(whole(path))
    assert text_of(chunks) == b"a\n"
    assert "from stored byte 22 on are not compressed data" in str(report.error)


ODD = [
    b"",
    b"\n",
    b"\n\n\n",
    b"a",
    b"a\n",
    b"\r\n\r\r\n",
    b"\0\0\n\0",
    b"\xff\xfe\n\xc3\n",
    b"a\nb\x85c\x0b\x0cd\xe2\x80\xa8e",
]


@pytest.mark.parametrize("text", ODD)
def test_odd_bytes_stay(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "odd"
    path.write_bytes(text)
    expected = text + (b"\n" if text and not text.endswith(b"\n") else b"")
    for r in (whole(path), whole(path, plain=True)):
        chunks, report = read_all(r)
        assert (text_of(chunks), report.error) == (expected, None)
    if text:
        path.write_bytes(gzip.compress(text))
        assert text_of(read_all(whole(path))[0]) == expected


@given(
    st.lists(st.one_of(st.binary(max_size=12), st.just(b""), st.binary(min_size=60, max_size=90)), max_size=12),
    st.booleans(),
    st.lists(st.integers(0, 400), max_size=8),
    st.integers(1, 200),
    st.sampled_from([1, 3, 16, 1 << 20]),
)
@settings(max_examples=300, deadline=None)
def test_any_split_into_ranges_and_chunks_gives_the_same_lines(
    tmp_path_factory: pytest.TempPathFactory,
    parts: list[bytes],
    final: bool,
    cuts: list[int],
    chunk_bytes: int,
    block: int,
) -> None:
    text = b"\n".join(parts) + (b"\n" if final and parts else b"")
    path = tmp_path_factory.mktemp("split") / "log"
    path.write_bytes(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(read, "BLOCK_BYTES", block)
        patch.setattr(read.blocks, "__defaults__", (block,))
        places: list[tuple[int, bytes]] = []
        for r in ranges(path, cuts):
            chunks, report = read_all(r, chunk_bytes)
            places += line_places(chunks)
            part = text[r.start : r.end]
            assert (report.error, report.stored_bytes) == (None, len(part))
            assert report.checksum == f"{zlib.crc32(part):08x}"
        assert [(at, line) for at, line in places] == expected_places(text)
        assert [p for c in [read_all(whole(path), chunk_bytes)[0]] for p in line_places(c)] == expected_places(
            text
        ) or (compression_of(text[:6]) is not None)


@pytest.mark.parametrize("cut", range(1, 40))
def test_every_single_cut(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "log"
    text = b"first\n\n\nfourth line\r\nfifth\0\nno end"
    path.write_bytes(text)
    places = [place for r in ranges(path, [cut]) for place in line_places(read_all(r, 1)[0])]
    assert places == expected_places(text)


@given(st.lists(st.integers(0, 60), max_size=8), st.sampled_from([1, 7, 1 << 20]), st.booleans())
@settings(max_examples=150, deadline=None)
def test_lines_that_are_too_long_are_cut_and_told(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], block: int, final: bool
) -> None:
    text = b"\n".join(bytes([65 + n]) * length for n, length in enumerate(lengths)) + (b"\n" if final else b"")
    path = tmp_path_factory.mktemp("long") / "log"
    path.write_bytes(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(read, "MAX_LINE_BYTES", 20)
        patch.setattr(read.blocks, "__defaults__", (block,))
        chunks, report = read_all(whole(path, plain=True))
        assert line_places(chunks) == [(at, line[:-1][:20] + b"\n") for at, line in expected_places(text)]
        long = [at for at, line in expected_places(text) if len(line) > 21]
        said = f"{len(long)} lines longer than 20 bytes were cut there, the first at byte {long[0]}" if long else None
        assert (report.error or "").startswith(said or "")
        assert (report.error is None) == (said is None)


@pytest.mark.parametrize("packed", [False, True])
def test_a_long_line_comes_whole(tmp_path: Path, packed: bool) -> None:
    text = b"a\n" + b"x" * 10_000_000 + b"\nb\n"
    path = tmp_path / "long"
    path.write_bytes(gzip.compress(text, 1) if packed else text)
    chunks, report = read_all(whole(path, plain=not packed), 1 << 12)
    assert (text_of(chunks) == text, report.lines, report.error) == (True, 3, None)
    if not packed:
        places = [place for r in ranges(path, [5_000_000, 9_999_999]) for place in line_places(read_all(r)[0])]
        assert places == expected_places(text)


def test_files_that_changed_since_they_were_listed(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"one\ntwo\nthree\n")
    listed, tail = whole(path, plain=True), ranges(path, [8])[1]
    path.write_bytes(b"one\ntw")
    chunks, report = read_all(listed)
    assert text_of(chunks) == b"one\n"
    assert "changed since it was listed: it had 14 bytes, now it ends at 6; the lines from byte 4" in str(report.error)
    assert read_all(tail)[1].error is not None
    path.write_bytes(b"one\ntwo\nthree\nfour\n")
    chunks, report = read_all(listed)
    assert (text_of(chunks), report.error) == (b"one\ntwo\nthree\n", None)
    path.unlink()
    with pytest.raises(HoptraceError, match="cannot be read \\(No such file or directory\\)"):
        read_all(listed)


def test_a_line_that_was_being_written_comes_whole_once_it_is(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"one\ntw")
    listed = whole(path, plain=True)
    path.write_bytes(b"one\ntwo\nthree\n")
    assert text_of(read_all(listed)[0]) == b"one\ntwo\n"


def test_heads(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(TEXT)
    assert read_head(str(path), 100) == (TEXT[:100], False)
    assert read_head(str(path), 10_000_000) == (TEXT, False)
    path.write_bytes(gzip.compress(TEXT)[:-500])
    head, packed = read_head(str(path), 100_000)
    assert (head, packed) == (TEXT[:100_000], True)
    path.write_bytes(b"")
    assert read_head(str(path), 100) == (b"", False)
