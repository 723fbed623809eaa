"""Tables `coverage` and `unparsed`: what was read, where logs have holes, and which lines nobody understood."""

import polars as pl

from hoptrace.schemas.table import TIME, Table

TEXT = pl.String
HOLES = pl.List(pl.Struct({"since": pl.Int64(), "until": pl.Int64(), "known_at": pl.Int64(), "why": pl.String()}))
"""Holes of a log in UTC microseconds; `known_at` is the stamp of the line that tells of it, null where a file does."""

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
        "minutes": (pl.Int64, "minutes of the hour with a line: bit n stands for minute n"),
        "hole": (
            TEXT,
            "why the log is not whole: a file truncated, corrupt or absent, an announced loss, or hand-overs that no line "
            "shows; in the hours of a file's hole, else in the hour of the line that told of it; else null",
        ),
        "hole_from": (TIME, "where the hole begins"),
        "hole_until": (TIME, "where it ends; null where nothing follows"),
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
    personal={"template": "template", "example": "text"},
)

FILES = Table(
    "files",
    {
        "path": (TEXT, "file or object as listed"),
        "size": (pl.Int64, "bytes as stored"),
        "checksum": (TEXT, "CRC-32 of the stored bytes, of each range"),
        "lines": (pl.Int64, "lines read"),
        "error": (TEXT, "what was wrong with it, and how much was read all the same; null where nothing"),
        "modified": (TIME, "when it was written last, as its disk or bucket says; null where that does not tell"),
        "copies": (pl.Int64, "its lines that count by another file, and not by this one"),
        "copy_of": (
            TEXT,
            "the files that these are copies of; null where fleet.toml names another source for their host",
        ),
        "shared": (
            pl.Int64,
            "how many different lines of the whole file stand in another one too, and count in both: too few together to be a "
            "copy, or with other headers",
        ),
        "shared_with": (TEXT, "these files; null where there are none"),
    },
    order=("path",),
)
