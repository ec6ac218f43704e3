"""Packs a bundle for a site.

The steps of `create_bundle`, in order, and why that order survives a crash:

 1. Lock: one export at a time in a home.
 2. Select: the versions and documents, their files and statements, all withdrawals.
 3. Leave out what the site's newest acknowledged receipt proves it holds; nothing else counts as held.
 4. Number: one above every export recorded here or signed for this site, whichever is higher.
 5. Check before long work: keys enough to sign, the place to write to is free and large enough.
 6. Write the chunks into a hidden folder in the destination; every blob is checked against its name.
 7. Sign and publish the release and export documents in the home's trust folder. From here on the number is used
    up: a crash leaves a number that the site will see as a gap. It can never be signed with other content, which
    the site would have to take for a fork.
 8. Write the small files, the trust metadata among them, to every volume; make it all durable.
 9. Record the export and its event in one transaction. A receipt for this bundle is understood from here on.
10. Give the folders their names. Before this rename nothing in the destination looks like a bundle.

A crash before step 10 leaves a hidden folder, which the next export to that destination removes, and at worst a
recorded bundle that was never handed over: the site reports its number as missing and loses nothing by it.
"""

import contextlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from securesystemslib.signer import Signer

from pipelines.bundle import documents as docs
from pipelines.bundle import tables
from pipelines.bundle.cargo import Cargo, select, signed_paths
from pipelines.bundle.documents import (
    ChunkTable,
    Export,
    ShippedRelease,
    export_path,
)
from pipelines.bundle.errors import OutputUnusable
from pipelines.bundle.reader import (
    LABEL,
    PLAN,
    PLAN_SIGNATURE,
    README,
    TABLE,
)
from pipelines.bundle.readme import readme
from pipelines.bundle.tables import Chunk, Plan
from pipelines.bundle.writer import ChunkWriter, write_small
from pipelines.workplace import Workplace
from registry.audit import EventKind
from registry.blobs import Progress, no_progress
from registry.entities import Export as ExportRow
from registry.entities import Version
from registry.errors import SpaceShort
from registry.names import Ref
from registry.views import View
from signing import ceremony
from signing.canonical import parse
from signing.ceremony import NoSuchRole, TooFewSigners
from signing.digests import sha256_hex
from signing.durable import sync_directory, write_durably
from signing.envelope import sign
from signing.keys import public_key_json
from signing.repository import TrustRepository, TrustState
from signing.roots import CATALOG, site_role
from signing.times import rfc3339

_MARGIN = 1 << 20  # bytes left free on a destination
_PER_CHUNK = 260 + 67 + 144  # bytes that a chunk takes in chunks.jsonl, plan.json and SHA256SUMS
_ROOM_FOR_DOCUMENTS = 64 << 10  # bytes: what signing adds to the trust metadata, README, labels


@dataclass(frozen=True)
class Shipped:
    """A bundle that has been made."""

    bundle: str
    sequence: int
    digest: str  # SHA-256 of the export document
    site: str
    folders: tuple[Path, ...]  # one per volume, as they have to be carried
    bytes: int  # of all volumes together
    carried: int  # bytes of blobs in it
    left_out: int  # bytes of blobs that the site holds already
    versions: tuple[str, ...]  # namespace/name@ordinal
    notes: tuple[str, ...]  # what a person should know, in plain words


def create_bundle(
    work: Workplace,
    *,
    site: str,
    refs: Sequence[Version | Ref],
    out: Path,
    signers: Sequence[Signer],
    documents: Sequence[str] = (),
    volume_bytes: int | None = None,
    next_expected_by: datetime | None = None,
    progress: Progress = no_progress,
    expect: Progress = no_progress,
) -> Shipped:
    """Make a bundle for `site` and place its volumes in `out`; the steps are at the top of this module.

    Args:
        refs: versions to ship, with the documents and statements that belong to them.
        out: gets `<bundle>/`, or with several volumes `volume-01/<bundle>/` and so on.
        signers: the officers in the room, for `catalog` (new releases only) and `site-<site>`; the station
            signs the rest.
        documents: digests of further documents, such as suites, engine profiles, router contracts.
        volume_bytes: bytes of files on one medium; None makes one volume.
        progress: called with the bytes just written, from several threads.
        expect: called once, before any progress, with the bytes that there are.

    Raises:
        NotFound, OutputUnusable, VolumeTooSmall, SpaceShort, TooFewSigners, NoSuchRole: before
            anything is written.
        BlobDamaged: a file in the store is not what its name promises; nothing is published.
        RoleExpired: see `signing.ceremony.publish`.
        HomeBusy: another export is being made.
    """
    with work.home.busy("export"):  # step 1
        state = TrustRepository(work.home.trust).load()
        with work.store.view() as view:
            view.site(site)
            cargo = select(work, view, state, site, refs=refs, extra=documents)  # steps 2 and 3
            sequence, previous = _next_number(view, state, site)  # step 4
        bundle = bundle_id(work.now, sequence)
        _demand_signers(state, site, cargo, signers)  # step 5
        small = _estimate(cargo, state, site)
        placed = tables.assign(cargo.blobs, volume_bytes=volume_bytes, small=small)
        hidden = _claim(
            work, out, site, bundle, cargo, volumes=max((r[-1] for r in placed if r), default=1), small=small
        )
        try:
            expect(sum(blob.size for blob in cargo.blobs))
            writer = ChunkWriter(work.blobs, lambda index: _folder(hidden, index, bundle), progress)
            chunks = writer.write(cargo.blobs, placed)  # step 6
            packing = _Packing(work, site, bundle, sequence, previous, next_expected_by, cargo)
            shipped = packing.finish(
                state, signers, hidden=hidden, out=out, chunks=chunks, volume_of=writer.volume_of
            )
        finally:
            shutil.rmtree(hidden, ignore_errors=True)
        return shipped


def bundle_id(made: datetime, sequence: int) -> str:
    """Return what media and logs call a bundle: its day and number, and nothing of what is in it."""
    return f"{made:%Y%m%d}-{sequence:02d}"


@dataclass(frozen=True)
class _Packing:
    """Steps 7 to 10, once the chunks are written."""

    work: Workplace
    site: str
    bundle: str
    sequence: int
    previous: str | None
    next_expected_by: datetime | None
    cargo: Cargo

    def finish(
        self,
        state: TrustState,
        signers: Sequence[Signer],
        *,
        hidden: Path,
        out: Path,
        chunks: Sequence[Chunk],
        volume_of: Mapping[str, int],
    ) -> Shipped:
        table = tables.encode_chunks(chunks)
        export = self._export(table, len(chunks))
        body = docs.encode_export(export)
        digest = sha256_hex(body)
        targets = {export.path: body, **{release.path: data for release, data in self.cargo.releases}}
        published = ceremony.publish(state, targets, [self.work.station, *signers], now=self.work.now)
        self._keep_releases()
        TrustRepository(self.work.home.trust).save(published)  # step 7
        count = max(volume_of.values(), default=1)
        text = readme(export, self.cargo.lines, volumes=count)
        plan = tables.plan_of(chunks, volume_of, export=export, readme=sha256_hex(text), digest=digest)
        files = {
            **self.cargo.files,
            **targets,
            **{f"trust/{name}": data for name, data in published.files(site=self.site).items()},
            README: text,
            TABLE: table,
            **_signed_plan(self.work, plan),
        }
        written = _write_volumes(hidden, plan, files)  # step 8
        self._record(digest, body)  # step 9
        folders = _reveal(hidden, out, plan)  # step 10
        return Shipped(
            bundle=self.bundle,
            sequence=self.sequence,
            digest=digest,
            site=self.site,
            folders=folders,
            bytes=written + sum(volume.bytes for volume in plan.volumes),
            carried=export.size,
            left_out=sum(blob.size for blob in export.assumed),
            versions=tuple(f"{release.model}@{release.ordinal}" for release, _data in self.cargo.releases),
            notes=self.cargo.notes,
        )

    def _export(self, table: bytes, count: int) -> Export:
        cargo = self.cargo
        key = parse(public_key_json(self.work.station), max_bytes=1 << 16, at="station key")
        return Export(
            bundle=self.bundle,
            sequence=self.sequence,
            audience=self.site,
            origin=self.work.home.name,
            issued_at=rfc3339(self.work.now),
            previous=self.previous,
            next_expected_by=None if self.next_expected_by is None else rfc3339(self.next_expected_by),
            receipt=cargo.receipt,
            releases=tuple(
                ShippedRelease(release.path, sha256_hex(data)) for release, data in cargo.releases
            ),
            documents=cargo.documents,
            statements=cargo.statements,
            blobs=cargo.blobs,
            assumed=cargo.assumed,
            chunks=ChunkTable(sha256_hex(table), len(table), count),
            withdrawals=cargo.withdrawals,
            packer=key,
        )

    def _keep_releases(self) -> None:
        """A release document never changes once published, so its bytes are kept for the next bundle."""
        for release, data in self.cargo.releases:
            place = self.work.home.trust / release.path
            if not place.exists():
                place.parent.mkdir(parents=True, exist_ok=True)
                write_durably(place, data)

    def _record(self, digest: str, body: bytes) -> None:
        work = self.work
        row = ExportRow(
            site=self.site,
            sequence=self.sequence,
            bundle=self.bundle,
            digest=digest,
            body=body.decode(),
            made_at=rfc3339(work.now),
            actor=work.actor,
        )
        note = {
            "site": self.site,
            "bundle": self.bundle,
            "versions": [release.digest for release, _data in self.cargo.releases],
            "receipt": self.cargo.receipt,
        }
        with work.store.change(actor=work.actor, now=work.now) as change:
            change.record(EventKind.BUNDLE_MADE, digest, row, note=note)


def _next_number(view: View, state: TrustState, site: str) -> tuple[int, str | None]:
    """Step 4. Returns the number and the digest of the export before it."""
    made = {row.sequence: row.digest for row in view.exports(site)}
    prefix = export_path(site, 0).removesuffix("0.json")
    for path, digest in signed_paths(state, site_role(site)).items():
        made[int(path.removeprefix(prefix).removesuffix(".json"))] = digest
    last = max(made, default=0)
    return last + 1, made.get(last)


def _demand_signers(state: TrustState, site: str, cargo: Cargo, signers: Sequence[Signer]) -> None:
    """Refuse before hours of copying what `publish` would refuse after them."""
    delegations = state.targets.delegations
    roles = (delegations.roles or {}) if delegations else {}
    known = signed_paths(state, CATALOG)
    needed = [site_role(site)]
    if any(release.path not in known for release, _data in cargo.releases):
        needed.append(CATALOG)
    here = {signer.public_key.keyid for signer in signers}
    for name in needed:
        if name not in roles:
            raise NoSuchRole(f"a bundle for {site}", name)
        have = len(here & set(roles[name].keyids))
        if have < roles[name].threshold:
            raise TooFewSigners(name, have=have, need=roles[name].threshold)


def _estimate(cargo: Cargo, state: TrustState, site: str) -> int:
    """Return at least the bytes that the small files will take on every volume."""
    chunks = sum(len(tables.pieces(blob.size)) for blob in cargo.blobs)
    listed = len(cargo.blobs) + len(cargo.assumed)
    files = sum(map(len, cargo.files.values())) + sum(len(data) for _release, data in cargo.releases)
    trust = sum(map(len, state.files(site=site).values()))
    names = 300 * (len(cargo.files) + len(cargo.releases)) + 120 * listed + 2000 * len(cargo.withdrawals)
    return files + 2 * trust + names + chunks * _PER_CHUNK + _ROOM_FOR_DOCUMENTS


def _claim(
    work: Workplace, out: Path, site: str, bundle: str, cargo: Cargo, *, volumes: int, small: int
) -> Path:
    """Check the destination and make the hidden folder in it, removing those of exports that died."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise OutputUnusable(str(out), exc.strerror or "cannot be made") from exc
    taken = out / bundle if volumes == 1 else next(iter(sorted(out.glob("volume-*"))), out / "volume-01")
    if taken.exists():
        raise OutputUnusable(str(taken), "is there already")
    mine = f".partial-{work.home.name}-{site}-"
    for dead in out.glob(f"{mine}*"):
        shutil.rmtree(dead)
    needed = sum(blob.size for blob in cargo.blobs) + volumes * small + _MARGIN
    free = shutil.disk_usage(out).free
    if needed > free:
        raise SpaceShort(str(out), needed=needed, free=free)
    hidden = out / f"{mine}{bundle}"
    try:
        hidden.mkdir()
    except OSError as exc:
        raise OutputUnusable(str(out), exc.strerror or "cannot be written to") from exc
    return hidden


def _folder(hidden: Path, index: int, bundle: str) -> Path:
    return hidden / f"volume-{index:02d}" / bundle


def _signed_plan(work: Workplace, plan: Plan) -> dict[str, bytes]:
    data = tables.encode_plan(plan)
    return {PLAN: data, PLAN_SIGNATURE: sign(data, tables.PLAN_TYPE, work.station).to_json()}


def _write_volumes(hidden: Path, plan: Plan, files: Mapping[str, bytes]) -> int:
    """Write the small files of every volume. Returns their bytes."""
    total = 0
    for volume in plan.volumes:
        folder = _folder(hidden, volume.index, plan.bundle)
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(OSError):  # chunks that all stand on other volumes leave it empty
            (folder / "chunks").rmdir()
        label = tables.encode_label(tables.label_of(plan, volume.index))
        total += write_small(folder, {**files, LABEL: label}, volume.chunks)
        sync_directory(folder.parent)
    return total


def _reveal(hidden: Path, out: Path, plan: Plan) -> tuple[Path, ...]:
    """Step 10. Returns the folder of each volume."""
    if len(plan.volumes) == 1:
        places = [out / plan.bundle]
        _folder(hidden, 1, plan.bundle).rename(places[0])
    else:
        places = [out / f"volume-{volume.index:02d}" for volume in plan.volumes]
        for place in places:
            (hidden / place.name).rename(place)
    sync_directory(out)
    return tuple(places)
