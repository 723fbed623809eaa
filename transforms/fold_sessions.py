"""FoldSessions: refusals and lost connections to the mail of their session, or to the door."""

from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import polars as pl
from apache_beam.pvalue import PCollection, TaggedOutput

from hoptrace.transforms.ahead import WorkAhead
from hoptrace.transforms.bundles import unpack
from hoptrace.transforms.frames import encode_frame
from hoptrace.transforms.kinds import part_kinds
from hoptrace.transforms.parse_logs import key_events, key_scans
from hoptrace.transforms.plan import Keyed, Plan
from hoptrace.transforms.sessions import cut_sessions, fold_sessions
from hoptrace.transforms.wrapped import rejoin_lines

C = pl.col


class FoldSessions(beam.PTransform):  # type: ignore[misc]
    """PCollection[Keyed] of sessions -> tagged: keyed (events that found a queue ID), doors (frames that did not), scans, waiting
    (events of the next night that lines of this one tell), counts."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.plan = plan

    def fold(self, shard: tuple[int, Iterable[tuple[str, bytes]]]) -> Iterator[Any]:
        """One shard of sessions."""
        kinds = unpack(shard[1])
        told = fold_sessions(kinds)
        crossing = cut_sessions(told, self.plan.night.ends_at)
        if crossing.height:
            yield TaggedOutput("waiting", encode_frame(crossing))
        events = told.drop("since")
        whole = rejoin_lines(kinds, self.plan.fleet)
        for keyed in key_scans(part_kinds(whole), self.plan.shards):
            yield TaggedOutput("scans", keyed)
        owned = pl.concat([events, whole]).filter(C("queue_id").is_not_null())
        yield from key_events(owned, self.plan.shards)
        yield TaggedOutput("counts", ("events with a queue ID", owned.height))
        yield TaggedOutput("doors", encode_frame(events.filter(C("queue_id").is_null())))

    def expand(self, sessions: PCollection[Keyed]) -> Any:
        return (
            sessions
            | beam.GroupByKey()
            | beam.ParDo(WorkAhead(self.fold)).with_outputs("doors", "scans", "waiting", "counts", main="keyed")
        )
