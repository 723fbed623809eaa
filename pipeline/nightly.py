"""The nightly job: from log files to the tables of a day, top to bottom."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import apache_beam as beam
import polars as pl
from apache_beam.options.pipeline_options import PipelineOptions

from hoptrace.pipeline.embedded import engine
from hoptrace.pipeline.inputs import plan_inputs
from hoptrace.pipeline.keys import read_pseudonyms, require_alike
from hoptrace.pipeline.late import find_late
from hoptrace.pipeline.open_state import checksum_of
from hoptrace.pipeline.options import NightlyOptions
from hoptrace.pipeline.publish import PublishNight, Target, WriteMailbox, WriteTables, as_count, as_report
from hoptrace.pipeline.status import day_before_of, state_changed
from hoptrace.pipeline.store import Night as NightRow
from hoptrace.pipeline.store import Store
from hoptrace.schemas.errors import HoptraceError
from hoptrace.schemas.events import EVENTS, OPEN_HOPS
from hoptrace.schemas.fleet import Fleet, load_fleet
from hoptrace.transforms.assemble_hops import AssembleHops, find_scanned, key_foreign_doors
from hoptrace.transforms.bring_state import BringState
from hoptrace.transforms.cover import add_encoded
from hoptrace.transforms.fold_sessions import FoldSessions
from hoptrace.transforms.holes import add_handed
from hoptrace.transforms.match_hops import GrowForest, MatchHops
from hoptrace.transforms.parse_logs import ParseLogs
from hoptrace.transforms.place_stays import PlaceStays
from hoptrace.transforms.plan import Keyed, Night, Plan
from hoptrace.transforms.read import Range

CHUNK_BYTES = 16 << 20
RANGE_BYTES = 256 << 20
SHARD_BYTES = 192 << 20
"""Log bytes per shard: few shards cost less on one machine, small ones less memory."""


def trace_night(p: beam.Pipeline, ranges: Sequence[Range], state: pl.DataFrame, plan: Plan, target: Target) -> None:
    """The whole flow of one night."""
    logs = p | "ranges" >> beam.Create(list(ranges), reshuffle=False) | ParseLogs(plan)
    before = p | BringState(state, plan)
    coverage = (logs.coverage, before.coverage) | "coverages" >> beam.Flatten() | beam.CombineGlobally(add_encoded)

    sessions = logs.sessions | FoldSessions(plan)
    scans = (logs.scans, sessions.scans, before.scans) | "scans" >> beam.Flatten()
    hosts = scans | beam.FlatMap(find_scanned).with_output_types(str)
    events = (logs.keyed, sessions.keyed, before.keyed) | "events" >> beam.Flatten()
    hops = events | AssembleHops(plan, coverage, hosts)
    handed = (hops.handed, before.handed) | "handings" >> beam.Flatten() | "handed" >> beam.CombineGlobally(add_handed)

    tried = sessions.doors | "doors" >> beam.FlatMap(
        key_foreign_doors, plan, beam.pvalue.AsSingleton(coverage)
    ).with_output_types(Keyed)
    found = (hops.matches, tried, before.doors, scans) | "matches" >> beam.Flatten() | MatchHops(plan)
    forest = found.candidates | GrowForest(plan)
    stays = (hops.stays, forest, found.keyed, before.clashes) | "stays" >> beam.Flatten() | PlaceStays(plan)
    tables = stays.placed | WriteTables(plan, target, coverage, handed)
    mailboxes = (logs.mailbox, before.mailbox) | "mailboxes" >> beam.Flatten() | WriteMailbox(plan, target)

    steps = (logs, before, sessions, hops, stays, tables, mailboxes)
    counts = tuple(step.counts for step in steps) | "counts" >> beam.Flatten() | beam.CombinePerKey(sum)
    waiting = (found.waiting, sessions.waiting, before.later) | "waiting" >> beam.Flatten()
    written = (
        tables.written,
        mailboxes.written,
        counts | beam.Map(as_count).with_output_types(Keyed),
        logs.files | beam.Map(as_report).with_output_types(Keyed),
        *(
            frames | f"{name} told" >> beam.Map(under, name).with_output_types(Keyed)
            for name, frames in {
                "coverage": logs.coverage,
                "unparsed": logs.unparsed,
                "covered": coverage,
                "handed": handed,
                "stats": before.counted,
                "waiting": waiting,
            }.items()
        ),
    )
    _ = written | "night" >> beam.Flatten() | PublishNight(plan, target)


def under(data: bytes, name: str) -> Keyed:
    """A frame for the last stage."""
    return 0, (name, data)


def run_nightly(
    options: NightlyOptions, beam_args: Sequence[str], progress: Callable[[str], object] = len
) -> list[NightRow]:
    """Run every day of `options` and publish it; returns their rows of `nights`.

    `progress` is told what is at work. Raises HoptraceError for what the user can mend.
    """
    fleet, store = load_fleet(options.fleet), open_store(options)
    day, rows = options.day, []
    while day <= options.until:
        cold = options.cold_start and day == options.day
        rows.append(run_night(options, beam_args, fleet, store, day, cold, progress))
        day += timedelta(days=1)
    return rows


def run_stale(
    options: NightlyOptions, beam_args: Sequence[str], progress: Callable[[str], object] = len
) -> list[NightRow]:
    """Run the stale days of the store again, in order, and the days after them as far as these begin otherwise than before.

    A day is run with the bounds and the cold start that it had, but goes on from the day before if that is there now. Returns
    the new rows of `nights`; raises HoptraceError for what the user can mend.
    """
    fleet, store = load_fleet(options.fleet), open_store(options)
    progress("comparing the logs with what was read")
    late = {day: why for day, (again, why) in find_late(store.days(), options.logs, fleet).items() if again}
    rows = []
    for day in [night["day"] for night in store.days()]:
        nights = {night["day"]: night for night in store.days()}
        night = nights[day]
        why = state_changed(store, night, nights) or late.get(day)
        if why is None:
            continue
        progress(f"{day} is stale: {why}")
        starts_at = night["starts_at"].astimezone(ZoneInfo(fleet.timezone))
        again = replace(options, day_start=starts_at.time())
        cold = night["cold_start"] and day_before_of(night) not in nights
        rows.append(run_night(again, beam_args, fleet, store, date.fromisoformat(day), cold, progress))
    return rows


def open_store(options: NightlyOptions) -> Store:
    """The store, made where there is none; raises HoptraceError where its nights are not written as `options` ask."""
    pseudonyms = read_pseudonyms(options.pseudonymise, options.pseudonymise_domains) if options.pseudonymise else None
    store = Store(options.store, pseudonyms)
    store.prepare()
    require_alike(store)
    return store


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
    state, state_of, checksum, cold = read_state(store, day, cold)
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
    target = Target(options.store, str(day), base, state_of, store.pseudonyms, checksum)
    with engine(beam_args, ranges) as flags, beam.Pipeline(options=PipelineOptions(flags)) as pipeline:
        trace_night(pipeline, ranges, state, plan, target)
    (row,) = [night for night in store.days() if night["day"] == str(day)]
    progress(f"{day}: published")
    return row


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


def read_state(store: Store, day: date, cold: bool) -> tuple[pl.DataFrame, str | None, str | None, bool]:
    """(open hops of the day before, 'DAY@VERSION', their checksum as stored, cold start): raises HoptraceError where they are
    lacking."""
    nights = {night["day"]: night for night in store.days()}
    before = str(day - timedelta(days=1))
    if cold or not nights:
        return EVENTS.empty(), None, None, True
    if before not in nights:
        raise HoptraceError(
            f"{store.root.url}: {before} is not in the store, so {day} would not know what was still open; "
            f"run from {before}, or add --cold-start"
        )
    version = nights[before]["versions"]["open_hops"]
    left = store.read(OPEN_HOPS.name, [before])
    checksum = checksum_of(left)
    if store.pseudonyms is not None:
        left = store.pseudonyms.unseal(OPEN_HOPS, left)
    return EVENTS.conform(left), f"{before}@{version}", checksum, False
