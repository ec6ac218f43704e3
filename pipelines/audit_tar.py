"""The folder of `audit export` as one tar, sent while it is read: it lies on this disk no longer than that takes.

One at a time: a folder holds everything that stands behind the log, and a few of them at once would fill a disk.
"""

import shutil
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from pipelines import audit_folder
from pipelines.audit_folder import Narrowing
from pipelines.workplace import Workplace
from signing.errors import OperatorError

_BLOCK = 1 << 20  # bytes
_RECORD = 512  # bytes; the unit of tar
_one = threading.Lock()


class ExportUnderWay(OperatorError):
    """Somebody has an evidence export written just now; one at a time is made."""

    exit_code: ClassVar[int] = 183
    status: ClassVar[int] = 429
    next_step: ClassVar[str] = "Wait until it has been sent, then ask again."

    def __init__(self) -> None:
        super().__init__("another evidence export is being written at this moment")


def tarred(work: Workplace, folder: Path, narrowing: Narrowing, *, name: str) -> Iterator[bytes]:
    """Write the audit folder, and return the pieces of its tar; when they end, the folder is gone.

    Args:
        folder: not there yet.
        name: of the folder inside the tar.

    Raises:
        ExportUnderWay: another one is being made.
        NotFound, NamesInTheClear: see `audit_folder.export`.
    """
    if not _one.acquire(blocking=False):
        raise ExportUnderWay
    pieces = _pieces(folder, name)
    try:
        folder.mkdir(mode=0o700)
        audit_folder.export(work, folder, narrowing)
        next(pieces)  # begun, so that closing it, whenever that is, clears up
    except BaseException:
        _clear(folder)
        raise
    return pieces


def _pieces(folder: Path, name: str) -> Iterator[bytes]:
    try:
        yield b""
        for path in sorted(one for one in folder.rglob("*") if one.is_file()):
            yield from _member(path, f"{name}/{path.relative_to(folder).as_posix()}")
        yield bytes(2 * _RECORD)
    finally:
        _clear(folder)


def _member(path: Path, name: str) -> Iterator[bytes]:
    """One file: nothing of this machine in its head, so that the same folder makes the same tar."""
    about = tarfile.TarInfo(name)
    about.size, about.mode = path.stat().st_size, 0o644
    yield about.tobuf(tarfile.PAX_FORMAT)
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            yield block
    yield bytes(-about.size % _RECORD)


def _clear(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    _one.release()
