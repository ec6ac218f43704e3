"""Preflight: do the volumes hold what the documents promise? Everything that is wrong, at once.

Takes listings and documents, returns refusals; the caller raises them. Nothing is read here.
"""

import re
from collections.abc import Collection, Mapping, Sequence

from pipelines.bundle.errors import (
    ChunksMissing,
    FilesDamaged,
    MalformedBundle,
    UndeclaredFile,
    VolumeMissing,
)
from pipelines.bundle.reader import SUMS, Bundle, VolumeFolder, declared
from pipelines.bundle.tables import chunk_path, label_of
from pipelines.errors import BundleRefused

_TRUST_FILE = re.compile(r"trust/(?:timestamp|[1-9][0-9]{0,8}\.[a-z0-9-]{1,80})(?:\.root|)\.json")


def problems_of(
    bundle: Bundle,
    volumes: Sequence[VolumeFolder],
    *,
    listed: Mapping[int, Collection[str]],
    needed: Collection[str],
) -> list[BundleRefused]:
    """Return every problem of the volumes that are here, and of those that are not.

    Args:
        listed: volume to the paths in its SHA256SUMS.
        needed: the chunks that still have to be read; only these make a volume missing.
    """
    found: list[BundleRefused] = []
    here = {volume.label.index for volume in volumes}
    missing = sorted({bundle.volume_of[chunk] for chunk in needed} - here)
    if missing:
        found.append(VolumeMissing(bundle.export.bundle, missing=missing, of=len(bundle.plan.volumes)))
    for volume in volumes:
        expected = (
            label_of(bundle.plan, volume.label.index)
            if volume.label.index <= len(bundle.plan.volumes)
            else None
        )
        if volume.label != expected:
            found.append(
                MalformedBundle("is not what the plan says of this volume", at=f"{volume.name}, volume.json")
            )
    unlisted = [line for volume in volumes for line in _unlisted(bundle, volume, listed[volume.label.index])]
    if unlisted:
        found.append(FilesDamaged(unlisted))
    chunks = [line for volume in volumes for line in _wrong_chunks(bundle, volume)]
    if chunks:
        found.append(ChunksMissing(chunks))
    strangers = [line for volume in volumes for line in undeclared(bundle, volume)]
    if strangers:
        found.append(UndeclaredFile(strangers))
    return found


def _held(bundle: Bundle, volume: VolumeFolder) -> Mapping[str, str]:
    """Path to chunk of what the plan puts on this volume."""
    index = volume.label.index
    if index > len(bundle.plan.volumes):
        return {}
    return {chunk_path(chunk): chunk for chunk in bundle.plan.volumes[index - 1].chunks}


def _wrong_chunks(bundle: Bundle, volume: VolumeFolder) -> list[str]:
    lines = []
    for path, chunk in _held(bundle, volume).items():
        size, actual = bundle.chunk_sizes[chunk], volume.files.get(path)
        if actual is None:
            lines.append(f"{volume.name}, {path}: missing")
        elif actual != size:
            lines.append(f"{volume.name}, {path}: {actual} bytes instead of {size}")
    return lines


def _unlisted(bundle: Bundle, volume: VolumeFolder, listed: Collection[str]) -> list[str]:
    expected = {*bundle.small, *_held(bundle, volume)} - {SUMS}
    return [f"{volume.name}, {SUMS}: does not list {path}" for path in sorted(expected - set(listed))]


def undeclared(bundle: Bundle, volume: VolumeFolder) -> list[str]:
    """Return, volume by name, every file that no document accounts for, and everything that is no plain file."""
    known = {*declared(bundle), *_held(bundle, volume)}
    extra = [path for path in volume.files if path not in known and not _is_trust(path, bundle)]
    return [f"{volume.name}, {path}" for path in sorted((*extra, *volume.strange))]


def _is_trust(path: str, bundle: Bundle) -> bool:
    """Trust metadata that the first volume lists too; the trust walk decides what it is worth."""
    return _TRUST_FILE.fullmatch(path) is not None and path in bundle.small
