"""A chunk of log to events: every line cut, told the time, matched and counted."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from hoptrace.schemas.coverage import HOLES
from hoptrace.schemas.errors import HoptraceError
from hoptrace.schemas.events import EVENTS, KINDS
from hoptrace.schemas.fleet import Fleet
from hoptrace.transforms.columns import NONE, Columns, nullable, valid_utf8, words_at
from hoptrace.transforms.cut import Heads, line_ends
from hoptrace.transforms.frames import shards_of
from hoptrace.transforms.grammar import QUIET, REPLIES, Grammars
from hoptrace.transforms.hash import hash_spans, hash_strings
from hoptrace.transforms.kinds import Kinds, whole_events
from hoptrace.transforms.losses import LOSS, list_losses
from hoptrace.transforms.match import match, unwrap
from hoptrace.transforms.read import Chunk, Range
from hoptrace.transforms.rejoin import make_whole
from hoptrace.transforms.sessions import PROCESS_KINDS
from hoptrace.transforms.stamps import HOUR, MINUTE, conflicts
from hoptrace.transforms.tags import NOT_MAIL, Tag, read_tags
from hoptrace.transforms.unparsed import UNPARSED_PARTIAL, count_templates
from hoptrace.transforms.whose import find_hosts, find_times
from hoptrace.transforms.witness import Witness, sum_lines

Array = np.ndarray[Any, Any]

COVERAGE_PARTIAL = {
    "host": pl.String(),
    "hour": pl.Int64(),
    "lines": pl.Int64(),
    "bytes": pl.Int64(),
    "events": pl.Int64(),
    "quiet": pl.Int64(),
    "unparsed": pl.Int64(),
    "first_at": pl.Int64(),
    "last_at": pl.Int64(),
    "read_at": pl.Int64(),
    "zone_conflicts": pl.Int64(),
    "year_conflicts": pl.Int64(),
    "minutes": pl.Int64(),
    "minutes_ahead": pl.Int64(),
    "minutes_contrary": pl.Int64(),
    "holes": HOLES,
}
NO_COVERAGE = pl.DataFrame(schema=COVERAGE_PARTIAL)
NO_HOLES = pl.lit([], HOLES)
DELAYS = ("delay_before", "delay_queue", "delay_connect", "delay_transmit")
LARGEST = (1 << 31) - 1 - 64
ADDRESS = r'<(?:"(?:\\.|[^"\\])*")?[^>]*>|[^, <]+'
NUMBER = r"^(-?[0-9]+(?:\.[0-9]+)?)$"
ONCE = ("connect", "disconnect", "arrive", "message", "queue", "leave")
"""Kinds that are not counted: how often such a line stands for itself says nothing."""

SERVICE_KINDS = ("attempt", "store", "mailbox")
"""Kinds whose daemon says what became of a message: a mailer, a transport or a protocol."""

EVENT, SILENT, STRANGE, ELSEWHERE, AHEAD, COPY = range(6)


@dataclass(frozen=True)
class Window:
    """Which lines are read: stamped in [starts_at, ends_at); year-less stamps are near near_us. UTC microseconds.

    Lines from `counted_until` on are evidence for what went before: they give events, but count in no table.
    """

    starts_at: int
    ends_at: int
    near_us: int
    counted_until: int | None = None


@dataclass(frozen=True)
class Parsed:
    """What a chunk says.

    `kinds`: the events by kind, within a shard in the order of their lines, with `key`, the hash of host and queue ID.
    `coverage`, `unparsed`: partial sums of those tables; lines without a stamp stand under hour null. `counts`: lines =
    events + quiet + unparsed + outside (stamped outside the window) + ahead + copies (of lines that count elsewhere).
    `witness`: of the lines in the window.
    """

    kinds: Kinds
    coverage: pl.DataFrame
    unparsed: pl.DataFrame
    counts: dict[str, int]
    witness: Witness = field(default_factory=dict)

    @property
    def events(self) -> pl.DataFrame:
        """All of `kinds` as EVENTS, in the order of the lines."""
        return whole_events(self.kinds).sort("place", maintain_order=True)


@dataclass(frozen=True)
class _Lines:
    """One value a line: byte offset in the file, bytes, host (index into hosts), UTC stamp or NONE, tag."""

    offset: Array
    size: Array
    host: Array
    stamp: Array
    hosts: list[str]
    tags: list[Tag]
    tag: Array


def parse_chunk(chunk: Chunk, r: Range, grammars: Grammars, fleet: Fleet, window: Window, shards: int = 1) -> Parsed:
    r"""The events, coverage and unparsed lines of a chunk of the file range `r`, each kind's events by the shard of their key.

    Bytes that are no valid UTF-8 become `\xNN`. Raises HoptraceError where the chunk is larger than 2 GiB.
    """
    valid = valid_utf8(chunk.data)
    if len(valid) > LARGEST:
        raise HoptraceError(f"{r.path}: {len(valid)} bytes at once, at most {LARGEST} can be cut; read smaller chunks")
    whole = make_whole(chunk, valid)
    data, heads = whole.data, whole.heads
    array = np.frombuffer(data, np.uint8)
    lines = _lines(chunk, r, heads, fleet, window, valid is not chunk.data, grammars)
    stamped = lines.stamp != NONE
    inside = stamped & (lines.stamp >= window.starts_at) & (lines.stamp < window.ends_at)
    copied = find_copied(lines, r)
    if copied is not None:
        inside &= ~copied
    fate = np.where(stamped & ~inside, ELSEWHERE, STRANGE).astype(np.uint8)
    fate[~stamped & (heads.texts == heads.text_ends)] = SILENT
    programs = np.array([tag.program for tag in lines.tags], np.int8)[lines.tag]
    fate[(inside | ~stamped) & ((programs == NOT_MAIL) | whole.spoken_for)] = SILENT
    known = np.flatnonzero(inside & (programs >= 0) & ~whole.spoken_for)
    services = np.array([tag.services for tag in lines.tags], np.int64)[lines.tag[known]]
    texts, ends, repeat = unwrap(array, heads.texts[known], heads.text_ends[known])
    repeat += whole.again[known]
    rows, bases, spans = match(array, texts, ends, programs[known], services, grammars)
    quiet_rows, silent_rows = _silent_rows(grammars)
    found = rows >= 0
    fate[known[found]] = np.where(silent_rows[rows[found]], SILENT, EVENT)
    told = np.flatnonzero(found & ~quiet_rows[rows])
    if window.counted_until is not None:
        fate[inside & (lines.stamp >= window.counted_until)] = AHEAD
    if copied is not None:
        fate[copied] = COPY
    columns = Columns(data, rows[told], bases[told], spans, grammars.fields, grammars.constants)
    tells = _told(columns, known[told], repeat[told], grammars)
    kinds = _kinds(columns, tells, lines, heads, r, grammars, shards)
    coverage = _coverage(lines, fate, tells.line, _contradictions(kinds.get("arrive"), tells))
    unparsed = _unparsed(columns, heads, lines, np.flatnonzero(fate == STRANGE))
    tally = np.bincount(fate, minlength=6).tolist()
    counts = dict(zip(("events", "quiet", "unparsed", "outside", "ahead", "copies"), tally))
    if LOSS in kinds:
        coverage = sum_coverage([coverage, complete_coverage(list_losses(kinds))])
    witness = sum_lines(chunk.data, lines.offset - chunk.offset, lines.size, lines.host, inside, lines.hosts)
    return Parsed(kinds, coverage, unparsed, {"lines": len(fate), **counts}, witness)


def find_copied(lines: "_Lines", r: Range) -> Array | None:
    """The lines that count by another file (bool); None where there are none."""
    if not r.copies:
        return None
    elsewhere = np.array([name in r.copies.hosts_elsewhere for name in lines.hosts])
    return r.copies.cover(lines.offset) | elsewhere[lines.host]


def _silent_rows(grammars: Grammars) -> tuple[Array, Array]:
    """Of each row, and of none, whether it is quiet; whether its lines count as quiet: those, and announcements of losses."""
    kinds = [*(row.kind for row in grammars.rows), None]
    quiet = np.array([kind == QUIET for kind in kinds], np.bool_)
    return quiet, quiet | np.array([kind == LOSS for kind in kinds], np.bool_)


def sum_coverage(parts: list[pl.DataFrame]) -> pl.DataFrame:
    """COVERAGE_PARTIAL rows (host, hour in µs, sums, first_at, last_at, minutes, holes) as one per host and hour, in order."""
    both = pl.concat(parts)
    summed = _sum_lines(both.drop("holes"))
    if both["holes"].list.len().sum():
        told = both.select("host", "hour", "holes").explode("holes").drop_nulls("holes")
        holes = told.group_by("host", "hour").agg(pl.col("holes").unique().sort())
        summed = summed.join(holes, on=["host", "hour"], how="left", nulls_equal=True)
        summed = summed.with_columns(pl.col("holes").fill_null([]))
    return complete_coverage(summed).sort("host", "hour", nulls_last=False)


def _sum_lines(parts: pl.DataFrame) -> pl.DataFrame:
    """Columns of COVERAGE_PARTIAL but holes, summed by host and hour."""
    masks = [name for name in parts.columns if name.startswith("minutes")]
    ends = [name for name in parts.columns if name in ("last_at", "read_at")]
    sums = [name for name in parts.columns if name not in ("host", "hour", "first_at", *ends, *masks)]
    first = [pl.col("first_at").min()] if "first_at" in parts.columns else []
    return parts.group_by("host", "hour").agg(
        pl.col(sums).sum(), *first, pl.col(ends).max(), pl.col(masks).bitwise_or()
    )


def _lines(
    chunk: Chunk, r: Range, heads: Heads, fleet: Fleet, window: Window, rewritten: bool, grammars: Grammars
) -> _Lines:
    starts = heads.starts.astype(np.int64)
    size = np.diff(starts, append=len(chunk.data))
    if rewritten:
        feeds = line_ends(chunk.data).astype(np.int64)
        size = np.diff(feeds, prepend=-1)
        starts = feeds + 1 - size
    offset = starts + chunk.offset
    hosts, host = find_hosts(heads, r, fleet)
    stamp = find_times(heads, hosts, host, offset, r, fleet, window.near_us)
    return _Lines(offset, size, host, stamp, hosts, read_tags(heads.tags, grammars), heads.tag)


@dataclass(frozen=True)
class _Told:
    """The lines that tell something, one value a line: index among all lines, how often it stands for itself, kind (of KINDS)."""

    line: Array
    repeat: Array
    kind: Array


def _told(columns: Columns, line: Array, repeat: Array, grammars: Grammars) -> _Told:
    numbers = np.array([KINDS.index(row.kind) if row.kind != QUIET else 0 for row in grammars.rows], np.int8)
    return _Told(line, repeat, numbers[columns.rows])


def _kinds(
    columns: Columns, told: _Told, lines: _Lines, heads: Heads, r: Range, grammars: Grammars, shards: int
) -> dict[str, pl.DataFrame]:
    """The events by kind and by the shard of their key, each with the columns that its lines yield."""
    keys = _keys(columns, lines, told.line)
    order = np.argsort(told.kind.astype(np.uint32) * np.uint32(shards) + shards_of(keys, shards), kind="stable")
    ends = np.cumsum(np.bincount(told.kind, minlength=len(KINDS)))
    return {
        kind: _events(
            kind,
            Columns.over(columns, columns.rows[at], columns.bases[at], columns.spans),
            keys[at],
            told.line[at],
            told.repeat[at],
            lines,
            heads,
            r,
            grammars,
        )
        for kind, at in zip(KINDS, np.split(order, ends[:-1]), strict=True)
        if at.size
    }


def _events(
    kind: str,
    columns: Columns,
    keys: Array,
    at: Array,
    repeat: Array,
    lines: _Lines,
    heads: Heads,
    r: Range,
    grammars: Grammars,
) -> pl.DataFrame:
    """The events of one kind, of the lines `at`, whose rows and fields `columns` knows."""
    tag = lines.tag[at]
    out = {
        "key": pl.Series(keys),
        "stamp": pl.Series(lines.stamp[at]),
        "host": words_at(lines.hosts, lines.host[at]),
        "place": pl.Series(lines.offset[at] | r.place),
        "instance": words_at([tag.instance for tag in lines.tags], tag),
    }
    if kind in SERVICE_KINDS:
        out["service"] = words_at([tag.service for tag in lines.tags], tag)
    if kind in PROCESS_KINDS:
        pid = heads.pid[at]
        out["pid"] = nullable(np.where(pid < 0, NONE, pid))
    if kind not in ONCE or (repeat != 1).any():
        out["repeat"] = pl.Series(repeat)
    used = np.unique(columns.rows)
    for name, slots in columns.slots.items():
        if (slots[used] != -1).any():
            for column, series in _column(columns, name).items():
                logged = out.get(column)
                out[column] = series if logged is None else pl.select(pl.coalesce(series, logged)).to_series()
    if kind == "attempt" and "status" in out and "reply" in out:
        out["next_queue_id"] = _next_ids(columns, out, grammars)
    return _one_each(pl.DataFrame([series.alias(name) for name, series in out.items()]), columns)


def _keys(columns: Columns, lines: _Lines, at: Array) -> Array:
    """The hash of host and queue ID, as `hash_columns` makes it."""
    seeds = hash_strings(pl.Series(lines.hosts, dtype=pl.String)).to_numpy()
    return hash_spans(columns.array, *columns.field("queue_id"), seeds[lines.host[at]])


def _one_each(events: pl.DataFrame, columns: Columns) -> pl.DataFrame:
    """One event for each address of a line that lists recipients."""
    if "recipients" not in columns.slots:
        return events
    lists = columns.slots["recipients"][columns.rows] != -1
    if not lists.any():
        return events
    each = pl.col("recipient").str.extract_all(ADDRESS).list.eval(pl.element().str.replace("^<(.*)>$", "$1"))
    alone = pl.concat_list("recipient")
    return events.with_columns(recipient=pl.when(pl.Series(lists)).then(each).otherwise(alone)).explode("recipient")


def _column(columns: Columns, name: str) -> dict[str, pl.Series]:
    """The columns that a field becomes."""
    if name in ("relay", "client"):
        logged, address, helo = columns.places(name)
        return {f"{name}_name": logged, f"{name}_ip": address} | ({} if helo is None else {"helo": helo})
    if name == "delays":
        return dict(zip(DELAYS, columns.durations(name, len(DELAYS))))
    if name.startswith("delay"):
        return {name: columns.durations(name)[0]}
    if name == "message_id":
        return {name: columns.message_ids(name)}
    if name == "recipients":
        return {"recipient": columns.strings(*columns.field(name))}
    if name == "action":
        return {name: columns.strings(*columns.field(name)).str.to_lowercase()}
    if EVENTS.schema[name] == pl.Int64:
        return {name: columns.integers(name)}
    if EVENTS.schema[name] == pl.Float64:
        return {name: columns.strings(*columns.field(name)).str.extract(NUMBER).cast(pl.Float64)}
    return {name: columns.strings(*columns.field(name))}


def _next_ids(columns: Columns, out: dict[str, pl.Series], grammars: Grammars) -> pl.Series:
    """The IDs that rows yield themselves, and those that the replies to sent mail name."""
    starts, ends = columns.field("next_queue_id")
    program = grammars.program(REPLIES)
    sent = (out["status"] == "sent").fill_null(False).to_numpy()
    reply_starts, reply_ends = columns.field("reply")
    at = np.flatnonzero(sent & (reply_starts >= 0) & (starts == -1))
    if program is not None and at.size:
        number = np.full(at.size, program, np.int8)
        service = np.full(at.size, -1, np.int64)
        rows, bases, spans = match(columns.array, reply_starts[at], reply_ends[at], number, service, grammars)
        named = np.flatnonzero(rows >= 0)
        replies = Columns.over(columns, rows[named], bases[named], spans)
        starts[at[named]], ends[at[named]] = replies.field("next_queue_id")
    return columns.strings(starts, ends)


def _contradictions(arrivals: pl.DataFrame | None, told: _Told) -> Array:
    """(2, lines that tell something): whether a line that begins a message contradicts its queue ID in its zone, in its year."""
    marks = np.zeros((2, told.line.size), np.bool_)
    if arrivals is not None and "queue_id" in arrivals.columns:
        lines = arrivals.select("place", "queue_id", "stamp").unique("place").sort("place")
        marks[:, told.kind == KINDS.index("arrive")] = conflicts(lines["queue_id"], lines["stamp"])
    return marks


def _coverage(lines: _Lines, fate: Array, event_lines: Array, conflicting: Array) -> pl.DataFrame:
    """Sums by host and hour; runs of lines of one host and minute are added up first."""
    ahead = _read_ahead(lines, fate)
    counted = np.flatnonzero(fate < ELSEWHERE)
    if not counted.size:
        return ahead
    marks = np.zeros((2, len(fate)), np.int64)
    marks[:, event_lines] = conflicting
    stamp, host, fate = lines.stamp[counted], lines.host[counted], fate[counted]
    minute = np.where(stamp == NONE, NONE, stamp // MINUTE * MINUTE)
    runs = np.flatnonzero(np.concatenate([[True], (minute[1:] != minute[:-1]) | (host[1:] != host[:-1])]))
    bits = _minute_bits(minute[runs])

    def total(values: Array) -> Array:
        return np.add.reduceat(values.astype(np.int64), runs)

    zone, year = total(marks[0, counted]), total(marks[1, counted])
    frame = pl.DataFrame(
        {
            "host": words_at(lines.hosts, host[runs]),
            "hour": nullable(np.where(minute[runs] == NONE, NONE, minute[runs] // HOUR * HOUR)),
            "lines": np.diff(runs, append=counted.size).astype(np.int64),
            "bytes": total(lines.size[counted]),
            "events": total(fate == EVENT),
            "quiet": total(fate == SILENT),
            "unparsed": total(fate == STRANGE),
            "first_at": nullable(np.minimum.reduceat(stamp, runs)),
            "last_at": nullable(np.maximum.reduceat(stamp, runs)),
            "read_at": nullable(np.maximum.reduceat(stamp, runs)),
            "zone_conflicts": zone,
            "year_conflicts": year,
            "minutes": bits,
            "minutes_contrary": np.where(zone + year > 0, bits, 0),
        },
    )
    whole = complete_coverage(_sum_lines(frame))
    return sum_coverage([whole, ahead]) if ahead.height else whole.sort("host", "hour", nulls_last=False)


def _minute_bits(stamp: Array) -> Array:
    """Of each stamp the minute of its hour as a bit; 0 of none."""
    return np.where(stamp == NONE, 0, np.left_shift(np.int64(1), stamp % HOUR // MINUTE))


def complete_coverage(frame: pl.DataFrame) -> pl.DataFrame:
    """COVERAGE_PARTIAL of `frame`; what it lacks is 0, a time that it lacks is null, holes that it lacks are none."""
    none = {name: None if name.endswith("_at") else 0 for name in COVERAGE_PARTIAL}
    return frame.select(
        pl.col(name).cast(dtype) if name in frame.columns
        else NO_HOLES.alias(name) if name == "holes" else pl.lit(none[name], dtype).alias(name)
        for name, dtype in COVERAGE_PARTIAL.items()
    )  # fmt: skip


def _read_ahead(lines: _Lines, fate: Array) -> pl.DataFrame:
    """Per host and hour how far lines were read that count in the next night only: rows without lines."""
    ahead = np.flatnonzero(fate == AHEAD)
    if not ahead.size:
        return NO_COVERAGE
    stamp = lines.stamp[ahead]
    read = pl.DataFrame(
        {
            "host": words_at(lines.hosts, lines.host[ahead]),
            "hour": pl.Series(stamp // HOUR * HOUR, dtype=pl.Int64),
            "read_at": pl.Series(stamp, dtype=pl.Int64),
            "minutes_ahead": pl.Series(_minute_bits(stamp), dtype=pl.Int64),
        }
    )
    return complete_coverage(_sum_lines(read)).sort("host", "hour")


def _unparsed(columns: Columns, heads: Heads, lines: _Lines, at: Array) -> pl.DataFrame:
    if not at.size:
        return pl.DataFrame(schema=UNPARSED_PARTIAL)
    program = words_at([tag.name for tag in lines.tags], lines.tag[at])
    return count_templates(
        columns,
        program,
        words_at(lines.hosts, lines.host[at]),
        (heads.texts[at], heads.text_ends[at]),
        (heads.starts[at], heads.ends[at]),
    )
