"""MatchHops: claims, Message-IDs and door tries met with the hops they mean; and GrowForest: one parent per hop."""

from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import polars as pl
from apache_beam.pvalue import PCollection, TaggedOutput

from hoptrace.schemas.events import EVENTS
from hoptrace.transforms import doors, links, scans
from hoptrace.transforms.ahead import WorkAhead
from hoptrace.transforms.bundles import pack, unpack
from hoptrace.transforms.frames import decode_frame, encode_frame
from hoptrace.transforms.hash import hash_columns
from hoptrace.transforms.plan import Keyed, Plan
from hoptrace.transforms.roots import grow_forest

C = pl.col


def match_links(tables: dict[str, pl.DataFrame]) -> pl.DataFrame:
    """Link candidates of one shard, by queue ID, by Message-ID or by time."""
    found = [pl.DataFrame(schema=links.CANDIDATES)]
    if "claimed" in tables:
        found.append(links.link_claimed_children(tables["claimed"]))
    if "own" in tables and "parents" in tables:
        found.append(links.link_claimed_parents(tables["own"].drop("key"), tables["parents"].drop("key")))
    if "offers" in tables and "seekers" in tables:
        found.append(links.link_by_message_id(tables["offers"].drop("key"), tables["seekers"].drop("key")))
    if "due" in tables and "untold" in tables:
        found.append(links.link_by_time(tables["due"].drop("key"), tables["untold"].drop("key")))
    return pl.concat([frame.select(pl.col(n).cast(t) for n, t in links.CANDIDATES.items()) for frame in found])


def match_doors(tables: dict[str, pl.DataFrame], ends_at: int) -> doors.Series | None:
    """Door series of one shard of correspondents; None where nobody was turned away."""
    accepted = tables.get("accepted", pl.DataFrame(schema=doors.ACCEPTED)).drop("key", strict=False)
    if "doors" not in tables and not accepted["turned"].any():
        return None
    tries = tables["doors"].drop("key") if "doors" in tables else doors.name_client(EVENTS.empty())
    return doors.match_series(tries, accepted, ends_at)


class MatchHops(beam.PTransform):  # type: ignore[misc]
    """PCollection[Keyed] of matches -> tagged: candidates (frames), keyed (firsts, filters and clashes by hop, refusals anywhere),
    waiting (door events and scans)."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.plan = plan

    def match(self, shard: tuple[int, Iterable[tuple[str, bytes]]]) -> Iterator[Any]:
        """One shard of one key space."""
        plan, tables = self.plan, unpack(shard[1])
        if "own" in tables and "children" in tables:
            tables["claimed"] = links.meet_claims(tables["own"].drop("key"), tables["children"].drop("key"))
        candidates = match_links(tables)
        if candidates.height:
            yield TaggedOutput("candidates", encode_frame(candidates))
        if "claimed" in tables:
            yield from pack("clashes", links.find_clashes(tables["claimed"]), "hop", plan.shards)
        yield from self.scan(tables)
        series = match_doors(tables, plan.night.ends_at)
        if series is None:
            return
        yield from pack("firsts", series.firsts, "hop", plan.shards)
        refusals = doors.write_refusals(series.never, plan.night.ends_at)
        if refusals.height:
            yield from pack(
                "refusals", refusals.with_columns(hash_columns(refusals, ["trace_id"]).alias("hop")), "hop", plan.shards
            )
        waiting = series.waiting.filter(C("stamp") < plan.night.ends_at)
        if waiting.height:
            yield TaggedOutput("waiting", encode_frame(waiting))

    def scan(self, tables: dict[str, pl.DataFrame]) -> Iterator[Any]:
        """What filters said by Message-ID, to the hops that it means and to the next night."""
        if "scans" not in tables:
            return
        plan, lines = self.plan, tables["scans"].drop("key")
        if "scanned" in tables:
            found = scans.match_scans(lines, tables["scanned"].drop("key"))
            yield from pack("filters", found, "hop", plan.shards)
            yield from pack("cut_filters", found.filter(C("at") < plan.night.ends_at), "hop", plan.shards)
        late = scans.wait_scans(lines, plan.night.ends_at)
        if late.height:
            yield TaggedOutput("waiting", encode_frame(late))

    def expand(self, matches: PCollection[Keyed]) -> Any:
        return (
            matches
            | beam.GroupByKey()
            | beam.ParDo(WorkAhead(self.match)).with_outputs("candidates", "waiting", main="keyed")
        )


class GrowForest(beam.PTransform):  # type: ignore[misc]
    """PCollection of candidate frames -> PCollection[Keyed] 'forest', by hop. The pairs of a night meet on one worker, as integers."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.plan = plan

    def grow(self, group: tuple[int, Iterable[bytes]]) -> Iterator[Keyed]:
        """All candidates of the night."""
        candidates = pl.concat([decode_frame(data) for data in group[1]])
        yield from pack("forest", grow_forest(candidates), "hop", self.plan.shards)

    def expand(self, candidates: PCollection[bytes]) -> PCollection[Keyed]:
        return (
            candidates
            | beam.Map(together).with_output_types(tuple[int, bytes])
            | beam.GroupByKey()
            | beam.FlatMap(self.grow).with_output_types(Keyed)
        )


def together(data: bytes) -> tuple[int, bytes]:
    """Everything under one key."""
    return 0, data
