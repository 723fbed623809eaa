"""Hops and recipients of whole traces, walked from the entrance to every recipient's last stay.

A row here is one recipient at one stay. Its `up` is the row of the stay before that handed this recipient over.
"""

import numpy as np
import polars as pl

from hoptrace.transforms.hash import hash_columns
from hoptrace.transforms.links import fold_address
from hoptrace.transforms.meet import hot_keys

C = pl.col
PUT_BACK = ("requeued", "deferred", "deleted", "pending")
"""What a recipient is at a stay whose queue put it under another ID: again, or as a copy with a part of the recipients."""

MAX_STAYS = 64
"""Longest walk; a longer one is a mail loop, and is cut there."""


def number_rows(recipients: pl.DataFrame, hops: pl.DataFrame, first: int = 0) -> pl.DataFrame:
    """Recipient rows in a fixed order with `row`, counted from `first`, `hop_at`, the place of their hop in `hops`, and their
    hop's root, parent and link."""
    order = hash_columns(recipients, ["recipient", "original_recipient", "status"])
    keys = (
        recipients.select("hop", "at", order.alias("_order"))
        .with_row_index("_row")
        .join(hops.select("hop", "root").with_row_index("hop_at"), on="hop", how="inner")
        .sort("root", "hop", "_order", "at", nulls_last=False)
    )
    whose = hops.select("root", "parent", "kind", "queue_id", hop_host="host")[keys["hop_at"]]
    told = recipients.drop(whose.columns, strict=False)[keys["_row"]].hstack(whose).with_columns(keys["hop_at"])
    return told.with_columns(
        address=fold_address("recipient"),
        asked=fold_address(pl.coalesce("original_recipient", "recipient")),
    ).with_row_index("row", first)


def handed_rows(rows: pl.DataFrame, hops: pl.DataFrame) -> pl.DataFrame:
    """Rows that a child hop may continue: child, row, address, in order, one per child and row.

    A row that names the next queue ID is continued by the child with this ID; an unnamed one by any child of its hop that
    was linked in another way; one whose answer was lost by the child that was there then.
    """
    rows = rows.select("row", "hop", "address", "asked", "status", "at", "next_queue_id", "loopback")
    children = hops.filter(C("parent").is_not_null()).select(
        "parent_at", child="hop", hop="parent", child_id="queue_id", link="kind", link_evidence="evidence"
    )
    named = rows.filter(C("next_queue_id").is_not_null() & C("status").is_in(["sent"])).join(
        children, left_on=["hop", "next_queue_id"], right_on=["hop", "child_id"]
    )
    way = pl.when(C("link").is_in(["redirect", "requeue"])).then("link").otherwise(pl.lit("on"))
    left = (C("next_queue_id").is_null() & C("status").is_in(["sent", "redirected"])) | C("status").is_in(PUT_BACK)
    asked = (
        pl.when(C("status").is_in(PUT_BACK))
        .then(pl.lit("requeue"))
        .otherwise(C("status").replace({"redirected": "redirect", "sent": "on"}))
    )
    loose = pair_up(rows.filter(left).with_columns(way=asked), children.with_columns(way=way), rows)
    split = rows.filter(C("next_queue_id").is_not_null() & (C("status") == "sent"))
    told = children.filter(C("link_evidence").is_in(["orig_queue_id", "filter_log"])).with_columns(way=pl.lit("told"))
    met = children.filter(C("link_evidence") == "message_id_client").with_columns(way=pl.lit("met"))
    odd = [
        pair_up(split.with_columns(way=pl.lit("told")), told, rows),
        pair_up(split.filter("loopback").with_columns(way=pl.lit("met")), met, rows),
    ]
    copied = (
        rows.filter(C("status") == "taken")
        .join(children, left_on=["hop", "at"], right_on=["hop", "parent_at"])
        .filter(C("link_evidence") == "message_id_client")
        .select("child", "row", "address")
    )
    pairs = pl.concat([named.select("child", "row", "address"), loose, *odd])
    if copied.height:
        pairs = pl.concat([pairs.join(copied, on=["child", "address"], how="anti"), copied])
    return pairs.unique().sort("child", "row")


def pair_up(given: pl.DataFrame, children: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    """child, row, address: each row `given` with every child that its hop has by the same `way`.

    Where these outnumber rows and children by far, a row has the children that show its address; a row that none shows has the
    hop's first child, and a child that shows none the hop's first row.
    """
    by, told = ["hop", "way"], ["child", "row", "address"]
    hot = hot_keys(given, children, by)
    given, children = given.select(*by, "row", "address"), children.select(*by, "child")
    if not hot.height:
        return given.join(children, on=by).select(told)
    calm = given.join(hot, on=by, how="anti").join(children, on=by)
    given, children = given.join(hot, on=by, how="semi"), children.join(hot, on=by, how="semi")
    shown = pl.concat([rows.select("address", child="hop"), rows.select(address="asked", child="hop")]).unique()
    first = given.sort("row").unique([*by, "address"], keep="first", maintain_order=True)
    same = first.join(children.join(shown, on="child"), on=[*by, "address"])
    unseen = given.join(same, on="row", how="anti").join(
        children.sort("child").unique(by, keep="first", maintain_order=True), on=by
    )
    blind = children.join(same, on="child", how="anti").join(first.unique(by, keep="first", maintain_order=True), on=by)
    return pl.concat([part.select(told) for part in (calm, same, unseen, blind)])


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
    took = ~C("status").is_in(["rejected", "turned_away"]) | C("after_data").fill_null(False)
    told = rows.select("hop", "address", "asked", took=took).filter("took")
    each = told.select("hop", _each=hash_columns(told, ["hop", "address", "asked"]))
    named = each.unique("_each").group_by("hop").agg(named=pl.len())
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


def name_requeued(rows: pl.DataFrame, hops: pl.DataFrame) -> pl.DataFrame:
    """A row without a name for each hop that was put back under another queue ID before any of its recipients was named."""
    back = hops.filter(C("kind") == "requeue").select(hop="parent").unique()
    return (
        hops.join(back, on="hop", how="semi")
        .join(rows, on="hop", how="anti")
        .select(
            "hop",
            recipient=pl.lit(None, pl.String),
            original_recipient=pl.lit(None, pl.String),
            status=pl.lit("requeued"),
            at="requeued_at",
        )
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


def find_copies(rows: pl.DataFrame, hops: pl.DataFrame) -> pl.DataFrame:
    """Recipients as they stood at a try whose answer was lost, where a child hop shows that the message had been taken."""
    lost = rows.filter(C("unsure_tries").is_not_null())
    if not lost.height:
        return lost
    taken = hops.filter(C("evidence") == "message_id_client").select(hop="parent", at="parent_at").unique()
    facts = C("unsure_tries").struct
    connect, transmit = facts["connect_us"], facts["transmit_us"]
    return (
        lost.drop("row", "at", "relay_name", "relay_ip", "reply")
        .explode("unsure_tries")
        .with_columns(at=facts["at"], relay_name=facts["relay_name"], relay_ip=facts["relay_ip"], reply=facts["reply"])
        .join(taken, on=["hop", "at"], how="semi", maintain_order="left")
        .with_columns(
            status=pl.lit("taken"),
            next_queue_id=pl.lit(None, pl.String),
            try_start=facts["start"],
            last_deferred="at",
            attempts=facts["attempts"],
            connect_us=connect,
            transmit_us=transmit,
            waiting_us=C("at") - C("first_end") - connect - transmit + C("first_connect") + C("first_transmit"),
            unsure_tries=pl.lit(None, rows.schema["unsure_tries"]),
        )
    )


def find_duplicates(rows: pl.DataFrame, up: pl.DataFrame) -> pl.DataFrame:
    """child, recipient: hops that were given a recipient of whom the same giver had given a copy to another before."""
    copies = rows.filter(C("status") == "taken").select(
        "hop", "recipient", "original_recipient", _copy="row", _copied_at="at"
    )
    if not copies.height:
        return pl.DataFrame(schema={"child": pl.UInt64, "recipient": pl.String})
    given = rows.join(copies, on=["hop", "recipient", "original_recipient"], how="inner", nulls_equal=True).filter(
        (C("row") != C("_copy")) & (C("at") > C("_copied_at"))
    )
    return (
        up.join(given.select("recipient", up="row"), on="up")
        .join(rows.select("row", child="hop"), on="row")
        .select("child", "recipient")
        .unique()
    )


def find_told(rows: pl.DataFrame, hops: pl.DataFrame) -> pl.DataFrame:
    """row: recipients whose fate stands under the trace of the hop that took them, since their own host told it late."""
    late = hops.filter(C("late_parent").is_not_null()).select("parent_at", hop="late_parent", next_queue_id="queue_id")
    sent = rows.select("row", "hop", "at", "next_queue_id", "status").filter(C("status") == "sent")
    named = sent.join(late, on=["hop", "next_queue_id"], how="semi")
    met = sent.filter(C("next_queue_id").is_null()).join(
        late, left_on=["hop", "at"], right_on=["hop", "parent_at"], how="semi"
    )
    return pl.concat([named.select("row"), met.select("row")])


def trace_recipients(hops: pl.DataFrame, recipients: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """All recipient rows (numbered), the walk of every last one (last, step, row), and `find_duplicates`.

    A row is last unless a child's row continues it, its named child holds it under another name, or a hop that it was handed to
    has told its fate before. What a host of ours was
    refused at the door of the next stands in its own log, so such rows of linked hops are left out.
    """
    linked = hops.filter(C("parent").is_not_null())["hop"].implode()
    at_door = (C("try_kind") == "refusal") & ~C("after_data").fill_null(False)
    elsewhere = recipients.select((at_door & C("hop").is_in(linked)).fill_null(False)).to_series()
    rows = number_rows(recipients.filter(~elsewhere) if elsewhere.any() else recipients, hops)
    copies = find_copies(rows, hops)
    if copies.height:
        copies = copies.with_columns(pl.Series("row", range(rows.height, rows.height + copies.height), pl.UInt32))
        rows = pl.concat([rows, copies], how="diagonal_relaxed")
    rows = pl.concat([rows, number_rows(name_requeued(rows, hops), hops, rows.height)], how="diagonal_relaxed")
    handed = handed_rows(rows, hops)
    pending = number_rows(name_pending(rows, handed, hops), hops, rows.height)
    rows = pl.concat([rows, pending], how="diagonal_relaxed")
    unnamed = pending.with_columns(next_queue_id=pl.lit(None, pl.String), loopback=pl.lit(False))
    handed = pl.concat([handed, handed_rows(unnamed, hops)])
    up = climb(rows, handed)
    taken = pl.concat([up.select(row="up"), handed.select("row"), find_told(rows, hops)]).unique()
    last = (
        rows.filter(~C("hop").is_in(hops.filter(C("probe"))["hop"].implode()))
        .join(taken, on="row", how="anti")["row"]
        .sort()
    )
    return rows, walk(rows.height, up, last), find_duplicates(rows, up)
