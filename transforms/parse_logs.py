"""ParseLogs: file ranges to keyed events, sessions, coverage and the lines nobody understood."""

from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import polars as pl
from apache_beam.pvalue import PCollection, TaggedOutput

from hoptrace.transforms.ahead import WorkAhead
from hoptrace.transforms.bundles import pack
from hoptrace.transforms.frames import encode_frame
from hoptrace.transforms.grammar import Grammars, load_grammars
from hoptrace.transforms.hash import hash_columns
from hoptrace.transforms.kinds import part_kinds
from hoptrace.transforms.losses import Torn, find_torn, last_lines, tear
from hoptrace.transforms.mailbox import name_mailbox, select_mailbox
from hoptrace.transforms.parse import complete_coverage, parse_chunk
from hoptrace.transforms.plan import Keyed, Plan
from hoptrace.transforms.read import Chunk, FileReport, Range, read_chunks
from hoptrace.transforms.sessions import MARK_COLUMNS, SESSION_KINDS, name_session

C = pl.col
OUTPUTS = ("sessions", "mailbox", "coverage", "unparsed", "files", "counts")


def set_clocks(events: pl.DataFrame, offsets: dict[str, int]) -> pl.DataFrame:
    """`events` with the stamps of hosts whose clock is known to be ahead put back by that many microseconds."""
    wrong = {host: us for host, us in offsets.items() if us}
    if not wrong or not events.height:
        return events
    return events.with_columns(C("stamp") - C("host").replace_strict(wrong, default=0, return_dtype=pl.Int64))


def of_hops() -> pl.Expr:
    """Whether an event tells of a hop: it names a queue ID, and not of what people do in a mailbox."""
    return C("queue_id").is_not_null() & (C("kind") != "mailbox")


def key_events(events: pl.DataFrame, shards: int) -> Iterator[Keyed]:
    """Events with a queue ID, a frame per kind, to the shard of their (host, queue ID)."""
    owned = events.filter(of_hops())
    if owned.height:
        keyed = owned.with_columns(hash_columns(owned, ["host", "queue_id"]).alias("key"))
        for kind, frame in part_kinds(keyed).items():
            yield from pack(kind, frame, "key", shards)


def key_sessions(events: pl.DataFrame, shards: int) -> Iterator[Keyed]:
    """Events of SMTP sessions, to the shard of their (host, session)."""
    begins = (C("kind") == "arrive") & name_session().is_not_null()
    sessions = events.filter(C("kind").is_in(SESSION_KINDS) & (begins | C("queue_id").is_null()))
    if sessions.height:
        named = sessions.with_columns(name_session().alias("_own"))
        keyed = named.with_columns(hash_columns(named, ["host", "_own"]).alias("key"))
        marks = C("kind").is_in(["arrive", "connect", "disconnect"])
        for part in (keyed.filter(marks).select("key", *MARK_COLUMNS), keyed.filter(~marks).drop("_own")):
            yield from pack("sessions", part, "key", shards)


def key_mailbox(events: pl.DataFrame, shards: int) -> Iterator[Keyed]:
    """Lines about mailboxes, to the shard of their host and session, user or message."""
    lines = select_mailbox(events)
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
        for item in read_chunks(element, self.plan.chunk_bytes):
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
        assert self.grammars is not None
        fleet, shards = self.plan.fleet, self.plan.shards
        parsed = parse_chunk(item, r, self.grammars, fleet, self.plan.night.window)
        events = set_clocks(parsed.events, {name: host.clock_offset_us for name, host in fleet.hosts.items()})
        yield from key_events(events, shards)
        for keyed in key_sessions(events, shards):
            yield TaggedOutput("sessions", keyed)
        for keyed in key_mailbox(events, shards):
            yield TaggedOutput("mailbox", keyed)
        yield TaggedOutput("coverage", encode_frame(parsed.coverage))
        if parsed.unparsed.height:
            yield TaggedOutput("unparsed", encode_frame(parsed.unparsed))
        owned, boxed = events.filter(of_hops()).height, select_mailbox(events).height
        mine = (("events with a queue ID", owned), ("mailbox lines", boxed))
        for name, count in (*parsed.counts.items(), *mine):
            yield TaggedOutput("counts", (name, int(count)))


class ParseLogs(beam.PTransform):  # type: ignore[misc]
    """PCollection[Range] -> tagged: keyed (events by host and queue ID), sessions (by host and pid), mailbox (by host
    and session), coverage, unparsed, files, counts."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.plan = plan

    def expand(self, ranges: PCollection[Range]) -> Any:
        return ranges | beam.Reshuffle() | beam.ParDo(ParseRange(self.plan)).with_outputs(*OUTPUTS, main="keyed")
