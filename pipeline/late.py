"""Late logs: nights whose lines are no longer those that they read, as the log files stand now."""

from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import PurePosixPath

from hoptrace.pipeline.inputs import plan_inputs
from hoptrace.pipeline.printing import counted
from hoptrace.pipeline.store import Night
from hoptrace.schemas.fleet import Fleet
from hoptrace.transforms.parse import Window
from hoptrace.transforms.plan import Night as Bounds
from hoptrace.transforms.read import Chunk, Range, read_chunks
from hoptrace.transforms.witness import Witness, add_witnesses, checksum, witness_of

READING_THREADS = 4
CHUNK_BYTES = 8 << 20
WHOLE_FILES = 1 << 62
MOST_HOSTS = 5
Told = Mapping[str, Sequence[int | str]]
"""Host -> [lines, checksum], as `nights` keeps it."""


def find_late(nights: Sequence[Night], logs: Sequence[str], fleet: Fleet) -> dict[str, tuple[bool, str]]:
    """Day -> (whether it must run again, why) of the nights whose lines are not those that `logs` hold for them now.

    A night whose files are stored as they were when it read them is not looked at further; of the others the files are read and
    compared line by line, whatever their names, packing and order. A night that read lines which are gone (logs are kept for so
    long) is not to run again: they would be lost.
    """
    files: dict[str, dict[Range, list[int]]] = {}
    asked = [night for night in nights if night["witness"] is not None]
    for number, night in enumerate(asked):
        window = window_of(night)
        ranges = plan_inputs(logs, fleet, window.starts_at, window.ends_at, WHOLE_FILES)
        if as_they_were(night, ranges):
            continue
        for r in ranges:
            files.setdefault(r.path, {}).setdefault(r, []).append(number)
    found: dict[int, list[Witness]] = {number: [] for each in files.values() for of in each.values() for number in of}
    with ThreadPoolExecutor(READING_THREADS) as threads:
        parts = threads.map(lambda each: read_again(each, [window_of(night) for night in asked], fleet), files.values())
        for part in parts:
            for number, witness in part:
                found[number].append(witness)
    told = {
        asked[number]["day"]: compare(asked[number]["witness"], add_witnesses(parts)) for number, parts in found.items()
    }
    return {day: answer for day, answer in sorted(told.items()) if answer is not None}


def window_of(night: Night) -> Window:
    """The lines that a published night read."""
    starts_at, ends_at = (micros(night[name]) for name in ("starts_at", "ends_at"))
    return Bounds(starts_at, ends_at).window


def micros(moment: datetime) -> int:
    """A moment in UTC microseconds."""
    return round(moment.timestamp() * 1e6)


def as_they_were(night: Night, ranges: Sequence[Range]) -> bool:
    """Whether the files are the night's own by folder, size and time of their last change."""
    then = Counter((folder(file["path"]), file["size"], file.get("modified")) for file in night["inputs"])
    now = Counter((folder(r.path), r.size, r.modified) for r in ranges)
    return then == now and all(r.modified is not None for r in ranges)


def folder(path: str) -> str:
    """The folder of a file."""
    return str(PurePosixPath(path).parent)


def read_again(
    nights: Mapping[Range, Sequence[int]], windows: Sequence[Window], fleet: Fleet
) -> list[tuple[int, Witness]]:
    """(night, witness of its lines in a file) of the file's ranges, as different nights see it."""
    found = []
    for r, numbers in nights.items():
        asked = [(windows[n].starts_at, windows[n].ends_at, windows[n].near_us) for n in numbers]
        for item in read_chunks(r, CHUNK_BYTES):
            if isinstance(item, Chunk):
                found += list(zip(numbers, witness_of(item, r, fleet, asked)))
    return found


def compare(then: Told, now: Witness) -> tuple[bool, str] | None:
    """(whether a night must run again, why); None where its lines are the same."""
    told = {host: checksum(*values) for host, values in now.items()}
    changed = [host for host in sorted({*told, *then}) if list(told.get(host, ())) != list(then.get(host, ()))]
    if not changed:
        return None
    more = {host: count_of(told, host) - count_of(then, host) for host in changed}
    lost = {host: -by for host, by in more.items() if by < 0}
    if lost:
        return False, f"logs that it read are gone: {listed(lost, 'fewer')}"
    return True, f"a log came late or changed: {listed(more, 'more')}"


def count_of(told: Told, host: str) -> int:
    """How many lines of a host."""
    return int(told[host][0]) if host in told else 0


def listed(lines: Mapping[str, int], word: str) -> str:
    """Hosts with how many lines more or fewer."""
    said = [f"{host} {counted(by, 'line')} {word}" if by else f"{host} other lines" for host, by in lines.items()]
    return ", ".join(said[:MOST_HOSTS]) + (f" and {len(said) - MOST_HOSTS} more" if len(said) > MOST_HOSTS else "")
