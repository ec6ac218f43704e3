"""Sessions of browsers: an opaque cookie, of which the database keeps the SHA-256, an idle end and an absolute one.

A session is begun by signing in and by nothing else, always under a new id: a cookie that somebody planted before is
worth nothing afterwards. The cookie's `__Host-` prefix makes a browser take it over https alone (and from the machine
itself), for this host alone, so that no neighbour in the same domain can plant one.
"""

import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta

from starlette.requests import Request
from starlette.responses import Response

from registry.access import Grant, grants_text
from registry.audit import EventKind
from registry.entities import DoorSession
from signing.digests import sha256_hex
from signing.times import from_rfc3339, rfc3339
from tidegate.server.accounts.origins import address_of, demand_private
from tidegate.server.accounts.refusals import SignInTooOld
from tidegate.server.premises import Premises

COOKIE = "__Host-tidegate"
_BYTES = 32  # random ones of a cookie, and of a token for forms
_RECENT = timedelta(minutes=15)
_TOUCHED = timedelta(minutes=1)  # a session's last use is kept to the minute, not written with every request
_LONGEST = 128  # characters of a cookie that is looked at


def begin(
    request: Request,
    premises: Premises,
    response: Response,
    account: str,
    *,
    how: str,
    grants: Iterable[Grant] | None = None,
) -> DoorSession:
    """Sign somebody in, who has shown who they are, and record it. What this browser was signed in as before ends.

    Args:
        response: gets the cookie.
        how: password, passkey or oidc.
        grants: what an identity provider says they may do; None: what the account may, at each moment.

    Raises:
        SignInInTheClear: others on the way could read the cookie.
    """
    demand_private(request)
    now, limits = premises.clock(), premises.settings.limits
    cookie = secrets.token_urlsafe(_BYTES)
    session = DoorSession(
        id=sha256_hex(cookie.encode()),
        account=account,
        grants=None if grants is None else grants_text(grants),
        how=how,
        csrf=secrets.token_urlsafe(_BYTES),
        began=rfc3339(now),
        seen=rfc3339(now),
        until=rfc3339(now + timedelta(hours=limits.session_hours)),
    )
    end(request, premises, response)
    premises.doors.put(session)
    with premises.store.change(actor=account, now=now) as change:
        change.record(EventKind.SIGNED_IN, account, note={"method": how, "address": address_of(request)})
    response.set_cookie(
        COOKIE,
        cookie,
        max_age=limits.session_hours * 3600,
        path="/",
        secure=True,
        httponly=True,
        samesite="lax",
    )
    return session


def demand_recent(session: DoorSession, now: datetime) -> None:
    """Demand that somebody showed lately who they are: a cookie that was stolen must not become a way in for good.

    Raises:
        SignInTooOld: the session began longer ago.
    """
    if now - from_rfc3339(session.began) > _RECENT:
        raise SignInTooOld(session.began)


def end(request: Request, premises: Premises, response: Response) -> None:
    """Sign this browser out."""
    cookie = request.cookies.get(COOKIE)
    if cookie is not None:
        premises.doors.take(DoorSession, sha256_hex(cookie.encode()))
        response.delete_cookie(COOKIE, path="/", secure=True, httponly=True, samesite="lax")


def session_of(request: Request, premises: Premises) -> DoorSession | None:
    """The session of this request's cookie, if it has not ended; its last use is noted."""
    cookie = request.cookies.get(COOKIE)
    if cookie is None or len(cookie) > _LONGEST:
        return None
    found = premises.doors.get(DoorSession, sha256_hex(cookie.encode()))
    if found is None:
        return None
    now = premises.clock()
    if not alive(found, now, idle=timedelta(minutes=premises.settings.limits.idle_minutes)):
        premises.doors.take(DoorSession, found.id)
        return None
    if now - from_rfc3339(found.seen) >= _TOUCHED:
        premises.doors.touch_session(found.id, rfc3339(now))
    return found


def alive(session: DoorSession, now: datetime, *, idle: timedelta) -> bool:
    """Whether a session has come to neither of its ends."""
    return now < from_rfc3339(session.until) and now - from_rfc3339(session.seen) < idle
