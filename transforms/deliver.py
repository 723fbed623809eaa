"""From the hops and recipients of whole traces to the rows that people read: deliveries, handoffs, notices, and what carries over."""

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from hoptrace.schemas.deliveries import STAGES
from hoptrace.schemas.fleet import Fleet
from hoptrace.transforms.hash import hash_columns
from hoptrace.transforms.hexes import hex_of
from hoptrace.transforms.holes import Logs
from hoptrace.transforms.links import LOOKAHEAD_US, fold_address
from hoptrace.transforms.outcomes import HANDOVER_WAIT_US, HOP_TIMES, judge_outcomes
from hoptrace.transforms.plan import Night
from hoptrace.transforms.runs import Runs
from hoptrace.transforms.seconds import seconds_of
from hoptrace.transforms.stages import find_worst, settle_remainder, split_stay
from hoptrace.transforms.stamps import DAY, conflicts, queue_id_time
from hoptrace.transforms.traces import trace_recipients
from hoptrace.transforms.verdicts import VERDICT_COLUMNS, choose_verdicts
from hoptrace.transforms.watch import name_hour, watch_clients

C = pl.col
FIRSTS: dict[str, pl.DataType | type[pl.DataType]] = {
    "hop": pl.UInt64,
    "asked": pl.String,
    "first_attempt_at": pl.Int64,
    "came_back": pl.Boolean,
}
CLASHES = {"hop": pl.UInt64(), "queue_id": pl.String()}
NOTICE_SLACK_US = 5_000_000
SPENT = (
    "first_end", "first_connect", "first_transmit", "connect_us", "transmit_us", "waiting_us", "in_queue_us",
    "held_us", "unsure_tries",
)  # fmt: skip
"""What the steps know better."""


def name_trace(hops: pl.DataFrame) -> pl.Series:
    """24 hex digits per hop from host, queue_id and epoch: the trace that this hop roots."""
    parts = [hash_columns(hops, ["host", "queue_id", "epoch"], seed=seed) for seed in (1, 2)]
    return (hex_of(parts[0]) + hex_of(parts[1]).str.slice(0, 8)).alias("trace_id")


def leave_out_tries(rows: pl.DataFrame, walks: pl.DataFrame, hops: pl.DataFrame, firsts: pl.DataFrame) -> pl.DataFrame:
    """The walks without those of recipients turned away inside a queue ID of whom others tell: who came back, what followed; a
    host of ours, its own log."""
    turned = rows.filter(C("status") == "turned_away").with_columns(C("asked").fill_null(""))
    if not turned.height:
        return walks
    ours = hops.filter(C("client_host").is_not_null() & C("client_read"))
    told = pl.concat(
        [
            turned.join(firsts.filter("came_back"), on=["hop", "asked"], how="semi"),
            turned.join(ours, on="hop", how="semi"),
        ]
    )
    return walks.join(told.select(last="row"), on="last", how="anti", maintain_order="left")


def gather_steps(rows: pl.DataFrame, walks: pl.DataFrame, hops: pl.DataFrame) -> pl.DataFrame:
    """The walks with what each stay knows: one row per (last, step), ordered by last and travel."""
    walks = walks.sort(["last", "step"], descending=[False, True])
    facts = rows.select(
        "hop",
        "hop_at",
        "at",
        "try_start",
        "attempts",
        "relay_name",
        "reply",
        "connect_us",
        "transmit_us",
        "waiting_us",
        "held_us",
        "last_deferred",
        "recipient",
        "original_recipient",
        "unsure",
    )[walks["row"]]
    stays = hops.select(
        "host",
        "queue_id",
        "arrived",
        "queued",
        "partial",
        "message_id",
        "evidence",
        "strength",
        "kind",
        "delay_warning",
        "queue_lifetime",
        "contrary",
    )[facts["hop_at"]]
    steps = walks.hstack(facts).hstack(stays)
    same = C("last") == C("last").shift()
    onward = C("last") == C("last").shift(-1)
    return steps.with_columns(
        previous_at=pl.when(same).then(C("at").shift()),
        next_kind=pl.when(onward).then(C("kind").shift(-1)),
        next_evidence=pl.when(onward).then(C("evidence").shift(-1)),
    )


def list_stays(steps: pl.DataFrame, walks: Runs) -> pl.DataFrame:
    """Columns hops (list of STAY structs), path, attempts, likely, warning facts, us_<stage>: one row for each of the `walks` that `steps`
    are."""
    seconds = pl.struct(*(seconds_of(stage).alias(stage) for stage in STAGES)).alias("stages")
    stay = pl.struct(
        "host",
        "queue_id",
        C("arrived").cast(pl.Datetime("us", "UTC")).alias("arrived_at"),
        C("at").cast(pl.Datetime("us", "UTC")).alias("handed_over_at"),
        C("attempts"),
        C("relay_name").alias("relay"),
        "reply",
        seconds,
        C("next_evidence").alias("evidence"),
    )
    overdue = C("last_deferred") - C("arrived")
    told = steps.select(
        hops=stay,
        new_host=((C("last") != C("last").shift()) | (C("host") != C("host").shift())).fill_null(value=True),
        named=(C("message_id") != "").fill_null(value=False),
    )
    any_message_id = steps["message_id"].gather(walks.first(told["named"]))
    sums = steps.select(C("attempts").fill_null(0), **{f"us_{stage}": stage for stage in STAGES})
    facts = walks.any(
        steps.select(
            "unsure",
            "contrary",
            "partial",
            likely=C("strength") == "likely",
            warning_due=overdue >= C("delay_warning"),
            warning_known=C("delay_warning").is_not_null(),
            return_due=overdue >= C("queue_lifetime"),
            return_known=C("queue_lifetime").is_not_null(),
        )
    )
    return walks.sums(sums).hstack(
        [
            walks.lists(told["hops"]),
            walks.lists(steps["host"], told["new_host"].to_numpy()).alias("path"),
            any_message_id.alias("any_message_id"),
            *facts.with_columns(C("warning_known") & ~C("partial")).drop("partial"),
        ]
    )


def date_notices(rows: pl.DataFrame, walks: pl.DataFrame, told: pl.DataFrame) -> pl.DataFrame:
    """last, warned, returned (µs): the first delay notice made while the recipient waited at one of its stays, and the bounce.

    told: hop, notice, made (arrival of the notice's own hop).
    """
    stays = walks.join(rows.select("row", "hop", "at", "status", "last_deferred"), on="row").join(told, on="hop")
    waited = C("last_deferred").is_not_null() | (C("status") == "pending")
    open_still = C("status").is_in(["deferred", "pending", "requeued"]) | (C("made") <= C("at") + NOTICE_SLACK_US)
    warned = (
        stays.filter((C("notice") == "delay_notice") & waited & open_still).group_by("last").agg(warned=C("made").min())
    )
    returned = (
        stays.filter(
            (C("notice") == "bounce_notice")
            & (C("step") == 0)
            & C("status").is_in(["bounced", "expired", "discarded"])
            & (C("made") >= C("at") - NOTICE_SLACK_US)
        )
        .group_by("last")
        .agg(returned=C("made").min())
    )
    return warned.join(returned, on="last", how="full", coalesce=True)


def merge_copies(rows: pl.DataFrame, ends_at: int) -> pl.DataFrame:
    """One row per (trace, original recipient, recipient): the first success wins, else what may still become one, else the last
    fact. Adds waits: whether any of them is unsettled at ends_at."""
    key = ["trace_id", "original_recipient", "recipient"]
    rows = rows.with_columns(waits=C("settled_at").is_null() | (C("settled_at") >= ends_at))
    several = rows.select(pl.struct(key)).to_series().is_duplicated()
    if not several.any():
        return rows
    success = C("outcome") == "delivered"
    copies = rows.filter(several).with_columns(
        _failed=pl.when(success).then(0).when("waits").then(1).otherwise(2),
        _order=pl.when(success).then(C("resolved_at")).otherwise(-C("resolved_at")),
        waits=C("waits").any().over(key),
    )
    best = copies.sort(*key, "_failed", "_order", "last", nulls_last=False).unique(
        key, keep="first", maintain_order=True
    )
    return pl.concat([rows.filter(~several), best.drop("_failed", "_order")])


def write_deliveries(
    hops: pl.DataFrame,
    recipients: pl.DataFrame,
    told: pl.DataFrame,
    firsts: pl.DataFrame,
    filters: pl.DataFrame,
    night: Night,
    programs: Mapping[str, str],
    logs: Logs,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """One row per recipient's fate, settled or not (settled_at null), columns of DELIVERIES as integers of microseconds; and the
    hand-overs that were duplicates (child, recipient).

    hops: with root, parent, kind, evidence, strength, about_root, contrary, cold, client_read, client_unread_at, and
    delay_warning, queue_lifetime per host.
    told: hop, notice, made. firsts: hop, asked, first_attempt_at (µs) and came_back from the door. filters: what `assemble_kinds`
    tells of them.
    """
    rows, walks, duplicates = trace_recipients(hops, recipients)
    walks = leave_out_tries(rows, walks, hops, firsts)
    steps = gather_steps(rows, walks, hops)
    entrance = steps.filter(C("last").shift().ne_missing(C("last"))).select(
        "last", root_hop="hop", root_at="hop_at", entry_recipient="recipient", entry_original="original_recipient"
    )
    facts = rows.drop("attempts", "unsure", *SPENT, strict=False)[entrance["last"]].hstack(entrance)
    facts = facts.hstack(hops.select(HOP_TIMES)[facts["hop_at"]])
    facts = judge_outcomes(facts, night.ends_at, programs, logs)
    roots = hops.select(
        "message_id",
        "sender",
        "client_name",
        "client_ip",
        "sasl_user",
        "size",
        "partial",
        "about_trace",
        "component",
        "cold",
        "stored_at",
        "client_host",
        "client_unread_at",
        trace_id="trace_id",
        entry_host="host",
        submitted="arrived",
    )
    out = facts.hstack(roots[facts["root_at"]])
    refused_at_entrance = (C("hop") == C("root_hop")) & C("outcome").is_in(["rejected", "deferred_at_door", "aborted"])
    until = pl.when(C("settled").is_null()).then(pl.lit(night.ends_at)).otherwise("resolved")
    out = out.with_columns(submitted_at=pl.when(refused_at_entrance).then(None).otherwise("submitted"))
    out = out.with_columns(delay_us=(until - C("submitted_at")).clip(lower_bound=0))
    each = Runs(steps["last"])
    steps = settle_remainder(split_stay(steps), each, out["delay_us"])
    stays = walks.join(rows.select("row", "hop", "recipient"), on="row").join(
        out.select("last", known_until=C("settled") + LOOKAHEAD_US), on="last"
    )
    out = (
        out.hstack(list_stays(steps, each))
        .hstack(find_worst(steps, each))
        .join(choose_verdicts(stays, filters), on="last", how="left", maintain_order="left")
        .join(date_notices(rows, walks, told), on="last", how="left", maintain_order="left")
        .with_columns(asked_first=pl.coalesce("entry_original", "entry_recipient"))
        .with_columns(_asked=fold_address("asked_first").fill_null(""))
        .join(
            firsts.filter(~C("came_back")),
            left_on=["root_hop", "_asked"],
            right_on=["hop", "asked"],
            how="left",
            maintain_order="left",
        )
    )
    out = name_unread(out, night, logs)
    out = out.select(
        "last",
        "trace_id",
        pl.coalesce(pl.when(C("message_id") != "").then("message_id"), "any_message_id").alias("message_id"),
        "sender",
        "recipient",
        "entry_host",
        "client_name",
        "client_ip",
        "sasl_user",
        "size",
        "submitted_at",
        original_recipient="asked_first",
        n_recipients=C("n_recipients").fill_null(1),
        first_attempt_at=pl.coalesce("first_attempt_at", pl.when(C("submitted_at").is_null()).then("resolved")),
        resolved_at="resolved",
        settled_at="settled",
        outcome="outcome",
        place="place",
        folder="folder",
        delay_s=seconds_of("delay_us"),
        warned_at="warned",
        warning_due=pl.when("warning_known").then(C("warning_due").fill_null(False) & (C("sender") != "")),
        returned_at="returned",
        return_due=pl.when("return_known").then(C("return_due").fill_null(False) & (C("sender") != "")),
        caused_by="about_trace",
        path="path",
        hops="hops",
        worst_host="worst_host",
        worst_stage="worst_stage",
        attempts=C("attempts").fill_null(0),
        dsn="dsn",
        reply="reply",
        cause=pl.when(C("outcome") != "delivered").then("cause"),
        certainty=pl.when(
            (C("outcome") == "unknown")
            | C("partial")
            | C("contrary").fill_null(False)
            | C("unread_at").is_not_null()
            | C("stored_at").is_not_null()
            | C("unshown")
        )
        .then(pl.lit("incomplete"))
        .when(C("likely") | C("client_host").is_not_null())
        .then(pl.lit("likely"))
        .otherwise(pl.lit("certain")),
        would_settle=name_hour("unread_host", "unread_at"),
        flags=pl.concat_list(
            pl.when(C("unsure").fill_null(False)).then(pl.lit("maybe_duplicate")),
            pl.when(C("kept").fill_null(False) & (C("outcome") != "quarantined")).then(pl.lit("quarantined_copy")),
            pl.when(C("after_data").fill_null(False)).then(pl.lit("recipients_incomplete")),
            pl.when("cold").then(pl.lit("cold_start")),
        ).list.drop_nulls(),
        **{name: name for name in VERDICT_COLUMNS},
        component="component",
        **{f"us_{stage}": f"us_{stage}" for stage in STAGES},
    )
    return merge_copies(out, night.ends_at), duplicates


def name_unread(rows: pl.DataFrame, night: Night, logs: Logs) -> pl.DataFrame:
    """`rows` with unread_host and unread_at (µs) where a log lacks what would tell more: what became of the message, what its
    queue still does, who brought it, or how it came in."""
    read = logs.minutes.group_by("host").agg(read_until=C("minute").max()).rename({"host": "hop_host"})
    rows = rows.join(read, on="hop_host", how="left", maintain_order="left")
    waits = C("settled").is_null() & C("outcome").is_in(["queued", "held"])
    ended = waits & (C("read_until").fill_null(0) < night.ends_at - HANDOVER_WAIT_US)
    why = [
        (C("unread_at").is_not_null(), "unread_host", C("unread_at")),
        (ended, "hop_host", pl.coalesce("read_until", "last_seen")),
        (C("client_unread_at").is_not_null(), "client_host", C("client_unread_at")),
        (C("partial"), "entry_host", C("submitted")),
    ]
    return rows.with_columns(
        unread_host=pl.coalesce(pl.when(when).then(host) for when, host, _ in why),
        unread_at=pl.coalesce(pl.when(when).then(at) for when, _, at in why),
    )


def tell_beginnings(hops: pl.DataFrame, recipients: pl.DataFrame, night: Night) -> pl.DataFrame:
    """`hops` with contrary, whether its own queue ID contradicts the stamps of its lines, and cold, whether it began before the
    first line that was read at all: as its queue ID or its delays tell, else as one seen in the first day."""
    zone, year = conflicts(hops["queue_id"], hops["first_seen"])
    contrary = pl.Series("contrary", zone | year) & ~hops["partial"]
    if night.cold_at is None:
        return hops.with_columns(contrary, cold=pl.lit(False))
    partial = hops.filter("partial").select("hop", "queue_id", "first_seen")
    aged = recipients.filter(C("delay").is_not_null()).join(partial, on="hop", how="semi")
    ages = aged.group_by("hop").agg(_began=(C("logged_at") - C("delay")).min())
    proven = queue_id_time(partial["queue_id"], partial["first_seen"])
    told = partial.with_columns(_proven=proven).join(ages, on="hop", how="left", maintain_order="left")
    began = pl.coalesce("_proven", "_began", C("first_seen") - DAY)
    return hops.with_columns(contrary, cold=C("hop").is_in(told.filter(began < night.cold_at)["hop"].implode()))


@dataclass(frozen=True)
class Traces:
    """Whole traces: every row, settled or not; the hops with their trace_id; and child, recipient of duplicate hand-overs."""

    deliveries: pl.DataFrame
    hops: pl.DataFrame
    duplicates: pl.DataFrame


def know_queues(hops: pl.DataFrame, fleet: Fleet) -> pl.DataFrame:
    """`hops` with delay_warning and queue_lifetime (µs, null where unknown) of their hosts."""
    names = hops["host"].unique().to_list()
    queues = pl.DataFrame(
        {
            "host": names,
            "delay_warning": [fleet.delay_warning_of(n) for n in names],
            "queue_lifetime": [fleet.queue_lifetime_of(n) for n in names],
        },
        schema={"host": pl.String, "delay_warning": pl.Int64, "queue_lifetime": pl.Int64},
    )
    return hops.join(queues, on="host", how="left", maintain_order="left")


def write_traces(placed: Mapping[str, pl.DataFrame], fleet: Fleet, night: Night, logs: Logs) -> Traces:
    """Rows of whole traces from their hops (with the forest's columns), recipients and door tries.

    placed: frames hops, recipients, firsts. logs: which are read, and where they are whole.
    """
    hops = tell_beginnings(know_queues(placed["hops"], fleet), placed["recipients"], night)
    hops = watch_clients(hops, logs).with_columns(
        client_read=C("client_host").is_null() | C("client_host").is_in(sorted(logs.hosts))
    )
    told = C("partial") & C("about").is_not_null()
    hops = hops.with_columns(
        name_trace(hops).alias("_own_trace"),
        arrived=pl.when(told).then("told_at").otherwise("arrived"),
        sender=pl.when(C("about").is_not_null()).then(C("sender").fill_null("")).otherwise("sender"),
        partial=C("partial") & ~told,
        cold=C("cold") & ~told,
    )
    traces = hops.select(root="hop", trace_id="_own_trace")
    hops = hops.join(traces, on="root", how="left", maintain_order="left").join(
        traces.rename({"root": "about_root", "trace_id": "about_trace"}),
        on="about_root",
        how="left",
        maintain_order="left",
    )
    made = hops.filter(C("about").is_not_null()).select("notice", hop="about", made="arrived")
    recipients = placed["recipients"].drop("component", strict=False)
    clashes = placed.get("clashes", pl.DataFrame(schema=CLASHES)).select("hop", next_queue_id="queue_id").unique()
    if clashes.height:
        clashes = clashes.with_columns(clash=True)
        recipients = recipients.join(clashes, on=["hop", "next_queue_id"], how="left", maintain_order="left")
    else:
        recipients = recipients.with_columns(clash=pl.lit(False))
    filters = placed["filters"].drop("component", strict=False)
    firsts = placed.get("firsts", pl.DataFrame(schema=FIRSTS)).drop("component", strict=False)
    deliveries, duplicates = write_deliveries(hops, recipients, made, firsts, filters, night, fleet.programs, logs)
    return Traces(deliveries, hops, duplicates)
