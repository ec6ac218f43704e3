"""Bounded threads that ask ahead: as many requests in flight as a suite wants, and never more than that unheard.

With one hand there is no thread at all: a request begins when the one before it has been judged, so that nothing
of ours runs beside it and its times are the engine's.
"""

import queue
import threading
from collections.abc import Callable, Iterator

from pipelines.suites.asking import Heard, Task

STACK = 1 << 20  # bytes of a thread


class Crew:
    """Works through tasks in their order; hands out what was heard as it comes."""

    def __init__(self, tasks: Iterator[Task], ask: Callable[[Task], Heard], hands: int) -> None:
        self._tasks, self._ask = tasks, ask
        self._turn = threading.Lock()
        self._over = threading.Event()
        self._heard: queue.Queue[Heard | None] = queue.Queue(maxsize=hands)
        self._working = hands if hands > 1 else 0
        if self._working:
            threading.stack_size(STACK)
        for number in range(self._working):
            threading.Thread(target=self._work, name=f"asking-{number}", daemon=True).start()

    def next(self) -> Heard | None:
        """Return what was heard next, waiting for it; None when every task is done."""
        if not self._heard.maxsize > 1:
            task = self._take()
            return None if task is None else self._ask(task)
        while self._working:
            found = self._heard.get()
            if found is not None:
                return found
            self._working -= 1
        return None

    def stop(self) -> None:
        """Begin nothing more. What is in flight ends by its own limit, and is heard by nobody."""
        self._over.set()

    def _take(self) -> Task | None:
        with self._turn:
            return None if self._over.is_set() else next(self._tasks, None)

    def _work(self) -> None:
        try:
            while (task := self._take()) is not None:
                self._heard.put(self._ask(task))
        finally:
            self._heard.put(None)  # also when it broke: nobody waits for a thread that is gone
