"""What approvals are judged on, and what the judgement says: values only (the rule is `registry.approvals`)."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from registry.approvals_payload import PROMOTE, Answer
from registry.policy import METHODS
from registry.signed import NO_CARDS, CardIssuers, Signed
from signing.person_signature import PersonSignature
from signing.times import rfc3339

STEWARD = "steward"
LIFE = timedelta(hours=72)  # of an approval, unless a tier's policy says less
REJECTION_LIFE = timedelta(days=90)  # of a rejection, unless its maker says otherwise
CLOCK_SKEW = timedelta(minutes=5)  # how far the approver's clock may be ahead of ours


@dataclass(frozen=True)
class Person:
    """A person as registered now. Somebody with two keys stands twice in the list."""

    name: str
    public_key_line: str
    roles: Collection[str]
    since: datetime
    until: datetime | None = None  # the moment from which nothing that they sign counts


class Refusal(StrEnum):
    """Why an approval does not count."""

    UNKNOWN_PERSON = "unknown person"
    NOT_STEWARD = "not a steward"
    TIME_OVER = "the person's time is over"
    OTHER_METHOD = "signed in a way that the tier does not take"
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
    OTHER_POLICY = "made under another policy"
    NOT_AS_SHOWN = "what was shown is not on record"
    TOOK_PART = "the person took part"
    REJECTED_SINCE = "the person rejected it since"
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
    answer: Answer
    person: str
    signature: PersonSignature


@dataclass(frozen=True)
class Rejection:
    """A signed "no" that blocks now."""

    digest: str  # of the payload
    answer: Answer
    person: str

    def __str__(self) -> str:
        until = rfc3339(self.answer.expires_at)
        return f"{self.person} rejected it on {rfc3339(self.answer.issued_at)}, until {until}: {self.answer.reason}"


@dataclass(frozen=True)
class ApprovalJudgement:
    """The answer: enough or not, with everything that was looked at."""

    needed: int
    counted: tuple[CountedApproval, ...]
    refused: tuple[RefusedApproval, ...]
    rejections: tuple[Rejection, ...] = ()  # that stand; one is enough to block

    @property
    def missing(self) -> int:
        """How many more people have to approve."""
        return max(0, self.needed - len(self.counted))

    @property
    def enough(self) -> bool:
        """As many counted approvals as the tier needs, and no rejection."""
        return self.missing == 0 and not self.rejections


@dataclass(frozen=True)
class Terms:
    """What answers are held against: the subject, the evidence, the policy, and what is asked of a signature."""

    digest: str
    tier: str
    site: str
    evidence: Collection[str]  # digests that each approval must have been made in view of
    last_evidence_at: datetime | None  # when the newest of it was made; None when there is none
    needed: int  # how many distinct people
    now: datetime
    excluded: Collection[str]  # names of those who requested, imported or validated this version
    require_hardware: bool  # only signatures by a touched token, or by a card of a registered issuer
    require_pin: bool = False  # one that was given its PIN
    methods: Collection[str] = METHODS
    spent: Collection[str] = ()  # nonces of approvals that an earlier pin used up
    longest: timedelta = LIFE  # no approval may be valid for longer than this
    action: str = PROMOTE
    policy: str | None = None  # digest of the tier's policy; None: not looked at
    shown: Mapping[str, str] = field(default_factory=dict)  # request's digest to its page's SHA-256
    cards: CardIssuers = NO_CARDS  # issuers whose PIV cards count as hardware
