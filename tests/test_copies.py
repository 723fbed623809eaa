"""Copies: lines that stand in several files count once, however the files are cut, packed and called."""

import gzip
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime, timezone
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from hoptrace.pipeline import nightly
from hoptrace.pipeline.cli import main
from hoptrace.pipeline.coverage import coverage_json
from hoptrace.pipeline.inputs import plan_inputs
from hoptrace.pipeline.nightly import run_nightly
from hoptrace.pipeline.options import NightlyOptions
from hoptrace.pipeline.sample import sample_folder
from hoptrace.pipeline.store import Store
from hoptrace.schemas.errors import HoptraceError
from hoptrace.schemas.fleet import Fleet, Host
from hoptrace.transforms.copies import LEAST_LINES, find_copies, find_runs, read_lines
from hoptrace.transforms.read import Chunk, Copies, Range, read_chunks
from tests.test_nightly import COMPARED, ordered

DAY = date(2026, 1, 1)
START = int(datetime(2026, 1, 1, tzinfo=timezone.utc).timestamp()) * 1_000_000
FLEET = Fleet()


def line(number: int, host: str = "mx01") -> str:
    """The line of a number: every one another, one a second."""
    minute, second = divmod(number, 60)
    return f"2026-01-01T{10 + minute // 60}:{minute % 60:02}:{second:02}.000000+00:00 {host} postfix/qmgr[7]: line {number}\n"


def lines(*numbers: int, host: str = "mx01") -> str:
    return "".join(line(number, host) for number in numbers)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def plan(*paths: Path, fleet: Fleet = FLEET, size: int = 1 << 30) -> list[Range]:
    return plan_inputs([str(path) for path in paths], fleet, START, START + 86_400_000_000, size)


def kept(ranges: Sequence[Range]) -> Counter[str]:
    """The lines that count, of all ranges."""
    found: Counter[str] = Counter()
    for r in ranges:
        for chunk in read_chunks(r, 1000):
            if isinstance(chunk, Chunk):
                each = chunk.data.decode().splitlines(keepends=True)
                starts = np.cumsum([0, *(len(one.encode()) for one in each)])[:-1] + chunk.offset
                left = r.copies.cover(starts)
                found.update(
                    one for one, out in zip(each, left) if not out and one.split(" ")[1] not in r.copies.hosts_elsewhere
                )
    return found


A = range(300)
CASES: dict[str, tuple[dict[str, Sequence[int]], Sequence[int]]] = {
    "the same plain and packed": ({"mail.log": A, "mail.log.gz": A}, A),
    "copied, and not yet truncated": ({"mail.log": A, "mail.log.1": range(200)}, A),
    "the end of the last file stands in the next": ({"mail.log.1": range(200), "mail.log": range(130, 300)}, A),
    "the same, packed": ({"mail.log.1.gz": range(200), "mail.log": range(130, 300)}, A),
    "a piece as backup": ({"mail.log": A, "mail.log.bak": range(100, 170)}, A),
    "the least piece": ({"mail.log": A, "saved": range(100, 100 + LEAST_LINES)}, A),
    "less than the least": ({"mail.log": A, "saved": [*range(200, 263), 900]}, [*A, *range(200, 263), 900]),
    "a whole short file": ({"mail.log": A, "saved": [7, 8, 9]}, A),
    "a whole short file, other lines between": ({"mail.log": A, "saved": [7, 9]}, [*A, 7, 9]),
    "all of them in one": ({"mail.log.1": range(150), "mail.log": range(150, 300), "all.log": A}, A),
    "three": ({"mail.log": A, "mail.log.0": range(10, 290), "b/mail.log": range(20, 250)}, A),
    "twice in one file": ({"mail.log": [*A, *A]}, [*A, *A]),
    "twice in one file, once in another": ({"mail.log": [*A, *A], "saved": A}, [*A, *A]),
    "twice in both": ({"mail.log": [*A, *A], "saved": [*A, *A]}, [*A, *A]),
    "twice in two, once in one": ({"a": [*A, *A, 500], "b": [*A, *A], "c": A}, [*A, *A, 500]),
    "each has what the other lacks": (
        {"mail.log": [*range(200), 900], "saved": [*range(200), 901]},
        [*range(200), 900, 901],
    ),
    "two pieces, other lines between": ({"mail.log": A, "saved": [*range(90), 900, *range(120, 200)]}, [*A, 900]),
    "one line many times": ({"mail.log": [5] * 500, "saved": [5] * 300}, [5] * 500),
    "another order": ({"mail.log": A, "saved": [*range(100, 200), *range(100)]}, A),
    "nothing in common": ({"mail.log": range(0, 300, 2), "saved": range(1, 300, 2)}, A),
}


@pytest.mark.parametrize("size", [1 << 30, 700])
@pytest.mark.parametrize("case", CASES)
def test_which_lines_count(case: str, size: int, tmp_path: Path) -> None:
    files, expected = CASES[case]
    for name, numbers in files.items():
        write(tmp_path / "mx01" / name, lines(*numbers))
    assert kept(plan(tmp_path, size=size)) == Counter(line(number) for number in expected)


@pytest.mark.parametrize("where", ["head", "tail"])
def test_a_copy_cut_by_bytes(where: str, tmp_path: Path) -> None:
    """Its first or last line is a piece of one."""
    text = lines(*A)
    write(tmp_path / "mx01" / "mail.log", text)
    write(tmp_path / "mx01" / "cut", text[:10_030] if where == "head" else text[-10_030:])
    assert kept(plan(tmp_path)) == Counter(text.splitlines(keepends=True))


def test_lines_of_several_hosts_in_one_file(tmp_path: Path) -> None:
    """Each host's own log, and all of them as a central server wrote them down."""
    mixed = [("mx01", n) for n in range(200)] + [("mx02", n) for n in range(200)] + [("mx03", n) for n in range(90)]
    random.Random(1).shuffle(mixed)
    mixed.sort(key=lambda one: one[1])
    write(tmp_path / "central" / "syslog", "".join(line(n, host) for host, n in mixed))
    write(tmp_path / "mx01" / "mail.log", lines(*range(200), host="mx01"))
    write(tmp_path / "mx02" / "mail.log.gz", lines(*range(100, 300), host="mx02"))
    expected = [*mixed, *(("mx02", n) for n in range(200, 300))]
    assert kept(plan(tmp_path)) == Counter(line(n, host) for host, n in expected)


def test_two_hosts_lines_are_never_copies(tmp_path: Path) -> None:
    text = "".join(f"2026-01-01 10:00:{n % 60:02} Start queue run: pid=1\n" for n in range(300))
    for host in ("relay01", "relay02"):
        write(tmp_path / host / "mainlog", text)
    assert [r.copies for r in plan(tmp_path)] == [Copies(), Copies()]


def test_one_file_by_many_names(tmp_path: Path) -> None:
    path = write(tmp_path / "mx01" / "mail.log", lines(*A))
    (tmp_path / "mx01" / "link").symlink_to(path)
    (tmp_path / "again").symlink_to(path.parent)
    (tmp_path / "mx01" / "hard").hardlink_to(path)
    ranges = plan(path, tmp_path / "mx01", tmp_path / "again", path)
    assert len(ranges) == 2
    assert kept(ranges) == Counter(line(n) for n in A)


TWO_WAYS = {"mx01": Host("mx01", source="*/mx01/*")}


def test_the_source_that_fleet_names_counts(tmp_path: Path) -> None:
    """A central server's copies have other headers; only `source` can tell which way counts."""
    write(tmp_path / "mx01" / "mail.log", "".join(f"Jan  1 10:{n // 60:02}:{n % 60:02} mx01 x/y[7]: {n}\n" for n in A))
    central = lines(*A).replace("postfix/qmgr", "x/y").replace("line ", "") + lines(*range(40), host="mx02")
    write(tmp_path / "central" / "syslog", central)
    ranges = plan(tmp_path)
    assert sum(kept(ranges).values()) == 640
    assert {(r.copies.shared, Path(r.copies.shared_with or "").name) for r in ranges} == {
        (300, "mail.log"),
        (300, "syslog"),
    }
    ranges = plan(tmp_path, fleet=Fleet(hosts=TWO_WAYS))
    assert sum(kept(ranges).values()) == 340
    assert [r.copies.hosts_elsewhere for r in ranges] == [("mx01",), ()]
    assert [r.copies.shared for r in ranges] == [0, 0]


def test_a_source_that_no_file_fits_is_told(tmp_path: Path) -> None:
    write(tmp_path / "central" / "syslog", lines(*A))
    with pytest.raises(HoptraceError, match=r"hosts.mx01.source is '\*/mx01/\*', which no log file given fits"):
        plan(tmp_path, fleet=Fleet(hosts=TWO_WAYS))


def test_files_that_cannot_hold_copies_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of a rotation that follow each other, and files of other hosts."""
    for host in ("mx01", "mx02"):
        write(tmp_path / host / "mail.log.1", lines(*range(200), host=host))
        write(tmp_path / host / "mail.log", lines(*range(200, 400), host=host))
        write(tmp_path / host / "mail.log.2.gz", lines(*range(0), host=host))

    def refuse(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr("hoptrace.pipeline.inputs.read_lines", refuse)
    assert len(plan(tmp_path)) == 6


def common_runs(a: Sequence[int], b: Sequence[int], least: int) -> set[tuple[int, int, int]]:
    """What find_runs finds, by trying everything."""
    found = set()
    for i in range(len(a)):
        for j in range(len(b)):
            if not (i and j and a[i - 1] == b[j - 1]):
                size = 0
                while i + size < len(a) and j + size < len(b) and a[i + size] == b[j + size]:
                    size += 1
                if size >= least:
                    found.add((i, j, size))
    return found


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 3), max_size=90), st.lists(st.integers(0, 3), max_size=90), st.integers(0, 80))
def test_runs_are_all_that_there_are(a: list[int], b: list[int], shared: int) -> None:
    b = [*b[:40], *a[:shared], *b[40:]]
    least = min(LEAST_LINES, len(a), len(b))
    found = find_runs(*(np.array(each, np.uint64) for each in (a, b)))
    assert {tuple(run) for run in found.tolist()} <= common_runs(a, b, least)
    if len(a) <= LEAST_LINES and len(b) <= LEAST_LINES:
        assert {tuple(run) for run in found.tolist()} == (common_runs(a, b, least) if least else set())


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_pieces_of_one_log_make_it_whole(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whatever pieces of 64 lines or more there are besides it, and however they overlap."""
    folder = tmp_path_factory.mktemp("pieces")
    for number in range(data.draw(st.integers(0, 4))):
        start = data.draw(st.integers(0, 300 - LEAST_LINES))
        stop = data.draw(st.integers(start + LEAST_LINES, 300))
        name = data.draw(st.sampled_from(["mail.log.%d", "mail.log.%d.gz", "piece%d", "old/mail.log.%d"])) % (
            number + 1
        )
        write(folder / "mx01" / name, lines(*range(start, stop)))
    write(folder / "mx01" / "mail.log", lines(*A))
    assert kept(plan(folder)) == Counter(line(n) for n in A)


def test_a_torn_copy_of_a_whole_file_tears_no_hole(tmp_path: Path) -> None:
    from hoptrace.transforms.losses import last_lines, tear

    whole = write(tmp_path / "mx01" / "mail.log", lines(*A))
    torn = tmp_path / "mx01" / "mail.log.gz"
    packed = gzip.compress("".join(random.Random(n).choice([line(n)]) for n in A).encode())
    torn.write_bytes(packed[:-40])
    for r in plan(tmp_path):
        *chunks, report = read_chunks(r, 1 << 20)
        end = last_lines(chunks[-1]) if isinstance(chunks[-1], Chunk) else None
        assert tear(r, report, end) is None  # type: ignore[arg-type]
        assert tear(replace(r, copies=Copies()), report, end) is None or r.path != str(whole)  # type: ignore[arg-type]
        assert report.cut == (r.path == str(torn))  # type: ignore[union-attr]


def test_the_reports_say_what_is_a_copy_of_what(tmp_path: Path) -> None:
    paths = [
        write(tmp_path / "mx01" / "mail.log", lines(*A)),
        write(tmp_path / "mx01" / "saved", lines(*range(100, 200))),
    ]
    found = find_copies([read_lines(r, FLEET) for r in plan(*paths)])
    assert [(copies.lines, copies.copy_of) for copies in found] == [(0, None), (100, str(paths[0]))]


# --- whole nights --------------------------------------------------------------------------------------------------------


def spoil(folder: Path, logs: Path) -> None:
    """The sample's logs with copies of every kind."""
    for path in sorted(folder.glob("*/*")):
        text = gzip.decompress(path.read_bytes())
        packed = logs / path.relative_to(folder)
        packed.parent.mkdir(parents=True, exist_ok=True)
        packed.write_bytes(gzip.compress(text))
        each = text.splitlines(keepends=True)
        host, name = packed.parent.name, packed.name.removesuffix(".gz")
        if host in ("mx01", "smtp01"):
            (packed.parent / name).write_bytes(text)
        if host in ("mx02", "store01"):
            (packed.parent / f"{name}.saved").write_bytes(b"".join(each[len(each) // 3 : len(each) * 3 // 4]))
        if host == "mx03":
            (packed.parent / f"{name}.cut.gz").write_bytes(gzip.compress(text)[: path.stat().st_size * 2 // 3])
        if host == "smtp02" and name == "mail.log":
            earlier = gzip.decompress((folder / host / "mail.log.1.gz").read_bytes()).splitlines(keepends=True)
            packed.write_bytes(gzip.compress(b"".join(earlier[-150:]) + text))


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    logs = tmp_path_factory.mktemp("spoilt")
    spoil(sample_folder() / "logs", logs)
    return logs


def run(store: Path, logs: Path) -> dict[str, pl.DataFrame]:
    days = (DAY, date(2026, 1, 2))
    fleet = str(sample_folder() / "fleet.toml")
    run_nightly(NightlyOptions((str(logs / "*" / "*"),), str(store), *days, fleet=fleet, cold_start=True), ())
    rows = {name: Store(str(store)).read(name) for name in COMPARED}
    return {name: ordered(frame.drop("place") if name == "open_hops" else frame) for name, frame in rows.items()}


@pytest.fixture(scope="module")
def plainly(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pl.DataFrame]:
    return run(tmp_path_factory.mktemp("plain"), sample_folder() / "logs")


@pytest.mark.parametrize(("chunk", "size"), [(16 << 20, 256 << 20), (9_000, 20_000)])
def test_copies_change_no_row(
    plainly: dict[str, pl.DataFrame],
    spoilt: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    chunk: int,
    size: int,
) -> None:
    monkeypatch.setattr(nightly, "CHUNK_BYTES", chunk)
    monkeypatch.setattr(nightly, "RANGE_BYTES", size)
    for name, rows in run(tmp_path, spoilt).items():
        assert_frame_equal(rows, plainly[name], check_exact=True)
    store = Store(str(tmp_path))
    files = store.read("files")
    assert files["copies"].sum() == sum(night["counts"]["copies"] for night in store.days()) > 1000
    assert files.filter(pl.col("copies") > 0)["copy_of"].null_count() == 0


def test_coverage_tells_of_copies(spoilt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tmp_path, spoilt)
    assert main(["coverage", "--store", str(tmp_path)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "Lines in several files: 11 files" in said
    found = coverage_json(Store(str(tmp_path)), None)["files_with_copies"]
    by_name = {str(Path(row["path"]).relative_to(spoilt)): row for row in found}
    packed = by_name["mx01/mail.log.gz"]
    plain = spoilt / "mx01" / "mail.log"
    assert (packed["copies"], packed["copy_of"]) == (plain.read_bytes().count(b"\n"), str(plain))
    assert by_name["smtp02/mail.log.gz"]["copies"] == 150
