"""What the files check says: findings and facts, all values."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipelines.scan.reading import quoted

CHECKS = ("complete", "dtypes", "finite", "tokenizer", "template", "generation")
MAX_FINDINGS = 200  # kept of one check; the rest is counted
Progress = Callable[[int], None]  # called with the bytes just done


@dataclass(frozen=True)
class FileFinding:
    """One thing that is wrong, or that could not be understood (`unknown`). `path` is empty for the whole version."""

    check: str  # one of CHECKS
    path: str
    message: str
    unknown: bool = False

    def __str__(self) -> str:
        where = f"{quoted(self.path, quotes=False)}: " if self.path else ""
        return f"{'unknown: ' if self.unknown else ''}{where}{self.message}"


@dataclass(frozen=True)
class FilesFacts:
    """What was looked at. Counts of all weight files together; `bytes` are bytes of tensors that were read."""

    bytes: int = 0
    tensors: int = 0
    tokenizer: str = "not checked"  # by which means
    template: str = "not checked"  # SHA-256 of the template that was rendered
    notes: tuple[str, ...] = ()  # seen, and not wrong


@dataclass(frozen=True)
class FilesResult:
    """Every finding, grouped by `CHECKS`, and the facts."""

    findings: tuple[FileFinding, ...]
    facts: FilesFacts

    def of(self, check: str) -> tuple[FileFinding, ...]:
        """The findings of one check, what is wrong before what is unknown."""
        mine = [finding for finding in self.findings if finding.check == check]
        return tuple(sorted(mine, key=lambda finding: finding.unknown))

    def outcome(self, check: str) -> str:
        """`passed`, `failed` or `unknown`."""
        mine = self.of(check)
        if any(not finding.unknown for finding in mine):
            return "failed"
        return "unknown" if mine else "passed"


@dataclass
class Findings:
    """Collects findings, a bounded number of each check."""

    kept: list[FileFinding] = field(default_factory=list)
    _counts: dict[str, int] = field(default_factory=dict)

    def wrong(self, check: str, path: str, message: str) -> None:
        """Something is not as it has to be."""
        self._add(FileFinding(check, path, message))

    def unknown(self, check: str, path: str, message: str) -> None:
        """Something is not understood, so that nobody can say whether it is right."""
        self._add(FileFinding(check, path, message, unknown=True))

    def all(self) -> tuple[FileFinding, ...]:
        """Everything kept, and per check how much was left out."""
        more = [
            FileFinding(check, "", f"and {count - MAX_FINDINGS} findings more")
            for check, count in self._counts.items()
            if count > MAX_FINDINGS
        ]
        return tuple(sorted([*self.kept, *more], key=lambda finding: CHECKS.index(finding.check)))

    def _add(self, finding: FileFinding) -> None:
        count = self._counts[finding.check] = self._counts.get(finding.check, 0) + 1
        if count <= MAX_FINDINGS:
            self.kept.append(finding)


def whole_number(value: Any) -> int | None:
    """Return a JSON value that is a whole number; `true` is none."""
    return value if type(value) is int else None


def first_number(config: Mapping[str, Any], *keys: str) -> int | None:
    """Return the first of these fields that is a whole number."""
    return next((number for key in keys if (number := whole_number(config.get(key))) is not None), None)
