"""Tables `coverage` and `unparsed`: what was read, where logs have holes, and which lines nobody understood."""

import polars as pl

from hoptrace.schemas.table import TIME, Table

TEXT = pl.String

COVERAGE = Table(
    "coverage",
    {
        "host": (TEXT, "host that wrote the lines"),
        "hour": (TIME, "UTC hour"),
        "lines": (pl.Int64, "lines stamped in the hour"),
        "bytes": (pl.Int64, "their bytes"),
        "events": (pl.Int64, "lines that say something about a message"),
        "quiet": (pl.Int64, "lines known to carry nothing"),
        "unparsed": (pl.Int64, "lines that no grammar row knows"),
        "first_at": (TIME, "first stamp in the hour"),
        "last_at": (TIME, "last stamp in the hour"),
        "hole": (TEXT, "why the log is not whole here: truncated or corrupt file, announced loss; else null"),
        "zone_conflicts": (pl.Int64, "lines whose queue ID proves another zone than the configured one"),
        "year_conflicts": (pl.Int64, "lines whose queue ID proves another year"),
        "skew_s": (
            pl.Float64,
            "seconds its clock is ahead (positive) or behind, the least that its relay links of the hour allow, median",
        ),
    },
    order=("host", "hour"),
)

UNPARSED = Table(
    "unparsed",
    {
        "program": (TEXT, "program as the line names it"),
        "template": (TEXT, "the line's text with digits, IDs and addresses masked"),
        "lines": (pl.Int64, "lines of this template"),
        "example": (TEXT, "the smallest such line"),
        "host": (TEXT, "host of the example"),
    },
    order=("lines", "program", "template"),
)

FILES = Table(
    "files",
    {
        "path": (TEXT, "file or object as listed"),
        "size": (pl.Int64, "bytes as stored"),
        "checksum": (TEXT, "CRC-32 of the stored bytes, of each range"),
        "lines": (pl.Int64, "lines read"),
        "error": (TEXT, "what was wrong with it, and how much was read all the same; null where nothing"),
    },
    order=("path",),
)
