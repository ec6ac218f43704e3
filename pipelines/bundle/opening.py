"""Opens a bundle at a site: what this site remembers, which documents to believe, what stands in the way."""

import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from pipelines.bundle import checks, erasures, reader
from pipelines.bundle.documents import Release, Sized
from pipelines.bundle.errors import (
    BaseMissing,
    FilesDamaged,
    FormatTooNew,
    MalformedBundle,
    PlanUntrusted,
)
from pipelines.bundle.history import forks
from pipelines.bundle.ingest import Ingest
from pipelines.bundle.landing import conflicts
from pipelines.bundle.lanes import ParitySet
from pipelines.bundle.reader import Bundle, SmallFiles, VolumeFolder
from pipelines.bundle.shelf import Shelf, Volume, shelf_of
from pipelines.errors import BundleRefused
from pipelines.paper import timestamp_of
from pipelines.workplace import Workplace
from registry.blobs import BlobStore, Progress, no_progress
from registry.entities import Import
from registry.errors import SpaceShort
from registry.views import View
from signing import trust
from signing.canonical import canonical_bytes, parse
from signing.errors import OperatorError
from signing.repository import TIMESTAMP_FILE
from signing.roots import PEOPLE_PATH
from signing.times import from_rfc3339
from signing.trust import Memory, Verified
from signing.walk import Place

_MARGIN = 64 << 20  # bytes that an import leaves free
_MAX_MEMORY = 64 << 20  # bytes of remembered trust metadata
_UPSTREAM = "upstream/"  # before the roles of the origin behind ours, in the row of an import


@dataclass(frozen=True)
class Opened:
    """A bundle whose documents fit together, the volumes of it that are here, and what trust says of it."""

    bundle: Bundle
    volumes: tuple[Volume, ...]
    trusted: Verified | None  # None when it was only looked at
    notes: tuple[str, ...]  # damage that other volumes make good

    @property
    def verified(self) -> Verified:
        """What may be believed. Only for a bundle of `open_bundle`."""
        assert self.trusted is not None
        return self.trusted

    @cached_property
    def parity_sets(self) -> list[ParitySet]:
        """The parity sets of every plan that is here."""
        sizes = {name: chunk.size for name, chunk in self.bundle.chunks.items()}
        plans = {volume.folder.label.plan: volume.plan for volume in self.volumes}
        return [one for plan in plans.values() for one in plan.parity_sets(sizes)]

    def lost(self, needed: Collection[str], shelf: Shelf) -> frozenset[str]:
        """Return the needed chunks that are nowhere here and that parity cannot rebuild, judged by listing alone."""
        absent = {chunk for chunk in needed if not shelf.has(chunk)}
        if not absent or not self.parity_sets:
            return frozenset(absent)
        chunks = {chunk for chunk in self.bundle.chunks if not shelf.has(chunk)}
        pieces = {p for one in self.parity_sets for p in (*one.p, *one.q) if not shelf.has(p)}
        rebuildable, _lost = erasures.can_rebuild(self.parity_sets, chunks | pieces, bad_pieces=pieces)
        return frozenset(absent - rebuildable)


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


def open_bundle(
    folders: Sequence[VolumeFolder], memory: Memory, work: Workplace, *, timestamp: bytes | None = None
) -> Opened:
    """Return the bundle, believed.

    The documents are repeated on every volume. The first volume whose documents hold together and are vouched for
    decides; where another one differs or is damaged, it is refused, unless the bundle was made to survive that.

    Args:
        timestamp: a fresh one that came by another way, as a file or as the lines of `pipelines.paper`.

    Raises:
        what `signing.trust.verify` and `reader.interpret` raise; FilesDamaged: every small file that is not right.
    """
    smalls = [reader.read_small(folder) for folder in folders]
    sound = [small for small in smalls if not small.problems]
    if not sound:
        raise FilesDamaged([problem for small in smalls for problem in small.problems])
    lead, bundle, verified = _believed(sound, memory, work, timestamp)
    opened = _fitted(smalls, lead, bundle, verified)
    other = [
        f"number {sent.sequence} was another bundle here than {bundle.export.origin} says now: tell the security officer"
        for sent in forks(bundle.history, memory.accepted)
    ]
    return replace(opened, notes=(*opened.notes, *other))


def open_untrusted(folders: Sequence[VolumeFolder], work: Workplace) -> Opened:
    """Return the bundle as its documents describe it, whoever wrote them: to look at, and for nothing else.

    Raises: as `open_bundle`, but for trust.
    """
    smalls = [reader.read_small(folder) for folder in folders]
    lead = next((small for small in smalls if not small.problems), smalls[0])
    path = trust.find_export(lead.volume.path, work.home.name)
    return _fitted(smalls, lead, reader.interpret(lead.read_shared(), path), None)


def _fitted(
    smalls: Sequence[SmallFiles], lead: SmallFiles, bundle: Bundle, verified: Verified | None
) -> Opened:
    """Hold every volume against the one whose documents count."""
    volumes, notes, forgiving = [], list[str](), False
    plans = reader.Plans(bundle)
    refusal: BundleRefused | None = None
    for small in smalls:
        wrong = [*small.problems, *([] if small.problems else reader.differences(small, lead))]
        notes += wrong
        if wrong:
            refusal = refusal or small.volume.refusal
            continue
        try:
            plan = plans.read(small)
        except (MalformedBundle, FormatTooNew, PlanUntrusted) as exc:
            notes.append(str(exc))
            refusal = refusal or exc
            continue
        forgiving |= bool(plan.parity) or plan.repairs
        volume = Volume(small.volume, small, plan)
        notes += checks.wrong_sums(bundle, volume)
        volumes.append(volume)
    if notes and not forgiving:
        raise refusal if refusal is not None and len(notes) == 1 else FilesDamaged(notes)
    mended = [f"{note}; that volume counts as lost, and another one has it right" for note in notes]
    return Opened(bundle, tuple(volumes), verified, tuple(mended))


def _believed(
    sound: Sequence[SmallFiles], memory: Memory, work: Workplace, timestamp: bytes | None
) -> tuple[SmallFiles, Bundle, Verified]:
    first: OperatorError | None = None
    for small in sound:
        try:
            fresh = None if timestamp is None else _fresh(timestamp, small)
            verified = trust.verify(
                small.volume.path, memory, audience=work.home.name, now=work.now, timestamp=fresh
            )
            bundle = reader.interpret(small.read_shared(), verified.export_path)
            return small, bundle, _same(bundle, verified)
        except OperatorError as exc:
            first = first or exc
    assert first is not None
    raise first


def _fresh(given: bytes, small: SmallFiles) -> bytes:
    own = Place(small.volume.path).read(TIMESTAMP_FILE, "timestamp")
    return timestamp_of(given, own)


def _same(bundle: Bundle, verified: Verified) -> Verified:
    """Return `verified` if what was fitted together is, byte for byte, what the trust walk vouched for.

    Raises:
        MalformedBundle: it is not; the medium changed while it was read.
    """
    if bundle.small[verified.export_path] != verified.export_bytes or bundle.digest != verified.export_sha256:
        raise MalformedBundle("changed while it was read", at=verified.export_path)
    for release in bundle.releases:
        if verified.releases.get(release.path) != bundle.small[release.path]:
            raise MalformedBundle("is not the document that the catalogue signs for", at=release.path)
    if verified.people is not None and verified.people != bundle.small.get(PEOPLE_PATH):
        raise MalformedBundle("is not the list of people that targets signs for", at=PEOPLE_PATH)
    return verified


def held(blobs: BlobStore, blob: Sized) -> bool:
    """Say whether the store has the blob, by name and size."""
    return blobs.has(blob.sha256) and blobs.size(blob.sha256) == blob.size


def open_releases(view: View, bundle: Bundle) -> list[Release]:
    """Return the versions of the bundle that are not visible here yet."""
    return [release for release in bundle.releases if view.version_by_digest(release.digest) is None]


def preflight(
    work: Workplace, view: View, opened: Opened, ingest: Ingest, wanted: Sequence[Sized]
) -> list[OperatorError]:
    """Return everything that stands in the way of an import, before any byte is copied.

    Args:
        wanted: the blobs that have to be made.
    """
    bundle, export = opened.bundle, opened.bundle.export
    needed = ingest.needed(wanted)
    found: list[OperatorError] = list(
        checks.problems_of(bundle, opened.volumes, lost=opened.lost(needed, ingest.shelf))
    )
    absent = [blob.sha256 for blob in (*export.assumed, *export.bases) if not held(work.blobs, blob)]
    if absent:
        found.append(BaseMissing(list(dict.fromkeys(absent))))
    found += conflicts(view, bundle)
    if any(row.bundle == export.bundle and row.sequence != export.sequence for row in view.imports()):
        found.append(
            MalformedBundle(f"another bundle was called {export.bundle}", at=f"{export.path}: bundle")
        )
    rebuilt = sum(bundle.chunks[chunk].size for chunk in needed if not ingest.shelf.has(chunk))
    space = ingest.bytes_needed(wanted) + rebuilt
    free = free_bytes(work)
    if space and space + _MARGIN > free:
        found.append(SpaceShort(str(work.home.quarantine), needed=space + _MARGIN, free=free))
    return found


def free_bytes(work: Workplace) -> int:
    """Return the bytes free where the quarantine and the store are."""
    return shutil.disk_usage(work.home.quarantine).free


def room(work: Workplace, bundle: Bundle) -> Path:
    """Return the bundle's folder in quarantine, whether it is there or not."""
    return work.home.quarantine / bundle.digest


def ingest_of(
    work: Workplace, bundle: Bundle, volumes: Sequence[Volume], progress: Progress = no_progress
) -> Ingest:
    """Return the way into quarantine for what is on these volumes and was collected before."""
    place = room(work, bundle)
    return Ingest(place, bundle, shelf_of(bundle, volumes, place), work.blobs.path, progress)
