"""What the words behind a status mean: dropped by a filter, put into a mailbox, handed to a program, and why it failed."""

from functools import cache
from importlib.resources import files

import polars as pl
import regex

from hoptrace.schemas.errors import HoptraceError
from hoptrace.schemas.toml import read_toml

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


@cache
def cause_rules() -> tuple[tuple[str, frozenset[str], regex.Pattern[str] | None], ...]:
    """The rows of schemas/causes.toml in order: cause, enhanced status codes (class digit as x), pattern."""
    path = files("hoptrace.schemas") / "causes.toml"
    rules = []
    for row in read_toml(path.read_bytes())["cause"]:
        text = row.get("text")
        try:
            pattern = regex.compile(text, regex.IGNORECASE) if text else None
        except regex.error as error:
            raise HoptraceError(f"schemas/causes.toml: cause {row['name']}: {error}; mend the pattern") from error
        rules.append((row["name"], frozenset(row.get("dsn", ())), pattern))
    return tuple(rules)


def name_cause(dsn: str | None, reply: str | None) -> str:
    """The first cause whose pattern finds its words in the reply, else whose enhanced status code fits, else 'unknown'."""
    words = reply or ""
    for name, _, pattern in cause_rules():
        if pattern is not None and pattern.search(words, timeout=1.0):
            return name
    detail = f"x.{dsn.split('.', 1)[1]}" if dsn and "." in dsn else ""
    for name, codes, _ in cause_rules():
        if detail in codes:
            return name
    return "unknown"


def judge_reply(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows with `status`, `dsn`, `reply`: a 'sent' that a filter dropped becomes discarded; adds `cause` and `unsure`.

    cause is null for what was delivered; unsure where the remote may have taken a copy of a failed try.
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
    texts = rows.filter(fails).select("dsn", "_masked").unique()
    causes = [name_cause(dsn, text) for dsn, text in texts.iter_rows()]
    named = texts.with_columns(pl.Series("cause", causes, pl.String), _fails=pl.lit(True))
    rows = rows.with_columns(_fails=fails)
    return rows.join(named, on=["dsn", "_masked", "_fails"], how="left", nulls_equal=True, maintain_order="left").drop("_masked", "_fails")
