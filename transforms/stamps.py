"""Stamps as UTC microseconds: the year and the zone that a line leaves out, and what queue IDs prove about both."""

from datetime import datetime, timedelta, timezone
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import polars as pl
import pyarrow as pa

from hoptrace.schemas.errors import HoptraceError
from hoptrace.transforms.cut import LOCAL, NO_STAMP, YEARLESS, cut_heads
from hoptrace.transforms.jit import compiled

Array = np.ndarray[Any, Any]

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
SLACK = 14 * MINUTE
ABSURD = 400 * DAY
YEAR_2000 = 946_684_800 * SECOND
NONE = np.iinfo(np.int64).min


@lru_cache(maxsize=4096)
def transitions(zone: str, year: int) -> tuple[tuple[int, int], ...]:
    """(UTC microseconds, new offset in microseconds) of every change of the zone's offset within a UTC year.

    Raises HoptraceError where there is no such zone.
    """
    info = _zone(zone)
    found = []
    low = datetime(year, 1, 1, tzinfo=timezone.utc)
    last = datetime(year + 1, 1, 1, tzinfo=timezone.utc)
    while low < last:
        high = low + timedelta(days=1)
        if _offset(info, low) != _offset(info, high):
            before, after = low, high
            while after - before > timedelta(seconds=1):
                middle = before + timedelta(seconds=(after - before).total_seconds() // 2)
                before, after = (middle, after) if _offset(info, middle) == _offset(info, low) else (before, middle)
            found.append((_micros(after), _offset(info, after)))
        low = high
    return tuple(found)


def _zone(zone: str) -> ZoneInfo:
    try:
        return ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise HoptraceError(f"time zone {zone!r} is unknown; write one like Europe/Copenhagen or UTC") from error


def _micros(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1)


def _offset(info: ZoneInfo, moment: datetime) -> int:
    return (moment.astimezone(info).utcoffset() or timedelta()) // timedelta(microseconds=1)


def local_to_utc(local: Array, zone: str, second_pass: Array | None = None) -> Array:
    """UTC microseconds of local microseconds in a zone.

    Of the two readings in an hour that comes twice the first is taken, or the second where `second_pass` is true; an
    hour that is skipped maps forward, as if the clock had not been changed yet.
    """
    if not local.size:
        return local.copy()
    info = _zone(zone)
    first = (EPOCH + timedelta(microseconds=int(local.min()))).year - 1
    last = (EPOCH + timedelta(microseconds=int(local.max()))).year + 1
    changes = [change for year in range(first, last + 1) for change in transitions(zone, year)]
    offsets = np.array(
        [_offset(info, datetime(first, 1, 1, tzinfo=timezone.utc))] + [east for _, east in changes], np.int64
    )
    if not changes:
        return local - offsets[0]
    moments = np.array([moment for moment, _ in changes], np.int64)
    later = np.searchsorted(moments + offsets[1:], local, side="right")
    earlier = np.minimum(np.searchsorted(moments + offsets[:-1], local, side="right"), later)
    part = earlier if second_pass is None else np.where(second_pass, later, earlier)
    return local - offsets[part]


@lru_cache(maxsize=64)
def _nearest_days(near_day: int) -> Array:
    """[month * 32 + day] -> days since 1970 of that date in the year that brings it nearest to `near_day`."""
    near = EPOCH + timedelta(days=near_day)
    table = np.zeros(13 * 32, np.int64)
    for month in range(1, 13):
        for day in range(1, 32):
            days = [_day(year, month, day) for year in range(max(near.year - 8, 1), min(near.year + 9, 9999))]
            table[month * 32 + day] = min(
                (day for day in days if day is not None), key=lambda d: abs(d - near_day), default=0
            )
    return table


def _day(year: int, month: int, day: int) -> int | None:
    try:
        return (datetime(year, month, day, tzinfo=timezone.utc) - EPOCH).days
    except ValueError:
        return None


def with_year(stamps: Array, near_us: int) -> Array:
    """Local microseconds of year-less stamps (see `transforms.cut`), each in the year nearest to `near_us`."""
    days = _nearest_days(near_us // DAY)
    return days[stamps // DAY] * DAY + stamps % DAY


def to_utc(
    form: Array, stamp: Array, zones: Array, names: list[str], near_us: int, second_pass: Array | None = None
) -> Array:
    """UTC microseconds of raw stamps; NONE where a line has no stamp.

    Args:
        form: how each stamp is to be read (see `transforms.cut`); stamp: its raw value.
        zones: index of each line's zone in `names`.
        names: the zones' names.
        near_us: what year-less stamps are near to.
        second_pass: lines that come after the clock was set back.

    """
    out = np.where(form == NO_STAMP, NONE, stamp)
    bare = (form == LOCAL) | (form == YEARLESS)
    if not bare.any():
        return out
    local = stamp.copy()
    yearless = form == YEARLESS
    if yearless.any():
        local[yearless] = with_year(stamp[yearless], near_us)
    for n, name in enumerate(names):
        mine = np.flatnonzero(bare & (zones == n))
        out[mine] = local_to_utc(local[mine], name, None if second_pass is None else second_pass[mine])
    return out


def first_stamp(data: bytes, zone: str, near_us: int) -> int | None:
    """UTC microseconds of the first stamp in the first whole lines of a file; None where there is none.

    Year-less stamps are read as in the year that brings them nearest to `near_us`, zone-less ones in `zone`.
    """
    end = data.rfind(b"\n") + 1
    heads = cut_heads(data[:end] if end else data + b"\n")
    stamped = np.flatnonzero(heads.form != NO_STAMP)
    if not stamped.size:
        return None
    one = stamped[:1]
    return int(to_utc(heads.form[one], heads.stamp[one], np.zeros(1, np.int32), [zone], near_us)[0])


@compiled
def _sendmail_time(data: Any, i: int, end: int, base60: Any, none: int) -> int:
    """UTC microseconds in a Sendmail ID, whose year is one of 1996 to 2055; `none` where [i, end) is no such ID.

    An ID of hexadecimal digits only is a short one of Postfix.
    """
    hexes = True
    for k in range(i, i + 8):
        if base60[data[k]] < 0:
            return none
        hexes = hexes and base60[data[k]] < 16
    for k in range(i + 8, end):
        if data[k] < 48 or data[k] > 57:
            return none
    year = base60[data[i]] + 1960
    if year < 1996:
        year += 60
    month = base60[data[i + 1]] + 1
    day = base60[data[i + 2]]
    if hexes or month > 12 or day < 1 or base60[data[i + 3]] > 23:
        return none
    days = (year - 1970) * 365 + (year - 1969) // 4 + day - 1
    for past in range(1, month + 1):
        size = 28 + (year % 4 == 0) if past == 2 else 30 if past in (4, 6, 9, 11) else 31
        if past < month:
            days += size
        elif day > size:
            return none
    seconds = (base60[data[i + 3]] * 60 + base60[data[i + 4]]) * 60 + base60[data[i + 5]]
    return (days * 86400 + seconds) * 1000000


@compiled
def _id_times(data: Any, offsets: Any, base52: Any, base60: Any, base62: Any, out: Any, none: int) -> None:
    for k in range(out.size):
        start = offsets[k]
        end = offsets[k + 1]
        out[k] = none
        if (end - start == 16 or end - start == 23) and data[start + 6] == 45:
            value = np.int64(0)
            for i in range(start, start + 6):
                digit = base62[data[i]]
                value = value * 62 + digit if digit >= 0 and value >= 0 else -1
            if value >= 0:
                out[k] = value * 1000000
            continue
        if 13 <= end - start <= 20:
            out[k] = _sendmail_time(data, start, end, base60, none)
            if out[k] != none:
                continue
        z = end - 1
        while z > start and data[z] != 122:
            z -= 1
        if z - start < 10 or z - start > 12 or z + 1 >= end:
            continue
        ok = True
        for i in range(z + 1, end):
            ok = ok and base52[data[i]] >= 0
        value = np.int64(0)
        for i in range(start, z - 4):
            ok = ok and base52[data[i]] >= 0
            value = value * 52 + base52[data[i]]
        micro = np.int64(0)
        for i in range(z - 4, z):
            ok = ok and base52[data[i]] >= 0
            micro = micro * 52 + base52[data[i]]
        if ok and micro < 1000000:
            out[k] = value * 1000000 + micro


def _alphabet(characters: str) -> Array:
    table = np.full(256, -1, np.int64)
    for n, character in enumerate(characters):
        table[ord(character)] = n
    return table


_CAPITALS, _SMALL = "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz"
BASE_62 = _alphabet("0123456789" + _CAPITALS + _SMALL)
BASE_60 = _alphabet("0123456789" + _CAPITALS + _SMALL[:24])
BASE_52 = _alphabet("0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz")


def queue_id_time(queue_id: pl.Series, stamp: pl.Series | None = None) -> pl.Series:
    """UTC microseconds (Int64) at which long Postfix, Exim and Sendmail IDs were made; null for IDs that hold no time.

    Sources: Postfix global/mail_queue.h (seconds in base 52, four characters of microseconds, `z`, inode in base 51);
    Exim spec, "Message identification" (six base-62 characters of seconds); Sendmail queue.c, assign_queueid() (year
    mod 60, month from 0, day, hour, minute, second in base 60, two more, process ID). Given the lines' stamps, a time
    that is more than 400 days off is null: such an ID only looks like a long one.
    """
    strings = queue_id.fill_null("").rechunk().to_arrow().cast(pa.large_string())
    count = len(strings)
    out = np.full(count, NONE, np.int64)
    if count:
        _, offsets, data = strings.buffers()
        where = np.frombuffer(offsets, np.int64, count + 1, strings.offset * 8)
        letters = np.frombuffer(data, np.uint8) if data is not None and data.size else np.zeros(1, np.uint8)
        _id_times(letters, where, BASE_52, BASE_60, BASE_62, out, NONE)
    missing = out == NONE
    if stamp is not None:
        missing |= np.abs(out - stamp.fill_null(NONE).to_numpy()) > ABSURD
    return pl.Series(queue_id.name, out).set(pl.Series(missing), None)


def conflicts(queue_id: pl.Series, stamp: pl.Series) -> tuple[Array, Array]:
    """(zone, year): lines whose queue ID proves that their stamp was read in a wrong zone, or in a wrong year.

    For lines that begin a message: over 14 minutes from the ID's time, by up to 26 h (zone), or by about whole years.
    """
    made = queue_id_time(queue_id)
    known = made.is_not_null().to_numpy()
    gap = np.abs(stamp.to_numpy() - made.fill_null(0).to_numpy())
    zone = known & (gap > SLACK) & (gap <= 26 * HOUR)
    years = np.round(gap / (365.2425 * DAY))
    year = known & (years >= 1) & (years <= 20) & (np.abs(gap - years * 365.2425 * DAY) <= 2 * DAY)
    return zone, year
