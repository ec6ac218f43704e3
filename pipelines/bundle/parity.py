"""Writes the pieces of P and Q over lanes of chunks. Import it only when there is parity: it needs numpy.

Each thread makes one piece of P and the same piece of Q: pieces do not depend on each other, and a piece's digest
is made while it is written. Source: airgap-bundles/parity.md.
"""

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from pipelines.bundle.lanes import PIECE, ParitySet, Reader
from pipelines.bundle.stripes import STEP, Sums, stripe_bytes, stripes, threads
from registry.blobs import Progress, no_progress
from registry.bulk import write_all
from signing.durable import sync_directory


def write(
    layout: ParitySet,
    read: Reader,
    folder: Path,
    *,
    q_folder: Path | None = None,
    progress: Progress = no_progress,
    at_once: int | None = None,
) -> ParitySet:
    """Write every piece as `folder/<first 2>/<sha256>`, durably. Returns the set with its pieces.

    Args:
        layout: of `lanes.across` or `lanes.within`.
        read: gives the chunks' bytes; what it raises ends the work and comes through.
        q_folder: where Q goes, when it stands on another volume than P.
        progress: told the bytes of the lanes as they are done.
        at_once: pieces at once; by default one per core.
    """
    writer = _Writer(layout, read, {"p": folder, "q": q_folder or folder}, progress, at_once or threads())
    with ThreadPoolExecutor(writer.at_once, thread_name_prefix="parity") as pool:
        jobs = [pool.submit(writer.piece, index) for index in range(layout.count)]
        try:
            names = [job.result() for job in jobs]
        finally:
            pool.shutdown(cancel_futures=True)
    for place in {parent for one in names for parent in writer.parents(one)}:
        sync_directory(place)
    pieces = {which: tuple(one[which] for one in names) for which in layout.scheme}
    return replace(layout, p=pieces["p"], q=pieces.get("q", ()))


class _Writer:
    def __init__(
        self, layout: ParitySet, read: Reader, folders: dict[str, Path], progress: Progress, at_once: int
    ) -> None:
        self.layout, self.read, self.folders, self.progress = layout, read, folders, progress
        self.at_once = at_once
        self.lanes = [lane.parts() for lane in layout.lanes]

    def piece(self, index: int) -> dict[str, str]:
        """Write one piece of each sum. Returns their names."""
        begin = index * PIECE
        files = {which: _PieceFile(self.folders[which], f".{index}.{which}") for which in self.layout.scheme}
        sums = Sums(min(stripe_bytes(self.at_once), -(-self.layout.piece_bytes(index) // STEP) * STEP))
        try:
            for low, high in stripes(begin, begin + self.layout.piece_bytes(index), sums.stripe):
                done = sums.gather(self.lanes, low, high, self.layout.scheme, self.read)
                for which, file in files.items():
                    file.add(sums.octets(which, high - low).data)
                self.progress(done)
            return {which: file.settle() for which, file in files.items()}
        finally:
            for file in files.values():
                file.close()

    def parents(self, names: dict[str, str]) -> Iterator[Path]:
        """Yield the folders that got new entries with these pieces."""
        for which, name in names.items():
            yield from (self.folders[which] / name[:2], self.folders[which], self.folders[which].parent)


class _PieceFile:
    """A file that is hashed while it is written, and named in the end."""

    def __init__(self, folder: Path, temporary: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._path = folder, folder / temporary
        self._stream = self._path.open("wb", buffering=0)
        self._digest = hashlib.sha256()

    def add(self, data: memoryview) -> None:
        self._digest.update(data)
        write_all(self._stream.fileno(), data)

    def settle(self) -> str:
        os.fsync(self._stream.fileno())
        name = self._digest.hexdigest()
        place = self._folder / name[:2] / name
        place.parent.mkdir(exist_ok=True)
        self._path.rename(place)
        return name

    def close(self) -> None:
        self._stream.close()
        self._path.unlink(missing_ok=True)
