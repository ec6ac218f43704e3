"""Who decided that a tier serves what it serves, with which key, on what they saw, and what they did not sign for."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.questions.allowing import judged_again, judged_line, requests_of
from pipelines.questions.judging import Judgement
from pipelines.questions.proving import Proof, Prover, described
from pipelines.questions.reading import members, page_of
from pipelines.questions.serving import Served, evidence_of, served_once
from pipelines.workplace import Workplace
from registry import approvals_payload
from registry.approvals_payload import ApprovalUnreadable
from registry.decisions import Kind
from registry.entities import Approval, Decision, Pin
from registry.views import View
from signing.digests import sha256_hex
from signing.person_signature import PersonSignatureUncheckable, PersonSignatureWrong


@dataclass(frozen=True)
class Word:
    """What one person said about a version, and what they saw when they did."""

    person: str
    decision: str  # approve, reject, break-glass, review with its verdict
    at: str
    reason: str
    counted: bool  # it stands among the evidence of the pin, and counted then
    how: str  # the key, and whether a token was touched and given its PIN
    request: str | None  # digest of the request that was answered
    shown_sha256: str | None  # of the page, as it was signed
    shown: str | None  # the page, word for word; None where no page with that SHA-256 is on record
    not_signed: tuple[str, ...]  # pieces that the line rests on and that this signature does not cover
    proof: Proof

    def document(self) -> dict[str, Any]:
        """The word for programs."""
        return {**vars(self), "not_signed": list(self.not_signed), "proof": self.proof.document()}


@dataclass(frozen=True)
class Decided:
    """Everybody's word on one line of a tier's history."""

    served: Served
    words: tuple[Word, ...]  # oldest first
    problems: tuple[str, ...]  # words that the log has and the table has not; a line that is not proved

    @property
    def doubts(self) -> list[str]:
        """What does not hold, in words."""
        return [*(word.proof.doubt for word in self.words if not word.proof.verified), *self.problems]

    def document(self) -> dict[str, Any]:
        """The answer for programs."""
        words = [word.document() for word in self.words]
        return {"served": self.served.document(), "words": words, "problems": list(self.problems)}


def decided(work: Workplace, view: View, tier: str, model: str, *, at: str | None = None) -> Decided:
    """Return everybody's word on what a tier serves, or served. Raises `NotFound`."""
    prover = Prover(work, view)
    line, lines = served_once(prover, view, tier, model, at=at)
    return words_on(prover, view, line, lines)


def words_on(prover: Prover, view: View, line: Served, lines: Sequence[Pin]) -> Decided:
    """Return everybody's word on one line of a tier's history."""
    pin = judged_line(line.pin, lines)
    pages = {row.digest: text for row in requests_of(view, pin) if (text := page_of(row)) is not None}
    answers, broken = view.approvals(pin.version, pin.tier), list(_broken(view, pin))
    judgement = judged_again(prover, view, line.pin, lines)
    words = [_answer(prover, row, pin, pages, judgement) for row in answers]
    words += [_decision(prover, row, pin, pages) for row in broken]
    problems = [line.problem] if line.problem else []
    problems += _gone(prover, pin, answers, broken)
    problems += _unsaid(judgement, pin)
    return Decided(line, tuple(sorted(words, key=lambda word: word.at)), tuple(problems))


def _unsaid(judgement: Judgement, pin: Pin) -> Iterator[str]:
    """That fewer people said yes than the policy asked for; a break-glass is one person's word, and says so."""
    if judgement.short is not None and pin.override is None:
        said = judgement.short if judgement.counted else "nobody's word is on record"
        yield f"{said}, and the policy asked for {judgement.needed}"


def _answer(prover: Prover, row: Approval, pin: Pin, pages: Mapping[str, str], judgement: Judgement) -> Word:
    evidence = evidence_of(pin)
    try:
        said, _ = approvals_payload.decode(row.payload.encode())
    except ApprovalUnreadable:
        said = None
    page = pages.get(said.request or "") if said else None
    people = {one.digest for one in _people_in(prover, evidence)}
    return Word(
        person=row.person,
        decision=row.decision or approvals_payload.APPROVE,
        at=row.made_at,
        reason=said.reason if said else "not readable any more",
        counted=row.digest in judgement.counted,
        how=_how(prover, row),
        request=said.request if said else None,
        shown_sha256=said.shown_sha256 if said else None,
        shown=page if said and page and sha256_hex(page.encode()) == said.shown_sha256 else None,
        not_signed=tuple(one for one in evidence if said and one not in {*said.evidence, *people}),
        proof=prover.row(row),
    )


def _decision(prover: Prover, row: Decision, pin: Pin, pages: Mapping[str, str]) -> Word:
    said = members(row.payload)
    reason, held = str(said.get("reason", "not readable any more")), said.get("details")
    details = held if isinstance(held, dict) else {}
    shown = details.get("page_sha256")
    matching = [text for text in pages.values() if sha256_hex(text.encode()) == shown]
    verdict = f" {details['verdict']}" if "verdict" in details else ""
    return Word(
        person=row.person,
        decision=f"{row.kind}{verdict}",
        at=row.made_at,
        reason=reason,
        counted=row.digest == pin.override,
        how=_how(prover, row),
        request=None,
        shown_sha256=shown,
        shown=matching[0] if matching else None,
        not_signed=(),
        proof=prover.row(row),
    )


def _people_in(prover: Prover, evidence: Sequence[str]) -> Iterator[Proof]:
    """The pieces of evidence that are people's own words: nobody signs for another's."""
    for digest in evidence:
        proof = prover.prove(digest)
        if proof.kind in (Approval.label, Decision.label):
            yield proof


def _broken(view: View, pin: Pin) -> Iterator[Decision]:
    """The break-glass that a line rests on, and its reviews."""
    if pin.override is None:
        return
    yield from (row for row in view.decisions(str(Kind.BREAK_GLASS)) if row.digest == pin.override)
    yield from view.decisions(str(Kind.REVIEW), pin.override)


def _gone(prover: Prover, pin: Pin, answers: Sequence[Approval], broken: Sequence[Decision]) -> Iterator[str]:
    """Words that the log has about this version and tier, and that were taken out of their table."""
    told = prover.recorded.removed(Approval.label, prover.recorded.entries(subject=pin.version), answers)
    for event, said in told:
        if said["tier"] == pin.tier:
            what = said.get("decision") or approvals_payload.APPROVE
            yield f"what {said['person']} said ({what}), recorded by event {event}, was taken out of the table"
    if pin.override is None:
        return
    entries = [
        *prover.recorded.entries(subject=pin.override),
        *prover.recorded.entries(subject=pin.version),
    ]
    for event, said in prover.recorded.removed(Decision.label, entries, broken):
        if pin.override in (said["digest"], said["subject"]):
            yield f"{said['kind']} by {said['person']}, recorded by event {event}, was taken out of the table"


def _how(prover: Prover, row: Approval | Decision) -> str:
    try:
        return described(prover.signature(row))
    except (PersonSignatureWrong, PersonSignatureUncheckable) as refusal:
        return f"signature not verified: {refusal}"
