"""What the keys and roles in a root or targets must be like before anybody trusts them.

Run at the ceremony that makes a document and again at every site that receives one, so that both hold the same
line. TUF counts key ids and knows no people: one key under two ids signs twice, and one person with two keys is
two signers. Both are found here. Roots of releases before people stood on keys are still taken: what they do not
state is not demanded, and a root that states it may not be followed by one that does not.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import cast

from securesystemslib.signer import Key
from tuf.api.metadata import DelegatedRole, Role, Root, Targets

from signing.keys import KeyUnreadable, fingerprint
from signing.profiles import (
    PERSONS_FIELD,
    PROFILE_FIELD,
    SITE_PREFIX,
    STATION_ROLES,
    Profile,
    one_person_too_strong,
    person_of,
    wrong_kinds,
)
from signing.refusals import MetadataTampered
from signing.roots import CATALOG, SITE_NAME, open_metadata, profile_of, role_paths
from signing.times import rfc3339

_LONGEST = timedelta(days=3653)  # ten years; a root that outlives its key holders' memory helps nobody


def lint_root(root_bytes: bytes, *, previous: bytes | None = None, now: datetime | None = None) -> list[str]:
    """Return everything that is wrong with a root apart from its signatures; empty means fit to trust.

    Args:
        previous: the root before it, when there is one: it may not become weaker in band.
        now: also look at its expiry; left out where an old root of a chain is read.

    Looks for: one key under two ids, thresholds that cannot be met or are met by one person outside the solo
    profile, one key in several roles outside the solo profile, kinds of keys that the profile does not take,
    keys without a person where the root says that all have one, inconsistent snapshots.
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
    problems += [] if before is None else _weakened(root, profile, before)
    problems += [] if now is None else _expiry("root", root.expires, now)
    problems += _same_key_twice(root.keys)
    for role in sorted(root.roles):
        problems += _role_problems(role, root.roles[role], root.keys, profile, named=states_persons(root))
    if profile is not Profile.SOLO:
        problems += _shared(_holders({}, root.roles, root.keys))
    return problems


def lint_targets(targets: Targets, root: Root, *, now: datetime | None = None) -> list[str]:
    """Return everything wrong with the delegations that `targets` makes under `root`; see `lint_root`."""
    problems = [] if now is None else _expiry("targets", targets.expires, now)
    if targets.delegations is None:
        return problems
    if targets.delegations.roles is None:
        return ["delegates to hash bins, which no role here is"]
    keys, profile = targets.delegations.keys, profile_of(root) or Profile.OFFICERS
    problems += _same_key_twice(keys)
    roles = {str(name): role for name, role in targets.delegations.roles.items()}  # tuf lets a number pass
    for name, role in roles.items():
        problems += _delegation_problems(name, role)
        problems += _role_problems(name, role, keys, profile, named=states_persons(root))
    return problems if profile is Profile.SOLO else problems + apart(root, targets)


def apart(root: Root, targets: Targets) -> list[str]:
    """Return the keys and people that serve roles which have to be apart outside the solo profile."""
    assert targets.delegations is not None, "asked of targets that delegate"
    keys = targets.delegations.keys
    roles = {str(name): role for name, role in (targets.delegations.roles or {}).items()}
    holders = _holders({}, root.roles, root.keys)
    return _shared(_holders(holders, roles, keys)) + _people_in_both(roles, keys)


def too_few_keys(roles: Mapping[str, Role], profile: Profile) -> list[str]:
    """Return the roles that have fewer keys than the profile asks for: demanded of a ceremony, not by a site."""
    return [
        f"{name} takes {profile.quorum(name).of} keys in the {profile} profile, and {len(role.keyids)} were given"
        for name, role in sorted(roles.items())
        if len(role.keyids) < profile.quorum(name).of
    ]


def states_persons(root: Root) -> bool:
    """Say whether a root promises that every officer's key names its person."""
    return root.unrecognized_fields.get(PERSONS_FIELD) is True


def _weakened(root: Root, profile: Profile, before: Root) -> list[str]:
    then = profile_of(before)
    problems = []
    if then is not None and profile.weaker_than(then):
        problems.append(f"goes from {then} to {profile}; that takes a new enrolment")
    if states_persons(before) and not states_persons(root):
        problems.append("no longer says whose its keys are, as the root before it did")
    return problems


def _expiry(name: str, expires: datetime, now: datetime) -> list[str]:
    if expires <= now:
        return [f"{name} was valid until {rfc3339(expires)} only"]
    if expires - now > _LONGEST:
        return [f"{name} would be valid until {rfc3339(expires)}, and ten years are the longest"]
    return []


def _role_problems(
    name: str, role: Role, keys: Mapping[str, Key], profile: Profile, *, named: bool
) -> list[str]:
    problems = _quorum_problems(name, role, keys, profile)
    problems += wrong_kinds(name, role.keyids, keys, role.threshold, profile)
    if profile is Profile.SOLO or name in STATION_ROLES:
        return problems
    if named:
        nameless = [keyid for keyid in role.keyids if keyid in keys and person_of(keys[keyid]) is None]
        problems += [f"key {keyid[:12]} of {name} does not say whose it is" for keyid in nameless]
    return problems + one_person_too_strong(name, role.keyids, keys, role.threshold, profile)


def _people_in_both(roles: Mapping[str, Role], keys: Mapping[str, Key]) -> list[str]:
    """Who vouches for a release may not also be the one who ships it."""
    people: dict[bool, set[str]] = {True: set(), False: set()}
    for name, role in roles.items():
        found = {person_of(keys[keyid]) for keyid in role.keyids if keyid in keys}
        people[name == CATALOG] |= cast("set[str]", found - {None})
    return [f"{person} serves both catalog and the sites" for person in sorted(people[True] & people[False])]


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
            f"{name} needs {role.threshold}, and the {profile} profile asks for {profile.quorum(name).need}"
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
