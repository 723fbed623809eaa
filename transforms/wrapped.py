"""Lines that a filter had to cut for syslog, put together again and read as the lines they would have been.

amavisd (lib/Amavis/Log.pm, write_log) ends a piece with '...' and begins the next one of the same task, in the same process,
with '...'.
"""

from datetime import datetime, timedelta, timezone
from itertools import accumulate

import polars as pl

from hoptrace.schemas.events import EVENTS
from hoptrace.schemas.fleet import Fleet
from hoptrace.transforms.grammar import load_grammars
from hoptrace.transforms.kinds import Kinds, take, whole_events
from hoptrace.transforms.parse import Window, parse_chunk
from hoptrace.transforms.read import Chunk, Range

C = pl.col
CUT = "..."
TOGETHER_US = 60_000_000
"""All pieces of a line are written at once; what comes later than this belongs to another."""

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def rejoin_lines(kinds: Kinds, fleet: Fleet) -> pl.DataFrame:
    """EVENTS of the whole lines that events of kind part are pieces of, at stamp and place of the first piece."""
    parts = take(kinds, "part", ["stamp", "host", "place", "instance", "pid", "session", "reply"])
    lines = join_parts(parts) if parts.height else parts
    if not lines.height:
        return EVENTS.empty()
    texts = [
        f"{stamp_text(stamp)} {host} {instance}{f'[{pid}]' if pid is not None else ''}: ({session}) {text}\n".encode()
        for stamp, host, instance, pid, session, text in lines.select(
            "stamp", "host", "instance", "pid", "session", "text"
        ).iter_rows()
    ]
    starts = list(accumulate((len(text) for text in texts), initial=0))
    first, last = int(lines["stamp"].min()), int(lines["stamp"].max())  # type: ignore[arg-type]
    whole = Range("", 0, None, starts[-1], 0, "", True, True)
    read = parse_chunk(Chunk(b"".join(texts), 0), whole, load_grammars(), fleet, Window(first, last + 1, first))
    places = lines.select("place", "host", _offset=pl.Series(starts[:-1], dtype=pl.Int64))
    told = whole_events({kind: frame for kind, frame in read.kinds.items() if kind != "part"})
    named = (
        told.rename({"place": "_offset"}).drop("host").join(places, on="_offset", how="inner", maintain_order="left")
    )
    return EVENTS.conform(named)


def join_parts(parts: pl.DataFrame) -> pl.DataFrame:
    """stamp, place, host, instance, pid, session, text: pieces in order, from one that begins to the next that is not cut."""
    task = ["host", "instance", "pid", "session"]
    begins = ~C("reply").str.starts_with(CUT)
    ordered = parts.sort(*task, "stamp", "place", nulls_last=False)
    same = pl.all_horizontal(C(name).eq_missing(C(name).shift()) for name in task)
    ordered = ordered.with_columns(_line=(begins | ~same.fill_null(False)).cum_sum(), _begins=begins)
    ends = ~C("reply").str.ends_with(CUT)
    ordered = ordered.with_columns(
        _ended=(ends.cast(pl.UInt32).cum_sum().over("_line") - ends.cast(pl.UInt32)),
        _since=C("stamp") - C("stamp").first().over("_line"),
    ).filter((C("_ended") == 0) & (C("_since") <= TOGETHER_US))
    pieces = pl.when("_begins").then("reply").otherwise(C("reply").str.slice(len(CUT)))
    pieces = pl.when(ends).then(pieces).otherwise(pieces.str.head(-len(CUT)))
    lines = ordered.group_by("_line", maintain_order=True).agg(
        C("stamp", "place", *task).first(), C("_begins").first(), whole=ends.last(), text=pieces.str.join("")
    )
    return lines.filter("_begins", "whole").drop("_line", "_begins", "whole")


def stamp_text(us: int) -> str:
    """UTC microseconds as RFC 3339 writes them."""
    return (EPOCH + timedelta(microseconds=us)).strftime("%Y-%m-%dT%H:%M:%S.%f+00:00")
