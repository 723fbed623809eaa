"""ParseLogs: file ranges to keyed events, sessions, coverage and the lines nobody understood."""

from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import polars as pl
from apache_beam.pvalue import PCollection, TaggedOutput

from hoptrace.transforms.ahead import WorkAhead
from hoptrace.transforms.bundles import pack
from hoptrace.transforms.cut import count_lines
from hoptrace.transforms.following import with_following
from hoptrace.transforms.frames import encode_frame
from hoptrace.transforms.grammar import Grammars, load_grammars
from hoptrace.transforms.hash import hash_columns
from hoptrace.transforms.kinds import Kinds, part_kinds
from hoptrace.transforms.losses import Torn, find_torn, last_lines, tear
from hoptrace.transforms.mailbox import name_mailbox, select_mailbox
from hoptrace.transforms.parse import complete_coverage, parse_chunk
from hoptrace.transforms.plan import Keyed, Plan
from hoptrace.transforms.read import Chunk, FileReport, Range, read_chunks
from hoptrace.transforms.scans import select_scans
from hoptrace.transforms.sessions import select_sessions
from hoptrace.transforms.witness import as_counts

C = pl.col
OUTPUTS = ("sessions", "scans", "mailbox", "coverage", "unparsed", "files", "counts")


def own_hops(kinds: Kinds) -> Iterator[tuple[str, pl.DataFrame]]:
    """The events that tell of a hop: they name a queue ID, and not of what people do in a mailbox."""
    for kind, frame in kinds.items():
        if kind != "mailbox" and "queue_id" in frame.columns:
            named = frame["queue_id"].is_not_null()
            owned = frame if named.all() else frame.filter(named)
            if owned.height:
                yield kind, owned


def key_events(events: pl.DataFrame, shards: int) -> Iterator[Keyed]:
    """EVENTS with a queue ID, a frame per kind, to the shard of their (host, queue ID)."""
    for kind, frame in own_hops(part_kinds(events)):
        yield from pack(kind, frame.with_columns(hash_columns(frame, ["host", "queue_id"]).alias("key")), "key", shards)


def key_scans(kinds: Kinds, shards: int) -> Iterator[Keyed]:
    """Verdicts that name a Message-ID only, to the shard of matches by Message-ID."""
    scans = select_scans(kinds)
    if scans.height:
        yield from pack(
            "scans", scans.with_columns(hash_columns(scans, ["message_id"]).alias("key")), "key", shards, shards
        )


def key_mailbox(lines: pl.DataFrame, shards: int) -> Iterator[Keyed]:
    """Lines about mailboxes, to the shard of their host and session, user or message."""
    if lines.height:
        keyed = lines.with_columns(name_mailbox().alias("key"))
        yield from pack("mailbox", lines.with_columns(hash_columns(keyed, ["host", "key"]).alias("key")), "key", shards)


class ParseRange(WorkAhead):
    """Reads ranges, and parses their chunks ahead; a DoFn because the grammars are compiled once per worker."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(self.tell)
        self.plan = plan
        self.grammars: Grammars | None = None

    def setup(self) -> None:
        self.grammars = load_grammars()

    def pieces(self, element: Range) -> Iterator[tuple[Range, Chunk | FileReport | Torn]]:
        """A range's chunks, its report, and what is torn off after it."""
        end = None
        for item in with_following(element, read_chunks(element, self.plan.chunk_bytes)):
            yield element, item
            if isinstance(item, Chunk):
                end = last_lines(item)
            elif (torn := tear(element, item, end)) is not None:
                yield element, torn

    def tell(self, piece: tuple[Range, Chunk | FileReport | Torn]) -> Iterator[Any]:
        """One chunk's parts to where they go, a file's report, or the hole after it."""
        r, item = piece
        if isinstance(item, Torn):
            hole = find_torn(item, r, self.plan.fleet, self.plan.night.window.near_us)
            yield TaggedOutput("coverage", encode_frame(complete_coverage(hole)))
            return
        if isinstance(item, FileReport):
            yield TaggedOutput("files", item)
            yield TaggedOutput("counts", ("lines read", item.lines))
            return
        if within_copy(item, r):
            lines = count_lines(item.data)
            yield from tell_copies(r, lines)
            yield from (TaggedOutput("counts", (name, lines)) for name in ("lines", "copies"))
            return
        assert self.grammars is not None
        fleet, shards = self.plan.fleet, self.plan.shards
        parsed = parse_chunk(item, r, self.grammars, fleet, self.plan.night.window, shards)
        kinds = parsed.kinds
        owned = dict(own_hops(kinds))
        for kind, frame in owned.items():
            yield from pack(kind, frame, "key", shards)
        for kind, frame in select_sessions(kinds).items():
            for keyed in pack(kind, frame, "key", shards):
                yield TaggedOutput("sessions", keyed)
        for keyed in key_scans(kinds, shards):
            yield TaggedOutput("scans", keyed)
        boxed = select_mailbox(kinds)
        for keyed in key_mailbox(boxed, shards):
            yield TaggedOutput("mailbox", keyed)
        yield TaggedOutput("coverage", encode_frame(parsed.coverage))
        if parsed.unparsed.height:
            yield TaggedOutput("unparsed", encode_frame(parsed.unparsed))
        mine = {
            "events with a queue ID": sum(frame.height for frame in owned.values()),
            "mailbox lines": boxed.height,
        }
        for name, count in {**parsed.counts, **mine, **as_counts(parsed.witness)}.items():
            yield TaggedOutput("counts", (name, int(count)))
        yield from tell_copies(r, parsed.counts["copies"])


def within_copy(chunk: Chunk, r: Range) -> bool:
    """Whether all lines of a chunk are copies that stand together."""
    bounds = r.copies.bounds()
    return bool(((bounds[:, 0] <= chunk.offset) & (bounds[:, 1] >= chunk.offset + len(chunk.data))).any())


def tell_copies(r: Range, copies: int) -> Iterator[TaggedOutput]:
    """The report of a chunk's lines that count by another file."""
    if copies:
        yield TaggedOutput("files", FileReport(r.path, r.start, checksum="", copies=copies))


class ParseLogs(beam.PTransform):  # type: ignore[misc]
    """PCollection[Range] -> tagged: keyed (events by host and queue ID), sessions (by host and pid), scans (by Message-ID),
    mailbox (by host and session), coverage, unparsed, files, counts."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.plan = plan

    def expand(self, ranges: PCollection[Range]) -> Any:
        return ranges | beam.Reshuffle() | beam.ParDo(ParseRange(self.plan)).with_outputs(*OUTPUTS, main="keyed")
