"""Tries at our door: which belong to a mail that came in later, and which never did."""

from dataclasses import dataclass

import polars as pl

from hoptrace.schemas.events import EVENTS
from hoptrace.schemas.fleet import Fleet
from hoptrace.transforms.hash import hash_columns
from hoptrace.transforms.hexes import hex_of
from hoptrace.transforms.links import fold_address
from hoptrace.transforms.names import name_hosts
from hoptrace.transforms.outcomes import DOOR_WAIT_US
from hoptrace.transforms.replies import judge_reply

C = pl.col
ACCEPTED: dict[str, pl.DataType | type[pl.DataType]] = {
    "recipient": pl.String, "hop": pl.UInt64, "host": pl.String, "sender": pl.String, "client_name": pl.String,
    "client_ip": pl.String, "helo": pl.String, "at": pl.Int64, "net": pl.String, "domain": pl.String, "asked": pl.String,
    "_sender": pl.String,
}


def name_client(rows: pl.DataFrame) -> pl.DataFrame:
    """`rows` with net (/24, /64 of client_ip), domain (of the client's name, else of its HELO) and asked, the folded recipient."""
    ip = C("client_ip")
    name = pl.when(C("client_name").fill_null("unknown") != "unknown").then("client_name").otherwise("helo").str.to_lowercase()
    return rows.with_columns(
        net=pl.when(ip.str.contains(":", literal=True)).then(ip.str.extract(r"^((?:[0-9a-fA-F]*:){1,4})"))
        .otherwise(ip.str.extract(r"^(\d+\.\d+\.\d+)\.")).fill_null(ip),
        domain=name.str.extract(r"([^.\[\]]+\.[^.\[\]]+)$"),
        asked=fold_address("recipient").fill_null(""),
        _sender=fold_address("sender").fill_null(""),
    )


def outside(doors: pl.DataFrame, fleet: Fleet, hosts: frozenset[str]) -> pl.DataFrame:
    """Door tries of clients that are not hosts of ours with a log: what ours were told stands in their own logs."""
    named = name_hosts(doors, "client_name", "client_ip", "host", "client_host", fleet, hosts)
    return named.filter(C("client_host").is_null() | ~C("client_host").is_in(list(hosts))).drop("client_host", "loopback")


def accepted(hops: pl.DataFrame, recipients: pl.DataFrame) -> pl.DataFrame:
    """What came in from outside, per recipient: hop, at, sender, recipient as asked for, client_name, client_ip, helo."""
    entered = hops.filter(C("client_ip").is_not_null() & C("client_host").is_null()).select(
        "hop", "host", "sender", "client_name", "client_ip", "helo", at="arrived"
    )
    asked = recipients.filter((C("try_kind") != "refusal") | C("after_data")).select(
        "hop", recipient=pl.coalesce("original_recipient", "recipient")
    ).unique(maintain_order=True)
    return asked.join(entered, on="hop", how="inner")


@dataclass(frozen=True)
class Series:
    """Door tries in series: `firsts` (hop, asked, first_attempt_at) for mail that came in; `never`, one row per final refusal and
    per series given up (first_attempt_at, tries, and its last try's columns); `waiting`, the EVENTS of series that may go on after ends_at."""

    firsts: pl.DataFrame
    never: pl.DataFrame
    waiting: pl.DataFrame


def match_series(doors: pl.DataFrame, accepted: pl.DataFrame, ends_at: int) -> Series:
    """Tries refused at the door, put in series with the acceptances that ended them.

    doors: EVENTS of kind door, accepted: `accepted`, both with the columns of `name_client`. A series has one sender and recipient,
    clients of one net or domain, and no gap of 24 h; N acceptances (and final refusals) take the N oldest tries.
    """
    tries = doors.with_columns(
        at="stamp", ends=(C("code") // 100 == 5) | C("dsn").str.starts_with("5").fill_null(False), hop=pl.lit(None, pl.UInt64)
    ).with_columns(C("ends").fill_null(False))
    taken = accepted.with_columns(ends=pl.lit(True), place=pl.lit(0, pl.Int64))
    both = pl.concat([tries, taken], how="diagonal_relaxed")
    who = ["_sender", "asked"]
    nets = both.filter(C("domain").is_not_null()).group_by([*who, "domain"]).agg(_client=C("net").min())
    both = both.join(nets, on=[*who, "domain"], how="left").with_columns(_client=pl.coalesce("_client", "net").fill_null(""))
    who = [*who, "_client"]
    both = both.sort([*who, "at", "place", "host", "hop"], nulls_last=False)
    fresh = pl.any_horizontal(C(k) != C(k).shift() for k in who) | (C("at") - C("at").shift() >= DOOR_WAIT_US)
    both = both.with_columns(series=fresh.fill_null(True).cum_sum())
    both = both.with_columns(
        rank=pl.when("ends").then(C("ends").cum_sum().over("series")).otherwise((~C("ends")).cum_sum().over("series")),
        last_end=C("at").filter("ends").max().over("series"),
    )
    oldest = both.filter(~C("ends")).select("series", "rank", first="at")
    ends = both.filter("ends").join(oldest, on=["series", "rank"], how="left").with_columns(
        first=pl.when(C("first") <= C("at")).then("first")
    )
    firsts = ends.filter(C("hop").is_not_null() & C("first").is_not_null()).select("hop", "asked", first_attempt_at="first")
    refused = ends.filter(C("hop").is_null()).with_columns(first_attempt_at=pl.coalesce("first", "at"), tries=pl.lit(1, pl.Int64))
    given_up = both.filter(~C("ends") & (C("last_end").is_null() | (C("at") > C("last_end"))))
    tails = given_up.sort("series", "at", "place").unique("series", keep="last", maintain_order=True).join(
        given_up.group_by("series").agg(first_attempt_at=C("at").min(), tries=pl.len().cast(pl.Int64), entry=C("host").first()), on="series"
    )
    return Series(
        firsts.unique(["hop", "asked"], keep="first", maintain_order=True),
        pl.concat([refused, tails], how="diagonal_relaxed"),
        EVENTS.conform(given_up.filter(C("at").max().over("series") + DOOR_WAIT_US >= ends_at)),
    )


def write_refusals(rows: pl.DataFrame, ends_at: int) -> pl.DataFrame:
    """Series that never came in, as DELIVERIES rows (integers of microseconds): rejected, or deferred_at_door."""
    rows = rows.with_columns(status=pl.when("ends").then(pl.lit("rejected")).otherwise(pl.lit("turned_away")))
    rows = judge_reply(rows).sort("host", "client_ip", "_sender", "asked", "at", "place")
    key = ["host", "client_ip", "sender", "recipient", "at"]
    rows = rows.with_columns(_ordinal=pl.int_range(pl.len()).over(key))
    ids = [hex_of(hash_columns(rows, [*key, "_ordinal"], seed=seed)) for seed in (1, 2)]
    settled = pl.when("ends").then("at").when(C("at") + DOOR_WAIT_US < ends_at).then(C("at") + DOOR_WAIT_US)
    return rows.select(
        (ids[0] + ids[1].str.slice(0, 8)).alias("trace_id"),
        "sender", "client_name", "client_ip", "dsn", "reply", "first_attempt_at",
        recipient="recipient", original_recipient="recipient", n_recipients=pl.lit(1, pl.Int64), entry_host="host",
        resolved_at="at", settled_at=settled,
        outcome=pl.when("ends").then(pl.lit("rejected")).otherwise(pl.lit("deferred_at_door")),
        path=pl.concat_list("host"), attempts="tries", cause="cause", certainty=pl.lit("certain"),
        flags=pl.lit([], pl.List(pl.String)),
    )

