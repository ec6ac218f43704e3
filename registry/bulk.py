"""Writes large files from their start to their end, past the page cache where the file system allows it.

What is written here is not read soon, and a copy of 60 GB must not push everything else out of memory. Direct writes
(O_DIRECT) take a third of the processor time of buffered ones and leave the last fsync nothing to do: measured on
ext4, docs/reference/figures.md. Where a file system refuses them, the file is written through the cache, with a word
to the system to write back early and to forget what is on the disk.
"""

import contextlib
import errno
import fcntl
import mmap
import os
import shutil
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Self

from registry.errors import SpaceShort

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_BUFFER = 4 << 20  # bytes handed to the system at once
_ALIGNED = 4096  # bytes; direct writes begin and end on such
_STEP = 8 << 20  # bytes written through the cache between two words to the system
_KEPT = 64 << 20  # bytes before that which may not be on the disk yet


# Buffers of writers that ended, for the next ones: fresh pages cost more than the copy into them.
_spare: deque[mmap.mmap] = deque(maxlen=8)


def _buffer() -> mmap.mmap:
    try:
        return _spare.pop()
    except IndexError:
        return mmap.mmap(-1, _BUFFER)  # begins on a page, as direct writes need it


class BulkWriter:
    """A file that is written in order. One buffer is filled while the one before it is on its way to the disk.

    Used by one thread, as a context, or with `close` (all is handed to the system) or `abandon` at its end. What a
    write refuses (a full disk) is raised by a later call, at the latest by `close`.
    """

    def __init__(self, handle: int, *, at: int = 0) -> None:
        """Begin behind `at` bytes that are there already.

        Args:
            handle: a descriptor open for writing; for reading too, where `at` is not 0.
        """
        self._handle = handle
        self._start = at // _ALIGNED * _ALIGNED  # offset of the buffer in the file
        self._fill = at - self._start
        self._buffers = _buffer(), _buffer()
        self._space, self._other = (memoryview(buffer) for buffer in self._buffers)
        self._helper: ThreadPoolExecutor | None = None
        self._pending: Future[None] | None = None
        self._direct, self._ended = True, False
        self._told = self._start
        if self._fill:
            head = os.pread(handle, self._fill, self._start)
            assert len(head) == self._fill, "what is there is there to its end"
            self._space[: self._fill] = head

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_exc: object) -> None:
        if kind is None:
            self.close()
        else:
            self.abandon()

    def close(self) -> None:
        """Hand the rest to the system. Doing it again does nothing."""
        try:
            if not self._ended:
                self._finish()
        finally:
            self.abandon()

    def abandon(self) -> None:
        """End without what is not written yet. Doing it again does nothing."""
        if self._ended:
            return
        self._ended = True
        if self._helper is not None:
            self._helper.shutdown()  # waits for the last write
        self._set_direct(on=False)
        _spare.extend(self._buffers)

    def write(self, block: memoryview) -> int:
        """Take all of `block`. Returns its bytes."""
        total = len(block)
        while block:
            count = min(_BUFFER - self._fill, len(block))
            self._space[self._fill : self._fill + count] = block[:count]
            self.wrote(count)
            block = block[count:]
        return total

    def space(self) -> memoryview:
        """Return where the next bytes may be put; `wrote` says how many were."""
        return self._space[self._fill :]

    def wrote(self, count: int) -> None:
        """Note that `count` bytes of `space` are to be written."""
        self._fill += count
        if self._fill == _BUFFER:
            self._hand_over()

    def _hand_over(self) -> None:
        if self._helper is None:
            self._helper = ThreadPoolExecutor(1, thread_name_prefix="disk")
            self._set_direct(on=True)
        if self._pending is not None:
            self._pending.result()
        self._pending = self._helper.submit(self._put, self._space, self._start)
        self._space, self._other = self._other, self._space
        self._start, self._fill = self._start + _BUFFER, 0

    def _finish(self) -> None:
        if self._pending is not None:
            self._pending.result()
        self._set_direct(on=False)
        self._put(self._space[: self._fill], self._start)

    def _put(self, block: memoryview, offset: int) -> None:
        while block:
            try:
                count = os.pwrite(self._handle, block, offset)
            except OSError:
                if not self._direct:
                    raise
                self._set_direct(on=False)  # the file system took the flag and refuses the write
                continue
            block, offset = block[count:], offset + count
        if not self._direct and offset - self._told >= _STEP:
            begin = max(0, self._told - _KEPT)
            os.posix_fadvise(self._handle, begin, offset - begin, os.POSIX_FADV_DONTNEED)
            self._told = offset

    def _set_direct(self, *, on: bool) -> None:
        flags = fcntl.fcntl(self._handle, fcntl.F_GETFL)
        wanted = flags | os.O_DIRECT if on else flags & ~os.O_DIRECT
        self._direct = on
        if wanted != flags:
            try:
                fcntl.fcntl(self._handle, fcntl.F_SETFL, wanted)
            except OSError:
                self._direct = False


def write_all(handle: int, block: memoryview) -> None:
    """Write every byte to a descriptor: the system may take fewer than it was given."""
    while block:
        block = block[os.write(handle, block) :]


@contextlib.contextmanager
def space_watched(room: Path, left: int) -> Iterator[None]:
    """Turn a full file system into `SpaceShort`."""
    try:
        yield
    except OSError as exc:
        if exc.errno not in _FULL:
            raise
        free = shutil.disk_usage(room).free
        raise SpaceShort(str(room), needed=max(left, free + 1), free=free) from exc
