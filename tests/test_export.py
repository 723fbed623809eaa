"""Tables written for other programs: the same rows, and text that neither spreadsheet nor terminal obeys."""

import csv
import json
import os
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from hoptrace.pipeline.cli import main
from hoptrace.pipeline.export import as_text, export, neutral
from hoptrace.schemas.errors import HoptraceError
from tests.frames import DAY1, DAY2, make_store


def test_every_format_holds_every_row(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store")
    whole = store.read("deliveries")
    for name in ("d.parquet", "d.csv", "d.jsonl"):
        assert export(store, "deliveries", str(tmp_path / name), None) == [
            {"path": str(tmp_path / name), "rows": whole.height}
        ]
    assert_frame_equal(pl.read_parquet(tmp_path / "d.parquet"), whole)
    lines = [json.loads(line) for line in (tmp_path / "d.jsonl").read_text().splitlines()]
    with (tmp_path / "d.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row, line, known in zip(rows, lines, whole.iter_rows(named=True), strict=True):
        assert list(row) == list(line) == whole.columns
        assert row["recipient"] == line["recipient"] == known["recipient"]
        assert row["submitted_at"] == (line["submitted_at"] or "")
        assert (line["submitted_at"] or "").endswith("Z") == (known["submitted_at"] is not None)
        assert json.loads(row["path"] or "null") == line["path"] == known["path"]
        stays = json.loads(row["hops"] or "[]")
        assert [stay["queue_id"] for stay in stays] == [stay["queue_id"] for stay in known["hops"] or []]


def test_a_file_per_day(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store")
    files = export(store, "open", f"{tmp_path / 'out'}/", [DAY2])
    assert [Path(file["path"]).name for file in files] == [f"open-{DAY2}.parquet"]
    assert len(export(store, "open", str(tmp_path / "out"), None)) == 2
    assert_frame_equal(pl.read_parquet(tmp_path / "out" / f"open-{DAY1}.parquet"), store.read("open", [DAY1]))


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("=HYPERLINK(1)", "'=HYPERLINK(1)"), ("+46701234567@sms.test", "'+46701234567@sms.test"), ("-1", "'-1"), ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\\t=1"), ("\r\n=1", "'\\r\\n=1"), (" =1", "' =1"), ("a=1", "a=1"), ("a@b.test", "a@b.test"), ("", ""), (None, None),
        ("a\x1b[31mred", "a\\x1b[31mred"), ("a\u202eb", "a\\u202eb"), ("ok, \"so\"", "ok, \"so\""),
    ],
)  # fmt: skip
def test_text_is_only_text(text: str | None, written: str | None) -> None:
    assert neutral(pl.Series([text, "x"], dtype=pl.String)).to_list() == [written, "x"]


def test_nested_values_keep_what_they_hold() -> None:
    frame = pl.DataFrame({"a": [["=1", "\x1b"], None]}, schema={"a": pl.List(pl.String)})
    assert [json.loads(text) if text else None for text in as_text(frame)["a"]] == [["=1", "\x1b"], None]


def test_what_cannot_be_written_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = make_store(tmp_path / "store")
    with pytest.raises(HoptraceError, match="no format"):
        export(store, "deliveries", str(tmp_path / "d.xls"), None)
    with pytest.raises(HoptraceError, match="no table 'mails'"):
        export(store, "mails", str(tmp_path / "d.csv"), None)
    (tmp_path / "file").write_text("")
    with pytest.raises(HoptraceError, match="cannot be written"):
        export(store, "deliveries", str(tmp_path / "file" / "d.csv"), None)
    command = ["export", "--store", store.root.url, "--table", "open", "--to", str(tmp_path / "o.csv"), "--day", DAY2]
    assert main(command) == 0
    assert "o.csv: 1 row" in capsys.readouterr().out
    assert [name for name in os.listdir(tmp_path) if name.startswith(".")] == []
