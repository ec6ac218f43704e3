"""How often somebody may try to sign in, per account and per address.

Tries are counted in the database, so that a restart forgives nobody. A try is counted before the password is looked
at, and taken back when it was right: a hundred at once get no further than ten one after the other. Whoever is over
the limit is refused with the right password too, and whether or not there is such an account. Refused tries are not
counted: an account is locked for one window after the last try that was looked at, not for as long as somebody knocks.
"""

from dataclasses import dataclass
from datetime import timedelta

from signing.digests import sha256_hex
from signing.times import from_rfc3339, rfc3339
from tidegate.server.accounts.refusals import TooMany
from tidegate.server.premises import Premises


def account_subject(name: str) -> str:
    """What the tries of one account are counted by; a digest, since people type passwords into the name's field."""
    return f"sign-in account {sha256_hex(name.encode())}"


def _address_subject(address: str) -> str:
    return f"sign-in address {address}"


@dataclass(frozen=True)
class Try:
    """A try that was counted."""

    premises: Premises
    name: str
    numbers: tuple[int, ...]

    def right(self) -> None:
        """Take it back, and forgive the account what came before; the address keeps its other tries."""
        self.premises.doors.take_back(*self.numbers)
        self.premises.doors.forgive(account_subject(self.name))


def count_try(premises: Premises, name: str, address: str) -> Try:
    """Count a try to sign in before it is looked at. Raises `TooMany`: this one must not be looked at."""
    now, subjects = premises.clock(), (account_subject(name), _address_subject(address))
    numbers = tuple(premises.doors.tried(subject, rfc3339(now)) for subject in subjects)
    for subject in subjects:
        if wait := _over(premises, subject, own=1):
            premises.doors.take_back(*numbers)
            raise TooMany("too many tries to sign in", wait=wait)
    return Try(premises, name, numbers)


def locked_for(premises: Premises, name: str) -> int:
    """Seconds for which nobody signs in to an account by a password; 0 when it is not locked."""
    return _over(premises, account_subject(name), own=0)


def unlock(premises: Premises, name: str) -> None:
    """Forgive an account's failed tries."""
    premises.doors.forgive(account_subject(name))


def _over(premises: Premises, subject: str, *, own: int) -> int:
    """Seconds until the limit lets somebody in again; `own` tries of the asker's stand among those counted."""
    limits, now = premises.settings.limits, premises.clock()
    window = timedelta(minutes=limits.sign_in_minutes)
    last = limits.sign_in_tries - 1 + own
    newest = premises.doors.newest_tries(subject, rfc3339(now - window), most=last + 1)
    if len(newest) <= last:
        return 0
    return max(1, int((from_rfc3339(newest[last]) + window - now).total_seconds()) + 1)
