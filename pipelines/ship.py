"""Packs a bundle for a site.

The steps of `create_bundle`, in order, and why that order survives a crash:

 1. Lock: one export at a time in a home.
 2. Select: the versions and documents, their files and statements, all withdrawals.
 3. Leave out what the site has proved that it holds, or a named person says it holds; nothing else counts.
 4. Number: one above every export recorded here or signed for this site, whichever is higher.
 5. Check before long work: keys enough to sign, the place to write to is free and large enough.
 6. Write the chunks into a hidden folder in the destination; every blob is checked against its name. Divide them
    among the volumes, and write parity.
 7. Sign and publish the release and export documents in the home's trust folder. From here on the number is used
    up: a crash leaves a number that the site will see as a gap. It can never be signed with other content, which
    the site would have to take for a fork.
 8. Write the small files, the trust metadata among them, to every volume, and keep a copy; make it all durable.
 9. Record the export and its event in one transaction. A receipt for this bundle is understood from here on.
10. Give the folders their names. Before this rename nothing in the destination looks like a bundle.

A crash before step 10 leaves a hidden folder, which the next export to that destination removes, and at worst a
recorded bundle that was never handed over: the site reports its number as missing and loses nothing by it.

Where the officers are elsewhere, `draft_bundle` takes steps 1 to 6, sets the folder aside (`unsigned.py`) and begins a
ceremony. Step 7 is then `tidegate trust publish`; `finishing.finish` takes steps 8 to 10.
"""

import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from securesystemslib.signer import Signer

from pipelines import drafting, handover, shipment_words, unsigned
from pipelines.bundle import documents as docs
from pipelines.bundle import history, plan, tables
from pipelines.bundle.cargo import Cargo, select, signed_paths
from pipelines.bundle.crew import LANES
from pipelines.bundle.documents import GUARD, MEDIA, Export, Lines, ShippedRelease, export_path
from pipelines.bundle.errors import OutputUnusable, ParityImpossible
from pipelines.bundle.heads import Heads
from pipelines.bundle.heads import encode as encode_heads
from pipelines.bundle.media import Medium
from pipelines.bundle.reader import HISTORY, README, TABLE, document_path
from pipelines.bundle.readme import Heading, readme
from pipelines.bundle.tables import Table
from pipelines.bundle.volumes import Layout, demand_no_volume, lay_out, reveal
from pipelines.drafting import Drafted
from pipelines.encodings.names import FRAME
from pipelines.handover import Packed, Shipped, next_number, people_of, told_heads
from pipelines.receipts import read as read_receipt
from pipelines.unsigned import Unsigned
from pipelines.workplace import Workplace
from registry.blobs import Progress, no_progress
from registry.bulk import space_watched
from registry.entities import Version
from registry.errors import SpaceShort
from registry.names import Ref
from registry.views import View
from signing import ceremony, draft_folder, draft_making
from signing.canonical import canonical_bytes, parse
from signing.ceremony import NoSuchRole, TooFewSigners
from signing.digests import sha256_hex
from signing.drafts import CeremonyUnusable
from signing.keys import public_key_from_json, public_key_json
from signing.repository import TrustRepository, TrustState
from signing.roots import CATALOG, site_role
from signing.summaries import NOTHING_SAID, Transfer
from signing.times import rfc3339

__all__ = [
    "Drafted",
    "Packing",
    "Shipped",
    "bundle_id",
    "check_shipment",
    "create_bundle",
    "draft_bundle",
]

_LEAST_CHUNK = 64 << 10  # bytes; a medium has room for at least one such beside the documents
_MARGIN = 1 << 20  # bytes left free on a destination
_PER_CHUNK = 100 + 70 + 150  # bytes that a chunk takes in chunks.jsonl, plan.json and SHA256SUMS
_PER_FRAME = 170  # bytes that a frame takes in chunks.jsonl
_PER_FILE = 300  # bytes that a small file takes in SHA256SUMS and in the documents that name it
_ROOM_FOR_DOCUMENTS = 64 << 10  # bytes: what signing adds to the trust metadata, README, labels


@dataclass(frozen=True)
class Packing:
    """How a bundle is packed."""

    medium: Medium | None = None  # None makes one volume, however large
    parity: int = 0  # how many volumes, or bad files of a single one, may be lost: 0, 1, 2
    profile: str = MEDIA
    compact: bool = False  # spend time to save bytes
    self_contained: bool = False  # build on nothing that the site holds
    baseline: bool = False  # for a site that was set up anew and has nothing: it may begin with this bundle
    next_expected_by: datetime | None = None
    transfer: Transfer = NOTHING_SAID  # what people say of the transfer

    def check(self) -> None:
        """Raise `ParityImpossible` for what does not go together."""
        if self.parity and self.profile == GUARD:
            raise ParityImpossible("profile guard carries files that a guard can read, and parity is none")


def create_bundle(
    work: Workplace,
    *,
    site: str,
    refs: Sequence[Version | Ref],
    out: Path,
    signers: Sequence[Signer],
    documents: Sequence[str] = (),
    packing: Packing = Packing(),
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
        progress: called with the bytes just done, from several threads.
        expect: called once, before any progress, with the bytes that there are.

    Raises:
        NotFound, OutputUnusable, VolumeTooSmall, ParityImpossible, SpaceShort, TooFewSigners, NoSuchRole: before
            anything is written.
        BlobDamaged: a file in the store is not what its name promises; nothing is published.
        RoleExpired: see `signing.ceremony.publish`.
        HomeBusy: another export is being made.
    """
    with work.home.busy("export"):  # step 1
        state = TrustRepository(work.home.trust).load()

        def demand(cargo: Cargo, _sequence: int) -> None:
            _demand_signers(state, site, cargo, signers)

        shipment = _prepared(
            work, state, site=site, refs=refs, out=out, documents=documents, packing=packing, demand=demand
        )
        try:
            with space_watched(out, shipment.cargo.size):
                return shipment.make(state, signers, progress, expect)
        finally:
            shutil.rmtree(shipment.hidden, ignore_errors=True)


def draft_bundle(
    work: Workplace,
    *,
    site: str,
    refs: Sequence[Version | Ref],
    out: Path,
    ceremony: Path,
    documents: Sequence[str] = (),
    packing: Packing = Packing(),
    progress: Progress = no_progress,
    expect: Progress = no_progress,
) -> Drafted:
    """Pack a bundle whose officers sign elsewhere: set it aside in `out` and begin the ceremony in `ceremony`.

    Raises:
        CeremonyUnusable: something lies at `ceremony`.
        else: as `create_bundle`, and what `draft_making.publishing` raises; all before anything is written.
    """
    with work.home.busy("export"):
        draft_folder.demand_new(ceremony)
        state = TrustRepository(work.home.trust).load()

        def demand(cargo: Cargo, sequence: int) -> None:
            _demand_draftable(work, state, site, cargo, sequence)

        shipment = _prepared(
            work, state, site=site, refs=refs, out=out, documents=documents, packing=packing, demand=demand
        )
        try:
            with space_watched(out, shipment.cargo.size):
                return shipment.draft(state, ceremony, progress, expect)
        finally:
            shutil.rmtree(shipment.hidden, ignore_errors=True)


def _prepared(
    work: Workplace,
    state: TrustState,
    *,
    site: str,
    refs: Sequence[Version | Ref],
    out: Path,
    documents: Sequence[str],
    packing: Packing,
    demand: Callable[[Cargo, int], None],
) -> "_Shipment":
    """Steps 2 to 5. `demand` refuses what could not be signed for; it is given the number, too."""
    packing.check()
    alone = packing.self_contained or packing.baseline
    with work.store.view() as view:
        view.site(site)
        packing = replace(packing, baseline=packing.baseline or not _heard_from(view, site))
        cargo = select(  # steps 2 and 3
            work, view, state, site, refs=refs, extra=documents, self_contained=alone
        )
        sequence, previous = next_number(view, state, site)  # step 4
        sent = history.encode(history.of(view.exports(site)))
        heads = told_heads(work, view, state, site)
    bundle = bundle_id(work.now, sequence)
    demand(cargo, sequence)  # step 5
    small = _estimate(cargo, state, site) + len(sent) + sum(map(len, people_of(work, state).values()))
    small += _bytes_of(heads)
    if packing.medium is not None:
        releases = [release.path for release, _data in cargo.releases]
        trusted = [f"trust/{name}" for name in state.files(site=site)]
        small = packing.medium.documents(small, [*cargo.files, *releases, *trusted])
    hidden = _claim(work, out, cargo, packing, site=site, bundle=bundle, small=small)
    return _Shipment(work, site, bundle, sequence, previous, cargo, packing, sent, heads, hidden, out, small)


def check_shipment(
    work: Workplace,
    *,
    site: str,
    refs: Sequence[Version | Ref],
    signers: Sequence[Signer] | None,
    documents: Sequence[str] = (),
) -> None:
    """Refuse what `create_bundle` would refuse before it writes anything; for what is recorded before it is called.

    Args:
        signers: None where they sign elsewhere.
    """
    state = TrustRepository(work.home.trust).load()
    with work.store.view() as view:
        view.site(site)
        cargo = select(work, view, state, site, refs=refs, extra=documents)
        sequence, _previous = next_number(view, state, site)
    if signers is None:
        _demand_draftable(work, state, site, cargo, sequence)
    else:
        _demand_signers(state, site, cargo, signers)


def bundle_id(made: datetime, sequence: int) -> str:
    """Return what media and logs call a bundle: its day and number, and nothing of what is in it."""
    return f"{made:%Y%m%d}-{sequence:02d}"


@dataclass(frozen=True)
class _Shipment:
    """Steps 6 to 10."""

    work: Workplace
    site: str
    bundle: str
    sequence: int
    previous: str | None
    cargo: Cargo
    packing: Packing
    history: bytes
    heads: Heads | None
    hidden: Path
    out: Path
    small: int  # bytes of the documents, at most

    def make(
        self, state: TrustState, signers: Sequence[Signer], progress: Progress, expect: Progress
    ) -> Shipped:
        work, packed = self.work, self._packed(self.bundle, progress, expect)  # step 6
        signed = {path: data for path, data in self._releases().items() if path not in self.cargo.relayed}
        published = ceremony.publish(
            state, {packed.export.path: packed.body, **signed}, [*work.publishers, *signers], now=work.now
        )
        handover.keep_published(work, signed)
        TrustRepository(work.home.trust).save(published)  # step 7
        size = handover.write(work, packed, published)  # step 8
        handover.record(work, packed, size=size)  # step 9
        folders = reveal(self.hidden, self.out, packed.plan)  # step 10
        return handover.shipped(packed, folders=folders, size=size)

    def draft(self, state: TrustState, folder: Path, progress: Progress, expect: Progress) -> Drafted:
        place = unsigned.place_of(self.out, self.work.home, self.site, self.bundle)
        if os.path.lexists(place):
            raise OutputUnusable(str(place), "a bundle waits there for its officers")
        packed = self._packed(unsigned.PACKED, progress, expect)
        waiting = Unsigned(self.hidden, packed, self.cargo.relayed, self.cargo.lines)
        waiting = unsigned.set_aside(self.work, waiting, place)
        draft = drafting.draft_of(self.work, state, waiting)
        draft_folder.create(folder, draft, more=shipment_words.of_bundles(draft))
        return drafting.drafted(waiting, draft, folder)

    def _packed(self, name: str, progress: Progress, expect: Progress) -> Packed:
        """Step 6. `name`: what the bundle's folder on a volume is called."""
        expect(self.cargo.size * (2 if self.packing.parity else 1))
        table = self._pack(progress)
        layout = self._lay_out(table, name, progress)
        text = readme(
            Heading(self.bundle, self.work.home.name, self.site, self.sequence, rfc3339(self.work.now)),
            self.cargo.lines,
        )
        lines = tables.encode_table(table, {blob.sha256: blob.size for blob in self.cargo.blobs})
        export = self._export(table, lines, text)
        body = docs.encode_export(export)
        shared = {
            **self.cargo.files,
            **self._releases(),
            export.path: body,
            README: text,
            TABLE: lines,
            HISTORY: self.history,
        }
        releases = tuple(release for release, _data in self.cargo.releases)
        return Packed(layout, table, export, body, releases, shared, self.cargo.notes)

    def _releases(self) -> dict[str, bytes]:
        return {release.path: data for release, data in self.cargo.releases}

    def _pack(self, progress: Progress) -> Table:
        from pipelines.bundle.packer import Packer, Style  # noqa: PLC0415 - numpy, only where it is packed

        cargo, packing = self.cargo, self.packing
        medium = packing.medium
        most = None if medium is None else (medium.bytes - self.small) // medium.cluster * medium.cluster
        style = Style(packing.profile, packing.compact, most)
        packer = Packer(self.work.blobs, self.hidden / "pack", style, cargo.bases, cargo.endings, progress)
        table = packer.pack(cargo.blobs)
        used = {part.base for parts in table.blobs.values() for part in parts if part.base is not None}
        with ThreadPoolExecutor(LANES, thread_name_prefix="bases") as pool:
            list(pool.map(self.work.blobs.verify, sorted(used)))  # a rotten base would only show at the site
        return table

    def _lay_out(self, table: Table, name: str, progress: Progress) -> Layout:
        of = {blob: sorted(table.chunks_of(blob)) for blob in table.blobs}
        items = [[n for blob in item if blob in of for n in of[blob]] for item in self.cargo.items]
        divided = plan.split(items, table.chunks, medium=self.packing.medium, small=self.small)
        return lay_out(
            divided,
            table.chunks,
            folder=lambda index: self.hidden / f"volume-{index:02d}" / name,
            place=lambda chunk: self.hidden / "pack" / chunk.path,
            parity=self.packing.parity,
            medium=self.packing.medium,
            small=self.small,
            progress=progress,
        )

    def _export(self, table: Table, lines: bytes, text: bytes) -> Export:
        cargo, work = self.cargo, self.work
        key = parse(public_key_json(work.station), max_bytes=1 << 16, at="station key")
        used = {part.base for parts in table.blobs.values() for part in parts if part.base is not None}
        expected = self.packing.next_expected_by
        return Export(
            bundle=self.bundle,
            sequence=self.sequence,
            audience=self.site,
            origin=work.home.name,
            issued_at=rfc3339(work.now),
            previous=self.previous,
            next_expected_by=None if expected is None else rfc3339(expected),
            receipt=cargo.receipt,
            assumed_received=cargo.assumed_received,
            releases=tuple(
                ShippedRelease(release.path, sha256_hex(data)) for release, data in cargo.releases
            ),
            documents=cargo.documents,
            statements=cargo.statements,
            blobs=cargo.blobs,
            assumed=cargo.assumed,
            bases=tuple(base for base in cargo.bases if base.sha256 in used),
            chunks=Lines(sha256_hex(lines), len(lines), tables.count_lines(table)),
            history=Lines(sha256_hex(self.history), len(self.history), self.history.count(b"\n")),
            readme=sha256_hex(text),
            profile=self.packing.profile,
            withdrawals=cargo.withdrawals,
            packer=key,
            transfer=self.packing.transfer,
            baseline=self.packing.baseline,
            log=self.heads,
        )


def _heard_from(view: View, site: str) -> bool:
    """Say whether a receipt came that the site signed with the key that it has: docs/decisions/0023."""
    key = public_key_from_json(view.site(site).identity.encode(), at=f"identity of {site}")
    newest_first = reversed(view.receipts(site))
    return any(read_receipt(row.body.encode())[1].envelope.keyid == key.keyid for row in newest_first)


def _demand_signers(state: TrustState, site: str, cargo: Cargo, signers: Sequence[Signer]) -> None:
    """Refuse before hours of copying what `publish` would refuse after them."""
    delegations = state.targets.delegations
    roles = (delegations.roles or {}) if delegations else {}
    known = {*signed_paths(state, CATALOG), *cargo.relayed}
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


def _demand_draftable(work: Workplace, state: TrustState, site: str, cargo: Cargo, sequence: int) -> None:
    """Refuse before hours of copying what the ceremony would refuse after them."""
    releases = {release.path: data for release, data in cargo.releases if release.path not in cargo.relayed}
    draft_making.publishing(
        state, {export_path(site, sequence): b"{}", **releases}, work.home.name, now=work.now
    )
    explained = [cargo.files[document_path(release.digest)] for release, _data in cargo.releases]
    if (
        2 * len(explained) > draft_folder.MAX_FILES
        or sum(map(len, explained)) > draft_folder.MAX_CARRIED // 2
    ):
        raise CeremonyUnusable(
            "a ceremony", f"cannot explain {len(explained)} versions; ship them in several bundles"
        )


def _estimate(cargo: Cargo, state: TrustState, site: str) -> int:
    """Return at least the bytes that the small files will take on every volume."""
    frames = sum(-(-blob.size // FRAME) + 1 for blob in cargo.blobs)
    chunks = sum(-(-blob.size // tables.COMPACT_CHUNK) + 1 for blob in cargo.blobs)
    listed = len(cargo.blobs) + len(cargo.assumed) + len(cargo.bases)
    files = sum(map(len, cargo.files.values())) + sum(len(data) for _release, data in cargo.releases)
    trust = sum(map(len, state.files(site=site).values()))
    names = _PER_FILE * (len(cargo.files) + len(cargo.releases) + listed) + 2000 * len(cargo.withdrawals)
    return files + 2 * trust + names + frames * _PER_FRAME + chunks * _PER_CHUNK + _ROOM_FOR_DOCUMENTS


def _bytes_of(heads: Heads | None) -> int:
    return 0 if heads is None else len(canonical_bytes(encode_heads(heads)))


def _claim(
    work: Workplace, out: Path, cargo: Cargo, packing: Packing, *, site: str, bundle: str, small: int
) -> Path:
    """Check the destination and make the hidden folder in it, removing those of exports that died."""
    if packing.medium is not None:
        largest = max((min(blob.size, _LEAST_CHUNK) for blob in cargo.blobs), default=0)
        plan.demand_room(packing.medium, small=small, largest=largest)
    demand_no_volume(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise OutputUnusable(str(out), exc.strerror or "cannot be made") from exc
    for taken in (out / bundle, *sorted(out.glob("volume-*"))):
        if taken.exists() and (taken.name == bundle or packing.medium is not None or packing.parity):
            raise OutputUnusable(str(taken), "is there already")
    mine = f".partial-{work.home.name}-{site}-"
    for dead in out.glob(f"{mine}*"):
        if dead.is_symlink() or not dead.is_dir():
            raise OutputUnusable(str(dead), "is no folder of an export that died")
        shutil.rmtree(dead)
    # What compact encodings save is not known yet: a delta may need a tenth of this.
    needed = small + _MARGIN + (cargo.size if packing.profile == GUARD else 0)
    free = shutil.disk_usage(out).free
    if needed > free:
        raise SpaceShort(str(out), needed=needed, free=free)
    hidden = out / f"{mine}{bundle}"
    try:
        hidden.mkdir()
    except OSError as exc:
        raise OutputUnusable(str(out), exc.strerror or "cannot be written to") from exc
    return hidden
