"""Ceremonies begun: a first root, a new site, other keys, documents to vouch for; nobody has signed yet.

Apart from `drafts.py`, which judges and finishes them: what is built here is computed again and linted by everybody
who signs it. Whatever a change of keys leaves without its signatures becomes a document of the same draft, so a
signature by a key that was replaced never stays in force.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from types import MappingProxyType

from securesystemslib.signer import Key
from tuf.api.metadata import DelegatedRole, Delegations, Metadata, Role, Root, Targets

from signing.ceremony import edited_for
from signing.drafts import Draft, KeyUnfit, delegated_roles
from signing.issue import DEFAULTS, Lifetimes, after, pending, profile_stated
from signing.lint import apart
from signing.profiles import (
    PERSON_FIELD,
    PERSON_NAME,
    PERSONS_FIELD,
    PROFILE_FIELD,
    STATION_ROLES,
    Profile,
    Quorum,
    one_person_too_strong,
    person_of,
    wrong_kinds,
)
from signing.refusals import NoSuchRole, SiteNameRefused
from signing.repository import TrustState
from signing.roots import CATALOG, SITE_NAME, role_paths, site_role

_ANY_NUMBER = 1 << 30  # a threshold that no number of keys reaches: only kinds and people are looked at


def begin(
    profile: Profile,
    origin: str,
    station: Sequence[Key],
    *,
    now: datetime,
    quorums: Mapping[str, Quorum] = MappingProxyType({}),
    lifetimes: Lifetimes = DEFAULTS,
) -> Draft:
    """Return the draft of an origin's first root and targets, in which only the station has its keys yet.

    Args:
        station: public keys for snapshot and timestamp, one of each kind that the profile asks for.
        quorums: higher numbers than the profile's, for `root`, `targets` or `catalog`.

    Raises:
        KeyUnfit: a quorum below the profile's.
    """
    for role, quorum in quorums.items():
        least = profile.quorum(role)
        if quorum.need < least.need or quorum.of < max(least.of, quorum.need):
            raise KeyUnfit(
                role,
                [f"{quorum.need}/{quorum.of} is below {least.need}/{least.of} of the {profile} profile"],
            )
    asked = {role: quorums.get(role, profile.quorum(role)) for role in ("root", "targets", CATALOG)}
    roles = {role: Role([], asked[role].need) for role in ("root", "targets")}
    roles |= {role: Role([key.keyid for key in station], profile.quorum(role).need) for role in STATION_ROLES}
    root = Root(
        1,
        expires=after(now, lifetimes.root),
        keys={key.keyid: key for key in station},
        roles=roles,
        consistent_snapshot=True,
        unrecognized_fields={PROFILE_FIELD: str(profile), PERSONS_FIELD: True},
    )
    catalog = DelegatedRole(CATALOG, [], asked[CATALOG].need, True, role_paths(CATALOG))
    targets = Targets(
        1, expires=after(now, lifetimes.targets), delegations=Delegations({}, roles={CATALOG: catalog})
    )
    empty = Draft("init", origin, now, TrustState(()), {}, dict(quorums))
    return _settled(empty, root, {"targets": targets}, lifetimes)


def adding_site(
    state: TrustState, site: str, origin: str, *, now: datetime, lifetimes: Lifetimes = DEFAULTS
) -> Draft:
    """Return the draft in which `site` is a role; it begins with the keys of the site that was added last, if any.

    Raises:
        SiteNameRefused: not a name, or taken.
    """
    if not SITE_NAME.fullmatch(site):
        raise SiteNameRefused(site, "not a name for a site")
    if site in state.sites:
        raise SiteNameRefused(site, "taken")
    targets = state.targets
    roles = delegated_roles(targets)
    office = roles[site_role(state.sites[-1])] if state.sites else None
    need = office.threshold if office else profile_stated(state.root).quorum(site_role(site)).need
    keyids = list(office.keyids) if office else []
    roles[site_role(site)] = DelegatedRole(site_role(site), keyids, need, True, role_paths(site_role(site)))
    return _settled(Draft("add-site", origin, now, state, {}), None, {"targets": targets}, lifetimes)


def changing(
    state: TrustState,
    origin: str,
    *,
    now: datetime,
    replaced: Mapping[str, Key] = MappingProxyType({}),
    retired: Collection[str] = (),
    renew: Collection[str] = (),
    station: Sequence[Key] = (),
    lifetimes: Lifetimes = DEFAULTS,
) -> Draft:
    """Return the draft of a change of keys, or of the yearly signature.

    Args:
        replaced: old key id to the key that takes its place in every role that it has.
        retired: people whose keys leave every role; `with_key` puts others in their place.
        renew: roles to sign anew although nothing in them changes.
        station: the station's new keys, which replace all that it had.

    Raises:
        NoSuchRole: a key, a person or a role that there is not, or nothing to change.
        KeyUnfit: a new key is not fit for a role that it comes into.
    """
    root, targets = state.root, state.targets
    lost = dict.fromkeys(_keys_of(root, targets, retired)) | dict(replaced)
    touched = _exchange(root, lost), _exchange_delegated(targets, lost)
    for keyid, key in lost.items():
        if key is not None and person_of(key) is not None:
            _demand_fit(key, _roles_with(root, targets, key.keyid), root, targets)
        if not (keyid in state.root.keys or keyid in _delegation_keys(state.targets)):
            raise NoSuchRole("change of keys", f"with a key {keyid[:12]}")
    if station:
        _put_station(root, station)
    unknown = [role for role in renew if role in STATION_ROLES or role not in {"root", *state.metadata}]
    if unknown or not (lost or station or renew):
        raise NoSuchRole("renew", ", ".join(unknown) or "named", why=_not_yet(unknown, targets))
    edited = {role: _copy(state, role) for role in renew if role not in ("root", "targets")}
    if touched[1] or "targets" in renew:
        edited["targets"] = targets
    new_root = root if touched[0] or station or "root" in renew else None
    kind = "rotate" if new_root else "rekey" if lost else "publish"
    return _settled(Draft(kind, origin, now, state, {}), new_root, edited, lifetimes)


def publishing(
    state: TrustState,
    payloads: Mapping[str, bytes],
    origin: str,
    *,
    now: datetime,
    evidence: Mapping[str, bytes] = MappingProxyType({}),
    lifetimes: Lifetimes = DEFAULTS,
) -> Draft:
    """Return the draft that vouches for documents: `identities/people.json`, releases, exports.

    Args:
        evidence: path to bytes of what a signer's program needs to say in words what the payloads are.

    Raises:
        NoSuchRole, AlreadyPublished: as `ceremony.publish`.
    """
    draft = Draft("publish", origin, now, state, {}, payloads=dict(payloads), evidence=dict(evidence))
    return _settled(draft, None, edited_for(state, payloads), lifetimes)


def with_key(draft: Draft, role: str, person: str, key: Key, *, lifetimes: Lifetimes = DEFAULTS) -> Draft:
    """Return the draft in which `key`, which is `person`'s, may sign as `role`.

    Raises:
        NoSuchRole: the draft has no such role.
        KeyUnfit: the profile does not let this key or person into the role; see `signing.lint`.
    """
    root, targets = draft.root, draft.targets
    if role in STATION_ROLES:
        raise KeyUnfit(role, ["is signed by the station, and not by a person"])
    if role not in root.roles and role not in delegated_roles(targets):
        raise NoSuchRole("new key", role)
    named = owned(key, person)
    known = {**root.keys, **_delegation_keys(targets)}.get(key.keyid)
    if known is not None and person_of(known) != person:
        raise KeyUnfit(role, [f"key {key.keyid[:12]} is {person_of(known)}'s already"])
    holder = root.roles[role] if role in root.roles else delegated_roles(targets)[role]
    if key.keyid in holder.keyids:
        raise KeyUnfit(role, [f"key {key.keyid[:12]} is in it already"])
    holder.keyids.append(key.keyid)
    (root.keys if role in root.roles else _delegation_keys(targets))[key.keyid] = named
    _demand_fit(named, [role], root, targets)
    edited = {name: draft.document(name) for name in draft.documents if name != "root"}
    if role not in root.roles:
        edited["targets"] = targets
    changed = root if role in root.roles or "root" in draft.documents else None
    return _settled(draft, changed, edited, lifetimes)


def owned(key: Key, person: str) -> Key:
    """Return the key with its person on it. Raises `KeyUnfit`: not a name for a person."""
    if not PERSON_NAME.fullmatch(person):
        raise KeyUnfit(
            person, ["write a person's name in at most 31 letters a-z, digits and hyphens, a letter first"]
        )
    return Key.from_dict(key.keyid, {**key.to_dict(), PERSON_FIELD: person})


def _settled(draft: Draft, root: Root | None, edited: Mapping[str, Targets], lifetimes: Lifetimes) -> Draft:
    """Return the draft with these changes, and with every document that they leave without its signatures."""
    documents: dict[str, bytes] = {}
    roots = draft.base.roots
    if root is not None:
        root.version, root.expires = len(roots) + 1, after(draft.made_at, lifetimes.root)
        documents["root"] = Metadata(root).to_bytes()
        roots = (*roots, documents["root"])
    state = TrustState(roots, draft.base.metadata)
    for role, document in pending(state, edited, draft.made_at, lifetimes).items():
        documents[role] = Metadata(document).to_bytes()
    return replace(draft, documents=documents)


def _copy(state: TrustState, role: str) -> Targets:
    signed = state.opened(role).signed
    assert isinstance(signed, Targets), "the station's roles are not renewed by people"
    return signed


def _delegation_keys(targets: Targets) -> dict[str, Key]:
    assert targets.delegations is not None, "targets made here always delegate"
    return targets.delegations.keys


def _keys_of(root: Root, targets: Targets, people: Collection[str]) -> list[str]:
    """Return the ids of these people's keys. Raises `NoSuchRole`: somebody has none."""
    keys = {**root.keys, **_delegation_keys(targets)}
    strangers = set(people) - {person_of(key) for key in keys.values()}
    if strangers:
        raise NoSuchRole("change of keys", f"with a key of {', '.join(sorted(strangers))}")
    return [keyid for keyid, key in keys.items() if person_of(key) in people]


def _exchange(root: Root, lost: Mapping[str, Key | None]) -> bool:
    """Put keys in the place of others, or nothing, in every role that people sign for; say whether any changed."""
    roles = {name: role for name, role in root.roles.items() if name not in STATION_ROLES}
    return _exchanged(roles, root.roles, root.keys, lost)


def _exchange_delegated(targets: Targets, lost: Mapping[str, Key | None]) -> bool:
    roles = delegated_roles(targets)
    return _exchanged(roles, roles, _delegation_keys(targets), lost)


def _exchanged(
    roles: Mapping[str, Role],
    everyone: Mapping[str, Role],
    keys: dict[str, Key],
    lost: Mapping[str, Key | None],
) -> bool:
    changed = False
    for role in roles.values():
        gone = [keyid for keyid in role.keyids if keyid in lost]
        changed = changed or bool(gone)
        for keyid in gone:
            new = lost[keyid]
            at = role.keyids.index(keyid)
            role.keyids[at : at + 1] = [] if new is None else [new.keyid]
            if new is not None:
                keys[new.keyid] = new
    used = {keyid for role in everyone.values() for keyid in role.keyids}
    for keyid in set(keys) - used:
        del keys[keyid]
    return changed


def _put_station(root: Root, station: Sequence[Key]) -> None:
    before = {keyid for role in STATION_ROLES for keyid in root.roles[role].keyids}
    for role in STATION_ROLES:
        root.roles[role].keyids[:] = [key.keyid for key in station]
    used = {keyid for role in root.roles.values() for keyid in role.keyids}
    for keyid in before - used:
        del root.keys[keyid]
    root.keys.update({key.keyid: key for key in station})


def _roles_with(root: Root, targets: Targets, keyid: str) -> list[str]:
    everything = {**root.roles, **delegated_roles(targets)}
    return [name for name, role in everything.items() if keyid in role.keyids]


def _not_yet(names: Collection[str], targets: Targets) -> str:
    """Return why roles that there are cannot be renewed: before a first bundle nothing is signed for them."""
    known = sorted(set(names) & delegated_roles(targets).keys())
    return f"nothing was signed for {', '.join(known)} yet, so there is nothing to renew" if known else ""


def _demand_fit(key: Key, roles: Collection[str], root: Root, targets: Targets) -> None:
    """Raise `KeyUnfit` when the profile does not let this key, or its person, into one of these roles."""
    everything: Mapping[str, Role] = {**root.roles, **delegated_roles(targets)}
    keys, profile = {**root.keys, **_delegation_keys(targets)}, profile_stated(root)
    if profile is Profile.SOLO:
        return
    for role in roles:
        found = wrong_kinds(role, [key.keyid], keys, _ANY_NUMBER, profile)
        found += one_person_too_strong(role, everything[role].keyids, keys, _ANY_NUMBER, profile)
        found += apart(root, targets)
        if found:
            raise KeyUnfit(role, list(dict.fromkeys(found)))
