"""Looks at a bundle without writing anything, and says everything about it, trusted or not."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from tuf.api.metadata import Targets

from pipelines.bundle import opening, reader
from pipelines.bundle.documents import VERSION_KINDS
from pipelines.bundle.errors import ChunksDamaged
from pipelines.bundle.ingest import Ingest, damaged
from pipelines.bundle.opening import Parts
from pipelines.bundle.reader import Bundle
from pipelines.workplace import Workplace
from registry.blobs import Progress, no_progress
from signing.errors import OperatorError
from signing.roots import open_metadata
from signing.times import rfc3339
from signing.trust import Verified

T = TypeVar("T")
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
    gap: tuple[int, ...] = ()  # numbers of bundles that never arrived here
    root_version: int | None = None
    signed_by: Mapping[str, tuple[str, ...]] = field(
        default_factory=lambda: MappingProxyType({})
    )  # role to the key ids in its metadata
    items: tuple[InspectedItem, ...] = ()
    documents: tuple[tuple[str, str, str], ...] = ()  # (kind, name, digest)
    withdrawals: tuple[tuple[str, str], ...] = ()  # (version, reason)
    bytes_carried: int = 0  # of all blobs in the bundle
    bytes_assumed: int = 0  # of blobs that were left out because this site proved them
    bytes_needed: int = 0  # that an import would still copy
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
    progress: Progress = no_progress,
    expect: Progress = no_progress,
) -> Inspection:
    """Look at a bundle without writing anything, whether it can be trusted or not.

    Args:
        dirs: folders to look in: the bundle's own, the medium's, or the one that holds the volumes.
        deep: read and hash every chunk too.
        progress, expect: as in `import_bundle`; used only when `deep`.

    Raises:
        NotABundle, BundlesMixed, MediumUnreadable, MalformedBundle, FilesDamaged: there is no one bundle to
            speak of. Everything else that is wrong is in `Inspection.problems`.
    """
    volumes = reader.gather(dirs)
    problems: list[OperatorError] = []
    seen = Inspection(
        bundle=volumes[0].label.bundle,
        folders=tuple(volume.path for volume in volumes),
        present=tuple(volume.label.index for volume in volumes),
        of=volumes[0].label.of,
    )
    with work.store.view() as view:
        memory = opening.remembered(view)
    small = _attempt(problems, lambda: reader.read_small(volumes))
    verified = _attempt(problems, lambda: opening.walk(volumes, memory, work))
    bundle = None
    if small is not None:
        files = small
        bundle = _attempt(problems, lambda: opening.read(volumes, files, opening.export_path(volumes, work)))
    if small is None or bundle is None:
        return replace(seen, problems=tuple(problems), bytes_free=opening.free_bytes(work))
    seen = _described(seen, bundle, verified, problems)
    return _examined(work, seen, Parts(volumes, small, bundle), problems, _Look(deep, progress, expect))


@dataclass(frozen=True)
class _Look:
    """How closely to look."""

    deep: bool
    progress: Progress
    expect: Progress


def _attempt(problems: list[OperatorError], step: Callable[[], T]) -> T | None:
    try:
        return step()
    except OperatorError as refusal:
        problems.append(refusal)
        return None


def _described(
    seen: Inspection, bundle: Bundle, verified: Verified | None, problems: list[OperatorError]
) -> Inspection:
    """Fill in what the documents say."""
    if verified is not None:
        claimed = verified
        verified = _attempt(problems, lambda: opening.believed(bundle, claimed))
    export = bundle.export
    seen = replace(
        seen,
        bundle=export.bundle,
        digest=bundle.digest,
        sequence=export.sequence,
        audience=export.audience,
        origin=export.origin,
        issued_at=export.issued_at,
        next_expected_by=export.next_expected_by,
        signed_by=_signed_by(bundle),
        documents=tuple((d.kind, d.name, d.digest) for d in export.documents if d.kind not in VERSION_KINDS),
        withdrawals=tuple((w.version, w.reason) for w in export.withdrawals),
        bytes_carried=export.size,
        bytes_assumed=sum(blob.size for blob in export.assumed),
    )
    if verified is None:
        return seen
    return replace(
        seen,
        trusted=True,
        already=verified.already,
        expires=None if verified.expires is None else rfc3339(verified.expires),
        gap=tuple(verified.gap),
        root_version=verified.root_version,
    )


def _examined(
    work: Workplace, seen: Inspection, parts: Parts, problems: list[OperatorError], look: "_Look"
) -> Inspection:
    """Hold the volumes and this site against the documents."""
    bundle = parts.bundle
    ingest = Ingest(opening.room(work, bundle), bundle, parts.sources, look.progress)
    wanted = [blob for blob in bundle.export.blobs if not opening.held(work.blobs, blob)]
    with work.store.view() as view:
        if wanted or not seen.already:
            problems += opening.preflight(work, view, parts, ingest, wanted)
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
    if look.deep:
        look.expect(sum(volume.bytes for volume in bundle.plan.volumes if volume.index in parts.sources))
        bad = damaged(bundle, parts.sources, progress=look.progress)
        if bad:
            problems.append(ChunksDamaged([str(chunk) for chunk in bad]))
    return replace(
        seen,
        items=items,
        problems=tuple(problems),
        bytes_needed=ingest.bytes_needed(wanted),
        bytes_free=opening.free_bytes(work),
    )


def _signed_by(bundle: Bundle) -> Mapping[str, tuple[str, ...]]:
    """Return the key ids whose signatures stand on the catalogue and the site's document, unchecked."""
    found: dict[str, tuple[str, ...]] = {}
    for path in sorted(bundle.small):
        if match := _SIGNED.fullmatch(path):
            data = bundle.small[path]
            opened = _attempt([], lambda data=data, path=path: open_metadata(Targets, data, name=path))  # type: ignore[misc]
            if opened is not None:
                found[match[1]] = tuple(sorted(opened.signatures))
    return MappingProxyType(found)
