"""Frees space: removes what nobody can need any more, and says first what that is and why.

`registry.keeping` decides which versions' bytes may go; here are the facts it needs, the rubbish that crashes and
finished work leave behind, and the removing itself. The steps of `collect`, and why they survive a crash:

1. Be alone with the store: imports, exports, intakes and hand-overs hold it for their whole time, so none of them
   sees a blob go, and what lies half-written belongs to nobody alive. A rollback needs no lock: what it could
   choose is never removable.
2. Rubbish first: it needs no record, and what it frees is there for the next steps.
3. Version by version: one transaction records the removal, then the version's blobs go. Killed between, the next run
   finds blobs of a version that is recorded as removed, and takes them without another record.
4. `index.json` is written anew, without the versions whose bytes are gone.

On a full disk the caller lends the home's reserve (`registry.reserve`) before it opens the database.
"""

import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.baseline import Baseline, State, baseline
from pipelines.bundle.documents import MAX_EXPORT, release_path
from pipelines.bundle.reader import modelpack_config
from pipelines.errors import BundleRefused
from pipelines.intake.record import republish_index
from pipelines.inventory import named
from pipelines.removed import removed
from pipelines.workplace import Workplace
from registry import keeping, reserve
from registry.audit import EventKind
from registry.entities import Removal, Version
from registry.errors import BlobDamaged, NotFound
from registry.keeping import Facts, Line, Removable, Stored, Transfer
from registry.manifests import MAX_BYTES, decode
from registry.views import View
from signing.canonical import parse
from signing.digests import is_sha256
from signing.times import rfc3339

_PREFIX = 8  # characters that name a quarantine folder


@dataclass(frozen=True)
class Rubbish:
    """Something that nobody needs and no record speaks of."""

    what: str
    place: Path
    bytes: int


@dataclass(frozen=True)
class Waiting:
    """A folder in quarantine that stays: work to be finished, or evidence of what was refused."""

    name: str
    what: str
    bytes: int


@dataclass(frozen=True)
class Plan:
    """What goes and what stays."""

    versions: keeping.Plan
    rubbish: tuple[Rubbish, ...]
    waiting: tuple[Waiting, ...]
    discarded: tuple[Waiting, ...]  # folders in quarantine that a person gave up; in `rubbish` too
    linked: int  # bytes among those that go which folders handed over to engines still hold
    in_use: bool = False  # others are at work: what is half-written, and the quarantine, were not looked at

    @property
    def bytes(self) -> int:
        """Bytes that go."""
        return sum(item.bytes for item in self.versions.removable) + sum(item.bytes for item in self.rubbish)


def plan(work: Workplace, *, discard: Sequence[str] = ()) -> Plan:
    """Say what `collect` would remove now, and what stays and why. Writes nothing.

    Args:
        discard: folders in quarantine to give up, by the first characters of their names or the bundle's id.

    Raises:
        NotFound: no such folder, or several.
    """
    return _plan(work, discard, in_use=work.home.store_in_use())


def _plan(work: Workplace, discard: Sequence[str], *, in_use: bool) -> Plan:
    sizes = work.blobs.sizes()
    with work.store.view() as view:
        look = _Look(work, view, sizes)
        versions = keeping.keep(look.facts())
        waiting, rubbish = ([], []) if in_use else look.quarantine()
        unnamed = look.unnamed()
    given_up = tuple(_chosen(waiting, name, look.bundles) for name in dict.fromkeys(discard))
    waiting = [room for room in waiting if room not in given_up]
    rubbish += [Rubbish("given up", work.home.quarantine / room.name, room.bytes) for room in given_up]
    if not in_use:
        rubbish += _half_written(work)
    what = "left over of a version removed before"
    rubbish += [_blob(work, what, name, size) for name, size in versions.leftovers.items()]
    # A bundle that died just before its transaction has named blobs in the store already.
    if not in_use and not waiting:
        rubbish += [_blob(work, "a blob that nothing names", name, sizes[name]) for name in unnamed]
    going = [*(item.place for item in rubbish), *_places(work, versions.removable)]
    linked = sum(map(_linked, going))
    return Plan(versions, tuple(rubbish), tuple(waiting), given_up, linked=linked, in_use=in_use)


def collect(work: Workplace, *, discard: Sequence[str] = ()) -> Plan:
    """Remove what `plan` says; the steps are at the top of this module. Returns what was removed, and what stayed.

    Raises:
        NotFound: see `plan`.
        HomeBusy: somebody imports, exports, takes in or hands over; nothing was changed.
    """
    with work.home.store_alone():
        found = _plan(work, discard, in_use=False)
        for room in found.discarded:
            _record_discard(work, room)
        for item in found.rubbish:
            _remove(work, item)
        for version in found.versions.removable:
            _record_removal(work, version)
            work.blobs.remove(version.blobs)
        republish_index(work)
    reserve.set_aside(work.home.path)
    return found


class _Look:
    """One consistent look at the registry and the store."""

    def __init__(self, work: Workplace, view: View, sizes: Mapping[str, int]) -> None:
        self._work, self._view, self._sizes = work, view, sizes
        self._versions = view.versions()
        self._manifests = {row.digest: decode(row.manifest.encode()) for row in self._versions}
        self._released = {release_path(row.model, row.ordinal): row.digest for row in self._versions}
        self._imports = {row.digest: _read_export(row.body) for row in view.imports()}
        self.bundles = {row.digest: row.bundle for row in view.imports()}
        self._sites: dict[str, Baseline] = {row.name: baseline(view, row.name) for row in view.sites()}
        self._transfers = [*self._leaving(), *self._arriving()]

    def facts(self) -> Facts:
        """What the rule needs."""
        gone = removed(self._view, self._work.blobs)
        return Facts(
            versions=[
                Stored(row.digest, row.model, row.ordinal, self._held(row), row.digest in gone)
                for row in self._versions
            ],
            history=[Line(pin.tier, pin.model, pin.version, pin.ordinal) for pin in self._view.pin_history()],
            withdrawn={row.version: row.reason for row in self._view.withdrawals()},
            transfers=self._transfers,
            acknowledged={site: known.held for site, known in self._sites.items()},
        )

    def _held(self, row: Version) -> dict[str, int]:
        names = {entry.sha256 for entry in self._manifests[row.digest].files}
        return {name: self._sizes[name] for name in sorted(names) if name in self._sizes}

    def _leaving(self) -> Iterator[Transfer]:
        """Bundles that no receipt and nobody's word has followed: a repair may be asked for."""
        for site, known in self._sites.items():
            sent = {row.sequence: _read_export(row.body) for row in self._view.exports(site)}
            for one in known.bundles:
                export = sent[one.sequence]
                if one.state is State.ASSUMED or (
                    one.state is State.EXPORTED and not export.carried <= known.held
                ):
                    why = f"{site} has not acknowledged bundle {one.bundle}"
                    yield Transfer(why, self._digests(export), export.needed)

    def _arriving(self) -> Iterator[Transfer]:
        """Bundles taken in of which something is still to come."""
        for digest, export in self._imports.items():
            if not self._complete(digest):
                why = f"bundle {self.bundles[digest]} is not wholly taken in"
                yield Transfer(why, self._digests(export), export.needed)

    def _digests(self, export: "_Export") -> frozenset[str]:
        return frozenset(self._released[path] for path in export.releases if path in self._released)

    def _complete(self, digest: str) -> bool:
        """Whether every version of an imported bundle is here, and nothing of it is just being brought back."""
        export = self._imports[digest]
        being_brought = (self._work.home.quarantine / digest).exists()
        whole = not being_brought or export.carried <= self._sizes.keys()
        return whole and export.releases <= self._released.keys()

    def quarantine(self) -> tuple[list[Waiting], list[Rubbish]]:
        """Return the folders that stay, and those that are of no use any more."""
        waiting: list[Waiting] = []
        rubbish: list[Rubbish] = []
        for place in sorted(self._work.home.quarantine.iterdir()):
            what, over = self._room(place.name)
            if over and place.is_dir() and not place.is_symlink():
                rubbish.append(Rubbish(what, place, _bytes(place)))
            else:
                waiting.append(Waiting(place.name, what, _bytes(place)))
        return waiting, rubbish

    def _room(self, name: str) -> tuple[str, bool]:
        """What a folder in quarantine is, and whether it is over with."""
        if name.startswith("add-"):  # nobody else is at work, and the next `add` begins anew
            return "files of an intake that died", True
        if name.startswith("fetch-"):
            commits = {manifest.upstream.commit for manifest in self._manifests.values() if manifest.upstream}
            over = name.removeprefix("fetch-") in commits
            return (
                "a download that is a version by now" if over else "an unfinished or refused download"
            ), over
        if name in self._imports:
            over = self._complete(name)
            return f"bundle {self.bundles[name]}, {'' if over else 'not '}wholly taken in", over
        return "an unfinished or refused import" if is_sha256(
            name
        ) else "nothing that Tidegate put there", False

    def unnamed(self) -> list[str]:
        """Return the blobs that no version, document, ModelPack manifest or bundle on its way names."""
        known = {entry.sha256 for manifest in self._manifests.values() for entry in manifest.files}
        known.update(blob for transfer in self._transfers for blob in transfer.blobs)
        for row in self._versions:
            known |= {row.modelpack, *_config(self._work, row)}
        return sorted(
            name for name in self._sizes.keys() - known if self._view.document_by_digest(name) is None
        )


@dataclass(frozen=True)
class _Export:
    """What an export document that was recorded here says of blobs and versions; read loosely, it is our own row."""

    releases: frozenset[str]  # paths
    carried: frozenset[str]
    needed: frozenset[str]  # the carried ones, those left out and those that deltas read


def _read_export(body: str) -> _Export:
    document: dict[str, Any] = parse(body.encode(), max_bytes=MAX_EXPORT, at="export")
    blobs = named(body)
    releases = frozenset(release["path"] for release in document["releases"])
    return _Export(releases, frozenset(blobs.carried), blobs.all)


def _config(work: Workplace, row: Version) -> set[str]:
    """Return the configuration that a version's ModelPack manifest names; none when that cannot be read."""
    try:
        pack = work.blobs.read(row.modelpack, max_bytes=MAX_BYTES)
        return {modelpack_config(pack, at=row.modelpack)}
    except (NotFound, BlobDamaged, BundleRefused):
        return set()


def _chosen(waiting: Iterable[Waiting], name: str, bundles: Mapping[str, str]) -> Waiting:
    found = [
        room
        for room in waiting
        if room.name == name
        or (len(name) >= _PREFIX and room.name.startswith(name))
        or bundles.get(room.name) == name
    ]
    if len(found) != 1:
        raise NotFound("folder in quarantine", name)
    return found[0]


def _half_written(work: Workplace) -> Iterator[Rubbish]:
    """Files and folders that writers leave when they are killed; nobody writes now."""
    home = work.home
    places = [*work.blobs.tmp.iterdir(), *work.blobs.root.glob(".index.json.*")]
    places += home.path.glob(f".partial-{home.name}-*")  # an export into the home's own folder
    for place in sorted(places):
        yield Rubbish("half-written when its command died", place, _bytes(place))


def _blob(work: Workplace, what: str, name: str, size: int) -> Rubbish:
    return Rubbish(what, work.blobs.path(name), size)


def _places(work: Workplace, items: Iterable[Removable]) -> Iterator[Path]:
    return (work.blobs.path(name) for item in items for name in item.blobs)


def _linked(place: Path) -> int:
    """Bytes of a file that another folder holds too: removed here, they are not free."""
    try:
        facts = place.lstat()
    except FileNotFoundError:  # a plan is no lock: somebody was quicker
        return 0
    return facts.st_size if stat.S_ISREG(facts.st_mode) and facts.st_nlink > 1 else 0


def _bytes(place: Path) -> int:
    """Bytes of a file, or of all files below a folder. Follows no link; what goes meanwhile counts for nothing."""
    if not place.is_symlink() and place.is_dir():
        return sum(map(_bytes, place.iterdir()))
    try:
        return place.lstat().st_size
    except FileNotFoundError:
        return 0


def _remove(work: Workplace, item: Rubbish) -> None:
    place = item.place
    if place == work.blobs.path(place.name):
        work.blobs.remove([place.name])
    elif place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)


def _record_discard(work: Workplace, room: Waiting) -> None:
    """Evidence does not go without a line in the log."""
    with work.store.change(actor=work.actor, now=work.now) as change:
        note = {"quarantine": room.name, "what": room.what, "bytes": room.bytes}
        change.record(EventKind.BYTES_REMOVED, room.name, note=note)


def _record_removal(work: Workplace, item: Removable) -> None:
    row = Removal(
        version=item.version.digest,
        reason=item.reason,
        bytes=item.bytes,
        since=rfc3339(work.now),
        actor=work.actor,
    )
    with work.store.change(actor=work.actor, now=work.now) as change:
        change.record(EventKind.BYTES_REMOVED, item.version.digest, row, note={"blobs": len(item.blobs)})
