"""Chooses what goes into a bundle: versions with everything that belongs to them, less what the site has proved.

Steps 2 and 3 of `pipelines.ship`. Reads the registry and the store, writes nothing.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from tuf.api.metadata import Targets

from pipelines import bom, carried_signatures
from pipelines.baseline import Baseline, baseline
from pipelines.bundle import documents as docs
from pipelines.bundle.documents import (
    AssumedReceived,
    Release,
    ShippedDocument,
    ShippedStatement,
    ShippedWithdrawal,
    Sized,
)
from pipelines.bundle.reader import document_path, modelpack_config, statement_paths
from pipelines.relay import demand_passed_on, passed_on
from pipelines.removed import demand_bytes
from pipelines.workplace import Workplace
from registry.entities import Document, Version
from registry.errors import NotFound
from registry.manifests import MAX_BYTES as MAX_MANIFEST
from registry.manifests import decode as decode_manifest
from registry.names import Ref
from registry.views import View
from signing import summaries
from signing.digests import sha256_hex
from signing.repository import TrustState
from signing.roots import CATALOG

NOTHING = Baseline(frozenset(), frozenset(), frozenset(), None, (), ())  # known of a site
_LEAST_BASE = 64 << 10  # bytes; smaller files are sent again
_MOST_BASES = 500  # files that are opened to look for like bytes; many systems give a process 1,024
_MOST_CARD = 64 << 10  # bytes of a model card that are read
# Nothing is tried twice (`++`): a publisher writes this text, and spaces alone could keep us busy for hours.
_BASE_MODEL = re.compile(r"^base_model:\s*+(?:[\[-]\s*+)?[\"']?([\w.-]++/[\w.-]++)", re.MULTILINE)


@dataclass(frozen=True)
class Cargo:
    """What goes into a bundle, before anything is written."""

    releases: tuple[tuple[Release, bytes], ...]
    files: Mapping[str, bytes]  # path in the bundle to bytes: documents and statements
    documents: tuple[ShippedDocument, ...]
    statements: tuple[ShippedStatement, ...]
    withdrawals: tuple[ShippedWithdrawal, ...]
    blobs: tuple[Sized, ...]
    assumed: tuple[Sized, ...]
    bases: tuple[Sized, ...]  # held by the site, and to be built on where they help; the likeliest first
    items: tuple[tuple[str, ...], ...]  # the blobs of each version, to be kept on one medium where they fit
    endings: Mapping[str, str]  # blob to the ending of its file's name
    receipt: str | None
    assumed_received: tuple[AssumedReceived, ...]
    relayed: frozenset[str]  # paths of release documents that the origin behind this one signs for
    lines: tuple[str, ...]  # for README.txt
    notes: tuple[str, ...]

    @property
    def size(self) -> int:
        """Bytes of the blobs that it carries."""
        return sum(blob.size for blob in self.blobs)


def select(
    work: Workplace,
    view: View,
    state: TrustState,
    site: str,
    *,
    refs: Sequence[Version | Ref],
    extra: Sequence[str],
    self_contained: bool = False,
) -> Cargo:
    """Return what a bundle for `site` carries; with nothing named, freshness and withdrawals only.

    Args:
        self_contained: leave nothing out and build on nothing, whatever the site holds.

    Raises:
        NotFound: no such version or document.
    """
    versions = {v.digest: v for v in (ref if isinstance(ref, Version) else view.version(ref) for ref in refs)}
    base = NOTHING if self_contained else baseline(view, site)
    held = base.held
    hold = _Hold(work, view)
    passed = passed_on(work, view)
    relayed = set()
    for version in versions.values():
        path = docs.release_path(version.model, version.ordinal)
        published = demand_passed_on(passed, path, version.brought_by)
        if published is not None:
            relayed.add(path)
        hold.version(version, published or _published(work, state, version))
    if relayed:
        hold.files.update(passed.files)
    for digest in extra:
        hold.document(digest)
    blobs = sorted(hold.blobs.values(), key=lambda blob: (-blob.size, blob.sha256))
    return Cargo(
        releases=tuple(hold.releases),
        files=hold.files,
        documents=tuple(hold.documents.values()),
        statements=tuple(hold.statements.values()),
        withdrawals=withdrawals_of(view),
        blobs=tuple(blob for blob in blobs if blob.sha256 not in held),
        assumed=tuple(blob for blob in blobs if blob.sha256 in held),
        bases=_bases(work, view, list(versions.values()), held),
        items=tuple(hold.items),
        endings=hold.endings,
        receipt=base.receipt,
        assumed_received=base.assumptions,
        relayed=frozenset(relayed),
        lines=tuple(hold.lines),
        notes=tuple(hold.notes),
    )


def withdrawals_of(view: View) -> tuple[ShippedWithdrawal, ...]:
    """Return every withdrawal, as an export document tells it."""
    return tuple(ShippedWithdrawal(row.version, _one_line(row.reason)) for row in view.withdrawals())


def _bases(
    work: Workplace, view: View, versions: Sequence[Version], held: Collection[str]
) -> tuple[Sized, ...]:
    """Return held blobs to build on: of other versions of the same models, of their declared parents, of the rest."""
    if not versions:
        return ()
    models = {version.model for version in versions}
    parents = {parent for version in versions if (parent := declared_parent(work, version)) is not None}
    ranked = sorted(
        view.versions(), key=lambda v: (v.model not in models, v.model not in parents, v.model, -v.ordinal)
    )
    found: dict[str, Sized] = {}
    for version in ranked:
        for entry in decode_manifest(version.manifest.encode()).files:
            if entry.size >= _LEAST_BASE and entry.sha256 in held and work.blobs.has(entry.sha256):
                found.setdefault(entry.sha256, Sized(entry.sha256, entry.size))
    return tuple(found.values())[:_MOST_BASES]


def declared_parent(work: Workplace, version: Version) -> str | None:
    """Return the model that a version's card says it was made from, as `namespace/name`; None when it says nothing.

    Only a hint where to look for like bytes. Source: Hugging Face model cards, `base_model`.
    """
    for entry in decode_manifest(version.manifest.encode()).files:
        if entry.path == "README.md" and work.blobs.has(entry.sha256):
            with work.blobs.open(entry.sha256) as stream:
                head = stream.read(_MOST_CARD).decode(errors="replace")
            match = _BASE_MODEL.search(head)
            return match[1].lower() if match else None
    return None


class _Hold:
    """Collects what belongs to the versions and documents that are shipped."""

    def __init__(self, work: Workplace, view: View) -> None:
        self._work, self._view = work, view
        self.releases: list[tuple[Release, bytes]] = []
        self.files: dict[str, bytes] = {}
        self.documents: dict[str, ShippedDocument] = {}
        self.statements: dict[str, ShippedStatement] = {}
        self.blobs: dict[str, Sized] = {}
        self.items: list[tuple[str, ...]] = []
        self.endings: dict[str, str] = {}
        self.lines: list[str] = []
        self.notes: list[str] = []

    def version(self, version: Version, published: bytes | None) -> None:
        """Add a version: manifest, ModelPack form, tool contract, statements, files."""
        name = f"{version.model}@{version.ordinal}"
        if (gone := self._view.withdrawal(version.digest)) is not None:
            self.notes.append(
                f"{name} is withdrawn ({_one_line(gone.reason)}): it arrives, and may not serve"
            )
        demand_bytes(self._work, self._view, version)
        manifest = decode_manifest(version.manifest.encode())
        pack = self._work.blobs.read(version.modelpack, max_bytes=MAX_MANIFEST)
        config = modelpack_config(pack, at=name)
        self._small(docs.MANIFEST, name, version.manifest.encode())
        self._small(docs.MODELPACK, name, pack)
        self._small(docs.MODELPACK_CONFIG, name, self._work.blobs.read(config, max_bytes=MAX_MANIFEST))
        binding = self._view.binding(version.digest)
        bound = None if binding is None else binding.contract
        known = tuple(sorted(self._statements(version.digest)))
        release = Release(version.model, version.ordinal, version.digest, version.modelpack, bound, known)
        data = docs.encode_release(release)
        if published is not None and published != data:
            release, data = docs.decode_release(published, at=release.path), published
            if release.contract != bound:
                self.notes.append(
                    f"{name} was published with {_named(release.contract)} and is bound to {_named(bound)} here: the "
                    "site gets the published one; ship the other with it and bind it there"
                )
        if release.contract is not None:
            self.document(release.contract)
        for kind, told, signature in carried_signatures.leaving(self._work, self._view, version):
            self._beside(name, kind, told, signature)
        if (bill := bom.newest(self._view, version.digest)) is not None:
            self._beside(name, bill.kind, bill.name, bill.body.encode())
        for entry in manifest.files:
            self.blobs[entry.sha256] = Sized(entry.sha256, entry.size)
            if (ending := _ending(entry.path)) is not None:
                self.endings.setdefault(entry.sha256, ending)
        self.items.append(tuple(entry.sha256 for entry in manifest.files))
        self.releases.append((release, data))
        self.lines.append(
            f"{name}, {len(manifest.files)} files, {manifest.size:,} bytes, sha256:{version.digest[:12]}"
        )

    def document(self, digest: str) -> None:
        """Add a document with its statements. Raises `NotFound`."""
        row = self._view.document_by_digest(digest)
        if row is None:
            raise NotFound("document", digest)
        if row.digest not in self.documents:
            self._small(row.kind, row.name, row.body.encode(), digest=row.digest)
            self.lines.append(_document_line(row))
            self._statements(row.digest)

    def _beside(self, version: str, kind: str, name: str, data: bytes) -> None:
        """Add what a site can make for itself, where a reader would take it."""
        if len(data) <= MAX_MANIFEST:
            self._small(kind, name, data)
        else:
            self.notes.append(
                f"{version}: its {kind} of {len(data):,} bytes is too large for a bundle and stays here"
            )

    def _small(self, kind: str, name: str, data: bytes, *, digest: str | None = None) -> None:
        actual = sha256_hex(data)
        assert digest in (None, actual), "a document is named by the SHA-256 of its body"
        self.documents[actual] = ShippedDocument(actual, kind, name, len(data))
        self.files[document_path(actual)] = data

    def _statements(self, subject: str) -> list[str]:
        # What left for whom is this home's own record: no site is told what another one got.
        rows = [row for row in self._view.statements(subject) if row.predicate != summaries.EXPORT]
        for row in rows:
            payload, signature = statement_paths(row.digest)
            self.files[payload] = row.payload.encode()
            self.files[signature] = row.signature.encode()
            self.statements[row.digest] = ShippedStatement(
                row.digest, row.predicate, sha256_hex(row.signature.encode())
            )
        return [row.digest for row in rows]


def _ending(path: str) -> str | None:
    """Return what a file's name ends with, if it is one that a chunk's name may have."""
    ending = path.rpartition("/")[2].rpartition(".")
    return ending[2].lower() if ending[0] and re.fullmatch(r"[a-z0-9]{1,16}", ending[2].lower()) else None


def _document_line(row: Document) -> str:
    return f"{row.kind} {row.name}, sha256:{row.digest[:12]}"


def _named(contract: str | None) -> str:
    return "no tool contract" if contract is None else f"tool contract {contract[:12]}"


def _one_line(text: str) -> str:
    """A reason as a bundle carries it: one printable line."""
    return re.sub(r"[^ -~\u00a0-\ud7ff\ue000-\uffff]+|\s+", " ", text).strip()[:1000] or "no reason recorded"


def _published(work: Workplace, state: TrustState, version: Version) -> bytes | None:
    """Return the release document as it was published before, None for a version that never left."""
    path = docs.release_path(version.model, version.ordinal)
    if CATALOG not in state.metadata or path not in signed_paths(state, CATALOG):
        return None
    try:
        return (work.home.trust / path).read_bytes()
    except FileNotFoundError:
        return None  # then it is made anew, and `publish` refuses it unless it is the same


def signed_paths(state: TrustState, role: str) -> dict[str, str]:
    """Return path to SHA-256 of what a role has signed for."""
    if role not in state.metadata:
        return {}
    signed = state.opened(role).signed
    assert isinstance(signed, Targets)
    return {path: target.hashes["sha256"] for path, target in signed.targets.items()}
