"""A ceremony that is not finished: new documents that wait for people who are not in one room.

Pure: values in, values out; `draft_folder.py` carries a draft as files. A draft is the public trust that it
starts from and the new documents without signatures. Everything that is said about it (what changes, who has to
sign, what is wrong) is computed from those two by whoever looks, never read from the folder: a courier may have
had it in between. A signature is one small value about one document, so each officer signs where they are, with
their own key, and hands back one file.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import MappingProxyType
from typing import ClassVar

from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import Key, Signature, Signer
from tuf.api.metadata import DelegatedRole, Delegations, Metadata, Role, Root, Targets

from signing.ceremony import edited_for
from signing.digests import sha256_hex
from signing.errors import OperatorError
from signing.issue import DEFAULTS, Lifetimes, after, issue, pending, profile_stated, refuse
from signing.keys import fingerprint
from signing.lint import apart, lint_root, lint_targets, too_few_keys
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
from signing.refusals import NoSuchRole, SiteNameRefused, TooFewSigners
from signing.repository import TrustState
from signing.roots import CATALOG, SITE_NAME, T, open_metadata, role_paths, site_role

KINDS = ("init", "rotate", "add-site", "rekey", "publish")
_NOTHING: Mapping[str, bytes] = MappingProxyType({})
_ANY_NUMBER = 1 << 30  # a threshold that no number of keys reaches: only kinds and people are looked at


class CeremonyUnusable(OperatorError):
    """A ceremony's folder that cannot be read, was edited, or does not fit the trust that it starts from."""

    exit_code: ClassVar[int] = 250
    next_step: ClassVar[str] = (
        "Sign nothing from this folder. Fetch it again from whoever began the ceremony; if the trust has changed "
        "since, begin a new one at the origin."
    )

    def __init__(self, at: str, problem: str) -> None:
        super().__init__(f"{at}: {problem}")
        self.at, self.problem = at, problem


class PartialSignatureRefused(OperatorError):
    """A signature that does not belong to this ceremony, or a key that has nothing to sign in it."""

    exit_code: ClassVar[int] = 251
    next_step: ClassVar[str] = (
        "Take the file named here out of the folder and ask its signer to sign again, from a fresh copy of the "
        "folder and with the key that `tidegate trust show FOLDER` lists for them."
    )

    def __init__(self, at: str, problem: str) -> None:
        super().__init__(f"{at}: {problem}")
        self.at, self.problem = at, problem


class KeyUnfit(OperatorError):
    """A key or a person that the profile does not let into this role."""

    exit_code: ClassVar[int] = 252
    next_step: ClassVar[str] = (
        "Choose another person or make them another key (`tidegate keys create`); `tidegate trust show FOLDER` "
        "says who is in which role."
    )

    def __init__(self, role: str, problems: Sequence[str]) -> None:
        super().__init__(f"{role}: " + "; ".join(problems))
        self.role, self.problems = role, tuple(problems)


@dataclass(frozen=True)
class Draft:
    """A ceremony that waits for signatures."""

    kind: str  # one of `KINDS`
    origin: str  # the home's name
    made_at: datetime  # UTC; the documents' lifetimes count from here
    base: TrustState  # no roots at all for `init`
    documents: Mapping[str, bytes]  # role to unsigned metadata
    quorums: Mapping[str, Quorum] = field(default_factory=lambda: MappingProxyType({}))  # asked for at `init`
    payloads: Mapping[str, bytes] = field(
        default_factory=lambda: _NOTHING
    )  # target path to what is published

    @property
    def root(self) -> Root:
        """The root under which all of this is signed: the new one, if there is a new one."""
        return _opened(Root, self, "root").signed if "root" in self.documents else self.base.root

    @property
    def targets(self) -> Targets:
        """The targets that delegate: the new one, if there is a new one."""
        return self.document("targets") if "targets" in self.documents else self.base.targets

    @property
    def profile(self) -> Profile:
        """The profile of `root`."""
        return profile_stated(self.root)

    def document(self, role: str) -> Targets:
        """Return the new document of a role other than root."""
        return _opened(Targets, self, role).signed

    def delegators(self, role: str) -> tuple[Root | Targets, ...]:
        """Return who says which keys sign `role`; a new root answers to the old one and to itself."""
        if role == "root":
            return (self.base.root, self.root) if self.base.roots else (self.root,)
        return (self.root,) if role == "targets" else (self.targets,)

    def signed_bytes(self, role: str) -> bytes:
        """Return the bytes that a signature of the role's new document is over."""
        return _opened(Root if role == "root" else Targets, self, role).signed_bytes


@dataclass(frozen=True)
class PartialSignature:
    """One key's signature of one new document."""

    role: str
    document: str  # SHA-256 of the signed bytes, hex
    keyid: str
    sig: str  # hex


@dataclass(frozen=True)
class Waiting:
    """One count that has to be reached: `need` of `keys` under one document."""

    role: str
    asked_by: str  # `root 2`, `targets 3`
    need: int
    keys: Mapping[str, Key]  # by id
    signed: frozenset[str]  # ids

    @property
    def done(self) -> bool:
        """Whether enough have signed."""
        return len(self.signed) >= self.need


# --- beginnings


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
    roles = _delegated(targets)
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
    unknown = [
        role for role in renew if (role != "root" and role not in state.metadata) or role in STATION_ROLES
    ]
    if unknown or not (lost or station or renew):
        raise NoSuchRole("renew", ", ".join(unknown) or "named")
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
    lifetimes: Lifetimes = DEFAULTS,
) -> Draft:
    """Return the draft that vouches for documents: `identities/people.json`, releases, exports.

    Raises:
        NoSuchRole, AlreadyPublished: as `ceremony.publish`.
    """
    draft = Draft("publish", origin, now, state, {}, payloads=dict(payloads))
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
    if role not in root.roles and role not in _delegated(targets):
        raise NoSuchRole("new key", role)
    named = owned(key, person)
    known = {**root.keys, **_delegation_keys(targets)}.get(key.keyid)
    if known is not None and person_of(known) != person:
        raise KeyUnfit(role, [f"key {key.keyid[:12]} is {person_of(known)}'s already"])
    holder = root.roles[role] if role in root.roles else _delegated(targets)[role]
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


# --- what is wrong with it


def problems(draft: Draft, *, now: datetime) -> list[str]:
    """Return everything that is wrong with the new documents but for their signatures."""
    root, targets, base = draft.root, draft.targets, draft.base
    found: list[str] = []
    if "root" in draft.documents:
        before = base.roots[-1] if base.roots else None
        found += lint_root(draft.documents["root"], previous=before, now=now)
        found += too_few_keys(root.roles, draft.profile)
    found += lint_targets(targets, root, now=now)
    found += too_few_keys(_delegated(targets), draft.profile)
    for role in draft.documents:
        found += _wrong_number(draft, role)
    for role, quorum in draft.quorums.items():
        holder = root.roles[role] if role in root.roles else _delegated(targets).get(role)
        count = len(holder.keyids) if holder else 0
        if count < quorum.of:
            found.append(f"{role} was to take {quorum.of} keys, and {count} were given")
    return list(dict.fromkeys(found))


def waiting(draft: Draft, signatures: Collection[PartialSignature]) -> list[Waiting]:
    """Return every count that has to be reached, and who has signed; the signatures are verified.

    Raises:
        PartialSignatureRefused: one of them is not of this ceremony.
    """
    for one in signatures:
        _verify(draft, one)
    counts = []
    for role in draft.documents:
        signed = {one.keyid for one in signatures if one.role == role}
        for delegator in draft.delegators(role):
            asked = delegator.get_delegated_role(role)
            keys = {keyid: delegator.get_key(keyid) for keyid in asked.keyids}
            name = f"{delegator.type} {delegator.version}"
            counts.append(Waiting(role, name, asked.threshold, keys, frozenset(signed & set(keys))))
    return counts


# --- signing


def sign(draft: Draft, signer: Signer, *, now: datetime) -> list[PartialSignature]:
    """Return the key's signatures of every new document that it may sign.

    Raises:
        BadRoot: the draft has problems; nothing is signed then.
        PartialSignatureRefused: there is nothing for this key to sign.
    """
    refuse("the ceremony", problems(draft, now=now))
    keyid = signer.public_key.keyid
    roles = [role for role in draft.documents if keyid in _signers_of(draft, role)]
    if not roles:
        raise PartialSignatureRefused(f"key {keyid[:12]}", "has nothing to sign in this ceremony")
    made = [(role, draft.signed_bytes(role)) for role in roles]
    return [
        PartialSignature(role, sha256_hex(data), keyid, signer.sign(data).signature) for role, data in made
    ]


def finish(
    draft: Draft,
    state: TrustState,
    signatures: Collection[PartialSignature],
    station: Sequence[Signer],
    *,
    now: datetime,
    lifetimes: Lifetimes = DEFAULTS,
) -> TrustState:
    """Return the state in which the draft's documents are in force, under a new snapshot and timestamp.

    Args:
        state: what the origin publishes now; `TrustState(())` before its first ceremony.

    Raises:
        CeremonyUnusable: the state is not the one that the draft starts from.
        BadRoot: the draft has problems.
        PartialSignatureRefused: a signature that is not of this ceremony.
        TooFewSigners: for one of the documents, or for snapshot and timestamp.
    """
    demand_base(draft, state)
    refuse("the ceremony", problems(draft, now=now))
    for count in waiting(draft, signatures):
        if not count.done:
            raise TooFewSigners(count.role, have=len(count.signed), need=count.need)
    done = {role: _signed(draft, role, signatures) for role in draft.documents}
    roots = (*state.roots, done.pop("root")) if "root" in done else state.roots
    return issue(TrustState(roots, {**state.metadata, **done}), {}, station, now, lifetimes)


def demand_base(draft: Draft, state: TrustState) -> None:
    """Pass when what the draft changes or leans on is as it was when the draft began.

    Snapshot and timestamp may have moved on: they are made anew at the end.

    Raises:
        CeremonyUnusable: as named.
    """
    if draft.base.roots != state.roots:
        raise CeremonyUnusable("root", "the origin has another one by now, or had another one")
    for role in {"targets", *draft.documents} - {"root"}:
        if draft.base.metadata.get(role) != state.metadata.get(role):
            raise CeremonyUnusable(role, "has changed at the origin since this ceremony was begun")


# --- parts


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


def _opened(kind: type[T], draft: Draft, role: str) -> "Metadata[T]":
    return open_metadata(kind, draft.documents[role], name=f"{role}.json")


def _copy(state: TrustState, role: str) -> Targets:
    signed = state.opened(role).signed
    assert isinstance(signed, Targets), "the station's roles are not renewed by people"
    return signed


def _delegated(targets: Targets) -> dict[str, DelegatedRole]:
    assert targets.delegations is not None, "targets made here always delegate"
    assert targets.delegations.roles is not None, "and never to hash bins"
    return targets.delegations.roles


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
    roles = _delegated(targets)
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
    everything = {**root.roles, **_delegated(targets)}
    return [name for name, role in everything.items() if keyid in role.keyids]


def _demand_fit(key: Key, roles: Collection[str], root: Root, targets: Targets) -> None:
    """Raise `KeyUnfit` when the profile does not let this key, or its person, into one of these roles."""
    everything: Mapping[str, Role] = {**root.roles, **_delegated(targets)}
    keys, profile = {**root.keys, **_delegation_keys(targets)}, profile_stated(root)
    if profile is Profile.SOLO:
        return
    for role in roles:
        found = wrong_kinds(role, [key.keyid], keys, _ANY_NUMBER, profile)
        found += one_person_too_strong(role, everything[role].keyids, keys, _ANY_NUMBER)
        found += apart(root, targets)
        if found:
            raise KeyUnfit(role, list(dict.fromkeys(found)))


def _wrong_number(draft: Draft, role: str) -> list[str]:
    if role == "root":
        return [] if draft.root.version == len(draft.base.roots) + 1 else ["root has the wrong number"]
    before = draft.base.opened(role).signed.version if role in draft.base.metadata else 0
    return [] if draft.document(role).version == before + 1 else [f"{role} has the wrong number"]


def _signers_of(draft: Draft, role: str) -> dict[str, Key]:
    return {
        keyid: delegator.get_key(keyid)
        for delegator in draft.delegators(role)
        for keyid in delegator.get_delegated_role(role).keyids
    }


def _verify(draft: Draft, one: PartialSignature) -> None:
    place = f"signatures/{one.role}/{one.keyid[:12]}"
    if one.role not in draft.documents:
        raise PartialSignatureRefused(place, f"this ceremony has no new {one.role}")
    key = _signers_of(draft, one.role).get(one.keyid)
    if key is None:
        raise PartialSignatureRefused(place, f"this key may not sign as {one.role}")
    data = draft.signed_bytes(one.role)
    if one.document != sha256_hex(data):
        raise PartialSignatureRefused(place, "was made over another document")
    try:
        key.verify_signature(Signature(one.keyid, one.sig), data)
    except UnverifiedSignatureError as exc:
        raise PartialSignatureRefused(place, "the signature does not belong to the document") from exc


def _signed(draft: Draft, role: str, signatures: Collection[PartialSignature]) -> bytes:
    metadata = _opened(Root if role == "root" else Targets, draft, role)
    for one in sorted(signatures, key=lambda one: one.keyid):
        if one.role == role:
            metadata.signatures[one.keyid] = Signature(one.keyid, one.sig)
    return metadata.to_bytes()


def shown_key(key: Key) -> str:
    """Return a key as people compare it: whose, what kind, the first digits of its fingerprint."""
    return f"{person_of(key) or 'nobody named'} {key.scheme.removesuffix('/1')} {fingerprint(key)[:16]}…"
