"""The blob store: an OCI image layout on disk, every file named by its SHA-256 and never modified.

A blob is written to `tmp/` on the same file system while it is hashed, made durable, and only then given its
name: a reader sees the whole blob or none. Nothing here knows what the bytes mean.
Sources: DESIGN section 5; OCI image layout specification 1.1.
"""

import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from registry.bulk import BulkWriter
from registry.errors import BlobDamaged, NotFound, SpaceShort
from signing.digests import BLOCK, file_sha256, is_sha256
from signing.durable import sync_directory, write_durably

Progress = Callable[[int], None]  # called with the bytes just done


def no_progress(_count: int) -> None:
    """Say nothing."""


class BlobStore:
    """Blobs below `root`: `blobs/sha256/<hex>`, `oci-layout`, `index.json`, and `tmp/` for what is not whole yet."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.tmp = root / "tmp"
        self._blobs = root / "blobs" / "sha256"

    def create(self) -> None:
        """Make the empty layout. Doing it again changes nothing."""
        self._blobs.mkdir(parents=True, exist_ok=True)
        self.tmp.mkdir(exist_ok=True)
        if not (self.root / "oci-layout").exists():
            write_durably(self.root / "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        if not (self.root / "index.json").exists():
            self.write_index(
                b'{"manifests":[],"mediaType":"application/vnd.oci.image.index.v1+json","schemaVersion":2}'
            )

    def path(self, sha256: str) -> Path:
        """Where the blob is or would be."""
        return self._blobs / sha256

    def has(self, sha256: str) -> bool:
        """Say whether the whole blob is held (by name; `verify` reads it)."""
        return self.path(sha256).is_file()

    def size(self, sha256: str) -> int:
        """Bytes. Raises `NotFound`."""
        try:
            return self.path(sha256).stat().st_size
        except FileNotFoundError as exc:
            raise NotFound("blob", sha256) from exc

    def open(self, sha256: str) -> BinaryIO:
        """Open for reading, unbuffered. Raises `NotFound`."""
        try:
            return self.path(sha256).open("rb", buffering=0)
        except FileNotFoundError as exc:
            raise NotFound("blob", sha256) from exc

    def read(self, sha256: str, *, max_bytes: int) -> bytes:
        """Return a small blob, checked against its name. Raises `NotFound`, `BlobDamaged`."""
        with self.open(sha256) as stream:
            data = stream.read(max_bytes + 1)
        actual = hashlib.sha256(data).hexdigest()
        if actual != sha256:
            raise BlobDamaged(str(self.path(sha256)), expected=sha256, actual=actual)
        return data

    def held(self) -> Iterator[str]:
        """Yield the name of every blob."""
        yield from (entry.name for entry in os.scandir(self._blobs) if len(entry.name) == 64)

    def sizes(self) -> dict[str, int]:
        """Every blob with its bytes: regular files under such names. What else lies there is none of ours."""
        with os.scandir(self._blobs) as entries:
            return {
                entry.name: entry.stat(follow_symlinks=False).st_size
                for entry in entries
                if is_sha256(entry.name) and entry.is_file(follow_symlinks=False)
            }

    def remove(self, names: Iterable[str]) -> None:
        """Take blobs away. A name that is a link, or no blob's, is left alone; one that is gone already is no error.

        The caller holds `Home.store_alone` and has made sure that nobody needs them. Not durable: a blob that is back
        after a power cut is one that the next removal finds.
        """
        for name in names:
            path = self.path(name)
            if is_sha256(name) and path.is_file() and not path.is_symlink():
                path.unlink()

    def verify(self, sha256: str) -> None:
        """Read the whole blob and compare. Raises `NotFound`, `BlobDamaged`."""
        if not self.has(sha256):
            raise NotFound("blob", sha256)
        actual = file_sha256(self.path(sha256))
        if actual != sha256:
            raise BlobDamaged(str(self.path(sha256)), expected=sha256, actual=actual)

    def put(self, data: bytes) -> str:
        """Store small bytes and return their name."""
        name = hashlib.sha256(data).hexdigest()
        if not self.has(name):
            with self._temporary() as (path, stream):
                stream.write(data)
                self._settle(path, stream, name)
        return name

    def take(self, source: BinaryIO, *, progress: Progress = no_progress) -> tuple[str, int]:
        """Copy a stream in while hashing it, once. Returns (sha256, bytes)."""
        with self._temporary() as (path, stream):
            name, size = copy_hashing(source, stream.fileno(), progress=progress)
            self._settle(path, stream, name)
        return name, size

    def adopt(self, path: Path, sha256: str) -> None:
        """Give a finished file on this file system its name. The caller has hashed it and made it durable."""
        path.chmod(0o444)
        path.rename(self.path(sha256))
        sync_directory(self._blobs)

    def write_index(self, data: bytes) -> None:
        """Replace `index.json` whole."""
        write_durably(self.root / "index.json", data)

    def demand_space(self, needed: int) -> None:
        """Raise `SpaceShort` when fewer than `needed` bytes are free here."""
        free = shutil.disk_usage(self.root).free
        if needed > free:
            raise SpaceShort(str(self.root), needed=needed, free=free)

    def _settle(self, path: Path, stream: BinaryIO, name: str) -> None:
        stream.flush()
        os.fsync(stream.fileno())
        self.adopt(path, name)

    @contextmanager
    def _temporary(self) -> Iterator[tuple[Path, BinaryIO]]:
        path = self.tmp / f"{os.getpid()}-{secrets.token_hex(8)}"
        with path.open("xb", buffering=0) as stream:
            try:
                yield path, stream
            finally:
                path.unlink(missing_ok=True)


def copy_hashing(source: BinaryIO, handle: int, *, progress: Progress = no_progress) -> tuple[str, int]:
    """Copy a whole stream into a new file while hashing it: one block is hashed while others go to the disk.

    Memory is the writer's buffers. Returns (sha256 in hex, bytes).
    """
    digest, total = hashlib.sha256(), 0
    with BulkWriter(handle) as target:
        while count := source.readinto(space := target.space()[:BLOCK]):  # type: ignore[attr-defined]
            digest.update(space[:count])
            target.wrote(count)
            total += count
            progress(count)
    return digest.hexdigest(), total
