"""What the words behind a status mean: dropped or kept by a filter, perhaps sent twice, and why it failed."""

import polars as pl

from hoptrace.transforms.causes import name_cause

C = pl.col
MASK = (
    (r"<[^<>\s]*>", "<>"),
    (r"\[[^\[\]]*\]", "[]"),
    (r"\b[0-9A-Za-z+/=_-]*[0-9][0-9A-Za-z+/=_-]{7,}\b", "ID"),
)
"""Put over a reply before it is judged, so that few distinct texts are left; status codes stay."""

DISCARDED = r"(?i)^(?:\d{3} )?(?:\d\.\d\.\d )?(?:Ok, )?(?:discarded|silently discarded)\b"
KEPT = r"(?i)\bquarantined?\b"
UNSURE = "message may be sent more than once"


def judge_reply(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows with `status`, `dsn`, `reply` (and `code`, `stage` where known): a 'sent' that a filter dropped is no more.

    Adds `cause` and `unsure`: cause is null for what was delivered; unsure where the remote may have taken a copy of a
    failed try.
    """
    reply = C("reply")
    dropped = (C("status") == "sent") & reply.str.contains(DISCARDED)
    rows = rows.with_columns(
        status=pl.when(dropped.fill_null(False) & reply.str.contains(KEPT)).then(pl.lit("quarantined"))
        .when(dropped.fill_null(False)).then(pl.lit("discarded")).otherwise("status"),
        unsure=reply.str.contains(UNSURE, literal=True).fill_null(False),
    )
    masked = reply.str.slice(0, 500)
    for pattern, mask in MASK:
        masked = masked.str.replace_all(pattern, mask)
    fails = ~C("status").is_in(["sent", "stored", "redirected"])
    rows = rows.with_columns(_masked=pl.when(fails).then(masked))
    told = ["dsn", "_masked", *(name for name in ("code", "stage") if name in rows.columns)]
    texts = rows.filter(fails).select(told).unique()
    causes = [name_cause(*row) for row in texts.iter_rows()]
    named = texts.with_columns(pl.Series("cause", causes, pl.String), _fails=pl.lit(True))
    rows = rows.with_columns(_fails=fails)
    rows = rows.join(named, on=[*told, "_fails"], how="left", nulls_equal=True, maintain_order="left")
    return rows.drop("_masked", "_fails")
