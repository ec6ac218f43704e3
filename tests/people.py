"""People of a home for tests: put in force as their home demands it, by the signatures of those who are there."""

from collections.abc import Collection, Mapping
from types import MappingProxyType

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pipelines import people
from pipelines.people import Outcome, Wanted
from pipelines.workplace import Workplace
from registry.decisions import NAMESPACE
from signing.sshsig import sign

NOBODY: Mapping[str, Ed25519PrivateKey] = MappingProxyType({})


def set_person(
    work: Workplace,
    name: str,
    *,
    public_key: str,
    roles: Collection[str] = ("steward",),
    by: Mapping[str, Ed25519PrivateKey] = NOBODY,
) -> None:
    """Put a person in force. `by`: the stewards who sign, one after the other; nobody at the founding."""
    wanted = Wanted(name, public_key, tuple(roles))
    done = [sign_change(work, wanted, person, key) for person, key in by.items()] or [
        people.set_person(work, wanted)
    ]
    assert done[-1].in_force, f"{done[-1].missing} more have to sign for {name}"


def retire_person(work: Workplace, name: str, *, by: Mapping[str, Ed25519PrivateKey]) -> None:
    """Take a person out, by the word of one steward."""
    with work.store.view() as view:
        gone = people.leaver(view, name)
    [(person, key)] = by.items()
    assert sign_change(work, gone, person, key).in_force


def sign_change(work: Workplace, wanted: Wanted, person: str, key: Ed25519PrivateKey) -> Outcome:
    """One steward's signature under a change."""
    payload = people.propose(work, wanted, person, reason="as agreed")
    return people.change_person(
        work, person, payload=payload, signature=sign(payload, namespace=NAMESPACE, private_key=key)
    )
