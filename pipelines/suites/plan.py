"""What a run asks, and in which order: pure, known before anything is asked.

Every case is asked once per mode (surface, streamed or not) and repeat, of every side. The sides take turns
request by request, so that whatever disturbs the machine disturbs both alike.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pipelines.suites.cases import Case
from pipelines.suites.format import Suite

CANDIDATE, BASELINE = "candidate", "baseline"
SIDES = (CANDIDATE, BASELINE)


@dataclass(frozen=True)
class Side:
    """One of the engines that are asked. `endpoint` is its URL, `model` the name that requests ask for."""

    name: str  # candidate or baseline
    endpoint: str
    model: str


class Key(NamedTuple):
    """What tells one attempt from every other of the run."""

    side: str
    case: str
    surface: str
    stream: bool
    repeat: int  # 1 is the first


def keys(suite: Suite, cases: Sequence[Case], sides: Sequence[str]) -> Iterator[Key]:
    """Yield every attempt of these cases in the order in which they are asked."""
    for case in cases:
        for mode in suite.modes(case):
            for repeat in range(1, suite.repeats + 1):
                for side in sides:
                    yield Key(side, case.id, *mode, repeat)
