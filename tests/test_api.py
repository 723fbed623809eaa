"""What analysts import, and the example that the docs give them."""

import re
from pathlib import Path

import polars as pl
import pytest

from hoptrace.pipeline import api
from hoptrace.schemas.errors import HoptraceError
from tests.frames import DAY1, DAY2, T0, make_store

DOCS = Path(__file__).resolve().parents[1] / "docs"


def test_tables_as_pandas(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store").root.url
    frame = api.table(store, "deliveries", where=pl.col("outcome") == "delivered")
    assert sorted(frame["recipient"]) == ["anna@klub.test", "bo@firma.example", "eva@skole.test"]
    assert frame["submitted_at"].min() == T0
    narrow = api.table(store, "open", DAY2, columns=["trace_id", "outcome"])
    assert narrow.to_dict("records") == [{"trace_id": "f" * 24, "outcome": "queued"}]
    assert len(api.table(store, "open", [DAY1, DAY2])) == 3
    assert api.table(store, "deliveries", DAY2).empty
    assert list(api.nights(store)["day"]) == [DAY1, DAY2]
    assert list(api.quantiles(store, "route", points=[0.5]).columns)[-1] == "p50_s"
    with pytest.raises(HoptraceError, match="no table 'mails'"):
        api.table(store, "mails")


def test_the_example_in_the_docs_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_store(tmp_path / "store")
    monkeypatch.chdir(tmp_path)
    found = re.search(r"```python\n(.*?)```", (DOCS / "analysts.md").read_text("utf-8"), re.DOTALL)
    assert found
    exec(found[1], {})
    told = capsys.readouterr().out
    assert "waiting_retry" in told
    assert "smtp01>store01" in told
