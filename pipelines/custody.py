"""Reads a written medium back and records what was found: which medium it is, who carries it, and that all was there.

At the burning station this is the proof that the disc holds what was packed; at the far end, that it arrived so. What
is read comes from the medium, not from memory: the system is told to forget what it has of each file first.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pipelines.bundle import checks, opening, reader
from pipelines.bundle.crew import LANES
from pipelines.bundle.errors import MediumNotWhole, NotOurBundle
from pipelines.bundle.lanes import Unreadable
from pipelines.bundle.opening import Opened
from pipelines.bundle.plan import MAX_SUMS
from pipelines.bundle.reader import SUMS
from pipelines.bundle.shelf import Spot, Volume, digest_of
from pipelines.workplace import Workplace
from registry.audit import EventKind
from registry.blobs import Progress, no_progress
from registry.entities import Custody
from signing.canonical import canonical_bytes
from signing.digests import sha256_hex
from signing.folder import read_inside
from signing.refusals import MetadataTampered, TrustFileMissing

WHOLE, DAMAGED = "WHOLE", "DAMAGED"


@dataclass(frozen=True)
class Medium:
    """What a person says of the medium."""

    serial: str | None = None  # as printed on it
    seal: str | None = None
    carrier: str | None = None


@dataclass(frozen=True)
class ReadBack:
    """What was found on one volume."""

    bundle: str
    volume: int
    of: int
    folder: Path
    bytes: int  # of stored files that were read
    problems: tuple[str, ...]

    @property
    def outcome(self) -> str:
        """WHOLE or DAMAGED."""
        return DAMAGED if self.problems else WHOLE


def verify_media(
    work: Workplace,
    dirs: Sequence[Path],
    *,
    medium: Medium = Medium(),
    progress: Progress = no_progress,
    expect: Progress = no_progress,
) -> list[ReadBack]:
    """Read every volume in these folders back and record each one's outcome.

    Raises:
        NotABundle, BundlesMixed, MediumUnreadable and the like: there is no one bundle to speak of.
        NotOurBundle: an origin reads back what it made itself.
        MediumNotWhole: after all was recorded; something on a volume is not what was packed.
    """
    folders = reader.gather(dirs)
    opened = _opened(work, folders)
    export = opened.bundle.digest
    expect(sum(size for volume in opened.volumes for _name, size in volume.stored(opened.bundle).values()))
    found = [_read_back(opened, volume, progress) for volume in opened.volumes]
    unread = {folder.path for folder in folders} - {volume.folder.path for volume in opened.volumes}
    for folder in (folder for folder in folders if folder.path in unread):
        wrong = tuple(note for note in opened.notes if note.startswith(f"{folder.name},"))
        if folder.refusal is not None:
            wrong = (str(folder.refusal),)
        label = folder.label
        found.append(
            ReadBack(
                opened.bundle.export.bundle, label.index, label.of, folder.path, 0, wrong or ("not readable",)
            )
        )
    _record(work, export, found, medium)
    if any(one.problems for one in found):
        raise MediumNotWhole(
            opened.bundle.export.bundle, [problem for one in found for problem in one.problems]
        )
    return found


def _opened(work: Workplace, folders: Sequence[reader.VolumeFolder]) -> Opened:
    """Return the bundle if it was made here, or if this site may believe it."""
    seen = opening.open_untrusted(folders, work)  # held against our own record by its digest
    with work.store.view() as view:
        if seen.bundle.digest in {row.digest for row in view.exports()}:
            return seen
        memory = opening.remembered(view)
    if work.home.is_site:
        return opening.open_bundle(folders, memory, work)
    problem = "no such bundle was made here, or not with these documents"
    raise NotOurBundle(seen.bundle.export.bundle, problem=problem)


def _read_back(opened: Opened, volume: Volume, progress: Progress) -> ReadBack:
    bundle, folder = opened.bundle, volume.folder
    problems = [*checks.short_files(bundle, volume), *checks.undeclared(bundle, volume)]
    jobs = [
        (path, name, size)
        for path, (name, size) in sorted(volume.stored(bundle).items())
        if folder.files.get(path) == size
    ]

    def read(job: tuple[str, str, int]) -> str | None:
        path, name, size = job
        place = folder.path / path
        _forget(place)
        try:
            actual = digest_of(Spot(place, folder.name), size)
        except Unreadable as exc:
            return f"{folder.name}, {path}: {exc}"
        progress(size)
        return None if actual == name else f"{folder.name}, {path}: holds other bytes"

    with ThreadPoolExecutor(LANES, thread_name_prefix="read back") as pool:
        problems += [problem for problem in pool.map(read, jobs) if problem]
    label = folder.label
    size = sum(size for _path, _name, size in jobs)
    return ReadBack(label.bundle, label.index, label.of, folder.path, size, tuple(problems))


def _forget(place: Path) -> None:
    with suppress(OSError):
        handle = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(handle)


def _sums(folder: Path) -> str:
    """Return the SHA-256 of the list on a volume; of nothing where it is no plain file of its size, or unreadable."""
    try:
        return sha256_hex(read_inside(folder, SUMS, max_bytes=MAX_SUMS))
    except (TrustFileMissing, MetadataTampered):
        return sha256_hex(b"")


def _record(work: Workplace, export: str, found: Sequence[ReadBack], medium: Medium) -> None:
    sums = [_sums(one.folder) for one in found]  # before the change: the registry waits for no medium
    with work.store.change(actor=work.actor, now=work.now) as change:
        for one, seen in zip(found, sums, strict=True):
            body = {"bytes": one.bytes, "problems": list(one.problems[:1000])}
            row = Custody(
                bundle=one.bundle,
                export=export,
                volume=one.volume,
                of=one.of,
                sums=seen,
                outcome=one.outcome,
                serial=medium.serial,
                seal=medium.seal,
                carrier=medium.carrier,
                body=canonical_bytes(body).decode(),
                since=change.now,
                actor=change.actor,
            )
            note = {"bundle": one.bundle, "volume": one.volume, "outcome": one.outcome, **vars(medium)}
            change.record(EventKind.MEDIUM_VERIFIED, export, row, note=note)
