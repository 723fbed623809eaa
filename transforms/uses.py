"""Which use of a queue ID an event belongs to: short IDs come back, each time as another hop."""

import polars as pl

from hoptrace.schemas.events import KINDS
from hoptrace.transforms.kinds import Kinds, take
from hoptrace.transforms.stamps import queue_id_time

C = pl.col
TRAILING_US = 3_600_000_000
"""A line this long after a queue ID was done with belongs to the ID's next use, whatever it says."""

TRANSACTION_US = 60_000_000
"""Lines this soon after a refusal are the rest of the refused transaction."""

CLOSING_ACTIONS = ("reject", "discard", "tempfail")
NUMBER = {kind: number for number, kind in enumerate(KINDS)}
KEYED = ("key", "host", "queue_id")
TURNING = [NUMBER[kind] for kind in ("arrive", "message", "queue", "attempt", "leave", "delete", "requeue")]


def number_hops(kinds: Kinds) -> tuple[dict[str, pl.DataFrame], pl.DataFrame]:
    """(`kinds` with hop_no, each in order of hop_no, stamp and place; in order of hop_no its first_seen, last_seen, and first_kind
    and first_row, the number of its first event's kind and its place there).

    What the key says already, host and queue ID, stays with refusals at the door only.
    Long queue IDs never come back. A short one starts anew where a client or a local submission is named, or where a
    Message-ID or an envelope appears after the queue was done with the ID.
    """
    ordered = order_events(kinds)
    starts = ((C("key") != C("key").shift()).fill_null(True) | mark_starts(ordered, kinds)).alias("start")
    numbered = ordered.with_columns(starts).with_columns(hop_no=C("start").cum_sum().cast(pl.UInt32))
    last = numbered.filter(C("start").shift(-1).fill_null(True))["stamp"]
    spans = numbered.filter("start").select(
        "hop_no", first_seen="stamp", last_seen=last, first_kind="kind", first_row="row"
    )
    parts = numbered.select("kind", "row", "hop_no").partition_by(
        "kind", as_dict=True, include_key=False, maintain_order=True
    )
    by_kind = {KINDS[kind]: part for (kind,), part in parts.items()}
    return {
        kind: frame.drop(() if kind == "door" else KEYED, strict=False)[by_kind[kind]["row"]].with_columns(
            by_kind[kind]["hop_no"]
        )
        for kind, frame in kinds.items()
        if frame.height
    }, spans


def order_events(kinds: Kinds) -> pl.DataFrame:
    """key, stamp, place, kind (number), row (in its kind's frame), closes, refused: all events in order."""
    schema = {
        "key": pl.UInt64,
        "stamp": pl.Int64,
        "place": pl.Int64,
        "kind": pl.UInt8,
        "row": pl.UInt32,
        "closes": pl.Boolean,
    }
    parts = [pl.DataFrame(schema=schema)]
    for kind in kinds:
        actions = take(kinds, kind, ["action"])["action"]
        closes = (
            actions.is_in(CLOSING_ACTIONS).fill_null(False)
            if kind == "refuse"
            else kind in ("leave", "delete", "requeue")
        )
        parts.append(
            take(kinds, kind, ["key", "stamp", "place"]).with_columns(
                pl.lit(NUMBER[kind], pl.UInt8).alias("kind"),
                pl.int_range(pl.len(), dtype=pl.UInt32).alias("row"),
                closes=closes,
            )
        )
    return pl.concat(parts).sort("key", "stamp", "place", "kind", "row")


def mark_starts(ordered: pl.DataFrame, kinds: Kinds) -> pl.Series:
    """True at the events of `ordered` with which a queue ID that was used before starts anew."""
    turning = (
        ordered.with_row_index("at")
        .filter(C("kind").is_in(TURNING) | C("closes"))
        .with_columns(
            same=(C("key") == C("key").shift()).fill_null(False),
            after=C("closes").shift().fill_null(False),
            before=C("kind").shift(),
            gap=C("stamp") - C("stamp").shift(),
        )
    )
    kind, before, gap = C("kind"), C("before"), C("gap")
    opens = kind.is_in([NUMBER["message"], NUMBER["queue"]]) & ((before != NUMBER["refuse"]) | (gap > TRANSACTION_US))
    late_message = (kind == NUMBER["message"]) & (before == NUMBER["arrive"]) & (gap > TRAILING_US)
    again = turning.filter(
        C("same") & ((kind == NUMBER["arrive"]) | (C("after") & (opens | (gap > TRAILING_US))) | late_message)
    )
    starts = pl.Series("start", [False]).new_from_index(0, ordered.height)
    for (number,), part in again.partition_by("kind", as_dict=True).items():
        ids = take(kinds, KINDS[number], ["queue_id", "stamp"])[part["row"]]
        short = queue_id_time(ids["queue_id"], ids["stamp"]).is_null()
        starts = starts.scatter(part["at"].filter(short), True)
    return starts
