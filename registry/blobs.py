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
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

from registry.errors import BlobDamaged, NotFound, SpaceShort
from signing.digests import BLOCK, file_sha256, is_sha256
from signing.durable import sync_directory, write_durably

Progress = Callable[[int], None]  # called with the bytes just done
_STEP = 8 << 20  # bytes written between two words to the system
_KEPT = 64 << 20  # bytes before that which may not be on the disk yet


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
            name, size = copy_hashing(source, WriteBehind(stream.fileno()), progress=progress)
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


class Target(Protocol):
    """What a copy is written to."""

    def write(self, block: memoryview, /) -> int: ...


class WriteBehind:
    """A file that is written from its start to its end and not read soon.

    The system starts to write back at once instead of in the last fsync, and pages that are on the disk make room
    for the next ones: a copy of 60 GB does not push everything else out of memory. Measured: twice as fast.
    """

    def __init__(self, handle: int) -> None:
        self._handle, self._end, self._told = handle, 0, 0

    def write(self, block: memoryview, /) -> int:
        """Write where the last write ended. Returns the bytes taken."""
        count = os.write(self._handle, block)
        self.reached(self._end + count)
        return count

    def reached(self, end: int) -> None:
        """Note that the file's first `end` bytes are written, by whatever means."""
        self._end = end
        if end - self._told >= _STEP:
            begin = max(0, self._told - _KEPT)
            os.posix_fadvise(self._handle, begin, end - begin, os.POSIX_FADV_DONTNEED)
            self._told = end


def copy_hashing(source: BinaryIO, target: Target, *, progress: Progress = no_progress) -> tuple[str, int]:
    """Copy a whole stream while hashing it: one block is hashed while it is written and the next is read.

    Memory is two blocks. Returns (sha256 in hex, bytes).
    """
    digest, total = hashlib.sha256(), 0
    views = [memoryview(bytearray(BLOCK)), memoryview(bytearray(BLOCK))]
    pending: Future[None] | None = None
    with ThreadPoolExecutor(1, thread_name_prefix="hash") as hasher:
        while count := source.readinto(views[0]):  # type: ignore[attr-defined]
            if pending is not None:
                pending.result()
            block = views[0][:count]
            pending = hasher.submit(digest.update, block)
            write_all(target, block)
            total += count
            progress(count)
            views.reverse()
        if pending is not None:
            pending.result()
    return digest.hexdigest(), total


def write_all(target: Target, block: memoryview) -> None:
    """Write every byte: an unbuffered file may take fewer than it was given."""
    while block:
        block = block[target.write(block) :]
