"""The vocabulary of causes, read from causes.toml, and docs/causes.md, made by `python -m hoptrace.schemas.causes`."""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

import regex

from hoptrace.schemas.errors import HoptraceError
from hoptrace.schemas.toml import read_toml

UNKNOWN = "unknown"
KEYS = frozenset({"name", "meaning", "words", "dsn", "hints", "codes", "example"})
HEAD = """# Causes

Why mail failed or waits: the column `cause` of `deliveries`, `open`, `hop_recipients` and `delay_stats`. Made from
`schemas/causes.toml` by `python -m hoptrace.schemas.causes`. A reply is judged by the first of these that knows it,
each sought through all causes in this order:

1. words that have one meaning only (servers choose their codes loosely; addresses and the host that answered are masked
   first, so that `mx.no-spam.example` is no spam),
2. the enhanced status code, if it says something of its own: the one in the reply itself, else the one beside it,
3. words that mean it where nothing better is known,
4. the SMTP code, with the stage that it answers.

`unknown` is what none of these tells. Delivered mail has no cause.

| cause | meaning | enhanced status | SMTP code and stage | example |
|---|---|---|---|---|
"""


class Cause(NamedTuple):
    """A row of the vocabulary; its patterns are sought in replies whose addresses and host names are masked."""

    name: str
    meaning: str
    words: "regex.Pattern[str] | None"
    dsn: frozenset[str]
    hints: "regex.Pattern[str] | None"
    codes: tuple[str, ...]
    example: str


@cache
def causes() -> tuple[Cause, ...]:
    """The vocabulary in its order. Raises HoptraceError where the file is not as its head says."""
    rows = read_toml((files("hoptrace.schemas") / "causes.toml").read_bytes())["cause"]
    return tuple(_cause(row) for row in rows)


def causes_page() -> str:
    """The whole of docs/causes.md."""
    rows = [
        (cause.name, cause.meaning, ", ".join(sorted(cause.dsn)), ", ".join(cause.codes), f"`{cause.example}`")
        for cause in causes()
    ]
    rows.append((UNKNOWN, "the reply says nothing that is known here", "", "", ""))
    return HEAD + "".join("| " + " | ".join(row) + " |\n" for row in rows)


def _cause(row: Mapping[str, Any]) -> Cause:
    name = row.get("name", "?")
    strange = sorted(row.keys() - KEYS)
    if strange:
        keys = ", ".join(sorted(KEYS))
        raise HoptraceError(f"schemas/causes.toml: cause {name}: unknown key {strange[0]!r}; keys are {keys}")
    missing = [key for key in ("name", "meaning", "example") if not row.get(key)]
    if missing:
        raise HoptraceError(f"schemas/causes.toml: cause {name}: has no {missing[0]}; add one")
    words, hints = (_pattern(name, row.get(key)) for key in ("words", "hints"))
    dsn, codes = frozenset(row.get("dsn", ())), tuple(row.get("codes", ()))
    return Cause(name, row["meaning"], words, dsn, hints, codes, row["example"])


def _pattern(name: str, text: str | None) -> "regex.Pattern[str] | None":
    try:
        return regex.compile(text, regex.IGNORECASE) if text else None
    except regex.error as error:
        raise HoptraceError(f"schemas/causes.toml: cause {name}: {error}; mend the pattern") from error


if __name__ == "__main__":
    print(causes_page(), end="")
