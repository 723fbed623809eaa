"""BringState: what the night before left open, each part to where tonight's lines of its kind go."""

from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import polars as pl
from apache_beam.pvalue import TaggedOutput

from hoptrace.transforms.assemble_hops import key_doors
from hoptrace.transforms.bundles import pack
from hoptrace.transforms.carry import fold_clashes
from hoptrace.transforms.frames import encode_frame
from hoptrace.transforms.holes import STATE_KINDS, restore_logs
from hoptrace.transforms.kinds import part_kinds
from hoptrace.transforms.parse_logs import key_events, key_mailbox, key_scans
from hoptrace.transforms.plan import Plan
from hoptrace.transforms.unfinished_hour import restore_counts

C = pl.col
OUTPUTS = ("coverage", "handed", "counted", "later", "doors", "mailbox", "scans", "clashes", "counts")


def part_state(state: pl.DataFrame, plan: Plan) -> Iterator[tuple[str, Any]]:
    """(output, element) of all of `state` (EVENTS of `open_hops`)."""
    shards = plan.shards
    told, rest = state.filter(C("kind").is_in(STATE_KINDS)), state.filter(~C("kind").is_in(STATE_KINDS))
    boxed, rest = rest.filter(C("kind") == "mailbox"), rest.filter(C("kind") != "mailbox")
    owned, waiting = rest.filter(C("queue_id").is_not_null()), rest.filter(C("queue_id").is_null())
    scanned, waiting = waiting.filter(C("kind") == "filter"), waiting.filter(C("kind") != "filter")
    for output, frame in zip(("coverage", "handed"), restore_logs(told), strict=True):
        yield output, encode_frame(frame)
    yield "counted", encode_frame(restore_counts(told))
    later = rest.filter(C("stamp") >= plan.night.ends_at)
    if later.height:
        yield "later", encode_frame(later)
    parts = {
        "keyed": key_events(owned, shards),
        "doors": key_doors(waiting, shards),
        "mailbox": key_mailbox(boxed, shards),
        "scans": key_scans(part_kinds(scanned), shards),
        "clashes": pack("clashes", fold_clashes(told), "hop", shards),
    }
    for output, elements in parts.items():
        for element in elements:
            yield output, element
    yield "counts", ("events with a queue ID", owned.height)
    yield "counts", ("mailbox lines", boxed.height)


def put_out(part: tuple[str, Any]) -> Any:
    """An element of `part_state` under its output."""
    output, element = part
    return element if output == "keyed" else TaggedOutput(output, element)


class BringState(beam.PTransform):  # type: ignore[misc]
    """Pipeline -> tagged: keyed (events by host and queue ID), doors and scans (Keyed by what is matched), mailbox (by host and
    session), clashes (by hop), coverage, handed, counted, later (frames), counts."""

    def __init__(self, state: pl.DataFrame, plan: Plan) -> None:
        super().__init__()
        self.state, self.plan = state, plan

    def expand(self, p: beam.Pipeline) -> Any:
        parts = p | beam.Create(list(part_state(self.state, self.plan)), reshuffle=False)
        return parts | beam.Map(put_out).with_outputs(*OUTPUTS, main="keyed")
