"""The nightly job: from log files to the tables of a day, top to bottom."""

import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import apache_beam as beam
import polars as pl
from apache_beam.options.pipeline_options import PipelineOptions

from hoptrace.pipeline.inputs import plan_inputs
from hoptrace.pipeline.options import NightlyOptions
from hoptrace.pipeline.publish import PublishNight, Target, WriteMailbox, WriteTables, as_count, as_report
from hoptrace.pipeline.store import Night as NightRow
from hoptrace.pipeline.store import Store
from hoptrace.schemas.errors import HoptraceError
from hoptrace.schemas.events import EVENTS
from hoptrace.schemas.fleet import Fleet, load_fleet
from hoptrace.transforms.assemble_hops import AssembleHops, find_scanned, key_doors, key_foreign_doors
from hoptrace.transforms.bundles import pack
from hoptrace.transforms.carry import fold_clashes
from hoptrace.transforms.cover import add_encoded
from hoptrace.transforms.fold_sessions import FoldSessions
from hoptrace.transforms.frames import encode_frame, frames_stay_here
from hoptrace.transforms.holes import STATE_KINDS, add_handed, restore_logs
from hoptrace.transforms.kinds import part_kinds
from hoptrace.transforms.match_hops import GrowForest, MatchHops
from hoptrace.transforms.parse_logs import ParseLogs, key_events, key_mailbox, key_scans
from hoptrace.transforms.place_stays import PlaceStays
from hoptrace.transforms.plan import Keyed, Night, Plan
from hoptrace.transforms.read import Range
from hoptrace.transforms.unfinished_hour import restore_counts

C = pl.col
CHUNK_BYTES = 16 << 20
RANGE_BYTES = 256 << 20
SHARD_BYTES = 192 << 20
"""Log bytes per shard: few shards cost less on one machine, small ones less memory."""

MEMORY_PER_BYTE, COMPRESSION = 8, 10
"""Memory that the frames of a byte of log take at most, and how many bytes of log a compressed byte may hold."""

EMBEDDED = ("--runner=FnApiRunner", "--direct_running_mode=in_memory")
"""Named, since Beam's own default picks its engine by what it can download, and its threads lose data."""


def trace_night(p: beam.Pipeline, ranges: Sequence[Range], state: pl.DataFrame, plan: Plan, target: Target) -> None:
    """The whole flow of one night."""
    told, state = state.filter(C("kind").is_in(STATE_KINDS)), state.filter(~C("kind").is_in(STATE_KINDS))
    boxed, state = state.filter(C("kind") == "mailbox"), state.filter(C("kind") != "mailbox")
    owned, waiting = state.filter(C("queue_id").is_not_null()), state.filter(C("queue_id").is_null())
    scanned, waiting = waiting.filter(C("kind") == "filter"), waiting.filter(C("kind") != "filter")

    logs = p | "ranges" >> beam.Create(list(ranges), reshuffle=False) | ParseLogs(plan)
    counted = encode_frame(restore_counts(told))
    hours, silent = (encode_frame(frame) for frame in restore_logs(told))
    before = p | "logs before" >> beam.Create([hours], reshuffle=False).with_output_types(bytes)
    coverage = (
        (logs.coverage, before) | "coverages" >> beam.Flatten() | "all coverage" >> beam.CombineGlobally(add_encoded)
    )
    later = state.filter(C("stamp") >= plan.night.ends_at)
    passed = p | "later" >> beam.Create(
        [encode_frame(later)] if later.height else [], reshuffle=False
    ).with_output_types(bytes)
    carried = p | "open hops" >> beam.Create(list(key_events(owned, plan.shards)), reshuffle=False).with_output_types(
        Keyed
    )
    doors = p | "open doors" >> beam.Create(list(key_doors(waiting, plan.shards)), reshuffle=False).with_output_types(
        Keyed
    )

    kept = p | "open boxes" >> beam.Create(list(key_mailbox(boxed, plan.shards)), reshuffle=False).with_output_types(
        Keyed
    )

    sessions = logs.sessions | FoldSessions(plan)
    before = p | "open scans" >> beam.Create(
        list(key_scans(part_kinds(scanned), plan.shards)), reshuffle=False
    ).with_output_types(Keyed)
    scans = (logs.scans, sessions.scans, before) | "scans" >> beam.Flatten()
    hosts = scans | beam.FlatMap(find_scanned).with_output_types(str)
    hops = (logs.keyed, sessions.keyed, carried) | "events" >> beam.Flatten() | AssembleHops(plan, coverage, hosts)
    tried = sessions.doors | "doors" >> beam.FlatMap(
        key_foreign_doors, plan, beam.pvalue.AsSingleton(coverage)
    ).with_output_types(Keyed)
    handed = p | "handed before" >> beam.Create([silent], reshuffle=False).with_output_types(bytes)
    handed = (hops.handed, handed) | "handings" >> beam.Flatten() | "all handed" >> beam.CombineGlobally(add_handed)
    found = (hops.matches, tried, doors, scans) | "matches" >> beam.Flatten() | MatchHops(plan)
    forest = found.candidates | GrowForest(plan)
    clashes = p | "open clashes" >> beam.Create(
        list(pack("clashes", fold_clashes(told), "hop", plan.shards)), reshuffle=False
    ).with_output_types(Keyed)
    placed = (hops.stays, forest, found.keyed, clashes) | "stays" >> beam.Flatten() | PlaceStays(plan)
    tables = placed.placed | WriteTables(plan, target, coverage, handed)
    mailboxes = (logs.mailbox, kept) | "mailboxes" >> beam.Flatten() | WriteMailbox(plan, target)

    read = p | count_state(owned, boxed)
    counts = (logs.counts, sessions.counts, hops.counts, placed.counts, tables.counts, mailboxes.counts, read)
    written = (
        tables.written,
        mailboxes.written,
        counts | "counts" >> beam.Flatten() | beam.CombinePerKey(sum) | beam.Map(as_count).with_output_types(Keyed),
        logs.files | beam.Map(as_report).with_output_types(Keyed),
        logs.coverage | "coverage" >> beam.Map(under, "coverage").with_output_types(Keyed),
        logs.unparsed | "unparsed" >> beam.Map(under, "unparsed").with_output_types(Keyed),
        coverage | "covered" >> beam.Map(under, "covered").with_output_types(Keyed),
        handed | "handed" >> beam.Map(under, "handed").with_output_types(Keyed),
        p | "counted before" >> beam.Create([under(counted, "stats")], reshuffle=False).with_output_types(Keyed),
        (found.waiting, sessions.waiting, passed)
        | "all waiting" >> beam.Flatten()
        | "waiting" >> beam.Map(under, "waiting").with_output_types(Keyed),
    )
    _ = written | "night" >> beam.Flatten() | PublishNight(plan, target)


def under(data: bytes, name: str) -> Keyed:
    """A frame for the last stage."""
    return 0, (name, data)


def count_state(owned: pl.DataFrame, boxed: pl.DataFrame) -> Any:
    """How many events came from the night before."""
    counts = [("events with a queue ID", owned.height), ("mailbox lines", boxed.height)]
    return "state" >> beam.Create(counts, reshuffle=False)


def run_nightly(
    options: NightlyOptions, beam_args: Sequence[str], progress: Callable[[str], object] = len
) -> list[NightRow]:
    """Run every day of `options` and publish it; returns their rows of `nights`.

    `progress` is told what is at work. Raises HoptraceError for what the user can mend.
    """
    fleet = load_fleet(options.fleet)
    store = Store(options.store)
    store.prepare()
    day, rows = options.day, []
    while day <= options.until:
        cold = options.cold_start and day == options.day
        rows.append(run_night(options, beam_args, fleet, store, day, cold, progress))
        day += timedelta(days=1)
    return rows


def run_night(
    options: NightlyOptions,
    beam_args: Sequence[str],
    fleet: Fleet,
    store: Store,
    day: date,
    cold: bool,
    progress: Callable[[str], object],
) -> NightRow:
    """Run one day."""
    base = store.versions()
    state, state_of, cold = read_state(store, day, cold)
    starts_at, ends_at = bounds_of(day, options, fleet)
    night = Night(starts_at, ends_at, cold, None if cold else began_at(store, day))
    progress(f"{day}: looking at the logs")
    window = night.window
    ranges = plan_inputs(options.logs, fleet, window.starts_at, window.ends_at, RANGE_BYTES)
    total = sum(r.size if r.end is None else r.end - r.start for r in ranges)
    shards = options.shards or max(1, min(256, round(total / SHARD_BYTES)))
    plan = Plan(fleet, night, shards, CHUNK_BYTES)
    progress(
        f"{day}: reading {len(ranges)} files or parts of files, {total / 1e6:.0f} MB" + (", cold start" if cold else "")
    )
    embedded = not runner_named(beam_args)
    flags = [*(EMBEDDED if embedded else ()), *beam_args]
    here = frames_stay_here() if embedded and fits_in_memory(ranges) else nullcontext()
    with here, beam.Pipeline(options=PipelineOptions(flags)) as pipeline:
        trace_night(pipeline, ranges, state, plan, Target(options.store, str(day), base, state_of))
    (row,) = [night for night in store.days() if night["day"] == str(day)]
    progress(f"{day}: published")
    return row


def runner_named(beam_args: Sequence[str]) -> bool:
    """Whether the caller asked for another engine, or another way of running it."""
    return any(arg.split("=")[0] in ("--runner", "--direct_running_mode") for arg in beam_args)


def fits_in_memory(ranges: Sequence[Range]) -> bool:
    """Whether a night's frames, uncompressed, take less than half of this machine's free memory."""
    text = sum(COMPRESSION * r.size if r.end is None else r.end - r.start for r in ranges)
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return MEMORY_PER_BYTE * text < free / 2


def bounds_of(day: date, options: NightlyOptions, fleet: Fleet) -> tuple[int, int]:
    """First instant of the day and of the next, in the fleet's zone, as UTC microseconds."""
    zone = ZoneInfo(fleet.timezone)
    first, last = (datetime.combine(d, options.day_start, zone).timestamp() for d in (day, day + timedelta(days=1)))
    return round(first * 1e6), round(last * 1e6)


def began_at(store: Store, day: date) -> int | None:
    """Where the last cold start before `day` began (µs), as the night before knows; None where the store knows none."""
    before = [night for night in store.days() if night["day"] < str(day)]
    told = [night["began_at"] or (night["starts_at"] if night["cold_start"] else None) for night in before]
    known = [at for at in told if at is not None]
    return round(known[-1].timestamp() * 1e6) if known else None


def read_state(store: Store, day: date, cold: bool) -> tuple[pl.DataFrame, str | None, bool]:
    """(open hops of the day before, 'DAY@VERSION', cold start): raises HoptraceError where they are lacking."""
    nights = {night["day"]: night for night in store.days()}
    before = str(day - timedelta(days=1))
    if cold or not nights:
        return EVENTS.empty(), None, True
    if before not in nights:
        raise HoptraceError(
            f"{store.root.url}: {before} is not in the store, so {day} would not know what was still open; "
            f"run from {before}, or add --cold-start"
        )
    version = nights[before]["versions"]["open_hops"]
    return EVENTS.conform(store.read("open_hops", [before])), f"{before}@{version}", False
