"""Says who asks: by a token, or nobody known."""

import base64
import binascii
from typing import Final

from starlette.requests import Request

from registry.access import Principal, cut, parse_grants
from signing.digests import sha256_hex
from signing.times import rfc3339
from tidegate.server.premises import Premises

_BEARER: Final = "bearer "
_BASIC: Final = "basic "


def identify(request: Request, premises: Premises) -> Principal:
    """Return who asks, with what they may do at this moment."""
    token = _token_of(request.headers.get("authorization", ""))
    found = None if token is None else _by_token(premises, token)
    return found or Principal("anonymous", parse_grants(",".join(premises.settings.anonymous)), "anonymous")


def _token_of(header: str) -> str | None:
    if header.lower().startswith(_BEARER):
        return header[len(_BEARER) :].strip()
    if header.lower().startswith(_BASIC):
        try:
            return base64.b64decode(header[len(_BASIC) :], validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return None
    return None


def _by_token(premises: Premises, token: str) -> Principal | None:
    with premises.store.view() as view:
        row = view.access_token(sha256_hex(token.encode()))
        account = None if row is None else view.account(row.account)
    if row is None or account is None or not (row.active and account.active):
        return None
    if row.until <= rfc3339(premises.clock()):
        return None
    return Principal(account.name, cut(parse_grants(row.grants), parse_grants(account.grants)), "token")
