"""The flags of every command of hoptrace."""

import argparse
import re
from datetime import date, time, timedelta

from hoptrace.pipeline.stats import DIMENSIONS, METRICS, POPULATIONS, QUANTILES
from hoptrace.pipeline.version import VERSION
from hoptrace.schemas.fleet import read_age

STORE_HELP = "the store: a local folder or gs://bucket/prefix"
FLEET_HELP = "fleet.toml: names, time zones and settings of the hosts; times are shown in its zone"


class Parser(argparse.ArgumentParser):
    """An argument parser that never guesses at cut flags, so that Beam's own reach Beam."""

    def __init__(self, **options: object) -> None:
        super().__init__(allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **options)  # type: ignore[arg-type]


def make_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line; the command's name is `command`."""
    parser = Parser(
        prog="hoptrace", description="Follows every mail through a fleet of mail servers by their logs.",
        epilog="hoptrace COMMAND --help tells about one command.",
    )  # fmt: skip
    parser.add_argument("--version", action="version", version=f"hoptrace {VERSION}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _nightly(commands)
    _sample(commands)
    _find(commands)
    _stats(commands)
    _coverage(commands)
    _status(commands)
    _export(commands)
    _learn(commands)
    _gc(commands)
    _prune(commands)
    return parser


def _command(commands: "argparse._SubParsersAction[Parser]", name: str, tells: str, epilog: str = "") -> Parser:
    parser: Parser = commands.add_parser(name, help=tells[0].lower() + tells[1:-1], description=tells, epilog=epilog)
    parser.add_argument("--json", action="store_true", help="answer as JSON, times in UTC")
    return parser


def _nightly(commands: "argparse._SubParsersAction[Parser]") -> None:
    parser = _command(
        commands, "nightly", "Reads a day's logs and publishes what became of every mail.",
        "Any other flag is an option of Apache Beam, for example --runner FlinkRunner.\n"
        "Exit status: 0 done; 1 failed, the running night is not published; 2 usage; 3 done, with critical alerts.",
    )  # fmt: skip
    parser.add_argument(
        "--logs", nargs="+", action="extend", required=True, metavar="GLOB",
        help="log files: paths, folders, globs or gs:// patterns; plain, gz, bz2, xz or zst; quote globs",
    )  # fmt: skip
    parser.add_argument("--store", required=True, help=STORE_HELP)
    parser.add_argument("--day", type=day, help="the day, YYYY-MM-DD in the fleet's zone")
    parser.add_argument(
        "--stale", action="store_true",
        help="instead of --day: run again the days for which logs came late, and those after them that begin otherwise for it",
    )  # fmt: skip
    parser.add_argument("--until", type=day, metavar="DAY", help="run every day from --day to this one")
    parser.add_argument("--fleet", metavar="FILE", help=FLEET_HELP)
    parser.add_argument(
        "--cold-start", action="store_true",
        help="run without the night before: mails that came earlier are told from their first line on",
    )  # fmt: skip
    parser.add_argument(
        "--day-start", type=clock, default=time(0), metavar="HH:MM",
        help="when a day begins (default 00:00); the same on every night of a store",
    )  # fmt: skip
    parser.add_argument(
        "--shards",
        type=positive,
        metavar="N",
        help="into how many pieces messages are dealt; changes memory, no row",
    )

    parser.add_argument(
        "--pseudonymise", metavar="KEYFILE",
        help="write addresses, IP addresses and what else tells of people as pseudonyms by this key (docs/privacy.md)",
    )  # fmt: skip
    parser.add_argument("--pseudonymise-domains", action="store_true", help="domains too; the same on every night")


def _sample(commands: "argparse._SubParsersAction[Parser]") -> None:
    parser = _command(commands, "sample", "Runs the nights of the bundled sample fleet and prints the summary.")
    parser.add_argument("--store", default="store", help="where its store is made anew (default: ./store)")


def _find(commands: "argparse._SubParsersAction[Parser]") -> None:
    parser = _command(
        commands, "find", "Tells the story of the messages that fit, hop by hop.",
        "All that is given must fit. At least one of --from, --to, --at, --message-id, --queue-id, --ip is needed.",
    )  # fmt: skip
    parser.add_argument("--store", required=True, help=STORE_HELP)
    parser.add_argument("--from", dest="sender", metavar="A", help="part of the sender's address; '<>': null sender")
    parser.add_argument("--to", dest="recipient", metavar="B", help="part of the recipient's address")
    parser.add_argument("--at", metavar="'YYYY-MM-DD HH:MM'", help="when it was on its way, in the fleet's zone")
    parser.add_argument("--within", type=length, default="12h", metavar="TIME", help="around --at (default 12h)")
    parser.add_argument("--message-id", metavar="M", help="the whole Message-ID, with or without its brackets")
    parser.add_argument("--queue-id", metavar="Q", help="queue ID on any host of its way")
    parser.add_argument("--ip", metavar="I", help="address of the client, or of a server that it went to")
    parser.add_argument("--day", type=day, help="only this night's rows")
    parser.add_argument(
        "--pseudonymise", metavar="KEYFILE",
        help="the key of a store of pseudonyms: what is asked in clear is looked for as they have it, whole names only",
    )  # fmt: skip
    parser.add_argument("--limit", type=positive, default=20, metavar="N", help="at most so many stories (default 20)")
    parser.add_argument("--fleet", metavar="FILE", help=FLEET_HELP)


def _stats(commands: "argparse._SubParsersAction[Parser]") -> None:
    parser = _command(commands, "stats", "Shows delays and counts per route, host, domain, stage or cause.")
    parser.add_argument("--store", required=True, help=STORE_HELP)
    parser.add_argument(
        "--dimension",
        choices=DIMENSIONS,
        default="route",
        metavar="D",
        help=f"what to have rows for: {', '.join(DIMENSIONS)} (default route)",
    )
    parser.add_argument(
        "--metric", choices=METRICS, metavar="M", default="end_to_end",
        help="end_to_end: of what was delivered; dwell: in one queue; open_age: of what is still there",
    )  # fmt: skip
    parser.add_argument("--population", choices=POPULATIONS, default="mail", help="mail (default) or notices")
    parser.add_argument("--value", metavar="V", help="only this value of the dimension")
    parser.add_argument(
        "--quantile", type=fraction, action="append", metavar="Q", help=f"may be repeated (default {QUANTILES})"
    )
    parser.add_argument("--day", type=day, action="append", help="only this day; may be repeated (default: all)")
    parser.add_argument("--limit", type=positive, default=40, metavar="N", help="at most so many rows (default 40)")


def _export(commands: "argparse._SubParsersAction[Parser]") -> None:
    parser = _command(
        commands, "export", "Writes a table as plain Parquet, CSV or JSON Lines.",
        "In CSV lists are JSON, times are UTC, and text that a spreadsheet would take for a formula has a ' before it.",
    )  # fmt: skip
    parser.add_argument("--store", required=True, help=STORE_HELP)
    parser.add_argument("--table", required=True, metavar="T", help="a table of docs/tables.md")
    parser.add_argument(
        "--to", required=True, metavar="FILE|DIR/",
        help="a file that ends in .parquet, .csv or .jsonl; or a folder, for a Parquet file per day",
    )  # fmt: skip
    parser.add_argument("--day", type=day, action="append", help="only this day; may be repeated (default: all)")


def _coverage(commands: "argparse._SubParsersAction[Parser]") -> None:
    parser = _command(commands, "coverage", "Shows which logs were read, their holes, and what was not understood.")
    parser.add_argument("--store", required=True, help=STORE_HELP)
    parser.add_argument("--day", type=day, action="append", help="only this day; may be repeated (default: all)")
    parser.add_argument("--fleet", metavar="FILE", help=FLEET_HELP)


def _status(commands: "argparse._SubParsersAction[Parser]") -> None:
    parser = _command(commands, "status", "Shows which nights are published, and which are stale and must run again.")
    parser.add_argument("--store", required=True, help=STORE_HELP)
    parser.add_argument(
        "--logs", nargs="+", action="extend", default=[], metavar="GLOB",
        help="the log files as nightly gets them: tells too for which days lines came late",
    )  # fmt: skip
    parser.add_argument("--fleet", metavar="FILE", help="fleet.toml, as nightly gets it")


def _learn(commands: "argparse._SubParsersAction[Parser]") -> None:
    parser = _command(
        commands, "learn", "Proposes a fleet.toml: names, zones and clocks of the hosts, as their logs prove them.",
        "Prints it, and changes nothing; with --fleet, that file with what it lacks. Some days of logs are enough.",
    )  # fmt: skip
    parser.add_argument(
        "--logs", nargs="+", action="extend", required=True, metavar="GLOB", help="log files, as for nightly"
    )
    parser.add_argument("--day", type=day, help="only this day's lines (default: all)")
    parser.add_argument("--until", type=day, metavar="DAY", help="every day from --day to this one")
    parser.add_argument("--fleet", metavar="FILE", help="what is known already")


def _gc(commands: "argparse._SubParsersAction[Parser]") -> None:
    parser = _command(
        commands, "gc", "Removes files that nobody can read any more: of killed runs, and of days replaced or pruned.",
        "Safe beside runs and readers that began within --older-than.",
    )  # fmt: skip
    parser.add_argument("--store", required=True, help=STORE_HELP)
    parser.add_argument(
        "--older-than", type=length_or_none, default="24h", metavar="TIME",
        help="only files written, and out of use, for so long (default 24h); more than the longest run takes",
    )  # fmt: skip
    parser.add_argument("--dry-run", action="store_true", help="tell what would be removed, remove nothing")


def _prune(commands: "argparse._SubParsersAction[Parser]") -> None:
    parser = _command(commands, "prune", "Takes old days, with their open state, out of the store.")
    parser.add_argument("--store", required=True, help=STORE_HELP)
    parser.add_argument(
        "--keep", type=whole_days, required=True, metavar="DAYS",
        help="how many days stay, back from the newest night with itself: 35d",
    )  # fmt: skip
    parser.add_argument("--dry-run", action="store_true", help="tell what would go, change nothing")


def day(text: str) -> date:
    """A day of a flag."""
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no day; write YYYY-MM-DD")
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: there is no such day ({error})") from error


def clock(text: str) -> time:
    """A time of day of a flag, to the microsecond."""
    try:
        return time.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no time of day; write HH:MM") from error


def length(text: str) -> timedelta:
    """A duration of a flag: 30m, 12h, 2d."""
    try:
        return timedelta(microseconds=read_age(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration; write 30m, 12h or 2d") from error


def length_or_none(text: str) -> timedelta:
    """A duration of a flag that may be nothing: 0s, 12h, 2d."""
    return timedelta() if re.fullmatch(r"0[smhd]?", text) else length(text)


def whole_days(text: str) -> int:
    """A count of days of a flag, one or more: 35d."""
    if not re.fullmatch(r"[1-9]\d{0,5}d", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no count of days; write for example 35d")
    return int(text[:-1])


def positive(text: str) -> int:
    """A count of a flag: 1 or more."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no count; write a number from 1 on")
    return int(text)


def fraction(text: str) -> float:
    """A quantile of a flag: between 0 and 1."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no quantile; write a number between 0 and 1, for example 0.95")
    return value
