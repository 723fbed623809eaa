"""Which hop follows which: candidates from named IDs and from Message-IDs, with the evidence for each."""

import polars as pl

from hoptrace.schemas.fleet import Fleet
from hoptrace.transforms.meet import meet

C = pl.col
SKEW_US = 120_000_000
"""How far a child may seem to arrive before the attempt that made it began: clocks differ by seconds, rarely by more."""

NOTICE_US = 60_000_000
"""A notice made this near to a failure is about the failure."""

NOTICE_BY_TIME_US = 150_000_000
"""How far from its due time a notice is looked for that names nothing: queues look at their clock once a minute or so."""

NAMELESS_NOTICES = ("smtpd", "opensmtpd")
"""Programs whose logs do not say what a notice is about."""

LOOKAHEAD_US = 30 * 60_000_000
"""How long after its hand-over a child may first be seen."""

CLASH_US = 14 * 3_600_000_000, 6 * 3_600_000_000
"""How long before and after its hand-over a message may seem to stand in the taker's log whose zone is wrong."""

ZONE_STEP_US = 15 * 60_000_000
"""Zones differ by multiples of this."""
LATE_US = 6 * 3_600_000_000
"""How long after a child's end a giver of it is looked for, if only to say that it came too late."""

EVIDENCE_RANK = {
    "queued_as": 0,
    "lmtp_session": 0,
    "forwarded_as": 0,
    "orig_queue_id": 1,
    "requeued": 1,
    "filter_log": 2,
    "notice": 3,
    "sieve_redirect": 4,
    "message_id_client": 5,
    "notice_by_time": 6,
    "message_id": 7,
}

CANDIDATES: dict[str, pl.DataType | type[pl.DataType]] = {
    "child": pl.UInt64,
    "parent": pl.UInt64,
    "kind": pl.String,
    "evidence": pl.String,
    "strength": pl.String,
    "gap": pl.Int64,
    "lead": pl.Int64,
    "child_at": pl.Int64,
    "parent_at": pl.Int64,
    "late": pl.Boolean,
}


def index_hops(hops: pl.DataFrame, recipients: pl.DataFrame) -> pl.DataFrame:
    """What a hop is looked up by: hop, host, queue_id, message_id, client_host, arrived, first_seen, last_seen, settled_from,
    ended_at, stored, brought (by a client), and failed, the times at which recipients of it were given up."""
    failed = (
        recipients.filter(C("status").is_in(["bounced", "expired"])).group_by("hop").agg(failed=C("at").unique().sort())
    )
    return hops.select(
        "hop",
        "host",
        "queue_id",
        "message_id",
        "client_host",
        "arrived",
        "first_seen",
        "last_seen",
        "settled_from",
        "ended_at",
        stored=C("stored_at").is_not_null(),
        brought=C("client_ip").is_not_null(),
    ).join(failed, on="hop", how="left", maintain_order="left")


def claim_children(
    hops: pl.DataFrame, recipients: pl.DataFrame, notices: pl.DataFrame, filters: pl.DataFrame
) -> pl.DataFrame:
    """What parents say of their children: one row per (parent hop, child's queue ID).

    Columns: queue_id (the child's), parent, from_host, relay_host (null where unknown), same_host, kind, evidence, parent_at,
    started, message_id.
    """
    origin = hops.select("hop", "host", "message_id")
    named = recipients.filter(C("next_queue_id").is_not_null() & (C("status") == "sent")).join(origin, on="hop")
    forwarded = (C("reply").str.starts_with("forwarded as")).fill_null(False)
    sent = named.select(
        queue_id="next_queue_id",
        parent="hop",
        from_host="host",
        relay_host=pl.when(forwarded).then("host").otherwise("relay_host"),
        same_host=forwarded,
        kind=pl.when(forwarded)
        .then(pl.lit("forward"))
        .when(C("loopback"))
        .then(pl.lit("filter"))
        .otherwise(pl.lit("relay")),
        evidence=pl.when(forwarded)
        .then(pl.lit("forwarded_as"))
        .when(C("action") == "passed")
        .then(pl.lit("filter_log"))
        .otherwise(pl.lit("queued_as")),
        parent_at="at",
        started="try_start",
        message_id="message_id",
    )
    told = notices.filter(C("next_queue_id").is_not_null() & C("action").str.ends_with("_notice")).select(
        queue_id="next_queue_id",
        parent="hop",
        from_host="host",
        relay_host="host",
        same_host=pl.lit(True),
        kind="action",
        evidence=pl.lit("notice"),
        parent_at="at",
        started=C("at") - 60_000_000,
        message_id=pl.lit(None, pl.String),
    )
    passed = (
        filters.filter(C("next_queue_id").is_not_null())
        .join(hops.select("hop", "host", "message_id", "arrived"), on="hop")
        .select(
            queue_id=C("next_queue_id").str.split("/"),
            parent="hop",
            from_host="host",
            relay_host="host",
            same_host=pl.lit(True),
            kind=pl.when(C("action") == "requeued").then(pl.lit("requeue")).otherwise(pl.lit("filter")),
            evidence=pl.lit("filter_log"),
            parent_at="at",
            started="arrived",
            message_id="message_id",
        )
        .explode("queue_id")
    )
    return pl.concat([sent, told, passed]).unique(["queue_id", "parent", "evidence"], keep="first", maintain_order=True)


def claim_parents(hops: pl.DataFrame) -> pl.DataFrame:
    """What children say of their parents: queue_id (the parent's), child, parent_host, arrival (requeue, notice, else
    a filter's), child_at, child_arrived."""
    return hops.filter(C("orig_queue_id").is_not_null()).select(
        queue_id="orig_queue_id",
        child="hop",
        parent_host=pl.when(C("arrival").is_in(["requeue", "notice"])).then("host").otherwise("client_host"),
        arrival="arrival",
        child_at="first_seen",
        child_arrived="arrived",
    )


def comes_late() -> pl.Expr:
    """Whether the giver's line (parent_at) came when the child's first row may have been published (settled_from, ended_at)."""
    return (C("parent_at") > pl.coalesce("settled_from", "ended_at") + LOOKAHEAD_US).fill_null(False)


def told_in_time() -> pl.Expr:
    """Whether a giver's line came before the child was forgotten."""
    return (C("parent_at") <= C("ended_at") + LATE_US).fill_null(True)


def meet_claims(own: pl.DataFrame, claims: pl.DataFrame) -> pl.DataFrame:
    """Parents' claims (`claim_children`) with the hops of those queue IDs (`index_hops`)."""
    return meet(claims, own, ["queue_id"], "parent_at", "first_seen").filter(C("parent") != C("hop"))


def link_claimed_children(claimed: pl.DataFrame) -> pl.DataFrame:
    """Candidates (CANDIDATES columns) from parents' claims and the hops with those queue IDs (`meet_claims`).

    A hop counts where it arrived within [start of the attempt - skew, hand-over + look-ahead] and the relay is not known to
    be another host; nor, where the relay is unknown, may its client be another: such a relay is a stranger, who can name any
    queue ID. A hand-over by the hop's client that was logged when rows of the hop may be published is late. Certain: same
    Message-ID, or none on one side and the relay is that host.
    """
    notice = C("kind").str.ends_with("_notice")
    ours = (C("client_host") == C("from_host")).fill_null(False)
    blank = C("message_id").fill_null("").eq("") | C("message_id_right").fill_null("").eq("")
    stranger = C("relay_host").is_null() & ~blank & C("brought") & ~ours & ~C("stored")
    pairs = claimed.filter(
        (C("relay_host").is_null() | (C("relay_host") == C("host")))
        & (~C("same_host") | (C("host") == C("from_host")))
        & (pl.when(notice).then("first_seen").otherwise("arrived") >= C("started") - SKEW_US)
        & (C("first_seen") <= C("parent_at") + LOOKAHEAD_US)
        & ~stranger
        & (notice | ~comes_late() | (ours & told_in_time()))
    )
    here = C("relay_host").is_not_null()
    same = (C("message_id") == C("message_id_right")).fill_null(False)
    certain = C("same_host") | same | (here & (blank | ours))
    return pairs.select(
        child="hop",
        parent="parent",
        kind="kind",
        evidence=pl.when(C("stored") & (C("evidence") == "queued_as"))
        .then(pl.lit("lmtp_session"))
        .otherwise("evidence"),
        strength=pl.when(certain | notice | C("stored")).then(pl.lit("certain")).otherwise(pl.lit("likely")),
        gap=C("first_seen") - C("parent_at"),
        lead=C("started") - C("arrived"),
        child_at="first_seen",
        parent_at="parent_at",
        late=~notice & comes_late(),
    )


def find_clashes(claimed: pl.DataFrame) -> pl.DataFrame:
    """hop, queue_id: hand-overs (of `meet_claims`) whose taker has this very message under this very queue ID, but at a time when it
    cannot have come from there: the stamps of one of the two hosts are wrong. It is this message where the Message-ID is the same,
    or where none is known and the queue ID itself was made at the right time, or the stamps are off as zones are."""
    early, late = C("arrived") < C("started") - SKEW_US, C("first_seen") > C("parent_at") + LOOKAHEAD_US
    there = (C("kind") == "relay") & (C("relay_host") != C("from_host")) & (C("relay_host") == C("host"))
    odd = claimed.filter(there & (early | late))
    same = (C("message_id") == C("message_id_right")).fill_null(False) & (C("message_id") != "")
    near = C("first_seen").is_between(C("parent_at") - CLASH_US[0], C("parent_at") + CLASH_US[1])
    fitting = claimed.filter(there & ~(early | late) & C("parent").is_in(odd["parent"].unique().implode()))
    blank = C("message_id").fill_null("").eq("") | C("message_id_right").fill_null("").eq("")
    off = (C("first_seen") - C("parent_at") + ZONE_STEP_US // 2) % ZONE_STEP_US - ZONE_STEP_US // 2
    zoned = off.is_between(-SKEW_US, SKEW_US)
    made = blank & ((~early & (C("arrived") <= C("parent_at") + LOOKAHEAD_US)) | zoned)
    found = odd.filter(near & (same | C("stored") | made)).join(fitting, on=["parent", "queue_id"], how="anti")
    return found.select("queue_id", hop="parent").unique().sort("hop", "queue_id")


def link_claimed_parents(own: pl.DataFrame, claims: pl.DataFrame) -> pl.DataFrame:
    """Candidates from children's claims (XFORWARD's original queue ID, a requeue's old ID, the message that a notice is about): the
    latest such hop before the child. A notice made when a recipient of its message failed is a bounce, else a delay notice."""
    pairs = (
        meet(claims, own, ["queue_id"], "child_at", "last_seen")
        .filter(
            (C("child") != C("hop"))
            & (C("parent_host").is_null() | (C("parent_host") == C("host")))
            & (C("arrived") <= C("child_arrived") + SKEW_US)
        )
        .sort("child", "arrived", "hop")
        .unique("child", keep="last", maintain_order=True)
    )
    requeue, notice = (C("arrival") == "requeue").fill_null(False), (C("arrival") == "notice").fill_null(False)
    near = (C("failed") - C("child_at")).list.eval(pl.element().abs() <= NOTICE_US).list.any().fill_null(False)
    return pairs.select(
        child="child",
        parent="hop",
        kind=pl.when(requeue)
        .then(pl.lit("requeue"))
        .when(notice & near)
        .then(pl.lit("bounce_notice"))
        .when(notice)
        .then(pl.lit("delay_notice"))
        .otherwise(pl.lit("filter")),
        evidence=pl.when(requeue)
        .then(pl.lit("requeued"))
        .when(notice)
        .then(pl.lit("notice"))
        .otherwise(pl.lit("orig_queue_id")),
        strength=pl.when(C("parent_host").is_null()).then(pl.lit("likely")).otherwise(pl.lit("certain")),
        gap=C("child_at") - C("last_seen"),
        lead=pl.lit(None, pl.Int64),
        child_at="child_at",
        parent_at="last_seen",
        late=pl.lit(False),
    )


def offer_by_message_id(hops: pl.DataFrame, recipients: pl.DataFrame) -> pl.DataFrame:
    """Handed-over recipients whose next queue ID may not be named: message_id, parent, host, relay_host, address, parent_at,
    started, redirect, filtered, and copy, for a try whose answer was lost, so that the next host may have the message.

    A filter that splits a message names one of the new queue IDs for all recipients, so its hand-overs are offered too.
    """
    given = recipients.filter(
        (C("next_queue_id").is_null() | C("loopback").fill_null(False)) & C("status").is_in(["sent", "redirected"])
    ).with_columns(copy=pl.lit(False))
    lost = (
        recipients.filter(C("unsure_tries").is_not_null())
        .select("hop", "recipient", "status", "unsure_tries")
        .explode("unsure_tries")
        .with_columns(at=C("unsure_tries").struct["at"], try_start=C("unsure_tries").struct["start"], copy=pl.lit(True))
        .drop("unsure_tries")
    )
    given = pl.concat([given, lost], how="diagonal") if lost.height else given
    told = given.join(hops.select("hop", "host", "message_id"), on="hop")
    return told.filter(C("message_id").fill_null("") != "").select(
        "message_id",
        "relay_host",
        "copy",
        parent="hop",
        host="host",
        address=fold_address("recipient"),
        parent_at="at",
        started="try_start",
        redirect=C("status") == "redirected",
        filtered=C("loopback").fill_null(False),
    )


def seek_by_message_id(hops: pl.DataFrame, recipients: pl.DataFrame) -> pl.DataFrame:
    """Hops brought by a host of ours: message_id, child, taker (their host), client_host, address (null where not logged),
    arrived, child_at, settled_from, ended_at."""
    brought = hops.filter(
        C("client_host").is_not_null() & C("orig_queue_id").is_null() & (C("message_id").fill_null("") != "")
    )
    asked = recipients.select("hop", address=fold_address(pl.coalesce("original_recipient", "recipient")))
    return brought.join(asked, on="hop", how="left").select(
        "message_id",
        "client_host",
        "address",
        "arrived",
        "settled_from",
        "ended_at",
        taker="host",
        child="hop",
        child_at="first_seen",
    )


def link_by_message_id(offers: pl.DataFrame, seekers: pl.DataFrame) -> pl.DataFrame:
    """Candidates where the child's client is the parent's host, the Message-ID is the same and recipients agree.

    A relay known to be another host than the child's refuses the link. A copy was there before its answer was lost. A store's
    redirect with one candidate is certain; the rest is likely.
    """
    given = offers.rename({"host": "client_host"})
    known = meet(
        seekers.filter(C("address").is_not_null()),
        given,
        ["message_id", "client_host", "address"],
        "child_at",
        "parent_at",
    )
    whole = (
        given.drop("address")
        .sort(given.drop("address").columns)
        .with_columns(_copied_at=pl.when("copy").then("parent_at"))
        .unique(["message_id", "client_host", "parent", "relay_host", "_copied_at"], keep="first", maintain_order=True)
        .drop("_copied_at")
    )
    nameless = meet(
        seekers.filter(C("address").is_null()), whole, ["message_id", "client_host"], "child_at", "parent_at"
    )
    pairs = (
        pl.concat([known, nameless], how="diagonal")
        .filter(
            (C("child") != C("parent"))
            & (C("arrived") >= C("started") - SKEW_US)
            & (C("child_at") <= C("parent_at") + pl.when("copy").then(SKEW_US).otherwise(LOOKAHEAD_US))
            & (C("relay_host").is_null() | (C("relay_host") == C("taker")))
            & told_in_time()
        )
        .with_columns(
            _far=pl.when(C("copy").any().over("child", "parent")).then((C("child_at") - C("parent_at")).abs())
        )
        .sort("child", "parent", "_far", "parent_at", "started", "redirect", "filtered")
        .unique(["child", "parent"], keep="first", maintain_order=True)
    )
    alone = pl.len().over("child") == 1
    return pairs.select(
        "child",
        "parent",
        kind=pl.when("redirect")
        .then(pl.lit("redirect"))
        .when("filtered")
        .then(pl.lit("filter"))
        .otherwise(pl.lit("relay")),
        evidence=pl.when("redirect").then(pl.lit("sieve_redirect")).otherwise(pl.lit("message_id_client")),
        strength=pl.when(C("redirect") & alone).then(pl.lit("certain")).otherwise(pl.lit("likely")),
        gap=C("child_at") - C("parent_at"),
        lead=C("started") - C("arrived"),
        child_at="child_at",
        parent_at="parent_at",
        late=comes_late(),
    )


def offer_by_time(hops: pl.DataFrame, recipients: pl.DataFrame, fleet: Fleet) -> pl.DataFrame:
    """When programs whose notices name nothing may have made one: host, address (who would be told), parent, notice, due, and
    the span since .. until in which it counts.

    A bounce is due when a recipient was given up. A delay notice is due when a stay reaches its host's delay_warning, and some
    programs make it as soon as the next try would come later than that.
    """
    silent = hops.filter(C("instance").is_in(NAMELESS_NOTICES) & (C("sender").fill_null("") != ""))
    fates = recipients.join(silent.select("hop", "host", "arrived", address=fold_address("sender")), on="hop")
    settings = {host: fleet.delay_warning_of(host) for host in silent["host"].unique()}
    after = C("host").replace_strict(settings, default=None, return_dtype=pl.Int64)
    failed = fates.filter(C("status").is_in(["bounced", "expired"])).select(
        "host",
        "address",
        parent="hop",
        notice=pl.lit("bounce_notice"),
        due="at",
        since=C("at") - NOTICE_BY_TIME_US,
        until=C("at") + NOTICE_BY_TIME_US,
    )
    waited = fates.filter(C("last_deferred").is_not_null() & after.is_not_null()).select(
        "host",
        "address",
        parent="hop",
        notice=pl.lit("delay_notice"),
        due=C("arrived") + after,
        since=pl.max_horizontal("first_end", C("arrived") + after // 2),
        until=pl.min_horizontal(
            C("arrived") + after * 3 // 2, pl.when(C("status") != "deferred").then(C("at") + NOTICE_BY_TIME_US)
        ),
    )
    return pl.concat([failed, waited]).unique(maintain_order=True)


def seek_by_time(hops: pl.DataFrame, recipients: pl.DataFrame) -> pl.DataFrame:
    """Notices that name nothing: host, address (who is told), child, child_at."""
    made = hops.filter(C("instance").is_in(NAMELESS_NOTICES) & (C("sender") == "") & C("client_ip").is_null())
    return (
        made.join(recipients, on="hop")
        .select("host", address=fold_address("recipient"), child="hop", child_at="first_seen")
        .unique(maintain_order=True)
    )


def link_by_time(offers: pl.DataFrame, seekers: pl.DataFrame) -> pl.DataFrame:
    """Candidates where a notice to this address was made while one was due; the one nearest to its due time is chosen later."""
    pairs = meet(seekers, offers, ["host", "address"], "child_at", "due").filter(
        (C("child") != C("parent")) & C("child_at").is_between("since", "until")
    )
    return pairs.select(
        "child",
        "parent",
        kind="notice",
        evidence=pl.lit("notice_by_time"),
        strength=pl.lit("likely"),
        gap=C("child_at") - C("due"),
        lead=pl.lit(None, pl.Int64),
        child_at="child_at",
        parent_at="due",
        late=pl.lit(False),
    )


def fold_address(column: str | pl.Expr) -> pl.Expr:
    """An address for comparing: as logged, its domain in lower case, without the quotes some programs add."""
    text = C(column) if isinstance(column, str) else column
    return text.map_batches(fold_addresses, return_dtype=pl.String)


def fold_addresses(text: pl.Series) -> pl.Series:
    """`fold_address` of a series; most addresses are folded already."""
    odd = text.str.contains(r'["A-Z]').fill_null(False)
    if not odd.any():
        return text
    bare = text.filter(odd).str.replace_all('"', "", literal=True)
    parts = bare.str.extract_groups(r"^(?s)(.*)(@[^@]*)$").struct
    folded = parts.field("1") + parts.field("2").str.to_lowercase()
    return text.scatter(odd.arg_true(), folded.zip_with(folded.is_not_null(), bare))
