"""Names of rotated logs, and which of them are absent from a folder."""

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise

PACKED = re.compile(r"\.(?:gz|bz2|xz|zst|lzma|Z)$")
ROTATED = re.compile(r"[-._]\d{4}-?\d\d-?\d\d(?:[-_T.]?\d{2,6})?|\.\d{1,4}$")
NUMBER = re.compile(r"\.(\d{1,3})$")
DATE = re.compile(r"[-._](\d{4})-?(\d\d)-?(\d\d)(?:[-_T.]?(\d\d)(\d\d)?(?:\d\d)?)?$")
MOST = 3


def name_absent(names: Sequence[str]) -> list[str | None]:
    """Between each two neighbours of one rotation's file names, oldest first: the names that are absent, None where none is.

    Numbers (mail.log.3, mail.log.2.gz, mail.log) must fall by one from file to file. Dates must lie in even steps, most of
    which are there; where they do not, files are rotated by size, and nothing can be told.
    """
    bare = [PACKED.sub("", name) for name in names]
    numbers = [
        int(found[1]) if (found := NUMBER.search(name)) else 0 if not DATE.search(name) else None for name in bare
    ]
    dates = [date_of(name) for name in bare]
    if len(names) > 1 and all(number is not None for number in numbers):
        counted = [number or 0 for number in numbers]
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
