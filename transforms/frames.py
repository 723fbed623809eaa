"""Frames on their way between workers: Arrow IPC bytes, split into shards by a stable key."""

import io
import itertools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import polars as pl

SHARD_BITS = 16
LOW = pl.lit((1 << SHARD_BITS) - 1, pl.UInt64)


@contextmanager
def frames_stay_here() -> Iterator[None]:
    """Within, encoded frames stay in this process under a name, and only the name travels.

    For an engine that runs every step in this one process and no step twice: nothing is compressed or copied on the way.
    """
    if _KEPT.here:
        yield
        return
    _KEPT.here = True
    try:
        yield
    finally:
        _KEPT.here = False
        _KEPT.frames.clear()


class _Kept:
    """Frames by name, and whether frames stay here now."""

    def __init__(self) -> None:
        self.here = False
        self.frames: dict[bytes, pl.DataFrame] = {}
        self.count = itertools.count()


_KEPT = _Kept()
_NAME = b"frame:"  # no Arrow IPC stream begins so


def encode_frame(frame: pl.DataFrame) -> bytes:
    """`frame` as a compressed Arrow IPC stream, or its name where frames stay here."""
    if _KEPT.here:
        name = _NAME + str(next(_KEPT.count)).encode()
        _KEPT.frames[name] = frame
        return name
    out = io.BytesIO()
    frame.write_ipc_stream(out, compression="zstd")
    return out.getvalue()


def decode_frame(data: bytes, last: bool = False) -> pl.DataFrame:
    """The frame that `encode_frame` made these bytes from; `last`: nobody will ask for it again."""
    if data.startswith(_NAME):
        return _KEPT.frames.pop(data) if last else _KEPT.frames[data]
    return pl.read_ipc_stream(io.BytesIO(data))


def decode_frames(parts: Iterable[bytes]) -> pl.DataFrame | None:
    """All rows of the encoded frames, which have one schema; None where there are no frames."""
    frames = [decode_frame(part) for part in parts]
    return pl.concat(frames) if frames else None


def split_by_shard(frame: pl.DataFrame, key: str, shards: int) -> Iterator[tuple[int, pl.DataFrame]]:
    """(shard, rows) for every shard that has rows; a row's shard is told by the last SHARD_BITS of its UInt64 column `key`."""
    if not frame.height:
        return
    if shards == 1:
        yield 0, frame
        return
    numbers = shards_of(frame[key].to_numpy(), shards)
    if (numbers[1:] < numbers[:-1]).any():
        order = np.argsort(numbers, kind="stable")
        frame, numbers = frame[order], numbers[order]
    at = 0
    for shard, rows in enumerate(np.bincount(numbers, minlength=shards).tolist()):
        if rows:
            yield shard, frame.slice(at, rows)
            at += rows


def shards_of(keys: np.ndarray[Any, Any], shards: int) -> np.ndarray[Any, Any]:
    """The shard (UInt16) of each key (UInt64), told by its last SHARD_BITS."""
    return (keys & np.uint64((1 << SHARD_BITS) - 1)).astype(np.uint16) % np.uint16(shards)
