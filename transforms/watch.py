"""What a host's log must show, and where it cannot: absence is judged by the lines around the moment that matters.

Every answer about a moment t is told by lines stamped before the row is settled and the look-ahead after that, so that it is
the same whichever night asks.
"""

import polars as pl

from hoptrace.transforms.holes import CARRIED_US, SEVERAL, Logs
from hoptrace.transforms.links import LOOKAHEAD_US, SKEW_US
from hoptrace.transforms.stamps import MINUTE

C = pl.col
ENDED_US = 12 * 60 * MINUTE
"""A log that says nothing for so long has ended; a quiet host may sleep through a night."""

KNOWN_US = LOOKAHEAD_US - 5 * MINUTE
"""How long after a row is settled a line may stand that says something about a log there; a night reads a little further."""


def watch_relays(rows: pl.DataFrame, lost: pl.Expr, logs: Logs, wait_us: int, shown_by_us: int) -> pl.DataFrame:
    """Adds to the `lost` rows (relay_host, at, try_start) shown_at, when the next host's log first has a line after `wait_us`,
    if that is within `shown_by_us`; relay_whole, whether its log would show the message; relay_unread_at, when it would not."""
    rows = rows.with_row_index("_n")
    asked = rows.filter(lost & C("relay_host").is_not_null()).select("_n", "at", "try_start", host="relay_host")
    asked = asked.with_columns(
        since=pl.min_horizontal("at", pl.coalesce("try_start", "at")) - SKEW_US, until=C("at") + LOOKAHEAD_US
    )
    told = line_after(asked, C("at") + wait_us, logs).rename({"line_at": "shown_at"})
    told = told.with_columns(pl.when(C("shown_at") < C("at") + shown_by_us).then("shown_at").alias("shown_at"))
    told = line_before(told, C("at") + SKEW_US, logs).rename({"line_at": "begun_at"})
    told = line_after(told, C("until"), logs).rename({"line_at": "later_at"})
    told = find_hole(told, pl.coalesce("shown_at", C("at") + shown_by_us), logs)
    seen = C("shown_at").is_not_null() & C("begun_at").is_not_null()
    late = C("shown_at").is_null() & C("begun_at").is_not_null() & (C("later_at") < C("at") + wait_us)
    watched = told.select(
        "_n",
        "shown_at",
        relay_whole=seen & C("hole_at").is_null(),
        relay_unread_at=pl.coalesce("hole_at", pl.when(late).then(C("at") + wait_us).otherwise("at")),
    )
    return rows.join(watched, on="_n", how="left", maintain_order="left").drop("_n")


def watch_holders(rows: pl.DataFrame, silent: pl.Expr, logs: Logs, wait_us: int) -> pl.DataFrame:
    """Adds to the `silent` rows (hop_host, first_seen, last_seen, left) holder_unread_at: where the log of the host that held the
    message has a hole or ends, so that what became of it cannot be told."""
    rows = rows.with_row_index("_n")
    asked = rows.filter(silent).select(
        "_n", "left", "last_seen", host="hop_host", since=C("first_seen") - SKEW_US,
        until=pl.coalesce("left", C("last_seen") + LOOKAHEAD_US),
    )  # fmt: skip
    told = find_hole(asked, pl.coalesce("left", C("last_seen") + wait_us), logs)
    told = line_after(told, C("last_seen") // MINUTE * MINUTE + MINUTE, logs)
    ended = C("left").is_null() & ~(C("line_at") < C("last_seen") + wait_us + KNOWN_US).fill_null(False)
    unread = told.select("_n", holder_unread_at=pl.coalesce("hole_at", pl.when(ended).then("last_seen")))
    return rows.join(unread, on="_n", how="left", maintain_order="left").drop("_n")


def watch_clients(hops: pl.DataFrame, logs: Logs) -> pl.DataFrame:
    """Adds to hops that a host of ours brought, and no link explains, client_unread_at: when that host's log is not whole."""
    rows = hops.with_row_index("_n")
    asked = rows.filter(C("client_host").is_not_null() & C("parent").is_null()).select(
        "_n", "first_seen", host="client_host", since=C("arrived") - SKEW_US, until=C("first_seen") + SKEW_US
    )
    told = find_hole(asked, C("first_seen"), logs)
    told = line_before(told, C("first_seen") + KNOWN_US, logs)
    near = (C("line_at") >= C("first_seen") - LOOKAHEAD_US).fill_null(False)
    unread = told.select("_n", client_unread_at=pl.coalesce("hole_at", pl.when(~near).then("first_seen")))
    return rows.join(unread, on="_n", how="left", maintain_order="left").drop("_n")


def watch_stores(rows: pl.DataFrame, saved: pl.Expr, logs: Logs) -> pl.DataFrame:
    """Adds to rows `saved` by another host of ours (relay_host, at), as its reply says, store_unread_at: when that host's log,
    which would tell the folder, is not whole."""
    rows = rows.with_row_index("_n")
    asked = rows.filter(saved).select("_n", "at", host="relay_host", since=C("at") - SKEW_US, until=C("at") + SKEW_US)
    told = line_before(find_hole(asked, C("at"), logs), C("at") + KNOWN_US, logs)
    near = (C("line_at") >= C("at") - LOOKAHEAD_US).fill_null(False)
    unread = told.select("_n", store_unread_at=pl.coalesce("hole_at", pl.when(~near).then("at")))
    return rows.join(unread, on="_n", how="left", maintain_order="left").drop("_n")


def doubt_clocks(rows: pl.DataFrame, logs: Logs) -> pl.DataFrame:
    """`rows` of who was refused, or left, at the door: incomplete where queue IDs contradicted the host's stamps several times
    in the hours before; such tries have no queue ID of their own that could."""
    if not logs.contrary.height:
        return rows
    rows = rows.with_row_index("_n")
    asked = rows.filter(C("outcome").is_in(["rejected", "deferred_at_door", "aborted"])).select(
        "_n", "resolved_at", host="entry_host"
    )
    third = logs.contrary.sort("host", "minute").with_columns(since=C("minute").shift(SEVERAL - 1).over("host"))
    told = asked.sort("resolved_at").join_asof(
        third.sort("minute"),
        left_on="resolved_at",
        right_on="minute",
        by="host",
        strategy="backward",
        check_sortedness=False,
    )
    wrong = told.filter(C("since") >= C("resolved_at") - ENDED_US)["_n"].implode()
    certainty = pl.when(C("_n").is_in(wrong)).then(pl.lit("incomplete")).otherwise("certainty")
    return rows.with_columns(certainty=certainty).drop("_n")


def doubt_doors(rows: pl.DataFrame, logs: Logs) -> pl.DataFrame:
    """`rows` whose client has not come back (deferred_at_door): incomplete where any host's log has a hole or ends before they
    are settled, for there it may have come back; would_settle names the first."""
    away = (C("outcome") == "deferred_at_door") & C("settled_at").is_not_null()
    if not rows.select(away.any()).item():
        return rows
    rows = rows.with_row_index("_n")
    asked = rows.filter(away).select("_n", "resolved_at", "settled_at")
    hosts = logs.minutes.select("host").unique()
    asked = asked.with_columns(_minute=(C("settled_at") + KNOWN_US) // MINUTE * MINUTE)
    last = line_before(asked.select("_minute").unique().join(hosts, how="cross"), C("_minute"), logs)
    silent = last.filter(C("line_at") <= C("_minute") + MINUTE - KNOWN_US - ENDED_US)
    ended = asked.join(silent, on="_minute").filter(
        C("line_at").is_between(C("settled_at") - CARRIED_US, C("settled_at") - ENDED_US)
    )
    met = asked.join(logs.holes, how="cross").filter(
        (C("since") <= C("settled_at"))
        & (C("until") >= C("resolved_at"))
        & (C("known_at") < C("settled_at") + KNOWN_US).fill_null(True)
    )
    doubts = pl.concat([
        met.select("_n", "host", _at=pl.max_horizontal("since", "resolved_at")),
        ended.select("_n", "host", _at=pl.max_horizontal("line_at", "resolved_at")),
    ])  # fmt: skip
    first = doubts.sort("_n", "_at", "host").unique("_n", keep="first", maintain_order=True)
    told = rows.join(first.select("_n", _doubt=name_hour("host", "_at")), on="_n", how="left", maintain_order="left")
    return told.with_columns(
        certainty=pl.when(C("_doubt").is_not_null()).then(pl.lit("incomplete")).otherwise("certainty"),
        would_settle=pl.coalesce("would_settle", "_doubt"),
    ).drop("_n", "_doubt")


def name_hour(host: str, at: str) -> pl.Expr:
    """Host and UTC hour of a log, from columns `host` and `at` (µs), as people read it."""
    return C(host) + pl.from_epoch(at, "us").dt.strftime(" %Y-%m-%d %H:00Z")


def line_after(rows: pl.DataFrame, moment: pl.Expr, logs: Logs) -> pl.DataFrame:
    """Adds line_at: the first minute from `moment` on in which `host` logged something."""
    return _nearest(rows, moment, logs, forward=True)


def line_before(rows: pl.DataFrame, moment: pl.Expr, logs: Logs) -> pl.DataFrame:
    """Adds line_at: the last minute up to `moment` in which `host` logged something."""
    return _nearest(rows, moment, logs, forward=False)


def _nearest(rows: pl.DataFrame, moment: pl.Expr, logs: Logs, *, forward: bool) -> pl.DataFrame:
    if rows.is_empty():
        return rows.with_columns(line_at=pl.lit(None, pl.Int64))
    lines = logs.minutes.select("host", "minute", line_at="minute").sort("minute")
    return (
        rows.with_columns(_moment=moment)
        .sort("_moment")
        .join_asof(
            lines,
            left_on="_moment",
            right_on="minute",
            by="host",
            strategy="forward" if forward else "backward",
            check_sortedness=False,
        )
        .drop("_moment", "minute", strict=False)
    )


def find_hole(rows: pl.DataFrame, settled: pl.Expr, logs: Logs) -> pl.DataFrame:
    """Adds hole_at: where within [since, until] the log of `host` first has a hole, as is known when the row is `settled`."""
    holes = logs.holes.select("host", "known_at", hole_since="since", hole_until="until")
    met = (
        rows.select("_n", "host", "since", "until", _settled=settled)
        .join(holes, on="host")
        .filter(
            (C("hole_since") <= C("until"))
            & (C("hole_until") >= C("since"))
            & (C("known_at") < C("_settled") + KNOWN_US).fill_null(True)
        )
        .group_by("_n")
        .agg(hole_at=pl.max_horizontal("hole_since", C("since") + SKEW_US).min())
    )
    return rows.join(met, on="_n", how="left", maintain_order="left")
