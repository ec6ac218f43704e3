"""Everything about one model for a page on paper: each version's way, every line of every tier, who spoke, what holds.

Gathered from one view with one prover, so that nothing is looked at twice and all of it is one moment of one home.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from pipelines.bundle import documents as docs
from pipelines.questions.allowing import Allowed, allowed
from pipelines.questions.deciding import Decided, words_on
from pipelines.questions.proving import Proof, Prover
from pipelines.questions.serving import Served, history, missing_lines
from pipelines.questions.touched import Key, people_keys
from pipelines.questions.whence import Whence, whence_of
from pipelines.workplace import Workplace
from registry.entities import Export, Report, Version
from registry.errors import NotFound
from registry.views import View
from signing.errors import OperatorError
from signing.times import rfc3339


@dataclass(frozen=True)
class Finding:
    """What a scan or a suite found here, and whether that still holds."""

    row: Report
    proof: Proof


@dataclass(frozen=True)
class Shipped:
    """A bundle in which this home sent a version away."""

    row: Export
    proof: Proof


@dataclass(frozen=True)
class VersionStory:
    """One version: whence, what was found, where it went."""

    version: Version
    whence: Whence
    findings: tuple[Finding, ...]  # oldest first
    claims: int  # statements of others about it, that count for no gate
    shipped: tuple[Shipped, ...]
    withdrawn: Proof | None

    @property
    def proofs(self) -> list[Proof]:
        """Every piece of evidence about it, whence first."""
        found = [
            *self.whence.proofs,
            *(one.proof for one in self.findings),
            *(one.proof for one in self.shipped),
        ]
        return [*found, self.withdrawn] if self.withdrawn else found


@dataclass(frozen=True)
class Line:
    """One line of a tier's history, why it was allowed and who decided."""

    served: Served
    allowed: Allowed
    decided: Decided


@dataclass(frozen=True)
class ModelReport:
    """Everything that the page says."""

    model: str
    home: str
    profile: str
    at: str  # RFC 3339, UTC
    size: int  # events in the log
    root: str  # of the log's newest head
    versions: tuple[VersionStory, ...]  # newest first
    lines: tuple[Line, ...]  # by tier, oldest first
    keys: tuple[Key, ...]  # of whoever spoke about it
    gone: tuple[str, ...]  # lines that were taken out of the table

    @property
    def doubts(self) -> list[str]:
        """What does not hold, in words, each once."""
        found = list(self.gone)
        for story in self.versions:
            found += [proof.doubt for proof in story.proofs if not proof.verified]
            found += story.whence.problems
        for line in self.lines:
            found += [*line.allowed.doubts, *line.decided.doubts]
        found += [key.proof.doubt for key in self.keys if not key.proof.verified]
        return list(dict.fromkeys(found))

    def lines_of(self, version: Version) -> list[Line]:
        """The lines that pinned a version."""
        return [line for line in self.lines if line.served.pin.version == version.digest]


def report(work: Workplace, view: View, model: str) -> ModelReport:
    """Gather everything about a model. Raises `NotFound`: no version of it was ever here."""
    versions, prover, head = view.versions(model), Prover(work, view), view.head()
    gone = missing_lines(prover, view, model=model)
    if not versions and not gone:
        raise NotFound("model", model)
    lines = list(_lines(prover, view, model))
    people = {word.person for line in lines for word in line.decided.words}
    return ModelReport(
        model=model,
        home=work.home.name,
        profile=work.home.profile,
        at=rfc3339(work.now),
        size=head.size if head else 0,
        root=head.root if head else "",
        versions=tuple(_story(prover, view, row) for row in reversed(versions)),
        lines=tuple(lines),
        keys=tuple(key for key in people_keys(view, prover) if key.person in people),
        gone=tuple(text for _, text in gone),
    )


def _lines(prover: Prover, view: View, model: str) -> Iterator[Line]:
    found = history(prover, view, model)
    for _tier, group in groupby(found, key=lambda line: line.pin.tier):
        here = list(group)
        pins = [line.pin for line in here]
        for line in here:
            yield Line(line, allowed(prover, view, line, pins), words_on(prover, view, line, pins))


def _story(prover: Prover, view: View, version: Version) -> VersionStory:
    withdrawal = view.withdrawal(version.digest)
    return VersionStory(
        version=version,
        whence=whence_of(prover, view, version),
        findings=tuple(Finding(row, prover.row(row)) for row in view.reports(version.digest)),
        claims=len(view.claims(version.digest)),
        shipped=tuple(Shipped(row, prover.row(row)) for row in view.exports() if carries(row, version)),
        withdrawn=prover.row(withdrawal) if withdrawal else None,
    )


def carries(row: Export, version: Version) -> bool:
    """Whether a bundle that was made here has this version in it; one whose row was edited has not."""
    try:
        export = docs.decode_export(row.body.encode())
    except OperatorError:
        return False  # edited: `audit transfers` names it
    return docs.release_path(version.model, version.ordinal) in {one.path for one in export.releases}
