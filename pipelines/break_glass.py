"""Break-glass: one steward promotes past what is only late, signed and loud; another person reviews it afterwards.

The promotion is judged in the transaction that pins, like any other; what the person signed names every check that is
overridden and the page that they read. If either is another one by then, nothing happens.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from pipelines.approval_page import question
from pipelines.approve import recorded, request_row
from pipelines.case import Case, case, once_in_force
from pipelines.decide import card_issuers, request_decision, signers
from pipelines.promote import append_pin
from pipelines.workplace import Workplace
from registry import break_glass, decisions
from registry.approval_requests import BREAK_GLASS, NotAsShown, Question
from registry.audit import EventKind
from registry.break_glass import BreakGlassRefused, Review
from registry.decisions import DecisionUnreadable, Kind, Request
from registry.entities import Decision, Pin
from registry.errors import NotFound
from registry.names import Ref
from registry.policy import Policy
from registry.signed import Signed
from registry.store import Change
from registry.views import View
from signing import person_signature
from signing.errors import OperatorError
from signing.person_refusals import PersonSignatureUncheckable, PersonSignatureWrong
from signing.times import rfc3339

_PREFIX = 8  # hex digits of a digest that name a decision


class ReviewRefused(OperatorError):
    """A review by the person who broke the glass, or with their key."""

    exit_code: ClassVar[int] = 204
    next_step: ClassVar[str] = (
        "Have another person review it, with their own key: a steward or an auditor; `tidegate people list` shows who is."
    )

    def __init__(self, digest: str, problem: str) -> None:
        super().__init__(f"break-glass {digest[:12]}: {problem}")
        self.digest, self.problem = digest, problem


# -- breaking it ------------------------------------------------------------------------------------------


def request_break_glass(
    work: Workplace, ref: Ref, tier: str, person: str, *, reason: str
) -> tuple[Question, bytes]:
    """Return the page, and what the person is asked to sign. Raises `BreakGlassRefused`, `NotFound`."""
    with work.store.view() as view:
        found = case(work, view, ref, tier)
        checks = break_glass.overridden(str(ref), tier, found.findings)
        asked = question(work, view, found, action=BREAK_GLASS)
    message = request_decision(
        work,
        Kind.BREAK_GLASS,
        found.version.digest,
        person,
        reason=reason,
        details={
            "tier": tier,
            "model": found.version.model,
            "checks": checks,
            "page_sha256": asked.shown_sha256,
        },
        expires_at=work.now + break_glass.LIFE,
    )
    return asked, message


def promote_by_break_glass(
    work: Workplace, ref: Ref, tier: str, person: str, *, payload: bytes, signature: str
) -> tuple[Case, Pin]:
    """Pin a version on one steward's signed word.

    Raises:
        BreakGlassRefused: something is against it that nobody may override; or nothing is; or it was used before.
        NotAsShown: the page or the checks are others by now.
        PersonSignatureWrong, PersonSignatureUncheckable, DecisionUnreadable: it is not this steward's word.
    """
    signed = Signed(payload, signature, person)
    with work.home.using_store(), work.store.change(actor=work.actor, now=work.now) as change:
        request = _authentic(work, change, signed)
        found = case(work, change, ref, tier)
        demand_keys(work, change, signed, request, found.rules)
        asked = _demand_same(work, change, ref, found, request)
        if any(row.digest == signed.digest for row in change.decisions(str(Kind.BREAK_GLASS))):
            raise BreakGlassRefused(str(ref), tier, "this signature was used for a promotion already")
        row = _decision(work, request, signed)
        opened = [] if recorded(change, asked) else [request_row(work, asked)]
        note = {name: request.details[name] for name in ("tier", "model", "checks")}
        change.record(EventKind.BREAK_GLASS, request.subject, *opened, row, note=note)
        pin = append_pin(work, change, found, kind="promote", reason=request.reason, override=row.digest)
    return found, pin


def _authentic(work: Workplace, view: View, signed: Signed) -> Request:
    cards = card_issuers(work, view)
    people = signers(work, view)
    return decisions.authenticate(signed, people, home=work.home.name, now=work.now, cards=cards)[0]


def demand_keys(work: Workplace, view: View, signed: Signed, request: Request, rules: Policy) -> None:
    """Hold the signature against what the tier demands of approvals: breaking the glass asks for no less."""
    known = next(one for one in signers(work, view) if one.name == signed.person)
    cards = card_issuers(work, view)
    made = person_signature.verify(
        signed.signature,
        signed.payload,
        namespace=decisions.NAMESPACE,
        public_key=known.public_key_line,
        require_touch=rules.hardware_keys,
        require_pin=rules.hardware_keys,
        at=request.issued_at,
        anchors=cards.anchors,
        crls=cards.crls,
    )
    if made.method not in rules.approval_methods:
        taken = " or ".join(rules.approval_methods)
        raise PersonSignatureWrong(f"made by {made.method}, and the tier takes {taken}")


def _demand_same(work: Workplace, change: Change, ref: Ref, found: Case, request: Request) -> Question:
    """Refuse a decision about something else, or one that was made looking at something else."""
    if request.kind is not Kind.BREAK_GLASS:
        raise DecisionUnreadable(f"is {request.kind}", at="decision.kind")
    subject = (request.subject, request.details["tier"], request.details["model"])
    if subject != (found.version.digest, found.tier, found.version.model):
        raise DecisionUnreadable("is another version, tier or model", at="decision.subject")
    checks = break_glass.overridden(str(ref), found.tier, found.findings)
    asked = question(work, change, found, action=BREAK_GLASS)
    if checks != request.details["checks"]:
        raise NotAsShown(str(ref), f"the checks to override are {', '.join(checks)} by now")
    if asked.shown_sha256 != request.details["page_sha256"]:
        raise NotAsShown(str(ref), "the page is another one by now")
    return asked


def _decision(work: Workplace, request: Request, signed: Signed) -> Decision:
    return Decision(
        digest=signed.digest,
        kind=str(request.kind),
        subject=request.subject,
        person=request.person,
        payload=signed.payload.decode(),
        signature=signed.signature,
        made_at=rfc3339(work.now),
    )


# -- reviewing it -----------------------------------------------------------------------------------------


def request_review(work: Workplace, digest: str, verdict: str, person: str, *, reason: str) -> bytes:
    """Return what a reviewer is asked to sign. Raises `NotFound`, `ReviewRefused`."""
    with work.store.view() as view:
        subject = _broken(view, digest)
        _demand_other(view, subject, person)
    return request_decision(
        work, Kind.REVIEW, subject.digest, person, reason=reason, details={"verdict": verdict}
    )


def record_review(work: Workplace, digest: str, person: str, *, payload: bytes, signature: str) -> Decision:
    """Keep a review; the same one again is no change.

    Raises:
        NotFound: no such break-glass.
        ReviewRefused: by who broke the glass, or with their key.
        PersonSignatureWrong, PersonSignatureUncheckable, DecisionUnreadable: see `registry.decisions.authenticate`.
    """
    signed = Signed(payload, signature, person)
    with work.store.change(actor=work.actor, now=work.now) as change:
        request = _authentic(work, change, signed)
        subject = _broken(change, digest)
        if (request.kind, request.subject) != (Kind.REVIEW, subject.digest):
            raise DecisionUnreadable("is no review of this break-glass", at="decision.subject")
        _demand_other(change, subject, person)
        held = [row for row in change.decisions(str(Kind.REVIEW)) if row.digest == signed.digest]
        if held:
            return held[0]
        row = _decision(work, request, signed)
        change.record(EventKind.REVIEWED, subject.digest, row, note=dict(request.details))
    return row


def _broken(view: View, digest: str) -> Decision:
    found = [row for row in view.decisions(str(Kind.BREAK_GLASS)) if row.digest.startswith(digest)]
    if len(found) != 1 or len(digest) < _PREFIX:
        raise NotFound("break-glass", digest)
    return found[0]


def _demand_other(view: View, broken: Decision, person: str) -> None:
    """Refuse a review by the same person or by any key that they ever had."""
    if person.strip().casefold() == broken.person.strip().casefold():
        raise ReviewRefused(broken.digest, f"{person} broke the glass")
    own, theirs = _keys(view, broken.person), _keys(view, person)
    if own & theirs:
        raise ReviewRefused(
            broken.digest, f"{person} signs with a key of {broken.person}, who broke the glass"
        )


def _keys(view: View, person: str) -> set[str]:
    return {person_signature.key_material(row.public_key) for row in view.person_history(person)}


# -- showing it -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Override:
    """A line of a tier's history that rests on one person's word, and what others said of it."""

    pin: Pin
    decision: Decision
    person: str
    reason: str
    checks: tuple[str, ...]
    reviews: tuple[Review, ...]

    @property
    def said(self) -> str:
        """In words, for every listing."""
        return f"BREAK-GLASS by {self.person}, {break_glass.in_words(self.reviews)}"

    def document(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            "decision": self.decision.digest,
            "version": self.pin.version,
            "model": self.pin.model,
            "ordinal": self.pin.ordinal,
            "tier": self.pin.tier,
            "position": self.pin.position,
            "since": self.pin.since,
            "person": self.person,
            "reason": self.reason,
            "checks": list(self.checks),
            "reviews": [vars(one) for one in self.reviews],
        }


def overrides(work: Workplace, view: View) -> list[Override]:
    """Every pin that rests on break-glass, oldest first."""
    return [_override(work, view, pin) for pin in view.overridden()]


def _override(work: Workplace, view: View, pin: Pin) -> Override:
    held = [row for row in view.decisions(str(Kind.BREAK_GLASS)) if row.digest == pin.override]
    try:
        row = held[0]
        request = decisions.decode(row.payload.encode())
    except (IndexError, DecisionUnreadable):
        return _damaged(pin)
    return Override(
        pin,
        row,
        person=row.person,
        reason=request.reason,
        checks=tuple(request.details["checks"]),
        reviews=tuple(_reviews(work, view, row)),
    )


def _damaged(pin: Pin) -> Override:
    """What is left when somebody took the decision out or edited it: nobody may silence it that way."""
    row = Decision(
        digest=pin.override or "",
        kind=str(Kind.BREAK_GLASS),
        subject=pin.version,
        person="nobody on record",
        payload="",
        signature="",
        made_at=pin.since,
    )
    reason = "the decision was taken out or edited; `tidegate audit verify` says more"
    return Override(pin, row, person=row.person, reason=reason, checks=("unknown checks",), reviews=())


def _reviews(work: Workplace, view: View, broken: Decision) -> list[Review]:
    found = []
    for row in view.decisions(str(Kind.REVIEW), broken.digest):
        if row.person.casefold() == broken.person.casefold() or not _signed_here(work, view, row):
            continue
        request = decisions.decode(row.payload.encode())
        verdict = str(request.details["verdict"])
        found.append(Review(row.digest, row.person, verdict, request.reason, rfc3339(request.issued_at)))
    return found


def _signed_here(work: Workplace, view: View, row: Decision) -> bool:
    """Whether the payload was signed by a key that the person had here, also by somebody who has left since."""
    for known in once_in_force(work, view, {row.person}):
        try:
            person_signature.verify(
                row.signature,
                row.payload.encode(),
                namespace=decisions.NAMESPACE,
                public_key=known.public_key_line,
            )
        except (PersonSignatureWrong, PersonSignatureUncheckable):
            continue
        return True
    return False


def loud(work: Workplace, view: View) -> list[str]:
    """A line for each break-glass that nobody has reviewed: said after every command, until somebody does."""
    return [
        f"BREAK-GLASS: {item.pin.tier} was given {item.pin.model}@{item.pin.ordinal} on {item.pin.since} on {item.person}'s "
        f"word alone, past {', '.join(item.checks)}. Nobody has reviewed it. "
        f"Next: tidegate approvals review {item.decision.digest[:12]} --verdict upheld|objected"
        for item in overrides(work, view)
        if not item.reviews
    ]
