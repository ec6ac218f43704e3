"""A ceremony that is not finished: new documents that wait for people who are not in one room.

Pure: values in, values out; `draft_folder.py` carries a draft as files, `draft_making.py` begins one. A draft is
the public trust that it starts from and the new documents without signatures. Everything that is said about it
(what changes, who has to sign, what is wrong) is computed from those two by whoever looks, never read from the
folder: a courier may have had it in between. A signature is one small value about one document, so each officer
signs where they are, with their own key, and hands back one file.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import ClassVar

from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import Key, Signature, Signer
from tuf.api.metadata import DelegatedRole, Metadata, Root, TargetFile, Targets

from signing.digests import sha256_hex
from signing.errors import OperatorError
from signing.issue import DEFAULTS, Lifetimes, issue, profile_stated, refuse
from signing.keys import fingerprint
from signing.lint import lint_root, lint_targets, too_few_keys
from signing.profiles import (
    Profile,
    Quorum,
    person_of,
)
from signing.refusals import TooFewSigners
from signing.repository import TrustState
from signing.roots import T, open_metadata

KINDS = ("init", "rotate", "add-site", "rekey", "publish")
_NOTHING: Mapping[str, bytes] = MappingProxyType({})


class CeremonyUnusable(OperatorError):
    """A ceremony's folder that cannot be read, was edited, or does not fit the trust that it starts from."""

    exit_code: ClassVar[int] = 250
    next_step: ClassVar[str] = (
        "Where the folder is there already, name a new one. Otherwise sign nothing from it: check its name, or fetch "
        "it again from whoever began the ceremony; if the trust has changed since, begin a new one at the origin."
    )

    def __init__(self, at: str, problem: str) -> None:
        super().__init__(f"{at}: {problem}")
        self.at, self.problem = at, problem


class PartialSignatureRefused(OperatorError):
    """A signature that does not belong to this ceremony, or a key that has nothing to sign in it."""

    exit_code: ClassVar[int] = 251
    next_step: ClassVar[str] = (
        "Look with `tidegate trust show FOLDER` who may sign with which key. Where a file is named, take it out of "
        "the folder and ask its signer to sign again, from a fresh copy and with the key that is listed for them."
    )

    def __init__(self, at: str, problem: str) -> None:
        super().__init__(f"{at}: {problem}")
        self.at, self.problem = at, problem


class KeyUnfit(OperatorError):
    """A key or a person that the profile does not let into this role."""

    exit_code: ClassVar[int] = 252
    next_step: ClassVar[str] = (
        "Choose another person or make them another key (`tidegate keys create`); `tidegate trust show FOLDER` "
        "says who is in which role. Ask for as many keys as the profile does, or for more."
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
    evidence: Mapping[str, bytes] = field(
        default_factory=lambda: _NOTHING
    )  # path to what explains it; published by nobody, believed by its digest alone

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
        return _either(self, role).signed_bytes


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


def problems(draft: Draft, *, now: datetime) -> list[str]:
    """Return everything that is wrong with the new documents but for their signatures."""
    root, targets, base = draft.root, draft.targets, draft.base
    found: list[str] = []
    if "root" in draft.documents:
        before = base.roots[-1] if base.roots else None
        found += lint_root(draft.documents["root"], previous=before, now=now)
        found += too_few_keys(root.roles, draft.profile)
    found += lint_targets(targets, root, now=now)
    found += too_few_keys(delegated_roles(targets), draft.profile)
    for role in draft.documents:
        found += _wrong_number(draft, role)
        found += [] if role == "root" else _unproved(draft, role)
    for role, quorum in draft.quorums.items():
        holder = root.roles[role] if role in root.roles else delegated_roles(targets).get(role)
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
        state: what the origin publishes now; `TrustState(())` before its first ceremony. Its newest root may be the
            draft's own: a publication that was cut short wrote that one first.

    Raises:
        CeremonyUnusable: the state is not the one that the draft starts from.
        BadRoot: the draft has problems.
        PartialSignatureRefused: a signature that is not of this ceremony.
        TooFewSigners: for one of the documents, or for snapshot and timestamp.
    """
    written = _root_written(draft, state)
    if written is not None:
        state = TrustState(state.roots[:-1], state.metadata)
    demand_base(draft, state)
    refuse("the ceremony", problems(draft, now=now))
    for count in waiting(draft, signatures):
        if not count.done:
            raise TooFewSigners(count.role, have=len(count.signed), need=count.need)
    done = {role: _signed(draft, role, signatures) for role in draft.documents}
    if written is not None:  # a bundle may have carried it: it stays as it is, to the byte
        done["root"] = written
    roots = (*state.roots, done.pop("root")) if "root" in done else state.roots
    return issue(TrustState(roots, {**state.metadata, **done}), {}, station, now, lifetimes)


def in_force(draft: Draft, state: TrustState) -> bool:
    """Say whether exactly these documents are what the origin publishes already."""
    for role in draft.documents:
        if role == "root":
            held = open_metadata(Root, state.roots[-1], name="root").signed_bytes if state.roots else b""
        else:
            held = state.opened(role).signed_bytes if role in state.metadata else b""
        if held != draft.signed_bytes(role):
            return False
    return True


def _root_written(draft: Draft, state: TrustState) -> bytes | None:
    """Return the draft's root as the origin holds it already, above the roots that the draft starts from."""
    if "root" not in draft.documents or state.roots[:-1] != draft.base.roots or not state.roots:
        return None
    newest = open_metadata(Root, state.roots[-1], name="root")
    return state.roots[-1] if newest.signed_bytes == draft.signed_bytes("root") else None


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


def delegated_roles(targets: Targets) -> dict[str, DelegatedRole]:
    """Return the roles that targets made here delegates to."""
    assert targets.delegations is not None, "targets made here always delegate"
    assert targets.delegations.roles is not None, "and never to hash bins"
    return targets.delegations.roles


def shown_key(key: Key) -> str:
    """Return a key as people compare it: whose, what kind, and all of its fingerprint in groups of eight."""
    digits = fingerprint(key)
    groups = " ".join(digits[at : at + 8] for at in range(0, len(digits), 8))
    return f"{person_of(key) or 'nobody named'} {key.scheme.removesuffix('/1')} {groups}"


def _opened(kind: type[T], draft: Draft, role: str) -> "Metadata[T]":
    return open_metadata(kind, draft.documents[role], name=f"{role}.json")


def _either(draft: Draft, role: str) -> "Metadata[Root] | Metadata[Targets]":
    return _opened(Root, draft, role) if role == "root" else _opened(Targets, draft, role)


def _wrong_number(draft: Draft, role: str) -> list[str]:
    if role == "root":
        return [] if draft.root.version == len(draft.base.roots) + 1 else ["root has the wrong number"]
    before = draft.base.opened(role).signed.version if role in draft.base.metadata else 0
    return [] if draft.document(role).version == before + 1 else [f"{role} has the wrong number"]


def _unproved(draft: Draft, role: str) -> list[str]:
    """Return the targets whose bytes nobody can look at, and those that were dropped: what is published stays."""
    held = draft.base.opened(role).signed if role in draft.base.metadata else Targets()
    before = held.targets if isinstance(held, Targets) else {}
    after = draft.document(role).targets
    problems = [f"{role} no longer vouches for {path}" for path in before if path not in after]
    for path, listed in after.items():
        data = draft.payloads.get(path)
        if before.get(path) != listed and (data is None or listed != _target(path, data, draft)):
            problems.append(f"{role} vouches for {path}, and the folder does not hold it")
    return problems


def _target(path: str, data: bytes, draft: Draft) -> TargetFile:
    return TargetFile.from_data(path, data, draft.profile.hashes)


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
    metadata = _either(draft, role)
    for one in sorted(signatures, key=lambda one: one.keyid):
        if one.role == role:
            metadata.signatures[one.keyid] = Signature(one.keyid, one.sig)
    return metadata.to_bytes()
