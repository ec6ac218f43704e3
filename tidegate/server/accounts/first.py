"""One-time codes: how somebody chooses their own password, so that whoever made the account never knows it.

A code is shown once to the administrator, who hands it over; it is good once, for two days, and for one account. A new
code ends the one before. Only its SHA-256 is kept.
"""

import base64
import secrets
from datetime import datetime, timedelta

from registry.entities import DoorChallenge
from registry.store_doors import DoorStore
from signing.digests import sha256_hex
from signing.hidden import Hidden
from signing.times import from_rfc3339, rfc3339

DAYS = 2
_KIND = "first password"
_BYTES = 15  # random ones: 24 letters and digits


def new_code(doors: DoorStore, account: str, now: datetime) -> Hidden:
    """Return a code with which an account's password is chosen, once."""
    code = base64.b32encode(secrets.token_bytes(_BYTES)).decode()
    until = rfc3339(now + timedelta(days=DAYS))
    end_codes(doors, account)
    doors.put(DoorChallenge(id=_digest(code), kind=_KIND, body=account, until=until))
    return Hidden("-".join(code[at : at + 4] for at in range(0, len(code), 4)).encode())


def account_of(doors: DoorStore, code: str, now: datetime) -> str | None:
    """The account that a code is for; None for a code that is no good. It stays good."""
    found = doors.get(DoorChallenge, _digest(code))
    if found is None or found.kind != _KIND or now >= from_rfc3339(found.until):
        return None
    return found.body


def take_code(doors: DoorStore, code: str) -> bool:
    """Use a code up; False for who comes second."""
    return doors.take(DoorChallenge, _digest(code)) is not None


def end_codes(doors: DoorStore, account: str) -> None:
    """No code that an account has is good any more."""
    doors.end_challenges(_KIND, account)


def _digest(code: str) -> str:
    """However somebody types it: small letters, without the hyphens, with spaces."""
    plain = "".join(char for char in code.upper() if char.isalnum())[:100]
    return sha256_hex(f"{_KIND} {plain}".encode())
