"""Opens a bundle at a site: what this site remembers, whether to believe the documents, what stands in the way."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.bundle import checks
from pipelines.bundle.documents import Sized
from pipelines.bundle.errors import BaseMissing, MalformedBundle
from pipelines.bundle.ingest import Ingest
from pipelines.bundle.landing import conflicts
from pipelines.bundle.reader import Bundle, SmallFiles, VolumeFolder, interpret
from pipelines.workplace import Workplace
from registry.blobs import BlobStore
from registry.entities import Import
from registry.errors import SpaceShort
from registry.views import View
from signing import trust
from signing.canonical import canonical_bytes, parse
from signing.errors import OperatorError
from signing.times import from_rfc3339
from signing.trust import Memory, Verified

_MARGIN = 64 << 20  # bytes that an import leaves free
_MAX_MEMORY = 64 << 20  # bytes of remembered trust metadata
_UPSTREAM = "upstream/"  # before the roles of the origin behind ours, in the row of an import


@dataclass(frozen=True)
class Parts:
    """The volumes of one bundle, their small files, and what these say."""

    volumes: Sequence[VolumeFolder]
    small: SmallFiles
    bundle: Bundle

    @property
    def sources(self) -> dict[int, Path]:
        """Volume to the folder that holds it."""
        return {volume.label.index: volume.path for volume in self.volumes}


def remembered(view: View) -> Memory:
    """Return what this site remembers of earlier imports; a newer enrolment starts the trust metadata anew.

    Bundles may come in any order: the number is the highest, the metadata is the one of the newest import.
    """
    enrolment, imports = view.enrolment(), view.imports()
    if enrolment is None:
        return Memory()
    behind, last = view.upstream(), max(imports, key=lambda row: row.id or 0, default=None)
    known = {} if last is None else unpack_metadata(last.metadata_body)
    upstream = {
        role.removeprefix(_UPSTREAM): data for role, data in known.items() if role.startswith(_UPSTREAM)
    }
    metadata = {role: data for role, data in known.items() if not role.startswith(_UPSTREAM)}
    if last is not None and last.imported_at < enrolment.since:
        metadata = {}
    if behind is None or (last is not None and last.imported_at < behind.since):
        upstream = {}
    floor = view.newest_moment()
    accepted = {row.sequence: row.digest for row in imports}
    return Memory(
        root=metadata.pop("root", enrolment.root.encode()),
        metadata=metadata,
        sequence=imports[-1].sequence if imports else None,
        export_sha256=imports[-1].digest if imports else None,
        accepted=accepted,
        awaited={
            row.sequence - 1: _previous(row) for row in imports if row.sequence - 1 not in {0, *accepted}
        },
        clock_floor=None if floor is None else from_rfc3339(floor),
        upstream_root=None if behind is None else upstream.pop("root", behind.root.encode()),
        upstream_metadata=upstream,
    )


def _previous(row: Import) -> str:
    body: dict[str, str] = parse(row.body.encode(), max_bytes=_MAX_MEMORY, at=f"export {row.sequence}")
    return body["previous"]


def pack_metadata(metadata: Mapping[str, bytes], upstream: Mapping[str, bytes] | None = None) -> str:
    """Return trust metadata as the import's row keeps it: JSON of role to text, the upstream's under `upstream/`."""
    both = {**metadata, **{f"{_UPSTREAM}{role}": data for role, data in (upstream or {}).items()}}
    return canonical_bytes({role: data.decode() for role, data in both.items()}).decode()


def unpack_metadata(text: str) -> dict[str, bytes]:
    """Undo `pack_metadata`."""
    value = parse(text.encode(), max_bytes=_MAX_MEMORY, at="remembered trust metadata")
    return {role: data.encode() for role, data in value.items()}


def walk(volumes: Sequence[VolumeFolder], memory: Memory, work: Workplace) -> Verified:
    """Say whether this site may believe the bundle. Raises what `signing.trust.verify` raises."""
    return trust.verify(volumes[0].path, memory, audience=work.home.name, now=work.now)


def read(volumes: Sequence[VolumeFolder], small: SmallFiles, export_path: str) -> Bundle:
    """Fit the documents together and hold the labels against them. Raises what `interpret` raises."""
    bundle = interpret(small.bytes, export_path)
    for volume in volumes:
        if volume.label.bundle != bundle.export.bundle:
            raise MalformedBundle(
                f"says bundle {volume.label.bundle}, the export says {bundle.export.bundle}",
                at=f"{volume.name}, volume.json",
            )
    return bundle


def export_path(volumes: Sequence[VolumeFolder], work: Workplace) -> str:
    """Return where the export document lies. Raises `TrustFileMissing`."""
    return trust.find_export(volumes[0].path, work.home.name)


def believed(bundle: Bundle, verified: Verified) -> Verified:
    """Return `verified` if what was fitted together is, byte for byte, what the trust walk vouched for.

    Raises:
        MalformedBundle: it is not; the medium changed while it was read.
    """
    if bundle.small[verified.export_path] != verified.export_bytes or bundle.digest != verified.export_sha256:
        raise MalformedBundle("changed while it was read", at=verified.export_path)
    for release in bundle.releases:
        if verified.releases.get(release.path) != bundle.small[release.path]:
            raise MalformedBundle("is not the document that the catalogue signs for", at=release.path)
    return verified


def held(blobs: BlobStore, blob: Sized) -> bool:
    """Say whether the store has the blob, by name and size."""
    return blobs.has(blob.sha256) and blobs.size(blob.sha256) == blob.size


def preflight(
    work: Workplace, view: View, parts: Parts, ingest: Ingest, wanted: Sequence[Sized]
) -> list[OperatorError]:
    """Return everything that stands in the way of an import, before any byte is copied.

    Args:
        wanted: the blobs that have to be copied.
    """
    found: list[OperatorError] = list(
        checks.problems_of(
            parts.bundle, parts.volumes, listed=parts.small.listed, needed=ingest.needed(wanted)
        )
    )
    absent = [blob.sha256 for blob in parts.bundle.export.assumed if not held(work.blobs, blob)]
    if absent:
        found.append(BaseMissing(absent))
    found += conflicts(view, parts.bundle)
    export = parts.bundle.export
    if any(row.bundle == export.bundle and row.sequence != export.sequence for row in view.imports()):
        found.append(
            MalformedBundle(f"another bundle was called {export.bundle}", at=f"{export.path}: bundle")
        )
    needed, free = ingest.bytes_needed(wanted), free_bytes(work)
    if needed and needed + _MARGIN > free:
        found.append(SpaceShort(str(work.home.quarantine), needed=needed + _MARGIN, free=free))
    return found


def free_bytes(work: Workplace) -> int:
    """Return the bytes free where the quarantine and the store are."""
    return shutil.disk_usage(work.home.quarantine).free


def room(work: Workplace, bundle: Bundle) -> Path:
    """Return the bundle's folder in quarantine, whether it is there or not."""
    return work.home.quarantine / bundle.digest
