"""The whole night as one call of the pure functions, without Beam and without shards: what the pipeline must equal."""

from collections.abc import Mapping

import polars as pl

from hoptrace.schemas.fleet import Fleet
from hoptrace.transforms import assemble, doors, links, roots, sessions
from hoptrace.transforms.hash import hash_columns
from hoptrace.transforms.plan import Night
from hoptrace.transforms.publishable import NightTables, tell_night

C = pl.col


def run_plain(events: pl.DataFrame, fleet: Fleet, night: Night, read_until: Mapping[str, int]) -> NightTables:
    """Tables of a night from its events (EVENTS columns)."""
    hosts = frozenset(read_until)
    nameless = events.filter(C("queue_id").is_null() & C("kind").is_in(["door", "lost"]))
    told = sessions.fold_sessions(events)
    keyed = pl.concat([events.join(nameless, on=["host", "stamp", "place"], how="anti"), told.filter(C("queue_id").is_not_null())])
    keyed = keyed.filter(C("queue_id").is_not_null()).with_columns(hash_columns(keyed.filter(C("queue_id").is_not_null()), ["host", "queue_id"]).alias("key"))
    stays = assemble.assemble_hops(keyed, fleet, hosts)
    tries = pl.concat([told.filter(C("queue_id").is_null()), stays.doors])
    own = links.index_hops(stays.hops)
    candidates = pl.concat([
        links.link_claimed_children(own, links.claim_children(stays.hops, stays.recipients, stays.notices)),
        links.link_claimed_parents(own, links.claim_parents(stays.hops)),
        links.link_by_message_id(links.offer_by_message_id(stays.hops, stays.recipients), links.seek_by_message_id(stays.hops, stays.recipients)),
    ])
    forest = roots.grow_forest(candidates)
    series = doors.match_series(
        doors.name_client(doors.outside(tries, fleet, hosts)), doors.name_client(doors.accepted(stays.hops, stays.recipients)), night.ends_at
    )
    placed = {"hops": roots.place_hops(stays.hops, forest), "notices": stays.notices, "firsts": series.firsts,
              "refusals": doors.write_refusals(series.never, night.ends_at)}
    components = placed["hops"].select("hop", "component")
    placed["recipients"] = stays.recipients.join(components, on="hop", how="left", maintain_order="left")
    return tell_night(placed, fleet, night, dict(read_until))
