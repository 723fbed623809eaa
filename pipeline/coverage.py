"""`hoptrace coverage`: what was read from which host, where logs have holes, and what nobody understood."""

from collections.abc import Sequence
from datetime import timedelta, tzinfo
from typing import Any

import polars as pl
from rich.console import RenderableType

from hoptrace.pipeline import printing
from hoptrace.pipeline.printing import counted, cut, moment, number
from hoptrace.pipeline.store import Store
from hoptrace.schemas.table import TIME
from hoptrace.transforms.clocks import Clock, bound_pairs, solve_clocks
from hoptrace.transforms.stamps import SECOND

EARLY, RECENT = timedelta(hours=1), timedelta(days=7)
HOLES: dict[str, pl.DataType | type[pl.DataType]] = {
    "host": pl.String,
    "hole": pl.String,
    "first": TIME,
    "last": TIME,
    "hours": pl.Int64,
}
TEMPLATE_CHARACTERS = 300
CLOCK_NIGHTS = 7
"""Clocks are what they are now, not what they were."""

COUNTS = ("lines", "bytes", "events", "quiet", "unparsed", "zone_conflicts", "year_conflicts")


def host_totals(store: Store, days: Sequence[str] | None = None) -> pl.DataFrame:
    """Per host: its counts, first_at, last_at, hours with a hole, skew_s (median over hours)."""
    rows = store.scan("coverage", days)
    return (
        rows.group_by("host")
        .agg(
            pl.col(COUNTS).sum(), pl.col("first_at").min(), pl.col("last_at").max(),
            pl.col("hole").count().alias("hours_with_hole"), pl.col("skew_s").median(),
        )
        .sort("host")
        .collect()
    )  # fmt: skip


def clocks(store: Store, days: Sequence[str] | None = None) -> list[Clock]:
    """How far each host's clock is off, by the certain hand-overs between hosts on these days (default: the newest CLOCK_NIGHTS)."""
    days = [night["day"] for night in store.days()][-CLOCK_NIGHTS:] if days is None else days
    whole = (
        store.scan("hops", days)
        .group_by("host")
        .agg((_us(name) % SECOND == 0).all().alias(name) for name in ("first_seen_at", "arrived_at"))
        .with_columns(
            (pl.when(name).then(SECOND - 1).otherwise(0)).alias(name) for name in ("first_seen_at", "arrived_at")
        )
    )
    grain = {side: whole.select(pl.all().name.prefix(f"{side}_")) for side in ("from", "to")}
    certain = (pl.col("kind") == "relay") & (pl.col("strength") == "certain") & ~pl.col("late")
    links = (
        store.scan("handoffs", days)
        .filter(certain)
        .join(grain["from"], on="from_host")
        .join(grain["to"], on="to_host")
        .select(
            giver="from_host",
            taker="to_host",
            least=(pl.col("gap_s") * SECOND).round().cast(pl.Int64) - pl.col("from_first_seen_at"),
            most=(pl.col("since_try_s") * SECOND).round().cast(pl.Int64)
            + pl.col("to_arrived_at")
            + pl.max_horizontal("from_arrived_at", pl.lit(SECOND // 100)),
        )
        .collect()
    )
    return solve_clocks(bound_pairs(links))


def _us(name: str) -> pl.Expr:
    return pl.col(name).cast(pl.Int64)


def holes(store: Store, days: Sequence[str] | None = None) -> pl.DataFrame:
    """Per host and reason: where a hole begins and ends, and how many hours it touches; and logs that end early."""
    hour = pl.col("hour")
    grouped = (
        store.scan("coverage", days)
        .drop_nulls("hole")
        .group_by("host", "hole")
        .agg(
            pl.coalesce("hole_from", hour).min().alias("first"),
            pl.coalesce("hole_until", hour).max().alias("last"),
            pl.len().cast(pl.Int64).alias("hours"),
        )
        .collect()
    )
    return pl.concat([grouped, endings(store, days)], how="vertical_relaxed").sort("host", "first", "hole")


def endings(store: Store, days: Sequence[str] | None = None) -> pl.DataFrame:
    """Logs that end an hour or more before the last night does, of hosts that logged something in the week before."""
    nights = [night for night in store.days() if days is None or night["day"] in days]
    ends_at = max((night["ends_at"] for night in nights if night["ends_at"] is not None), default=None)
    if ends_at is None:
        return pl.DataFrame(schema=HOLES)
    before = [night["day"] for night in store.days() if nights and night["day"] <= nights[-1]["day"]]
    last = store.scan("coverage", before).filter(pl.col("events") > 0).group_by("host").agg(pl.col("last_at").max())
    ended = last.filter((pl.col("last_at") < pl.lit(ends_at) - EARLY) & (pl.col("last_at") > pl.lit(ends_at) - RECENT))
    return ended.select(
        "host",
        pl.lit("its log ends").alias("hole"),
        pl.col("last_at").alias("first"),
        pl.lit(ends_at, TIME).alias("last"),
        (pl.lit(ends_at, TIME) - pl.col("last_at")).dt.total_hours().alias("hours"),
    ).collect()


def unparsed(store: Store, days: Sequence[str] | None = None) -> pl.DataFrame:
    """Per program and template: lines that no grammar row knows, and the smallest example; most lines first."""
    rows = store.scan("unparsed", days).group_by("program", "template")
    summed = rows.agg(pl.col("lines").sum(), pl.col("example", "host").sort_by("example", "host").first())
    return summed.sort(["lines", "program", "template"], descending=[True, False, False]).collect()


def file_errors(store: Store, days: Sequence[str] | None = None) -> pl.DataFrame:
    """Files with something wrong: path, error; each once."""
    return (
        store.scan("files", days).drop_nulls("error").select("path", "error").unique().sort("path", "error").collect()
    )


def copies(store: Store, days: Sequence[str] | None = None) -> pl.DataFrame:
    """Files with lines that stand in other files too: path, copies (lines that count by those), copy_of, shared, shared_with.

    A file is read by several nights, in each of them to its end; the night that saw the most of it tells.
    """
    files = store.scan("files", days).filter((pl.col("copies") > 0) | (pl.col("shared") > 0))
    columns = ("copies", "copy_of", "shared", "shared_with")
    latest = files.sort("path", "copies", "shared", "day").group_by("path", maintain_order=True)
    return latest.agg(pl.col(columns).last()).sort("path").collect()


def coverage_json(store: Store, days: Sequence[str] | None) -> dict[str, Any]:
    """What `hoptrace coverage --json` prints."""
    return {
        "hosts": host_totals(store, days).to_dicts(),
        "clocks": [
            {
                "host": each.host,
                "ahead_s": each.ahead / SECOND,
                "within_s": each.within / SECOND,
                "handoffs": each.links,
            }
            for each in clocks(store, days)
        ],
        "holes": holes(store, days).to_dicts(),
        "unparsed": unparsed(store, days).to_dicts(),
        "files_with_errors": file_errors(store, days).to_dicts(),
        "files_with_copies": copies(store, days).to_dicts(),
    }


def coverage_page(store: Store, days: Sequence[str] | None, zone: tzinfo) -> list[RenderableType]:
    """What `hoptrace coverage` prints, times in `zone`."""
    totals = host_totals(store, days)
    heads = ["host", ">lines", ">MB", ">events", ">quiet", ">unparsed", "first line", "last line"]
    rows = [
        [row["host"], number(row["lines"]), f"{(row['bytes'] or 0) / 1e6:,.1f}",
         *(number(row[name]) for name in ("events", "quiet", "unparsed")),
         moment(row["first_at"], zone, seconds=False), moment(row["last_at"], zone, seconds=False)]
        for row in totals.iter_rows(named=True)
    ]  # fmt: skip
    page: list[RenderableType] = [printing.title(f"Logs read ({zone})"), printing.table(heads, rows)]
    known = {clock.host: clock for clock in clocks(store, days)}
    said = ((row["host"], _remarks(row, known.get(row["host"]))) for row in totals.to_dicts())
    page += [printing.line(f"{host}: {remarks}") for host, remarks in said if remarks]
    return (
        page
        + holes_page(store, days, zone)
        + unparsed_page(store, days, 50)
        + errors_page(store, days, 50)
        + copies_page(store, days, 50)
    )


def holes_page(store: Store, days: Sequence[str] | None, zone: tzinfo, limit: int = 50) -> list[RenderableType]:
    """Holes in the logs, as far as there are any."""
    found = holes(store, days)
    if found.is_empty():
        return []
    heads = ["host", "from", "to", ">hours", "why"]
    rows = [
        [row["host"], moment(row["first"], zone, seconds=False), moment(row["last"], zone, seconds=False), row["hours"],
         row["hole"]]
        for row in found.head(limit).iter_rows(named=True)
    ]  # fmt: skip
    return [printing.title("Holes in the logs"), printing.table(heads, rows, wide=["why"]), *_more(found, limit)]


def unparsed_page(store: Store, days: Sequence[str] | None, limit: int) -> list[RenderableType]:
    """Templates of lines that nobody understood, as far as there are any."""
    found = unparsed(store, days)
    if found.is_empty():
        return []
    rows = [
        [number(row["lines"]), row["program"], cut(row["template"], TEMPLATE_CHARACTERS)]
        for row in found.head(limit).iter_rows(named=True)
    ]
    total = counted(int(found["lines"].sum()), "line")
    heading = printing.title(f"Not understood: {total} of {counted(found.height, 'template')}")
    return [heading, printing.table([">lines", "program", "template"], rows, wide=["template"]), *_more(found, limit)]


def errors_page(store: Store, days: Sequence[str] | None, limit: int) -> list[RenderableType]:
    """Files with something wrong, as far as there are any."""
    found = file_errors(store, days)
    if found.is_empty():
        return []
    rows = [[row["path"], row["error"]] for row in found.head(limit).iter_rows(named=True)]
    heading = printing.title(f"Files with errors: {number(found.height)}")
    return [
        heading,
        printing.table(["file", "what is wrong"], rows, wide=["file", "what is wrong"]),
        *_more(found, limit),
    ]


def copies_page(store: Store, days: Sequence[str] | None, limit: int) -> list[RenderableType]:
    """Files with lines that stand in other files too, as far as there are any."""
    found = copies(store, days)
    if found.is_empty():
        return []
    rows = [[row["path"], number(row["copies"]), copied_from(row)] for row in found.head(limit).iter_rows(named=True)]
    page: list[RenderableType] = [
        printing.title(f"Lines in several files: {counted(found.height, 'file')}"),
        printing.table(["file", ">left out", "why"], rows, wide=["file", "why"]),
        *_more(found, limit),
    ]
    if found["shared"].sum():
        page.append(
            printing.line(
                "What is in both counts twice. Of two ways for one log, `source` in fleet.toml names which counts."
            )
        )
    return page


def copied_from(row: dict[str, Any]) -> str:
    """Of which files a file's lines are copies, and with which it has lines in common that were not left out."""
    source = "fleet.toml names another source for their host"
    said = [
        f"copies of {row['copy_of']}" if row["copy_of"] else source if row["copies"] else "",
        f"{counted(row['shared'], 'line')} kept that {row['shared_with']} has too" if row["shared"] else "",
    ]
    return "; ".join(text for text in said if text)


def _remarks(row: dict[str, Any], clock: Clock | None) -> str:
    said = [
        (row["hours_with_hole"], f"holes in {row['hours_with_hole']} h"),
        (row["zone_conflicts"], f"{number(row['zone_conflicts'])} lines prove another zone"),
        (row["year_conflicts"], f"{number(row['year_conflicts'])} lines prove another year"),
        (clock and clock.off, _clock(clock) if clock else ""),
        (clock is None and row["skew_s"], f"hand-overs seem to arrive {-(row['skew_s'] or 0):.2f} s early: its clock"),
    ]
    return ", ".join(text for when, text in said if when)


def _clock(clock: Clock) -> str:
    way = "ahead of" if clock.ahead > 0 else "behind"
    ahead, within = abs(clock.ahead) / SECOND, clock.within / SECOND
    return f"its clock is {ahead:.2f} s {way} the others, give or take {within:.2f} s, by {counted(clock.links, 'hand-over')}"


def _more(found: pl.DataFrame, limit: int) -> list[RenderableType]:
    return [printing.line(f"{number(found.height - limit)} more")] if found.height > limit else []
