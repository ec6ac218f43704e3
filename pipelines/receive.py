"""Takes a bundle in at a site, or says what is wrong with it.

The steps of `import_bundle`. Up to step 9 nothing that anybody could use has changed; step 9 is one transaction.

 1. Lock: one import at a time in a home. A receipt may not go onto the delivered medium.
 2. Find: the volumes below the folders, all of one bundle; the small files as each volume lists them.
 3. Trust: the walk of `signing.trust` with what this site remembers. Only then are documents believed.
 4. Fit: export, releases, manifests, chunk table, history and plans say one and the same thing.
 5. Preflight: every volume or chunk that is missing and that parity cannot bring back, undeclared files, held blobs
    that are needed and not here, a version number that means other files here, and the bytes needed against the
    bytes free: all of it, before long work.
 6. Ingest: held blobs that others are made from are hashed; blobs are made in quarantine. What a medium does not
    give is rebuilt from parity. Killed here, the next run goes on.
 7. Verify: blobs that were held before are hashed again; statements' signatures, documents' kinds.
 8. Scan: each new version, by this site's own scanner. A blocker is recorded; the gate refuses it, not the import.
 9. Commit: blobs get their names in the store, then one transaction makes everything visible that is whole, and
    raises the number. A version whose files are not all here stays invisible; the same command finishes it.
10. Clean: when nothing is open any more, the quarantine folder goes; the OCI index is written anew. The origin's log, as
    the bundle tells of it, is held against what was seen of it before.
11. Receipt: signed, to where the importer said.

Killed between naming blobs and the transaction, the store holds blobs that nothing names; the same command finds
them, hashes them and goes on. The medium is opened for reading only. Importing a bundle again changes nothing;
only a blob that went missing or rotten since is brought back from it.
"""

import os
import shutil
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from pipelines import answer, receipts, relay
from pipelines.bundle import opening, reader
from pipelines.bundle.checks import missing_volumes, volume_missing
from pipelines.bundle.crew import crew_size
from pipelines.bundle.documents import MODELPACK, MODELPACK_CONFIG, VERSION_KINDS, Release, Sized
from pipelines.bundle.errors import (
    ChunksDamaged,
    NotReady,
    OutputUnusable,
    PartlyImported,
    ReceiptOnMedium,
    VolumeMissing,
)
from pipelines.bundle.history import Missing, gaps
from pipelines.bundle.ingest import BadChunk, Ingest
from pipelines.bundle.inspecting import InspectedItem, Inspection, inspect
from pipelines.bundle.landing import Landed, land
from pipelines.bundle.opening import Opened
from pipelines.bundle.quarantine import collect, rebuild
from pipelines.bundle.reader import Bundle, VolumeFolder
from pipelines.intake.record import republish_index
from pipelines.people_carried import Taken
from pipelines.receipts import Item, Receipt
from pipelines.witness import OWED_BY_ORIGIN, Other, Witnessed, take
from pipelines.workplace import Workplace
from registry.blobs import BlobStore, Progress, no_progress
from registry.errors import BlobDamaged
from signing.canonical import pretty_bytes
from signing.digests import file_sha256
from signing.durable import write_durably
from signing.errors import OperatorError
from signing.keys import public_key_from_json

__all__ = ["Imported", "InspectedItem", "Inspection", "import_bundle", "inspect"]


@dataclass(frozen=True)
class Imported:
    """What an import came to."""

    bundle: str
    sequence: int
    digest: str  # SHA-256 of the export document
    already: bool  # imported before: nothing changed
    late: bool  # a later bundle was imported before this one
    versions: tuple[Item, ...]
    missing: tuple[Missing, ...]  # bundles before the newest one that never arrived here
    bytes: int  # of the blobs that were made
    rebuilt: int  # chunks that parity brought back
    notes: tuple[str, ...]  # damage that other volumes or parity made good
    withdrawals: int  # versions that may not serve any more, told by this bundle
    receipt: Path | None
    # (kind, name, digest) of documents that came under a name that means another one here
    beside: tuple[tuple[str, str, str], ...]
    people: Taken | None = None  # what the list of people that came with it changed here
    witnessed: Witnessed | None = (
        None  # what the origin's log was found to be; None: it says nothing new of it
    )


def import_bundle(
    work: Workplace,
    dirs: Sequence[Path],
    *,
    receipt_to: Path | None = None,
    collecting: bool = False,
    timestamp: bytes | None = None,
    progress: Progress = no_progress,
    expect: Progress = no_progress,
) -> Imported:
    """Take a bundle in; the steps are at the top of this module.

    Args:
        dirs: folders to look in: the bundle's own, the medium's, or the one that holds the volumes.
        receipt_to: a file, or a folder to write `receipt-<site>-<number>.json` in; None writes no receipt.
        collecting: with one drive and many media: copy what the given volumes hold into quarantine before saying
            which are missing.
        timestamp: a fresh one for a bundle whose own has run out, as a file or typed from paper.
        progress: called with the bytes just done, from several threads.
        expect: called once, before any progress, with the bytes that there are.

    Raises:
        BundleRefused: see `pipelines.bundle.errors`; several at once as `NotReady`. After `PartlyImported` what is
            whole is visible.
        BundleUntrusted, SiteNotReady: see `signing.refusals`.
        VersionConflict, SpaceShort, BlobDamaged, HomeBusy: see `registry.errors`, `registry.home`.
    """
    with work.home.busy("import"):  # step 1
        folders = reader.gather(dirs)  # step 2
        place = None if receipt_to is None else _receipt_place(work, receipt_to, dirs, folders)
        with work.store.view() as view:
            memory = opening.remembered(view)
        opened = opening.open_bundle(folders, memory, work, timestamp=timestamp)  # steps 3 and 4
        job = _Job(work, opened, collecting, progress, expect)
        done = job.run()
        republish_index(work)
        if done.problems:
            raise (
                _partly(work, opened.bundle, done) if done.landed.any or done.before else _one(done.problems)
            )
        shutil.rmtree(opening.room(work, opened.bundle), ignore_errors=True)  # step 10
        witnessed = _witness(work, opened)
        receipt = _receipt(work, opened.bundle)
        written = None
        if place is not None:  # step 11
            written = _write_receipt(place, receipts.write(receipt, work), receipt)
    return Imported(
        bundle=opened.bundle.export.bundle,
        sequence=opened.bundle.export.sequence,
        digest=opened.bundle.digest,
        already=opened.verified.already and not done.landed.any,
        late=opened.verified.late,
        versions=receipt.items,
        missing=_missing(work, opened.bundle),
        bytes=done.copied,
        rebuilt=done.rebuilt,
        notes=opened.notes,
        withdrawals=done.landed.withdrawals,
        receipt=written,
        witnessed=witnessed,
        beside=_beside(work, opened.bundle),
        people=done.landed.people,
    )


def _witness(work: Workplace, opened: Opened) -> Witnessed | None:
    """Look at the origin's log as the bundle tells of it. What it was found to be holds nothing back."""
    export, verified = opened.bundle.export, opened.verified
    if export.log is None:
        return None
    origin = Other(export.origin, public_key_from_json(pretty_bytes(dict(export.packer))))
    with work.store.change(actor=work.actor, now=work.now) as change:
        brought = {"bundle": export.bundle, "sequence": export.sequence}
        late = verified.late or verified.already
        return take(change, work, origin, export.log, brought=brought, late=late, owed=OWED_BY_ORIGIN)


@dataclass(frozen=True)
class _Done:
    """What steps 5 to 9 came to."""

    landed: Landed
    copied: int = 0
    rebuilt: int = 0
    problems: tuple[OperatorError, ...] = ()  # why something stays open
    before: bool = False  # something of the bundle came in with an earlier run


@dataclass(frozen=True)
class _Job:
    """Steps 5 to 9."""

    work: Workplace
    opened: Opened
    collecting: bool
    progress: Progress
    expect: Progress

    def run(self) -> _Done:
        """Make what can be made and land what is whole."""
        work, bundle, verified = self.work, self.opened.bundle, self.opened.verified
        with work.store.view() as view:
            releases = opening.open_releases(view, bundle)
        if releases and verified.outdated is not None:
            raise verified.outdated
        first = not verified.already
        carried = bundle.export.blobs
        named = [blob for blob in carried if opening.held(work.blobs, blob)]
        absent = [blob for blob in carried if not opening.held(work.blobs, blob)]
        ingest = opening.ingest_of(work, bundle, self.opened.volumes, self.progress)
        if absent or first or releases:
            self._preflight(ingest, absent)  # step 5
        rotten = self._rotten([*named, *self._builds_on(absent, releases, first=first)])  # of steps 6 and 7
        mending = [blob for blob in named if blob in rotten]
        if mending:
            self._demand_bases(ingest, mending)
        wanted = [*absent, *mending]
        bad, rebuilt = self._make(ingest, wanted) if wanted else ([], 0)  # step 6
        made = [blob for blob in wanted if ingest.done(blob)]
        if not first and not releases:
            _adopt(work.blobs, ingest, made)
            return _Done(Landed(frozenset(), 0), _bytes(made), rebuilt, self._problems(bad))
        whole = self._whole(releases, unmade={blob.sha256 for blob in wanted} - {b.sha256 for b in made})
        if bad and not whole and not (first and self._news()):
            return _Done(Landed(frozenset(), 0), problems=self._problems(bad), before=not first)
        landed = self._land(ingest, made, whole, first=first)
        return _Done(landed, _bytes(made), rebuilt, self._problems(bad))

    def _demand_bases(self, ingest: Ingest, mending: Sequence[Sized]) -> None:
        """Held blobs that are made anew are built on others: these must be here, and what their names promise."""
        self._preflight(ingest, mending)
        self._refuse(_rotten(self.work.blobs, self._builds_on(mending, (), first=False), no_progress))

    def _builds_on(self, absent: Sequence[Sized], releases: Sequence[Release], *, first: bool) -> list[Sized]:
        """Held blobs that this run relies on: they are hashed before."""
        export = self.opened.bundle.export
        assumed = export.assumed if first or releases else ()
        used = {
            part.base for blob in absent for part in self.opened.bundle.table.blobs[blob.sha256] if part.base
        }
        return list(dict.fromkeys([*assumed, *(blob for blob in export.bases if blob.sha256 in used)]))

    def _rotten(self, held: Sequence[Sized]) -> set[Sized]:
        """Hash held blobs. Returns carried ones that are not what their names promise; any other one is refused."""
        carried = set(self.opened.bundle.export.blobs)
        self.expect(_bytes(self.opened.bundle.export.blobs) + _bytes([b for b in held if b not in carried]))
        rotten = _rotten(self.work.blobs, held, self.progress)
        self._refuse(rotten - carried)
        return rotten

    def _refuse(self, rotten: Collection[Sized]) -> None:
        for blob in rotten:
            path = str(self.work.blobs.path(blob.sha256))
            raise BlobDamaged(path, expected=blob.sha256, actual="other bytes")

    def _preflight(self, ingest: Ingest, wanted: Sequence[Sized]) -> None:
        with self.work.store.view() as view:
            problems = opening.preflight(self.work, view, self.opened, ingest, wanted)
        if self.collecting:
            problems = [problem for problem in problems if not isinstance(problem, VolumeMissing)]
        if problems:
            raise _one(problems)

    def _make(self, ingest: Ingest, wanted: Sequence[Sized]) -> tuple[list[BadChunk], int]:
        """Step 6. Returns what could not be had, and how many chunks parity brought back."""
        opened = self.opened
        ingest.room.mkdir(mode=0o700, exist_ok=True)
        needed = ingest.needed(wanted)
        if self.collecting and opened.lost(needed, ingest.shelf):
            collect(opened, ingest, needed)
            ingest = opening.ingest_of(self.work, opened.bundle, opened.volumes, self.progress)
        bad = ingest.run(wanted)
        if not bad or not opened.parity_sets:
            return bad, 0
        rebuilt = rebuild(opened, ingest, [one.chunk for one in bad])
        if not rebuilt:
            return bad, 0
        again = opening.ingest_of(self.work, opened.bundle, opened.volumes, self.progress)
        return again.run([blob for blob in wanted if not ingest.done(blob)]), len(rebuilt)

    def _whole(self, releases: Sequence[Release], *, unmade: Collection[str]) -> list[Release]:
        manifests = self.opened.bundle.manifests
        return [
            release
            for release in releases
            if not any(entry.sha256 in unmade for entry in manifests[release.digest].files)
        ]

    def _news(self) -> bool:
        """Say whether the bundle withdraws something that may still serve here: that wins over everything."""
        with self.work.store.view() as view:
            return any(
                view.withdrawal(gone.version) is None for gone in self.opened.bundle.export.withdrawals
            )

    def _land(
        self, ingest: Ingest, made: Sequence[Sized], whole: Sequence[Release], *, first: bool
    ) -> Landed:
        work, bundle, verified = self.work, self.opened.bundle, self.opened.verified
        fresh = {blob.sha256 for blob in made}
        landing = land(  # steps 7 and 8
            work,
            bundle,
            verified,
            releases=whole,
            first=first,
            metadata=opening.pack_metadata(verified.new_metadata, verified.upstream_metadata),
            path_of=lambda sha256: ingest.whole(sha256) if sha256 in fresh else work.blobs.path(sha256),
        )
        relay.keep(work, verified)
        _adopt(work.blobs, ingest, made)  # step 9
        for document in bundle.export.documents:
            if document.kind in (MODELPACK, MODELPACK_CONFIG):
                work.blobs.put(bundle.document(document.digest))
        return landing.commit()

    def _problems(self, bad: Sequence[BadChunk]) -> tuple[OperatorError, ...]:
        if not bad:
            return ()
        found: list[OperatorError] = []
        absent = {one.chunk for one in bad if one.absent}
        for plan, indices in missing_volumes(self.opened.volumes, absent):
            found.append(volume_missing(plan, indices, self.opened.volumes))
            absent -= {chunk for index in indices for chunk in plan.volumes[index - 1].chunks}
        if wrong := [str(one) for one in bad if not one.absent or one.chunk in absent]:
            found.append(ChunksDamaged(wrong))
        return tuple(found)


def _one(problems: Sequence[OperatorError]) -> OperatorError:
    """One problem is refused as itself, several together."""
    return problems[0] if len(problems) == 1 else NotReady(problems)


def _partly(work: Workplace, bundle: Bundle, done: _Done) -> OperatorError:
    with work.store.view() as view:
        waiting = {release.digest for release in opening.open_releases(view, bundle)}
    names = {release.digest: f"{release.model}@{release.ordinal}" for release in bundle.releases}
    return PartlyImported(
        bundle.export.bundle,
        visible=[name for digest, name in names.items() if digest not in waiting],
        waiting=[name for digest, name in names.items() if digest in waiting],
        problems=done.problems,
    )


def _missing(work: Workplace, bundle: Bundle) -> tuple[Missing, ...]:
    """Bundles that this one, or the stream's numbers, tell of and that never arrived here."""
    with work.store.view() as view:
        return tuple(gaps(bundle.history, {row.sequence: row.digest for row in view.imports()}))


def _bytes(blobs: Sequence[Sized]) -> int:
    return sum(blob.size for blob in blobs)


def _rotten(blobs: BlobStore, held: Sequence[Sized], progress: Progress) -> set[Sized]:
    """Hash blobs that the store has; return those that are not what their names promise."""

    def wrong(blob: Sized) -> bool:
        actual = file_sha256(blobs.path(blob.sha256))
        progress(blob.size)
        return actual != blob.sha256

    with ThreadPoolExecutor(crew_size(), thread_name_prefix="held") as pool:
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
    if not place.is_dir():
        answer.demand_plain(place)
    media = [*(Path(os.path.realpath(one)) for one in dirs), *(volume.path.parent for volume in volumes)]
    at_home = work.home.path.stat().st_dev
    for medium in media:
        device = medium.stat().st_dev
        apart = device not in (at_home, Path("/").stat().st_dev)  # a medium with a file system of its own
        if place.is_relative_to(medium) or (apart and device == folder.stat().st_dev):
            raise ReceiptOnMedium(str(receipt_to), medium=str(medium))
    return place


def _receipt(work: Workplace, bundle: Bundle) -> Receipt:
    with work.store.view() as view:
        return answer.compose(work, view, answer.taken_in(view, bundle.export.bundle))


def _write_receipt(place: Path, data: bytes, receipt: Receipt) -> Path:
    if place.is_dir():
        place /= f"receipt-{receipt.site}-{receipt.sequence}.json"
    try:
        write_durably(place, data)
    except OSError as exc:
        raise OutputUnusable(str(place), f"cannot be written ({exc.strerror})") from exc
    return place
