"""Nights of which something is lacking: no lines, quiet lines, tries at the door only, a mail store's lines only."""

import itertools

import polars as pl
import pytest

from hoptrace.schemas.catalog import DAY_TABLES
from hoptrace.schemas.fleet import Fleet
from hoptrace.transforms.assemble import assemble_hops
from hoptrace.transforms.assemble_hops import offer_matches
from hoptrace.transforms.doors import match_series, name_client, write_refusals
from hoptrace.transforms.holes import whole_logs
from hoptrace.transforms.links import CANDIDATES
from hoptrace.transforms.match_hops import match_links
from hoptrace.transforms.publishable import tell_night
from hoptrace.transforms.roots import FOREST, grow_forest, place_hops
from tests.made import FLEET, READ, Row, came, event, frame, keyed, left, night_of, tried, turned, us
from tests.plain import publish, run_nights, run_plain

MAIL = [*came(0, "out1", "ABCDE1", "m@far.test"), tried(5, "out1", "ABCDE1", "b@far.test"), left(6, "out1", "ABCDE1")]
LOGS: dict[str, tuple[list[Row], dict[str, int]]] = {
    "nothing": ([], {}),
    "sessions only": ([event(0, "mx1", None, "connect", pid=1), event(9, "mx1", None, "disconnect", pid=1)], {}),
    "doors only": ([turned(0, "mx1", "a@far.test", "b@our.test", 550)], {"deliveries": 1}),
    "one soft try": ([turned(0, "mx1", "a@far.test", "b@our.test")], {"open": 1}),
    "a store only": (
        [
            event(
                0,
                "store1",
                "sess1",
                "store",
                action="stored",
                folder="INBOX",
                user="b@our.test",
                message_id="m@far.test",
            )
        ],
        {"deliveries": 1, "hops": 1, "hop_recipients": 1},
    ),
    "a mailbox only": ([event(0, "store1", "sess2", "mailbox", user="b@our.test", action="session")], {}),
    "no recipients": (came(0, "out1", "ABCDE1", "m@far.test"), {"open": 1}),
    "an end only": ([left(0, "out1", "ABCDE1")], {"hops": 1}),
    "a notice only": ([event(0, "out1", "ABCDE1", "notice", action="bounce_notice", next_queue_id="ABCDE2")], {}),
    "one mail": (MAIL, {"deliveries": 1, "hops": 1, "hop_recipients": 1}),
}


@pytest.mark.parametrize("name", LOGS)
def test_a_night_that_lacks_something(name: str) -> None:
    rows, counts = LOGS[name]
    told = run_plain(frame(rows), FLEET, night_of(-10, 3600), READ)
    tables = {table: DAY_TABLES[table].conform(told.tables[table]).height for table in told.tables}
    assert {table: tables[table] for table in counts} == counts
    if name in ("nothing", "sessions only", "a mailbox only"):
        assert not any(tables.values())


@pytest.mark.parametrize("name", LOGS)
def test_its_state_is_read_by_an_empty_night(name: str) -> None:
    """What it leaves open is neither lost nor doubled by a night without any line."""
    rows, _ = LOGS[name]
    bounds = [us(-10), us(3600), us(7200), us(200_000)]
    one = publish(run_nights(frame(rows), FLEET, [bounds[0], bounds[-1]], READ))
    for table, whole in publish(run_nights(frame(rows), FLEET, bounds, READ)).items():
        if table != "delay_stats":
            assert whole.equals(one[table]), table


def placed_of(rows: list[Row]) -> dict[str, pl.DataFrame]:
    """The frames of whole traces, as one shard of the last step gets them: only those that have rows."""
    night = night_of(-10, 3600)
    events = frame(rows)
    stays = assemble_hops(keyed(events.filter(pl.col("queue_id").is_not_null())), FLEET, frozenset(READ))
    forest = grow_forest(pl.DataFrame(schema=CANDIDATES))
    tries = name_client(events.filter(pl.col("queue_id").is_null()))
    from hoptrace.transforms.doors import ACCEPTED

    series = match_series(tries, pl.DataFrame(schema=ACCEPTED), night.ends_at)
    frames = {
        "hops": place_hops(stays.hops, forest),
        "recipients": stays.recipients,
        "notices": stays.notices,
        "refusals": write_refusals(series.never, night.ends_at),
    }
    return {name: rows for name, rows in frames.items() if rows.height}


@pytest.mark.parametrize("name", [name for name in LOGS if name not in ("nothing", "sessions only", "a mailbox only")])
def test_a_shard_that_lacks_a_table(name: str) -> None:
    rows, counts = LOGS[name]
    placed = placed_of(rows)
    told = tell_night(placed, FLEET, night_of(-10, 3600), whole_logs(READ, us(-10)))
    tables = {table: DAY_TABLES[table].conform(told.tables[table]).height for table in told.tables}
    assert {table: tables.get(table, 0) for table in counts} == counts


def test_matching_where_a_side_is_lacking() -> None:
    stays = assemble_hops(keyed(MAIL), FLEET, frozenset(READ))
    packed = [name for _, (name, _) in offer_matches(stays, frame([]), Fleet(), 3)]
    assert set(packed) == {"own", "offers", "accepted"}
    for count in range(3):
        for names in itertools.combinations(("own", "offers", "accepted"), count):
            tables = {name: frame([]).with_columns(key=pl.lit(0, pl.UInt64)) for name in names}
            assert match_links(tables).is_empty()


def test_forest_of_nothing() -> None:
    assert grow_forest(pl.DataFrame(schema=CANDIDATES)).schema == pl.Schema(FOREST)
