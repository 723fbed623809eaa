"""Events by kind: a frame per kind with just the columns that kind has, instead of one wide frame that is mostly null."""

from collections.abc import Iterable, Mapping

import polars as pl

from hoptrace.schemas.events import EVENTS, KINDS

C = pl.col
Kinds = Mapping[str, pl.DataFrame]
"""Kind -> its events; columns of EVENTS (and `key`, `hop_no`) that are null throughout may be absent. `repeat` may, where it is 1."""


def part_kinds(events: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """`events` by kind, without the columns that are null throughout a kind."""
    parts = events.partition_by("kind", as_dict=True, include_key=False, maintain_order=True)
    return {str(kind): drop_empty(frame) for (kind,), frame in parts.items()}


def drop_empty(frame: pl.DataFrame) -> pl.DataFrame:
    """`frame` without its columns that hold nothing."""
    return frame.select(name for name in frame.columns if frame[name].null_count() < frame.height)


def take(kinds: Kinds, kind: str, columns: Iterable[str]) -> pl.DataFrame:
    """`columns` of one kind's events, null where the kind has none; no rows where there are no such events."""
    frame = kinds.get(kind)
    types = {**EVENTS.schema, "key": pl.UInt64, "hop_no": pl.UInt32}
    if frame is None:
        return pl.DataFrame(schema={name: types[name] for name in columns})
    have = frame.columns
    return frame.select(C(name) if name in have else pl.lit(None, types[name]).alias(name) for name in columns)


def whole_events(kinds: Kinds, names: Iterable[str] = KINDS) -> pl.DataFrame:
    """EVENTS rows of the kinds in `names`, one after the other."""
    frames = [EVENTS.conform(kinds[name].with_columns(kind=pl.lit(name))) for name in names if name in kinds]
    return pl.concat(frames).with_columns(C("repeat").fill_null(1)) if frames else EVENTS.empty()
