"""Hands a version's files to an engine: a plain folder, or a Hugging Face cache that works offline.

Every blob is read and compared with its name before it is handed over. Files are cloned (reflink) where the
file system can, else hard-linked, else copied; a folder appears whole or not at all. A hard link shares the
blob's bytes: it is read-only, and `tidegate doctor --deep` reads the blobs again.

Source: research registries.md section 2.3 (the cache's layout, `trees/` included).
"""

import errno
import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import ClassVar

from pipelines.errors import JudgingRefused
from pipelines.workplace import Workplace
from registry import manifests
from registry.blobs import BlobStore, Progress, no_progress, sync_directory, write_durably
from registry.entities import Version
from registry.errors import BlobDamaged, NotFound
from registry.manifests import FileEntry, Manifest
from registry.names import Ref
from signing.digests import BLOCK, file_sha256

_FICLONE = 0x40049409  # linux/fs.h


class Layout(StrEnum):
    """How the files are laid out."""

    PLAIN = "plain"
    HF_CACHE = "hf-cache"


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
        expect: called once, before any progress, with the bytes that will be read.

    Raises:
        NotFound: no such version, or the tier serves nothing.
        Withdrawn: one of them may not be served; nothing is handed over then.
        FolderTaken, BlobDamaged: see `plain`.
    """
    chosen = _chosen(work, what)
    expect(sum(version.size for version, _ in chosen))
    done = []
    for version, tiers in chosen:
        manifest = manifests.decode(version.manifest.encode())
        ref = f"{version.model}@{version.ordinal}"
        if layout is Layout.HF_CACHE:
            done.append(hf_cache(work.blobs, manifest, folder, ref=ref, refs=tiers, progress=progress))
        else:
            place = folder / version.model if "/" not in what else folder
            done.append(plain(work.blobs, manifest, place, ref=ref, progress=progress))
    return done


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
        return [
            (version, [pin.tier for pin in pins if pin.version == version.digest]) for version in versions
        ]


def plain(
    blobs: BlobStore, manifest: Manifest, folder: Path, *, ref: str, progress: Progress = no_progress
) -> HandedOver:
    """Write the files below `folder`, under their own paths.

    Raises:
        FolderTaken: the folder exists and holds anything but exactly these files.
        BlobDamaged, NotFound: a blob is not what its name says; nothing is handed over then.
    """
    _verify(blobs, manifest.files, progress)
    if folder.exists() and any(folder.iterdir()):
        if _same_files(folder, manifest):
            return HandedOver(ref, folder, len(manifest.files), manifest.size, "already there")
        raise FolderTaken(str(folder), "holds other files")
    partial = folder.with_name(f".{folder.name}.{secrets.token_hex(6)}")
    try:
        how = _fill(blobs, [(entry, partial / entry.path) for entry in manifest.files])
        if folder.exists():
            folder.rmdir()
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    sync_directory(folder.parent)
    return HandedOver(ref, folder, len(manifest.files), manifest.size, how)


def hf_cache(
    blobs: BlobStore,
    manifest: Manifest,
    cache: Path,
    *,
    ref: str,
    refs: Sequence[str],
    progress: Progress = no_progress,
) -> HandedOver:
    """Add a version to a Hugging Face hub cache (`HF_HUB_CACHE`), and point `refs` (tiers) at it.

    Adding again changes nothing; a ref that pointed elsewhere moves, the files it pointed to stay.

    Raises:
        BlobDamaged, NotFound: as `plain`.
    """
    _verify(blobs, manifest.files, progress)
    repository = cache / f"models--{manifest.model.replace('/', '--')}"
    snapshot = repository / "snapshots" / manifest.revision
    wanted = [(entry, repository / "blobs" / entry.sha256) for entry in manifest.files]
    how = _fill(blobs, [(entry, path) for entry, path in wanted if not path.exists()])
    for entry in manifest.files:
        link = snapshot / entry.path
        link.parent.mkdir(parents=True, exist_ok=True)
        ups = "/".join([".."] * (2 + entry.path.count("/")))
        _point(link, f"{ups}/blobs/{entry.sha256}")
    (repository / "trees").mkdir(exist_ok=True)
    write_durably(repository / "trees" / f"{manifest.revision}.json", _tree(manifest))
    (repository / "refs").mkdir(exist_ok=True)
    for name in refs:
        write_durably(repository / "refs" / name, manifest.revision.encode())
    return HandedOver(ref, snapshot, len(manifest.files), manifest.size, how)


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


def _point(link: Path, target: str) -> None:
    if link.is_symlink() and str(link.readlink()) == target:
        return
    temporary = link.with_name(f".{link.name}.{secrets.token_hex(6)}")
    temporary.symlink_to(target)
    temporary.rename(link)


def _verify(blobs: BlobStore, files: Sequence[FileEntry], progress: Progress) -> None:
    """Read every blob, on all cores."""

    def one(entry: FileEntry) -> None:
        blobs.verify(entry.sha256)
        progress(entry.size)

    unique = {entry.sha256: entry for entry in files}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(one, unique.values()))


def _fill(blobs: BlobStore, wanted: Sequence[tuple[FileEntry, Path]]) -> str:
    ways: list[tuple[str, Callable[[Path, Path], None]]] = [
        ("reflink", _clone),
        ("hard link", os.link),
        ("copy", _copy),
    ]
    for entry, path in wanted:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{secrets.token_hex(6)}")
        while True:
            try:
                ways[0][1](blobs.path(entry.sha256), temporary)
                temporary.rename(path)
                break
            except OSError as exc:
                temporary.unlink(missing_ok=True)
                # What this pair of file systems cannot do for one file it cannot do for the next.
                if len(ways) == 1 or exc.errno not in (
                    errno.EXDEV,
                    errno.ENOTSUP,
                    errno.EINVAL,
                    errno.ENOTTY,
                    errno.EPERM,
                    errno.EMLINK,
                ):
                    raise
                ways.pop(0)
    return ways[0][0]


def _clone(source: Path, target: Path) -> None:
    with source.open("rb") as reading, target.open("xb") as writing:
        fcntl.ioctl(writing.fileno(), _FICLONE, reading.fileno())


def _copy(source: Path, target: Path) -> None:
    with source.open("rb", buffering=0) as reading, target.open("xb", buffering=0) as writing:
        size = os.fstat(reading.fileno()).st_size
        done = 0
        while done < size:
            done += os.sendfile(writing.fileno(), reading.fileno(), done, min(BLOCK, size - done))
        os.fsync(writing.fileno())
    # The one way that writes bytes anew is read back.
    actual = file_sha256(target)
    if actual != source.name:
        raise BlobDamaged(str(target), expected=source.name, actual=actual)


def _same_files(folder: Path, manifest: Manifest) -> bool:
    found = {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if not path.is_dir() or path.is_symlink()
    }
    wanted = {entry.path: entry for entry in manifest.files}
    if found != set(wanted):
        return False
    return all(
        not (folder / path).is_symlink()
        and (folder / path).stat().st_size == entry.size
        and file_sha256(folder / path) == entry.sha256
        for path, entry in wanted.items()
    )
