"""What else a person, or a key, touched: what they signed, which is proved, and what ran in their name, which is claimed.

The one question that reads more than the rows that it is about: whoever asks it wants everything.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.people_ground import registered
from pipelines.questions.proving import Proof, Prover
from pipelines.questions.reading import members
from pipelines.questions.trust_keys import TrustKey, TrustSigned, trust_keys
from pipelines.workplace import Workplace
from registry import approvals_payload, authority, store_search
from registry.audit import EventKind
from registry.decisions import Kind
from registry.entities import Approval, Decision, ModelSignature, Person
from registry.errors import NotFound
from registry.views import View
from signing import person_signature
from signing.person_signature import PersonSignatureUncheckable, PersonSignatureWrong


@dataclass(frozen=True)
class Key:
    """A key that a person signed with here, and when."""

    person: str
    fingerprint: str
    method: str
    roles: str
    since: str
    until: str | None  # None: it still does
    by: str  # by whose word it was put in force
    proof: Proof  # of the row; a row that does not count says so

    @property
    def line(self) -> str:
        """For people."""
        until = f" to {self.until}" if self.until else " until now"
        roles = self.roles.replace(",", ", ") or "no role"
        return f"{self.person}: {self.method} key {self.fingerprint}, {roles}, from {self.since}{until}, by {self.by}"

    def document(self) -> dict[str, Any]:
        """For programs."""
        return {**vars(self), "proof": self.proof.document()}


@dataclass(frozen=True)
class Signed:
    """One thing that a key signed."""

    at: str
    what: str
    about: str
    fingerprint: str  # of the key that made it; empty where the signature does not hold
    proof: Proof

    def document(self) -> dict[str, Any]:
        """For programs."""
        return {**vars(self), "proof": self.proof.document()}


@dataclass(frozen=True)
class Touched:
    """The answer."""

    keys: tuple[Key, ...]
    trust: tuple[TrustKey, ...]
    signed: tuple[Signed, ...]
    trust_signed: tuple[TrustSigned, ...]
    acted: tuple[dict[str, Any], ...]  # events whose actor the person was: what the shell said
    gone: tuple[str, ...]  # what they signed by the log, and what was taken out of the tables

    @property
    def doubts(self) -> list[str]:
        """What does not hold, in words."""
        proofs = [*(key.proof for key in self.keys), *(one.proof for one in self.signed)]
        wrong = [proof.doubt for proof in proofs if not proof.verified]
        wrong += [
            f"{one.document_name}: the signature does not hold" for one in self.trust_signed if not one.holds
        ]
        return [*wrong, *self.gone]

    def document(self) -> dict[str, Any]:
        """The answer for programs."""
        return {
            "keys": [key.document() for key in self.keys],
            "trust_keys": [key.document() for key in self.trust],
            "signed": [one.document() for one in self.signed],
            "trust_signed": [one.document() for one in self.trust_signed],
            "acted": list(self.acted),
            "gone": list(self.gone),
        }


def touched(work: Workplace, view: View, who: str) -> Touched:
    """Return everything that a person or a key touched.

    Args:
        who: a person's name, a key's fingerprint as `tidegate people list` shows it, or the id of a trust key; the
            beginning of a fingerprint or id is enough.

    Raises:
        NotFound: nobody of this name, and no such key, was ever here.
    """
    prover = Prover(work, view)
    keys = [key for key in people_keys(view, prover) if who == key.person or _names(key.fingerprint, who)]
    by_name = not any(_names(key.fingerprint, who) for key in keys)
    people = {key.person for key in keys} | {who}
    rows: list[Approval | Decision] = [*view.approvals(), *view.decisions()]
    signed = [
        one
        for row in rows
        if row.person in people
        for one in [_signed(prover, row)]
        if by_name or _names(one.fingerprint, who)
    ]
    signed += [_over_files(prover, row) for row in _model_signatures(view, who)]
    trust, trust_signed = trust_keys(work, view, who)
    acted = view.events(actor=who)
    if not (keys or trust or signed or acted):
        raise NotFound("person or key", who)
    return Touched(
        keys=tuple(keys),
        trust=tuple(trust),
        signed=tuple(sorted(signed, key=lambda one: one.at)),
        trust_signed=tuple(trust_signed),
        acted=tuple(
            {"event": e.position, "at": e.at, "kind": e.kind, "subject": e.subject, "note": dict(e.note)}
            for e in acted
        ),
        gone=tuple(_gone(prover, view, people)) if by_name else (),
    )


def people_keys(view: View, prover: Prover) -> Iterator[Key]:
    """Every key that anybody was ever registered with here, in the order of registration."""
    rows = view.people_recorded()
    decisions = {row.digest: row.person for row in view.decisions(str(Kind.SET_PERSON))}
    for row in rows:
        if row.active:
            yield Key(
                person=row.name,
                fingerprint=fingerprint_of(row.public_key),
                method=row.method or "ssh",
                roles=row.roles,
                since=row.since,
                until=_until(rows, row),
                by=authority.signed_by(registered(row), decisions),
                proof=prover.person(row),
            )


def _until(rows: Sequence[Person], row: Person) -> str | None:
    later = [one.since for one in rows if one.name == row.name and one.position > row.position]
    return later[0] if later else row.until


def _names(fingerprint: str, who: str) -> bool:
    """Whether a text names a key: its fingerprint or the beginning of it, long enough to mean one."""
    kind = fingerprint.partition(":")[0]
    return len(who) >= len(kind) + 1 + 8 and fingerprint.startswith(who)


def fingerprint_of(public_key: str) -> str:
    """A registered key as people compare it."""
    try:
        return person_signature.fingerprint(public_key)
    except PersonSignatureUncheckable:
        return "not a key"


def _signed(prover: Prover, row: Approval | Decision) -> Signed:
    try:
        key = prover.signature(row).fingerprint
    except (PersonSignatureWrong, PersonSignatureUncheckable):
        key = ""
    return Signed(row.made_at, *_told(row), key, prover.row(row))


def _told(row: Approval | Decision) -> tuple[str, str]:
    """What was signed, and about what. What somebody made unreadable is named by its row alone."""
    if isinstance(row, Decision):
        return row.kind, row.subject
    said = members(row.payload)
    about = f"{said.get('model', row.version[:12])}@{said.get('ordinal', '?')} for {row.tier}"
    return row.decision or approvals_payload.APPROVE, about


def _model_signatures(view: View, who: str) -> Iterator[ModelSignature]:
    if len(who) < 8:
        return
    yield from store_search.signatures_by(view, who)


def _over_files(prover: Prover, row: ModelSignature) -> Signed:
    return Signed(row.since, "signature over files", f"version {row.version}", row.signer, prover.row(row))


def _gone(prover: Prover, view: View, people: set[str]) -> Iterator[str]:
    """What these people signed by the log, and what was taken out of the tables since."""
    tables = (
        (Approval.label, view.approvals(), (EventKind.APPROVED, EventKind.REJECTED)),
        (Decision.label, view.decisions(), (EventKind.DECIDED, EventKind.BREAK_GLASS, EventKind.REVIEWED)),
        (Person.label, view.people_recorded(), (EventKind.PERSON_SET, EventKind.PEOPLE_TAKEN)),
    )
    for label, rows, kinds in tables:
        entries = [entry for kind in kinds for entry in prover.recorded.entries(kind=kind)]
        for event, said in prover.recorded.removed(label, entries, rows):
            if (name := said.get("person", said.get("name"))) in people:
                yield f"{label} of {name}, recorded by event {event}, was taken out of the table"
