"""Nights against one run, at length: `python -m tests.nights_at_length [--cuts N] [--kills N] [--seed N]`, from the repository's folder.

The lab run is cut into nights at instants that part what belongs together (`tests.lab_nights`), several cuts to a run and some
alone, with right and with wrong zones and clocks; then read in pieces of every kind, and by whole commands that begin their days
at other hours; all tables must be those of one run, row for row. Last, nights of a small fleet are killed at random moments.
"""

import argparse
import gzip
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from datetime import time as clock
from itertools import pairwise
from pathlib import Path

import polars as pl

from hoptrace.pipeline import nightly
from hoptrace.pipeline.options import NightlyOptions
from hoptrace.pipeline.store import Store
from hoptrace.schemas.fleet import Fleet, load_fleet
from hoptrace.transforms.summarise import KEYS
from tests.crashes import kill_nights, make_variants
from tests.lab_nights import Cut, LabLog, find_cuts
from tests.lab_variant import LAB
from tests.plain import PUBLISHED, publish

C = pl.col
BATCH, ALONE = 18, 6
WRONG = {"relay01": "UTC", "smtp01": "America/New_York", "mx01": "UTC"}
"""Zones that some hosts of the lab do not have: what of their mail is unknown must not hang on the cuts."""

CLOCKS = {"relay01": 2_500_000, "store01": -120_000, "mx03": 3_000_000}
DAY, UNTIL = date(2025, 12, 26), date(2026, 1, 4)
"""So that days that begin at any hour hold all lines."""

SETTLED = ("deliveries", "hops", "hop_recipients", "handoffs", "notices", "mailbox_events")


def compare(cut: dict[str, pl.DataFrame], one: dict[str, pl.DataFrame], tables: Sequence[str] = PUBLISHED) -> list[str]:
    """What differs between two sets of tables, rows as a multiset: a line per table, with an example."""
    said = []
    for name in (*tables, "delay_stats"):
        rows = [
            count_rows(each[name].filter(C("metric") != "open_age") if name == "delay_stats" else each[name])
            for each in (cut, one)
        ]
        more, fewer = rows[0] - rows[1], rows[1] - rows[0]
        if more or fewer:
            example = next(iter(more or fewer))
            said.append(f"{name}: {more.total()} rows too many, {fewer.total()} too few, as {example[:300]}")
    return said


def count_rows(rows: pl.DataFrame) -> Counter[str]:
    """The rows as text, counted."""
    return Counter(rows.select(pl.struct(pl.all()).struct.json_encode()).to_series())


def cut_lab(cuts: int, seed: int, fleet: Fleet | None, what: str) -> int:
    """Nights of the lab run between so many cuts; returns how many runs differ from the whole."""
    lab = LabLog(fleet=fleet)
    one = publish(lab.run())
    every = find_cuts(one, lab.events, seed, max(4, cuts // 7))
    every = random.Random(seed).sample(every, min(cuts, len(every)))
    batches = [every[n :: max(1, len(every) // BATCH)] for n in range(max(1, len(every) // BATCH))]
    batches += [[cut] for cut in every[:: max(1, len(every) // ALONE)]]
    bad = 0
    for batch in batches:
        said = compare(publish(lab.run(sorted({cut.at for cut in batch}))), one)
        for line in said:
            print(f"  cut at {name_cuts(batch)}: {line}")
        bad += bool(said)
    kinds = Counter(cut.kind for cut in every)
    print(
        f"{what}: {len(every)} cuts ({', '.join(f'{n} {kind}' for kind, n in sorted(kinds.items()))}) in {len(batches)} runs, {bad} differ",
        flush=True,
    )
    return bad


def name_cuts(cuts: Sequence[Cut]) -> str:
    """The instants, to repeat them with."""
    return ", ".join(f"{cut.at} ({cut.kind})" for cut in cuts[:20])


def run_command(folder: Path, logs: str, fleet: str, **more: object) -> dict[str, pl.DataFrame]:
    """The tables of a store that the nightly job makes of `logs`."""
    options = NightlyOptions((logs,), str(folder), DAY, UNTIL, fleet, True)
    nightly.run_nightly(replace(options, **more), ())  # type: ignore[arg-type]
    tables = {name: Store(str(folder)).read(name).drop("day") for name in (*SETTLED, "delay_stats")}
    counted = tables["delay_stats"].group_by(KEYS).agg(C("recipients", "messages").sum())
    return {**tables, "delay_stats": counted}


def split_logs(logs: Path, to: Path, seed: int) -> str:
    """The logs in the folders of `logs`, plain, each file in up to four pieces parted at line ends; returns their pattern."""
    chosen = random.Random(seed)
    for source in sorted(logs.glob("*/*")):
        data = gzip.decompress(source.read_bytes()) if source.suffix == ".gz" else source.read_bytes()
        lines = data.splitlines(keepends=True)
        bounds = sorted({0, len(lines), *(chosen.randrange(len(lines) + 1) for _ in range(chosen.randrange(4)))})
        for number, (first, last) in enumerate(pairwise(bounds)):
            path = to / source.parent.name / f"{source.name.removesuffix('.gz').replace('.', '_')}-part{number}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"".join(lines[first:last]))
    return str(to / "*" / "*")


def read_lab(seed: int) -> int:
    """The whole command over the lab: other beginnings of days, pieces, chunks, ranges, shards and orders; returns how many differ."""
    chosen, bad, logs, fleet = random.Random(seed), 0, str(LAB / "logs" / "*" / "*"), str(LAB / "fleet.toml")
    plan, sizes = nightly.plan_inputs, (nightly.CHUNK_BYTES, nightly.RANGE_BYTES)

    def plan_shuffled(*given: object) -> list[object]:
        ranges = list(plan(*given))  # type: ignore[arg-type]
        chosen.shuffle(ranges)
        return list(ranges)

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        one = run_command(folder / "one", logs, fleet)
        cases: dict[str, dict[str, object]] = {
            f"days from {at:%H:%M}": {"day_start": at}
            for at in (clock(0, 30), clock(7, 13), clock(12), clock(17, 45), clock(23, 59))
        }
        cases |= {f"{shards} shards": {"shards": shards} for shards in (1, 5, 64)}
        cases |= {f"chunks of {size:,} bytes, in any order": {"chunk": size} for size in (4_000, 70_000)}
        cases |= {
            "ranges of 100,000 bytes": {"range": 100_000},
            "files in pieces": {"logs": split_logs(LAB / "logs", folder / "pieces", seed)},
        }
        for number, (name, more) in enumerate(cases.items()):
            nightly.CHUNK_BYTES, nightly.RANGE_BYTES = more.pop("chunk", sizes[0]), more.pop("range", sizes[1])  # type: ignore[misc]
            nightly.plan_inputs = plan_shuffled  # type: ignore[assignment]
            began = time.monotonic()
            said = compare(run_command(folder / str(number), str(more.pop("logs", logs)), fleet, **more), one, SETTLED)
            print(
                "".join(f"  {line}\n" for line in said)
                + f"{name}: {'differs' if said else 'the same'} ({time.monotonic() - began:.0f} s)",
                flush=True,
            )
            bad += bool(said)
        nightly.CHUNK_BYTES, nightly.RANGE_BYTES = sizes
        nightly.plan_inputs = plan
    return bad


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument(
        "--cuts", type=int, default=240, help="cuts of the lab run; a third as many for each wrong zone (240)"
    )
    options.add_argument("--no-commands", action="store_true", help="without the whole commands over the lab run")
    options.add_argument("--kills", type=int, default=60, help="runs to kill (default 60)")
    options.add_argument("--seed", type=int, default=1, help="of all that is chosen (default 1)")
    told = options.parse_args()
    bad = 0
    if LAB.is_dir() and told.cuts:
        fleet = load_fleet(str(LAB / "fleet.toml"))
        bad += cut_lab(told.cuts, told.seed, None, "the lab run")
        for host, zone in WRONG.items():
            wrong = {**fleet.hosts, host: replace(fleet.hosts[host], timezone=zone)}
            bad += cut_lab(told.cuts // 3, told.seed, replace(fleet, hosts=wrong), f"with {host} in {zone}")
        off = {name: replace(host, clock_offset_us=CLOCKS.get(name, 0)) for name, host in fleet.hosts.items()}
        bad += cut_lab(told.cuts // 3, told.seed, replace(fleet, hosts=off), "with clocks put right")
    if LAB.is_dir() and not told.no_commands:
        bad += read_lab(told.seed)
    if not LAB.is_dir():
        print("the lab run is not beside the checkout: its cuts are left out")
    with tempfile.TemporaryDirectory() as place:
        hits = kill_nights(
            make_variants(Path(place)),
            Path(place) / "store",
            told.kills,
            told.seed,
            lambda line: print(f"  {line}", flush=True),
        )
    print(f"{told.kills} runs killed, {hits} of them at work; readers, runs after them and gc found whole nights")
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
