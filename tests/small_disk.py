"""A real file system of a few megabytes, and how it is filled to its last byte."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def mounted(place: Path, *, megabytes: int) -> Iterator[Path]:
    """Mount one at `place` for the time of the block; without the right to mount, the test is skipped."""
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(place)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"needs the right to mount: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def fill(place: Path) -> None:
    """Write until not one more byte goes in."""
    with (place / "ballast").open("wb", buffering=0) as stream:
        for block in (1 << 20, 4096, 1):
            try:
                while stream.write(b"x" * block) == block:
                    pass
            except OSError:
                continue
    assert 0 == shutil.disk_usage(place).free
