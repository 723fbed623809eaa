"""Columns out of spans: strings as Arrow views into the chunk's own bytes, numbers and durations as integers."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from hoptrace.transforms.jit import compiled

Array = np.ndarray[Any, Any]

NONE = np.iinfo(np.int64).min


@compiled
def escape_size(data: Any, words: Any) -> int:
    """How many bytes of `data` are not part of valid UTF-8; `words`: the same bytes, eight in each."""
    bad = 0
    i = 0
    size = data.size
    whole = words.size * 8
    while i < size:
        if i & 7 == 0:
            while i < whole and not words[i >> 3] & np.uint64(0x8080808080808080):
                i += 8
            if i >= size:
                break
        if data[i] < 0x80:
            i += 1
            continue
        width = _character(data, i, size)
        if width:
            i += width
        else:
            bad += 1
            i += 1
    return bad


@compiled
def _character(data: Any, i: int, end: int) -> int:
    """Bytes of the UTF-8 character at i (Unicode 15, table 3-7); 0 where there is none."""
    a = data[i]
    if a < 0x80:
        return 1
    if a < 0xC2 or a > 0xF4 or i + 1 >= end:
        return 0
    b = data[i + 1]
    low = 0xA0 if a == 0xE0 else 0x90 if a == 0xF0 else 0x80
    high = 0x9F if a == 0xED else 0x8F if a == 0xF4 else 0xBF
    if b < low or b > high:
        return 0
    if a < 0xE0:
        return 2
    if i + 2 >= end or (data[i + 2] & 0xC0) != 0x80:
        return 0
    if a < 0xF0:
        return 3
    return 4 if i + 3 < end and (data[i + 3] & 0xC0) == 0x80 else 0


@compiled
def _escape(data: Any, out: Any) -> None:
    i = 0
    at = 0
    size = data.size
    while i < size:
        width = _character(data, i, size)
        if width:
            for _ in range(width):
                out[at] = data[i]
                at += 1
                i += 1
        else:
            out[at] = 92
            out[at + 1] = 120
            for k in range(2):
                digit = (data[i] >> 4) if k == 0 else (data[i] & 15)
                out[at + 2 + k] = digit + (48 if digit < 10 else 87)
            at += 4
            i += 1


def valid_utf8(data: bytes) -> bytes:
    r"""`data`, in which every byte that is no valid UTF-8 is written as `\xNN`; the same object where all are valid."""
    if data.isascii():
        return data
    array = np.frombuffer(data, np.uint8)
    bad = escape_size(array, np.frombuffer(data, np.uint64, array.size // 8))
    if not bad:
        return data
    out = np.empty(array.size + 3 * bad, np.uint8)
    _escape(array, out)
    return out.tobytes()


@compiled
def _long_bytes(starts: Any, ends: Any) -> int:
    """How many bytes do not lie in their views."""
    total = np.int64(0)
    for k in range(starts.size):
        size = np.int64(ends[k]) - np.int64(starts[k])
        if starts[k] >= 0 and size > 12:
            total += size
    return total


@compiled
def _views(data: Any, starts: Any, ends: Any, constants: Any, views: Any, valid: Any, out: Any) -> None:
    """Arrow string views of [start, end), the bytes of long ones in `out`; start -1 is null, -2 - n is constant n."""
    at = np.int64(0)
    for k in range(starts.size):
        start = np.int64(starts[k])
        if start < 0:
            valid[k] = start < -1
            for part in range(4):
                views[k, part] = constants[-2 - start, part] if start < -1 else 0
            continue
        valid[k] = True
        size = np.int64(ends[k]) - start
        views[k, 0] = size
        if size > 12:
            views[k, 1] = np.int32(_word(data, start))
            views[k, 2] = 0
            views[k, 3] = at
            for j in range(size):
                out[at + j] = data[start + j]
            at += size
        elif start + 12 <= data.size:
            for part in range(3):
                left = size - 4 * part
                word = np.int64(0)
                if left > 0:
                    word = _word(data, start + 4 * part)
                    if left < 4:
                        word &= (np.int64(1) << (8 * left)) - 1
                views[k, 1 + part] = np.int32(word)
        else:
            for part in range(3):
                word = np.int64(0)
                for j in range(4):
                    if part * 4 + j < size:
                        word |= np.int64(data[start + part * 4 + j]) << (8 * j)
                views[k, 1 + part] = np.int32(word)


@compiled
def _word(data: Any, i: int) -> int:
    """Four bytes as a little-endian number."""
    at = np.uint64(i)
    return (
        np.int64(data[at])
        | np.int64(data[at + np.uint64(1)]) << 8
        | np.int64(data[at + np.uint64(2)]) << 16
        | np.int64(data[at + np.uint64(3)]) << 24
    )


@compiled
def _field(rows: Any, bases: Any, spans: Any, slots: Any, starts: Any, ends: Any) -> None:
    for k in range(rows.size):
        slot = np.int64(slots[rows[k]])
        if slot >= 0:
            starts[k] = spans[bases[k] + slot, 0]
            ends[k] = spans[bases[k] + slot, 1]
        else:
            starts[k] = slot
            ends[k] = slot


@compiled
def _trim(data: Any, starts: Any, ends: Any) -> None:
    """Cuts blanks, and `<` and `>` where both are there."""
    for k in range(starts.size):
        start = np.int64(starts[k])
        if start < 0:
            continue
        end = np.int64(ends[k])
        for _ in range(2):
            while start < end and (data[start] == 32 or data[start] == 9):
                start += 1
            while end > start and (data[end - 1] == 32 or data[end - 1] == 9):
                end -= 1
            if _ == 0:
                if end - start >= 2 and data[start] == 60 and data[end - 1] == 62:
                    start += 1
                    end -= 1
                else:
                    break
        starts[k] = start
        ends[k] = end


@compiled
def _address(data: Any, i: int, end: int) -> bool:
    """Whether [i, end) looks like an IP address: hexadecimal digits, a dot or colon at least, perhaps `%zone`."""
    address = False
    while i < end and data[i] != 37:
        c = data[i]
        if c in (46, 58):
            address = True
        elif not (48 <= c <= 57 or 65 <= c <= 70 or 97 <= c <= 102):
            return False
        i += 1
    if i < end:
        i += 1
        address = address and i < end
        while i < end:
            c = data[i]
            if not (c == 95 or 48 <= c <= 57 or 65 <= c <= 90 or 97 <= c <= 122):
                return False
            i += 1
    return address


@compiled
def _to(data: Any, i: int, end: int, sign: int) -> int:
    while i < end and data[i] != sign:
        i += 1
    return i


@compiled
def _place(data: Any, starts: Any, ends: Any, others: Any) -> bool:
    """Splits `name (helo) [address]...` in place: the name stays.

    The address goes to others[0], others[1], the helo to others[2], others[3]; -1 where there is none. A dot that ends
    the name and an `IPv6:` before the address are cut; `address (name)` is turned round. True where any helo is found.
    """
    helos = False
    for k in range(starts.size):
        start = np.int64(starts[k])
        for part in range(4):
            others[part, k] = -1
        if start < 0:
            continue
        end = np.int64(ends[k])
        i = start
        while i < end and data[i] != 91 and data[i] != 32 and data[i] != 40:
            i += 1
        name_end = i
        while i < end and data[i] == 32:
            i += 1
        if i + 2 < end and data[i] == 68 and data[i + 1] == 83 and data[i + 2] == 32:
            i += 3
        if i < end and data[i] == 40:
            j = i + 1
            while j + 2 < end and not (data[j] == 41 and data[j + 1] == 32 and data[j + 2] == 91):
                j += 1
            if j + 2 < end:
                others[2, k] = i + 1
                others[3, k] = j
                helos = True
                i = j + 2
            else:
                j = _to(data, i, end, 41)
                if j < end and _address(data, start, name_end):
                    others[0, k] = start
                    others[1, k] = name_end
                    start = i + 1
                    name_end = j
                i = end
        if i < end and data[i] == 91:
            i += 1
            close = _to(data, i, end, 93)
            if close - i > 5 and data[i] == 73 and data[i + 1] == 80 and data[i + 2] == 118 and data[i + 4] == 58:
                i += 5
            if close < end and _address(data, i, close):
                others[0, k] = i
                others[1, k] = close
        if name_end > start + 1 and data[name_end - 1] == 46:
            name_end -= 1
        starts[k] = start if name_end > start else -1
        ends[k] = name_end
    return helos


@compiled
def _integers(data: Any, starts: Any, ends: Any, constants: Any, out: Any, none: int) -> None:
    for k in range(starts.size):
        start = np.int64(starts[k])
        out[k] = none
        if start < -1:
            out[k] = constants[-2 - start]
        if start < 0:
            continue
        end = np.int64(ends[k])
        value = np.int64(0)
        if end == start or end - start > 18:
            continue
        for i in range(start, end):
            digit = np.int64(data[i]) - 48
            if digit < 0 or digit > 9:
                value = none
                break
            value = value * 10 + digit
        out[k] = value


@compiled
def _duration(data: Any, i: int, end: int, none: int) -> int:
    """Microseconds of `12.34`, `2h5m10s`, `0.01s` or `4+02:16:02`; `none` where it is no such text, or too large."""
    if i >= end or end - i > 24:
        return none
    start = i
    value = np.int64(0)
    digits = 0
    while i < end and 48 <= data[i] <= 57:
        value = value * 10 + np.int64(data[i]) - 48
        digits += 1
        i += 1
    if digits > 12:
        return none
    value *= 1000000
    if i < end and data[i] == 46:
        i += 1
        unit = np.int64(100000)
        while i < end and 48 <= data[i] <= 57:
            value += (np.int64(data[i]) - 48) * unit
            unit //= 10
            digits += 1
            i += 1
    if i < end and digits:
        return _long_duration(data, start, end, none)
    return value if i == end and digits else none


@compiled
def _long_duration(data: Any, i: int, end: int, none: int) -> int:
    """Microseconds of `[days+]hh:mm:ss` (Sendmail), or of weeks to seconds with their letters (Exim, OpenSMTPD)."""
    total = np.int64(0)
    last = np.int64(8)
    while i < end:
        value = np.int64(0)
        digits = 0
        while i < end and 48 <= data[i] <= 57:
            value = value * 10 + np.int64(data[i]) - 48
            digits += 1
            i += 1
        if not digits or digits > 7:
            return none
        value *= 1000000
        sign = np.int64(data[i]) if i < end else 0
        if sign == 46:
            i += 1
            unit = np.int64(100000)
            while i < end and 48 <= data[i] <= 57:
                value += (np.int64(data[i]) - 48) * unit
                unit //= 10
                i += 1
            if i >= end or data[i] != 115:
                return none
            sign = 115
        unit = np.int64(1)
        if sign == 119:
            rank, unit = 7, 604800
        elif sign == 100:
            rank, unit = 6, 86400
        elif sign == 104:
            rank, unit = 5, 3600
        elif sign == 109:
            rank, unit = 4, 60
        elif sign == 115:
            rank = 3
        elif sign == 43 and last == 8:
            rank, unit = 2, 86400
        elif sign == 58 and last in (2, 8):
            rank, unit = 1, 3600
        elif sign == 58 and last == 1 and digits == 2:
            rank, unit = 0, 60
        elif sign == 0 and last == 0 and digits == 2:
            rank = -1
        else:
            return none
        if rank >= last:
            return none
        last = np.int64(rank)
        total += value * unit
        i += 1
    return total if last == -1 or 3 <= last <= 7 else none


@compiled
def _durations(data: Any, starts: Any, ends: Any, out: Any, none: int) -> None:
    """`a/b/...`: the parts' microseconds in out[part]."""
    parts = out.shape[0]
    for k in range(starts.size):
        for part in range(parts):
            out[part, k] = none
        i = np.int64(starts[k])
        if i < 0:
            continue
        end = np.int64(ends[k])
        for part in range(parts):
            stop = i
            while stop < end and (parts == 1 or data[stop] != 47):
                stop += 1
            out[part, k] = _duration(data, i, stop, none)
            i = stop + 1
            if i > end:
                break


class Columns:
    """The columns of lines whose rows and field spans are known, over the chunk's bytes."""

    def __init__(
        self,
        data: bytes,
        rows: Array,
        bases: Array,
        spans: Array,
        slots: Mapping[str, Array],
        constants: Sequence[str | int],
    ) -> None:
        self.array = np.frombuffer(data, np.uint8)
        self.rows, self.bases, self.spans, self.slots = rows, bases, spans, slots
        pool = "".join(str(value) for value in constants).encode()
        self.pool = pa.py_buffer(pool or b"\0")
        self.constants = np.zeros((max(len(constants), 1), 4), np.int32)
        self.numbers = np.array([value if isinstance(value, int) else NONE for value in constants] or [NONE], np.int64)
        at = 0
        for n, value in enumerate(constants):
            self.constants[n], at = _constant_view(str(value).encode(), at)

    @classmethod
    def over(cls, other: "Columns", rows: Array, bases: Array, spans: Array) -> "Columns":
        """Other lines over the same bytes and grammars."""
        made = cls.__new__(cls)
        made.__dict__.update(other.__dict__, rows=rows, bases=bases, spans=spans)
        return made

    def field(self, name: str) -> tuple[Array, Array]:
        """(start, end) of a field in every line: start -1 where it is absent, -2 - n for constant n."""
        starts = np.full(self.rows.size, -1, np.int32)
        ends = np.full(self.rows.size, -1, np.int32)
        if name in self.slots:
            _field(self.rows, self.bases, self.spans, self.slots[name], starts, ends)
        return starts, ends

    def strings(self, starts: Array, ends: Array) -> pl.Series:
        """Strings at these spans; null where start is -1. They hold no more of the chunk than themselves."""
        views = np.empty((starts.size, 4), np.int32)
        valid = np.empty(starts.size, np.bool_)
        out = np.empty(max(1, _long_bytes(starts, ends)), np.uint8)
        _views(self.array, starts, ends, self.constants, views, valid, out)
        return _series_of(views, valid, [pa.py_buffer(out.data), self.pool])

    def message_ids(self, name: str) -> pl.Series:
        """Message-IDs without blanks and brackets around them."""
        starts, ends = self.field(name)
        _trim(self.array, starts, ends)
        return self.strings(starts, ends)

    def places(self, name: str) -> tuple[pl.Series, pl.Series, pl.Series | None]:
        """(name, address, helo) of `name (helo) [address]:port`; null where missing, the last None where all are."""
        starts, ends = self.field(name)
        others = np.empty((4, starts.size), starts.dtype)
        helos = _place(self.array, starts, ends, others)
        helo = self.strings(others[2], others[3]) if helos else None
        return self.strings(starts, ends), self.strings(others[0], others[1]), helo

    def integers(self, name: str) -> pl.Series:
        """Whole numbers; null where the text is none, or has more than 18 digits."""
        starts, ends = self.field(name)
        out = np.empty(starts.size, np.int64)
        _integers(self.array, starts, ends, self.numbers, out, NONE)
        return nullable(out)

    def durations(self, name: str, parts: int = 1) -> list[pl.Series]:
        """Microseconds of seconds as text, or of `a/b/c...`, one series a part; null where the text is none."""
        starts, ends = self.field(name)
        out = np.empty((parts, starts.size), np.int64)
        _durations(self.array, starts, ends, out, NONE)
        return [nullable(part) for part in out]


def _series_of(views: Array, valid: Array, buffers: list[pa.Buffer]) -> pl.Series:
    """The strings of Arrow string views over `buffers`."""
    bits = None if valid.all() else pa.py_buffer(np.packbits(valid, bitorder="little").tobytes())
    array = pa.Array.from_buffers(pa.string_view(), len(views), [bits, pa.py_buffer(views.data), *buffers])
    series = pl.from_arrow(array)
    assert isinstance(series, pl.Series)
    return series


def words_at(words: Sequence[str | None], numbers: Array) -> pl.Series:
    """Of each number the word of that number, null where that is None or the number below 0."""
    table, at = np.zeros((len(words) + 1, 4), np.int32), 0
    for n, word in enumerate(words):
        if word is not None:
            table[n], at = _constant_view(word.encode(), at, 0)
    valid = np.array([word is not None for word in (*words, None)])
    pool = "".join(word or "" for word in words).encode() or b"\0"
    views = np.take(table.view(np.complex128)[:, 0], numbers)
    return _series_of(views.view(np.int32).reshape(-1, 4), valid[numbers], [pa.py_buffer(pool)])


def _constant_view(value: bytes, at: int, buffer: int = 1) -> tuple[Array, int]:
    raw = np.zeros(16, np.uint8)
    raw[:4] = np.frombuffer(np.int32(len(value)).tobytes(), np.uint8)
    if len(value) <= 12:
        raw[4 : 4 + len(value)] = np.frombuffer(value, np.uint8)
    else:
        raw[4:8] = np.frombuffer(value[:4], np.uint8)
        raw[8:16] = np.frombuffer(np.array([buffer, at], np.int32).tobytes(), np.uint8)
    return raw.view(np.int32), at + len(value)


def strings_over(data: bytes, offsets: Array) -> pl.Series:
    """Strings that follow each other in `data`, string n at bytes offsets[n] to offsets[n + 1] (int64)."""
    array = pa.Array.from_buffers(
        pa.large_string(), offsets.size - 1, [None, pa.py_buffer(offsets.data), pa.py_buffer(data)]
    )
    series = pl.from_arrow(array)
    assert isinstance(series, pl.Series)
    return series


def nullable(values: Array) -> pl.Series:
    """Int64 series of `values`; NONE is null."""
    missing = values == NONE
    if not missing.any():
        return pl.Series(values)
    bits = pa.py_buffer(np.packbits(~missing, bitorder="little").tobytes())
    data = pa.py_buffer(np.ascontiguousarray(values, np.int64).data)
    series = pl.from_arrow(pa.Array.from_buffers(pa.int64(), values.size, [bits, data]))
    assert isinstance(series, pl.Series)
    return series
