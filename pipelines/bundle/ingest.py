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
import errno
import hashlib
import os
import shutil
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path

from pipelines.bundle import tables
from pipelines.bundle.crew import LANES, Spare, crew_size, in_order, scratch
from pipelines.bundle.documents import Sized
from pipelines.bundle.errors import MalformedBundle
from pipelines.bundle.reader import Bundle
from pipelines.bundle.shelf import Shelf, Spot, open_plain
from pipelines.bundle.tables import RAW, REFERENCE, Chunk, Part
from pipelines.encodings.names import FrameMalformed
from registry.blobs import Progress
from registry.bulk import BulkWriter
from registry.errors import BlobDamaged, SpaceShort
from signing.canonical import NotCanonical, canonical_bytes, parse_canonical
from signing.digests import BLOCK
from signing.durable import sync_directory, write_durably

PIECE = 4 << 20  # bytes of raw parts and references that are moved at once
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
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


class Unreadable(Exception):
    """A medium does not give the bytes that belong here; the text says why."""


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
        chunks = _Chunks(self.ingest, self.crew, self.spare)
        try:
            with (
                space_watched(self.ingest.room, self.blob.size - keep),
                BulkWriter(target, at=keep) as writer,
            ):
                for view, spent in in_order(self.crew, chunks.steps(rest)):
                    self.ingest.check()
                    digest.update(view)
                    writer.write(view)
                    self.ingest.progress(len(view))
                    chunks.give_back(spent)
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
            for step in _pieces(part):
                view = _bytes_of(self.ingest, step, stored, spot, buffer)
                yield offset, view
                offset += len(view)  # noqa: PLW2901 - the next piece of the same part
        self.spare.give(buffer)


def _pieces(part: Part) -> Iterator[Part]:
    """Cut what is not decoded into pieces; a frame is one piece."""
    if part.encoding not in (RAW, REFERENCE):
        yield part
        return
    for done in range(0, part.size, PIECE):
        size = min(PIECE, part.size - done)
        raw = part.encoding == RAW
        yield Part(
            size,
            part.encoding,
            None,
            part.chunk,
            part.at + done * raw,
            size * raw,
            part.base,
            part.start + done,
        )


def _runs(parts: Sequence[Part]) -> Iterator[tuple[Part, bool]]:
    """Yield each part, and whether it is a frame after which the next frame lies in another chunk.

    One chunk is in memory at a time: one that the frames come back to is read again (`tables` bounds how often).
    """
    framed = [number for number, part in enumerate(parts) if part.encoding not in (RAW, REFERENCE)]
    following = dict(pairwise(framed))
    for number, part in enumerate(parts):
        after = following.get(number)
        yield part, after is None or parts[after].chunk != part.chunk


_Spent = tuple[bytearray, bytearray | None]  # buffers of a piece, and of a chunk after its last piece


class _Chunks:
    """Hands the parts of a blob to the crew, with each chunk of frames read and hashed before its first frame."""

    def __init__(self, ingest: Ingest, crew: ThreadPoolExecutor, spare: Spare) -> None:
        self._ingest, self._crew, self._spare = ingest, crew, spare
        self._loaded = Spare(tables.COMPACT_CHUNK)

    def steps(self, parts: Sequence[Part]) -> Iterator[Callable[[], tuple[memoryview, _Spent]]]:
        """Yield a job for each piece, in order. The jobs raise `Unreadable`."""
        loading: Future[bytearray] | None = None
        for part, ends in _runs(parts):
            if part.encoding in (RAW, REFERENCE):
                for piece in _pieces(part):
                    yield partial(self._plain, piece)
                continue
            # Submitted before the jobs that wait for it, to a crew that works in order: nobody waits for ever.
            loading = loading or self._crew.submit(self._load, part.chunk)
            yield partial(self._frame, part, loading, ends=ends)
            loading = None if ends else loading

    def give_back(self, spent: _Spent) -> None:
        """Take back the buffers that a job used."""
        self._spare.give(spent[0])
        self._loaded.give(spent[1])

    def _load(self, number: int) -> bytearray:
        buffer = self._loaded.take()
        first_good(self._ingest.shelf, self._ingest.bundle.table.chunks[number], buffer)
        return buffer

    def _frame(self, part: Part, loading: "Future[bytearray]", *, ends: bool) -> tuple[memoryview, _Spent]:
        buffer, stored = self._spare.take(), loading.result()
        view = _bytes_of(self._ingest, part, memoryview(stored), None, buffer)
        return view, (buffer, stored if ends else None)

    def _plain(self, piece: Part) -> tuple[memoryview, _Spent]:
        buffer, spot = self._spare.take(), None
        if piece.chunk >= 0:
            spot = self._ingest.shelf.spots(self._ingest.bundle.table.chunks[piece.chunk].chunk)[0]
        return _bytes_of(self._ingest, piece, None, spot, buffer), (buffer, None)


def _bytes_of(
    ingest: Ingest, piece: Part, stored: memoryview | None, spot: Spot | None, buffer: bytearray
) -> memoryview:
    """Return the bytes that a piece gives, in `buffer`. Raises `Unreadable`."""
    view = memoryview(buffer)[: piece.size]
    if piece.encoding == REFERENCE:
        assert piece.base is not None
        _read_held(ingest, piece.base, view, piece.start)
    elif piece.encoding == RAW:
        assert spot is not None
        read_at(spot.path, view, piece.at)
    else:
        assert stored is not None
        _decode(ingest, piece, stored, view)
    return view


def _read_held(ingest: Ingest, base: str, view: memoryview, start: int) -> None:
    """Fill `view` from a held blob. Raises `BlobDamaged`: it is this site's own disk that does not give it."""
    path = ingest.held(base)
    try:
        read_at(path, view, start)
    except Unreadable as exc:
        raise BlobDamaged(str(path), expected=base, actual=str(exc)) from exc


def _decode(ingest: Ingest, piece: Part, stored: memoryview, out: memoryview) -> None:
    from pipelines.encodings import ladder  # noqa: PLC0415 - numpy, only where there are frames

    assert piece.unit is not None
    base = None
    if piece.base is not None:
        base = memoryview(scratch())[: piece.size]
        _read_held(ingest, piece.base, base, piece.start)
    frame = stored[piece.at : piece.at + piece.stored]
    try:
        ladder.decode(piece.encoding, piece.unit, frame, out, base)
    except FrameMalformed as exc:
        raise MalformedBundle(
            f"a frame that its chunk vouches for: {exc.problem}", at="chunks.jsonl"
        ) from exc


def first_good(shelf: Shelf, chunk: Chunk, buffer: bytearray) -> None:
    """Put a chunk's bytes into `buffer`, from the first place that gives them. Raises `Unreadable`."""
    problem = "its volume is not here"
    for spot in shelf.spots(chunk.chunk):
        try:
            load(spot, chunk, buffer)
        except Unreadable as exc:
            problem = str(exc)
        else:
            return
    raise Unreadable(problem)


def load(spot: Spot, chunk: Chunk, buffer: bytearray) -> memoryview:
    """Return a chunk's bytes, in `buffer`, hashed and found to be what its name says. Raises `Unreadable`."""
    data = memoryview(buffer)[: chunk.size]
    read_at(spot.path, data, 0, whole=True)
    if hashlib.sha256(data).hexdigest() != chunk.chunk:
        raise Unreadable("holds other bytes")
    return data


def digest_of(spot: Spot, size: int) -> str:
    """Return the SHA-256 of a stored file of `size` bytes. Raises `Unreadable`."""
    digest, view = hashlib.sha256(), memoryview(bytearray(min(BLOCK, size)))
    with _opened(spot.path) as source:
        for offset in range(0, size, len(view)):
            block = view[: min(len(view), size - offset)]
            _fill(source, block, offset)
            digest.update(block)
        _demand_end(source, size)
    return digest.hexdigest()


def read_at(path: Path, view: memoryview, offset: int, *, whole: bool = False) -> None:
    """Fill `view` from a plain file; with `whole`, the file must end there. Raises `Unreadable`."""
    with _opened(path) as source:
        _fill(source, view, offset)
        if whole:
            _demand_end(source, offset + len(view))


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    try:
        source = open_plain(path)
    except OSError as exc:
        raise Unreadable(f"cannot be opened ({exc.strerror})") from exc
    try:
        yield source
    finally:
        os.close(source)


def _fill(source: int, view: memoryview, offset: int) -> None:
    while view:
        try:
            count = os.preadv(source, [view], offset)
        except OSError as exc:
            raise Unreadable(f"cannot be read at byte {offset} ({exc.strerror})") from exc
        if count == 0:
            raise Unreadable(f"ends after {offset} bytes")
        view, offset = view[count:], offset + count


def _demand_end(source: int, size: int) -> None:
    if os.pread(source, 1, size):
        raise Unreadable(f"holds more than {size} bytes")


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
