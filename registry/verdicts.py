"""What a comparison says: a verdict, and findings with their witness. Apart, because every rule speaks in these words."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar

from signing.errors import OperatorError


class Verdict(StrEnum):
    """From best to worst, in the order written here; only the first is a pass.

    `UNKNOWN` is worse than a needed router update, because nobody knows that a configuration mends it, and
    better than `INCOMPATIBLE`, so that a doubt never hides a certainty.
    """

    COMPATIBLE = "compatible"
    NEEDS_ROUTER_UPDATE = "needs-router-update"
    UNKNOWN = "unknown"
    INCOMPATIBLE = "incompatible"

    @property
    def severity(self) -> int:
        """0 for a pass, more for worse."""
        return list(Verdict).index(self)


@dataclass(frozen=True)
class Finding:
    """One thing that a rule found.

    `tool` is empty where no tool is concerned; `path` is a JSON pointer into that tool's schema on the
    producing side. `witness` is a checked example: `{"name", "arguments"}` or `{"name", "result"}`.
    """

    rule: str
    verdict: Verdict
    message: str
    next_step: str
    tool: str = ""
    path: str = ""
    witness: Mapping[str, Any] | None = field(default=None, hash=False)

    def to_json(self) -> dict[str, Any]:
        """Return text only, fit for canonical JSON: a witness with a fraction is kept as its JSON text."""
        witness = (
            None if self.witness is None else json.dumps(self.witness, sort_keys=True, ensure_ascii=False)
        )
        return {
            "rule": self.rule,
            "verdict": str(self.verdict),
            "tool": self.tool,
            "path": self.path,
            "message": self.message,
            "witness": witness,
            "next_step": self.next_step,
        }


@dataclass(frozen=True)
class Comparison:
    """What was found between documents; with no findings they fit."""

    findings: tuple[Finding, ...]

    @property
    def verdict(self) -> Verdict:
        """The worst of the findings."""
        found = (finding.verdict for finding in self.findings)
        return max(found, key=lambda verdict: verdict.severity, default=Verdict.COMPATIBLE)

    @property
    def passed(self) -> bool:
        """Whether the verdict is `COMPATIBLE`; notes may remain."""
        return self.verdict is Verdict.COMPATIBLE

    @property
    def against(self) -> tuple[Finding, ...]:
        """The findings that keep this from passing, worst first."""
        return tuple(finding for finding in self.findings if finding.verdict.severity)

    def require(self) -> None:
        """Raise `NotCompatible` unless this passed."""
        if not self.passed:
            raise NotCompatible(self)

    def to_json(self) -> dict[str, Any]:
        """Return the verdict and the findings, worst first as they stand, fit for canonical JSON."""
        return {"verdict": str(self.verdict), "findings": [finding.to_json() for finding in self.findings]}


class NotComparable(OperatorError):
    """Two documents between which there is no question to answer."""

    exit_code: ClassVar[int] = 44
    next_step: ClassVar[str] = (
        "Compare a tool contract with a router contract or an engine profile, or two documents of one kind."
    )

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} and {second}: nothing to compare")
        self.first, self.second = first, second


class NotCompatible(OperatorError):
    """A comparison that was required to pass and did not."""

    exit_code: ClassVar[int] = 80
    next_step: ClassVar[str] = "Do what the findings say, router or engine profile first, then compare again."

    def __init__(self, comparison: Comparison) -> None:
        worst = comparison.findings[0]
        more = len(comparison.against) - 1
        also = f" (and {more} more)" if more else ""
        where = f"{worst.tool}{worst.path}: " if worst.tool else ""
        super().__init__(f"{comparison.verdict}: {where}{worst.message}{also}")
        self.comparison = comparison


def worst_first(*parts: Iterable[Finding]) -> Comparison:
    """Put findings together, the worst of them first."""
    found = [finding for part in parts for finding in part]
    return Comparison(tuple(sorted(found, key=lambda finding: -finding.verdict.severity)))


def listed(names: Iterable[str]) -> str:
    """Names as a sentence has them."""
    return ", ".join(repr(name) for name in names) or "none"
