"""What was overridden: waivers, licences accepted, cases set aside, broken glass, words that stood for receipts."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.decide import standing
from pipelines.questions.proving import Proof, Prover
from pipelines.questions.reading import members
from pipelines.workplace import Workplace
from registry.audit import EventKind
from registry.decisions import Kind
from registry.entities import Decision, Import, Pin
from registry.views import View
from signing.times import rfc3339

_WORDS = {
    Kind.WAIVE_FINDING: "a finding of the scan was waived",
    Kind.ACCEPT_LICENCE: "a licence was accepted",
    Kind.QUARANTINE_CASE: "a case of a suite was set aside",
    Kind.ALLOW_PYTHON: "Python in a suite was allowed",
}


@dataclass(frozen=True)
class Overridden:
    """One thing that was let pass by a person's word."""

    at: str
    what: str
    about: str
    person: str
    reason: str
    standing: str  # in force, revoked, over, does not count; upheld or objected by …, NOT REVIEWED
    signed: bool  # False: the log has it, and nobody signed it; the name is claimed
    proof: Proof

    @property
    def mark(self) -> str:
        """What is known of it now."""
        return self.proof.mark if self.signed or not self.proof.verified else "claimed"

    def document(self) -> dict[str, Any]:
        """For programs."""
        return {**vars(self), "proof": self.proof.document(), "verified": self.signed and self.proof.verified}


def overridden(work: Workplace, view: View) -> tuple[list[Overridden], list[str]]:
    """Return everything that was ever overridden here, oldest first; and in words what was taken out of the tables."""
    prover = Prover(work, view)
    found = [
        *_decided(work, view, prover),
        *_broken(view, prover),
        *_assumed(view, prover),
        *_late(view, prover),
    ]
    return sorted(found, key=lambda one: (one.at, one.what, one.about)), list(_gone(view, prover))


def _decided(work: Workplace, view: View, prover: Prover) -> Iterator[Overridden]:
    revoked: dict[str, str] = {row.subject: row.person for row in view.decisions(str(Kind.REVOKE))}
    for kind, words in _WORDS.items():
        alive = {one.digest for one in standing(work, view, kind)}
        for row in view.decisions(str(kind)):
            said = _payload(row)
            details = " ".join(str(value) for value in said["details"].values() if value)
            stands = "in force" if row.digest in alive else _ended(row, said, revoked, rfc3339(work.now))
            about = f"{row.subject} {details}".strip()
            yield Overridden(
                row.made_at, words, about, row.person, said["reason"], stands, True, prover.row(row)
            )


def _ended(row: Decision, said: Mapping[str, Any], revoked: Mapping[str, str], now: str) -> str:
    """Why a decision does not count now."""
    if row.digest in revoked:
        return f"revoked by {revoked[row.digest]}"
    if said["expires_at"] is not None and said["expires_at"] <= now:
        return f"over since {said['expires_at']}"
    return "does not count"


def _broken(view: View, prover: Prover) -> Iterator[Overridden]:
    """Every line that rests on break-glass, a line that went back to one included."""
    decisions = {row.digest: row for row in view.decisions(str(Kind.BREAK_GLASS))}
    for pin in view.overridden():
        row = decisions.get(pin.override or "")
        proof = prover.prove(pin.override or "") if row is None else prover.row(row)
        said = _payload(row) if row else _NOTHING
        checks = ", ".join(map(str, said["details"].get("checks", []))) or "unknown checks"
        about = f"{pin.model}@{pin.ordinal} in {pin.tier}, past {checks}"
        person = row.person if row else "unknown"
        reviews = _reviews(view, prover, row) if row else []
        stands = "; ".join(reviews) or "NOT REVIEWED"
        yield Overridden(pin.since, _glass(pin), about, person, said["reason"], stands, True, proof)


def _glass(pin: Pin) -> str:
    return "BREAK-GLASS" if pin.kind == "promote" else "BREAK-GLASS (went back to it)"


def _reviews(view: View, prover: Prover, broken: Decision) -> list[str]:
    """What others said of it; a review that does not hold, or by who broke the glass, is none."""
    return [
        f"{_payload(row)['details'].get('verdict', '?')} by {row.person}"
        for row in view.decisions(str(Kind.REVIEW), broken.digest)
        if row.person.casefold() != broken.person.casefold() and prover.row(row).verified
    ]


def _assumed(view: View, prover: Prover) -> Iterator[Overridden]:
    words = "a bundle was taken as received without a receipt"
    for site in view.sites():
        for row in view.assumptions(site.name):
            about = f"bundle {row.sequence} for {row.site}"
            yield Overridden(
                row.since, words, about, row.person, row.reason, "recorded", False, prover.row(row)
            )


def _late(view: View, prover: Prover) -> Iterator[Overridden]:
    """Bundles that were taken in after one with a higher number."""
    highest = 0
    words = "a bundle was taken in late, after one with a higher number"
    for row in sorted(view.imports(), key=lambda one: one.id or 0):
        if row.sequence < highest:
            about = f"bundle {row.bundle}, number {row.sequence} after {highest}"
            proof = prover.row(row)
            yield Overridden(row.imported_at, words, about, row.actor, "", "recorded", False, proof)
        highest = max(highest, row.sequence)


def _gone(view: View, prover: Prover) -> Iterator[str]:
    """Decisions and late bundles that the log has and the tables have not."""
    decisions, imports = view.decisions(), view.imports()
    for kind in (EventKind.DECIDED, EventKind.BREAK_GLASS, EventKind.REVIEWED):
        told = prover.recorded.removed(Decision.label, prover.recorded.entries(kind=kind), decisions)
        for event, said in told:
            yield f"decision {said['kind']} by {said['person']}, recorded by event {event}, was taken out of the table"
    entries = prover.recorded.entries(kind=EventKind.BUNDLE_IMPORTED)
    for event, said in prover.recorded.removed(Import.label, entries, imports):
        yield f"bundle {said['bundle']}, recorded by event {event}, was taken out of the table"


_NOTHING: Mapping[str, Any] = {"details": {}, "reason": "not readable any more", "expires_at": None}


def _payload(row: Decision) -> Mapping[str, Any]:
    """What a decision says; nothing where somebody made it unreadable, which its proof tells."""
    said = members(row.payload)
    whole = isinstance(said.get("details"), dict) and set(_NOTHING) <= set(said)
    return {name: said[name] for name in _NOTHING} if whole else _NOTHING
