"""Which held files may be handed out as they are: those that are still the very file that was hashed.

Hashing 50 GB before every answer is too slow, and trusting a name is too little. So a file that was found whole is
remembered by its mark: device, inode, size and both times. Whoever writes to it, replaces it or copies it back
changes the mark (mtime can be set at will, ctime only by setting the clock), and a file with another mark is hashed
before its last byte goes out. Marks are the doors' state, not records: losing them costs a reading, nothing else.
What changes on the disk without any write leaves the mark alone: `pipelines.blob_rounds` reads all again, slowly.
"""

import hashlib
import io
import os
import stat
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime

from registry.blobs import BlobStore
from registry.entities import BlobSeen
from registry.errors import BlobDamaged, NotFound
from registry.store_doors import DoorStore
from signing.digests import BLOCK, is_sha256
from signing.times import rfc3339

WHOLE, DAMAGED = "whole", "damaged"
Pace = Callable[[int], None]  # called with the bytes of each block that was read; may sleep
_SETTLED = 0.02  # seconds; the times of a file are as coarse as the kernel's tick, at most 10 ms
_READERS = 2  # files that are hashed at once for those who wait
_NICENESS = 5  # of the threads that hash: who is being served goes first
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class ReadingStopped(Exception):
    """The process ends: what was not read to its end is as unknown as before."""


@dataclass(frozen=True)
class Opened:
    """A blob's file, open for reading. Whoever asked for it closes it."""

    sha256: str
    stream: io.FileIO = field(repr=False)
    size: int  # bytes
    mark: str  # of this very file, when it was looked at
    since: float  # monotonic seconds, when that was
    proven: bool  # whether a file with this mark was hashed and found whole

    @property
    def handle(self) -> int:
        """The file descriptor."""
        return self.stream.fileno()

    def same(self) -> bool:
        """Whether nobody has touched the file since it was looked at."""
        return mark_of(os.fstat(self.handle)) == self.mark

    def close(self) -> None:
        """Give the descriptor back."""
        self.stream.close()


@dataclass
class Counts:
    """What was done since the start, for metrics."""

    verified: int = 0  # files read whole and found to be what their name says
    damaged: int = 0  # files read whole and found not to be
    scrubbed: int = 0  # of both, those that had a good mark and were read again


def mark_of(status: os.stat_result) -> str:
    """The text that changes whenever anybody writes to a file or puts another one in its place."""
    fields = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return ":".join(map(str, fields))


def at_once(_count: int) -> None:
    """Read as fast as the disk gives."""


class BlobWatch:
    """Knows which files were hashed, hashes those that were not, and keeps the outcome. For any number of threads."""

    def __init__(self, blobs: BlobStore, doors: DoorStore, clock: Callable[[], datetime]) -> None:
        self.blobs = blobs
        self.counts = Counts()
        self._doors, self._clock = doors, clock
        self._lock = threading.Lock()
        self._seen = {row.digest: row for row in doors.seen()}
        self._running: dict[str, Future[None]] = {}
        self._readers = ThreadPoolExecutor(_READERS, "blob-reader", initializer=step_back)
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Break off every reading, with `ReadingStopped`."""
        self._stopping.set()

    def close(self) -> None:
        """Stop, and wait for the threads."""
        self.stop()
        self._readers.shutdown(cancel_futures=True)

    def open(self, sha256: str) -> Opened:
        """Open a blob's file. Nothing is read yet.

        Raises:
            NotFound: it is not held, or what lies there is no plain file.
            BlobDamaged: this very file was hashed before and is not what its name says.
        """
        if not is_sha256(sha256):
            raise NotFound("blob", sha256)
        try:
            stream = os.fdopen(os.open(self.blobs.path(sha256), _FLAGS), "rb", buffering=0)
        except OSError as exc:  # not there, a link, a folder, out of reach: nothing that can be sent
            raise NotFound("blob", sha256) from exc
        try:
            return self._looked_at(sha256, stream)
        except BaseException:
            stream.close()
            raise

    def again(self, opened: Opened) -> Opened:
        """Look anew at a file that is open. Raises as `open`; the file stays open."""
        return self._looked_at(opened.sha256, opened.stream)

    def _looked_at(self, sha256: str, stream: io.FileIO) -> Opened:
        since, status = time.monotonic(), os.fstat(stream.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise NotFound("blob", sha256)
        mark = mark_of(status)
        outcome = self._outcome(sha256, mark)
        if outcome == DAMAGED:
            raise self._refusal(sha256, "other bytes")
        return Opened(sha256, stream, status.st_size, mark, since, proven=outcome == WHOLE)

    def is_proven(self, opened: Opened) -> bool:
        """Whether this file has been found whole by now."""
        return self._outcome(opened.sha256, opened.mark) == WHOLE

    def checked_at(self, sha256: str) -> str | None:
        """When the file, as it is, was last found whole (RFC 3339); None when it never was."""
        row = self._seen.get(sha256)
        return row.checked_at if row and row.outcome == WHOLE and self._still(row) else None

    def damaged(self) -> tuple[str, ...]:
        """The blobs whose file, as it is, is known not to be what its name says."""
        known = [row for row in list(self._seen.values()) if row.outcome == DAMAGED]
        return tuple(sorted(row.digest for row in known if self._still(row)))

    def settle(self, opened: Opened, actual: str) -> None:
        """Keep what the reading of a whole file, begun after it was looked at, came to.

        The mark is believed only if the file is old enough that another write would have changed it.

        Raises:
            BlobDamaged: `actual` (hex) is not the blob's name.
        """
        whole = actual == opened.sha256
        with self._lock:
            self.counts.verified += whole
            self.counts.damaged += not whole
        if opened.same() and time.monotonic() - opened.since >= _SETTLED:
            self._keep(opened, WHOLE if whole else DAMAGED)
        if not whole:
            raise self._refusal(opened.sha256, actual)

    def proof(self, sha256: str) -> "Future[None]":
        """Have a file hashed unless its mark is good; who asks meanwhile shares the reading. Fails as `prove`."""
        with self._lock:
            running = self._running.get(sha256)
            if running is None:
                running = self._readers.submit(self._prove, sha256)
                self._running[sha256] = running
                running.add_done_callback(lambda _done: self._running.pop(sha256, None))
        return running

    def _prove(self, sha256: str) -> None:
        opened = self.open(sha256)
        try:
            self.prove(opened)
        finally:
            opened.close()

    def prove(self, opened: Opened, pace: Pace = at_once, *, again: bool = False) -> Opened:
        """Hash an open file unless its mark is good; return it as it was hashed.

        Args:
            again: although its mark is good, and from the disk instead of from memory.

        Raises:
            BlobDamaged: it is not what its name says.
            ReadingStopped: the process ends.
        """
        if opened.proven and not again:
            return opened
        if again:
            _forget_cached(opened)
        actual = self._digest(opened, pace)
        if again:
            _forget_cached(opened)
            with self._lock:
                self.counts.scrubbed += 1
        self.settle(opened, actual)
        return replace(opened, proven=True)

    def _digest(self, opened: Opened, pace: Pace) -> str:
        digest, block, offset = hashlib.sha256(), bytearray(BLOCK), 0
        view = memoryview(block)
        while count := self._read(opened, block, offset):
            digest.update(view[:count])
            offset += count
            pace(count)
            if self._stopping.is_set():
                raise ReadingStopped(f"blob {opened.sha256[:12]} was not read to its end")
        if (left := _SETTLED - (time.monotonic() - opened.since)) > 0:
            time.sleep(left)  # else the mark of a small file would never be old enough to be believed
        return digest.hexdigest()

    def _read(self, opened: Opened, block: bytearray, offset: int) -> int:
        try:
            return os.preadv(opened.handle, [block], offset)
        except (
            OSError
        ) as exc:  # a sector that the disk gives up is damage, and not kept: the next try may go well
            raise self._refusal(opened.sha256, "unreadable") from exc

    def _outcome(self, sha256: str, mark: str) -> str | None:
        row = self._seen.get(sha256)
        return row.outcome if row is not None and row.mark == mark else None

    def _still(self, row: BlobSeen) -> bool:
        try:
            return mark_of(self.blobs.path(row.digest).stat(follow_symlinks=False)) == row.mark
        except OSError:
            return False

    def _keep(self, opened: Opened, outcome: str) -> None:
        kept = {"digest": opened.sha256, "mark": opened.mark, "outcome": outcome}
        moment = rfc3339(self._clock())
        self._seen[opened.sha256] = BlobSeen(**kept, checked_at=moment)
        self._doors.put(BlobSeen(**kept, checked_at=moment))

    def _refusal(self, sha256: str, actual: str) -> BlobDamaged:
        return BlobDamaged(str(self.blobs.path(sha256)), expected=sha256, actual=actual)


def _forget_cached(opened: Opened) -> None:
    """What an engine has mapped stays in memory whatever is said here."""
    os.posix_fadvise(opened.handle, 0, 0, os.POSIX_FADV_DONTNEED)


def step_back() -> None:
    """Let the other threads of the process go first (Linux: niceness is a thread's own)."""
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
