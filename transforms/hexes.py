"""Hashes as text."""

from binascii import hexlify

import numpy as np
import polars as pl
import pyarrow as pa


def hex_of(values: pl.Series) -> pl.Series:
    """UInt64 values as 16 hex digits each."""
    digits = hexlify(values.to_numpy().astype(">u8").tobytes())
    offsets = np.arange(0, 16 * (len(values) + 1), 16, dtype=np.int64)
    text = pa.LargeStringArray.from_buffers(len(values), pa.py_buffer(offsets), pa.py_buffer(digits))
    return pl.Series(pl.from_arrow(text))
