"""Passwords of accounts: set, checked, and what ends with the one before. The machine's commands and the pages use it."""

from datetime import datetime

from registry.accounts import Accounts
from registry.entities import DoorSecret
from registry.store_doors import DoorStore
from signing.hidden import Hidden
from signing.times import rfc3339
from tidegate.server.accounts import first, passwords


def set_password(
    accounts: Accounts, doors: DoorStore, name: str, password: Hidden, *, now: datetime, keep: str = ""
) -> None:
    """Give an account a password. Who is signed in to it anywhere is signed out.

    Args:
        keep: the session that goes on: the one in which it was changed.

    Raises:
        PasswordUnusable: too easy to guess.
        NotFound, AccountUnfit: no such account, or it ended.
    """
    passwords.demand_good(password, name)
    accounts.note(name, "password set")
    doors.put(DoorSecret(account=name, password_hash=passwords.kept(password), changed_at=rfc3339(now)))
    doors.end_sessions(name, but=keep)


def knows_password(doors: DoorStore, name: str, password: Hidden, *, active: bool) -> bool:
    """Whether it is the account's password. It takes as long for who has none, has ended, or was never there."""
    secret = doors.get(DoorSecret, name) if active else None
    right = passwords.matches(password, None if secret is None else secret.password_hash)
    if right and secret is not None and passwords.outdated(secret.password_hash):
        doors.put(
            DoorSecret(account=name, password_hash=passwords.kept(password), changed_at=secret.changed_at)
        )
    return right


def end_account(accounts: Accounts, doors: DoorStore, name: str) -> None:
    """End an account, its tokens and sessions, and forget how it signed in. Raises `NotFound`, `AccountUnfit`."""
    accounts.deactivate(name)
    doors.end_sessions(name)
    doors.take(DoorSecret, name)
    first.end_codes(doors, name)
