"""Making and changing key metadata at the origin: values and signers in, signed bytes out.

Nothing here touches a disk; `TrustRepository` keeps the result. The order is always the same: build the new
documents, count the signers for every one of them, sign, lint the whole. A refusal at any point leaves
nothing half-signed behind. Signers are passed as one flat list, whoever is in the room: each document takes
the signatures of those that may sign it.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from securesystemslib.signer import Key, Signer
from tuf.api.metadata import TOP_LEVEL_ROLE_NAMES, Delegations, Metadata, Role, Root, TargetFile, Targets

from signing.issue import (
    DEFAULTS,
    Lifetimes,
    after,
    current,
    delegate,
    distinct,
    issue,
    profile_stated,
    refuse,
    role_for,
    signed_bytes,
)
from signing.lint import lint_root, lint_targets, too_few_keys
from signing.profiles import PERSONS_FIELD, PROFILE_FIELD, STATION_ROLES, Profile, person_of
from signing.refusals import (
    AlreadyPublished,
    NoSuchRole,
    RoleExpired,
    SiteNameRefused,
    TooFewSigners,
)
from signing.repository import TrustRepository, TrustState
from signing.roots import (
    PEOPLE_PATH,
    SITE_NAME,
    open_metadata,
    site_role,
)

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


def create_root(
    profile: Profile,
    keys: Mapping[str, Sequence[Key]],
    signers: Sequence[Signer],
    *,
    now: datetime,
    lifetimes: Lifetimes = DEFAULTS,
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
    keyids = {role: distinct(keys.get(role, ())) for role in quorums}
    roles = {role: Role(keyids[role], quorum.need) for role, quorum in quorums.items()}
    refuse("the new root", too_few_keys(roles, profile))
    root = Root(
        1,
        expires=after(now, lifetimes.root),
        keys={key.keyid: key for role in quorums for key in keys[role]},
        roles=roles,
        consistent_snapshot=True,
        unrecognized_fields=_stated(profile, keys),
    )
    data = signed_bytes(Metadata(root), "root", [root], signers)
    refuse("the new root", lint_root(data))
    return data


def _stated(profile: Profile, keys: Mapping[str, Sequence[Key]]) -> dict[str, Any]:
    """Return what a root says of itself; once one officer's key names its person, all of them have to."""
    officers = [key for role, who in keys.items() if role not in STATION_ROLES for key in who]
    persons = {PERSONS_FIELD: True} if any(person_of(key) is not None for key in officers) else {}
    return {PROFILE_FIELD: str(profile), **persons}


def create_targets(
    root: bytes,
    delegations: Mapping[str, Sequence[Key]],
    signers: Sequence[Signer],
    *,
    now: datetime,
    lifetimes: Lifetimes = DEFAULTS,
) -> bytes:
    """Return targets version 1, delegating to `catalog` and `site-…` with the root's profile.

    Raises:
        TooFewSigners: for `targets`.
        BadRoot: the delegations do not pass the lint.
    """
    trusted = open_metadata(Root, root, name="root").signed
    targets = Targets(1, expires=after(now, lifetimes.targets), delegations=Delegations({}, roles={}))
    for role, keys in delegations.items():
        delegate(targets, role, keys, profile_stated(trusted))
    refuse("the new targets", lint_targets(targets, trusted))
    return signed_bytes(Metadata(targets), "targets", [trusted], signers)


def establish(
    profile: Profile,
    keys: Mapping[str, Sequence[Key]],
    signers: Sequence[Signer],
    *,
    now: datetime,
    lifetimes: Lifetimes = DEFAULTS,
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
    return issue(TrustState((root,), {"targets": targets}), {}, signers, now, lifetimes)


def publish(
    state: TrustState,
    documents: Mapping[str, bytes],
    signers: Sequence[Signer],
    *,
    now: datetime,
    lifetimes: Lifetimes = DEFAULTS,
    renew: Collection[str] = (),
) -> TrustState:
    """Return the state that also vouches for `documents`; with none, a fresh snapshot and timestamp.

    Args:
        documents: target path to bytes. `releases/<namespace>/<name>/<ordinal>.json` is signed by `catalog`,
            `exports/<site>/<sequence>.json` by `site-<site>`, `identities/people.json` by `targets`; only the
            last may be published again with other bytes. The same bytes again are no change.
        renew: roles to sign anew although nothing in them changes, because their time runs out.

    Raises:
        NoSuchRole: a path that no role answers for, or a role to renew that does not exist.
        AlreadyPublished: other bytes under the same path.
        TooFewSigners, RoleExpired: as named; nothing is signed then.
    """
    return issue(state, edited_for(state, documents, renew), signers, now, lifetimes)


def edited_for(
    state: TrustState, documents: Mapping[str, bytes], renew: Collection[str] = ()
) -> dict[str, Targets]:
    """Return role to its document with the new targets in it, as `publish` has them. Raises as it does."""
    edited: dict[str, Targets] = {}
    hashes = profile_stated(state.root).hashes
    for path, data in sorted(documents.items()):
        role = role_for(path, state.targets)
        document = edited[role] if role in edited else current(state, role)
        made, known = TargetFile.from_data(path, data, hashes), document.targets.get(path)
        if known is not None and known.hashes["sha256"] == made.hashes["sha256"]:
            continue
        if known is not None and path != PEOPLE_PATH:
            raise AlreadyPublished(path)
        document.targets[path] = made
        edited[role] = document
    for role in renew:
        if role not in state.metadata:
            raise NoSuchRole("renew", role)
        if role not in ("snapshot", "timestamp"):  # these two are always made anew
            edited.setdefault(role, current(state, role))
    return edited


def add_site(
    state: TrustState,
    site: str,
    keys: Sequence[Key],
    signers: Sequence[Signer],
    *,
    now: datetime,
    lifetimes: Lifetimes = DEFAULTS,
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
    delegate(targets, site_role(site), keys, profile_stated(state.root))
    return issue(state, {"targets": targets}, signers, now, lifetimes)


def rekey(
    state: TrustState,
    role: str,
    keys: Sequence[Key],
    signers: Sequence[Signer],
    *,
    now: datetime,
    lifetimes: Lifetimes = DEFAULTS,
) -> TrustState:
    """Return the state in which `keys` replace those of `catalog` or `site-…`; its document is signed anew.

    Raises:
        NoSuchRole, BadRoot, TooFewSigners: as in `add_site`.
    """
    targets = state.targets
    if targets.delegations is None or role not in (targets.delegations.roles or {}):
        raise NoSuchRole("change of keys", role)
    delegate(targets, role, keys, profile_stated(state.root))
    return issue(state, {"targets": targets}, signers, now, lifetimes)


def rotate_root(
    state: TrustState,
    keys: Mapping[str, Sequence[Key]],
    signers: Sequence[Signer],
    *,
    now: datetime,
    lifetimes: Lifetimes = DEFAULTS,
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
    new.expires = after(now, lifetimes.root)
    for role, who in keys.items():
        if role not in TOP_LEVEL_ROLE_NAMES:
            raise NoSuchRole("change of keys", f"{role} in root")
        for keyid in list(new.roles[role].keyids):
            new.revoke_key(keyid, role)
        for key in who:
            new.add_key(key, role)
    data = signed_bytes(Metadata(new), "root", [old, new], signers)
    refuse(f"root {new.version}", lint_root(data, previous=state.roots[-1]))
    return issue(TrustState((*state.roots, data), state.metadata), {}, signers, now, lifetimes)
