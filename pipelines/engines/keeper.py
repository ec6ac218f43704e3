"""A program of its own that starts one engine, keeps its log small, and notes how it ended.

    python -m pipelines.engines.keeper          {"argv", "env", "folder", "digest"} as JSON on its standard input

Apart because it lives as long as the engine and longer than the command that wanted it: an engine's log needs a
reader that throws the old part away, and an ended process needs a parent that notes its status. It answers on its
standard output, empty if the engine runs, else why not, and stays on in a session of its own.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

from signing.canonical import canonical_bytes, parse
from signing.durable import write_durably

PID, ENDED, LOG, OLD_LOG = "pid", "ended", "log", "log.1"
MAX_LOG = 4 << 20  # bytes of each of the two files
_BLOCK = 1 << 16
_BOOT = Path("/proc/sys/kernel/random/boot_id")


def boot() -> str:
    """This boot's own number: process numbers and start times begin anew with each."""
    return _BOOT.read_text().strip()


def start_of(pid: int) -> int | None:
    """When a living process started, in ticks since the boot; None if there is none. Source: proc(5), stat."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def session_of(pid: int) -> int | None:
    """Which session a process belongs to, None if there is no such process. Source: proc(5), stat."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[3])
    except OSError:
        return None


def main() -> int:
    """Start the engine, answer, and stay until it has ended."""
    wanted = parse(sys.stdin.buffer.read(), max_bytes=4 << 20, at="instructions")
    said, say = os.pipe()
    if os.fork():
        os.close(say)
        with os.fdopen(said, "rb") as answer:
            sys.stdout.buffer.write(answer.read())
        return 0
    os.close(said)
    os.setsid()
    _forget_caller()
    _keep(wanted, say)
    return 0


def _forget_caller() -> None:
    """Nothing of the caller stays open: it may be a command that somebody reads to its end."""
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)


def _keep(wanted: dict[str, Any], say: int) -> None:
    folder = Path(wanted["folder"])

    def record() -> None:
        """Runs in the engine's process just before it is the engine: no moment in which it runs unrecorded."""
        own = {"pid": os.getpid(), "started": start_of(os.getpid()), "boot": boot()}
        write_durably(folder / PID, canonical_bytes(own | {"digest": wanted["digest"]}))

    try:
        (folder / ENDED).unlink(missing_ok=True)
        process = subprocess.Popen(
            wanted["argv"],
            cwd=folder,
            env=wanted["env"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=record,  # noqa: PLW1509 - this process has one thread
        )
    except (OSError, subprocess.SubprocessError) as exc:
        os.write(say, str(exc).encode())
        return
    finally:
        os.close(say)
    assert process.stdout is not None
    copy_bounded(process.stdout, folder)
    write_durably(folder / ENDED, canonical_bytes({"pid": process.pid, "status": process.wait()}))


def copy_bounded(source: IO[bytes], folder: Path, limit: int = MAX_LOG) -> None:
    """Copy until the source ends, keeping the newest `limit` to 2 x `limit` bytes in two files."""
    while True:
        with (folder / LOG).open("ab", buffering=0) as log:
            while log.tell() < limit:
                block = os.read(source.fileno(), _BLOCK)
                if not block:
                    return
                log.write(block)
        (folder / LOG).rename(folder / OLD_LOG)


if __name__ == "__main__":
    sys.exit(main())
