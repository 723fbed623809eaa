"""Which hop follows which: the candidates that a few lines make, and those that they must not make."""

import polars as pl
import pytest

from hoptrace.schemas.fleet import Fleet
from hoptrace.transforms import links
from hoptrace.transforms.assemble import assemble_hops
from hoptrace.transforms.roots import choose_parents, grow_forest
from tests.made import FLEET, HOSTS, READ, Row, came, event, from_host, handed, keyed, left, lost, tried

ONE, TWO, THREE = "ABCDE1", "ABCDE2", "ABCDE3"
MID = "m@far.test"


def find_candidates(rows: list[Row], fleet: Fleet = FLEET) -> pl.DataFrame:
    """All candidates of `rows`, with the queue IDs of both ends as `giver` and `taker`."""
    stays = assemble_hops(keyed(rows), fleet, frozenset(READ))
    hops, recipients = stays.hops, stays.recipients
    own = links.index_hops(hops, recipients)
    claims = links.claim_children(hops, recipients, stays.notices, stays.filters)
    found = pl.concat(
        [
            links.link_claimed_children(links.meet_claims(own, claims)),
            links.link_claimed_parents(own, links.claim_parents(hops)),
            links.link_by_message_id(
                links.offer_by_message_id(hops, recipients), links.seek_by_message_id(hops, recipients)
            ),
            links.link_by_time(links.offer_by_time(hops, recipients, fleet), links.seek_by_time(hops, recipients)),
        ]
    )
    names = hops.select("hop", "queue_id")
    return found.join(names.rename({"hop": "parent", "queue_id": "giver"}), on="parent").join(
        names.rename({"hop": "child", "queue_id": "taker"}), on="child"
    )


def from_one(
    second: float, host: str = "out1", queue_id: str = TWO, mid: str | None = MID, **more: object
) -> list[Row]:
    return came(second, host, queue_id, mid, **{**from_host("smtp1"), **more})  # type: ignore[arg-type]


GIVEN = [*came(0, "smtp1", ONE, MID), handed(5, "smtp1", ONE, "b@far.test", "out1", TWO), left(6, "smtp1", ONE)]
UNNAMED = [
    *came(0, "smtp1", ONE, MID),
    tried(5, "smtp1", ONE, "b@far.test", relay_name="out1.our.test", relay_ip="10.0.0.3"),
]
FAR = {"relay_name": "mx.else.example", "relay_ip": "192.0.2.77"}

CASES: dict[str, tuple[list[Row], set[tuple[str, str, str, str]]]] = {
    # rows; kind, evidence, strength, taker of the candidates of ONE
    "the reply names it": ([*GIVEN, *from_one(4)], {("relay", "queued_as", "certain", TWO)}),
    "the reply names it, and the Message-ID is another": (
        [*GIVEN, *from_one(4, mid="z@far.test")],
        {("relay", "queued_as", "certain", TWO)},
    ),
    "neither has a Message-ID": (
        [*came(0, "smtp1", ONE, None), *GIVEN[3:], *from_one(4, mid=None)],
        {("relay", "queued_as", "certain", TWO)},
    ),
    "a known relay is not that host": ([*GIVEN, *from_one(4, host="mx1")], set()),
    "a stranger's reply names one of our queue IDs": (
        [
            *came(0, "smtp1", ONE, MID),
            tried(5, "smtp1", ONE, "b@far.test", reply="250 queued as ABCDE2", next_queue_id=TWO, **FAR),
            *came(4, "out1", TWO, "other@far.test"),
        ],
        set(),
    ),
    "a relay that the fleet does not know by this name": (
        [
            *came(0, "smtp1", ONE, MID),
            tried(5, "smtp1", ONE, "b@far.test", reply="250 queued as ABCDE2", next_queue_id=TWO, **FAR),
            *from_one(4, mid="other@far.test"),
        ],
        {("relay", "queued_as", "likely", TWO)},
    ),
    "too early": ([*GIVEN, *from_one(4 - 125)], set()),
    "too late": ([*GIVEN, *from_one(5 + 1801)], set()),
    "no reply names it": (
        [*UNNAMED, *from_one(4), tried(9, "out1", TWO, "b@far.test")],
        {("relay", "message_id_client", "likely", TWO)},
    ),
    "its recipient is not known yet": ([*UNNAMED, *from_one(4)], {("relay", "message_id_client", "likely", TWO)}),
    "for somebody else": ([*UNNAMED, *from_one(4), tried(9, "out1", TWO, "c@far.test")], set()),
    "brought by somebody else": (
        [*UNNAMED, *came(4, "out1", TWO, MID), tried(9, "out1", TWO, "b@far.test")],
        set(),
    ),
    "without a Message-ID": ([*came(0, "smtp1", ONE, ""), *UNNAMED[3:], *from_one(4, mid="")], set()),
    "handed to another host of ours": ([*UNNAMED, *from_one(4, host="mx1")], set()),
    "the answer was lost": (
        [*came(0, "smtp1", ONE, MID), lost(5, "smtp1", ONE, "b@far.test", "out1"), *from_one(4)],
        {("relay", "message_id_client", "likely", TWO)},
    ),
    "the answer was lost before": (
        [*came(0, "smtp1", ONE, MID), lost(5, "smtp1", ONE, "b@far.test", "out1"), *from_one(300)],
        set(),
    ),
    "deferred otherwise": (
        [*came(0, "smtp1", ONE, MID), tried(5, "smtp1", ONE, "b@far.test", "deferred"), *from_one(4)],
        set(),
    ),
    "forwarded": (
        [
            *came(0, "mx1", ONE, MID),
            *came(4, "mx1", TWO, MID)[1:],
            tried(5, "mx1", ONE, "l@our.test", next_queue_id=TWO, reply=f"forwarded as {TWO}", relay_name="local"),
        ],
        {("forward", "forwarded_as", "certain", TWO)},
    ),
    "forwarded is on the same host": (
        [
            *came(0, "mx1", ONE, MID),
            *came(4, "out1", TWO, MID)[1:],
            tried(5, "mx1", ONE, "l@our.test", next_queue_id=TWO, reply=f"forwarded as {TWO}", relay_name="local"),
        ],
        set(),
    ),
    "a notice": (
        [
            *came(0, "mx1", ONE, MID),
            tried(5, "mx1", ONE, "b@far.test", "bounced"),
            event(5.2, "mx1", ONE, "notice", action="bounce_notice", next_queue_id=TWO),
            event(5.1, "mx1", TWO, "message", message_id="n@mx1"),
        ],
        {("bounce_notice", "notice", "certain", TWO)},
    ),
    "put back": (
        [
            *came(0, "mx1", ONE, MID),
            event(9, "mx1", ONE, "requeue"),
            event(10, "mx1", TWO, "arrive", arrival="requeue", orig_queue_id=ONE),
        ],
        {("requeue", "requeued", "certain", TWO)},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_candidates(name: str) -> None:
    rows, expected = CASES[name]
    found = find_candidates(rows).filter(pl.col("giver") == ONE)
    assert set(found.select("kind", "evidence", "strength", "taker").iter_rows()) == expected
    assert not found["late"].any()


def test_of_two_givers_the_one_whose_reply_names_it() -> None:
    """Both handed over the same Message-ID to the same host; one reply names the queue ID."""
    rows = [*GIVEN, *came(0, "smtp1", THREE, MID), *from_one(4), tried(9, "out1", TWO, "b@far.test")]
    rows += [{**row, "queue_id": THREE} for row in UNNAMED[3:]]
    found = find_candidates(rows)
    assert set(found["giver"]) == {ONE, THREE}
    (chosen,) = choose_parents(found).iter_rows(named=True)
    assert (chosen["giver"], chosen["evidence"]) == (ONE, "queued_as")


@pytest.mark.parametrize("first", [ONE, THREE])
def test_of_two_givers_that_name_it_the_nearer(first: str) -> None:
    """A short queue ID that two replies name within half an hour: the hop follows the hand-over next to it."""
    second = ({ONE, THREE} - {first}).pop()
    rows = [row for at, one in ((0, first), (600, second)) for row in (
        *came(at, "smtp1", one, None), handed(at + 5, "smtp1", one, "b@far.test", "out1", TWO)
    )]  # fmt: skip
    found = find_candidates([*rows, *from_one(604, mid=None)])
    assert choose_parents(found)["giver"].to_list() == [second]


@pytest.mark.parametrize("took", [1, 1700, 1900])
def test_a_hand_over_logged_long_after_the_taker_was_done_is_late(took: float) -> None:
    rows = [
        *came(0, "smtp1", ONE, MID),
        handed(took, "smtp1", ONE, "b@far.test", "out1", TWO, delay_transmit=took * 1_000_000),
        *from_one(0.5),
        tried(1, "out1", TWO, "b@far.test"),
        left(2, "out1", TWO),
    ]
    assert find_candidates(rows)["late"].to_list() == [took > 1801]


def test_no_hop_is_its_own_ancestor() -> None:
    """Two hosts that each name the other's queue ID: the circle is cut."""
    ring = [
        *came(0, "smtp1", ONE, MID, **from_host("out1")),
        *came(0, "out1", TWO, MID, **from_host("smtp1")),
        handed(5, "smtp1", ONE, "b@far.test", "out1", TWO),
        handed(5, "out1", TWO, "b@far.test", "smtp1", ONE),
    ]
    found = find_candidates(ring)
    assert set(found.select("giver", "taker").iter_rows()) == {(ONE, TWO), (TWO, ONE)}
    forest = grow_forest(found.drop("giver", "taker"))
    assert forest["parent"].null_count() == 1
    assert forest["root"].n_unique() == 1


ADDRESSES = [
    ("b@OUR.Test", "b@our.test"),
    ("B@our.test", "B@our.test"),
    ('".b"@our.test', ".b@our.test"),
    ('"a@b"@our.TEST', "a@b@our.test"),
    ("root", "root"),
    (None, None),
]


@pytest.mark.parametrize(("address", "folded"), ADDRESSES)
def test_fold_address(address: str | None, folded: str | None) -> None:
    frame = pl.DataFrame({"a": [address]}, schema={"a": pl.String})
    assert frame.select(links.fold_address("a")).item() == folded


def test_every_host_of_the_cases_has_a_log() -> None:
    assert set(HOSTS) == set(READ)
