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

from pipelines.suites.cage import cannot_hold
from pipelines.suites.child import CONTRACT, JUNIT, RESULTS, RESUMED, SUITE, Order
from pipelines.suites.format import Suite, pack
from pipelines.suites.kept import KeptAnswers
from pipelines.suites.plan import Side
from pipelines.suites.refusals import PythonNotAllowed, PythonNotContained, RunnerBroken
from pipelines.suites.results import MAX_BYTES, Results, read

__all__ = ["Done", "Ended", "Side", "run_child"]

POLL = 0.1  # seconds
PIECE = 1 << 20  # bytes of results that are looked at together
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
    secret: bytes = b"",
) -> Done:
    """Run the suite's cases in a child process, in a folder of its own below `scratch` that is gone afterwards.

    Args:
        sides: the candidate, and the baseline if there is one; they take turns.
        progress: told (attempts done, attempts in all), of all sides.
        resume: the run's journal, a file: begun when it is not there; when it is, what it holds is not asked again.
        python_allowed: a person permitted this suite's Python checks.
        fingerprint: what the engines are, as a text; a journal of other engines is not resumed.
        secret: what the journal's lines are authenticated with.

    Raises:
        PythonNotAllowed, PythonNotContained: the suite brings Python checks that may not, or cannot safely, be run.
        RunNotResumable: the journal is about another run.
        RunnerBroken: the child never came as far as asking anything.
    """
    _allowed(suite, python_allowed)
    names = [side.name for side in sides]
    order = Order(os.getpid(), suite.limit_seconds, tuple(sides), suite.python)
    with contextlib.ExitStack() as stack:
        journal = None
        if resume:
            journal = stack.enter_context(
                contextlib.closing(KeptAnswers(resume, suite, sides, contract, fingerprint, secret=secret))
            )
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=".suite-", dir=scratch)))
        _furnish(folder, suite, contract, journal)
        ended = _run(folder, order, suite, _News(folder / RESULTS, suite, len(sides), journal, progress))
        return Done(read(folder / RESULTS, suite, names), ended, _keep(folder / JUNIT, junit))


def _run(folder: Path, order: Order, suite: Suite, news: "_News") -> Ended:
    """Start the child, wait for its end, and say how it ended. Raises `RunnerBroken` when it never began."""
    with (folder / LOG).open("wb") as log:
        process = _start(folder, order, log.fileno())
        try:
            problem = _watch(process, news, suite)
        finally:
            _end(process)
    if not (folder / RESULTS).exists():
        raise RunnerBroken(_tail(folder / LOG) or f"status {process.returncode}")
    if problem is None and process.returncode not in _PYTEST_RAN:
        problem = f"the child process ended with status {process.returncode}: {_tail(folder / LOG)}"
    return Ended(process.returncode, problem)


def _allowed(suite: Suite, python_allowed: bool) -> None:
    if not suite.python:
        return
    if not python_allowed:
        raise PythonNotAllowed(suite.name, suite.digest)
    if problem := cannot_hold():
        raise PythonNotContained(suite.name, problem)


def _furnish(folder: Path, suite: Suite, contract: bytes, journal: KeptAnswers | None) -> None:
    (folder / SUITE).write_bytes(pack(suite))
    (folder / CONTRACT).write_bytes(contract)
    (folder / "pytest.ini").write_text("[pytest]\n")
    if journal:
        (folder / RESUMED).write_bytes(journal.lines)


def _start(folder: Path, order: Order, log: int) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            [sys.executable, "-I", "-B", "-m", "pipelines.suites.child", order.text()],
            cwd=folder,
            env={"PATH": os.defpath, "LANG": "C.UTF-8", "HOME": str(folder), "TMPDIR": str(folder)}
            # one heap for all threads: each of its own would take a share of the address space that is allowed
            | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "MALLOC_ARENA_MAX": "1"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # its own process group, so that all of it can be ended at once
        )
    except OSError as exc:
        raise RunnerBroken(str(exc)) from exc


class _News:
    """What the child writes down, as it comes: counted, told of, and kept in the journal."""

    def __init__(
        self,
        results: Path,
        suite: Suite,
        sides: int,
        journal: KeptAnswers | None,
        progress: Callable[[int, int], None],
    ) -> None:
        ways = sum(len(suite.modes(case)) for case in suite.cases)
        self._results, self._journal, self._progress = results, journal, progress
        self._total = ways * suite.repeats * sides
        self._old = journal.count if journal else 0  # lines that the child repeats from the journal
        self._seen = self._offset = 0
        self._rest = b""

    def look(self) -> bool:
        """Take in what is new. Returns whether there may be more already."""
        try:
            with self._results.open("rb") as stream:
                stream.seek(self._offset)
                news = stream.read(PIECE)
        except FileNotFoundError:
            return False
        self._offset += len(news)
        *lines, self._rest = (self._rest + news).split(b"\n")
        before = self._seen
        self._seen += len(lines)
        if self._journal:
            self._journal.add(lines[max(0, self._old - before) :])
        if min(self._seen, self._total) > min(before, self._total):  # the last line is the seal
            self._progress(min(self._seen, self._total), self._total)
        return len(news) == PIECE and self._offset <= MAX_BYTES


def _watch(process: subprocess.Popen[bytes], news: _News, suite: Suite) -> str | None:
    """Wait for the end, telling of each result. Returns why the child was ended by us, if it was."""
    deadline = time.monotonic() + suite.limit_seconds
    while True:
        ended = process.poll() is not None
        while news.look():
            pass
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
