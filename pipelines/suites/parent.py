"""The parent's side of a run: starts the child process, watches it, ends it, and reads what it left behind."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.suites.child import CONTRACT, JUNIT, RESULTS, SUITE
from pipelines.suites.format import Suite, pack
from pipelines.suites.plan import Side
from pipelines.suites.refusals import RunnerBroken
from pipelines.suites.results import Results, read

__all__ = ["Done", "Ended", "Side", "run_child"]

POLL = 0.1  # seconds
LOG = "pytest.log"
TAIL = 400  # bytes of the log that a reason may quote
MAX_JUNIT = 64 << 20  # bytes
_PYTEST_RAN = (0, 1, 2)  # all passed; some failed; ended early on purpose


@dataclass(frozen=True)
class Ended:
    """How the child ended: its exit status (negative: the signal), and what was wrong with that, if anything."""

    status: int | None
    problem: str | None


@dataclass(frozen=True)
class Done:
    """What a child process left behind."""

    results: Results
    ended: Ended
    junit: Path | None


def run_child(
    scratch: Path,
    suite: Suite,
    *,
    sides: Sequence[Side],
    contract: bytes,
    junit: Path | None,
    progress: Callable[[int, int], None],
    resume: Path | None = None,
    python_allowed: bool = False,
    fingerprint: str = "",
) -> Done:
    """Run the suite's cases in a child process, in a folder of its own below `scratch` that is gone afterwards.

    Args:
        sides: the candidate, and the baseline if there is one; they take turns.
        progress: told (attempts done, attempts in all), of all sides.
        resume: the run's journal, a file: begun when it is not there; when it is, what it holds is not asked again.
        python_allowed: a person permitted this suite's Python checks.
        fingerprint: what the engines are, as a text; a journal of other engines is not resumed.

    Raises:
        RunnerBroken: the child never came as far as asking anything.
    """
    with tempfile.TemporaryDirectory(prefix=".suite-", dir=scratch) as name:
        folder = Path(name)
        (folder / SUITE).write_bytes(pack(suite))
        (folder / CONTRACT).write_bytes(contract)
        (folder / "pytest.ini").write_text("[pytest]\n")
        with (folder / LOG).open("wb") as log:
            process = _start(folder, suite, sides[0].endpoint, sides[0].model, log.fileno())
            try:
                problem = _watch(process, folder / RESULTS, suite, progress)
            finally:
                _end(process)
        if not (folder / RESULTS).exists():
            raise RunnerBroken(_tail(folder / LOG) or f"status {process.returncode}")
        if problem is None and process.returncode not in _PYTEST_RAN:
            problem = f"the child process ended with status {process.returncode}: {_tail(folder / LOG)}"
        return Done(
            results=read(folder / RESULTS, suite, [side.name for side in sides]),
            ended=Ended(process.returncode, problem),
            junit=_keep(folder / JUNIT, junit),
        )


def _start(folder: Path, suite: Suite, endpoint: str, model: str, log: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-I", "-B", "-m", "pipelines.suites.child"]
    try:
        return subprocess.Popen(
            [*command, str(os.getpid()), str(suite.limit_seconds), endpoint, model],
            cwd=folder,
            env={"PATH": os.defpath, "LANG": "C.UTF-8", "HOME": str(folder), "TMPDIR": str(folder)}
            | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # its own process group, so that all of it can be ended at once
        )
    except OSError as exc:
        raise RunnerBroken(str(exc)) from exc


def _watch(
    process: subprocess.Popen[bytes], results: Path, suite: Suite, progress: Callable[[int, int], None]
) -> str | None:
    """Wait for the end, telling of each result. Returns why the child was ended by us, if it was."""
    deadline = time.monotonic() + suite.limit_seconds
    total, done, offset = len(suite.cases) * suite.repeats, 0, 0
    while True:
        ended = process.poll() is not None
        with contextlib.suppress(FileNotFoundError), results.open("rb") as stream:
            stream.seek(offset)
            news = stream.read(1 << 20)
            offset += len(news)
            if count := min(news.count(b"\n"), total - done):  # the last line is the seal
                done += count
                progress(done, total)
        if ended:
            return None
        if time.monotonic() >= deadline:
            return f"the run was ended after its limit of {suite.limit_seconds} s"
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(POLL)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _keep(made: Path, wanted: Path | None) -> Path | None:
    if wanted is None or not made.is_file() or made.stat().st_size > MAX_JUNIT:
        return None
    shutil.copyfile(made, wanted)
    return wanted


def _tail(log: Path) -> str:
    with log.open("rb") as stream:
        stream.seek(0, os.SEEK_END)
        stream.seek(max(0, stream.tell() - TAIL))
        return " ".join(stream.read().decode("utf-8", "replace").split())
