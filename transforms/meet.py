"""Joins whose keys a stranger can choose: every pair where few rows share a key, the nearest in time where many do."""

import polars as pl

C = pl.col
PAIRS_PER_ROW = 64
"""More pairs than this many times the rows of a key would not grow with the rows, but with their square."""


def meet(left: pl.DataFrame, right: pl.DataFrame, on: list[str], left_at: str, right_at: str) -> pl.DataFrame:
    """Inner join of `left` and `right` on columns `on`, without null keys; columns of both, `right`'s with `_right`
    where `left` has them too.

    Where a key is so common that its pairs outnumber its rows by far, each row meets only the one nearest in time
    (integer columns `left_at`, `right_at`), so that the result never has more than PAIRS_PER_ROW pairs per row.
    """
    hot = hot_keys(left, right, on)
    if not hot.height:
        return left.join(right, on=on, how="inner")
    calm = left.join(hot, on=on, how="anti").join(right, on=on, how="inner")
    ours = left.join(hot, on=on, how="semi").with_row_index("_mine").with_columns(_at=left_at).sort("_at", "_mine")
    theirs = (
        right.join(hot, on=on, how="semi").with_row_index("_other").with_columns(_at=right_at).sort("_at", "_other")
    )
    numbers = [
        near.filter(C("_mine").is_not_null() & C("_other").is_not_null()).select("_mine", "_other")
        for near in (pair_nearest(ours, theirs, on, "_other"), pair_nearest(theirs, ours, on, "_mine"))
    ]
    pairs = pl.concat(numbers).unique().sort("_mine", "_other")
    joined = pairs.join(ours.drop("_at"), on="_mine", maintain_order="left").join(
        theirs.drop("_at", *on), on="_other", maintain_order="left"
    )
    return pl.concat([calm, joined.select(calm.columns)])


def hot_keys(left: pl.DataFrame, right: pl.DataFrame, on: list[str]) -> pl.DataFrame:
    """The keys (columns `on`) whose pairs of `left` and `right` outnumber their rows by far."""
    sizes = (
        left.group_by(on)
        .agg(_left=pl.len().cast(pl.Int64))
        .join(right.group_by(on).agg(_right=pl.len().cast(pl.Int64)), on=on)
    )
    return sizes.filter(C("_left") * C("_right") > PAIRS_PER_ROW * (C("_left") + C("_right"))).select(on)


def pair_nearest(rows: pl.DataFrame, others: pl.DataFrame, on: list[str], number: str) -> pl.DataFrame:
    """Each of `rows` with the `number` of the one of `others` that is nearest in time under the same key."""
    return rows.join_asof(
        others.select(*on, "_at", number), on="_at", by=on, strategy="nearest", check_sortedness=False
    )
