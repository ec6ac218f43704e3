"""The last part of an import: verified blobs and documents become rows, all in one transaction.

Evidence that came with the bundle is kept as claims, apart from this site's own reports; the scan done here is a
report. Source: DESIGN section 8, promises 2 and 9.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from pipelines import carried_signatures, held_documents
from pipelines.bundle.documents import VERSION_KINDS, Release, ShippedDocument, ShippedStatement
from pipelines.bundle.errors import MalformedBundle
from pipelines.bundle.reader import Bundle, statement_paths
from pipelines.evidence import signed_statement
from pipelines.intake.record import scan_report, signed_waivers
from pipelines.people_carried import Taken, take_people
from pipelines.scan import ScannedFile, scan
from pipelines.workplace import Workplace
from registry.audit import EventKind
from registry.entities import (
    Binding,
    Claim,
    Document,
    Import,
    ModelSignature,
    Report,
    Row,
    Statement,
    Version,
    Withdrawal,
)
from registry.errors import VersionConflict
from registry.store import Change
from registry.views import View
from signing.canonical import NotCanonical, pretty_bytes
from signing.envelope import Envelope, SignatureUncheckable, verify
from signing.errors import OperatorError
from signing.keys import public_key_from_json
from signing.statements import PAYLOAD_TYPE, imported, read_statement
from signing.times import rfc3339
from signing.trust import Verified

_ROWS_PER_EVENT = 100  # so that most leaves hold each row by itself; longer ones are salted in larger pieces
BlobPath = Callable[[str], Path]  # where a blob's bytes are now: in quarantine, or in the store


@dataclass(frozen=True)
class Landed:
    """What the transaction changed."""

    new: frozenset[str]  # digests of the versions that were not here before
    withdrawals: int
    first: bool = False  # the bundle's documents came in with this transaction
    people: Taken | None = None  # what the list of people changed here

    @property
    def any(self) -> bool:
        """Whether there was a change."""
        return self.first or bool(self.new)


@dataclass(frozen=True)
class Landing:
    """Rows that wait for the transaction."""

    work: Workplace
    bundle: Bundle
    verified: Verified
    releases: Sequence[Release]  # those whose files are all here
    first: bool  # nothing of the bundle was recorded before
    metadata: str  # trust metadata to remember
    documents: Mapping[str, Document]
    statements: Mapping[str, Statement]
    reports: Mapping[str, Report]  # of new versions, by digest
    unchecked: int  # statements whose signer is not known here
    signatures: Mapping[str, Sequence[ModelSignature]]  # over models, by the version's digest

    def commit(self) -> Landed:
        """Make everything visible, or nothing. Raises `VersionConflict`."""
        with self.work.store.change(actor=self.work.actor, now=self.work.now) as change:
            if clashes := conflicts(change, self.bundle):
                raise clashes[0]
            new = [release for release in self.releases if self._is_new(change, release)]
            claims = self._claims(change)
            if self.first:
                waiting = {one.digest for one in self.bundle.releases if self._is_new(change, one)}
                rest = [row for subject, rows in claims.items() if subject not in waiting for row in rows]
                head = [self._import(), self._statement(new), *rest]
                self._record(change, EventKind.BUNDLE_IMPORTED, self.bundle.digest, head)
                for document in self.documents.values():
                    self._document(change, document)
            elif new:
                self._record(change, EventKind.BUNDLE_IMPORTED, self.bundle.digest, [self._statement(new)])
            for release in new:
                rows = [*self._version(change, release), *claims.get(release.digest, ())]
                self._record(change, EventKind.VERSION_ADDED, release.digest, rows)
            for release in self.bundle.releases:
                if change.version_by_digest(release.digest) is not None:
                    self._bind(change, release)
                    self._sign(change, release.digest)
            withdrawn = self._withdraw(change)
            taken = self._take_people(change)
        return Landed(frozenset(release.digest for release in new), withdrawn, self.first, taken)

    def _sign(self, change: Change, digest: str) -> None:
        manifest, came = self.bundle.manifests[digest], self.signatures.get(digest, ())
        carried_signatures.record(change, self.work, manifest, came)

    def _take_people(self, change: Change) -> Taken | None:
        data = self.verified.people
        return None if data is None else take_people(change, self.work, data, self.bundle.export.bundle)

    def _withdraw(self, change: Change) -> int:
        fresh = [gone for gone in self.bundle.export.withdrawals if change.withdrawal(gone.version) is None]
        for gone in fresh:
            withdrawal = Withdrawal(
                version=gone.version, reason=gone.reason, since=change.now, actor=change.actor
            )
            note = {"bundle": self.bundle.export.bundle}
            change.record(EventKind.WITHDRAWN, gone.version, withdrawal, note=note)
        return len(fresh)

    def _record(self, change: Change, kind: EventKind, subject: str, rows: list[Row]) -> None:
        """One event, or several where a leaf of the log would become too large."""
        for start in range(0, len(rows), _ROWS_PER_EVENT):
            change.record(kind, subject, *rows[start : start + _ROWS_PER_EVENT], note=self._note())

    def _import(self) -> Import:
        export = self.bundle.export
        return Import(
            sequence=export.sequence,
            bundle=export.bundle,
            digest=self.bundle.digest,
            body=self.verified.export_bytes.decode(),
            metadata_body=self.metadata,
            signed_time=rfc3339(self.verified.signed_time),
            imported_at=rfc3339(self.work.now),
            actor=self.work.actor,
        )

    def _statement(self, new: Sequence[Release]) -> Statement:
        """This site's own signed word that it took the bundle in; its subjects are the versions that came with it."""
        export = self.bundle.export
        versions = [(f"{one.model}@{one.ordinal}", one.digest) for one in new]
        said = imported(
            versions or [(export.bundle, self.bundle.digest)],
            bundle=export.bundle,
            sequence=export.sequence,
            export=self.bundle.digest,
            trust={"root": self.verified.root_version},
            size=sum(blob.size for blob in export.blobs),
            actor=self.work.actor,
            at=self.work.now,
        )
        return signed_statement(self.work, said)

    def _note(self) -> dict[str, object]:
        export = self.bundle.export
        return {
            "bundle": export.bundle,
            "origin": export.origin,
            "profile": str(self.verified.profile),
            "root": self.verified.root_version,
            "gap": list(self.verified.gap),
            "versions": [release.digest for release in self.bundle.releases],
            "statements by unknown signers": self.unchecked,
        }

    def _document(self, change: Change, row: Document) -> None:
        if change.document_by_digest(row.digest) is None:
            change.record(
                held_documents.added(row.kind), row.digest, row, note={"bundle": self.bundle.export.bundle}
            )

    def _is_new(self, change: Change, release: Release) -> bool:
        return change.version_by_digest(release.digest) is None

    def _version(self, change: Change, release: Release) -> list[Row]:
        manifest = self.bundle.manifests[release.digest]
        row = Version(
            model=release.model,
            ordinal=release.ordinal,
            digest=release.digest,
            revision=manifest.revision,
            manifest=self.bundle.document(release.digest).decode(),
            modelpack=release.modelpack,
            size=manifest.size,
            brought_by=self.bundle.export.bundle,
            added_at=change.now,
            added_by=change.actor,
        )
        return [row, self.reports[release.digest]]

    def _claims(self, change: Change) -> dict[str, list[Row]]:
        """Subject to the statements about it that came along, each with the claim that it is for a version."""
        found: dict[str, list[Row]] = {}
        for digest, statement in self.statements.items():
            rows = found.setdefault(statement.subject, [])
            if change.statement(digest) is None:
                rows.append(statement)
            if statement.subject in self.bundle.manifests:
                bundle = self.bundle.export.bundle
                rows.append(Claim(bundle=bundle, version=statement.subject, statement=digest))
        return found

    def _bind(self, change: Change, release: Release) -> None:
        """The published tool contract, unless somebody here has bound one already."""
        if release.contract is None or change.binding(release.digest) is not None:
            return
        row = Binding(
            version=release.digest,
            position=1,
            contract=release.contract,
            since=change.now,
            actor=change.actor,
        )
        change.record(EventKind.CONTRACT_BOUND, release.digest, row)


def conflicts(view: View, bundle: Bundle) -> list[VersionConflict]:
    """Return every number of the bundle that means other files here: numbers are never pointed elsewhere."""
    found: list[VersionConflict] = []
    for release in bundle.releases:
        found.extend(
            VersionConflict(release.model, release.ordinal, held=row.digest, offered=release.digest)
            for row in view.versions(release.model)
            if (row.ordinal == release.ordinal) != (row.digest == release.digest)
        )
    return found


def land(
    work: Workplace,
    bundle: Bundle,
    verified: Verified,
    *,
    releases: Sequence[Release],
    first: bool,
    metadata: str,
    path_of: BlobPath,
) -> Landing:
    """Steps 7 and 8: check what the documents and statements say, scan what is new; nothing is recorded yet.

    Args:
        releases: the versions whose files are all here, and that are not visible yet.
        first: whether nothing of the bundle was recorded before.
        metadata: of `opening.pack_metadata`.
        path_of: where each blob's bytes are.

    Raises:
        MalformedBundle: a document of another kind than the export says, a statement that is none.
        SignatureWrong: a statement that names the packer's key, which did not sign it.
    """
    statements, unchecked = {}, 0
    for shipped in bundle.export.statements:
        statements[shipped.digest], known = _statement(work, bundle, shipped)
        unchecked += not known
    return Landing(
        work=work,
        bundle=bundle,
        verified=verified,
        releases=releases,
        first=first,
        metadata=metadata,
        documents={
            shipped.digest: _document(work, bundle, shipped)
            for shipped in bundle.export.documents
            if shipped.kind not in VERSION_KINDS
        },
        statements=statements,
        reports={release.digest: _scan(work, bundle, release, path_of) for release in releases},
        unchecked=unchecked,
        signatures=carried_signatures.arriving(work, bundle, path_of),
    )


def _document(work: Workplace, bundle: Bundle, shipped: ShippedDocument) -> Document:
    body = bundle.document(shipped.digest)
    at = f"documents/{shipped.digest[:12]}"
    try:
        found = held_documents.read(shipped.kind, body)
    except OperatorError as exc:
        raise MalformedBundle(str(exc), at=at) from exc
    if found not in (None, (shipped.kind, shipped.name)):
        said = "{} {}".format(*found)
        raise MalformedBundle(f"is {said}, and was shipped as {shipped.kind} {shipped.name}", at=at)
    try:
        text = body.decode()
    except UnicodeDecodeError as exc:
        raise MalformedBundle("not UTF-8", at=at) from exc
    return Document(
        digest=shipped.digest,
        kind=shipped.kind,
        name=shipped.name,
        body=text,
        added_at=rfc3339(work.now),
        added_by=work.actor,
    )


def _statement(work: Workplace, bundle: Bundle, shipped: ShippedStatement) -> tuple[Statement, bool]:
    """Return the row, and whether the packer's key signed it."""
    place, beside = statement_paths(shipped.digest)
    payload, signature = bundle.small[place], bundle.small[beside]
    try:
        content = read_statement(payload, at=place)
        envelope = Envelope.from_json(signature, at=beside)
    except NotCanonical as exc:
        raise MalformedBundle(exc.problem, at=exc.at) from exc
    if content.predicate_type != shipped.predicate:
        raise MalformedBundle(f"is a {content.predicate_type}", at=place)
    key = public_key_from_json(pretty_bytes(dict(bundle.export.packer)))
    try:
        verify(payload, envelope, {key.keyid: key}, payload_type=PAYLOAD_TYPE)
        known = True
    except SignatureUncheckable:
        known = False  # a publisher's, say: kept and shown as what it is, a claim
    row = Statement(
        digest=shipped.digest,
        predicate=content.predicate_type,
        subject=content.subjects[0][1],
        payload=payload.decode(),
        signature=signature.decode(),
        made_at=rfc3339(work.now),
    )
    return row, known


def _scan(work: Workplace, bundle: Bundle, release: Release, path_of: BlobPath) -> Report:
    files = [
        ScannedFile(entry.path, entry.size, partial(_open, path_of(entry.sha256)), entry.sha256)
        for entry in bundle.manifests[release.digest].files
    ]
    waivers = signed_waivers(work, {entry.sha256 for entry in bundle.manifests[release.digest].files})
    return scan_report(work, release.digest, scan(files, waivers=waivers), waivers=waivers)


def _open(path: Path) -> BinaryIO:
    return path.open("rb")
