"""Whose line it is, and when: host and time of lines by what their heads say, the fleet and the file's folder."""

from typing import Any

import numpy as np

from hoptrace.schemas.fleet import Fleet
from hoptrace.transforms.cut import Heads
from hoptrace.transforms.read import Range
from hoptrace.transforms.stamps import NONE, to_utc

Array = np.ndarray[Any, Any]


def find_hosts(heads: Heads, r: Range, fleet: Fleet) -> tuple[list[str], Array]:
    """(the hosts of a text of range `r`, of each line the number of its host among them): the folder's where a line names none."""
    names = [fleet.host_named(name.decode("utf-8", "backslashreplace")) for name in heads.hosts] + [r.folder_host]
    hosts = sorted(set(names))
    numbers = {name: number for number, name in enumerate(hosts)}
    return hosts, np.array([numbers[name] for name in names], np.int32)[heads.host]


def find_times(
    heads: Heads, hosts: list[str], host: Array, offset: Array, r: Range, fleet: Fleet, near_us: int
) -> Array:
    """The time of each line (UTC µs by a right clock, NONE where it has no stamp) that begins at `offset` of the file's text.

    `hosts`, `host`: see `find_hosts`. Year-less stamps are near `near_us`.
    """
    zones = [fleet.zone_of(name) for name in hosts]
    names = sorted(set(zones))
    zone = np.array([names.index(name) for name in zones], np.int32)[host]
    second = None if r.fold_at is None else offset >= r.fold_at
    stamp = to_utc(heads.form, heads.stamp, zone, names, near_us, second)
    ahead = np.array([fleet.clock_offset_of(name) for name in hosts], np.int64)
    return np.where(stamp == NONE, NONE, stamp - ahead[host]) if ahead.any() else stamp
