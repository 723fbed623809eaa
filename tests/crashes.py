"""A small fleet whose nights are run by processes of their own, to be killed, doubled and read meanwhile."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout
from datetime import timedelta
from pathlib import Path

import polars as pl

from hoptrace.pipeline.cli import main
from hoptrace.pipeline.leftovers import collect
from hoptrace.pipeline.store import Store
from hoptrace.schemas.catalog import DAY_TABLES, TABLES

DAYS = ("2026-01-01", "2026-01-02")
WEIGHTS = {"anywhere": 1, "first part": 2, "some commit": 4, "the night": 2}
"""Where a run is killed, and how often there: at any moment, when it writes, while it commits, when it names the night."""

FRESH = 10
"""After so many kills the store is a new one, as killed first runs leave it."""

Days = dict[str, dict[str, pl.DataFrame]]
"""Day -> table -> its rows, in full order."""

Variants = list[tuple[str, Days]]
Tables = dict[tuple[str, str], pl.DataFrame]
"""(day, table) -> its rows, in full order."""

MAIL = """{stamp}.0 {host} postfix/smtpd[7]: {id}: client=far.test[192.0.2.9]
{stamp}.1 {host} postfix/cleanup[8]: {id}: message-id=<{id}@far.test>
{stamp}.2 {host} postfix/qmgr[9]: {id}: from=<a@far.test>, size=900, nrcpt=1 (queue active)
{stamp}.3 {host} postfix/smtp[6]: {id}: to=<b@far.test>, relay=far.test[192.0.2.9]:25, delay=0.3, delays=0.1/0/0.1/0.1, dsn=2.0.0, \
status=sent (250 2.0.0 Ok: queued as {id}9)
{stamp}.4 {host} postfix/qmgr[9]: {id}: removed
"""


def write_logs(folder: Path, mails: int) -> str:
    """Logs of two hosts and two days with so many mails each; returns their pattern."""
    for host in ("mx01", "mx02"):
        lines = [
            MAIL.format(
                stamp=f"{day}T{12 + n // 60:02d}:{n % 60:02d}:00", host=host, id=f"{host[-1]}{day[-1]}AB{n:03X}"
            )
            for day in DAYS
            for n in range(mails)
        ]
        path = folder / host / "mail.log"
        path.parent.mkdir(parents=True)
        path.write_text("".join(line.replace(" mx", "+00:00 mx") for line in lines))
    return str(folder / "*" / "*")


def arguments(store: str, logs: str) -> list[str]:
    """The command that runs both nights."""
    return ["nightly", "--logs", logs, "--store", store, "--day", DAYS[0], "--until", DAYS[1], "--cold-start"]


def run(store: str, logs: str) -> None:
    """Run both nights in this process, undisturbed."""
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        assert main(arguments(store, logs)) == 0


def start(store: str, logs: str, env: Mapping[str, str] | None = None, times: int = 1) -> "subprocess.Popen[str]":
    """A process that runs both nights, so many times one after the other."""
    program = (
        f"import sys; from hoptrace.pipeline.cli import main; sys.exit(max(main(sys.argv[1:]) for _ in range({times})))"
    )
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments(store, logs)], text=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env={**os.environ, **(env or {})},
    )  # fmt: skip


def read_tables(store: str) -> Tables:
    """What a reader finds; no days before the first night."""
    source = Store(store)
    return {
        (str(night["day"]), name): ordered(source.read(name, [night["day"]]))
        for night in source.days()
        for name in DAY_TABLES
        if name != "files"
    }


def ordered(rows: pl.DataFrame) -> pl.DataFrame:
    """`rows` in full order."""
    text = rows.select(pl.struct(pl.all()).struct.json_encode().alias("text"))["text"]
    return rows[text.arg_sort()]


def days_of(found: Tables) -> Days:
    """Day -> table -> rows."""
    return {day: {name: rows for (its, name), rows in found.items() if its == day} for day in {day for day, _ in found}}


def same(one: Mapping[str, pl.DataFrame], other: Mapping[str, pl.DataFrame]) -> bool:
    """Whether two days hold the same rows in every table."""
    return set(one) == set(other) and all(rows.equals(other[name]) for name, rows in one.items())


def kill(process: "subprocess.Popen[str]", store: Path, where: str, chosen: random.Random) -> bool:
    """SIGKILL the process `where`; False where it had ended before."""
    known = list_files(store)
    after = {"anywhere": 0, "first part": 1, "some commit": chosen.randrange(1, 40), "the night": 0}[where]
    began, pause = time.monotonic(), chosen.uniform(0, 6) if where == "anywhere" else chosen.uniform(0, 0.02)
    while process.poll() is None:
        new = list_files(store) - known
        ripe = time.monotonic() - began >= pause if where == "anywhere" else len(new) >= after
        if where == "the night":
            ripe = any(path.startswith("nights/") for path in new)
        if ripe:
            time.sleep(0 if where == "anywhere" else pause)
            break
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    return process.wait() == -signal.SIGKILL


def list_files(store: Path) -> set[str]:
    """Paths of the store's files."""
    return {str(path.relative_to(store)) for path in store.glob("**/*") if path.is_file()} if store.is_dir() else set()


def make_variants(folder: Path) -> Variants:
    """Two variants of the same logs: their pattern, and the days that an undisturbed run makes of them."""
    made = []
    for name, mails in (("fewer", 3), ("more", 5)):
        logs, store = write_logs(folder / name, mails), str(folder / f"store of {name}")
        run(store, logs)
        made.append((logs, days_of(read_tables(store))))
    return made


def kill_nights(variants: Variants, store: Path, kills: int, seed: int, say: Callable[[str], object] = len) -> int:
    """Nights of two variants, killed in turn and run again; returns how many of `kills` hit a run at work.

    After each kill each day is one variant's, in every table, and after the next run the last one's; raises AssertionError.
    """
    chosen, hits = random.Random(seed), 0
    for number in range(kills):
        new = number % 2
        logs, whole = variants[new]
        if number % FRESH == 0 and store.exists():
            shutil.rmtree(store)
        where = chosen.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        hit = kill(start(str(store), logs), store, where, chosen)
        hits += hit
        found = days_of(read_tables(str(store))) if (store / "nights" / "_delta_log").is_dir() else {}
        as_of = {
            day: [n for n, (_, days) in enumerate(variants) if same(tables, days[day])] for day, tables in found.items()
        }
        assert all(as_of.values()), f"after kill {number} ({where}): {as_of}"
        say(f"kill {number}, {where}: {'hit' if hit else 'it had ended'}; days as of variant {as_of}")
        run(str(store), logs)
        again = days_of(read_tables(str(store)))
        assert set(again) == set(whole), f"after kill {number} ({where}), run again: {set(again)}"
        assert all(same(tables, whole[day]) for day, tables in again.items()), (
            f"after kill {number} ({where}), run again"
        )
        if number % 5 == 4 or number == kills - 1:
            check_collected(store, whole)
    return hits


def check_collected(store: Path, whole: Days) -> None:
    """After `gc` nothing is left of the killed, and no row is gone."""
    there = Store(str(store))
    collect(there, timedelta())
    assert not collect(there, timedelta()).files
    found = days_of(read_tables(str(store)))
    assert all(same(tables, whole[day]) for day, tables in found.items())
    named = {f"{table}/{path}" for table in TABLES for path in there._commits.files(table)["path"]}
    parts = {path for path in list_files(store) if "_delta_log" not in path}
    assert parts == named, parts ^ named
    assert not [path for path in list_files(store) if path.endswith(".tmp") or "#" in path]
