"""From whole traces to the tables of one night: what is settled, what is open, what carries over."""

from dataclasses import dataclass

import polars as pl

from hoptrace.schemas.fleet import Fleet
from hoptrace.schemas.hops import HOP_RECIPIENTS, HOPS
from hoptrace.transforms.carry import unfold_clashes, unfold_firsts, unfold_hops
from hoptrace.transforms.deliver import Traces, write_traces
from hoptrace.transforms.holes import Logs
from hoptrace.transforms.links import CLASH_US, LATE_US
from hoptrace.transforms.placed import fill_placed
from hoptrace.transforms.plan import Night
from hoptrace.transforms.seconds import seconds_of
from hoptrace.transforms.skew import sample_skew
from hoptrace.transforms.summarise import put_together, summarise_deliveries, summarise_open, summarise_stays
from hoptrace.transforms.watch import doubt_clocks, doubt_doors

C = pl.col
SPENT = ("in_queue", "held", "connect", "transmit")
"""What a recipient's seconds at a stay are told by, beside waiting_retry."""

RECENT_US = 3_600_000_000
"""An unfinished hop that was active this short before the night's end is carried although its recipients are settled."""


@dataclass(frozen=True)
class NightTables:
    """Tables of one shard of traces, as integers of microseconds; `carried` are EVENTS for the next night, `skew` samples
    of clocks."""

    tables: dict[str, pl.DataFrame]
    carried: pl.DataFrame
    stats: pl.DataFrame
    skew: pl.DataFrame


def tell_night(placed: dict[str, pl.DataFrame], fleet: Fleet, night: Night, logs: Logs) -> NightTables:
    """The tables of the traces in `placed` (frames hops, recipients, notices, firsts, refusals, cut_*; what is lacking has no rows)."""
    placed = fill_placed(placed)
    traces = write_traces(placed, fleet, night, logs)
    deliveries = doubt_doors(pl.concat([traces.deliveries, placed["refusals"]], how="diagonal_relaxed"), logs)
    deliveries = class_delays(doubt_clocks(deliveries, logs), fleet)
    settled = deliveries.filter(C("settled_at").is_between(night.starts_at, night.ends_at, closed="left"))
    still = leave_open(deliveries, fleet, night)
    return NightTables(
        {"deliveries": settled, "open": still, **list_hops(traces, placed["recipients"], night),
         "notices": list_notices(traces, settled)},
        carry_over(placed, traces, night, logs),
        put_together([summarise_deliveries(deliveries, night.starts_at, night.ends_at), summarise_open(still, night.ends_at),
                summarise_stays(placed["recipients"], traces.hops, night.starts_at, night.ends_at)]),
        sample_skew(traces.hops, night.starts_at, night.ends_at),
    )  # fmt: skip


def class_delays(rows: pl.DataFrame, fleet: Fleet) -> pl.DataFrame:
    """`rows` with delay_class from delay_s and the fleet's two thresholds."""
    late, overdue = fleet.warn_after_us / 1e6, fleet.return_after_us / 1e6
    word = (
        pl.when(C("delay_s") < late)
        .then(pl.lit("on_time"))
        .when(C("delay_s") < overdue)
        .then(pl.lit("late"))
        .when(C("delay_s").is_not_null())
        .then(pl.lit("overdue"))
    )
    return rows.with_columns(delay_class=word)


def leave_open(rows: pl.DataFrame, fleet: Fleet, night: Night) -> pl.DataFrame:
    """Rows not settled by the night's end, as they stood then: what moves on in the look-ahead is in_transit."""
    began = pl.coalesce("submitted_at", "first_attempt_at", "resolved_at")
    later = C("settled_at") >= night.ends_at
    waiting = rows.filter((C("settled_at").is_null() | later) & (began < night.ends_at))
    moving = later & ~C("outcome").is_in(["missing", "unknown", "deferred_at_door"])
    waiting = waiting.with_columns(
        outcome=pl.when(moving.fill_null(False)).then(pl.lit("in_transit")).otherwise("outcome"),
        settled_at=pl.lit(None, pl.Int64),
        delay_s=pl.when(C("submitted_at").is_not_null()).then(seconds_of(night.ends_at - C("submitted_at"))),
    )
    return class_delays(waiting, fleet)


def list_hops(traces: Traces, recipients: pl.DataFrame, night: Night) -> dict[str, pl.DataFrame]:
    """Hops and hop_recipients of the stays that ended in the night, and the handoffs whose child was first seen in it."""
    hops = traces.hops.with_columns(arrived_at="arrived", first_seen_at="first_seen", left_at="closed_at")
    kept = [name for name in HOPS.columns if name in hops.columns]
    ended = hops.select("hop", "ended_at", *kept).filter(
        C("ended_at").is_between(night.starts_at, night.ends_at, closed="left")
    )
    key = ["hop", "host", "instance", "queue_id", "epoch"]
    told = {"hop", "first_end", "logged_at", "waiting_us", *(f"{stage}_us" for stage in SPENT), *HOP_RECIPIENTS.columns}
    seconds = {f"{stage}_s": seconds_of(f"{stage}_us") for stage in SPENT}
    rows = (
        recipients.select(name for name in recipients.columns if name in told and name not in key[1:])
        .join(ended.select(key), on="hop")
        .with_columns(
            first_attempt_at="first_end",
            last_attempt_at="logged_at",
            waiting_retry_s=seconds_of("waiting_us"),
            **seconds,
        )
    )
    handoffs = list_handoffs(hops, recipients, traces.duplicates, night)
    return {"hops": ended, "hop_recipients": rows, "handoffs": handoffs}


def list_handoffs(hops: pl.DataFrame, recipients: pl.DataFrame, duplicates: pl.DataFrame, night: Night) -> pl.DataFrame:
    """HANDOFFS of the night: per link the recipients that the giver handed over under the taker's queue ID."""
    own = hops.select(giver="hop", from_host="host", from_queue_id="queue_id", from_epoch="epoch")
    giver, late = pl.coalesce("parent", "about", "late_parent"), C("late_parent").is_not_null()
    taken = hops.filter(
        giver.is_not_null()
        & pl.when(late)
        .then("parent_at")
        .otherwise("first_seen")
        .is_between(night.starts_at, night.ends_at, closed="left")
    ).select(
        giver=giver,
        kind=pl.coalesce("kind", "notice"),
        evidence=pl.when(C("parent").is_not_null() | late).then("evidence").otherwise(pl.lit("notice")),
        strength=pl.coalesce("strength", "notice_strength"),
        gap_s=seconds_of("gap"),
        since_try_s=seconds_of(-C("lead")),
        to_host="host",
        to_queue_id="queue_id",
        to_epoch="epoch",
        child="hop",
        late=late,
    )
    given = recipients.filter(C("next_queue_id").is_not_null()).select(
        "recipient", giver="hop", to_queue_id="next_queue_id"
    )
    rows = taken.join(own, on="giver").join(given, on=["giver", "to_queue_id"], how="left")
    again = duplicates.with_columns(duplicate=pl.lit(True))
    whole = again.select("child", "duplicate").unique().with_columns(recipient=pl.lit(None, pl.String))
    return rows.join(
        pl.concat([again, whole], how="diagonal").unique(), on=["child", "recipient"], how="left", nulls_equal=True
    ).with_columns(C("duplicate").fill_null(False))


def list_notices(traces: Traces, settled: pl.DataFrame) -> pl.DataFrame:
    """NOTICES whose own fate is settled in the night."""
    made = (
        traces.hops.filter(C("about").is_not_null())
        .select(
            "host",
            "queue_id",
            "trace_id",
            kind="notice",
            made_at="arrived",
            about_trace_id="about_trace",
            about="about",
        )
        .join(traces.hops.select(about="hop", about_queue_id="queue_id"), on="about")
    )
    return made.join(settled.select("trace_id", "recipient", "outcome", "resolved_at"), on="trace_id", how="inner")


def carry_over(placed: dict[str, pl.DataFrame], traces: Traces, night: Night, logs: Logs) -> pl.DataFrame:
    """The EVENTS of every hop whose trace, or a notice about it, is not settled by the night's end, moves across it, or lacks the
    giver that its client is, which may still be told late, or told by a clock that is hours behind."""
    unsettled = traces.deliveries.filter("waits").select("component")
    hops = traces.hops
    unended = C("ended_at").is_null() | (C("ended_at") >= night.ends_at)
    crossing = hops.filter(
        (C("last_seen") >= night.ends_at) | (unended & (C("last_seen") >= night.ends_at - RECENT_US))
    )
    first = logs.minutes["minute"].min()  # a log whose clock is ahead begins later
    begun = isinstance(first, int) and night.ends_at < first + CLASH_US[0]
    brought = C("client_host").is_not_null() & (C("client_read") | pl.lit(begun))
    alone = C("parent").is_null() & (brought | C("stored_at").is_not_null())
    orphans = hops.filter(alone & (C("ended_at") + max(LATE_US, CLASH_US[0]) >= night.ends_at))
    kept = [unsettled, *(some.select("component") for some in (crossing, orphans))]
    wanted = hops.join(pl.concat(kept).unique(), on="component", how="semi")
    ahead = C("last_seen") >= night.ends_at
    cut = placed["cut_hops"].join(wanted.filter(ahead).select("hop"), on="hop", how="semi")
    events = [unfold_firsts(wanted, placed["firsts"])]
    if "clashes" in placed:
        events.append(unfold_clashes(wanted, placed["clashes"].select("hop", "queue_id")))
    read_again = C("scanned") & (C("at") >= night.ends_at)
    placed = {**placed, "filters": placed["filters"].filter(~read_again)}
    whole = placed["hops"].join(wanted.filter(~ahead).select("hop"), on="hop", how="semi")
    for those, prefix in ((whole, ""), (cut, "cut_")):
        keys = those.select("hop")
        told = (
            placed[f"{prefix}{name}"].join(keys, on="hop", how="semi") for name in ("recipients", "notices", "filters")
        )
        events.append(unfold_hops(those, *told))
    return pl.concat(events)
