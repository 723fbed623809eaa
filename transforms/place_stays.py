"""PlaceStays: every hop, with all that belongs to it, to the shard of its trace and of the notices about it."""

from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import polars as pl
from apache_beam.pvalue import PCollection, TaggedOutput

from hoptrace.transforms.ahead import WorkAhead
from hoptrace.transforms.bundles import pack, unpack
from hoptrace.transforms.plan import Keyed, Plan
from hoptrace.transforms.roots import FOREST, place_hops

PARTS = 2
"""Traces come in so many times more shards than events: telling them takes memory, which the next shard can use again."""


def find_component(frame: pl.DataFrame, components: pl.DataFrame) -> pl.DataFrame:
    """`frame`, by hop, with the component of each hop; an unlinked hop is its own."""
    if "component" in frame.columns:
        return frame
    joined = frame.join(components, on="hop", how="left", maintain_order="left")
    return joined.with_columns(pl.coalesce("component", "hop"))


class PlaceStays(beam.PTransform):  # type: ignore[misc]
    """PCollection[Keyed] by hop (stays, forest, firsts, refusals) -> tagged: placed (Keyed by component), counts."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.plan = plan

    def place(self, shard: tuple[int, Iterable[tuple[str, bytes]]]) -> Iterator[Any]:
        """One shard of hops."""
        tables, shards = unpack(shard[1]), PARTS * self.plan.shards
        forest = tables.pop("forest", pl.DataFrame(schema=FOREST))
        refusals = tables.pop("refusals", None)
        if refusals is not None:
            yield from pack("refusals", refusals, "hop", shards)
        for name in ("hops", "cut_hops"):
            if name in tables:
                tables[name] = place_hops(tables[name], forest)
        components = forest.select("hop", "component")
        for name, frame in tables.items():
            yield from pack(name, find_component(frame, components), "component", shards)
        yield TaggedOutput("counts", ("hops placed", tables["hops"].height if "hops" in tables else 0))
        yield TaggedOutput(
            "counts", ("recipients placed", tables["recipients"].height if "recipients" in tables else 0)
        )

    def expand(self, parts: PCollection[Keyed]) -> Any:
        return parts | beam.GroupByKey() | beam.ParDo(WorkAhead(self.place)).with_outputs("counts", main="placed")
