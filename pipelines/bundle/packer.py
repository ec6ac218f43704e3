"""Writes chunks: each blob read once, cut at its tensors, made smaller where that can be, hashed while it is read.

A frame is encoded, decoded again and compared by `pipelines.encodings`; where the site holds the same bytes, a
reference takes its place. The chunk's digest gives the file its name, the blob's digest is compared with the blob's
name: a file that rotted in the store does not leave the building. Frames are encoded on all cores; two blobs are
written at a time. Memory: `crew` + 1 frames for each of the two, and the encoders' scratch.
"""

import hashlib
import os
import secrets
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Self

import numpy as np

from pipelines.bundle import tables
from pipelines.bundle.alignment import Bases, Extent, align, frames
from pipelines.bundle.crew import LANES, Spare, crew_size, in_order, scratch
from pipelines.bundle.documents import GUARD, MEDIA, Sized
from pipelines.bundle.spans import FileSource, worthwhile
from pipelines.bundle.tables import RAW, REFERENCE, Chunk, Part, Table
from pipelines.encodings import ladder
from pipelines.encodings.names import FRAME, NEEDS_BASE, Encoded
from registry.blobs import BlobStore, Progress
from registry.bulk import BulkWriter
from registry.errors import BlobDamaged

# Tensors of held blobs that are known at once, the likeliest bases first: some 600 bytes of memory each.
MOST_SPANS = 250_000


class _Stopped(Exception):
    """Another blob failed."""


@dataclass(frozen=True)
class Style:
    """How blobs are stored."""

    profile: str = MEDIA
    compact: bool = False  # spend time to save bytes
    most: int | None = None  # bytes of the largest chunk; None for what the format allows

    @property
    def chunk(self) -> int:
        """Bytes of the largest chunk."""
        limit = tables.GUARD_CHUNK if self.profile == GUARD else tables.CHUNK
        return limit if self.most is None else min(limit, self.most)


@dataclass(frozen=True)
class Packer:
    """Puts chunks into `folder`, as `chunks/<2>/<sha256>`."""

    blobs: BlobStore
    folder: Path
    style: Style
    bases: Sequence[Sized]  # blobs that the site holds, the likeliest to be like the new ones first
    extensions: Mapping[str, str]  # blob to the ending of its name, for `guard`
    progress: Progress
    stop: threading.Event = field(default_factory=threading.Event)  # set when something else failed

    def pack(self, wanted: Sequence[Sized]) -> Table:
        """Write every blob's chunks; return the table, blobs in the given order.

        Raises:
            BlobDamaged: a blob does not hold what its name promises. NotFound: it is not there.
        """
        with ExitStack() as stack:
            bases = self._held(stack) if wanted and self.style.profile == MEDIA else _Held({}, Bases(()))
            crew = stack.enter_context(ThreadPoolExecutor(crew_size(), thread_name_prefix="encode"))
            lanes = stack.enter_context(ThreadPoolExecutor(LANES, thread_name_prefix="pack"))
            jobs = [lanes.submit(self._blob, blob, bases, crew) for blob in wanted]
            try:
                for job in wait(jobs, return_when=FIRST_EXCEPTION).done:
                    job.result()  # what failed first, whichever blob it was
                packed = [job.result() for job in jobs]
            except BaseException:
                self.stop.set()
                lanes.shutdown(cancel_futures=True)
                raise
        return _table(dict(zip((blob.sha256 for blob in wanted), packed, strict=True)))

    def _held(self, stack: ExitStack) -> "_Held":
        sources, found, left = dict[str, FileSource](), [], MOST_SPANS
        for blob in self.bases:
            source = stack.enter_context(FileSource(self.blobs.path(blob.sha256)))
            tensors = worthwhile(source)
            left -= len(tensors)
            if left < 0:
                break
            sources[blob.sha256] = source
            found.append((blob.sha256, source, tensors))
        return _Held(sources, Bases(found))

    def _blob(self, blob: Sized, bases: "_Held", crew: ThreadPoolExecutor) -> "_Packed":
        self.blobs.size(blob.sha256)  # NotFound before anything is opened
        with FileSource(self.blobs.path(blob.sha256)) as source:
            packing = _Packing(self, blob, source, bases, crew)
            packed = packing.raw() if self.style.profile == GUARD else packing.compact()
            if source.size != blob.size or packing.whole.hexdigest() != blob.sha256:
                actual = packing.whole.hexdigest() if source.size == blob.size else f"{source.size} bytes"
                raise BlobDamaged(str(self.blobs.path(blob.sha256)), expected=blob.sha256, actual=actual)
        return packed


@dataclass(frozen=True)
class _Held:
    """What parts may be made from: the open blobs, and where in them which tensor lies."""

    sources: Mapping[str, FileSource]
    bases: Bases
    turn: threading.Lock = field(default_factory=threading.Lock)  # the bases serve one blob at a time


@dataclass
class _Packed:
    """A blob's parts, with the name of the chunk that each lies in, and these chunks."""

    parts: list[tuple[Part, str | None]] = field(default_factory=list)
    chunks: dict[str, Chunk] = field(default_factory=dict)


def _table(packed: Mapping[str, _Packed]) -> Table:
    chunks = {name: chunk for one in packed.values() for name, chunk in one.chunks.items()}
    numbers = {name: number for number, name in enumerate(chunks)}
    blobs = {
        blob: tables.merged(
            part if name is None else _numbered(part, numbers[name]) for part, name in one.parts
        )
        for blob, one in packed.items()
    }
    return Table(tuple(chunks.values()), blobs)


def _numbered(part: Part, number: int) -> Part:
    return Part(part.size, part.encoding, part.unit, number, part.at, part.stored, part.base, part.start)


@dataclass
class _Packing:
    """One blob on its way into chunks."""

    packer: Packer
    blob: Sized
    source: FileSource
    held: _Held
    crew: ThreadPoolExecutor
    whole: "hashlib._Hash" = field(default_factory=hashlib.sha256)

    def compact(self) -> _Packed:
        """Frames, encoded by the crew, written here in order."""
        packed = _Packed()
        spare = Spare()
        jobs = (partial(self._encoded, extent, spare) for extent in self._extents())
        with _ChunkFile(self.packer, packed) as chunk:
            for frame in in_order(self.crew, jobs):
                self._check()
                self.whole.update(frame.raw)
                packed.parts.append(chunk.add(frame))
                self.packer.progress(len(frame.raw))
                spare.give(frame.buffer)
        return packed

    def raw(self) -> _Packed:
        """The bytes as they are, in as few files as the format allows."""
        packed = _Packed()
        block = memoryview(bytearray(min(1 << 20, self.packer.style.chunk)))
        extension = self.packer.extensions.get(self.blob.sha256)
        with _ChunkFile(self.packer, packed, extension) as chunk:
            for offset in range(0, self.source.size, len(block)):
                self._check()
                view = block[: min(len(block), self.source.size - offset)]
                self.source.read_into(view, offset)
                self.whole.update(view)
                packed.parts.append(chunk.add(_Frame(view, None, Encoded(RAW, view))))
                self.packer.progress(len(view))
        return packed

    def _check(self) -> None:
        """End this blob when the other one failed, or somebody pressed Ctrl-C: a large one takes hours."""
        if self.packer.stop.is_set():
            raise _Stopped

    def _extents(self) -> Iterator[Extent]:
        with self.held.turn:
            extents = align(self.source, worthwhile(self.source), self.held.bases)
        return frames(extents, frame=min(FRAME, self.packer.style.chunk))

    def _encoded(self, extent: Extent, spare: Spare) -> "_Frame":
        buffer = spare.take()
        raw = memoryview(buffer)[: extent.size]
        self.source.read_into(raw, extent.offset)
        if extent.base is None:
            encoded = ladder.encode(raw, extent.unit, compact=self.packer.style.compact)
            return _Frame(raw, buffer, encoded, extent.unit)
        base = memoryview(scratch())[: extent.size]
        self.held.sources[extent.base].read_into(base, extent.base_offset)
        if np.array_equal(np.frombuffer(raw, np.uint8), np.frombuffer(base, np.uint8)):
            return _Frame(raw, buffer, None, None, extent.base, extent.base_offset)
        encoded = ladder.encode(raw, extent.unit, base, compact=self.packer.style.compact)
        return _Frame(raw, buffer, encoded, extent.unit, extent.base, extent.base_offset)


@dataclass(frozen=True, slots=True)
class _Frame:
    """A frame that is ready to be written: `encoded` None for a reference."""

    raw: memoryview
    buffer: bytearray | None
    encoded: Encoded | None
    unit: str | None = None
    base: str | None = None
    start: int = 0


class _ChunkFile:
    """The chunk that is being written; begins the next one when a part does not fit any more."""

    def __init__(self, packer: Packer, packed: _Packed, extension: str | None = None) -> None:
        self._packer, self._packed, self._extension = packer, packed, extension
        self._folder = packer.folder / "chunks"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._place = self._folder / f".{secrets.token_hex(8)}"
        self._size = self._raw = 0
        self._framed = False
        self._begin()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_exc: object) -> None:
        try:
            if kind is None:
                self._close()
        finally:
            self._writer.abandon()
            self._stream.close()
            self._place.unlink(missing_ok=True)

    def add(self, frame: _Frame) -> tuple[Part, str | None]:
        """Write what there is to write. Returns the part; its chunk's name is filled in when the chunk is whole."""
        size = len(frame.raw)
        if frame.encoded is None:
            return Part(size, REFERENCE, base=frame.base, start=frame.start), None
        encoding, data = frame.encoded
        framed = encoding != RAW
        if not self._fits(len(data), size, framed=framed):
            self._close()
            self._begin()
        self._digest.update(data)
        self._writer.write(memoryview(data))
        at, self._size = self._size, self._size + len(data)
        self._framed |= framed
        self._raw += size
        if not framed:
            return Part(size, RAW, None, -1, at, size), ""
        base = frame.base if encoding in NEEDS_BASE else None
        start = frame.start if base is not None else 0
        return Part(size, encoding, frame.unit, -1, at, len(data), base, start), ""

    def _begin(self) -> None:
        self._stream = self._place.open("wb", buffering=0)
        self._writer = BulkWriter(self._stream.fileno())
        self._digest = hashlib.sha256()
        self._size = self._raw = 0
        self._framed = False

    def _fits(self, stored: int, raw: int, *, framed: bool) -> bool:
        if self._size == 0:
            return True
        most = self._packer.style.chunk
        if framed or self._framed:
            most = min(most, tables.COMPACT_CHUNK)
        return self._size + stored <= most and self._raw + raw <= max(tables.CHUNK, most)

    def _close(self) -> None:
        if not self._size:
            return
        self._writer.close()
        os.fsync(self._stream.fileno())
        self._stream.close()
        chunk = Chunk(self._digest.hexdigest(), self._size, self._extension)
        place = self._packer.folder / chunk.path
        place.parent.mkdir(exist_ok=True)
        self._place.rename(place)
        self._packed.chunks[chunk.chunk] = chunk
        for number in range(len(self._packed.parts) - 1, -1, -1):
            part, name = self._packed.parts[number]
            if name == "":
                self._packed.parts[number] = (part, chunk.chunk)
            elif name is not None:
                break
