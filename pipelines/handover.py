"""The last steps of a bundle, once its documents are signed: written to the volumes, kept, recorded, shown.

Steps 8 to 10 of `ship.py`, apart from it because a bundle whose officers sign elsewhere takes them later, in another
process (`finishing.py`). Both take them here, so that a site cannot tell the one from the other.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipelines import witness
from pipelines.bundle import plan
from pipelines.bundle.cargo import signed_paths
from pipelines.bundle.documents import MAX_EXPORT, Export, Release, decode_export, export_path
from pipelines.bundle.heads import Heads
from pipelines.bundle.office import keep, office
from pipelines.bundle.plan import Plan
from pipelines.bundle.reader import PLAN, PLAN_SIGNATURE
from pipelines.bundle.tables import Table
from pipelines.bundle.transfers import export_statement
from pipelines.bundle.volumes import Layout, write_documents
from pipelines.evidence import signed_statement
from pipelines.workplace import Workplace
from registry.audit import EventKind
from registry.entities import Export as ExportRow
from registry.views import View
from signing import checkpoint
from signing.digests import sha256_hex
from signing.durable import write_durably
from signing.envelope import sign
from signing.folder import read_inside
from signing.repository import TrustState
from signing.roots import PEOPLE_PATH, site_role
from signing.times import rfc3339
from signing.walk import read_target


@dataclass(frozen=True)
class Shipped:
    """A bundle that has been made."""

    bundle: str
    sequence: int
    digest: str  # SHA-256 of the export document
    site: str
    folders: tuple[Path, ...]  # one per volume, as they have to be carried
    parity: tuple[int, ...]  # the volumes that hold parity alone
    bytes: int  # of all volumes together
    stored: int  # bytes of chunks
    carried: int  # bytes of blobs in it
    left_out: int  # bytes of blobs that the site holds already
    versions: tuple[str, ...]  # namespace/name@ordinal
    notes: tuple[str, ...]  # what a person should know, in plain words


@dataclass(frozen=True)
class Packed:
    """A bundle whose chunks lie divided in a hidden folder, with every document but those that its signing makes."""

    layout: Layout
    table: Table
    export: Export
    body: bytes  # of the export document
    releases: tuple[Release, ...]
    shared: Mapping[str, bytes]  # path to bytes of what all volumes share, trust metadata and people apart
    notes: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """SHA-256 of the export document."""
        return sha256_hex(self.body)

    @property
    def plan(self) -> Plan:
        """Where everything lies."""
        return self.layout.plan(self.export.bundle, self.digest)


def write(work: Workplace, packed: Packed, published: TrustState) -> int:
    """Step 8: write the small files of every volume, keep a copy, make it durable. Returns the bytes of all volumes."""
    made, site = packed.plan, packed.export.audience
    shared = {
        **packed.shared,
        **{f"trust/{name}": data for name, data in published.files(site=site).items()},
        **people_of(work, published),
    }
    data = plan.encode_plan(made)
    signature = sign(data, plan.PLAN_TYPE, work.station).to_json()
    chunks = {chunk.chunk: chunk for chunk in packed.table.chunks}
    written = write_documents(packed.layout, made, signature, chunks, shared)
    mine = {**shared, PLAN: data, PLAN_SIGNATURE: signature}
    keep(office(work.home, site, made.bundle), mine)
    return written + sum(volume.bytes for volume in made.volumes)


def record(work: Workplace, packed: Packed, *, size: int) -> None:
    """Step 9: record the export and its event in one transaction. `size` is in bytes, of all volumes."""
    export = packed.export
    said = export_statement(work, export, packed.digest, volumes=len(packed.layout.volumes), size=size)
    row = ExportRow(
        site=export.audience,
        sequence=export.sequence,
        bundle=export.bundle,
        digest=packed.digest,
        body=packed.body.decode(),
        made_at=rfc3339(work.now),
        actor=work.actor,
    )
    note = {
        "site": export.audience,
        "bundle": export.bundle,
        "versions": [release.digest for release in packed.releases],
        "receipt": export.receipt,
    }
    with work.store.change(actor=work.actor, now=work.now) as change:
        change.record(EventKind.BUNDLE_MADE, packed.digest, row, signed_statement(work, said), note=note)


def shipped(packed: Packed, *, folders: tuple[Path, ...], size: int) -> Shipped:
    """Return what was made. `size` is in bytes, of all volumes."""
    export = packed.export
    return Shipped(
        bundle=export.bundle,
        sequence=export.sequence,
        digest=packed.digest,
        site=export.audience,
        folders=folders,
        parity=tuple(v.index for v in packed.layout.volumes if v.parity and not v.chunks),
        bytes=size,
        stored=sum(chunk.size for chunk in packed.table.chunks),
        carried=export.size,
        left_out=sum(blob.size for blob in export.assumed),
        versions=tuple(f"{release.model}@{release.ordinal}" for release in packed.releases),
        notes=packed.notes,
    )


def keep_published(work: Workplace, documents: Mapping[str, bytes]) -> None:
    """Keep documents that never change once published beside the trust metadata: the next bundle needs their bytes."""
    for path, data in documents.items():
        place = work.home.trust / path
        if not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            write_durably(place, data)


def people_of(work: Workplace, state: TrustState) -> dict[str, bytes]:
    """Return path to bytes of the list of people, if the targets role signs for one.

    Raises:
        TrustFileMissing, MetadataTampered: the one that is kept here is not the one that was signed.
    """
    listed = state.targets.targets.get(PEOPLE_PATH)
    return {} if listed is None else {PEOPLE_PATH: read_target(work.home.trust, PEOPLE_PATH, listed)}


def next_number(view: View, state: TrustState, site: str) -> tuple[int, str | None]:
    """Return the number of the next bundle for a site, and the digest of the export before it.

    One above every export that was recorded or signed: a number that was signed is never signed again.
    """
    made = {row.sequence: row.digest for row in view.exports(site)}
    made |= numbers_signed(state, site)
    last = max(made, default=0)
    return last + 1, made.get(last)


def numbers_signed(state: TrustState, site: str) -> dict[int, str]:
    """Return number to digest of every export that the site's role signs for."""
    prefix = export_path(site, 0).removesuffix("0.json")
    signed = signed_paths(state, site_role(site))
    return {int(path.removeprefix(prefix).removesuffix(".json")): digest for path, digest in signed.items()}


def told_heads(work: Workplace, view: View, state: TrustState, site: str) -> Heads | None:
    """Return what the next bundle for a site tells of this home's log, proved from every head that the site may hold."""
    known = [*witness.told_site(view, site), *_unfinished(work, view, state, site)]
    return witness.offer(view, to=site, known=known)


def _unfinished(work: Workplace, view: View, state: TrustState, site: str) -> list[int]:
    """Return the sizes of the heads in bundles that a ceremony published and that are not recorded yet."""
    recorded = {row.digest for row in view.exports(site)}
    sizes = []
    for number, digest in numbers_signed(state, site).items():
        path = export_path(site, number)
        if digest in recorded or not (work.home.trust / path).exists():
            continue
        log = decode_export(read_inside(work.home.trust, path, max_bytes=MAX_EXPORT), at=path).log
        if log is not None:
            sizes.append(checkpoint.parse(log.checkpoint).size)
    return sizes
