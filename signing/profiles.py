"""How many people an origin is made of, and what kinds of keys they sign with.

Apart from the lint so that the numbers can be read on one screen. A quorum counts keys, as TUF does. In the
`hybrid` profile every person brings two, a classical one and an ML-DSA one, and the numbers are chosen so that
what TUF counts says what we mean: four of six keys, at most two of one person and at most three of one kind,
are two people at least and both kinds at least.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from securesystemslib.signer import Key

PROFILE_FIELD = "x-tidegate-profile"  # a signed field of root; a site reads from it how strict to be
PERSONS_FIELD = "x-tidegate-persons"  # a signed field of root: every officer's key names its person
PERSON_FIELD = "x-tidegate-person"  # a field of a key in root or targets
PERSON_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")  # as `registry.names.word` has it
SITE_PREFIX = "site-"
STATION_ROLES = ("snapshot", "timestamp")  # signed by the machine; all others are people's
_CLASSICAL = ("ed25519", "ecdsa", "rsa", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384")  # TUF key types


@dataclass(frozen=True)
class Quorum:
    """How many keys must sign, of at least how many."""

    need: int
    of: int


class Profile(StrEnum):
    """How many people an origin is made of; each is stricter than the one before it."""

    SOLO = "solo"
    OFFICERS = "officers"
    HYBRID = "hybrid"
    CNSA2 = "cnsa2"

    def quorum(self, role: str) -> Quorum:
        """Return what `role` asks for: `root`, `targets`, `catalog`, `site-…`, `snapshot`, `timestamp`."""
        if self is Profile.SOLO:
            return Quorum(1, 1)
        hybrid = self is Profile.HYBRID
        if role in STATION_ROLES:
            return Quorum(2, 2) if hybrid else Quorum(1, 1)
        if role.startswith(SITE_PREFIX):
            return Quorum(3, 4) if hybrid else Quorum(2, 2)
        return Quorum(4, 6) if hybrid else Quorum(2, 3)

    @property
    def algorithms(self) -> tuple[str, ...]:
        """The keys that `tidegate init` makes for one person, or for the station: names of `keys.ALGORITHMS`."""
        kinds = {Profile.HYBRID: ("ed25519", "ml-dsa-65"), Profile.CNSA2: ("ml-dsa-87",)}
        return kinds.get(self, ("ed25519",))

    @property
    def hashes(self) -> list[str]:
        """The hash algorithms in TUF metadata; SHA-256 always, because everything else here is named by it."""
        return ["sha256", "sha384"] if self is Profile.CNSA2 else ["sha256"]

    def weaker_than(self, other: "Profile") -> bool:
        """Say whether going from `other` to this one gives something up."""
        order = list(Profile)
        return order.index(self) < order.index(other)


def person_of(key: Key) -> str | None:
    """Return whose key it says it is; None when it does not say, or says it unreadably."""
    stated = key.unrecognized_fields.get(PERSON_FIELD)
    return stated if isinstance(stated, str) and PERSON_NAME.fullmatch(stated) else None


def is_classical(key: Key) -> bool:
    """Say whether a quantum computer would break this kind of key."""
    return key.keytype in _CLASSICAL


def is_post_quantum(key: Key) -> bool:
    """Say whether it is an ML-DSA key (FIPS 204)."""
    return key.scheme.startswith("ml-dsa-")


def one_person_too_strong(
    name: str, keyids: Iterable[str], keys: Mapping[str, Key], threshold: int, profile: Profile
) -> list[str]:
    """Return what lets one person stand for two in a role: two keys that count alike, or enough to sign alone.

    In `hybrid` a person has a key of each kind. Elsewhere each key is a person, whatever its kind.
    """
    held: dict[str, list[Key]] = {}
    for keyid in keyids:
        if keyid in keys and (person := person_of(keys[keyid])) is not None:
            held.setdefault(person, []).append(keys[keyid])
    problems = []
    for person, theirs in sorted(held.items()):
        if profile is Profile.HYBRID:
            for kind, is_kind in (("classical", is_classical), ("ML-DSA", is_post_quantum)):
                if sum(map(is_kind, theirs)) > 1:
                    problems.append(f"{person} has more than one {kind} key in {name}")
        elif len(theirs) > 1:
            problems.append(f"{person} has more than one key in {name}")
        if len(theirs) >= threshold:
            problems.append(f"{person} alone could sign as {name}")
    return problems


def wrong_kinds(
    name: str, keyids: Iterable[str], keys: Mapping[str, Key], threshold: int, profile: Profile
) -> list[str]:
    """Return what is wrong with the kinds of keys in a role; only `hybrid` and `cnsa2` have a say in it."""
    here = [keys[keyid] for keyid in keyids if keyid in keys]
    if profile is Profile.CNSA2:
        others = [key for key in here if key.scheme != "ml-dsa-87/1"]
        return [f"{name} has a key of kind {key.scheme}, and cnsa2 takes ML-DSA-87 alone" for key in others]
    if profile is not Profile.HYBRID:
        return []
    problems = [
        f"{name} has a key of kind {key.scheme}, which is neither classical nor ML-DSA"
        for key in here
        if not is_classical(key) and not is_post_quantum(key)
    ]
    for kind, is_kind in (("classical", is_classical), ("ML-DSA", is_post_quantum)):
        if sum(map(is_kind, here)) >= threshold:
            problems.append(f"the {kind} keys of {name} could sign without the others")
    return problems
