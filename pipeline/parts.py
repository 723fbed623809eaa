"""Parts: the plain Parquet files that a table's day is made of, written by anybody, visible once a night names them."""

import io
import json
import math
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

import polars as pl
from deltalake import Schema
from deltalake.transaction import AddAction

from hoptrace.pipeline.roots import Root
from hoptrace.schemas.table import TIME, Table

DAY = "day"
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True)
class Part:
    """One Parquet file of one day: `path` below the table's folder, `size` in bytes, `stats` as Delta Lake's JSON."""

    table: str
    path: str
    size: int
    rows: int
    stats: str

    def action(self, day: str, at_ms: int) -> AddAction:
        """What a commit says to make the part visible as of `at_ms`."""
        partition = {DAY: day} if self.path.startswith(f"{DAY}=") else {}
        return AddAction(self.path, self.size, partition, at_ms, True, self.stats)


def stored_schema(table: Table) -> dict[str, pl.DataType | type[pl.DataType]]:
    """Column -> type as stored: enums are text, and `day` is the last column."""
    stored = {name: pl.String if dtype == pl.Enum else dtype for name, dtype in table.schema.items()}
    return {**stored, DAY: pl.String}


def delta_schema(table: Table) -> Schema:
    """The table's schema for Delta Lake."""
    return Schema.from_arrow(pl.DataFrame(schema=stored_schema(table)).to_arrow().schema)


def write_part(root: Root, table: Table, day: str | None, frame: pl.DataFrame) -> Part:
    """Write `frame` as one new file in the table's folder for `day` (None: a table without days, which keeps them)."""
    rows = table.conform(frame).with_columns(pl.col(pl.Enum).cast(pl.String))
    sink = io.BytesIO()
    rows.write_parquet(sink, compression="zstd", compression_level=1, statistics=True)
    name = f"part-{uuid.uuid4().hex}.parquet"
    path = name if day is None else f"{DAY}={day}/{name}"
    root.write(f"{table.name}/{path}", sink.getvalue())
    return Part(table.name, path, sink.tell(), rows.height, _stats(rows))


def _stats(rows: pl.DataFrame) -> str:
    """Row count, and the range of every time and integer column, as Delta Lake's JSON; times round outwards to ms."""
    ranged = [name for name, dtype in rows.schema.items() if dtype == TIME or dtype.is_integer()]
    stats: dict[str, Any] = {"numRecords": rows.height}
    if rows.height and ranged:
        least = rows.select(pl.col(ranged).min()).row(0, named=True)
        most = rows.select(pl.col(ranged).max()).row(0, named=True)
        stats["minValues"] = {k: _bound(v, math.floor) for k, v in least.items() if v is not None}
        stats["maxValues"] = {k: _bound(v, math.ceil) for k, v in most.items() if v is not None}
        stats["nullCount"] = rows.select(pl.col(ranged).null_count()).row(0, named=True)
    return json.dumps(stats)


def _bound(value: Any, rounded: Any) -> Any:
    if not isinstance(value, datetime):
        return value
    milliseconds = rounded((value - EPOCH) / timedelta(milliseconds=1))
    return (EPOCH + timedelta(milliseconds=milliseconds)).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
