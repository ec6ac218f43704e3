"""Threads that work on the frames of a bundle, a few ahead of the one who writes, and the buffers they share.

Everything heavy (numpy, zstd, hashing, reading) lets other threads run meanwhile. The numbers bound the memory:
`LANES` blobs at a time, each with `crew_size()` + 1 frames on the way, and one scratch area for each of the crew.
"""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from pipelines.encodings.names import FRAME

LANES = 2  # blobs at a time: one alone would wait for its own hash
MAX_CREW = 6  # threads; each brings its own scratch memory

T = TypeVar("T")


def crew_size() -> int:
    """How many frames are worked on at once."""
    return min(os.cpu_count() or 1, MAX_CREW)


class Spare:
    """Buffers of one size, used again: fresh pages cost a third of the time (research `delta.md` section 2.5)."""

    def __init__(self, size: int = FRAME) -> None:
        self._size = size  # bytes
        self._kept: deque[bytearray] = deque()

    def take(self) -> bytearray:
        """Return a buffer."""
        try:
            return self._kept.pop()
        except IndexError:
            return bytearray(self._size)

    def give(self, buffer: bytearray | None) -> None:
        """Take a buffer back that nobody looks at any more."""
        if buffer is not None:
            self._kept.append(buffer)


_mine = threading.local()


def scratch() -> bytearray:
    """Return this thread's own buffer of `FRAME` bytes: good until the thread asks again."""
    if not hasattr(_mine, "buffer"):
        _mine.buffer = bytearray(FRAME)
    buffer: bytearray = _mine.buffer
    return buffer


def in_order(crew: ThreadPoolExecutor, jobs: Iterable[Callable[[], T]]) -> Iterator[T]:
    """Yield what each job returns, in order, with the crew a few jobs ahead."""
    ahead: deque[Future[T]] = deque()
    try:
        for job in jobs:
            ahead.append(crew.submit(job))
            if len(ahead) > crew_size():
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        for waiting in ahead:
            waiting.cancel()
