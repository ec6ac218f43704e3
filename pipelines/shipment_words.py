"""What officers sign when a bundle is shipped, in words; and what an origin demands before it publishes that.

An officer's machine knows nothing of the origin. So the ceremony's folder carries the export document, its release
documents and the manifests of its versions, and everything said here is computed from them: a manifest is believed
because its SHA-256 is the version's identity, which the release document states and the officer signs for. What does
not fit together is signed by nobody.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipelines.bundle import documents as docs
from pipelines.bundle.documents import Export, Release
from pipelines.bundle.errors import FormatTooNew, MalformedBundle
from pipelines.handover import next_number, numbers_signed
from pipelines.unsigned import UnsignedBundleRefused
from pipelines.workplace import Workplace
from registry.manifests import MalformedManifest, Manifest
from registry.manifests import decode as decode_manifest
from registry.views import View
from signing import draft_words
from signing.digests import sha256_hex
from signing.drafts import CeremonyUnusable, Draft
from signing.repository import TrustState
from signing.roots import CATALOG, PEOPLE_PATH
from signing.stream import EXPORT_PATH

_MOST = 40  # lines of one kind


@dataclass(frozen=True)
class Shipment:
    """One bundle that a ceremony signs for."""

    export: Export
    digest: str  # SHA-256 of the export document
    versions: tuple[tuple[Release, Manifest], ...]


def manifest_path(digest: str) -> str:
    """Return where a ceremony's folder holds a version's manifest, below `evidence/`."""
    return f"manifests/{digest}.json"


def words(draft: Draft) -> list[str]:
    """Return everything that a ceremony changes, and what the bundles in it are, one line each.

    Raises:
        CeremonyUnusable: documents of a bundle are missing, or do not fit together.
    """
    return [*draft_words.changes(draft), *of_bundles(draft)]


def of_bundles(draft: Draft) -> list[str]:
    """Return what the bundles of a ceremony are. Raises: as `words`."""
    return [
        line
        for one in shipments(draft)
        for line in (*_bundle(one), *_versions(draft, one), *_beside(one.export))
    ]


def shipments(draft: Draft) -> list[Shipment]:
    """Return the bundles that a ceremony signs for; none for other ceremonies.

    Raises:
        CeremonyUnusable: as `words`.
    """
    found = [_shipment(draft, path) for path in sorted(draft.payloads) if EXPORT_PATH.fullmatch(path)]
    releases = [release for one in found for release, _manifest in one.versions]
    named = {PEOPLE_PATH, *(one.export.path for one in found), *(release.path for release in releases)}
    explained = {*named, *(manifest_path(release.digest) for release in releases)}
    stray = {*(draft.payloads.keys() - named), *(draft.evidence.keys() - explained), *_unvouched(draft)}
    for path in sorted(stray):
        raise CeremonyUnusable(path, "belongs to nothing that this ceremony publishes")
    return found


def _unvouched(draft: Draft) -> set[str]:
    """Return what is carried as published and is not, byte for byte, what one of the new documents vouches for."""
    vouched = {
        path: target.hashes.get("sha256")
        for role in draft.documents
        if role != "root"
        for path, target in draft.document(role).targets.items()
    }
    return {path for path, data in draft.payloads.items() if vouched.get(path) != sha256_hex(data)}


def demand_publishable(work: Workplace, view: View, state: TrustState, draft: Draft) -> None:
    """Pass when the bundles of a ceremony may take their numbers.

    Raises:
        CeremonyUnusable: its documents do not fit together, or not to what this origin holds.
        UnsignedBundleRefused: the number is taken, or a version was withdrawn since it was packed.
    """
    for one in shipments(draft):
        _demand_ours(work, view, one)
        export, name = one.export, f"bundle {one.export.bundle} for {one.export.audience}"
        if numbers_signed(state, export.audience).get(export.sequence) == one.digest:
            continue
        number, previous = next_number(view, state, export.audience)
        if (export.sequence, export.previous) != (number, previous):
            problem = f"number {export.sequence} is taken by another bundle; the next one is {number}"
            raise UnsignedBundleRefused(name, problem)
        if gone := withdrawn_since(view, export, [release for release, _manifest in one.versions]):
            raise UnsignedBundleRefused(name, f"{', '.join(gone)} was withdrawn after it was packed")


def withdrawn_since(view: View, export: Export, releases: Sequence[Release]) -> list[str]:
    """Return the versions of a bundle that are withdrawn now, and that it does not call so."""
    told = {one.version for one in export.withdrawals}
    gone = {row.version for row in view.withdrawals()} - told
    return [f"{one.model}@{one.ordinal}" for one in releases if one.digest in gone]


def _shipment(draft: Draft, path: str) -> Shipment:
    data = draft.payloads[path]
    try:
        export = docs.decode_export(data, at=path)
        versions = tuple(_version(draft, one.path, one.sha256) for one in export.releases)
    except (MalformedBundle, FormatTooNew, MalformedManifest) as exc:
        raise CeremonyUnusable(path, str(exc)) from exc
    if (export.path, export.origin) != (path, draft.origin):
        raise CeremonyUnusable(path, f"says that it is {export.path} of {export.origin}")
    return Shipment(export, sha256_hex(data), versions)


def _version(draft: Draft, path: str, sha256: str) -> tuple[Release, Manifest]:
    held = draft.payloads if path in draft.payloads else draft.evidence
    release = docs.decode_release(_held(held, path, sha256), at=path)
    place = manifest_path(release.digest)
    manifest = decode_manifest(_held(draft.evidence, place, release.digest))
    if (release.path, manifest.model) != (path, release.model):
        raise MalformedBundle(f"is of {release.path}, with the files of {manifest.model}", at=path)
    return release, manifest


def _held(files: Mapping[str, bytes], path: str, sha256: str) -> bytes:
    data = files.get(path)
    if data is None or sha256_hex(data) != sha256:
        raise MalformedBundle(f"the folder does not hold the file {sha256[:12]}", at=path)
    return data


def _demand_ours(work: Workplace, view: View, one: Shipment) -> None:
    """The station signs where things lie, and the registry says what the versions are: nobody else packs for it."""
    if one.export.packer.get("keyid") != work.station.public_key.keyid:
        raise CeremonyUnusable(one.export.path, "was packed by another station")
    for release, _manifest in one.versions:
        row = view.version_by_digest(release.digest)
        if row is None or (row.model, row.ordinal) != (release.model, release.ordinal):
            raise CeremonyUnusable(release.path, "is no version of this origin")


def _bundle(one: Shipment) -> list[str]:
    export = one.export
    number = f"number {export.sequence} for {export.audience}, from {export.origin}"
    lines = [f"Bundle {export.bundle}: {number}, packed {export.issued_at}, document {one.digest}."]
    for name, value in export.transfer.fields().items():
        text = ", ".join(value) if isinstance(value, list) else value
        lines.append(f"  {name.replace('_', ' ')}: {text}")
    if export.baseline and export.sequence > 1:
        lines.append(f"  {export.audience} may begin with it, as if it had had nothing before")
    return lines


def _versions(draft: Draft, one: Shipment) -> list[str]:
    new = draft.document(CATALOG).targets if CATALOG in draft.documents else {}
    held = draft.base.opened(CATALOG).signed if CATALOG in draft.base.metadata else None
    old = getattr(held, "targets", {})
    lines = []
    for release, manifest in one.versions:
        fresh = release.path in new and release.path not in old
        state = "new in the catalogue" if fresh else "signed for before"
        lines.append(
            f"  {release.model}@{release.ordinal}, SHA-256 {release.digest}: {len(manifest.files):,} files, "
            f"{manifest.size:,} bytes; {state}"
        )
    return lines or ["  no versions: it says that all is well, and what is withdrawn"]


def _beside(export: Export) -> list[str]:
    left_out = sum(blob.size for blob in export.assumed)
    lines = [f"  {export.size:,} bytes of files travel"]
    if left_out:
        lines.append(
            f"  {left_out:,} bytes are left out, because the site has them by receipt or by a person's word"
        )
    lines += [f"  {one.by} says that the site holds number {one.sequence}" for one in export.assumed_received]
    extra = [one for one in export.documents if one.kind not in docs.VERSION_KINDS]
    lines += _few([f"  with it: {one.kind} {one.name}, SHA-256 {one.digest}" for one in extra])
    lines += _few([f"  withdrawn: SHA-256 {one.version} ({one.reason})" for one in export.withdrawals])
    return lines


def _few(lines: list[str]) -> list[str]:
    return lines if len(lines) <= _MOST else [*lines[:_MOST], f"  and {len(lines) - _MOST} more like these"]
