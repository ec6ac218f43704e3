"""Puts a blob where somebody will read it: cloned (reflink) where the file system can, else linked, else copied.

Apart from `pipelines.materialise` because folders, caches and image layouts are filled in the same way.
"""

import errno
import fcntl
import os
import secrets
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from registry.blobs import BlobStore, Progress
from registry.errors import BlobDamaged
from registry.manifests import FileEntry
from signing.digests import BLOCK, file_sha256

_FICLONE = 0x40049409  # linux/fs.h


def holds(blobs: BlobStore, entry: FileEntry, path: Path) -> bool:
    """Whether a file that is there already is the blob: the store's own, or one that reads as its name says."""
    if path.is_symlink() or not path.is_file():
        return False
    return path.samefile(blobs.path(entry.sha256)) or file_sha256(path) == entry.sha256


def verify(blobs: BlobStore, files: Sequence[FileEntry], progress: Progress) -> None:
    """Read every blob, on all cores."""

    def one(entry: FileEntry) -> None:
        blobs.verify(entry.sha256)
        progress(entry.size)

    unique = {entry.sha256: entry for entry in files}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(one, unique.values()))


def fill(blobs: BlobStore, wanted: Sequence[tuple[FileEntry, Path]]) -> str:
    """Put each blob where it is wanted. Returns the way that it took."""
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
    return ways[0][0] if wanted else "already there"


def _clone(source: Path, target: Path) -> None:
    with source.open("rb") as reading, target.open("xb") as writing:
        fcntl.ioctl(writing.fileno(), _FICLONE, reading.fileno())
    told = source.stat()
    os.utime(target, ns=(told.st_atime_ns, told.st_mtime_ns))


def _copy(source: Path, target: Path) -> None:
    with source.open("rb", buffering=0) as reading, target.open("xb", buffering=0) as writing:
        size = os.fstat(reading.fileno()).st_size
        done = 0
        while done < size:
            count = os.sendfile(writing.fileno(), reading.fileno(), done, min(BLOCK, size - done))
            if not count:
                break  # the source became shorter: what was read is compared below
            done += count
        os.fsync(writing.fileno())
    # The one way that writes bytes anew is read back.
    actual = file_sha256(target)
    if actual != source.name:
        raise BlobDamaged(str(target), expected=source.name, actual=actual)
