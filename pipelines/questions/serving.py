"""What served in a tier on a date, why it was allowed, and who decided on what they saw."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.questions.proving import Proof, Prover, described
from pipelines.workplace import Workplace
from registry import approval_requests, approvals_payload
from registry.decisions import Kind
from registry.entities import Approval, ApprovalRequest, Decision, Pin, Statement
from registry.errors import NotFound
from registry.views import View
from signing import statements, summaries
from signing.canonical import parse
from signing.digests import sha256_hex
from signing.person_signature import PersonSignatureUncheckable, PersonSignatureWrong

_BYTES = 16 << 20


@dataclass(frozen=True)
class Served:
    """One line of a tier's history, and until when it held."""

    pin: Pin
    until: str | None  # None: it still does
    event: int | None
    problem: str | None  # why the line is not proved; None when it is

    def document(self) -> dict[str, Any]:
        """The line for programs."""
        content = {**self.pin.content(), "evidence": json.loads(self.pin.evidence)}
        return {**content, "until": self.until, "event": self.event, "problem": self.problem}


def served(
    work: Workplace, view: View, *, tier: str | None = None, model: str | None = None, at: str | None = None
) -> list[Served]:
    """Return what each tier served of each model at a moment, or serves now.

    Args:
        at: RFC 3339, UTC. None: now.
    """
    prover = Prover(work, view)
    pins = [row for row in view.pins(at=at) if tier in (None, row.tier) and model in (None, row.model)]
    return [_served(prover, view, row) for row in pins]


def served_once(work: Workplace, view: View, tier: str, model: str, *, at: str | None = None) -> Served:
    """Return the one line that the questions below are about. Raises `NotFound`: nothing served then."""
    view.tier(tier)
    found = served(work, view, tier=tier, model=model, at=at)
    if not found:
        raise NotFound("pin", f"{tier} of {model}" + (f" at {at}" if at else ""))
    return found[0]


def _served(prover: Prover, view: View, row: Pin) -> Served:
    later = [line for line in view.pin_history(row.tier, row.model) if line.position == row.position + 1]
    event = next(
        (
            entry.position
            for entry in view.events(subject=row.version)
            for label, content in entry.rows
            if label == Pin.label and content == row.content()
        ),
        None,
    )
    problem = "no event recorded this line" if event is None else prover.in_log(event)
    return Served(row, later[0].since if later else None, event, problem)


@dataclass(frozen=True)
class Allowed:
    """Why a version may serve: the gate's own signed answer, and every piece of evidence, looked at again."""

    served: Served
    policy: dict[str, Any] | None  # of the tier, as it was then
    verdict: str | None  # PASSED, FAILED (overridden), None before there were summaries
    overridden: tuple[str, ...]
    proofs: tuple[Proof, ...]

    @property
    def verified(self) -> bool:
        """Whether everything that the answer rests on holds now."""
        return self.served.problem is None and all(proof.verified for proof in self.proofs)

    def document(self) -> dict[str, Any]:
        """The answer for programs."""
        return {
            "served": self.served.document(),
            "policy": self.policy,
            "verdict": self.verdict,
            "overridden": list(self.overridden),
            "evidence": [proof.document() for proof in self.proofs],
            "verified": self.verified,
        }


def why(work: Workplace, view: View, tier: str, model: str, *, at: str | None = None) -> Allowed:
    """Say why a tier serves, or served, what it does. Raises `NotFound`."""
    line = served_once(work, view, tier, model, at=at)
    pin, prover = line.pin, Prover(work, view)
    said = [row for row in view.statements(pin.version) if _about(row, pin)]
    summary = next((row for row in reversed(said) if row.predicate == summaries.VSA), None)
    digests = [pin.version, *json.loads(pin.evidence), *([pin.override] if pin.override else [])]
    documents = [one for one in (pin.contract, pin.profile, pin.router, pin.companions) if one]
    asked = [row.digest for row in _requests(view, pin)]
    everything = dict.fromkeys([*digests, *documents, *asked, *(row.digest for row in said)])
    predicate = _predicate(summary) if summary else {}
    policy = [row for row in view.tier_history(tier) if row.since <= pin.since]
    return Allowed(
        served=line,
        policy=json.loads(policy[-1].body) if policy else None,
        verdict=predicate.get("verificationResult"),
        overridden=tuple(predicate.get(summaries.OVERRIDDEN, ())),
        proofs=tuple(prover.prove(digest) for digest in everything),
    )


def _about(row: Statement, pin: Pin) -> bool:
    """Whether a statement is the pin's own, or the gate's answer for it."""
    predicate = _predicate(row)
    if row.predicate == statements.PIN:
        return (predicate.get("tier"), predicate.get("position")) == (pin.tier, pin.position)
    place = str(predicate.get("resourceUri", "")).removeprefix("tidegate://").partition("/")[2]
    return row.predicate == summaries.VSA and (place, predicate.get("timeVerified")) == (
        f"{pin.tier}/{pin.model}",
        pin.since,
    )


def _predicate(row: Statement) -> dict[str, Any]:
    raw: dict[str, Any] = parse(row.payload.encode(), max_bytes=_BYTES, at="statement")
    predicate: dict[str, Any] = raw["predicate"]
    return predicate


@dataclass(frozen=True)
class Word:
    """What one person said about a version, and what they saw when they did."""

    person: str
    decision: str  # approve, reject, break-glass, review
    at: str
    reason: str
    counted: bool  # it stands among the evidence of the pin
    how: str  # the key, and whether a token was touched and given its PIN
    request: str | None  # digest of the request that was answered
    shown: str | None  # the page, word for word; None where nothing is on record
    proof: Proof

    def document(self) -> dict[str, Any]:
        """The word for programs."""
        return {**vars(self), "proof": self.proof.document()}


def decided(work: Workplace, view: View, tier: str, model: str, *, at: str | None = None) -> list[Word]:
    """Return everybody's word on what a tier serves, or served, oldest first. Raises `NotFound`."""
    pin = served_once(work, view, tier, model, at=at).pin
    prover, evidence = Prover(work, view), set(json.loads(pin.evidence))
    pages = {row.digest: _page(row) for row in _requests(view, pin)}
    found = [
        _approval(prover, row, pages, counted=row.digest in evidence)
        for row in view.approvals(pin.version, tier)
    ]
    found += [_decision(prover, row, pages, pin) for row in _broken(view, pin)]
    return sorted(found, key=lambda word: word.at)


def _requests(view: View, pin: Pin) -> Sequence[ApprovalRequest]:
    return [row for row in view.approval_requests(pin.version, pin.tier) if row.since <= pin.since]


def _page(row: ApprovalRequest) -> str | None:
    """What was shown, if the row still is what was recorded."""
    return approval_requests.read(row).page if approval_requests.intact(row) else None


def _approval(prover: Prover, row: Approval, pages: dict[str, str | None], *, counted: bool) -> Word:
    answer, _ = approvals_payload.decode(row.payload.encode())
    return Word(
        person=row.person,
        decision=row.decision or approvals_payload.APPROVE,
        at=row.made_at,
        reason=answer.reason,
        counted=counted,
        how=_how(prover, row),
        request=answer.request,
        shown=pages.get(answer.request or ""),
        proof=prover.prove(row.digest),
    )


def _broken(view: View, pin: Pin) -> Iterator[Decision]:
    """The break-glass that a pin rests on, and its reviews."""
    for row in view.decisions(str(Kind.BREAK_GLASS)):
        if row.digest == pin.override:
            yield row
    for row in view.decisions(str(Kind.REVIEW)):
        if row.subject == pin.override:
            yield row


def _decision(prover: Prover, row: Decision, pages: dict[str, str | None], pin: Pin) -> Word:
    payload = json.loads(row.payload)
    shown = payload["details"].get("page_sha256")
    page = next(
        (text for text in pages.values() if text is not None and sha256_hex(text.encode()) == shown), None
    )
    return Word(
        person=row.person,
        decision=row.kind,
        at=row.made_at,
        reason=payload["reason"],
        counted=row.digest == pin.override,
        how=_how(prover, row),
        request=None,
        shown=page,
        proof=prover.prove(row.digest),
    )


def _how(prover: Prover, row: Approval | Decision) -> str:
    try:
        return described(prover.signature(row))
    except (PersonSignatureWrong, PersonSignatureUncheckable) as refusal:
        return f"signature not verified: {refusal}"
