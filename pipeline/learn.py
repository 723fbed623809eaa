"""`hoptrace learn`: a fleet.toml as the logs suggest it: hosts, how others call them, their zones, and whose clock is off."""

import json
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import date, datetime, timedelta, timezone
from pathlib import Path, PurePosixPath
from typing import Any
from zoneinfo import ZoneInfo

import apache_beam as beam
import numpy as np
import polars as pl
from apache_beam.options.pipeline_options import PipelineOptions

from hoptrace.pipeline.embedded import engine
from hoptrace.pipeline.inputs import identity, in_threads, plan_inputs
from hoptrace.pipeline.log_file import HEAD_BYTES, LogFile, look_at
from hoptrace.schemas.errors import HoptraceError
from hoptrace.schemas.fleet import DAY_US, Fleet, Host, folded
from hoptrace.transforms.assemble_hops import AssembleHops
from hoptrace.transforms.clocks import Clock, bound_pairs, solve_clocks
from hoptrace.transforms.cover import add_encoded
from hoptrace.transforms.cut import NO_STAMP, YEARLESS, cut_heads
from hoptrace.transforms.fold_sessions import FoldSessions
from hoptrace.transforms.frames import decode_frame
from hoptrace.transforms.learn import (
    HOP_COLUMNS,
    RECIPIENT_COLUMNS,
    Naming,
    bracket,
    fitting_zones,
    full_name,
    learn_names,
    link_certain,
    zone_errors,
)
from hoptrace.transforms.parse_logs import ParseLogs
from hoptrace.transforms.plan import Keyed, Night, Plan
from hoptrace.transforms.read import Range, read_head
from hoptrace.transforms.stamps import HOUR, SECOND
from hoptrace.transforms.storage import list_files

C = pl.col
CHUNK_BYTES, RANGE_BYTES = 16 << 20, 256 << 20
LONGEST_FILE_US = 15 * DAY_US
"""How long after its first stamp a file's last line is looked for, where nothing follows it."""


@dataclass(frozen=True)
class Look:
    """What the heads of files show: each host's log files that name no host, whose stamps name no zone, and when lines with a year
    begin (UTC µs, first and last file)."""

    zoneless: frozenset[str]
    hostless: dict[str, list[str]]
    began: tuple[int, int] | None


@dataclass(frozen=True)
class Learnt:
    """What one host is proposed to be set to, and why; `zone_seen`: hours east of UTC that its stamps are."""

    host: str
    names: tuple[str, ...] = ()
    links: int = 0
    timezone: str | None = None
    zone_seen: tuple[float, ...] = ()
    clock: Clock | None = None
    paths: tuple[str, ...] = ()


@dataclass(frozen=True)
class Proposal:
    """A fleet as learnt: the zone of most hosts whose stamps name none, each host, and what could not be told."""

    timezone: str | None
    hosts: list[Learnt]
    remarks: list[str] = field(default_factory=list)


def learn(
    patterns: Sequence[str], fleet: Fleet, days: tuple[date, date] | None, progress: Callable[[str], object] = len
) -> Proposal:
    """What the logs that `patterns` name tell of the fleet beyond `fleet`; of `days` only, else of all.

    Raises HoptraceError as `plan_inputs` does, and where no line has a stamp.
    """
    progress("looking at the logs")
    look = look_at_heads(patterns, fleet)
    night = night_of(look, days, fleet)
    ranges = plan_inputs(patterns, fleet, night.starts_at, night.ends_at, RANGE_BYTES)
    progress(f"reading {len(ranges)} files or parts of files")
    as_logged = replace(fleet, hosts={name: replace(host, clock_offset_us=0) for name, host in fleet.hosts.items()})
    hops, recipients = read_stays(ranges, Plan(as_logged, night, 1, CHUNK_BYTES))
    progress("comparing hosts")
    return propose(hops, recipients, fleet, look)


def look_at_heads(patterns: Sequence[str], fleet: Fleet) -> Look:
    """What the first lines of every file tell."""
    now = round(datetime.now(timezone.utc).timestamp() * 1e6)
    stored = {identity(file.path): file for files in in_threads(list_files, patterns) for file in files}
    looked = in_threads(lambda file: (look_at(file, fleet, now), _head(file.path, fleet)), stored.values())
    named_in: dict[str, set[str]] = {}
    for file, (hosts, _, _) in looked:
        named_in.setdefault(str(PurePosixPath(file.stored.path).parent), set()).update(hosts)
    hostless: dict[str, list[str]] = {}
    for file, (hosts, nameless, _) in looked:
        owners = named_in[str(PurePosixPath(file.stored.path).parent)]
        if nameless and not hosts and len(owners) == 1 and owners != {file.folder_host}:
            hostless.setdefault(next(iter(owners)), []).append(_pattern(file))
    zoneless = {file.host for file, _ in looked if file.zoneless}
    began = [file.first_at for file, (_, _, dated) in looked if dated and file.first_at is not None]
    return Look(
        frozenset(zoneless),
        {host: sorted(set(paths)) for host, paths in hostless.items()},
        (min(began), max(began)) if began else None,
    )


def _head(path: str, fleet: Fleet) -> tuple[set[str], bool, bool]:
    """(the hosts that its first lines name, whether they have stamps but name none, whether their stamps have a year)."""
    head, _ = read_head(path, HEAD_BYTES)
    heads = cut_heads(head[: head.rfind(b"\n") + 1] or head + b"\n")
    stamped = heads.form != NO_STAMP
    names = {
        fleet.host_named(heads.hosts[n].decode("utf-8", "backslashreplace")) for n in np.unique(heads.host) if n >= 0
    }
    return names, bool(stamped.any()), bool((stamped & (heads.form != YEARLESS)).any())


def _pattern(file: LogFile) -> str:
    path = PurePosixPath(file.stored.path)
    stem = PurePosixPath(file.chain[1]).name
    return f"*/{path.parent.name}/{stem}*"


def night_of(look: Look, days: tuple[date, date] | None, fleet: Fleet) -> Night:
    """The span that is read: the days asked for, else from the first file's first line on."""
    if days is not None:
        zone = ZoneInfo(fleet.timezone)
        first, last = (datetime(d.year, d.month, d.day, tzinfo=zone) for d in (days[0], days[1] + timedelta(days=1)))
        return Night(round(first.timestamp() * 1e6), round(last.timestamp() * 1e6), cold_start=True)
    if look.began is None:
        raise HoptraceError(
            "no log names the year of its lines; say which days to read: --day YYYY-MM-DD [--until YYYY-MM-DD]"
        )
    return Night(look.began[0] - 2 * DAY_US, look.began[1] + LONGEST_FILE_US, cold_start=True)


def read_stays(ranges: Sequence[Range], plan: Plan) -> tuple[pl.DataFrame, pl.DataFrame]:
    """(HOP_COLUMNS of every hop, RECIPIENT_COLUMNS of every recipient), by the flow of the nightly job up to its hops, run here."""
    with tempfile.TemporaryDirectory(prefix="hoptrace-learn-") as place, engine([], ranges) as flags:
        with beam.Pipeline(options=PipelineOptions(flags)) as p:
            logs = p | "ranges" >> beam.Create(list(ranges), reshuffle=False) | ParseLogs(plan)
            sessions = logs.sessions | FoldSessions(plan)
            coverage = logs.coverage | beam.CombineGlobally(add_encoded)
            nobody = p | "nobody" >> beam.Create([], reshuffle=False).with_output_types(str)
            events = (logs.keyed, sessions.keyed) | "events" >> beam.Flatten()
            stays = (events | AssembleHops(plan, coverage, nobody)).stays
            _ = stays | "keep" >> beam.Map(keep_stays, place)
        return kept_stays(place, "hops", HOP_COLUMNS), kept_stays(place, "recipients", RECIPIENT_COLUMNS)


def keep_stays(stays: Keyed, place: str) -> None:
    """Writes what is needed of a frame of hops or recipients into the folder `place`."""
    name, data = stays[1]
    columns = {"hops": HOP_COLUMNS, "recipients": RECIPIENT_COLUMNS}.get(name)
    if columns:
        decode_frame(data).select(columns).write_parquet(f"{place}/{name}-{uuid.uuid4().hex}.parquet")


def kept_stays(place: str, name: str, columns: Sequence[str]) -> pl.DataFrame:
    """All that `keep_stays` wrote under `name`; HoptraceError where there was nothing."""
    files = sorted(Path(place).glob(f"{name}-*.parquet"))
    if not files:
        raise HoptraceError(
            "no mail in these logs; give more of them with --logs, or other days with --day and --until"
        )
    return pl.concat([pl.read_parquet(file) for file in files]).select(columns)


def propose(hops: pl.DataFrame, recipients: pl.DataFrame, fleet: Fleet, look: Look) -> Proposal:
    """A fleet from the stays of all hosts."""
    links = link_certain(hops, recipients)
    errors = zone_errors(hops, links)
    clocks = {clock.host: clock for clock in solve_clocks(bound_pairs(bracket(links, errors)))}
    names: dict[str, list[Naming]] = {}
    for naming in learn_names(links):
        if full_name(naming.name) and folded(naming.name) != naming.host:
            names.setdefault(naming.host, []).append(naming)
    zones = {host: part for (host,), part in errors.partition_by("host", as_dict=True).items()}
    told = sorted({*hops["host"].unique(), *fleet.hosts})
    seen = {
        host: seen_offsets(zones[host], fleet.zone_of(host)) for host in told if host in zones and host in look.zoneless
    }
    common = commonest(fleet, seen)
    base = replace(fleet, timezone=common or fleet.timezone)
    learnt, remarks = [], []
    for host in told:
        zone = None
        if host in seen:
            fits = fitting_zones(seen[host], (base.timezone, base.zone_of(host)))
            zone = fits[0] if fits else None
            if not fits:
                remarks.append(
                    f"{host}: no zone fits its stamps, which changed their distance from UTC otherwise than any zone does"
                )
        elif host in look.zoneless:
            zone = fleet.zone_of(host)
            remarks.append(f"{host}: its stamps name no zone, and nothing proves one; {fleet.zone_of(host)} was taken")
        learnt.append(
            Learnt(
                host,
                tuple(naming.name for naming in names.get(host, ())),
                sum(naming.links for naming in names.get(host, ())),
                zone,
                tuple(sorted({east / HOUR for _, east in seen.get(host, ())})),
                clocks.get(host),
                tuple(look.hostless.get(host, ())),
            )
        )
        if host not in look.zoneless and host in zones and (zones[host]["error"] != 0).any():
            hours = ", ".join(f"{us / HOUR:+g} h" for us in sorted(set(zones[host]["error"])))
            remarks.append(f"{host}: its stamps name a wrong zone, by {hours}; it must be mended there")
    return Proposal(common, learnt, remarks)


def seen_offsets(errors: pl.DataFrame, zone: str) -> list[tuple[int, int]]:
    """(noon of a day, how far east of UTC its stamps were then), both µs, of stamps read in `zone` with these errors (`zone_errors`)."""
    info = ZoneInfo(zone)
    told = []
    for day, error in errors.select("day", "error").iter_rows():
        noon = day + DAY_US // 2
        offset = datetime.fromtimestamp(noon // SECOND, timezone.utc).astimezone(info).utcoffset() or timedelta()
        told.append((noon, offset // timedelta(microseconds=1) + error))
    return told


def commonest(fleet: Fleet, seen: dict[str, list[tuple[int, int]]]) -> str | None:
    """The zone that fits most hosts of `seen`; None where there are none."""
    fits: dict[str, int] = {}
    for offsets in seen.values():
        for zone in fitting_zones(offsets, (fleet.timezone,))[:1]:
            fits[zone] = fits.get(zone, 0) + 1
    return max(fits, key=lambda zone: (fits[zone], zone == fleet.timezone)) if fits else None


def as_fleet(proposal: Proposal, fleet: Fleet) -> Fleet:
    """`fleet` with what was learnt added."""
    base = replace(fleet, timezone=proposal.timezone or fleet.timezone)
    hosts = {}
    for told in proposal.hosts:
        old = fleet.hosts.get(told.host) or Host(
            told.host, delay_warning_us=fleet.delay_warning_us, queue_lifetime_us=fleet.queue_lifetime_us
        )
        zone = told.timezone or old.timezone
        known = {folded(name) for name in old.names}
        hosts[told.host] = replace(
            old,
            timezone=None if zone == base.timezone else zone,
            names=(*old.names, *(name for name in told.names if folded(name) not in known)),
            paths=(*old.paths, *(path for path in told.paths if path not in old.paths)),
            clock_offset_us=offset_of(told.clock, old.clock_offset_us),
        )
    return replace(base, hosts=hosts)


def offset_of(clock: Clock | None, known: int) -> int:
    """The clock_offset (µs, whole ms) of a host: what was `known` where that may be right, else what its clock shows."""
    if clock is None or abs(clock.ahead - known) <= clock.within:
        return known
    return round(clock.ahead / 1000) * 1000 if clock.off else 0


def fleet_text(proposal: Proposal, fleet: Fleet) -> str:
    """The proposed fleet.toml, with a word on every line that was learnt."""
    made = as_fleet(proposal, fleet)
    told = {learnt.host: learnt for learnt in proposal.hosts}
    lines = ["# Proposed by hoptrace learn, from links that are certain by themselves; read it before you use it."]
    lines += [f"# {remark}" for remark in proposal.remarks]
    lines.append(
        _set("timezone", made.timezone, "the zone of most hosts whose stamps name none" if proposal.timezone else "")
    )
    lines += [_set(key, value) for key, value in _settings(made)]
    for host in made.hosts.values():
        lines += ["", f"[hosts.{_key(host.name)}]", *_host_lines(host, fleet, told.get(host.name))]
    if made.programs:
        lines += [
            "",
            "[programs]",
            *(f"{_key(name)} = {json.dumps(meaning)}" for name, meaning in made.programs.items()),
        ]
    return "\n".join(lines) + "\n"


def _settings(fleet: Fleet) -> Iterator[tuple[str, Any]]:
    default = Fleet()
    if fleet.own_networks:
        yield "own_networks", list(fleet.own_networks)
    for key in ("warn_after", "return_after", "delay_warning", "queue_lifetime"):
        value = getattr(fleet, f"{key}_us")
        if value != getattr(default, f"{key}_us"):
            yield key, _length(value)


def _host_lines(host: Host, fleet: Fleet, told: Learnt | None) -> Iterable[str]:
    if host.timezone is not None:
        seen = ", ".join(f"{hours:+g} h" for hours in told.zone_seen) if told else ""
        yield _set(
            "timezone",
            host.timezone,
            f"its stamps are {seen} from UTC in these logs; give the zone's real name" if seen else "",
        )
    if host.names:
        yield _set("names", list(host.names), f"named so {told.links} times" if told and told.links else "")
    if host.paths:
        yield _set(
            "paths",
            list(host.paths),
            "lines there name no host, others in that folder this one" if told and told.paths else "",
        )
    for key in ("delay_warning", "queue_lifetime"):
        if getattr(host, f"{key}_us") != getattr(fleet, f"{key}_us"):
            yield _set(key, _length(getattr(host, f"{key}_us")))
    if host.clock_offset_us:
        clock = told.clock if told else None
        why = f"give or take {clock.within / SECOND:.3g} s, by {clock.links} hand-overs" if clock and clock.off else ""
        yield _set("clock_offset", _length(host.clock_offset_us), why)
    if host.source is not None:
        yield _set("source", host.source)


def _set(key: str, value: object, why: str = "") -> str:
    return f"{key} = {json.dumps(value, ensure_ascii=False)}" + (f"  # {why}" if why else "")


def _key(name: str) -> str:
    return name if name.replace("-", "").replace("_", "").isalnum() and name.isascii() else json.dumps(name)


def _length(us: int | None) -> str:
    if us is None:
        return "never"
    for unit, size in (("d", DAY_US), ("h", HOUR), ("s", SECOND)):
        if us % size == 0:
            return f"{us // size}{unit}"
    return f"{round(us / 1000)}ms"


def proposal_json(proposal: Proposal) -> dict[str, Any]:
    """What `hoptrace learn --json` prints."""
    return asdict(proposal)
