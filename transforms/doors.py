"""Tries at our door: which belong to a mail that came in later, and which never did."""

from dataclasses import dataclass

import polars as pl

from hoptrace.schemas.events import EVENTS
from hoptrace.schemas.fleet import Fleet
from hoptrace.transforms.hash import hash_columns
from hoptrace.transforms.hexes import hex_of
from hoptrace.transforms.links import fold_address
from hoptrace.transforms.losses import FOREVER
from hoptrace.transforms.names import name_hosts
from hoptrace.transforms.outcomes import DOOR_WAIT_US
from hoptrace.transforms.replies import judge_reply

C = pl.col
KIND = EVENTS.schema["kind"]
ACCEPTED: dict[str, pl.DataType | type[pl.DataType]] = {
    "recipient": pl.String,
    "hop": pl.UInt64,
    "host": pl.String,
    "sender": pl.String,
    "client_name": pl.String,
    "client_ip": pl.String,
    "helo": pl.String,
    "at": pl.Int64,
    "turned": pl.Boolean,
    "net": pl.String,
    "domain": pl.String,
    "asked": pl.String,
    "_sender": pl.String,
}


def name_client(rows: pl.DataFrame) -> pl.DataFrame:
    """`rows` with net (/24, /64 of client_ip), domain (of the client's name, else of its HELO) and asked, the folded recipient."""
    ip = C("client_ip")
    name = (
        pl.when(C("client_name").fill_null("unknown") != "unknown")
        .then("client_name")
        .otherwise("helo")
        .str.to_lowercase()
    )
    return rows.with_columns(
        net=pl.when(ip.str.contains(":", literal=True))
        .then(ip.str.extract(r"^((?:[0-9a-fA-F]*:){1,4})"))
        .otherwise(ip.str.extract(r"^(\d+\.\d+\.\d+)\."))
        .fill_null(ip),
        domain=name.str.extract(r"([^.\[\]]+\.[^.\[\]]+)$"),
        asked=fold_address("recipient").fill_null(""),
        _sender=fold_address("sender").fill_null(""),
    )


def outside(doors: pl.DataFrame, fleet: Fleet, hosts: frozenset[str]) -> pl.DataFrame:
    """Door tries of clients that are not hosts of ours with a log: what ours were told stands in their own logs."""
    named = name_hosts(doors, "client_name", "client_ip", "host", "client_host", fleet, hosts)
    return named.filter(C("client_host").is_null() | ~C("client_host").is_in(list(hosts))).drop(
        "client_host", "loopback"
    )


def accepted(hops: pl.DataFrame, recipients: pl.DataFrame) -> pl.DataFrame:
    """What came in from outside, per recipient: hop, at, sender, recipient as asked for, client_name, client_ip, helo, turned.

    A recipient refused inside a queue ID comes with the time of the refusal; `turned` where it may come again (4xx).
    """
    entered = hops.filter(C("client_ip").is_not_null() & C("client_host").is_null()).select(
        "hop", "host", "sender", "client_name", "client_ip", "helo", "arrived"
    )
    refused, turned = C("try_kind") == "refusal", C("status") == "turned_away"
    asked = pl.coalesce("original_recipient", "recipient")
    took = (
        recipients.filter(~refused | (C("after_data") & ~turned))
        .select("hop", recipient=asked, turned=pl.lit(False))
        .unique(maintain_order=True)
        .with_columns(said=pl.lit(None, pl.Int64))
    )
    inside = recipients.filter(refused & (turned | (~C("after_data") & (C("status") == "rejected")))).select(
        "hop", recipient=asked, turned=turned, said="at"
    )
    return (
        pl.concat([took, inside])
        .join(entered, on="hop", how="inner", maintain_order="left")
        .with_columns(at=pl.coalesce("said", "arrived"))
        .drop("said", "arrived")
    )


@dataclass(frozen=True)
class Series:
    """Door tries in series.

    firsts: hop, asked, first_attempt_at, came_back, ahead. For mail that came in, and for the last try of a series given up that was
        made inside a queue ID; came_back is true for the other tries made inside one, which are told by what followed them; ahead
        for mail that came in after ends_at, of which the next host's clock may say that it was settled before.
    never: one row per final refusal and per series given up (first_attempt_at, tries, and its last try's columns).
    waiting: the EVENTS of series that may go on after ends_at: tries that nothing ended yet, and the last end, of kind arrive.
    """

    firsts: pl.DataFrame
    never: pl.DataFrame
    waiting: pl.DataFrame


COPY_US = 2_000_000
"""Exim's main log and its reject log have one reject with the same stamp; through syslog this far apart at most."""


def drop_copies(doors: pl.DataFrame) -> pl.DataFrame:
    """`doors` (EVENTS) without the rejects that Exim wrote twice, to its main log and its reject log; the last one counts.

    The last, since a night sees the lines after its end, and the next one the same lines from its beginning.
    """
    exims = (C("kind") == "door") & C("instance").str.starts_with("exim").fill_null(False)
    twice = doors.filter(exims)
    if twice.height < 2:
        return doors
    same = ["host", "pid", "client_name", "client_ip", "helo", "sender", "recipient", "stage", "code", "reply"]
    twice = twice.sort(*same, "stamp", "place")
    again = pl.all_horizontal(C(k).eq_missing(C(k).shift(-1)) for k in same) & (
        C("stamp").shift(-1) - C("stamp") <= COPY_US
    )
    return pl.concat([doors.filter(~exims), twice.filter(~again.fill_null(False))])


def match_series(doors: pl.DataFrame, accepted: pl.DataFrame, ends_at: int) -> Series:
    """Tries refused at the door, put in series with the acceptances before ends_at that ended them.

    doors: EVENTS of kind door, and what the night before left (`waiting`, `unfold_firsts`); accepted: `accepted`; both with the
    columns of `name_client`. A series has one sender and recipient, clients of one net or domain, and no gap of 24 h; N acceptances
    (and final refusals) take the N oldest tries that nothing took before.
    """
    doors = drop_copies(doors)
    tried = pl.concat([doors.select("_sender", "asked"), accepted.filter("turned").select("_sender", "asked")])
    accepted = accepted.join(tried.unique(), on=["_sender", "asked"], how="semi", maintain_order="left")
    told = C("orig_queue_id").is_not_null() & (C("kind") != "door")
    known = doors.filter(told).select(
        "asked",
        hop=C("orig_queue_id").cast(pl.UInt64),
        first_attempt_at=pl.when(C("kind") == "arrive").then("stamp"),
        came_back=C("kind") == "leave",
    )
    tries = doors.filter(~told)
    both = number_takes(join_series(tries, accepted, known, ends_at))
    ends = meet_takes(both)
    later = accepted.filter((C("at") >= ends_at) & ~C("turned")).select("_sender", "asked").unique()
    tries, accepted = (
        rows.join(later, on=["_sender", "asked"], how="semi", maintain_order="left") for rows in (tries, accepted)
    )
    ahead = meet_takes(number_takes(join_series(tries, accepted, known, FOREVER))).filter(C("at") >= ends_at)
    firsts = pl.concat([
        some.filter(C("hop").is_not_null() & C("first").is_not_null()).select(
            "asked", "hop", first_attempt_at="first", came_back=pl.lit(False), ahead=pl.lit(some is ahead)
        )
        for some in (ends, ahead)
    ])  # fmt: skip
    refused = ends.filter(C("hop").is_null()).with_columns(
        first_attempt_at=pl.coalesce("first", "at"), tries=pl.lit(1, pl.Int64)
    )
    given_up = both.filter(~C("ends") & (C("last_end").is_null() | (C("at") > C("last_end"))))
    tails = given_up.unique("series", keep="last", maintain_order=True).join(
        given_up.group_by("series").agg(first_attempt_at=C("at").min(), tries=pl.len().cast(pl.Int64)), on="series"
    )
    inside = tell_inside(both, tails)
    known = known.join(inside, on=["hop", "asked"], how="anti")
    return Series(
        pl.concat([known, firsts, inside], how="diagonal").select(
            "hop", "asked", "first_attempt_at", "came_back", C("ahead").fill_null(False)
        ),
        pl.concat([refused, tails.filter(C("inside").is_null())], how="diagonal_relaxed"),
        leave_waiting(both, ends_at),
    )


def number_takes(both: pl.DataFrame) -> pl.DataFrame:
    """`join_series` with took (an end that takes a try that was left), rank (among those that took, or among tries), and of the whole
    series taken and last_end."""
    balance = pl.when("takes").then(-1).when("ends").then(0).otherwise(1).cum_sum().over("series")
    both = (
        both.with_columns(_left=balance)
        .with_columns(_least=pl.min_horizontal(C("_left").cum_min().shift().over("series"), 0).fill_null(0))
        .with_columns(took=C("takes") & (C("_left") >= C("_least")))
    )
    return both.with_columns(
        rank=pl.when("ends").then(C("took").cum_sum().over("series")).otherwise((~C("ends")).cum_sum().over("series")),
        last_end=C("at").filter("ends").max().over("series"),
        taken=C("took").sum().over("series"),
    )


def meet_takes(both: pl.DataFrame) -> pl.DataFrame:
    """The ends of `number_takes` that take a try, with first, when that was (null: none was left)."""
    oldest = both.filter(~C("ends")).select("series", "rank", pl.lit(True).alias("took"), first="at")
    return both.filter("takes").join(oldest, on=["series", "rank", "took"], how="left", maintain_order="left")


def tell_inside(both: pl.DataFrame, tails: pl.DataFrame) -> pl.DataFrame:
    """hop, asked, first_attempt_at, came_back of the tries made inside a queue ID; `tails` are the last tries of series given up."""
    inside = both.filter(C("inside").is_not_null()).select("asked", hop="inside", came_back=pl.lit(True))
    last = tails.filter(C("inside").is_not_null()).select(
        "asked", "first_attempt_at", hop="inside", came_back=pl.lit(False)
    )
    return pl.concat([inside.join(last, on=["hop", "asked"], how="anti"), last], how="diagonal")


def join_series(doors: pl.DataFrame, accepted: pl.DataFrame, known: pl.DataFrame, ends_at: int) -> pl.DataFrame:
    """Tries and acceptances before ends_at in order, with `series`, `ends` (not a try that may come again), `takes`: an end
    whose oldest try is not known yet, and `inside`, the hop of a try made inside a queue ID."""
    final = ((C("code") // 100 == 5) | C("dsn").str.starts_with("5")).fill_null(False)
    nobody, key = pl.lit(None, pl.UInt64), ["hop", "asked"]
    tries = doors.with_columns(
        at="stamp",
        ends=final | (C("kind") == "arrive"),
        takes=final & (C("kind") != "arrive"),
        hop=nobody,
        inside=C("orig_queue_id").cast(pl.UInt64),
    )
    taken = (
        accepted.filter(~C("turned"))
        .unique(key, keep="first", maintain_order=True)
        .join(
            known.filter(~C("came_back")).select(*key, pl.lit(False).alias("takes")),
            on=key,
            how="left",
            maintain_order="left",
        )
        .with_columns(C("takes").fill_null(True), ends=pl.lit(True), place=pl.lit(0, pl.Int64), inside=nobody)
    )
    turned = (
        accepted.filter("turned")
        .join(taken, on=key, how="anti", maintain_order="left")
        .join(known.filter("came_back"), on=key, how="anti", maintain_order="left")
        .join(tries, left_on=key, right_on=["inside", "asked"], how="anti", maintain_order="left")
        .with_columns(
            stamp="at", kind=pl.lit("door", KIND), place=pl.lit(0, pl.Int64),
            ends=pl.lit(False), takes=pl.lit(False), inside="hop", hop=nobody,
        )
    )  # fmt: skip
    both = pl.concat([tries, taken, turned], how="diagonal_relaxed").filter(C("at") < ends_at)
    who = ["_sender", "asked"]
    nets = both.filter(C("domain").is_not_null()).group_by([*who, "domain"]).agg(_client=C("net").min())
    both = both.join(nets, on=[*who, "domain"], how="left").with_columns(
        _client=pl.coalesce("_client", "net").fill_null("")
    )
    who = [*who, "_client"]
    both = both.sort([*who, "at", "place", "host", "hop", "inside"], nulls_last=False)
    fresh = pl.any_horizontal(C(k) != C(k).shift() for k in who) | (C("at") - C("at").shift() >= DOOR_WAIT_US)
    return both.with_columns(series=fresh.fill_null(True).cum_sum())


def leave_waiting(both: pl.DataFrame, ends_at: int) -> pl.DataFrame:
    """EVENTS of the series that may go on: their tries that nothing took, and after these the last end."""
    alive = both.filter(C("at").max().over("series") + DOOR_WAIT_US >= ends_at)
    tries = alive.filter(~C("ends") & (C("rank") > C("taken"))).with_columns(orig_queue_id=C("inside").cast(pl.String))
    last = (
        alive.filter("ends")
        .unique("series", keep="last", maintain_order=True)
        .join(tries.select("series").unique(), on="series", how="semi", maintain_order="left")
        .select(
            "host",
            "sender",
            "recipient",
            "client_name",
            "client_ip",
            "helo",
            stamp="at",
            place="place",
            kind=pl.lit("arrive", KIND),
        )
    )
    return pl.concat([EVENTS.conform(tries), EVENTS.conform(last)])


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
        "sender",
        "client_name",
        "client_ip",
        "dsn",
        "reply",
        "first_attempt_at",
        recipient="recipient",
        original_recipient="recipient",
        n_recipients=pl.lit(1, pl.Int64),
        entry_host="host",
        resolved_at="at",
        settled_at=settled,
        outcome=pl.when("ends").then(pl.lit("rejected")).otherwise(pl.lit("deferred_at_door")),
        path=pl.concat_list("host"),
        attempts="tries",
        cause="cause",
        certainty=pl.lit("certain"),
        flags=pl.lit([], pl.List(pl.String)),
    )
