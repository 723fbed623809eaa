"""Grammars: the rows of `schemas/grammar/*.toml`, checked, and compiled to integer programs for `transforms.match`."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from importlib.resources import files
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import regex

from hoptrace.schemas.errors import HoptraceError
from hoptrace.schemas.events import EVENTS, KINDS
from hoptrace.schemas.toml import read_toml

Array = np.ndarray[Any, Any]

QUIET = "quiet"
REPLIES = "replies"
DERIVED = ("relay", "client", "delays", "recipients")
COLUMNS = frozenset(EVENTS.columns) - {"stamp", "host", "place", "instance", "kind"}

END, LITERAL, CAPTURE, OPTION = range(4)
FREE, ADDR, WORD, INT, ID, ITEM, LAST, TAIL, REST, DSN, LIST = range(11)
NAME, PATH, RCPT, STRING, PLACE, MSGID, IP, GOOD, TEMP, PERM = range(11, 21)
TYPES = {
    "": FREE,
    "addr": ADDR,
    "word": WORD,
    "int": INT,
    "id": ID,
    "item": ITEM,
    "last": LAST,
    "tail)": TAIL,
    "rest": REST,
    "dsn": DSN,
    "list": LIST,
    "name": NAME,
    "path": PATH,
    "rcpt": RCPT,
    "string": STRING,
    "place": PLACE,
    "msgid": MSGID,
    "ip": IP,
    "good": GOOD,
    "temp": TEMP,
    "perm": PERM,
}
TOKEN = regex.compile(r"\{\{|\}\}|\{\?|\?\}|\{\*\}|\{(?<name>-|\w+)(?::(?<type>[a-z]+\)?))?\}|[{}]")
IDS = regex.compile(
    r"(?:\(\?!(?<never>[^()\[\]]*)\))?(?<parts>\[(?<chars>[^\[\]]+)\]\{\d+,?\d*\}(?:-\[(?P=chars)\]\{\d+,?\d*\}){0,2})"
)
GROUP = regex.compile(r"(?<!\\)\(\?P?<(\w+)>")
PART = regex.compile(r"\{(?<least>\d+)(?<open>,?)(?<most>\d*)\}")
BEGINS = regex.compile(r"\{(?<name>queue_id|session)\}(?<after>[^{}]+)")
KEYS = frozenset({"kind", "services", "text", "regex", "starts", "holds", "lacks", "set", "example", "yields"})
SERVICES = 62
EVERY = (1 << (SERVICES + 1)) - 1


class Pattern:
    """A row's regular expression, compiled when a line first needs it: most never are, and each takes a millisecond."""

    def __init__(self, where: str, text: str) -> None:
        self.where, self.text = where, text

    @cached_property
    def compiled(self) -> "regex.Pattern[bytes]":
        """Raises HoptraceError naming the row where it is no pattern."""
        _compiled(self.where, "regex", self.text)
        return regex.compile(self.text.encode(), regex.DOTALL | regex.VERSION1)


@dataclass(frozen=True)
class Row:
    """One row: what it is, whose it is, how it is recognised and what it yields."""

    kind: str
    services: tuple[str, ...]
    has_id: bool
    text: str | None
    pattern: Pattern | None
    starts: str
    fields: tuple[str, ...]
    constants: Mapping[str, str | int]
    ops: tuple[tuple[int, ...], ...] = ()
    after: str = ": "
    holds: tuple[tuple[int, int], ...] = ()
    lacks: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Program:
    """One grammar file: whose tags it reads, what a queue ID is there, and the numbers of its rows."""

    name: str
    tags: "regex.Pattern[str] | None"
    services: tuple[str, ...]
    first: int
    end: int

    def reads(self, tag: str) -> tuple[str, str | None] | None:
        """(instance, service or None) of a syslog tag of this program; None where the tag is another's."""
        found = self.tags.search(tag) if self.tags else None
        if not found:
            return None
        parts = found.groupdict()
        service = parts.get("service")
        return parts.get("instance") or self.name, service.rsplit("/", 1)[-1] or None if service else None

    def mask(self, service: str | None) -> int:
        """The service as a bit that rows ask for; every bit where it is unknown, another where no row names it."""
        if service is None:
            return EVERY
        return 1 << (self.services.index(service) if service in self.services else SERVICES)


class _Ids(NamedTuple):
    """What an ID is in one program: see `Tables`."""

    characters: Array
    size: Array
    never: list[tuple[int, int]]
    after: tuple[int, int]


class Tables(NamedTuple):
    """All rows as arrays. `pool`: all literals; `ops`: [code, type or offset, slot or length, offset, length]."""

    pool: Array
    ops: Array
    node: Array  # of each operation: a number that rows share as far as they begin with the same operations
    alike: Array  # of each operation: how many of the rows listed next begin alike up to it, and so fail where it fails
    op_start: Array  # of each row; -1 for a row that is a regular expression
    slots: Array  # captures of each row, the queue ID included
    has_id: Array
    services: Array  # bits of each row, all where it names none
    starts: Array  # [row, (offset, length)] of a regular expression's first literal
    row_list: Array  # numbers of rows, in the file's order, for each ...
    row_range: Array  # [program, has ID, first byte or 256 for none] -> start and end in row_list
    id_bytes: Array  # [program, byte]: may stand in a queue ID
    id_size: Array  # [program, part, (least, most)]: parts stand between dashes; most 0: no such part
    after: Array  # [program, (offset, length)] what follows an ID
    never: Array  # [program, n, (offset, length)] words that are no queue ID
    holds: Array  # [row, n, (offset, length)] words of which the text must hold one
    lacks: Array  # ... and none of these
    worded: Array  # of each row: whether it asks for either


@dataclass(frozen=True)
class Grammars:
    """Every program's grammar; a worker loads its own by `load_grammars`, which is also how it is pickled."""

    programs: tuple[Program, ...]
    rows: tuple[Row, ...]
    tables: Tables
    fields: Mapping[str, Array] = field(default_factory=dict)  # field -> slot in each row, -1: none, -2 - n: constant n
    constants: tuple[str | int, ...] = ()

    def __reduce__(self) -> tuple[Any, ...]:
        return load_grammars, ()

    def program(self, name: str) -> int | None:
        """The number of the program called `name`; None where there is no such grammar."""
        return next((n for n, program in enumerate(self.programs) if program.name == name), None)

    def reader(self, tag: str) -> tuple[int, str, str | None] | None:
        """(program, instance, service) for a syslog tag; None where no grammar reads it."""
        for n, program in enumerate(self.programs):
            found = program.reads(tag)
            if found:
                return n, *found
        return None


@lru_cache(maxsize=1)
def load_grammars() -> Grammars:
    """The grammars that come with hoptrace. Raises HoptraceError where a row is wrong."""
    folder = files("hoptrace.schemas") / "grammar"
    sources = sorted((entry.name, entry.read_bytes()) for entry in folder.iterdir() if entry.name.endswith(".toml"))
    return compile_grammars([(f"schemas/grammar/{name}", read_toml(content)) for name, content in sources])


def compile_grammars(sources: Sequence[tuple[str, Mapping[str, Any]]]) -> Grammars:
    """The grammars of (file name, content) pairs. Raises HoptraceError naming file, row and remedy."""
    pool = bytearray()
    programs: list[Program] = []
    rows: list[Row] = []
    ids = []
    for name, content in sources:
        listed = content.get("row", [])
        program = content.get("program")
        if not isinstance(program, str) or not isinstance(listed, list):
            raise HoptraceError(f'{name}: needs program = "..." and [[row]] tables; see another file beside it')
        begins = str(content.get("begins", "{queue_id}: "))
        if not BEGINS.fullmatch(begins):
            raise HoptraceError(f"{name}: begins = {begins!r}; it is {{queue_id}} or {{session}} and what follows it")
        read = [_row(f"{name}: row {n + 1}", row, pool, program == REPLIES, begins) for n, row in enumerate(listed)]
        services = tuple(sorted({service for row in read for service in row.services}))
        if len(services) > SERVICES:
            raise HoptraceError(
                f"{name}: {len(services)} services, at most {SERVICES} can be told apart; join some rows"
            )
        tags = _compiled(name, "tags", content["tags"]) if "tags" in content else None
        programs.append(Program(program, tags, services, len(rows), len(rows) + len(read)))
        ids.append(_ids(name, content.get("queue_id", "[0-9A-Za-z]{1,}"), begins, pool))
        rows += read
    fields, constants = _slots(rows)
    return Grammars(tuple(programs), tuple(rows), _tables(programs, rows, ids, bytes(pool)), fields, constants)


def _compiled(name: str, key: str, pattern: object) -> "regex.Pattern[str]":
    try:
        return regex.compile(str(pattern), regex.DOTALL | regex.VERSION1)
    except regex.error as error:
        raise HoptraceError(f"{name}: {key} = {pattern!r} is no pattern of the regex module: {error}") from error


def _row(where: str, row: Mapping[str, Any], pool: bytearray, reply: bool, begins: str) -> Row:
    strange = sorted(set(row) - KEYS)
    if strange:
        raise HoptraceError(f"{where}: unknown key {strange[0]!r}; keys are {', '.join(sorted(KEYS))}")
    kind = row.get("kind", "attempt" if reply else None)
    if kind != QUIET and kind not in KINDS:
        raise HoptraceError(f"{where}: kind = {kind!r}; it must be quiet or one of {', '.join(KINDS)}")
    if not row.get("example"):
        raise HoptraceError(f"{where} ({row.get('text') or row.get('regex')!r}): has no example; add a real line")
    services = row.get("services", [])
    if not isinstance(services, list) or not all(isinstance(service, str) for service in services):
        raise HoptraceError(f"{where}: services = {services!r} must be a list of names")
    constants = dict(row.get("set", {}))
    for column in constants:
        if column not in COLUMNS:
            raise HoptraceError(f"{where}: set names {column!r}, which is no column of events; see schemas/events.py")
    if ("text" in row) == ("regex" in row):
        raise HoptraceError(f"{where}: needs either text or regex")
    source = row["text"] if "text" in row else row.get("starts", "")
    has_id = source.startswith(begins)
    bare = source.removeprefix(begins)
    name, _, after = begins[1:].partition("}")
    holds, lacks = (_words(where, key, row.get(key, []), pool) for key in ("holds", "lacks"))
    if "regex" in row:
        if holds or lacks:
            raise HoptraceError(f"{where}: a regex row takes neither holds nor lacks; write them into the regex")
        if "starts" not in row:
            raise HoptraceError(f"{where}: a regex needs starts = the literal text it begins with ('' for any)")
        groups = list(dict.fromkeys(GROUP.findall(str(row["regex"]))))
        _check_fields(where, groups)
        pattern = Pattern(where, str(row["regex"]))
        fields = (name,) * has_id + tuple(group for group in groups if not (has_id and group == name))
        return Row(kind, tuple(services), has_id, None, pattern, bare, fields, constants, (), after)
    tokens = list(_tokens(where, bare))
    fields = (name,) * has_id
    fields += tuple(
        dict.fromkeys(value for what, value, _ in tokens if what == "field" and value not in ("-", *fields))
    )
    _check_fields(where, fields)
    ops = tuple(_ops(where, tokens, fields, pool))
    return Row(kind, tuple(services), has_id, bare, None, "", fields, constants, ops, after, holds, lacks)


def _words(where: str, key: str, words: object, pool: bytearray) -> tuple[tuple[int, int], ...]:
    if not isinstance(words, list) or not all(isinstance(word, str) and word for word in words):
        raise HoptraceError(f"{where}: {key} = {words!r} must be a list of words")
    return tuple(_pooled(word, pool) for word in words)


def _check_fields(where: str, fields: Sequence[str] | Mapping[str, int]) -> None:
    for name in fields:
        if name not in COLUMNS and name not in DERIVED:
            raise HoptraceError(f"{where}: {{{name}}} is no column of events; see schemas/events.py, or write {{-}}")


def _tokens(where: str, text: str) -> Iterator[tuple[str, str, str]]:
    """(what, name or literal, type) of each part of a template."""
    at, literal = 0, ""
    for found in TOKEN.finditer(text):
        literal += text[at : found.start()]
        at = found.end()
        mark = found[0]
        if mark in ("{{", "}}"):
            literal += mark[0]
            continue
        if mark in ("{", "}"):
            raise HoptraceError(f"{where}: a lone {mark} in {text!r}; write {mark * 2} for the character itself")
        if (found["type"] or "") not in TYPES:
            raise HoptraceError(f"{where}: unknown type in {mark}; types are {', '.join(filter(None, TYPES))}")
        if literal:
            yield "literal", literal, ""
            literal = ""
        marks = {"{?": "open", "?}": "close", "{*}": "any"}
        yield (marks[mark], "", "") if mark in marks else ("field", found["name"], found["type"] or "")
    if literal + text[at:]:
        yield "literal", literal + text[at:], ""


def _pooled(text: str, pool: bytearray) -> tuple[int, int]:
    literal = text.encode()
    at = pool.find(literal)
    if at < 0:
        at = len(pool)
        pool += literal
    return at, len(literal)


def _ops(
    where: str, tokens: Sequence[tuple[str, str, str]], fields: Sequence[str], pool: bytearray
) -> Iterator[tuple[int, ...]]:
    ops: list[list[int]] = []
    opened: list[int] = []
    for at, (what, value, kind) in enumerate(tokens):
        if what == "literal":
            ops.append([LITERAL, *_pooled(value, pool), 0, 0])
        elif what == "open":
            if at + 1 >= len(tokens) or tokens[at + 1][0] != "literal":
                raise HoptraceError(f"{where}: an optional group must begin with a literal")
            opened.append(len(ops))
            ops.append([OPTION, *_pooled(tokens[at + 1][1], pool), 0, 0])
        elif what == "close":
            if not opened:
                raise HoptraceError(f"{where}: ?}} without {{?")
            ops[opened.pop()][3] = len(ops)
        elif what == "any":
            if at != len(tokens) - 1:
                raise HoptraceError(f"{where}: {{*}} may only stand at the end")
            ops.append([CAPTURE, REST, -1, 0, 0])
        else:
            after = next((text for what, text, _ in tokens[at + 1 :] if what == "literal"), "")
            slot = -1 if value == "-" else fields.index(value)
            ops.append([CAPTURE, TYPES[kind], slot, *_pooled(after, pool)])
    if opened:
        raise HoptraceError(f"{where}: {{? without ?}}")
    ops.append([END, 0, 0, 0, 0])
    return (tuple(op) for op in ops)


def _ids(name: str, pattern: str, begins: str, pool: bytearray) -> _Ids:
    found = IDS.fullmatch(pattern)
    if not found:
        raise HoptraceError(
            f"{name}: queue_id = {pattern!r}; its form is (?!WORD:|WORD:)[characters]{{least,most}}-..."
        )
    chars = regex.compile(f"[{found['chars']}]")
    allowed = np.array([chars.fullmatch(chr(n)) is not None and n < 128 and n != 32 for n in range(256)], np.bool_)
    never = [_pooled(word.replace("\\", ""), pool) for word in (found["never"] or "").split("|") if word]
    size = np.zeros((3, 2), np.int32)
    for n, part in enumerate(PART.finditer(found["parts"])):
        least = int(part["least"])
        size[n] = least, int(part["most"] or (1 << 30 if part["open"] else least))
    return _Ids(allowed, size, never, _pooled(begins.partition("}")[2], pool))


def _slots(rows: Sequence[Row]) -> tuple[dict[str, Array], tuple[str | int, ...]]:
    names = dict.fromkeys(name for row in rows for name in (*row.fields, *row.constants))
    slots = {name: np.full(len(rows), -1, np.int32) for name in names}
    constants: dict[str | int, int] = {}
    for n, row in enumerate(rows):
        for slot, name in enumerate(row.fields):
            slots[name][n] = slot
        for name, value in row.constants.items():
            numeric = EVENTS.schema[name] == pl.Int64
            slots[name][n] = -2 - constants.setdefault(int(value) if numeric else str(value), len(constants))
    return slots, tuple(constants)


def _first_bytes(row: Row) -> Sequence[int]:
    """The first bytes (256: an empty text) that a row may begin with."""
    if row.pattern is not None:
        return [row.starts.encode()[0]] if row.starts else range(257)
    literal = row.text is not None and row.ops[0][0] == LITERAL
    return [_literal_start(row)] if literal else range(257)


def _literal_start(row: Row) -> int:
    text = row.text or ""
    return (text[1:] if text[:2] in ("{{", "}}") else text).encode()[0]


def _alike(
    rows: Sequence[Row], starts: Sequence[int], nodes: Sequence[int], listed: Sequence[int], ranges: Array
) -> Array:
    alike = np.zeros(max(len(nodes), 1), np.int32)
    paths = [set(nodes[start : start + len(row.ops)]) if start >= 0 else set() for row, start in zip(rows, starts)]
    for first, end in {(int(first), int(end)) for first, end in ranges.reshape(-1, 2)}:
        for at in range(first, end):
            row = listed[at]
            if starts[row] < 0 or len(_first_bytes(rows[row])) > 1:
                continue
            for op in range(starts[row], starts[row] + len(rows[row].ops)):
                after = at + 1
                while after < end and nodes[op] in paths[listed[after]]:
                    after += 1
                alike[op] = after - at - 1
    return alike


def _padded(words: Sequence[Sequence[tuple[int, int]]]) -> Array:
    out = np.zeros((max(len(words), 1), max([len(some) for some in words] + [1]), 2), np.int32)
    for n, some in enumerate(words):
        for k, word in enumerate(some):
            out[n, k] = word
    return out


def _tables(
    programs: Sequence[Program],
    rows: Sequence[Row],
    ids: Sequence[_Ids],
    pool: bytes,
) -> Tables:
    ops: list[tuple[int, ...]] = []
    nodes: list[int] = []
    known: dict[tuple[object, ...], int] = {}
    starts = []
    literals = bytearray(pool)
    regexes = []
    for row in rows:
        starts.append(-1 if row.pattern is not None else len(ops))
        shift = len(ops)
        path: tuple[object, ...] = (row.has_id,)
        for op in row.ops:
            number = known.setdefault((*path, op), len(known))
            nodes.append(number)
            path = (number,)
        ops += [(op[0], op[1], op[2], op[3] + shift, op[4]) if op[0] == OPTION else op for op in row.ops]
        regexes.append(_pooled(row.starts, literals) if row.starts else (0, 0))
    listed: list[int] = []
    ranges = np.zeros((len(programs), 2, 257, 2), np.int32)
    for p, program in enumerate(programs):
        first = [_first_bytes(rows[n]) for n in range(program.first, program.end)]
        for has_id in (0, 1):
            for byte in range(257):
                ranges[p, has_id, byte, 0] = len(listed)
                listed += [
                    n
                    for n in range(program.first, program.end)
                    if rows[n].has_id == bool(has_id) and byte in first[n - program.first]
                ]
                ranges[p, has_id, byte, 1] = len(listed)
    never = np.zeros((len(ids), max([len(kind.never) for kind in ids] + [1]), 2), np.int32)
    for n, kind in enumerate(ids):
        for k, word in enumerate(kind.never):
            never[n, k] = word
    bits = [
        sum(1 << program.services.index(service) for service in rows[n].services) or EVERY
        for program in programs
        for n in range(program.first, program.end)
    ]
    return Tables(
        np.frombuffer(bytes(literals) or b"\0", np.uint8),
        np.array(ops or [(END, 0, 0, 0, 0)], np.int32),
        np.array(nodes or [0], np.int32),
        _alike(rows, starts, nodes, listed, ranges),
        np.array(starts, np.int32),
        np.array([len(row.fields) for row in rows], np.int32),
        np.array([row.has_id for row in rows], np.bool_),
        np.array(bits, np.int64),
        np.array(regexes, np.int32).reshape(-1, 2),
        np.array(listed, np.int32),
        ranges,
        np.array([kind.characters for kind in ids], np.bool_).reshape(-1, 256),
        np.array([kind.size for kind in ids], np.int32).reshape(-1, 3, 2),
        np.array([kind.after for kind in ids], np.int32).reshape(-1, 2),
        never,
        _padded([row.holds for row in rows]),
        _padded([row.lacks for row in rows]),
        np.array([bool(row.holds or row.lacks) for row in rows], np.bool_),
    )
