"""Who may sign here, and with which key: proposed, signed by stewards, put in force; rows appended, never changed.

The first steward of a home is registered without a signature: there is nobody who could give one. Every change after
that is a signed decision `set-person` about exactly the row that it makes. As soon as enough people have signed the
same (`registry.authority` says how many), the row is written, with the decisions that it rests on; until then the
change waits, at most `PENDING` long. To take somebody out one steward is enough, and it acts at once.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from pipelines import policy_ground
from pipelines.decide import people, request_decision, standing, take_decision
from pipelines.people_carried import Published, publish_people, published, take_people
from pipelines.people_ground import registered
from pipelines.workplace import Workplace
from registry import authority
from registry.audit import EventKind
from registry.authority import FOUNDING, Registered
from registry.decisions import Kind, Request
from registry.entities import Person
from registry.errors import DocumentRefused, NotFound, PeopleUnsigned
from registry.names import word
from registry.signed import Signed
from registry.store import Change
from registry.views import View
from signing import person_signature
from signing.canonical import canonical_bytes
from signing.times import from_rfc3339, rfc3339

__all__ = [
    "PENDING",
    "Outcome",
    "Pending",
    "Published",
    "Wanted",
    "certificate_line",
    "change_person",
    "leaver",
    "passed_over",
    "pending",
    "pending_of",
    "propose",
    "publish_people",
    "published",
    "set_person",
    "stands_so",
    "take_people",
    "wanted_of",
]

MAX_KEY_LINE = 4096  # characters; an RSA key of 16,384 bits has 2,800
PENDING = timedelta(days=30)  # a change that not everybody signed by then is proposed anew


@dataclass(frozen=True)
class Wanted:
    """A person as they are to stand from now on."""

    name: str
    public_key: str  # an OpenSSH public key line, or `x509 ` and a certificate in base64
    roles: tuple[str, ...]
    active: bool = True
    until: datetime | None = None


@dataclass(frozen=True)
class Outcome:
    """What a signature under a change came to."""

    row: Registered
    signed_by: tuple[str, ...]  # nobody at the founding
    missing: int  # signatures; 0: it is in force

    @property
    def in_force(self) -> bool:
        """Whether it acts now."""
        return self.missing == 0


@dataclass(frozen=True)
class Pending:
    """A change that waits for more signatures."""

    row: Registered
    signed: Mapping[str, str]  # who, with the digest of the decision
    missing: int
    until: datetime  # when the first of the signatures ends


def set_person(work: Workplace, wanted: Wanted) -> Outcome:
    """Put a person in force without a signature: the founding of a home.

    Raises:
        PeopleUnsigned: there is, or was, somebody who could sign.
        NameUnusable, DocumentRefused, PersonSignatureUncheckable: see `propose`.
    """
    with work.store.change(actor=work.actor, now=work.now) as change:
        found = people(work, change)
        row = _row(work, change, wanted)
        _demand_usable(row, found)
        if not found.founding:
            raise PeopleUnsigned(
                wanted.name, f"{found.needed if wanted.active else 1} steward(s) of this home sign for it"
            )
        _append(work, change, replace(row, authority=authority.authority(**FOUNDING)))
    return Outcome(row, (), 0)


def stands_so(work: Workplace, view: View, wanted: Wanted) -> Registered | None:
    """Return the row of a person who stands here in just this way already, so that nobody signs for nothing."""
    now = people(work, view).rows.get(wanted.name)
    if now is None or not now.active:
        return None
    return (
        now if replace(_row(work, view, wanted), position=now.position).details() == now.details() else None
    )


def propose(work: Workplace, wanted: Wanted, person: str, *, reason: str) -> bytes:
    """Return what a steward is asked to sign, so that `wanted` stands.

    Raises:
        NotFound: nobody of this name may sign here.
        NameUnusable: the name. PersonSignatureUncheckable: the key.
        DocumentRefused: a private key, not one line, or somebody else's key.
    """
    with work.store.view() as view:
        row = _row(work, view, wanted)
        _demand_usable(row, people(work, view))
    return request_decision(
        work,
        Kind.SET_PERSON,
        row.name,
        person,
        reason=reason,
        details=row.details(),
        expires_at=work.now + PENDING,
    )


def leaver(view: View, name: str) -> Wanted:
    """The person as they stand, no longer active. Raises `NotFound`."""
    history = view.person_history(name)
    if not history:
        raise NotFound("person", name)
    last = registered(history[-1])
    until = from_rfc3339(last.until) if last.until else None
    return Wanted(name, last.public_key, tuple(last.roles.split(",")), active=False, until=until)


def change_person(work: Workplace, person: str, *, payload: bytes, signature: str) -> Outcome:
    """Take in a steward's signature under a change, and put it in force when it was the last that was wanted.

    Raises:
        PersonSignatureWrong, PersonSignatureUncheckable, DecisionUnreadable: see `registry.decisions.authenticate`.
        PeopleUnsigned: made when the person stood otherwise here; an old decision changes nothing.
    """
    with work.store.change(actor=work.actor, now=work.now) as change:
        found = people(work, change)
        signed = Signed(payload, signature, person)
        _, request = take_decision(work, change, signed)
        row = _proposed(work, change, request)
        _demand_usable(row, found)
        names = authority.agreed(_standing(work, change), row, found.signers(work.now), found.ground)
        missing = found.missing(row, names)
        if missing == 0:
            said = authority.authority(decisions=sorted(names.values()))
            _append(work, change, replace(row, authority=said))
    return Outcome(row, tuple(sorted(names)), missing)


def pending(work: Workplace, view: View) -> list[Pending]:
    """Every change that waits for signatures, by name."""
    found = people(work, view)
    signed = _standing(work, view)
    waiting = {}
    for one in standing(work, view, Kind.SET_PERSON):
        row = _of(work, one.request)
        if row.position == _next(view, row.name):
            waiting[canonical_bytes([row.name, row.details()])] = row
    made = []
    for row in waiting.values():
        names = authority.agreed(signed, row, found.signers(work.now), found.ground)
        ends = [
            one.expires_at for one in standing(work, view, Kind.SET_PERSON) if one.digest in names.values()
        ]
        until = min((end for end in ends if end is not None), default=work.now + PENDING)
        made.append(Pending(row, names, found.missing(row, names), until))
    return sorted(made, key=lambda one: (one.row.name, one.row.public_key))


def pending_of(work: Workplace, view: View, name: str, decision: str | None = None) -> Pending:
    """The one change of a person that waits. Raises `NotFound`, also when it is not clear which one is meant.

    Args:
        decision: the digest, or its start, of a decision about it.
    """
    found = [
        one
        for one in pending(work, view)
        if one.row.name == name
        and (decision is None or any(digest.startswith(decision) for digest in one.signed.values()))
    ]
    if len(found) != 1:
        raise NotFound("pending change of" if not found else "single pending change of", name)
    return found[0]


def passed_over(work: Workplace, view: View) -> list[str]:
    """Every row about a person, and every policy, that does not count, in words: somebody went round the commands."""
    rows = [
        f"people: row {row.position} of {row.name} does not count: {why}"
        for row, why in people(work, view).passed_over
    ]
    return rows + policy_ground.walked(work, view).passed_over


def certificate_line(data: bytes) -> str:
    """Return how a certificate (PEM or DER) is registered. Raises `PersonSignatureUncheckable`."""
    from signing.piv import certificate_of  # noqa: PLC0415 - X.509 costs time to load

    return certificate_of(data).line


def wanted_of(row: Registered) -> Wanted:
    """The change that a row stands for."""
    until = from_rfc3339(row.until) if row.until else None
    return Wanted(row.name, row.public_key, tuple(row.roles.split(",")), row.active, until)


def _row(work: Workplace, view: View, wanted: Wanted) -> Registered:
    """The row that a change makes, if it is the next one."""
    word("person", wanted.name)
    return Registered(
        name=wanted.name,
        position=_next(view, wanted.name),
        public_key=wanted.public_key.strip(),
        roles=",".join(sorted(set(wanted.roles))),
        active=wanted.active,
        since=rfc3339(work.now),
        until=rfc3339(wanted.until) if wanted.until else None,
    )


def _of(work: Workplace, request: Request) -> Registered:
    details = request.details
    return Registered(
        name=request.subject,
        position=details["position"],
        public_key=details["public_key"],
        roles=",".join(details["roles"]),
        active=details["active"],
        since=rfc3339(work.now),
        until=details["until"],
    )


def _proposed(work: Workplace, view: View, request: Request) -> Registered:
    """The row that a decision is about. Raises `PeopleUnsigned` when another one has come in between."""
    if request.kind is not Kind.SET_PERSON:
        raise PeopleUnsigned(request.subject, f"this is signed for something else: {request.kind}")
    row = _of(work, request)
    word("person", row.name)
    if row.position != _next(view, row.name):
        raise PeopleUnsigned(
            row.name, "this decision was made for an earlier state; it changes nothing any more"
        )
    return row


def _demand_usable(row: Registered, found: authority.Standing) -> None:
    """Refuse a key that no signature can be checked with, or that is somebody else's."""
    line = row.public_key
    if "PRIVATE KEY" in line:
        raise DocumentRefused("this is a private key; give the .pub file beside it", at="public key")
    if "\n" in line or (row.method == "ssh" and len(line) > MAX_KEY_LINE):
        raise DocumentRefused("one OpenSSH public key line is needed (the .pub file)", at="public key")
    material = person_signature.key_material(line)
    others = [other for name, other in found.rows.items() if other.active and name != row.name]
    held = next(
        (one.name for one in others if person_signature.key_material(one.public_key) == material), None
    )
    if row.active and held is not None:
        raise DocumentRefused(
            f"this key is {held}'s already; each person signs with their own", at="public key"
        )


def _standing(work: Workplace, view: View) -> Sequence[Signed]:
    """The decisions about people that nobody revoked and that are not over."""
    return list(_signed(work, view))


def _signed(work: Workplace, view: View) -> Iterator[Signed]:
    alive = {one.digest for one in standing(work, view, Kind.SET_PERSON)}
    for row in view.decisions(str(Kind.SET_PERSON)):
        if row.digest in alive:
            yield Signed(row.payload.encode(), row.signature, row.person)


def _next(view: View, name: str) -> int:
    return len(view.person_history(name)) + 1


def _append(work: Workplace, change: Change, row: Registered) -> None:
    change.record(EventKind.PERSON_SET, row.name, person_row(work, row))


def person_row(work: Workplace, row: Registered) -> Person:
    """The row as the table holds it."""
    return Person(**vars(row), method=row.method, actor=work.actor)
