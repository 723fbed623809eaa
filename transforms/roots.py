"""From link candidates to a forest: one parent per hop, and the root of every hop."""

from typing import Any

import numpy as np
import polars as pl

from hoptrace.transforms.links import EVIDENCE_RANK

C = pl.col
Keys = np.ndarray[Any, np.dtype[np.uint64]]
Pointers = np.ndarray[Any, np.dtype[np.int64]]
FOREST: dict[str, pl.DataType | type[pl.DataType]] = {
    "hop": pl.UInt64,
    "root": pl.UInt64,
    "parent": pl.UInt64,
    "kind": pl.String,
    "evidence": pl.String,
    "strength": pl.String,
    "gap": pl.Int64,
    "lead": pl.Int64,
    "parent_at": pl.Int64,
    "about": pl.UInt64,
    "notice": pl.String,
    "notice_strength": pl.String,
    "told_at": pl.Int64,
    "about_root": pl.UInt64,
    "late_parent": pl.UInt64,
    "component": pl.UInt64,
}


def choose_parents(candidates: pl.DataFrame) -> pl.DataFrame:
    """One candidate per child: one that came in time, the strongest evidence, then the nearest in time, then the smallest key."""
    several = candidates["child"].is_duplicated()
    ranked = candidates.filter(several).with_columns(
        _weak=(C("strength") == "likely").cast(pl.UInt8),
        _rank=C("evidence").replace_strict(EVIDENCE_RANK, default=9, return_dtype=pl.UInt8),
        _gap=C("gap").abs(),
    )
    best = ranked.sort("child", "late", "_weak", "_rank", "_gap", "parent", "kind", "evidence", "gap", "parent_at")
    best = best.unique("child", keep="first", maintain_order=True).drop("_weak", "_rank", "_gap")
    return pl.concat([candidates.filter(~several), best]).sort("child")


def find_roots(children: pl.Series, parents: pl.Series) -> pl.DataFrame:
    """hop, root for every hop in either column (UInt64 keys), and `cut`: true for a link that would close a circle, which is
    that of the circle's smallest key.

    Pointer doubling over dense numbers: each round halves every hop's distance to its root.
    """
    keys, child, parent = number(children.to_numpy(), parents.to_numpy())
    up = np.arange(keys.size)
    up[child] = parent
    jump, _ = double(up, up)
    cut = np.zeros(keys.size, dtype=bool)
    circling = np.unique(jump[up[jump] != jump])
    cut[child[up[child] == child]] = True
    if circling.size:
        on_circle = np.arange(keys.size)
        on_circle[circling] = up[circling]
        _, least = double(on_circle, np.arange(keys.size))
        first = circling[least[circling] == circling]
        cut[first], up[first] = True, first
        jump, _ = double(up, up)
    return pl.DataFrame(
        {"hop": keys, "root": keys[jump], "cut": cut}, schema={"hop": pl.UInt64, "root": pl.UInt64, "cut": pl.Boolean}
    )


def number(children: Keys, parents: Keys) -> tuple[Keys, Pointers, Pointers]:
    """(distinct keys in order, the place of each child there, of each parent)."""
    both = np.concatenate([children, parents])
    order = np.argsort(both)
    ordered = both[order]
    first = np.ones(both.size, np.bool_)
    first[1:] = ordered[1:] != ordered[:-1]
    places = np.empty(both.size, np.int64)
    places[order] = np.cumsum(first) - 1
    return ordered[first], places[: children.size], places[children.size :]


def double(up: Pointers, least: Pointers) -> tuple[Pointers, Pointers]:
    """Where each pointer leads in the end, or after more steps than there are pointers; and the least of `least` on the way."""
    jump = up.copy()
    for _ in range(int(up.size).bit_length() + 1):
        least = np.minimum(least, least[jump])
        further = jump[jump]
        if np.array_equal(further, jump):
            break
        jump = further
    return jump, least


def grow_forest(candidates: pl.DataFrame) -> pl.DataFrame:
    """One row per linked hop: hop, root, component, parent, kind, evidence, strength, gap, parent_at, about, about_root, notice.

    Links of kind relay, filter, forward, redirect and requeue continue a trace (parent is set); a notice starts a trace of
    its own, and `about` names the hop that it was made from (`notice` its kind). A giver that came too late to change a
    published row continues nothing: it is the late_parent. `component` is one for a trace, the notices about it and late givers.
    """
    chosen = choose_parents(candidates)
    is_notice = C("kind").str.ends_with("_notice")
    going_on, told = chosen.filter(~is_notice & ~C("late")), chosen.filter(is_notice)
    late = chosen.filter("late")
    roots = find_roots(going_on["child"], going_on["parent"])
    cut = roots.filter("cut").select(child="hop")
    going_on = going_on.join(cut, on="child", how="anti")
    rows = roots.drop("cut").join(
        going_on.select("parent", "kind", "evidence", "strength", "gap", "lead", "parent_at", hop="child"),
        on="hop",
        how="left",
    )
    notices = told.select(hop="child", about="parent", notice="kind", notice_strength="strength", told_at="parent_at")
    linked = ["kind", "evidence", "strength", "gap", "lead", "parent_at"]
    owned = pl.concat([told.select("child", "parent"), late.select("child", "parent")])
    rows = (
        rows.join(notices, on="hop", how="full", coalesce=True)
        .join(
            late.select(hop="child", late_parent="parent", **{f"_{name}": name for name in linked}),
            on="hop",
            how="full",
            coalesce=True,
        )
        .join(owned.select(hop="parent").unique(), on="hop", how="full", coalesce=True)
        .with_columns(pl.coalesce(name, f"_{name}") for name in linked)
        .with_columns(root=pl.coalesce("root", "hop"))
    )
    about = roots.select(about="hop", about_root="root")
    owners = owned.select("child", parent=C("parent").replace_strict(roots["hop"], roots["root"], default=C("parent")))
    owners = owners.join(rows.select(child="hop", _root="root"), on="child", how="left").with_columns(
        child=pl.coalesce("_root", "child")
    )
    together = find_roots(owners["child"], owners["parent"]).select(root="hop", component="root")
    return (
        rows.join(about, on="about", how="left")
        .with_columns(about_root=pl.when(C("about").is_not_null()).then(pl.coalesce("about_root", "about")))
        .join(together, on="root", how="left")
        .with_columns(component=pl.coalesce("component", "root"))
        .select(FOREST.keys())
        .sort("hop")
    )


def place_hops(hops: pl.DataFrame, forest: pl.DataFrame) -> pl.DataFrame:
    """`hops` with the forest's columns; an unlinked hop is its own root and component."""
    return hops.join(forest, on="hop", how="left", maintain_order="left").with_columns(
        root=pl.coalesce("root", "hop"), component=pl.coalesce("component", "root", "hop")
    )
