"""What a site remembers between imports, how that begins, and what a bundle adds to it.

Apart from `trust.py` so that "nothing here ever goes down" can be read on one page. These are values: the caller
keeps a `Memory` in its own transaction, outside of any cache of TUF's.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import MappingProxyType

from tuf.api.metadata import Root, Snapshot, Targets

from signing.digests import sha256_hex
from signing.errors import OperatorError
from signing.lint import lint_root
from signing.profiles import Profile
from signing.refusals import BadRoot, BundleUntrusted, RootFingerprintWrong
from signing.roots import PEOPLE_PATH, check_signatures, open_metadata
from signing.stream import Export

_NOTHING: Mapping[str, bytes] = MappingProxyType({})
_NO_NUMBERS: Mapping[int, str] = MappingProxyType({})
_ROOT_ENTRY = re.compile(r"[1-9][0-9]{0,8}\.root")


@dataclass(frozen=True)
class Held:
    """What is remembered of one origin: its newest trusted root, and the metadata last verified."""

    root: bytes
    metadata: Mapping[str, bytes] = field(default_factory=lambda: _NOTHING)  # as in `Memory.metadata`

    @property
    def roles(self) -> dict[str, bytes]:
        """Role to its document, without any root."""
        return {role: data for role, data in self.metadata.items() if not _ROOT_ENTRY.fullmatch(role)}

    @property
    def roots(self) -> tuple[bytes, ...]:
        """Every root from version 1 to the newest; empty if not all of them ever came here."""
        chain: list[bytes] = []
        while (data := self.metadata.get(_entry(len(chain) + 1))) is not None:
            chain.append(data)
        return tuple(chain) if chain and chain[-1] == self.root else ()

    def files(self) -> dict[str, bytes]:
        """Return file name to bytes, as they lie in a bundle. Raises `MetadataTampered`: not metadata any more."""
        found = {f"{number}.root.json": data for number, data in enumerate(self.roots, start=1)}
        for role, data in self.roles.items():
            name = f"{role}, as remembered"
            if role == "timestamp":
                found["timestamp.json"] = data
            elif role == "snapshot":
                found[f"{open_metadata(Snapshot, data, name=name).signed.version}.snapshot.json"] = data
            else:
                found[f"{open_metadata(Targets, data, name=name).signed.version}.{role}.json"] = data
        return found


@dataclass(frozen=True)
class Memory:
    """What a site remembers between imports, outside of any cache of TUF's."""

    root: bytes | None = None  # the newest trusted root; None before enrolment
    # role to its document last trusted, and the whole chain of roots as `1.root`, `2.root` … if it came here
    metadata: Mapping[str, bytes] = field(default_factory=lambda: _NOTHING)
    sequence: int | None = None  # highest export number accepted
    export_sha256: str | None = None  # of that export
    accepted: Mapping[int, str] = field(default_factory=lambda: _NO_NUMBERS)  # number to digest
    # missing number to the digest that the accepted export after it says it has
    awaited: Mapping[int, str] = field(default_factory=lambda: _NO_NUMBERS)
    clock_floor: datetime | None = None  # highest signed time ever verified, UTC
    upstream_root: bytes | None = None  # of the origin whose releases ours may pass on; None without one
    upstream_metadata: Mapping[str, bytes] = field(default_factory=lambda: _NOTHING)  # as `metadata`

    @property
    def origin(self) -> Held | None:
        """What is remembered of the origin that packs for this site; None before enrolment."""
        return None if self.root is None else Held(self.root, self.metadata)

    @property
    def upstream(self) -> Held | None:
        """What is remembered of the origin behind that one; None if this site was not enrolled with one."""
        return None if self.upstream_root is None else Held(self.upstream_root, self.upstream_metadata)


@dataclass(frozen=True)
class Verified:
    """A bundle that may be believed, and what to remember once it has been committed."""

    audience: str
    export_path: str
    export_bytes: bytes
    export_sha256: str
    export: Export
    releases: Mapping[str, bytes]  # target path to release document
    root_version: int
    profile: Profile  # `solo` is reported as single-person
    new_metadata: Mapping[str, bytes]  # `root`, its chain as in `Memory.metadata`, and every other role
    signed_time: datetime  # the export's `issued_at`, UTC
    expires: datetime | None  # of the timestamp; None for a recalled bundle
    already: bool  # accepted before: nothing to import
    late: bool  # a number below the highest accepted, new here
    gap: tuple[int, ...]  # numbers below the highest that are missing here still, lowest first
    relayed: frozenset[str] = frozenset()  # of `releases`, those that the upstream's catalogue signs for
    upstream_metadata: Mapping[str, bytes] = field(default_factory=lambda: _NOTHING)  # as `new_metadata`
    people: bytes | None = (
        None  # `identities/people.json`; None if targets signs for none, or of a late bundle
    )
    outdated: OperatorError | None = None  # of a recalled bundle: why nothing more of it may be taken in now

    @property
    def sequence(self) -> int:
        """The export's number."""
        return self.export.sequence


def enrol(root_bytes: bytes, fingerprint: str) -> Memory:
    """Return the memory of a site that trusts this root from now on.

    Args:
        fingerprint: SHA-256 of the file as read out to a person: any case, spaces, colons and hyphens between.

    Raises:
        RootFingerprintWrong: another file, or not 64 hex digits.
        MetadataTampered, WrongKey, TooFewSignatures: the root does not carry its own signatures.
        BadRoot: the lint found something.
    """
    return Memory(root=_compared(root_bytes, fingerprint))


def enrol_upstream(memory: Memory, root_bytes: bytes, fingerprint: str) -> Memory:
    """Return the memory of a site that also takes releases of this origin, passed on by its own.

    What was remembered of an upstream before is forgotten: a new enrolment starts anew. Raises as `enrol`.
    """
    root = _compared(root_bytes, fingerprint)
    return replace(memory, upstream_root=root, upstream_metadata=_NOTHING)


def remember(memory: Memory, verified: Verified) -> Memory:
    """Return the memory to keep once the bundle is committed; nothing in it ever goes down."""
    root, metadata = _joined(memory.root, memory.metadata, verified.new_metadata)
    upstream_root, upstream = _joined(
        memory.upstream_root, memory.upstream_metadata, verified.upstream_metadata
    )
    fresh = replace(
        memory, root=root, metadata=metadata, upstream_root=upstream_root, upstream_metadata=upstream
    )
    if verified.already:
        return fresh
    number, highest = verified.sequence, memory.sequence or 0
    accepted = {**memory.accepted, number: verified.export_sha256}
    awaited = {before: digest for before, digest in memory.awaited.items() if before != number}
    if verified.export.previous is not None and number - 1 not in accepted:
        awaited[number - 1] = verified.export.previous
    return replace(
        fresh,
        sequence=max(number, highest),
        export_sha256=verified.export_sha256 if number > highest else memory.export_sha256,
        accepted=MappingProxyType(accepted),
        awaited=MappingProxyType(awaited),
        clock_floor=max(verified.signed_time, memory.clock_floor or verified.signed_time),
    )


def chain_entries(roots: Sequence[bytes]) -> dict[str, bytes]:
    """Return a chain of roots, version 1 first, as `Memory.metadata` keeps it."""
    return {_entry(number): data for number, data in enumerate(roots, start=1)}


def _entry(number: int) -> str:
    return f"{number}.root"


def _joined(
    root: bytes | None, known: Mapping[str, bytes], fresh: Mapping[str, bytes]
) -> tuple[bytes | None, Mapping[str, bytes]]:
    newer = {role: data for role, data in fresh.items() if role != "root"}
    return fresh.get("root", root), MappingProxyType({**known, **newer})


def _compared(root_bytes: bytes, fingerprint: str) -> bytes:
    expected, actual = re.sub(r"[\s:-]", "", fingerprint).lower(), sha256_hex(root_bytes)
    if expected != actual:
        raise RootFingerprintWrong(expected=expected, actual=actual)
    opened = open_metadata(Root, root_bytes, name="root")
    check_signatures(opened, "root", [opened.signed], name="root", surplus=True)
    if problems := lint_root(root_bytes):
        raise BadRoot(f"root {opened.signed.version}", problems)
    return root_bytes


def people_vouched(metadata: Mapping[str, bytes], fingerprint: str) -> str | None:
    """Return the SHA-256 of the list of people that remembered metadata signs for; None if it signs for none.

    Whoever may edit what is remembered is not believed: the signatures are looked at again, from a root on.

    Args:
        metadata: of one import, as in `Verified.new_metadata`, the root included.
        fingerprint: SHA-256 of the root that a site was enrolled with; it has to be in the chain.
    """
    try:
        chain = Held(metadata["root"], metadata).roots or (metadata["root"],)
        opened = [open_metadata(Root, data, name="root, as remembered") for data in chain]
        for before, one in zip([None, *opened], opened, strict=False):
            signers = [one.signed] if before is None else [before.signed, one.signed]
            check_signatures(one, "root", signers, name="root, as remembered", surplus=before is None)
        targets = open_metadata(Targets, metadata["targets"], name="targets, as remembered")
        check_signatures(targets, "targets", [opened[-1].signed], name="targets, as remembered")
    except (KeyError, BundleUntrusted):
        return None
    listed = targets.signed.targets.get(PEOPLE_PATH)
    anchored = fingerprint in map(sha256_hex, chain)
    return listed.hashes.get("sha256") if anchored and listed is not None else None
