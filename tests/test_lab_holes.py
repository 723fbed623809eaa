"""The lab run with holes made in its logs: nothing that was delivered is told missing, and nothing certain is wrong."""

import gzip
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable

from hoptrace.pipeline.cli import main
from tests.lab_variant import LAB, Format, Variant, write_variant

pytestmark = pytest.mark.skipif(not LAB.is_dir(), reason="the lab run is not beside the checkout")
DAYS = ["--day", "2025-12-31", "--until", "2026-01-02", "--cold-start"]
LOST = "imjournal: 912 messages lost due to rate-limiting (20000 allowed within 600 seconds)"
Edit = Callable[[str, str], str | None]


def copy_lab(to: Path, edits: dict[str, Edit]) -> None:
    """The lab's logs, lines of some hosts changed (host -> line and its UTC or local minute to the line or None)."""
    for source in sorted((LAB / "logs").glob("*/*")):
        data = gzip.decompress(source.read_bytes()) if source.suffix == ".gz" else source.read_bytes()
        lines = data.decode("utf-8", "surrogateescape").splitlines(keepends=True)
        edit = edits.get(source.parent.name)
        kept = lines if edit is None else [new for line in lines if (new := edit(line, minute_of(line))) is not None]
        if kept:
            path = to / "logs" / source.parent.name / source.name.removesuffix(".gz")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(kept), "utf-8", "surrogateescape")


def minute_of(line: str) -> str:
    """The stamp of a line up to its minute, as it is written: 2026-01-01T08:20 or 01-01T08:20."""
    iso = re.search(r"\d{4}-(\d\d-\d\d)[T ](\d\d:\d\d)", line[:40])
    if iso:
        return f"{iso[1]}T{iso[2]}"
    month, day, clock = line[:3], line[4:6].strip(), line[7:12]
    return f"{'12' if month == 'Dec' else '01'}-{int(day):02d}T{clock}"


def run(to: Path, fleet: Path | None = LAB / "fleet.toml") -> pl.DataFrame:
    """The deliveries of three days."""
    flags = ["--fleet", str(fleet)] if fleet else []
    assert main(["nightly", "--logs", str(to / "logs" / "*" / "*"), *flags, *DAYS, "--store", str(to / "store")]) in {
        0,
        3,
    }
    return read(to / "store", "deliveries")


def read(store: Path, table: str) -> pl.DataFrame:
    """A table of a store."""
    frame = pl.from_arrow(DeltaTable(store / table).to_pyarrow_table())
    assert isinstance(frame, pl.DataFrame)
    return frame


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> pl.DataFrame:
    to = tmp_path_factory.mktemp("whole")
    copy_lab(to, {})
    rows = run(to)
    assert not set(rows["outcome"]) & {"missing", "unknown"}
    return rows


def certain_but_new(rows: pl.DataFrame, whole: pl.DataFrame) -> Iterator[tuple[str, ...]]:
    """Certain rows that the run over whole logs does not have."""
    key = ["message_id", "sender", "recipient", "outcome", "path"]
    named, known = (frame.with_columns(pl.col("path").list.join(">")) for frame in (rows, whole))
    new = named.filter(certainty="certain").join(known, on=key, how="anti", nulls_equal=True)
    yield from new.select(key).iter_rows()


def test_a_line_that_is_gone_is_mail_that_is_missing_and_a_hole_is_not(whole: pl.DataFrame, tmp_path: Path) -> None:
    """relay01 never logs one message; mx02 tells of lost lines, mx01 says nothing for hours, smtp02 lacks a file, mx03 ends."""
    one = whole.filter(pl.col("path").list.contains("relay01") & (pl.col("settled_at").dt.day() == 1)).sort("trace_id")
    stays = one["hops"][0]
    lost_id = next(stay["queue_id"] for stay in stays if stay["host"] == "relay01")
    announced = iter([f"2026-01-01T08:30:00.000000+00:00 mx02 rsyslogd: {LOST}\n"])
    edits: dict[str, Edit] = {
        "relay01": lambda line, _: None if lost_id in line else line,
        "mx02": lambda line, at: None if "01-01T08:20" <= at < "01-01T08:30"
        else next(announced, "") + line if "01-01T08:30" <= at < "01-01T12:00" else line,
        "mx01": lambda line, at: None if "01-01T13:00" <= at < "01-01T15:00" else line,
        "mx03": lambda line, at: line if at < "01-02T09:30" else None,
        "store01": lambda line, at: None if "01-01T11:00" <= at < "01-01T11:30" else line,
    }  # fmt: skip
    copy_lab(tmp_path, edits)
    (tmp_path / "logs" / "smtp02" / "mail.log-20260101").unlink()
    rows = run(tmp_path)
    missing = rows.filter(outcome="missing")
    assert [stay["queue_id"] for stay in missing["hops"][0]][-1] in {stay["queue_id"] for stay in stays}
    assert missing["trace_id"].n_unique() == 1
    assert list(certain_but_new(rows.filter(pl.col("outcome") != "missing"), whole)) == []
    unknown = rows.filter(outcome="unknown")
    assert {"mx01", "mx02", "mx03"} <= set(unknown["would_settle"].str.split(" ").list.first())
    assert set(unknown["certainty"]) == {"incomplete"}
    assert "mx02 2026-01-01 08:00Z" in unknown["would_settle"].to_list()
    holes = read(tmp_path / "store", "coverage").drop_nulls("hole")
    assert {"mx01", "mx02"} <= set(holes["host"])


@pytest.mark.parametrize("host", ["mx01", "store01", None])
def test_a_wrong_zone_makes_nothing_certain_that_is_wrong(
    host: str | None, whole: pl.DataFrame, tmp_path: Path
) -> None:
    zones = {host: "UTC"} if host else {}
    write_variant(
        Variant("", "", timedelta(), all_formats=Format("3164") if host else None, fleet_zones=zones), tmp_path
    )
    rows = run(tmp_path, tmp_path / "fleet.toml" if host else None)
    doors = {"deferred_at_door", "rejected"}
    assert {row[3] for row in certain_but_new(rows, whole)} <= doors
    assert rows.filter((pl.col("certainty") == "certain") & (pl.col("outcome") == "missing")).is_empty()
