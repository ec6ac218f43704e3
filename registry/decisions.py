"""One person's signed decisions other than approvals: waivers, licences accepted, policies, people, break-glass.

Pure. What a person signs is the exact canonical payload, in the SSH namespace `decision@tidegate`, so that
`ssh-keygen -Y sign` makes it and `ssh-keygen -Y verify` reads it. A decision stands while all of this holds:

1. the person is known, active, and holds the role that this kind needs,  2. their key signed these bytes,
3. the payload reads, and names the same person, kind and home,           4. made while they held that role,
5. neither expired nor made in the future,                                6. nobody with the same right revoked it.

A revocation outlives its maker's role, key and stay: who leaves takes no waiver back into force.

Signature before content: nothing unauthenticated is parsed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar

from registry.approvals import CLOCK_SKEW, STEWARD, Person
from registry.signed import NO_CARDS, CardIssuers, Signed, moment
from signing import person_signature
from signing.canonical import NotCanonical, canonical_bytes, parse_canonical
from signing.digests import is_sha256
from signing.errors import OperatorError
from signing.person_signature import PersonSignature, PersonSignatureUncheckable, PersonSignatureWrong
from signing.times import rfc3339, whole_second

FORMAT = "tidegate-decision/1"
NAMESPACE = "decision@tidegate"
MAX_PAYLOAD = 64 << 10  # bytes
REVIEWER, AUTHOR, AUDITOR = "reviewer", "author", "auditor"
ROLES = (STEWARD, REVIEWER, AUTHOR, AUDITOR)


class Kind(StrEnum):
    """Everything that can be decided so."""

    WAIVE_FINDING = "waive-finding"
    ACCEPT_LICENCE = "accept-licence"
    QUARANTINE_CASE = "quarantine-case"
    ALLOW_PYTHON = "allow-python"
    APPLY_POLICY = "apply-policy"
    REVOKE = "revoke"
    BREAK_GLASS = "break-glass"
    REVIEW = "review"
    SET_PERSON = "set-person"
    FOLLOW_ORIGIN = "follow-origin"
    CARD_ISSUER = "card-issuer"


# Who may decide what: anybody with one of these roles. A revocation needs a role of the decision that it ends.
NEEDS: dict[Kind, tuple[str, ...]] = {
    Kind.WAIVE_FINDING: (REVIEWER,),
    Kind.ACCEPT_LICENCE: (REVIEWER,),
    Kind.QUARANTINE_CASE: (STEWARD,),
    Kind.ALLOW_PYTHON: (AUTHOR,),
    Kind.APPLY_POLICY: (STEWARD,),
    Kind.BREAK_GLASS: (STEWARD,),
    Kind.REVIEW: (STEWARD, AUDITOR),
    Kind.SET_PERSON: (STEWARD,),
    Kind.FOLLOW_ORIGIN: (STEWARD,),
    Kind.CARD_ISSUER: (STEWARD,),
}


class DecisionUnreadable(OperatorError):
    """Bytes that are no decision, or one about something else."""

    exit_code: ClassVar[int] = 240
    next_step: ClassVar[str] = (
        "Make the decision again with `tidegate decisions`, by a person who may make it; do not edit the payload by hand."
    )

    def __init__(self, problem: str, *, at: str) -> None:
        super().__init__(f"{at}: {problem}")
        self.problem, self.at = problem, at


@dataclass(frozen=True)
class Request:
    """What is decided. `subject` is what the kind says: a file's digest, a licence id, `suite/case`, a digest."""

    kind: Kind
    subject: str
    home: str
    person: str
    reason: str
    issued_at: datetime
    nonce: str  # fresh for each decision
    expires_at: datetime | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Standing:
    """A decision that counts now."""

    digest: str
    request: Request
    fingerprint: str

    @property
    def subject(self) -> str:
        """What it is about."""
        return self.request.subject

    @property
    def details(self) -> Mapping[str, Any]:
        """What else its kind needs to know."""
        return self.request.details

    @property
    def person(self) -> str:
        """Who made it."""
        return self.request.person

    @property
    def reason(self) -> str:
        """Why."""
        return self.request.reason

    @property
    def expires_at(self) -> datetime | None:
        """When it ends by itself."""
        return self.request.expires_at


def payload(request: Request) -> bytes:
    """Return the exact bytes that the person signs, in the namespace `NAMESPACE`."""
    return canonical_bytes(
        {
            "format": FORMAT,
            "kind": str(request.kind),
            "subject": request.subject,
            "details": dict(request.details),
            "home": request.home,
            "person": request.person,
            "reason": request.reason,
            "issued_at": rfc3339(request.issued_at),
            "expires_at": rfc3339(request.expires_at) if request.expires_at else None,
            "nonce": request.nonce,
        }
    )


def decode(data: bytes) -> Request:
    """Read a payload. Raises `DecisionUnreadable`, naming the field, for bytes that `payload` would not have written."""
    try:
        raw = parse_canonical(data, max_bytes=MAX_PAYLOAD, at="decision")
    except NotCanonical as exc:
        raise DecisionUnreadable(exc.problem, at=exc.at) from exc
    if not isinstance(raw, dict) or raw.pop("format", None) != FORMAT:
        raise DecisionUnreadable(f"the format is not {FORMAT}", at="decision.format")
    names = {entry.name for entry in fields(Request)}
    if set(raw) != names:
        raise DecisionUnreadable(
            f"missing or unknown: {', '.join(sorted(set(raw) ^ names))}"[:200], at="decision"
        )
    for name in ("kind", "subject", "home", "person", "reason", "nonce"):
        if not isinstance(raw[name], str) or not raw[name].strip():
            raise DecisionUnreadable("not a text", at=f"decision.{name}")
    if raw["kind"] not in list(Kind):
        raise DecisionUnreadable(f"{raw['kind'][:40]!r} is not a kind of decision", at="decision.kind")
    if not isinstance(raw["details"], dict):
        raise DecisionUnreadable("not an object", at="decision.details")
    try:
        issued = moment(raw["issued_at"], at="decision.issued_at")
        over = None
        if raw["expires_at"] is not None:
            over = moment(raw["expires_at"], at="decision.expires_at")
    except NotCanonical as exc:
        raise DecisionUnreadable(exc.problem, at=exc.at) from exc
    request = Request(**raw | {"kind": Kind(raw["kind"]), "issued_at": issued, "expires_at": over})
    _demand_subject(request)
    return request


def standing(
    rows: Sequence[Signed],
    people: Sequence[Person],
    *,
    kind: Kind,
    home: str,
    now: datetime,
    formerly: Sequence[Person] = (),
    cards: CardIssuers = NO_CARDS,
) -> list[Standing]:
    """Return the decisions of one kind that count now, oldest first.

    Args:
        rows: every stored decision, revocations too.
        people: who is active now, with their key and roles.
        formerly: whoever revoked anything, as they ever were: each key and set of roles by itself.
        cards: what certificates of people are held against.
    """
    read = [
        found for row in rows if (found := _read(row, people, home=home, now=now, cards=cards)) is not None
    ]
    entitled = [person for person in (*people, *formerly) if not set(NEEDS[kind]).isdisjoint(person.roles)]
    ended = {
        found.subject
        for row in rows
        for person in entitled
        if person.name == row.person
        and (found := _read(row, [person], home=home, now=now, cards=cards)) is not None
        and found.request.kind is Kind.REVOKE
    }
    return [found for found in read if found.request.kind is kind and found.digest not in ended]


def authenticate(
    row: Signed, people: Sequence[Person], *, home: str, now: datetime, cards: CardIssuers = NO_CARDS
) -> tuple[Request, str]:
    """Return what was decided and the key's fingerprint, if the decision may be made by who made it.

    Raises:
        PersonSignatureWrong, PersonSignatureUncheckable: the person's registered key did not sign this.
        DecisionUnreadable: it is no decision, of another home or person, or not theirs to make.
    """
    person = next((one for one in people if one.name == row.person), None)
    if person is None:
        raise DecisionUnreadable(f"nobody is registered as {row.person!r}", at="decision.person")
    signed = _verify(row, person)
    request = decode(row.payload)
    if signed.method == "piv":  # only now is it known when: the card has to have been good at that moment
        _verify(row, person, at=request.issued_at, cards=cards)
    if request.person != person.name:
        raise DecisionUnreadable(f"signed by {person.name}", at="decision.person")
    if request.home != home:
        raise DecisionUnreadable(f"made for {request.home[:40]!r}, and this is {home!r}", at="decision.home")
    needed = NEEDS.get(request.kind)
    if needed is not None and set(needed).isdisjoint(person.roles):
        raise DecisionUnreadable(
            f"{person.name} is no {' or '.join(needed)}, and only one may decide this; `tidegate people list` shows who is",
            at="decision.person",
        )
    if request.issued_at < whole_second(person.since):
        raise DecisionUnreadable(
            f"made before {person.name} signed with this key here", at="decision.issued_at"
        )
    if request.issued_at > now + CLOCK_SKEW:
        raise DecisionUnreadable("lies in the future", at="decision.issued_at")
    if request.expires_at is not None and now >= request.expires_at:
        raise DecisionUnreadable("is over", at="decision.expires_at")
    return request, signed.fingerprint


def _verify(
    row: Signed, person: Person, *, at: datetime | None = None, cards: CardIssuers = NO_CARDS
) -> PersonSignature:
    return person_signature.verify(
        row.signature,
        row.payload,
        namespace=NAMESPACE,
        public_key=person.public_key_line,
        at=at,
        anchors=cards.anchors,
        crls=cards.crls,
    )


def _read(
    row: Signed, people: Sequence[Person], *, home: str, now: datetime, cards: CardIssuers
) -> Standing | None:
    try:
        request, fingerprint = authenticate(row, people, home=home, now=now, cards=cards)
    except (DecisionUnreadable, PersonSignatureWrong, PersonSignatureUncheckable):
        return None
    return Standing(row.digest, request, fingerprint)


# -- what a subject and the details of each kind are ----------------------------------------------------

_ABOUT_DIGEST = (
    Kind.WAIVE_FINDING,
    Kind.ALLOW_PYTHON,
    Kind.APPLY_POLICY,
    Kind.REVOKE,
    Kind.BREAK_GLASS,
    Kind.REVIEW,
    Kind.FOLLOW_ORIGIN,  # of the root that this site was enrolled with
    Kind.CARD_ISSUER,  # of the issuer's certificate
)
METHODS = ("ssh", "piv")
VERDICTS = ("upheld", "objected")


def _demand_subject(request: Request) -> None:
    """Hold the subject and the details against the kind."""
    kind, details = request.kind, request.details
    if kind in _ABOUT_DIGEST and not is_sha256(request.subject):
        raise DecisionUnreadable("not 64 lower-case hex digits", at="decision.subject")
    if kind is Kind.QUARANTINE_CASE and request.subject.count("/") != 1:
        raise DecisionUnreadable("not SUITE/CASE", at="decision.subject")
    if kind is Kind.REVOKE and request.expires_at is not None:
        raise DecisionUnreadable("what was ended stays so", at="decision.expires_at")
    known = _DETAILS.get(kind, {})
    if set(details) != set(known):
        raise DecisionUnreadable(
            f"has not exactly {', '.join(sorted(known)) or 'no fields'}", at="decision.details"
        )
    for name, (fits, what) in known.items():
        if not fits(details[name]):
            raise DecisionUnreadable(f"not {what}", at=f"decision.details.{name}")


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_some_of(*known: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and value in known


def _is_set(value: Any) -> bool:
    """Names, sorted, none twice, at least one: what is signed has one spelling."""
    if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
        return False
    return bool(value) and value == sorted(set(value))


def _is_roles(value: Any) -> bool:
    return _is_set(value) and set(value) <= set(ROLES)


def _is_moment_or_none(value: Any) -> bool:
    if value is None:
        return True
    try:
        moment(value, at="until")
    except NotCanonical:
        return False
    return True


def _is_text_or_none(value: Any) -> bool:
    return value is None or _is_text(value)


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


def _is_position(value: Any) -> bool:
    return type(value) is int and value >= 1


_TEXT = (_is_text, "a text")
_DETAILS: dict[Kind, Mapping[str, tuple[Callable[[Any], bool], str]]] = {
    Kind.WAIVE_FINDING: {"rule": _TEXT, "path": _TEXT},
    Kind.ACCEPT_LICENCE: {"text_sha256": (_is_text_or_none, "a text")},
    Kind.BREAK_GLASS: {
        "tier": _TEXT,
        "model": _TEXT,
        "checks": (_is_set, "a sorted list of checks"),  # what is overridden
        "page_sha256": (is_sha256, "64 lower-case hex digits"),  # of what the person was shown
    },
    Kind.REVIEW: {"verdict": (_is_some_of(*VERDICTS), " or ".join(VERDICTS))},
    Kind.FOLLOW_ORIGIN: {"follow": (_is_bool, "true or false")},
    Kind.SET_PERSON: {
        "position": (
            _is_position,
            "a number from 1",
        ),  # the row that this makes: no decision makes another one
        "roles": (_is_roles, f"a sorted list of {', '.join(ROLES)}"),
        "method": (_is_some_of(*METHODS), " or ".join(METHODS)),
        "public_key": _TEXT,
        "active": (_is_bool, "true or false"),
        "until": (_is_moment_or_none, "a moment"),
    },
}
