"""What key metadata must look like before anybody believes it: exact form, honest signatures, the lint.

Shared by the ceremony that makes a root and the site that receives one, so that both hold the same line.
TUF counts key ids, not keys, and re-encodes a document before it checks the signature; the first lets one
key sign twice, the second lets bytes change where nobody looks. Both are closed here (docs/decisions/0004).
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar, cast

from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import Key, Signature
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import DelegatedRole, Metadata, Role, Root, Snapshot, Targets, Timestamp

from signing.canonical import NotCanonical, parse
from signing.keys import KeyUnreadable, fingerprint
from signing.refusals import MetadataTampered, TooFewSignatures, WrongKey

T = TypeVar("T", Root, Timestamp, Snapshot, Targets)

MAX_METADATA: Mapping[str, int] = {  # bytes, by TUF type
    "root": 512_000,
    "timestamp": 16_384,
    "snapshot": 2_000_000,
    "targets": 5_000_000,
}
PROFILE_FIELD = "x-tidegate-profile"  # a signed field of root; a site reads from it how strict to be
CATALOG = "catalog"
PEOPLE_PATH = "identities/people.json"  # the one target of the top-level role; a new edition takes its place
SITE_PREFIX = "site-"
SITE_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")  # a DNS label, RFC 1123
_KEYID = re.compile(r"[0-9a-f]{64}")
_HEX = re.compile(r"(?:[0-9a-f]{2})+")


@dataclass(frozen=True)
class Quorum:
    """How many must sign, of at least how many."""

    need: int
    of: int


class Profile(StrEnum):
    """How many people an origin is made of."""

    SOLO = "solo"
    OFFICERS = "officers"

    def quorum(self, role: str) -> Quorum:
        """Return what `role` asks for: `root`, `targets`, `catalog`, `site-…`, `snapshot`, `timestamp`."""
        if self is Profile.SOLO or role in ("snapshot", "timestamp"):
            return Quorum(1, 1)
        return Quorum(2, 2) if role.startswith(SITE_PREFIX) else Quorum(2, 3)


def site_role(site: str) -> str:
    """Return the name of the role that signs what is shipped to `site`."""
    return SITE_PREFIX + site


def role_paths(role: str) -> list[str]:
    """Return the target paths that a delegated role answers for, as TUF patterns."""
    if role == CATALOG:
        return ["releases/*/*/*"]
    return [f"exports/{role.removeprefix(SITE_PREFIX)}/*"]


def open_metadata(kind: type[T], data: bytes, *, name: str) -> "Metadata[T]":
    """Return the metadata of bytes that are exactly what the ceremony writes, signatures unchecked.

    Args:
        name: what to call the document in a refusal, such as `trust/timestamp.json`.

    Raises:
        MetadataTampered: too large, not JSON, not metadata of this kind, or the same value spelt otherwise
            (a date with a space, a signature in capitals): TUF would not notice such a change.
    """
    try:
        parse(data, max_bytes=MAX_METADATA[kind.type], at=name)
        metadata: Metadata[T] = Metadata[T].from_bytes(data)
        exact = metadata.to_bytes() == data and bool(metadata.signed_bytes)
    except NotCanonical as exc:
        raise MetadataTampered(name, exc.problem) from exc
    except RepositoryError as exc:
        raise MetadataTampered(name, f"does not read as {kind.type} metadata") from exc
    if metadata.signed.type != kind.type:
        raise MetadataTampered(name, f"is {metadata.signed.type} metadata, not {kind.type}")
    if not exact or metadata.unrecognized_fields or not all(map(_plain, metadata.signatures.values())):
        raise MetadataTampered(name, "is not spelt as it was signed")
    return metadata


def check_signatures(
    metadata: "Metadata[T]",
    role: str,
    delegators: Sequence[Root | Targets],
    *,
    name: str,
    surplus: bool = False,
) -> None:
    """Pass when each delegator's threshold for `role` is met and nothing else claims to be a signature.

    Args:
        delegators: whose keys count; a root is checked against the one before it and against itself.
        surplus: leave other signatures alone; for a root whose bytes are known and whose forerunner is not.

    Raises:
        MetadataTampered: a signature by a right key that does not belong to these bytes, or a surplus one.
        WrongKey: no right key signed at all.
        TooFewSignatures: some did.
    """
    payload, signatures = metadata.signed_bytes, metadata.signatures
    results = [delegator.get_verification_result(role, payload, signatures) for delegator in delegators]
    good = {keyid for result in results for keyid in result.signed}
    known: list[Key] = [key for result in results for key in (result.signed | result.unsigned).values()]
    strangers = set(signatures) - {key.keyid for key in known}
    for keyid in sorted(set(signatures) - strangers - good):
        raise MetadataTampered(name, f"the signature by key {keyid[:12]} does not belong to these bytes")
    for keyid in sorted(strangers):
        if any(_fits(key, signatures[keyid], payload) for key in known):
            raise MetadataTampered(name, f"a signature names key {keyid[:12]}, and another key made it")
    for result in results:
        if not result.signed:
            raise WrongKey(name, role)
        if not result.verified:
            raise TooFewSignatures(name, role, have=len(result.signed), need=result.threshold)
    for keyid in () if surplus else sorted(strangers):
        raise MetadataTampered(name, f"also signed by key {keyid[:12]}, which may not sign as {role}")


def profile_of(root: Root) -> Profile | None:
    """Return the profile that a root states, None if it states none that is known."""
    stated = root.unrecognized_fields.get(PROFILE_FIELD)
    return Profile(stated) if stated in tuple(Profile) else None


def lint_root(root_bytes: bytes, *, previous: bytes | None = None) -> list[str]:
    """Return everything that is wrong with a root apart from its signatures; empty means fit to trust.

    Args:
        previous: the root before it, when there is one: the profile may not become weaker in band.

    Looks for: one key under two ids, thresholds that cannot be met or are met by one person outside the solo
    profile, one key in several roles outside the solo profile, inconsistent snapshots.
    """
    try:
        root = open_metadata(Root, root_bytes, name="root").signed
        before = None if previous is None else open_metadata(Root, previous, name="the root before").signed
    except MetadataTampered as exc:
        return [str(exc)]
    profile = profile_of(root)
    if profile is None:
        return [f"states no known profile ({PROFILE_FIELD})"]
    problems = [] if root.consistent_snapshot is True else ["does not ask for consistent snapshots"]
    if before is not None and profile_of(before) is Profile.OFFICERS and profile is Profile.SOLO:
        problems.append("goes from officers to solo; that takes a new enrolment")
    problems += _same_key_twice(root.keys)
    for role in sorted(root.roles):
        problems += _quorum_problems(role, root.roles[role], root.keys, profile)
    if profile is not Profile.SOLO:
        problems += _shared(_holders({}, root.roles, root.keys))
    return problems


def lint_targets(targets: Targets, root: Root) -> list[str]:
    """Return everything wrong with the delegations that `targets` makes under `root`; see `lint_root`."""
    if targets.delegations is None:
        return []
    if targets.delegations.roles is None:
        return ["delegates to hash bins, which no role here is"]
    keys, profile = targets.delegations.keys, profile_of(root) or Profile.OFFICERS
    problems = _same_key_twice(keys)
    roles = {str(name): role for name, role in targets.delegations.roles.items()}  # tuf lets a number pass
    for name, role in roles.items():
        problems += _delegation_problems(name, role) + _quorum_problems(name, role, keys, profile)
    if profile is not Profile.SOLO:
        holders = _holders({}, root.roles, root.keys)
        problems += _shared(_holders(holders, roles, keys))
    return problems


def _plain(signature: Signature) -> bool:
    texts = (signature.keyid, signature.signature)
    if signature.unrecognized_fields or not all(isinstance(text, str) for text in texts):
        return False
    return bool(_KEYID.fullmatch(signature.keyid) and _HEX.fullmatch(signature.signature))


def _fits(key: Key, signature: Signature, payload: bytes) -> bool:
    try:
        key.verify_signature(Signature(key.keyid, signature.signature), payload)
    except UnverifiedSignatureError:
        return False
    return True


def _group(role: str) -> str:
    """Roles that one and the same key may serve: the station's two, and all sites of one export office."""
    if role in ("snapshot", "timestamp"):
        return "the station"
    return "the sites" if role.startswith(SITE_PREFIX) else role


def _print(key: Key) -> str | None:
    try:
        return fingerprint(key)
    except KeyUnreadable:
        return None


def _prints(keyids: Iterable[str], keys: Mapping[str, Key]) -> set[str]:
    found = {_print(keys[keyid]) for keyid in keyids if keyid in keys}
    return cast("set[str]", found - {None})


def _same_key_twice(keys: Mapping[str, Key]) -> list[str]:
    seen: dict[str, str] = {}
    problems = []
    for keyid, key in sorted(keys.items()):
        material = _print(key)
        if material is None:
            problems.append(f"key {keyid[:12]} does not decode")
        elif material in seen:
            problems.append(f"keys {seen[material][:12]} and {keyid[:12]} are one and the same key")
        else:
            seen[material] = keyid
    return problems


def _quorum_problems(name: str, role: Role, keys: Mapping[str, Key], profile: Profile) -> list[str]:
    problems = [
        f"{name} names key {str(keyid)[:12]}, which is not here" for keyid in role.keyids if keyid not in keys
    ]
    distinct = len(_prints(role.keyids, keys))
    if role.threshold > distinct:
        problems.append(f"{name} needs {role.threshold} signatures and has {distinct} keys")
    if role.threshold < profile.quorum(name).need:
        problems.append(
            f"{name} needs {role.threshold} signature, and the {profile} profile asks for two people"
        )
    return problems


def _delegation_problems(name: str, role: DelegatedRole) -> list[str]:
    site = name.removeprefix(SITE_PREFIX)
    if name != CATALOG and not (name.startswith(SITE_PREFIX) and SITE_NAME.fullmatch(site)):
        return [f"delegates to {name!r}, which is neither {CATALOG} nor a site"]
    if role.paths != role_paths(name) or role.terminating is not True:
        return [f"{name} answers for {role.paths}, and should for {role_paths(name)} alone"]
    return []


def _holders(
    known: Mapping[str, set[str]], roles: Mapping[str, Role], keys: Mapping[str, Key]
) -> dict[str, set[str]]:
    """Return group to the fingerprints of its keys, added to what is known already."""
    holders = {group: set(prints) for group, prints in known.items()}
    for name, role in roles.items():
        holders.setdefault(_group(name), set()).update(_prints(role.keyids, keys))
    return holders


def _shared(holders: Mapping[str, set[str]]) -> list[str]:
    names = sorted(holders)
    return [
        f"one key serves both {first} and {second}"
        for number, first in enumerate(names)
        for second in names[number + 1 :]
        if holders[first] & holders[second]
    ]
