"""The text that follows a chunk, for lines that go on in lines after them."""

import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace

from hoptrace.transforms.read import Chunk, FileReport, Range
from hoptrace.transforms.storage import open_file

FOLLOWING_BYTES = 1 << 20
NEAR_BYTES = FOLLOWING_BYTES // 2
"""A line goes on in lines that end within so many bytes of where it starts, and no further: whatever the chunks."""

REPEATED = b"last message repeated "
PART = re.compile(rb" \[\d+[/\\]\d+\] ")


def with_following(r: Range, pieces: Iterable[Chunk | FileReport]) -> Iterator[Chunk | FileReport]:
    """The `pieces` of range `r`, each chunk with the lines that follow it in the file where one of them may go on with its own."""
    held: deque[Chunk] = deque()
    behind = 0  # bytes held after the first chunk
    for piece in pieces:
        if isinstance(piece, Chunk):
            behind += len(piece.data) if held else 0
            held.append(piece)
            while len(held) > 1 and behind >= FOLLOWING_BYTES:
                yield follow(held, b"")
                held.popleft()
                behind -= len(held[0].data)
            continue
        after = read_after(r, held[-1]) if held and r.end is not None and r.end < r.size else b""
        while held:
            yield follow(held, after)
            held.popleft()
        yield piece


def follow(held: deque[Chunk], after: bytes) -> Chunk:
    """The first chunk held, with whole lines of the next ones and of what comes `after` them, as far as they are of use."""
    following: list[bytes] = []
    size, offset = 0, held[0].offset + len(held[0].data)
    for chunk in (*list(held)[1:], Chunk(after, held[-1].offset + len(held[-1].data))):
        if size >= FOLLOWING_BYTES or chunk.offset != offset:
            break
        following.append(chunk.data[: FOLLOWING_BYTES - size])
        size, offset = size + len(following[-1]), offset + len(chunk.data)
    text = b"".join(following)
    text = text[: text.rfind(b"\n") + 1]
    return replace(held[0], following=text) if goes_on(text) else held[0]


def goes_on(text: bytes) -> bool:
    """Whether a line of `text` may go on with one before it."""
    return REPEATED in text or PART.search(text) is not None


def read_after(r: Range, last: Chunk) -> bytes:
    """What follows a plain range's last chunk in its file."""
    offset = last.offset + len(last.data)
    with open_file(r.path, offset) as stream:
        return bytes(stream.read(max(0, min(FOLLOWING_BYTES, r.size - offset))))
