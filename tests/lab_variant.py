"""The lab run rewritten, with its truth: other days, stamp formats and files, none of which the nightly job may notice.

    python tests/lab_variant.py NAME DIR     writes DIR/logs, DIR/fleet.toml and DIR/truth.jsonl of the variant NAME
    python tests/lab_variant.py              lists the variants

All times move by one constant, also those inside queue IDs (Postfix global/mail_queue.h, Exim spec "Message
identification", Sendmail sendmail/queue.c assign_queueid, Dovecot lib/guid.c), wherever such an ID stands.
"""

import base64
import bz2
import gzip
import json
import lzma
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta, timezone
from itertools import groupby
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

import zstandard

from hoptrace.schemas.toml import read_toml

LAB = Path(__file__).resolve().parents[2] / "shared" / "mail-lab" / "dev"
UTC = timezone.utc
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
BASE_52 = "0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz"
BASE_60 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwx"
BASE_62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
LETTERS = "0-9B-DF-HJ-NP-TV-Zb-df-hj-np-tv-z"
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

QUEUE_IDS = re.compile(
    rf"(?<![0-9A-Za-z])(?P<postfix>[{LETTERS}]{{10}}z[{LETTERS[:-1]}y]+)(?![0-9A-Za-z])"
    r"|(?<![0-9A-Za-z-])(?P<e>E?)(?P<exim>[0-9A-Za-z]{6})(?=-[0-9A-Za-z]{6}-[0-9A-Za-z]{2}(?![0-9A-Za-z-]))"
    r"|(?<![0-9A-Za-z])(?P<sendmail>[0-9A-Xa-x]{6})(?=[0-9A-Xa-x]{2}\d{6}(?![0-9A-Za-z]))"
    r"|(?<![0-9A-Za-z+/])(?P<dovecot>[0-9A-Za-z+/]{22})(?![0-9A-Za-z+/=])"
)
ISO = r"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?)"
STAMP_3164 = re.compile(r"(?:<\d+>)?([A-Z][a-z]{2}) ([ 0-9]\d) (\d\d):(\d\d):(\d\d) (.*)", re.DOTALL)
STAMP_3339 = re.compile(ISO + r"(Z|[+-]\d\d:\d\d) (.*)", re.DOTALL)
STAMP_5424 = re.compile(r"<\d+>1 " + ISO + r"(Z|[+-]\d\d:\d\d) (\S+) (\S+) (\S+) \S+ - ?(.*)", re.DOTALL)
STAMP_EXIM = re.compile(ISO + r"(?: ([+-]\d{4}))? (.*)", re.DOTALL)
HEAD = re.compile(r"(\S+) ([^\s:\[]+)(?:\[(\d+)\])?: (.*)", re.DOTALL)
TRUTH_TIMES = re.compile(r'"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)Z"')


class Line(NamedTuple):
    """A log line: UTC microseconds, host, program as in its tag, process ID, text; `own` lines have neither."""

    at: int
    host: str
    tag: str
    pid: str
    text: str


@dataclass(frozen=True)
class Format:
    """How a host writes its stamps: a name of `FORMATS`, and the zone that they are in."""

    name: str
    zone: str = "Europe/Copenhagen"


@dataclass(frozen=True)
class Variant:
    """What is changed.

    `moved`: by how much; `formats`: of some hosts, `all_formats`: of those not named; `rotation`: how lines fall into
    files; `packing`: suffixes of packed files in turn ('' is plain); `folder`: of a host; `full_names`: every so many
    files name the host in full; `fleet_zones`: what fleet.toml says though it is not so; `fleet`: whether there is one.
    """

    name: str
    tells: str
    moved: timedelta = timedelta()
    formats: Mapping[str, Format] = field(default_factory=dict)
    all_formats: Format | None = None
    rotation: str = "same"
    packing: tuple[str, ...] = ("", ".gz")
    folder: str = "{host}"
    final_newline: bool = True
    full_names: int = 0
    fleet_zones: Mapping[str, str] = field(default_factory=dict)
    fleet: bool = True


# Busy hours of the run come twice: 09:20 UTC on 31 December becomes the end of summer time.
TO_AUTUMN = datetime(2026, 10, 25, 1, 0, tzinfo=UTC) - datetime(2025, 12, 31, 9, 20, tzinfo=UTC)
TO_AUTUMN_NIGHT = datetime(2026, 10, 25, 1, 0, tzinfo=UTC) - datetime(2025, 12, 29, 1, 0, tzinfo=UTC)
TO_SPRING = datetime(2027, 3, 28, 1, 0, tzinfo=UTC) - datetime(2025, 12, 31, 9, 20, tzinfo=UTC)
TO_LEAP_DAY = datetime(2028, 2, 29, 12, 0, tzinfo=UTC) - datetime(2025, 12, 31, 9, 20, tzinfo=UTC)
OTHER = {
    "smtp01": Format("5424_no_service"), "smtp02": Format("3164"), "webmail01": Format("3339_ms"),
    "webhotel01": Format("5424", "UTC"), "list01": Format("3164_zero"), "mx01": Format("3339_z"),
    "mx02": Format("3164_zero"), "mx03": Format("3164_pri"), "store01": Format("3164"), "out01": Format("3339_s"),
    "relay01": Format("exim_zone"), "out02": Format("5424", "UTC"),
}  # fmt: skip
THIRD = {
    "smtp01": Format("3339_us", "UTC"), "smtp02": Format("5424_no_service", "UTC"),
    "webmail01": Format("3164_pri", "UTC"),
    "webhotel01": Format("3164", "America/New_York"), "list01": Format("3339_s"), "mx01": Format("5424"),
    "mx02": Format("3164_pri"), "mx03": Format("3164_zero", "Asia/Kolkata"), "store01": Format("5424_no_service"),
    "out01": Format("3339_ms"), "relay01": Format("exim", "UTC"), "out02": Format("3164_zero"),
}  # fmt: skip
ALL = {variant.name: variant for variant in (
    Variant("autumn", "the end of summer time in busy hours", TO_AUTUMN),
    Variant("spring", "the hour that is skipped", TO_SPRING),
    Variant("leap", "29 February", TO_LEAP_DAY),
    Variant("formats", "other stamp formats", TO_AUTUMN, OTHER),
    Variant("formats2", "and others again", TO_AUTUMN, THIRD),
    Variant("yearless", "no host names year or zone; one file each", TO_AUTUMN, all_formats=Format("3164"),
            rotation="one"),
    Variant("night", "the same in quiet hours, when nothing may be logged in one of the passes", TO_AUTUMN_NIGHT,
            all_formats=Format("3164"), rotation="one"),
    Variant("hourly", "no host names year or zone; hourly files, packed", TO_AUTUMN, all_formats=Format("3164_zero"),
            rotation="hourly", packing=(".gz", ".xz", ".zst", ".bz2", "")),
    Variant("daily", "files by day, named by date, packed", TO_AUTUMN, OTHER, rotation="daily",
            packing=(".xz", ".zst", ".bz2")),
    Variant("one_file", "all days in one file without final newline, hosts' full names in files and folders", TO_AUTUMN,
            rotation="one", folder="{host}.nordhost.test", final_newline=False, full_names=2),
    Variant("new_year", "hourly files, hosts' full names now and then", rotation="hourly", packing=("",),
            folder="{host}.nordhost.test", final_newline=False, full_names=3),
    Variant("wrong_zone", "fleet.toml is wrong about one host", TO_AUTUMN, fleet_zones={"mx01": "UTC"}),
    Variant("no_fleet", "without a fleet.toml, all stamps name their zone", TO_AUTUMN, all_formats=Format("3339_us"),
            fleet=False),
    Variant("no_fleet_local", "without a fleet.toml, though some hosts are in Copenhagen and name no zone", TO_AUTUMN,
            fleet=False),
)}  # fmt: skip


def number(digits: str, alphabet: str) -> int:
    """What `digits` of an alphabet say."""
    value = 0
    for digit in digits:
        value = value * len(alphabet) + alphabet.index(digit)
    return value


def digits(value: int, alphabet: str, count: int) -> str:
    """The last `count` digits of a number in an alphabet."""
    text = ""
    for _ in range(count):
        value, digit = divmod(value, len(alphabet))
        text = alphabet[digit] + text
    return text


@dataclass(frozen=True)
class Mover:
    """Moves the times inside queue IDs by whole seconds; only those that lie in the span of the run are times."""

    seconds: int
    begins: int
    ends: int

    def text(self, text: str) -> str:
        """`text` with all its queue IDs moved."""
        return QUEUE_IDS.sub(self._one, text) if self.seconds else text

    def _one(self, found: re.Match[str]) -> str:
        if postfix := found["postfix"]:
            made = number(postfix[:6], BASE_52)
            return digits(made + self.seconds, BASE_52, 6) + postfix[6:] if self._known(made) else postfix
        if exim := found["exim"]:
            made = number(exim, BASE_62)
            return found["e"] + (digits(made + self.seconds, BASE_62, 6) if self._known(made) else exim)
        if dovecot := found["dovecot"]:
            parts = base64.b64decode(dovecot + "==")
            made = int.from_bytes(parts[4:8], "little")
            moved = parts[:4] + (made + self.seconds & 0xFFFFFFFF).to_bytes(4, "little") + parts[8:]
            return base64.b64encode(moved).decode()[:22] if self._known(made) else dovecot
        year, month, *rest = (BASE_60.index(digit) for digit in found["sendmail"])
        try:
            then = datetime(1900 + 120 + year, month + 1, *rest, tzinfo=UTC)  # type: ignore[arg-type]
        except ValueError:
            return found[0]
        if not self._known(int(then.timestamp())):
            return found[0]
        then += timedelta(seconds=self.seconds)
        fields = ((then.year - 1900) % 60, then.month - 1, then.day, then.hour, then.minute, then.second)
        return "".join(BASE_60[part] for part in fields)

    def _known(self, made: int) -> bool:
        return self.begins - 5 * 86400 <= made <= self.ends + 86400


def unpacked(path: Path) -> str:
    """A log file's text; bytes that are no UTF-8 come back as they were when written."""
    data = path.read_bytes()
    if path.suffix == ".gz":
        data = gzip.decompress(data)
    return data.decode("utf-8", "surrogateescape")


def micros(moment: datetime) -> int:
    """UTC microseconds."""
    return (moment - EPOCH) // timedelta(microseconds=1)


def read_line(text: str, host: str, zone: ZoneInfo) -> Line:
    """A line of the lab as it stands in the log of `host`."""
    if found := STAMP_5424.fullmatch(text):
        at = micros(datetime.fromisoformat(found[1] + found[2].replace("Z", "+00:00")))
        return Line(at, found[3], found[4], found[5].strip("-"), found[6].lstrip(" "))
    if found := STAMP_3339.fullmatch(text):
        at, rest = micros(datetime.fromisoformat(found[1] + found[2].replace("Z", "+00:00"))), found[3]
    elif found := STAMP_3164.fullmatch(text):
        month = MONTHS.index(found[1]) + 1
        local = datetime(2025 if month > 6 else 2026, month, *(int(found[part]) for part in range(2, 6)), tzinfo=zone)  # type: ignore[arg-type, misc]
        at, rest = micros(local), found[6]
    elif found := STAMP_EXIM.fullmatch(text):
        return Line(micros(datetime.fromisoformat(found[1]).replace(tzinfo=zone)), host, "exim", "", found[3])
    else:
        raise ValueError(text)
    head = HEAD.fullmatch(rest)
    if head is None or head[1].endswith(":") or "(" in head[1]:
        return Line(at, host, "dovecot_own", "", rest)
    return Line(at, head[1], head[2], head[3] or "", head[4])


def service_of(text: str) -> str:
    """The Postfix service that most likely wrote a text whose service the log lost."""
    rows = (
        (r"\w+: (?:message-id=|milter-|resent-|replace: |(?:reject|warning): (?:header|body) )", "cleanup"),
        (r"\w+: (?:client=|reject: |lost)|connect from|disconnect |lost |timeout |NOQUEUE|warning: |Anonymous|too many",
         "smtpd"),
        (r"\w+: (?:from=<|removed$|skipped)", "qmgr"),
        (r"\w+: to=<.*?relay=\S+:24,", "lmtp"),
        (r"\w+: to=<.*?relay=local,", "local"),
        (r"\w+: (?:to=<|host )|connect to |Untrusted |Trusted ", "smtp"),
        (r"\w+: sender |\w+: postmaster ", "bounce"),
        (r"\w+: uid=", "pickup"),
        (r"statistics: ", "anvil"),
    )  # fmt: skip
    return next((service for pattern, service in rows if re.match(pattern, text)), "master")


def write_line(line: Line, form: Format, host: str) -> str:
    """A line in another format; `host` as its header shall name it."""
    local = (EPOCH + timedelta(microseconds=line.at)).astimezone(ZoneInfo(form.zone))
    name = form.name
    if line.tag == "dovecot_own":
        return f"{local:%b %d %H:%M:%S} {line.text}"
    if line.tag == "exim":
        return f"{local:%Y-%m-%d %H:%M:%S}{local:%z}"[: 19 if name == "exim" else None].replace(
            "+", " +") + f" {line.text}"  # fmt: skip
    tag = f"{line.tag}/{service_of(line.text)}" if line.tag == "postfix" else line.tag
    seconds = "milliseconds" if name.endswith("_ms") else "seconds" if name.endswith("_s") else "microseconds"
    iso = local.isoformat(timespec=seconds)
    if name == "3339_z":
        iso = local.astimezone(UTC).isoformat(timespec=seconds).replace("+00:00", "Z")
    if name.startswith("5424"):
        tag = tag.split("/")[0] if name.endswith("_no_service") else tag
        return f"<22>1 {iso} {host} {tag} {line.pid or '-'} - -  {line.text}"
    if name.startswith("3164"):
        day = f"{local.day:02d}" if name.endswith("_zero") else f"{local.day:2d}"
        iso = f"{'<22>' if name.endswith('_pri') else ''}{MONTHS[local.month - 1]} {day} {local:%H:%M:%S}"
    return f"{iso} {host} {tag}{f'[{line.pid}]' if line.pid else ''}: {line.text}"


@dataclass(frozen=True)
class Chain:
    """A host's log of one name: its files from oldest to newest as (name, lines), and how it was written."""

    host: str
    name: str
    files: list[tuple[str, list[Line]]]
    form: Format


def chain_name(path: Path) -> str:
    """The name that the files of one rotation share."""
    return re.split(r"[.](?=\d|gz)|-\d", path.name)[0]


def read_chains(lab: Path) -> Iterator[Chain]:
    """The logs of all hosts of a lab run."""
    fleet = read_toml(str(lab / "fleet.toml"))
    for folder in sorted((lab / "logs").iterdir()):
        zone_name = fleet["hosts"].get(folder.name, {}).get("timezone", fleet["timezone"])
        zone = ZoneInfo(zone_name)
        for name, paths in groupby(sorted(folder.iterdir()), key=chain_name):
            files, texts = [], []
            for path in paths:
                mine = [text for text in unpacked(path).split("\n") if text]
                lines = [read_line(text, folder.name, zone) for text in mine]
                files.append((path.name, spread(lines)))
                texts += mine
            files.sort(key=lambda file: file[1][0].at)
            yield Chain(folder.name, name, files, Format(format_of(texts[0], texts), zone_name))


def format_of(text: str, texts: list[str]) -> str:
    """The name of the format of the lines `texts`, of which one is `text`."""
    if STAMP_5424.fullmatch(text):
        return "5424_no_service"
    if STAMP_3339.fullmatch(text):
        return "3339_us"
    if STAMP_3164.fullmatch(text):
        return "3164_zero" if any(other[4:5] == "0" for other in texts) else "3164"
    return "exim"


def spread(lines: list[Line]) -> list[Line]:
    """Lines stamped with whole seconds, parted by milliseconds within each second."""
    out, last, count = [], -1, 0
    for line in lines:
        count = count + 1 if line.at == last else 0
        last = line.at
        out.append(line._replace(at=line.at + min(count, 900) * 1000) if line.at % 1_000_000 == 0 else line)
    return out


def rotate(chain: Chain, zone: ZoneInfo, rotation: str) -> list[tuple[str, list[Line]]]:
    """The files of a chain as another rotation would have cut and named them."""
    if rotation == "same":
        return [(name.removesuffix(".gz"), lines) for name, lines in chain.files]
    lines = [line for _, part in chain.files for line in part]
    if rotation == "one":
        return [(chain.name, lines)]

    def period(line: Line) -> str:
        local = (EPOCH + timedelta(microseconds=line.at)).astimezone(zone)
        return f"-{local:%Y%m%d%H}" if rotation == "hourly" else f"-{local.date() + timedelta(days=1):%Y%m%d}"

    cut: dict[str, list[Line]] = {}
    latest = ""
    for line in lines:
        latest = max(latest, period(line))
        cut.setdefault(latest, []).append(line)
    files = [(chain.name + suffix, part) for suffix, part in cut.items()]
    return [*files[:-1], (chain.name, files[-1][1])]


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes, ".gz": gzip.compress, ".xz": lzma.compress, ".bz2": bz2.compress,
    ".zst": zstandard.ZstdCompressor().compress,
}  # fmt: skip


def write_variant(variant: Variant, to: Path, lab: Path = LAB) -> tuple[date, date]:
    """Writes a variant of a lab run into a folder; its first and last day in the fleet's zone."""
    seconds = round(variant.moved.total_seconds())
    chains = list(read_chains(lab))
    ats = [line.at for chain in chains for _, lines in chain.files for line in (lines[0], lines[-1])]
    mover = Mover(seconds, min(ats) // 1_000_000, max(ats) // 1_000_000)
    zones: dict[str, str] = {}
    for chain in chains:
        form = variant.formats.get(chain.host) or variant.all_formats or chain.form
        if chain.form.name.startswith("exim") and not form.name.startswith("exim"):
            form = Format("exim_zone" if not variant.fleet else "exim", form.zone)
        zones[chain.host] = form.zone
        folder = to / "logs" / variant.folder.format(host=chain.host)
        folder.mkdir(parents=True, exist_ok=True)
        moved = replace(chain, files=[
            (name, [line._replace(at=line.at + seconds * 1_000_000, text=mover.text(line.text)) for line in lines])
            for name, lines in chain.files
        ])  # fmt: skip
        files = rotate(moved, ZoneInfo(form.zone), variant.rotation)
        for n, (name, lines) in enumerate(files):
            full = variant.full_names and n % variant.full_names == 0
            shown = f"{chain.host}.nordhost.test" if full else chain.host
            text = "\n".join(write_line(line, form, shown) for line in lines) + "\n" * variant.final_newline
            packing = variant.packing[n % len(variant.packing)] if n < len(files) - 1 else ""
            (folder / (name + packing)).write_bytes(PACKERS[packing](text.encode("utf-8", "surrogateescape")))
    write_truth(lab / "truth.jsonl", to / "truth.jsonl", mover)
    if variant.fleet:
        write_fleet(lab / "fleet.toml", to / "fleet.toml", {**zones, **variant.fleet_zones})
    home = ZoneInfo("Europe/Copenhagen")
    ends = (EPOCH + timedelta(microseconds=at, seconds=seconds) for at in (min(ats), max(ats)))
    first, last = (moment.astimezone(home).date() for moment in ends)
    return first, last


def write_truth(source: Path, to: Path, mover: Mover) -> None:
    """The truth, moved."""

    def move(found: re.Match[str]) -> str:
        then = datetime.fromisoformat(found[1]) + timedelta(seconds=mover.seconds)
        return f'"{then.isoformat()}{found[2]}Z"'

    to.write_text(mover.text(TRUTH_TIMES.sub(move, source.read_text(encoding="utf-8"))), encoding="utf-8")


def write_fleet(source: Path, to: Path, zones: Mapping[str, str]) -> None:
    """The fleet.toml with other zones of its hosts."""
    fleet = read_toml(str(source))
    hosts = fleet.pop("hosts")
    lines = [f"{key} = {json.dumps(value)}" for key, value in fleet.items()]
    for host, keys in hosts.items():
        lines += ["", f"[hosts.{host}]"]
        lines += [f"{key} = {json.dumps(value)}" for key, value in {**keys, "timezone": zones[host]}.items()]
    to.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("\n".join(f"{variant.name:12} {variant.tells}" for variant in ALL.values()))
    print(*write_variant(ALL[sys.argv[1]], Path(sys.argv[2])))
