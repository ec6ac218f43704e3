"""Making and changing key metadata at the origin: values and signers in, signed bytes out.

Nothing here touches a disk; `TrustRepository` keeps the result. The order is always the same: build the new
documents, count the signers for every one of them, sign, lint the whole. A refusal at any point leaves
nothing half-signed behind. Signers are passed as one flat list, whoever is in the room: each document takes
the signatures of those that may sign it.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import ClassVar

from securesystemslib.signer import Key, Signer
from tuf.api.metadata import (
    TOP_LEVEL_ROLE_NAMES,
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Role,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

from signing.errors import OperatorError
from signing.refusals import BadRoot
from signing.repository import TrustRepository, TrustState
from signing.roots import (
    CATALOG,
    PROFILE_FIELD,
    SITE_NAME,
    Profile,
    lint_root,
    lint_targets,
    open_metadata,
    profile_of,
    role_paths,
    site_role,
)
from signing.stream import EXPORT_PATH, RELEASE_PATH
from signing.times import rfc3339

__all__ = [
    "AlreadyPublished",
    "Lifetimes",
    "NoSuchRole",
    "Profile",
    "RoleExpired",
    "SiteNameRefused",
    "TooFewSigners",
    "TrustRepository",
    "TrustState",
    "add_site",
    "create_root",
    "create_targets",
    "establish",
    "lint_root",
    "publish",
    "rekey",
    "rotate_root",
]


class TooFewSigners(OperatorError):
    """Not enough of the people who must sign are here. Nothing was written."""

    exit_code: ClassVar[int] = 94
    next_step: ClassVar[str] = (
        "Bring the missing key holders to the table and pass all their keys (--key, once per person)."
    )

    def __init__(self, role: str, *, have: int, need: int) -> None:
        super().__init__(f"{role}: {have} of {need} keys that have to sign it are here")
        self.role, self.have, self.need = role, have, need


class AlreadyPublished(OperatorError):
    """A document was published under this path with other bytes; published documents never change."""

    exit_code: ClassVar[int] = 95
    next_step: ClassVar[str] = "Give the new document the next number; a published one stays what it is."

    def __init__(self, path: str) -> None:
        super().__init__(f"{path}: published before with other content")
        self.path = path


class RoleExpired(OperatorError):
    """A document that this publication leans on is no longer valid, so no site would take it."""

    exit_code: ClassVar[int] = 96
    next_step: ClassVar[str] = (
        "Have its key holders sign it anew (`tidegate trust renew ROLE --key …`), then repeat."
    )

    def __init__(self, role: str, *, expired: datetime) -> None:
        super().__init__(f"{role}: was valid until {rfc3339(expired)}")
        self.role, self.expired = role, expired


class NoSuchRole(OperatorError):
    """A document or a key for a role that this origin does not have."""

    exit_code: ClassVar[int] = 98
    next_step: ClassVar[str] = (
        "Check the name of the site; add it first with `tidegate trust add-site` if it is new."
    )

    def __init__(self, what: str, role: str) -> None:
        super().__init__(f"{what}: there is no role {role}")
        self.what, self.role = what, role


class SiteNameRefused(OperatorError):
    """A site name that is taken, or that cannot be one."""

    exit_code: ClassVar[int] = 99
    next_step: ClassVar[str] = (
        "Choose another name: at most 63 lower-case letters, digits and inner hyphens, not used before."
    )

    def __init__(self, site: str, problem: str) -> None:
        super().__init__(f"site {site!r}: {problem}")
        self.site, self.problem = site, problem


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


_DEFAULTS = Lifetimes()


def create_root(
    profile: Profile,
    keys: Mapping[str, Sequence[Key]],
    signers: Sequence[Signer],
    *,
    now: datetime,
    lifetimes: Lifetimes = _DEFAULTS,
) -> bytes:
    """Return root version 1.

    Args:
        keys: public keys of `root`, `targets`, `snapshot`, `timestamp`; at least as many as the profile's
            quorum is of. Other names are left for `create_targets`.
        signers: at least the root threshold.

    Raises:
        BadRoot: too few keys for the profile, or the lint found something.
        TooFewSigners: for `root`.
    """
    quorums = {role: profile.quorum(role) for role in sorted(TOP_LEVEL_ROLE_NAMES)}
    short = [
        f"{role} takes {quorum.of} keys in the {profile} profile, and {len(keys.get(role, ()))} were given"
        for role, quorum in quorums.items()
        if len(keys.get(role, ())) < quorum.of
    ]
    if short:
        raise BadRoot("the new root", short)
    root = Root(
        1,
        expires=_after(now, lifetimes.root),
        keys={key.keyid: key for role in quorums for key in keys[role]},
        roles={role: Role([key.keyid for key in keys[role]], q.need) for role, q in quorums.items()},
        consistent_snapshot=True,
        unrecognized_fields={PROFILE_FIELD: str(profile)},
    )
    data = _signed(Metadata(root), "root", [root], signers)
    _refuse("the new root", lint_root(data))
    return data


def create_targets(
    root: bytes,
    delegations: Mapping[str, Sequence[Key]],
    signers: Sequence[Signer],
    *,
    now: datetime,
    lifetimes: Lifetimes = _DEFAULTS,
) -> bytes:
    """Return targets version 1, delegating to `catalog` and `site-…` with the root's profile.

    Raises:
        TooFewSigners: for `targets`.
        BadRoot: the delegations do not pass the lint.
    """
    trusted = open_metadata(Root, root, name="root").signed
    targets = Targets(1, expires=_after(now, lifetimes.targets), delegations=Delegations({}, roles={}))
    for role, keys in delegations.items():
        _delegate(targets, role, keys, _profile(trusted))
    _refuse("the new targets", lint_targets(targets, trusted))
    return _signed(Metadata(targets), "targets", [trusted], signers)


def establish(
    profile: Profile,
    keys: Mapping[str, Sequence[Key]],
    signers: Sequence[Signer],
    *,
    now: datetime,
    lifetimes: Lifetimes = _DEFAULTS,
) -> TrustState:
    """Return a new origin's first state: root, targets, snapshot and timestamp, each at version 1.

    Args:
        keys: as for `create_root`, with `catalog` and any `site-…` beside them.

    Raises:
        BadRoot, TooFewSigners: see `create_root` and `create_targets`.
    """
    root = create_root(profile, keys, signers, now=now, lifetimes=lifetimes)
    delegated = {role: who for role, who in keys.items() if role not in TOP_LEVEL_ROLE_NAMES}
    targets = create_targets(root, delegated, signers, now=now, lifetimes=lifetimes)
    return _issue(TrustState((root,), {"targets": targets}), {}, signers, now, lifetimes)


def publish(
    state: TrustState,
    documents: Mapping[str, bytes],
    signers: Sequence[Signer],
    *,
    now: datetime,
    lifetimes: Lifetimes = _DEFAULTS,
    renew: Collection[str] = (),
) -> TrustState:
    """Return the state that also vouches for `documents`; with none, a fresh snapshot and timestamp.

    Args:
        documents: target path to bytes. `releases/<namespace>/<name>/<ordinal>.json` is signed by `catalog`,
            `exports/<site>/<sequence>.json` by `site-<site>`. The same bytes again are no change.
        renew: roles to sign anew although nothing in them changes, because their time runs out.

    Raises:
        NoSuchRole: a path that no role answers for, or a role to renew that does not exist.
        AlreadyPublished: other bytes under the same path.
        TooFewSigners, RoleExpired: as named; nothing is signed then.
    """
    edited: dict[str, Targets] = {}
    for path, data in sorted(documents.items()):
        role = _role_for(path, state.targets)
        current = edited[role] if role in edited else _current(state, role)
        made, known = TargetFile.from_data(path, data, ["sha256"]), current.targets.get(path)
        if known is not None and known != made:
            raise AlreadyPublished(path)
        if known is None:
            current.targets[path] = made
            edited[role] = current
    for role in renew:
        if role not in state.metadata:
            raise NoSuchRole("renew", role)
        if role not in ("snapshot", "timestamp"):  # these two are always made anew
            edited.setdefault(role, _current(state, role))
    return _issue(state, edited, signers, now, lifetimes)


def add_site(
    state: TrustState,
    site: str,
    keys: Sequence[Key],
    signers: Sequence[Signer],
    *,
    now: datetime,
    lifetimes: Lifetimes = _DEFAULTS,
) -> TrustState:
    """Return the state in which `keys` may sign what is shipped to `site`.

    Raises:
        SiteNameRefused: not a name, or taken.
        BadRoot: the lint found something, such as a catalogue key among `keys`.
        TooFewSigners: for targets, snapshot or timestamp.
    """
    if not SITE_NAME.fullmatch(site):
        raise SiteNameRefused(site, "not a name for a site")
    if site in state.sites:
        raise SiteNameRefused(site, "taken")
    targets = state.targets
    _delegate(targets, site_role(site), keys, _profile(state.root))
    return _issue(state, {"targets": targets}, signers, now, lifetimes)


def rekey(
    state: TrustState,
    role: str,
    keys: Sequence[Key],
    signers: Sequence[Signer],
    *,
    now: datetime,
    lifetimes: Lifetimes = _DEFAULTS,
) -> TrustState:
    """Return the state in which `keys` replace those of `catalog` or `site-…`; its document is signed anew.

    Raises:
        NoSuchRole, BadRoot, TooFewSigners: as in `add_site`.
    """
    targets = state.targets
    if targets.delegations is None or role not in (targets.delegations.roles or {}):
        raise NoSuchRole("change of keys", role)
    _delegate(targets, role, keys, _profile(state.root))
    return _issue(state, {"targets": targets}, signers, now, lifetimes)


def rotate_root(
    state: TrustState,
    keys: Mapping[str, Sequence[Key]],
    signers: Sequence[Signer],
    *,
    now: datetime,
    lifetimes: Lifetimes = _DEFAULTS,
) -> TrustState:
    """Return the state with one more root, signed by enough old and enough new root keys.

    Args:
        keys: the complete new keys of the top-level roles that change; empty for the yearly signature.
        signers: also those of every role whose keys change, which is signed anew at once.

    Raises:
        BadRoot: the lint found something; the new root is discarded.
        TooFewSigners: for root (by the old keys or the new), or a role whose keys change.
        NoSuchRole: keys for a role that is not top-level; see `rekey`.
    """
    old, new = state.root, state.root
    new.version += 1
    new.expires = _after(now, lifetimes.root)
    for role, who in keys.items():
        if role not in TOP_LEVEL_ROLE_NAMES:
            raise NoSuchRole("change of keys", f"{role} in root")
        for keyid in list(new.roles[role].keyids):
            new.revoke_key(keyid, role)
        for key in who:
            new.add_key(key, role)
    data = _signed(Metadata(new), "root", [old, new], signers)
    _refuse(f"root {new.version}", lint_root(data, previous=state.roots[-1]))
    return _issue(TrustState((*state.roots, data), state.metadata), {}, signers, now, lifetimes)


def _issue(
    state: TrustState,
    edited: Mapping[str, Targets],
    signers: Sequence[Signer],
    now: datetime,
    lifetimes: Lifetimes,
) -> TrustState:
    """Sign what was edited or what the current keys no longer cover, then snapshot and timestamp over it all."""
    root, issued = state.root, dict(state.metadata)
    if root.is_expired(now):
        raise RoleExpired("root", expired=root.expires)
    targets = edited.get("targets", state.targets)
    _refuse("targets", lint_targets(targets, root))
    delegated = sorted((set(state.metadata) | set(edited)) - TOP_LEVEL_ROLE_NAMES)
    for role in ("targets", *delegated):
        delegator = root if role == "targets" else targets
        if role in edited or not _covered(state, role, delegator):
            document = edited[role] if role in edited else _current(state, role)
            document.version = _version(state, role) + 1
            document.expires = _after(now, lifetimes.of(role))
            issued[role] = _signed(Metadata(document), role, [delegator], signers)
        elif role in ("targets", CATALOG) and (current := _current(state, role)).is_expired(now):
            raise RoleExpired(role, expired=current.expires)
    meta = {f"{role}.json": _meta(issued[role]) for role in ("targets", *delegated)}
    snapshot = Snapshot(_version(state, "snapshot") + 1, expires=_after(now, lifetimes.snapshot), meta=meta)
    issued["snapshot"] = _signed(Metadata(snapshot), "snapshot", [root], signers)
    timestamp = Timestamp(
        _version(state, "timestamp") + 1,
        expires=_after(now, lifetimes.timestamp),
        snapshot_meta=_meta(issued["snapshot"]),
    )
    issued["timestamp"] = _signed(Metadata(timestamp), "timestamp", [root], signers)
    return TrustState(state.roots, MappingProxyType(issued))


def _signed(
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


def _delegate(targets: Targets, role: str, keys: Sequence[Key], profile: Profile) -> None:
    assert targets.delegations is not None, "targets made here always delegate"
    assert targets.delegations.roles is not None, "and never to hash bins"
    delegations = targets.delegations
    roles = dict(targets.delegations.roles)
    quorum = profile.quorum(role)
    if len(keys) < quorum.of:
        raise BadRoot(role, [f"takes {quorum.of} keys in the {profile} profile, and {len(keys)} were given"])
    roles[role] = DelegatedRole(role, [key.keyid for key in keys], quorum.need, True, role_paths(role))
    known = delegations.keys | {key.keyid: key for key in keys}
    used = {keyid for one in roles.values() for keyid in one.keyids}
    targets.delegations = Delegations({keyid: known[keyid] for keyid in sorted(used)}, roles=roles)


def _covered(state: TrustState, role: str, delegator: Root | Targets) -> bool:
    """Say whether the current document of `role` has enough signatures by the keys that count now."""
    if role not in state.metadata:
        return False
    current = state.opened(role)
    return bool(delegator.get_verification_result(role, current.signed_bytes, current.signatures))


def _current(state: TrustState, role: str) -> Targets:
    """Return a copy of the role's document that may be edited, an empty one if there is none yet."""
    if role not in state.metadata:
        return Targets()
    signed = state.opened(role).signed
    assert isinstance(signed, Targets)
    return signed


def _version(state: TrustState, role: str) -> int:
    return state.opened(role).signed.version if role in state.metadata else 0


def _role_for(path: str, targets: Targets) -> str:
    roles = list(targets.delegations.get_roles_for_target(path)) if targets.delegations else []
    if not roles or not (EXPORT_PATH.fullmatch(path) or RELEASE_PATH.fullmatch(path)):
        kind, _, rest = path.partition("/")
        raise NoSuchRole(path, site_role(rest.partition("/")[0]) if kind == "exports" else "for such a path")
    return roles[0][0]


def _meta(data: bytes) -> MetaFile:
    version = Metadata.from_bytes(data).signed.version
    return MetaFile.from_data(version, data, ["sha256"])


def _after(now: datetime, lifetime: timedelta) -> datetime:
    return now.astimezone(UTC) + lifetime


def _profile(root: Root) -> Profile:
    profile = profile_of(root)
    assert profile is not None, "a root without a profile does not pass the lint"
    return profile


def _refuse(name: str, problems: list[str]) -> None:
    if problems:
        raise BadRoot(name, problems)
