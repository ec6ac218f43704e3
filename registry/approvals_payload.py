"""What a person signs when they approve or reject: their answer to one request, as canonical bytes in one spelling.

Apart from the judgement (`registry.approvals`) because it is a format: it is read again years later, and written by
nobody else. Format 2 binds the signature to the request, to the page that the person was shown and to the policy;
what an older release wrote (format 1, approvals only) stays readable.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, ClassVar

from registry.signed import moment
from signing.canonical import NotCanonical, canonical_bytes, parse_canonical
from signing.digests import is_sha256
from signing.errors import OperatorError
from signing.times import rfc3339, whole_second

OLD_FORMAT, FORMAT = "tidegate-approval/1", "tidegate-approval/2"
NAMESPACE = "approval@tidegate"
PROMOTE = "promote"
APPROVE, REJECT = "approve", "reject"
MAX_PAYLOAD = 64 << 10  # bytes
_NONCE = re.compile(r"[0-9a-f]{32}", re.ASCII)
_BOUND = ("shown_sha256", "request", "policy")  # digests that came with format 2


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
class Answer:
    """What one person says to one request. Raises `ApprovalUnreadable` for values that cannot be an answer."""

    digest: str  # of the version, 64 hex
    model: str
    ordinal: int
    tier: str
    site: str
    evidence: tuple[str, ...]  # SHA-256 of each report or statement that was looked at; kept sorted
    reason: str
    issued_at: datetime
    expires_at: datetime
    nonce: str  # 32 hex digits, fresh for each answer
    requested_by: str | None = None
    action: str = PROMOTE
    decision: str = APPROVE
    shown_sha256: str | None = None  # of the page, in UTF-8; None only in format 1, like the next two
    request: str | None = None  # SHA-256 of the recorded request
    policy: str | None = None  # SHA-256 of the tier's policy

    def __post_init__(self) -> None:
        object.__setattr__(self, "evidence", tuple(sorted(set(self.evidence))))
        for name in ("issued_at", "expires_at"):
            object.__setattr__(self, name, whole_second(getattr(self, name)))
        for at, problem in _problems(self):
            raise ApprovalUnreadable(problem, at=f"approval.{at}")

    @property
    def old(self) -> bool:
        """Whether it is of format 1, which is not bound to what was shown."""
        return self.shown_sha256 is None


_FIELDS = tuple(entry.name for entry in fields(Answer))
_OLD_FIELDS = tuple(name for name in _FIELDS if name not in (*_BOUND, "decision"))


def payload(answer: Answer, person: str) -> bytes:
    """Return the exact bytes that `person` signs, in the namespace `NAMESPACE`."""
    said = {name: getattr(answer, name) for name in (_OLD_FIELDS if answer.old else _FIELDS)}
    said |= {name: rfc3339(said[name]) for name in ("issued_at", "expires_at")}
    said["evidence"] = list(answer.evidence)
    return canonical_bytes({"format": OLD_FORMAT if answer.old else FORMAT, "person": person, **said})


def decode(data: bytes) -> tuple[Answer, str]:
    """Return the answer and the person that a payload names.

    Raises:
        ApprovalUnreadable: bytes that `payload` would not have written, with the place.
    """
    try:
        raw = parse_canonical(data, max_bytes=MAX_PAYLOAD, at="approval")
    except NotCanonical as exc:
        raise ApprovalUnreadable(exc.problem, at=exc.at) from exc
    known = {OLD_FORMAT: _OLD_FIELDS, FORMAT: _FIELDS}
    found = raw.pop("format", None) if isinstance(raw, dict) else None
    if not isinstance(found, str) or found not in known:
        raise ApprovalUnreadable(f"the format is not {FORMAT}", at="approval.format")
    person = raw.pop("person", None)
    if not isinstance(person, str) or not person:
        raise ApprovalUnreadable("not a name", at="approval.person")
    if odd := sorted(set(raw) ^ set(known[found])):
        raise ApprovalUnreadable(f"missing or unknown fields: {', '.join(odd)}", at="approval")
    answer = _answer(raw)
    if payload(answer, person) != data:
        raise ApprovalUnreadable("evidence not sorted, or named twice", at="approval.evidence")
    return answer, person


def _answer(raw: dict[str, Any]) -> Answer:
    if not isinstance(raw["evidence"], list) or not all(is_sha256(item) for item in raw["evidence"]):
        raise ApprovalUnreadable("not a list of SHA-256 digests", at="approval.evidence")
    for name in _BOUND:
        if name in raw and not is_sha256(raw[name]):
            raise ApprovalUnreadable("not 64 hex digits", at=f"approval.{name}")
    try:
        moments = {name: moment(raw[name], at=f"approval.{name}") for name in ("issued_at", "expires_at")}
    except NotCanonical as exc:
        raise ApprovalUnreadable(exc.problem, at=exc.at) from exc
    return Answer(**raw | moments | {"evidence": tuple(raw["evidence"])})


def _problems(answer: Answer) -> Iterator[tuple[str, str]]:
    values: dict[str, Any] = vars(answer)  # decoded JSON may hold anything under these names
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
    requester = values["requested_by"]
    if requester is not None and not (isinstance(requester, str) and requester):
        yield "requested_by", "not a name"
    yield from _decision_problems(values)
    if answer.expires_at <= answer.issued_at:
        yield "expires_at", "not after issued_at"


def _decision_problems(values: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if values["decision"] not in (APPROVE, REJECT):
        yield "decision", f"neither {APPROVE} nor {REJECT}"
    given = [name for name in _BOUND if values[name] is not None]
    if len(given) not in (0, len(_BOUND)) or not all(is_sha256(values[name]) for name in given):
        yield "shown_sha256", "it, the request and the policy go together, 64 hex digits each"
    if not given and values["decision"] == REJECT:
        yield "decision", "format 1 knows approvals only"
