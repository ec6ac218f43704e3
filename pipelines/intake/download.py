"""One file of a hub into quarantine: resumed after any interruption, hashed while it comes, refused if it differs.

The Hugging Face client's own download is not used, for three things it does not do: it fetches a file from the
start after a killed run (huggingface_hub issue 4196), it does not compare the content with the listed digest
(issue 2364), and it copies once more into a cache. Its session, addresses, token and errors are used.

A file waits under a name made of what it must be, never of what the hub calls it: `<digest>`, while it is coming
`<digest>.part`. Only bytes that hash to the digest get the name.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pipelines.intake.arrival import Meter
from pipelines.intake.errors import SourceChanged
from signing.digests import BLOCK

PAUSES = (
    0.0,
    1.0,
    2.0,
    4.0,
    8.0,
)  # seconds before each further try that follows one without a single new byte


@dataclass(frozen=True)
class Listed:
    """One file as the hub lists it for a commit. Large files have a SHA-256, small ones only git's own name."""

    path: str
    size: int  # bytes
    gitoid: str  # SHA-1 of git's blob, 40 hex; for a large file that is its LFS pointer
    sha256: str | None

    @property
    def kind(self) -> str:
        """Which digest binds the content: "sha256" or "gitoid"."""
        return "gitoid" if self.sha256 is None else "sha256"

    @property
    def digest(self) -> str:
        """What the content must hash to."""
        return self.sha256 or self.gitoid


class Lost(Exception):
    """The connection ended early, or the hub asked to wait. `hub.py` names the hub in the refusal made of it."""


class Body(Protocol):
    """The answer to one request for a file's bytes."""

    start: int  # the offset at which the answer begins; 0 when the hub ignored the wish to go on

    def blocks(self) -> Iterator[bytes]:
        """Yield the bytes. Raises `Lost`."""


# From a file and the offset to begin at (bytes) to the hub's answer. Raises `Lost`, or a refusal that ends it.
Ask = Callable[[Listed, int], AbstractContextManager[Body]]


class Sums:
    """What has come of one file: its length and both digests that it could have to match."""

    def __init__(self, listed: Listed) -> None:
        self._listed = listed
        self.start_over()

    def start_over(self) -> None:
        """Forget everything that came."""
        self.size = 0
        self._sha256 = hashlib.sha256()
        # git's blob: a header with the length, then the content (gitformat: "blob SIZE NUL"). SHA-1 is all that a
        # hub says of its small files; what the manifest carries of them is their SHA-256.
        self._git = hashlib.sha1(b"blob %d\0" % self._listed.size, usedforsecurity=False)

    def update(self, block: bytes | memoryview) -> None:
        self.size += len(block)
        self._sha256.update(block)
        if self._listed.sha256 is None:
            self._git.update(block)

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest()

    @property
    def digest(self) -> str:
        """The one that `Listed.digest` is compared with."""
        return self._git.hexdigest() if self._listed.sha256 is None else self.sha256


def fetch_file(listed: Listed, room: Path, ask: Ask, meter: Meter) -> tuple[Path, str]:
    """Return where the whole file waits in `room`, and its SHA-256. A file that is there is read, not fetched.

    Raises:
        SourceChanged: the content is not the listed one. What came is removed.
        Lost: no byte came in five tries; what came before stays for the next run.
    """
    whole, part = room / listed.digest, room / f"{listed.digest}.part"
    if whole.exists():
        whole.rename(part)  # an earlier run finished it; it is compared again like the rest
    with os.fdopen(os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+b", buffering=0) as sink:
        sums = _read_again(listed, sink.fileno(), meter)
        tries = 0
        while sums.size < listed.size:
            before = sums.size
            try:
                _go_on(listed, sink.fileno(), sums, ask, meter)
            except Lost:
                tries = 0 if sums.size > before else tries + 1
                if tries >= len(PAUSES):
                    raise
                meter.pause(PAUSES[tries])
            else:
                if sums.size <= before:  # the hub says that there is no more
                    break
        os.fsync(sink.fileno())
    if (sums.size, sums.digest) != (listed.size, listed.digest):
        part.unlink()
        raise SourceChanged(
            listed.path,
            expected=f"{listed.kind} {listed.digest[:12]}, {listed.size} bytes",
            actual=f"{listed.kind} {sums.digest[:12]}, {'more' if sums.size > listed.size else sums.size} bytes",
        )
    part.rename(whole)
    return whole, sums.sha256


def _read_again(listed: Listed, handle: int, meter: Meter) -> Sums:
    """Hash what an earlier run left, so that the rest can be appended. Too much of it is no beginning: start over."""
    sums = Sums(listed)
    if os.fstat(handle).st_size > listed.size:
        os.ftruncate(handle, 0)
    while block := os.read(handle, BLOCK):
        sums.update(block)
        meter(len(block))
    return sums


def _go_on(listed: Listed, handle: int, sums: Sums, ask: Ask, meter: Meter) -> None:
    """Append what one answer brings, at most one byte more than was listed: a hub cannot fill the disk."""
    with ask(listed, sums.size) as body:
        if body.start != sums.size:
            meter(-sums.size)
            os.ftruncate(handle, 0)
            sums.start_over()
        os.lseek(handle, sums.size, os.SEEK_SET)
        for block in body.blocks():
            view = memoryview(block)[: listed.size + 1 - sums.size]
            sums.update(view)
            meter(len(view))
            while view:
                view = view[os.write(handle, view) :]
            if sums.size > listed.size:
                break


def by_digest(files: Iterable[Listed]) -> list[Listed]:
    """Return one file for each content, the largest first: a repository may hold the same bytes twice."""
    unique = {item.digest: item for item in files}
    return sorted(unique.values(), key=lambda item: (-item.size, item.path))
