"""Hands a version's files to an engine: a plain folder, a Hugging Face cache, Ollama's folder, an OCI layout.

Every blob is read and compared with its name before it is handed over. Files are cloned (reflink) where the
file system can, else hard-linked, else copied; a folder appears whole or not at all. A hard link shares the
blob's bytes: it is read-only, and `tidegate doctor --deep` reads the blobs again.

A plain folder that is there already is believed by this, file by file: it is the blob itself (a hard link: the same
inode), or a clone that nobody wrote to (size and time of change to the nanosecond are the blob's, which only cloning
here gives it), and its size is the manifest's. Any other file is read whole and compared. What this does not see is a disk
that lost bits, or somebody who wrote into the one inode or set a clone's time back: a rollout reads what the engine
has loaded before it sends anybody there, and `tidegate doctor --deep` reads every blob. Caches and layouts are always
read.

Source: research registries.md section 2.3 (the cache's layout, `trees/` included).
"""

import errno
import json
import os
import secrets
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import ClassVar

from pipelines.errors import JudgingRefused
from pipelines.images.folders import OCI, OLLAMA, Placement, lay_out, oci_placement, ollama_placement
from pipelines.placing import fill, holds, verify
from pipelines.removed import demand_bytes
from pipelines.workplace import Workplace
from registry import manifests
from registry.blobs import BlobStore, Progress, no_progress
from registry.entities import Version
from registry.errors import NotFound
from registry.manifests import FileEntry, Manifest
from registry.names import Ref
from signing.digests import file_sha256
from signing.durable import sync_directory, write_durably


class Layout(StrEnum):
    """How the files are laid out."""

    PLAIN = "plain"
    HF_CACHE = "hf-cache"
    OLLAMA = "ollama"
    OCI = "oci"


class FolderTaken(JudgingRefused):
    """The folder holds something that was not handed over from here."""

    exit_code: ClassVar[int] = 75
    next_step: ClassVar[str] = "Name a new folder, or remove this one if nothing is served from it."

    def __init__(self, folder: str, problem: str) -> None:
        super().__init__(f"{folder}: {problem}")
        self.folder, self.problem = folder, problem


class Withdrawn(JudgingRefused):
    """A withdrawn version is handed to nobody."""

    exit_code: ClassVar[int] = 76
    next_step: ClassVar[str] = "Hand over another version; `tidegate pins` shows what each tier serves."

    def __init__(self, ref: str, reason: str) -> None:
        super().__init__(f"{ref} is withdrawn: {reason}")
        self.ref, self.reason = ref, reason


@dataclass(frozen=True)
class HandedOver:
    """Where one version's files are now."""

    ref: str
    folder: Path  # the folder that an engine is pointed at
    files: int
    size: int  # bytes
    how: str  # "reflink", "hard link" or "copy": the most costly one that was needed


def hand_over(
    work: Workplace,
    what: str,
    folder: Path,
    *,
    layout: Layout,
    progress: Progress = no_progress,
    expect: Progress = no_progress,
) -> list[HandedOver]:
    """Hand over one version (`namespace/name@3`), or everything that a tier serves.

    Args:
        expect: called once, before any progress, with the bytes of what is not there yet: they will be read.

    Raises:
        NotFound: no such version, or the tier serves nothing.
        Withdrawn: one of them may not be served.
        BytesRemoved: the bytes of one of them are not here any more.
        NotForOllama: one of them is nothing that Ollama could load.
        FolderTaken: a place holds anything but exactly these files.
        BlobDamaged: a blob is not what its name says.
        HomeBusy: bytes are being removed at this moment.

    None of these hands anything over: all files of all versions are looked at first.
    """
    if Path(os.path.realpath(folder)).is_relative_to(os.path.realpath(work.home.path)):
        raise FolderTaken(str(folder), "lies inside the home, where only Tidegate writes")
    with work.home.using_store():
        return _hand_over(work, what, folder, layout=layout, progress=progress, expect=expect)


def _hand_over(
    work: Workplace, what: str, folder: Path, *, layout: Layout, progress: Progress, expect: Progress
) -> list[HandedOver]:
    if layout in (Layout.OLLAMA, Layout.OCI):
        return _images(work, what, folder, layout=layout, progress=progress, expect=expect)
    chosen = [
        (manifests.decode(version.manifest.encode()), f"{version.model}@{version.ordinal}", tiers)
        for version, tiers in _chosen(work, what)
    ]
    places = [
        _repository(folder, manifest) / "snapshots" / manifest.revision
        if layout is Layout.HF_CACHE
        else (folder if "/" in what else folder / manifest.model)
        for manifest, _, _ in chosen
    ]
    there = [
        _is_there(work.blobs, place, manifest, layout)
        for place, (manifest, _, _) in zip(places, chosen, strict=True)
    ]
    new = [one for one, held in zip(chosen, there, strict=True) if not held or layout is Layout.HF_CACHE]
    expect(sum(manifest.size for manifest, _, _ in new))
    verify(work.blobs, [entry for manifest, _, _ in new for entry in manifest.files], progress)
    done = []
    for place, held, (manifest, ref, tiers) in zip(places, there, chosen, strict=True):
        if layout is Layout.HF_CACHE:
            how = _hf_cache(work.blobs, manifest, folder, refs=tiers)
        else:
            how = "already there" if held else _plain(work.blobs, manifest, place)
        done.append(HandedOver(ref, place, len(manifest.files), manifest.size, how))
    return done


def _images(
    work: Workplace, what: str, folder: Path, *, layout: Layout, progress: Progress, expect: Progress
) -> list[HandedOver]:
    """Add versions to a folder of images, and point their names at them. Files of other images stay."""
    form = OLLAMA if layout is Layout.OLLAMA else OCI
    if problem := form.problem(folder):
        raise FolderTaken(str(folder), problem)
    placements: list[Placement] = []
    for version, tiers in _chosen(work, what):
        if layout is Layout.OLLAMA:
            placements.append(ollama_placement(work.blobs, version, tiers))
        else:
            with work.store.view() as view:
                placements.append(oci_placement(view, work.blobs, version, tiers))
    files = {entry.sha256: entry for placement in placements for entry in placement.files}
    expect(sum(entry.size for entry in files.values()))
    verify(work.blobs, list(files.values()), progress)
    ways = lay_out(work.blobs, form, placements, folder)
    return [
        HandedOver(one.ref, folder, len(one.files), sum(entry.size for entry in one.files), how)
        for one, how in zip(placements, ways, strict=True)
    ]


def _chosen(work: Workplace, what: str) -> list[tuple[Version, list[str]]]:
    """Each version with the tiers that serve it."""
    with work.store.view() as view:
        pins = view.pins()
        if "/" in what:
            versions = [view.version(Ref.parse(what))]
        else:
            view.tier(what)
            refs = [Ref(pin.model, tier=what) for pin in pins if pin.tier == what]
            versions = [view.version(ref) for ref in refs]
            if not versions:
                raise NotFound("version served by the tier", what)
        for version in versions:
            withdrawal = view.withdrawal(version.digest)
            if withdrawal is not None:
                raise Withdrawn(f"{version.model}@{version.ordinal}", withdrawal.reason)
            demand_bytes(work, view, version)
        return [
            (version, [pin.tier for pin in pins if pin.version == version.digest]) for version in versions
        ]


def _plain(blobs: BlobStore, manifest: Manifest, folder: Path) -> str:
    """Write the files below `folder`, under their own paths."""
    partial = folder.with_name(f".{folder.name}.{secrets.token_hex(6)}")
    try:
        how = fill(blobs, [(entry, partial / entry.path) for entry in manifest.files])
        _appear(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return how


def _hf_cache(blobs: BlobStore, manifest: Manifest, cache: Path, *, refs: Sequence[str]) -> str:
    """Add a version to a Hugging Face hub cache (`HF_HUB_CACHE`), and point `refs` (tiers) at it.

    Adding again changes nothing; a ref that pointed elsewhere moves, the files it pointed to stay. A blob that is
    in the cache already is believed only if it is the store's own file or reads as its name says.
    """
    repository = _repository(cache, manifest)
    snapshot = repository / "snapshots" / manifest.revision
    unique = {entry.sha256: entry for entry in manifest.files}
    wanted = [(entry, repository / "blobs" / name) for name, entry in unique.items()]
    how = fill(blobs, [(entry, path) for entry, path in wanted if not holds(blobs, entry, path)])
    sync_directory(repository / "blobs")
    for name in ("trees", "snapshots", "refs"):
        (repository / name).mkdir(exist_ok=True)
    write_durably(repository / "trees" / f"{manifest.revision}.json", _tree(manifest))
    if not snapshot.exists():
        _link_snapshot(manifest, repository, snapshot)
    for name in refs:
        write_durably(repository / "refs" / name, manifest.revision.encode())
    return how


def _repository(cache: Path, manifest: Manifest) -> Path:
    return cache / f"models--{manifest.model.replace('/', '--')}"


def _link_snapshot(manifest: Manifest, repository: Path, snapshot: Path) -> None:
    """Make the folder of links beside, at the same depth, where no client looks; then let it appear."""
    partial = repository / f".partial.{secrets.token_hex(6)}"
    try:
        for entry in manifest.files:
            link = partial / snapshot.name / entry.path
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(_target(entry))
        _appear(partial / snapshot.name, snapshot)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _target(entry: FileEntry) -> str:
    return "/".join([".."] * (2 + entry.path.count("/"))) + f"/blobs/{entry.sha256}"


def _appear(partial: Path, folder: Path) -> None:
    """Give a finished folder its name. Raises `FolderTaken` when somebody was quicker."""
    try:
        partial.rename(folder)
    except OSError as exc:
        if exc.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        raise FolderTaken(str(folder), "another command has just filled it") from exc
    sync_directory(folder.parent)


def _tree(manifest: Manifest) -> bytes:
    """What a client needs to see that the snapshot is whole (huggingface_hub's tree cache, format version 1)."""
    files = {
        entry.path: {
            "size": entry.size,
            "blob_id": entry.sha256,
            "lfs_sha256": entry.sha256,
            "lfs_size": entry.size,
        }
        for entry in manifest.files
    }
    return json.dumps({"format_version": 1, "files": files}, sort_keys=True).encode()


def _is_there(blobs: BlobStore, place: Path, manifest: Manifest, layout: Layout) -> bool:
    """Whether the place holds exactly these files already. Raises `FolderTaken` if it holds anything else."""
    if not place.is_symlink() and not place.exists():
        return False
    if place.is_symlink() or not place.is_dir():
        raise FolderTaken(str(place), "is not a folder")
    found = {
        path.relative_to(place).as_posix()
        for path in place.rglob("*")
        if path.is_symlink() or not path.is_dir()
    }
    if not found and layout is Layout.PLAIN and not any(place.iterdir()):
        return False
    wanted = {entry.path for entry in manifest.files}
    if found - wanted:
        raise FolderTaken(str(place), f"holds other files ({min(found - wanted)})")
    if wanted - found:
        raise FolderTaken(str(place), f"holds only a part of the files ({min(wanted - found)} is missing)")
    for entry in manifest.files:
        path = place / entry.path
        if not (_same_link(path, entry) if layout is Layout.HF_CACHE else _same_file(blobs, path, entry)):
            raise FolderTaken(str(place), f"holds another {entry.path}")
    return True


def _same_link(path: Path, entry: FileEntry) -> bool:
    return path.is_symlink() and str(path.readlink()) == _target(entry)


def _same_file(blobs: BlobStore, path: Path, entry: FileEntry) -> bool:
    if path.is_symlink() or not path.is_file() or path.stat().st_size != entry.size:
        return False
    return _stores_own(path, blobs.path(entry.sha256)) or file_sha256(path) == entry.sha256


def _stores_own(path: Path, blob: Path) -> bool:
    """Whether a file is the blob itself, or its clone with the times that cloning gave it."""
    if not blob.is_file():
        return False
    here, there = path.stat(), blob.stat()
    if (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino):
        return True
    return (here.st_size, here.st_mtime_ns) == (there.st_size, there.st_mtime_ns)
