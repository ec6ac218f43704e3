"""Approving: what a person is asked to sign, and taking in what they signed.

The signature is checked when it arrives, so that a wrong key is known at once; whether the approval counts is
judged at the gate, each time anew (`registry.approvals`).
"""

import secrets
from dataclasses import dataclass, fields
from datetime import timedelta

from pipelines.case import Case, case
from pipelines.evidence import approval_statement
from pipelines.workplace import Workplace
from registry import approvals
from registry.approvals import ApprovalRequest, ApprovalUnreadable
from registry.audit import EventKind
from registry.entities import Approval, Person
from registry.errors import NotFound
from registry.names import Ref
from registry.views import View
from signing import sshsig
from signing.digests import sha256_hex
from signing.times import rfc3339


def request_approval(
    work: Workplace, ref: Ref, tier: str, *, reason: str, life: timedelta = timedelta(hours=72)
) -> tuple[Case, ApprovalRequest]:
    """Return what a steward is asked to sign: this version, this tier, and exactly the evidence of now."""
    with work.store.view() as view:
        found = case(work, view, ref, tier)
    version = found.version
    return found, ApprovalRequest(
        digest=version.digest,
        model=version.model,
        ordinal=version.ordinal,
        action="promote",
        tier=tier,
        site=work.home.name,
        evidence=found.evidence,
        reason=reason,
        issued_at=work.now,
        expires_at=work.now + life,
        nonce=secrets.token_hex(16),
    )


def record_approval(
    work: Workplace, ref: Ref, tier: str, person: str, *, payload: bytes, signature: str
) -> Approval:
    """Keep a person's signed decision; the same one again is no change. It is judged at the gate, each time anew.

    Args:
        payload: the exact bytes that were signed; signature before content, nothing unsigned is parsed.

    Raises:
        NotFound: no such version, tier or person.
        SshSignatureWrong, SshSignatureUncheckable: the person's registered key did not sign this.
        ApprovalUnreadable: it is no approval, or one of another version, tier, person or site.
    """
    with work.store.change(actor=work.actor, now=work.now) as change:
        version, known = change.version(ref), steward(change, person)
        change.tier(tier)
        sshsig.verify(signature, payload, namespace=approvals.NAMESPACE, public_key_line=known.public_key)
        request, named = approvals.decode(payload)
        wanted = ApprovalSubject(version.digest, tier, work.home.name, approvals.PROMOTE, person)
        found = ApprovalSubject(request.digest, request.tier, request.site, request.action, named)
        found.demand(wanted)
        held = [row for row in change.approvals(version.digest, tier) if row.digest == sha256_hex(payload)]
        if held:
            return held[0]
        row = Approval(
            digest=sha256_hex(payload),
            version=request.digest,
            tier=request.tier,
            person=person,
            payload=payload.decode(),
            signature=signature,
            made_at=rfc3339(work.now),
        )
        subject = f"{version.model}@{version.ordinal}"
        key = sshsig.fingerprint(known.public_key)
        statement = approval_statement(work, row, subject=subject, fingerprint=key)
        change.record(EventKind.APPROVED, request.digest, row, statement)
    return row


@dataclass(frozen=True)
class ApprovalSubject:
    """Whom and what an approval is about, as its payload says it or as it is asked for."""

    digest: str
    tier: str
    site: str
    action: str
    person: str

    def demand(self, wanted: "ApprovalSubject") -> None:
        """Raise `ApprovalUnreadable` at the first field that is another."""
        for field in fields(self):
            found, expected = getattr(self, field.name), getattr(wanted, field.name)
            if found != expected:
                raise ApprovalUnreadable(
                    f"is {found[:40]!r}, not {expected[:40]!r}", at=f"approval.{field.name}"
                )


def steward(view: View, person: str) -> Person:
    """The person as they stand now. Raises `NotFound` for somebody unknown, or who has left."""
    for row in view.people():
        if row.name == person and row.active:
            return row
    raise NotFound("person", person)
