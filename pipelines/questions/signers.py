"""Whose signature it is: a person's, by the key that was in force for them when they signed, or a home's.

A row about a person proves nothing by being there: with a shell anybody appends one. A key counts when the walk of
`registry.authority` put it in force, the log holds the row word for word, and it was the person's key at that moment.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from securesystemslib.signer import Key

from pipelines.decide import card_issuers, people
from pipelines.enrol import origin_keys
from pipelines.evidence import PAYLOAD_TYPE
from pipelines.questions.recorded import Recorded
from pipelines.workplace import Workplace
from registry import approvals_payload, decisions
from registry.entities import Approval, Decision, Person, Statement
from registry.signed import CardIssuers
from registry.views import View
from signing import envelope, person_signature
from signing.envelope import Envelope, SignatureUncheckable
from signing.person_signature import PersonSignature, PersonSignatureUncheckable, PersonSignatureWrong
from signing.times import from_rfc3339


@dataclass(frozen=True)
class SignedBy:
    """A home's signature that holds."""

    keyid: str
    ours: bool  # this home's own station signed; else an origin whose bundle was accepted here

    def __str__(self) -> str:
        return f"{'this home' if self.ours else 'its origin'} (key {self.keyid[:12]})"


class Signers:
    """Checks signatures, from one view."""

    def __init__(self, work: Workplace, view: View, recorded: Recorded) -> None:
        self._work, self._view, self._recorded = work, view, recorded
        self._rows: dict[str, list[Person]] = {}

    def person(self, row: Approval | Decision) -> PersonSignature:
        """Check a person's signature.

        Raises:
            PersonSignatureWrong, PersonSignatureUncheckable: no key that was theirs then made it.
        """
        refusal: PersonSignatureWrong | PersonSignatureUncheckable | None = None
        for known in self._then(row.person, row.made_at):
            try:
                return self._checked(row, known)
            except (PersonSignatureWrong, PersonSignatureUncheckable) as exc:
                refusal = refusal or exc
        raise refusal or PersonSignatureWrong(f"{row.person} had no key in force here at {row.made_at}")

    def home(self, row: Statement) -> SignedBy:
        """Check a home's signature over a statement.

        Raises:
            SignatureWrong, SignatureUncheckable, NotCanonical: neither this home nor an origin of its bundles made it.
        """
        made, own = Envelope.from_json(row.signature.encode()), self._work.station.public_key
        payload = row.payload.encode()
        try:
            keyid = envelope.verify(payload, made, {own.keyid: own}, payload_type=PAYLOAD_TYPE)
        except SignatureUncheckable:  # by another key
            keyid = envelope.verify(payload, made, self._origins, payload_type=PAYLOAD_TYPE)
        return SignedBy(keyid, ours=keyid == own.keyid)

    def why_not(self, row: Person) -> str | None:
        """Why a row about a person was never in force; None when it was."""
        return self._refused.get((row.name, row.position))

    def _checked(self, row: Approval | Decision, known: Person) -> PersonSignature:
        namespace = approvals_payload.NAMESPACE if isinstance(row, Approval) else decisions.NAMESPACE
        return person_signature.verify(
            row.signature,
            row.payload.encode(),
            namespace=namespace,
            public_key=known.public_key,
            at=from_rfc3339(row.made_at),
            anchors=self._cards.anchors,
            crls=self._cards.crls,
        )

    def _then(self, name: str, moment: str) -> Iterator[Person]:
        """The person's rows that were in force at a moment, the newest first; two when one changed in that second."""
        rows = self._in_force(name)
        for place, row in reversed(list(enumerate(rows))):
            followed = rows[place + 1].since if place + 1 < len(rows) else None
            current = row.since <= moment and (followed is None or followed >= moment)
            if current and row.active and (row.until is None or moment < row.until):
                yield row

    def _in_force(self, name: str) -> list[Person]:
        if name not in self._rows:
            self._rows[name] = [
                row
                for row in self._view.person_history(name)
                if (row.name, row.position) not in self._refused and self._recorded.trace(row).problem is None
            ]
        return self._rows[name]

    @cached_property
    def _refused(self) -> dict[tuple[str, int], str]:
        return {(row.name, row.position): why for row, why in people(self._work, self._view).passed_over}

    @cached_property
    def _cards(self) -> CardIssuers:
        return card_issuers(self._work, self._view)

    @cached_property
    def _origins(self) -> dict[str, Key]:
        return origin_keys(self._view)
