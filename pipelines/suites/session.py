"""What the items of one run share: who is asked, what was heard, what is written down.

The items come in their order and wait here for their attempts; the attempts come in the order in which engines
answer. Each is judged in this thread, because only here can a check be cut off.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from pipelines.engines.endpoint import Endpoint
from pipelines.suites.asking import Asked, Heard, Task, hear
from pipelines.suites.cases import Case, Mode
from pipelines.suites.crew import Crew
from pipelines.suites.format import Suite, tools_for
from pipelines.suites.judging import judged
from pipelines.suites.plan import Key, Side
from pipelines.suites.python_checks import PythonChecks
from pipelines.suites.results import Writer, read_line
from registry.contracts import ToolContract

TROUBLE_IN_A_ROW = 3  # after so many the engine is taken for dead and the run ends
Question = tuple[Suite, Case, Mode]


@dataclass(frozen=True)
class Outcome:
    """What an item reports of one attempt."""

    reasons: tuple[str, ...]
    milliseconds: int


class Run:
    """One session. Use: `begin` with everything that will be asked, then `wait_for` each attempt, then `close`."""

    def __init__(
        self,
        sides: Sequence[Side],
        contract: ToolContract | None,
        writer: Writer | None,
        python: PythonChecks | None,
    ) -> None:
        self.contract, self.python = contract, python
        self.stopped: str | None = None
        self._asked = {side.name: Asked(Endpoint.parse(side.endpoint), side.model) for side in sides}
        self._writer = writer
        self._outcomes: dict[Key, Outcome] = {}
        self._crew: Crew | None = None
        self._trouble = 0  # in a row

    @property
    def names(self) -> list[str]:
        """The sides, the candidate first."""
        return list(self._asked)

    @property
    def began(self) -> bool:
        """Whether asking has begun."""
        return self._crew is not None

    def take_over(self, lines: bytes) -> None:
        """Take the results of a run that was broken off: they are written again, and nothing of them is asked."""
        for number, line in enumerate(lines.splitlines(), start=1):
            attempt = read_line(line, number)
            self._outcomes[attempt.key] = Outcome(attempt.reasons, attempt.milliseconds)
            if self._writer is not None:
                self._writer.add(attempt)

    def begin(self, questions: Sequence[Question]) -> None:
        """Begin to ask, in this order, as many at once as the most careful of the suites allows."""
        tasks = [task for task in self._tasks(questions) if task.key not in self._outcomes]
        self._warm_up(tasks)
        hands = min((suite.concurrency for suite, _, _ in questions), default=1)
        self._crew = Crew(iter(tasks), lambda task: hear(task, self._asked[task.key.side]), hands)

    def _tasks(self, questions: Iterable[Question]) -> Iterator[Task]:
        for suite, case, mode in questions:
            tools = tools_for(suite, self.contract)
            for repeat in range(1, suite.repeats + 1):
                for side in self._asked:  # the sides take turns: what disturbs one disturbs the other
                    yield Task(Key(side, case.id, *mode, repeat), suite, case, tools)

    def _warm_up(self, tasks: Sequence[Task]) -> None:
        """Ask without listening: what is wrong will be wrong again when it counts."""
        for side, asked in self._asked.items():
            own = [task for task in tasks if task.key.side == side]
            for number in range(own[0].suite.warmup if own else 0):
                hear(own[number % len(own)], asked)

    def wait_for(self, key: Key) -> Outcome | None:
        """Return what came of an attempt; None when the run ended before it was made."""
        while key not in self._outcomes and self._crew is not None and not self.stopped:
            heard = self._crew.next()
            if heard is None:
                break
            self._keep(heard)
        return self._outcomes.pop(key, None)

    def _keep(self, heard: Heard) -> None:
        attempt = judged(heard, self.python)
        if self._writer is not None:
            self._writer.add(attempt)
        self._outcomes[attempt.key] = Outcome(attempt.reasons, attempt.milliseconds)
        self._trouble = self._trouble + 1 if attempt.trouble else 0
        if self._trouble >= TROUBLE_IN_A_ROW and self._crew is not None:
            self.stopped = f"{self._trouble} requests in a row had no answer"
            self._crew.stop()

    def close(self, stopped: str | None) -> None:
        """Seal what was written; `stopped` says why the session ended early, if it did."""
        if self._crew is not None:
            self._crew.stop()
        if self._writer is not None:
            self._writer.seal(stopped)
        if self.python is not None:
            self.python.close()
