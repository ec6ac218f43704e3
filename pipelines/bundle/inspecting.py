"""Looks at a bundle without writing anything, and says everything about it, trusted or not."""

import contextlib
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

from tuf.api.metadata import Targets

from pipelines.bundle import opening, reader
from pipelines.bundle.crew import crew_size
from pipelines.bundle.documents import VERSION_KINDS
from pipelines.bundle.errors import ChunksDamaged
from pipelines.bundle.history import Missing, gaps
from pipelines.bundle.ingest import BadChunk
from pipelines.bundle.lanes import Unreadable
from pipelines.bundle.opening import Opened
from pipelines.bundle.reader import Bundle
from pipelines.bundle.shelf import Spot, digest_of
from pipelines.workplace import Workplace
from registry.blobs import Progress, no_progress
from signing.errors import OperatorError
from signing.roots import open_metadata
from signing.times import rfc3339

_SIGNED = re.compile(r"trust/[0-9]+\.(catalog|site-[a-z0-9-]+)\.json")


@dataclass(frozen=True)
class InspectedItem:
    """A version in a bundle; `held` when this site has it already."""

    model: str
    ordinal: int
    digest: str
    files: int
    bytes: int
    held: bool


@dataclass(frozen=True)
class Inspection:
    """What a bundle is and everything that is wrong with it. Nothing was written to find out.

    Where `trusted` is false, what it says of itself is only what somebody wrote.
    """

    bundle: str
    folders: tuple[Path, ...]
    present: tuple[int, ...]  # volumes
    of: int
    trusted: bool = False
    already: bool = False  # imported before
    problems: tuple[OperatorError, ...] = ()
    digest: str | None = None  # SHA-256 of the export document
    sequence: int | None = None
    audience: str | None = None
    origin: str | None = None
    issued_at: str | None = None
    next_expected_by: str | None = None
    expires: str | None = None
    missing_bundles: tuple[Missing, ...] = ()  # before this one, and never arrived here
    notes: tuple[str, ...] = ()  # damage that other volumes make good
    profile: str | None = None
    assumed_received: tuple[str, ...] = ()  # where a person's word stands for a receipt
    rebuildable: tuple[str, ...] = ()  # chunks that are not here and that parity brings back
    root_version: int | None = None
    signed_by: Mapping[str, tuple[str, ...]] = field(
        default_factory=lambda: MappingProxyType({})
    )  # role to the key ids in its metadata
    items: tuple[InspectedItem, ...] = ()
    documents: tuple[tuple[str, str, str], ...] = ()  # (kind, name, digest)
    withdrawals: tuple[tuple[str, str], ...] = ()  # (version, reason)
    bytes_carried: int = 0  # of all blobs in the bundle
    bytes_assumed: int = (
        0  # of blobs that were left out, or that others are made from, because they should be here
    )
    bytes_stored: int = 0  # of all chunks, as they lie on the volumes
    bytes_needed: int = 0  # that an import would still make
    bytes_free: int = 0

    @property
    def missing(self) -> tuple[int, ...]:
        """The volumes that were not given."""
        return tuple(index for index in range(1, self.of + 1) if index not in self.present)


def inspect(
    work: Workplace,
    dirs: Sequence[Path],
    *,
    deep: bool = False,
    timestamp: bytes | None = None,
    progress: Progress = no_progress,
    expect: Progress = no_progress,
) -> Inspection:
    """Look at a bundle without writing anything, whether it can be trusted or not.

    Args:
        dirs: folders to look in: the bundle's own, the medium's, or the one that holds the volumes.
        deep: read and hash every chunk too.
        timestamp: as in `import_bundle`.
        progress, expect: as in `import_bundle`; used only when `deep`.

    Raises:
        NotABundle, BundlesMixed, MediumUnreadable, MalformedBundle, FilesDamaged: there is no one bundle to
            speak of. Everything else that is wrong is in `Inspection.problems`.
    """
    folders = reader.gather(dirs)
    problems: list[OperatorError] = []
    known = [folder for folder in folders if folder.refusal is None]
    seen = Inspection(
        bundle=known[0].label.bundle,
        folders=tuple(folder.path for folder in folders),
        present=tuple(dict.fromkeys(folder.label.index for folder in known)),
        of=known[0].label.of,
        bytes_free=opening.free_bytes(work),
    )
    opened = _opened(work, folders, problems, timestamp)
    if opened is None:
        return replace(seen, problems=tuple(problems))
    return _examined(work, _described(work, seen, opened), opened, problems, _Look(deep, progress, expect))


@dataclass(frozen=True)
class _Look:
    """How closely to look."""

    deep: bool
    progress: Progress
    expect: Progress


def _opened(
    work: Workplace,
    folders: Sequence[reader.VolumeFolder],
    problems: list[OperatorError],
    timestamp: bytes | None,
) -> Opened | None:
    with work.store.view() as view:
        memory = opening.remembered(view)
    try:
        return opening.open_bundle(folders, memory, work, timestamp=timestamp)
    except OperatorError as refusal:
        problems.append(refusal)
    try:
        return opening.open_untrusted(folders, work)
    except OperatorError as refusal:
        if str(refusal) != str(problems[0]):
            problems.append(refusal)
        return None


def _described(work: Workplace, seen: Inspection, opened: Opened) -> Inspection:
    """Fill in what the documents say."""
    export, bundle = opened.bundle.export, opened.bundle
    with work.store.view() as view:
        accepted = {row.sequence: row.digest for row in view.imports()}
    seen = replace(
        seen,
        bundle=export.bundle,
        digest=bundle.digest,
        sequence=export.sequence,
        audience=export.audience,
        origin=export.origin,
        issued_at=export.issued_at,
        next_expected_by=export.next_expected_by,
        profile=export.profile,
        notes=opened.notes,
        missing_bundles=tuple(gaps(bundle.history, {**accepted, export.sequence: bundle.digest})),
        assumed_received=tuple(
            f"number {a.sequence}, by {a.by}: {a.reason}" for a in export.assumed_received
        ),
        signed_by=_signed_by(bundle),
        documents=tuple((d.kind, d.name, d.digest) for d in export.documents if d.kind not in VERSION_KINDS),
        withdrawals=tuple((w.version, w.reason) for w in export.withdrawals),
        bytes_carried=export.size,
        bytes_assumed=sum(blob.size for blob in {*export.assumed, *export.bases}),
        bytes_stored=sum(chunk.size for chunk in bundle.table.chunks),
    )
    verified = opened.trusted
    if verified is None:
        return seen
    return replace(
        seen,
        trusted=True,
        already=verified.already,
        expires=None if verified.expires is None else rfc3339(verified.expires),
        root_version=verified.root_version,
    )


def _examined(
    work: Workplace, seen: Inspection, opened: Opened, problems: list[OperatorError], look: "_Look"
) -> Inspection:
    """Hold the volumes and this site against the documents."""
    bundle = opened.bundle
    ingest = opening.ingest_of(work, bundle, opened.volumes, look.progress)
    wanted = [blob for blob in bundle.export.blobs if not opening.held(work.blobs, blob)]
    needed = ingest.needed(wanted)
    with work.store.view() as view:
        if wanted or not seen.already:
            problems += opening.preflight(work, view, opened, ingest, wanted)
        items = tuple(
            InspectedItem(
                model=release.model,
                ordinal=release.ordinal,
                digest=release.digest,
                files=len(bundle.manifests[release.digest].files),
                bytes=bundle.manifests[release.digest].size,
                held=view.version_by_digest(release.digest) is not None,
            )
            for release in bundle.releases
        )
    bad = _damaged(opened, look) if look.deep else {}
    good = ingest.shelf.without(bad)
    lost = opened.lost(needed, good)
    wrong = [str(one) for one in bad.values() if one.chunk in lost]
    if wrong:
        problems.append(ChunksDamaged(wrong))
    return replace(
        seen,
        items=items,
        problems=tuple(problems),
        notes=(
            *seen.notes,
            *(f"{one}; what is elsewhere makes it good" for one in bad.values() if one.chunk not in lost),
        ),
        rebuildable=tuple(sorted(n for n in needed - lost if not good.has(n))),
        bytes_needed=ingest.bytes_needed(wanted),
    )


def _damaged(opened: Opened, look: _Look) -> dict[Spot, BadChunk]:
    """Read and hash every stored file of the volumes that are here; return those that are not what they should be."""
    jobs = [
        (Spot(volume.folder.path / path, volume.folder.name), path, name, size)
        for volume in opened.volumes
        for path, (name, size) in sorted(volume.stored(opened.bundle).items())
        if path in volume.folder.files
    ]
    look.expect(sum(size for _spot, _path, _name, size in jobs))

    def read(job: tuple[Spot, str, str, int]) -> BadChunk | None:
        spot, path, name, size = job
        try:
            actual = digest_of(spot, size)
        except Unreadable as exc:
            return BadChunk(name, path, spot.volume, str(exc))
        look.progress(size)
        return None if actual == name else BadChunk(name, path, spot.volume, "holds other bytes")

    with ThreadPoolExecutor(crew_size(), thread_name_prefix="deep") as pool:
        found = zip(jobs, pool.map(read, jobs), strict=True)
        return {spot: bad for (spot, *_rest), bad in found if bad is not None}


def _signed_by(bundle: Bundle) -> Mapping[str, tuple[str, ...]]:
    """Return the key ids whose signatures stand on the catalogue and the site's document, unchecked."""
    found: dict[str, tuple[str, ...]] = {}
    for path in sorted(bundle.small):
        if match := _SIGNED.fullmatch(path):
            data = bundle.small[path]
            with contextlib.suppress(OperatorError):
                found[match[1]] = tuple(sorted(open_metadata(Targets, data, name=path).signatures))
    return MappingProxyType(found)
