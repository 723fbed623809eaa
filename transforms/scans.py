"""Scans: a filter's verdict that names a message by its Message-ID only, told to the message's stay on the same host."""

from typing import Literal

import polars as pl

from hoptrace.schemas.events import EVENTS
from hoptrace.transforms.kinds import Kinds, take
from hoptrace.transforms.links import LOOKAHEAD_US
from hoptrace.transforms.verdicts import SAID

C = pl.col
BEFORE_US = 10 * 60_000_000
"""How long before its queue ID's first line a message may be scanned: while a client hands it over, or in a proxy."""

WAYS: tuple[tuple[Literal["backward", "forward"], int], ...] = (("backward", BEFORE_US), ("forward", LOOKAHEAD_US))
NAMELESS = ("", "undef", "unknown", "(unknown)")
"""What filters write for a message that has no Message-ID."""

SCAN_COLUMNS = (
    "stamp",
    "host",
    "place",
    "message_id",
    *(name for name in SAID if name not in ("recipient", "next_queue_id")),
)


def select_scans(kinds: Kinds) -> pl.DataFrame:
    """The filter events that name a Message-ID and no queue ID: SCAN_COLUMNS."""
    named = C("queue_id").is_null() & ~C("message_id").is_in(NAMELESS)
    return take(kinds, "filter", [*SCAN_COLUMNS, "queue_id"]).filter(named.fill_null(False)).select(SCAN_COLUMNS)


def seek_scans(hops: pl.DataFrame, scanned: frozenset[str]) -> pl.DataFrame:
    """Hops on hosts that have scans: message_id, host, hop, arrived."""
    return hops.filter(C("host").is_in(list(scanned)) & (C("message_id").fill_null("") != "")).select(
        "message_id", "host", "hop", "arrived"
    )


def match_scans(scans: pl.DataFrame, hops: pl.DataFrame) -> pl.DataFrame:
    """Each hop with the scan of its Message-ID on its host that is nearest in time to its arrival: the `filters` of `Stays`.

    A scan counts from BEFORE_US before the hop's arrival until half an hour after. A hop takes one scan at most, whatever else
    has the same Message-ID, so that one that a stranger repeats makes no more rows than there are hops.
    """
    by = ["message_id", "host"]
    lines = scans.sort(
        *by, "stamp", *(C(name) for name in SCAN_COLUMNS if name not in (*by, "stamp")), nulls_last=False
    ).unique([*by, "stamp"], keep="first", maintain_order=True)
    lines = lines.with_columns(_at="stamp").sort("_at", *by)
    seekers = hops.with_columns(_at="arrived").sort("_at", "hop")
    near = [
        seekers.join_asof(lines, on="_at", by=by, strategy=way, tolerance=reach, check_sortedness=False)
        for way, reach in WAYS
    ]
    found = pl.concat(near).filter(C("stamp").is_not_null()).with_columns(_gap=(C("stamp") - C("arrived")).abs())
    nearest = found.sort("hop", "_gap", "stamp").unique("hop", keep="first", maintain_order=True)
    return nearest.select(
        "hop",
        *(C(name) if name in SCAN_COLUMNS else pl.lit(None, EVENTS.schema[name]).alias(name) for name in SAID),
        at="stamp",
        scanned=pl.lit(True),
    )


def wait_scans(scans: pl.DataFrame, ends_at: int) -> pl.DataFrame:
    """EVENTS of the scans whose message may arrive in the next night."""
    late = scans.filter(C("stamp").is_between(ends_at - BEFORE_US, ends_at, closed="left"))
    return EVENTS.conform(late.with_columns(kind=pl.lit("filter")))
