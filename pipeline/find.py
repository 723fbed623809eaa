"""`hoptrace find`: the messages that a question is about, with every stay on their way."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

import polars as pl

from hoptrace.pipeline.keys import way_of, written
from hoptrace.pipeline.mailbox import add_mailbox
from hoptrace.pipeline.store import Night, Store
from hoptrace.schemas.errors import HoptraceError
from hoptrace.transforms.pseudonyms import PSEUDONYM, Pseudonyms

Row = dict[str, Any]


@dataclass(frozen=True)
class Question:
    """What is asked: parts of addresses (any case; '<>' is the null sender), a time, a whole ID, a whole IP address."""

    sender: str | None = None
    recipient: str | None = None
    at: datetime | None = None
    within: timedelta = timedelta(hours=12)
    message_id: str | None = None
    queue_id: str | None = None
    ip: str | None = None
    day: str | None = None
    limit: int = 20


@dataclass(frozen=True)
class Answer:
    """Rows of `deliveries` and `open`, notices about them, and how many rows there were.

    A row's `table` says which it is of, its `mailbox` what later happened to the message there (see `add_mailbox`).
    """

    rows: list[Row]
    notices: list[Row]
    found: int


def find(store: Store, question: Question) -> Answer:
    """The rows that fit all of `question`, oldest first; with a time, the nearest to it are kept within the limit.

    In a store of pseudonyms that was opened with its key, the question may be in clear, with whole names before the @.
    Settled rows come from every day that can hold them; unsettled ones as the newest of these nights left them.
    """
    if question.limit < 1:
        raise HoptraceError("--limit must be at least 1")
    pseudonyms = way_of(store)
    if store.pseudonyms is None and written(store):
        require_pseudonyms(question, store.root.url)
    nights = [night for night in store.days() if question.day in (None, night["day"])]
    if question.day and not nights:
        known = [night["day"] for night in store.days()]
        which = f"has {known[0]} to {known[-1]}" if known else "has no night yet"
        raise HoptraceError(f"--day {question.day}: the store {which}; see: hoptrace status --store {store.root.url}")
    days = [night["day"] for night in nights if _may_hold(night, question)]
    wanted = conditions(question, pseudonyms)
    settled = store.scan("deliveries", days).filter(wanted).with_columns(table=pl.lit("deliveries"))
    left = store.scan("open", [nights[-1]["day"]] if nights else []).filter(wanted).with_columns(table=pl.lit("open"))
    found = pl.concat([settled, left]).collect()
    kept = _nearest(found, question)
    about = kept["trace_id"].unique()
    notices = store.scan("notices").filter(pl.col("about_trace_id").is_in(about.implode())).sort("made_at").collect()
    rows = kept.to_dicts()
    add_mailbox(store, rows)
    return Answer(rows, notices.to_dicts(), found.height)


def require_pseudonyms(question: Question, store: str) -> None:
    """Raises HoptraceError for a question in clear, which a store of pseudonyms cannot answer without its key."""
    asked = {"--from": question.sender, "--to": question.recipient, "--message-id": question.message_id,
             "--ip": question.ip}  # fmt: skip
    for flag, text in asked.items():
        if text and text != "<>" and not text.startswith("@") and not PSEUDONYM.search(text):
            raise HoptraceError(
                f"{flag} {text}: {store} is written as pseudonyms; give --pseudonymise KEYFILE with its key, or ask for a pseudonym"
            )


def conditions(question: Question, pseudonyms: Pseudonyms | None = None) -> pl.Expr:
    """The question as one expression over `deliveries`; the parts that Parquet's statistics can decide come first.

    `pseudonyms`: as which the rows are written.
    """
    wanted: list[pl.Expr] = []
    if question.at is not None:
        earliest, latest = question.at - question.within, question.at + question.within
        wanted.append(started() <= latest)
        wanted.append(ended().is_null() | (ended() >= earliest))
    if question.message_id is not None:
        wanted.append(pl.col("message_id") == as_written(bare_id(question.message_id), "message_id", pseudonyms))
    if question.sender is not None:
        wanted.append(_address_has(pl.col("sender"), question.sender, pseudonyms))
    if question.recipient is not None:
        wanted.append(
            _address_has(pl.col("recipient"), question.recipient, pseudonyms)
            | _address_has(pl.col("original_recipient"), question.recipient, pseudonyms)
        )
    stay = pl.element().struct
    if question.queue_id is not None:
        wanted.append(pl.col("hops").list.eval(stay.field("queue_id") == question.queue_id).list.any())
    if question.ip is not None:
        ip = as_written(question.ip, "ip", pseudonyms)
        at_relay = stay.field("relay").str.contains(f"[{ip}]", literal=True) | (stay.field("relay") == ip)
        wanted.append((pl.col("client_ip") == ip) | pl.col("hops").list.eval(at_relay).list.any())
    return pl.all_horizontal(expr.fill_null(value=False) for expr in wanted) if wanted else pl.lit(value=True)


def started() -> pl.Expr:
    """When a row's story began: first try at our door, else submission, else its last logged fact."""
    return pl.coalesce("first_attempt_at", "submitted_at", "resolved_at")


def ended() -> pl.Expr:
    """When a row's story ended; null while it is in `open`."""
    return pl.when(pl.col("settled_at").is_not_null()).then(pl.coalesce("resolved_at", "settled_at"))


def bare_id(text: str) -> str:
    """A Message-ID as the store has it: without its outer brackets."""
    stripped = text.strip()
    return stripped[1:-1] if stripped.startswith("<") and stripped.endswith(">") else stripped


def parse_at(text: str, zone: Any) -> datetime:
    """`--at` as UTC: a day, a minute or a second, in `zone` unless it names its own; HoptraceError for other text."""
    try:
        parsed = datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
    except ValueError as error:
        raise HoptraceError(f"--at {text!r} is no time; write it as 'YYYY-MM-DD HH:MM'") from error
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=zone)).astimezone(timezone.utc)


def as_written(text: str, kind: str, pseudonyms: Pseudonyms | None) -> str:
    """A whole value of `kind` as the store has it."""
    return text if pseudonyms is None or PSEUDONYM.search(text) else pseudonyms.function(kind)(text)


def _address_has(column: pl.Expr, part: str, pseudonyms: Pseudonyms | None) -> pl.Expr:
    if part in ("", "<>"):
        return column == ""
    if pseudonyms is not None:
        return column.str.to_lowercase().str.contains(pseudonyms.asked(part.strip("<>")))
    return column.str.to_lowercase().str.contains(part.strip("<>").lower(), literal=True)


def _may_hold(night: Night, question: Question) -> bool:
    """Whether rows settled on this night can fit: none does whose story ended before the time asked for."""
    return question.at is None or night["ends_at"] is None or night["ends_at"] > question.at - question.within


def _nearest(found: pl.DataFrame, question: Question) -> pl.DataFrame:
    order: Sequence[str] = ("_started", "trace_id", "original_recipient", "recipient")
    timed = found.with_columns(started().alias("_started"))
    if question.at is not None:
        gap = (pl.col("_started") - pl.lit(question.at)).abs()
        timed = timed.sort(gap, *order, nulls_last=True).head(question.limit)
    else:
        timed = timed.sort(order, nulls_last=True).tail(question.limit)
    return timed.sort(order, nulls_last=True).drop("_started")
