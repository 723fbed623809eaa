"""The lab run moved to the end of summer time, to other formats and other files: its lines' times, and its figures."""

import json
import subprocess
import sys
from collections import Counter
from datetime import datetime, timedelta, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from hoptrace.pipeline.cli import main
from hoptrace.pipeline.inputs import plan_inputs
from hoptrace.schemas.fleet import DAY_US, Fleet, load_fleet
from hoptrace.transforms.cut import cut_heads
from hoptrace.transforms.read import Chunk, Range, read_chunks
from hoptrace.transforms.stamps import to_utc
from tests import lab_variant
from tests.lab_variant import ALL, LAB, Format, Variant, write_variant

SCORE = LAB.parents[1] / "tools" / "score.py"
AT_LEAST = {"found": 1.0, "outcome": 1.0, "class": 1.0, "path": 1.0, "hops": 1.0, "delay": 0.999, "warned": 1.0}
FOLD = datetime(2026, 10, 25, 1, tzinfo=timezone.utc)
FOLDS = {
    "2025-12-28T01:00": 0,
    "2025-12-28T08:00": 0,
    "2025-12-29T03:00": 14,
    "2025-12-30T05:00": 12,
    "2025-12-31T09:20": 0,
}
"""When in the run the clock is set back, and of how many lines nothing in their file tells the pass."""

pytestmark = pytest.mark.skipif(not LAB.is_dir(), reason="the lab run is not beside the checkout")


@pytest.mark.skipif(not SCORE.is_file(), reason="score.py is not beside the checkout")
@pytest.mark.parametrize("name", ["formats", "formats2", "hourly", "night", "spring", "leap", "one_file", "no_fleet"])
def test_the_figures_stay(name: str, tmp_path: Path) -> None:
    first, last = write_variant(ALL[name], tmp_path)
    fleet = ["--fleet", str(tmp_path / "fleet.toml")] if ALL[name].fleet else []
    days = ["--day", str(first), "--until", str(last), "--cold-start"]
    store = str(tmp_path / "store")
    assert main(["nightly", "--logs", str(tmp_path / "logs" / "*" / "*"), *fleet, *days, "--store", store]) in {0, 3}
    score = [sys.executable, str(SCORE), "--store", store, "--truth", str(tmp_path / "truth.jsonl"), "--json"]
    told = subprocess.run([*score, "--without", "relay01,out01,out02"], capture_output=True, check=True).stdout
    rates = json.JSONDecoder().raw_decode(told.decode())[0]["rates"]
    assert {key: rate for key, rate in rates.items() if rate < AT_LEAST[key]} == {}


@pytest.mark.parametrize("moment", FOLDS)
def test_every_line_has_its_time(moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: dict[str, list[int]] = {}
    real = lab_variant.write_line

    def write_line(line: lab_variant.Line, form: Format, host: str) -> str:
        text = real(line, form, host)
        written.setdefault(text, []).append(line.at)
        return text

    monkeypatch.setattr(lab_variant, "write_line", write_line)
    moved = FOLD - datetime.fromisoformat(moment).replace(tzinfo=timezone.utc)
    variant = Variant("", "", moved, all_formats=Format("3164"), rotation="one", packing=("",))
    first, last = write_variant(variant, tmp_path)
    fleet = load_fleet(str(tmp_path / "fleet.toml"))
    starts, ends = (
        round(datetime(day.year, day.month, day.day, tzinfo=ZoneInfo("Europe/Copenhagen")).timestamp()) * 1_000_000
        for day in (first, last + timedelta(days=1))
    )
    wrong: Counter[str] = Counter()
    for part in plan_inputs([str(tmp_path / "logs" / "*" / "*")], fleet, starts, ends + DAY_US, 1 << 30):
        for text, at in read_times(part, fleet, (starts + ends) // 2):
            if all(abs(at - then) > 1_000_000 for then in written[text]):
                wrong[part.folder_host] += 1
    assert sum(wrong.values()) <= FOLDS[moment], wrong


def read_times(part: Range, fleet: Fleet, near_us: int) -> list[tuple[str, int]]:
    """The lines of a file and their times."""
    out: list[tuple[str, int]] = []
    for chunk in read_chunks(part, 1 << 26):
        if isinstance(chunk, Chunk):
            heads = cut_heads(chunk.data)
            hosts = [fleet.host_named(host.decode()) for host in heads.hosts] + [part.folder_host]
            names = sorted({fleet.zone_of(host) for host in hosts})
            zones = np.array([names.index(fleet.zone_of(host)) for host in hosts])[heads.host]
            second = None if part.fold_at is None else heads.starts + chunk.offset >= part.fold_at
            stamps = to_utc(heads.form, heads.stamp, zones, names, near_us, second)
            out += zip(chunk.data.decode("utf-8", "surrogateescape").split("\n"), stamps.tolist())
    return out


def test_ids_are_moved() -> None:
    mover = lab_variant.Mover(3600, 1767130000, 1767200000)
    assert mover.text("4dh4Tn0zPgz88v: x") != "4dh4Tn0zPgz88v: x"
    there = mover.text("<4dh4Tn0zPgz88v@a> 5BVK.x 5BUM0wlu014864: E1vaxZb-0005Py-0L woJnMdNFUGnkXgAA0O7/Qg")
    back = lab_variant.Mover(-3600, 1767130000, 1767210000).text(there)
    assert back == "<4dh4Tn0zPgz88v@a> 5BVK.x 5BUM0wlu014864: E1vaxZb-0005Py-0L woJnMdNFUGnkXgAA0O7/Qg"
    other = "id=<1767130000.aaaaaaaaaaaaaaaaaaaa@b> 4njhq93W4SzCxD"
    assert mover.text(other) == other


def test_wrong_zone_shows_in_coverage(tmp_path: Path) -> None:
    first, last = write_variant(ALL["wrong_zone"], tmp_path)
    store = tmp_path / "store"
    days = ["--day", str(first), "--until", str(last), "--cold-start", "--fleet", str(tmp_path / "fleet.toml")]
    assert main(["nightly", "--logs", str(tmp_path / "logs" / "*" / "*"), *days, "--store", str(store)]) in {0, 3}
    from deltalake import DeltaTable

    coverage = DeltaTable(store / "coverage").to_pandas()
    assert set(coverage[coverage["zone_conflicts"] > 0]["host"]) == {"mx01"}
    assert coverage["year_conflicts"].sum() == 0
