"""What content filters found: which fate it gave a recipient, and the verdict that a delivery is told with."""

import polars as pl

from hoptrace.schemas.verdicts import RANKS, VERDICT_OF
from hoptrace.transforms.kinds import Kinds, take
from hoptrace.transforms.links import LOOKAHEAD_US, fold_address

C = pl.col
SAID = ("instance", "action", "status", "score", "required_score", "folder", "recipient", "next_queue_id")
FATES = ("quarantined", "discarded", "bounced")
"""How a filter ended a message, the strongest word first."""

VERDICT_COLUMNS: dict[str, pl.DataType | type[pl.DataType]] = {
    "verdict": pl.String,
    "spam_score": pl.Float64,
    "spam_required": pl.Float64,
    "verdict_by": pl.String,
    "verdict_at": pl.Int64,
}


def fold_filters(kinds: Kinds) -> pl.DataFrame:
    """What filters said of each hop of numbered events, every saying once: hop_no, at (its first time), scanned, and SAID.

    Besides filters' own lines these are the new queue ID that an operator or a filter put a message back under (action
    'requeued'), and the fates of recipients at a filter that has stays of its own.
    """
    told = ["hop_no", "stamp", *SAID]
    own = take(kinds, "filter", told)
    spoken = pl.any_horizontal(C("action", "status", "score", "next_queue_id").is_not_null())
    put_back = (
        take(kinds, "requeue", told).filter(C("next_queue_id").is_not_null()).with_columns(action=pl.lit("requeued"))
    )
    ended = (
        take(kinds, "attempt", told)
        .filter(C("action").is_in(list(VERDICT_OF)) & (C("action") != "passed"))
        .with_columns(status=pl.lit(None, pl.String), next_queue_id=pl.lit(None, pl.String))
    )
    rows = pl.concat([own.filter(spoken), put_back, ended]).rename({"stamp": "at"})
    return (
        rows.sort("hop_no", "at", *SAID, nulls_last=False)
        .unique(["hop_no", *SAID], keep="first", maintain_order=True)
        .with_columns(scanned=pl.lit(False))
    )


def drop_by_filters(rows: pl.DataFrame, filters: pl.DataFrame) -> pl.DataFrame:
    """Recipients `rows` (hop_no, recipient, status, at, next_queue_id, folder, reply) with the fate that a filter's own log tells.

    What the queue calls sent, or a milter discarded, or what waits on hold for the filter, was quarantined, discarded or
    bounced where the filter says so of this recipient; or, unless it was sent, of the message.
    """
    fates = filters.filter(C("status").is_in(FATES))
    if not fates.height:
        return rows
    ended = fates.with_columns(_address=fold_address("recipient"))
    words = {f"_{fate}": C("at").filter(C("status") == fate).min() for fate in FATES}
    places = C("folder").drop_nulls().first().alias("_folder")
    named = ended.filter(C("_address").is_not_null()).group_by("hop_no", "_address").agg(places, **words)
    whole = ended.filter(C("_address").is_null()).group_by("hop_no").agg(places, **words)
    columns = rows.columns
    rows = (
        rows.with_columns(_address=fold_address("recipient"))
        .join(named, on=["hop_no", "_address"], how="left", maintain_order="left")
        .join(whole, on="hop_no", how="left", maintain_order="left", suffix="_whole")
    )
    kept = C("status") != "sent"
    times = {}
    for name in words:
        told = pl.min_horizontal(name, pl.when(kept).then(f"{name}_whole"))
        times[name] = pl.when(told <= pl.coalesce("at", told) + LOOKAHEAD_US).then(told)
    rows = rows.with_columns(**times)
    fate = pl.coalesce(*(pl.when(C(f"_{fate}").is_not_null()).then(pl.lit(fate)) for fate in FATES))
    open_to_it = C("status").is_in(["sent", "discarded", "pending"])
    rows = rows.with_columns(_fate=pl.when(open_to_it).then(fate), _said=pl.coalesce(*words))
    given = C("_fate").is_not_null()
    return rows.with_columns(
        status=pl.coalesce("_fate", "status"),
        at=pl.when(given & (C("status") == "pending")).then("_said").otherwise("at"),
        folder=pl.when(given).then(pl.coalesce("folder", "_folder", "_folder_whole")).otherwise("folder"),
    ).select(columns)


def judge_filters(filters: pl.DataFrame) -> pl.DataFrame:
    """Per hop, recipient (null: all), program and verdict the first line that said so: hop, address, rank, VERDICT_COLUMNS.

    A score without a word is spam from the required score on.
    """
    scored = (
        pl.when(C("score") >= C("required_score"))
        .then(pl.lit("spam"))
        .when(C("required_score").is_not_null())
        .then(pl.lit("clean"))
    )
    word = C("action").replace_strict(VERDICT_OF, default=None, return_dtype=pl.String)
    return (
        filters.select(
            "hop",
            address=fold_address("recipient"),
            verdict=pl.coalesce(word, scored),
            spam_score="score",
            spam_required="required_score",
            verdict_by="instance",
            verdict_at="at",
        )
        .filter(C("verdict").is_not_null())
        .with_columns(rank=C("verdict").replace_strict(RANKS, return_dtype=pl.UInt8))
        .sort("hop", "address", "rank", "verdict_at", "verdict_by", "spam_score", "spam_required", nulls_last=False)
        .unique(["hop", "address", "verdict", "verdict_by"], keep="first", maintain_order=True)
    )


def choose_verdicts(stays: pl.DataFrame, filters: pl.DataFrame) -> pl.DataFrame:
    """last, VERDICT_COLUMNS, kept (a copy is in quarantine): what the filters on each walk said of its recipient.

    `stays`: last, hop, recipient, known_until (µs; what is said later cannot change the row). The strongest finding wins; of equal
    ones that with a score, then the first.
    """
    if not filters.height or not stays.height:
        return pl.DataFrame(schema={"last": pl.UInt32, **VERDICT_COLUMNS, "kept": pl.Boolean})
    walks = stays.with_columns(address=fold_address("recipient"))
    timely = C("verdict_at") <= C("known_until").fill_null(C("verdict_at"))
    found = meet_stays(walks, judge_filters(filters)).filter(timely)
    best = found.sort(
        "last", "rank", C("spam_score").is_null(), "verdict_at", "verdict_by", C("spam_score"), "spam_required"
    ).unique("last", keep="first", maintain_order=True)
    copies = filters.filter(C("folder").is_not_null() | (C("status") == "quarantined")).select(
        "hop", address=fold_address("recipient"), verdict_at="at"
    )
    copies = copies.group_by("hop", "address").agg(C("verdict_at").min())
    kept = meet_stays(walks, copies).filter(timely).select("last").unique().with_columns(kept=pl.lit(True))
    return best.select("last", *VERDICT_COLUMNS).join(kept, on="last", how="full", coalesce=True)


def meet_stays(walks: pl.DataFrame, said: pl.DataFrame) -> pl.DataFrame:
    """`walks` (last, hop, address, known_until) with what was `said` of the same hop for the same address, or for all."""
    named = walks.join(said.filter(C("address").is_not_null()), on=["hop", "address"])
    whole = walks.join(said.filter(C("address").is_null()).drop("address"), on="hop")
    return pl.concat([named, whole.select(named.columns)])
