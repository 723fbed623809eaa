"""The command line: exit statuses, texts of errors, and that flags arrive where they should."""

import contextlib
import json
import os
import subprocess
import sys
import types
from collections.abc import Callable
from datetime import date, time
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from hoptrace.pipeline import cli, commits, sample
from hoptrace.pipeline.inputs import plan_inputs
from hoptrace.pipeline.options import NightlyOptions
from hoptrace.pipeline.store import Store
from hoptrace.schemas.deliveries import DELIVERIES
from hoptrace.schemas.errors import HoptraceError
from hoptrace.schemas.fleet import load_fleet
from tests.frames import DAY1, DAY2, SLOW, make_store

Ran = list[tuple[NightlyOptions, list[str]]]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return make_store(tmp_path_factory.mktemp("cli") / "store")


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> Ran:
    """A nightly job that looks at its inputs, publishes one mail, and tells what it was given."""
    calls: Ran = []

    def run_nightly(options: NightlyOptions, beam_args: list[str], progress: Callable[[str], None]) -> None:
        calls.append((options, beam_args))
        fleet = load_fleet(options.fleet)
        plan_inputs(options.logs, fleet, 0, 4_000_000_000_000_000, 1 << 20)
        progress("reading")
        made = Store(options.store)
        for day in dict.fromkeys((options.day, options.until)):
            rows = pl.DataFrame([SLOW], schema=DELIVERIES.schema, strict=False)
            part = made.write_part(DELIVERIES, day.isoformat(), rows)
            made.publish(day.isoformat(), {"deliveries": [part]}, {})

    module = types.ModuleType("hoptrace.pipeline.nightly")
    module.run_nightly = run_nightly  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "hoptrace.pipeline.nightly", module)
    return calls


@pytest.fixture
def logs(tmp_path: Path) -> str:
    place = tmp_path / "logs" / "mx01" / "maillog"
    place.parent.mkdir(parents=True)
    place.write_text("2026-03-01T12:00:00+00:00 mx01 postfix/qmgr[7]: 4dj3893npLzCvj: removed\n")
    return str(place)


def nightly(store: Path | str, logs: str, *more: str) -> int:
    return cli.main(["nightly", "--logs", logs, "--store", str(store), "--day", DAY1, *more])


def test_nightly_gets_its_options_and_prints_the_summary(
    ran: Ran, tmp_path: Path, logs: str, capsys: pytest.CaptureFixture[str]
) -> None:
    more = (
        "--until",
        DAY2,
        "--cold-start",
        "--day-start",
        "06:30",
        "--shards",
        "8",
        "--runner=FnApiRunner",
        "--project",
        "p",
    )
    assert nightly(tmp_path / "store", logs, "--logs", logs, *more) == 0
    options, beam_args = ran[0]
    assert options == NightlyOptions(
        logs=(logs, logs), store=str(tmp_path / "store"), day=date(2026, 3, 1), until=date(2026, 3, 2), fleet=None,
        cold_start=True, day_start=time(6, 30), shards=8, beam_args=("--runner=FnApiRunner", "--project", "p"),
    )  # fmt: skip
    assert beam_args == list(options.beam_args)
    said = capsys.readouterr()
    assert "Mail of 2026-03-01 to 2026-03-02" in said.out
    assert "reading" in said.err


def test_nightly_answers_json(ran: Ran, tmp_path: Path, logs: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert nightly(tmp_path / "store", logs, "--json") == 0
    assert json.loads(capsys.readouterr().out)["recipients"] == 1


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--day", "2026-2-30"], "argument --day: '2026-2-30' is no day; write YYYY-MM-DD"),
        (["--day", "2026-02-30"], "argument --day: '2026-02-30': there is no such day"),
        (["--until", "2026-02-01"], "hoptrace: --until 2026-02-01 lies before --day 2026-03-01"),
        (
            ["--cold-strat"],
            "--cold-strat is neither a flag of hoptrace nor of Beam; did you mean --cold-start?",
        ),
        (["--until", DAY2, "stray"], "hoptrace: unknown: stray; see: hoptrace nightly --help"),
        (["--shards", "0"], "argument --shards: '0' is no count; write a number from 1 on"),
        (["--day-start", "25:00"], "argument --day-start: '25:00' is no time of day; write HH:MM"),
    ],
)
def test_usage_errors_of_nightly(
    ran: Ran, tmp_path: Path, logs: str, capsys: pytest.CaptureFixture[str], more: list[str], said: str
) -> None:
    assert nightly(tmp_path / "store", logs, *more) == 2
    assert said in capsys.readouterr().err
    assert not ran
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["nightli"], "invalid choice: 'nightli'"),
        (["nightly", "--store", "s", "--day", DAY1], "the following arguments are required: --logs"),
        (
            ["find", "--store", "s"],
            "hoptrace: find needs at least one of --from, --to, --at, --message-id,",
        ),
        (["find", "--store", "s", "--sender", "x"], "hoptrace: unknown: --sender x; see: hoptrace find --help"),
        (["find", "--store", "s", "--at", "x", "--within", "-3h"], "argument --within: expected one argument"),
        (["find", "--store", "s", "--at", "x", "--within", "3"], "'3' is no duration; write 30m, 12h or 2d"),
        (["stats", "--store", "s", "--dimension", "planet"], "invalid choice: 'planet'"),
        (
            ["stats", "--store", "s", "--quantile", "95"],
            "'95' is no quantile; write a number between 0 and 1",
        ),
    ],
)
def test_usage_errors(capsys: pytest.CaptureFixture[str], argv: list[str], said: str) -> None:
    assert cli.main(argv) == 2
    assert said in capsys.readouterr().err


def failure(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """The one line that a failing command says."""
    assert cli.main(argv) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    return said.err.rstrip("\n")


def test_failures_are_one_line(
    ran: Ran, store: Store, tmp_path: Path, logs: str, capsys: pytest.CaptureFixture[str]
) -> None:
    absent, made, day = str(tmp_path / "absent"), str(tmp_path / "made"), ("--day", DAY1)
    told = failure(capsys, "nightly", "--logs", absent, "--store", made, *day)
    assert told.startswith(f"hoptrace: {absent}: ")
    told = failure(capsys, "nightly", "--logs", f"{absent}/*.log", "--store", made, *day)
    assert told.startswith(f"hoptrace: {absent}/*.log: names no file")
    told = failure(capsys, "nightly", "--logs", logs, "--store", "/sys/hoptrace", *day)
    assert told.startswith("hoptrace: /sys/hoptrace: cannot write here (")
    told = failure(capsys, "nightly", "--logs", logs, "--store", made, *day, "--fleet", absent)
    assert told.startswith(f"hoptrace: {absent}: ")
    told = failure(capsys, "find", "--store", absent, "--from", "a")
    assert told == f"hoptrace: {absent}: no store here; write one with: hoptrace nightly --store {absent} ..."
    told = failure(capsys, "find", "--store", store.root.url, "--at", "noon")
    assert told == "hoptrace: --at 'noon' is no time; write it as 'YYYY-MM-DD HH:MM'"
    told = failure(capsys, "coverage", "--store", store.root.url, "--day", "2026-05-01")
    assert told == f"hoptrace: --day 2026-05-01: {store.root.url} has no such night; it has {DAY1} to {DAY2}"
    told = failure(capsys, "status", "--store", "s3://bucket/store")
    assert (
        told
        == "hoptrace: s3://bucket/store: a store is a local folder or gs://bucket/prefix; give one of these to --store"
    )


def test_a_store_of_another_version(
    ran: Ran, tmp_path: Path, logs: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = str(tmp_path / "old")
    with monkeypatch.context() as patched:
        patched.setattr(commits, "STORE_VERSION", 0)
        Store(place).publish(DAY1, {}, {})
    for argv in (["status", "--store", place], ["nightly", "--logs", logs, "--store", place, "--day", DAY1]):
        assert "is of store version 0, and this hoptrace writes and reads version 1" in failure(capsys, *argv)
    assert not ran


def test_a_failure_inside_the_flow_is_told_without_beams_words(
    ran: Ran, tmp_path: Path, logs: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_nightly(*_: object) -> None:
        try:
            raise HoptraceError("/logs/a: cut short; mend it [while running 'Parse/ParDo(Do)']")
        except HoptraceError as error:
            raise RuntimeError("a long story\nfrom Beam") from error

    monkeypatch.setattr(sys.modules["hoptrace.pipeline.nightly"], "run_nightly", run_nightly)
    assert failure(capsys, "nightly", "--logs", logs, "--store", str(tmp_path / "s"), "--day", DAY1) == (
        "hoptrace: /logs/a: cut short; mend it"
    )


def test_a_fault_of_ours_is_not_hidden(ran: Ran, tmp_path: Path, logs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def run_nightly(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(sys.modules["hoptrace.pipeline.nightly"], "run_nightly", run_nightly)
    with pytest.raises(ZeroDivisionError):
        nightly(tmp_path / "s", logs)


def test_find_tells_and_answers_json(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["find", "--store", store.root.url, "--to", "bo@", "--at", "2026-03-01 13:00", "--within", "1h"]
    assert cli.main(argv) == 0
    assert "anna@klub.test -> bo@firma.example" in capsys.readouterr().out
    assert cli.main([*argv, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["found"] == 1
    assert told["rows"][0]["submitted_at"] == "2026-03-01T13:03:22.512000Z"
    assert told["rows"][0]["hops"][1]["host"] == "out01"
    assert told["rows"][0]["table"] == "deliveries"
    assert told["notices"][0]["kind"] == "delay_notice"


def test_times_are_shown_and_asked_in_the_fleets_zone(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fleet = tmp_path / "fleet.toml"
    fleet.write_text('timezone = "Asia/Kolkata"\n')
    argv = ["find", "--store", store.root.url, "--to", "bo@", "--at", "2026-03-01 18:33", "--within", "5m"]
    assert cli.main([*argv, "--fleet", str(fleet)]) == 0
    assert "Submitted 2026-03-01 18:33:22 at smtp01" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["stats", "coverage", "status"])
def test_tables_and_their_json(store: Store, capsys: pytest.CaptureFixture[str], command: str) -> None:
    assert cli.main([command, "--store", store.root.url]) == 0
    assert "01" in capsys.readouterr().out
    assert cli.main([command, "--store", store.root.url, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("command", [None, *cli.COMMANDS])
def test_help_fits_and_tells(
    command: str | None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    assert cli.main([command, "--help"] if command else ["--help"]) == 0
    told = capsys.readouterr().out
    assert max(map(len, told.split("\n"))) <= 110
    assert "--json" in told or command is None


def test_a_reader_that_leaves_is_no_error(store: Store) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    code = "import sys; from hoptrace.pipeline.cli import main; sys.exit(main(sys.argv[1:]))"
    argv = [sys.executable, "-c", code, "status", "--store", store.root.url]
    done = subprocess.run(argv, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


def make_sample(place: Path, log: str) -> None:
    folder = place / "sample" / "logs" / "mx01"
    folder.mkdir(parents=True)
    (folder / "maillog").write_text(Path(log).read_text())
    (place / "sample" / "nights.txt").write_text(f"{DAY1}\n{DAY2}\n")


def test_the_sample_is_remade_and_nothing_else_is_overwritten(
    ran: Ran, tmp_path: Path, logs: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_sample(tmp_path, logs)
    monkeypatch.setattr(sample, "sample_folder", lambda: tmp_path / "sample")
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert cli.main(["sample"]) == 0
        assert f"{tmp_path}/store (Delta Lake tables" in capsys.readouterr().out
    assert ran[0][0].day == date(2026, 3, 1)
    assert ran[0][0].until == date(2026, 3, 2)
    assert [night["day"] for night in Store("store").days()] == [DAY1, DAY2]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["logs", "sample", "store"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter").write_text("dear")
    assert "mine: this is not the sample's store, so it is left alone; give --store another place" in failure(
        capsys, "sample", "--store", "mine"
    )
    assert (tmp_path / "mine" / "letter").read_text() == "dear"


def test_a_failed_sample_leaves_the_old_one(
    ran: Ran, tmp_path: Path, logs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_sample(tmp_path, logs)
    monkeypatch.setattr(sample, "sample_folder", lambda: tmp_path / "sample")
    assert cli.main(["sample", "--store", str(tmp_path / "store")]) == 0

    def run_nightly(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(sys.modules["hoptrace.pipeline.nightly"], "run_nightly", run_nightly)
    with contextlib.suppress(ZeroDivisionError):
        cli.main(["sample", "--store", str(tmp_path / "store")])
    assert len(Store(str(tmp_path / "store")).days()) == 2
    assert sorted(each.name for each in tmp_path.iterdir()) == ["logs", "sample", "store"]
