"""Every piece of evidence looked at again: is it still what was recorded, who signed it, and does the log hold it.

An answer that only repeats what a table says would be worth as much as the table. So each piece that an answer rests on
is proved while the question is answered: its bytes hash to the digest that it is named by, its row says what the log
recorded, its signature is by a key that was in force, and its event is a leaf under the newest signed head.
"""

from dataclasses import dataclass, replace
from functools import cached_property, singledispatchmethod
from typing import Any

from pipelines.questions.recorded import Recorded
from pipelines.questions.signers import Signers
from pipelines.workplace import Workplace
from registry import approvals_payload
from registry.decisions import Kind
from registry.entities import (
    Approval,
    ApprovalRequest,
    Custody,
    Decision,
    Document,
    Export,
    Import,
    ModelSignature,
    Person,
    Pin,
    Report,
    Row,
    Statement,
    TierPolicy,
    Version,
    Withdrawal,
)
from registry.views import View
from signing import statements, summaries
from signing.canonical import NotCanonical, parse
from signing.digests import sha256_hex
from signing.envelope import SignatureUncheckable, SignatureWrong
from signing.person_signature import PersonSignature, PersonSignatureUncheckable, PersonSignatureWrong

_BYTES = 64 << 20
_SAID = {
    statements.PROVENANCE: "how the files were fetched",
    statements.IMPORT: "that the bundle was taken in",
    statements.PIN: "what the tier serves",
    statements.VALIDATION_RUN: "what the suite measured",
    statements.TEST_RESULT: "what the suite found",
    summaries.VSA: "the gate's answer",
    summaries.EXPORT: "what was shipped",
}


@dataclass(frozen=True)
class Proof:
    """One piece of evidence as it stands now."""

    digest: str  # of what was signed or kept; empty for a row that has none
    kind: str  # of row, such as report, statement, approval, decision, version
    said: str  # what it is, in words
    signed_by: str  # person or home, with the key; empty for what is not signed by itself
    event: int | None  # that recorded it
    problems: tuple[str, ...]

    @property
    def verified(self) -> bool:
        """Whether it is what was recorded, signed as it says, and in the log."""
        return not self.problems

    @property
    def mark(self) -> str:
        """The word that stands beside it."""
        return "VERIFIED" if self.verified else "NOT VERIFIED"

    @property
    def doubt(self) -> str:
        """What does not hold, in words."""
        return f"{self.said}: {'; '.join(self.problems)}"

    def document(self) -> dict[str, object]:
        """The proof for programs."""
        return vars(self) | {"problems": list(self.problems), "verified": self.verified}

    def __str__(self) -> str:
        named = f" [{self.digest[:12]}]" if self.digest else ""
        by = f", signed by {self.signed_by}" if self.signed_by else ""
        event = f", event {self.event}" if self.event is not None else ""
        why = f": {'; '.join(self.problems)}" if self.problems else ""
        return f"{self.mark:<12} {self.said}{named}{by}{event}{why}"


@dataclass(frozen=True)
class _Found:
    """What one kind of row says of itself."""

    said: str
    signed_by: str = ""
    problems: tuple[str, ...] = ()


class Prover:
    """Proves pieces of evidence from one view."""

    def __init__(self, work: Workplace, view: View) -> None:
        self.work, self._view = work, view
        self.recorded = Recorded(work, view)
        self._signers = Signers(work, view, self.recorded)
        self._proofs: dict[str, Proof] = {}

    def prove(self, digest: str) -> Proof:
        """Return what is known of a digest that an answer rests on. Never raises for what is wrong with it."""
        if digest not in self._proofs:
            row = self._view.kept(digest)
            self._proofs[digest] = _missing(digest) if row is None else self.row(row)
        return self._proofs[digest]

    def row(self, row: Row, *, ours: bool = False) -> Proof:
        """Return what is known of a row.

        Args:
            ours: this home itself has to have signed it: what an origin says of this home's tiers proves nothing.
        """
        found, trace = self._look(row), self.recorded.trace(row)
        problems = [*found.problems, *([trace.problem] if trace.problem else [])]
        if ours and isinstance(row, Statement) and not self._ours(row):
            problems.append("this home did not sign it")
        digest = getattr(row, "digest", "")
        return Proof(digest, row.label, found.said, found.signed_by, trace.event, tuple(problems))

    def signature(self, row: Approval | Decision) -> PersonSignature:
        """Check a person's signature; see `Signers.person`."""
        return self._signers.person(row)

    def person(self, row: Person) -> Proof:
        """Return what is known of a row about a person, by whose word it is in force included."""
        proof, why = self.row(row), self._signers.why_not(row)
        return proof if why is None else replace(proof, problems=(*proof.problems, f"does not count: {why}"))

    def _ours(self, row: Statement) -> bool:
        try:
            return self._signers.home(row).ours
        except (SignatureWrong, SignatureUncheckable, NotCanonical):
            return False

    @cached_property
    def _names(self) -> dict[str, str]:
        """Digests of suites with the names that they have here."""
        return {row.digest: row.name for row in self._view.documents("suite")}

    @singledispatchmethod
    def _look(self, row: Row) -> _Found:
        """Rows that only the log vouches for."""
        return _Found(row.label)

    @_look.register
    def _(self, row: Report) -> _Found:
        suite = self._names.get(row.suite or "", "?")
        what = {"scan": "scan", "validation": f"suite {suite}"}.get(row.kind, f"{row.kind} of another tool")
        said = f"{what}: {row.outcome}, {row.made_at} by {row.made_by}"
        problems = _hashed(row.body, row.digest)
        statement = None if row.statement is None else self._view.statement(row.statement)
        if row.statement is None:
            return _Found(said, "", problems)
        if statement is None:
            return _Found(said, "", (*problems, "its signed statement is gone"))
        proof = self.row(statement, ours=True)
        if not _names_report(statement, row):
            problems = (*problems, "its signed statement is about another report")
        return _Found(
            said, proof.signed_by, (*problems, *(f"its statement: {one}" for one in proof.problems))
        )

    @_look.register
    def _(self, row: Statement) -> _Found:
        said = f"statement: {_SAID.get(row.predicate, row.predicate)}, {row.made_at}"
        problems = _hashed(row.payload, row.digest)
        try:
            return _Found(said, str(self._signers.home(row)), problems)
        except (SignatureWrong, SignatureUncheckable, NotCanonical) as refusal:
            return _Found(said, "", (*problems, str(refusal)))

    @_look.register
    def _(self, row: Approval) -> _Found:
        kind = "rejection" if row.decision == approvals_payload.REJECT else "approval"
        return self._signed(row, f"{kind} by {row.person} for {row.tier}, {row.made_at}")

    @_look.register
    def _(self, row: Decision) -> _Found:
        kind = "BREAK-GLASS" if row.kind == Kind.BREAK_GLASS else f"decision {row.kind}"
        return self._signed(row, f"{kind} by {row.person}, {row.made_at}")

    @_look.register
    def _(self, row: ApprovalRequest) -> _Found:
        asked = row.requested_by or "nobody (opened by who signed)"
        return _Found(f"request by {asked} for {row.tier}, {row.since}", "", _hashed(row.body, row.digest))

    @_look.register
    def _(self, row: Document) -> _Found:
        said = f"{row.kind} {row.name}, taken in {row.added_at} by {row.added_by}"
        return _Found(said, "", _hashed(row.body, row.digest))

    @_look.register
    def _(self, row: Version) -> _Found:
        said = f"{row.model}@{row.ordinal}, taken in {row.added_at} by {row.added_by}"
        return _Found(said, "", _hashed(row.manifest, row.digest))

    @_look.register
    def _(self, row: Import) -> _Found:
        said = f"bundle {row.bundle}, taken in {row.imported_at} by {row.actor}"
        return _Found(said, "", _hashed(row.body, row.digest))

    @_look.register
    def _(self, row: Export) -> _Found:
        said = f"bundle {row.bundle} for {row.site}, packed {row.made_at} by {row.actor}"
        return _Found(said, "", _hashed(row.body, row.digest))

    @_look.register
    def _(self, row: ModelSignature) -> _Found:
        said = f"{row.source}'s signature over the files by {row.signer}, judged {row.outcome} {row.since}"
        return _Found(said, "", _hashed(row.body, row.digest))

    @_look.register
    def _(self, row: Custody) -> _Found:
        return _Found(f"volume {row.volume} of {row.of} read back: {row.outcome}, {row.since} by {row.actor}")

    @_look.register
    def _(self, row: Pin) -> _Found:
        said = f"{row.kind} {row.position} of {row.tier}: {row.model}@{row.ordinal}, {row.since}"
        return _Found(f"{said} by {row.actor}")

    @_look.register
    def _(self, row: TierPolicy) -> _Found:
        return _Found(f"policy {row.position} of {row.tier}, {row.since} by {row.actor}")

    @_look.register
    def _(self, row: Person) -> _Found:
        stands = "registered" if row.active else "left"
        return _Found(f"{row.name} {stands} as {row.roles}, {row.since}")

    @_look.register
    def _(self, row: Withdrawal) -> _Found:
        return _Found(f"withdrawn {row.since} by {row.actor}: {row.reason}")

    def _signed(self, row: Approval | Decision, said: str) -> _Found:
        problems = _hashed(row.payload, row.digest)
        try:
            made = self.signature(row)
        except (PersonSignatureWrong, PersonSignatureUncheckable) as refusal:
            return _Found(said, "", (*problems, str(refusal)))
        return _Found(said, f"{row.person} ({described(made)})", problems)


def described(made: PersonSignature) -> str:
    """How a signature was made, in words: its key, and whether a token was touched and given its PIN."""
    how = [made.fingerprint, "hardware key" if made.hardware else "key in a file"]
    how += [word for word, true in (("touched", made.touched), ("PIN given", made.pin_given)) if true]
    return ", ".join(how)


def predicate_of(row: Statement) -> dict[str, Any]:
    """What a statement says; nothing where it cannot be read any more."""
    try:
        read = statements.read_statement(row.payload.encode())
    except NotCanonical:
        return {}
    return dict(read.predicate)


def _missing(digest: str) -> Proof:
    problem = "nothing is recorded under this digest here"
    return Proof(digest, "unknown", "evidence that is gone", "", None, (problem,))


def _hashed(text: str, digest: str) -> tuple[str, ...]:
    return () if sha256_hex(text.encode()) == digest else ("its bytes are not what was recorded",)


def _names_report(statement: Statement, row: Report) -> bool:
    """Whether a statement is about the report's version and names the report."""
    try:
        raw = parse(statement.payload.encode(), max_bytes=_BYTES, at="statement")
        about = {one["digest"]["sha256"] for one in raw["subject"]}
    except (NotCanonical, KeyError, TypeError):
        return False
    return row.version in about and row.digest in statement.payload
