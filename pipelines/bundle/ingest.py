"""Copies blobs from volumes into quarantine, hashing once while copying; can be killed at any moment and run again.

In the quarantine folder of one bundle, for each blob:

    <sha256>.partial   bytes so far, written in order; a later run hashes what is there and goes on behind it
    <sha256>.have      after a failure: the chunks in `.partial` that were good (a hint, checked by the last hash)
    <sha256>.whole     the whole blob: hashed, equal to its name, durable

The blob's own digest decides. Only when it is wrong, or a chunk cannot be read, are the chunks looked at one by
one: good ones stay, bad ones are read once more from the medium, and what is still bad then is reported by name,
all of it together. Several blobs are worked on at once; memory is two blocks for each.
"""

import contextlib
import errno
import hashlib
import os
import shutil
import stat
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from pipelines.bundle import tables
from pipelines.bundle.documents import Sized
from pipelines.bundle.errors import MalformedBundle
from pipelines.bundle.reader import Bundle
from pipelines.bundle.tables import Chunk
from pipelines.bundle.writer import workers
from registry.blobs import Progress, WriteBehind
from registry.errors import SpaceShort
from signing.canonical import NotCanonical, canonical_bytes, parse_canonical
from signing.digests import BLOCK
from signing.durable import sync_directory, write_durably

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_MAX_HAVE = 16 << 20  # bytes


@dataclass(frozen=True)
class BadChunk:
    """A chunk that could not be had: `absent` when its volume was not given, else what is wrong with it."""

    chunk: str
    volume: int
    problem: str
    absent: bool = False

    def __str__(self) -> str:
        return f"volume {self.volume}, {tables.chunk_path(self.chunk)}: {self.problem}"


class _Unreadable(Exception):
    """The medium does not give the bytes; the text says why."""


class _Stopped(Exception):
    """Another worker failed."""


@dataclass
class Ingest:
    """One bundle's way into quarantine.

    `sources` is volume to the folder that holds it; `room` the quarantine folder of this bundle.
    """

    room: Path
    bundle: Bundle
    sources: Mapping[int, Path]
    progress: Progress
    _stop: threading.Event = field(default_factory=threading.Event)

    def run(self, wanted: Sequence[Sized]) -> list[BadChunk]:
        """Bring every wanted blob to `.whole`; return what stands in the way of the others, each chunk once.

        Raises:
            SpaceShort: the file system is full; what was copied stays.
            MalformedBundle: good chunks that do not make the blob: the origin packed it wrongly.
        """
        largest_first = sorted(wanted, key=lambda blob: -blob.size)
        with ThreadPoolExecutor(workers(), thread_name_prefix="ingest") as pool:
            jobs = [pool.submit(self._take, blob) for blob in largest_first]
            try:
                found = {bad.chunk: bad for job in jobs for bad in job.result()}
            except BaseException:
                self._stop.set()
                pool.shutdown(cancel_futures=True)
                raise
        sync_directory(self.room)
        return [found[chunk] for chunk in sorted(found, key=lambda name: (found[name].volume, name))]

    def whole(self, sha256: str) -> Path:
        """Where a finished blob is."""
        return self.room / f"{sha256}.whole"

    def partial(self, sha256: str) -> Path:
        """Where an unfinished blob is."""
        return self.room / f"{sha256}.partial"

    def done(self, blob: Sized) -> bool:
        """Say whether the blob is finished."""
        try:
            return self.whole(blob.sha256).stat().st_size == blob.size
        except FileNotFoundError:
            return False

    def needed(self, wanted: Sequence[Sized]) -> set[str]:
        """Return the chunks that still have to be read from a volume, as far as is known without hashing."""
        return {
            chunk.chunk
            for blob in wanted
            if not self.done(blob)
            for number, chunk in enumerate(self.bundle.table[blob.sha256])
            if number not in self._have(blob.sha256)
        }

    def bytes_needed(self, wanted: Sequence[Sized]) -> int:
        """Return the bytes that finishing the wanted blobs will take on the quarantine's file system."""
        total = 0
        for blob in wanted:
            if not self.done(blob):
                with contextlib.suppress(FileNotFoundError):
                    total -= min(blob.size, self.partial(blob.sha256).stat().st_blocks * 512)
                total += blob.size
        return total

    def _take(self, blob: Sized) -> list[BadChunk]:
        if self.done(blob):
            self.progress(blob.size)
            return []
        chunks = self.bundle.table[blob.sha256]
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        target = os.open(self.partial(blob.sha256), flags, 0o600)
        try:
            have = self._have(blob.sha256)
            straight = not have and all(self._volume(chunk) in self.sources for chunk in chunks)
            if not (straight and self._pour(target, blob, chunks)):
                bad = self._mend(target, blob, chunks, have)
                if bad:
                    return bad
            with _space_watched(self.room, blob.size):
                os.ftruncate(target, blob.size)
                os.fsync(target)
        finally:
            os.close(target)
        self.partial(blob.sha256).rename(self.whole(blob.sha256))
        self._have_file(blob.sha256).unlink(missing_ok=True)
        return []

    def _pour(self, target: int, blob: Sized, chunks: Sequence[Chunk]) -> bool:
        """Copy the blob from where an earlier run stopped. Returns whether the whole of it is right."""
        present = os.fstat(target).st_size
        keep = max((c.offset + c.size for c in chunks if c.offset + c.size <= present), default=0)
        os.ftruncate(target, keep)
        digest = hashlib.sha256()
        self._hash(target, 0, keep, digest)
        self.progress(keep)
        try:
            with _Pump(self, target, digest, size=blob.size) as pump:
                for chunk in chunks:
                    if chunk.offset >= keep:
                        pump.copy(chunk)
        except _Unreadable:
            return False
        return digest.hexdigest() == blob.sha256

    def _mend(
        self, target: int, blob: Sized, chunks: Sequence[Chunk], have: Collection[int]
    ) -> list[BadChunk]:
        """Make every chunk good, one by one; return those that the volumes do not give."""
        for trusted in (frozenset(have), frozenset[int]()):
            good, bad = set(trusted), []
            for number, chunk in enumerate(chunks):
                problem = None if number in trusted else self._mend_chunk(target, chunk)
                if problem is None:
                    good.add(number)
                else:
                    bad.append(problem)
            if bad:
                os.fsync(target)
                write_durably(self._have_file(blob.sha256), canonical_bytes(sorted(good)))
                return bad
            digest = hashlib.sha256()
            self._hash(target, 0, blob.size, digest)
            if digest.hexdigest() == blob.sha256:
                return []
        raise MalformedBundle(f"good chunks do not make blob {blob.sha256[:12]}", at="chunks.jsonl")

    def _mend_chunk(self, target: int, chunk: Chunk) -> BadChunk | None:
        digest = hashlib.sha256()
        self._hash(target, chunk.offset, chunk.size, digest)
        if digest.hexdigest() == chunk.chunk:
            return None
        volume = self._volume(chunk)
        if volume not in self.sources:
            return BadChunk(chunk.chunk, volume, "its volume is not here", absent=True)
        digest = hashlib.sha256()
        try:
            with _Pump(self, target, digest, size=chunk.size) as pump:
                pump.copy(chunk)
        except _Unreadable as exc:
            return BadChunk(chunk.chunk, volume, str(exc))
        return (
            None if digest.hexdigest() == chunk.chunk else BadChunk(chunk.chunk, volume, "holds other bytes")
        )

    def _hash(self, target: int, start: int, size: int, digest: "hashlib._Hash") -> None:
        """Feed a range of the quarantined file to `digest`; stops early where the file ends."""
        view = memoryview(bytearray(min(BLOCK, max(size, 1))))
        end = start + size
        while start < end and (count := os.preadv(target, [view[: min(len(view), end - start)]], start)):
            self.check()
            digest.update(view[:count])
            start += count

    def check(self) -> None:
        """End this worker when another one has failed."""
        if self._stop.is_set():
            raise _Stopped

    def _volume(self, chunk: Chunk) -> int:
        return self.bundle.volume_of[chunk.chunk]

    def _have_file(self, sha256: str) -> Path:
        return self.room / f"{sha256}.have"

    def _have(self, sha256: str) -> frozenset[int]:
        """The hint of an earlier run; an unreadable one is none."""
        try:
            value = parse_canonical(self._have_file(sha256).read_bytes(), max_bytes=_MAX_HAVE)
        except (FileNotFoundError, NotCanonical):
            return frozenset()
        return (
            frozenset(item for item in value if type(item) is int) if isinstance(value, list) else frozenset()
        )

    def open_chunk(self, chunk: Chunk) -> int:
        """Return a descriptor of a chunk's file. Raises `_Unreadable`."""
        place = self.sources[self._volume(chunk)] / tables.chunk_path(chunk.chunk)
        try:
            return open_plain(place)
        except OSError as exc:
            raise _Unreadable(f"cannot be opened ({exc.strerror})") from exc


class _Pump:
    """Moves chunks into a file: one block is hashed while it is written and the next is read."""

    def __init__(self, ingest: Ingest, target: int, digest: "hashlib._Hash", *, size: int) -> None:
        self._ingest, self._target, self._digest = ingest, target, digest
        self._behind = WriteBehind(target)
        self._views = [memoryview(bytearray(min(BLOCK, max(size, 1)))) for _ in range(2)]
        self._helper = ThreadPoolExecutor(1, thread_name_prefix="hash")
        self._pending: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._helper.shutdown()  # waits for the last block

    def copy(self, chunk: Chunk) -> None:
        """Copy one chunk to its place. Raises `_Unreadable`, `SpaceShort`."""
        source = self._ingest.open_chunk(chunk)
        try:
            done = 0
            while done < chunk.size:
                self._ingest.check()
                block = self._read(source, done, chunk.size - done)
                if self._pending is not None:
                    self._pending.result()
                self._pending = self._helper.submit(self._digest.update, block)
                with _space_watched(self._ingest.room, chunk.size - done):
                    _write_at(self._target, block, chunk.offset + done)
                done += len(block)
                self._behind.reached(chunk.offset + done)
                self._ingest.progress(len(block))
                self._views.reverse()
            if os.pread(source, 1, done):
                raise _Unreadable(f"holds more than {chunk.size} bytes")
        finally:
            os.close(source)

    def _read(self, source: int, offset: int, left: int) -> memoryview:
        view = self._views[0][:left]
        try:
            count = os.preadv(source, [view], offset)
        except OSError as exc:
            raise _Unreadable(f"cannot be read at byte {offset} ({exc.strerror})") from exc
        if count == 0:
            raise _Unreadable(f"ends after {offset} bytes")
        return view[:count]


def open_plain(place: Path) -> int:
    """Open a regular file for reading, following no link at its end. Raises `OSError`."""
    source = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(source).st_mode):
        os.close(source)
        raise OSError(errno.EINVAL, "not a plain file")
    return source


def damaged(bundle: Bundle, sources: Mapping[int, Path], *, progress: Progress) -> list[BadChunk]:
    """Read and hash every chunk of the volumes that are here; return those that are not what their names promise."""

    def look(chunk: str) -> BadChunk | None:
        volume, size = bundle.volume_of[chunk], bundle.chunk_sizes[chunk]
        try:
            actual = _hash_file(sources[volume] / tables.chunk_path(chunk), progress)
        except OSError as exc:
            return BadChunk(chunk, volume, f"cannot be read ({exc.strerror})")
        return None if actual == (chunk, size) else BadChunk(chunk, volume, "holds other bytes")

    here = [chunk for chunk, volume in bundle.volume_of.items() if volume in sources]
    with ThreadPoolExecutor(workers(), thread_name_prefix="deep") as pool:
        return [bad for bad in pool.map(look, sorted(here)) if bad is not None]


def _hash_file(place: Path, progress: Progress) -> tuple[str, int]:
    digest, size, view = hashlib.sha256(), 0, memoryview(bytearray(BLOCK))
    source = open_plain(place)
    try:
        while count := os.preadv(source, [view], size):
            digest.update(view[:count])
            size += count
            progress(count)
    finally:
        os.close(source)
    return digest.hexdigest(), size


def _write_at(target: int, block: memoryview, offset: int) -> None:
    while block:
        count = os.pwrite(target, block, offset)
        block, offset = block[count:], offset + count


@contextlib.contextmanager
def _space_watched(room: Path, left: int) -> Iterator[None]:
    """Turn a full file system into `SpaceShort`."""
    try:
        yield
    except OSError as exc:
        if exc.errno not in _FULL:
            raise
        free = shutil.disk_usage(room).free
        raise SpaceShort(str(room), needed=max(left, free + 1), free=free) from exc
