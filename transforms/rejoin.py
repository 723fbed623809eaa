r"""Lines that a logger wrote as several, or as fewer than there were, made what they were.

Exim cuts what is longer than 870 bytes, or has several lines, for syslog: `[1/2] ...`, `[2/2] ...`; a part after which the
text had a line feed has `\` for `/` (write_syslog() of src/log.c). An old syslogd writes a line that comes again as `last
message repeated N times` (FreeBSD usr.sbin/syslogd, sysklogd, Solaris), without a program's name.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hoptrace.transforms.columns import valid_utf8
from hoptrace.transforms.cut import SYSLOG, Heads, cut_heads, line_ends
from hoptrace.transforms.following import NEAR_BYTES, REPEATED
from hoptrace.transforms.jit import compiled
from hoptrace.transforms.read import Chunk

Array = np.ndarray[Any, Any]

PER_LINE = ("starts", "ends", "texts", "text_ends", "form", "stamp", "host", "tag", "pid")


@dataclass(frozen=True)
class Whole:
    """A chunk's lines, whole.

    data: its bytes as valid UTF-8, and after them the texts of lines that were in parts; heads: of its own lines, `texts` and
    `text_ends` of a line in parts lie there; spoken_for: its lines that only go on with another (bool); again: how often each
    line came again, by a line after it.
    """

    data: bytes
    heads: Heads
    spoken_for: Array
    again: Array


def make_whole(chunk: Chunk, data: bytes) -> Whole:
    """The lines of a chunk (`data`: its bytes as valid UTF-8) and their heads, parts joined and repeats counted.

    A line takes parts and repeats that end within NEAR_BYTES of its start, so what a line is does not depend on the chunk
    that holds it. Parts are of one process: host, program and process ID are the same. A repeat is of the line before it of
    its host.
    """
    text = data + valid_utf8(chunk.following)
    heads = cut_heads(text)
    own = int(np.searchsorted(heads.starts, len(data)))
    parts = _find_parts(text, heads)
    repeats = _find_repeats(text, heads)
    whole = Whole(data, _first(heads, own), np.zeros(own, np.bool_), np.zeros(own, np.int64))
    if not parts.size and not repeats.size:
        return whole
    raw = line_ends(chunk.data + chunk.following).astype(np.int64)
    begins = np.concatenate(([0], raw[:-1] + 1))
    whole.spoken_for[repeats[0, repeats[0] < own]] = True
    before = np.full(len(heads.hosts), -1, np.int64)
    _count_again(heads.host, begins, raw, repeats[0], repeats[1], NEAR_BYTES, before, whole.again)
    return _join_parts(text, heads, parts, (begins, raw), whole)


def _first(heads: Heads, lines: int) -> Heads:
    if lines == heads.starts.size:
        return heads
    return replace(heads, **{name: getattr(heads, name)[:lines] for name in PER_LINE})


# --- parts ---------------------------------------------------------------------------------------------------------------


@compiled
def _mark(data: Any, i: Any, end: Any) -> tuple[int, int, int, int]:
    """(number, of how many, the sign between, position after) of `[1/2] ` at i; number 0 where there is none."""
    numbers = (0, 0)
    sign: Any = 0
    k = i + 1
    if i + 6 > end or data[i] != 91:
        return 0, 0, 0, i
    for part in range(2):
        value: Any = 0
        start = k
        while k < end and k < start + 6 and 48 <= data[k] <= 57:
            value = value * 10 + np.int64(data[k]) - 48
            k += 1
        if k == start or k + 1 >= end:
            return 0, 0, 0, i
        if part == 0:
            sign = np.int64(data[k])
            if sign not in (47, 92):
                return 0, 0, 0, i
            numbers = (value, 0)
        else:
            numbers = (numbers[0], value)
            if data[k] != 93 or data[k + 1] != 32:
                return 0, 0, 0, i
        k += 1
    if numbers[0] < 1 or numbers[0] > numbers[1]:
        return 0, 0, 0, i
    return numbers[0], numbers[1], sign, k + 1


@compiled
def _parts(data: Any, starts: Any, texts: Any, ends: Any, tag: Any, exim: Any, out: Any) -> int:
    """Fills out[:, n] = line, number, of how many, sign, where its text begins, of the lines that are parts; their count."""
    found = 0
    for line in range(starts.size):
        if tag[line] < 0 or not exim[tag[line]]:
            continue
        text = np.int64(texts[line])
        end = np.int64(ends[line])
        number, many, sign, body = _mark(data, text, end)
        if number < 2:
            number = 0
            # The mark of a first part lies before the text: the head has taken it off.
            for k in range(np.int64(starts[line]) + 1, text):
                if data[k] == 91 and data[k + 1] == 49 and data[k - 1] == 32:
                    number, many, sign, body = _mark(data, k, end)
                    body = int(text)
                    if number == 1:
                        break
                    number = 0
        if number:
            out[0, found] = line
            out[1, found] = number
            out[2, found] = many
            out[3, found] = sign
            out[4, found] = body
            found += 1
    return found


def _find_parts(data: bytes, heads: Heads) -> Array:
    """[line, number, of how many, sign, where its text begins] of Exim's lines that are parts of one."""
    exim = np.array([style == SYSLOG and name.startswith(b"exim") for style, name in heads.tags], np.bool_)
    if not exim.any():
        return np.empty((5, 0), np.int64)
    array = np.frombuffer(data, np.uint8)
    out = np.empty((5, heads.starts.size), np.int64)
    return out[:, : _parts(array, heads.starts, heads.texts, heads.ends, heads.tag, exim, out)]


@compiled
def _last_parts(parts: Any, same: Any, begins: Any, ends: Any, near: int, last: Any) -> None:
    """Fills last[n], for each first part n, with the part that ends its text's first line."""
    for n in range(last.size):
        last[n] = n
        if parts[1, n] != 1:
            continue
        k = n
        begin = begins[parts[0, n]]
        while k + 1 < last.size and same[k + 1] and parts[3, k] == 47 and parts[1, k] < parts[2, k]:
            if parts[1, k + 1] != parts[1, k] + 1 or parts[2, k + 1] != parts[2, k]:
                break
            if ends[parts[0, k + 1]] - begin > near:
                break
            k += 1
        last[n] = k


@compiled
def _write(data: Any, parts: Any, line_end: Any, text_end: Any, firsts: Any, last: Any, sizes: Any, out: Any) -> int:
    """Writes the texts of `firsts` one after the other to `out`, if that is large enough; sizes[n] of each, and the sum."""
    at = 0
    for n in range(firsts.size):
        begun = at
        for part in range(firsts[n], last[firsts[n]] + 1):
            line = parts[0, part]
            end = text_end[line] if part == last[firsts[n]] else line_end[line]
            for k in range(parts[4, part], end):
                if at < out.size:
                    out[at] = data[k]
                at += 1
        sizes[n] = at - begun
    return at


def _join_parts(data: bytes, heads: Heads, parts: Array, places: tuple[Array, Array], whole: Whole) -> Whole:
    """`whole` with the lines in parts joined."""
    if not parts.size:
        return whole
    lines = parts[0]
    who = (heads.pid[lines], heads.tag[lines], heads.host[lines])
    order = np.lexsort((lines, *who))
    parts = np.ascontiguousarray(parts[:, order])
    same = np.ones(order.size, np.bool_)
    same[0] = False
    for values in who:
        same[1:] &= values[order][1:] == values[order][:-1]
    own = whole.again.size
    last = np.empty(order.size, np.int64)
    _last_parts(parts, same, *places, NEAR_BYTES, last)
    later = parts[0, parts[1] > 1]
    whole.spoken_for[later[later < own]] = True
    firsts = np.flatnonzero((last > np.arange(last.size)) & (parts[0] < own))
    if not firsts.size:
        return whole
    array = np.frombuffer(data, np.uint8)
    sizes = np.empty(firsts.size, np.int64)
    spans = (array, parts, heads.ends, heads.text_ends, firsts, last, sizes)
    out = np.empty(_write(*spans, np.empty(0, np.uint8)), np.uint8)
    _write(*spans, out)
    ends = len(whole.data) + np.cumsum(sizes)
    texts, text_ends = whole.heads.texts.copy(), whole.heads.text_ends.copy()
    texts[parts[0, firsts]] = ends - sizes
    text_ends[parts[0, firsts]] = ends
    return replace(whole, data=whole.data + out.tobytes(), heads=replace(whole.heads, texts=texts, text_ends=text_ends))


# --- repeats -------------------------------------------------------------------------------------------------------------


@compiled
def _times(data: Any, lines: Any, texts: Any, ends: Any, word: Any, times: Any) -> None:
    for n in range(lines.size):
        i = np.int64(texts[lines[n]])
        end = np.int64(ends[lines[n]])
        times[n] = 0
        if i + 4 <= end and data[i] == 45 and data[i + 1] == 45 and data[i + 2] == 45 and data[i + 3] == 32:
            i += 4
        if i + word.size >= end:
            continue
        alike = True
        for k in range(word.size):
            alike = alike and data[i + k] == word[k]
        k = i + word.size
        value: Any = 0
        while alike and k < end and k < i + word.size + 9 and 48 <= data[k] <= 57:
            value = value * 10 + np.int64(data[k]) - 48
            k += 1
        if alike and k + 5 <= end and data[k] == 32 and data[k + 1] == 116 and data[k + 4] == 101:
            times[n] = value


def _find_repeats(data: bytes, heads: Heads) -> Array:
    """[line, times] of the lines that say how often the line before them came again."""
    lines = np.flatnonzero((heads.tag < 0) & (heads.host >= 0))
    times = np.zeros(lines.size, np.int64)
    if lines.size:
        word = np.frombuffer(REPEATED, np.uint8)
        _times(np.frombuffer(data, np.uint8), lines, heads.texts, heads.text_ends, word, times)
    return np.stack([lines, times])[:, times > 0]


@compiled
def _count_again(host: Any, begins: Any, ends: Any, lines: Any, times: Any, near: int, before: Any, again: Any) -> None:
    """Adds to again[line] how often the line came again; `before`: of each host -1, to note its line before in."""
    n = 0
    for line in range(host.size):
        if host[line] < 0:
            continue
        if n < lines.size and lines[n] == line:
            base = before[host[line]]
            if 0 <= base < again.size and ends[line] - begins[base] <= near:
                again[base] += times[n]
            n += 1
        else:
            before[host[line]] = line
