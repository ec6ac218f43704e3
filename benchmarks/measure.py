"""Runs a command as a child of its own and says what it cost."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Cost:
    """What one run took."""

    wall: float  # seconds
    cpu: float  # seconds, user and system, children included
    peak: int  # bytes resident at most (of the largest process)


class CommandFailed(Exception):
    """A measured command ended with another code than 0."""


def run(command: Sequence[str], *, environment: Mapping[str, str] | None = None) -> Cost:
    """Run to the end and measure. Raises `CommandFailed` with what the command said.

    `ru_maxrss` of a child starts from what its parent had at the fork: this process has to stay small.
    """
    began = time.perf_counter()
    with subprocess.Popen(
        command,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
    ) as child:
        assert child.stdout is not None
        said = child.stdout.read()
        _pid, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise CommandFailed(f"{' '.join(command)}\nended with {child.returncode}:\n{said.decode()}")
    wall = time.perf_counter() - began
    return Cost(wall, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024)


def settle() -> None:
    """Write everything back, so that no run pays for the one before it."""
    os.sync()


def warm(folder: Path) -> None:
    """Read every file below `folder`, so that its bytes are in the page cache."""
    for path in _files(folder):
        with path.open("rb", buffering=0) as stream:
            while stream.read(1 << 20):
                pass


def chill(folder: Path) -> None:
    """Drop the files below `folder` from the page cache; they have been synced."""
    for path in _files(folder):
        with path.open("rb", buffering=0) as stream:
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file()]


def machine() -> dict[str, str]:
    """What a reader needs to judge the figures; no names and no paths."""
    release = os.uname()
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / (1 << 30)
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    return {
        "cores": str(len(os.sched_getaffinity(0))),
        "processor": model,
        "memory": f"{memory:.0f} GiB",
        "system": f"{release.sysname} {release.machine}",
        "python": sys.version.split()[0],
    }
