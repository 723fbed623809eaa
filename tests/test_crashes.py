"""Real processes: killed at any point, two at once, and read while they publish."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from hoptrace.pipeline import api
from hoptrace.pipeline.store import Store
from hoptrace.schemas.catalog import DAY_TABLES
from hoptrace.transforms import storage
from tests.bucket import bucket
from tests.crashes import (
    DAYS,
    Variants,
    days_of,
    kill_nights,
    make_variants,
    ordered,
    read_tables,
    run,
    same,
    start,
)  # fmt: skip

BEATEN = f"another run published {DAYS[0]} while this one was at work, so nothing of this run was published"


@pytest.fixture(params=["a folder", "a bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Where a store goes."""
    if request.param == "a folder":
        yield str(tmp_path / "store")
        return
    with bucket("mail") as server:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.address)
        monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
        storage.gs_client.cache_clear()
        yield "gs://mail/the/store"
    storage.gs_client.cache_clear()


@pytest.fixture(scope="module")
def variants(tmp_path_factory: pytest.TempPathFactory) -> Variants:
    """Two variants of the same logs: their pattern, and the days that an undisturbed run makes of them."""
    return make_variants(tmp_path_factory.mktemp("variants"))


def test_killed_nights(variants: Variants, tmp_path: Path) -> None:
    assert kill_nights(variants, tmp_path / "store", kills=3, seed=2) >= 2


def test_two_runs_at_once(variants: Variants, place: str) -> None:
    for turn in range(4):
        both = [start(place, logs) for logs, _ in variants]
        said = [process.communicate(timeout=300)[1] for process in both]
        states = [process.returncode for process in both]
        found = days_of(read_tables(place))
        if states == [0, 0]:  # one had ended when the other began: that is no contest
            continue
        assert sorted(states) == [0, 1], (turn, said)
        assert BEATEN in said[states.index(1)], said
        assert all(same(tables, variants[states.index(0)][1][day]) for day, tables in found.items())
        assert set(found) == set(DAYS)
        return
    pytest.fail("two processes started together never met")


def test_readers_meanwhile(variants: Variants, tmp_path: Path) -> None:
    """Who reads while nights are published again sees each table of a day as one of the runs left it."""
    store, chosen, seen = str(tmp_path / "store"), random.Random(1), set()
    names = [name for name in DAY_TABLES if name != "files"]
    run(store, variants[1][0])
    for logs, _ in variants:
        writer = start(store, logs)
        while writer.poll() is None:
            name, day = chosen.choice(names), chosen.choice(DAYS)
            rows = ordered(Store(store).read(name, [day]))
            as_of = [n for n, (_, days) in enumerate(variants) if rows.equals(days[day][name])]
            assert as_of, (name, day, rows)
            seen.update((day, n) for n in as_of if len(as_of) == 1)
            assert len(api.table(store, name, days=[day])) in {days[day][name].height for _, days in variants}
        assert writer.returncode == 0
    assert len(seen) >= 3
