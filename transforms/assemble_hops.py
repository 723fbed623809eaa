"""AssembleHops: events to hops and their recipients, and to what hops are matched by."""

from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import polars as pl
from apache_beam.pvalue import AsList, AsSingleton, PCollection, TaggedOutput

from hoptrace.schemas.fleet import Fleet
from hoptrace.transforms import doors, links, scans
from hoptrace.transforms.ahead import WorkAhead
from hoptrace.transforms.assemble import Stays, assemble_kinds
from hoptrace.transforms.bundles import pack, unpack
from hoptrace.transforms.cover import read_hosts
from hoptrace.transforms.frames import decode_frame, encode_frame
from hoptrace.transforms.hash import hash_columns
from hoptrace.transforms.holes import count_handed
from hoptrace.transforms.kinds import Kinds
from hoptrace.transforms.plan import Keyed, Plan

C = pl.col
SPACES = ("by queue ID", "by Message-ID", "by correspondents")
"""The key spaces of the matching shuffle; each has its own `shards` shards."""


def offer_matches(
    stays: Stays, tries: pl.DataFrame, fleet: Fleet, shards: int, scanned: frozenset[str] = frozenset()
) -> Iterator[Keyed]:
    """What one shard's hops can be matched by, each table to the shards of its space; `scanned`: hosts with `scans`."""
    tables = {
        "own": (links.index_hops(stays.hops, stays.recipients), ["queue_id"], 0),
        "children": (links.claim_children(stays.hops, stays.recipients, stays.notices, stays.filters), ["queue_id"], 0),
        "parents": (links.claim_parents(stays.hops), ["queue_id"], 0),
        "offers": (links.offer_by_message_id(stays.hops, stays.recipients), ["message_id"], 1),
        "seekers": (links.seek_by_message_id(stays.hops, stays.recipients), ["message_id"], 1),
        "due": (links.offer_by_time(stays.hops, stays.recipients, fleet), ["host", "address"], 1),
        "untold": (links.seek_by_time(stays.hops, stays.recipients), ["host", "address"], 1),
        "scanned": (scans.seek_scans(stays.hops, scanned), ["message_id"], 1),
        "accepted": (doors.name_client(doors.accepted(stays.hops, stays.recipients)), ["_sender", "asked"], 2),
    }
    for name, (frame, by, space) in tables.items():
        if frame.height:
            yield from pack(
                name, frame.with_columns(hash_columns(frame, by).alias("key")), "key", shards, space * shards
            )
    yield from key_doors(tries, shards)


def key_doors(tries: pl.DataFrame, shards: int) -> Iterator[Keyed]:
    """Door tries (EVENTS) to the shards of their correspondents."""
    if tries.height:
        named = doors.name_client(tries)
        keyed = named.with_columns(hash_columns(named, ["_sender", "asked"]).alias("key"))
        yield from pack("doors", keyed, "key", shards, 2 * shards)


def find_scanned(keyed: Keyed) -> Iterator[str]:
    """The hosts of a frame of scans."""
    yield from decode_frame(keyed[1][1])["host"].unique()


def key_foreign_doors(data: bytes, plan: Plan, coverage: bytes) -> Iterator[Keyed]:
    """The door tries of an encoded frame that no host of ours made, keyed."""
    yield from key_doors(doors.outside(decode_frame(data), plan.fleet, frozenset(read_hosts(coverage))), plan.shards)


def cut_ahead(kinds: Kinds, ends_at: int) -> dict[str, pl.DataFrame]:
    """The events before the night's end of those keys that have lines in the look-ahead."""
    ahead = pl.concat([frame.filter(C("stamp") >= ends_at).select("key") for frame in kinds.values()]).unique()
    return {
        kind: frame.filter(C("stamp") < ends_at).join(ahead, on="key", how="semi", maintain_order="left")
        for kind, frame in kinds.items()
    }


class AssembleHops(beam.PTransform):  # type: ignore[misc]
    """PCollection[Keyed] of events -> tagged: stays (Keyed by hop), matches (Keyed by what is matched), handed, counts.

    `scanned`: the hosts whose filters name messages by their Message-ID only.
    Stays are frames hops, recipients, notices, filters; those under cut_hops, cut_recipients, cut_notices and cut_filters are the
    same hops as they stood at the night's end, for hops that have lines in the look-ahead.
    """

    def __init__(self, plan: Plan, coverage: PCollection[bytes], scanned: PCollection[str]) -> None:
        super().__init__()
        self.plan = plan
        self.coverage = coverage
        self.scanned = scanned

    def fold(
        self, shard: tuple[int, Iterable[tuple[str, bytes]]], coverage: bytes, scanned: Iterable[str]
    ) -> Iterator[Any]:
        """One shard of events."""
        plan, hosts = self.plan, read_hosts(coverage)
        kinds = unpack(shard[1])
        known = frozenset(hosts)
        stays = assemble_kinds(kinds, plan.fleet, known)
        cut = assemble_kinds(cut_ahead(kinds, plan.night.ends_at), plan.fleet, known)
        for prefix, part in (("", stays), ("cut_", cut)):
            frames = {
                "hops": part.hops,
                "recipients": part.recipients,
                "notices": part.notices,
                "filters": part.filters,
            }
            for name, frame in frames.items():
                if frame.height:
                    yield shard[0], (prefix + name, encode_frame(frame))
        tries = doors.outside(stays.doors, plan.fleet, known)
        for match in offer_matches(stays, tries, plan.fleet, plan.shards, frozenset(scanned)):
            yield TaggedOutput("matches", match)
        yield TaggedOutput("handed", encode_frame(count_handed(stays.recipients, plan.night)))
        counts = {
            "events assembled": sum(frame.height for frame in kinds.values()),
            "hops assembled": stays.hops.height,
            "recipients assembled": stays.recipients.height,
        }
        for count in counts.items():
            yield TaggedOutput("counts", count)

    def expand(self, events: PCollection[Keyed]) -> Any:
        return (
            events
            | beam.GroupByKey()
            | beam.ParDo(WorkAhead(self.fold), AsSingleton(self.coverage), AsList(self.scanned)).with_outputs(
                "matches", "handed", "counts", main="stays"
            )
        )
