"""What every worker of a night is told."""

from dataclasses import dataclass

from hoptrace.schemas.fleet import Fleet
from hoptrace.transforms.links import LOOKAHEAD_US
from hoptrace.transforms.parse import Window

Keyed = tuple[int, tuple[str, bytes]]
"""What is shuffled: a shard, and a named frame as Arrow IPC."""


@dataclass(frozen=True)
class Night:
    """The night's bounds in UTC microseconds; a row is published where its settled_at lies in [starts_at, ends_at).

    `began_at`: where the store's first night, or the last cold start before this night, began.
    """

    starts_at: int
    ends_at: int
    cold_start: bool = False
    began_at: int | None = None

    @property
    def cold_at(self) -> int | None:
        """The instant before which no line was read by this night and those that it goes on from; None where unknown."""
        return self.starts_at if self.cold_start else self.began_at

    @property
    def window(self) -> Window:
        """The lines that a run reads: the night's, and the look-ahead that is evidence only."""
        return Window(self.starts_at, self.ends_at + LOOKAHEAD_US, (self.starts_at + self.ends_at) // 2, self.ends_at)


@dataclass(frozen=True)
class Plan:
    """One night's run: the fleet, the bounds, and how its work is cut."""

    fleet: Fleet
    night: Night
    shards: int
    chunk_bytes: int
