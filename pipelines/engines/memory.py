"""What can be seen of the process behind a local port: which files it holds, and how it was called.

Hashing the file at a path proves what lies there, not what was loaded: somebody puts the next version in place
and forgets to restart the engine. Linux shows which files a process has mapped, and marks those that are gone.
Nothing is concluded where nothing can be seen: another user's process, or an engine that copies its weights.
Source: proc(5), `/proc/net/tcp`, `/proc/PID/fd`, `/proc/PID/maps`, `/proc/PID/cmdline`, `/proc/PID/cwd`.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

_LISTEN = "0A"
_GONE = " (deleted)"
_PROC = Path("/proc")
_MAX_COMMAND = 1 << 20  # bytes of a command line that are looked at


def holds_an_earlier_file(port: int, path: Path) -> bool:
    """Whether a process that listens on this TCP port has mapped a file of this path that is there no more."""
    gone = f"{path.resolve()}{_GONE}"
    return any(gone in _mapped(_PROC / str(process)) for process in listeners(port))


def listeners(port: int) -> Iterator[int]:
    """Yield the number of each process that listens on the port and may be looked at."""
    sockets = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    if not sockets:
        return
    for process in _PROC.iterdir():
        if not process.name.isdigit():
            continue
        with contextlib.suppress(OSError):  # it ended, or belongs to somebody else
            if any(_target(entry) in sockets for entry in (process / "fd").iterdir()):
                yield int(process.name)


def command_line(pid: int) -> tuple[str, ...]:
    """Return the words a process was called with; nothing if that cannot be seen."""
    with contextlib.suppress(OSError):
        words = (_PROC / str(pid) / "cmdline").read_bytes()[:_MAX_COMMAND].split(b"\0")
        return tuple(word.decode("utf-8", "replace") for word in words[:-1])
    return ()


def working_folder(pid: int) -> Path | None:
    """Return the folder that a process stands in, None if that cannot be seen."""
    with contextlib.suppress(OSError):
        return (_PROC / str(pid) / "cwd").readlink()
    return None


def _target(entry: Path) -> str:
    with contextlib.suppress(OSError):
        return str(entry.readlink())
    return ""


def _listening_inodes(port: int) -> Iterator[str]:
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in (_PROC / "net" / table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTEN and int(fields[1].rsplit(":", 1)[1], 16) == port:
                    yield fields[9]


def _mapped(process: Path) -> set[str]:
    """The files that a process has mapped, as the kernel writes them."""
    with contextlib.suppress(OSError):
        lines = (process / "maps").read_text("utf-8", "surrogateescape").splitlines()
        return {parts[5] for line in lines if len(parts := line.split(maxsplit=5)) == 6}
    return set()
