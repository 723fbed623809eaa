"""Work of a step on a few threads: compiled code and Polars leave the interpreter to others while they run."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import TaggedOutput
from apache_beam.transforms.window import GlobalWindows

THREADS = min(4, os.cpu_count() or 1)


class WorkAhead(beam.DoFn):  # type: ignore[misc]
    """FlatMap of `work` whose elements are at work on THREADS threads while earlier ones are put out, in order.

    For the global window only: what is left at the end of a bundle is put out there.
    """

    def __init__(self, work: Callable[..., Iterable[Any]]) -> None:
        self.work = work
        self.pool: ThreadPoolExecutor | None = None
        self.ahead: deque[Future[list[Any]]] = deque()

    def start_bundle(self) -> None:
        self.pool = ThreadPoolExecutor(THREADS)
        self.ahead.clear()

    def process(self, element: Any, *side: Any) -> Iterator[Any]:
        for piece in self.pieces(element):
            assert self.pool is not None
            self.ahead.append(self.pool.submit(self.done, piece, side))
            while len(self.ahead) > 2 * THREADS:
                yield from self.ahead.popleft().result()

    def finish_bundle(self) -> Iterator[Any]:
        while self.ahead:
            for output in self.ahead.popleft().result():
                yield in_global_window(output)
        if self.pool is not None:
            self.pool.shutdown()

    def done(self, piece: Any, side: tuple[Any, ...]) -> list[Any]:
        """All that `work` gives for a piece."""
        return list(self.work(piece, *side))

    def pieces(self, element: Any) -> Iterable[Any]:
        """What `work` is called with for an element: the element; a subclass may cut it."""
        return [element]


def in_global_window(output: Any) -> Any:
    """An output, tagged or not, as the end of a bundle must give it."""
    if isinstance(output, TaggedOutput):
        return TaggedOutput(output.tag, GlobalWindows.windowed_value(output.value))
    return GlobalWindows.windowed_value(output)
