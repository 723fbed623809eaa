"""The doubled hour at the end of summer time: from where on in a file local stamps mean its second pass."""

import base64
import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl

from hoptrace.schemas.fleet import DAY_US, HOUR_US, Fleet
from hoptrace.transforms.cut import LOCAL, YEARLESS, Heads, cut_heads
from hoptrace.transforms.read import Chunk, Range, read_chunks
from hoptrace.transforms.stamps import EPOCH, queue_id_time, transitions

Array = np.ndarray[Any, Any]

MICROSECOND = timedelta(microseconds=1)
STEP_BACK_US = HOUR_US // 2
SMALL_STEP_BACK_US = HOUR_US // 30
SECOND_US = 1_000_000
CLOSE_US = HOUR_US // 4
SCAN_CHUNK_BYTES = 8 << 20

POSTFIX_ID = rb"([0-9A-Za-z]{12,30})"
EXIM_ID = rb"([0-9A-Za-z]{6}-(?:[0-9A-Za-z]{6}-[0-9A-Za-z]{2}|[0-9A-Za-z]{11}-[0-9A-Za-z]{4}))"
# IDs that hold the time (UTC) at which their line was written: of a message that just arrived, here or at the next
# server; of an older message that is told with its age; and of a Dovecot LMTP session.
MADE_NOW = (
    re.compile(rb": " + POSTFIX_ID + rb": (?:client=|uid=|message-id=)"),
    re.compile(rb"\bqueued as " + POSTFIX_ID + rb"\b"),
    re.compile(rb": " + POSTFIX_ID + rb": to=<[^\n]*?, delay=(\d+(?:\.\d+)?),"),
    re.compile(rb" " + EXIM_ID + rb" <= "),
    re.compile(rb"\bid=" + EXIM_ID + rb"\b"),
)
SESSION = re.compile(rb"[ <]([0-9A-Za-z+/]{22})(?::\w+)*(?: Saved\)|>: )")


@dataclass(frozen=True)
class DoubledHour:
    """Local time that a zone has twice.

    From `begins` on (local microseconds since 1970) for `lasts` microseconds; its first pass begins at `first_utc`.
    """

    begins: int
    lasts: int
    first_utc: int

    def yearless(self) -> int:
        """Its begin as stamps without a year have it: (month * 32 + day) * DAY_US + microseconds of the day."""
        date = EPOCH + self.begins * MICROSECOND
        return (date.month * 32 + date.day) * DAY_US + self.begins % DAY_US

    def passes(self, local: Array, made: Array) -> Array:
        """The pass (1 or 2) of lines stamped `local` that tell of what was made at `made` (UTC); 0: neither."""
        first = np.abs(made - (self.first_utc + local - self.begins))
        second = np.abs(made - (self.first_utc + local - self.begins + self.lasts))
        told = np.where(second < first, 2, 1)
        return np.where(np.minimum(first, second) < min(CLOSE_US, self.lasts // 2), told, 0)


def doubled_hours(zone: str, starts_at_us: int, ends_at_us: int) -> list[DoubledHour]:
    """The doubled hours of `zone` that begin within [starts_at_us, ends_at_us) (UTC microseconds)."""
    years = range((EPOCH + starts_at_us * MICROSECOND).year, (EPOCH + ends_at_us * MICROSECOND).year + 1)
    changes = [change for year in years for change in transitions(zone, year) if starts_at_us <= change[0] < ends_at_us]
    hours = []
    for moment, after in changes:
        offset = (EPOCH + (moment - 1) * MICROSECOND).astimezone(ZoneInfo(zone)).utcoffset() or timedelta()
        before = offset // MICROSECOND
        if after < before:
            hours.append(DoubledHour(begins=moment + after, lasts=before - after, first_utc=moment - (before - after)))
    return hours


def find_fold(r: Range, hour: DoubledHour, zone: str, fleet: Fleet) -> int | None:
    """The byte offset in the text of file `r` from which lines of the doubled hour are its second pass.

    That is where the stamps of the hosts in `zone` step back by more than STEP_BACK_US within the hour. Where they do
    not, it is the place that agrees with most of the IDs that tell the time (see MADE_NOW); of several such places a
    step back, else the longest pause. None where all is first pass.
    """
    search = FoldSearch(hour)
    for chunk in read_chunks(r, SCAN_CHUNK_BYTES):
        if isinstance(chunk, Chunk):
            heads = cut_heads(chunk.data)
            lines, since = near_hour(heads, hour, hosts_in(zone, heads, r.folder_host, fleet))
            if search.see(chunk, heads, lines, since):
                break
    return search.fold_at()


class FoldSearch:
    """What was seen so far of one file's lines within a doubled hour.

    The lines are kept as runs without a pause of a second: the offset of each, the step of the clock before it, and how
    many of its lines say that they are of the first and of the second pass.
    """

    def __init__(self, hour: DoubledHour) -> None:
        self._hour = hour
        self._stepped_at: int | None = None
        self._last: int | None = None  # microseconds into the hour, of the last line seen
        self._latest = 0
        self._after: int | None = None  # ... of the first line after the hour
        self._offsets: list[Array] = []
        self._steps: list[Array] = []
        self._told: list[Array] = []

    def see(self, chunk: Chunk, heads: Heads, lines: Array, since: Array) -> bool:
        """Takes the next lines, stamped `since` microseconds into the hour (or beside it); whether all is told."""
        inside = (since >= 0) & (since < self._hour.lasts)
        if not inside.any():
            if self._offsets:
                self._after = int(since[0]) if since.size else self._after
                return self._after is not None
            self._last = int(since[-1]) if since.size else self._last
            return False
        first, last = np.flatnonzero(inside)[[0, -1]]
        if first > 0 and not self._offsets:
            self._last = int(since[first - 1])
        if last + 1 < since.size:
            self._after = int(since[last + 1])
        lines, since = lines[inside], since[inside]
        offsets = chunk.offset + heads.starts[lines]
        latest = np.maximum.accumulate(np.concatenate((np.array([self._latest]), since)))
        stepped = np.flatnonzero(since < latest[:-1] - STEP_BACK_US)
        self._latest = int(latest[-1])
        if stepped.size:
            self._stepped_at = int(offsets[stepped[0]])
            return True
        steps = np.diff(since, prepend=min(0, self._last or 0) if not self._offsets else self._last or 0)
        begins = np.abs(steps) >= SECOND_US
        begins[0] = True
        told = passes_told(chunk.data, heads, lines, since + self._hour.begins, self._hour)
        runs = np.cumsum(begins) - 1
        self._offsets.append(offsets[begins])
        self._steps.append(steps[begins])
        self._told.append(np.stack([np.bincount(runs, told == n, begins.sum()) for n in (1, 2)]))
        self._last = int(since[-1])
        return False

    def fold_at(self) -> int | None:
        """Where the second pass begins, by all that was seen."""
        if self._stepped_at is not None or not self._offsets:
            return self._stepped_at
        offsets, told = np.concatenate(self._offsets), np.concatenate(self._told, axis=1)
        pause = max(self._after or 0, self._hour.lasts) - (self._last or 0)
        steps = np.append(np.concatenate(self._steps), pause)
        before = np.concatenate(([0], np.cumsum(told[0])))
        after = told[1].sum() - np.concatenate(([0], np.cumsum(told[1])))
        agree = before + after
        likely = np.where(steps < -SMALL_STEP_BACK_US, np.iinfo(np.int64).max + steps.clip(max=0), steps)
        best = np.flatnonzero(agree == agree.max())
        at = int(best[::-1][np.argmax(likely[best][::-1])])
        return int(offsets[at]) if at < offsets.size else None


def passes_told(data: bytes, heads: Heads, lines: Array, local: Array, hour: DoubledHour) -> Array:
    """In which pass of the hour each of the `lines`, stamped `local`, says that it is: 1, 2, or 0: it says nothing."""
    begin, end = int(heads.starts[lines[0]]), int(heads.ends[lines[-1]])
    at: list[int] = []
    made: list[int] = []
    for pattern in MADE_NOW:
        found = list(pattern.finditer(data, begin, end))
        times = queue_id_time(pl.Series([match[1].decode() for match in found], dtype=pl.String))
        ages = [float(match[2]) if pattern.groups > 1 else 0.0 for match in found]
        for match, time, age in zip(found, times, ages):
            if time is not None:
                at.append(match.start())
                made.append(time + round(age * SECOND_US))
    for match in SESSION.finditer(data, begin, end):
        at.append(match.start())
        made.append(session_time(match[1]))
    told = np.zeros(lines.size, np.int64)
    if at:
        places = np.searchsorted(heads.starts, np.array(at, np.int64), "right") - 1
        index = np.minimum(np.searchsorted(lines, places), lines.size - 1)
        mine = lines[index] == places
        passes = hour.passes(local[index[mine]], np.array(made, np.int64)[mine])
        told[index[mine][passes == 1]] = 1
        told[index[mine][passes == 2]] = 2
    return told


def session_time(session: bytes) -> int:
    """UTC microseconds of a Dovecot LMTP session ID, whose bytes 4 to 7 are seconds (lib/guid.c, guid_128_generate)."""
    return int.from_bytes(base64.b64decode(session + b"==")[4:8], "little") * SECOND_US


def hosts_in(zone: str, heads: Heads, folder_host: str, fleet: Fleet) -> Array:
    """Whether each of the heads' hosts, and lastly the folder's, has its local time in `zone`."""
    names = [fleet.host_named(host.decode("utf-8", "replace")) for host in heads.hosts]
    return np.array([fleet.zone_of(host) == zone for host in (*names, folder_host)])


def near_hour(heads: Heads, hour: DoubledHour, counted: Array) -> tuple[Array, Array]:
    """The lines of `counted` hosts whose stamps name no zone, and how far into the hour each is, in microseconds."""
    begins = np.where(heads.form == YEARLESS, hour.yearless(), hour.begins)
    zoneless = (heads.form == YEARLESS) | (heads.form == LOCAL)
    lines = np.flatnonzero(zoneless & counted[heads.host])
    return lines, heads.stamp[lines] - begins[lines]
