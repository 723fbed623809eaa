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
QUOTED = r'(?:"(?:\\.|[^"\\])*+")?+'
TYPES = {
    "addr": r'(?:"(?:\\.|[^"\\])*+")?+[^>]*+',
    "word": r"[^ ,;]++",
    "int": r"\d++",
    "id": r"[0-9A-Za-z-]++",
    "item": r"(?:(?!, ).)*+",
    "dsn": r"\d++\.\d++\.\d++",
    "good": r"2\d*+\.\d++\.\d++",
    "temp": r"4\d*+\.\d++\.\d++",
    "perm": r"5\d*+\.\d++\.\d++",
    "list": r'(?:<(?:"(?:\\.|[^"\\])*+")?+[^>]*+>|[^, <]++)(?:,(?:<(?:"(?:\\.|[^"\\])*+")?+[^>]*+>|[^, <]++))*+',
    "rest": r".*+",
    "name": r"[0-9A-Za-z_.-]++",
    "rcpt": rf"(?=[^:< ]){QUOTED}(?:(?! <| \(| [A-Z]+=|: | de..r | ro....g ).)*+",
    "string": r'(?:\\.|[^"\\])*+',
    "place": r"(?=[^ ])(?:[^ (\[]++(?: DS(?= \[))?+(?: (?=[(\[]))?+)?+(?:\((?:(?!\) \[).)*+\) (?=\[))?+"
    r"(?:\[[^\]]*+\](?::[0-9A-Za-z_]++)?+\*?+)?+",
    "msgid": r"[0-9a-f]{8}",
}
ADDRESS = r"[0-9A-Fa-f]*+[.:][0-9A-Fa-f.:]*+"
BARE = rf"(?=[^ ,<]){QUOTED}(?:(?!, )[^ ])*+"
IP = regex.compile(r"(?:[0-9A-Fa-f]*[.:])+[0-9A-Fa-f.:]*(?:%\w+)?")
LISTED = regex.compile(r'<(?:"(?:\\.|[^"\\])*+")?+[^>]*+>|[^, <]++')
PLACE = regex.compile(
    r"(?<name>[^ (\[]*+) *+(?:DS )?+(?:\((?<helo>(?:(?!\) \[).)*+)\) (?=\[)|\((?<other>[^)]*+)\).*+|\(.*+)?+"
    r"(?:\[(?:IPv.:(?=[^\]]))?+(?<inside>[^\]]*+)\])?.*",
    regex.DOTALL,
)
DURATION = regex.compile(
    r"(?:(?<w>\d{1,7})w)?(?:(?<d>\d{1,7})d)?(?:(?<h>\d{1,7})h)?(?:(?<m>\d{1,7})m)?(?:(?<s>\d{1,7}(?:\.\d*)?)s)?"
    r"|(?:(?<d>\d{1,7})\+)?(?<h>\d{1,7}):(?<m>\d\d):(?<s>\d\d)"
)
PLAIN = regex.compile(r"\d{1,12}(?:\.\d*)?|\.\d+")
SECONDS = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60}


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
    holds: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()


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
            if any(word in text for word in row.lacks) or (row.holds and not any(word in text for word in row.holds)):
                continue
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
    begins = data.get("begins", "{queue_id}: ")
    rows = tuple(
        Row(
            n,
            row.get("kind", "attempt"),
            tuple(row.get("services", ())),
            regex.compile(_pattern(row, queue_id, begins), regex.DOTALL | regex.VERSION1),
            row.get("set", {}),
            row["example"],
            row.get("yields", {}),
            row.get("text") or row["regex"],
            tuple(row.get("holds", ())),
            tuple(row.get("lacks", ())),
        )
        for n, row in enumerate(data["row"])
    )
    return Grammar(data["program"], regex.compile(data["tags"]) if data.get("tags") else None, rows)


def split(example: str) -> tuple[str, str]:
    """`tag[pid]: text` -> (tag, text)."""
    found = TAG.fullmatch(example)
    assert found, example
    return found["tag"], found["text"]


def _pattern(row: Mapping[str, Any], queue_id: str, begins: str) -> str:
    name, _, after = begins[1:].partition("}")
    source = row["text"] if "text" in row else row["starts"]
    head = f"(?<{name}>{queue_id}){after}" if source.startswith(begins) else ""
    if "regex" not in row:
        return head + template(source.removeprefix(begins) if head else source)
    starts = row["starts"]
    if head:
        literal = regex.escape(starts.removeprefix(begins), special_only=True)
        return f"{head}(?={literal})(?:{row['regex']})"
    return f"(?={regex.escape(starts, special_only=True)})(?:{row['regex']})"


def template(text: str) -> str:
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
            out.append(_capture(value, kind, after))
    return "".join(out)


def _capture(name: str, kind: str, after: str | None) -> str:
    literal = None if after is None else regex.escape(after, special_only=True)
    if kind == "ip":
        if name == "-":
            return rf"(?:\[(?:IPv.:)?+{ADDRESS}\]|{ADDRESS})"
        return rf"(?:\[(?:IPv.:)?+(?<{name}>{ADDRESS})\]|(?<{name}>{ADDRESS}))"
    if kind == "path":
        if name == "-":
            return f"(?:<{TYPES['addr']}>|{BARE})"
        return f"(?:<(?<{name}>{TYPES['addr']})>|(?<{name}>{BARE}))"
    if kind == "tail)":
        return f"(?<{name}>.*?)\\)?+$" if name != "-" else r".*"
    if kind == "last":
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
            out |= _place(name, value)
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
            out[name] = int(value) if isinstance(value, int) or regex.fullmatch(r"[0-9]{1,18}", value) else None
        elif EVENTS.schema[name] == pl.Float64:
            out[name] = float(value) if regex.fullmatch(r"-?[0-9]+(?:\.[0-9]+)?", value) else None
        else:
            out[name] = value
    return {name: value for name, value in out.items() if value is not None}


def _microseconds(seconds: str) -> int | None:
    found = DURATION.fullmatch(seconds) if len(seconds) <= 24 else None
    if found and seconds:
        parts = {unit: text for unit, text in found.groupdict().items() if text}
        rest = _microseconds(parts.pop("s", "0")) or 0
        return sum(int(text) * SECONDS[unit] for unit, text in parts.items()) * 1_000_000 + rest
    if not PLAIN.fullmatch(seconds):
        return None
    whole, _, part = seconds.partition(".")
    digits = (part + "000000")[:6]
    return int(whole or "0") * 1_000_000 + int(digits)


def _place(name: str, value: str) -> dict[str, Any]:
    place = PLACE.fullmatch(value)
    assert place
    called, inside = place["name"], place["inside"]
    if place["other"] is not None and IP.fullmatch(called):
        called, inside = place["other"], called
    if len(called) > 1:
        called = called.removesuffix(".")
    out = {f"{name}_name": called or None, f"{name}_ip": inside if inside and IP.fullmatch(inside) else None}
    return out | ({"helo": place["helo"]} if place["helo"] is not None else {})


def _message_id(value: str) -> str:
    bare = value.strip(" \t")
    return bare[1:-1].strip(" \t") if bare.startswith("<") and bare.endswith(">") else bare
