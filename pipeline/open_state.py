"""The open state that one night hands to the next: whether it is still the same."""

import polars as pl

from hoptrace.schemas.events import OPEN_HOPS
from hoptrace.transforms.hash import hash_strings


def checksum_of(state: pl.DataFrame) -> str:
    """A checksum of rows of OPEN_HOPS that their order does not change."""
    rows = OPEN_HOPS.conform(state)
    text = rows.select(pl.struct(pl.all().cast(pl.String)).struct.json_encode().alias("text"))["text"]
    return f"{int(hash_strings(text).sum() or 0) & (1 << 64) - 1:016x}" if rows.height else f"{0:016x}"
