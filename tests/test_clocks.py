"""Clocks that are off, step back, or are put right by fleet.toml."""

import random
from dataclasses import replace

import polars as pl
import pytest

from hoptrace.schemas.fleet import Fleet, Host
from hoptrace.transforms.assemble import assemble_hops
from hoptrace.transforms.clocks import Clock, bound_pairs, solve_clocks
from hoptrace.transforms.plan import Night
from tests.made import FLEET, READ, Row, came, event, frame, from_host, handed, keyed, left, tried, us
from tests.plain import publish, run_plain

SECOND = 1_000_000
Links = list[tuple[str, str, int, int]]


def handovers(ahead: dict[str, float], pairs: list[tuple[str, str]], count: int, seed: int = 1) -> Links:
    """What `count` hand-overs of each pair say, of hosts whose clocks are ahead by so many seconds."""
    rnd, links = random.Random(seed), []
    for giver, taker in pairs:
        for _ in range(count):
            apart, before, after = ahead[taker] - ahead[giver], rnd.expovariate(20), rnd.expovariate(20)
            links.append((giver, taker, round((apart - after) * SECOND), round((apart + before) * SECOND)))
    return links


def solved(links: Links) -> dict[str, Clock]:
    schema = {"giver": pl.String, "taker": pl.String, "least": pl.Int64, "most": pl.Int64}
    return {clock.host: clock for clock in solve_clocks(bound_pairs(pl.DataFrame(links, schema=schema, orient="row")))}


ROUTES = [("a", "b"), ("b", "c"), ("c", "d"), ("a", "d"), ("d", "e")]


@pytest.mark.parametrize(
    "ahead",
    [
        {"a": 0, "b": 0, "c": 2.5, "d": 0, "e": 0},
        {"a": -0.35, "b": 0, "c": 2.5, "d": 0, "e": 0.42},
        {"a": -3600, "b": 0, "c": 0, "d": 0.1, "e": 7200},
        {"a": 0, "b": 0, "c": 0, "d": 0, "e": 0},
    ],
)
def test_the_clocks_that_are_off_are_found(ahead: dict[str, float]) -> None:
    found = solved(handovers(ahead, ROUTES, 200))
    for host, clock in found.items():
        assert abs(clock.ahead / SECOND - ahead[host]) <= clock.within / SECOND < 0.2, clock
        assert clock.off == (abs(ahead[host]) > 0.3) or 0 < abs(ahead[host]) <= 0.3
    assert found["a"].links == 400


def test_odd_hand_overs_change_nothing() -> None:
    ahead = {"a": 0, "b": 0, "c": 2.5, "d": 0, "e": 0}
    odd: Links = [("a", "b", 50 * SECOND, 60 * SECOND), ("b", "c", -9 * SECOND, -8 * SECOND)]
    links = handovers(ahead, ROUTES, 400)
    assert solved(links + odd)["c"] == replace(solved(links)["c"], links=801)


def test_two_hosts_alone_cannot_tell_which_one_is_off() -> None:
    found = solved(handovers({"a": 0, "b": 2.5}, [("a", "b")], 100))
    assert [clock.ahead for clock in found.values()] == [0, 0]
    assert min(clock.within for clock in found.values()) > 2 * SECOND
    assert not any(clock.off for clock in found.values())


def test_no_hand_overs_no_clocks() -> None:
    assert solved([]) == {}
    assert solved([("a", "a", 0, 0)]) == {}


def told(rows: list[Row], fleet: Fleet = FLEET) -> dict[str, pl.DataFrame]:
    night = Night(us(0) - 3600 * SECOND, us(0) + 40 * 3600 * SECOND)
    return publish([run_plain(frame(rows), fleet, night, READ)])


def in_order(rows: list[Row]) -> list[Row]:
    """The rows with places in the order in which they were written, whatever their stamps."""
    return [{**row, "place": number} for number, row in enumerate(rows)]


@pytest.mark.parametrize("back", [0.0, 2.0, 90.0, 3600.0])
def test_a_clock_that_steps_back_within_a_mail(back: float) -> None:
    rows = [
        *came(1000, "mx1", "A1", "m@far.test"),
        tried(1010 - back, "mx1", "A1", "b@our.test"),
        left(1010.1 - back, "mx1", "A1"),
    ]
    (row,) = told(in_order(rows))["deliveries"].to_dicts()
    assert (row["outcome"], row["path"]) == ("delivered", ["mx1"])
    assert row["delay_s"] == pytest.approx(max(0, 10 - back), abs=0.2)


@pytest.mark.parametrize("off", [-100.0, -2.5, 0.0, 2.5, 100.0])
def test_links_not_clocks_order_two_hosts(off: float) -> None:
    rows = [
        *came(1000, "smtp1", "A1", "m@far.test"),
        handed(1001, "smtp1", "A1", "b@far.test", "out1", "B1"),
        left(1001.1, "smtp1", "A1"),
        *came(1000.5 + off, "out1", "B1", "m@far.test", **from_host("smtp1")),
        tried(1003 + off, "out1", "B1", "b@far.test"),
        left(1003.1 + off, "out1", "B1"),
    ]
    tables = told(rows)
    (row,) = tables["deliveries"].to_dicts()
    assert row["path"] == ["smtp1", "out1"]
    assert row["delay_s"] == pytest.approx(max(0, 3 + off), abs=0.2)
    (link,) = tables["handoffs"].filter(pl.col("recipient").is_not_null()).to_dicts()
    assert link["gap_s"] == pytest.approx(-0.5 + off, abs=0.2)
    assert link["since_try_s"] == pytest.approx(link["gap_s"] + 1.0, abs=0.2)


def test_an_offset_of_fleet_toml_is_taken_off_queue_ids_too() -> None:
    made = 1_436_100_731_053_285
    rows = [event(0, "mx1", "3mPVKl0Mhjz7sXv", kind, service="smtpd") for kind in ("arrive", "leave")]
    events = keyed(frame(rows).with_columns(stamp=pl.lit(made + 1000)))
    fleet = replace(
        FLEET, hosts={**FLEET.hosts, "mx1": replace(FLEET.hosts.get("mx1", Host("mx1")), clock_offset_us=2_500_000)}
    )
    (plain,) = assemble_hops(events, FLEET, frozenset(READ)).hops.to_dicts()
    (mended,) = assemble_hops(events.with_columns(pl.col("stamp") - 2_500_000), fleet, frozenset(READ)).hops.to_dicts()
    assert (plain["arrived"], plain["epoch"]) == (made, made)
    assert (mended["arrived"], mended["epoch"], mended["hop"]) == (made - 2_500_000, made, plain["hop"])
