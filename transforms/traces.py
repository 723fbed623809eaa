"""Hops and recipients of whole traces, walked from the entrance to every recipient's last stay.

A row here is one recipient at one stay. Its `up` is the row of the stay before that handed this recipient over.
"""

import numpy as np
import polars as pl

from hoptrace.transforms.hash import hash_columns
from hoptrace.transforms.links import fold_address

C = pl.col
MAX_STAYS = 64
"""Longest walk; a longer one is a mail loop, and is cut there."""


MOVED = ("requeued", "deferred", "deleted", "pending")
"""What a recipient is at a stay whose queue put it under another ID: again, or as a copy with a part of the recipients."""


def number_rows(recipients: pl.DataFrame, hops: pl.DataFrame, first: int = 0) -> pl.DataFrame:
    """Recipient rows in a fixed order with `row`, counted from `first`, and their hop's root, parent and link."""
    placed = recipients.join(
        hops.select("hop", "root", "parent", "kind", "queue_id", hop_host="host"), on="hop", how="inner"
    ).with_columns(
        address=fold_address("recipient"),
        asked=fold_address(pl.coalesce("original_recipient", "recipient")),
    )
    order = hash_columns(placed, ["recipient", "original_recipient", "status"]).alias("_order")
    return (
        placed.with_columns(order)
        .sort("root", "hop", "_order", "at", nulls_last=False)
        .drop("_order")
        .with_row_index("row", first)
    )


def handed_rows(rows: pl.DataFrame, hops: pl.DataFrame) -> pl.DataFrame:
    """Rows that a child hop may continue: child, row, address, in order, one per child and row.

    A row that names the next queue ID is continued by the child with this ID; an unnamed one by any child of its hop that
    was linked in another way.
    """
    children = hops.filter(C("parent").is_not_null()).select(
        child="hop", hop="parent", child_id="queue_id", link="kind", link_evidence="evidence"
    )
    named = rows.filter(C("next_queue_id").is_not_null() & C("status").is_in(["sent"])).join(
        children, left_on=["hop", "next_queue_id"], right_on=["hop", "child_id"]
    )
    loose = (
        rows.filter(
            (C("next_queue_id").is_null() & C("status").is_in(["sent", "redirected"]))
            | C("status").is_in(MOVED)
        )
        .join(children, on="hop")
        .filter(
            pl.when(C("link") == "redirect")
            .then(C("status") == "redirected")
            .when(C("link") == "requeue")
            .then(C("status").is_in(MOVED))
            .otherwise(C("status") == "sent")
        )
    )
    odd = rows.filter(C("next_queue_id").is_not_null() & (C("status") == "sent")).join(
        children.filter(C("link_evidence").is_in(["orig_queue_id", "filter_log", "message_id_client"])), on="hop"
    )
    return (
        pl.concat([named, loose, odd], how="diagonal").select("child", "row", "address").unique().sort("child", "row")
    )


def climb(rows: pl.DataFrame, handed: pl.DataFrame) -> pl.DataFrame:
    """`row`, `up`: for each row of a child hop the parent's row that brought it.

    The same address first (as asked for at the child, else as the child rewrote it); what is left over goes to the parent's
    rows that found no match, in order, else to its first row.
    """
    mine = rows.filter(C("parent").is_not_null()).select("row", "asked", "address", child="hop")
    first = handed.unique(["child", "address"], keep="first", maintain_order=True)
    exact = mine.join(
        first.select("child", "address", up="row"), left_on=["child", "asked"], right_on=["child", "address"]
    )
    rest = mine.join(exact, on="row", how="anti")
    renamed = rest.join(first.select("child", "address", up="row"), on=["child", "address"])
    rest = rest.join(renamed, on="row", how="anti")
    matched = pl.concat([exact, renamed], how="diagonal").select("row", "up", "child")
    spare = handed.join(matched.select(pl.col("child"), row="up"), on=["child", "row"], how="anti")
    chosen = (
        pl.concat([spare.with_columns(_first=pl.lit(0)), handed.with_columns(_first=pl.lit(1))], how="diagonal")
        .sort("child", "_first", "row")
        .unique("child", keep="first", maintain_order=True)
    )
    leftover = rest.join(chosen.select("child", up="row"), on="child")
    return pl.concat([matched.select("row", "up"), leftover.select("row", "up")])


def name_pending(rows: pl.DataFrame, handed: pl.DataFrame, hops: pl.DataFrame) -> pl.DataFrame:
    """Recipients that a hop holds but has not named yet, as rows of status 'pending'.

    Where a hop of ours handed them over their names are known from there; else one row with recipient null and n_recipients.
    Of a hop whose log shows its end only there is nothing to tell.
    """
    taken = rows.filter(~C("status").is_in(["rejected", "turned_away"]) | C("after_data").fill_null(False))
    named = taken.group_by("hop").agg(named=pl.struct("address", "asked").n_unique())
    lacking = (
        hops.filter(~C("probe") & ~(C("partial") & C("closed")) & (C("nrcpt").fill_null(1) > 0))
        .join(named, on="hop", how="left")
        .with_columns(C("named").fill_null(0))
        .filter((C("named") == 0) | (~C("closed") & (C("nrcpt").fill_null(0) > C("named"))))
    )
    there = rows.select("hop", "asked").unique()
    known = (
        handed.rename({"child": "hop"})
        .join(lacking.select("hop"), on="hop")
        .join(there, left_on=["hop", "address"], right_on=["hop", "asked"], how="anti")
        .join(rows.select("row", "recipient"), on="row")
        .select("hop", "recipient", n_recipients=pl.lit(1, pl.Int64))
    )
    nameless = lacking.join(known, on="hop", how="anti").select(
        "hop",
        recipient=pl.lit(None, pl.String),
        n_recipients=pl.max_horizontal(C("nrcpt").fill_null(1) - C("named"), pl.lit(1)).cast(pl.Int64),
    )
    return (
        pl.concat([known, nameless])
        .unique(["hop", "recipient"], maintain_order=True)
        .with_columns(status=pl.lit("pending"), original_recipient=pl.lit(None, pl.String), at=pl.lit(None, pl.Int64))
    )


def walk(rows: int, up: pl.DataFrame, last: pl.Series) -> pl.DataFrame:
    """`last`, `step`, `row`: every row on the way of each `last` row back to its entrance (step 0 is the last stay)."""
    above = np.full(rows, -1, dtype=np.int64)
    above[up["row"].to_numpy()] = up["up"].to_numpy()
    start = last.to_numpy().astype(np.int64)
    ends, at, parts = start, start, []
    for step in range(MAX_STAYS):
        parts.append(pl.DataFrame({"last": ends, "row": at}).with_columns(step=pl.lit(step, pl.Int32)))
        onward = above[at]
        keep = onward >= 0
        ends, at = ends[keep], onward[keep]
        if not at.size:
            break
    return pl.concat(parts).with_columns(C("last").cast(pl.UInt32), C("row").cast(pl.UInt32))


def trace_recipients(hops: pl.DataFrame, recipients: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """All recipient rows (numbered), and the walk of every last one: last, step, row.

    A row is last unless a child's row continues it, or its named child holds it under another name. What a host of ours was
    refused at the door of the next stands in its own log, so such rows of linked hops are left out.
    """
    linked = hops.filter(C("parent").is_not_null())["hop"].implode()
    at_door = (C("try_kind") == "refusal") & ~C("after_data").fill_null(False)
    rows = number_rows(recipients.filter(~(at_door & C("hop").is_in(linked)).fill_null(False)), hops)
    handed = handed_rows(rows, hops)
    pending = number_rows(name_pending(rows, handed, hops), hops, rows.height)
    rows = pl.concat([rows, pending], how="diagonal_relaxed")
    handed = pl.concat([handed, handed_rows(pending.with_columns(next_queue_id=pl.lit(None, pl.String)), hops)])
    up = climb(rows, handed)
    taken = pl.concat([up.select(row="up"), handed.select("row")]).unique()
    last = (
        rows.filter(~C("hop").is_in(hops.filter(C("probe"))["hop"].implode()))
        .join(taken, on="row", how="anti")["row"]
        .sort()
    )
    return rows, walk(rows.height, up, last)
