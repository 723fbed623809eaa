"""What an enemy's log costs: `python -m tests.hostile_at_length [--minutes N] [--seed N] [--scale X]`, from the repository's folder.

Each case runs in a process of its own, whose time and peak memory are printed; with the fuzz of tests/test_hostile.py at length.
"""

import argparse
import gzip
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import polars as pl

from hoptrace.schemas.fleet import Fleet
from hoptrace.transforms.following import with_following
from hoptrace.transforms.grammar import load_grammars
from hoptrace.transforms.parse import Window, parse_chunk
from hoptrace.transforms.publishable import NightTables
from hoptrace.transforms.read import FileReport, Range, read_chunks
from tests import test_hostile, test_hot_keys
from tests.hostile import EXAMPLES, HEADS, stretch, write_log
from tests.made import FLEET, READ, night_of
from tests.plain import run_plain

CHUNK_BYTES = 1 << 24
NOON = 1_767_355_200_000_000
WINDOW = Window(0, 2 * NOON, NOON)
LIMIT_BYTES = 12 << 30
LINE = HEADS[0] + b"postfix/smtp[1]: 4ddwjK3DcKzY0: to=<a@b>, relay=m[192.0.2.1]:25, delay=1, status=sent (250 %s)\n"


def read_file(path: Path) -> str:
    """What came of reading and parsing a file, chunk by chunk."""
    packed = path.suffix == ".gz"
    r = Range(str(path), 0, None if packed else path.stat().st_size, path.stat().st_size, 0, "mx01", True, True)
    lines = events = 0
    error = None
    for piece in with_following(r, read_chunks(r, CHUNK_BYTES)):
        if isinstance(piece, FileReport):
            assert piece.lines == lines
            error = piece.error
        else:
            parsed = parse_chunk(piece, r, load_grammars(), Fleet(), WINDOW)
            lines += parsed.counts["lines"]
            events += parsed.counts["events"]
    return f"{lines:,} lines, {events:,} events" + (f"; {error}" if error else "")


def packed(folder: Path, parts: Iterator[bytes]) -> Path:
    path = folder / "bomb.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        for part in parts:
            file.write(part)
    return path


def long_line(folder: Path, size: int) -> str:
    path = folder / "line.log"
    path.write_bytes(LINE % b"ok" + LINE % (b"x" * size) + LINE % b"ok")
    return read_file(path)


def long_line_packed(folder: Path, size: int) -> str:
    return read_file(packed(folder, iter([LINE % b"ok", LINE % (b"x" * size), LINE % b"ok"])))


def stretched_lines(folder: Path, size: int) -> str:
    """A line of `size` bytes for each of twenty examples."""
    random = Random(size)
    path = folder / "lines.log"
    path.write_bytes(b"".join(HEADS[0] + stretch(random.choice(EXAMPLES), size, random) + b"\n" for _ in range(20)))
    return read_file(path)


def bomb_of_one_byte(folder: Path, size: int) -> str:
    return read_file(packed(folder, (b"\0" * (1 << 20) for _ in range(size >> 20))))


def bomb_of_lines(folder: Path, size: int) -> str:
    part = (LINE % b"ok") * ((1 << 20) // len(LINE))
    return read_file(packed(folder, (part for _ in range(size >> 20))))


def bomb_of_empty_lines(folder: Path, size: int) -> str:
    return read_file(packed(folder, (b"\n" * (1 << 20) for _ in range(size >> 20))))


def traced(night: NightTables) -> str:
    return ", ".join(f"{night.tables[name].height:,} {name}" for name in ("deliveries", "open"))


def night(*frames: pl.DataFrame) -> str:
    return traced(run_plain(pl.concat(frames), FLEET, night_of(-10, test_hot_keys.MANY // 10 + 80_000), READ))


def queue_ids(_: Path, many: int) -> str:
    test_hot_keys.MANY = many
    column, named = test_hot_keys.column, test_hot_keys.named
    return night(
        column("arrive", host="smtp1", queue_id=named("A"), arrival="smtp", client_ip="192.0.2.1"),
        column("attempt", host="smtp1", queue_id=named("A"), recipient="b@far.test", status="sent", reply="250 ok"),
    )


def recipients(_: Path, many: int) -> str:
    test_hot_keys.MANY = many
    column, named = test_hot_keys.column, test_hot_keys.named
    return night(
        column("arrive", host="smtp1", queue_id="ABCDE1", arrival="smtp", client_ip="192.0.2.1").head(1),
        column("queue", host="smtp1", queue_id="ABCDE1", sender="a@far.test", nrcpt=many).head(1),
        column("attempt", host="smtp1", queue_id="ABCDE1", recipient=named("b"), status="sent", reply="250 ok"),
    )


def message_ids(_: Path, many: int) -> str:
    test_hot_keys.MANY = many
    column, named = test_hot_keys.column, test_hot_keys.named
    return night(
        column("arrive", host="smtp1", queue_id=named("A"), arrival="smtp", client_ip="192.0.2.1"),
        column("message", host="smtp1", queue_id=named("A"), message_id="same@far.test"),
        column("attempt", host="smtp1", queue_id=named("A"), recipient="b@far.test", status="sent", reply="250 ok"),
    )


CASES: dict[str, tuple[Callable[[Path, int], str], int]] = {
    "a line of 100 MB": (long_line, 100_000_000),
    "a line of 100 MB, gzip": (long_line_packed, 100_000_000),
    "20 lines of 10 MB, stretched": (stretched_lines, 10_000_000),
    "1 GiB of NULs, gzip": (bomb_of_one_byte, 1 << 30),
    "1 GiB of one line, gzip": (bomb_of_lines, 1 << 30),
    "1 GiB of empty lines, gzip": (bomb_of_empty_lines, 1 << 30),
    "10 million queue IDs": (queue_ids, 10_000_000),
    "one queue ID, a million recipients": (recipients, 1_000_000),
    "a million mails, one Message-ID": (message_ids, 1_000_000),
}


def run_case(name: str, scale: float) -> None:
    """One case in this process; prints what came out, seconds and MB."""
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT_BYTES, LIMIT_BYTES))
    call, size = CASES[name]
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        said = call(Path(folder), max(1, round(size * scale)))
        seconds = time.monotonic() - began
    print(f"{seconds:8.1f} s  {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:8,.0f} MB  {name}: {said}")


def fuzz(minutes: float, seed: int) -> None:
    """Mutated logs until time is up; a log that fails is told by its number, which is the seed to repeat it with."""
    until = time.monotonic() + minutes * 60
    number = seed
    with tempfile.TemporaryDirectory() as folder:
        while time.monotonic() < until:
            random = Random(number)
            data = write_log(random, random.randrange(1, 400), random.choice((40, 400, 9_000, 60_000)))
            try:
                test_hostile.check_log(
                    Path(folder) / "log", data, random.choice((300, 5_000, 70_000)) + len(data) // 20
                )
            except BaseException:
                print(f"fails with --seed {number}", flush=True)
                raise
            number += 1
    print(f"{number - seed:,} mutated logs (seeds {seed} to {number - 1}): every line accounted for")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--minutes", type=float, default=10, help="how long to fuzz (default 10)")
    options.add_argument("--seed", type=int, default=1, help="of the first mutated log (default 1)")
    options.add_argument("--scale", type=float, default=1.0, help="sizes are multiplied by it (default 1)")
    options.add_argument("--case", choices=CASES, help="only this one, without the fuzz")
    told = options.parse_args()
    if told.case:
        run_case(told.case, told.scale)
        return
    failed = False
    for name in CASES:
        command = [sys.executable, "-m", "tests.hostile_at_length", "--case", name, "--scale", str(told.scale)]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        last = done.stderr.strip().rpartition("\n")[2]
        print(done.stdout.rstrip() or f"     failed (status {done.returncode})  {name}: {last}", flush=True)
        failed |= done.returncode != 0
    fuzz(told.minutes, told.seed)
    sys.exit(failed)


if __name__ == "__main__":
    main()
