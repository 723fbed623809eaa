"""Late logs: which nights are stale for them, and that running those again makes the store what it would have been."""

import gzip
import os
import random
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from hoptrace.pipeline.cli import main
from hoptrace.pipeline.inputs import plan_inputs
from hoptrace.pipeline.late import compare
from hoptrace.pipeline.nightly import run_nightly, run_stale
from hoptrace.pipeline.options import NightlyOptions
from hoptrace.pipeline.sample import sample_folder
from hoptrace.pipeline.status import status
from hoptrace.pipeline.store import Store
from hoptrace.schemas.fleet import load_fleet
from hoptrace.transforms.grammar import load_grammars
from hoptrace.transforms.parse import Window, parse_chunk
from hoptrace.transforms.read import Chunk, read_chunks
from hoptrace.transforms.witness import Witness, add_witnesses, as_counts, checksum, from_counts, sum_lines, witness_of
from tests.test_copies import spoil
from tests.test_nightly import COMPARED, DAY1, DAY2, ordered

FLEET_FILE = str(sample_folder() / "fleet.toml")
FLEET = load_fleet(FLEET_FILE)
DAYS = (str(DAY1), str(DAY2))
WINDOWS = [
    (1767222000_000000, 1767310200_000000, 1767265200_000000),
    (1767308400_000000, 1767396600_000000, 1767351600_000000),
]


def options_of(store: Path, logs: Path, **more: object) -> NightlyOptions:
    whole = NightlyOptions((str(logs / "*" / "*"),), str(store), DAY1, DAY2, fleet=FLEET_FILE, cold_start=True)
    return replace(whole, **more)  # type: ignore[arg-type]


def tables(store: Path) -> dict[str, pl.DataFrame]:
    source = Store(str(store))
    return {name: ordered(source.read(name)) for name in COMPARED}


def states(store: Path, logs: Path) -> list[str]:
    return [row["state"] for row in status(Store(str(store)), [str(logs / "*" / "*")], FLEET)]


def reasons(store: Path, logs: Path) -> list[str | None]:
    return [row["why"] for row in status(Store(str(store)), [str(logs / "*" / "*")], FLEET)]


def rerun(store: Path, logs: Path) -> list[str]:
    return [row["day"] for row in run_stale(options_of(store, logs), ())]


def edit(path: Path, change: object) -> None:
    each = gzip.decompress(path.read_bytes()).splitlines(keepends=True)
    path.write_bytes(gzip.compress(b"".join(change(each))))  # type: ignore[operator]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of both nights, of all logs."""
    store = tmp_path_factory.mktemp("whole")
    run_nightly(options_of(store, sample_folder() / "logs"), ())
    return store


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    shutil.copytree(sample_folder() / "logs", tmp_path / "logs")
    return tmp_path / "logs"


@pytest.fixture
def store(whole: Path, tmp_path: Path) -> Path:
    shutil.copytree(whole, tmp_path / "store")
    return tmp_path / "store"


def test_other_names_packing_and_copies_are_not_late(store: Path, logs: Path) -> None:
    assert states(store, logs) == ["ok", "ok"]
    for path in sorted(logs.glob("*/*")):
        text = gzip.decompress(path.read_bytes())
        path.unlink()
        if path.name.endswith(".1.gz"):
            path.with_name(path.name.replace(".1.gz", ".2")).write_bytes(text)
        else:
            path.with_name(path.name.replace(".gz", ".1.gz")).write_bytes(gzip.compress(text, 1))
    assert states(store, logs) == ["ok", "ok"]
    assert rerun(store, logs) == []


def test_copies_are_not_late(store: Path, logs: Path) -> None:
    spoil(sample_folder() / "logs", logs)
    assert reasons(store, logs) == [None, None]


def test_what_is_written_after_the_night_is_not_late(store: Path, logs: Path) -> None:
    later = b"2026-01-05T10:00:00.000000+00:00 mx02 postfix/qmgr[1]: 4ddwjK3DcKzY0: removed\n"
    edit(logs / "mx02" / "mail.log.gz", lambda each: [*each, later])
    assert states(store, logs) == ["ok", "ok"]


def test_files_as_they_were_are_not_read(store: Path, logs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in logs.glob("*/*"):
        stat = (sample_folder() / "logs" / path.relative_to(logs)).stat()
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    nights = Store(str(store)).days()
    for night in nights:
        for file in night["inputs"]:
            file["path"] = file["path"].replace(str(sample_folder() / "logs"), str(logs))
    monkeypatch.setattr(Store, "days", lambda _: nights)
    monkeypatch.setattr("hoptrace.pipeline.late.read_again", lambda *_: pytest.fail("read"))
    assert states(store, logs) == ["ok", "ok"]


def test_a_late_log_is_mended(tmp_path: Path, whole: Path, logs: Path) -> None:
    """A host's log of both days comes late, and another's end of the first day."""
    store, late = tmp_path / "store", tmp_path / "late"
    shutil.move(logs / "store01", late)
    end = logs / "mx02" / "mail.log.1.gz"
    text = end.read_bytes()
    edit(end, lambda each: each[:-400])
    run_nightly(options_of(store, logs), ())
    assert not all(rows.equals(tables(whole)[name]) for name, rows in tables(store).items())
    assert states(store, logs) == ["ok", "ok"]
    shutil.move(late, logs / "store01")
    end.write_bytes(text)
    assert states(store, logs) == ["stale", "stale"]
    one, two = reasons(store, logs)
    assert "a log came late or changed: mx02 400 lines more, store01 " in (one or "")
    assert "a log came late or changed: store01 " in (two or "")
    assert rerun(store, logs) == [*DAYS]
    assert states(store, logs) == ["ok", "ok"]
    assert rerun(store, logs) == []
    for name, rows in tables(store).items():
        assert_frame_equal(rows, tables(whole)[name], check_exact=True)


def test_only_days_that_begin_otherwise_are_run_again(store: Path, logs: Path, whole: Path) -> None:
    """A quiet line more, in a minute that had lines: the first night's state stays what it was."""
    edit(
        logs / "mx02" / "mail.log.1.gz",
        lambda each: [one for line in each for one in [line] * (1 + (line is first(each)))],
    )
    assert states(store, logs) == ["stale", "ok"]
    assert rerun(store, logs) == [DAYS[0]]
    assert states(store, logs) == ["ok", "ok"]
    assert (
        Store(str(store)).days()[1]["state_of"] != f"{DAYS[0]}@{Store(str(store)).days()[0]['versions']['open_hops']}"
    )
    lines = [tables(place)["coverage"]["lines"].sum() for place in (store, whole)]
    assert lines[0] == lines[1] + 1


def first(each: list[bytes]) -> bytes:
    """The first line in the middle of the day that tells of a disconnect."""
    return next(line for line in each[len(each) // 2 :] if b": disconnect from " in line)


def test_a_late_line_of_the_first_day_reaches_the_second(store: Path, tmp_path: Path, logs: Path) -> None:
    """What stays open on the first day for it is open on the second too."""
    late = (
        b"2026-01-01T12:00:00.000000+00:00 mx02 postfix/qmgr[1]: 4dhbnn0fCszB4x: from=<a@far.test>, size=10, nrcpt=1 (queue active)\n"
        b"2026-01-01T12:00:01.000000+00:00 mx02 postfix/smtp[2]: 4dhbnn0fCszB4x: to=<b@gone.test>, relay=none, delay=1, "
        b"delays=0/0/1/0, dsn=4.4.1, status=deferred (connect to gone.test[192.0.2.1]:25: Connection timed out)\n"
    )
    middle = logs / "mx02" / "mail.log.1.gz"
    edit(middle, lambda each: [*each[: len(each) // 2], late, *each[len(each) // 2 :]])
    assert states(store, logs) == ["stale", "ok"]
    assert rerun(store, logs) == [*DAYS]
    run_nightly(options_of(tmp_path / "again", logs), ())
    for name, rows in tables(store).items():
        assert_frame_equal(rows, tables(tmp_path / "again")[name], check_exact=True)
    assert tables(store)["open"].filter(pl.col("recipient") == "b@gone.test").height


def test_logs_that_are_gone_make_no_night_stale(store: Path, logs: Path) -> None:
    """They were kept for so long: to run the night again would lose what it knows."""
    for path in logs.glob("*/*.1.gz"):
        path.unlink()
    edit(logs / "mx02" / "mail.log.gz", lambda each: [*each, each[-1]])
    assert states(store, logs) == ["ok", "stale"]
    assert "logs that it read are gone: list01 " in (reasons(store, logs)[0] or "")
    assert "mx02 1 line more" in (reasons(store, logs)[1] or "")


def test_the_command_line(store: Path, logs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--store", str(store), "--logs", str(logs / "*" / "*"), "--fleet", FLEET_FILE]
    assert main(["nightly", "--stale", *flags]) == 0
    assert "no night is stale" in capsys.readouterr().out
    edit(logs / "list01" / "mail.log.gz", lambda each: [*each, each[-1]])
    assert main(["status", *flags]) == 0
    assert "2026-01-02: a log came late or changed: list01 1 line more" in capsys.readouterr().out
    assert main(["nightly", "--stale", *flags]) == 0
    told = capsys.readouterr()
    assert "2026-01-02 is stale: a log came late" in told.err
    assert main(["nightly", "--stale", "--day", DAYS[0], *flags]) == 2
    assert main(["nightly", *flags]) == 2


def test_a_store_from_before_witnesses_is_not_compared(
    store: Path, logs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nights = [{**night, "witness": None, "state_checksum": None} for night in Store(str(store)).days()]
    monkeypatch.setattr(Store, "days", lambda _: nights)
    shutil.rmtree(logs / "mx02")
    assert states(store, logs) == ["ok", "ok"]


# --- witnesses -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("chunk_bytes", "ahead_us"), [(1 << 25, 0), (5000, 0), (1 << 25, 3600_000_000)])
def test_the_night_and_the_later_look_see_the_same(chunk_bytes: int, ahead_us: int) -> None:
    fleet = replace(FLEET, hosts={name: replace(host, clock_offset_us=ahead_us) for name, host in FLEET.hosts.items()})
    grammars, logs = load_grammars(), [str(sample_folder() / "logs" / "*" / "*")]
    found: list[list[Witness]] = [[], []]
    for number, (since, until, near) in enumerate(WINDOWS):
        for r in plan_inputs(logs, fleet, since, until, 1 << 28):
            for chunk in read_chunks(r, chunk_bytes):
                if isinstance(chunk, Chunk):
                    found[0].append(
                        parse_chunk(chunk, r, grammars, fleet, Window(since, until, near, until - 30)).witness
                    )
            for chunk in read_chunks(r, 1 << 20):
                if isinstance(chunk, Chunk):
                    found[1] += witness_of(chunk, r, fleet, [WINDOWS[number]])
    night, later = (add_witnesses(parts) for parts in found)
    assert night == later
    assert len(night) == 12
    assert from_counts({"lines": 3, **as_counts(night)}) == (
        {"lines": 3},
        {h: checksum(*v) for h, v in sorted(night.items())},
    )


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.binary(max_size=70).map(lambda line: line.replace(b"\n", b"")), min_size=1, max_size=6), st.randoms()
)
def test_a_sum_tells_lines_and_not_where_they_stand(lines: list[bytes], rnd: random.Random) -> None:
    def summed(each: list[bytes]) -> Witness:
        ends = np.cumsum([len(line) + 1 for line in each])
        sizes = np.array([len(line) + 1 for line in each], np.int64)
        host, inside = np.zeros(len(each), np.int32), np.ones(len(each), np.bool_)
        return sum_lines(b"".join(line + b"\n" for line in each), ends - sizes, sizes, host, inside, ["a"])

    alone = add_witnesses(summed([line]) for line in lines)
    assert summed(rnd.sample(lines, len(lines))) == alone
    other = rnd.randrange(len(lines))
    at = rnd.randrange(len(lines[other]) + 1)
    changed = [*lines[:other], lines[other][:at] + b"x" + lines[other][at + rnd.randrange(2) :], *lines[other + 1 :]]
    assert (summed(changed) == alone) == (sorted(changed) == sorted(lines))


THEN = {"a": [2, "x"], "b": [1, "y"]}


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ({"a": (3, 1, 0)}, (False, "logs that it read are gone: b 1 line fewer")),
        ({}, (False, "logs that it read are gone: a 2 lines fewer, b 1 line fewer")),
        ({"a": (2, 1, 0), "b": (1, 1, 0)}, (True, "a log came late or changed: a other lines, b other lines")),
    ],
)
def test_what_is_said(now: Witness, expected: tuple[bool, str]) -> None:
    assert compare(THEN, now) == expected


def test_a_new_host_is_late() -> None:
    then = {"a": checksum(2, 5, 6)}
    assert compare(then, {"a": (2, 5, 6)}) is None
    assert compare(then, {"a": (2, 5, 6), "c": (1, 1, 1)}) == (True, "a log came late or changed: c 1 line more")
