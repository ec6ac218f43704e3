"""Passkeys of accounts: which credentials somebody signs in with, and the OpenSSH key that each of them is.

A passkey lets its account in. Whether it approves anything is another matter: for that its key line has to stand among
the people, where stewards sign for it as for every key.
"""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

from registry.audit import EventKind
from registry.entities import Passkey
from registry.errors import NotFound, RegistryRefusal
from signing.times import rfc3339

if TYPE_CHECKING:
    from registry.store import Change, Store

MOST = 20  # passkeys of one account at one time
LONGEST_TITLE = 64  # characters


class PasskeyUnfit(RegistryRefusal):
    """A passkey that cannot be kept so: it is known already, there are too many, or its name is none."""

    exit_code: ClassVar[int] = 192
    status: ClassVar[int] = 409
    next_step: ClassVar[str] = (
        "Look at your passkeys on the account's page; remove one, or choose another name."
    )


@dataclass(frozen=True)
class Passkeys:
    """The passkeys of one account, changed by its owner at one moment."""

    store: "Store"
    account: str
    now: datetime

    def add(self, credential: str, public_key: str, title: str, *, note: dict[str, Any]) -> Passkey:
        """Keep a passkey whose registration was verified.

        Args:
            credential: its id as browsers name it, in base64url.
            public_key: one OpenSSH line.
            note: what the event should say about how it was made.

        Raises:
            PasskeyUnfit: somebody has it already, the account has too many, or the title is unusable.
        """
        title = _title(title)
        with self._change() as change:
            if change.passkey(credential) is not None:
                raise PasskeyUnfit("this passkey is known here already")
            if sum(row.active for row in change.passkeys(self.account)) >= MOST:
                raise PasskeyUnfit(f"{self.account} has {MOST} passkeys")
            row = Passkey(
                credential=credential, position=1, account=self.account, public_key=public_key, title=title,
                active=True, since=rfc3339(self.now), actor=self.account,
            )  # fmt: skip
            change.record(EventKind.PASSKEY_SET, self.account, row, note={"what": "added", **note})
            return row

    def rename(self, credential: str, title: str) -> Passkey:
        """Call it something else. Raises `NotFound`, `PasskeyUnfit`."""
        return self._set(credential, what="renamed", title=_title(title))

    def remove(self, credential: str) -> Passkey:
        """End it: nobody signs in with it from now on. Raises `NotFound`."""
        return self._set(credential, what="removed", active=False)

    def _set(self, credential: str, *, what: str, **changed: Any) -> Passkey:
        with self._change() as change:
            held = change.passkey(credential)
            if held is None or held.account != self.account or not held.active:
                raise NotFound("passkey", credential[:64])
            again = {"position": held.position + 1, "since": rfc3339(self.now), "actor": self.account}
            row = Passkey(**(held.model_dump(exclude={"id"}) | again | changed))
            change.record(EventKind.PASSKEY_SET, self.account, row, note={"what": what})
            return row

    def _change(self) -> AbstractContextManager["Change"]:
        return self.store.change(actor=self.account, now=self.now)


def _title(text: str) -> str:
    title = " ".join(text.split())
    if not title or len(title) > LONGEST_TITLE or not title.isprintable():
        raise PasskeyUnfit(f"a passkey's name has 1 to {LONGEST_TITLE} characters that can be seen")
    return title
