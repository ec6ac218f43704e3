"""From results to a verdict: pure, values in, values out.

1. Whatever says that the engine was not there all the time makes the run INCONCLUSIVE: that is no verdict
   about the model, and it blocks like one.
2. Otherwise a result that is missing, broken or too much makes it FAILED, and so does a gate that failed.
3. Otherwise a gate that could not be decided makes it INCONCLUSIVE; it says what is missing.
4. Otherwise every gate held: PASSED.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from pipelines.suites.format import Suite
from pipelines.suites.judged import ALONE, CaseResult, Comparison, by_case
from pipelines.suites.plan import BASELINE
from pipelines.suites.results import Attempt, Results
from pipelines.suites.weigh import GateResult, weigh

PASSED, FAILED, INCONCLUSIVE = "PASSED", "FAILED", "INCONCLUSIVE"

__all__ = [
    "FAILED",
    "INCONCLUSIVE",
    "PASSED",
    "CaseResult",
    "GateResult",
    "Verdict",
    "judge",
]


@dataclass(frozen=True)
class Verdict:
    """The outcome of a run with every reason for it."""

    outcome: str
    reasons: tuple[str, ...]
    gates: tuple[GateResult, ...]
    cases: tuple[CaseResult, ...]
    comparison: Comparison = ALONE

    @property
    def passed(self) -> int:
        """Cases that were right every time."""
        return sum(case.passed for case in self.cases)

    @property
    def lost(self) -> tuple[CaseResult, ...]:
        """Cases that the pinned version gets right and this one does not; those set aside among them."""
        return tuple(case for case in self.cases if case.lost)

    @property
    def won(self) -> tuple[CaseResult, ...]:
        """The other way round."""
        return tuple(case for case in self.cases if case.won)


def judge(
    suite: Suite,
    results: Results,
    *,
    engine: Sequence[str] = (),
    run: Sequence[str] = (),
    comparison: Comparison = ALONE,
    quarantined: Collection[str] = (),
) -> Verdict:
    """Return the verdict on a run.

    Args:
        engine: what was wrong with the engine before, during or after; empty when nothing was.
        run: what was wrong with our own child process (killed, ended badly); empty when nothing was.
        comparison: whether the pinned version was measured in the same run.
        quarantined: ids of cases that a standing decision sets aside.
    """
    cases = by_case(suite, results.attempts, quarantined)
    gates = tuple(weigh(suite, gate, cases, comparison) for gate in suite.gates)
    doubts = [*engine, *_broken_connections(results.attempts)]
    wrong = [*run, *results.problems, *(why for gate in gates for why in gate.reasons("FAILED"))]
    if results.stopped:
        wrong.insert(0, f"the run ended early: {results.stopped}")
    if missing := sum(not case.complete for case in cases):
        wrong.append(f"{missing} of {len(cases)} cases are without a whole result")
    open_ = [why for gate in gates for why in gate.reasons("INCONCLUSIVE")]
    outcome = INCONCLUSIVE if doubts else FAILED if wrong else INCONCLUSIVE if open_ else PASSED
    asked_nothing = bool(doubts) and not results.attempts  # then every gate fails, which says nothing more
    return Verdict(
        outcome, tuple(doubts if asked_nothing else [*doubts, *wrong, *open_]), gates, cases, comparison
    )


def _broken_connections(attempts: Sequence[Attempt]) -> list[str]:
    broken = [attempt for attempt in attempts if attempt.trouble == "unreachable"]
    if not broken:
        return []
    whose = "pinned version's engine" if broken[0].side == BASELINE else "engine"
    return [f"the {whose} broke off {len(broken)} requests, first {broken[0].case}: {broken[0].reasons[0]}"]
