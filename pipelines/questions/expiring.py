"""Which keys, roots, roles, certificates and words end soon, or have ended: the soonest first."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from cryptography import x509

from pipelines.bundle.opening import remembered
from pipelines.decide import CARD_ISSUER, standing
from pipelines.people_ground import CARD_LIST
from pipelines.questions.serving import evidence_of
from pipelines.workplace import Workplace
from registry import approvals_payload
from registry.decisions import NEEDS, Kind
from registry.views import View
from signing import piv
from signing.canonical import parse
from signing.person_refusals import PersonSignatureUncheckable
from signing.person_signature import method_of
from signing.repository import TrustRepository
from signing.times import from_rfc3339, rfc3339

LEVELS = (("OVER", 0), ("URGENT", 30), ("SOON", 90), ("PLAN", 180))  # days left, at most
_METADATA = 5 << 20
NEXT = {
    "root": "Hold the yearly ceremony: `tidegate trust rotate FOLDER --renew root` at the origin.",
    "role": "Have it signed anew at the origin: `tidegate trust rotate FOLDER --renew ROLE`, or ship the next bundle.",
    "person": "Register the person's next key: `tidegate people add NAME --public-key FILE`.",
    "publisher": "Ask the publisher for the next certificate: `tidegate publishers add`.",
    "decision": "Decide again, or let it end: `tidegate decisions list`.",
    "approval": "Promote what was approved, or ask again: `tidegate approvals list`.",
    "issuer": "Ask the issuer of the cards for the next certificate: `tidegate people card-issuer FILE`.",
    "list": "Bring the issuer's newest list of revoked certificates: `tidegate people card-list FILE`.",
}


@dataclass(frozen=True)
class Ending:
    """One thing that ends."""

    what: str
    kind: str  # root, role, person, publisher, decision, approval, issuer, list
    until: str  # RFC 3339, UTC
    days: int  # left; below 0: over
    next_step: str

    @property
    def level(self) -> str:
        """How near it is."""
        return next((level for level, most in LEVELS if self.days < most), "LATER")

    def document(self) -> dict[str, Any]:
        """For programs."""
        return {**vars(self), "level": self.level}


def expiring(work: Workplace, view: View, *, days: int | None = 180, approvals: bool = True) -> list[Ending]:
    """Return what ends within so many days, what is over included; with None everything that ever ends.

    Args:
        approvals: those too; they end within days by nature, and every line of every tier is read for them.
    """
    moments = [
        *_roles(work, view),
        *_people(view),
        *_cards(view),
        *_publishers(view),
        *_decisions(work, view),
        *(_approvals(work, view) if approvals else ()),
    ]
    found = [_ending(what, kind, until, work.now) for what, kind, until in moments]
    chosen = [one for one in found if days is None or one.days < days]
    return sorted(chosen, key=lambda one: (one.until, one.what))


def _ending(what: str, kind: str, until: datetime, now: datetime) -> Ending:
    left = (until - now) // timedelta(days=1)
    return Ending(what, kind, rfc3339(until), left, NEXT[kind])


_Moment = tuple[str, str, datetime]


def _roles(work: Workplace, view: View) -> Iterator[_Moment]:
    if work.home.is_origin and (work.home.trust / "1.root.json").exists():
        state = TrustRepository(work.home.trust).load()
        yield from _documents("published here", {"root": state.roots[-1], **state.metadata})
    if work.home.is_site:
        memory = remembered(view)
        for said, held in (("trusted here", memory.origin), ("trusted as upstream", memory.upstream)):
            if held is not None:
                yield from _documents(said, {"root": held.root, **held.roles})


def _documents(said: str, metadata: dict[str, bytes]) -> Iterator[_Moment]:
    for role, data in sorted(metadata.items()):
        signed = parse(data, max_bytes=_METADATA, at=role)["signed"]
        kind = "root" if role == "root" else "role"
        yield f"{role}, version {signed['version']}, {said}", kind, from_rfc3339(signed["expires"])


def _people(view: View) -> Iterator[_Moment]:
    for row in view.people():
        if not row.active:
            continue
        if row.until is not None:
            yield f"{row.name}'s key", "person", from_rfc3339(row.until)
        if method_of(row.public_key) == "piv":
            try:
                card = piv.read_certificate(row.public_key)
            except PersonSignatureUncheckable:
                continue  # registered by an older release; `people list` says what it is
            yield f"{row.name}'s certificate", "person", card.x509.not_valid_after_utc


def _cards(view: View) -> Iterator[_Moment]:
    for row in view.documents(CARD_ISSUER):
        for one in x509.load_pem_x509_certificates(row.body.encode()):
            yield f"issuer of cards {row.name}", "issuer", one.not_valid_after_utc
    newest: dict[str, datetime] = {}
    for row in view.documents(CARD_LIST):
        until = x509.load_pem_x509_crl(row.body.encode()).next_update_utc
        if until is not None:
            newest[row.name] = max(until, newest.get(row.name, until))
    for name, until in newest.items():
        yield f"list of revoked cards {name}", "list", until


def _publishers(view: View) -> Iterator[_Moment]:
    for row in view.publishers():
        if row.active and row.method == "certificate":
            for number, one in enumerate(x509.load_pem_x509_certificates(row.material.encode()), start=1):
                yield f"publisher {row.name}, certificate {number}", "publisher", one.not_valid_after_utc


def _decisions(work: Workplace, view: View) -> Iterator[_Moment]:
    for kind in NEEDS:
        if kind is Kind.SET_PERSON:
            continue  # a change of people ends with the person's own date
        if kind is Kind.BREAK_GLASS:
            continue  # it was used when it was signed; `audit overrides` tells of it
        for one in standing(work, view, kind):
            if one.expires_at is not None:
                yield f"{kind} by {one.person}: {one.reason}", "decision", one.expires_at


def _approvals(work: Workplace, view: View) -> Iterator[_Moment]:
    """Approvals that no promotion has used up and that are not over: after that, the person is asked again."""
    spent = {digest for pin in view.pin_history() for digest in evidence_of(pin)}
    for row in view.approvals():
        if row.digest in spent or row.decision == approvals_payload.REJECT:
            continue
        try:
            said, _ = approvals_payload.decode(row.payload.encode())
        except approvals_payload.ApprovalUnreadable:
            continue  # edited; `audit verify` names it
        if said.expires_at > work.now:
            what = f"{row.person}'s approval of {said.model}@{said.ordinal} for {row.tier}"
            yield what, "approval", said.expires_at
