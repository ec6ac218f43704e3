"""What else a person, or a key, touched: what they signed, which is proved, and what ran in their name, which is claimed."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pipelines.questions.proving import Proof, Prover
from pipelines.workplace import Workplace
from registry import approvals_payload
from registry.entities import Approval, Decision, Person
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

    @property
    def line(self) -> str:
        """For people."""
        until = f" to {self.until}" if self.until else " until now"
        return f"{self.person}: {self.method} key {self.fingerprint}, {self.roles or 'no role'}, from {self.since}{until}"


@dataclass(frozen=True)
class Signed:
    """One thing that a key signed."""

    at: str
    what: str
    about: str
    fingerprint: str  # of the key that made it; empty where the signature does not hold
    proof: Proof


@dataclass(frozen=True)
class Touched:
    """The answer."""

    keys: tuple[Key, ...]
    signed: tuple[Signed, ...]
    acted: tuple[dict[str, Any], ...]  # events whose actor the person was: what the shell said

    def document(self) -> dict[str, Any]:
        """The answer for programs."""
        return {
            "keys": [vars(key) for key in self.keys],
            "signed": [{**vars(one), "proof": one.proof.document()} for one in self.signed],
            "acted": list(self.acted),
        }


def touched(work: Workplace, view: View, who: str) -> Touched:
    """Return everything that a person or a key touched.

    Args:
        who: a person's name, or a key's fingerprint as `tidegate people list` shows it (its beginning is enough).

    Raises:
        NotFound: nobody of this name, and no such key, was ever here.
    """
    rows = view.people_recorded()
    keys = [key for key in _keys(rows) if who == key.person or _names(key.fingerprint, who)]
    acted = view.events(actor=who) if who not in {key.fingerprint for key in keys} else []
    if not keys and not acted:
        raise NotFound("person or key", who)
    by_name = any(who == key.person for key in keys)
    prover = Prover(work, view)
    people = {key.person for key in keys}
    found = [
        one
        for row in _rows(view)
        if row.person in people
        for one in [_signed(prover, row)]
        if by_name or _names(one.fingerprint, who)
    ]
    events = ({"event": e.position, "at": e.at, "kind": e.kind, "subject": e.subject} for e in acted)
    return Touched(tuple(keys), tuple(sorted(found, key=lambda one: one.at)), tuple(events))


def _names(fingerprint: str, who: str) -> bool:
    """Whether a text names a key: its fingerprint or the beginning of it, long enough to mean one."""
    return len(who) >= len("SHA256:") + 8 and fingerprint.startswith(who)


def _keys(rows: list[Person]) -> Iterator[Key]:
    for row in rows:
        later = [one for one in rows if one.name == row.name and one.position == row.position + 1]
        if not row.active:
            continue
        yield Key(
            person=row.name,
            fingerprint=_fingerprint(row.public_key),
            method=row.method or "ssh",
            roles=row.roles,
            since=row.since,
            until=later[0].since if later else row.until,
        )


def _fingerprint(public_key: str) -> str:
    try:
        return person_signature.fingerprint(public_key)
    except PersonSignatureUncheckable:
        return "not a key"


def _rows(view: View) -> Iterator[Approval | Decision]:
    yield from view.approvals()
    yield from view.decisions()


def _signed(prover: Prover, row: Approval | Decision) -> Signed:
    try:
        key = prover.signature(row).fingerprint
    except (PersonSignatureWrong, PersonSignatureUncheckable):
        key = ""
    payload = json.loads(row.payload)
    if isinstance(row, Approval):
        what = row.decision or approvals_payload.APPROVE
        about = f"{payload['model']}@{payload['ordinal']} for {row.tier}"
    else:
        what, about = row.kind, row.subject
    return Signed(row.made_at, what, about, key, prover.prove(row.digest))
