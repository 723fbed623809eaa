"""What logs tell about the fleet itself: how hosts call each other, in which zones they write, and how far their clocks are off.

Only links that are certain by themselves count: the reply names a queue ID, and a hop with this ID has the same Message-ID.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from zoneinfo import ZoneInfo, available_timezones

import polars as pl

from hoptrace.schemas.fleet import is_address
from hoptrace.transforms.names import SELF
from hoptrace.transforms.stamps import DAY, HOUR, MINUTE, SECOND, queue_id_time

C = pl.col
STEP = 15 * MINUTE
"""Zones differ by multiples of this."""

FAR_APART = 26 * HOUR
"""More than two zones can be apart, and hops of one message be."""

LINKS, SHARE = 3, 0.9
"""How many links must name a host so, and which share of all links that name anybody so."""

SAMPLES = 3
"""How many lines must prove a zone."""

HOP_COLUMNS = ("hop", "host", "queue_id", "message_id", "arrived", "first_seen", "client_name", "client_ip", "partial")
RECIPIENT_COLUMNS = ("hop", "relay_name", "relay_ip", "next_queue_id", "at", "try_start", "status")

USUAL_ZONES = (
    "UTC", "Europe/London", "Europe/Berlin", "Europe/Helsinki", "Europe/Moscow", "Asia/Dubai", "Asia/Karachi", "Asia/Kolkata",
    "Asia/Dhaka", "Asia/Bangkok", "Asia/Shanghai", "Asia/Tokyo", "Australia/Sydney", "Pacific/Auckland", "America/New_York",
    "America/Chicago", "America/Denver", "America/Los_Angeles", "America/Halifax", "America/Sao_Paulo", "America/St_Johns",
)  # fmt: skip
"""The first of these that fits is proposed, of zones that cannot be told apart."""


@dataclass(frozen=True)
class Naming:
    """A name or address that other hosts' logs use for a host, in so many links."""

    host: str
    name: str
    links: int


def link_certain(hops: pl.DataFrame, recipients: pl.DataFrame) -> pl.DataFrame:
    """Certain links between hosts, whatever they call each other: giver, taker (hosts), relay_name, relay_ip, client_name,
    client_ip, at, try_start (giver's), arrived, first_seen, made (by the taker's queue ID), all in µs.

    hops: HOP_COLUMNS; recipients: RECIPIENT_COLUMNS. A Message-ID that a program does not log is made up for by a queue ID that one
    hop of all has.
    """
    alone = hops.filter(~C("queue_id").is_duplicated()).select("hop", alone=pl.lit(True))
    takers = hops.join(alone, on="hop", how="left").select(
        "queue_id",
        "client_name",
        "client_ip",
        "arrived",
        "first_seen",
        "alone",
        taker="host",
        taker_hop="hop",
        taken_id="message_id",
        made=queue_id_time(hops["queue_id"], hops["first_seen"]),
    )
    given = recipients.filter((C("status") == "sent") & C("next_queue_id").is_not_null()).select(
        "hop", "relay_name", "relay_ip", "at", "try_start", queue_id="next_queue_id"
    )
    given = given.unique(["hop", "queue_id"], keep="first", maintain_order=True)
    told = given.join(hops.select("hop", "message_id", giver="host"), on="hop")
    blank = (C("message_id").fill_null("") == "") | (C("taken_id").fill_null("") == "")
    near = (C("first_seen") - C("at")).abs() <= FAR_APART
    same = (C("message_id") == C("taken_id")).fill_null(False)
    met = told.join(takers, on="queue_id").filter((C("giver") != C("taker")) & near)
    return met.filter((same & ~blank) | (blank & C("alone"))).drop(
        "message_id", "taken_id", "alone", "hop", "taker_hop"
    )


def learn_names(links: pl.DataFrame) -> list[Naming]:
    """The names and addresses by which links name their taker (as relay) and their giver (as client); not those that name several."""
    said = [
        links.select(host=host, name=C(name).str.to_lowercase().str.strip_chars_end("."))
        for host, names in (("taker", ("relay_name", "relay_ip")), ("giver", ("client_name", "client_ip")))
        for name in names
    ]
    named = pl.concat(said).drop_nulls().filter(~C("name").is_in([*SELF, "unknown", "local", "none", ""]))
    counted = (
        named.group_by("host", "name")
        .agg(links=pl.len())
        .with_columns(share=C("links") / C("links").sum().over("name"))
    )
    sure = counted.filter((C("links") >= LINKS) & (C("share") >= SHARE)).sort("host", "name")
    return [Naming(host, name, links) for host, name, links in sure.select("host", "name", "links").iter_rows()]


def zone_errors(hops: pl.DataFrame, links: pl.DataFrame) -> pl.DataFrame:
    """host, day (UTC day in µs), error (µs, a multiple of STEP): how far stamps lie ahead of UTC since they were read in a wrong zone.

    By queue IDs that hold their time; for hosts without such by the hosts that they have links with, nearest first.
    """
    whole = hops.filter(~C("partial").fill_null(True))
    off = whole["first_seen"] - queue_id_time(whole["queue_id"], whole["first_seen"])
    known = common_error(whole.select("host", day=C("first_seen") // DAY * DAY, off=off).drop_nulls("off"))
    while True:
        hosts = known["host"].unique().implode()
        day = {"day": C("first_seen") // DAY * DAY}
        to_taker = (
            links.filter(~C("taker").is_in(hosts))
            .join(
                known.rename({"host": "giver"}),
                left_on=["giver", C("at") // DAY * DAY],
                right_on=["giver", "day"],
                how="inner",
            )
            .select(host="taker", off=C("first_seen") - C("at") + C("error"), **day)
        )
        to_giver = (
            links.filter(~C("giver").is_in(hosts))
            .join(
                known.rename({"host": "taker"}),
                left_on=["taker", C("first_seen") // DAY * DAY],
                right_on=["taker", "day"],
                how="inner",
            )
            .select(host="giver", off=C("at") - C("first_seen") + C("error"), day=C("at") // DAY * DAY)
        )
        more = common_error(pl.concat([to_taker, to_giver]))
        if more.is_empty():
            return known.sort("host", "day")
        known = pl.concat([known, more])


def common_error(samples: pl.DataFrame) -> pl.DataFrame:
    """host, day, error: the commonest multiple of STEP that `samples` (host, day, off in µs) are near to, where most are."""
    steps = samples.select("host", "day", error=((C("off") + STEP // 2) // STEP * STEP).cast(pl.Int64))
    counted = steps.group_by("host", "day", "error").agg(n=pl.len()).with_columns(all=C("n").sum().over("host", "day"))
    sure = counted.filter((C("n") >= SAMPLES) & (C("n") >= 0.8 * C("all")))
    return sure.select("host", "day", "error")


def bracket(links: pl.DataFrame, errors: pl.DataFrame) -> pl.DataFrame:
    """giver, taker, least, most (µs): what each link says of how far the taker's clock is ahead of the giver's (see `clocks`).

    A host whose stamps are whole seconds may have meant any moment of that second, and so do the queue IDs of Exim and Sendmail;
    long ones of Postfix are exact. Postfix rounds durations to two digits, others to seconds.
    """
    whole = pl.concat([
        links.select(host="giver", part=C("at") % SECOND), links.select(host="taker", part=C("first_seen") % SECOND),
    ]).group_by("host").agg(grain=pl.when((C("part") == 0).all()).then(SECOND - 1).otherwise(0))  # fmt: skip
    usual = errors.group_by("host").agg(C("error").mode().min())
    rows = (
        links.join(whole.rename({"host": "giver", "grain": "giver_grain"}), on="giver")
        .join(whole.rename({"host": "taker", "grain": "taker_grain"}), on="taker")
        .with_columns(given=C("at") // DAY * DAY, taken=C("first_seen") // DAY * DAY)
        .join(
            errors.rename({"host": "giver", "day": "given", "error": "giver_error"}), on=["giver", "given"], how="left"
        )
        .join(
            errors.rename({"host": "taker", "day": "taken", "error": "taker_error"}), on=["taker", "taken"], how="left"
        )
        .join(usual.rename({"host": "giver", "error": "giver_usual"}), on="giver", how="left")
        .join(usual.rename({"host": "taker", "error": "taker_usual"}), on="taker", how="left")
        .with_columns(
            giver_error=pl.coalesce("giver_error", "giver_usual", pl.lit(0)),
            taker_error=pl.coalesce("taker_error", "taker_usual", pl.lit(0)),
        )
        .with_columns(
            at=C("at") - C("giver_error"),
            start=C("try_start") - C("giver_error"),
            seen=C("first_seen") - C("taker_error"),
        )
    )
    busy, whole_seconds = C("at") - C("start"), pl.lit(SECOND - 1)
    rounded = pl.when(busy % SECOND == 0).then(whole_seconds).otherwise(busy // 20 + SECOND // 100)
    earliest = pl.max_horizontal("seen", "made")
    made_by = C("made") + pl.when(C("made") % SECOND == 0).then(whole_seconds).otherwise(0)
    latest = pl.coalesce(made_by, C("seen") + C("taker_grain"))
    return rows.select(
        "giver",
        "taker",
        least=earliest - C("at") - C("giver_grain"),
        most=latest - C("start") + rounded,
    )


def fitting_zones(offsets: Sequence[tuple[int, int]], first: Sequence[str] = ()) -> list[str]:
    """The zones that are so far east of UTC (µs) at these moments (UTC µs), those in `first` first, then USUAL_ZONES."""
    order = dict.fromkeys((*first, *USUAL_ZONES, *sorted(available_timezones())))
    asked = [(datetime.fromtimestamp(at // SECOND, timezone.utc), timedelta(microseconds=east)) for at, east in offsets]
    return [name for name in order if all(_offset(name, at) == east for at, east in asked)]


@lru_cache(maxsize=1 << 16)
def _offset(zone: str, at: datetime) -> timedelta:
    try:
        return at.astimezone(ZoneInfo(zone)).utcoffset() or timedelta()
    except (OSError, ValueError, LookupError):
        return timedelta.max


def full_name(name: str) -> bool:
    """Whether a name is worth keeping in a fleet.toml: an address, or a name with a domain."""
    return is_address(name) or "." in name
