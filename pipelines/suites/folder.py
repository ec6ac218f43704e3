"""The texts of a suite's folder: read two levels deep, following no link, opening nothing but plain files."""

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from pipelines.suites.refusals import SuiteMalformed

MAX_BYTES = 8 << 20  # of all files together; a case is some hundred bytes
MAX_FILES = 256
FOLDERS = ("cases", "checks", "tools")
FILES = re.compile(
    r"suite\.toml|README\.md|cases/[a-z0-9][a-z0-9._-]{0,79}\.jsonl|tools/[A-Za-z0-9_-]{1,64}\.json"
    r"|checks/[a-z][a-z0-9_]{0,63}\.py"
)
ALLOWED = "a suite is suite.toml, README.md, cases/*.jsonl and tools/*.json, and nothing else"


def texts(folder: Path) -> dict[str, str]:
    """Return every file's text by its path within the folder. Raises `SuiteMalformed`, naming the file."""
    found: dict[str, str] = {}
    room = MAX_BYTES
    for path in _paths(folder):
        shown = path.relative_to(folder).as_posix()
        if len(found) >= MAX_FILES:
            raise SuiteMalformed(f"more than {MAX_FILES} files", at="suite")
        data = _plain(path, room, at=shown)
        room -= len(data)
        try:
            found[shown] = data.decode()
        except UnicodeDecodeError as exc:
            raise SuiteMalformed(f"not UTF-8 ({exc.reason})", at=shown) from exc
    return found


def _paths(folder: Path) -> Iterator[Path]:
    try:
        for entry in sorted(folder.iterdir()):
            if entry.name in FOLDERS and entry.is_dir() and not entry.is_symlink():
                yield from sorted(entry.iterdir())
            else:
                yield entry
    except OSError as exc:
        raise SuiteMalformed(f"cannot be read ({exc.strerror})", at=str(folder)) from exc


def _plain(path: Path, room: int, *, at: str) -> bytes:
    if not FILES.fullmatch(at):
        raise SuiteMalformed(ALLOWED, at=at[:200])
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)  # a FIFO would wait for ever
        with os.fdopen(handle, "rb") as stream:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise SuiteMalformed("not a plain file", at=at)
            data = stream.read(room + 1)
    except OSError as exc:
        raise SuiteMalformed(f"cannot be read ({exc.strerror})", at=at) from exc
    if len(data) > room:
        raise SuiteMalformed(f"the suite has more than {MAX_BYTES} bytes", at=at)
    return data
