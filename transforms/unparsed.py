"""Lines that nobody understood, by template: digits, IDs and addresses masked, with the smallest example of each."""

from typing import Any

import numpy as np
import polars as pl

from hoptrace.transforms.columns import Columns

Array = np.ndarray[Any, Any]

UNPARSED_PARTIAL = {
    "program": pl.String(),
    "template": pl.String(),
    "lines": pl.Int64(),
    "example": pl.String(),
    "host": pl.String(),
}
OTHER = "(other)"
TEMPLATES = 1000
EXAMPLE_BYTES = 300
TEXT_BYTES = 1000
# Patterns of Polars' own (linear-time) regex engine, applied in this order.
MASKS = (
    (r"<[^<>@\s]*@[^<>\s]*>", "<..@..>"),
    (r"""[^\s<>@,;:=\[\]()"'{}]+@[0-9A-Za-z._-]+""", "..@.."),
    (r"\b\d{1,3}(?:\.\d{1,3}){3}\b", "IP"),
    (r"\b[0-9A-Fa-f]{1,4}(?::{1,2}[0-9A-Fa-f]{1,4}){2,7}\b", "IP"),
    (r"\b[0-9A-Za-z]{0,30}(?:[0-9][A-Za-z]|[A-Za-z][0-9])[0-9A-Za-z]{5,}(?:[-.][0-9A-Za-z]+)*\b", "ID"),
    (r"[0-9]+", "N"),
)


def count_templates(
    columns: Columns, program: pl.Series, host: pl.Series, texts: tuple[Array, Array], lines: tuple[Array, Array]
) -> pl.DataFrame:
    """Partial `unparsed`: lines by program and template, at most TEMPLATES of them; the rarest of more are (other).

    Args:
        columns: the chunk; program, host: of each unparsed line.
        texts: (start, end) of each line's text, of which the first TEXT_BYTES count.
        lines: (start, end) of each whole line, of which an example shows EXAMPLE_BYTES.
    """
    frame = pl.DataFrame(
        {
            "program": program,
            "template": _bounded(columns, texts, TEXT_BYTES),
            "example": _bounded(columns, lines, EXAMPLE_BYTES),
            "host": host,
        }
    )
    masked = pl.col("template")
    for pattern, word in MASKS:
        masked = masked.str.replace_all(pattern, word)
    counted = _counted(frame.with_columns(masked), pl.len().cast(pl.Int64))
    if counted.height <= TEMPLATES:
        return counted
    common = counted.sort(["lines", "program", "template"], descending=[True, False, False])
    rest = common[TEMPLATES - 1 :].with_columns(template=pl.lit(OTHER), program=pl.lit(None, pl.String))
    return _counted(pl.concat([common[: TEMPLATES - 1], rest]), pl.col("lines").sum())


def _counted(frame: pl.DataFrame, lines: pl.Expr) -> pl.DataFrame:
    smallest = pl.struct("example", "host").min()
    return (
        frame.group_by("program", "template")
        .agg(lines.alias("lines"), smallest.alias("_least"))
        .unnest("_least")
        .select(*UNPARSED_PARTIAL)
        .sort("program", "template")
    )


def _bounded(columns: Columns, spans: tuple[Array, Array], size: int) -> pl.Series:
    starts = spans[0].astype(np.int32)
    ends = np.minimum(spans[1], starts + size).astype(np.int32)
    cut = np.flatnonzero(ends < spans[1])
    for _ in range(3):
        inside = (columns.array[ends[cut]] & 0xC0) == 0x80
        ends[cut[inside]] -= 1
    return columns.strings(starts, ends)
