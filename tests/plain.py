"""Nights as calls of the pure functions, without Beam and without shards: what the pipeline must equal."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

import polars as pl

from hoptrace.schemas.catalog import DAY_TABLES
from hoptrace.schemas.coverage import HOLES
from hoptrace.schemas.events import EVENTS
from hoptrace.schemas.fleet import Fleet
from hoptrace.transforms import assemble, doors, links, roots, scans, sessions
from hoptrace.transforms.assemble_hops import cut_ahead
from hoptrace.transforms.carry import fold_clashes
from hoptrace.transforms.cover import add_coverage
from hoptrace.transforms.hash import hash_columns
from hoptrace.transforms.holes import STATE_KINDS, carry_logs, count_handed, make_logs, restore_logs, whole_logs
from hoptrace.transforms.kinds import part_kinds
from hoptrace.transforms.mailbox import fold_mailbox, select_mailbox
from hoptrace.transforms.parse import complete_coverage
from hoptrace.transforms.plan import Night
from hoptrace.transforms.publishable import NightTables, tell_night
from hoptrace.transforms.stamps import DAY, HOUR, MINUTE
from hoptrace.transforms.summarise import add_up, cut_tail, put_together
from hoptrace.transforms.unfinished_hour import hold_counts, restore_counts
from hoptrace.transforms.wrapped import rejoin_lines

C = pl.col
PUBLISHED = ("deliveries", "hops", "hop_recipients", "handoffs", "notices", "mailbox_events")


def key_events(events: pl.DataFrame) -> pl.DataFrame:
    """Events that name a queue ID, with the key that they are folded by."""
    owned = events.filter(C("queue_id").is_not_null() & (C("kind") != "mailbox"))
    return owned.with_columns(hash_columns(owned, ["host", "queue_id"]).alias("key"))


def run_plain(
    events: pl.DataFrame,
    fleet: Fleet,
    night: Night,
    read: Mapping[str, int] | pl.DataFrame,
    state: pl.DataFrame | None = None,
) -> NightTables:
    """Tables of a night from its events (EVENTS columns) and the state of the night before; `carried` is the next one's.

    `read`: up to when each host's log is read and whole, or its coverage (COVERAGE_PARTIAL).
    """
    state = EVENTS.empty() if state is None else state
    told, state = state.filter(C("kind").is_in(STATE_KINDS)), state.filter(~C("kind").is_in(STATE_KINDS))
    hours, handed = restore_logs(told)
    known = told
    hours = add_coverage([hours, *([read] if isinstance(read, pl.DataFrame) else [])])
    hosts = make_logs(hours, handed).hosts if isinstance(read, pl.DataFrame) else frozenset(read)
    boxed, state = state.filter(C("kind") == "mailbox"), state.filter(C("kind") != "mailbox")
    boxes = fold_mailbox(pl.concat([select_mailbox(part_kinds(events)), select_mailbox(part_kinds(boxed))]), night)
    events = pl.concat([events, rejoin_lines(part_kinds(events), fleet)])
    told = sessions.fold_sessions(sessions.select_sessions(part_kinds(events)))
    crossing = sessions.cut_sessions(told, night.ends_at)
    told = told.drop("since")
    keyed = key_events(pl.concat([events, told, state]))
    kinds = part_kinds(keyed)
    stays = assemble.assemble_kinds(kinds, fleet, hosts)
    cut = assemble.assemble_kinds(cut_ahead(kinds, night.ends_at) if kinds else {}, fleet, hosts)
    tries = pl.concat(
        [
            doors.outside(told.filter(C("queue_id").is_null()), fleet, hosts),
            doors.outside(stays.doors, fleet, hosts),
            state.filter(C("queue_id").is_null() & (C("kind") != "filter")),
        ]
    )
    own = links.index_hops(stays.hops, stays.recipients)
    claimed = links.meet_claims(own, links.claim_children(stays.hops, stays.recipients, stays.notices, stays.filters))
    candidates = pl.concat([
        links.link_claimed_children(claimed),
        links.link_claimed_parents(own, links.claim_parents(stays.hops)),
        links.link_by_message_id(
            links.offer_by_message_id(stays.hops, stays.recipients), links.seek_by_message_id(stays.hops, stays.recipients)
        ),
        links.link_by_time(
            links.offer_by_time(stays.hops, stays.recipients, fleet), links.seek_by_time(stays.hops, stays.recipients)
        ),
    ])  # fmt: skip
    forest = roots.grow_forest(candidates)
    came_in = doors.name_client(doors.accepted(stays.hops, stays.recipients))
    series = doors.match_series(doors.name_client(tries), came_in, night.ends_at)
    lines = scans.select_scans(part_kinds(pl.concat([events, state])))
    scanned = scans.match_scans(lines, scans.seek_scans(stays.hops, frozenset(lines["host"])))
    placed = {
        "hops": roots.place_hops(stays.hops, forest), "recipients": stays.recipients, "notices": stays.notices,
        "cut_hops": roots.place_hops(cut.hops, forest), "cut_recipients": cut.recipients, "cut_notices": cut.notices,
        "filters": pl.concat([stays.filters, scanned], how="diagonal"),
        "cut_filters": pl.concat([cut.filters, scanned.filter(C("at") < night.ends_at)], how="diagonal"),
        "clashes": pl.concat([links.find_clashes(claimed).select("hop", "queue_id"), fold_clashes(known)]),
        "firsts": series.firsts, "refusals": doors.write_refusals(series.never, night.ends_at),
    }  # fmt: skip
    handed = pl.concat([handed, count_handed(stays.recipients, night)])
    handed = handed.group_by("host", "minute").agg(C("handed").sum())
    if isinstance(read, pl.DataFrame):
        logs, logs_state = make_logs(hours, handed), carry_logs(hours, handed, night)
    else:
        logs, logs_state = whole_logs(read, night.starts_at - 2 * DAY), EVENTS.empty()
    told_night = tell_night(placed, fleet, night, logs)
    counted, unfinished = hold_counts(put_together([told_night.stats, restore_counts(known)]), night.ends_at)
    later = state.filter(C("stamp") >= night.ends_at)
    waiting = series.waiting.filter(C("stamp") < night.ends_at)
    return replace(
        told_night,
        tables={**told_night.tables, "mailbox_events": boxes.rows},
        stats=cut_tail(counted, fleet.warn_after_us),
        carried=pl.concat(
            [
                EVENTS.conform(told_night.carried),
                waiting,
                crossing,
                later,
                scans.wait_scans(lines, night.ends_at),
                boxes.carried,
                logs_state,
                unfinished,
            ]
        ),
    )


def run_nights(
    events: pl.DataFrame, fleet: Fleet, bounds: Sequence[int], read: Mapping[str, int] | pl.DataFrame
) -> list[NightTables]:
    """The nights between neighbouring `bounds` (UTC microseconds), each from its own lines and the state of the one before.

    None counts as a cold start, which would flag its rows.
    """
    nights: list[NightTables] = []
    for starts_at, ends_at in pairwise(bounds):
        night = Night(starts_at, ends_at)
        window = night.window
        lines = events.filter(C("stamp").is_between(window.starts_at, window.ends_at, closed="left"))
        mine = (
            cut_minutes(read, night)
            if isinstance(read, pl.DataFrame)
            else {host: min(at, window.ends_at) for host, at in read.items()}
        )
        nights.append(run_plain(lines, fleet, night, mine, nights[-1].carried if nights else None))
    return nights


def cut_minutes(minutes: pl.DataFrame, night: Night) -> pl.DataFrame:
    """COVERAGE_PARTIAL that a night reads of lines of which `minutes` has host, stamp, and since, until and why of a loss."""
    window = night.window
    mine = minutes.filter(C("stamp").is_between(window.starts_at, window.ends_at, closed="left"))
    bit = pl.lit(2, pl.Int64).pow(C("stamp") % HOUR // MINUTE).cast(pl.Int64)
    ahead = C("stamp") >= night.ends_at
    lines = mine.select(
        "host", hour=C("stamp") // HOUR * HOUR, events=pl.lit(1, pl.Int64),
        minutes=pl.when(~ahead).then(bit).otherwise(0), minutes_ahead=pl.when(ahead).then(bit).otherwise(0),
    )  # fmt: skip
    span = pl.struct(since=C("stamp") - C("lost_us"), until="stamp", known_at="stamp", why=pl.lit("lost"))
    holes = mine.filter(C("lost_us").is_not_null()).select(
        "host", hour=C("stamp") // HOUR * HOUR, holes=pl.concat_list(span).cast(HOLES)
    )
    return add_coverage([complete_coverage(lines), complete_coverage(holes)])


def publish(nights: Sequence[NightTables]) -> dict[str, pl.DataFrame]:
    """The tables that a store holds after `nights`, as published, in their own order."""
    tables = {
        name: DAY_TABLES[name].sorted(pl.concat([DAY_TABLES[name].conform(night.tables[name]) for night in nights]))
        for name in PUBLISHED
    }
    return {**tables, "delay_stats": add_up([night.stats for night in nights])}
