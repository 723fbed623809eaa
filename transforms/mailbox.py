"""What was done to messages in mailboxes: a store's lines folded to MAILBOX_EVENTS, one row per action."""

from dataclasses import dataclass

import polars as pl

from hoptrace.schemas.events import EVENTS
from hoptrace.schemas.mailbox_events import MAILBOX_EVENTS
from hoptrace.transforms.hash import hash_columns
from hoptrace.transforms.kinds import Kinds, take
from hoptrace.transforms.plan import Night

C = pl.col
COLUMNS = (
    "stamp", "host", "place", "service", "queue_id", "user", "action", "message_id", "folder", "recipient", "size",
    "client_ip", "reply",
)  # fmt: skip
"""All that is needed of the lines of kind store and mailbox."""

ALIKE = ("host", "queue_id", "user", "action", "folder", "recipient", "_id")
OWN = ("host", "protocol", "_name")
SESSION = (*OWN, "_no")
DELIVERY = {
    "stored": "saved",
    "redirected": "redirected",
    "discarded": "discarded",
    "rejected": "rejected",
    "failed": "failed",
}
CHANGE = {"expunge": "expunged", "delete": "deleted", "undelete": "undeleted", "copy": "copied", "save": "saved"}
INBOX = r"(?i)^(?:inbox|(?:.*!)?user[./][^./]+)$"
PAIR_US = 60_000_000
"""Two lines about one delivery (mail_log's save, and sieve's or the delivery's own) are at most this far apart."""

OPEN_US = 7 * 86_400_000_000
"""How long a session that logs no end is remembered: its login, and what it removed."""

TOTALS = {
    "retrieved": r"\bretr=(\d+)/", "retrieved_bytes": r"\bretr=\d+/(\d+)", "removed": r"\b(?:del|expunged)=(\d+)",
    "held": r"\bdel=\d+/(\d+)", "held_bytes": r"\bsize=(\d+)",
    "bodies": r"\bbody_count=(\d+)", "body_bytes": r"\bbody_bytes=(\d+)",
}  # fmt: skip
"""The numbers in a session's last line, by Dovecot's pop3_logout_format and imap_logout_format."""


@dataclass(frozen=True)
class Mailboxes:
    """Rows of a night, `at` in microseconds, and the EVENTS (kind mailbox) that the next night needs."""

    rows: pl.DataFrame
    carried: pl.DataFrame


def select_mailbox(kinds: Kinds) -> pl.DataFrame:
    """The lines of kind store and mailbox."""
    return pl.concat([take(kinds, kind, COLUMNS) for kind in ("store", "mailbox")])


def name_mailbox() -> pl.Expr:
    """What lines are folded by, beside their host: the session, else the user, else the message."""
    return pl.coalesce("queue_id", "user", "message_id")


def fold_mailbox(lines: pl.DataFrame, night: Night) -> Mailboxes:
    """What lines (COLUMNS; whole sessions) tell of the night; a row is the night's in which its `at` lies."""
    cut_off = C("message_id").str.starts_with("<") & C("message_id").str.ends_with("...")
    service = C("service").str.to_lowercase()
    lines = lines.with_columns(
        message_id=pl.when((C("message_id") != "") & ~cut_off).then("message_id"),
        protocol=pl.when(service.str.starts_with("lmtp")).then(pl.lit("lmtp")).otherwise(service),
    ).sort("stamp", "place", "host", "action", "recipient", nulls_last=False)
    deliveries, sessions = lines.filter(by_delivery()), lines.filter(~by_delivery())
    rows = pl.concat([fold_deliveries(deliveries), fold_changes(sessions)], how="diagonal")
    seen = C("stamp") < night.ends_at
    ends_at = night.ends_at
    carried = pl.concat([keep_pairs(deliveries.filter(seen), ends_at), keep_open(sessions.filter(seen), ends_at)])
    return Mailboxes(
        rows.filter(C("at").is_between(night.starts_at, night.ends_at, closed="left")),
        EVENTS.conform(carried.with_columns(kind=pl.lit("mailbox"), repeat=1)),
    )


def by_delivery() -> pl.Expr:
    """Whether a line tells of a delivery."""
    return C("action").is_in(list(DELIVERY)).fill_null(value=False)


def name_alike(lines: pl.DataFrame) -> pl.DataFrame:
    """`lines` of deliveries with _id and _alike, the hash of ALIKE."""
    lines = lines.with_columns(_id=pl.when(C("queue_id").is_null()).then("message_id"))
    return lines.with_columns(hash_columns(lines, ALIKE).alias("_alike"))


def number_pairs(lines: pl.DataFrame) -> pl.DataFrame:
    """`lines` of `name_alike` with _run: lines alike, none further than PAIR_US from the next; and _nth of its sort in there."""
    apart = (C("stamp") - C("stamp").shift() > PAIR_US).fill_null(value=False).cast(pl.Int64)
    lines = lines.with_columns(_run=apart.cum_sum().over("_alike"), _save=C("size").is_not_null())
    return lines.with_columns(_nth=C("stamp").cum_count().over("_alike", "_run", "_save"))


def fold_deliveries(lines: pl.DataFrame) -> pl.DataFrame:
    """One row per delivery: mail_log's n-th save and the n-th other line about the same are one."""
    elsewhere = ~C("folder").str.contains(INBOX)
    lines = name_alike(lines)
    told = [C(name).drop_nulls().first() for name in ("size", "message_id", "reply", "protocol")]
    several = lines["_alike"].is_duplicated()
    pairs = number_pairs(lines.filter(several)).group_by("_alike", "_run", "_nth", maintain_order=True)
    paired = pairs.agg(*(C(name).first() for name in (*ALIKE[:-1], "stamp")), *told)
    rows = pl.concat([lines.filter(~several), paired], how="diagonal")
    action = C("action").replace_strict(DELIVERY, return_dtype=pl.String)
    rows = rows.with_columns(
        at="stamp",
        session="queue_id",
        action=pl.when((C("action") == "stored") & elsewhere).then(pl.lit("filed")).otherwise(action),
    )
    return rows.select(name for name in MAILBOX_EVENTS.columns if name in paired.columns or name in ("at", "session"))


def keep_pairs(lines: pl.DataFrame, ends_at: int) -> pl.DataFrame:
    """The deliveries' lines whose other half may come after the night's end."""
    by = ALIKE[:-1]
    near = lines.filter(C("stamp") >= ends_at - PAIR_US).select(by).unique()
    late = C("stamp").max().over("_alike", "_run") >= ends_at - PAIR_US
    alike = lines.join(near, on=by, how="semi", nulls_equal=True, maintain_order="left")
    return number_pairs(name_alike(alike)).filter(late).select(COLUMNS)


def number_sessions(lines: pl.DataFrame) -> pl.DataFrame:
    """`lines` of sessions with _name, what a session is called, and _no, how many of that name have ended before."""
    lines = lines.with_columns(
        _name=name_mailbox(), _end=(C("action") == "session").fill_null(value=False).cast(pl.Int64)
    )
    return lines.with_columns(_no=C("_end").cum_sum().over(OWN) - C("_end"))


def fold_changes(lines: pl.DataFrame) -> pl.DataFrame:
    """What people's sessions did: a row per message that a line names, and the totals of what no line names."""
    lines = lend_logins(number_sessions(lines)).with_columns(at="stamp", session="queue_id")
    ends = lines.filter(C("action") == "session").with_columns(
        C("reply").str.extract(pattern).cast(pl.Int64, strict=False).alias(name) for name, pattern in TOTALS.items()
    )
    all_read = (C("held") > 0) & (C("retrieved") >= C("held")) & (C("retrieved_bytes") >= C("held_bytes"))
    ended = ends.select(*SESSION, ended="stamp", whole=all_read.fill_null(value=False))
    gone = lines.filter(C("action") == "expunge").join(ended, on=SESSION, nulls_equal=True, maintain_order="left")
    gone = gone.filter(C("ended") - C("stamp") <= OPEN_US)
    listed = gone.group_by(SESSION).agg(_gone=pl.len().cast(pl.Int64), _whole=C("whole").first())
    ends = ends.join(listed, on=SESSION, how="left", nulls_equal=True, maintain_order="left").with_columns(
        C("_gone").fill_null(0), C("_whole").fill_null(value=False)
    )
    named = lines.filter(C("action").is_in(list(CHANGE))).with_columns(
        action=C("action").replace_strict(CHANGE, return_dtype=pl.String)
    )
    fetched = gone.filter("whole").with_columns(at="ended", action=pl.lit("downloaded"))
    return pl.concat([named, fetched, *total_up(ends)], how="diagonal").select(list(MAILBOX_EVENTS.columns))


def lend_logins(lines: pl.DataFrame) -> pl.DataFrame:
    """`lines` of `number_sessions` with the client_ip of their session's login."""
    login = (C("action") == "login") & C("client_ip").is_not_null()
    since = pl.when(login).then("stamp").forward_fill().over(SESSION)
    address = pl.when(login).then("client_ip").forward_fill().over(SESSION)
    return lines.with_columns(client_ip=pl.when(C("stamp") - since <= OPEN_US).then(address))


def total_up(ends: pl.DataFrame) -> list[pl.DataFrame]:
    """Rows for the messages that sessions downloaded or removed without naming them, from their last lines."""
    rest = pl.when("_whole").then(C("held") - C("_gone")).otherwise(pl.coalesce("retrieved", "bodies"))
    size = pl.when(~C("_whole")).then(pl.coalesce("retrieved_bytes", "body_bytes"))
    ends = ends.with_columns(
        message_id=pl.lit(None, pl.String), folder=pl.lit(None, pl.String), reply=pl.lit(None, pl.String)
    )
    told = (("downloaded", rest, size), ("expunged", C("removed") - C("_gone"), pl.lit(None, pl.Int64)))
    return [
        ends.with_columns(action=pl.lit(action), messages=messages, size=size).filter(C("messages") > 0)
        for action, messages, size in told
    ]


def keep_open(lines: pl.DataFrame, ends_at: int) -> pl.DataFrame:
    """Of sessions that have not ended: the login, and what they removed."""
    numbered = number_sessions(lines)
    going = (C("_no") == C("_end").sum().over(OWN)) & (C("_end") == 0) & (C("stamp") >= ends_at - OPEN_US)
    return numbered.filter(going & C("action").is_in(["login", "expunge"])).select(COLUMNS)
