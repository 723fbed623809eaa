"""Public mail logs, kept outside the project: every line of a filter or a mail store is read, or known to be quiet."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import pytest

from tests import oracle
from tests.engines import read_fast
from tests.test_corpora import AT_MOST_UNREAD, BODIES, CORPORA, EXPECT, HEADER_5424, records, unwrapped

pytestmark = pytest.mark.skipif(not EXPECT.is_dir(), reason=f"no public logs at {CORPORA}")

PROGRAMS = ("amavis", "cyrus", "dovecot", "mailscanner", "milters", "pmg", "postgrey", "rspamd", "spamassassin")
HEADER = re.compile(
    r"^(?:<\d+>)?(?:[A-Z][a-z]{2} [ \d]?\d [\d:]{8}(?:\.\d+)?|\d{4}-\d\d-\d\dT\S+) (?:(?P<host>[^\s:\[]+) )?"
    r"(?P<tag>[^\s\[:]+)(?:\[\d+\])?: (?P<text>.*)"
)


@lru_cache(maxsize=1)
def grammars() -> tuple[oracle.Grammar, ...]:
    return tuple(oracle.load(name) for name in PROGRAMS)


def owner(tag: str) -> oracle.Grammar | None:
    return next((grammar for grammar in grammars() if grammar.owns(tag)), None)


@lru_cache(maxsize=1)
def lines() -> list[tuple[str, str, str]]:
    """(file, tag, text) of every line of these programs."""
    return [(file, tag, text) for file, tag, text in _lines() if owner(tag)]


def _lines() -> Iterator[tuple[str, str, str]]:
    for path in sorted(CORPORA.glob("*.log")):
        for line in path.read_bytes().decode("utf-8", "backslashreplace").split("\n"):
            found = HEADER_5424.fullmatch(line.rstrip()) or HEADER.match(line.rstrip())
            if found:
                yield path.name, found["tag"], unwrapped(found["text"])
    for path in sorted(EXPECT.glob("*.jsonl")):
        for record in records(path.name) if any(word in path.name for word in BODIES) else ():
            yield path.name, record.get("program") or "", str(record.get("line", "")).rstrip()


def read(tag: str, text: str) -> tuple[str, dict[str, Any]] | None:
    grammar = owner(tag)
    found = grammar.read(grammar.service(tag), text) if grammar else None
    return (found[0].kind, found[1]) if found else None


def test_every_line_is_read_or_known_to_be_quiet() -> None:
    unread = [(file, tag, text) for file, tag, text in lines() if read(tag, text) is None]
    print(*unread, sep="\n")
    assert len(lines()) > 3000
    assert len(unread) <= AT_MOST_UNREAD * len(lines())
    programs = Counter(grammar.program for _, tag, _ in lines() if (grammar := owner(tag)))
    short = Counter(grammar.program for _, tag, _ in unread if (grammar := owner(tag)))
    assert [name for name, count in short.items() if count > AT_MOST_UNREAD * programs[name]] == []


def test_no_verdict_is_taken_for_chatter() -> None:
    telling = re.compile(
        r"\b(?:Passed|Blocked) [A-Z-]+.*Queue-ID: |rspamd_task_write_log|result: [Y.] |msgid=.*: (?:stored|saved) mail"
        r"|save: box=|\bexpunge: box=|Delivered: <|\bis (?:not )?spam\b.*SpamAssassin"
    )
    quiet = [text for _, tag, text in lines() if telling.search(text) and (read(tag, text) or ("",))[0] == "quiet"]
    assert quiet == []
    assert sum(bool(telling.search(text)) for _, _, text in lines()) > 200


def test_one_row_matches() -> None:
    twice = []
    for _, tag, text in lines():
        grammar = owner(tag)
        if grammar and len(list(grammar.matches(grammar.service(tag), text))) > 1:
            twice.append((tag, text))
    assert twice == []


def test_the_fast_engine_reads_them_alike() -> None:
    fast, counts = read_fast([f"{tag}[1]: {text}" for _, tag, text in lines()])
    expected = [read(tag, text) for _, tag, text in lines()]
    assert counts["unparsed"] == expected.count(None)
    for (_, tag, text), found, wanted in zip(lines(), fast, expected, strict=True):
        if wanted is None or wanted[0] == "quiet":
            assert found is None, text
            continue
        assert found is not None, text
        assert found[0] == wanted[0], text
        extra = {"service", "next_queue_id"} - set(wanted[1])
        assert {k: v for k, v in found[1].items() if k not in extra} == wanted[1], (tag, text)


def test_amavis_names_both_queue_ids_and_the_verdict() -> None:
    verdicts = [found[1] for _, tag, text in lines() if tag == "amavis" and (found := read(tag, text))]
    linked = [fields for fields in verdicts if "queue_id" in fields and "next_queue_id" in fields]
    assert len(linked) > 100
    assert {fields["action"] for fields in linked} == {"clean"}
    assert all(fields["sender"] is not None and ("recipient" in fields or fields["recipients"]) for fields in linked)


NAMES = {
    "from_email": "sender",
    "message_id": "queue_id",
    "source_ip": "client_ip",
    "cyrus.deliver.email": "message_id",
    "dovecot_user": "user",
    "dovecot_remote_ip": "client_ip",
}


def expectations() -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """(tag, text, expected fields) of the records of projects that read these lines to fields."""
    for path in sorted(EXPECT.glob("*.jsonl")):
        if path.name.startswith(("cyrus", "mailscanner", "dovecot")):
            for record in records(path.name):
                found = HEADER.match(record["line"].rstrip())
                expect = record.get("expect")
                if isinstance(expect, dict) and record.get("program"):
                    yield record["program"], record["line"].rstrip(), expect
                elif isinstance(expect, dict) and found:
                    yield found["tag"], found["text"], expect


def test_fields_agree_with_what_others_read() -> None:
    compared, wrong = 0, []
    for tag, text, expect in expectations():
        found = read(tag, text)
        if found is None or found[0] == "quiet":
            continue
        for name, value in expect.items():
            if name in NAMES:
                compared += 1
                if str(found[1].get(NAMES[name])) != str(value):
                    wrong.append((name, value, found[1].get(NAMES[name]), text))
            elif name in ("spam_score", "spam_reason"):
                compared += 1
                assert str(value).rstrip("0") in found[1]["reply"], text
            elif name == "cyrus.deliver.user":
                compared += 1
                assert found[1]["folder"] == f"{expect['cyrus.deliver.domain']}!{value}"
    assert wrong == []
    assert compared >= 14


def test_logins_that_others_call_failures_are_no_sessions_here() -> None:
    failed = [
        (tag, text)
        for tag, text, expect in expectations()
        if "auth failed" in str(expect.get("dovecot_login_message")) or expect.get("match") is True
    ]
    assert len(failed) > 40
    assert [text for tag, text in failed if (read(tag, text) or ("quiet",))[0] != "quiet"] == []
