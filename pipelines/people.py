"""Who may sign, and with which key: rows appended, never changed."""

from collections.abc import Sequence

from pipelines.workplace import Workplace
from registry.audit import EventKind
from registry.entities import Person
from registry.errors import DocumentRefused, NotFound
from registry.names import word
from signing import sshsig
from signing.times import rfc3339

MAX_KEY_LINE = 4096  # characters; an RSA key of 16,384 bits has 2,800


def set_person(work: Workplace, name: str, *, public_key: str, roles: Sequence[str]) -> Person:
    """From now on this person signs with this key. Raises `NameUnusable`, `DocumentRefused`, `SshSignatureUncheckable`."""
    word("person", name)
    line = public_key.strip()
    if "PRIVATE KEY" in line:
        raise DocumentRefused("this is a private key; give the .pub file beside it", at="public key")
    if "\n" in line or len(line) > MAX_KEY_LINE:
        raise DocumentRefused("one OpenSSH public key line is needed (the .pub file)", at="public key")
    fingerprint = sshsig.fingerprint(line)  # refuses what no signature can be checked with
    with work.store.view() as view:
        holder = next(
            (
                row.name
                for row in view.people()
                if row.active and row.name != name and sshsig.fingerprint(row.public_key) == fingerprint
            ),
            None,
        )
    if holder is not None:
        raise DocumentRefused(
            f"this key is {holder}'s already; each person signs with their own", at="public key"
        )
    return _append(work, name, public_key=line, roles=",".join(roles), active=True)


def retire_person(work: Workplace, name: str) -> Person:
    """From now on nothing that this person signed counts. Raises `NotFound`."""
    with work.store.view() as view:
        history = view.person_history(name)
    if not history:
        raise NotFound("person", name)
    return _append(work, name, public_key=history[-1].public_key, roles=history[-1].roles, active=False)


def _append(work: Workplace, name: str, *, public_key: str, roles: str, active: bool) -> Person:
    with work.store.change(actor=work.actor, now=work.now) as change:
        row = Person(
            name=name,
            position=len(change.person_history(name)) + 1,
            public_key=public_key,
            roles=roles,
            active=active,
            since=rfc3339(work.now),
            actor=work.actor,
        )
        change.record(EventKind.PERSON_SET, name, row)
    return row
