"""Accounts and tokens: who is known at the doors. Rows are appended; a secret is none of them."""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from registry.access import Grant, grants_text
from registry.audit import EventKind
from registry.entities import AccessToken, Account
from registry.names import word
from registry.store import Store
from signing.digests import sha256_hex
from signing.times import rfc3339

PREFIX = "tdg_"


@dataclass(frozen=True)
class NewToken:
    """A token that was just made; its text is shown once."""

    row: AccessToken
    text: str = field(repr=False)


def set_account(
    store: Store, name: str, grants: Iterable[Grant], *, active: bool = True, actor: str, now: datetime
) -> Account:
    """Say what an account may do from now on. The same again is no change. Raises `NameUnusable`."""
    word("account", name)
    with store.change(actor=actor, now=now) as change:
        held = change.account(name)
        text = grants_text(grants)
        if held is not None and (held.grants, held.active) == (text, active):
            return held
        row = Account(
            name=name,
            position=held.position + 1 if held else 1,
            grants=text,
            active=active,
            since=rfc3339(now),
            actor=actor,
        )
        change.record(EventKind.ACCOUNT_SET, name, row)
    return row


def create_token(
    store: Store, account: str, grants: Iterable[Grant], *, name: str, days: int, actor: str, now: datetime
) -> NewToken:
    """Make a token for an account."""
    text = PREFIX + secrets.token_urlsafe(32)
    with store.change(actor=actor, now=now) as change:
        row = AccessToken(
            name=name,
            position=1,
            digest=sha256_hex(text.encode()),
            account=account,
            grants=grants_text(grants),
            until=rfc3339(now + timedelta(days=days)),
            active=True,
            since=rfc3339(now),
            actor=actor,
        )
        change.record(EventKind.TOKEN_SET, name, row)
    return NewToken(row, text)
