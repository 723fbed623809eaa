"""Every row of every grammar has an example that it alone matches; a stranger's text changes neither kind nor fields.

Two engines are asked: the plain one (tests/oracle.py), which says what the rows mean, and the fast one.
"""

from pathlib import Path
from random import Random
from typing import Any

import pytest

from hoptrace.schemas.toml import read_toml
from tests import oracle
from tests.engines import read_fast

GRAMMARS = {path.stem: oracle.load(path.stem) for path in sorted(oracle.GRAMMARS.glob("*.toml"))}
ROWS = [(grammar, row) for grammar in GRAMMARS.values() for row in grammar.rows]
LOGS = [(grammar, row) for grammar, row in ROWS if grammar.tags is not None]
FORGED = read_toml(Path(__file__).with_name("forged.toml"))
LINES: list[dict[str, Any]] = FORGED["line"]
REPLIES: list[dict[str, Any]] = FORGED["reply"]
SIGNS = ("<", ">", '"', ", ", ": ", ")", "; from=<", " from ", "\\\\", "æ", ">: ")

every_row = pytest.mark.parametrize(
    ("grammar", "row"), ROWS, ids=[f"{grammar.program}-{row.number}-{row.source[:40]}" for grammar, row in ROWS]
)
every_forged_line = pytest.mark.parametrize("forged", LINES, ids=[entry["line"][:60] for entry in LINES])
every_reply = pytest.mark.parametrize("entry", REPLIES, ids=[entry["reply"][:60] for entry in REPLIES])


def place(grammar: oracle.Grammar, example: str) -> tuple[str | None, str]:
    """(service, text) of an example; a reply is all text."""
    if grammar.tags is None:
        return None, example
    tag, text = oracle.split(example)
    assert grammar.owns(tag), f"{tag} is no tag of {grammar.program}"
    return grammar.service(tag), text


def grammar_of(line: str) -> oracle.Grammar:
    """The grammar that reads a line's tag."""
    tag, _ = oracle.split(line)
    return next(grammar for grammar in GRAMMARS.values() if grammar.owns(tag))


def same(fast: dict[str, Any], fields: dict[str, Any], service: str | None) -> bool:
    """Whether the fast engine yields these fields; it also tells the ID that a reply names, and of some kinds the service."""
    extra = set() if "next_queue_id" in fields else {"next_queue_id"}
    told = {"service": service} if service and "service" in fast else {}
    return {name: value for name, value in fast.items() if name not in extra} == told | fields


def attempt(reply: str) -> str:
    """A line with this reply."""
    return f"postfix/smtp[1]: 4DF8A1: to=<a@b.test>, relay=none, delay=1, status=sent ({reply})"


@every_row
def test_example_matches_its_row_alone_and_yields_its_fields(grammar: oracle.Grammar, row: oracle.Row) -> None:
    found = list(grammar.matches(*place(grammar, row.example)))
    assert [other.source for other, _ in found] == [row.source]
    assert found[0][1] == dict(row.yields)


@every_row
def test_a_row_yields_something_or_is_quiet(grammar: oracle.Grammar, row: oracle.Row) -> None:
    assert bool(row.yields) == (row.kind != "quiet")


@every_forged_line
def test_a_strangers_text_changes_neither_kind_nor_fields(forged: dict[str, Any]) -> None:
    grammar = grammar_of(forged["line"])
    found = grammar.read(*place(grammar, forged["line"]))
    assert found is not None
    assert found[0].kind == forged["kind"]
    right_fields(found[1], forged)


@every_forged_line
def test_the_fast_engine_is_not_misled_either(forged: dict[str, Any]) -> None:
    (found,), counts = read_fast([forged["line"]])
    assert counts["quiet"] == (forged["kind"] == "quiet")
    if forged["kind"] != "quiet":
        assert found is not None
        assert found[0] == forged["kind"]
        right_fields(found[1], forged)


def right_fields(found: dict[str, Any], forged: dict[str, Any]) -> None:
    """Fails where fields are not as the forged line's entry says."""
    fields = forged.get("fields", {})
    assert {name: found.get(name) for name in fields} == fields
    assert [name for name in forged.get("absent", ()) if name in found] == []


@every_reply
def test_replies_name_an_id_or_none(entry: dict[str, str]) -> None:
    found = GRAMMARS["replies"].read(None, entry["reply"])
    assert (found[1].get("next_queue_id") if found else None) == entry.get("next_queue_id")


def test_the_fast_engine_finds_the_same_ids_in_replies() -> None:
    examples = [(row.example, row.yields.get("next_queue_id")) for row in GRAMMARS["replies"].rows]
    examples += [(entry["reply"], entry.get("next_queue_id")) for entry in REPLIES]
    fast, _ = read_fast([attempt(reply) for reply, _ in examples])
    assert [found and found[1].get("next_queue_id") for found in fast] == [named for _, named in examples]


def test_the_fast_engine_reads_every_example_alike() -> None:
    fast, counts = read_fast([row.example for _, row in LOGS])
    quiet = sum(row.kind in ("quiet", "loss") for _, row in LOGS)
    assert counts == {
        "lines": len(LOGS),
        "events": len(LOGS) - quiet,
        "quiet": quiet,
        "unparsed": 0,
        "outside": 0,
        "ahead": 0,
        "copies": 0,
    }
    for (grammar, row), found in zip(LOGS, fast, strict=True):
        agree(row.example, found, (row, dict(row.yields)), grammar.service(oracle.split(row.example)[0]))


@pytest.mark.parametrize(
    "text",
    [
        "4DF8A1: removed from here",
        "4DF8A1: to=<a@b.test>, relay=none",
        "something nobody wrote",
        "NOQUEUE: removed",
        "message-id=<a@b.test>",
    ],
)
def test_what_no_row_knows_is_left_unread(text: str) -> None:
    assert GRAMMARS["postfix"].read("qmgr", text) is None
    assert read_fast([f"postfix/qmgr[1]: {text}"])[1]["unparsed"] == 1


def test_both_engines_agree_on_lines_cut_or_garbled_anywhere() -> None:
    sound = [row.example for _, row in LOGS] + [entry["line"] for entry in LINES]
    lines = [line for example in sound for line in garbled(example)]
    fast, _ = read_fast(lines)
    for line, found in zip(lines, fast, strict=True):
        grammar = grammar_of(line)
        service, text = place(grammar, line)
        agree(line, found, grammar.read(service, text), service)


def garbled(line: str) -> list[str]:
    """The line with its text cut short, and with a sign of the log's own syntax put in, at many places."""
    start = line.index(": ") + 3
    random = Random(line)
    cuts = [line[: random.randrange(start, len(line) + 1)] for _ in range(12)]
    places = [random.randrange(start, len(line) + 1) for _ in range(12)]
    return [text.rstrip() for text in cuts + [line[:at] + random.choice(SIGNS) + line[at:] for at in places]]


def agree(
    line: str,
    fast: tuple[str, dict[str, Any]] | None,
    plain: tuple[oracle.Row, dict[str, Any]] | None,
    service: str | None,
) -> None:
    """Fails where the engines read a line differently; quiet and unread lines yield no event."""
    if plain is None or plain[0].kind == "quiet":
        assert fast is None, (line, fast)
        return
    assert fast is not None, (line, plain)
    assert fast[0] == plain[0].kind, (line, fast, plain)
    assert same(fast[1], plain[1], service), (line, fast, plain)
