"""Lays chunks out on volumes, with parity over them, and writes what stands beside them.

Chunks are written to one folder first; here they are divided among the volumes by renaming, so that whole items lie
together and other media only mean another division. Parity is made from the chunks as they lie. Then every volume
gets the small files, the plan, its label and its list of digests.
"""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pipelines.bundle import lanes, plan
from pipelines.bundle.errors import OutputUnusable, ParityImpossible
from pipelines.bundle.media import Medium
from pipelines.bundle.plan import Plan, PlannedParity, PlannedVolume, piece_path
from pipelines.bundle.reader import LABEL, PLAN, PLAN_SIGNATURE, SUMS
from pipelines.bundle.tables import Chunk
from registry.blobs import Progress
from signing.digests import sha256_hex
from signing.durable import sync_directory

SCHEMES: Mapping[int, lanes.Scheme] = {1: "p", 2: "pq"}


@dataclass(frozen=True)
class Layout:
    """Volumes that lie in `folder`, and the parity over them."""

    folder: Callable[[int], Path]  # a volume's bundle folder
    volumes: tuple[PlannedVolume, ...]
    parity: tuple[PlannedParity, ...]

    def plan(self, bundle: str, export: str, *, repairs: bool = False) -> Plan:
        """Return the plan of it. `export` is the SHA-256 of the export document."""
        return Plan(bundle, export, self.volumes, self.parity, repairs)


def lay_out(
    divided: Sequence[Sequence[int]],
    chunks: Sequence[Chunk],
    *,
    folder: Callable[[int], Path],
    place: Callable[[Chunk], Path],
    parity: int,
    medium: Medium | None,
    small: int,
    progress: Progress,
) -> Layout:
    """Move chunks into their volumes and write parity.

    Args:
        divided: chunk numbers of each volume, of `plan.split`.
        folder: where a volume's bundle folder is or will be.
        place: where a chunk lies now, on the same file system.
        parity: how many volumes, or bad files of a single volume, may be lost: 0, 1 or 2.
        small: bytes that every volume spends on the documents.
    """
    for index, numbers in enumerate(divided, start=1):
        folder(index).mkdir(parents=True, exist_ok=True)
        for number in numbers:
            target = folder(index) / chunks[number].path
            target.parent.mkdir(parents=True, exist_ok=True)
            place(chunks[number]).rename(target)
    data = [[chunks[number] for number in numbers] for numbers in divided]
    sets, pieces = _parity(data, folder, parity=parity, medium=medium, small=small, progress=progress)
    volumes = []
    for index in range(1, max(len(data), *pieces, 1) + 1):
        held = data[index - 1] if index <= len(data) else []
        mine = pieces.get(index, {})
        size = sum(chunk.size for chunk in held) + sum(mine.values())
        volumes.append(PlannedVolume(index, tuple(chunk.chunk for chunk in held), size, tuple(mine)))
    return Layout(folder, tuple(volumes), tuple(sets))


def _parity(
    data: Sequence[Sequence[Chunk]],
    folder: Callable[[int], Path],
    *,
    parity: int,
    medium: Medium | None,
    small: int,
    progress: Progress,
) -> tuple[list[PlannedParity], dict[int, dict[str, int]]]:
    """Write P and Q. Returns the sets, and for each volume that holds pieces their names and bytes."""
    if not parity or not any(data):
        return [], {}
    from pipelines.bundle.parity import write  # noqa: PLC0415 - numpy, only where there is parity

    sized = [[(chunk.chunk, chunk.size) for chunk in volume] for volume in data]
    inner = lanes.within(sized[0], SCHEMES[parity])
    pieces = [inner.piece_bytes(number) for number in range(inner.count)] * parity
    files = [*(size for _chunk, size in sized[0]), *pieces]
    paths = {
        chunk.chunk: folder(index) / chunk.path for index, row in enumerate(data, start=1) for chunk in row
    }
    with _Reader(paths) as reader:
        if len(data) == 1 and (medium is None or sum(map(medium.room, files)) + small <= medium.bytes):
            done = write(inner, reader.read, folder(1) / "parity", progress=progress)
            holders = {"p": 1, "q": 1}
        else:
            if len(data) > lanes.MAX_LANES:
                raise ParityImpossible(f"{len(data)} volumes; parity reaches over {lanes.MAX_LANES}")
            holders = {"p": len(data) + 1, "q": len(data) + 2}
            done = write(
                lanes.across(sized, SCHEMES[parity]),
                reader.read,
                folder(holders["p"]) / "parity",
                q_folder=folder(holders["q"]) / "parity",
                progress=progress,
            )
    held: dict[int, dict[str, int]] = {}
    for which, row in (("p", done.p), ("q", done.q)):
        for number, piece in enumerate(row):
            held.setdefault(holders[which], {})[piece] = done.piece_bytes(number)
    one = holders["p"] == 1
    across = () if one else tuple(range(1, len(data) + 1))
    return [PlannedParity(across, 1 if one else None, len(done.lanes), done.length, done.p, done.q)], held


class _Reader:
    """Gives bytes of chunks, each thread with the last file it read still open."""

    def __init__(self, paths: Mapping[str, Path]) -> None:
        self._paths, self._mine = paths, threading.local()
        self._open: list[int] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        for handle in self._open:
            with contextlib.suppress(OSError):
                os.close(handle)

    def read(self, name: str, offset: int, view: memoryview) -> None:
        """Fill `view`."""
        if getattr(self._mine, "name", None) != name:
            if hasattr(self._mine, "handle"):
                os.close(self._mine.handle)
                self._open.remove(self._mine.handle)
            self._mine.handle, self._mine.name = os.open(self._paths[name], os.O_RDONLY | os.O_CLOEXEC), name
            self._open.append(self._mine.handle)
        while view:
            count = os.preadv(self._mine.handle, [view], offset)
            assert count, "a chunk that was written here a moment ago has its bytes"
            view, offset = view[count:], offset + count


def demand_no_volume(out: Path) -> None:
    """Raise `OutputUnusable` for a destination inside a volume: one file more, and that volume is refused."""
    place = Path(os.path.realpath(out))
    if found := next((one for one in (place, *place.parents) if os.path.lexists(one / LABEL)), None):
        raise OutputUnusable(str(out), f"{found} is a volume, and nothing is added to a volume")


def write_documents(
    layout: Layout, made: Plan, signature: bytes, chunks: Mapping[str, Chunk], shared: Mapping[str, bytes]
) -> int:
    """Write the small files of every volume, durably. Returns their bytes.

    Args:
        shared: path to bytes of what is the same on every volume.
    """
    data = plan.encode_plan(made)
    total = 0
    for volume in made.volumes:
        folder = layout.folder(volume.index)
        folder.mkdir(parents=True, exist_ok=True)
        label = plan.encode_label(plan.label_of(made, volume.index))
        digests = {chunks[name].path: name for name in volume.chunks}
        digests |= {piece_path(name): name for name in volume.parity}
        small = {**shared, PLAN: data, PLAN_SIGNATURE: signature, LABEL: label}
        total += _write_small(folder, small, digests)
        sync_directory(folder.parent)
    return total


def _write_small(folder: Path, small: Mapping[str, bytes], stored: Mapping[str, str]) -> int:
    digests = {**{path: sha256_hex(data) for path, data in small.items()}, **stored}
    everything = {**small, SUMS: plan.encode_sums(digests)}
    for path, data in everything.items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("xb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
    settle(folder)
    return sum(map(len, everything.values()))


def settle(folder: Path) -> None:
    """Make the names in a folder durable, and those in every folder below; empty ones go."""
    for parent in _folders(folder):
        sync_directory(parent)


def _folders(top: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(top, topdown=False):
        if not folders and not files:
            Path(parent).rmdir()  # a bundle has no empty folders
        else:
            yield Path(parent)


def reveal(hidden: Path, out: Path, made: Plan) -> tuple[Path, ...]:
    """Give the volumes their names. Before this nothing in `out` looks like a bundle. Returns each one's folder."""
    if len(made.volumes) == 1:
        places = [out / made.bundle]
        (hidden / "volume-01" / made.bundle).rename(places[0])
    else:
        places = [out / f"volume-{volume.index:02d}" for volume in made.volumes]
        for place in places:
            (hidden / place.name).rename(place)
    sync_directory(out)
    return tuple(places)
