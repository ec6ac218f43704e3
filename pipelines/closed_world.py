"""Whether a folder holds a version and nothing else: what a model signature does not cover is covered here.

A signature over a model lists contents. It says nothing of an empty folder, of modes, of sizes, of the names that it
always leaves out (`.git`, `.github`), and its own digest says nothing of names. Any of these may change what an
engine does with the files, so all of them are compared with the manifest, both ways.

Files are hashed once, on all cores, opened without following links. Nothing is written.
"""

import hashlib
import os
import stat
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import BinaryIO

from pipelines.intake.arrival import cores
from pipelines.intake.errors import SourceUnusable
from pipelines.scan.reading import quoted
from pipelines.signed_files import File
from registry.blobs import Progress, no_progress
from registry.manifests import MAX_FILES, Manifest
from signing.digests import BLOCK

_MAX_FOUND = 1000  # findings; a folder of something else has as many as it has files


@dataclass
class Look:
    """What lies in a folder, before anything of it is read."""

    files: dict[str, int] = field(default_factory=dict)  # path to bytes
    found: list[str] = field(default_factory=list)  # in words


def look(folder: Path) -> Look:
    """List a folder: plain files, and everything about names and modes that no version has.

    Raises:
        SourceUnusable: it cannot be listed.
    """
    seen, todo = Look(), [""]
    while todo:
        below = todo.pop()
        try:
            with os.scandir(folder / below) as entries:
                listed = [(entry.name, entry.stat(follow_symlinks=False)) for entry in entries]
        except OSError as exc:
            place = quoted(str(folder / below), limit=1024, quotes=False)
            raise SourceUnusable(place, f"cannot be listed ({exc.strerror})") from exc
        if below and not listed:
            seen.found.append(f"{_shown(below)} is an empty folder")
        for name, facts in listed:
            path = below + name
            if stat.S_ISDIR(facts.st_mode):
                todo.append(f"{path}/")
            _note(seen, path, facts)
        if len(seen.files) > MAX_FILES or len(seen.found) > _MAX_FOUND:
            raise SourceUnusable(
                quoted(str(folder), limit=1024, quotes=False), "holds far more than a version"
            )
    return seen


def differences(
    folder: Path, manifest: Manifest, *, progress: Progress = no_progress, expect: Progress = no_progress
) -> list[str]:
    """Return every way in which a folder is not the version, in words; none if it is.

    Args:
        progress: called with the bytes just read, from several threads.
        expect: called once, before any progress, with the bytes that there are.

    Raises:
        SourceUnusable: it cannot be listed.
    """
    seen = look(folder)
    wanted = {entry.path: entry for entry in manifest.files}
    found = list(seen.found)
    found += [f"{_shown(path)} is not part of the version" for path in sorted(set(seen.files) - set(wanted))]
    found += [f"{path} is missing" for path in sorted(set(wanted) - set(seen.files))]
    both = {path: seen.files[path] for path in wanted if path in seen.files}
    found += [f"{path} has another size" for path in sorted(both) if both[path] != wanted[path].size]
    same = {path: size for path, size in both.items() if size == wanted[path].size}
    hashed = hash_files(folder, same, progress=progress, expect=expect)
    return found + [f"{path} has other bytes" for path in sorted(same) if hashed[path] != wanted[path].sha256]


def files_in(
    folder: Path, seen: Look, *, progress: Progress = no_progress, expect: Progress = no_progress
) -> dict[str, File]:
    """Hash every file that was seen, and return them as a signature is compared with."""
    hashed = hash_files(folder, seen.files, progress=progress, expect=expect)
    return {
        path: File(size, hashed[path], partial(_open, folder / path)) for path, size in seen.files.items()
    }


def hash_files(
    folder: Path,
    files: Mapping[str, int],
    *,
    progress: Progress = no_progress,
    expect: Progress = no_progress,
) -> dict[str, str]:
    """Return path to SHA-256. The largest first: one that starts last would leave the other cores idle.

    A file that cannot be opened any more, or that is another one now, has no digest: an empty text.
    """
    expect(sum(files.values()))
    order = sorted(files, key=lambda path: (-files[path], path))
    with ThreadPoolExecutor(cores(), thread_name_prefix="verify") as pool:
        digests = list(pool.map(lambda path: _hash(folder / path, files[path], progress), order))
    return dict(zip(order, digests, strict=True))


def _note(seen: Look, path: str, facts: os.stat_result) -> None:
    mode = facts.st_mode
    if stat.S_ISREG(mode):
        seen.files[path] = facts.st_size
        if mode & (stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH):
            seen.found.append(f"{_shown(path)} is executable")
    elif not stat.S_ISDIR(mode):
        kind = "a link" if stat.S_ISLNK(mode) else "no regular file"
        seen.found.append(f"{_shown(path)} is {kind}")
        return
    if mode & (stat.S_ISUID | stat.S_ISGID) and stat.S_ISREG(mode):
        seen.found.append(f"{_shown(path)} runs as its owner")
    if mode & stat.S_IWOTH:
        seen.found.append(f"{_shown(path)} may be written to by anybody")


def _hash(path: Path, size: int, progress: Progress) -> str:
    total, block, left = hashlib.sha256(), memoryview(bytearray(BLOCK)), size
    try:
        with _open(path) as stream:
            while count := stream.readinto(block):  # type: ignore[attr-defined]
                total.update(block[:count])
                progress(count)
                left -= count
                if left < 0:
                    break
    except OSError:
        return ""
    return total.hexdigest() if left == 0 else ""


def _open(path: Path) -> BinaryIO:
    # O_NONBLOCK: a pipe put in its place would block the open for ever
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    return os.fdopen(handle, "rb", buffering=0)


def _shown(path: str) -> str:
    return quoted(path.rstrip("/"), limit=512, quotes=False)
