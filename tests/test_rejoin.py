"""Lines in parts and lines that came again, through chunks and ranges of any size."""

import gzip
import itertools
from collections import Counter
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoptrace.schemas.fleet import Fleet
from hoptrace.transforms.following import NEAR_BYTES, with_following
from hoptrace.transforms.grammar import load_grammars
from hoptrace.transforms.parse import Parsed, Window, parse_chunk
from hoptrace.transforms.read import Chunk, Range, read_chunks

GRAMMARS = load_grammars()
NEAR = 1_767_323_000_000_000  # 2026-01-02
EVER = Window(0, 2 * NEAR, NEAR)
OWN = "2026-01-02 03:04:05 "
MAX_SYSLOG_LEN = 870  # src/log.c
LONG = "1vbUDm-0007Py-0o <= a@far.test H=mx.far.test [10.77.1.20] P=esmtp S=1314 id=x@far.test for " + " ".join(
    f"recipient{n}@klub.test" for n in range(60)
)
HANDED = (
    '1vbUDm-0007Py-0o => b@far.test R=dnslookup T=remote_smtp H=mx.far.test [10.77.1.20] C="250 2.0.0 '
    + ("x" * 900)
    + ' Ok: queued as 4dj3Kx0yD5zCwD" QT=1m'
)
REJECTED = (
    "1vbUDm-0007Py-0p H=mx.far.test [10.77.1.20] F=<a@far.test> rejected after DATA: no\n"
    "Envelope-from: <a@far.test>\nEnvelope-to: <b@klub.test>\nP Received: from mx.far.test => x@y.test"
)


def write_syslog(text: str, limit: int = MAX_SYSLOG_LEN) -> list[str]:
    """The lines that write_syslog() of Exim's src/log.c makes of a text."""
    parts = []
    while text:
        cut = text.find("\n")
        size = min(limit, cut if cut >= 0 else len(text))
        more = size < len(text) and text[size] == "\n"
        parts.append((text[:size], "\\" if more and size + 1 < len(text) else "/"))
        text = text[size + more :]
    if len(parts) == 1:
        return [parts[0][0]]
    return [f"[{n}{sign}{len(parts)}] {part}" for n, (part, sign) in enumerate(parts, 1)]


def logged(text: str, pid: int = 7, head: str = "Jan  2 03:04:05 mx01 exim[{}]: ") -> list[str]:
    return [head.format(pid) + line for line in write_syslog(text)]


def read(path: Path, chunk_bytes: int = 1 << 20, cuts: tuple[int, ...] = ()) -> list[Parsed]:
    """What a file says, read in chunks of this size and ranges cut at these bytes."""
    size = path.stat().st_size
    edges = sorted({0, size, *(cut for cut in cuts if 0 < cut < size)})
    parsed = []
    for start, end in itertools.pairwise(edges):
        r = Range(str(path), start, end, size, 0, "mx01", start == 0, end == size)
        for chunk in with_following(r, read_chunks(r, chunk_bytes)):
            if isinstance(chunk, Chunk):
                parsed.append(parse_chunk(chunk, r, GRAMMARS, Fleet(), EVER))
    return parsed


def told(parts: list[Parsed]) -> tuple[list[tuple[object, ...]], Counter[str], list[tuple[object, ...]]]:
    events = pl.concat([part.events for part in parts]).sort("place")
    counts = sum((Counter(part.counts) for part in parts), Counter())
    unparsed = pl.concat([part.unparsed for part in parts]).group_by("program", "template").agg(pl.col("lines").sum())
    return events.rows(), counts, sorted(unparsed.rows())


def events_of(lines: list[str], tmp_path: Path) -> pl.DataFrame:
    path = tmp_path / "mail.log"
    path.write_text("".join(line + "\n" for line in lines))
    return pl.concat([part.events for part in read(path)])


@pytest.mark.parametrize("own", ["", OWN, "2026-01-02 03:04:05.123 +0100 ", OWN + "[7] "])
@pytest.mark.parametrize(
    "head",
    ["Jan  2 03:04:05 mx01 exim[{}]: ", "Jan  2 03:04:05 mx01 exim: ", "<22>1 2026-01-02T03:04:05Z mx01 exim {} - - "],
)
def test_a_line_in_parts_says_what_the_whole_line_says(own: str, head: str, tmp_path: Path) -> None:
    for text in (LONG, HANDED, REJECTED):
        first = text.split("\n")[0]
        whole = events_of([head.format(7) + own + first], tmp_path)
        parts = logged(own + text, head=head)
        assert len(parts) > 1
        assert events_of(parts, tmp_path).equals(whole.with_columns(place=whole["place"]))
        assert whole.height == 1


def test_parts_of_several_processes_may_be_mixed(tmp_path: Path) -> None:
    one, two = logged(LONG, 7), logged(HANDED, 8)
    mixed = [line for pair in zip(one, ["Jan  2 03:04:05 mx01 sshd[1]: x"] * 9, two) for line in pair]
    events = events_of(mixed, tmp_path)
    assert events["kind"].to_list() == ["arrive", "attempt"]
    assert events["next_queue_id"].to_list() == [None, "4dj3Kx0yD5zCwD"]


def test_a_part_without_its_first_says_nothing(tmp_path: Path) -> None:
    path = tmp_path / "mail.log"
    path.write_text("".join(line + "\n" for line in logged(HANDED)[1:]))
    (parsed,) = read(path)
    assert parsed.events.height == 0
    assert parsed.counts["quiet"] == parsed.counts["lines"]


def test_a_first_part_whose_next_is_lost_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    events = events_of([*logged(HANDED)[:1], *logged(LONG)], tmp_path)
    assert events["kind"].to_list() == ["attempt", "arrive"]
    assert events["next_queue_id"].to_list() == [None, None]


def test_parts_too_far_from_each_other_are_not_joined(tmp_path: Path) -> None:
    one, two = logged(HANDED)
    between = ["Jan  2 03:04:05 mx01 sshd[1]: " + "x" * 470] * (NEAR_BYTES // 500 + 1)
    assert events_of([one, two], tmp_path)["next_queue_id"].to_list() == ["4dj3Kx0yD5zCwD"]
    assert events_of([one, *between, two], tmp_path)["next_queue_id"].to_list() == [None]


AGAIN = "Jan  2 03:04:09 mx01 last message repeated 2 times"
REFUSED = (
    "Jan  2 03:04:05 mx01 postfix/smtpd[9]: NOQUEUE: reject: RCPT from mx.far.test[10.77.1.20]: 450 4.2.0 <b@klub.test>: "
    "Recipient address rejected: Greylisted; from=<a@far.test> to=<b@klub.test> proto=ESMTP helo=<mx.far.test>"
)


@pytest.mark.parametrize(
    ("lines", "repeats", "quiet"),
    [
        ([REFUSED, AGAIN], [3], 1),
        ([REFUSED, AGAIN, AGAIN], [5], 2),
        ([REFUSED, "Jan  2 03:04:06 mx02 sshd[1]: x", AGAIN], [3], 2),
        ([REFUSED, "Jan  2 03:04:06 mx01 sshd[1]: x", AGAIN], [1], 2),
        ([REFUSED, AGAIN, REFUSED], [3, 1], 1),
        ([AGAIN, REFUSED], [1], 1),
        ([REFUSED, "Jan  2 03:04:09 mx01 --- last message repeated 1 time ---"], [2], 1),
        ([REFUSED, "Jan  2 03:04:09 mx01 cron[3]: last message repeated 2 times"], [1], 1),
        ([*logged(HANDED), AGAIN], [1], 2),
    ],
)
def test_a_line_that_came_again(lines: list[str], repeats: list[int], quiet: int, tmp_path: Path) -> None:
    path = tmp_path / "mail.log"
    path.write_text("".join(line + "\n" for line in lines))
    (parsed,) = read(path)
    assert parsed.events["repeat"].fill_null(1).to_list() == repeats
    assert (parsed.counts["quiet"], parsed.counts["unparsed"]) == (quiet, 0)


LINES = [
    *(logged(text, pid) for text in (LONG, HANDED, REJECTED, OWN + HANDED) for pid in (7, 8)),
    [AGAIN],
    [AGAIN.replace("mx01", "mx02")],
    [REFUSED],
    [REFUSED.replace("mx01", "mx02")],
    ["Jan  2 03:04:05 mx01 sshd[1]: \xe6\xf8\xe5"],
    ["Jan  2 03:04:05 mx01 exim[7]: [1/2] cut off"],
    ["Jan  2 03:04:05 mx01 exim[7]: [3/4] => lost"],
]


@settings(deadline=None, max_examples=150)
@given(st.lists(st.sampled_from(LINES), max_size=12), st.integers(1, 3000), st.lists(st.integers(0, 9000), max_size=4))
def test_any_chunks_and_ranges_say_the_same(
    tmp_path_factory: pytest.TempPathFactory, lines: list[list[str]], chunk_bytes: int, cuts: list[int]
) -> None:
    path = tmp_path_factory.mktemp("log") / "mail.log"
    path.write_bytes("".join(line + "\n" for some in lines for line in some).encode("latin-1"))
    if path.stat().st_size:
        assert told(read(path, chunk_bytes, tuple(cuts))) == told(read(path))


def test_a_compressed_file_says_the_same(tmp_path: Path) -> None:
    text = "".join(line + "\n" for some in LINES for line in some).encode("latin-1")
    plain, packed = tmp_path / "mail.log", tmp_path / "mail.log.gz"
    plain.write_bytes(text)
    packed.write_bytes(gzip.compress(text))
    r = Range(str(packed), 0, None, packed.stat().st_size, 0, "mx01", True, True)
    chunks = [chunk for chunk in with_following(r, read_chunks(r, 500)) if isinstance(chunk, Chunk)]
    assert len(chunks) > 5
    assert told([parse_chunk(chunk, r, GRAMMARS, Fleet(), EVER) for chunk in chunks]) == told(read(plain))
