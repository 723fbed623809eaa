"""The lab's lines cut into nights at any instant, in this process; and instants where a cut parts what belongs together."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from itertools import pairwise

import polars as pl

from hoptrace.pipeline.inputs import plan_inputs
from hoptrace.schemas.fleet import Fleet, load_fleet
from hoptrace.transforms.cover import add_coverage
from hoptrace.transforms.following import with_following
from hoptrace.transforms.grammar import load_grammars
from hoptrace.transforms.parse import Parsed, Window, parse_chunk
from hoptrace.transforms.plan import Night
from hoptrace.transforms.publishable import NightTables
from hoptrace.transforms.read import Chunk, Range, read_chunks
from hoptrace.transforms.stamps import DAY, HOUR
from tests.lab_variant import LAB
from tests.plain import run_plain

C = pl.col
FIRST, LAST = (
    round(datetime.fromisoformat(f"{day}T00:00+01:00").timestamp() * 1e6) for day in ("2025-12-27", "2026-01-05")
)
"""The nights of the lab run, in its zone, and a day more, in which all that is told by absence is told."""

KINDS = ("hand-over", "filter", "notice", "return", "retry", "reuse", "hold", "line")
"""What `find_cuts` parts."""


@dataclass(frozen=True)
class Cut:
    """An instant, and what a cut there parts."""

    at: int
    kind: str


class LabLog:
    """The lines of the lab run, or of a variant of it: its chunks, to be parsed once for every night."""

    def __init__(self, logs: str = str(LAB / "logs" / "*" / "*"), fleet: Fleet | None = None) -> None:
        self.fleet = load_fleet(str(LAB / "fleet.toml")) if fleet is None else fleet
        self._grammars = load_grammars()
        ranges = plan_inputs([logs], self.fleet, FIRST, LAST, 1 << 28)
        chunks = [
            (r, item) for r in ranges for item in with_following(r, read_chunks(r, 1 << 25)) if isinstance(item, Chunk)
        ]
        whole = Night(FIRST, LAST).window
        self._chunks: list[tuple[Range, Chunk, int, int]] = []
        for r, chunk in chunks:
            stamps = parse_chunk(chunk, r, self._grammars, self.fleet, whole).coverage
            if (first := stamps["first_at"].min()) is not None and (last := stamps["last_at"].max()) is not None:
                self._chunks.append((r, chunk, int(first), int(last)))  # type: ignore[call-overload]

    def parse(self, window: Window) -> list[Parsed]:
        """What a night reads."""
        return [
            parse_chunk(chunk, r, self._grammars, self.fleet, window)
            for r, chunk, first, last in self._chunks
            if first < window.ends_at + HOUR and last >= window.starts_at - HOUR
        ]

    def run(self, cuts: Sequence[int] = ()) -> list[NightTables]:
        """The nights between `cuts`, from the first line to long after the last."""
        nights: list[NightTables] = []
        for starts_at, ends_at in pairwise([FIRST, *sorted(cuts), LAST]):
            night = Night(starts_at, ends_at, not nights, FIRST if nights else None)
            parsed = self.parse(night.window)
            events, coverage = (
                pl.concat([each.events for each in parsed]),
                add_coverage(each.coverage for each in parsed),
            )
            nights.append(run_plain(events, self.fleet, night, coverage, nights[-1].carried if nights else None))
        return nights

    @cached_property
    def events(self) -> pl.DataFrame:
        """All of its EVENTS."""
        return pl.concat([each.events for each in self.parse(Night(FIRST, LAST).window)])


def find_cuts(tables: Mapping[str, pl.DataFrame], events: pl.DataFrame, seed: int, each: int) -> list[Cut]:
    """Up to `each` instants of every kind, from the tables of a run over the whole span and its lines."""
    spans = {name: (rows[:, 0], rows[:, 1]) for name, rows in list_spans(tables).items()}
    chosen = random.Random(seed)
    cuts: set[Cut] = set()
    for kind, (one, other) in spans.items():
        pairs = sorted({(min(pair), max(pair)) for pair in zip(one, other) if None not in pair and pair[0] != pair[1]})
        for first, last in chosen.sample(pairs, min(each, len(pairs))):
            cuts.add(Cut(chosen.choice((first, first + 1, (first + last) // 2, last - 1, last)), kind))
    stamps = events["stamp"].unique().sort()
    cuts |= {Cut(chosen.choice(stamps) + chosen.choice((0, 1, 1_000_000)), "line") for _ in range(each)}
    return sorted((cut for cut in cuts if FIRST < cut.at < LAST - DAY), key=lambda cut: (cut.at, cut.kind))


def list_spans(tables: Mapping[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
    """By kind, frames of two columns: the times (µs) of two lines that belong together."""
    hops, recipients = (tables[name].with_columns(C(pl.Datetime).dt.epoch("us")) for name in ("hops", "hop_recipients"))
    deliveries, notices = (
        tables[name].with_columns(C(pl.Datetime).dt.epoch("us")) for name in ("deliveries", "notices")
    )
    key = ["host", "queue_id", "epoch"]
    links = tables["handoffs"].join(
        hops.select(*key, "first_seen_at"), left_on=["to_host", "to_queue_id", "to_epoch"], right_on=key
    )
    given = recipients.select(*key, "recipient", "last_attempt_at")
    taken = links.join(given, left_on=["from_host", "from_queue_id", "from_epoch"], right_on=key)
    notice = C("kind").str.ends_with("_notice")
    lasted = deliveries.filter(C("submitted_at").is_not_null()).with_columns(
        C("hops").list.eval(pl.element().struct.field("queue_id"))
    )
    series = hops.sort("host", "queue_id", "epoch").with_columns(
        after=C("first_seen_at").shift(-1).over("host", "queue_id")
    )
    pair = ("last_attempt_at", "first_seen_at")
    return {
        "hand-over": taken.filter(C("kind") != "filter", ~notice).select(pair),
        "filter": taken.filter(C("kind") == "filter").select(pair),
        "notice": pl.concat([taken.filter(notice).select(pair),
                             notices.select(last_attempt_at="made_at", first_seen_at="resolved_at")]),
        "return": lasted.filter(C("first_attempt_at") < C("submitted_at")).select("first_attempt_at", "submitted_at"),
        "retry": recipients.filter(C("attempts") > 1).select("first_attempt_at", "last_attempt_at"),
        "reuse": series.drop_nulls("after").select(pl.coalesce("left_at", "first_seen_at"), "after"),
        "hold": recipients.filter(C("held_s") > 0).join(hops, on=key).select("first_seen_at", pl.coalesce("last_attempt_at", "left_at")),
    }  # fmt: skip
