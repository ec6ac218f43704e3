"""Walks a plan, forth or back, and writes down each step before and after it.

Apart from the plan, which decides, and from the hands, which act: what is here is only the order, the journal and
the turn. Every step may be done twice, so a walk that was killed is taken up where it was.
"""

from typing import Protocol

from pipelines.rollout.journal import BACK, DONE, FAILED, FORTH, SERVED, TURNED_BACK, Journal
from pipelines.rollout.plan import Do, Plan, Step, back
from pipelines.rollout.refusals import StepFailed, WayBackBlocked
from signing.errors import OperatorError

# What may have stopped being true while nobody looked: seen again when a walk is taken up after a crash.
_SEEN_AGAIN = {Do.START, Do.READY, Do.IDENTITY, Do.FRONT, Do.STILL}
# What is no step's success, and no bug either.
_FAILURES = (StepFailed, OperatorError, OSError)


class Hands(Protocol):
    """Does the steps."""

    def do(self, step: Step, way: str) -> str:
        """Do one step, again if need be; return what is worth keeping.

        Raises:
            StepFailed, OperatorError, OSError: it is not done.
        """


def walk(plan: Plan, journal: Journal, hands: Hands, *, tier: str, model: str) -> str:
    """Walk to the end: SERVED, or TURNED-BACK with everything taken back.

    Raises:
        WayBackBlocked: a step of the way back failed; the same walk can be taken up again.
    """
    if journal.turned is None:
        _forth(plan, journal, hands)
    if journal.turned is None:
        journal.finish(SERVED)
        return SERVED
    for step in back(plan.steps, journal.begun()):
        if journal.state(step, BACK) == DONE and not (journal.crashes and step.do in _SEEN_AGAIN):
            continue
        journal.begin(step, BACK)
        try:
            said = hands.do(step, BACK)
        except _FAILURES as exc:
            journal.failed(step, BACK, str(exc))
            raise WayBackBlocked(tier, model, step=step.name, why=str(exc)) from exc
        journal.done(step, BACK, said)
    journal.finish(TURNED_BACK)
    return TURNED_BACK


def _forth(plan: Plan, journal: Journal, hands: Hands) -> None:
    """Do what is not done yet; turn at the first step that fails."""
    settled: set[str] = set()
    for step in plan.steps:
        assert settled.issuperset(step.needs), f"{step.name} before {step.needs}"
        was = journal.state(step, FORTH)
        over = was == DONE or (was == FAILED and step.keeps)
        if not over or (journal.crashes and step.do in _SEEN_AGAIN):
            journal.begin(step, FORTH)
            try:
                said = hands.do(step, FORTH)
            except _FAILURES as exc:
                journal.failed(step, FORTH, str(exc))
                if not step.keeps:
                    journal.turn(f"{step.name}: {exc}")
                    return
            else:
                journal.done(step, FORTH, said)
        settled.add(step.name)
