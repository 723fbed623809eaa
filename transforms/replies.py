"""What the words behind a status mean: dropped or kept by a filter, perhaps sent twice, and why it failed."""

import polars as pl

from hoptrace.transforms.causes import name_cause

C = pl.col
MASK = (
    (r"<[^<>\s]*>", "<>"),
    (r"\b(?:host|connect to|connection with) [\w.-]+", "host"),
    (r"\[[^\[\]]*\]", "[]"),
    (r"\b\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}\b", "IP"),
    (r"\b[0-9A-Za-z+/=_-]*[0-9][0-9A-Za-z+/=_-]{7,}\b", "ID"),
)
"""Put over a reply before it is judged, so that few distinct texts are left; status codes stay."""

DISCARDED = r"(?i)^(?:\d{3} )?(?:\d\.\d\.\d )?(?:Ok, )?(?:discarded|silently discarded)\b"
KEPT = r"(?i)\bquarantined?\b"
DSN = r"(?:^|[ -])([245]\.\d{1,3}\.\d{1,3})\b"
UNSURE = r"message may be sent more than once|(?:closed connection in response to|timeout .*after) end of data"
"""The answer to the end of data was lost (Postfix smtp_proto.c; Exim transports/smtp.c): the remote may have a copy."""

TAKEN = ("sent", "stored", "redirected")
"""Statuses of what went well."""


def judge_reply(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows with `status`, `dsn`, `reply` (and `code`, `stage` where known): a 'sent' that a filter dropped is no more.

    A dsn that the line does not name is taken from the reply. Adds `cause` and `unsure`: cause is null for what was
    delivered; unsure where the remote may have a copy of a failed try.
    """
    reply = C("reply")
    dropped = (C("status") == "sent") & reply.str.contains(DISCARDED)
    rows = rows.with_columns(
        status=pl.when(dropped.fill_null(False) & reply.str.contains(KEPT))
        .then(pl.lit("quarantined"))
        .when(dropped.fill_null(False))
        .then(pl.lit("discarded"))
        .otherwise("status"),
    )
    rows = rows.with_columns(dsn=pl.when(C("dsn").is_null()).then(reply.str.extract(DSN)).otherwise("dsn"))
    failed = rows.select((~C("status").is_in(TAKEN)).fill_null(True)).to_series()
    told = ["dsn", "_masked", *(name for name in ("code", "stage") if name in rows.columns)]
    texts = rows.filter(failed).with_columns(_masked=mask_reply(reply)).select(told)
    distinct = texts.unique()
    causes = [name_cause(*row) for row in distinct.iter_rows()]
    named = texts.join(
        distinct.with_columns(pl.Series("cause", causes, pl.String)), on=told, how="left", nulls_equal=True,
        maintain_order="left",
    )  # fmt: skip
    cause = pl.Series("cause", [None], pl.String).new_from_index(0, rows.height)
    unsure = pl.Series("unsure", [False]).new_from_index(0, rows.height)
    lost = rows.filter(failed).select(reply.str.contains(UNSURE).fill_null(False)).to_series()
    return rows.with_columns(cause.scatter(failed.arg_true(), named["cause"]), unsure.scatter(failed.arg_true(), lost))


def mask_reply(reply: pl.Expr) -> pl.Expr:
    """A reply with what differs from mail to mail put out of sight."""
    masked = reply.str.slice(0, 500)
    for pattern, mask in MASK:
        masked = masked.str.replace_all(pattern, mask)
    return masked
