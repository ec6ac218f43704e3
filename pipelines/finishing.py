"""A bundle whose officers signed elsewhere is finished, or is given another number and another ceremony.

`finish` ends at any moment and the same command goes on: until the first volume has its name everything is done anew
from what the station set aside, and volumes that a killed run had named already are taken back first.
"""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from pipelines import drafting, handover, unsigned
from pipelines.baseline import baseline
from pipelines.bundle import documents as docs
from pipelines.bundle import history, opening, plan, reader
from pipelines.bundle.cargo import withdrawals_of
from pipelines.bundle.crew import LANES
from pipelines.bundle.documents import Lines
from pipelines.bundle.lanes import Unreadable
from pipelines.bundle.office import office
from pipelines.bundle.reader import HISTORY, PLAN, README
from pipelines.bundle.readme import Heading, readme
from pipelines.bundle.shelf import Spot, digest_of
from pipelines.bundle.volumes import Layout, demand_no_volume, reveal
from pipelines.drafting import Drafted
from pipelines.errors import BundleRefused
from pipelines.handover import Packed, Shipped
from pipelines.ship import bundle_id
from pipelines.shipment_words import of_bundles, withdrawn_since
from pipelines.unsigned import PACKED, Unsigned, UnsignedBundleRefused, volume_of
from pipelines.workplace import Workplace
from registry.blobs import Progress, no_progress
from registry.bulk import space_watched
from registry.views import View
from signing import draft_folder
from signing.digests import sha256_hex
from signing.durable import sync_directory
from signing.folder import read_inside
from signing.refusals import MetadataTampered, TrustFileMissing
from signing.repository import TrustRepository, TrustState
from signing.times import rfc3339

_SHOWN = 5  # wrong files that are named one by one


def finish(
    work: Workplace, place: Path, *, progress: Progress = no_progress, expect: Progress = no_progress
) -> Shipped:
    """Make a bundle of the one that waits at `place`, whose ceremony was published.

    Args:
        place: the destination that it was packed for, or its hidden folder.
        progress: called with the bytes just read back, from several threads.
        expect: called once, before any progress, with the bytes that there are.

    Raises:
        UnsignedBundleRefused: it is not signed, another bundle has its number, or it is not what was set aside.
        SpaceShort, HomeBusy.
    """
    with work.home.busy("export"):
        hidden = unsigned.find(work, place)
        if hidden is None:
            return _finished(work, place)
        packed = unsigned.read(work, hidden).packed
        state = TrustRepository(work.home.trust).load()
        with work.store.view() as view:
            _demand_signed(view, state, packed)
            recorded = packed.digest in {row.digest for row in view.exports(packed.export.audience)}
            gone = withdrawn_since(view, packed.export, packed.releases)
        out = hidden.parent
        _take_back(hidden, packed)
        _demand_free(out, packed)
        expect(sum(volume.bytes for volume in packed.layout.volumes))
        _demand_whole(hidden, packed, progress)
        _clear(work, packed)
        with space_watched(out, sum(map(len, packed.shared.values())) * len(packed.layout.volumes)):
            size = handover.write(work, packed, state)
        if not recorded:
            handover.record(work, packed, size=size)
        folders = reveal(hidden, out, packed.plan)
        _remove(hidden)
        late = f"withdrawn after it was packed: {', '.join(gone)}; send the bundle that says so with it"
        return handover.shipped(replace(packed, notes=(late,) if gone else ()), folders=folders, size=size)


def redraft(work: Workplace, place: Path, ceremony: Path) -> Drafted:
    """Give the bundle that waits at `place` the number that is free now, and begin another ceremony for it.

    What it carries stays as it was packed. Its export document is made anew: number, date, withdrawals, the log's head.

    Raises:
        CeremonyUnusable: something lies at `ceremony`.
        UnsignedBundleRefused: it is signed already, is not what was set aside, or builds on what the site has not.
        else: as `draft_making.publishing`.
    """
    with work.home.busy("export"):
        draft_folder.demand_new(ceremony)
        hidden = unsigned.find(work, place)
        if hidden is None:
            raise _nothing(place)
        waiting, state = unsigned.read(work, hidden), TrustRepository(work.home.trust).load()
        with work.store.view() as view:
            _demand_open(view, state, waiting.packed)
            renewed = _renewed(work, view, state, waiting)
        draft = drafting.draft_of(work, state, renewed)
        unsigned.write(work, renewed)
        export = renewed.packed.export
        named = unsigned.place_of(hidden.parent, work.home, export.audience, export.bundle)
        if not named.exists():
            hidden.rename(named)
            sync_directory(named.parent)
            renewed = replace(renewed, hidden=named)
        draft_folder.create(ceremony, draft, more=of_bundles(draft))
        return drafting.drafted(renewed, draft, ceremony)


def _renewed(work: Workplace, view: View, state: TrustState, waiting: Unsigned) -> Unsigned:
    packed, site = waiting.packed, waiting.packed.export.audience
    sequence, previous = handover.next_number(view, state, site)
    bundle, made = bundle_id(work.now, sequence), rfc3339(work.now)
    sent = history.encode(history.of(view.exports(site)))
    text = readme(Heading(bundle, work.home.name, site, sequence, made), waiting.lines)
    export = replace(
        packed.export,
        bundle=bundle,
        sequence=sequence,
        previous=previous,
        issued_at=made,
        history=Lines(sha256_hex(sent), len(sent), sent.count(b"\n")),
        readme=sha256_hex(text),
        withdrawals=withdrawals_of(view),
        log=handover.told_heads(work, view, state, site),
    )
    body = docs.encode_export(export)
    shared = {path: data for path, data in packed.shared.items() if path != packed.export.path}
    shared |= {export.path: body, HISTORY: sent, README: text}
    return replace(waiting, packed=replace(packed, export=export, body=body, shared=shared))


def _demand_signed(view: View, state: TrustState, packed: Packed) -> None:
    export = packed.export
    signed = handover.numbers_signed(state, export.audience).get(export.sequence)
    if signed == packed.digest:
        return
    name = f"bundle {export.bundle} for {export.audience}"
    number, previous = handover.next_number(view, state, export.audience)
    if signed is not None or (number, previous) != (export.sequence, export.previous):
        problem = f"number {export.sequence} is taken by another bundle; the next one is {number}"
        raise UnsignedBundleRefused(name, problem)
    raise UnsignedBundleRefused(name, f"number {export.sequence} is not signed yet: publish its ceremony")


def _demand_open(view: View, state: TrustState, packed: Packed) -> None:
    export = packed.export
    name = f"bundle {export.bundle} for {export.audience}"
    if handover.numbers_signed(state, export.audience).get(export.sequence) == packed.digest:
        raise UnsignedBundleRefused(name, "is signed as it is: finish it with `tidegate bundles finish`")
    built_on = {blob.sha256 for blob in (*export.assumed, *export.bases)}
    if built_on and not built_on <= baseline(view, export.audience).held:
        raise UnsignedBundleRefused(
            name, f"builds on files that {export.audience} holds no more by its newest receipt: pack it again"
        )


def _take_back(hidden: Path, packed: Packed) -> None:
    """Put every volume's folder where its bundle has its name, also those that a killed run had shown already."""
    bundle, many = packed.export.bundle, len(packed.layout.volumes) > 1
    expected = plan.encode_plan(packed.plan)
    for volume in packed.layout.volumes:
        own = volume_of(hidden, volume.index)
        own.mkdir(exist_ok=True)
        place, shown = own / bundle, hidden.parent / (f"{own.name}/{bundle}" if many else bundle)
        if (own / PACKED).is_dir() and not place.exists():
            (own / PACKED).rename(place)
        if not place.exists() and shown.is_dir() and _is(shown, expected):
            shown.rename(place)
            if many:
                shown.parent.rmdir()
        place.mkdir(exist_ok=True)


def _is(folder: Path, expected: bytes) -> bool:
    """Say whether the volume in `folder` is of exactly this plan."""
    try:
        return read_inside(folder, PLAN, max_bytes=len(expected)) == expected
    except (TrustFileMissing, MetadataTampered):
        return False


def _demand_free(out: Path, packed: Packed) -> None:
    demand_no_volume(out)
    many = len(packed.layout.volumes) > 1
    for taken in (out / packed.export.bundle, *(sorted(out.glob("volume-*")) if many else ())):
        if taken.exists():
            raise UnsignedBundleRefused(str(taken), "is in the way: move it elsewhere, then the same command")


def _demand_whole(hidden: Path, packed: Packed, progress: Progress) -> None:
    """Read every chunk and parity piece. Raises `UnsignedBundleRefused`: one of them is not what was packed."""

    def wrong(job: tuple[int, str, str, int]) -> str | None:
        index, path, name, size = job
        place = packed.layout.folder(index) / path
        try:
            actual = digest_of(Spot(place, f"volume {index}"), size)
        except Unreadable as exc:
            return f"volume {index}, {path}: {exc}"
        progress(size)
        return None if actual == name else f"volume {index}, {path}: holds other bytes"

    jobs = [
        (volume.index, path, name, size)
        for volume in packed.layout.volumes
        for path, (name, size) in unsigned.stored(packed, volume.index).items()
    ]
    with ThreadPoolExecutor(LANES, thread_name_prefix="read back") as pool:
        problems = [problem for problem in pool.map(wrong, jobs) if problem]
    if problems:
        more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise UnsignedBundleRefused(hidden.name, "; ".join(problems[:_SHOWN]) + more)


def _clear(work: Workplace, packed: Packed) -> None:
    """Remove the small files of a killed run, here and among what is kept: trust metadata may have moved on since."""
    for volume in packed.layout.volumes:
        top, kept = packed.layout.folder(volume.index), unsigned.stored(packed, volume.index)
        for parent, folders, files in os.walk(top):
            place = Path(parent)
            if links := [name for name in folders if (place / name).is_symlink()]:
                raise UnsignedBundleRefused(str(place / links[0]), "is a link")
            for name in files:
                if (place / name).relative_to(top).as_posix() not in kept:
                    (place / name).unlink()
    shutil.rmtree(office(work.home, packed.export.audience, packed.export.bundle), ignore_errors=True)


def _remove(hidden: Path) -> None:
    """Let the folder go in two steps: what a killed run leaves of it is what the next export there removes."""
    dead = hidden.with_name(hidden.name.replace(".unsigned-", ".partial-", 1))
    shutil.rmtree(dead, ignore_errors=True)
    hidden.rename(dead)
    sync_directory(dead.parent)
    shutil.rmtree(dead, ignore_errors=True)


def _finished(work: Workplace, place: Path) -> Shipped:
    """Return the bundle at `place` that was finished before. Raises `UnsignedBundleRefused`: there is none."""
    try:
        opened = opening.open_untrusted(reader.gather([place]), work)
    except BundleRefused as exc:
        raise _nothing(place) from exc
    bundle, made = opened.bundle, opened.volumes[0].plan
    with work.store.view() as view:
        if bundle.digest not in {row.digest for row in view.exports()}:
            raise _nothing(place)
    folders = {volume.index: volume.folder.path for volume in opened.volumes}
    packed = Packed(
        layout=Layout(folders.__getitem__, made.volumes, made.parity),
        table=bundle.table,
        export=bundle.export,
        body=bundle.small[bundle.export.path],
        releases=bundle.releases,
        shared={},
    )
    size = sum(size for volume in opened.volumes for size in volume.folder.files.values())
    return handover.shipped(packed, folders=tuple(folders.values()), size=size)


def _nothing(place: Path) -> UnsignedBundleRefused:
    return UnsignedBundleRefused(str(place), "no bundle waits here for its officers")
