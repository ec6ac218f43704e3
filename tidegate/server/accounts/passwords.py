"""Passwords: which are good enough, and how they are kept (Argon2id in PHC form, never the password itself).

Parameters: the second recommended option of RFC 9106, section 4 (3 passes, 4 lanes, 64 MiB), above the minimum of
the OWASP Password Storage Cheat Sheet (19 MiB, 2 passes, 1 lane). One is worked out at a time, so that a flood of
sign-ins takes 64 MiB of memory and one core, and not the machine; who would wait too long is turned away.

Length is what is asked for (NIST SP 800-63B, section 5.1.1.2): no rules about digits and signs.
"""

import secrets
import threading
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from signing.hidden import Hidden
from tidegate.server.accounts.refusals import PasswordUnusable, TooMany

SHORTEST = 12  # characters
LONGEST = 256  # characters
_DIFFERENT = 5  # of them
_SALT, _TAG = 16, 32  # bytes
_PATIENCE = 5.0  # seconds in the queue
_QUEUE = 16  # that wait; a process has 40 threads, and the others answer downloads


@dataclass(frozen=True)
class Cost:
    """What a password costs whoever tries one."""

    passes: int
    lanes: int
    memory: int  # KiB

    @property
    def prefix(self) -> str:
        """How a hash of this cost begins."""
        return f"$argon2id$v=19$m={self.memory},t={self.passes},p={self.lanes}$"

    @property
    def nobodys(self) -> str:
        """Nobody's hash, so that an unknown name costs as long as a known one. No password has a tag of zeros."""
        return f"{self.prefix}{'A' * 22}${'A' * 43}"


COST = Cost(passes=3, lanes=4, memory=64 << 10)  # RFC 9106, section 4
_one_at_a_time = threading.Lock()
_places = threading.BoundedSemaphore(_QUEUE)


def demand_good(password: Hidden, account: str) -> None:
    """Raise `PasswordUnusable` for what somebody who knows the account would try first."""
    text = _text(password)
    if not SHORTEST <= len(text) <= LONGEST:
        raise PasswordUnusable(f"a password has {SHORTEST} to {LONGEST} characters")
    if len(set(text)) < _DIFFERENT:
        raise PasswordUnusable(f"a password has at least {_DIFFERENT} different characters")
    left = text.casefold().replace(account.casefold(), "").replace("tidegate", "")
    if len(left) < SHORTEST // 2:
        raise PasswordUnusable("a password is more than the names that everybody knows")


def kept(password: Hidden) -> str:
    """Return what is kept of a password: Argon2id, PHC form, with a fresh salt."""
    kdf = Argon2id(
        salt=secrets.token_bytes(_SALT),
        length=_TAG,
        iterations=COST.passes,
        lanes=COST.lanes,
        memory_cost=COST.memory,
    )
    with _turn():
        return kdf.derive_phc_encoded(_text(password).encode())


def matches(password: Hidden, hashed: str | None) -> bool:
    """Whether it is the password that was kept; None (no such account, no password) takes as long and is False."""
    if len(password) > LONGEST * 4:  # no longer one is ever kept, and hashing it would be free work for us
        password = Hidden(b"")
    with _turn():
        try:
            Argon2id.verify_phc_encoded(_text(password).encode(), hashed or COST.nobodys)
        except InvalidKey:
            return False
    return hashed is not None


def outdated(hashed: str) -> bool:
    """Whether it was kept with other parameters than those of today."""
    return not hashed.startswith(COST.prefix)


def _text(password: Hidden) -> str:
    """The same password however a keyboard composes its letters."""
    try:
        return unicodedata.normalize("NFKC", bytes(password).decode())
    except UnicodeDecodeError as exc:
        raise PasswordUnusable("a password is text in UTF-8") from exc


@contextmanager
def _turn() -> Iterator[None]:
    if not _places.acquire(blocking=False):
        raise TooMany("too many people are signing in at this moment", wait=5)
    try:
        if not _one_at_a_time.acquire(timeout=_PATIENCE):
            raise TooMany("too many people are signing in at this moment", wait=5)
        try:
            yield
        finally:
            _one_at_a_time.release()
    finally:
        _places.release()
