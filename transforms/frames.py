"""Frames on their way between workers: Arrow IPC bytes, split into shards by a stable key."""

import io
from collections.abc import Iterable, Iterator

import polars as pl


def encode_frame(frame: pl.DataFrame) -> bytes:
    """`frame` as a compressed Arrow IPC stream."""
    out = io.BytesIO()
    frame.write_ipc_stream(out, compression="zstd")
    return out.getvalue()


def decode_frame(data: bytes) -> pl.DataFrame:
    """The frame that `encode_frame` made these bytes from."""
    return pl.read_ipc_stream(io.BytesIO(data))


def decode_frames(parts: Iterable[bytes]) -> pl.DataFrame | None:
    """All rows of the encoded frames, which have one schema; None where there are no frames."""
    frames = [decode_frame(part) for part in parts]
    return pl.concat(frames) if frames else None


def split_by_shard(frame: pl.DataFrame, key: str, shards: int) -> Iterator[tuple[int, pl.DataFrame]]:
    """(shard, rows) for every shard that has rows; a row's shard is its UInt64 column `key` modulo `shards`."""
    if not frame.height:
        return
    if shards == 1:
        yield 0, frame
        return
    numbered = frame.with_columns((pl.col(key) % shards).cast(pl.UInt32).alias("_shard"))
    for (shard,), part in numbered.partition_by("_shard", as_dict=True, include_key=False, maintain_order=True).items():
        yield int(shard), part
