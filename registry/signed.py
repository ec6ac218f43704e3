"""What people sign here, as it is kept: exact bytes, the armored signature, and who is said to have made it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from signing.canonical import NotCanonical
from signing.digests import sha256_hex
from signing.times import TimeUnreadable, from_rfc3339, rfc3339


@dataclass(frozen=True)
class Signed:
    """One person's signed approval or decision. Whether it counts is judged each time anew."""

    payload: bytes
    signature: str
    person: str

    @property
    def digest(self) -> str:
        """SHA-256 of the payload."""
        return sha256_hex(self.payload)


@dataclass(frozen=True)
class CardIssuers:
    """What PIV cards are held against: certificates of their issuers and the lists of revoked ones, PEM or DER."""

    anchors: tuple[bytes, ...] = ()
    crls: tuple[bytes, ...] = ()


NO_CARDS = CardIssuers()


def moment(text: Any, *, at: str) -> datetime:
    """Read a moment as payloads write it: RFC 3339 in UTC. Raises `NotCanonical` for any other spelling."""
    try:
        found = from_rfc3339(text)
    except TimeUnreadable as exc:
        raise NotCanonical(str(exc), at=at) from exc
    if rfc3339(found) != text:
        raise NotCanonical(f"{text!r} is not written as a moment is here", at=at)
    return found
