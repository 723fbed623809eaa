"""The fleet: which hosts are ours, how others call them, and how their clocks and queues are set (`fleet.toml`)."""

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from difflib import get_close_matches
from fnmatch import fnmatch
from functools import cached_property
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from hoptrace.schemas.errors import HoptraceError
from hoptrace.schemas.toml import read_toml

HOUR_US = 3600 * 1_000_000
DAY_US = 24 * HOUR_US
UNIT_US = {"us": 1, "ms": 1000, "s": 1_000_000, "m": 60_000_000, "h": HOUR_US, "d": DAY_US, "w": 7 * DAY_US}
MEANINGS = ("mailbox", "filter", "discard")
DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(us|ms|s|m|h|d|w)")


@dataclass(frozen=True)
class Host:
    """One host of the fleet: its one name, how others call it, its zone, clock and queue settings (None: unknown)."""

    name: str
    timezone: str | None = None
    names: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    delay_warning_us: int | None = None
    queue_lifetime_us: int | None = None
    clock_offset_us: int = 0
    source: str | None = None


@dataclass(frozen=True)
class Fleet:
    """The hosts that are ours and the settings that hold for all of them; every duration is in microseconds."""

    timezone: str = "UTC"
    own_networks: tuple[str, ...] = ()
    warn_after_us: int = 4 * HOUR_US
    return_after_us: int = 4 * DAY_US
    delay_warning_us: int | None = None
    queue_lifetime_us: int | None = None
    hosts: Mapping[str, Host] = field(default_factory=dict)
    programs: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def _names(self) -> dict[str, str]:
        return {folded(name): host.name for host in self.hosts.values() for name in (host.name, *host.names)}

    def names(self) -> dict[str, str]:
        """Every known name and address, lower-cased -> the host's one name."""
        return dict(self._names)

    def host_named(self, name: str) -> str:
        """The one name of the host that a log calls `name`.

        A known name or address gives its host; else the first label, lower-cased. An address stays itself, and so does
        a full name whose first label is one of our hosts that has full names, none of them this one: it is a stranger.
        """
        key = folded(name)
        known = self._names.get(key)
        if known is not None or is_address(key):
            return known or key
        label = key.split(".", 1)[0]
        ours = self.hosts.get(self._names.get(label, ""))
        if ours is None or label == key or not label:
            return label or key
        return key if any(is_full_name(other) for other in (ours.name, *ours.names)) else ours.name

    def zone_of(self, host: str) -> str:
        """The time zone of the stamps of `host` that name none."""
        known = self.hosts.get(host)
        return (known.timezone if known else None) or self.timezone

    def delay_warning_of(self, host: str) -> int | None:
        """Age in µs at which the queue of `host` warns senders; None where that is unknown or never."""
        known = self.hosts.get(host)
        return known.delay_warning_us if known else self.delay_warning_us

    def queue_lifetime_of(self, host: str) -> int | None:
        """Age in µs at which the queue of `host` gives up; None where that is unknown or never."""
        known = self.hosts.get(host)
        return known.queue_lifetime_us if known else self.queue_lifetime_us

    def clock_offset_of(self, host: str) -> int:
        """How many µs the clock of `host` is ahead."""
        known = self.hosts.get(host)
        return known.clock_offset_us if known else 0

    def clocks(self) -> tuple[tuple[str, int], ...]:
        """The hosts whose clock is off, and by how many µs it is ahead."""
        return tuple((name, host.clock_offset_us) for name, host in sorted(self.hosts.items()) if host.clock_offset_us)

    def host_at(self, path: str) -> str | None:
        """The host whose `paths` patterns match the log file `path`, or None."""
        matching = (host.name for host in self.hosts.values() if any(fnmatch(path, pattern) for pattern in host.paths))
        return next(matching, None)


def folded(name: str) -> str:
    """A host name or address as it is compared: lower case, no final dot, no brackets, one way to write an address."""
    bare = name.strip().strip("[]").removeprefix("IPv6:").removeprefix("ipv6:").rstrip(".").lower()
    return str(ipaddress.ip_address(bare)) if is_address(bare) else bare


def is_address(name: str) -> bool:
    """Whether `name` is an IPv4 or IPv6 address."""
    if ":" not in name and not name[-1:].isdigit():
        return False
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_full_name(name: str) -> bool:
    """Whether `name` is a host name with a domain."""
    return "." in name and not is_address(name)


def load_fleet(path: str | None) -> Fleet:
    """The fleet that the file `path` describes; without one, the fleet that knows no host.

    Raises HoptraceError naming file, key and remedy for unknown keys, bad values, and a name that two hosts share.
    """
    return Fleet() if path is None else read_fleet(read_toml(path), path)


def read_fleet(tables: Mapping[str, Any], path: str) -> Fleet:
    """The fleet of the TOML `tables`; `path` is what errors call them. Raises HoptraceError as `load_fleet` does."""
    at = Place(path, "")
    values = at.values(tables, FLEET_KEYS)
    defaults = {key: value for key, value in values.items() if key in ("delay_warning_us", "queue_lifetime_us")}
    tables_of_hosts: Mapping[str, Any] = values.get("hosts", {})
    hosts = [read_host(at["hosts"][name], name, entry, defaults) for name, entry in tables_of_hosts.items()]
    refuse_shared_names(hosts, path)
    return Fleet(**{**values, "hosts": {host.name: host for host in hosts}})


def read_host(at: "Place", name: str, entry: object, defaults: Mapping[str, Any]) -> Host:
    """The host of one [hosts.NAME] table, with the fleet's `defaults` for what it leaves out. Raises HoptraceError."""
    table = at.of(read_table, entry)
    return Host(name=folded(name), **{**defaults, **at.values(table, HOST_KEYS)})


def refuse_shared_names(hosts: Iterable[Host], path: str) -> None:
    """Raises HoptraceError where two hosts have one name or address."""
    owner: dict[str, str] = {}
    for host in hosts:
        for name in {folded(name) for name in (host.name, *host.names)}:
            if owner.setdefault(name, host.name) != host.name:
                raise HoptraceError(
                    f"{path}: hosts.{host.name}.names: {name!r} is also a name of hosts.{owner[name]}; "
                    "leave it to one of them"
                )


T = TypeVar("T")


@dataclass(frozen=True)
class Place:
    """A place in a settings file, to read values at and to name in errors."""

    path: str
    key: str

    def __getitem__(self, key: str) -> "Place":
        return Place(self.path, f"{self.key}.{key}" if self.key else key)

    def of(self, read: Callable[[Any], T], value: object) -> T:
        """`value` as `read` understands it; raises HoptraceError naming this place where it does not."""
        try:
            return read(value)
        except ValueError as error:
            raise HoptraceError(f"{self.path}: {self.key} = {value!r}: {error}") from error

    def values(self, table: Mapping[str, Any], known: "Keys") -> dict[str, Any]:
        """Field -> value, of the keys of `table`; raises HoptraceError where one is not `known` or its value is bad."""
        for key in table:
            if key not in known:
                close = get_close_matches(key, tuple(known), 1)
                remedy = f"did you mean {close[0]!r}?" if close else f"known keys: {', '.join(known)}"
                raise HoptraceError(f"{self.path}: {self[key].key}: no such key; {remedy}")
        return {known[key][0]: self[key].of(known[key][1], value) for key, value in table.items()}


def read_duration(value: object) -> int:
    """Microseconds of a duration such as '4h', '1d12h', '30m', '0.42s', '-90ms'; raises ValueError."""
    text = value.replace(" ", "").lower() if isinstance(value, str) else ""
    sign, digits = (-1, text[1:]) if text.startswith("-") else (1, text)
    parts = DURATION.findall(digits)
    if not parts or "".join(number + unit for number, unit in parts) != digits:
        raise ValueError("not a duration; write for example '4h', '4d', '30m' or '0.42s'")
    return sign * int(sum(Decimal(number) * UNIT_US[unit] for number, unit in parts))


def read_age(value: object) -> int:
    """Microseconds of a duration that is more than nothing; raises ValueError."""
    age = read_duration(value)
    if age <= 0:
        raise ValueError("must be longer than nothing; write for example '4h' or '4d'")
    return age


def read_age_or_never(value: object) -> int | None:
    """Microseconds of an age, None for 'never' and for a zero, which Postfix takes for never; raises ValueError."""
    never = isinstance(value, str) and (value.strip().lower() == "never" or read_duration(value) == 0)
    return None if never else read_age(value)


def read_text(value: object) -> str:
    """A text that is not empty; raises ValueError."""
    if not isinstance(value, str) or not value:
        raise ValueError("must be a text in quotes")
    return value


def read_texts(value: object) -> tuple[str, ...]:
    """A list of texts; raises ValueError."""
    if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
        raise ValueError("must be a list of texts, for example ['mx01.example.org', '192.0.2.1']")
    return tuple(value)


def read_zone(value: object) -> str:
    """The name of a time zone of the IANA database; raises ValueError."""
    name = read_text(value)
    try:
        ZoneInfo(name)
    except (OSError, ValueError, LookupError) as error:
        raise ValueError("no such time zone; write an IANA name such as 'Europe/Copenhagen' or 'UTC'") from error
    return name


def read_networks(value: object) -> tuple[str, ...]:
    """A list of networks in CIDR notation, host bits cleared; raises ValueError."""
    return tuple(str(ipaddress.ip_network(network, strict=False)) for network in read_texts(value))


def read_table(value: object) -> Mapping[str, Any]:
    """A TOML table; raises ValueError."""
    if not isinstance(value, Mapping):
        raise ValueError("must be a table")
    return value


def read_programs(value: object) -> Mapping[str, str]:
    """A table program -> mailbox, filter or discard; raises ValueError."""
    table = read_table(value)
    for program, meaning in table.items():
        if meaning not in MEANINGS:
            raise ValueError(f"{program!r} must mean one of {', '.join(MEANINGS)}")
    return dict(table)


Keys = Mapping[str, tuple[str, Callable[[Any], Any]]]

FLEET_KEYS: Keys = {
    "timezone": ("timezone", read_zone),
    "own_networks": ("own_networks", read_networks),
    "warn_after": ("warn_after_us", read_age),
    "return_after": ("return_after_us", read_age),
    "delay_warning": ("delay_warning_us", read_age_or_never),
    "queue_lifetime": ("queue_lifetime_us", read_age_or_never),
    "programs": ("programs", read_programs),
    "hosts": ("hosts", read_table),
}
HOST_KEYS: Keys = {
    "timezone": ("timezone", read_zone),
    "names": ("names", read_texts),
    "paths": ("paths", read_texts),
    "delay_warning": ("delay_warning_us", read_age_or_never),
    "queue_lifetime": ("queue_lifetime_us", read_age_or_never),
    "clock_offset": ("clock_offset_us", read_duration),
    "source": ("source", read_text),
}
