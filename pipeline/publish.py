"""WriteTables and PublishNight: tables of whole traces as parts of the store, and the one commit that makes them a night."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Any

import apache_beam as beam
import polars as pl
from apache_beam.pvalue import AsSingleton, PCollection, TaggedOutput

from hoptrace.pipeline.parts import Part
from hoptrace.pipeline.store import Store
from hoptrace.schemas.catalog import TABLES
from hoptrace.schemas.coverage import FILES
from hoptrace.schemas.errors import HoptraceError
from hoptrace.schemas.events import OPEN_HOPS
from hoptrace.schemas.mailbox_events import MAILBOX_EVENTS
from hoptrace.transforms.ahead import WorkAhead
from hoptrace.transforms.bundles import unpack
from hoptrace.transforms.cover import add_coverage, add_templates
from hoptrace.transforms.frames import decode_frame, encode_frame
from hoptrace.transforms.holes import HANDED, Logs, carry_logs, read_logs
from hoptrace.transforms.losses import FOREVER
from hoptrace.transforms.mailbox import fold_mailbox
from hoptrace.transforms.parse import COVERAGE_PARTIAL
from hoptrace.transforms.plan import Keyed, Night, Plan
from hoptrace.transforms.pseudonyms import Pseudonyms
from hoptrace.transforms.publishable import tell_night
from hoptrace.transforms.read import FileReport
from hoptrace.transforms.skew import find_skew
from hoptrace.transforms.stamps import HOUR
from hoptrace.transforms.summarise import add_up, cut_tail, put_together
from hoptrace.transforms.unfinished_hour import hold_counts
from hoptrace.transforms.witness import from_counts

C = pl.col
MUST_AGREE = (
    ("lines read", "lines"),
    ("events with a queue ID", "events assembled"),
    ("mailbox lines", "mailbox lines folded"),
    ("hops assembled", "hops placed"),
    ("hops assembled", "hops traced"),
    ("recipients assembled", "recipients placed"),
    ("recipients assembled", "recipients traced"),
)
"""Pairs of counts, made on both sides of a shuffle, that a night is not published without."""


@dataclass(frozen=True)
class Target:
    """Where a night goes: the store, the day, what the store's tables were when the run began, and whose state was read;
    `pseudonyms`: as what people are written."""

    store: str
    day: str
    base: Mapping[str, int]
    state_of: str | None
    pseudonyms: Pseudonyms | None = None
    state_checksum: str | None = None

    def open_store(self) -> Store:
        """The store, to write to."""
        return Store(self.store, self.pseudonyms)


class WriteTables(beam.PTransform):  # type: ignore[misc]
    """PCollection[Keyed] placed by component -> PCollection[Keyed] under key 0: 'part' (JSON), 'stats'; and tagged counts."""

    def __init__(self, plan: Plan, target: Target, coverage: PCollection[bytes], handed: PCollection[bytes]) -> None:
        super().__init__()
        self.plan, self.target, self.coverage, self.handed = plan, target, coverage, handed

    def write(self, shard: tuple[int, Iterable[tuple[str, bytes]]], coverage: bytes, handed: bytes) -> Iterator[Any]:
        """One shard of whole traces."""
        placed = unpack(shard[1])
        logs = read_logs(coverage, handed)
        told = tell_night(placed, self.plan.fleet, self.plan.night, logs)
        store = self.target.open_store()
        for name, frame in {**told.tables, OPEN_HOPS.name: told.carried}.items():
            if frame.height:
                part = store.write_part(TABLES[name], self.target.day, frame)
                yield 0, ("part", json.dumps(asdict(part)).encode())
                yield TaggedOutput("counts", (f"rows of {name}", part.rows))
        yield 0, ("stats", encode_frame(told.stats))
        yield 0, ("skew", encode_frame(told.skew))
        for name in ("hops", "recipients"):
            yield TaggedOutput("counts", (f"{name} traced", placed[name].height if name in placed else 0))

    def expand(self, placed: PCollection[Keyed]) -> Any:
        return (
            placed
            | beam.GroupByKey()
            | beam.ParDo(WorkAhead(self.write), AsSingleton(self.coverage), AsSingleton(self.handed)).with_outputs(
                "counts", main="written"
            )
        )


class WriteMailbox(beam.PTransform):  # type: ignore[misc]
    """PCollection[Keyed] of mailbox lines -> PCollection[Keyed] under key 0: 'part' (JSON); and tagged counts."""

    def __init__(self, plan: Plan, target: Target) -> None:
        super().__init__()
        self.plan, self.target = plan, target

    def write(self, shard: tuple[int, Iterable[tuple[str, bytes]]]) -> Iterator[Any]:
        """One shard of whole sessions."""
        lines = unpack(shard[1])["mailbox"].drop("key")
        told = fold_mailbox(lines, self.plan.night)
        store = self.target.open_store()
        for table, frame in ((MAILBOX_EVENTS, told.rows), (OPEN_HOPS, told.carried)):
            if frame.height:
                part = store.write_part(table, self.target.day, frame)
                yield 0, ("part", json.dumps(asdict(part)).encode())
                yield TaggedOutput("counts", (f"rows of {table.name}", part.rows))
        yield TaggedOutput("counts", ("mailbox lines folded", lines.height))

    def expand(self, keyed: PCollection[Keyed]) -> Any:
        return keyed | beam.GroupByKey() | beam.ParDo(WorkAhead(self.write)).with_outputs("counts", main="written")


def check_counts(counts: Mapping[str, int]) -> None:
    """Raises HoptraceError where rows were lost or doubled between two steps."""
    lines = sum(counts.get(name, 0) for name in ("events", "quiet", "unparsed", "outside", "ahead", "copies"))
    if counts.get("lines", 0) != lines:
        raise HoptraceError(
            f"{counts.get('lines', 0)} lines read but {lines} accounted for; nothing was published; report this"
        )
    for sent, received in MUST_AGREE:
        if counts.get(sent, 0) != counts.get(received, 0):
            raise HoptraceError(
                f"{sent}: {counts.get(sent, 0)}, but {received}: {counts.get(received, 0)}; the engine lost or doubled rows, "
                "nothing was published; run again, with --runner FnApiRunner if another runner was named"
            )


def write_coverage(parts: list[bytes], logs: Logs, skew: list[bytes], night: Night) -> pl.DataFrame:
    """COVERAGE of the night's hours. A file's hole stands in every hour that it touches, one that a line tells of in the hour
    of that line."""
    hours = add_coverage([decode_frame(part) for part in parts]) if parts else pl.DataFrame(schema=COVERAGE_PARTIAL)
    clocks = find_skew([decode_frame(part) for part in skew])
    return (
        hours.filter((C("lines") > 0) | C("hour").is_null())
        .join(spread_holes(logs.holes, night), on=["host", "hour"], how="full", coalesce=True, nulls_equal=True)
        .join(clocks, on=["host", "hour"], how="left")
        .with_columns(
            C("lines", "bytes", "events", "quiet", "unparsed", "minutes", "zone_conflicts", "year_conflicts").fill_null(
                0
            )
        )
    )


def spread_holes(holes: pl.DataFrame, night: Night) -> pl.DataFrame:
    """host, hour (µs), hole, hole_from, hole_until (µs) of the night's hours."""
    starts, ends = (us // HOUR * HOUR for us in (night.starts_at, night.ends_at - 1))
    told = holes.filter(C("known_at").is_between(night.starts_at, night.ends_at, closed="left"))
    torn = holes.filter(C("known_at").is_null() & (C("since") < night.ends_at) & (C("until") > night.starts_at))
    each = pl.concat([
        told.with_columns(hour=C("known_at") // HOUR * HOUR),
        torn.with_columns(
            hour=pl.int_ranges(
                pl.max_horizontal(C("since") // HOUR * HOUR, pl.lit(starts)),
                pl.min_horizontal((C("until") - 1) // HOUR * HOUR, pl.lit(ends)) + 1,
                HOUR,
            )
        ).explode("hour"),
    ])  # fmt: skip
    return (
        each.sort("host", "hour", "since", "why")
        .group_by("host", "hour", maintain_order=True)
        .agg(
            hole=C("why").unique(maintain_order=True).str.join("; "),
            hole_from=pl.when(C("since").min() > 0).then(C("since").min()),
            hole_until=pl.when(C("until").max() < FOREVER).then(C("until").max()),
        )
    )


class PublishNight(beam.PTransform):  # type: ignore[misc]
    """PCollection[Keyed] under key 0 -> PCollection[str] of one element, the day, once the store shows it."""

    def __init__(self, plan: Plan, target: Target) -> None:
        super().__init__()
        self.plan, self.target = plan, target

    def publish(self, group: tuple[int, Iterable[tuple[str, bytes]]]) -> Iterator[str]:
        """Everything that the night wrote and counted."""
        plan, target = self.plan, self.target
        told: dict[str, list[bytes]] = {}
        for name, data in group[1]:
            told.setdefault(name, []).append(data)
        counts: dict[str, int] = {}
        for data in told.get("count", []):
            name, count = json.loads(data)
            counts[name] = counts.get(name, 0) + count
        counts, witness = from_counts(counts)
        check_counts(counts)
        store = target.open_store()
        parts: dict[str, list[Part]] = {}
        for data in sorted(told.get("part", [])):
            part = Part(**json.loads(data))
            parts.setdefault(part.table, []).append(part)
        covered, handed = (next(iter(told.get(name, [])), b"") for name in ("covered", "handed"))
        logs = read_logs(covered, handed)
        files = list_files([json.loads(data) for data in told.get("file", [])])
        counted = put_together([decode_frame(data) for data in told.get("stats", [])])
        counted, unfinished = hold_counts(counted, plan.night.ends_at)
        small = {
            "delay_stats": add_up([cut_tail(counted, plan.fleet.warn_after_us)]),
            "coverage": write_coverage(told.get("coverage", []), logs, told.get("skew", []), plan.night),
            "unparsed": add_templates([decode_frame(data) for data in told.get("unparsed", [])]),
            "files": files,
            OPEN_HOPS.name: pl.concat(
                [
                    unpack(("waiting", data) for data in told.get("waiting", [])).get("waiting", OPEN_HOPS.empty()),
                    carry_read(covered, handed, plan.night),
                    unfinished,
                ]
            ),
        }
        for name, frame in small.items():
            if frame.height:
                parts.setdefault(name, []).append(store.write_part(TABLES[name], target.day, frame))
                counts[f"rows of {name}"] = counts.get(f"rows of {name}", 0) + frame.height
        store.publish(
            target.day,
            parts,
            {
                "starts_at": at(plan.night.starts_at),
                "ends_at": at(plan.night.ends_at),
                "began_at": None if plan.night.cold_at is None else at(plan.night.cold_at),
                "cold_start": plan.night.cold_start,
                "timezone": plan.fleet.timezone,
                "state_of": target.state_of,
                "pseudonyms": None if target.pseudonyms is None else target.pseudonyms.told,
                "state_checksum": target.state_checksum,
                "inputs": as_inputs(files),
                "witness": witness,
                "counts": dict(sorted(counts.items())),
            },
            target.base,
        )
        yield target.day

    def expand(self, told: PCollection[Keyed]) -> PCollection[str]:
        return told | beam.GroupByKey() | beam.FlatMap(self.publish).with_output_types(str)


def carry_read(covered: bytes, handed: bytes, night: Night) -> pl.DataFrame:
    """EVENTS that tell the next night how far logs were read."""
    hours = decode_frame(covered) if covered else pl.DataFrame(schema=COVERAGE_PARTIAL)
    return carry_logs(hours, decode_frame(handed) if handed else pl.DataFrame(schema=HANDED), night)


def list_files(reports: list[dict[str, Any]]) -> pl.DataFrame:
    """FILES from the reports of all ranges: a file's ranges as one row, checksums in order."""
    if not reports:
        return FILES.empty()
    whole = {"path": pl.String, "start": pl.Int64, "stored_bytes": pl.Int64, "checksum": pl.String, "lines": pl.Int64}
    told = {"error": pl.String, "modified": pl.Int64, "copies": pl.Int64, "copy_of": pl.String}
    shared = {"shared": pl.Int64, "shared_with": pl.String}
    return FILES.conform(
        pl.DataFrame(reports, schema={**whole, **told, **shared})
        .sort("path", "start")
        .group_by("path", maintain_order=True)
        .agg(
            C("stored_bytes").sum().alias("size"),
            C("checksum").filter(C("checksum") != "").str.join("-"),
            C("lines", "copies").sum(),
            C("error").drop_nulls().str.join("; "),
            C("modified", "copy_of", "shared_with").drop_nulls().first(),
            C("shared").max(),
        )
        .with_columns(pl.when(C("error") == "").then(None).otherwise("error").alias("error"))
    )


def as_inputs(files: pl.DataFrame) -> list[dict[str, Any]]:
    """FILES as `nights` keeps it: times in UTC microseconds."""
    return files.with_columns(C("modified").cast(pl.Int64)).to_dicts()


def at(us: int) -> datetime:
    """UTC microseconds as a datetime."""
    return datetime.fromtimestamp(us // 1_000_000, timezone.utc).replace(microsecond=us % 1_000_000)


def as_report(report: FileReport) -> Keyed:
    """A file's report, for the last stage."""
    return 0, ("file", json.dumps(asdict(report)).encode())


def as_count(count: tuple[str, int]) -> Keyed:
    """A count, for the last stage."""
    return 0, ("count", json.dumps(count).encode())
