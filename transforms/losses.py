"""Lines that a log lost: losses that its own daemon announces, and what is torn off the end of a file or lies in a file that is absent."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import regex

from hoptrace.schemas.coverage import HOLES
from hoptrace.schemas.fleet import Fleet
from hoptrace.transforms.cut import NO_STAMP, cut_heads
from hoptrace.transforms.kinds import Kinds, take
from hoptrace.transforms.read import PLACE_SHIFT, Chunk, FileReport, Range
from hoptrace.transforms.stamps import HOUR, MINUTE, to_utc
from hoptrace.transforms.tags import MAIL

C = pl.col
LOSS = "loss"
WINDOW_US = 10 * MINUTE
"""In how long before its line a daemon lost what it tells of; the windows that it counts in are 5 s to 10 min long."""

SILENT_US = 30 * MINUTE
"""Files of a rotation that are this near to each other have none between them."""

TAIL_BYTES = 1 << 16
FOREVER = 4_102_444_800_000_000
YEAR_2000_US = 946_684_800_000_000
CONTAINERS = ("docker", "containerd", "podman", "crio")
UNIT = regex.compile(r"(?:.*/)?([^/@]*?)(?:@[^/]*)?\.(?:service|scope)$")


def list_losses(kinds: Kinds) -> pl.DataFrame:
    """host, hour (µs), holes of the announcements among the events by kind.

    Who lost lines may stand in `reply`: systemd's name of a unit, of which only those of mail programs matter, or a process.
    """
    lost = take(kinds, LOSS, ["host", "stamp", "instance", "size", "reply"])
    whose = lost["reply"].fill_null("").unique()
    known = pl.DataFrame({"reply": whose, "matters": [may_be_mail(name) for name in whose]})
    lost = lost.with_columns(C("reply").fill_null("")).join(known, on="reply").filter("matters")
    by = pl.when(C("reply") != "").then(" by " + C("reply")).otherwise(pl.lit(""))
    why = (
        C("instance").fill_null("syslog") + " announced " + C("size").cast(pl.String).fill_null("an unknown number of")
    )
    return lost.select(
        "host",
        hour=C("stamp") // HOUR * HOUR,
        holes=pl.concat_list(
            pl.struct(
                since=C("stamp") - WINDOW_US,
                until="stamp",
                known_at="stamp",
                why=why + " lost messages" + by,
            )
        ).cast(HOLES),
    )


def may_be_mail(whose: str) -> bool:
    """Whether lines of this systemd unit may be a mail program's; what is no unit's name may be anyone's."""
    unit = UNIT.fullmatch(whose)
    return unit is None or unit[1] in CONTAINERS or MAIL.match(unit[1]) is not None


@dataclass(frozen=True)
class Torn:
    """That lines are lacking after the `end` of what was read of a range (None: nothing was read), and why."""

    end: Chunk | None
    why: str
    least_us: int


def last_lines(chunk: Chunk) -> Chunk:
    """The last lines of a chunk."""
    start = max(0, len(chunk.data) - TAIL_BYTES)
    start = chunk.data.find(b"\n", start) + 1 if start else 0
    return Chunk(bytes(chunk.data[start:]), chunk.offset + start)


def tear(r: Range, report: FileReport, end: Chunk | None) -> Torn | None:
    """What is lacking after a range that was read to its `end`: the rest of a damaged file, and files that are absent.

    Nothing where its end is a copy: the other file tells how the log goes on.
    """
    if end is not None and r.copies and r.copies.cover(last_start(end)).all():
        return None
    if report.cut:
        return Torn(end, f"{r.path}: {report.error}", 0)
    if r.last and r.absent:
        return Torn(end, f"{r.absent} is absent", SILENT_US)
    return None


def last_start(end: Chunk) -> "np.ndarray[Any, Any]":
    """Where the last line of a chunk begins in the text."""
    return np.array([end.offset + end.data.rfind(b"\n", 0, len(end.data) - 1) + 1], np.int64)


def find_torn(torn: Torn, r: Range, fleet: Fleet, near_us: int) -> pl.DataFrame:
    """The hole (host, hour, holes) from the last stamp read to the first of the next file; no row where they are near."""
    host, since = r.folder_host, 0
    if r.place:
        since = (r.place >> PLACE_SHIFT) * MINUTE + YEAR_2000_US
    if torn.end is not None:
        heads = cut_heads(torn.end.data)
        stamped = np.flatnonzero(heads.form != NO_STAMP)
        if stamped.size:
            names = [fleet.host_named(name.decode("utf-8", "backslashreplace")) for name in heads.hosts] + [
                r.folder_host
            ]
            host = names[heads.host[stamped[-1]]]
            zone = np.zeros(stamped.size, np.int32)
            second = None if r.fold_at is None else heads.starts[stamped] + torn.end.offset >= r.fold_at
            stamps = to_utc(heads.form[stamped], heads.stamp[stamped], zone, [fleet.zone_of(host)], near_us, second)
            since = int(stamps.max()) - fleet.clock_offset_of(host)
    until = FOREVER if r.followed_at is None else r.followed_at
    hole = {"since": since, "until": until, "known_at": None, "why": torn.why}
    frame = pl.DataFrame(
        {"host": [host], "hour": [since // HOUR * HOUR], "holes": [[hole]]},
        schema={"host": pl.String, "hour": pl.Int64, "holes": HOLES},
    )
    return frame.filter((until - since > torn.least_us) & (host not in r.copies.hosts_elsewhere))
