"""Lines that nobody understood, by template: digits, IDs and addresses masked, with the smallest example of each."""

from typing import Any

import numpy as np
import polars as pl

from hoptrace.transforms.columns import Columns, strings_over
from hoptrace.transforms.jit import compiled

Array = np.ndarray[Any, Any]

UNPARSED_PARTIAL = {
    "program": pl.String(),
    "template": pl.String(),
    "lines": pl.Int64(),
    "example": pl.String(),
    "host": pl.String(),
}
OTHER = "(other)"
TEMPLATES = 1000
EXAMPLE_BYTES = 300
TEXT_BYTES = 1000
_PARTS = np.isin(np.arange(256), list(b" \t\"'(),:;<=>[]{|}"))  # bytes that part words


def count_templates(
    columns: Columns, program: pl.Series, host: pl.Series, texts: tuple[Array, Array], lines: tuple[Array, Array]
) -> pl.DataFrame:
    """Partial `unparsed`: lines by program and template, at most TEMPLATES of them; the rarest of more are (other).

    `program` and `host` are those of each unparsed line, `texts` the spans of the texts, of which the first TEXT_BYTES
    count, and `lines` those of the whole lines, of which an example shows EXAMPLE_BYTES.
    """
    frame = pl.DataFrame(
        {
            "program": program,
            "template": mask(columns.array, *_bounded(columns, texts, TEXT_BYTES)),
            "example": columns.strings(*_bounded(columns, lines, EXAMPLE_BYTES)),
            "host": host,
        }
    )
    counted = _counted(frame, pl.len().cast(pl.Int64))
    if counted.height <= TEMPLATES:
        return counted
    common = counted.sort(["lines", "program", "template"], descending=[True, False, False])
    rest = common[TEMPLATES - 1 :].with_columns(template=pl.lit(OTHER), program=pl.lit(None, pl.String))
    return _counted(pl.concat([common[: TEMPLATES - 1], rest]), pl.col("lines").sum())


def _counted(frame: pl.DataFrame, lines: pl.Expr) -> pl.DataFrame:
    smallest = pl.col("example").min()
    host = pl.col("host").filter(pl.col("example") == smallest).min()
    return (
        frame.group_by("program", "template")
        .agg(lines.alias("lines"), smallest, host)
        .select(*UNPARSED_PARTIAL)
        .sort("program", "template")
    )


def _bounded(columns: Columns, spans: tuple[Array, Array], size: int) -> tuple[Array, Array]:
    """The spans, none longer than `size` bytes, none ending within a character."""
    starts = spans[0].astype(np.int32)
    ends = np.minimum(spans[1], starts + size).astype(np.int32)
    cut = np.flatnonzero(ends < spans[1])
    for _ in range(3):
        inside = (columns.array[ends[cut]] & 0xC0) == 0x80
        ends[cut[inside]] -= 1
    return starts, ends


def mask(data: Array, starts: Array, ends: Array) -> pl.Series:
    """The texts at these spans with numbers as N, IDs as ID, IP addresses as IP and mail addresses as ..@.. ."""
    out = np.empty(int((ends - starts).sum(dtype=np.int64)) * 3 + 8, np.uint8)
    offsets = np.zeros(starts.size + 1, np.int64)
    _mask(data, starts, ends, out, offsets)
    return strings_over(out[: offsets[-1]].tobytes(), offsets)


@compiled
def _mask(data: Any, starts: Any, ends: Any, out: Any, offsets: Any) -> None:
    at = 0
    for line in range(starts.size):
        at = _mask_one(data, np.int64(starts[line]), np.int64(ends[line]), out, at)
        offsets[line + 1] = at


@compiled
def _letter(c: int) -> bool:
    return 65 <= c <= 90 or 97 <= c <= 122


@compiled
def _address_end(data: Any, i: int, end: int) -> int:
    """Where the IP address that begins at i ends; i where there is none."""
    k = i
    dots = 0
    colons = 0
    hexes = False
    double = False
    while k < end:
        c = data[k]
        if c == 46:
            dots += 1
        elif c == 58:
            if k + 1 >= end or not (data[k + 1] == 58 or 48 <= data[k + 1] <= 57 or _letter(data[k + 1])):
                break
            double = double or (k > i and data[k - 1] == 58)
            colons += 1
        elif 65 <= c <= 70 or 97 <= c <= 102:
            hexes = True
        elif not 48 <= c <= 57:
            break
        k += 1
    if k < end and _letter(data[k]):
        return i
    while k > i and data[k - 1] == 46:
        k -= 1
        dots -= 1
    if colons == 0:
        return k if dots == 3 and not hexes else i
    if colons == 1:
        # 1.2.3.4:25 ends before its port
        k = i
        while k < end and data[k] != 58:
            k += 1
        return k if dots == 3 and not hexes else i
    return k if double or colons == 7 else i


@compiled
def _exim_size(data: Any, i: int, end: int) -> int:
    """16 or 23 where an Exim message ID begins with the six characters at i, else 6."""
    for size, second in ((16, 13), (23, 18)):
        if i + size <= end and data[i + 6] == 45 and data[i + second] == 45:
            fits = i + size == end or not (48 <= data[i + size] <= 57 or _letter(data[i + size]))
            for k in range(i + 7, i + size):
                c = data[k]
                fits = fits and (k == i + second or 48 <= c <= 57 or _letter(c))
            if fits:
                return size
    return 6


@compiled
def _mask_one(data: Any, i: int, end: int, out: Any, at: int) -> int:
    word = at
    while i < end:
        c = data[i]
        if c == 64 and at > word:
            out[word] = 46
            out[word + 1] = 46
            out[word + 2] = 64
            out[word + 3] = 46
            out[word + 4] = 46
            at = word + 5
            i += 1
            while i < end and not _PARTS[data[i]]:
                i += 1
            word = at
            continue
        digit = 48 <= c <= 57
        if at == word and (digit or c == 58 or 65 <= c <= 70 or 97 <= c <= 102):
            stop = _address_end(data, i, end)
            if stop > i + 2 or (stop > i and c == 58):
                out[at] = 73
                out[at + 1] = 80
                at += 2
                i = stop
                continue
        if not digit and not _letter(c):
            out[at] = c
            at += 1
            i += 1
            if _PARTS[c]:
                word = at
            continue
        k = i
        digits = np.int64(0)
        while k < end and (48 <= data[k] <= 57 or _letter(data[k])):
            digits += 48 <= data[k] <= 57
            k += 1
        size = k - i
        dashed = False
        if size == 6:
            size = _exim_size(data, i, end)
            dashed = size > 6
            k = i + size
        if size > 6 and digits < size and (digits > 0 or dashed):
            out[at] = 73
            out[at + 1] = 68
            at += 2
            i = k
            continue
        while i < k:
            if 48 <= data[i] <= 57:
                out[at] = 78
                while i < k and 48 <= data[i] <= 57:
                    i += 1
            else:
                out[at] = data[i]
                i += 1
            at += 1
    return at
