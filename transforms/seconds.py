"""Microseconds as seconds, told at the last step."""

import polars as pl


def seconds_of(us: str | pl.Expr) -> pl.Expr:
    """Seconds (Float64) of integer microseconds: the float nearest to them, whatever the frame's length."""
    ticks = pl.col(us) if isinstance(us, str) else us
    return (ticks / 1e6).round(6)
