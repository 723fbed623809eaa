"""The plain engine: a grammar row as one regular expression, a log text as one row and its fields.

Slow and small on purpose: it says what `schemas/grammar/*.toml` mean, and the fast engine is tested against it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import regex

from hoptrace.schemas.events import EVENTS
from hoptrace.schemas.toml import read_toml

GRAMMARS = Path(__file__).parents[1] / "schemas" / "grammar"
TAG = regex.compile(r"(?<tag>[^\s\[:]++)(?:\[(?<pid>\d+)\])?: (?<text>.*)", regex.DOTALL)
TOKEN = regex.compile(r"\{\{|\}\}|\{\?|\?\}|\{\*\}|\{(?<name>-|\w+)(?::(?<type>[a-z]+\)?))?\}")
TYPES = {
    "addr": r'(?:"(?:\\.|[^"\\])*+")?+[^>]*+',
    "word": r"[^ ,;]++",
    "int": r"\d++",
    "id": r"[0-9A-Za-z-]++",
    "item": r"(?:(?!, ).)*+",
    "dsn": r"\d++\.\d++\.\d++",
    "list": r'(?:<(?:"(?:\\.|[^"\\])*+")?+[^>]*+>|[^, <]++)(?:,(?:<(?:"(?:\\.|[^"\\])*+")?+[^>]*+>|[^, <]++))*+',
    "rest": r".*+",
}
IP = regex.compile(r"(?:[0-9A-Fa-f]*[.:])+[0-9A-Fa-f.:]*(?:%\w+)?")
LISTED = regex.compile(r'<(?:"(?:\\.|[^"\\])*+")?+[^>]*+>|[^, <]++')
PLACE = regex.compile(r"(?<name>[^\[]*)(?:\[(?<inside>[^\]]*)\])?.*", regex.DOTALL)


@dataclass(frozen=True)
class Row:
    """One row of a grammar: its kind, the daemons it is for, its pattern and constants, its example."""

    number: int
    kind: str
    services: tuple[str, ...]
    pattern: "regex.Pattern[str]"
    constants: Mapping[str, Any]
    example: str
    yields: Mapping[str, Any]
    source: str


@dataclass(frozen=True)
class Grammar:
    """One grammar file: whose tags it reads, and its rows in their order."""

    program: str
    tags: "regex.Pattern[str] | None"
    rows: tuple[Row, ...] = field(default=())

    def service(self, tag: str) -> str | None:
        """The daemon that a syslog tag names: its last path part; None where the log lost it."""
        found = self.tags.match(tag) if self.tags else None
        path = found.groupdict().get("service") if found else None
        return path.rsplit("/", 1)[-1] if path else None

    def owns(self, tag: str) -> bool:
        """Whether the tag is this program's."""
        return bool(self.tags and self.tags.match(tag))

    def matches(self, service: str | None, text: str) -> Iterator[tuple[Row, dict[str, Any]]]:
        """Every row that matches a text, in the file's order, with its fields in the words of `events`."""
        for row in self.rows:
            if row.services and service is not None and service not in row.services:
                continue
            found = row.pattern.fullmatch(text)
            if found and row.kind == "quiet":
                yield row, {}
            elif found:
                yield row, columns({k: v for k, v in found.groupdict().items() if v is not None} | dict(row.constants))

    def read(self, service: str | None, text: str) -> tuple[Row, dict[str, Any]] | None:
        """The first row that matches a text, and its fields; None where no row does."""
        return next(self.matches(service, text), None)


def load(program: str) -> Grammar:
    """The grammar of one program, from its TOML file."""
    data = read_toml(GRAMMARS / f"{program}.toml")
    queue_id = data.get("queue_id", r"[^\s]++")
    rows = tuple(
        Row(
            n,
            row.get("kind", "attempt"),
            tuple(row.get("services", ())),
            regex.compile(_pattern(row, queue_id), regex.DOTALL | regex.VERSION1),
            row.get("set", {}),
            row["example"],
            row.get("yields", {}),
            row.get("text") or row["regex"],
        )
        for n, row in enumerate(data["row"])
    )
    return Grammar(data["program"], regex.compile(data["tags"]) if data.get("tags") else None, rows)


def split(example: str) -> tuple[str, str]:
    """`tag[pid]: text` -> (tag, text)."""
    found = TAG.fullmatch(example)
    assert found, example
    return found["tag"], found["text"]


def _pattern(row: Mapping[str, Any], queue_id: str) -> str:
    if "regex" not in row:
        return template(row["text"], queue_id)
    starts = row["starts"]
    if starts.startswith("{queue_id}: "):
        literal = regex.escape(starts.removeprefix("{queue_id}: "), special_only=True)
        return f"(?<queue_id>{queue_id}): (?={literal})(?:{row['regex']})"
    return f"(?={regex.escape(starts, special_only=True)})(?:{row['regex']})"


def template(text: str, queue_id: str) -> str:
    """A template as a regular expression."""
    tokens = list(_tokens(text))
    out = []
    for at, (what, value, kind) in enumerate(tokens):
        if what == "literal":
            out.append(regex.escape(value, special_only=True))
        elif what == "open":
            first = regex.escape(tokens[at + 1][1], special_only=True)
            out.append(f"(?:(?!{first})|")
        elif what == "close":
            out.append(")")
        elif what == "any":
            out.append(".*+")
        else:
            after = next((v for w, v, _ in tokens[at + 1 :] if w == "literal"), None)
            out.append(_capture(value, kind, after, queue_id, at == 0))
    return "".join(out)


def _capture(name: str, kind: str, after: str | None, queue_id: str, first: bool) -> str:
    literal = None if after is None else regex.escape(after, special_only=True)
    if name == "queue_id" and first:
        inside = queue_id
    elif kind == "tail)":
        return f"(?<{name}>.*?)\\)?+$" if name != "-" else r".*"
    elif kind == "last":
        inside = f"(?>.*(?={literal}))" if literal else ".*+"
    elif kind:
        inside = TYPES[kind]
    else:
        inside = f"(?:(?!{literal}).)*+" if literal else ".*+"
    return f"(?:{inside})" if name == "-" else f"(?<{name}>{inside})"


def _tokens(text: str) -> Iterator[tuple[str, str, str]]:
    at, literal = 0, ""
    for found in TOKEN.finditer(text):
        literal += text[at : found.start()]
        at = found.end()
        if found[0] in ("{{", "}}"):
            literal += found[0][0]
            continue
        if literal:
            yield "literal", literal, ""
            literal = ""
        marks = {"{?": "open", "?}": "close", "{*}": "any"}
        yield (marks[found[0]], "", "") if found[0] in marks else ("field", found["name"], found["type"] or "")
    if literal + text[at:]:
        yield "literal", literal + text[at:], ""


def columns(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields as captured -> columns of `events`: places split, seconds as microseconds, numbers as numbers."""
    out: dict[str, Any] = {}
    for name, value in fields.items():
        if name in ("client", "relay"):
            place = PLACE.fullmatch(value)
            assert place
            inside = place["inside"]
            out[f"{name}_name"] = place["name"] or None
            out[f"{name}_ip"] = inside if inside and IP.fullmatch(inside) else None
        elif name == "delays":
            parts = ("delay_before", "delay_queue", "delay_connect", "delay_transmit")
            out |= {part: _microseconds(text) for part, text in zip(parts, value.split("/"), strict=False)}
        elif name == "action":
            out[name] = value.lower()
        elif name == "recipients":
            names = [address.removeprefix("<").removesuffix(">") for address in LISTED.findall(value)]
            out |= {"recipient": names[0]} if len(names) == 1 else {"recipients": names}
        elif name == "message_id":
            out[name] = _message_id(value)
        elif name.startswith("delay"):
            out[name] = _microseconds(value)
        elif EVENTS.schema[name] == pl.Int64:
            out[name] = int(value)
        else:
            out[name] = value
    return {name: value for name, value in out.items() if value is not None}


def _microseconds(seconds: str) -> int | None:
    whole, _, part = seconds.partition(".")
    digits = (part + "000000")[:6]
    return int(whole or "0") * 1_000_000 + int(digits) if (whole + digits).isdecimal() else None


def _message_id(value: str) -> str:
    bare = value.strip(" \t")
    return bare[1:-1].strip(" \t") if bare.startswith("<") and bare.endswith(">") else bare
