"""hoptrace beside others on the same logs: `python bench/run.py` measures and writes docs/performance.md.

Every program is a whole process, started in turn with the others, several times; CPU and memory are what the
operating system counts of finished children (user + system; the largest single process).
"""

import argparse
import json
import os
import platform
import shlex
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
DAY = "2026-03-17"
HOPTRACE = "from hoptrace.pipeline.cli import main; raise SystemExit(main())"


@dataclass
class Contender:
    """A command and what its runs cost."""

    name: str
    command: str
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    peak: list[float] = field(default_factory=list)
    rows: str = ""

    def run(self) -> None:
        """Once, to its end."""
        begun = time.monotonic()
        child = subprocess.Popen(
            ["sh", "-c", self.command], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        assert child.stderr is not None
        said = child.stderr.read()
        _, status, used = os.wait4(child.pid, 0)
        self.wall.append(time.monotonic() - begun)
        self.cpu.append(used.ru_utime + used.ru_stime)
        self.peak.append(used.ru_maxrss / 1024)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            raise SystemExit(f"{self.name} failed: {said.decode(errors='replace')[-2000:]}")

    def row(self, base: "Contender") -> str:
        """A line of the table: medians, their spread, and ratios to `base`."""
        cells = [
            self.name,
            spread(self.wall, ".2f"),
            spread(self.cpu, ".2f"),
            f"{statistics.median(self.peak):.0f}",
            f"{ratio(self.wall, base.wall):.2f}",
            f"{ratio(self.cpu, base.cpu):.2f}",
            self.rows,
        ]
        return "| " + " | ".join(cells) + " |"


def spread(values: list[float], form: str) -> str:
    """The median, and the least and the most."""
    return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def ratio(mine: list[float], others: list[float]) -> float:
    """The median of the ratios run by run: runs in turn share what else the machine does."""
    return statistics.median(a / b for a, b in zip(mine, others))


def contenders(logs: Path, store: Path, work: Path) -> list[Contender]:
    """All programs that are here."""
    files = sorted(logs.glob("*/mail.log*"))
    names = " ".join(shlex.quote(str(path)) for path in files)
    read = f"zcat -f {names}"
    nightly = (
        f"rm -rf {shlex.quote(str(store))}; exec {shlex.quote(sys.executable)} -c {shlex.quote(HOPTRACE)} "
        f"nightly --cold-start --day {DAY} "
        f"--logs {shlex.quote(str(logs))}'/*/mail.log*' --fleet {shlex.quote(str(logs / 'fleet.toml'))} "
        f"--store {shlex.quote(str(store))}"
    )
    found = [Contender("hoptrace nightly", nightly), Contender("zcat, wc -l", f"{read} | wc -l")]
    if shutil.which("pflogsumm"):
        found.insert(1, Contender("pflogsumm", f"{read} | pflogsumm > {shlex.quote(str(work / 'pflogsumm.txt'))}"))
    else:
        print("pflogsumm is not here (apt-get install pflogsumm): left out", file=sys.stderr)
    return found


def count_rows(store: Path) -> dict[str, int]:
    """Rows of every table of the night, as the job counted them."""
    code = (
        "import json, sys; from hoptrace.pipeline.store import Store; "
        "print(json.dumps(Store(sys.argv[1]).days()[0]['counts']))"
    )
    said = subprocess.run([sys.executable, "-c", code, str(store)], check=True, capture_output=True, text=True).stdout
    return dict(json.loads(said.splitlines()[-1]))


def machine() -> str:
    """Processor, cores, memory, system."""
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores, system = len(os.sched_getaffinity(0)), f"{platform.system()} {platform.release()}"
    return f"{model}, {cores} cores, {gib:.0f} GiB, {system}, Python {platform.python_version()}"


def report(
    all_of: list[Contender], flags: argparse.Namespace, logs: Path, counts: dict[str, int], load: tuple[float, float]
) -> str:
    """docs/performance.md."""
    stored = sum(path.stat().st_size for path in logs.glob("*/mail.log*"))
    ours = all_of[0]
    tables = {name.removeprefix("rows of "): count for name, count in counts.items() if name.startswith("rows of ")}
    ours.rows = f"{sum(tables.values()):,} in {len(tables)} tables"
    lines = counts["lines read"]
    per_line = statistics.median(ours.cpu) / lines * 1e6
    packed, files = "gz" if flags.gz else "plain", len(list(logs.glob("*/mail.log*")))
    options = f"--lines {flags.lines} --seed {flags.seed} --runs {flags.runs}" + (" --gz" if flags.gz else "")
    now, wall = f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M}", statistics.median(ours.wall)
    return f"""# How fast

Written by `python bench/run.py {options}` on {now} UTC.

Machine: {machine()}. Load average when the runs began {load[0]:.1f}, when they ended {load[1]:.1f}.

Logs: one day of {lines:,} lines on {files} hosts, {stored / 1e6:.0f} MB stored as {packed} files,
made by `bench/fleet_day.py`.

{flags.runs} runs of each, in turn, after one that is not counted. Median (least to most); ratios are medians of those
of each round.

| program | wall s | CPU s | peak MB | wall, times hoptrace's | CPU, times hoptrace's | rows out |
|---|---|---|---|---|---|---|
{chr(10).join(contender.row(ours) for contender in all_of)}

hoptrace read {lines / wall:,.0f} lines a second of wall time, {per_line:.1f} µs of CPU a line, and wrote
{", ".join(f"{count:,} rows of {name}" for name, count in sorted(tables.items()))}.

pflogsumm counts; hoptrace joins every delivery's hops and writes all tables. `zcat, wc -l` is what reading alone costs.
"""


def main() -> None:
    """Make the logs, run all, write the page."""
    parser = argparse.ArgumentParser(description="Measure hoptrace beside others on a made-up day of logs.")
    parser.add_argument("--lines", type=int, default=3_000_000)
    parser.add_argument("--gz", action="store_true", help="compressed logs")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--work", type=Path, default=Path("/tmp/hoptrace-bench"), help="where logs and store are put; logs stay there"
    )
    parser.add_argument("--report", type=Path, default=HERE.parent / "docs" / "performance.md")
    flags = parser.parse_args()
    logs = flags.work / f"logs-{flags.lines}-{flags.seed}{'-gz' if flags.gz else ''}"
    if not (logs / "fleet.toml").exists():
        shutil.rmtree(logs, ignore_errors=True)
        make: list[Any] = [
            sys.executable,
            HERE / "fleet_day.py",
            logs,
            "--lines",
            flags.lines,
            "--seed",
            flags.seed,
            *(["--gz"] if flags.gz else []),
        ]
        subprocess.run([str(part) for part in make], check=True)
    store = flags.work / "store"
    all_of = contenders(logs, store, flags.work)
    for contender in all_of:
        contender.run()
        for values in (contender.wall, contender.cpu, contender.peak):
            values.clear()
    before = os.getloadavg()[0]
    for turn in range(flags.runs):
        for contender in all_of:
            contender.run()
            print(
                f"{turn + 1}/{flags.runs} {contender.name}: {contender.wall[-1]:.2f} s wall, "
                f"{contender.cpu[-1]:.2f} s CPU, {contender.peak[-1]:.0f} MB",
                file=sys.stderr,
            )
    page = report(all_of, flags, logs, count_rows(store), (before, os.getloadavg()[0]))
    flags.report.write_text(page)
    print(page)


if __name__ == "__main__":
    main()
