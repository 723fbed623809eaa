"""The doubled hour at the end of summer time: from where on in a file local stamps mean its second pass."""

import re
from collections.abc import Iterator
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
SCAN_CHUNK_BYTES = 8 << 20
# A line that Postfix logs when a message arrives, with what may be a long queue ID.
FRESH = re.compile(rb": ([0-9A-Za-z]{12,30}): (?:client=|uid=|message-id=)")


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

    def second_pass(self, local: int, arrived_at: int) -> bool:
        """Whether a message stamped `local` that arrived at `arrived_at` (UTC) was stamped in the second pass."""
        first = self.first_utc + local - self.begins
        return abs(arrived_at - (first + self.lasts)) < abs(arrived_at - first)


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

    That is where the stamps of the hosts in `zone` step back by more than STEP_BACK_US within the hour; where they do
    not, the arrival times in the queue IDs of fresh messages decide; None where all is first pass or nothing tells.
    """
    search = FoldSearch(hour)
    for chunk in read_chunks(r, SCAN_CHUNK_BYTES):
        if isinstance(chunk, Chunk):
            heads = cut_heads(chunk.data)
            inside, local = in_hour(heads, hour, hosts_in(zone, heads, r.folder_host, fleet))
            if inside.size and search.step_back(chunk.offset + heads.starts[inside], local):
                return search.stepped_at
            search.see_arrivals(chunk, heads, inside, local)
    return search.proven_at


class FoldSearch:
    """What was seen so far of one file's lines within a doubled hour."""

    def __init__(self, hour: DoubledHour) -> None:
        self.stepped_at: int | None = None
        self.proven_at: int | None = None
        self._hour = hour
        self._latest = 0
        self._undecided: int | None = None  # no line before this byte is second pass

    def step_back(self, offsets: Array, local: Array) -> bool:
        """Whether the next lines, at `offsets` and stamped `local`, step back."""
        latest = np.maximum.accumulate(np.concatenate((np.array([self._latest]), local)))
        stepped = np.flatnonzero(local < latest[:-1] - STEP_BACK_US)
        self._latest = int(latest[-1])
        if stepped.size:
            self.stepped_at = int(offsets[stepped[0]])
        return bool(stepped.size)

    def see_arrivals(self, chunk: Chunk, heads: Heads, inside: Array, local: Array) -> None:
        """Takes what the queue IDs of fresh messages in the lines `inside` the hour prove."""
        if self.proven_at is not None or not inside.size:
            return
        offsets = chunk.offset + heads.starts[inside]
        undecided = int(offsets[0]) if self._undecided is None else self._undecided
        for line, arrived_at in fresh_arrivals(chunk.data, heads.starts, inside):
            if self._hour.second_pass(int(local[line]), arrived_at):
                self.proven_at = undecided
                return
            undecided = int(offsets[line]) + 1
        self._undecided = undecided


def fresh_arrivals(data: bytes, starts: Array, inside: Array) -> Iterator[tuple[int, int]]:
    """(index into `inside`, arrival in UTC microseconds) of the lines that log a fresh message with a long queue ID."""
    matches = list(FRESH.finditer(data, int(starts[inside[0]])))
    arrivals = queue_id_time(pl.Series([match[1].decode() for match in matches], dtype=pl.String))
    lines = np.searchsorted(starts, np.array([match.start() for match in matches], np.int64), "right") - 1
    indexes = np.minimum(np.searchsorted(inside, lines), inside.size - 1)
    for line, index, arrived_at in zip(lines, indexes, arrivals):
        if inside[index] == line and arrived_at is not None:
            yield int(index), arrived_at


def hosts_in(zone: str, heads: Heads, folder_host: str, fleet: Fleet) -> Array:
    """Whether each of the heads' hosts, and lastly the folder's, has its local time in `zone`."""
    names = [fleet.host_named(host.decode("utf-8", "replace")) for host in heads.hosts]
    return np.array([fleet.zone_of(host) == zone for host in (*names, folder_host)])


def in_hour(heads: Heads, hour: DoubledHour, counted: Array) -> tuple[Array, Array]:
    """The lines stamped within the hour by hosts that are `counted`, and their local microseconds since 1970."""
    begins = np.where(heads.form == YEARLESS, hour.yearless(), hour.begins)
    since = heads.stamp - begins
    zoneless = (heads.form == YEARLESS) | (heads.form == LOCAL)
    inside = np.flatnonzero(zoneless & (since >= 0) & (since < hour.lasts) & counted[heads.host])
    return inside, since[inside] + hour.begins
