"""`models add FOLDER`: a folder on this machine becomes a version.

The rules:
1. Only regular files count. A link, a device or a pipe is refused by name, never followed.
2. The world is closed: every file below the folder becomes part of the version, or its name is refused before
   anything is copied. Two exceptions, both reported: `.cache/huggingface`, which the Hugging Face client leaves in
   folders that it fills, and what the caller asked to leave out.
3. A file that changes between listing and the end of reading, or a folder that gains or loses one, is refused.
"""

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import BinaryIO

from pipelines.intake.arrival import Arrived, Meter, cores, full_disk_named, in_parallel, waiting_room
from pipelines.intake.errors import SourceChanged, SourceUnusable
from pipelines.intake.provenance import Source
from pipelines.intake.record import Added, left_out, record, refuse_names
from pipelines.scan.reading import quoted
from pipelines.scan.values import Waiver
from pipelines.workplace import Workplace
from registry.blobs import Progress, copy_hashing, no_progress
from registry.manifests import MAX_FILES, MalformedManifest, check_path
from registry.names import model_name

CLIENT_CACHE = ".cache/huggingface"


@dataclass(frozen=True, order=True)
class Seen:
    """A regular file as the listing saw it; enough to notice that it is another one later."""

    path: str
    size: int  # bytes
    modified: int  # nanoseconds
    device: int
    inode: int


def add_folder(
    work: Workplace,
    model: str,
    folder: Path,
    *,
    waivers: Sequence[Waiver] = (),
    leave_out: Sequence[str] = (),
    signature: bytes | None = None,
    progress: Progress = no_progress,
    expect: Progress = no_progress,
) -> Added:
    """Take a folder's files in as a version of `model`; the files of a version that is there already give that one.

    Args:
        leave_out: patterns (`original/*`, as a shell matches them) of files that are not part of the version.
        signature: the publisher's, where it does not lie among the files.
        progress: called with the bytes just copied, from one thread at a time.
        expect: called once, before any progress, with the bytes that there are.

    Raises:
        NameUnusable: `model` cannot be a model's name.
        SourceUnusable: no folder, an empty one, or one that holds something else than plain files.
        SourceChanged: somebody writes into it.
        ScanBlocked: the files may not come in.
        PublisherRefused: a publisher has to have signed them, and has not.
        SpaceShort: they do not fit.
        HomeBusy: another `add` is at work here.
    """
    model_name(model)
    source = Source("add", {"folder": folder.resolve().name, "model": model})
    with work.home.busy("add"):
        seen = list_folder(folder)
        skipped = left_out((item.path for item in seen), (f"{CLIENT_CACHE}/*", *leave_out))
        chosen = [item for item in seen if item.path not in skipped]
        if not chosen:
            raise SourceUnusable(str(folder), "holds no file that could be part of a model")
        refuse_names(model, [item.path for item in chosen], waivers)
        total = sum(item.size for item in chosen)
        work.blobs.demand_space(total)
        expect(total)
        with waiting_room(work.home, "add") as room, full_disk_named(room, total):
            arrived = _copy_all(folder, chosen, room, Meter(progress))
            _demand_same(folder, seen, list_folder(folder))
            return record(
                work, model, arrived, replace(source, left_out=skipped), waivers=waivers, signature=signature
            )


def list_folder(folder: Path) -> list[Seen]:
    """Return every regular file below `folder`, by path. Follows no link below it. Raises `SourceUnusable`."""
    found: list[Seen] = []
    todo = [""]
    while todo:
        below = todo.pop()
        try:
            with os.scandir(folder / below) as entries:
                for entry in entries:
                    path = below + entry.name
                    mode = _look(folder, path, entry, found)
                    if stat.S_ISDIR(mode):
                        todo.append(f"{path}/")
        except OSError as exc:
            raise SourceUnusable(_shown(folder / below), f"cannot be listed ({exc.strerror})") from exc
        if len(found) > MAX_FILES:
            raise SourceUnusable(_shown(folder), f"holds more than {MAX_FILES} files")
    return sorted(found)


def _look(folder: Path, path: str, entry: os.DirEntry[str], found: list[Seen]) -> int:
    """Note a regular file; return the entry's mode."""
    facts = entry.stat(follow_symlinks=False)
    if not (stat.S_ISREG(facts.st_mode) or stat.S_ISDIR(facts.st_mode)):
        problem = (
            "is a link; put the file itself there" if stat.S_ISLNK(facts.st_mode) else "is no regular file"
        )
        raise SourceUnusable(_shown(folder / path), problem)
    if stat.S_ISREG(facts.st_mode):
        try:
            check_path(path.encode().decode(), at="path")
        except UnicodeEncodeError as exc:
            raise SourceUnusable(_shown(folder / path), "has a name that is not UTF-8") from exc
        except MalformedManifest as exc:
            raise SourceUnusable(_shown(folder / path), exc.problem) from exc
        found.append(Seen(path, facts.st_size, facts.st_mtime_ns, facts.st_dev, facts.st_ino))
    return facts.st_mode


def _copy_all(folder: Path, seen: Sequence[Seen], room: Path, meter: Meter) -> list[Arrived]:
    # The largest first: a big file that starts last would leave the other cores idle at the end.
    jobs = sorted(enumerate(seen), key=lambda job: -job[1].size)
    return in_parallel(jobs, partial(copy_one, folder, room, meter), workers=cores(), meter=meter)


def copy_one(folder: Path, room: Path, meter: Meter, job: tuple[int, Seen]) -> Arrived:
    """Copy a listed file into the waiting room, under its number, while hashing it. Raises `SourceChanged`."""
    number, seen = job
    target = room / str(number)
    with _open(folder, seen) as source, target.open("xb", buffering=0) as sink:
        sha256, size = copy_hashing(_Bounded(source, seen), sink.fileno(), progress=meter)  # type: ignore[arg-type]
        _demand_unchanged(source, seen, size)
        os.fsync(sink.fileno())
    return Arrived(seen.path, size, sha256, target)


class _Bounded:
    """The source as `copy_hashing` reads it: errors named, and an end even where a file grows for ever.

    At most one byte past the listed size is read.
    """

    def __init__(self, source: BinaryIO, seen: Seen) -> None:
        self._source, self._seen, self._left = source, seen, seen.size + 1

    def readinto(self, block: memoryview) -> int:
        try:
            count: int = self._source.readinto(block[: self._left])  # type: ignore[attr-defined]
        except OSError as exc:
            raise SourceUnusable(self._seen.path, f"cannot be read ({exc.strerror})") from exc
        self._left -= count
        return count


def _open(folder: Path, seen: Seen) -> BinaryIO:
    """Open the very file that was listed: not a link, not another one that took its place or its folder's."""
    try:
        # O_NONBLOCK: a pipe put in its place would block the open for ever
        handle = os.open(folder / seen.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as exc:
        raise SourceUnusable(_shown(folder / seen.path), f"cannot be opened ({exc.strerror})") from exc
    source = os.fdopen(handle, "rb", buffering=0)
    facts = os.fstat(handle)
    if (facts.st_dev, facts.st_ino) != (seen.device, seen.inode):
        source.close()
        raise SourceChanged(seen.path, expected="one file", actual="another in its place")
    return source


def _demand_unchanged(source: BinaryIO, seen: Seen, size: int) -> None:
    facts = os.fstat(source.fileno())
    if not size == seen.size == facts.st_size:
        raise SourceChanged(
            seen.path, expected=f"{seen.size} bytes", actual=f"{max(size, facts.st_size)} bytes"
        )
    if facts.st_mtime_ns != seen.modified:
        raise SourceChanged(seen.path, expected="a file at rest", actual="one that was written to meanwhile")


def _demand_same(folder: Path, before: Sequence[Seen], after: Sequence[Seen]) -> None:
    for item in sorted(set(before) ^ set(after)):
        actual = "missing" if item in before else "new or written to meanwhile"
        raise SourceChanged(_shown(folder / item.path), expected="part of a folder at rest", actual=actual)


def _shown(path: Path) -> str:
    return quoted(str(path), limit=1024, quotes=False)
