"""What a run of `hoptrace nightly` is told."""

from dataclasses import dataclass
from datetime import date, time


@dataclass(frozen=True)
class NightlyOptions:
    """The flags of `hoptrace nightly`; `until` is the last day, itself included."""

    logs: tuple[str, ...]
    store: str
    day: date
    until: date
    fleet: str | None = None
    cold_start: bool = False
    day_start: time = time(0)
    shards: int | None = None
    beam_args: tuple[str, ...] = ()
    pseudonymise: str | None = None
    pseudonymise_domains: bool = False
