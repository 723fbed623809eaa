"""fleet.toml: what its keys mean, how hosts are named, and what its errors say."""

import pickle
from pathlib import Path

import pytest

from hoptrace.schemas.errors import HoptraceError
from hoptrace.schemas.fleet import DAY_US, HOUR_US, Fleet, Host, load_fleet, read_duration
from hoptrace.schemas.toml import read_toml

FLEET = """
timezone = "Europe/Copenhagen"
own_networks = ["10.77.0.9/24", "fd77::/64"]
warn_after = "3h"
return_after = "2d12h"
delay_warning = "4h"
queue_lifetime = "5d"
[hosts.out01]
timezone = "UTC"
names = ["OUT01.nordhost.test", "10.77.0.32", "FD77:0::32"]
paths = ["*/out01/maillog*"]
delay_warning = "never"
queue_lifetime = "4d"
clock_offset = "0.42s"
source = "*/out01/*"
[hosts.mx02]
names = ["mx02.nordhost.test"]
[hosts.list01]
names = []
[hosts."mail.other.test"]
clock_offset = "-90ms"
[programs]
procmail = "mailbox"
"""


def fleet_of(tmp_path: Path, text: str) -> Fleet:
    path = tmp_path / "fleet.toml"
    path.write_text(text)
    return load_fleet(str(path))


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return fleet_of(tmp_path, FLEET)


def test_every_key_is_read(fleet: Fleet) -> None:
    assert (fleet.timezone, fleet.own_networks) == ("Europe/Copenhagen", ("10.77.0.0/24", "fd77::/64"))
    assert (fleet.warn_after_us, fleet.return_after_us) == (3 * HOUR_US, 60 * HOUR_US)
    assert (fleet.delay_warning_us, fleet.queue_lifetime_us) == (4 * HOUR_US, 5 * DAY_US)
    assert fleet.programs == {"procmail": "mailbox"}
    assert fleet.hosts["out01"] == Host(
        name="out01",
        timezone="UTC",
        names=("OUT01.nordhost.test", "10.77.0.32", "FD77:0::32"),
        paths=("*/out01/maillog*",),
        delay_warning_us=None,
        queue_lifetime_us=4 * DAY_US,
        clock_offset_us=420_000,
        source="*/out01/*",
    )


def test_hosts_take_the_fleets_settings_where_they_have_none(fleet: Fleet) -> None:
    assert [fleet.delay_warning_of(host) for host in ("out01", "mx02", "unheard")] == [None, 4 * HOUR_US, 4 * HOUR_US]
    assert [fleet.queue_lifetime_of(host) for host in ("out01", "mx02", "unheard")] == [
        4 * DAY_US,
        5 * DAY_US,
        5 * DAY_US,
    ]
    assert [fleet.zone_of(host) for host in ("out01", "mx02", "unheard")] == ["UTC"] + ["Europe/Copenhagen"] * 2
    assert [fleet.clock_offset_of(host) for host in ("out01", "mail.other.test", "mx02", "unheard")] == [
        420_000,
        -90_000,
        0,
        0,
    ]
    assert (fleet.host_at("/logs/out01/maillog.1"), fleet.host_at("/logs/mx02/maillog.1")) == ("out01", None)


@pytest.mark.parametrize(
    ("name", "host"),
    [
        ("out01", "out01"),
        ("Out01.Nordhost.Test.", "out01"),
        ("10.77.0.32", "out01"),
        ("[10.77.0.32]", "out01"),
        ("fd77::32", "out01"),
        ("IPv6:fd77:0:0::32", "out01"),
        ("10.77.0.99", "10.77.0.99"),
        ("FD77::0:99", "fd77::99"),
        ("mx02.nordhost.test", "mx02"),
        ("mx02.stranger.test", "mx02.stranger.test"),
        ("list01.anything.test", "list01"),
        ("mail.other.test", "mail.other.test"),
        ("MX09.nordhost.test", "mx09"),
        ("mx09", "mx09"),
        ("unknown", "unknown"),
        ("none", "none"),
        ("", ""),
        (".", ""),
        ("cafe", "cafe"),
        ("1.2.3", "1"),
    ],
)
def test_host_named(fleet: Fleet, name: str, host: str) -> None:
    assert fleet.host_named(name) == host
    assert fleet.host_named(fleet.host_named(name)) == host or host == "1"


def test_names_lists_every_name_folded(fleet: Fleet) -> None:
    assert fleet.names() == {
        "out01": "out01",
        "out01.nordhost.test": "out01",
        "10.77.0.32": "out01",
        "fd77::32": "out01",
        "mx02": "mx02",
        "mx02.nordhost.test": "mx02",
        "list01": "list01",
        "mail.other.test": "mail.other.test",
    }


def test_a_fleet_travels_pickled(fleet: Fleet) -> None:
    fleet.host_named("out01")
    assert pickle.loads(pickle.dumps(fleet)) == fleet


def test_no_file_is_the_fleet_that_knows_no_host() -> None:
    fleet = load_fleet(None)
    assert (fleet.timezone, fleet.warn_after_us, fleet.return_after_us) == ("UTC", 4 * HOUR_US, 4 * DAY_US)
    assert (fleet.host_named("mx01.a.test"), fleet.delay_warning_of("mx01"), fleet.zone_of("mx01")) == (
        "mx01",
        None,
        "UTC",
    )


@pytest.mark.parametrize(
    ("text", "microseconds"),
    [
        ("4h", 4 * HOUR_US),
        ("4d", 4 * DAY_US),
        ("1d 12h", 36 * HOUR_US),
        ("30m", HOUR_US // 2),
        ("0.42s", 420_000),
        ("0.0000019s", 1),
        ("-2500ms", -2_500_000),
        ("2w", 14 * DAY_US),
        ("0h", 0),
    ],
)
def test_durations(text: str, microseconds: int) -> None:
    assert read_duration(text) == microseconds


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('timezon = "UTC"', "timezon: no such key; did you mean 'timezone'?"),
        ("[hosts.a]\nzzz = 1", "hosts.a.zzz: no such key; known keys: timezone, names, paths"),
        ('timezone = "Europe/Copenhavn"', "timezone = 'Europe/Copenhavn': no such time zone"),
        ('timezone = "../etc/passwd"', "no such time zone"),
        ('[hosts.a]\ntimezone = ""', "hosts.a.timezone = '': must be a text"),
        ("warn_after = 4", "warn_after = 4: not a duration; write for example '4h'"),
        ('warn_after = "never"', "warn_after = 'never': not a duration"),
        ('return_after = "0h"', "return_after = '0h': must be longer than nothing"),
        ('[hosts.a]\ndelay_warning = "4 hours"', "hosts.a.delay_warning = '4 hours': not a duration"),
        ('delay_warning = "-4h"', "delay_warning = '-4h': must be longer"),
        ('own_networks = ["10.77.0.0/33"]', "own_networks = ['10.77.0.0/33']"),
        ('own_networks = "10.0.0.0/8"', "must be a list of texts"),
        ('hosts = ["a"]', "hosts = ['a']: must be a table"),
        ("[hosts]\na = 1", "hosts.a = 1: must be a table"),
        ('[programs]\nprocmail = "post"', "'procmail' must mean one of mailbox, filter, discard"),
        (
            '[hosts.a]\nnames = ["10.0.0.1"]\n[hosts.b]\nnames = ["10.0.0.1"]',
            "hosts.b.names: '10.0.0.1' is also a name of hosts.a",
        ),
        ('[hosts.a]\n[hosts.b]\nnames = ["A"]', "hosts.b.names: 'a' is also a name of hosts.a"),
        ("timezone = UTC", "not valid TOML"),
    ],
)
def test_errors_name_file_key_and_remedy(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(HoptraceError) as error:
        fleet_of(tmp_path, text)
    assert str(error.value).startswith(f"{tmp_path}/fleet.toml: ")
    assert said in str(error.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(HoptraceError, match=r"nowhere.toml: cannot be read \(No such file"):
        load_fleet(str(tmp_path / "nowhere.toml"))
    (tmp_path / "latin.toml").write_bytes(b'timezone = "K\xf8benhavn"')
    with pytest.raises(HoptraceError, match="byte 13 is not UTF-8"):
        load_fleet(str(tmp_path / "latin.toml"))
    assert read_toml(b"a = 1") == {"a": 1}


def test_never_and_zero_are_no_warning(tmp_path: Path) -> None:
    assert fleet_of(tmp_path, 'delay_warning = "never"').delay_warning_us is None
    assert fleet_of(tmp_path, 'delay_warning = "0h"').delay_warning_us is None
