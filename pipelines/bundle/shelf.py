"""Where each stored file of a bundle can be read, on the volumes that are here and in quarantine; and reading it.

A chunk or a parity piece may lie in several places: on two copies of a volume, on a repair, on the medium and, from
an earlier run, in quarantine. Whoever reads takes the first that is good.
"""

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pipelines.bundle.lanes import Unreadable
from pipelines.bundle.plan import Plan, piece_path
from pipelines.bundle.reader import Bundle, SmallFiles, VolumeFolder
from pipelines.bundle.tables import Chunk
from signing.digests import BLOCK


class Spot(NamedTuple):
    """A place where a stored file should be."""

    path: Path
    volume: str  # what to call it: "volume 2"


@dataclass(frozen=True)
class Volume:
    """A volume with the plan that it brings."""

    folder: VolumeFolder
    small: SmallFiles
    plan: Plan

    @property
    def index(self) -> int:
        """Which one of its plan it is."""
        return self.folder.label.index

    def stored(self, bundle: Bundle) -> dict[str, tuple[str, int]]:
        """Return path to (name, bytes) of every chunk and parity piece that the plan puts on this volume."""
        mine = self.plan.volumes[self.index - 1]
        sizes = {piece: size for parity in self.plan.parity for piece, size in parity.pieces().items()}
        chunks = (bundle.chunks[name] for name in mine.chunks)
        return {
            **{chunk.path: (chunk.chunk, chunk.size) for chunk in chunks},
            **{piece_path(piece): (piece, sizes[piece]) for piece in mine.parity},
        }


@dataclass(frozen=True)
class Shelf:
    """Every stored file that seems to be here, by listing alone: name to the places to try, in order."""

    places: Mapping[str, Sequence[Spot]]

    def has(self, name: str) -> bool:
        """Say whether there is a place to try."""
        return name in self.places

    def without(self, bad: Collection[Spot]) -> "Shelf":
        """Return the shelf without these places."""
        kept = {name: [spot for spot in spots if spot not in bad] for name, spots in self.places.items()}
        return Shelf({name: spots for name, spots in kept.items() if spots})

    def spots(self, name: str) -> Sequence[Spot]:
        """Return the places to try."""
        return self.places.get(name, ())


def shelf_of(bundle: Bundle, volumes: Iterable[Volume], room: Path) -> Shelf:
    """Return where everything is: in `room` (quarantine) first, then on the volumes."""
    places: dict[str, list[Spot]] = {}
    for kind in ("chunks", "parity"):
        for place in sorted((room / kind).glob("[!.]*")):
            places.setdefault(place.name, []).append(Spot(place, "quarantine"))
    for volume in volumes:
        for path, (name, size) in volume.stored(bundle).items():
            if volume.folder.files.get(path) == size:
                places.setdefault(name, []).append(Spot(volume.folder.path / path, volume.folder.name))
    return Shelf(places)


def open_plain(place: Path) -> int:
    """Open a regular file for reading, following no link at its end. Raises `OSError`."""
    source = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(source).st_mode):
        os.close(source)
        raise OSError(errno.EINVAL, "not a plain file")
    return source


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
