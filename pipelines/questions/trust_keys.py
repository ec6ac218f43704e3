"""The keys of trust documents: which roles each one holds or held, whose it is, and which documents it signed.

An origin keeps every document that it ever published in its folder; a site has what each import left in its rows.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from securesystemslib.exceptions import UnverifiedSignatureError, VerificationError
from securesystemslib.signer import Key, Signature
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

from pipelines.bundle.opening import unpack_metadata
from pipelines.workplace import Workplace
from registry.views import View
from signing.canonical import NotCanonical, parse
from signing.digests import sha256_hex
from signing.errors import OperatorError
from signing.folder import read_inside
from signing.profiles import person_of
from signing.roots import MAX_METADATA, open_metadata

_KINDS: Mapping[str, Any] = {"root": Root, "targets": Targets, "snapshot": Snapshot, "timestamp": Timestamp}
_MOST = max(MAX_METADATA.values())
_SHORTEST = 8  # hex digits that name a key


@dataclass(frozen=True)
class TrustDocument:
    """One document of an origin's trust, as it is held here."""

    name: str  # such as root, version 3
    role: str
    version: int
    digest: str
    metadata: "Metadata[Any]"


@dataclass(frozen=True)
class TrustKey:
    """One key that a root or targets document names."""

    keyid: str
    scheme: str
    person: str | None  # as the document says; None where it says nobody
    roles: tuple[str, ...]  # of the newest documents that are held here
    former: tuple[str, ...]  # roles that it had, and has no more

    @property
    def line(self) -> str:
        """For people."""
        now = ", ".join(self.roles) or "none"
        before = f"; before: {', '.join(self.former)}" if self.former else ""
        return f"{self.person or 'nobody named'}: trust key {self.keyid[:16]} ({self.scheme}), roles: {now}{before}"

    def document(self) -> dict[str, Any]:
        """For programs."""
        return {**vars(self), "roles": list(self.roles), "former": list(self.former)}


@dataclass(frozen=True)
class TrustSigned:
    """One trust document that a key signed."""

    document_name: str
    digest: str
    keyid: str
    holds: bool  # the signature, looked at now

    def document(self) -> dict[str, Any]:
        """For programs."""
        return vars(self)


def trust_keys(work: Workplace, view: View, who: str) -> tuple[list[TrustKey], list[TrustSigned]]:
    """Return the trust keys of a person, or the one with this id (or its beginning), and what they signed."""
    documents = sorted(_documents(work, view), key=lambda one: (one.role, one.version))
    keys: dict[str, Key] = {}
    for one in documents:
        keys |= _keys(one)
    meant = {keyid: key for keyid, key in keys.items() if _means(who, keyid, key)}
    found = [
        TrustKey(keyid, key.scheme, person_of(key), *_roles(documents, keyid)) for keyid, key in meant.items()
    ]
    signed = [
        TrustSigned(one.name, one.digest, keyid, _holds(one, key, one.metadata.signatures[keyid]))
        for one in documents
        for keyid, key in meant.items()
        if keyid in one.metadata.signatures
    ]
    return found, signed


def _means(who: str, keyid: str, key: Key) -> bool:
    return who == person_of(key) or (len(who) >= _SHORTEST and keyid.startswith(who.lower()))


def _documents(work: Workplace, view: View) -> Iterator[TrustDocument]:
    seen: set[tuple[str, str]] = set()
    for role, data in (*_published(work), *_taken_in(view)):
        digest = sha256_hex(data)
        if (role, digest) not in seen:
            seen.add((role, digest))
            if (found := _opened(role, data, digest)) is not None:
                yield found


def _published(work: Workplace) -> Iterator[tuple[str, bytes]]:
    """What this origin ever signed, by role: `7.catalog.json` is the catalog's."""
    if not work.home.is_origin:
        return
    for path in sorted(work.home.trust.glob("*.json")):
        role = path.name.removesuffix(".json").rpartition(".")[2]
        yield role, read_inside(work.home.trust, path.name, max_bytes=_MOST)


def _taken_in(view: View) -> Iterator[tuple[str, bytes]]:
    """What bundles brought: the chain of roots stands as `1.root`, the origin behind ours as `upstream/...`."""
    for prefix, enrolled in (("", view.enrolment()), ("upstream/", view.upstream())):
        if enrolled is not None:
            yield f"{prefix}root", enrolled.root.encode()
    for row in view.imports():
        try:
            known = unpack_metadata(row.metadata_body)
        except NotCanonical:
            continue  # edited; `audit verify` names the row
        for name, data in known.items():
            before, slash, role = name.rpartition("/")
            yield f"{before}{slash}{role.rpartition('.')[2]}", data


def _opened(role: str, data: bytes, digest: str) -> TrustDocument | None:
    """A document that can be read; what cannot is no trust document, and `doctor` says more."""
    try:
        signed = parse(data, max_bytes=_MOST, at="trust")["signed"]
        kind, version = _KINDS[signed["_type"]], int(signed["version"])
        metadata = open_metadata(kind, data, name=role)
    except (NotCanonical, OperatorError, KeyError, TypeError, ValueError):
        return None
    return TrustDocument(f"{role}, version {version}", role, version, digest, metadata)


def _keys(one: TrustDocument) -> dict[str, Key]:
    signed = one.metadata.signed
    if isinstance(signed, Root):
        return dict(signed.keys)
    delegations = signed.delegations if isinstance(signed, Targets) else None
    return dict(delegations.keys) if delegations else {}


def _named(one: TrustDocument, keyid: str) -> Iterator[str]:
    """The roles that a document gives a key."""
    signed = one.metadata.signed
    if isinstance(signed, Root):
        yield from (name for name, role in signed.roles.items() if keyid in role.keyids)
    elif isinstance(signed, Targets) and signed.delegations:
        roles = signed.delegations.roles or {}
        yield from (name for name, role in roles.items() if keyid in role.keyids)


def _roles(documents: list[TrustDocument], keyid: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The roles that the newest documents give a key, and those that only older ones did."""
    ever = {name for one in documents for name in _named(one, keyid)}
    newest = {one.role: one for one in documents if _keys(one)}  # sorted by version: the last one stays
    now = {name for one in newest.values() for name in _named(one, keyid)}
    return tuple(sorted(now)), tuple(sorted(ever - now))


def _holds(one: TrustDocument, key: Key, signature: Signature) -> bool:
    try:
        key.verify_signature(signature, one.metadata.signed_bytes)
    except (UnverifiedSignatureError, VerificationError):
        return False
    return True
