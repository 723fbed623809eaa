"""Causes: one for every reply that says something, whatever addresses and hosts it names, and few left unknown."""

from collections import Counter
from functools import lru_cache
from pathlib import Path

import polars as pl
import pytest

from hoptrace.schemas.causes import UNKNOWN, Cause, causes, causes_page
from hoptrace.schemas.fleet import Fleet
from hoptrace.transforms.causes import name_cause
from hoptrace.transforms.grammar import load_grammars
from hoptrace.transforms.parse import Window, parse_chunk
from hoptrace.transforms.read import Chunk, Range
from tests.test_corpora import CORPORA, EXPECT
from tests.test_corpora import lines as postfix_lines
from tests.test_parse import LAB, content, lab_files

PAGE = Path(__file__).resolve().parents[1] / "docs" / "causes.md"
SYNTHETIC = "testsuite"
"""The logs of Exim's own tests: many of their replies mean nothing on purpose ('550 NO', 'rhubarb')."""

needs_logs = pytest.mark.skipif(not EXPECT.is_dir(), reason=f"no public logs at {CORPORA}")
NEAR = 1_767_355_200_000_000
FAR = 1 << 61


@pytest.mark.parametrize("cause", causes(), ids=lambda cause: cause.name)
def test_each_cause_knows_its_own_example(cause: Cause) -> None:
    assert name_cause(None, cause.example) == cause.name


def test_names_and_codes_are_told_once() -> None:
    assert [name for name, n in Counter(cause.name for cause in causes()).items() if n > 1] == []
    assert [code for code, n in Counter(code for cause in causes() for code in cause.dsn).items() if n > 1] == []
    assert UNKNOWN not in {cause.name for cause in causes()}


def test_the_page_is_what_the_vocabulary_is() -> None:
    assert PAGE.read_text("utf-8") == causes_page(), "run: python -m hoptrace.schemas.causes > docs/causes.md"


@pytest.mark.parametrize(
    ("dsn", "reply", "cause"),
    [
        ("5.1.1", "host mx.no-spam.test[192.0.2.1] said: 550 5.1.1 <virus@spam.test>: rejected", "user_unknown"),
        ("5.7.1", "host mx.b.test[192.0.2.1] said: 550 5.7.1 <a@b.test>: User unknown", "user_unknown"),
        ("5.0.0", "host mx.b.test[192.0.2.1] said: 550 5.2.2 sorry (in reply to end of DATA command)", "mailbox_full"),
        ("5.5.1", "Deferred: 421 4.4.5 Too many connections", "rate_limited"),
        ("4.4.1", "connect to spam.b.test[192.0.2.1]:25: Connection timed out", "connection"),
        ("4.2.0", "450 4.2.0 <a@b.test>: Recipient address rejected: try later", "try_later"),
        ("4.4.2", None, "connection"),
        (None, "SMTP error from remote mail server after RCPT TO:<a@b.test>: 550 NO", "recipient_refused"),
        (None, "SMTP error from remote mail server after end of data: 554 NO", "content_refused"),
        (None, "SMTP error from remote mail server after MAIL FROM:<a@b.test>: 550 NO", "from_refused"),
        (None, "552 sorry (in reply to end of DATA command)", "too_large"),
        (None, "Recipient deferred", UNKNOWN),
        (None, None, UNKNOWN),
        ("5.0.0", "", UNKNOWN),
    ],
)  # fmt: skip
def test_words_go_before_codes_and_strangers_words_for_nothing(dsn: str | None, reply: str | None, cause: str) -> None:
    assert name_cause(dsn, reply) == cause


def test_the_stage_and_code_of_a_refusal_are_used_where_the_words_say_nothing() -> None:
    assert name_cause(None, "NO", 550, "RCPT") == "recipient_refused"
    assert name_cause(None, "NO", 450, "RCPT") == "try_later"
    assert name_cause(None, "NO", 550, "END-OF-MESSAGE") == "content_refused"
    assert name_cause(None, "NO", None, "RCPT") == UNKNOWN


@lru_cache(maxsize=1)
def judged() -> pl.DataFrame:
    """Every distinct reply to what was not delivered in the logs, its source (public, synthetic, lab) and cause."""
    bare = "".join(f"Jan  2 03:04:05 mx01 {tag}[1]: {text}\n" for _, tag, text in postfix_lines())
    logs = [("public", bare.encode())]
    for path in sorted(CORPORA.glob("*.log")):
        logs.append((SYNTHETIC if SYNTHETIC in path.name else "public", path.read_bytes()))
    logs += [("lab", content(path)) for _, path in (lab_files() if LAB.is_dir() else ())]
    texts = pl.concat(failures(data).with_columns(source=pl.lit(source)) for source, data in logs)
    texts = texts.unique(["dsn", "reply", "code", "stage", "source"], maintain_order=True)
    told = [name_cause(*row[:4]) for row in texts.iter_rows()]
    return texts.with_columns(cause=pl.Series(told, dtype=pl.String))


def failures(data: bytes) -> pl.DataFrame:
    """dsn, reply, code, stage of the failed attempts and refusals in a log."""
    data = data.rstrip(b"\n") + b"\n"
    whole = Range("mx01/mail.log", 0, None, len(data), 0, "mx01", True, True)
    events = parse_chunk(Chunk(data, 0), whole, load_grammars(), Fleet(), Window(-FAR, FAR, NEAR)).events
    tried = pl.col("kind").is_in(["attempt", "door", "refuse"])
    failed = tried & ~pl.col("status").is_in(["sent", "discarded"]).fill_null(False)
    refused = ~pl.col("action").is_in(["filter", "redirect", "hold", "warn", "discard"]).fill_null(False)
    return events.filter(failed & refused & pl.col("reply").is_not_null()).select("dsn", "reply", "code", "stage")


@needs_logs
@pytest.mark.parametrize(("source", "at_most"), [("public", 0.03), ("lab", 0.01), (SYNTHETIC, 0.15)])
def test_few_replies_of_real_logs_are_unknown(source: str, at_most: float) -> None:
    rows = judged().filter(pl.col("source") == source)
    unknown = rows.filter(pl.col("cause") == UNKNOWN)
    print(f"{source}: {unknown.height} of {rows.height} distinct replies are unknown", *unknown["reply"], sep="\n")
    assert unknown.height <= at_most * rows.height


@needs_logs
def test_no_cause_swallows_the_rest() -> None:
    real = judged().filter(source="public")
    assert real.height > 70
    assert real["cause"].n_unique() > 15
    assert max(Counter(real["cause"].to_list()).values()) < 0.3 * real.height
