"""The forest: one parent per hop, circles cut, roots as plain union-find tells them."""

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from hoptrace.transforms.links import CANDIDATES, EVIDENCE_RANK
from hoptrace.transforms.roots import FOREST, choose_parents, find_roots, grow_forest, place_hops
from tests.made import shuffled

HOP = st.integers(1, 30)
PARENTS = st.dictionaries(HOP, HOP, max_size=40)
"""Child to parent; a hop may be its own parent, which is the smallest circle."""

LINKS = st.lists(
    st.tuples(
        HOP,
        HOP,
        st.sampled_from(["relay", "filter", "forward", "requeue", "bounce_notice", "delay_notice"]),
        st.sampled_from(sorted(EVIDENCE_RANK)),
        st.sampled_from(["certain", "likely"]),
        st.integers(-100, 100),
        st.booleans(),
    ),
    max_size=60,
)


def link(
    child: int,
    parent: int,
    kind: str = "relay",
    evidence: str = "queued_as",
    strength: str = "certain",
    gap: int = 0,
    late: bool = False,
) -> tuple[object, ...]:
    return child, parent, kind, evidence, strength, gap, abs(gap), gap, 0, late


def candidates(links: list[tuple[object, ...]]) -> pl.DataFrame:
    return pl.DataFrame(links, schema=CANDIDATES, orient="row")


def keys(values: list[int]) -> pl.Series:
    return pl.Series(values, dtype=pl.UInt64)


def walk_up(parents: dict[int, int], hop: int) -> int | None:
    """The root of `hop`; None where the way leads into a circle."""
    seen = set()
    while hop in parents:
        if hop in seen:
            return None
        seen.add(hop)
        hop = parents[hop]
    return hop


def circles(parents: dict[int, int]) -> set[frozenset[int]]:
    """The hops of every circle."""
    found = set()
    for hop in list(parents):
        if walk_up(parents, hop) is None:
            for _ in parents:
                hop = parents[hop]  # noqa: PLW2901
            circle = {hop}
            while (hop := parents[hop]) not in circle:
                circle.add(hop)
            found.add(frozenset(circle))
    return found


@given(PARENTS)
def test_roots_are_those_of_walking_up(parents: dict[int, int]) -> None:
    found = find_roots(keys(list(parents)), keys(list(parents.values())))
    hops = {*parents, *parents.values()}
    assert set(found["hop"]) == hops
    for hop, root, _ in found.iter_rows():
        plain = walk_up(parents, hop)
        if plain is not None:
            assert root == plain
    members = {find: root for find, root, _ in found.iter_rows()}
    for child, parent in parents.items():
        assert members[child] == members[parent] or found.filter(pl.col("hop") == child)["cut"].item()


@given(PARENTS)
def test_a_circle_is_cut_once_at_least_and_no_tree_is(parents: dict[int, int]) -> None:
    found = find_roots(keys(list(parents)), keys(list(parents.values())))
    cut = set(found.filter("cut")["hop"])
    assert cut == {min(circle) for circle in circles(parents)}
    left = {child: parent for child, parent in parents.items() if child not in cut}
    assert all(walk_up(left, hop) is not None for hop in left)
    assert {hop: root for hop, root, _ in found.iter_rows()} == {hop: walk_up(left, hop) for hop in found["hop"]}


@pytest.mark.parametrize("length", [1, 2, 3, 1000, 4097])
def test_long_chains_and_circles(length: int) -> None:
    chain = find_roots(keys(list(range(2, length + 2))), keys(list(range(1, length + 1))))
    assert chain["root"].unique().to_list() == [1]
    assert not chain["cut"].any()
    circle = find_roots(keys(list(range(1, length + 1))), keys([*range(2, length + 1), 1]))
    assert circle.filter("cut")["hop"].to_list() == [1]
    assert circle["root"].unique().to_list() == [1]


def test_big_keys() -> None:
    top = 2**64 - 1
    assert find_roots(keys([top, top - 1]), keys([top - 1, 5])).sort("hop")["root"].to_list() == [5, 5, 5]


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        (link(1, 9, strength="certain", evidence="message_id"), link(1, 2, strength="likely")),
        (link(1, 9, evidence="queued_as", gap=50), link(1, 2, evidence="orig_queue_id")),
        (link(1, 9, gap=-3), link(1, 2, gap=4)),
        (link(1, 2, gap=-3), link(1, 9, gap=3)),
    ],
)
def test_the_strongest_then_the_nearest_then_the_smallest(
    better: tuple[object, ...], worse: tuple[object, ...]
) -> None:
    for order in ([better, worse], [worse, better]):
        assert choose_parents(candidates(order)).rows() == [better]


@settings(deadline=None)
@given(LINKS, st.integers(0, 100))
def test_any_order_grows_the_same_forest(links: list[tuple[object, ...]], seed: int) -> None:
    rows = candidates([link(*one) for one in links if one[0] != one[1]])  # type: ignore[arg-type]
    mixed = shuffled(rows, seed) if rows.height else rows
    assert_frame_equal(choose_parents(mixed), choose_parents(rows))
    forest = grow_forest(rows)
    assert_frame_equal(grow_forest(mixed), forest)
    assert forest.schema == pl.Schema(FOREST)
    assert forest["hop"].is_unique().all()
    parents = dict(forest.filter(pl.col("parent").is_not_null()).select("hop", "parent").iter_rows())
    assert dict(forest.select("hop", "root").iter_rows()) == {hop: walk_up(parents, hop) for hop in forest["hop"]}
    component = dict(forest.select("hop", "component").iter_rows())
    for hop, parent, about in forest.select("hop", "parent", "about").iter_rows():
        assert all(component[hop] == component[other] for other in (parent, about) if other is not None), (
            hop,
            parent,
            about,
        )


def test_a_late_giver_roots_nothing() -> None:
    forest = grow_forest(
        candidates([link(2, 1, late=True), link(3, 2), link(3, 4, "relay", "forwarded_as", late=True)])
    )
    assert forest.select("hop", "root", "parent", "late_parent").rows() == [
        (1, 1, None, None),
        (2, 2, None, 1),
        (3, 2, 2, None),
    ]
    assert forest["component"].n_unique() == 1


def test_a_notice_starts_a_trace_and_stays_in_the_component() -> None:
    forest = grow_forest(candidates([link(2, 1), link(3, 2, "bounce_notice", "notice"), link(4, 3)]))
    assert forest.select("hop", "root", "parent", "about", "about_root").rows() == [
        (1, 1, None, None, None),
        (2, 1, 1, None, None),
        (3, 3, None, 2, 1),
        (4, 3, 3, None, None),
    ]
    assert forest["component"].n_unique() == 1


def test_unlinked_hops_root_themselves() -> None:
    hops = pl.DataFrame({"hop": [7, 8]}, schema={"hop": pl.UInt64})
    placed = place_hops(hops, grow_forest(candidates([link(8, 9)])))
    assert placed.select("root", "component", "parent").rows() == [(7, 7, None), (9, 9, 9)]
