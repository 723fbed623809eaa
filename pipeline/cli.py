"""The command line: reads flags, calls, prints, and says in one line what went wrong."""

import argparse
import gc
import os
import sys
from collections.abc import Sequence
from datetime import date, timedelta, tzinfo
from difflib import get_close_matches
from typing import Any
from zoneinfo import ZoneInfo

from rich.console import RenderableType

from hoptrace.pipeline import (
    coverage,
    export,
    find,
    keys,
    leftovers,
    printing,
    prune,
    sample,
    stats,
    status,
    story,
    summary,
)
from hoptrace.pipeline.flags import make_parser
from hoptrace.pipeline.options import NightlyOptions
from hoptrace.pipeline.store import Night, Store
from hoptrace.schemas.errors import HoptraceError
from hoptrace.schemas.fleet import load_fleet

DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
OWN_FLAGS = ("--logs", "--store", "--day", "--until", "--fleet", "--cold-start", "--day-start", "--shards", "--stale",
             "--json", "--pseudonymise", "--pseudonymise-domains")  # fmt: skip


class UsageError(Exception):
    """A command line that cannot be meant."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status: 0 done, 1 failed, 2 usage, 3 done with critical alerts."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    parser = make_parser()
    try:
        flags, others = parser.parse_known_args(argv)
        if others and flags.command != "nightly":
            raise UsageError(f"unknown: {' '.join(others)}; see: hoptrace {flags.command} --help")
        return int(COMMANDS[flags.command](flags, others) or DONE)
    except SystemExit as left:
        return left.code if isinstance(left.code, int) else USAGE
    except UsageError as error:
        return _complain(error, USAGE)
    except KeyboardInterrupt:
        return _complain("interrupted; the night at work was not published", INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except Exception as error:
        said = _said(error)
        if said is None:
            raise
        return _complain(said, FAILED)


def _complain(what: object, code: int) -> int:
    print(f"hoptrace: {printing.clean(what)}", file=sys.stderr)
    return code


def _said(error: BaseException | None) -> str | None:
    """What a HoptraceError in the chain of causes says, without the place in the flow that Beam adds; else None."""
    while error is not None:
        if isinstance(error, HoptraceError):
            return str(error).split(" [while running ")[0]
        error = error.__cause__ or error.__context__
    return None


def _nightly(flags: argparse.Namespace, others: list[str]) -> int | None:
    if flags.pseudonymise_domains and not flags.pseudonymise:
        raise UsageError("--pseudonymise-domains needs a key: --pseudonymise KEYFILE")
    if flags.stale:
        _stale(flags, others)
        return None
    if flags.day is None:
        raise UsageError("nightly needs --day, or --stale")
    until = flags.until or flags.day
    if until < flags.day:
        raise UsageError(f"--until {until} lies before --day {flags.day}")
    _require_beam_flags(others)
    options = NightlyOptions(
        logs=tuple(flags.logs), store=flags.store, day=flags.day, until=until, fleet=flags.fleet,
        cold_start=flags.cold_start, day_start=flags.day_start, shards=flags.shards, beam_args=tuple(others),
        pseudonymise=flags.pseudonymise, pseudonymise_domains=flags.pseudonymise_domains,
    )  # fmt: skip
    _run(options)
    _summarise(flags, options.fleet, _days_of(options), Store(flags.store))
    return None


def _stale(flags: argparse.Namespace, others: list[str]) -> None:
    if flags.day or flags.until or flags.cold_start:
        raise UsageError("--stale finds the days itself; leave --day, --until and --cold-start out")
    _require_beam_flags(others)
    today = date.today()  # noqa: DTZ011
    options = NightlyOptions(
        logs=tuple(flags.logs), store=flags.store, day=today, until=today, fleet=flags.fleet, shards=flags.shards,
        beam_args=tuple(others), pseudonymise=flags.pseudonymise, pseudonymise_domains=flags.pseudonymise_domains,
    )  # fmt: skip
    store = Store(flags.store)
    days = [row["day"] for row in _run(options, stale=True)]
    if days:
        _summarise(flags, options.fleet, days, store)
    else:
        _print(flags, {"days": []}, lambda: [printing.line(f"{store.root.url}: no night is stale.")])


def _sample(flags: argparse.Namespace, _: list[str]) -> None:
    options = sample.run_sample(flags.store, _run)
    _summarise(flags, options.fleet, _days_of(options), Store(flags.store))


def _run(options: NightlyOptions, *, stale: bool = False) -> list[Night]:
    if stale:
        from hoptrace.pipeline.nightly import run_stale as run
    else:
        from hoptrace.pipeline.nightly import run_nightly as run

    Store(options.store).prepare()
    if options.pseudonymise and (warning := keys.exposed(options.pseudonymise)):
        print(f"hoptrace: {printing.clean(warning)}", file=sys.stderr)
    gc.freeze()  # what was imported stays; looking through it again and again costs a second
    try:
        return run(options, list(options.beam_args), progress)
    finally:
        if sys.stderr.isatty():
            print("\r\x1b[K", end="", file=sys.stderr)


def _days_of(options: NightlyOptions) -> list[str]:
    return [(options.day + timedelta(days=n)).isoformat() for n in range((options.until - options.day).days + 1)]


def _summarise(flags: argparse.Namespace, fleet: str | None, days: list[str], store: Store) -> None:
    zone = ZoneInfo(load_fleet(fleet).timezone)
    if flags.json:
        printing.show_json(summary.summary(store, days))
    else:
        printing.show(summary.summary_page(store, days, zone))


def _find(flags: argparse.Namespace, _: list[str]) -> None:
    asked = (flags.sender, flags.recipient, flags.at, flags.message_id, flags.queue_id, flags.ip)
    if all(each is None for each in asked):
        raise UsageError("find needs at least one of --from, --to, --at, --message-id, --queue-id, --ip")
    store = Store(flags.store, keys.read_pseudonyms(flags.pseudonymise) if flags.pseudonymise else None)
    zone = _zone(flags, store)
    question = find.Question(
        sender=flags.sender, recipient=flags.recipient, at=find.parse_at(flags.at, zone) if flags.at else None,
        within=flags.within, message_id=flags.message_id, queue_id=flags.queue_id, ip=flags.ip,
        day=flags.day.isoformat() if flags.day else None, limit=flags.limit,
    )  # fmt: skip
    answer = find.find(store, question)
    data = {"found": answer.found, "rows": answer.rows, "notices": answer.notices}
    _print(flags, data, lambda: story.story_page(answer, zone))


def _learn(flags: argparse.Namespace, _: list[str]) -> None:
    from hoptrace.pipeline import learn

    if flags.until and not flags.day:
        raise UsageError("--until needs --day, the first day")
    days = (flags.day, flags.until or flags.day) if flags.day else None
    fleet = load_fleet(flags.fleet)
    try:
        proposal = learn.learn(flags.logs, fleet, days, progress)
    finally:
        if sys.stderr.isatty():
            print("\r\x1b[K", end="", file=sys.stderr)
    if flags.json:
        printing.show_json(learn.proposal_json(proposal))
    else:
        print(learn.fleet_text(proposal, fleet), end="")


def _stats(flags: argparse.Namespace, _: list[str]) -> None:
    store = Store(flags.store)
    frame = stats.quantiles(
        store, flags.dimension, metric=flags.metric, population=flags.population, days=_days(flags, store),
        value=flags.value, points=flags.quantile or stats.QUANTILES,
    )  # fmt: skip
    _print(flags, frame.to_dicts(), lambda: stats.stats_page(frame, flags.dimension, flags.metric, flags.limit))


def _export(flags: argparse.Namespace, _: list[str]) -> None:
    store = Store(flags.store)
    written = export.export(store, flags.table, flags.to, _days(flags, store))
    _print(
        flags,
        written,
        lambda: [printing.line(f"{file['path']}: {printing.counted(file['rows'], 'row')}") for file in written],
    )


def _coverage(flags: argparse.Namespace, _: list[str]) -> None:
    store = Store(flags.store)
    days = _days(flags, store)
    if flags.json:
        printing.show_json(coverage.coverage_json(store, days))
    else:
        printing.show(coverage.coverage_page(store, days, _zone(flags, store)))


def _status(flags: argparse.Namespace, _: list[str]) -> None:
    store = Store(flags.store)
    fleet = load_fleet(flags.fleet)
    told = status.status(store, flags.logs, fleet) if flags.json else None
    _print(flags, told, lambda: status.status_page(store, flags.logs, fleet))


def _gc(flags: argparse.Namespace, _: list[str]) -> None:
    store = Store(flags.store)
    found = leftovers.collect(store, flags.older_than, dry_run=flags.dry_run)
    data = {
        "files": len(found.files),
        "bytes": found.size,
        "paths": [f.path for f in found.files],
        "dry_run": flags.dry_run,
    }
    _print(flags, data, lambda: leftovers.collected_page(found, store, flags.dry_run))


def _prune(flags: argparse.Namespace, _: list[str]) -> None:
    store = Store(flags.store)
    days = prune.prune(store, flags.keep, dry_run=flags.dry_run)
    _print(flags, {"days": days, "dry_run": flags.dry_run}, lambda: prune.pruned_page(days, store, flags.dry_run))


COMMANDS: dict[str, Any] = {
    "nightly": _nightly, "sample": _sample, "find": _find, "stats": _stats, "coverage": _coverage, "export": _export,
    "status": _status, "learn": _learn,
    "gc": _gc, "prune": _prune,
}  # fmt: skip


def _print(flags: argparse.Namespace, data: object, page: Any) -> None:
    if flags.json:
        printing.show_json(data)
    else:
        items: list[RenderableType] = page()
        printing.show(items)


def _zone(flags: argparse.Namespace, store: Store) -> tzinfo:
    """The zone of --fleet, else the one in which the store's newest night was run, else UTC."""
    if flags.fleet:
        return ZoneInfo(load_fleet(flags.fleet).timezone)
    nights = store.days()
    return ZoneInfo((nights and nights[-1].get("timezone")) or "UTC")


def _days(flags: argparse.Namespace, store: Store) -> list[str] | None:
    if flags.day is None:
        return None
    days = [day.isoformat() for day in flags.day]
    known = [night["day"] for night in store.days()]
    for day in days:
        if day not in known:
            has = f"it has {known[0]} to {known[-1]}" if known else "it has none yet"
            raise HoptraceError(f"--day {day}: {store.root.url} has no such night; {has}")
    return days


def _require_beam_flags(others: Sequence[str]) -> None:
    """Raise UsageError for a flag that neither hoptrace nor Beam knows: Beam would pass over it in silence."""
    given = [word.split("=", 1)[0] for word in others if word.startswith("-")]
    if others and not others[0].startswith("-"):
        raise UsageError(f"unknown: {others[0]}; see: hoptrace nightly --help")
    if not given:
        return
    from apache_beam.options.pipeline_options import PipelineOptions

    known = beam_flags(PipelineOptions)
    for flag in given:
        if flag not in known:
            near = get_close_matches(flag, [*OWN_FLAGS, *known], 1)
            hint = f"; did you mean {near[0]}?" if near else "; see: hoptrace nightly --help"
            raise UsageError(f"{flag} is neither a flag of hoptrace nor of Beam{hint}")


def beam_flags(options: Any) -> list[str]:
    """Every flag that a Beam options class or one of its subclasses knows."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, conflict_handler="resolve")
    for each in options.__subclasses__():
        each._add_argparse_args(parser)
    return [name for action in parser._actions for name in action.option_strings]


def progress(text: str) -> None:
    """Say how far a run is: on one line of a terminal, on lines of their own elsewhere."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{printing.clean(text)[: printing.WIDTH]}", end="", flush=True, file=sys.stderr)
    else:
        print(printing.clean(text), flush=True, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
