"""Accounts and tokens: rows that say who is known at the doors, what they may do there, and until when.

Every change is a new row and an event, also what changes no row (a password, a lock that is opened). What an account
signs in with is state of the doors and no part of this. An account's name is the person's name; its grants let somebody
put forms in, and never make an approval count: the person's registered key does that alone.

Through the doors nobody changes what they may do themselves: an administrator who could would be everything. At the
machine (`at_machine`) whoever may write the home may do so: they own the database too.
"""

import base64
import secrets
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, ClassVar, TypeVar

from registry.access import Grant, Role, cut, grants_text, parse_grants
from registry.audit import EventKind
from registry.entities import AccessToken, Account, Passkey
from registry.errors import NameUnusable, NotFound, RegistryRefusal
from registry.names import word
from signing.digests import sha256_hex
from signing.hidden import Hidden
from signing.times import rfc3339

if TYPE_CHECKING:
    from registry.store import Change, Store
    from registry.views import View

TOKEN_PREFIX = "tdg_"  # noqa: S105 - so that a scanner for leaked secrets knows one of ours
TOKEN_BYTES = 32  # random ones
MAX_DAYS = 730
Ending = TypeVar("Ending", AccessToken, Passkey)
_REVOKED = {"what": "revoked"}
_RESERVED = ("anonymous",)  # the actor of whoever shows nothing


class AccountUnfit(RegistryRefusal):
    """An account that cannot be changed so: it is there already, it ended, or it would be left as it is."""

    exit_code: ClassVar[int] = 188
    status: ClassVar[int] = 409
    next_step: ClassVar[str] = (
        "Look at it with `tidegate accounts list`; `tidegate accounts grant` changes one that is there."
    )

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"account {name}: {problem}")
        self.name, self.problem = name, problem


class TokenUnfit(RegistryRefusal):
    """A token that would do more than its account, last too long, or bear a name that is taken."""

    exit_code: ClassVar[int] = 189
    status: ClassVar[int] = 422
    next_step: ClassVar[str] = (
        "Look with `tidegate tokens list`; ask for less, or have the account granted more first: "
        "`tidegate accounts grant NAME --grants viewer:team`."
    )

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"token {name}: {problem}")
        self.name, self.problem = name, problem


class OwnAccountKept(RegistryRefusal):
    """Somebody would change through the doors what they may do themselves, or how they sign in."""

    exit_code: ClassVar[int] = 190
    status: ClassVar[int] = 403
    next_step: ClassVar[str] = (
        "Have another administrator do it, or do it at the machine: `tidegate accounts grant NAME --grants ...`."
    )

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} cannot do this to the account {name}")
        self.name = name


@dataclass(frozen=True)
class NewToken:
    """A token as it is shown once."""

    row: AccessToken
    secret: Hidden


class Accounts:
    """The accounts of one home, changed by somebody at one moment."""

    def __init__(self, store: "Store", *, actor: str, now: datetime, at_machine: bool) -> None:
        self._store, self._actor, self._now, self._at_machine = store, actor, now, at_machine

    def _change(self) -> AbstractContextManager["Change"]:
        return self._store.change(actor=self._actor, now=self._now)

    def add(self, name: str, grants: Iterable[Grant]) -> Account:
        """Make an account, or bring one back that had ended.

        Raises:
            NameUnusable: a name that no person could have.
            AccountUnfit: there is an active one.
            OwnAccountKept: through the doors, one's own.
        """
        _demand_name(name)
        with self._change() as change:
            found = change.account(name)
            if found is not None and found.active:
                raise AccountUnfit(name, "it is there already")
            return self._set(change, name, frozenset(grants), what="added")

    def grant(self, name: str, grants: Iterable[Grant]) -> Account:
        """Let an account do more. Raises `NotFound`, `AccountUnfit`, `OwnAccountKept`."""
        with self._change() as change:
            before = self._before(change, name)
            return self._set(change, name, before | frozenset(grants), before=before, what="granted")

    def revoke(self, name: str, grants: Iterable[Grant]) -> Account:
        """Let an account do less, at once. Raises `NotFound`, `AccountUnfit`, `OwnAccountKept`."""
        with self._change() as change:
            before = self._before(change, name)
            return self._set(change, name, before - frozenset(grants), before=before, what="revoked")

    def deactivate(self, name: str) -> Account:
        """End an account with all its tokens and passkeys. Its sessions are the doors' state: `DoorStore.end_sessions`.

        Raises `NotFound`, `AccountUnfit`, `OwnAccountKept`.
        """
        self._demand_other(name)
        with self._change() as change:
            held = self._active(change, name)
            tokens = [token for token in change.access_tokens(name) if token.active]
            ended = self._account(held.name, parse_grants(held.grants), held.position + 1, active=False)
            change.record(EventKind.ACCOUNT_SET, name, ended, note={"what": "deactivated"})
            for token in tokens:
                self._end_token(change, token)
            for passkey in change.passkeys(name):
                if passkey.active:
                    change.record(
                        EventKind.PASSKEY_SET, passkey.credential, self._ended(passkey), note=_REVOKED
                    )
            return ended

    def become(self, name: str, grants: Iterable[Grant]) -> Account:
        """Say all that an account may do, whatever it was before; the same again is no change.

        For who is vouched for elsewhere, by an identity provider: an account that ended here stays ended.

        Raises:
            NameUnusable: a name that no person could have.
            AccountUnfit: the account ended.
        """
        _demand_name(name)
        wanted = frozenset(grants)
        with self._change() as change:
            held = change.account(name)
            before = None if held is None else parse_grants(self._active(change, name).grants)
            if held is not None and wanted == before:
                return held
            return self._set(change, name, wanted, before=before, what="vouched for")

    def demand_active(self, name: str) -> None:
        """Raise `NotFound` or `AccountUnfit` unless there is such an account."""
        with self._store.view() as view:
            self._active(view, name)

    def note(self, name: str, what: str) -> None:
        """Record what changes no row: a password that was set, a lock that was opened. Raises `NotFound`, `AccountUnfit`."""
        with self._change() as change:
            self._active(change, name)
            change.record(EventKind.ACCOUNT_SET, name, note={"what": what})

    def new_token(self, account: str, label: str, grants: Iterable[Grant], *, days: int) -> NewToken:
        """Make a token for a program that acts for an account.

        Args:
            label: the token is `account/label`; a label is free again when its token has ended.
            grants: what it may do, never more than the account may.
            days: 1 to 730 until it ends by itself.

        Raises:
            NotFound, AccountUnfit: there is no such account, or it ended.
            NameUnusable: the label.
            TokenUnfit: more than the account may, nothing at all, another lifetime, a label in use.
        """
        wanted, name = frozenset(grants), f"{account}/{word('token', label)}"
        with self._change() as change:
            held = parse_grants(self._active(change, account).grants)
            _demand_within(name, wanted, held, days)
            before = change.token_named(name)
            if before is not None and before.active and before.until > change.now:
                raise TokenUnfit(name, f"there is one of this name, until {before.until}; revoke it first")
            secret = (
                TOKEN_PREFIX
                + base64.urlsafe_b64encode(secrets.token_bytes(TOKEN_BYTES)).rstrip(b"=").decode()
            )
            row = AccessToken(
                name=name,
                position=1 if before is None else before.position + 1,
                digest=sha256_hex(secret.encode()),
                account=account,
                grants=grants_text(wanted),
                until=rfc3339(self._now + timedelta(days=days)),
                active=True,
                since=change.now,
                actor=self._actor,
            )
            change.record(EventKind.TOKEN_SET, name, row, note={"what": "created"})
            return NewToken(row, Hidden(secret.encode()))

    def revoke_token(self, name: str, *, of: str | None = None) -> AccessToken:
        """End a token, at once.

        Args:
            of: the only account whose tokens may be ended; None: anybody's.

        Raises:
            NotFound: no such token, or somebody else's.
            TokenUnfit: it has ended.
        """
        with self._change() as change:
            held = change.token_named(name)
            if held is None or (of is not None and held.account != of):
                raise NotFound("token", name)
            if not held.active:
                raise TokenUnfit(name, f"it was revoked at {held.since}")
            return self._end_token(change, held)

    def _end_token(self, change: "Change", held: AccessToken) -> AccessToken:
        row = self._ended(held)
        change.record(EventKind.TOKEN_SET, held.name, row, note=_REVOKED)
        return row

    def _ended(self, held: Ending) -> Ending:
        """The row that says that a token or a passkey is no good any more."""
        now = {
            "position": held.position + 1,
            "active": False,
            "since": rfc3339(self._now),
            "actor": self._actor,
        }
        return type(held)(**(held.model_dump(exclude={"id"}) | now))

    def _active(self, view: "View", name: str) -> Account:
        found = view.account(name)
        if found is None:
            raise NotFound("account", name)
        if not found.active:
            raise AccountUnfit(name, f"it ended at {found.since}; `tidegate accounts add` brings it back")
        return found

    def _before(self, change: "Change", name: str) -> frozenset[Grant]:
        self._demand_other(name)
        return parse_grants(self._active(change, name).grants)

    def _set(
        self,
        change: "Change",
        name: str,
        grants: frozenset[Grant],
        *,
        what: str,
        before: frozenset[Grant] | None = None,
    ) -> Account:
        if grants == before:
            raise AccountUnfit(name, f"nothing to change: it has {grants_text(grants) or 'no grant'}")
        held = change.account(name)
        row = self._account(name, grants, 1 if held is None else held.position + 1, active=True)
        change.record(EventKind.ACCOUNT_SET, name, row, note={"what": what})
        return row

    def _account(self, name: str, grants: frozenset[Grant], position: int, *, active: bool) -> Account:
        return Account(
            name=name,
            position=position,
            grants=grants_text(grants),
            active=active,
            since=rfc3339(self._now),
            actor=self._actor,
        )

    def _demand_other(self, name: str) -> None:
        if not self._at_machine and name == self._actor:
            raise OwnAccountKept(name)


def _demand_name(name: str) -> None:
    if word("account", name) in _RESERVED:
        raise NameUnusable("account", name, "the log calls those by it who show nothing")


def _demand_within(name: str, wanted: frozenset[Grant], held: frozenset[Grant], days: int) -> None:
    if not wanted:
        raise TokenUnfit(name, "it would grant nothing")
    if beyond := wanted - cut(wanted, held):
        raise TokenUnfit(
            name, f"{grants_text(beyond)} is more than its account may ({grants_text(held) or 'nothing'})"
        )
    if not 1 <= days <= MAX_DAYS:
        raise TokenUnfit(name, f"{days} days; 1 to {MAX_DAYS} are possible")


def in_tier(grants: Iterable[Grant], tier: str | None) -> frozenset[Grant]:
    """The same grants, for one tier alone where they name none. Raises `NameUnusable` for an administrator's."""
    if tier is None:
        return frozenset(grants)
    word("tier", tier)
    bound = frozenset(Grant(grant.role, grant.tier or tier) for grant in grants)
    if any(grant.role is Role.ADMIN for grant in bound):
        raise NameUnusable("grant", f"admin:{tier}", "an administrator is one of the whole home")
    return bound
