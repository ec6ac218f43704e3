"""From results to a verdict: pure, values in, values out.

1. Whatever says that the engine was not there all the time makes the run INCONCLUSIVE: that is no verdict
   about the model, and it blocks like one.
2. Otherwise a result that is missing, broken or too much makes it FAILED.
3. Otherwise the gates decide, each on the cases that it counts. A case counts as right when every one of its
   repeats was right; there is no majority, because a call that works two times in three does not work.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from pipelines.suites.cases import Case
from pipelines.suites.format import ARGS_VALID, CALLS_PARSED, Suite
from pipelines.suites.results import Attempt, Results

PASSED, FAILED, INCONCLUSIVE = "PASSED", "FAILED", "INCONCLUSIVE"


@dataclass(frozen=True)
class CaseResult:
    """One case with everything that was written down about it."""

    case: Case
    attempts: tuple[Attempt, ...]
    complete: bool  # every repeat is there

    @property
    def passed(self) -> bool:
        """Right every time."""
        return self.complete and all(attempt.outcome == "passed" for attempt in self.attempts)

    def counts_for(self, metric: str) -> bool:
        """Whether it adds to the metric's good ones."""
        if metric == CALLS_PARSED:
            return self.complete and all(attempt.parsed for attempt in self.attempts)
        if metric == ARGS_VALID:
            return self.complete and all(attempt.valid for attempt in self.attempts)
        return self.passed


@dataclass(frozen=True)
class GateResult:
    """What a gate demanded and what it got: `good` of `counted` cases."""

    metric: str
    least: str
    good: int
    counted: int
    held: bool

    def __str__(self) -> str:
        return f"gate {self.metric}: {self.good} of {self.counted} cases, at least {self.least} demanded"


@dataclass(frozen=True)
class Verdict:
    """The outcome of a run with every reason for it."""

    outcome: str
    reasons: tuple[str, ...]
    gates: tuple[GateResult, ...]
    cases: tuple[CaseResult, ...]

    @property
    def passed(self) -> int:
        """Cases that were right every time."""
        return sum(case.passed for case in self.cases)


def judge(suite: Suite, results: Results, *, engine: Sequence[str] = (), run: Sequence[str] = ()) -> Verdict:
    """Return the verdict on a run.

    Args:
        engine: what was wrong with the engine before, during or after; empty when nothing was.
        run: what was wrong with our own child process (killed, ended badly); empty when nothing was.
    """
    by_case: dict[str, list[Attempt]] = {case.id: [] for case in suite.cases}
    for attempt in results.attempts:
        by_case.get(attempt.case, []).append(attempt)
    cases = tuple(
        CaseResult(case, tuple(by_case[case.id]), complete=len(by_case[case.id]) == suite.repeats)
        for case in suite.cases
    )
    gates = tuple(_gate(suite, gate.metric, gate.least, gate.written, cases) for gate in suite.gates)
    doubts = [*engine, *_broken_connections(results)]
    wrong = [*run, *results.problems, *(str(gate) for gate in gates if not gate.held)]
    if results.stopped:
        wrong.insert(0, f"the run ended early: {results.stopped}")
    outcome = INCONCLUSIVE if doubts else FAILED if wrong else PASSED
    asked_nothing = bool(doubts) and not results.attempts  # then every gate fails, which says nothing more
    return Verdict(outcome, tuple(doubts if asked_nothing else doubts + wrong), gates, cases)


def _gate(
    suite: Suite, metric: str, least: Fraction, written: str, cases: Sequence[CaseResult]
) -> GateResult:
    wanted = {case.id for case in suite.counted(metric)}
    counted = [result for result in cases if result.case.id in wanted]
    good = sum(result.counts_for(metric) for result in counted)
    held = bool(counted) and Fraction(good, len(counted)) >= least
    return GateResult(metric, written, good, len(counted), held)


def _broken_connections(results: Results) -> list[str]:
    broken = [attempt for attempt in results.attempts if attempt.trouble == "unreachable"]
    if not broken:
        return []
    return [f"the engine broke off {len(broken)} requests, first {broken[0].case}: {broken[0].reasons[0]}"]
