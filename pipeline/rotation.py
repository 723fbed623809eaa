"""Names of rotated logs, and which of them are absent from a folder."""

import re
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from itertools import pairwise

PACKED = re.compile(r"\.(?:gz|bz2|xz|zst|lzma|Z)$")
ROTATED = re.compile(r"[-._]\d{4}-?\d\d-?\d\d(?:[-_T.]?\d{2,6})?|\.\d{1,4}$")
NUMBER = re.compile(r"\.(\d{1,3})$")
DATE = re.compile(r"[-._](\d{4})-?(\d\d)-?(\d\d)(?:[-_T.]?(\d\d)(\d\d)?(?:\d\d)?)?$")
MOST = 3


def name_absent(names: Sequence[str]) -> list[str | None]:
    """Between each two neighbours of one rotation's file names, oldest first: the names that are absent, None where none is.

    Numbers (mail.log.3, mail.log.2.gz, mail.log; or down to .0) must fall by one from file to file. Dates must lie in even
    steps, most of which are there; where they do not, files are rotated by size, and nothing can be told.
    """
    bare = [PACKED.sub("", name) for name in names]
    newest = -1 if any(name.endswith(".0") for name in bare) else 0
    numbers = [
        int(found[1]) if (found := NUMBER.search(name)) else newest if not DATE.search(name) else None for name in bare
    ]
    dates = [date_of(name) for name in bare]
    if len(names) > 1 and all(number is not None for number in numbers):
        counted = [number if number is not None else newest for number in numbers]
        if all(older > newer for older, newer in pairwise(counted)):
            return [listed([named(bare[at], n) for n in range(older - 1, newer, -1)])
                    for at, (older, newer) in enumerate(pairwise(counted))]  # fmt: skip
    steps = [newer - older if older and newer else None for older, newer in pairwise(dates)]
    known = [step for step in steps if step]
    step = min(known, default=timedelta())
    even = step and all(not one % step for one in known) and known.count(step) * 2 > len(known) > 1
    return [
        listed([f"a file between {names[at]} and {names[at + 1]}"]) if even and one and one > step else None
        for at, one in enumerate(steps)
    ]


def rank(name: str) -> tuple[int, int] | None:
    """Where a file of a rotation stands by its number or date, oldest first, the one without either last; None: cannot be told."""
    bare = PACKED.sub("", name)
    if found := NUMBER.search(bare):
        return 0, -int(found[1])
    if dated := date_of(bare):
        return 0, round(dated.replace(tzinfo=timezone.utc).timestamp())
    return None if ROTATED.search(bare) else (1, 0)


def in_order(names: Sequence[str]) -> list[bool]:
    """Which of one rotation's files, by their first stamps, are where their names say: as many as can be so together.

    The others are no part of the rotation, as a copy of a piece under such a name. Where there are both, dates and numbers, the
    fewer are others too.
    """
    ranks = [rank(name) for name in names]
    dated = [place is not None and place[1] > 0 for place in ranks]
    numbered = [place is not None and place[1] < 0 for place in ranks]
    others = numbered if sum(numbered) < sum(dated) else dated if any(numbered) else [False] * len(names)
    kept = [place is not None and not other for place, other in zip(ranks, others)]
    longest: list[list[int]] = []
    for at, place in enumerate(ranks):
        if kept[at] and place is not None:
            before = [chain for chain in longest if (ranks[chain[-1]] or (0, 0)) <= place]
            longest.append([*longest_of(before), at])
    best = longest_of(longest)
    return [place is None or at in best for at, place in enumerate(ranks)]


def longest_of(chains: Sequence[list[int]]) -> list[int]:
    """The longest of some lists, of equal ones the first; empty where there are none."""
    return max(chains, key=len) if chains else []


def same_rank(one: str, other: str) -> bool:
    """Whether two names of one rotation have the same number or date, or neither has one."""
    place = rank(one)
    return place is not None and place == rank(other)


def named(name: str, number: int) -> str:
    """The name with another number."""
    return f"{NUMBER.sub('', name)}.{number}"


def listed(names: Sequence[str]) -> str | None:
    """Some names in words."""
    if not names:
        return None
    return ", ".join(names[:MOST]) + (f" and {len(names) - MOST} more" if len(names) > MOST else "")


def date_of(name: str) -> datetime | None:
    """The date and time in a rotated file's name."""
    found = DATE.search(name)
    if not found:
        return None
    try:
        return datetime(*(int(part or 0) for part in found.groups()))  # type: ignore[arg-type]  # noqa: DTZ001
    except ValueError:
        return None
