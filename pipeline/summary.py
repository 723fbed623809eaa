"""What is printed after a night: what became of the mail, what was slow, what was not understood, and where it lies."""

import shlex
import shutil
from collections.abc import Sequence
from datetime import timedelta, tzinfo
from typing import Any

import polars as pl
from rich.console import RenderableType

from hoptrace.pipeline import printing
from hoptrace.pipeline.coverage import errors_page, file_errors, holes, holes_page, host_totals, unparsed, unparsed_page
from hoptrace.pipeline.find import Row
from hoptrace.pipeline.printing import clean, counted, cut, moment, number, span
from hoptrace.pipeline.reasons import reasons, reasons_page
from hoptrace.pipeline.stats import quantiles
from hoptrace.pipeline.store import Store

CLASSES = ("on_time", "late", "overdue")
OUTCOMES = (
    "delivered", "bounced", "returned", "rejected", "deferred_at_door", "aborted", "discarded", "quarantined",
    "deleted", "missing", "unknown", "queued", "held", "in_transit",
)  # fmt: skip
SLOWEST = 5
ROUTES = 10
ADDRESS_CHARACTERS = 40


def summary(store: Store, days: Sequence[str]) -> dict[str, Any]:
    """The summary of `days` as data: what `--json` prints."""
    mail = _mail(store, days)
    counted = mail.filter(~pl.col("is_notice"))
    return {
        "store": store.root.url,
        "days": list(days),
        "lines": int(host_totals(store, days)["lines"].sum()),
        "messages": counted["trace_id"].n_unique(),
        "recipients": int(counted["n"].sum()),
        "notices": mail.filter("is_notice")["trace_id"].n_unique(),
        "outcomes": _outcomes(counted).to_dicts(),
        "warnings_missing": counted.filter(pl.col("warning_due") & pl.col("warned_at").is_null()).height,
        "causes": reasons(store, days).to_dicts(),
        "slowest": _slowest(counted).to_dicts(),
        "routes": quantiles(store, "route", days=days).drop_nulls("p50_s").head(ROUTES).to_dicts(),
        "unparsed": unparsed(store, days).to_dicts(),
        "files_with_errors": file_errors(store, days).to_dicts(),
        "holes": holes(store, days).to_dicts(),
    }


def summary_page(store: Store, days: Sequence[str], zone: tzinfo) -> list[RenderableType]:
    """The summary of `days` as text, times in `zone`."""
    told = summary(store, days)
    span_of_days = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    page: list[RenderableType] = [printing.title(f"Mail of {span_of_days}")]
    page.append(
        printing.line(
            f"{counted(told['messages'], 'message')} for {counted(told['recipients'], 'recipient')}, and "
            f"{counted(told['notices'], 'notice')}, from {counted(told['lines'], 'log line')}"
        )
    )
    page += _outcomes_page(told["outcomes"])
    if told["warnings_missing"]:
        page.append(printing.line(f"Delay warnings due but never made: {number(told['warnings_missing'])}"))
    page += reasons_page(told["causes"])
    page += _slowest_page(told["slowest"], zone)
    page += _routes_page(told["routes"])
    page += unparsed_page(store, days, 5) + errors_page(store, days, 5) + holes_page(store, days, zone, 5)
    page += [
        printing.title("Where it lies"),
        printing.verbatim(f"{store.root.url} (Delta Lake tables, docs/tables.md)"),
    ]
    return page + _example(store, told["slowest"], zone)


def _mail(store: Store, days: Sequence[str]) -> pl.DataFrame:
    columns = [
        "trace_id", "message_id", "sender", "recipient", "original_recipient", "n_recipients", "submitted_at",
        "first_attempt_at", "resolved_at", "outcome", "delay_s", "delay_class", "warning_due", "warned_at", "caused_by",
        "path", "worst_host", "worst_stage",
    ]  # fmt: skip
    settled, left = store.scan("deliveries", days), store.scan("open", days[-1:])
    n = pl.when(pl.col("recipient").is_null()).then(pl.col("n_recipients")).fill_null(1).alias("n")
    read = pl.concat([settled, left]).select(*columns, n, pl.col("caused_by").is_not_null().alias("is_notice"))
    return read.collect()


def _outcomes(mail: pl.DataFrame) -> pl.DataFrame:
    """Per outcome, in the order of OUTCOMES: recipients in all and of each delay class, and messages."""
    by_class = [pl.col("n").filter(pl.col("delay_class") == name).sum().alias(name) for name in CLASSES]
    counted = mail.group_by("outcome").agg(
        pl.col("n").sum().alias("recipients"), *by_class, pl.col("trace_id").n_unique().alias("messages")
    )
    place = pl.col("outcome").replace_strict(list(OUTCOMES), range(len(OUTCOMES)), default=len(OUTCOMES))
    return counted.sort(place, "outcome")


def _slowest(mail: pl.DataFrame) -> pl.DataFrame:
    """The slowest rows, one of each trace."""
    slow = mail.filter(pl.col("delay_s") > 0).sort(
        ["delay_s", "trace_id", "recipient"], descending=[True, False, False], nulls_last=True
    )
    return slow.unique("trace_id", keep="first", maintain_order=True).head(SLOWEST)


def _outcomes_page(outcomes: list[Row]) -> list[RenderableType]:
    heads = ["outcome", ">recipients", ">on time", ">late", ">overdue", ">messages"]
    rows = [
        [row["outcome"].replace("_", " "), *(number(row[name]) for name in ("recipients", *CLASSES, "messages"))]
        for row in outcomes
    ]
    return [printing.title("What became of it"), printing.table(heads, rows)] if rows else []


def _slowest_page(rows: list[Row], zone: tzinfo) -> list[RenderableType]:
    if not rows:
        return []
    cells = [
        [span(row["delay_s"]), row["outcome"].replace("_", " "), moment(row["submitted_at"], zone, seconds=False)[5:],
         f"{cut(row['sender'] or '<>', ADDRESS_CHARACTERS)} -> "
         f"{cut(row['recipient'] or row['original_recipient'] or '?', ADDRESS_CHARACTERS)}",
         row["worst_host"] or "", (row["worst_stage"] or "").replace("_", " ")]
        for row in rows
    ]  # fmt: skip
    heads = [">delay", "outcome", "submitted", "message", "worst host", "worst stage"]
    return [printing.title("Slowest"), printing.table(heads, cells, wide=["message"])]


def _routes_page(rows: list[Row]) -> list[RenderableType]:
    if not rows:
        return []
    cells = [
        [row["value"], number(row["recipients"]), *(span(row[name]) or "-" for name in ("p50_s", "p95_s", "p99_s"))]
        for row in rows
    ]
    heads = ["route", ">recipients", ">p50", ">p95", ">p99"]
    return [printing.title("Busiest routes"), printing.table(heads, cells, wide=["route"])]


def program() -> str:
    """How hoptrace is called here: by its name where the shell finds it, else by ./run.sh."""
    return "hoptrace" if shutil.which("hoptrace") else "./run.sh"


def _example(store: Store, slowest: list[Row], zone: tzinfo) -> list[RenderableType]:
    """A `find` command that shows the slowest message."""
    for row in slowest:
        command = [program(), "find", "--store", store.root.url]
        began = row["first_attempt_at"] or row["submitted_at"] or row["resolved_at"]
        if row["message_id"] and clean(row["message_id"]) == row["message_id"]:
            command += ["--message-id", row["message_id"]]
        elif row["recipient"] and clean(row["recipient"]) == row["recipient"] and began:
            rounded = began + timedelta(seconds=30)
            command += ["--to", row["recipient"], "--at", moment(rounded, zone, seconds=False)]
        else:
            continue
        return [printing.title("Ask for one of them"), printing.verbatim("  " + shlex.join(command))]
    return []
