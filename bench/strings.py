"""Random strings by the column: fixed widths as bytes, picks from pools with long tails."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

Array = np.ndarray[Any, Any]

BASE_52 = np.frombuffer(b"0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz", np.uint8)
BASE_64 = np.frombuffer(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", np.uint8)
HEX = np.frombuffer(b"0123456789abcdef", np.uint8)
CENTISECONDS = pl.Series([f"{n / 100:g}" for n in range(10_000)])


def column(letters: Array) -> pl.Series:
    """One string per row of a matrix of bytes."""
    rows, width = letters.shape
    offsets = np.arange(0, width * (rows + 1), width, dtype=np.int64) if width else np.zeros(rows + 1, np.int64)
    text = pa.LargeStringArray.from_buffers(rows, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(letters)))
    return pl.Series(pl.from_arrow(text))


def digits(values: Array, width: int, alphabet: Array) -> Array:
    """`values` as that many digits each, most significant first."""
    out = np.empty((values.size, width), np.uint8)
    for place in range(width - 1, -1, -1):
        values, digit = np.divmod(values, alphabet.size)
        out[:, place] = alphabet[digit]
    return out


def random_letters(rng: np.random.Generator, rows: int, width: int, alphabet: Array) -> pl.Series:
    """Strings of that width."""
    return column(alphabet[rng.integers(0, alphabet.size, (rows, width))])


def queue_ids(rng: np.random.Generator, at: Array) -> pl.Series:
    """Postfix's long queue IDs of messages that came at those UTC microseconds (global/mail_queue.h)."""
    seconds, micros = np.divmod(at, 1_000_000)
    inode = rng.integers(51**3, 51**4, at.size)
    z = np.full((at.size, 1), ord("z"), np.uint8)
    return column(
        np.hstack([digits(seconds, 6, BASE_52), digits(micros, 4, BASE_52), z, digits(inode, 4, BASE_52[:-1])])
    )


def pick(
    rng: np.random.Generator, pool: Sequence[str] | pl.Series, rows: int, weights: Sequence[float] | None = None
) -> pl.Series:
    """Strings of a pool: by weight, or the first ones often and each of the many last ones rarely (Zipf's law)."""
    series = pool if isinstance(pool, pl.Series) else pl.Series(list(pool))
    if weights is not None:
        edges = np.cumsum(weights) / np.sum(weights)
        return series.gather(
            pl.Series(np.searchsorted(edges, rng.random(rows), side="right").clip(max=len(series) - 1))
        )
    return series.gather(pl.Series((len(series) ** rng.random(rows) - 1).astype(np.int64).clip(max=len(series) - 1)))


def seconds(us: Array) -> pl.Series:
    """Microseconds as Postfix writes a delay: two decimals while they matter."""
    hundredths = np.maximum(us, 0) // 10_000
    short = CENTISECONDS.gather(pl.Series(np.minimum(hundredths, 9_999)))
    long = hundredths > 9_999
    return short if not long.any() else short.zip_with(pl.Series(~long), pl.Series(hundredths // 100).cast(pl.String))
