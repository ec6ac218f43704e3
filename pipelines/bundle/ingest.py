"""Makes blobs in quarantine from stored chunks and held bytes; can be killed at any moment and run again.

In the quarantine folder of one bundle:

    <sha256>.partial   a blob so far, written in order; a later run hashes what is there and goes on behind it
    <sha256>.have      after a failure: the parts of `.partial` that were good (a hint, checked by the last hash)
    <sha256>.whole     the whole blob: hashed, equal to its name, durable
    chunks/, parity/   stored files that were collected from a medium or rebuilt from parity (`quarantine`)

The blob's own digest decides. A chunk that holds frames is hashed in memory before any of it is decoded; raw bytes
pass through once. Only when the blob's digest is wrong, or a chunk cannot be read, are the chunks looked at one by
one: what they give stays, and what is bad is reported by name, all of it together. Two blobs are made at a time,
frames are decoded on all cores; memory is `crew` + 1 frames and two chunks for each.
"""

import contextlib
import hashlib
import os
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.bundle.crew import LANES, Spare, crew_size, in_order
from pipelines.bundle.documents import Sized
from pipelines.bundle.errors import MalformedBundle
from pipelines.bundle.lanes import Unreadable
from pipelines.bundle.reader import Bundle
from pipelines.bundle.shelf import Shelf, Spot, digest_of, load
from pipelines.bundle.tables import RAW, REFERENCE, Chunk, Part
from pipelines.bundle.unpacker import Stock, Unpacker, bytes_of, pieces
from registry.blobs import Progress
from registry.bulk import BulkWriter, space_watched
from signing.canonical import NotCanonical, canonical_bytes, parse_canonical
from signing.digests import BLOCK
from signing.durable import sync_directory, write_durably

_MAX_HAVE = 64 << 20  # bytes
_NOTE_EVERY = 32  # mended chunks between two notes of what there is


@dataclass(frozen=True)
class BadChunk:
    """A chunk that could not be had: `absent` when no place for it is known, else what is wrong with it."""

    chunk: str
    path: str
    volume: str
    problem: str
    absent: bool = False

    def __str__(self) -> str:
        return f"{self.volume}, {self.path}: {self.problem}"


class _Stopped(Exception):
    """Another worker failed."""


@dataclass
class Ingest:
    """One bundle's way into quarantine.

    `room` is the quarantine folder of this bundle; `held` says where a held blob's bytes are.
    """

    room: Path
    bundle: Bundle
    shelf: Shelf
    held: Callable[[str], Path]
    progress: Progress
    _stop: threading.Event = field(default_factory=threading.Event)

    @property
    def stock(self) -> Stock:
        """What the blobs are made from."""
        return Stock(self.bundle.table, self.shelf, self.held)

    def run(self, wanted: Sequence[Sized]) -> list[BadChunk]:
        """Bring every wanted blob to `.whole`; return what stands in the way of the others, each chunk once.

        Raises:
            SpaceShort: the file system is full; what was copied stays.
            MalformedBundle: good chunks that do not make the blob: the origin packed it wrongly, or a held blob
                that it builds on is not what its name says.
        """
        largest_first = sorted(wanted, key=lambda blob: -blob.size)
        with (
            ThreadPoolExecutor(crew_size(), thread_name_prefix="decode") as crew,
            ThreadPoolExecutor(LANES, thread_name_prefix="ingest") as lanes,
        ):
            jobs = [lanes.submit(_Making(self, blob, crew).make) for blob in largest_first]
            try:
                found = {bad.chunk: bad for job in jobs for bad in job.result()}
            except BaseException:
                self._stop.set()
                lanes.shutdown(cancel_futures=True)
                raise
        if wanted:
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
        """Return the chunks that still have to be read, as far as is known without hashing."""
        found: set[str] = set()
        for blob in wanted:
            if not self.done(blob):
                have = self.have(blob.sha256)
                parts = enumerate(self.bundle.table.blobs[blob.sha256])
                numbers = {part.chunk for number, part in parts if part.chunk >= 0 and number not in have}
                found.update(self.bundle.table.chunks[number].chunk for number in numbers)
        return found

    def bytes_needed(self, wanted: Sequence[Sized]) -> int:
        """Return the bytes that finishing the wanted blobs will take on the quarantine's file system."""
        total = 0
        for blob in wanted:
            if not self.done(blob):
                with contextlib.suppress(FileNotFoundError):
                    total -= min(blob.size, self.partial(blob.sha256).stat().st_blocks * 512)
                total += blob.size
        return total

    def have_file(self, sha256: str) -> Path:
        """Where the hint is."""
        return self.room / f"{sha256}.have"

    def have(self, sha256: str) -> frozenset[int]:
        """The parts that an earlier run says are good; an unreadable hint is none."""
        try:
            value = parse_canonical(self.have_file(sha256).read_bytes(), max_bytes=_MAX_HAVE)
        except (FileNotFoundError, NotCanonical):
            return frozenset()
        return (
            frozenset(item for item in value if type(item) is int) if isinstance(value, list) else frozenset()
        )

    def check(self) -> None:
        """End this worker when another one has failed."""
        if self._stop.is_set():
            raise _Stopped


@dataclass
class _Making:
    """One blob on its way to `.whole`."""

    ingest: Ingest
    blob: Sized
    crew: ThreadPoolExecutor
    spare: Spare = field(default_factory=Spare)

    @property
    def parts(self) -> Sequence[Part]:
        """What it is made of."""
        return self.ingest.bundle.table.blobs[self.blob.sha256]

    def make(self) -> list[BadChunk]:
        """Bring the blob to `.whole`, or return what is bad."""
        ingest, sha256 = self.ingest, self.blob.sha256
        if ingest.done(self.blob):
            ingest.progress(self.blob.size)
            return []
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        target = os.open(ingest.partial(sha256), flags, 0o600)
        try:
            have = ingest.have(sha256)
            here = all(ingest.shelf.has(chunk) for chunk in ingest.bundle.chunks_of(sha256))
            if have or not here or not self._pour(target):
                bad = self._mend(target, have)
                if bad:
                    return bad
            with space_watched(ingest.room, self.blob.size):
                os.ftruncate(target, self.blob.size)
                os.fsync(target)
        finally:
            os.close(target)
        ingest.partial(sha256).rename(ingest.whole(sha256))
        ingest.have_file(sha256).unlink(missing_ok=True)
        return []

    # -- in order, each byte once -----------------------------------------------------------------------

    def _pour(self, target: int) -> bool:
        """Make the blob from where an earlier run stopped. Returns whether the whole of it is right."""
        keep, rest = self._resume(os.fstat(target).st_size)
        os.ftruncate(target, keep)
        digest = hashlib.sha256()
        self._hash(target, keep, digest)
        self.ingest.progress(keep)
        unpacker = Unpacker(self.ingest.stock, self.crew, self.spare)
        try:
            with (
                space_watched(self.ingest.room, self.blob.size - keep),
                BulkWriter(target, at=keep) as writer,
            ):
                for view, spent in in_order(self.crew, unpacker.steps(rest)):
                    self.ingest.check()
                    digest.update(view)
                    writer.write(view)
                    self.ingest.progress(len(view))
                    unpacker.give_back(spent)
        except Unreadable:
            return False
        return digest.hexdigest() == self.blob.sha256

    def _resume(self, present: int) -> tuple[int, Sequence[Part]]:
        """Return the bytes of whole parts that are there, and the parts after them."""
        reached = 0
        for number, part in enumerate(self.parts):
            if reached + part.size > present:
                return reached, self.parts[number:]
            reached += part.size
        return reached, ()

    def _write(self, target: int, view: memoryview, offset: int) -> None:
        with space_watched(self.ingest.room, self.blob.size - offset):
            while view:
                count = os.pwrite(target, view, offset)
                view, offset = view[count:], offset + count

    def _hash(self, target: int, size: int, digest: "hashlib._Hash") -> None:
        """Feed the first bytes of the quarantined file to `digest`; stops early where the file ends."""
        view = memoryview(bytearray(min(BLOCK, max(size, 1))))
        start = 0
        while start < size and (count := os.preadv(target, [view[: min(len(view), size - start)]], start)):
            self.ingest.check()
            digest.update(view[:count])
            start += count

    # -- chunk by chunk ---------------------------------------------------------------------------------

    def _mend(self, target: int, have: Collection[int]) -> list[BadChunk]:
        """Make every part good; return the chunks that nothing here gives."""
        for trusted in dict.fromkeys((frozenset(have), frozenset[int]())):
            good, bad = set(trusted), []
            for number, (chunk, parts) in enumerate(self._by_chunk(trusted).items()):
                self.ingest.check()
                problem = self._mend_chunk(target, chunk, parts)
                if problem is None:
                    good.update(parts)
                else:
                    bad.append(problem)
                if number % _NOTE_EVERY == _NOTE_EVERY - 1:
                    self._note(good)
            if bad:
                os.fsync(target)
                self._note(good)
                return bad
            digest = hashlib.sha256()
            self._hash(target, self.blob.size, digest)
            if digest.hexdigest() == self.blob.sha256:
                return []
        raise MalformedBundle(f"good chunks do not make blob {self.blob.sha256[:12]}", at="chunks.jsonl")

    def _note(self, good: Collection[int]) -> None:
        write_durably(self.ingest.have_file(self.blob.sha256), canonical_bytes(sorted(good)))

    def _by_chunk(self, trusted: Collection[int]) -> Mapping[Chunk | None, dict[int, tuple[int, Part]]]:
        """Chunk (None for references) to its parts that are not trusted yet: number to (offset in the blob, part)."""
        table, offset = self.ingest.bundle.table, 0
        found: dict[Chunk | None, dict[int, tuple[int, Part]]] = {}
        for number, part in enumerate(self.parts):
            if number not in trusted:
                chunk = table.chunks[part.chunk] if part.chunk >= 0 else None
                found.setdefault(chunk, {})[number] = (offset, part)
            offset += part.size
        return found

    def _mend_chunk(
        self, target: int, chunk: Chunk | None, parts: Mapping[int, tuple[int, Part]]
    ) -> BadChunk | None:
        problem, volume = "its volume is not here", "no volume here"
        for spot in self.ingest.shelf.spots(chunk.chunk) if chunk else (None,):
            try:
                for offset, view in self._verified(chunk, spot, parts):
                    self._write(target, view, offset)
                    self.ingest.progress(len(view))
            except Unreadable as exc:
                assert spot is not None, "references are read from held blobs, which raise their own refusal"
                problem, volume = str(exc), spot.volume
            else:
                return None
        assert chunk is not None
        return BadChunk(
            chunk.chunk, chunk.path, volume, problem, absent=not self.ingest.shelf.has(chunk.chunk)
        )

    def _verified(
        self, chunk: Chunk | None, spot: Spot | None, parts: Mapping[int, tuple[int, Part]]
    ) -> Iterator[tuple[int, memoryview]]:
        """Yield (offset in the blob, bytes) of each part, once the chunk was found to be what its name says."""
        buffer = self.spare.take()
        stored = None
        if chunk is not None and spot is not None:
            if any(part.encoding not in (RAW, REFERENCE) for _offset, part in parts.values()):
                stored = load(spot, chunk, bytearray(chunk.size))
            elif digest_of(spot, chunk.size) != chunk.chunk:
                raise Unreadable("holds other bytes")
        for offset, part in parts.values():
            for step in pieces(part):
                view = bytes_of(self.ingest.stock, step, stored, spot, buffer)
                yield offset, view
                offset += len(view)  # noqa: PLW2901 - the next piece of the same part
        self.spare.give(buffer)
