"""Takes a bundle in at a site, or says what is wrong with it.

The steps of `import_bundle`. Up to step 8 nothing that anybody could use has changed; step 9 is one transaction.

 1. Lock: one import at a time in a home. A receipt may not go onto the delivered medium.
 2. Find: the volumes below the folders, all of one bundle; the small files as each volume lists them.
 3. Trust: the walk of `signing.trust` with what this site remembers. Only then are documents believed.
 4. Fit: export, releases, manifests, chunk table and plan say one and the same thing.
 5. Preflight: every missing volume, missing or short chunk, undeclared file, blob assumed and not held, version
    number that means other files here, and the bytes needed against the bytes free: all of it, before long work.
 6. Ingest: blobs into quarantine, hashed once while they are copied. Killed here, the next run goes on.
 7. Verify: blobs that were held before are hashed again; statements' signatures, documents' kinds.
 8. Scan: each new version, by this site's own scanner. A blocker is recorded; the gate refuses it, not the import.
 9. Commit: blobs get their names in the store, then one transaction makes everything visible and raises the number.
10. Clean: the quarantine folder goes, the OCI index is written anew.
11. Receipt: signed, to where the importer said.

Killed between naming blobs and the transaction, the store holds blobs that nothing names; the same command finds
them, hashes them and goes on. The medium is opened for reading only. Importing a bundle again changes nothing;
only a blob that went missing or rotten since is brought back from it.
"""

import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from pipelines import receipts
from pipelines.bundle import opening, reader
from pipelines.bundle.documents import MODELPACK, MODELPACK_CONFIG, VERSION_KINDS, Sized
from pipelines.bundle.errors import (
    ChunksDamaged,
    NotReady,
    OutputUnusable,
    ReceiptOnMedium,
    VolumeMissing,
)
from pipelines.bundle.ingest import Ingest
from pipelines.bundle.inspecting import InspectedItem, Inspection, inspect
from pipelines.bundle.landing import Landed, land
from pipelines.bundle.opening import Parts
from pipelines.bundle.reader import Bundle, VolumeFolder
from pipelines.bundle.writer import workers
from pipelines.intake.record import republish_index
from pipelines.receipts import Item, Receipt
from pipelines.workplace import Workplace
from registry.blobs import BlobStore, Progress, no_progress
from registry.errors import BlobDamaged
from signing.digests import file_sha256
from signing.durable import write_durably
from signing.errors import OperatorError
from signing.times import rfc3339
from signing.trust import Verified

__all__ = ["Imported", "InspectedItem", "Inspection", "import_bundle", "inspect"]


@dataclass(frozen=True)
class Imported:
    """What an import came to."""

    bundle: str
    sequence: int
    digest: str  # SHA-256 of the export document
    already: bool  # imported before: nothing changed
    versions: tuple[Item, ...]
    gap: tuple[int, ...]  # numbers of bundles that never arrived here
    bytes: int  # of the blobs that were copied
    withdrawals: int  # versions that may not serve any more, told by this bundle
    receipt: Path | None
    # (kind, name, digest) of documents that came under a name that means another one here
    beside: tuple[tuple[str, str, str], ...]


def import_bundle(
    work: Workplace,
    dirs: Sequence[Path],
    *,
    receipt_to: Path | None = None,
    collect: bool = False,
    progress: Progress = no_progress,
    expect: Progress = no_progress,
) -> Imported:
    """Take a bundle in; the steps are at the top of this module.

    Args:
        dirs: folders to look in: the bundle's own, the medium's, or the one that holds the volumes.
        receipt_to: a file, or a folder to write `receipt-<site>-<number>.json` in; None writes no receipt.
        collect: with one drive and many media: copy what the given volumes hold before saying which are missing.
        progress: called with the bytes just done, from several threads.
        expect: called once, before any progress, with the bytes that there are.

    Raises:
        BundleRefused: see `pipelines.bundle.errors`; several at once as `NotReady`.
        BundleUntrusted, SiteNotReady: see `signing.refusals`.
        VersionConflict, SpaceShort, BlobDamaged, HomeBusy: see `registry.errors`, `registry.home`.
    """
    with work.home.busy("import"):  # step 1
        volumes = reader.gather(dirs)  # step 2
        place = None if receipt_to is None else _receipt_place(work, receipt_to, dirs, volumes)
        small = reader.read_small(volumes)
        with work.store.view() as view:
            memory = opening.remembered(view)
        verified = opening.walk(volumes, memory, work)  # step 3
        bundle = opening.read(volumes, small, verified.export_path)  # step 4
        opening.believed(bundle, verified)
        job = _Job(work, Parts(volumes, small, bundle), verified, collect, progress, expect)
        landed, copied = job.run()
        shutil.rmtree(opening.room(work, bundle), ignore_errors=True)  # step 10
        republish_index(work)
        receipt = _receipt(work, bundle, verified, landed)
        written = None
        if place is not None:  # step 11
            written = _write_receipt(place, receipts.write(receipt, work), receipt)
    return Imported(
        bundle=bundle.export.bundle,
        sequence=bundle.export.sequence,
        digest=bundle.digest,
        already=verified.already,
        versions=receipt.items,
        gap=tuple(verified.gap),
        bytes=copied,
        withdrawals=landed.withdrawals,
        receipt=written,
        beside=_beside(work, bundle),
    )


@dataclass(frozen=True)
class _Job:
    """Steps 5 to 9."""

    work: Workplace
    parts: Parts
    verified: Verified
    collect: bool
    progress: Progress
    expect: Progress

    def run(self) -> tuple[Landed, int]:
        """Return what became visible and the bytes copied."""
        work, bundle = self.work, self.parts.bundle
        room = opening.room(work, bundle)
        ingest = Ingest(room, bundle, self.parts.sources, self.progress)
        carried = bundle.export.blobs
        named = [blob for blob in carried if opening.held(work.blobs, blob)]
        absent = [blob for blob in carried if blob not in set(named)]
        if absent or not self.verified.already:
            self._preflight(ingest, absent)  # step 5
        assumed = [] if self.verified.already else list(bundle.export.assumed)
        self.expect(sum(blob.size for blob in (*carried, *assumed)))
        rotten = _rotten(
            work.blobs, [*named, *assumed], self.progress
        )  # step 7, first: it decides what to copy
        for blob in assumed:
            if blob in rotten:
                raise BlobDamaged(
                    str(work.blobs.path(blob.sha256)), expected=blob.sha256, actual="other bytes"
                )
        wanted = [*absent, *(blob for blob in named if blob in rotten)]
        if wanted:
            room.mkdir(mode=0o700, exist_ok=True)
            self._copy(ingest, wanted)  # step 6
        if self.verified.already:
            _adopt(work.blobs, ingest, wanted)
            return Landed(frozenset(), 0), sum(blob.size for blob in wanted)
        fresh = {blob.sha256 for blob in wanted}
        landing = land(  # steps 7 and 8
            work,
            bundle,
            self.verified,
            metadata=opening.pack_metadata(self.verified.new_metadata),
            path_of=lambda sha256: ingest.whole(sha256) if sha256 in fresh else work.blobs.path(sha256),
        )
        _adopt(work.blobs, ingest, wanted)  # step 9
        for document in bundle.export.documents:
            if document.kind in (MODELPACK, MODELPACK_CONFIG):
                work.blobs.put(bundle.document(document.digest))
        return landing.commit(), sum(blob.size for blob in wanted)

    def _preflight(self, ingest: Ingest, wanted: Sequence[Sized]) -> None:
        with self.work.store.view() as view:
            problems = opening.preflight(self.work, view, self.parts, ingest, wanted)
        if self.collect:
            problems = [problem for problem in problems if not isinstance(problem, VolumeMissing)]
        _raise(problems)

    def _copy(self, ingest: Ingest, wanted: Sequence[Sized]) -> None:
        bad = ingest.run(wanted)
        plan = self.parts.bundle.plan
        missing = sorted({chunk.volume for chunk in bad if chunk.absent})
        problems: list[OperatorError] = []
        if wrong := [str(chunk) for chunk in bad if not chunk.absent]:
            problems.append(ChunksDamaged(wrong))
        if missing:
            problems.append(VolumeMissing(plan.bundle, missing=missing, of=len(plan.volumes)))
        _raise(problems)


def _raise(problems: Sequence[OperatorError]) -> None:
    """One problem is raised as itself, several together."""
    if len(problems) == 1:
        raise problems[0]
    if problems:
        raise NotReady(problems)


def _rotten(blobs: BlobStore, held: Sequence[Sized], progress: Progress) -> set[Sized]:
    """Hash blobs that the store has; return those that are not what their names promise."""

    def wrong(blob: Sized) -> bool:
        actual = file_sha256(blobs.path(blob.sha256))
        progress(blob.size)
        return actual != blob.sha256

    with ThreadPoolExecutor(workers(), thread_name_prefix="held") as pool:
        return {blob for blob, bad in zip(held, pool.map(wrong, held), strict=True) if bad}


def _adopt(blobs: BlobStore, ingest: Ingest, wanted: Sequence[Sized]) -> None:
    for blob in wanted:
        blobs.adopt(ingest.whole(blob.sha256), blob.sha256)


def _beside(work: Workplace, bundle: Bundle) -> tuple[tuple[str, str, str], ...]:
    """Documents that came under a name that means another one here: they are held, and replace nothing."""
    shipped = [document for document in bundle.export.documents if document.kind not in VERSION_KINDS]
    with work.store.view() as view:
        return tuple(
            (document.kind, document.name, document.digest)
            for document in shipped
            if view.meaning(document.kind, document.name) != document.digest
        )


def _receipt_place(
    work: Workplace, receipt_to: Path, dirs: Sequence[Path], volumes: Sequence[VolumeFolder]
) -> Path:
    """Return where the receipt goes.

    Raises:
        ReceiptOnMedium: below one of the folders, beside the bundle, or on the file system that it came on.
        OutputUnusable: there is no such folder.
    """
    place = Path(os.path.realpath(receipt_to))
    folder = place if place.is_dir() else place.parent
    if not folder.is_dir():
        raise OutputUnusable(str(receipt_to), "its folder is not there")
    media = [*(Path(os.path.realpath(one)) for one in dirs), *(volume.path.parent for volume in volumes)]
    at_home = work.home.path.stat().st_dev
    for medium in media:
        device = medium.stat().st_dev
        if place.is_relative_to(medium) or (device == folder.stat().st_dev and device != at_home):
            raise ReceiptOnMedium(str(receipt_to), medium=str(medium))
    return place


def _receipt(work: Workplace, bundle: Bundle, verified: Verified, landed: Landed) -> Receipt:
    with work.store.view() as view:
        head = view.head()
        items = tuple(
            Item(
                model=release.model,
                ordinal=release.ordinal,
                digest=release.digest,
                outcome="imported" if release.digest in landed.new else "held",
                scan=next((row.outcome for row in reversed(view.reports(release.digest, "scan"))), "NONE"),
            )
            for release in bundle.releases
        )
    return Receipt(
        site=work.home.name,
        origin=bundle.export.origin,
        bundle=bundle.export.bundle,
        sequence=bundle.export.sequence,
        export=bundle.digest,
        items=items,
        holds=frozenset(work.blobs.held()),
        root_version=verified.root_version,
        log_size=0 if head is None else head.size,
        log_root=None if head is None else head.root,
        made_at=rfc3339(work.now),
    )


def _write_receipt(place: Path, data: bytes, receipt: Receipt) -> Path:
    if place.is_dir():
        place /= f"receipt-{receipt.site}-{receipt.sequence}.json"
    try:
        write_durably(place, data)
    except OSError as exc:
        raise OutputUnusable(str(place), f"cannot be written ({exc.strerror})") from exc
    return place
