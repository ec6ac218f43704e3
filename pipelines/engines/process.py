"""The engine's process: started so that it outlives the command, found again, and ended without mistaking another.

A process is ours if its number, its start time and this boot are those that were written down when it started;
a number alone is soon somebody else's. Ending goes through a handle on the process, not its number.
Sources: proc(5); pidfd_open(2), pidfd_send_signal(2).
"""

import contextlib
import fcntl
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pipelines.engines import keeper, staged
from pipelines.engines.launch import Slot
from pipelines.engines.memory import listeners
from pipelines.engines.staged import SlotUnusable, Staged
from pipelines.errors import JudgingRefused
from signing.canonical import NotCanonical, canonical_bytes, parse

KILL_SECONDS = 10.0  # after SIGKILL only a process inside the kernel is still there
_NOTE_SECONDS = 1.0
_TAIL = 1200  # bytes of the log that a refusal shows
_JOURNAL, _LOG_BEFORE = "journal.jsonl", "log.before"


class EngineProcessTrouble(JudgingRefused):
    """An engine's program is missing or cannot be run, or its process does not end."""

    exit_code: ClassVar[int] = 222
    next_step: ClassVar[str] = (
        "Look at the slot's log and at the program's path (`program` in serving.toml, `--program` of `tidegate validate`); mend that, then run the same command again."
    )

    def __init__(self, slot: Slot, problem: str) -> None:
        super().__init__(f"slot {slot.name} ({slot.folder}): {problem}")
        self.slot, self.problem = slot, problem


@dataclass(frozen=True)
class Running:
    """A living process of ours. `digest`: of what was staged when it started."""

    pid: int
    started: int
    digest: str


def start(slot: Slot) -> Running:
    """Run what is staged and return its process; the running one if that is the same. Raises as `Driver.start`."""
    with _alone(slot):
        wanted = staged.read(slot)
        there = running(slot)
        if there is not None:
            if there.digest != wanted.digest:
                raise SlotUnusable(slot, f"process {there.pid} still runs what was staged before")
            return there
        _check_free(slot)
        with step(slot, "start"):
            _spawn(slot, wanted)
        written = _written(slot)
        if written is None or written[0].digest != wanted.digest:
            raise EngineProcessTrouble(slot, "was not started")
        return written[0]  # it may have ended already; that is what `ready` finds out and tells


def _spawn(slot: Slot, wanted: Staged) -> None:
    program = shutil.which(wanted.argv[0], path=wanted.env.get("PATH"))
    if program is None:
        raise EngineProcessTrouble(slot, f"there is no program {wanted.argv[0]} on this machine")
    staged.folder_of(slot).mkdir(mode=0o700, exist_ok=True)
    _begin_log(slot)
    orders = {
        "argv": [program, *wanted.argv[1:]],
        "env": dict(wanted.env),
        "folder": str(slot.folder.resolve()),
        "digest": wanted.digest,
    }
    done = subprocess.run(
        [sys.executable, "-I", "-B", "-m", keeper.__name__],
        input=canonical_bytes(orders),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={"PATH": os.defpath, "LANG": "C.UTF-8"},
        cwd=slot.folder,
        timeout=60,
        check=False,
    )
    if done.returncode or done.stdout:
        raise EngineProcessTrouble(slot, done.stdout.decode("utf-8", "replace")[-_TAIL:] or "was not started")


def running(slot: Slot) -> Running | None:
    """Return the slot's living process, or None. A number that another process has now is nobody."""
    written = _written(slot)
    if written is None:
        return None
    found, began_in = written
    return found if began_in == keeper.boot() and keeper.start_of(found.pid) == found.started else None


def _written(slot: Slot) -> tuple[Running, str] | None:
    """The process that was written down last, and in which boot."""
    try:
        value = parse((slot.folder / keeper.PID).read_bytes(), max_bytes=4096, at=keeper.PID)
        return Running(value["pid"], value["started"], value["digest"]), value["boot"]
    except FileNotFoundError:
        return None
    except (NotCanonical, KeyError, TypeError) as exc:
        raise SlotUnusable(slot, f"the file {keeper.PID} is not ours") from exc


def serves(slot: Slot) -> bool:
    """Whether it is the slot's own process, or a child of it, that listens on the slot's port.

    Where nothing can be seen of who listens (another user's processes), a living process of ours is enough.
    """
    there = running(slot)
    if there is None:
        return False
    seen = list(listeners(slot.port))
    return not seen or any(keeper.session_of(process) == there.pid for process in seen)


def stop(slot: Slot, *, seconds: float) -> None:
    """Ask the process to end; end it and all that it started after `seconds`. Nothing if none runs.

    Raises:
        EngineProcessTrouble: it is there even so; it hangs inside the kernel or a driver.
    """
    with _alone(slot):
        there = running(slot)
        if there is None:
            return
        with step(slot, "stop"):
            family = _session(there)
            if not _end(there.pid, there.started, signal.SIGTERM, seconds):
                _end(there.pid, there.started, signal.SIGKILL, KILL_SECONDS)
            for pid, started in {**family, **_session(there)}.items():
                if not _end(pid, started, signal.SIGKILL, KILL_SECONDS):
                    raise EngineProcessTrouble(slot, f"process {pid} does not end, even when killed")
            _wait_noted(slot, there.pid)


def _wait_noted(slot: Slot, pid: int) -> None:
    """The keeper notes the status a moment later; it may be gone itself, so this is not waited for long."""
    deadline = time.monotonic() + _NOTE_SECONDS
    while _ended(slot).get("pid") != pid and time.monotonic() < deadline:
        time.sleep(0.01)


def _end(pid: int, started: int, number: signal.Signals, seconds: float) -> bool:
    """Send a signal to exactly this process and wait. Returns whether it has ended."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        if keeper.start_of(pid) != started:  # the handle is of whoever has the number now
            return True
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(handle, number)
        return bool(select.select([handle], [], [], seconds)[0])
    finally:
        os.close(handle)


def _session(there: Running) -> dict[int, int]:
    """Every living process of the engine's session with its start time: what it started and did not end."""
    numbers = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    members = {pid: keeper.start_of(pid) for pid in numbers if keeper.session_of(pid) == there.pid}
    return {pid: began for pid, began in members.items() if began is not None and began >= there.started}


def how_it_ended(slot: Slot) -> str:
    """Return the status that was noted and the last words of the log, for a person."""
    written = _written(slot)
    if written is not None:
        _wait_noted(slot, written[0].pid)
    return f"status {_ended(slot).get('status', 'not known')}: {log_tail(slot)}"


def _ended(slot: Slot) -> dict[str, Any]:
    with contextlib.suppress(OSError, NotCanonical):
        value = parse((slot.folder / keeper.ENDED).read_bytes(), max_bytes=4096)
        if isinstance(value, dict):
            return value
    return {}


def log_tail(slot: Slot) -> str:
    """Return the last words of the engine's log on one line."""
    with contextlib.suppress(OSError), (slot.folder / keeper.LOG).open("rb") as stream:
        stream.seek(max(0, stream.seek(0, os.SEEK_END) - _TAIL))
        return " ".join(stream.read().decode("utf-8", "replace").split())
    return ""


def log_head(slot: Slot, size: int = 1 << 18) -> str:
    """Return the beginning of the log, where engines say what they loaded; of the older file if there are two."""
    for name in (keeper.OLD_LOG, keeper.LOG):
        with contextlib.suppress(OSError), (slot.folder / name).open("rb") as stream:
            return stream.read(size).decode("utf-8", "replace")
    return ""


def forget_journal(slot: Slot) -> None:
    """Begin a new journal: something else is staged, and nothing runs."""
    (slot.folder / _JOURNAL).unlink(missing_ok=True)


def _begin_log(slot: Slot) -> None:
    """The new process's log begins empty, for its head is read; the last words of the one before are kept beside."""
    (slot.folder / keeper.OLD_LOG).unlink(missing_ok=True)
    with contextlib.suppress(FileNotFoundError):
        (slot.folder / keeper.LOG).rename(slot.folder / _LOG_BEFORE)


def _check_free(slot: Slot) -> None:
    """Somebody else's engine on our port would answer in place of ours."""
    family = socket.AF_INET6 if ":" in slot.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((slot.host, slot.port))
        except OSError as exc:
            raise SlotUnusable(slot, f"cannot listen on {slot.host}:{slot.port} ({exc.strerror})") from exc


@contextlib.contextmanager
def _alone(slot: Slot) -> Iterator[None]:
    """One command at a time starts or stops what is in a slot."""
    slot.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (slot.folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def step(slot: Slot, name: str) -> Iterator[None]:
    """Write into the slot's journal that a step has begun, and that it is done; a failed one stays begun."""
    _write(slot, name, "begun")
    yield
    _write(slot, name, "done")


def _write(slot: Slot, name: str, state: str) -> None:
    with (slot.folder / _JOURNAL).open("ab") as journal:
        journal.write(canonical_bytes({"step": name, "state": state}) + b"\n")
        journal.flush()
        os.fsync(journal.fileno())
