"""Writes volumes: blobs cut into chunks while they are hashed, and the small files beside them.

Each byte is read once. The chunk's digest gives the file its name, the blob's digest is compared with the blob's
name: a file that rotted in the store does not leave the building. Memory is one block per blob at work.
"""

import hashlib
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from pipelines.bundle import tables
from pipelines.bundle.documents import Sized
from pipelines.bundle.reader import SUMS
from pipelines.bundle.tables import Chunk
from registry.blobs import BlobStore, Progress, WriteBehind, write_all
from registry.errors import BlobDamaged
from signing.digests import BLOCK, sha256_hex
from signing.durable import sync_directory

MAX_WORKERS = 12  # more do not help a disk, however many cores there are


def workers() -> int:
    """How many blobs are worked on at once."""
    return min(os.cpu_count() or 1, MAX_WORKERS)


@dataclass
class ChunkWriter:
    """Puts chunks into volume folders. `volume_of` grows as chunks are written; the same chunk is kept once."""

    blobs: BlobStore
    folder: Callable[[int], Path]  # a volume's bundle folder
    progress: Progress
    volume_of: dict[str, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def write(self, wanted: Sequence[Sized], placed: Sequence[Sequence[int]]) -> list[Chunk]:
        """Write every blob's chunks; return them in order of the blobs.

        Args:
            placed: for each blob, the volume of each of its chunks (`tables.assign`).

        Raises:
            BlobDamaged: a blob does not hold what its name promises. NotFound: it is not there.
        """
        with ThreadPoolExecutor(workers(), thread_name_prefix="chunks") as pool:
            jobs = [pool.submit(self._blob, blob, row) for blob, row in zip(wanted, placed, strict=True)]
            try:
                return [chunk for job in jobs for chunk in job.result()]
            finally:
                pool.shutdown(cancel_futures=True)

    def _blob(self, blob: Sized, row: Sequence[int]) -> list[Chunk]:
        made = []
        whole = hashlib.sha256()
        buffer = memoryview(bytearray(min(BLOCK, max(blob.size, 1))))
        with self.blobs.open(blob.sha256) as source:
            for (offset, size), volume in zip(tables.pieces(blob.size), row, strict=True):
                only = size == blob.size  # one chunk, one digest
                name = self._chunk(source, size, volume, buffer, None if only else whole)
                if only:
                    self._demand(blob, name)
                made.append(Chunk(name, size, blob.sha256, offset))
            if source.read(1):
                raise BlobDamaged(
                    str(self.blobs.path(blob.sha256)), expected=blob.sha256, actual="more bytes"
                )
        if len(made) != 1:
            self._demand(blob, whole.hexdigest())
        return made

    def _demand(self, blob: Sized, actual: str) -> None:
        if actual != blob.sha256:
            raise BlobDamaged(str(self.blobs.path(blob.sha256)), expected=blob.sha256, actual=actual)

    def _chunk(
        self, source: BinaryIO, size: int, volume: int, buffer: memoryview, whole: "hashlib._Hash | None"
    ) -> str:
        chunks = self.folder(volume) / "chunks"
        chunks.mkdir(parents=True, exist_ok=True)
        temporary = chunks / f".{threading.get_ident()}"
        digest = hashlib.sha256()
        try:
            with temporary.open("wb", buffering=0) as target:
                left, behind = size, WriteBehind(target.fileno())
                while left and (count := source.readinto(buffer[: min(left, len(buffer))])):  # type: ignore[attr-defined]
                    block = buffer[:count]
                    digest.update(block)
                    if whole is not None:
                        whole.update(block)
                    write_all(behind, block)
                    left -= count
                    self.progress(count)
                os.fsync(target.fileno())
            self._settle(temporary, digest.hexdigest(), volume)
        finally:
            temporary.unlink(missing_ok=True)
        return digest.hexdigest()

    def _settle(self, temporary: Path, name: str, volume: int) -> None:
        with self._lock:
            if self.volume_of.setdefault(name, volume) != volume:
                return  # the same bytes stand on another volume
        place = self.folder(volume) / tables.chunk_path(name)
        place.parent.mkdir(exist_ok=True)
        temporary.rename(place)


def write_small(folder: Path, small: Mapping[str, bytes], chunks: Sequence[str]) -> int:
    """Write the small files of one volume and its SHA256SUMS, durably. Returns their bytes.

    Args:
        small: path to bytes, `volume.json` among them.
        chunks: names of the chunks that are in the folder already.
    """
    digests = {path: sha256_hex(data) for path, data in small.items()}
    digests.update({tables.chunk_path(chunk): chunk for chunk in chunks})
    everything = {**small, SUMS: tables.encode_sums(digests)}
    for path, data in everything.items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("xb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
    for parent, _folders, _files in os.walk(folder):
        sync_directory(Path(parent))
    return sum(map(len, everything.values()))
