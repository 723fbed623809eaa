"""Texts against grammar rows: which row each text is, and where its fields lie in the bytes.

Time is linear in the length of a text: every capture runs forward once, nothing is tried twice within a row. Rows that are
regular expressions may go back over a text, and so read none longer than LONGEST_FOR_REGEX.
"""

from typing import Any

import numpy as np

from hoptrace.transforms.grammar import Grammars, Tables
from hoptrace.transforms.jit import compiled, find_byte

Array = np.ndarray[Any, Any]

NO_ROW = -1
LONGEST_FOR_REGEX = 8192
"""Bytes: rsyslog's longest message by default ($MaxMessageSize), and Exim's (LOG_BUFFER_SIZE); Postfix cuts at 2,000."""


@compiled
def _equal(data: Any, i: int, end: int, pool: Any, at: int, size: int) -> bool:
    if i + size > end:
        return False
    data_at = np.uint64(i)
    pool_at = np.uint64(at)
    for k in range(np.uint64(size)):  # noqa: SIM110
        if data[data_at + k] != pool[pool_at + k]:
            return False
    return True


@compiled
def _find(data: Any, i: int, end: int, pool: Any, at: int, size: int) -> int:
    """Where the literal is first found from i on; `end` where it is not."""
    first = pool[at]
    last = end - size + 1
    k = find_byte(data, i, last, first)
    while k < last:
        if _equal(data, k, end, pool, at, size):
            return k
        k = find_byte(data, k + 1, last, first)
    return end


@compiled
def _find_last(data: Any, i: int, end: int, pool: Any, at: int, size: int) -> int:
    first = pool[at]
    k = end - size
    while k >= i:
        if data[k] == first and _equal(data, k, end, pool, at, size):
            return k
        k -= 1
    return -1


@compiled
def _address(data: Any, i: int, end: int) -> int:
    """Position of the `>` that ends an address, outside a leading quoted local part (RFC 5321, Quoted-string)."""
    if i < end and data[i] == 34:
        k = i + 1
        while k < end and data[k] != 34:
            k += 2 if data[k] == 92 else 1
        if k < end:
            i = k + 1
    return find_byte(data, i, end, 62)


@compiled
def _run(data: Any, i: int, end: int) -> int:
    while i < end and 48 <= data[i] <= 57:
        i += 1
    return i


@compiled
def _list(data: Any, i: int, end: int) -> int:
    """Where a list of addresses, `<...>` or bare, with commas but no blanks between, ends; -1 where there is none."""
    found = -1
    k = i
    while k < end:
        start = k
        if data[k] == 60:
            k = _address(data, k + 1, end)
            if k >= end:
                return found
            k += 1
        else:
            while k < end and data[k] != 32 and data[k] != 44 and data[k] != 60:
                k += 1
        if k == start:
            return found
        found = k
        if k >= end or data[k] != 44:
            return found
        k += 1
    return found


@compiled
def _capture(data: Any, i: int, end: int, pool: Any, kind: int, at: int, size: int) -> int:
    """Where a capture of this kind that begins at i ends; -1 where there is none."""
    k = i
    if kind == 0:
        return _find(data, i, end, pool, at, size) if size else end
    if kind == 1:
        return _address(data, i, end)
    if kind == 2:
        while k < end and data[k] != 32 and data[k] != 44 and data[k] != 59:
            k += 1
        return k if k > i else -1
    if kind == 3:
        k = _run(data, i, end)
        return k if k > i else -1
    if kind == 4:
        while k < end:
            c = data[k]
            if not (48 <= c <= 57 or 65 <= c <= 90 or 97 <= c <= 122 or c == 45):
                break
            k += 1
        return k if k > i else -1
    if kind == 5:
        k = find_byte(data, i, end - 1, 44)
        while k < end - 1 and data[k + 1] != 32:
            k = find_byte(data, k + 1, end - 1, 44)
        return k if k < end - 1 else end
    if kind == 6:
        return _find_last(data, i, end, pool, at, size) if size else end
    if kind == 9:
        return _dsn(data, i, end)
    if kind >= 10:
        return _further(data, i, end, kind)
    return end


@compiled
def _dsn(data: Any, i: int, end: int) -> int:
    k = i
    for part in range(3):
        start = k
        k = _run(data, k, end)
        if k == start:
            return -1
        if part < 2:
            if k >= end or data[k] != 46:
                return -1
            k += 1
    return k


@compiled
def _further(data: Any, i: int, end: int, kind: int) -> int:
    """Where a capture of one of the rarer kinds ends; -1 where there is none."""
    k = i
    if kind >= 18:
        return _dsn(data, i, end) if i < end and data[i] == (50, 52, 53)[kind - 18] else -1
    if kind == 10:
        return _list(data, i, end)
    if kind == 11:
        while k < end:
            c = data[k]
            if not (48 <= c <= 57 or 65 <= c <= 90 or 97 <= c <= 122 or c in (45, 46, 95)):
                break
            k += 1
        return k if k > i else -1
    if kind == 12:
        return _path(data, i, end)
    if kind == 13:
        return _recipient(data, i, end)
    if kind == 14:
        return _quoted(data, i, end)
    if kind == 15:
        return _place(data, i, end)
    if kind == 16:
        while k < end and k < i + 8 and (48 <= data[k] <= 57 or 97 <= data[k] <= 102):
            k += 1
        return k if k == i + 8 else -1
    if kind == 17:
        return _ip(data, i, end)
    return end


@compiled
def _ip(data: Any, i: int, end: int) -> int:
    """Where an IP address, which may stand as `[address]` or `[IPv6:address]`, ends; -1 where there is none."""
    k = i
    bracket = k < end and data[k] == 91
    if bracket:
        k = _inside(data, k, end)
    dots = 0
    while k < end and (48 <= data[k] <= 58 or data[k] == 46 or 65 <= data[k] <= 70 or 97 <= data[k] <= 102):
        dots += data[k] == 46 or data[k] == 58
        k += 1
    if not dots:
        return -1
    if bracket:
        return k + 1 if k < end and data[k] == 93 else -1
    return k


@compiled
def _inside(data: Any, i: int, end: int) -> int:
    """Where the address in the bracket at i begins."""
    if i + 6 <= end and data[i + 1] == 73 and data[i + 2] == 80 and data[i + 3] == 118 and data[i + 5] == 58:
        return i + 6
    return i + 1


@compiled
def _quoted(data: Any, i: int, end: int) -> int:
    """Position of the `"` that ends a quoted text whose content begins at i; where there is none, the end."""
    while i < end and data[i] != 34:
        if data[i] == 92:
            if i + 1 >= end:
                break
            i += 1
        i += 1
    return i


@compiled
def _after_quotes(data: Any, i: int, end: int) -> int:
    """Position after the quoted text at i; i itself where there is none that ends."""
    if i >= end or data[i] != 34:
        return i
    k = _quoted(data, i + 1, end)
    return k + 1 if k < end and data[k] == 34 else i


@compiled
def _path(data: Any, i: int, end: int) -> int:
    """Where `<address>` or a bare address ends: a blank outside a leading quoted local part, or a comma before one."""
    if i >= end or data[i] == 32 or data[i] == 44:
        return -1
    if data[i] == 60:
        k = _address(data, i + 1, end)
        return k + 1 if k < end else -1
    k = _after_quotes(data, i, end)
    while k < end and data[k] != 32 and not (data[k] == 44 and k + 1 < end and data[k + 1] == 32):
        k += 1
    return k


@compiled
def _recipient(data: Any, i: int, end: int) -> int:
    """Where an Exim recipient (address, pipe or file, with its blanks) ends: before ` <`, ` (`, ` R=`, `: `."""
    if i >= end or data[i] == 58 or data[i] == 60 or data[i] == 32:
        return -1
    k = _after_quotes(data, i, end)
    while k < end:
        if data[k] == 58 and k + 1 < end and data[k + 1] == 32:
            break
        if data[k] == 32 and k + 1 < end:
            c = data[k + 1]
            if c in (40, 60):
                break
            j = k + 1
            while j < end and 65 <= data[j] <= 90:
                j += 1
            if j > k + 1 and j < end and data[j] == 61:
                break
            if c == 100 and j + 6 <= end and data[k + 6] == 32 and data[k + 5] == 114 and data[k + 2] == 101:
                break
            if c == 114 and j + 8 <= end and data[k + 8] == 32 and data[k + 7] == 103 and data[k + 2] == 111:
                break
        k += 1
    return k


@compiled
def _place(data: Any, i: int, end: int) -> int:
    """Where `name (helo) [address]:port` ends, any of which may be missing; -1 at a blank or the end."""
    if i >= end or data[i] == 32:
        return -1
    k = i
    while k < end and data[k] != 32 and data[k] != 40 and data[k] != 91:
        k += 1
    ds = k > i and k + 4 < end and data[k] == 32 and data[k + 1] == 68 and data[k + 2] == 83
    if ds and data[k + 3] == 32 and data[k + 4] == 91:
        k += 3
    if k > i and k + 1 < end and data[k] == 32 and (data[k + 1] == 40 or data[k + 1] == 91):
        k += 1
    if k < end and data[k] == 40:
        for j in range(k + 1, end - 2):
            if data[j] == 41 and data[j + 1] == 32 and data[j + 2] == 91:
                k = j + 2
                break
    if k < end and data[k] == 91:
        j = k + 1
        while j < end and data[j] != 93:
            j += 1
        if j < end:
            k = j + 1
            if k < end and data[k] == 58:
                j = k + 1
                while j < end and (48 <= data[j] <= 57 or 65 <= data[j] <= 90 or 97 <= data[j] <= 122 or data[j] == 95):
                    j += 1
                if j > k + 1:
                    k = j
            if k < end and data[k] == 42:
                k += 1
    return k


@compiled
def _fits(
    data: Any, i: int, end: int, pool: Any, ops: Any, node: Any, op: int, spans: Any, base: int, line: int, memo: Any
) -> int:
    """-1 where the text [i, end) is what the program at `op` describes, else the operation that failed.

    Captures go to spans[base + slot].

    What an operation did to this line is kept in memo[its node] = (line, position after; -1: failed, -2: left out), for
    other rows that begin alike.
    """
    while True:
        code = ops[op, 0]
        if code == 0:
            return -1 if i == end else op
        at = node[op]
        stop = np.int64(memo[at, 1])
        if memo[at, 0] != line:
            if code == 2:
                stop = _capture(data, i, end, pool, ops[op, 1], ops[op, 3], ops[op, 4])
            elif _equal(data, i, end, pool, ops[op, 1], ops[op, 2]):
                stop = i + ops[op, 2] if code == 1 else i
            else:
                stop = -1 if code == 1 else -2
            memo[at, 0] = line
            memo[at, 1] = stop
        if stop == -1:
            return op
        if stop == -2:
            op = ops[op, 3]
            continue
        if code == 2:
            slot = ops[op, 2]
            if slot >= 0:
                spans[base + slot, 0] = i
                spans[base + slot, 1] = stop
                kind = ops[op, 1]
                if kind == 7:
                    if stop > i and data[stop - 1] == 41:
                        spans[base + slot, 1] = stop - 1
                elif (kind == 12 and data[i] == 60) or (kind == 17 and data[i] == 91):
                    spans[base + slot, 0] = i + 1 if kind == 12 else _inside(data, i, end)
                    spans[base + slot, 1] = stop - 1
        i = stop
        op += 1


@compiled
def _parts(data: Any, k: int, end: int, allowed: Any, sizes: Any) -> int:
    """Where an ID whose first part ends at k ends; -1 where its other parts are missing."""
    for part in range(1, 3):
        if not sizes[part, 1]:
            break
        if k >= end or data[k] != 45:
            return -1
        k += 1
        first = k
        most: int = min(end, k + np.int64(sizes[part, 1]))
        while k < most and allowed[data[k]]:
            k += 1
        if k - first < np.int64(sizes[part, 0]):
            return -1
    return k


@compiled
def _queue_id(data: Any, i: int, end: int, pool: Any, allowed: Any, sizes: Any, at: int, size: int, never: Any) -> int:
    """Where the ID that the text begins with ends, the program's sign following; -1 where there is none."""
    k = i
    most: int = min(end, i + np.int64(sizes[0, 1]))
    while k < most and allowed[data[k]]:
        k += 1
    if k - i < np.int64(sizes[0, 0]):
        return -1
    if sizes[1, 1]:
        k = _parts(data, k, end, allowed, sizes)
        if k < 0:
            return -1
    if k + size > end:
        return -1
    for n in range(size):
        if data[k + n] != pool[at + n]:
            return -1
    for n in range(never.shape[0]):
        if never[n, 1] and _equal(data, i, end, pool, never[n, 0], never[n, 1]):
            return -1
    return k


@compiled
def _said(data: Any, i: int, end: int, pool: Any, holds: Any, lacks: Any) -> bool:
    """Whether the text holds one of the words that the row asks for, and none that it forbids."""
    for n in range(lacks.shape[0]):
        if lacks[n, 1] and _find(data, i, end, pool, lacks[n, 0], lacks[n, 1]) < end:
            return False
    asked = False
    for n in range(holds.shape[0]):
        if holds[n, 1]:
            if _find(data, i, end, pool, holds[n, 0], holds[n, 1]) < end:
                return True
            asked = True
    return not asked


@compiled
def _match(
    data: Any, texts: Any, ends: Any, programs: Any, services: Any, after: Any, tables: Any, rows: Any, bases: Any,
    memo: Any, spans: Any, width: int, first: int, base: int,
) -> tuple[int, int]:  # fmt: skip
    """(line, base): the first line, from `first` on, that has no room left in spans, of `width` a line; how much is filled."""
    for line in range(first, texts.size):
        if base + width > spans.shape[0]:
            return line, base
        program = np.int64(programs[line])
        start = np.int64(texts[line])
        end = np.int64(ends[line])
        after_at = np.int64(tables.after[program, 0])
        after_size = np.int64(tables.after[program, 1])
        allowed = tables.id_bytes[program]
        sizes = tables.id_size[program]
        never = tables.never[program]
        id_end = np.int64(_queue_id(data, start, end, tables.pool, allowed, sizes, after_at, after_size, never))
        byte = np.int64(data[start]) if start < end else 256
        plain = np.int64(tables.row_range[program, 0, byte, 0])
        plain_end = np.int64(tables.row_range[program, 0, byte, 1])
        tagged = np.int64(0)
        tagged_end = np.int64(0)
        body = start
        if id_end >= 0:
            body = id_end + after_size
            byte = np.int64(data[body]) if body < end else 256
            tagged = np.int64(tables.row_range[program, 1, byte, 0])
            tagged_end = np.int64(tables.row_range[program, 1, byte, 1])
        rows[line] = -1
        bases[line] = base
        while plain < plain_end or tagged < tagged_end:
            if tagged >= tagged_end or (plain < plain_end and tables.row_list[plain] < tables.row_list[tagged]):
                row = np.int64(tables.row_list[plain])
                plain += 1
                at = start
                from_plain = True
            else:
                row = np.int64(tables.row_list[tagged])
                tagged += 1
                at = body
                from_plain = False
            if row <= after[line] or not (tables.services[row] & services[line]):
                continue
            op = np.int64(tables.op_start[row])
            if op < 0:
                if _equal(data, at, end, tables.pool, tables.starts[row, 0], tables.starts[row, 1]):
                    rows[line] = row
            else:
                for slot in range(tables.slots[row]):
                    spans[base + slot, 0] = -1
                if tables.has_id[row]:
                    spans[base, 0] = start
                    spans[base, 1] = id_end
                failed = _fits(data, at, end, tables.pool, tables.ops, tables.node, op, spans, base, line, memo)
                if failed < 0:
                    if not tables.worded[row] or _said(
                        data, start, end, tables.pool, tables.holds[row], tables.lacks[row]
                    ):
                        rows[line] = row
                elif from_plain:
                    plain += tables.alike[failed]
                else:
                    tagged += tables.alike[failed]
            if rows[line] >= 0:
                base += np.int64(tables.slots[row])
                break
    return texts.size, base


@compiled
def _unwrap(data: Any, texts: Any, ends: Any, word: Any, repeat: Any) -> None:
    size = word.size
    for line in range(texts.size):
        start = np.int64(texts[line])
        end = np.int64(ends[line])
        repeat[line] = 1
        if start >= end or data[start] != word[0] or not _equal(data, start, end, word, 0, size):
            continue
        i = _run(data, start + size, end)
        if i == start + size or i - start - size > 9 or i + 10 > end:
            continue
        times = 0
        for k in range(start + size, i):
            times = times * 10 + np.int64(data[k]) - 48
        # ' times: [ '
        if data[i] != 32 or data[i + 1] != 116 or data[i + 6] != 58 or data[i + 7] != 32 or data[i + 8] != 91:
            continue
        repeat[line] = times
        texts[line] = i + 10
        if data[end - 1] == 93 and end - 1 >= i + 10:
            end -= 1
            while end > i + 10 and data[end - 1] == 32:
                end -= 1
        ends[line] = end


def unwrap(data: Array, texts: Array, ends: Array) -> tuple[Array, Array, Array]:
    """(starts, ends, repeat) of the texts: `message repeated N times: [ TEXT]` (rsyslog, journald) is N times TEXT."""
    texts, ends = texts.copy(), ends.copy()
    repeat = np.empty(texts.size, np.int64)
    _unwrap(data, texts, ends, np.frombuffer(b"message repeated ", np.uint8), repeat)
    return texts, ends, repeat


def match(
    data: Array, texts: Array, ends: Array, programs: Array, services: Array, grammars: Grammars
) -> tuple[Array, Array, Array]:
    """(row or NO_ROW, base, spans): text n has its field in slot s at bytes spans[base[n] + s] (start -1: absent).

    Args:
        data: the chunk (uint8); texts, ends: where each text lies in it (int32).
        programs: each text's program (int8); services: bits of the service it is from (int64).
        grammars: the rows; the first of a program that fits is taken.

    """
    lines = texts.size
    after = np.full(lines, -1, np.int32)
    rows, bases, spans = _matched(data, texts, ends, programs, services, after, grammars.tables)
    waiting = _regex_lines(rows, grammars)
    while waiting.size:
        more: list[list[tuple[int, int]]] = []
        place = len(spans)
        failed = []
        for line in waiting.tolist():
            found = _by_regex(data, int(texts[line]), int(ends[line]), int(rows[line]), grammars)
            if found is None:
                failed.append(line)
                continue
            bases[line] = place
            place += len(found)
            more.append(found)
        if more:
            spans = np.concatenate([spans, *(np.array(part, np.int32).reshape(-1, 2) for part in more)])
        again = np.array(failed, np.int64)
        if not again.size:
            break
        taken, new_bases, new_spans = _matched(
            data, texts[again], ends[again], programs[again], services[again], rows[again], grammars.tables
        )
        rows[again] = taken
        bases[again] = new_bases + len(spans)
        spans = np.concatenate([spans, new_spans])
        waiting = again[_regex_lines(taken, grammars)]
    return rows, bases, spans


def _matched(
    data: Array, texts: Array, ends: Array, programs: Array, services: Array, after: Array, tables: Tables
) -> tuple[Array, Array, Array]:
    rows = np.empty(texts.size, np.int32)
    bases = np.empty(texts.size, np.int64)
    memo = np.full((tables.node.size, 2), -1, np.int32)
    width = int(tables.slots.max(initial=0)) + 1
    spans = np.empty((texts.size * 6 + width, 2), np.int32)
    line, base = 0, 0
    while True:
        line, base = _match(
            data, texts, ends, programs, services, after, tables, rows, bases, memo, spans, width, line, base
        )
        if line == texts.size:
            return rows, bases, spans[:base]
        spans = np.concatenate([spans, np.empty_like(spans)])


def _regex_lines(rows: Array, grammars: Grammars) -> Array:
    """The texts whose row is a regular expression that is still to be tried."""
    return np.flatnonzero((rows >= 0) & (grammars.tables.op_start[rows] < 0))


def _by_regex(data: Array, start: int, end: int, number: int, grammars: Grammars) -> list[tuple[int, int]] | None:
    """The spans of a regular expression's fields; None where it does not match, or cuts a character in two.

    No text longer than LONGEST_FOR_REGEX matches.
    """
    if end - start > LONGEST_FOR_REGEX:
        return None
    row = grammars.rows[number]
    text = data[start:end].tobytes()
    after = row.after.encode()
    skip = text.index(after) + len(after) if row.has_id else 0
    found = row.pattern.compiled.fullmatch(text, skip) if row.pattern else None
    if found is None:
        return None
    spans = [(start, start + skip - len(after))] if row.has_id else []
    for name in row.fields[len(spans) :]:
        low, high = found.span(name)
        if any(0 <= edge < len(text) and text[edge] & 0xC0 == 0x80 for edge in (low, high)):
            return None
        spans.append((start + low, start + high) if low >= 0 else (-1, -1))
    return spans
