"""What one shard of whole traces is told by: named frames, and what each looks like where there are no rows for it."""

from collections.abc import Mapping
from functools import cache

import polars as pl

from hoptrace.schemas.events import EVENTS
from hoptrace.schemas.fleet import Fleet
from hoptrace.transforms.assemble import assemble_hops
from hoptrace.transforms.doors import ACCEPTED, match_series, name_client, write_refusals
from hoptrace.transforms.roots import FOREST, place_hops


def fill_placed(placed: Mapping[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
    """`placed` with hops, recipients, notices, filters, these as of the night's end (cut_*), firsts and refusals."""
    return {**nothing_placed(), **placed}


@cache
def nothing_placed() -> dict[str, pl.DataFrame]:
    """The frames of a shard without a mail: what the steps before make of no events."""
    stays = assemble_hops(EVENTS.empty().with_columns(key=pl.lit(0, pl.UInt64)), Fleet(), frozenset())
    series = match_series(name_client(EVENTS.empty()), pl.DataFrame(schema=ACCEPTED), 0)
    frames = {
        "hops": place_hops(stays.hops, pl.DataFrame(schema=FOREST)),
        "recipients": stays.recipients, "notices": stays.notices,
        "filters": stays.filters,
    }  # fmt: skip
    cut = {f"cut_{name}": frame for name, frame in frames.items()}
    return {**frames, **cut, "firsts": series.firsts, "refusals": write_refusals(series.never, 0)}
