"""Who may do what through the doors: a table of roles, and one question. Pure.

A grant is a role, everywhere or in one tier (`viewer`, `steward:org`). What is granted nowhere is refused. An account
with the steward's role may put forms in; whether an approval counts is judged by the person's own signature, as ever.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from registry.errors import NameUnusable
from registry.names import word


class Role(StrEnum):
    """What somebody is to the registry."""

    VIEWER = "viewer"
    IMPORTER = "importer"
    VALIDATOR = "validator"
    STEWARD = "steward"
    AUDITOR = "auditor"
    ADMIN = "admin"


class Right(StrEnum):
    """What an endpoint demands."""

    OPEN = "open"  # of nobody: alive or not, the page to sign in on, what the pages look like
    OWN = "own"  # anybody who is known, on what is theirs
    LOOK = "look"  # the registry's state
    PULL = "pull"  # files of what is or was promoted
    PULL_ANY = "pull any"  # files of versions that no tier serves yet: who validates needs them
    AUDIT = "audit"  # the log, its proofs, exports of evidence
    IMPORT = "import"
    VALIDATE = "validate"
    ASK = "ask"  # put a version before the stewards
    APPROVE = "approve"
    PROMOTE = "promote"
    ROLL_BACK = "roll back"
    WITHDRAW = "withdraw"
    DECIDE = "decide"  # hand in what people signed: policies, waivers, people
    OPERATE = "operate"  # the home itself: free space, look after it
    ADMINISTER = "administer"  # accounts and tokens; never promotions


_READING = frozenset({Right.OPEN, Right.OWN, Right.LOOK})

RIGHTS: Mapping[Role, frozenset[Right]] = {
    Role.VIEWER: _READING | {Right.PULL},
    Role.IMPORTER: _READING | {Right.PULL, Right.IMPORT, Right.ASK},
    Role.VALIDATOR: _READING | {Right.PULL, Right.PULL_ANY, Right.VALIDATE, Right.ASK},
    Role.STEWARD: _READING
    | {
        Right.PULL,
        Right.AUDIT,
        Right.ASK,
        Right.APPROVE,
        Right.PROMOTE,
        Right.ROLL_BACK,
        Right.WITHDRAW,
        Right.DECIDE,
    },
    Role.AUDITOR: _READING | {Right.PULL, Right.PULL_ANY, Right.AUDIT},
    Role.ADMIN: _READING | {Right.OPERATE, Right.ADMINISTER},
}

# What is about no tier: a grant for one tier gives these as well.
_ANYWHERE = _READING
# What can be about one tier. Everything else is about the whole home, and a grant for one tier does not give it.
_IN_TIERS = frozenset({Right.PULL, Right.PULL_ANY, Right.ASK, Right.APPROVE, Right.PROMOTE, Right.ROLL_BACK})


@dataclass(frozen=True, order=True)
class Grant:
    """A role, everywhere or in one tier."""

    role: Role
    tier: str | None = None

    def __str__(self) -> str:
        return f"{self.role}:{self.tier}" if self.tier else str(self.role)


def parse_grant(text: str) -> Grant:
    """Read `viewer` or `steward:org`. Raises `NameUnusable`."""
    name, colon, tier = text.partition(":")
    if name not in set(Role) or (colon and not tier):
        raise NameUnusable("grant", text, f"write one of {', '.join(Role)}, or with a tier: steward:org")
    return Grant(Role(name), word("tier", tier) if tier else None)


def parse_grants(text: str) -> frozenset[Grant]:
    """Read grants with commas between them; an empty text grants nothing. Raises `NameUnusable`."""
    return frozenset(parse_grant(part.strip()) for part in text.split(",") if part.strip())


def grants_text(grants: Iterable[Grant]) -> str:
    """The same grants as one text, in one order."""
    return ",".join(sorted(str(grant) for grant in grants))


def may(grants: Iterable[Grant], right: Right, tier: str | None = None) -> bool:
    """Whether one of the grants gives the right: for one tier if one is named, else everywhere.

    Reading the registry's state is about no tier. Everything else that a grant for one tier gives counts for
    that tier alone.
    """
    return right is Right.OPEN or any(
        right in RIGHTS[grant.role] and (grant.tier is None or grant.tier == tier or right in _ANYWHERE)
        for grant in grants
    )


def tiers_of(grants: Iterable[Grant], right: Right) -> frozenset[str] | None:
    """The tiers in which the right is given; None when it is given everywhere."""
    giving = [grant for grant in grants if right in RIGHTS[grant.role]]
    if any(grant.tier is None for grant in giving):
        return None
    return frozenset(grant.tier for grant in giving if grant.tier)


def cut(grants: Iterable[Grant], limit: Iterable[Grant]) -> frozenset[Grant]:
    """What of `grants` lies within `limit`: a token never does more than its account may today."""
    most = list(limit)
    return frozenset(
        piece
        for grant in grants
        for other in most
        if other.role is grant.role
        for piece in (_common(grant, other),)
        if piece is not None
    )


def _common(one: Grant, other: Grant) -> Grant | None:
    if one.tier is None or other.tier is None:
        return Grant(one.role, one.tier or other.tier)
    return one if one.tier == other.tier else None


@dataclass(frozen=True)
class Principal:
    """Who asks, and how that is known."""

    name: str  # of the account; the actor of what they do
    grants: frozenset[Grant]
    how: str  # anonymous, password, passkey, oidc, fronted, certificate, token

    @property
    def known(self) -> bool:
        """Whether somebody showed who they are."""
        return self.how != "anonymous"

    def may(self, right: Right, tier: str | None = None) -> bool:
        """Whether they may: see `may`."""
        return (right is Right.OWN and self.known) or may(self.grants, right, tier)

    def may_somewhere(self, right: Right) -> bool:
        """Whether they may in any tier at all; for what is about the whole home, whether they may."""
        return self.may(right) or (right in _IN_TIERS and bool(tiers_of(self.grants, right)))
