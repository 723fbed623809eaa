"""`hoptrace export`: a table of the store as plain Parquet, CSV or JSON Lines."""

import os
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import polars as pl

from hoptrace.pipeline.printing import UNSAFE, clean
from hoptrace.pipeline.store import Store
from hoptrace.schemas.errors import HoptraceError

C = pl.col
FORMATS = {".parquet": "parquet", ".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
FORMULA = r"^[\s\x00-\x1f]*[=+\-@]|^[\t\r\n]"
"""How text begins that a spreadsheet takes for a formula (OWASP, CSV Injection)."""

TIMES = "%Y-%m-%dT%H:%M:%S%.6fZ"


def export(store: Store, table: str, to: str, days: Sequence[str] | None) -> list[dict[str, Any]]:
    """Writes `table` on `days` (default: all published ones) to the file `to`, whose suffix tells the format, or to a folder (a
    path that ends in a slash, or is one), a Parquet file per day there. Returns path and rows of each file.

    Raises HoptraceError for what the user can mend; a file is there whole or not at all.
    """
    wanted = [night["day"] for night in store.days() if days is None or night["day"] in days]
    place = Path(to)
    if to.endswith("/") or place.is_dir():
        if table == "nights":
            raise HoptraceError(f"{to}: nights has a row per day; name a file")
        return [write(place / f"{table}-{day}.parquet", store.read(table, [day])) for day in wanted]
    return [write(place, store.read(table, wanted))]


def write(place: Path, frame: pl.DataFrame) -> dict[str, Any]:
    """Writes `frame` to one file."""
    form = FORMATS.get(place.suffix)
    if form is None:
        raise HoptraceError(f"{place}: its suffix tells no format; use one of {', '.join(FORMATS)}, or a folder")
    with whole_file(place) as sink:
        if form == "parquet":
            frame.write_parquet(sink, compression="zstd")
        elif form == "csv":
            as_text(frame).write_csv(sink, datetime_format=TIMES)
        else:
            frame.with_columns(C(pl.Datetime).dt.strftime(TIMES)).write_ndjson(sink)
    return {"path": str(place), "rows": frame.height}


@contextmanager
def whole_file(place: Path) -> Iterator[BinaryIO]:
    """A file that stands at `place` once all of it is written."""
    half = place.with_name(f".{place.name}.{uuid.uuid4().hex}")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with half.open("xb") as sink:
            yield sink
        os.replace(half, place)
    except OSError as error:
        raise HoptraceError(f"{place}: cannot be written ({error.strerror or error})") from error
    finally:
        with suppress(OSError):
            half.unlink()


def as_text(frame: pl.DataFrame) -> pl.DataFrame:
    """`frame` for CSV: lists and structs as JSON, and text as `neutral` has it."""
    nested = [name for name, dtype in frame.schema.items() if dtype.is_nested()]
    words = [name for name, dtype in frame.schema.items() if dtype == pl.String]
    return frame.with_columns(*(as_json(name) for name in nested), *(neutral(frame[name]) for name in words))


def as_json(name: str) -> pl.Expr:
    """A column of lists or structs as JSON; null stays null."""
    packed = pl.struct(C(name).alias("v")).struct.json_encode()
    return pl.when(C(name).is_not_null()).then(packed.str.strip_prefix('{"v":').str.strip_suffix("}")).alias(name)


def neutral(texts: pl.Series) -> pl.Series:
    """`texts` that no terminal and no spreadsheet obeys: control characters are spelt as escapes, and what begins like a formula
    has a `'` before it."""
    plain = texts.fill_null("")
    unsafe = plain.str.contains(UNSAFE.pattern)
    spelt = texts.scatter(unsafe.arg_true(), [clean(text) for text in plain.filter(unsafe)]) if unsafe.any() else texts
    formula = plain.str.contains(FORMULA) & spelt.is_not_null()
    return spelt.zip_with(~formula, "'" + spelt)
