"""Table `nights`: which day was published when, from what, as which versions of the other tables."""

import polars as pl

from hoptrace.schemas.table import TIME, Table

TEXT = pl.String

NIGHTS = Table(
    "nights",
    {
        "day": (TEXT, "YYYY-MM-DD in the fleet's zone"),
        "published_at": (TIME, "when this row was written (the only wall-clock time in the store)"),
        "starts_at": (TIME, "first instant of the day"),
        "ends_at": (TIME, "first instant after it"),
        "began_at": (TIME, "where the last cold start before or on this day began: no earlier line was read"),
        "timezone": (TEXT, "the fleet's zone: that of its days"),
        "cold_start": (pl.Boolean, "run without the night before"),
        "state_of": (TEXT, "the day whose open state was read, with the version of open_hops: DAY@VERSION"),
        "pseudonyms": (
            TEXT,
            "fingerprint of the key that its pseudonyms were made with, and 'domains' where those are pseudonyms too; "
            "null: written in clear",
        ),
        "versions": (TEXT, "JSON: table -> Delta version that holds this night"),
        "inputs": (TEXT, "JSON: the rows of `files`, `modified` as UTC microseconds"),
        "counts": (TEXT, "JSON: lines read, events, quiet, unparsed, rows per table"),
        "hoptrace": (TEXT, "version that wrote it"),
        "state_checksum": (TEXT, "checksum of the rows of that open state, whatever their version"),
        "witness": (
            TEXT,
            "JSON: host -> [lines, checksum] of the lines that were read, stamped from the night's first instant to the end of "
            "its look-ahead; names, packing and order of files do not change it",
        ),
    },
    order=("day",),
)
