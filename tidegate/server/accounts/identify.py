"""Says who asks: by what the proxy has checked, by a token, by a session, or nobody known.

Identity headers are looked at only when the request came over the proxy's socket (`arrival`); over TCP they are letters
that anybody can write. A token that is ours and no good is never quietly nobody: its owner should hear of it.
"""

import base64
import binascii
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from starlette.requests import Request

from registry.access import Principal, cut, parse_grants
from registry.accounts import TOKEN_PREFIX
from registry.entities import DoorSession, TokenUse
from signing.digests import sha256_hex
from signing.times import from_rfc3339, rfc3339
from tidegate.server.accounts.fronted import fronted
from tidegate.server.accounts.passkey_refusals import IdentityRefused
from tidegate.server.accounts.refusals import SignInRefused
from tidegate.server.accounts.sessions import session_of
from tidegate.server.premises import Premises

_BEARER: Final = "bearer "
_BASIC: Final = "basic "
_LONGEST = 512  # characters of an Authorization header that is looked at; ours have about 60


@dataclass(frozen=True)
class Caller:
    """Who asks, and by what."""

    principal: Principal
    session: DoorSession | None = None
    problem: SignInRefused | IdentityRefused | None = None  # why who was named is not let in


def identify(request: Request, premises: Premises) -> Caller:
    """Return who asks, with what they may do at this moment."""
    token = _token_of(request.headers.get("authorization", ""))
    if token is not None and token.startswith(TOKEN_PREFIX):
        return _by_token(premises, token)
    try:
        named = fronted(request, premises)
    except IdentityRefused as refusal:
        return Caller(anonymous(premises), problem=refusal)
    if named is not None:
        premises.pace.demand(f"account {named.name}")
        return Caller(named)
    session = session_of(request, premises)
    principal = None if session is None else _of_session(premises, session)
    return Caller(anonymous(premises)) if principal is None else Caller(principal, session)


def anonymous(premises: Premises) -> Principal:
    """Whoever shows nothing."""
    return Principal("anonymous", parse_grants(",".join(premises.settings.anonymous)), "anonymous")


def _token_of(header: str) -> str | None:
    if len(header) > _LONGEST:
        return None
    if header.lower().startswith(_BEARER):
        return header[len(_BEARER) :].strip()
    if header.lower().startswith(_BASIC):
        try:
            return base64.b64decode(header[len(_BASIC) :].strip(), validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError, ValueError):
            return None
    return None


def _by_token(premises: Premises, token: str) -> Caller:
    digest = sha256_hex(token.encode())
    with premises.store.view() as view:
        row = view.access_token(digest)
        account = None if row is None else view.account(row.account)
    now = premises.clock()
    if row is None or account is None:
        return Caller(anonymous(premises), problem=SignInRefused("no such token is known here"))
    if not (row.active and account.active):
        return Caller(
            anonymous(premises), problem=SignInRefused(f"the token {row.name} was revoked at {row.since}")
        )
    if now >= from_rfc3339(row.until):
        return Caller(
            anonymous(premises), problem=SignInRefused(f"the token {row.name} ended at {row.until}")
        )
    premises.pace.demand(f"token {row.name}")
    _note_use(premises, digest, now)
    grants = cut(parse_grants(row.grants), parse_grants(account.grants))
    return Caller(Principal(account.name, grants, "token"))


def _note_use(premises: Premises, digest: str, now: datetime) -> None:
    """To the minute: a write with every request would make the database the slowest part of each."""
    minute = rfc3339(now.replace(second=0, microsecond=0))
    if premises.token_minutes.get(digest) != minute:
        premises.token_minutes[digest] = minute
        premises.doors.put(TokenUse(digest=digest, last_used=minute))


def _of_session(premises: Premises, session: DoorSession) -> Principal | None:
    """None when the account has ended, or there is none and no identity provider said what they may do."""
    with premises.store.view() as view:
        account = view.account(session.account)
    if account is None or not account.active:
        return None
    premises.pace.demand(f"account {account.name}")
    grants = parse_grants(account.grants)
    if session.grants is not None:  # what the provider said then, as far as it is still so
        grants = cut(parse_grants(session.grants), grants)
    return Principal(account.name, grants, session.how)
