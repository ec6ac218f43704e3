"""Decisions of people: what they are asked to sign, taking in what they signed, and which of them stand."""

import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pipelines.workplace import Workplace
from registry import decisions
from registry.approvals import Person as Signer
from registry.audit import EventKind
from registry.decisions import Kind, Request, Standing
from registry.entities import Decision, Person
from registry.errors import NotFound
from registry.signed import Signed
from registry.views import View
from signing.digests import sha256_hex
from signing.times import from_rfc3339, rfc3339


def request_decision(
    work: Workplace,
    kind: Kind,
    subject: str,
    person: str,
    *,
    reason: str,
    details: Mapping[str, Any] | None = None,
    expires_at: datetime | None = None,
) -> bytes:
    """Return the bytes that a person is asked to sign.

    Raises:
        NotFound: nobody of this name is here. DecisionUnreadable: it could not stand as it is.
    """
    with work.store.view() as view:
        if person not in {row.name for row in view.people() if row.active}:
            raise NotFound("person", person)
    request = Request(
        kind=kind,
        subject=subject,
        home=work.home.name,
        person=person,
        reason=reason,
        issued_at=work.now,
        nonce=secrets.token_hex(16),
        expires_at=expires_at,
        details=details or {},
    )
    data = decisions.payload(request)
    decisions.decode(data)
    return data


def record_decision(work: Workplace, person: str, *, payload: bytes, signature: str) -> Decision:
    """Keep a person's signed decision; the same one again is no change.

    Raises:
        NotFound: a revocation of something that is not here.
        SshSignatureWrong, SshSignatureUncheckable, DecisionUnreadable: see `registry.decisions.authenticate`.
    """
    signed = Signed(payload, signature, person)
    with work.store.change(actor=work.actor, now=work.now) as change:
        request, _ = decisions.authenticate(signed, signers(work, change), home=work.home.name, now=work.now)
        known = change.decisions()
        if request.kind is Kind.REVOKE and request.subject not in {row.digest for row in known}:
            raise NotFound("decision", request.subject)
        held = next((row for row in known if row.digest == sha256_hex(payload)), None)
        if held is not None:
            return held
        row = Decision(
            digest=sha256_hex(payload),
            kind=str(request.kind),
            subject=request.subject,
            person=person,
            payload=payload.decode(),
            signature=signature,
            made_at=rfc3339(work.now),
        )
        change.record(EventKind.DECIDED, request.subject, row)
    return row


def standing(work: Workplace, view: View, kind: Kind) -> list[Standing]:
    """The decisions of one kind that count here and now, oldest first."""
    rows = [
        Signed(row.payload.encode(), row.signature, row.person)
        for wanted in (kind, Kind.REVOKE)
        for row in view.decisions(str(wanted))
    ]
    revoking = sorted({row.person for row in view.decisions(str(Kind.REVOKE))})
    return decisions.standing(
        rows,
        signers(work, view),
        kind=kind,
        home=work.home.name,
        now=work.now,
        formerly=[_signer(work, row) for name in revoking for row in view.person_history(name)],
    )


def signers(work: Workplace, view: View) -> list[Signer]:
    """Everybody who may sign now. In a single-person home that person holds every role."""
    return [_signer(work, row) for row in view.people() if row.active]


def ever_signed_as(work: Workplace, view: View, role: str) -> bool:
    """Whether anybody ever had the role here, also somebody who has left since: sending all away frees nobody."""
    rows = [row for person in view.people() for row in view.person_history(person.name)]
    return any(role in _signer(work, row).roles for row in rows)


def _signer(work: Workplace, row: Person) -> Signer:
    everything = decisions.ROLES if work.home.profile == "solo" else ()
    return Signer(
        name=row.name,
        public_key_line=row.public_key,
        roles=(*row.roles.split(","), *everything),
        since=from_rfc3339(row.since),
    )
