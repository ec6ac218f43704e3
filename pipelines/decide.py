"""Decisions of people: what they are asked to sign, taking in what they signed, and which of them stand."""

import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pipelines.people_ground import CARD_LIST, before_people, ground, registered, signed
from pipelines.workplace import Workplace
from registry import authority, decisions
from registry.approvals import Person as Signer
from registry.audit import EventKind
from registry.authority import Registered
from registry.decisions import Kind, Request, Standing
from registry.entities import Decision, Person
from registry.errors import NotFound
from registry.signed import NO_CARDS, CardIssuers, Signed
from registry.store import Change
from registry.views import View
from signing.times import rfc3339

CARD_ISSUER = "piv-anchor"  # a kind of document, PEM


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
        if person not in {row.name for row in people_now(work, view)}:
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
        PersonSignatureWrong, PersonSignatureUncheckable, DecisionUnreadable: see `registry.decisions.authenticate`.
    """
    with work.store.change(actor=work.actor, now=work.now) as change:
        return take_decision(work, change, Signed(payload, signature, person))[0]


def take_decision(work: Workplace, change: Change, signed: Signed) -> tuple[Decision, Request]:
    """Keep a person's signed decision within a change that rests on it; see `record_decision`."""
    request, _ = decisions.authenticate(
        signed,
        signers(work, change),
        home=work.home.name,
        now=work.now,
        cards=card_issuers(work, change),
    )
    known = change.decisions()
    if request.kind is Kind.REVOKE and request.subject not in {row.digest for row in known}:
        raise NotFound("decision", request.subject)
    held = next((row for row in known if row.digest == signed.digest), None)
    if held is not None:
        return held, request
    row = Decision(
        digest=signed.digest,
        kind=str(request.kind),
        subject=request.subject,
        person=signed.person,
        payload=signed.payload.decode(),
        signature=signed.signature,
        made_at=rfc3339(work.now),
    )
    change.record(EventKind.DECIDED, request.subject, row)
    return row, request


def standing(work: Workplace, view: View, kind: Kind) -> list[Standing]:
    """The decisions of one kind that count here and now, oldest first."""
    found = people(work, view)
    cards = card_issuers(work, view, found) if kind is not Kind.CARD_ISSUER else NO_CARDS
    return _standing(work, view, kind, found, cards)


def _standing(
    work: Workplace, view: View, kind: Kind, found: authority.Standing, cards: CardIssuers
) -> list[Standing]:
    rows = [signed(row) for wanted in (kind, Kind.REVOKE) for row in view.decisions(str(wanted))]
    revoking = sorted({row.person for row in view.decisions(str(Kind.REVOKE))})
    return decisions.standing(
        rows,
        found.signers(work.now),
        kind=kind,
        home=work.home.name,
        now=work.now,
        formerly=[_signer(work, row) for name in revoking for row in view.person_history(name)],
        cards=cards,
    )


def people(work: Workplace, view: View) -> authority.Standing:
    """Whose word puts whom in force here; see `registry.authority`."""
    return authority.walk([registered(row) for row in view.people_recorded()], ground(work, view))


def people_now(work: Workplace, view: View) -> list[Registered]:
    """Everybody who may sign now, by name: put in force as it has to be, not left, and their time not over."""
    return people(work, view).acting(work.now)


def signers(work: Workplace, view: View) -> list[Signer]:
    """The same people as signatures are judged by. In a single-person home that person holds every role."""
    return people(work, view).signers(work.now)


def card_issuers(work: Workplace, view: View, found: authority.Standing | None = None) -> CardIssuers:
    """The issuers whose cards count here, and the lists of revoked cards that are held."""
    held = {row.digest: row for row in view.documents(CARD_ISSUER)}
    if not held:
        return CardIssuers(crls=_lists(view))
    found = found or people(work, view)
    signed: dict[str, set[str]] = {}
    for one in _standing(work, view, Kind.CARD_ISSUER, found, NO_CARDS):
        signed.setdefault(one.subject, set()).add(one.person)
    return CardIssuers(
        anchors=tuple(
            row.body.encode()
            for row in held.values()
            if len(signed.get(row.name, ())) >= max(1, found.needed) or before_people(view, row.digest)
        ),
        crls=_lists(view),
    )


def ever_signed_as(work: Workplace, view: View, role: str) -> bool:
    """Whether anybody ever had the role here, also somebody who has left since: sending all away frees nobody."""
    return any(role in _signer(work, row).roles for row in view.people_recorded())


def _lists(view: View) -> tuple[bytes, ...]:
    return tuple(row.body.encode() for row in view.documents(CARD_LIST))


def _alone(work: Workplace) -> bool:
    return work.home.profile == "solo"


def _signer(work: Workplace, row: Person) -> Signer:
    return authority.signer(registered(row), solo=_alone(work))
