"""Has the whole log verified beside the server, now and then, so that pages and alerts can say when it last held.

`tidegate audit verify` in a process of its own: it takes every core and, at a million events, a minute, which is
nothing to do between two requests. It runs as nicely as the system allows.
"""

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from signing.canonical import parse

_HOURS = 6
_AFTER_START = 15.0  # seconds: first whoever waited for the start is answered
_LONGEST = 6 * 3600  # seconds that one look may take
_NICENESS = 19
_MAX_SAID = 1 << 20  # bytes


@dataclass(frozen=True)
class Look:
    """What the last look found."""

    at: datetime
    events: int
    problems: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether nothing was wrong."""
        return not self.problems


class LogWatch:
    """Looks soon after the start and every few hours; `last` is what it found."""

    def __init__(self, home: Path, clock: Callable[[], datetime]) -> None:
        self._home, self._clock = home, clock
        self.last: Look | None = None
        self._end = threading.Event()
        self._child: subprocess.Popen[str] | None = None
        self._thread = threading.Thread(target=self._go, name="log-watch", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def close(self) -> None:
        """End, and end a look that is under way."""
        self._end.set()
        if self._child is not None and self._child.poll() is None:
            self._child.kill()
        if self._thread.is_alive():
            self._thread.join()

    def look(self) -> None:
        """Look once."""
        command = [sys.executable, "-m", "tidegate", "audit", "verify", "--json", "--home", str(self._home)]
        self._child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        with contextlib.suppress(ProcessLookupError):  # it ended at once
            os.setpriority(os.PRIO_PROCESS, self._child.pid, _NICENESS)
        try:
            said, refused = self._child.communicate(timeout=_LONGEST)
        except subprocess.TimeoutExpired:
            self._child.kill()
            said, refused = "", "it took longer than six hours"
        if self._end.is_set():
            return
        self.last = self._read(self._child.returncode, said, refused)

    def _go(self) -> None:
        wait = _AFTER_START
        while not self._end.wait(wait):
            self.look()
            wait = _HOURS * 3600

    def _read(self, code: int | None, said: str, refused: str) -> Look:
        if code == 0:
            return Look(self._clock(), int(parse(said.encode(), max_bytes=_MAX_SAID)["size"]), ())
        return Look(self._clock(), 0, (refused.strip() or f"it ended with {code}",))
