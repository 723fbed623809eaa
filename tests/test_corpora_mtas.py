"""Public logs of Exim, Sendmail and OpenSMTPD, kept outside the project: every line is read, or known to be quiet."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from hoptrace.schemas.fleet import Fleet
from hoptrace.transforms.cut import cut_heads
from hoptrace.transforms.grammar import load_grammars
from hoptrace.transforms.parse import Parsed, Window, parse_chunk
from hoptrace.transforms.read import Chunk, Range
from hoptrace.transforms.tags import read_tags
from tests import oracle
from tests.test_grammar import same

CORPORA = Path(__file__).parents[2] / "shared" / "corpora"
EXPECT = CORPORA / "expect"
pytestmark = pytest.mark.skipif(not EXPECT.is_dir(), reason=f"no public logs at {CORPORA}")

PROGRAMS = ("exim", "sendmail", "opensmtpd")
FILES = sorted(path for program in (*PROGRAMS, "mixed") for path in CORPORA.glob(f"{program}__*.log"))
EVER = Window(-(10**18), 10**18, 1_767_355_200_000_000)
STAMP = "2026-01-02T03:04:05Z mx01 "
BARE = re.compile(r"(?:sendmail|sm-\w[\w-]*)\[\d+\]: ")
AT_MOST_UNREAD = 0.005
ABOUT_THE_LINE = ("stamp", "host", "place", "instance", "pid", "repeat", "kind")

NOT_THEIRS = {
    "exim__Exim__exim__testsuite-log.log": (
        re.compile(r"(?!\d{4}-\d\d-\d\d )"),
        "what a test's own SMTP server printed, and notes of the test suite, among Exim's lines",
    ),
    "exim__Exim__exim__testsuite-rejectlog.log": (
        re.compile(r"\*\*\* truncated \*\*\*|F From +"),
        "the end of a message's header that was dumped, and a header without a colon",
    ),
    "exim__fail2ban__fail2ban__exim.log": (re.compile(r"mail\.example\.com exim"), "its head has no stamp"),
    "sendmail__wazuh__wazuh-ruleset__decodercomments-sendmail_decoders.log": (re.compile("smf-sav"), "a milter's"),
    "mixed__wazuh__wazuh-ruleset__logentries-mail-alerts.log": (re.compile(r"(?!\S+\[\d+\]: )"), "an alert's words"),
    "mixed__wazuh__wazuh-ruleset__logentries-mail-errors.log": (re.compile(""), "an alert's words, and other programs"),
}
"""Unread lines that are not these programs' own: file -> (how they begin, what they are)."""


def lines(path: Path) -> list[str]:
    """The lines of a file; one that begins with its program's name gets a stamp and a host before it."""
    text = path.read_bytes().decode("utf-8", "backslashreplace").removesuffix("\n")
    return [STAMP + line if BARE.match(line) else line for line in text.split("\n")]


def parse(some: list[str]) -> Parsed:
    data = "".join(line + "\n" for line in some).encode()
    return parse_chunk(
        Chunk(data, 0), Range("a.log", 0, None, len(data), 0, "mx01", True, True), load_grammars(), Fleet(), EVER
    )


@lru_cache(maxsize=8)
def fates(path: Path) -> dict[str, tuple[int, bool]]:
    """Distinct line -> (how often, read or quiet)."""
    times = Counter(lines(path))
    some = list(times)
    strange = set(unread(some))
    return {line: (times[line], line not in strange) for line in some}


def unread(some: list[str]) -> Iterator[str]:
    """Those of the lines that no row reads."""
    if parse(some).counts["unparsed"]:
        half = len(some) // 2
        yield from (*unread(some[:half]), *unread(some[half:])) if half else some


@pytest.mark.parametrize("path", FILES, ids=[path.name for path in FILES])
def test_every_line_is_read_or_known_to_be_quiet(path: Path) -> None:
    foreign, _ = NOT_THEIRS.get(path.name, (None, ""))
    theirs = {line: fate for line, fate in fates(path).items() if not (foreign and foreign.match(line))}
    missed = {line: times for line, (times, read) in theirs.items() if not read}
    print(*missed, sep="\n")
    assert sum(missed.values()) <= AT_MOST_UNREAD * sum(times for times, _ in theirs.values())


@pytest.mark.parametrize("path", FILES, ids=[path.name for path in FILES])
def test_both_engines_agree(path: Path) -> None:
    some = list(dict.fromkeys(lines(path)))
    data = "".join(line + "\n" for line in some).encode()
    heads = cut_heads(data)
    grammars = load_grammars()
    tags = read_tags(heads.tags, grammars)
    found: dict[int, tuple[str, dict[str, Any]]] = {}
    for event in parse(some).events.iter_rows(named=True):
        fields = {name: value for name, value in event.items() if value is not None and name not in ABOUT_THE_LINE}
        if event["repeat"] == 0:
            fields["repeat"] = 0
        before = found.get(event["place"])
        if before:
            fields["recipients"] = [*before[1].get("recipients", [before[1].get("recipient")]), fields.pop("recipient")]
        found[event["place"]] = (event["kind"], fields)
    plain = {program: oracle.load(program) for program in PROGRAMS}
    for start, text, end, tag in zip(heads.starts, heads.texts, heads.text_ends, heads.tag, strict=True):
        number = tags[tag].program
        if number < 0 or grammars.programs[number].name not in PROGRAMS:
            continue
        wanted = plain[grammars.programs[number].name].read(None, data[text:end].decode())
        fast = found.get(int(start))
        if wanted is None or wanted[0].kind == "quiet":
            assert fast is None, data[text:end]
        else:
            assert fast is not None, data[text:end]
            assert (fast[0], same(fast[1], wanted[1], None)) == (wanted[0].kind, True), (data[text:end], fast, wanted)


def records(pattern: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """(line, expected) of the files of expectations whose names match."""
    for path in sorted(EXPECT.glob(pattern)):
        for record in map(json.loads, path.read_text(encoding="utf-8").splitlines()):
            if isinstance(record.get("expect"), dict):
                yield record["line"].rstrip(), record["expect"]


NAMES = {
    "source_ip": "client_ip",
    "source_dns": "client_name",
    "source_helo": "helo",
    "source_user": "sender",
    "target_user": "recipient",
    "host": "client_ip",
}


@pytest.mark.parametrize(
    ("pattern", "at_least"), [("exim__crowdsecurity*", 30), ("exim__fail2ban*", 9), ("sendmail__fail2ban*", 23)]
)
def test_fields_agree_with_what_others_read(pattern: str, at_least: int) -> None:
    compared, wrong = 0, []
    for line, expect in records(pattern):
        events = parse([line]).events
        for name, value in expect.items():
            if events.height and name in NAMES and value and expect.get("match", True):
                compared += 1
                if events[NAMES[name]][0] != value:
                    wrong.append((NAMES[name], value, events[NAMES[name]][0], line))
    print(*wrong, sep="\n")
    assert wrong == []
    assert compared >= at_least


def test_exims_own_hand_overs_are_named() -> None:
    events = parse(lines(CORPORA / "exim__Exim__exim__testsuite-log.log")).events
    named = events.filter(events["next_queue_id"].is_not_null())
    assert named.height > 1000
    assert set(named["next_queue_id"].str.len_chars()) <= {16, 23}
