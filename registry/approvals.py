"""The two-person rule: which signed approvals count, and why the others do not.

Pure. What a person signs is the exact canonical payload of one answer (`registry.approvals_payload`), in the SSH
namespace `approval@tidegate`, so that `ssh-keygen -Y sign` makes it and `ssh-keygen -Y verify` reads it. The judgement
goes, per approval:

1. the person is known and holds the steward's role,  2. their key signed these bytes (a token: touched),
3. the payload reads, and names the same person,      4. same digest, action, tier and site,
5. signed while they were steward, made after the last evidence, not expired, not a blanket permission,
6. every piece of present evidence is covered, under the policy of now, and what they were shown is on record,
7. they did not request, import or validate it, nor reject it since,
8. nonce not used before,                             9. no other counted approval by this person or this key.

A rejection blocks whatever the approvals are: until it expires, or its maker approves later, or two other people do.
It outlives its maker's role, key and stay: sending somebody away takes no "no" away.

Signature before content: nothing unauthenticated is parsed. One failed check is enough; the first is named.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from registry.approval_terms import (
    CLOCK_SKEW,
    LIFE,
    REJECTION_LIFE,
    STEWARD,
    ApprovalJudgement,
    CountedApproval,
    Person,
    Refusal,
    RefusedApproval,
    Rejection,
    Terms,
)
from registry.approvals_payload import (
    APPROVE,
    NAMESPACE,
    PROMOTE,
    REJECT,
    Answer,
    ApprovalUnreadable,
    decode,
    payload,
)
from registry.signed import Signed
from signing import person_signature
from signing.person_refusals import PersonSignatureUncheckable, PersonSignatureWrong
from signing.person_signature import PersonSignature
from signing.times import rfc3339, whole_second

__all__ = [
    "CLOCK_SKEW", "LIFE", "NAMESPACE", "PROMOTE", "REJECTION_LIFE", "STEWARD",
    "Answer", "ApprovalJudgement", "ApprovalUnreadable", "CountedApproval", "Person", "Refusal", "RefusedApproval",
    "Rejection", "Terms", "decode", "judge", "payload",
]  # fmt: skip


@dataclass(frozen=True)
class _Heard:
    """An authenticated answer, whatever it says."""

    signed: Signed
    answer: Answer
    person: Person
    signature: PersonSignature


@dataclass
class _Case:
    """The terms, and what has been counted so far."""

    terms: Terms
    people: Sequence[Person]
    excluded: frozenset[str]
    rejected: Mapping[str, datetime]  # by whom, and when last
    nonces: set[str] = field(default_factory=set)
    persons: set[str] = field(default_factory=set)
    keys: set[str] = field(default_factory=set)


class _Refused(Exception):
    """A turn of the judgement, never seen outside this module."""

    def __init__(self, reason: Refusal, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


def judge(
    answers: Sequence[Signed], people: Sequence[Person], terms: Terms, *, formerly: Sequence[Person] = ()
) -> ApprovalJudgement:
    """Say which approvals count on these terms, and which rejections stand.

    Args:
        people: who may sign now, with which key; nobody else is believed to approve.
        formerly: everybody who could ever sign, each key and set of roles by itself: their rejections stand.

    The order of `answers` does not matter: they are taken by their digest, after those that fail by themselves.

    Source: DESIGN section 10
    """
    ordered = sorted(answers, key=lambda one: (one.digest, one.signature))
    noes = _rejections(ordered, [*people, *formerly], terms)
    latest: dict[str, datetime] = {}
    for no in noes:
        who = _same(no.person)
        latest[who] = max(no.answer.issued_at, latest.get(who, no.answer.issued_at))
    excluded = frozenset(_same(name) for name in terms.excluded)
    case = _Case(terms, people, excluded, latest)
    said_no = {no.digest for no in noes}
    counted: list[CountedApproval] = []
    refused: list[RefusedApproval] = []
    for approval in (one for one in ordered if one.digest not in said_no):
        try:
            counted.append(_count(approval, case))
        except _Refused as exc:
            refused.append(RefusedApproval(approval, exc.reason, exc.detail))
    lifting = _lifting(ordered, case)
    standing = [no for no in noes if terms.now < no.answer.expires_at and not _lifted(no, lifting)]
    return ApprovalJudgement(terms.needed, tuple(counted), tuple(refused), tuple(standing))


# -- rejections -------------------------------------------------------------------------------------------


def _rejections(answers: Sequence[Signed], people: Sequence[Person], terms: Terms) -> list[Rejection]:
    """Every "no" to this subject that a steward signed, also one who has left."""
    found: dict[str, Rejection] = {}
    for signed in answers:
        for person in people:
            if person.name != signed.person or STEWARD not in person.roles:
                continue
            try:
                person_signature.verify(
                    signed.signature, signed.payload, namespace=NAMESPACE, public_key=person.public_key_line
                )
                answer, named = decode(signed.payload)
                _check_subject(answer, terms, REJECT)
            except (PersonSignatureWrong, PersonSignatureUncheckable, ApprovalUnreadable, _Refused):
                continue
            if named == person.name and answer.issued_at >= whole_second(person.since):
                found[signed.digest] = Rejection(signed.digest, answer, person.name)
    return list(found.values())


def _lifting(answers: Sequence[Signed], case: _Case) -> list[_Heard]:
    """Approvals of this subject that a steward of now signed: used up or expired, they still took a "no" back."""
    found = []
    for signed in answers:
        try:
            heard = _hear(signed, case)
            _check_subject(heard.answer, case.terms, APPROVE)
        except _Refused:
            continue
        if heard.answer.issued_at <= case.terms.now + CLOCK_SKEW:
            found.append(heard)
    return found


def _lifted(rejection: Rejection, approvals: Sequence[_Heard]) -> bool:
    """Whether its maker, or two other people with keys of their own, approved after it."""
    later = [heard for heard in approvals if heard.answer.issued_at > rejection.answer.issued_at]
    if any(_same(heard.person.name) == _same(rejection.person) for heard in later):
        return True
    names = {_same(heard.person.name) for heard in later}
    return min(len(names), len({heard.signature.key_material for heard in later})) >= 2


# -- approvals --------------------------------------------------------------------------------------------


def _count(approval: Signed, case: _Case) -> CountedApproval:
    heard = _hear(approval, case)  # 1, 2, 3
    answer, person, terms = heard.answer, heard.person, case.terms
    _check_subject(answer, terms, APPROVE)  # 4
    _check_time(answer, person, terms)  # 5
    _check_view(answer, terms)  # 6
    _check_part(answer, person, case)  # 7
    if answer.nonce in case.nonces or answer.nonce in terms.spent:  # 8
        raise _Refused(Refusal.NONCE_USED, "this approval has been used for a promotion already")
    who = _same(person.name)
    if who in case.persons:  # 9
        raise _Refused(Refusal.SAME_PERSON, f"{person.name} has been counted already")
    if heard.signature.key_material in case.keys:
        raise _Refused(Refusal.SAME_KEY, f"{heard.signature.fingerprint} is the key of a counted approval")
    case.nonces.add(answer.nonce)
    case.persons.add(who)
    case.keys.add(heard.signature.key_material)
    return CountedApproval(approval, answer, person.name, heard.signature)


def _hear(signed: Signed, case: _Case) -> _Heard:
    """Authenticate an answer, then read it."""
    person, signature = _authenticate(signed, case)
    try:
        answer, named = decode(signed.payload)
    except ApprovalUnreadable as exc:
        raise _Refused(Refusal.UNREADABLE, str(exc)) from exc
    if named != person.name:
        raise _Refused(Refusal.OTHER_PERSON, f"signed by {person.name}, made out to {named}")
    return _Heard(signed, answer, person, signature)


def _authenticate(approval: Signed, case: _Case) -> tuple[Person, PersonSignature]:
    """Return the steward whose key signed the payload."""
    first: _Refused | None = None
    for person in _stewards(approval.person, case):
        try:
            made = _verify(approval, person, case.terms)
        except PersonSignatureWrong as exc:
            first = first or _Refused(Refusal.SIGNATURE_WRONG, str(exc))
        except PersonSignatureUncheckable as exc:
            first = first or _Refused(Refusal.SIGNATURE_UNCHECKABLE, str(exc))
        else:
            if made.method in case.terms.methods:
                return person, made
            detail = f"signed by {made.method}, and the tier takes {' or '.join(case.terms.methods)}"
            first = first or _Refused(Refusal.OTHER_METHOD, detail)
    assert first is not None
    raise first


def _stewards(name: str, case: _Case) -> list[Person]:
    """Everything that is registered of this steward; at least one."""
    known = [person for person in case.people if person.name == name]
    if not known:
        raise _Refused(Refusal.UNKNOWN_PERSON, f"nobody is registered as {name!r}")
    stewards = [person for person in known if STEWARD in person.roles]
    if not stewards:
        raise _Refused(Refusal.NOT_STEWARD, f"{name} may not approve")
    still = [person for person in stewards if person.until is None or case.terms.now < person.until]
    if not still:
        raise _Refused(Refusal.TIME_OVER, f"{name} could sign until {rfc3339(_end(stewards))}")
    return still


def _end(people: Sequence[Person]) -> datetime:
    return max(person.until for person in people if person.until is not None)


def _verify(approval: Signed, person: Person, terms: Terms) -> PersonSignature:
    return person_signature.verify(
        approval.signature,
        approval.payload,
        namespace=NAMESPACE,
        public_key=person.public_key_line,
        require_touch=terms.require_hardware,
        require_pin=terms.require_pin,
        at=terms.now,
        anchors=terms.cards.anchors,
        crls=terms.cards.crls,
    )


def _check_subject(answer: Answer, terms: Terms, decision: str) -> None:
    for name in ("digest", "action", "tier", "site"):
        found, expected = getattr(answer, name), getattr(terms, name)
        if found != expected:
            raise _Refused(Refusal.OTHER_SUBJECT, f"{name} is {found[:20]}, not {expected[:20]}")
    if answer.decision != decision:
        raise _Refused(Refusal.OTHER_SUBJECT, f"it says {answer.decision}, not {decision}")


def _check_time(answer: Answer, person: Person, terms: Terms) -> None:
    issued, expires = answer.issued_at, answer.expires_at
    if issued < whole_second(person.since):
        raise _Refused(Refusal.BEFORE_ROLE, f"{rfc3339(issued)}, registered {rfc3339(person.since)}")
    if issued > terms.now + CLOCK_SKEW:
        raise _Refused(Refusal.FROM_THE_FUTURE, f"{rfc3339(issued)}, and it is {rfc3339(terms.now)}")
    if terms.now >= expires:
        raise _Refused(Refusal.EXPIRED, f"valid until {rfc3339(expires)}")
    if expires - issued > terms.longest:
        raise _Refused(Refusal.TOO_LONG, f"{expires - issued}, at most {terms.longest}")
    if terms.last_evidence_at is not None and issued < whole_second(terms.last_evidence_at):
        at = rfc3339(terms.last_evidence_at)
        raise _Refused(Refusal.BEFORE_EVIDENCE, f"signed {rfc3339(issued)}, newer evidence of {at}")


def _check_view(answer: Answer, terms: Terms) -> None:
    """What the person looked at: all evidence of now, the policy of now, and a page that is on record here."""
    uncovered = sorted(set(terms.evidence) - set(answer.evidence))
    if uncovered:
        shown = ", ".join(digest[:12] for digest in uncovered)
        raise _Refused(Refusal.EVIDENCE_MISSING, f"made without looking at {shown}")
    if answer.old:
        return
    if terms.policy is not None and answer.policy != terms.policy:
        raise _Refused(Refusal.OTHER_POLICY, f"the tier's policy is {terms.policy[:12]} now")
    if answer.request is None or terms.shown.get(answer.request) != answer.shown_sha256:
        raise _Refused(Refusal.NOT_AS_SHOWN, "no request that is recorded here showed this page")


def _check_part(answer: Answer, person: Person, case: _Case) -> None:
    who = _same(person.name)
    if who in case.excluded or (answer.requested_by is not None and who == _same(answer.requested_by)):
        raise _Refused(Refusal.TOOK_PART, f"{person.name} requested, imported or validated this version")
    if who in case.rejected and case.rejected[who] >= answer.issued_at:
        raise _Refused(Refusal.REJECTED_SINCE, f"{person.name} rejected it after that")


def _same(name: str) -> str:
    """Names that a person would read as one are one."""
    return name.strip().casefold()
