"""Where hosts' logs are whole: which minutes have lines, and where there is a hole."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import polars as pl

from hoptrace.schemas.coverage import HOLES
from hoptrace.schemas.events import EVENTS
from hoptrace.transforms.cover import add_coverage
from hoptrace.transforms.frames import decode_frame, encode_frame
from hoptrace.transforms.parse import COVERAGE_PARTIAL, complete_coverage
from hoptrace.transforms.plan import Night
from hoptrace.transforms.stamps import HOUR, MINUTE

C = pl.col
STATE_KINDS = ("lines", "hole", "handed", "clash", "counted")
CARRIED_US = 96 * HOUR
"""How much of what is known of the logs the next night needs: longer than anything is waited for."""

NEAR_US = 3 * MINUTE
"""A hand-over this near to a line of the taker may be what that line tells of, whatever their clocks say."""

SEVERAL = 3
HANDED = {"host": pl.String(), "minute": pl.Int64(), "handed": pl.Int64()}
SPANS = {"host": pl.String(), "since": pl.Int64(), "until": pl.Int64(), "known_at": pl.Int64(), "why": pl.String()}


@dataclass(frozen=True)
class Logs:
    """The logs as far as they are read. `hosts`: those of whose log something was understood; `minutes`: host, minute (µs),
    each minute with a line, in order; `holes`: host, since, until, known_at (µs; null: from the start), why; `contrary`: host,
    minute (µs), each minute with a line whose queue ID contradicts its stamp."""

    hosts: frozenset[str]
    minutes: pl.DataFrame
    holes: pl.DataFrame
    contrary: pl.DataFrame


def count_handed(recipients: pl.DataFrame, night: Night) -> pl.DataFrame:
    """host, minute (µs), handed: how many messages other hosts handed to `host` in a minute of the night."""
    taken = recipients.filter((C("status") == "sent") & C("relay_host").is_not_null() & ~C("loopback").fill_null(False))
    each = taken.group_by("hop", host="relay_host").agg(C("at").min())
    each = each.filter(C("at").is_between(night.starts_at, night.ends_at, closed="left"))
    counted = each.group_by("host", minute=C("at") // MINUTE * MINUTE).agg(handed=pl.len().cast(pl.Int64))
    return counted.select(HANDED.keys()).sort("host", "minute")


def add_handed(parts: Iterable[bytes]) -> bytes:
    """Encoded `count_handed` frames as one, equal minutes summed."""
    frames = [decode_frame(part) for part in parts if part]
    if not frames:
        return b""
    return encode_frame(pl.concat(frames).group_by("host", "minute").agg(C("handed").sum()).sort("host", "minute"))


@lru_cache(maxsize=4)
def read_logs(coverage: bytes, handed: bytes) -> Logs:
    """The logs of encoded COVERAGE_PARTIAL and `add_handed`."""
    hours = decode_frame(coverage) if coverage else pl.DataFrame(schema=COVERAGE_PARTIAL)
    return make_logs(hours, decode_frame(handed) if handed else pl.DataFrame(schema=HANDED))


def make_logs(hours: pl.DataFrame, handed: pl.DataFrame) -> Logs:
    """`read_logs` of frames."""
    hours = hours.filter(C("host").is_not_null())
    known = hours.group_by("host").agg(C("events").sum()).filter(C("events") > 0)
    minutes = list_minutes(hours)
    told = hours.select("host", "holes").explode("holes").drop_nulls().unnest("holes").unique()
    return Logs(
        frozenset(known["host"]),
        minutes,
        pl.concat([widen_announced(told, minutes), find_unshown(handed, minutes)]).sort(
            "host", "since", "until", "why"
        ),
        list_minutes(hours, C("minutes_contrary")),
    )


def whole_logs(read_until: Mapping[str, int], since: int) -> Logs:
    """Logs with a line in every minute from `since` (µs) up to where each is read."""
    each = [
        pl.DataFrame({"minute": np.arange(since // MINUTE * MINUTE, until, MINUTE)}).select(
            pl.lit(host).alias("host"), "minute"
        )
        for host, until in sorted(read_until.items())
    ]
    minutes = pl.concat([pl.DataFrame(schema={"host": pl.String, "minute": pl.Int64}), *each])
    return Logs(frozenset(read_until), minutes, pl.DataFrame(schema=SPANS), minutes.clear())


def list_minutes(hours: pl.DataFrame, bits: pl.Expr | None = None) -> pl.DataFrame:
    """host, minute (µs) of every minute with a line, or of those in `bits`, in order."""
    bits = C("minutes") | C("minutes_ahead") if bits is None else bits
    some = hours.filter(C("hour").is_not_null()).select("host", "hour", bits=bits).sort("host", "hour")
    at, minute = np.nonzero(some["bits"].to_numpy()[:, None] >> np.arange(60) & 1)
    rows = some.select("host", "hour")[at]
    return rows.select("host", minute=C("hour") + pl.Series(minute.astype(np.int64)) * MINUTE)


def widen_announced(told: pl.DataFrame, minutes: pl.DataFrame) -> pl.DataFrame:
    """`told` holes; what was announced may have been lost since the last minute with a line before that one."""
    lines = minutes.select("host", "minute", last="minute").sort("minute")
    widened = (
        told.with_columns(_before=C("until") // MINUTE * MINUTE - 1)
        .sort("_before")
        .join_asof(lines, left_on="_before", right_on="minute", by="host", strategy="backward", check_sortedness=False)
    )
    announced = (C("known_at") == C("until")).fill_null(False)
    since = pl.when(announced).then(pl.min_horizontal("since", "last")).otherwise("since")
    return widened.with_columns(since).select(SPANS.keys())


def find_lonely(handed: pl.DataFrame, minutes: pl.DataFrame) -> pl.DataFrame:
    """`handed` minutes that are far from every line of the host, with the minutes of its lines before and after."""
    lines = minutes.select("host", "minute", at="minute").sort("minute")
    rows = handed.sort("minute")
    before = rows.join_asof(lines, on="minute", by="host", strategy="backward", check_sortedness=False)
    both = before.rename({"at": "before"}).join_asof(
        lines, on="minute", by="host", strategy="forward", check_sortedness=False
    )
    far = (C("minute") - C("before") > NEAR_US).fill_null(True) & (C("after") - C("minute") > NEAR_US).fill_null(True)
    return both.rename({"at": "after"}).filter(far)


def find_unshown(handed: pl.DataFrame, minutes: pl.DataFrame) -> pl.DataFrame:
    """Holes of hosts that log nothing while other hosts hand several messages to them within an hour."""
    lonely = find_lonely(handed, minutes).filter(C("before").is_not_null() & C("after").is_not_null())
    silent = lonely.group_by("host", "before", "after", hour=C("minute") // HOUR * HOUR).agg(C("handed").sum())
    return silent.filter(C("handed") >= SEVERAL).select(
        "host",
        since=pl.max_horizontal(C("before") + MINUTE, "hour"),
        until=pl.min_horizontal("after", C("hour") + HOUR),
        known_at="after",
        why=C("handed").cast(pl.String) + " messages were handed to it, and no line shows them",
    )


def carry_logs(hours: pl.DataFrame, handed: pl.DataFrame, night: Night) -> pl.DataFrame:
    """EVENTS that tell the next night what is known of the logs: each host's first hour with lines, and the last day's."""
    mine = hours.filter(C("host").is_not_null() & C("hour").is_not_null() & (C("hour") < night.ends_at))
    lines = mine.filter(C("minutes") != 0)
    first = lines.sort("hour").unique("host", keep="first", maintain_order=True).select("host", "hour", first=True)
    recent = night.ends_at - CARRIED_US
    kept = lines.join(first, on=["host", "hour"], how="left").filter((C("hour") >= recent - HOUR) | C("first"))
    holes = (
        hours.select("host", "holes").explode("holes").drop_nulls().unnest("holes").unique()
        .filter((C("until") > recent) & (C("known_at").fill_null(C("since")) < night.ends_at))
    )  # fmt: skip
    waiting = find_lonely(handed.filter(C("minute") >= recent), list_minutes(hours.filter(C("host").is_not_null())))
    return EVENTS.conform(
        pl.concat(
            [
                kept.select(
                    "host",
                    stamp="hour",
                    kind=pl.lit("lines"),
                    size="minutes",
                    repeat=C("events").clip(0, 1),
                    nrcpt="minutes_contrary",
                ),
                holes.select(
                    "host",
                    stamp="since",
                    kind=pl.lit("hole"),
                    size="known_at",
                    delay=C("until") - C("since"),
                    reply="why",
                ),
                waiting.select("host", stamp="minute", kind=pl.lit("handed"), nrcpt="handed"),
            ],
            how="diagonal",
        )
    )


def restore_logs(state: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """(COVERAGE_PARTIAL, HANDED) of what `carry_logs` told."""
    hour = C("stamp") // HOUR * HOUR
    lines = state.filter(C("kind") == "lines").select(
        "host", hour=hour, minutes="size", events="repeat", minutes_contrary="nrcpt"
    )
    span = pl.struct(since="stamp", until=C("stamp") + C("delay"), known_at="size", why="reply")
    holes = state.filter(C("kind") == "hole").select("host", hour=hour, holes=pl.concat_list(span).cast(HOLES))
    hours = add_coverage([complete_coverage(lines), complete_coverage(holes)])
    handed = state.filter(C("kind") == "handed").select("host", minute="stamp", handed="nrcpt")
    return hours, handed
