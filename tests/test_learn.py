"""What `hoptrace learn` proposes for the sample fleet without its fleet.toml: what that says, and whose clocks are off."""

import json
import shutil
from collections import Counter
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from hoptrace.pipeline import cli
from hoptrace.pipeline.learn import Proposal, as_fleet, fleet_text, learn, look_at_heads, offset_of
from hoptrace.pipeline.nightly import run_nightly
from hoptrace.pipeline.options import NightlyOptions
from hoptrace.pipeline.sample import sample_folder
from hoptrace.pipeline.store import Store
from hoptrace.schemas.errors import HoptraceError
from hoptrace.schemas.fleet import Fleet, Host, is_address, load_fleet
from hoptrace.transforms.clocks import Clock
from hoptrace.transforms.learn import common_error, fitting_zones, learn_names
from hoptrace.transforms.stamps import DAY, HOUR

LOGS = (str(sample_folder() / "logs" / "*" / "*"),)
REAL = load_fleet(str(sample_folder() / "fleet.toml"))
AHEAD_MS = {
    "smtp01": 0, "smtp02": 420, "webmail01": 60, "webhotel01": -90, "list01": 0, "mx01": -350, "mx02": 0, "mx03": 130,
    "relay01": 2500, "out01": 0, "out02": 40, "store01": -120,
}  # fmt: skip
"""The clock errors that the sample's hosts were run with."""

NEW_YEAR = 1_767_268_800_000_000
"""Noon of the first of January 2026."""


@pytest.fixture(scope="module")
def proposal() -> Proposal:
    return learn(LOGS, Fleet(), None)


def test_names_are_those_of_the_real_fleet(proposal: Proposal) -> None:
    for told in proposal.hosts:
        assert set(told.names) <= set(REAL.hosts[told.host].names)
        assert any(is_address(name) for name in told.names), told
    named = {name for told in proposal.hosts for name in told.names}
    known = {name for host in REAL.hosts.values() for name in host.names}
    assert known - named == {"store01.nordhost.test"}, "no line of the sample has that name"


def test_zones_are_as_far_from_utc_as_the_real_ones(proposal: Proposal) -> None:
    assert proposal.remarks == []
    assert proposal.timezone in fitting_zones([(NEW_YEAR, HOUR)])
    zoneless = {"smtp01", "webhotel01", "webmail01", "relay01", "mx01", "out01"}
    learnt = as_fleet(proposal, Fleet())
    for host in zoneless:
        assert REAL.zone_of(host) in fitting_zones([(NEW_YEAR, HOUR if REAL.zone_of(host) != "UTC" else 0)])
        assert learnt.zone_of(host) in fitting_zones([(NEW_YEAR, HOUR if REAL.zone_of(host) != "UTC" else 0)]), host
    assert {told.host for told in proposal.hosts if told.timezone} == zoneless


def test_clocks_are_as_they_were_set(proposal: Proposal) -> None:
    clocks = {told.host: told.clock for told in proposal.hosts if told.clock}
    assert set(clocks) == set(AHEAD_MS)
    for host, clock in clocks.items():
        assert abs(clock.ahead / 1000 - AHEAD_MS[host]) <= clock.within / 1000 + 30, clock
        assert clock.within < 400_000
    assert {"relay01", "smtp02", "mx01"} <= {host for host, clock in clocks.items() if clock.off}
    assert not clocks["smtp01"].off
    assert not clocks["mx02"].off


def test_the_text_is_the_fleet(proposal: Proposal, tmp_path: Path) -> None:
    known = Fleet(
        own_networks=("10.77.0.0/24",), warn_after_us=2 * HOUR, delay_warning_us=4 * HOUR, queue_lifetime_us=5 * DAY,
        hosts={
            "mx01": Host("mx01", "UTC", ("10.77.0.21", "mx.nordhost.test"), ("*/x/*",), None, 5 * DAY, 90_000, "central"),
            "gone": Host("gone", None, (), (), 4 * HOUR, 5 * DAY),
        },
        programs={"procmail": "mailbox", "a b": "filter"},
    )  # fmt: skip
    for base in (Fleet(), known):
        (tmp_path / "fleet.toml").write_text(fleet_text(proposal, base))
        assert load_fleet(str(tmp_path / "fleet.toml")) == as_fleet(proposal, base)
    mended = as_fleet(proposal, known).hosts["mx01"]
    assert mended.names == ("10.77.0.21", "mx.nordhost.test", "mx01.nordhost.test")
    assert mended.source == "central"


def test_nights_with_what_was_learnt_are_those_with_the_real_fleet(proposal: Proposal, tmp_path: Path) -> None:
    given = Fleet(delay_warning_us=4 * HOUR)
    (tmp_path / "fleet.toml").write_text(fleet_text(proposal, given))
    told = []
    for name, fleet in (("real", str(sample_folder() / "fleet.toml")), ("learnt", str(tmp_path / "fleet.toml"))):
        place = str(tmp_path / name)
        run_nightly(NightlyOptions(LOGS, place, date(2026, 1, 1), date(2026, 1, 2), fleet, cold_start=True), ())
        rows = (
            Store(place)
            .read("deliveries")
            .select(
                "message_id",
                "sender",
                "recipient",
                "outcome",
                "place",
                "delay_class",
                "certainty",
                pl.col("path").list.join(">"),
            )
        )
        told.append(Counter(rows.iter_rows()))
    real, learnt = told
    assert sum((real - learnt).values()) <= real.total() // 500, (real - learnt, learnt - real)
    assert real.total() == learnt.total() > 500


def test_a_wrong_zone_and_a_wrong_clock_of_fleet_toml_are_mended(proposal: Proposal) -> None:
    wrong = Fleet(
        timezone="Europe/Copenhagen",
        hosts={
            "mx01": Host("mx01", "Asia/Kolkata"),
            "out01": Host("out01"),
            "smtp01": Host("smtp01", clock_offset_us=5_000_000),
        },
    )
    mended = as_fleet(learn(LOGS, wrong, (date(2026, 1, 1), date(2026, 1, 1))), wrong)
    assert (mended.timezone, mended.zone_of("mx01"), mended.zone_of("out01")) == ("Europe/Copenhagen",) * 2 + ("UTC",)
    assert abs(mended.clock_offset_of("smtp01")) < 300_000


@pytest.mark.parametrize(
    ("ahead", "within", "known", "proposed"),
    [
        (2_423_538, 200_000, 0, 2_424_000), (2_423_538, 200_000, 2_500_000, 2_500_000), (2_423_538, 200_000, -1_000_000, 2_424_000),
        (90_000, 100_000, 0, 0), (90_000, 100_000, 5_000_000, 0), (-348_137, 20_000, 0, -348_000),
    ],
)  # fmt: skip
def test_offsets_are_proposed_beyond_what_may_be_wrong(ahead: int, within: int, known: int, proposed: int) -> None:
    assert offset_of(Clock("a", ahead, within, 100), known) == proposed
    assert offset_of(None, known) == known


def test_a_name_of_several_hosts_is_nobodys() -> None:
    links = pl.DataFrame(
        [("a", "b", "mx.our.test", "10.0.0.2", "a.our.test", None)] * 5
        + [("a", "c", "mx.our.test", "10.0.0.3", "unknown", "127.0.0.1")] * 5 + [("d", "c", "C.our.test.", None, None, None)] * 2,
        schema=["giver", "taker", "relay_name", "relay_ip", "client_name", "client_ip"], orient="row",
    )  # fmt: skip
    assert {(naming.host, naming.name) for naming in learn_names(links)} == {
        ("a", "a.our.test"), ("b", "10.0.0.2"), ("c", "10.0.0.3"),
    }  # fmt: skip


def test_zones_are_told_by_all_days() -> None:
    noon = 1_751_371_200_000_000  # of the first of July 2025
    both = fitting_zones([(NEW_YEAR, HOUR), (noon, 2 * HOUR)], ("Europe/Copenhagen",))
    assert both[0] == "Europe/Copenhagen"
    assert "Africa/Lagos" not in both
    assert "Africa/Lagos" in fitting_zones([(NEW_YEAR, HOUR), (noon, HOUR)])
    assert fitting_zones([(NEW_YEAR, HOUR), (noon, -HOUR)]) == []
    assert fitting_zones([(NEW_YEAR, 5 * HOUR + HOUR // 2)])[0] == "Asia/Kolkata"


def test_an_error_is_what_most_lines_show() -> None:
    lines = [("a", 0, HOUR + 2)] * 9 + [("a", 0, 5)] + [("b", 0, 0)] * 2 + [("c", 0, 0)] * 5 + [("c", 0, HOUR)] * 5
    samples = pl.DataFrame(lines, schema=["host", "day", "off"], orient="row")
    assert common_error(samples).rows() == [("a", 0, HOUR)]


def test_files_that_name_no_host_are_those_of_their_neighbours(tmp_path: Path) -> None:
    folder = tmp_path / "vm-7"
    folder.mkdir()
    shutil.copy(sample_folder() / "logs" / "relay01" / "mainlog.1.gz", folder / "mainlog.1.gz")
    (folder / "mail.log").write_text("2026-01-01T00:00:01+01:00 relay01 postfix/qmgr[1]: 4dhbnn1YXRzB4y: removed\n")
    assert look_at_heads([str(folder)], Fleet()).hostless == {"relay01": ["*/vm-7/mainlog*"]}
    (folder / "other.log").write_text("2026-01-01T00:00:01+01:00 out01 postfix/qmgr[1]: 4dhbnn1YXRzB4y: removed\n")
    assert look_at_heads([str(folder)], Fleet()).hostless == {}


def test_what_cannot_be_learnt_from(tmp_path: Path) -> None:
    log = tmp_path / "mx01.log"
    log.write_text("Jan  1 00:00:01 mx01 postfix/qmgr[1]: 5836F32: removed\n")
    with pytest.raises(HoptraceError, match="no log names the year of its lines; say which days to read: --day"):
        learn((str(log),), Fleet(), None)
    log.write_text("Jan  1 00:00:01 mx01 cron[1]: nothing\n")
    with pytest.raises(HoptraceError, match="no mail in these logs"):
        learn((str(log),), Fleet(), (date(2026, 1, 1), date(2026, 1, 1)))


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["learn", "--logs", *LOGS, "--day", "2026-01-01", "--json"]) == 0
    told = {host["host"]: host for host in json.loads(capsys.readouterr().out)["hosts"]}
    assert "10.77.0.31" in told["relay01"]["names"]
    assert told["relay01"]["clock"]["ahead"] > 2_000_000
    assert cli.main(["learn", "--logs", *LOGS, "--until", "2026-01-01"]) == 2
