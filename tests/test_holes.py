"""Holes: where a log is whole, what vanished there, and that nights agree about both."""

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from hoptrace.pipeline.rotation import name_absent
from hoptrace.schemas.fleet import Fleet
from hoptrace.transforms.grammar import load_grammars
from hoptrace.transforms.holes import HANDED, make_logs
from hoptrace.transforms.losses import FOREVER, Torn, find_torn, last_lines, may_be_mail, tear
from hoptrace.transforms.parse import parse_chunk
from hoptrace.transforms.plan import Night
from hoptrace.transforms.read import Chunk, FileReport, Range
from tests.made import DAY, FLEET, HOUR, T0, busy_log, came, frame, instants, left, tried, us
from tests.plain import PUBLISHED, cut_minutes, publish, run_nights, run_plain

MINUTE = 60_000_000


@pytest.mark.parametrize(
    ("names", "absent"),
    [
        (["mail.log.3.gz", "mail.log.2.gz", "mail.log.1", "mail.log"], [None, None, None]),
        (["mail.log.4.gz", "mail.log.2.gz", "mail.log"], ["mail.log.3", "mail.log.1"]),
        (["mail.log.9", "mail.log.2"], ["mail.log.8, mail.log.7, mail.log.6 and 3 more"]),
        (["mail.log.1", "mail.log.2"], [None]),
        (
            ["m-20260309.gz", "m-20260310.gz", "m-20260311", "m-20260313"],
            [None, None, "a file between m-20260311 and m-20260313"],
        ),
        (["mail.log-20260310", "mail.log-20260311", "mail.log-20260312", "mail.log"], [None, None, None]),
        (
            ["m-2026031006", "m-2026031007", "m-2026031010", "m-2026031011"],
            [None, "a file between m-2026031007 and m-2026031010", None],
        ),
        (["m-20260301", "m-20260303", "m-20260311"], [None, None]),
        (["m-20260299", "m-20260301"], [None]),
        (["mainlog"], []),
        ([], []),
    ],
)  # fmt: skip
def test_which_files_are_absent(names: list[str], absent: list[str | None]) -> None:
    assert name_absent(names) == absent


@pytest.mark.parametrize(
    ("unit", "mail"),
    [
        ("/system.slice/postfix.service", True), ("postfix@-.service", True),
        ("/system.slice/system-postfix.slice/postfix@-.service", True),
        ("exim4.service", True), ("dovecot.service", True), ("docker.service", True), ("pid 3172", True), ("", True),
        ("/system.slice/nginx.service", False), ("/user.slice/user-1000.slice/session-4.scope", False), ("cron.service", False),
    ],
)  # fmt: skip
def test_whose_lines_were_lost(unit: str, mail: bool) -> None:
    assert may_be_mail(unit) == mail


LINES = """\
2026-03-10T08:00:00+00:00 mx01 systemd-journald[3]: Suppressed 71 messages from postfix.service
2026-03-10T08:30:00+00:00 mx01 systemd-journald[3]: Suppressed 99 messages from nginx.service
2026-03-10T09:00:00+00:00 mx01 rsyslogd: imjournal: 912 messages lost due to rate-limiting (20000 allowed within 600 seconds)
2026-03-10T09:10:00+00:00 mx01 rsyslogd: [origin software="rsyslogd"] rsyslogd was HUPed
2026-03-10T09:20:00+00:00 mx01 postfix/smtpd[1]: warning: Suppressed 9 messages from postfix.service
"""


def test_announced_losses_are_holes_and_nothing_else() -> None:
    night = Night(us(0) // DAY * DAY + 69 * DAY, us(0) // DAY * DAY + 71 * DAY)
    data = LINES.encode()
    r = Range("mail.log", 0, None, len(data), 0, "mx01", first=True, last=True)
    parsed = parse_chunk(Chunk(data, 0), r, load_grammars(), Fleet(), night.window)
    holes = parsed.coverage.select("holes").explode("holes").drop_nulls().unnest("holes")
    assert holes["why"].to_list() == [
        "systemd-journald announced 71 lost messages by postfix.service",
        "rsyslogd announced 912 lost messages",
    ]
    assert (holes["until"] - holes["since"]).to_list() == [10 * MINUTE] * 2
    assert set(parsed.events["kind"]) == {"loss"}
    assert (parsed.counts["lines"], parsed.counts["quiet"] + parsed.counts["unparsed"]) == (5, 5)
    assert parsed.coverage["minutes"].to_list() == [1 | 1 << 30, 1 | 1 << 10 | 1 << 20]


@pytest.mark.parametrize(
    ("cut", "absent", "followed_at", "hole"),
    [
        (False, None, 9 * HOUR, None),
        (True, None, 9 * HOUR, 9 * HOUR),
        (True, None, None, FOREVER - T0),
        (False, "mail.log.2", 9 * HOUR, 9 * HOUR),
        (False, "mail.log.2", HOUR + 20 * MINUTE, None),
    ],
)
def test_what_is_torn_off_a_file(cut: bool, absent: str | None, followed_at: int | None, hole: int | None) -> None:
    data = b"2026-01-01T00:00:00+01:00 mx1 postfix/qmgr[1]: A1: removed\n2026-01-01T01:00:00+01:00 mx1 x: y\nno stamp\n"
    follows = None if followed_at is None else T0 + followed_at
    r = Range("mail.log.3", 0, None, 9, 0, "folder", True, True, None, follows, absent)
    torn = tear(r, FileReport("mail.log.3", 0, error="broken" if cut else None, cut=cut), last_lines(Chunk(data, 0)))
    found = [] if torn is None else find_torn(torn, r, Fleet(), T0).rows()
    assert [(host, span["since"] - T0, span["until"] - T0) for host, _, (span,) in found] == (
        [] if hole is None else [("mx1", HOUR, hole)]
    )


def test_a_file_of_which_nothing_is_read_may_hold_any_hour() -> None:
    r = Range("mail.log.3.gz", 0, None, 9, 0, "mx1", True, True)
    hole = find_torn(Torn(None, "broken", 0), r, Fleet(), T0)["holes"].explode()[0]
    assert (hole["since"], hole["until"], hole["known_at"]) == (0, FOREVER, None)


def signs(*minutes: float, host: str = "mx1", lost: dict[float, float] | None = None) -> pl.DataFrame:
    """Lines of a host at minutes of the made day; at those in `lost`, what was lost in so many minutes before is announced."""
    lost = lost or {}
    rows = [(host, us(60 * m), us(60 * lost[m]) - T0 if m in lost else None) for m in (*minutes, *lost)]
    return pl.DataFrame(rows, schema={"host": pl.String, "stamp": pl.Int64, "lost_us": pl.Int64}, orient="row")


HANDED_OVER = [
    *came(36_000, "smtp1", "ABCDE1", "m@our.test", sender="a@our.test"),
    tried(
        36_060, "smtp1", "ABCDE1", "b@our.test", relay_name="mx1.our.test", relay_ip="10.0.0.1", next_queue_id="FFFF01"
    ),
    left(36_061, "smtp1", "ABCDE1"),
]  # at minute 601 of the day
WHOLE = (0, 595, 610, 638, 700, 900, 965, 1000)
GIVER = signs(0, 600, 601, 1000, host="smtp1")


@pytest.mark.parametrize(
    ("lines", "outcome", "settled", "where"),
    [
        (signs(*WHOLE), "missing", 965, None),
        (signs(0, 30, 1000), "missing", 1000, None),
        (signs(*WHOLE, lost={602: 1}), "unknown", 965, "09:00Z"),
        (signs(*WHOLE, lost={640: 1}), "missing", 965, None),
        (signs(0, 590, 700, 1000, lost={640: 1}), "unknown", 1000, "09:00Z"),
        (signs(*WHOLE, lost={590: 1}), "missing", 965, None),
        (signs(0, 595, 610, 640, 800), "unknown", 1321, "15:00Z"),
        (signs(0, 595, 605), "unknown", 1321, "09:00Z"),
        (signs(640, 965), "unknown", 965, "09:00Z"),
        (signs(), "unknown", 1321, "09:00Z"),
    ],
)
def test_what_vanished(lines: pl.DataFrame, outcome: str, settled: int, where: str | None) -> None:
    (night,) = run_nights(frame(HANDED_OVER), FLEET, [us(-1), us(200_000)], pl.concat([lines, GIVER]))
    row = night.tables["deliveries"].row(0, named=True)
    assert (row["outcome"], row["certainty"]) == (outcome, "certain" if outcome == "missing" else "incomplete")
    assert row["settled_at"] == us(60 * settled)
    assert row["would_settle"] == (where and f"mx1 2026-01-01 {where}")


@pytest.mark.parametrize(("handed", "found"), [((20, 25, 30), 1), ((20, 25), 0), ((2, 3, 57), 0), ((20, 25, 59), 0)])
def test_a_silent_host_that_is_handed_mail_has_a_hole(handed: tuple[int, ...], found: int) -> None:
    night = Night(T0, T0 + DAY)
    hours = cut_minutes(signs(0, 60, 300), night)
    given = pl.DataFrame([("mx1", us(60 * minute), 1) for minute in handed], schema=HANDED, orient="row")
    holes = make_logs(hours, given).holes
    assert [(a - T0, b - T0) for a, b in holes.select("since", "until").rows()] == [(MINUTE, HOUR)] * found


def lines_of(events: pl.DataFrame, seed: int) -> pl.DataFrame:
    """The lines that `events` stand for, some lost and some of the losses announced, and signs of life for two days."""
    mine = events.select("host", "stamp", lost_us=pl.lit(None, pl.Int64))
    losses = pl.DataFrame(
        [("mx1", at, 5 * MINUTE) for at in instants(events, 4, seed)] + [("store1", at, MINUTE) for at in instants(events, 4, seed + 1)],
        schema=mine.schema, orient="row",
    )  # fmt: skip
    alive = [signs(*range(7 * n, 2880, 97 + 40 * n), host=host) for n, host in enumerate(("mx1", "smtp1", "out1"))]
    return pl.concat([mine, losses, *alive])


@pytest.mark.parametrize("seed", [0, 2, 3, 5])
def test_nights_agree_on_holes(seed: int) -> None:
    events = frame(row for row in busy_log(seed, hours=9) if row["host"] != "store1" or row["stamp"] % 7 > 3)
    lines = lines_of(events, seed)
    first, last = us(-1), us(2 * 86_400 + 86_400)
    one = publish(run_nights(events, FLEET, [first, last], lines))
    cuts = [*instants(events, 5, seed), us(12 * 3600 + 77), us(20 * 3600), us(90_000)]
    many = publish(run_nights(events, FLEET, [first, *sorted(cut for cut in cuts if first < cut < last), last], lines))
    for name in PUBLISHED:
        assert_frame_equal(many[name], one[name], check_exact=True)
    assert {"missing", "unknown"} <= set(one["deliveries"]["outcome"])
    assert one["deliveries"]["would_settle"].n_unique() > 2


COLD = [
    tried(600, "out1", "ABCDE1", "b@far.test", "deferred", delay=90_000_000_000),
    tried(90_000, "out1", "ABCDE1", "b@far.test", delay=179_400_000_000),
    left(90_001, "out1", "ABCDE1"),
    tried(100_000, "out1", "ABCDE2", "c@far.test", delay=1_000_000),
    left(100_001, "out1", "ABCDE2"),
]
"""One mail that waited from before the first line on, and one whose beginning the log lacks on the second day."""


def test_what_began_before_the_cold_start_is_flagged_in_every_night() -> None:
    first, middle, last = us(0), us(86_400), us(300_000)
    events = frame(COLD)
    cold = Night(first, middle, cold_start=True)
    read = {"out1": last}
    one = run_plain(events.filter(pl.col("stamp") < middle), FLEET, cold, read)
    two = run_plain(
        events.filter(pl.col("stamp") >= middle), FLEET, Night(middle, last, False, cold.cold_at), read, one.carried
    )
    rows = two.tables["deliveries"].sort("recipient")
    assert rows["certainty"].to_list() == ["incomplete"] * 2
    assert rows["flags"].to_list() == [["cold_start"], []]
