"""A little space set aside in the home, so that freeing space still works when the disk is completely full.

SQLite needs some kilobytes to open its log and to record a change; where there are none, not even the question what
may be removed can be answered. Apart from `registry.home` because it is about the disk, not about where things are.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

NAME = ".reserve"
SIZE = 1 << 20  # bytes


def set_aside(home: Path) -> bool:
    """Make the reserve, if the disk has the space. Doing it again changes nothing. Returns whether it is there."""
    place = home / NAME
    if _is_there(place):
        return True
    try:
        handle = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(handle, 0, SIZE)
        finally:
            os.close(handle)
    except OSError:  # half a reserve would only take what the work needs
        with suppress(OSError):
            place.unlink(missing_ok=True)
        return False
    return True


@contextmanager
def lent(home: Path) -> Iterator[None]:
    """Give the reserve's bytes to the block when the disk is short of them, and take them back afterwards."""
    if shutil.disk_usage(home).free >= SIZE:
        yield
        return
    (home / NAME).unlink(missing_ok=True)
    try:
        yield
    finally:
        set_aside(home)


def _is_there(place: Path) -> bool:
    try:
        facts = place.lstat()
    except FileNotFoundError:
        return False
    return facts.st_size == SIZE and facts.st_blocks * 512 >= SIZE
