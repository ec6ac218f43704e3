"""Files on their way in: they wait in the home's quarantine, hashed, until the scan has let them pass.

Nothing of a refused version ever enters the blob store, so a refusal needs no cleaning up there. The quarantine
lies on the store's file system: letting a file pass is a rename, its bytes are written once.
"""

import errno
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar

from registry.blobs import BlobStore, Progress
from registry.errors import SpaceShort
from registry.home import Home
from registry.manifests import FileEntry

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Arrived:
    """One file that has been read whole. `file` is where it waits; None when the blob store holds it already."""

    path: str  # POSIX, relative to the version's folder
    size: int  # bytes
    sha256: str
    file: Path | None

    @property
    def entry(self) -> FileEntry:
        """The manifest's line for it."""
        return FileEntry(self.path, self.size, self.sha256)

    def open(self, blobs: BlobStore) -> BinaryIO:
        """Open its bytes wherever they are, at offset 0."""
        return blobs.open(self.sha256) if self.file is None else self.file.open("rb", buffering=0)


class _Stopped(Exception):
    """Another file has failed; this one is not wanted any more. Never leaves `in_parallel`."""


class Meter:
    """Tells one caller about bytes that several threads move, one call at a time; also how they are stopped."""

    def __init__(self, progress: Progress) -> None:
        self._progress, self._lock, self._stop = progress, threading.Lock(), threading.Event()

    def __call__(self, count: int) -> None:
        if self._stop.is_set():
            raise _Stopped
        with self._lock:
            self._progress(count)

    def pause(self, seconds: float) -> None:
        """Wait, but not longer than until everything is stopped."""
        if self._stop.wait(seconds):
            raise _Stopped

    def stop(self) -> None:
        """Make every thread give up at its next block."""
        self._stop.set()


def in_parallel(items: Sequence[T], do: Callable[[T], R], *, workers: int, meter: Meter) -> list[R]:
    """Return `do(item)` for each item, in order. The first failure stops the others and is raised."""
    with ThreadPoolExecutor(workers, thread_name_prefix="intake") as pool:
        futures = [pool.submit(do, item) for item in items]
        try:
            done, waiting = wait(futures, return_when=FIRST_EXCEPTION)
            for future in done if waiting else futures:  # with some still at work, one of the done has failed
                future.result()
            return [future.result() for future in futures]
        except BaseException:  # also a Ctrl-C: the pool's exit waits for threads that are still copying
            meter.stop()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


@contextmanager
def waiting_room(home: Home, kind: str) -> Iterator[Path]:
    """A folder of its own in quarantine, gone afterwards; what a killed run of this kind left is removed first.

    The caller holds the home's lock for this kind of work, so nobody else's room is touched.
    """
    for leftover in home.quarantine.glob(f"{kind}-*"):
        shutil.rmtree(leftover)
    room = Path(tempfile.mkdtemp(prefix=f"{kind}-", dir=home.quarantine))
    try:
        yield room
    finally:
        shutil.rmtree(room)


@contextmanager
def full_disk_named(room: Path, needed: int) -> Iterator[None]:
    """Turn a disk that filled up on the way into `SpaceShort`. `needed`: bytes of the whole version."""
    try:
        yield
    except OSError as exc:
        if exc.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise SpaceShort(str(room), needed=needed, free=shutil.disk_usage(room).free) from exc


def cores() -> int:
    """How many files to hash at once: one per core of this process, at most 16."""
    return min(16, len(os.sched_getaffinity(0)))
