"""The two-person rule: which signed approvals count, and why the others do not.

Pure. What a person signs is the exact canonical payload of one request, in the SSH namespace `approval@tidegate`,
so that `ssh-keygen -Y sign` makes it and `ssh-keygen -Y verify` reads it. The judgement goes, per approval:

1. the person is known and holds the steward's role,  2. their key signed these bytes (a token: touched),
3. the payload reads, and names the same person,      4. same digest, action, tier and site,
5. signed while they were steward, made after the last evidence, not expired, not a blanket permission,
6. every piece of present evidence is covered,        7. they did not request, import or validate it,
8. nonce not used before,                             9. no other counted approval by this person or this key.

Signature before content: nothing unauthenticated is parsed. One failed check is enough; the first is named.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, ClassVar

from registry.signed import Signed, moment
from signing import sshsig
from signing.canonical import NotCanonical, canonical_bytes, parse_canonical
from signing.digests import is_sha256
from signing.errors import OperatorError
from signing.sshsig import SshSignature, SshSignatureUncheckable, SshSignatureWrong
from signing.times import rfc3339, whole_second

FORMAT = "tidegate-approval/1"
NAMESPACE = "approval@tidegate"
STEWARD = "steward"
PROMOTE = "promote"
LIFE = timedelta(hours=72)  # of an approval, unless a tier's policy says less
CLOCK_SKEW = timedelta(minutes=5)  # how far the approver's clock may be ahead of ours
MAX_PAYLOAD = 64 << 10  # bytes
_NONCE = re.compile(r"[0-9a-f]{32}", re.ASCII)


class ApprovalUnreadable(OperatorError):
    """A request or a signed payload that is not an approval."""

    exit_code: ClassVar[int] = 45
    next_step: ClassVar[str] = (
        "Make the approval again with `tidegate approve`; do not edit the payload by hand."
    )

    def __init__(self, problem: str, *, at: str) -> None:
        super().__init__(f"{at}: {problem}")
        self.problem, self.at = problem, at


@dataclass(frozen=True)
class ApprovalRequest:
    """What is approved. Raises `ApprovalUnreadable` for values that cannot be one."""

    digest: str  # of the version, 64 hex
    model: str
    ordinal: int
    tier: str
    site: str
    evidence: tuple[str, ...]  # SHA-256 of each report or statement that was looked at; kept sorted
    reason: str
    issued_at: datetime
    expires_at: datetime
    nonce: str  # 32 hex digits, fresh for each approval
    requested_by: str | None = None
    action: str = PROMOTE

    def __post_init__(self) -> None:
        object.__setattr__(self, "evidence", tuple(sorted(set(self.evidence))))
        for name in ("issued_at", "expires_at"):
            object.__setattr__(self, name, whole_second(getattr(self, name)))
        for at, problem in _problems(self):
            raise ApprovalUnreadable(problem, at=f"approval.{at}")


@dataclass(frozen=True)
class Person:
    """A person as registered now. Somebody with two keys stands twice in the list."""

    name: str
    public_key_line: str
    roles: Collection[str]
    since: datetime


class Refusal(StrEnum):
    """Why an approval does not count."""

    UNKNOWN_PERSON = "unknown person"
    NOT_STEWARD = "not a steward"
    SIGNATURE_WRONG = "signature wrong"
    SIGNATURE_UNCHECKABLE = "signature cannot be checked"
    UNREADABLE = "payload unreadable"
    OTHER_PERSON = "payload names another person"
    OTHER_SUBJECT = "approves something else"
    BEFORE_ROLE = "made before the person was steward"
    FROM_THE_FUTURE = "made in the future"
    EXPIRED = "expired"
    TOO_LONG = "valid for too long"
    BEFORE_EVIDENCE = "made before the last evidence"
    EVIDENCE_MISSING = "does not cover all evidence"
    TOOK_PART = "the person took part"
    NONCE_USED = "used before"
    SAME_PERSON = "second approval by one person"
    SAME_KEY = "second approval by one key"


@dataclass(frozen=True)
class RefusedApproval:
    """An approval that does not count, and the first reason."""

    approval: Signed
    reason: Refusal
    detail: str

    def __str__(self) -> str:
        return f"{self.approval.person}: {self.reason}: {self.detail}"


@dataclass(frozen=True)
class CountedApproval:
    """An approval that counts."""

    approval: Signed
    request: ApprovalRequest
    person: str
    signature: SshSignature


@dataclass(frozen=True)
class ApprovalJudgement:
    """The answer: enough or not, with everything that was looked at."""

    needed: int
    counted: tuple[CountedApproval, ...]
    refused: tuple[RefusedApproval, ...]

    @property
    def missing(self) -> int:
        """How many more people have to approve."""
        return max(0, self.needed - len(self.counted))

    @property
    def enough(self) -> bool:
        """As many counted approvals as the tier needs."""
        return self.missing == 0


@dataclass(frozen=True)
class _Case:
    """What every approval is held against."""

    people: Sequence[Person]
    digest: str
    tier: str
    site: str
    action: str
    evidence: Collection[str]
    last_evidence_at: datetime | None
    now: datetime
    excluded: frozenset[str]
    spent: Collection[str]
    longest: timedelta
    require_hardware: bool
    require_pin: bool
    nonces: set[str] = field(default_factory=set)
    persons: set[str] = field(default_factory=set)
    keys: set[str] = field(default_factory=set)


class _Refused(Exception):
    """A turn of the judgement, never seen outside this module."""

    def __init__(self, reason: Refusal, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


def payload(request: ApprovalRequest, person: str) -> bytes:
    """Return the exact bytes that `person` signs, in the namespace `NAMESPACE`."""
    return canonical_bytes(
        {
            "format": FORMAT,
            "person": person,
            "action": request.action,
            "digest": request.digest,
            "model": request.model,
            "ordinal": request.ordinal,
            "tier": request.tier,
            "site": request.site,
            "evidence": list(request.evidence),
            "reason": request.reason,
            "requested_by": request.requested_by,
            "issued_at": rfc3339(request.issued_at),
            "expires_at": rfc3339(request.expires_at),
            "nonce": request.nonce,
        }
    )


def decode(data: bytes) -> tuple[ApprovalRequest, str]:
    """Return the request and the person that a payload names.

    Raises:
        ApprovalUnreadable: bytes that `payload` would not have written, with the place.
    """
    try:
        raw = parse_canonical(data, max_bytes=MAX_PAYLOAD, at="approval")
    except NotCanonical as exc:
        raise ApprovalUnreadable(exc.problem, at=exc.at) from exc
    if not isinstance(raw, dict) or raw.pop("format", None) != FORMAT:
        raise ApprovalUnreadable(f"the format is not {FORMAT}", at="approval.format")
    person = raw.pop("person", None)
    if not isinstance(person, str) or not person:
        raise ApprovalUnreadable("not a name", at="approval.person")
    if set(raw) != set(ApprovalRequest.__dataclass_fields__):
        odd = sorted(set(raw) ^ set(ApprovalRequest.__dataclass_fields__))
        raise ApprovalUnreadable(f"missing or unknown fields: {', '.join(odd)}", at="approval")
    if not isinstance(raw["evidence"], list) or not all(is_sha256(item) for item in raw["evidence"]):
        raise ApprovalUnreadable("not a list of SHA-256 digests", at="approval.evidence")
    raw["evidence"] = tuple(raw["evidence"])
    try:
        raw |= {name: moment(raw[name], at=f"approval.{name}") for name in ("issued_at", "expires_at")}
    except NotCanonical as exc:
        raise ApprovalUnreadable(exc.problem, at=exc.at) from exc
    request = ApprovalRequest(**raw)
    if payload(request, person) != data:
        raise ApprovalUnreadable("evidence not sorted, or named twice", at="approval.evidence")
    return request, person


def judge(
    approvals: Sequence[Signed],
    people: Sequence[Person],
    *,
    digest: str,
    tier: str,
    site: str,
    evidence: Collection[str],
    last_evidence_at: datetime | None,
    needed: int,
    now: datetime,
    excluded: Collection[str],
    require_hardware: bool,
    require_pin: bool = False,
    spent: Collection[str] = (),
    longest: timedelta = LIFE,
    action: str = PROMOTE,
) -> ApprovalJudgement:
    """Say which approvals count for this action.

    Args:
        people: who may sign now, with which key; nobody else is believed.
        evidence: digests that each approval must have been made in view of.
        last_evidence_at: when the newest of it was made; None when there is none.
        needed: how many distinct people.
        excluded: names of those who requested, imported or validated this version.
        require_hardware: only signatures by a touched token count; with `require_pin`, one that was given its PIN.
        spent: nonces of approvals that an earlier pin used up.
        longest: no approval may be valid for longer than this.

    The order of `approvals` does not matter: they are taken by their digest, after those that fail by themselves.

    Source: DESIGN section 10
    """
    case = _Case(
        people=people,
        digest=digest,
        tier=tier,
        site=site,
        action=action,
        evidence=evidence,
        last_evidence_at=last_evidence_at,
        now=now,
        excluded=frozenset(_same(name) for name in excluded),
        spent=spent,
        longest=longest,
        require_hardware=require_hardware,
        require_pin=require_pin,
    )
    counted: list[CountedApproval] = []
    refused: list[RefusedApproval] = []
    for approval in sorted(approvals, key=lambda one: (one.digest, one.signature)):
        try:
            counted.append(_count(approval, case))
        except _Refused as exc:
            refused.append(RefusedApproval(approval, exc.reason, exc.detail))
    return ApprovalJudgement(needed, tuple(counted), tuple(refused))


def _count(approval: Signed, case: _Case) -> CountedApproval:
    person, signature = _authenticate(approval, case)  # 1, 2
    try:
        request, named = decode(approval.payload)
    except ApprovalUnreadable as exc:
        raise _Refused(Refusal.UNREADABLE, str(exc)) from exc
    if named != person.name:  # 3
        raise _Refused(Refusal.OTHER_PERSON, f"signed by {person.name}, made out to {named}")
    _check_subject(request, case)
    _check_time(request, person, case)
    uncovered = sorted(set(case.evidence) - set(request.evidence))
    if uncovered:  # 6
        shown = ", ".join(digest[:12] for digest in uncovered)
        raise _Refused(Refusal.EVIDENCE_MISSING, f"made without looking at {shown}")
    who = _same(person.name)
    if who in case.excluded or (request.requested_by is not None and who == _same(request.requested_by)):  # 7
        raise _Refused(Refusal.TOOK_PART, f"{person.name} requested, imported or validated this version")
    if request.nonce in case.nonces or request.nonce in case.spent:  # 8
        raise _Refused(Refusal.NONCE_USED, "this approval has been used for a promotion already")
    if who in case.persons:  # 9
        raise _Refused(Refusal.SAME_PERSON, f"{person.name} has been counted already")
    if signature.key_material in case.keys:
        raise _Refused(Refusal.SAME_KEY, f"{signature.fingerprint} is the key of a counted approval")
    case.nonces.add(request.nonce)
    case.persons.add(who)
    case.keys.add(signature.key_material)
    return CountedApproval(approval, request, person.name, signature)


def _authenticate(approval: Signed, case: _Case) -> tuple[Person, SshSignature]:
    """Return the steward whose key signed the payload."""
    known = [person for person in case.people if person.name == approval.person]
    if not known:
        raise _Refused(Refusal.UNKNOWN_PERSON, f"nobody is registered as {approval.person!r}")
    stewards = [person for person in known if STEWARD in person.roles]
    if not stewards:
        raise _Refused(Refusal.NOT_STEWARD, f"{approval.person} may not approve")
    first: _Refused | None = None
    for person in stewards:
        try:
            return person, sshsig.verify(
                approval.signature,
                approval.payload,
                namespace=NAMESPACE,
                public_key_line=person.public_key_line,
                require_touch=case.require_hardware,
                require_pin=case.require_pin,
            )
        except SshSignatureWrong as exc:
            first = first or _Refused(Refusal.SIGNATURE_WRONG, str(exc))
        except SshSignatureUncheckable as exc:
            first = first or _Refused(Refusal.SIGNATURE_UNCHECKABLE, str(exc))
    assert first is not None
    raise first


def _check_subject(request: ApprovalRequest, case: _Case) -> None:  # 4
    for name in ("digest", "action", "tier", "site"):
        found, expected = getattr(request, name), getattr(case, name)
        if found != expected:
            raise _Refused(Refusal.OTHER_SUBJECT, f"{name} is {found[:20]}, not {expected[:20]}")


def _check_time(request: ApprovalRequest, person: Person, case: _Case) -> None:  # 5
    issued, expires = request.issued_at, request.expires_at
    if issued < whole_second(person.since):
        raise _Refused(Refusal.BEFORE_ROLE, f"{rfc3339(issued)}, registered {rfc3339(person.since)}")
    if issued > case.now + CLOCK_SKEW:
        raise _Refused(Refusal.FROM_THE_FUTURE, f"{rfc3339(issued)}, and it is {rfc3339(case.now)}")
    if case.now >= expires:
        raise _Refused(Refusal.EXPIRED, f"valid until {rfc3339(expires)}")
    if expires - issued > case.longest:
        raise _Refused(Refusal.TOO_LONG, f"{expires - issued}, at most {case.longest}")
    if case.last_evidence_at is not None and issued < whole_second(case.last_evidence_at):
        at = rfc3339(case.last_evidence_at)
        raise _Refused(Refusal.BEFORE_EVIDENCE, f"signed {rfc3339(issued)}, newer evidence of {at}")


def _problems(request: ApprovalRequest) -> Iterator[tuple[str, str]]:
    values: dict[str, Any] = vars(request)  # decoded JSON may hold anything under these names
    if not is_sha256(values["digest"]):
        yield "digest", "not 64 hex digits"
    for name in ("model", "tier", "site", "reason", "action"):
        if not isinstance(values[name], str) or not values[name].strip():
            yield name, "empty"
    if type(values["ordinal"]) is not int or values["ordinal"] < 1:
        yield "ordinal", "not a number from 1"
    if not all(is_sha256(item) for item in values["evidence"]):
        yield "evidence", "not a list of SHA-256 digests"
    if not isinstance(values["nonce"], str) or _NONCE.fullmatch(values["nonce"]) is None:
        yield "nonce", "not 32 lower-case hex digits"
    if values["requested_by"] is not None and not (
        isinstance(values["requested_by"], str) and values["requested_by"]
    ):
        yield "requested_by", "not a name"
    if request.expires_at <= request.issued_at:
        yield "expires_at", "not after issued_at"


def _same(name: str) -> str:
    """Names that a person would read as one are one."""
    return name.strip().casefold()
