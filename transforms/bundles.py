"""Named frames in one shuffle: tables of several kinds that share a key."""

from collections.abc import Iterable, Iterator

import polars as pl

from hoptrace.transforms.frames import decode_frame, encode_frame, split_by_shard
from hoptrace.transforms.plan import Keyed


def pack(name: str, frame: pl.DataFrame, key: str, shards: int, first: int = 0) -> Iterator[Keyed]:
    """`frame` cut by its column `key` into shards `first` .. `first + shards - 1`, each under `name`."""
    for shard, part in split_by_shard(frame, key, shards):
        yield first + shard, (name, encode_frame(part))


def unpack(parts: Iterable[tuple[str, bytes]]) -> dict[str, pl.DataFrame]:
    """Name -> all rows that came under it. A column that one frame lacks is null there."""
    named: dict[str, list[pl.DataFrame]] = {}
    for name, data in parts:
        named.setdefault(name, []).append(decode_frame(data, last=True))
    return {name: pl.concat(frames, how="diagonal").rechunk() for name, frames in named.items()}
