"""How far each host's clock is off, from hand-overs: a taker takes a mail after the giver's try began and before it was logged."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

C = pl.col
Array = np.ndarray[Any, Any]
ODD = 0.01
"""The share of hand-overs that may contradict the rest: a reply that waited in a pipe, a line that a busy host logged late."""

FEW = 20
"""From this many hand-overs on, odd ones are left out."""

FAR = 1e18
GRAIN = 10_000
"""Microseconds: what is less than this between two clocks is noise of logging."""


@dataclass(frozen=True)
class Clock:
    """A host's clock: microseconds that it is ahead of the one in the middle, give or take `within`, told by so many hand-overs."""

    host: str
    ahead: int
    within: int
    links: int

    @property
    def off(self) -> bool:
        """Whether it differs from the others for certain."""
        return abs(self.ahead) > self.within


def bound_pairs(links: pl.DataFrame) -> pl.DataFrame:
    """giver, taker, least, most, links: how far (µs) the taker's clock is ahead of the giver's at least and at most, each pair of
    hosts once, of links with giver, taker and the same two of each hand-over."""
    known = links.filter((C("giver") != C("taker")) & C("least").is_not_null() & C("most").is_not_null())
    odd = pl.when(pl.len() < FEW).then(0.0).otherwise((pl.len() * ODD).floor())
    return (
        known.group_by("giver", "taker")
        .agg(
            least=C("least").sort(descending=True).get(odd.cast(pl.Int64)),
            most=C("most").sort().get(odd.cast(pl.Int64)),
            links=pl.len(),
        )
        .sort("giver", "taker")
    )


def solve_clocks(pairs: pl.DataFrame) -> list[Clock]:
    """The clocks of all hosts in `pairs` (`bound_pairs`), in order of host.

    Each pair of hosts is compared along the chain of hand-overs that tells most exactly; zero is the clock in the middle of all
    that are connected. With fewer than three of them nobody can tell which one is off: `within` is then as large as they differ.
    """
    hosts = sorted({*pairs["giver"], *pairs["taker"]})
    number = {host: n for n, host in enumerate(hosts)}
    least, most = np.full((len(hosts), len(hosts)), -FAR), np.full((len(hosts), len(hosts)), FAR)
    links = np.zeros(len(hosts), np.int64)
    for giver, taker, low, high, count in pairs.select("giver", "taker", "least", "most", "links").iter_rows():
        a, b = number[giver], number[taker]
        least[a, b], most[a, b] = max(least[a, b], low), min(most[a, b], high)
        least[b, a], most[b, a] = -most[a, b], -least[a, b]
        links[[a, b]] += count
    met = most < FAR
    apart = np.where(met, (least + most) / 2, 0.0)
    unsure = np.where(met, np.abs(most - least) / 2 + GRAIN, FAR)
    apart, unsure = compare_all(apart, unsure)
    told: list[Clock] = []
    for members in parts_of(unsure):
        known = int(np.argmin(unsure[np.ix_(members, members)].sum(axis=1)))
        order = np.argsort(apart[members[known], members], kind="stable")
        middle = members[int(order[(len(members) - 1) // 2])]
        ahead, within = apart[middle, members], unsure[middle, members] + GRAIN
        if len(members) < 3:
            ahead, within = np.zeros(len(members)), np.full(len(members), np.ptp(ahead) + within.max())
        told += [Clock(hosts[n], round(x), round(d), int(links[n])) for n, x, d in zip(members, ahead, within)]
    return sorted(told, key=lambda clock: clock.host)


def compare_all(apart: Array, unsure: Array) -> tuple[Array, Array]:
    """(how far host b is ahead of a, by how much that may be wrong) of all pairs, from those that met; FAR: by no chain."""
    np.fill_diagonal(unsure, 0.0)
    for host in range(len(unsure)):
        through = unsure[:, host, None] + unsure[None, host, :]
        better = through < unsure
        apart = np.where(better, apart[:, host, None] + apart[None, host, :], apart)
        unsure = np.where(better, through, unsure)
    return apart, unsure


def parts_of(unsure: Array) -> list[list[int]]:
    """The hosts that hand-overs connect, together."""
    left, parts = set(range(len(unsure))), []
    while left:
        part = [int(n) for n in np.flatnonzero(unsure[min(left)] < FAR)]
        parts.append(part)
        left -= set(part)
    return parts
