"""How often a case's outcome flips when nothing that we know of has changed: over repeats, and over past reports.

The same version, suite and engine profile, the same case asked the same way, should give the same outcome.
Where it does not, the case says less than it seems to. It stays in the report; only a person's signed
decision sets it aside (`quarantine-case`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from registry.views import View
from signing.canonical import parse

MAX_REPORTS = 50  # newest reports that are looked at
MAX_BODIES = 64 << 20  # characters of them together
_Asked = tuple[str, str, bool]  # case, surface, streamed


@dataclass(frozen=True)
class Flips:
    """One case: how often it was asked alike, how often right, and in how many of the runs.

    `flipped` is the number of answers on the smaller side of each group of equal questions: 0 if every group is
    of one mind. `rate` is their share, as a text with three decimals.
    """

    case: str
    asked: int
    right: int
    flipped: int
    runs: int

    @property
    def flaky(self) -> bool:
        """Whether it flipped at all."""
        return self.flipped > 0

    @property
    def rate(self) -> str:
        """The share of answers that flipped."""
        return f"{self.flipped / self.asked:.3f}" if self.asked else "0.000"


def count_flips(bodies: Iterable[Mapping[str, Any]]) -> list[Flips]:
    """Return each case's flips over reports of one suite, in the order of cases, most flips first.

    A run that broke off is no evidence of anything; the caller leaves it out. Outcomes are compared within the same version and engine profile only: another version may well answer otherwise.
    """
    groups: dict[str, dict[tuple[str, str, _Asked], list[bool]]] = {}
    runs: dict[str, int] = {}
    for body in bodies:
        about = (body["version"]["digest"], body["profile"]["digest"])
        for case in body["cases"]:
            outcomes = [attempt for attempt in case["attempts"] if attempt["outcome"] != "trouble"]
            runs[case["id"]] = runs.get(case["id"], 0) + bool(outcomes)
            for attempt in outcomes:
                asked = (case["id"], attempt.get("surface", "chat"), attempt.get("stream", False))
                group = groups.setdefault(case["id"], {}).setdefault((*about, asked), [])
                group.append(attempt["outcome"] == "passed")
    found = [_of(case, list(held.values()), runs[case]) for case, held in groups.items()]
    return sorted(found, key=lambda flips: -flips.flipped)


def _of(case: str, groups: Sequence[Sequence[bool]], runs: int) -> Flips:
    return Flips(
        case,
        asked=sum(len(group) for group in groups),
        right=sum(sum(group) for group in groups),
        flipped=sum(min(sum(group), len(group) - sum(group)) for group in groups),
        runs=runs,
    )


def past_bodies(view: View, suite: str, *, version: str | None = None) -> list[Mapping[str, Any]]:
    """Return this home's newest whole runs of a suite (digest), of all versions or of one, newest first.

    As many as `MAX_REPORTS` and `MAX_BODIES` allow; a run that broke off is left out.
    """
    versions = [version] if version else sorted({row.digest for row in view.versions()})
    rows = [row for digest in versions for row in view.reports(digest, "validation") if row.suite == suite]
    found: list[Mapping[str, Any]] = []
    room = MAX_BODIES
    for row in sorted(rows, key=lambda row: (row.made_at, row.id or 0), reverse=True)[:MAX_REPORTS]:
        room -= len(row.body)
        if room < 0:
            break
        body = parse(row.body.encode(), max_bytes=MAX_BODIES, at="validation report")
        if body["counts"]["without_result"] == 0:
            found.append(body)
    return found
