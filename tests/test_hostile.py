"""Broken and hostile log: no crash, no line unaccounted for, the same whatever the chunks, and time linear in what is read."""

import json
import time
from pathlib import Path
from random import Random
from typing import Any

import polars as pl
import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from hoptrace.pipeline.printing import UNSAFE, line, render, show_json, table, title, verbatim
from hoptrace.schemas.causes import causes
from hoptrace.schemas.fleet import Fleet
from hoptrace.schemas.toml import read_toml
from hoptrace.transforms.causes import CODE, STAGE, STRANGERS, name_cause
from hoptrace.transforms.following import with_following
from hoptrace.transforms.grammar import load_grammars
from hoptrace.transforms.losses import LOSS, UNIT
from hoptrace.transforms.match import LONGEST_FOR_REGEX
from hoptrace.transforms.parse import Parsed, Window, parse_chunk, sum_coverage
from hoptrace.transforms.read import Chunk, FileReport, Range, read_chunks
from hoptrace.transforms.replies import mask_reply
from hoptrace.transforms.tags import DOVECOT, MAIL
from tests import oracle
from tests.hostile import EXAMPLES, HEADS, SIGNS, mutate, stretch, write_log

NOON = 1_767_355_200_000_000
WINDOW = Window(0, 2 * NOON, NOON)
GRAMMARS = load_grammars()
SLACK = 3
SHORT_S = 0.05
"""What takes less is not judged: a busy machine adds as much."""


def place(path: Path | str, size: int) -> Range:
    return Range(str(path), 0, size, size, 0, "mx01", True, True)


def parse(data: bytes) -> Parsed:
    return parse_chunk(Chunk(data, 0), place("log", len(data)), GRAMMARS, Fleet(), WINDOW)


def read(path: Path, chunk_bytes: int) -> tuple[pl.DataFrame, pl.DataFrame, dict[str, int]]:
    """Events in the order of their lines, coverage and counts of a file, read in chunks of this size."""
    r = place(path, path.stat().st_size)
    parts: list[Parsed] = []
    for piece in with_following(r, read_chunks(r, chunk_bytes)):
        if isinstance(piece, FileReport):
            assert piece.error is None
            assert piece.lines == sum(part.counts["lines"] for part in parts)
        else:
            parts.append(parse_chunk(piece, r, GRAMMARS, Fleet(), WINDOW))
    counts = {name: sum(part.counts[name] for part in parts) for name in (parts[0].counts if parts else ())}
    events = pl.concat([part.events for part in parts]) if parts else pl.DataFrame()
    return events, sum_coverage([part.coverage for part in parts]) if parts else pl.DataFrame(), counts


def check_log(path: Path, data: bytes, chunk_bytes: int) -> None:
    """Fails where a line is not accounted for, or where the size of chunks matters."""
    path.write_bytes(data)
    events, coverage, counts = read(path, 1 << 24)
    if not counts:
        assert not data
        return
    assert counts["lines"] == data.count(b"\n") + (not data.endswith(b"\n"))
    assert counts["lines"] == counts["events"] + counts["quiet"] + counts["unparsed"] + counts["outside"]
    assert events.filter(pl.col("kind") != LOSS)["place"].n_unique() == counts["events"]
    other_events, other_coverage, other_counts = read(path, chunk_bytes)
    assert other_counts == counts
    assert_frame_equal(other_events, events)
    assert_frame_equal(other_coverage, coverage)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 1 << 32), st.integers(1, 40), st.sampled_from([1, 300, 5_000]), st.sampled_from([40, 400, 9_000]))
def test_mutated_log(
    tmp_path_factory: pytest.TempPathFactory, seed: int, lines: int, chunk_bytes: int, longest: int
) -> None:
    check_log(tmp_path_factory.getbasetemp() / "hostile.log", write_log(Random(seed), lines, longest), chunk_bytes)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.one_of(st.binary(max_size=30), st.sampled_from([*HEADS, *SIGNS]), st.sampled_from(EXAMPLES)), max_size=12
    )
)
def test_any_bytes(tmp_path_factory: pytest.TempPathFactory, parts: list[bytes]) -> None:
    check_log(tmp_path_factory.getbasetemp() / "bytes.log", b"".join(parts), 64)


def test_every_example_mutated(tmp_path: Path) -> None:
    random = Random(7)
    data = b"".join(HEADS[0] + mutate(line, random) + b"\n" for line in EXAMPLES for _ in range(4))
    check_log(tmp_path / "log", data, 10_000)


def took(call: Any, *args: Any) -> float:
    """The shortest of three times, in seconds."""
    times = []
    for _ in range(3):
        began = time.perf_counter()
        call(*args)
        times.append(time.perf_counter() - began)
    return min(times)


def test_time_is_linear_in_the_length_of_a_line() -> None:
    """Each example stretched at three places; were one line's time quadratic, it alone would exceed all others' together."""

    def log(size: int) -> bytes:
        random = Random(11)
        return b"".join(HEADS[0] + stretch(line, size, random) + b"\n" for line in EXAMPLES for _ in range(3))

    parse(log(10))
    short, long = (took(parse, log(size)) for size in (5_000, 40_000))
    assert long < 8 * SLACK * max(short, SHORT_S)


@pytest.mark.parametrize(
    "line",
    [
        "h{n}.x postfix/qmgr[1]: 4ddwjK3DcKzY0: removed",
        "mx t{n}[1]: x",
        "mx postfix-{n}/qmgr[1]: 4ddwjK3DcKzY0: removed",
        "mx postfix/a{n}[1]: 4ddwjK3DcKzY0: removed",
        "mx postfix/qmgr[{n}]: 4ddwjK3D{n}: removed",
        "mx haraka[1]: an a{n}b of its own",
    ],
)
def test_time_is_linear_in_the_number_of_distinct_values(line: str) -> None:
    def log(lines: int) -> bytes:
        stamp = "2026-01-02T03:04:05.000006+00:00 "
        return "".join(f"{stamp}{line.format(n=n)}\n" for n in range(lines)).encode()

    short, long = (took(parse, log(lines)) for lines in (5_000, 40_000))
    assert long < 8 * SLACK * max(short, SHORT_S)


def pattern_rows() -> list[tuple[str, "regex.Pattern[bytes]", bytes]]:
    """(name, pattern, text that it matches) of each row that is a regular expression."""
    out = []
    for path in sorted(oracle.GRAMMARS.glob("*.toml")):
        content = read_toml(path.read_bytes())
        begins = content.get("begins", "{queue_id}: ")
        for number, row in enumerate(content["row"], 1):
            if "regex" not in row:
                continue
            text = row["example"].split(": ", 1)[1] if "tags" in content else row["example"]
            if row["starts"].startswith(begins):
                text = text.split(begins.partition("}")[2], 1)[1]
            pattern = regex.compile(row["regex"].encode(), regex.DOTALL | regex.VERSION1)
            out.append((f"{path.stem}-{number}", pattern, text.encode()))
    return out


PATTERNS = pattern_rows()


@pytest.mark.parametrize(("pattern", "text"), [row[1:] for row in PATTERNS], ids=[row[0] for row in PATTERNS])
def test_no_pattern_goes_back_without_bound(pattern: "regex.Pattern[bytes]", text: bytes) -> None:
    """At eight times the length it takes no more than the square; none reads more than LONGEST_FOR_REGEX."""
    random = Random(text)
    for _ in range(6):
        i = random.randrange(len(text))
        piece = text[i : i + random.choice((1, 2, 4, 8, 20))]
        tail = random.choice((text[i + len(piece) :], b"", b"\0"))
        short, long = (
            took(pattern.fullmatch, text[:i] + piece * (size // len(piece)) + tail)
            for size in (LONGEST_FOR_REGEX // 8, LONGEST_FOR_REGEX)
        )
        assert long < max(64 * SLACK * short, SHORT_S), (piece, tail)


def test_a_regular_expression_reads_no_longer_text_than_syslog_carries() -> None:
    start = b"postfix/cleanup[1]: 4ddwjK3DcKzY0: discard: header Subject: "
    end = b" from far.test[192.0.2.9]; from=<a@b.test> to=<c@d.test> proto=ESMTP helo=<far.test>: spam"
    room = LONGEST_FOR_REGEX - len(start + end) + len(b"postfix/cleanup[1]: ")
    lines = [HEADS[0] + start + b"x" * size + end + b"\n" for size in (10, room, room + 1)]
    found = [parse(line).counts["events"] for line in lines]
    assert found == [1, 1, 0]
    assert parse(lines[2]).counts["unparsed"] == 1


def test_no_cause_goes_back_without_bound() -> None:
    """Replies are judged by their first 500 characters, so what a stranger repeats is bounded; here it must be quick too."""
    pieces = {
        piece
        for cause in causes()
        for pattern in (cause.words, cause.hints)
        if pattern
        for piece in regex.split(r"[|(){}\[\]?*+^$\\]+", pattern.pattern)
        if len(piece) > 2
    }
    pieces |= {"a.", "a@", "<", "[", "host a ", "4.4.4.", "0a-", " ", "in reply to ", "450 4.4.4"}
    replies = pl.DataFrame({"reply": [piece * 2000 for piece in sorted(pieces)]}).select(mask_reply(pl.col("reply")))
    for reply in replies["reply"]:
        assert len(reply) <= 500
        assert took(name_cause, None, reply) < 10 * SHORT_S, reply[:40]
    for pattern in (STRANGERS, CODE, STAGE, MAIL, DOVECOT, UNIT):
        for piece in sorted(pieces):
            assert took(lambda pattern=pattern, piece=piece: list(pattern.finditer(piece * 60))) < SHORT_S * 4


STEERING = (
    "\x1b[2J",
    "\x1b]0;t\x07",
    "\r",
    "\n",
    "\0",
    "\x9b1m",
    "\u202e",
    "\u2066",
    "\u200b",
    "\xad",
    "\u061c",
    "\ufeff",
    "\U000e0041",
)


@pytest.mark.parametrize("sign", STEERING, ids=ascii)
def test_nothing_that_a_stranger_wrote_steers_a_terminal(sign: str) -> None:
    said = f"a{sign}b"
    rows = [(said, f"[bold]{said}[/bold]"), ("=1+1", ":smile:")]
    page = render([title(said), line(said, said, indent=2), table(["one", "two"], rows, wide=["two"]), verbatim(said)])
    assert not UNSAFE.search(page.replace("\n", ""))
    assert page.count("\n") == render(
        [title("ab"), line("ab", indent=2), table(["one"], [["ab"], ["x"]]), verbatim("ab")]
    ).count("\n")
    assert "[/bold]" in page
    assert ":smile:" in page


def test_json_is_ascii(capsys: pytest.CaptureFixture[str]) -> None:
    show_json([f"a{sign}b" for sign in STEERING])
    out = capsys.readouterr().out
    assert out.isascii()
    assert not UNSAFE.search(out.replace("\n", "").replace("\x7f", ""))
    assert json.loads(out) == [f"a{sign}b" for sign in STEERING]
