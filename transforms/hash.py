"""Stable 64-bit hashes of columns: the same on every run, platform and chunking. Not meant to resist an adversary."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from hoptrace.transforms.jit import compiled, mix

NO_BITS = np.empty(0, np.uint8)


@compiled
def _hash_bytes(data: Any, start: int, end: int, seed: Any) -> Any:
    h = mix(np.uint64(seed) + np.uint64(0x9E3779B97F4A7C15) * np.uint64(end - start + 1))
    i = start
    while i + 8 <= end:
        word = np.uint64(0)
        for k in range(8):
            word |= np.uint64(data[i + k]) << np.uint64(8 * k)
        h = mix(h ^ (word * np.uint64(0x9FB21C651E98DF25)))
        i += 8
    if i < end:
        word = np.uint64(1)
        while i < end:
            word = (word << np.uint64(8)) | np.uint64(data[i])
            i += 1
        h = mix(h ^ (word * np.uint64(0xD6E8FEB86659FD93)))
    return h


@compiled
def _known(bits: Any, k: int) -> Any:
    """Whether bit k of an Arrow validity bitmap is set; all are, in an empty one."""
    return not bits.size or (bits[k >> 3] >> (k & 7)) & 1


@compiled
def _hash_strings(data: Any, offsets: Any, bits: Any, first: int, seeds: Any, out: Any) -> None:
    for k in range(out.size):
        seed = seeds[k % seeds.size]
        if _known(bits, first + k):
            out[k] = _hash_bytes(data, offsets[k], offsets[k + 1], seed)
        else:
            out[k] = mix(seed ^ np.uint64(0xD6E8FEB86659FD93))


@compiled
def _hash_spans(data: Any, starts: Any, ends: Any, seeds: Any, out: Any) -> None:
    for k in range(out.size):
        if starts[k] >= 0:
            out[k] = _hash_bytes(data, starts[k], ends[k], seeds[k])
        else:
            out[k] = mix(seeds[k] ^ np.uint64(0xD6E8FEB86659FD93))


@compiled
def _hash_ints(values: Any, bits: Any, first: int, seeds: Any, out: Any) -> None:
    for k in range(out.size):
        seed = seeds[k % seeds.size]
        if _known(bits, first + k):
            out[k] = mix(mix(seed ^ np.uint64(8)) ^ (np.uint64(values[k]) * np.uint64(0x9FB21C651E98DF25)))
        else:
            out[k] = mix(seed ^ np.uint64(0xD6E8FEB86659FD93))


def _array(buffer: pa.Buffer | None, dtype: np.dtype[Any], start: int, count: int) -> np.ndarray[Any, Any]:
    if buffer is None or not buffer.size:
        return np.zeros(count, dtype)
    return np.frombuffer(memoryview(buffer), dtype, count, start * dtype.itemsize)


def _hash(series: pl.Series, seeds: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    out = np.empty(len(series), np.uint64)
    if not len(series):
        return out
    if series.dtype == pl.Boolean:
        series = series.cast(pl.UInt8)
    whole = series.dtype.is_integer() or series.dtype.is_temporal()
    if whole:
        arrow = series.to_physical().to_arrow()
    else:
        arrow = (series if series.dtype == pl.String else series.cast(pl.String)).to_arrow().cast(pa.large_string())
    bits, *buffers = arrow.buffers()
    known = np.frombuffer(memoryview(bits), np.uint8) if bits is not None and arrow.null_count else NO_BITS
    if whole:
        values = _array(buffers[0], np.dtype(arrow.type.to_pandas_dtype()), arrow.offset, len(arrow))
        _hash_ints(values, known, arrow.offset, seeds, out)
    else:
        ends = _array(buffers[0], np.dtype(np.int64), arrow.offset, len(arrow) + 1)
        data = _array(buffers[1], np.dtype(np.uint8), 0, buffers[1].size if buffers[1] else 1)
        _hash_strings(data, ends, known, arrow.offset, seeds, out)
    return out


def hash_strings(series: pl.Series, seed: int = 0) -> pl.Series:
    """64-bit hash (UInt64) of every string of `series`; null has a hash of its own, other than that of ''."""
    return pl.Series(series.name, _hash(series, np.array([seed], np.uint64)))


def hash_spans(
    data: np.ndarray[Any, Any], starts: np.ndarray[Any, Any], ends: np.ndarray[Any, Any], seeds: np.ndarray[Any, Any]
) -> np.ndarray[Any, Any]:
    """What `hash_columns` makes of a last column whose strings are these spans of bytes; a negative start is null.

    Args:
        data: bytes (uint8); starts, ends: where each string lies. seeds: the hashes of the columns before (uint64).

    """
    out = np.empty(starts.size, np.uint64)
    _hash_spans(data, starts, ends, seeds, out)
    return out


def hash_columns(frame: pl.DataFrame, columns: Sequence[str], seed: int = 0) -> pl.Series:
    """64-bit hash (UInt64, named "hash") of each row's values in `columns`, strings or integers, in that order."""
    seeds = np.array([seed], np.uint64)
    for column in columns:
        seeds = _hash(frame[column], seeds) if frame.height else seeds
    if not frame.height:
        return pl.Series("hash", [], pl.UInt64)
    return pl.Series("hash", np.broadcast_to(seeds, (frame.height,)).copy() if len(seeds) != frame.height else seeds)
