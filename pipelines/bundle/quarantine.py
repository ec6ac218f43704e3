"""Stored files in quarantine: collected from media that come one at a time, and rebuilt from parity.

    chunks/<sha256>   a chunk, hashed and found to be what its name says, durable
    parity/<sha256>   a parity piece, the same

Both lie in the bundle's quarantine folder, are read like a volume, and go with the folder when the import is done.
"""

import os
import threading
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from pipelines.bundle.crew import LANES
from pipelines.bundle.ingest import Ingest
from pipelines.bundle.lanes import Unreadable
from pipelines.bundle.opening import Opened
from pipelines.bundle.shelf import Shelf, Spot, digest_of, read_at
from registry.bulk import BulkWriter, space_watched
from signing.durable import sync_directory

_BLOCK = 1 << 20  # bytes


def collect(opened: Opened, ingest: Ingest, needed: Collection[str]) -> None:
    """Copy the needed chunks that are here, and all parity that is here, into quarantine; what is bad stays away.

    Raises:
        SpaceShort: the file system is full; what was copied stays.
    """
    pieces = {
        piece: one.piece_bytes(index)
        for one in opened.parity_sets
        for row in (one.p, one.q)
        for index, piece in enumerate(row)
    }
    sizes = {chunk: opened.bundle.chunks[chunk].size for chunk in needed}
    jobs = [("chunks", name, size) for name, size in sizes.items()]
    jobs += [("parity", name, size) for name, size in pieces.items()]
    for kind in ("chunks", "parity"):
        (ingest.room / kind).mkdir(parents=True, exist_ok=True)

    def take(job: tuple[str, str, int]) -> None:
        kind, name, size = job
        _collect(ingest, ingest.room / kind / name, name, size)

    with ThreadPoolExecutor(LANES, thread_name_prefix="collect") as pool:
        list(pool.map(take, jobs))
    for kind in ("chunks", "parity"):
        sync_directory(ingest.room / kind)


def _collect(ingest: Ingest, place: Path, name: str, size: int) -> None:
    if place.exists():
        return
    for spot in ingest.shelf.spots(name):
        with suppress(Unreadable):
            if digest_of(spot, size) != name:  # hashed first, so that nothing bad is ever under a good name
                continue
            _copy(ingest, spot, place, size)
            return


def _copy(ingest: Ingest, spot: Spot, place: Path, size: int) -> None:
    temporary = place.with_name(f".{place.name}")
    view = memoryview(bytearray(min(_BLOCK, max(size, 1))))
    with space_watched(ingest.room, size), temporary.open("wb", buffering=0) as target:
        with BulkWriter(target.fileno()) as writer:
            for offset in range(0, size, len(view)):
                block = view[: min(len(view), size - offset)]
                read_at(spot.path, block, offset)
                writer.write(block)
        os.fsync(target.fileno())
    if digest_of(Spot(temporary, "quarantine"), size) == place.name:  # of the copied bytes
        temporary.rename(place)


def rebuild(opened: Opened, ingest: Ingest, lost: Collection[str]) -> frozenset[str]:
    """Bring chunks back from parity into quarantine. Returns those that it brought back.

    Raises:
        SpaceShort: the file system is full.
    """
    from pipelines.bundle import rebuilding  # noqa: PLC0415 - numpy, only where something is lost

    folder = ingest.room / "chunks"
    folder.mkdir(parents=True, exist_ok=True)
    shelf = ingest.shelf
    names = {*opened.bundle.chunks, *(piece for one in opened.parity_sets for piece in (*one.p, *one.q))}
    absent = {name for name in names if not shelf.has(name)}
    reader = _Checked(opened, shelf)
    with space_watched(ingest.room, sum(opened.bundle.chunks[name].size for name in lost)):
        done = rebuilding.rebuild(
            opened.parity_sets,
            lost,
            reader.read,
            lambda name: folder / name,
            bad=absent,
            progress=ingest.progress,
        ).done
    sync_directory(folder)
    return done


class _Checked:
    """Gives bytes of chunks whose digest was found right, each checked once; of pieces as they are."""

    def __init__(self, opened: Opened, shelf: Shelf) -> None:
        self._opened, self._shelf = opened, shelf
        self._good: dict[str, Spot | None] = {}
        self._locks = threading.Lock()

    def read(self, name: str, offset: int, view: memoryview) -> None:
        """Fill `view`. Raises `lanes.Unreadable`."""
        spot = self._spot(name)
        if spot is None:
            raise Unreadable(name)
        read_at(spot.path, view, offset)

    def _spot(self, name: str) -> Spot | None:
        with self._locks:
            if name not in self._good:
                self._good[name] = self._first_good(name)
            return self._good[name]

    def _first_good(self, name: str) -> Spot | None:
        chunk = self._opened.bundle.chunks.get(name)
        for spot in self._shelf.spots(name):
            if chunk is None:
                return spot  # a piece: whoever asks checks it
            with suppress(Unreadable):
                if digest_of(spot, chunk.size) == name:
                    return spot
        return None
