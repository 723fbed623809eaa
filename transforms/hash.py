"""Stable 64-bit hashes of columns: the same on every run, platform and chunking. Not meant to resist an adversary."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from hoptrace.transforms.jit import compiled


@compiled
def _mix(h: Any) -> Any:
    """Spreads every bit of `h` over all 64 (the finalizer of MurmurHash3, variant 13 by D. Stafford)."""
    h = np.uint64(h)
    h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return h ^ (h >> np.uint64(31))


@compiled
def _hash_bytes(data: Any, start: int, end: int, seed: Any) -> Any:
    h = _mix(np.uint64(seed) + np.uint64(0x9E3779B97F4A7C15) * np.uint64(end - start + 1))
    i = start
    while i + 8 <= end:
        word = np.uint64(0)
        for k in range(8):
            word |= np.uint64(data[i + k]) << np.uint64(8 * k)
        h = _mix(h ^ (word * np.uint64(0x9FB21C651E98DF25)))
        i += 8
    if i < end:
        word = np.uint64(1)
        while i < end:
            word = (word << np.uint64(8)) | np.uint64(data[i])
            i += 1
        h = _mix(h ^ (word * np.uint64(0xD6E8FEB86659FD93)))
    return h


@compiled
def _hash_strings(data: Any, offsets: Any, valid: Any, seeds: Any, out: Any) -> None:
    for k in range(out.size):
        seed = seeds[k % seeds.size]
        if valid[k]:
            out[k] = _hash_bytes(data, offsets[k], offsets[k + 1], seed)
        else:
            out[k] = _mix(seed ^ np.uint64(0xD6E8FEB86659FD93))


@compiled
def _hash_spans(data: Any, starts: Any, ends: Any, seeds: Any, out: Any) -> None:
    for k in range(out.size):
        if starts[k] >= 0:
            out[k] = _hash_bytes(data, starts[k], ends[k], seeds[k])
        else:
            out[k] = _mix(seeds[k] ^ np.uint64(0xD6E8FEB86659FD93))


@compiled
def _hash_ints(values: Any, valid: Any, seeds: Any, out: Any) -> None:
    for k in range(out.size):
        seed = seeds[k % seeds.size]
        if valid[k]:
            out[k] = _mix(_mix(seed ^ np.uint64(8)) ^ (np.uint64(values[k]) * np.uint64(0x9FB21C651E98DF25)))
        else:
            out[k] = _mix(seed ^ np.uint64(0xD6E8FEB86659FD93))


def _array(buffer: pa.Buffer | None, dtype: type[np.generic], start: int, count: int) -> np.ndarray[Any, Any]:
    if buffer is None or not buffer.size:
        return np.zeros(max(count, 1), dtype)
    size = np.dtype(dtype).itemsize
    return np.frombuffer(memoryview(buffer), dtype, count, start * size)


def _hash(series: pl.Series, seeds: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    out = np.empty(len(series), np.uint64)
    if not len(series):
        return out
    valid = series.is_not_null().to_numpy()
    if series.dtype.is_integer() or series.dtype.is_temporal() or series.dtype == pl.Boolean:
        ints = series.to_physical()
        if ints.dtype == pl.UInt64:
            _hash_ints(ints.fill_null(0).to_numpy().view(np.int64), valid, seeds, out)
        else:
            _hash_ints(ints.cast(pl.Int64).fill_null(0).to_numpy(), valid, seeds, out)
        return out
    strings = series.cast(pl.String).rechunk().to_arrow().cast(pa.large_string())
    _, offsets, data = strings.buffers()
    ends = _array(offsets, np.int64, strings.offset, len(strings) + 1)
    _hash_strings(_array(data, np.uint8, 0, data.size if data else 0), ends, valid, seeds, out)
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
