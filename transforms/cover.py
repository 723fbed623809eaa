"""Coverage summed up: which hosts have a log, and how far it goes."""

from collections.abc import Iterable
from functools import lru_cache

import polars as pl

from hoptrace.schemas.coverage import UNPARSED
from hoptrace.transforms.frames import decode_frame, encode_frame
from hoptrace.transforms.parse import sum_coverage

C = pl.col


def add_coverage(parts: Iterable[pl.DataFrame]) -> pl.DataFrame:
    """Partial coverage (host, hour in µs, sums, first_at, last_at, minutes, holes) as one row per host and hour."""
    return sum_coverage(list(parts))


def add_encoded(parts: Iterable[bytes]) -> bytes:
    """`add_coverage` over encoded frames; order and grouping of the parts do not matter."""
    frames = [decode_frame(part) for part in parts if part]
    return encode_frame(add_coverage(frames)) if frames else b""


@lru_cache(maxsize=4)
def read_hosts(coverage: bytes) -> dict[str, int]:
    """Host -> UTC microseconds up to which its log is read, for every host of whose log something was understood."""
    if not coverage:
        return {}
    hosts = (
        decode_frame(coverage)
        .group_by("host")
        .agg(C("events").sum(), C("read_at").max())
        .filter((C("events") > 0) & C("read_at").is_not_null())
        .sort("host")
    )
    return dict(hosts.select("host", "read_at").iter_rows())


def add_templates(parts: Iterable[pl.DataFrame]) -> pl.DataFrame:
    """Partial UNPARSED as one row per program and template, with the smallest example."""
    frames = list(parts)
    if not frames:
        return UNPARSED.empty()
    smallest = C("example").min()
    return (
        pl.concat(frames)
        .group_by("program", "template")
        .agg(C("lines").sum(), smallest, C("host").filter(C("example") == smallest).min())
        .sort("program", "template", nulls_last=False)
    )
