"""What was overridden: waivers, licences accepted, cases set aside, broken glass, words that stood for receipts."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

from pipelines import break_glass
from pipelines.questions.proving import Prover
from pipelines.workplace import Workplace
from registry.decisions import Kind
from registry.views import View

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
    standing: str  # in force, revoked, over, reviewed …, NOT REVIEWED
    verified: bool  # the signature holds and the log has it; a claimed name is not

    def document(self) -> dict[str, object]:
        """For programs."""
        return vars(self)


def overridden(work: Workplace, view: View) -> list[Overridden]:
    """Return everything that was ever overridden here, oldest first."""
    prover = Prover(work, view)
    found = [*_decided(work, view, prover), *_broken(work, view, prover), *_assumed(view)]
    return sorted(found, key=lambda one: one.at)


def _decided(work: Workplace, view: View, prover: Prover) -> Iterator[Overridden]:
    revoked = {row.subject for row in view.decisions(str(Kind.REVOKE))}
    now = work.now.strftime("%Y-%m-%dT%H:%M:%SZ")
    for kind, words in _WORDS.items():
        for row in view.decisions(str(kind)):
            payload = json.loads(row.payload)
            over = payload["expires_at"] is not None and payload["expires_at"] <= now
            standing = "revoked" if row.digest in revoked else "over" if over else "in force"
            details = " ".join(str(value) for value in payload["details"].values() if value)
            about = f"{row.subject} {details}".strip()
            verified = prover.prove(row.digest).verified
            yield Overridden(row.made_at, words, about, row.person, payload["reason"], standing, verified)


def _broken(work: Workplace, view: View, prover: Prover) -> Iterator[Overridden]:
    for item in break_glass.overrides(work, view):
        about = f"{item.pin.model}@{item.pin.ordinal} in {item.pin.tier}, past {', '.join(item.checks)}"
        standing = "; ".join(f"{one.verdict} by {one.person}" for one in item.reviews) or "NOT REVIEWED"
        verified = prover.prove(item.decision.digest).verified
        yield Overridden(item.pin.since, "BREAK-GLASS", about, item.person, item.reason, standing, verified)


def _assumed(view: View) -> Iterator[Overridden]:
    for site in view.sites():
        for row in view.assumptions(site.name):
            about = f"bundle {row.sequence} for {row.site}"
            words = "a bundle was taken as received without a receipt"
            yield Overridden(row.since, words, about, row.person, row.reason, "recorded", verified=False)
