"""Divides a bundle anew for other media: the same signed documents, another plan.

Where things lie is signed by the packer's key, a machine's: no officer is needed. The chunks are read from the
volumes that there are, each hashed before it is copied; what parity can bring back is not brought back here.
"""

import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.bundle import opening, plan, reader
from pipelines.bundle.checks import missing_volumes, undeclared
from pipelines.bundle.errors import (
    ChunksDamaged,
    ChunksMissing,
    FilesDamaged,
    NotOurBundle,
    OutputUnusable,
    UndeclaredFile,
    VolumeMissing,
)
from pipelines.bundle.lanes import Unreadable
from pipelines.bundle.media import Medium
from pipelines.bundle.office import kept, kept_files, office
from pipelines.bundle.opening import Opened
from pipelines.bundle.plan import Plan
from pipelines.bundle.reader import MAX_SMALL, OWN_FILES, Bundle
from pipelines.bundle.shelf import Shelf, digest_of, read_at, shelf_of
from pipelines.bundle.tables import Chunk
from pipelines.bundle.volumes import demand_no_volume, lay_out, reveal, write_documents
from pipelines.workplace import Workplace
from registry.blobs import Progress, no_progress
from registry.bulk import BulkWriter, space_watched
from signing.envelope import sign

_BLOCK = 1 << 20  # bytes
_PER_CHUNK = 70 + 150 + 70  # bytes of plan.json and SHA256SUMS for a chunk, and some for parity


@dataclass(frozen=True)
class Resplit:
    """A bundle on other media."""

    bundle: str
    folders: tuple[Path, ...]
    parity: tuple[int, ...]  # the volumes that hold parity alone
    bytes: int


def resplit(
    work: Workplace,
    dirs: Sequence[Path],
    *,
    out: Path,
    medium: Medium | None,
    parity: int = 0,
    progress: Progress = no_progress,
    expect: Progress = no_progress,
) -> Resplit:
    """Write the bundle in these folders to `out`, divided for `medium`.

    Raises:
        NotOurBundle: this station's key is not the packer that the bundle names.
        UndeclaredFile: somebody's file lies among the bundle's, and would go onto the new media.
        VolumeMissing, ChunksMissing, ChunksDamaged: not all of it is here, or not as it was packed.
        HomeBusy: bundles are written at this home by another command.
        OutputUnusable, VolumeTooSmall, ParityImpossible, SpaceShort: as for `create_bundle`.
    """
    with work.home.busy("export"):
        return _resplit(work, dirs, out=out, medium=medium, parity=parity, progress=progress, expect=expect)


def _resplit(
    work: Workplace,
    dirs: Sequence[Path],
    *,
    out: Path,
    medium: Medium | None,
    parity: int,
    progress: Progress,
    expect: Progress,
) -> Resplit:
    opened = opening.open_untrusted(reader.gather(dirs), work)
    bundle = opened.bundle
    demand_packer(work, bundle)
    _demand_clean(work, opened)
    shelf = shelf_of(bundle, opened.volumes, out / ".nowhere")
    _demand_all(opened, shelf)
    hidden = claim(out, bundle.export.bundle)
    try:
        with space_watched(out, sum(chunk.size for chunk in bundle.table.chunks)):
            expect(sum(chunk.size for chunk in bundle.table.chunks) * (2 if parity else 1))
            copy_chunks(shelf, bundle.table.chunks, hidden / "pack", progress)
            numbers = range(len(bundle.table.chunks))
            made, size = divide(
                work, bundle, numbers, hidden=hidden, medium=medium, parity=parity, progress=progress
            )
            folders = reveal(hidden, out, made)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
    apart = tuple(volume.index for volume in made.volumes if volume.parity and not volume.chunks)
    return Resplit(bundle.export.bundle, folders, apart, size)


def divide(
    work: Workplace,
    bundle: Bundle,
    numbers: Collection[int],
    *,
    hidden: Path,
    medium: Medium | None,
    parity: int = 0,
    repairs: bool = False,
    progress: Progress = no_progress,
) -> tuple[Plan, int]:
    """Divide chunks that lie in `hidden/pack` among media, under the documents that were signed before.

    Args:
        numbers: of the chunks; a repair holds only some.

    Returns: the plan of what now lies in `hidden`, ready to be revealed, and the bytes of all volumes.
    """
    chunks, chosen = bundle.table.chunks, frozenset(numbers)
    small = sum(map(len, bundle.small.values())) + len(chosen) * _PER_CHUNK + (64 << 10)
    small = small if medium is None else medium.documents(small, bundle.small)
    items = [[number for number in item if number in chosen] for item in items_of(bundle)]
    layout = lay_out(
        plan.split(items, chunks, medium=medium, small=small),
        chunks,
        folder=lambda index: hidden / f"volume-{index:02d}" / bundle.export.bundle,
        place=lambda chunk: hidden / "pack" / chunk.path,
        parity=parity,
        medium=medium,
        small=small,
        progress=progress,
    )
    made = layout.plan(bundle.export.bundle, bundle.digest, repairs=repairs)
    signature = sign(plan.encode_plan(made), plan.PLAN_TYPE, work.station).to_json()
    written = write_documents(layout, made, signature, bundle.chunks, bundle.small)
    return made, written + sum(volume.bytes for volume in made.volumes)


def demand_packer(work: Workplace, bundle: Bundle) -> None:
    """Raise `NotOurBundle` unless this station packed the bundle."""
    if bundle.export.packer.get("keyid") != work.station.public_key.keyid:
        raise NotOurBundle(
            bundle.export.bundle, problem="another station packed it, and signs where things lie"
        )


def items_of(bundle: Bundle) -> list[list[int]]:
    """Return the chunk numbers of each version, and of what belongs to none."""
    items = [
        [
            number
            for blob in sorted(bundle.blobs_of(release))
            for number in sorted(bundle.table.chunks_of(blob))
        ]
        for release in bundle.releases
    ]
    return [*items, list(range(len(bundle.table.chunks)))]


def claim(out: Path, bundle: str) -> Path:
    """Make the hidden folder in a destination that holds no volumes and is none. Raises `OutputUnusable`."""
    demand_no_volume(out)
    for taken in (out / bundle, *sorted(out.glob("volume-*"))):
        if taken.exists():
            raise OutputUnusable(str(taken), "is there already")
    hidden = out / f".partial-{bundle}"
    try:
        shutil.rmtree(hidden, ignore_errors=True)  # of a run that died
        hidden.mkdir(parents=True)
    except OSError as exc:
        raise OutputUnusable(str(out), exc.strerror or "cannot be written to") from exc
    return hidden


def _demand_clean(work: Workplace, opened: Opened) -> None:
    """What goes onto the new media is what was packed: nobody added a file, or exchanged one that no plan names."""
    if strangers := [line for volume in opened.volumes for line in undeclared(opened.bundle, volume)]:
        raise UndeclaredFile(strangers)
    export, small = opened.bundle.export, opened.bundle.small
    folder = office(work.home, export.audience, export.bundle)
    packed = {path: kept(folder, path, max_bytes=MAX_SMALL) for path in kept_files(folder)}
    ours = {path: data for path, data in packed.items() if path not in OWN_FILES}
    if wrong := [path for path in sorted({*ours, *small}) if ours and ours.get(path) != small.get(path)]:
        raise FilesDamaged([f"{path}: not as it was packed here" for path in wrong])


def _demand_all(opened: Opened, shelf: Shelf) -> None:
    absent = [chunk.chunk for chunk in opened.bundle.table.chunks if not shelf.has(chunk.chunk)]
    for missing, indices in missing_volumes(opened.volumes, absent):
        raise VolumeMissing(opened.bundle.export.bundle, missing=indices, of=len(missing.volumes))
    if absent:
        raise ChunksMissing([opened.bundle.chunks[name].path for name in absent])


def copy_chunks(shelf: Shelf, chunks: Sequence[Chunk], folder: Path, progress: Progress) -> None:
    """Copy chunks into `folder`, each from the first place that is good. Raises `ChunksDamaged`, naming all bad ones."""
    bad = [problem for chunk in chunks if (problem := _copy(shelf, chunk, folder / chunk.path, progress))]
    if bad:
        raise ChunksDamaged(bad)


def _copy(shelf: Shelf, chunk: Chunk, place: Path, progress: Progress) -> str | None:
    problem = f"{chunk.path}: on none of the volumes given"
    view = memoryview(bytearray(min(_BLOCK, chunk.size)))
    for spot in shelf.spots(chunk.chunk):
        try:
            if digest_of(spot, chunk.size) != chunk.chunk:
                problem = f"{spot.volume}, {chunk.path}: holds other bytes"
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            with place.open("wb", buffering=0) as target, BulkWriter(target.fileno()) as writer:
                for offset in range(0, chunk.size, len(view)):
                    block = view[: min(len(view), chunk.size - offset)]
                    read_at(spot.path, block, offset)
                    writer.write(block)
                    progress(len(block))
        except Unreadable as exc:
            problem = f"{spot.volume}, {chunk.path}: {exc}"
        else:
            return None
    return problem
