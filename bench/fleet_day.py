"""One day of a mail provider's logs: `python bench/fleet_day.py FOLDER --lines 3000000`.

Resembles a provider of thirty thousand users: mail from outside into mailboxes, mail of users and web sites over
relays to the world, refusals at the door, deferrals with their retries, bounces with their notices, TLS and scanner
noise. Postfix with long queue IDs, Dovecot as the store; half of the hosts log RFC 3164 stamps, half RFC 3339. The
same seed makes the same files.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from datetime import date, datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from isal import igzip
from mail import LINES, SECOND, Fleet, Mail, make_fleet, make_mail
from people import World, make_world
from strings import Array, column

ZONE, EAST = "Europe/Copenhagen", 3600 * SECOND
DAY = date(2026, 3, 17)
BUSY = np.array([2, 1, 1, 1, 1, 2, 4, 7, 10, 11, 11, 10, 9, 10, 10, 9, 8, 7, 5, 5, 5, 4, 4, 3], float)
AFTER = 30 * 60 * SECOND
"""How long the files go on after midnight, with what was begun before."""

BYTES_PER_LINE = 162.5
SLICE = 60_000
"""Arrivals made at a time."""


def stamps(at: Array, form: str) -> pl.Series:
    """UTC microseconds as the local stamps of that form, with the space that follows."""
    local = at + EAST
    seconds, at_second = np.unique(local // SECOND, return_inverse=True)
    written = "%b %e %H:%M:%S " if form == "3164" else "%Y-%m-%dT%H:%M:%S."
    said = pl.Series(seconds * SECOND).cast(pl.Datetime("us")).dt.strftime(written).gather(pl.Series(at_second))
    if form == "3164":
        return said
    micros = local % SECOND
    tail = np.empty((at.size, 13), np.uint8)
    for place in range(5, -1, -1):
        micros, digit = np.divmod(micros, 10)
        tail[:, place] = digit + 48
    tail[:, 6:] = np.frombuffer(b"+01:00 ", np.uint8)
    return said + column(tail)


def slices(seed: int, arrivals: int, starts_at: int) -> Iterator[tuple[int, Array]]:
    """(number, times of arrival) of pieces of the day, in order; busy hours hold more."""
    quantiles = np.concatenate([[0], np.cumsum(BUSY) / BUSY.sum()])
    count = max(1, -(-arrivals // SLICE))
    for n in range(count):
        rng = np.random.default_rng([seed, 1, n])
        size = arrivals * (n + 1) // count - arrivals * n // count
        share = (n + np.sort(rng.random(size))) / count
        yield n, starts_at + (np.interp(share, quantiles, np.arange(25)) * 3600 * SECOND).astype(np.int64)


class Files:
    """One log per host."""

    def __init__(self, folder: Path, fleet: Fleet, packed: str) -> None:
        self.out: list[Any] = []
        self.fleet, self.lines, self.bytes = fleet, 0, 0
        for name in fleet.names:
            (folder / name).mkdir(parents=True, exist_ok=True)
            path = folder / name / ("mail.log.gz" if packed == "gz" else "mail.log")
            self.out.append(igzip.open(path, "wb", compresslevel=2) if packed == "gz" else path.open("wb"))  # type: ignore[no-untyped-call]

    def write(self, frame: pl.DataFrame) -> None:
        """Append lines, each to the log of its host."""
        for (host,), part in (
            frame.sort("host", "at", maintain_order=True)
            .partition_by("host", as_dict=True, maintain_order=True)
            .items()
        ):
            head = stamps(part["at"].to_numpy(), "3339" if int(host) % 2 else "3164")
            text = pl.select(
                pl.concat_str(pl.lit(head), pl.lit(self.fleet.names[int(host)] + " "), part["line"], pl.lit("\n"))
            ).to_series()
            data = joined(text)
            self.out[int(host)].write(data)
            self.lines += part.height
            self.bytes += len(data)

    def close(self) -> None:
        """Finish all files."""
        for out in self.out:
            out.close()


def joined(text: pl.Series) -> memoryview:
    """The bytes of all strings, one after another."""
    whole = text.rechunk().to_arrow().cast(pa.large_string())
    _, offsets, data = whole.buffers()
    ends = np.frombuffer(offsets, np.int64)[[whole.offset, whole.offset + len(whole)]]
    return memoryview(data)[int(ends[0]) : int(ends[1])]


def lines_per_arrival(seed: int, world: World, fleet: Fleet) -> float:
    """How many lines one arrival makes on average."""
    mail = Mail(np.random.default_rng([seed, 2]), world, fleet)
    make_mail(mail, np.arange(20_000, dtype=np.int64) * SECOND)
    return sum(frame.height for frame in mail.frames) / 20_000


def make_day(
    folder: Path, lines: int, seed: int, sizes: dict[str, int], packed: str, day: date = DAY
) -> tuple[int, int]:
    """Write the logs of `day`; returns lines and bytes, which are near what was asked for."""
    fleet, world = make_fleet(sizes), make_world(seed)
    starts_at = int(datetime(day.year, day.month, day.day, tzinfo=timezone.utc).timestamp()) * SECOND - EAST
    ends_at = starts_at + 24 * 3600 * SECOND
    arrivals = round(lines / lines_per_arrival(seed, world, fleet))
    files, waiting = Files(folder, fleet, packed), pl.DataFrame(schema=LINES)
    for n, at in slices(seed, arrivals, starts_at):
        mail = Mail(np.random.default_rng([seed, 3, n]), world, fleet)
        make_mail(mail, at)
        made = pl.concat([waiting, *mail.frames])
        until = int(at[-1]) - 5 * SECOND
        ready = made["at"] < until
        waiting = made.filter(~ready & (made["at"] < ends_at + AFTER))
        files.write(made.filter(ready & (made["at"] >= starts_at)))
    files.write(waiting)
    files.close()
    write_fleet(folder, fleet)
    return files.lines, files.bytes


def write_fleet(folder: Path, fleet: Fleet) -> None:
    """The fleet.toml of these logs."""
    hosts = [f'[hosts.{name}]\nnames = ["{name}.post.example", "{ip}"]\n' for name, ip in zip(fleet.names, fleet.ips)]
    (folder / "fleet.toml").write_text("\n".join([f'timezone = "{ZONE}"\ndelay_warning = "never"\n', *hosts]))


def main() -> None:
    """Read flags, make the day, say what it cost."""
    parser = argparse.ArgumentParser(description="Make one day of a mail provider's logs.")
    parser.add_argument("folder", type=Path)
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--lines", type=int, default=3_000_000)
    size.add_argument("--bytes", type=float)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--gz", action="store_true", help="compressed files")
    for role, count in (("web", 2), ("smtp", 3), ("relay", 3), ("mx", 4), ("store", 2)):
        parser.add_argument(f"--{role}", type=int, default=count, metavar="HOSTS")
    flags = parser.parse_args()
    sizes = {role: getattr(flags, role) for role in ("web", "smtp", "relay", "mx", "store")}
    begun = time.perf_counter()
    lines = round(flags.bytes / BYTES_PER_LINE) if flags.bytes else flags.lines
    made, data = make_day(flags.folder, lines, flags.seed, sizes, "gz" if flags.gz else "plain")
    took = time.perf_counter() - begun
    print(
        f"{made} lines, {data} bytes, {sum(sizes.values())} hosts, {took:.1f} s, {made / took:.0f} lines/s",
        file=sys.stderr,
    )


if __name__ == "__main__":
    main()
