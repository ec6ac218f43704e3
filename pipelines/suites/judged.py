"""What was written down, sorted by case: the values that gates, verdict and report look at. Pure.

A case counts as right when every one of its attempts was right: there is no majority, because a call that
works two times in three does not work.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from pipelines.suites.cases import Case
from pipelines.suites.format import Suite
from pipelines.suites.gates import ARGS_VALID, CALLS_PARSED, SURFACE
from pipelines.suites.plan import BASELINE, CANDIDATE, keys
from pipelines.suites.results import Attempt

NOTHING_TO_COMPARE, NOT_MEASURED, MEASURED = "nothing-to-compare", "not-measured", "measured"


@dataclass(frozen=True)
class Comparison:
    """Whether there is a version to compare with, and whether it was measured in this run.

    `nothing-to-compare`: nothing else is pinned, so a comparison demands nothing. `not-measured`: something is,
    and it was not served or not proven; then nothing that compares can hold.
    """

    state: str
    why: str


ALONE = Comparison(NOTHING_TO_COMPARE, "the run was made for no tier")


@dataclass(frozen=True)
class CaseResult:
    """One case with everything that was written down about it, of the version and of the pinned one beside it."""

    case: Case
    attempts: tuple[Attempt, ...]
    complete: bool  # every attempt is there
    baseline: tuple[Attempt, ...] = ()
    baseline_complete: bool = False
    quarantined: bool = False  # set aside by a person's decision

    @property
    def passed(self) -> bool:
        """Right every time."""
        return self.complete and all(attempt.outcome == "passed" for attempt in self.attempts)

    @property
    def baseline_passed(self) -> bool:
        """Right every time when the pinned version was asked."""
        return self.baseline_complete and all(attempt.outcome == "passed" for attempt in self.baseline)

    @property
    def paired(self) -> bool:
        """Whether both versions' answers are there."""
        return self.complete and self.baseline_complete

    @property
    def lost(self) -> bool:
        """The pinned version gets it right and this one does not."""
        return self.paired and self.baseline_passed and not self.passed

    @property
    def won(self) -> bool:
        """The other way round."""
        return self.paired and self.passed and not self.baseline_passed

    def good(self, metric: str) -> bool:
        """Whether it adds to the metric's good ones."""
        return self.complete and _good(metric, self.attempts)

    def baseline_good(self, metric: str) -> bool:
        """Whether the pinned version's answers would."""
        return self.baseline_complete and _good(metric, self.baseline)


def _good(metric: str, attempts: Sequence[Attempt]) -> bool:
    if metric == CALLS_PARSED:
        return all(attempt.parsed for attempt in attempts)
    if metric == ARGS_VALID:
        return all(attempt.valid for attempt in attempts)
    if metric.startswith(SURFACE):
        surface = metric.removeprefix(SURFACE)
        return all(attempt.outcome == "passed" for attempt in attempts if attempt.surface == surface)
    return all(attempt.outcome == "passed" for attempt in attempts)


def by_case(
    suite: Suite, attempts: Sequence[Attempt], quarantined: Collection[str] = ()
) -> tuple[CaseResult, ...]:
    """Sort attempts by the suite's cases. What belongs to no case is left out: `results.read` names it."""
    found: dict[tuple[str, str], list[Attempt]] = {}
    for attempt in attempts:
        found.setdefault((attempt.side, attempt.case), []).append(attempt)
    made = []
    for case in suite.cases:
        own, other = (tuple(found.get((side, case.id), ())) for side in (CANDIDATE, BASELINE))
        made.append(
            CaseResult(
                case,
                own,
                _complete(suite, case, own, CANDIDATE),
                other,
                _complete(suite, case, other, BASELINE),
                quarantined=case.id in quarantined,
            )
        )
    return tuple(made)


def _complete(suite: Suite, case: Case, attempts: Sequence[Attempt], side: str) -> bool:
    """Every attempt that the suite asks for is there once, and no other."""
    return sorted(attempt.key for attempt in attempts) == sorted(keys(suite, [case], [side]))
