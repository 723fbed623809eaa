"""Lines and their heads: where each line of a chunk lies, its stamp, host, program, process ID and text, as numbers.

One pass over the bytes; strings stay where they are. The stamps are those of `hoptrace.transforms.stamps`.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from hoptrace.transforms.jit import compiled

Array = np.ndarray[Any, Any]

# How a line's stamp is to be read.
NO_STAMP = 0
UTC = 1  # UTC microseconds
LOCAL = 2  # microseconds since 1970 in the host's own zone
YEARLESS = 3  # (month * 32 + day) * 86 400 000 000 + microseconds of the day, in the host's own zone

# How the program's name was found: the first part of a tag's code.
SYSLOG = 0  # `host program[pid]: text`
OWN_YEARLESS = 1  # `Mon DD HH:MM:SS word...` without host: the tag is the word before ':', '(' or '<'
OWN_DATED = 2  # `YYYY-MM-DD HH:MM:SS word...` without host: Exim's and Dovecot's own files
OWN_EXIM = 3  # ... whose word is an Exim message ID
CONTINUED = 4  # no stamp, and the look of a line that goes on with the one before it


@dataclass(frozen=True)
class Heads:
    """What the heads of a chunk's lines say; arrays with one value a line, and the distinct hosts and tags.

    `starts`, `ends`: the line without its line end; `texts`, `text_ends`: the text after the head, without trailing
    blanks; `form`, `stamp`: see above; `host`, `tag`: index into `hosts`, `tags`, -1 for none; `pid`: -1 for none.
    """

    starts: Array
    ends: Array
    texts: Array
    text_ends: Array
    form: Array
    stamp: Array
    host: Array
    tag: Array
    pid: Array
    hosts: list[bytes]
    tags: list[tuple[int, bytes]]


@compiled
def _digits(data: Any, start: int, count: int, end: int) -> int:
    """The number written in `count` digits, or -1."""
    if start + count > end:
        return -1
    value = 0
    for i in range(start, start + count):
        digit = np.int64(data[i]) - 48
        if digit < 0 or digit > 9:
            return -1
        value = value * 10 + digit
    return value


@compiled
def _month(data: Any, i: int) -> int:
    key = (np.int64(data[i]) << 16) | (np.int64(data[i + 1]) << 8) | np.int64(data[i + 2])
    if key == 0x4A616E:
        return 1
    if key == 0x466562:
        return 2
    if key == 0x4D6172:
        return 3
    if key == 0x417072:
        return 4
    if key == 0x4D6179:
        return 5
    if key == 0x4A756E:
        return 6
    if key == 0x4A756C:
        return 7
    if key == 0x417567:
        return 8
    if key == 0x536570:
        return 9
    if key == 0x4F6374:
        return 10
    if key == 0x4E6F76:
        return 11
    if key == 0x446563:
        return 12
    return 0


@compiled
def _month_days(year: int, month: int) -> int:
    if month == 2:
        return 29 if (year % 4 == 0 and year % 100 != 0) or year % 400 == 0 else 28
    return 30 if month in (4, 6, 9, 11) else 31


@compiled
def _days(year: int, month: int, day: int) -> int:
    """Days since 1970-01-01 (H. Hinnant, days_from_civil)."""
    y = year - (1 if month <= 2 else 0)
    era = y // 400
    yoe = y - era * 400
    doy = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    return era * 146097 + yoe * 365 + yoe // 4 - yoe // 100 + doy - 719468


@compiled
def _clock(data: Any, i: int, end: int) -> tuple[int, int]:
    """(microseconds of the day, position after) of `HH:MM:SS[.fraction]`; (-1, i) where there is none."""
    if i + 8 > end or data[i + 2] != 58 or data[i + 5] != 58:
        return -1, i
    hour = _digits(data, i, 2, end)
    minute = _digits(data, i + 3, 2, end)
    second = _digits(data, i + 6, 2, end)
    if hour < 0 or hour > 23 or minute < 0 or minute > 59 or second < 0 or second > 60:
        return -1, i
    micro = (hour * 3600 + minute * 60 + second) * 1000000
    i += 8
    if i + 1 < end and (data[i] == 46 or data[i] == 44) and 48 <= data[i + 1] <= 57:
        i += 1
        unit = 100000
        while i < end and 48 <= data[i] <= 57:
            micro += (np.int64(data[i]) - 48) * unit
            unit //= 10
            i += 1
    return micro, i


@compiled
def _offset(data: Any, i: int, end: int) -> tuple[int, int, bool]:
    """(microseconds east of UTC, position after, found) of `Z`, `+hh:mm`, `+hhmm` or ` +hhmm`."""
    if i < end and (data[i] == 90 or data[i] == 122):
        return 0, i + 1, True
    at = i
    if at < end and data[at] == 32:
        at += 1
    if at + 5 > end or (data[at] != 43 and data[at] != 45):
        return 0, i, False
    hours = _digits(data, at + 1, 2, end)
    colon = 1 if data[at + 3] == 58 else 0
    minutes = _digits(data, at + 3 + colon, 2, end)
    if hours < 0 or hours > 23 or minutes < 0 or minutes > 59:
        return 0, i, False
    east = (hours * 60 + minutes) * 60000000
    return (east if data[at] == 43 else -east), at + 5 + colon, True


@compiled
def _stamp(data: Any, i: int, end: int) -> tuple[int, int, int, bool]:
    """(form, value, position after, date and time parted by 'T') of the stamp at `i`."""
    if end - i < 14:
        return 0, 0, i, False
    if data[i] > 57:
        month = _month(data, i)
        if month == 0 or data[i + 3] != 32:
            return 0, 0, i, False
        at = i + 4
        if data[at] == 32:
            at += 1
        day = np.int64(data[at]) - 48
        if day < 0 or day > 9:
            return 0, 0, i, False
        at += 1
        if 48 <= data[at] <= 57:
            day = day * 10 + np.int64(data[at]) - 48
            at += 1
        if day < 1 or day > _month_days(2000, month) or data[at] != 32:
            return 0, 0, i, False
        micro, after = _clock(data, at + 1, end)
        if micro < 0:
            return 0, 0, i, False
        return 3, (month * 32 + day) * 86400000000 + micro, after, False
    year = _digits(data, i, 4, end)
    if end - i < 19 or year < 1970 or data[i + 4] != 45 or data[i + 7] != 45:
        return 0, 0, i, False
    month = _digits(data, i + 5, 2, end)
    day = _digits(data, i + 8, 2, end)
    parted = data[i + 10] == 84 or data[i + 10] == 116
    if month < 1 or month > 12 or day < 1 or day > _month_days(year, month) or not (parted or data[i + 10] == 32):
        return 0, 0, i, False
    micro, after = _clock(data, i + 11, end)
    if micro < 0:
        return 0, 0, i, False
    value = _days(year, month, day) * 86400000000 + micro
    east, after, zoned = _offset(data, after, end)
    return (1, value - east, after, parted) if zoned else (2, value, after, parted)


@compiled
def _same(data: Any, a: int, a_end: int, b: int, b_end: int) -> bool:
    if a_end - a != b_end - b:
        return False
    first, second = np.uint64(a), np.uint64(b)
    for k in range(np.uint64(a_end - a)):  # noqa: SIM110
        if data[first + k] != data[second + k]:
            return False
    return True


@compiled
def _key(data: Any, start: int, end: int, style: int) -> int:
    h = np.uint64(14695981039346656037) + np.uint64(style)
    for k in range(np.uint64(start), np.uint64(end)):
        h = (h ^ np.uint64(data[k])) * np.uint64(1099511628211)
    return np.int64((h ^ (h >> np.uint64(29))) & np.uint64(0x3FFFFFFFFFFFFFFF))


@compiled
def _code(data: Any, start: int, end: int, style: int, slots: Any, found: Any, known: int) -> int:
    """The code of the bytes [start, end) among the `known` found ones; `known` itself, entered, where they are new."""
    at = _key(data, start, end, style) & (slots.size - 1)
    while slots[at] >= 0:
        code = slots[at]
        if found[code, 2] == style and _same(data, start, end, found[code, 0], found[code, 1]):
            return np.int64(code)
        at = (at + 1) & (slots.size - 1)
    slots[at] = known
    found[known, 0] = start
    found[known, 1] = end
    found[known, 2] = style
    return known


@compiled
def _word(data: Any, i: int, end: int) -> int:
    for k in range(np.uint64(i), np.uint64(max(i, end))):
        if data[k] == 32:
            return np.int64(k)
    return max(i, end)


@compiled
def _blanks(data: Any, i: int, end: int) -> int:
    while i < end and data[i] == 32:
        i += 1
    return i


@compiled
def _base62(data: Any, i: int, count: int) -> bool:
    for k in range(i, i + count):
        c = data[k]
        if not (48 <= c <= 57 or 65 <= c <= 90 or 97 <= c <= 122):
            return False
    return True


@compiled
def _exim_id(data: Any, i: int, end: int) -> bool:
    """Whether [i, end) is an Exim message ID: 6-6-2 base-62 characters, 6-11-4 since Exim 4.97."""
    size = end - i
    if size == 16:
        return data[i + 6] == 45 and data[i + 13] == 45 and _base62(data, i, 6) and _base62(data, i + 7, 6)
    if size == 23:
        return data[i + 6] == 45 and data[i + 18] == 45 and _base62(data, i, 6) and _base62(data, i + 7, 11)
    return False


@compiled
def _tag_end(data: Any, i: int, end: int) -> int:
    for k in range(np.uint64(i), np.uint64(max(i, end))):
        if data[k] == 32 or data[k] == 58 or data[k] == 91:
            return np.int64(k)
    return max(i, end)


@compiled
def _pid(data: Any, i: int, end: int) -> tuple[int, int]:
    """(process ID or -1, position after) of `[...]` at i; (-2, i) where the bracket does not close."""
    close = i + 1
    pid = 0
    while close < end and data[close] != 93:
        c = data[close]
        pid = pid * 10 + np.int64(c) - 48 if 0 <= pid < 1000000000000 and 48 <= c <= 57 else -1
        if c == 32:
            return -2, i
        close += 1
    if close >= end:
        return -2, i
    return (-1 if close == i + 1 else pid), close + 1


@compiled
def _structured(data: Any, i: int, end: int) -> int:
    """Position after RFC 5424 structured data: `-` or any number of `[...]`."""
    if i < end and data[i] == 45:
        return i + 1
    while i < end and data[i] == 91:
        quoted = False
        i += 1
        while i < end and (quoted or data[i] != 93):
            if data[i] == 92:
                i += 1
            elif data[i] == 34:
                quoted = not quoted
            i += 1
        i += 1
    return min(i, end)


@compiled
def _is_exim(data: Any, i: int, end: int) -> bool:
    return end - i >= 4 and data[i] == 101 and data[i + 1] == 120 and data[i + 2] == 105 and data[i + 3] == 109


@compiled
def _exim_head(data: Any, i: int, end: int) -> tuple[int, int, int]:
    """(form, stamp, position after) of what Exim itself puts before a text in syslog: `[1/2]`, its own stamp, `[pid]`.

    Source: write_syslog() of src/log.c; only the first piece of a line that is split has the rest of them.
    """
    if i + 6 <= end and data[i] == 91 and data[i + 1] == 49 and (data[i + 2] == 47 or data[i + 2] == 92):
        k = i + 3
        while k < end and 48 <= data[k] <= 57:
            k += 1
        if k + 1 < end and data[k] == 93 and data[k + 1] == 32:
            i = k + 2
    own, value, after, _ = _stamp(data, i, end) if i < end and data[i] <= 57 else (0, 0, i, False)
    if own != 0 and after < end and data[after] == 32:
        i = _blanks(data, after, end)
    else:
        own = 0
    if i < end and data[i] == 91:
        found, after = _pid(data, i, end)
        if found >= 0 and after < end and data[after] == 32:
            i = after + 1
    return own, value, i


@compiled
def _goes_on(data: Any, i: int, end: int) -> bool:
    """Whether a line without a stamp goes on with the one before: indented, or part of a header that a reject dumps.

    Exim's reject log (spec, chapter 52): `Envelope-from: <`, `Envelope-to: <`, then header lines behind their type.
    """
    if i >= end:
        return False
    if data[i] == 32 or data[i] == 9:
        return True
    if i + 9 < end and data[i] == 69 and data[i + 1] == 110 and data[i + 8] == 45 and data[i + 2] == 118:
        return True
    if i + 3 < end and (data[i] == 42 or 65 <= data[i] <= 90) and data[i + 1] == 32 and data[i + 2] > 32:
        k = i + 2
        while k < end and 32 < data[k] < 127 and data[k] != 58:
            k += 1
        return k < end and data[k] == 58
    dashes = i
    while dashes < end and data[dashes] == 45:
        dashes += 1
    return dashes == end and end - i >= 10


@compiled
def _after_facility(data: Any, i: int, end: int) -> int:
    """Position after `<mail.info> `, as BSD's syslogd -v puts it before the host; i itself where there is none."""
    if i >= end or data[i] != 60:
        return i
    k = i + 1
    while k < end and (97 <= data[k] <= 122 or 48 <= data[k] <= 57 or data[k] == 46):
        k += 1
    return k + 2 if k > i + 1 and k + 1 < end and data[k] == 62 and data[k + 1] == 32 else i


@compiled
def _after_message_id(data: Any, i: int, end: int) -> int:
    """Position after `[ID 801593 mail.notice] ` (Solaris, log(7D)) before a text; i itself where there is none."""
    if i + 8 > end or data[i] != 91 or data[i + 1] != 73 or data[i + 2] != 68 or data[i + 3] != 32:
        return i
    k = i + 4
    while k < end and 48 <= data[k] <= 57:
        k += 1
    if k == i + 4 or k >= end or data[k] != 32:
        return i
    while k < end and data[k] != 93:
        k += 1
    return k + 2 if k + 1 < end and data[k + 1] == 32 else i


@compiled
def _own(data: Any, i: int, end: int) -> int:
    """Where the process name at the start of a line of a program's own file ends; i where there is none."""
    at = i
    while at < end and (97 <= data[at] <= 122 or data[at] == 45 or (at > i and 48 <= data[at] <= 57)):
        at += 1
    return at if at < end and data[at] in (58, 40, 60) else i


@compiled
def _heads(
    data: Any, starts: Any, ends: Any, out: Any, form: Any, stamp: Any, pids: Any, hosts: Any, tags: Any, slots: Any
) -> Any:
    """Fills out[0..3] = text, text end, host code, tag code; gives the numbers of distinct hosts and tags, their spans and
    styles in `hosts` and `tags`. `slots`: two rows of -1, a power of two and larger than the number of lines."""
    host_slots = slots[0]
    tag_slots = slots[1]
    n_hosts = 0
    n_tags = 0
    last_host = -1
    for line in range(starts.size):
        start = np.int64(starts[line])
        end = np.int64(ends[line])
        while end > start and data[end - 1] == 32:
            end -= 1
        i = start
        pid = np.int64(-1)
        host = start
        host_end = start
        tag = start
        tag_end = start
        style = -1
        versioned = False
        if i < end and data[i] == 60:
            close = i + 1
            while close < end and close < i + 4 and 48 <= data[close] <= 57:
                close += 1
            if close < end and close > i + 1 and data[close] == 62:
                i = close + 1
                if i + 1 < end and 49 <= data[i] <= 57 and data[i + 1] == 32:
                    versioned = True
                    i += 2
        kind, value, i, parted = _stamp(data, i, end)
        if kind != 0 and i < end and data[i] != 32:
            kind = 0
        if kind == 0:
            i = start
        elif versioned:
            host = i + 1
            host_end = _word(data, host, end)
            tag = min(host_end + 1, end)
            tag_end = _word(data, tag, end)
            process = min(tag_end + 1, end)
            process_end = _word(data, process, end)
            if 0 < process_end - process <= 12:
                pid = _digits(data, process, process_end - process, end)
            i = _word(data, min(process_end + 1, end), end)
            i = _blanks(data, _structured(data, min(i + 1, end), end), end)
            if i + 3 <= end and data[i] == 0xEF and data[i + 1] == 0xBB and data[i + 2] == 0xBF:
                i += 3
            style = 0
            if tag_end - tag == 1 and data[tag] == 45:
                style = -1
            if host_end - host == 1 and data[host] == 45:
                host_end = host
        else:
            i = _after_facility(data, _blanks(data, i, end), end)
            spaced = kind != 3 and not parted
            if spaced and i < end and data[i] == 91:
                found, after = _pid(data, i, end)
                if found >= 0 and after < end and data[after] == 32:
                    pid = found
                    i = after + 1
            word_end = _word(data, i, end)
            own = word_end >= end or data[word_end - 1] == 58 if word_end > i else True
            for k in range(i, word_end):
                if data[k] in (40, 60, 61, 91):
                    own = True
            exim = spaced and _exim_id(data, i, word_end)
            if not own and not exim:
                tag = _blanks(data, word_end, end)
                tag_end = _tag_end(data, tag, end)
                after = tag_end
                ok = tag_end > tag and tag_end < end and data[tag_end] != 32
                if ok and data[tag_end] == 91:
                    found, after = _pid(data, tag_end, end)
                    ok = found != -2
                    if ok:
                        pid = found
                elif ok and spaced:
                    ok = _dovecot(data, tag, tag_end)
                if ok:
                    style = 0
                    host = i
                    host_end = word_end
                    if after < end and data[after] == 58:
                        after += 1
                    i = _blanks(data, after, end)
                elif spaced:
                    own = True
                else:
                    host = i
                    host_end = word_end
                    i = tag
            if exim:
                style = 3
                tag = i
                tag_end = i
            elif own:
                tag = i
                tag_end = _tag_end(data, i, word_end)
                found = -2
                if tag_end > tag and tag_end < word_end and data[tag_end] == 91:
                    found, after = _pid(data, tag_end, word_end)
                if found >= 0 and after < word_end and data[after] == 58:
                    style = 0
                    pid = found
                    i = _blanks(data, after + 1, end)
                else:
                    tag_end = _own(data, i, end)
                    style = 2 if spaced else 1
        i = _after_message_id(data, i, end)
        if style == 0 and _is_exim(data, tag, tag_end):
            own, own_value, i = _exim_head(data, i, end)
            if own != 0 and kind == 3:
                kind, value = own, own_value
        elif kind == 0 and style < 0 and _goes_on(data, start, end):
            style = 4
            tag_end = tag = start
        form[line] = kind
        stamp[line] = value
        pids[line] = pid
        out[0, line] = min(i, end)
        out[1, line] = end
        out[2, line] = -1
        out[3, line] = -1
        if host_end > host:
            if last_host >= 0 and _same(data, host, host_end, hosts[last_host, 0], hosts[last_host, 1]):
                code = last_host
            else:
                code = _code(data, host, host_end, 0, host_slots, hosts, n_hosts)
                n_hosts = max(n_hosts, code + 1)
                last_host = code
            out[2, line] = code
        if style >= 0:
            code = _code(data, tag, tag_end, style, tag_slots, tags, n_tags)
            n_tags = max(n_tags, code + 1)
            out[3, line] = code
    return n_hosts, n_tags


@compiled
def _dovecot(data: Any, i: int, end: int) -> bool:
    name = (100, 111, 118, 101, 99, 111, 116)
    if end - i < 7:
        return False
    for k in range(7):  # noqa: SIM110
        if data[i + k] != name[k]:
            return False
    return True


@compiled
def _line_ends(data: Any, words: Any, ends: Any) -> int:
    """Fills `ends`, and gives the number of lines, which may be more than fit."""
    k = 0
    i = 0
    whole = words.size * 8
    ones = np.uint64(0x0101010101010101)
    while i < data.size:
        if i & 7 == 0:
            while i < whole:
                word = words[i >> 3] ^ np.uint64(0x0A0A0A0A0A0A0A0A)
                if (word - ones) & ~word & np.uint64(0x8080808080808080):
                    break
                i += 8
            if i >= data.size:
                break
        if data[i] == 10:
            if k < ends.size:
                ends[k] = i
            k += 1
        i += 1
    return k


@compiled
def _count_feeds(data: Any) -> int:
    feeds = np.int64(0)
    for i in range(np.uint64(data.size)):
        feeds += np.int64(data[i] == 10)
    return feeds


def count_lines(data: bytes) -> int:
    """How many lines end in `data`."""
    return int(_count_feeds(np.frombuffer(data, np.uint8)))


def line_ends(data: bytes | Array) -> Array:
    """Positions (int32) of the line feeds of a chunk, which ends with one."""
    array = np.frombuffer(data, np.uint8)
    words = np.frombuffer(data, np.uint64, array.size // 8)
    ends = np.empty(array.size // 64 + 64, np.int32)
    lines = _line_ends(array, words, ends)
    if lines > ends.size:
        ends = np.empty(lines, np.int32)
        _line_ends(array, words, ends)
    return ends[:lines].copy()


def cut_heads(chunk: bytes | Array) -> Heads:
    """The heads of the lines of a chunk of log (ends with a line feed, under 2 GiB, valid UTF-8).

    Headers read: RFC 3164 (with or without <PRI>, day padded with a blank or 0), RFC 3339 as rsyslog writes it,
    RFC 5424 (syslog.conf(5), RFC 5424 section 6), Exim's mainlog (Exim spec, chapter 52) and Dovecot's own file.
    """
    data = np.frombuffer(chunk, np.uint8)
    feeds = line_ends(chunk)
    starts = np.zeros(feeds.size, np.int32)
    starts[1:] = feeds[:-1] + 1
    ends = feeds
    if feeds.size:
        returns = (feeds > starts) & (data[np.maximum(feeds - 1, 0)] == 13)
        if returns.any():
            ends = feeds - returns.astype(np.int32)
    lines = feeds.size
    out = np.empty((4, lines), np.int32)
    form = np.empty(lines, np.uint8)
    stamp = np.empty(lines, np.int64)
    pid = np.empty(lines, np.int64)
    hosts, tags = np.empty((2, lines + 1, 3), np.int32)
    slots = np.full((2, 2 << lines.bit_length()), -1, np.int32)
    n_hosts, n_tags = _heads(data, starts, ends, out, form, stamp, pid, hosts, tags, slots)
    return Heads(
        starts,
        ends,
        out[0],
        out[1],
        form,
        stamp,
        out[2],
        out[3],
        pid,
        [data[start:end].tobytes() for start, end, _ in hosts[:n_hosts]],
        [(int(style), data[start:end].tobytes()) for start, end, style in tags[:n_tags]],
    )
