"""The plain tools that Tidegate is measured against, each a command line of its own.

The two that no tool of the system gives are programs here: Python's hashlib on all cores, and bare writing.
"""

import hashlib
import os
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SHA256SUM = "sha256sum"
SHA256SUM_ALL = "sha256sum, all cores"
HASHLIB_ALL = "hashlib, all cores"
COPY = "cp + fsync"
WRITE = "write + fsync"
WRITE_BEHIND = "write early + fsync"  # the fastest way to write that we know: what the disk allows at best

_COPY = 'cp --reflink=never -r "$1" "$2" && find "$2" -type f -exec sync {} +'  # sync FILE… is one fsync each
_XARGS = 'cores=$1; shift; printf "%s\\0" "$@" | xargs -0 -n 1 -P "$cores" sha256sum'
_WRITE_BLOCK = 256 << 10  # bytes
_STEP, _KEPT = (
    8 << 20,
    64 << 20,
)  # bytes between two words to the system, and bytes before that they speak of too


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0))


def commands(model: Path, scratch: Path) -> Mapping[str, Sequence[str]]:
    """Return peer to command line.

    Args:
        model: the folder whose bytes all of them move.
        scratch: a path on the disk under test where two of them write; the caller removes it after each.
    """
    files = [str(path) for path in sorted(model.iterdir(), key=lambda path: -path.stat().st_size)]
    size = sum(path.stat().st_size for path in model.iterdir())
    here = [sys.executable, "-m", "benchmarks.peers"]
    return {
        SHA256SUM: ["sha256sum", *files],
        SHA256SUM_ALL: ["sh", "-c", _XARGS, "sh", str(cores()), *files],
        HASHLIB_ALL: [*here, "hash", *files],
        COPY: ["sh", "-c", _COPY, "sh", str(model), str(scratch)],
        WRITE: [*here, "write", str(scratch), str(size)],
        WRITE_BEHIND: [*here, "write-behind", str(scratch), str(size)],
    }


def _hash(paths: Sequence[str]) -> None:
    def one(path: str) -> str:
        with Path(path).open("rb", buffering=0) as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()

    with ThreadPoolExecutor(cores()) as pool:
        for digest in pool.map(one, paths):
            print(digest)


def _write(folder: Path, size: int, *, behind: bool) -> None:
    """Write `size` incompressible bytes as the model has them, in eight files one after the other.

    With `behind`, the system is told on the way to write back and to forget what is on the disk.
    """
    block = os.urandom(_WRITE_BLOCK)
    folder.mkdir()
    for number in range(8):
        with (folder / str(number)).open("xb", buffering=0) as target:
            done, told = 0, 0
            while done < size // 8:
                done += target.write(block[: size // 8 - done])
                if behind and done - told >= _STEP:
                    begin = max(0, told - _KEPT)
                    os.posix_fadvise(target.fileno(), begin, done - begin, os.POSIX_FADV_DONTNEED)
                    told = done
            os.fsync(target.fileno())


if __name__ == "__main__":
    if sys.argv[1] == "hash":
        _hash(sys.argv[2:])
    else:
        _write(Path(sys.argv[2]), int(sys.argv[3]), behind=sys.argv[1] == "write-behind")
