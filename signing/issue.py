"""Signing a changed state: every document that the change touches, then snapshot and timestamp over all.

The mechanics of `ceremony.py`, apart from it so that what a ceremony means can be read on its own. Whatever
the current keys no longer cover is signed anew without being asked for, so a change of keys cannot leave an
old signature standing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

from securesystemslib.signer import Key, Signer
from tuf.api.metadata import (
    TOP_LEVEL_ROLE_NAMES,
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    Targets,
    Timestamp,
)

from signing.lint import lint_targets, too_few_keys
from signing.profiles import Profile
from signing.refusals import BadRoot, NoSuchRole, RoleExpired, TooFewSigners
from signing.repository import TrustState
from signing.roots import CATALOG, PEOPLE_PATH, profile_of, role_paths, site_role
from signing.stream import EXPORT_PATH, RELEASE_PATH


@dataclass(frozen=True)
class Lifetimes:
    """How long each role's signature is good for."""

    root: timedelta = timedelta(days=5 * 365)  # re-signed every year, long enough to miss some
    targets: timedelta = timedelta(days=365)
    catalog: timedelta = timedelta(days=365)
    site: timedelta = timedelta(days=180)
    snapshot: timedelta = timedelta(days=365)
    timestamp: timedelta = timedelta(days=90)  # a bundle's validity

    def of(self, role: str) -> timedelta:
        """Return the lifetime of `role`, sites sharing one."""
        named: timedelta = getattr(self, role, self.site)
        return named


DEFAULTS = Lifetimes()


def issue(
    state: TrustState,
    edited: Mapping[str, Targets],
    signers: Sequence[Signer],
    now: datetime,
    lifetimes: Lifetimes,
) -> TrustState:
    """Sign what was edited or what the current keys no longer cover, then snapshot and timestamp over it all."""
    root, issued = state.root, dict(state.metadata)
    waiting = pending(state, edited, now, lifetimes)
    targets = waiting.get("targets") or state.targets
    refuse("targets", lint_targets(targets, root))
    for role, document in waiting.items():
        delegator = root if role == "targets" else targets
        issued[role] = signed_bytes(Metadata(document), role, [delegator], signers)
    return _stamped(TrustState(state.roots, MappingProxyType(issued)), signers, now, lifetimes)


def pending(
    state: TrustState, edited: Mapping[str, Targets], now: datetime, lifetimes: Lifetimes
) -> dict[str, Targets]:
    """Return role to the next version of its document, unsigned: `targets` first, then whom it delegates to.

    Raises:
        RoleExpired: root, or a document that stays as it is.
    """
    root = state.root
    if root.is_expired(now):
        raise RoleExpired("root", expired=root.expires)
    targets = edited.get("targets") or state.targets
    waiting: dict[str, Targets] = {}
    for role in ("targets", *sorted((set(state.metadata) | set(edited)) - TOP_LEVEL_ROLE_NAMES)):
        delegator = root if role == "targets" else targets
        if role in edited or not _covered(state, role, delegator):
            document = edited[role] if role in edited else current(state, role)
            document.version = _version(state, role) + 1
            document.expires = after(now, lifetimes.of(role))
            waiting[role] = document
        elif role in ("targets", CATALOG) and (held := current(state, role)).is_expired(now):
            raise RoleExpired(role, expired=held.expires)
    return waiting


def _stamped(state: TrustState, signers: Sequence[Signer], now: datetime, lifetimes: Lifetimes) -> TrustState:
    """Return the state with a new snapshot and timestamp over its documents."""
    root, issued = state.root, dict(state.metadata)
    hashes = profile_stated(root).hashes
    delegated = sorted(set(issued) - TOP_LEVEL_ROLE_NAMES)
    meta = {f"{role}.json": _meta(issued[role], hashes) for role in ("targets", *delegated)}
    snapshot = Snapshot(_version(state, "snapshot") + 1, expires=after(now, lifetimes.snapshot), meta=meta)
    issued["snapshot"] = signed_bytes(Metadata(snapshot), "snapshot", [root], signers)
    timestamp = Timestamp(
        _version(state, "timestamp") + 1,
        expires=after(now, lifetimes.timestamp),
        snapshot_meta=_meta(issued["snapshot"], hashes),
    )
    issued["timestamp"] = signed_bytes(Metadata(timestamp), "timestamp", [root], signers)
    return TrustState(state.roots, MappingProxyType(issued))


def signed_bytes(
    metadata: "Metadata[Root] | Metadata[Targets] | Metadata[Snapshot] | Metadata[Timestamp]",
    role: str,
    delegators: Sequence[Root | Targets],
    signers: Sequence[Signer],
) -> bytes:
    """Count first, sign then: a document with too few signatures never exists."""
    able: dict[str, Signer] = {}
    for delegator in delegators:
        asked = delegator.get_delegated_role(role)
        here = {s.public_key.keyid: s for s in signers if s.public_key.keyid in asked.keyids}
        if len(here) < asked.threshold:
            raise TooFewSigners(role, have=len(here), need=asked.threshold)
        able |= here
    for _, signer in sorted(able.items()):
        metadata.sign(signer, append=True)
    return metadata.to_bytes()


def delegate(targets: Targets, role: str, keys: Sequence[Key], profile: Profile) -> None:
    """Make `keys` the ones that sign as `role`, by the profile's quorum or the higher one it has. Raises `BadRoot`."""
    assert targets.delegations is not None, "targets made here always delegate"
    assert targets.delegations.roles is not None, "and never to hash bins"
    delegations = targets.delegations
    roles = dict(targets.delegations.roles)
    keyids = distinct(keys)
    threshold = max(profile.quorum(role).need, roles[role].threshold if role in roles else 1)
    roles[role] = DelegatedRole(role, keyids, threshold, True, role_paths(role))
    refuse(role, too_few_keys({role: roles[role]}, profile))
    known = delegations.keys | {key.keyid: key for key in keys}
    used = {keyid for one in roles.values() for keyid in one.keyids}
    targets.delegations = Delegations({keyid: known[keyid] for keyid in sorted(used)}, roles=roles)


def _covered(state: TrustState, role: str, delegator: Root | Targets) -> bool:
    """Say whether the current document of `role` has enough signatures, all of them by keys that count now.

    One that a replaced key made besides would make every site refuse the document (`roots.check_signatures`).
    """
    if role not in state.metadata:
        return False
    held = state.opened(role)
    result = delegator.get_verification_result(role, held.signed_bytes, held.signatures)
    return bool(result) and set(held.signatures) <= set(delegator.get_delegated_role(role).keyids)


def current(state: TrustState, role: str) -> Targets:
    """Return a copy of the role's document that may be edited, an empty one if there is none yet."""
    if role not in state.metadata:
        return Targets()
    signed = state.opened(role).signed
    assert isinstance(signed, Targets)
    return signed


def _version(state: TrustState, role: str) -> int:
    return state.opened(role).signed.version if role in state.metadata else 0


def role_for(path: str, targets: Targets) -> str:
    """Return the role that signs for a target path, `targets` itself for the people. Raises `NoSuchRole`."""
    if path == PEOPLE_PATH:
        return "targets"
    roles = list(targets.delegations.get_roles_for_target(path)) if targets.delegations else []
    if not roles or not (EXPORT_PATH.fullmatch(path) or RELEASE_PATH.fullmatch(path)):
        kind, _, rest = path.partition("/")
        raise NoSuchRole(path, site_role(rest.partition("/")[0]) if kind == "exports" else "for such a path")
    return roles[0][0]


def _meta(data: bytes, hashes: list[str]) -> MetaFile:
    version = Metadata.from_bytes(data).signed.version
    return MetaFile.from_data(version, data, hashes)


def distinct(keys: Sequence[Key]) -> list[str]:
    """Return the ids of the keys, each once: a key that was named twice is one key."""
    return list(dict.fromkeys(key.keyid for key in keys))


def after(now: datetime, lifetime: timedelta) -> datetime:
    """Return an expiry, in the zone that tuf insists on."""
    return now.astimezone(UTC) + lifetime


def profile_stated(root: Root) -> Profile:
    """Return the profile of a root that has passed the lint."""
    profile = profile_of(root)
    assert profile is not None, "a root without a profile does not pass the lint"
    return profile


def refuse(name: str, problems: list[str]) -> None:
    """Raise `BadRoot` when there is anything to say."""
    if problems:
        raise BadRoot(name, problems)
