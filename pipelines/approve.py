"""Approving and rejecting: what people are asked, what a person is asked to sign, and taking in what they signed.

The signature is checked when it arrives, so that a wrong key is known at once; whether an approval counts is
judged at the gate, each time anew (`registry.approvals`).
"""

import secrets
from dataclasses import dataclass, fields
from datetime import timedelta

from pipelines.approval_page import question
from pipelines.case import Case, case
from pipelines.decide import signers
from pipelines.evidence import approval_statement
from pipelines.workplace import Workplace
from registry import approval_requests, approvals
from registry.approval_requests import NotAsShown, Question
from registry.approvals import CLOCK_SKEW, LIFE, REJECTION_LIFE, STEWARD
from registry.approvals import Person as Signer
from registry.approvals_payload import APPROVE, NAMESPACE, PROMOTE, REJECT, Answer, ApprovalUnreadable
from registry.audit import EventKind
from registry.entities import Approval, ApprovalRequest
from registry.errors import NotFound
from registry.names import Ref
from registry.store import Change
from registry.views import View
from signing import person_signature
from signing.digests import sha256_hex
from signing.times import rfc3339

_LIVES = {APPROVE: LIFE, REJECT: REJECTION_LIFE}


# -- asking -----------------------------------------------------------------------------------------------


def ask(work: Workplace, ref: Ref, tier: str, *, reason: str) -> ApprovalRequest:
    """Put a version before the stewards; whoever acts has asked, and cannot approve it. The same again is no change."""
    with work.store.change(actor=work.actor, now=work.now) as change:
        found = case(work, change, ref, tier)
        asked = question(work, change, found, requested_by=work.actor, reason=reason)
        return _keep(work, change, asked)


def keep_question(work: Workplace, asked: Question) -> ApprovalRequest:
    """Put a question on record that a person carries away to sign elsewhere."""
    with work.store.change(actor=work.actor, now=work.now) as change:
        return _keep(work, change, asked)


def _keep(work: Workplace, change: Change, asked: Question) -> ApprovalRequest:
    held = recorded(change, asked)
    if held is not None:
        return held
    row = request_row(work, asked)
    change.record(EventKind.APPROVAL_REQUESTED, asked.version, row)
    return row


def recorded(view: View, asked: Question) -> ApprovalRequest | None:
    """The row of a question, if it is on record."""
    rows = view.approval_requests(asked.version, asked.tier)
    return next((row for row in rows if row.digest == asked.digest), None)


def request_row(work: Workplace, asked: Question) -> ApprovalRequest:
    """The row of a question, not recorded yet."""
    return ApprovalRequest(
        digest=asked.digest,
        version=asked.version,
        tier=asked.tier,
        action=asked.action,
        body=asked.body.decode(),
        requested_by=asked.requested_by or "",
        since=rfc3339(work.now),
        actor=work.actor,
    )


def open_question(work: Workplace, view: View, found: Case) -> Question:
    """What stands before the stewards now: the newest request about exactly these facts, else the bare question."""
    bare = question(work, view, found)
    rows = view.approval_requests(found.version.digest, found.tier)
    known = [
        approval_requests.read(row) for row in rows if row.action == PROMOTE and approval_requests.intact(row)
    ]
    return next((asked for asked in reversed(known) if asked.same_facts(bare)), bare)


# -- answering --------------------------------------------------------------------------------------------


def request_approval(
    work: Workplace,
    ref: Ref,
    tier: str,
    *,
    reason: str,
    decision: str = APPROVE,
    life: timedelta | None = None,
    shown: str | None = None,
) -> tuple[Question, Answer]:
    """Return what a steward looks at, and what they are asked to sign about it.

    Args:
        life: how long it holds; by default 72 hours for an approval, 90 days for a rejection.
        shown: the beginning of the SHA-256 of the page that they have read.

    Raises:
        NotAsShown: the page is another one now.
    """
    with work.store.view() as view:
        found = case(work, view, ref, tier)
        asked = open_question(work, view, found)
    if shown is not None and not asked.shown_sha256.startswith(shown):
        raise NotAsShown(f"{ref} for {tier}", f"the page is {asked.shown_sha256[:12]} now, not {shown[:12]}")
    return asked, Answer(
        digest=asked.version,
        model=asked.model,
        ordinal=asked.ordinal,
        action=PROMOTE,
        tier=tier,
        site=work.home.name,
        evidence=found.evidence,
        reason=reason,
        issued_at=work.now,
        expires_at=work.now + (life or _LIVES[decision]),
        nonce=secrets.token_hex(16),
        requested_by=asked.requested_by,
        decision=decision,
        shown_sha256=asked.shown_sha256,
        request=asked.digest,
        policy=asked.policy,
    )


def record_approval(
    work: Workplace,
    ref: Ref,
    tier: str,
    person: str,
    *,
    payload: bytes,
    signature: str,
    decision: str = APPROVE,
) -> Approval:
    """Keep a person's signed answer; the same one again is no change. It is judged at the gate, each time anew.

    Args:
        payload: the exact bytes that were signed; signature before content, nothing unsigned is parsed.

    Raises:
        NotFound: no such version, tier or person.
        PersonSignatureWrong, PersonSignatureUncheckable: the person's registered key did not sign this.
        ApprovalUnreadable: it is no such answer, or one of another version, tier, person or site.
        NotAsShown: what they were shown is not on record, and is not what stands there now.
    """
    with work.store.change(actor=work.actor, now=work.now) as change:
        version, known = change.version(ref), signer(work, change, person)
        change.tier(tier)
        key = known.public_key_line
        made = person_signature.verify(signature, payload, namespace=NAMESPACE, public_key=key)
        answer, named = approvals.decode(payload)
        wanted = ApprovalSubject(version.digest, tier, work.home.name, PROMOTE, decision, person)
        ApprovalSubject.of(answer, named).demand(wanted)
        held = [row for row in change.approvals(version.digest, tier) if row.digest == sha256_hex(payload)]
        if held:
            return held[0]
        _demand_binding(work, answer, known)
        row = Approval(
            digest=sha256_hex(payload),
            version=answer.digest,
            tier=answer.tier,
            person=person,
            payload=payload.decode(),
            signature=signature,
            made_at=rfc3339(work.now),
            decision=answer.decision,
            request=answer.request,
        )
        opened = _question_of(work, change, Ref(version.model, ordinal=version.ordinal), answer)
        subject = f"{version.model}@{version.ordinal}"
        statement = approval_statement(work, row, subject=subject, fingerprint=made.fingerprint)
        kind = EventKind.REJECTED if answer.decision == REJECT else EventKind.APPROVED
        change.record(kind, answer.digest, *opened, row, statement)
    return row


def _demand_binding(work: Workplace, answer: Answer, person: Signer) -> None:
    """Refuse an answer that no gate could ever count, or that nobody could ever take back."""
    if answer.old:
        raise ApprovalUnreadable(
            "an older release made it; it binds nothing that was shown", at="approval.format"
        )
    if answer.issued_at > work.now + CLOCK_SKEW:
        raise ApprovalUnreadable("lies in the future", at="approval.issued_at")
    if answer.decision == REJECT and STEWARD not in person.roles:
        raise ApprovalUnreadable(f"{person.name} is no steward", at="approval.person")


def _question_of(work: Workplace, change: Change, ref: Ref, answer: Answer) -> list[ApprovalRequest]:
    """The request that is answered, if it is not on record yet: made anew, it has to be the one that was signed."""
    rows = change.approval_requests(answer.digest, answer.tier)
    pages = approval_requests.shown(rows)
    if answer.request in pages:
        if pages[answer.request] != answer.shown_sha256:
            raise NotAsShown(str(ref), "what was signed names a page that this request did not show")
        return []
    bare = question(work, change, case(work, change, ref, answer.tier))
    if (bare.digest, bare.shown_sha256) != (answer.request, answer.shown_sha256):
        raise NotAsShown(str(ref), "what was shown is not on record, and something has changed since")
    return [request_row(work, bare)]


@dataclass(frozen=True)
class ApprovalSubject:
    """Whom and what an answer is about, as its payload says it or as it is asked for."""

    digest: str
    tier: str
    site: str
    action: str
    decision: str
    person: str

    @classmethod
    def of(cls, answer: Answer, person: str) -> "ApprovalSubject":
        """What a payload says."""
        return cls(answer.digest, answer.tier, answer.site, answer.action, answer.decision, person)

    def demand(self, wanted: "ApprovalSubject") -> None:
        """Raise `ApprovalUnreadable` at the first field that is another."""
        for entry in fields(self):
            found, expected = getattr(self, entry.name), getattr(wanted, entry.name)
            if found != expected:
                raise ApprovalUnreadable(
                    f"is {found[:40]!r}, not {expected[:40]!r}", at=f"approval.{entry.name}"
                )


def signer(work: Workplace, view: View, person: str) -> Signer:
    """The person as they may sign now. Raises `NotFound` for somebody unknown, or who has left."""
    for known in signers(work, view):
        if known.name == person:
            return known
    raise NotFound("person", person)
