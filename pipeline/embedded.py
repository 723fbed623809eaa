"""The engine: Beam's own in this process, unless another is named."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

from apache_beam.runners.worker.statesampler import StateSampler

from hoptrace.transforms.frames import frames_stay_here
from hoptrace.transforms.read import Range

EMBEDDED = ("--runner=FnApiRunner", "--direct_running_mode=in_memory")
"""Named, since Beam's own default picks its engine by what it can download, and its threads lose data."""

MEMORY_PER_BYTE, COMPRESSION = 8, 10
"""Memory that the frames of a byte of log take at most, and how many bytes of log a compressed byte may hold."""

SAMPLING_MS = 5
"""Every stage waits at its end until the thread wakes up that samples what it is at: 200 ms, if Beam is left alone."""


@contextmanager
def engine(beam_args: Sequence[str], ranges: Sequence[Range]) -> Iterator[list[str]]:
    """The Beam options to run with; within, frames stay in this process where they fit and the embedded engine runs."""
    if runner_named(beam_args):
        yield list(beam_args)
        return
    usual = StateSampler.__init__.__defaults__
    StateSampler.__init__.__defaults__ = (SAMPLING_MS,)
    try:
        with frames_stay_here() if fits_in_memory(ranges) else nullcontext():
            yield [*EMBEDDED, *beam_args]
    finally:
        StateSampler.__init__.__defaults__ = usual


def runner_named(beam_args: Sequence[str]) -> bool:
    """Whether the caller asked for another engine, or another way of running it."""
    return any(arg.split("=")[0] in ("--runner", "--direct_running_mode") for arg in beam_args)


def fits_in_memory(ranges: Sequence[Range]) -> bool:
    """Whether a night's frames, uncompressed, take less than half of this machine's free memory."""
    text = sum(COMPRESSION * r.size if r.end is None else r.end - r.start for r in ranges)
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return MEMORY_PER_BYTE * text < free / 2
