"""A witness of what was read: per host how many lines, and a sum of their hashes, which no name, packing or order of files changes."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from hoptrace.schemas.fleet import Fleet
from hoptrace.transforms.columns import valid_utf8
from hoptrace.transforms.cut import cut_heads, line_ends
from hoptrace.transforms.jit import compiled
from hoptrace.transforms.read import Chunk, Range
from hoptrace.transforms.stamps import NONE
from hoptrace.transforms.whose import find_hosts, find_times

Array = np.ndarray[Any, Any]
Witness = dict[str, tuple[int, int, int]]
"""Host -> (lines, sum of the low halves, sum of the high halves of their hashes): each sum of 4e9 lines fits in 63 bits."""

HALF = 31
PREFIX = "witness "


@compiled
def _word(data: Any, start: Any, end: Any) -> Any:
    """Up to eight bytes as a number."""
    word = np.uint64(0)
    for k in range(end - start):
        word |= np.uint64(data[start + k]) << np.uint64(8 * k)
    return word


@compiled
def _sum(data: Any, words: Any, starts: Any, ends: Any, host: Any, inside: Any, out: Any) -> None:
    """Adds up the hashes of lines; `words` are the bytes of `data`, eight each."""
    prime = np.uint64(0x9FB21C651E98DF25)
    half = np.uint64((1 << 31) - 1)
    for k in range(starts.size):
        if not inside[k]:
            continue
        i = np.int64(starts[k])
        end = np.int64(ends[k])
        h = np.uint64(end - i) * np.uint64(0x9E3779B97F4A7C15)
        other = np.uint64(0xD6E8FEB86659FD93)
        at = i >> 3
        low = np.uint64(8 * (i & 7))
        high = np.uint64(63) - low  # one bit less, so that a shift by 64 becomes two
        while i + 16 <= end:
            if at + 2 < words.size:
                middle = words[at + 1]
                one = (words[at] >> low) | ((middle << np.uint64(1)) << high)
                two = (middle >> low) | ((words[at + 2] << np.uint64(1)) << high)
            else:
                one = _word(data, i, i + 8)
                two = _word(data, i + 8, i + 16)
            h = (h ^ one) * prime
            other = (other ^ two) * prime
            h ^= h >> np.uint64(32)
            other ^= other >> np.uint64(32)
            i += 16
            at += 2
        h = (h ^ _word(data, i, min(i + 8, end))) * prime
        other = (other ^ _word(data, min(i + 8, end), end)) * prime
        h ^= (h >> np.uint64(32)) ^ (other << np.uint64(23)) ^ (other >> np.uint64(29))
        h = (h ^ (h >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
        h ^= h >> np.uint64(32)
        out[host[k], 0] += 1
        out[host[k], 1] += np.int64(h & half)
        out[host[k], 2] += np.int64((h >> np.uint64(31)) & half)


def sum_lines(data: bytes, starts: Array, sizes: Array, host: Array, inside: Array, hosts: Sequence[str]) -> Witness:
    """The witness of the lines (without line feed) of a text that are `inside`; `host` is an index into `hosts`."""
    out = np.zeros((len(hosts), 3), np.int64)
    if starts.size:
        words = np.frombuffer(data, np.uint64, len(data) // 8)
        _sum(np.frombuffer(data, np.uint8), words, starts, starts + sizes - 1, host, inside, out)
    return {name: (lines, low, high) for name, (lines, low, high) in zip(hosts, out.tolist()) if lines}


def add_witnesses(parts: Iterable[Witness]) -> Witness:
    """One witness of several texts."""
    total: Witness = {}
    for part in parts:
        for host, (lines, low, high) in part.items():
            before = total.get(host, (0, 0, 0))
            total[host] = (before[0] + lines, before[1] + low, before[2] + high)
    return total


def witness_of(chunk: Chunk, r: Range, fleet: Fleet, windows: Sequence[tuple[int, int, int]]) -> list[Witness]:
    """Of a chunk of range `r`, for every window (from, to, what year-less stamps are near to; UTC microseconds), the witness
    that a night with this window has of it."""
    heads = cut_heads(valid_utf8(chunk.data))
    feeds = line_ends(chunk.data).astype(np.int64)
    starts = np.concatenate(([0], feeds[:-1] + 1))
    offset = starts + chunk.offset
    hosts, host = find_hosts(heads, r, fleet)
    elsewhere = np.array([name in r.copies.hosts_elsewhere for name in hosts], np.bool_)[host]
    counts = ~(elsewhere | r.copies.cover(offset))
    found = []
    for since, until, near_us in windows:
        stamp = find_times(heads, hosts, host, offset, r, fleet, near_us)
        inside = counts & (stamp != NONE) & (stamp >= since) & (stamp < until)
        found.append(sum_lines(chunk.data, starts, feeds - starts + 1, host, inside, hosts))
    return found


def as_counts(witness: Witness) -> dict[str, int]:
    """A witness as counts that may be added up."""
    return {f"{PREFIX}{part} {host}": value for host, values in witness.items() for part, value in enumerate(values)}


def from_counts(counts: Mapping[str, int]) -> tuple[dict[str, int], dict[str, list[int | str]]]:
    """The other counts, and host -> [lines, checksum]."""
    others = {name: count for name, count in counts.items() if not name.startswith(PREFIX)}
    hosts = sorted({name.removeprefix(PREFIX).partition(" ")[2] for name in counts if name not in others})
    told = {host: [counts[f"{PREFIX}{part} {host}"] for part in range(3)] for host in hosts}
    return others, {host: checksum(*values) for host, values in told.items()}


def checksum(lines: int, low: int, high: int) -> list[int | str]:
    """[lines, checksum] of a host."""
    mask = (1 << 2 * HALF) - 1
    return [lines, f"{(low + (high << HALF)) & mask:016x}"]
