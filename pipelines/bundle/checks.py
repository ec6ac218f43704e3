"""Preflight: do the volumes hold what the documents promise? Everything that is wrong, at once.

Takes listings and documents, returns refusals; the caller raises them. Nothing is read here.
"""

import re
from collections.abc import Collection, Sequence

from pipelines.bundle.errors import ChunksMissing, UndeclaredFile, VolumeMissing
from pipelines.bundle.plan import Plan
from pipelines.bundle.reader import STORED, SUMS, Bundle, declared
from pipelines.bundle.shelf import Volume
from pipelines.errors import BundleRefused

_TRUST_FILE = re.compile(
    r"(?:trust|upstream)/(?:timestamp|[1-9][0-9]{0,8}\.[a-z0-9-]{1,80})(?:\.root|)\.json"
)


def problems_of(bundle: Bundle, volumes: Sequence[Volume], *, lost: Collection[str]) -> list[BundleRefused]:
    """Return every problem of the volumes that are here, and of those that are not.

    Args:
        lost: the chunks that are needed, are not here, and cannot be rebuilt; only these make a volume missing.
    """
    found: list[BundleRefused] = []
    missing = missing_volumes(volumes, lost)
    for plan, indices in missing:
        found.append(volume_missing(plan, indices, volumes))
    elsewhere = {
        chunk for plan, indices in missing for index in indices for chunk in plan.volumes[index - 1].chunks
    }
    chunks = [line for volume in volumes for line in wrong_files(bundle, volume, set(lost) - elsewhere)]
    named = {line.rpartition("/")[2].partition(":")[0].partition(".")[0] for line in chunks}
    chunks += [
        f"{bundle.chunks[chunk].path}: on none of the volumes given"
        for chunk in sorted(set(lost) - elsewhere - named)
    ]
    if chunks:
        found.append(ChunksMissing(chunks))
    strangers = [line for volume in volumes for line in undeclared(bundle, volume)]
    if strangers:
        found.append(UndeclaredFile(strangers))
    return found


def volume_missing(plan: Plan, indices: Sequence[int], volumes: Sequence[Volume]) -> VolumeMissing:
    """Return the refusal for volumes of a plan that are not here; with parity, fewer than all of them will do."""
    here = {volume.index for volume in volumes if volume.plan == plan}
    across = [parity for parity in plan.parity if parity.across]
    spare = sum(2 if parity.q else 1 for parity in across)
    absent = [volume.index for volume in plan.volumes if volume.index not in here]
    enough = max(1, len(absent) - spare) if across else None
    return VolumeMissing(plan.bundle, missing=indices, of=len(plan.volumes), enough=enough)


def missing_volumes(volumes: Sequence[Volume], lost: Collection[str]) -> list[tuple[Plan, list[int]]]:
    """Return which volumes of the first whole plan that is here would bring the lost chunks."""
    plan = next((volume.plan for volume in volumes if not volume.plan.repairs), None)
    if plan is None:
        return []
    here = {volume.index for volume in volumes if volume.plan == plan}
    place = plan.volume_of()
    indices = sorted({place[chunk] for chunk in lost if chunk in place} - here)
    return [(plan, indices)] if indices else []


def wrong_files(bundle: Bundle, volume: Volume, of: Collection[str]) -> list[str]:
    """Return the stored files among `of` that are absent from this volume or have another size there."""
    lines = []
    for path, (name, size) in volume.stored(bundle).items():
        actual = volume.folder.files.get(path)
        if name in of and actual != size:
            problem = "missing" if actual is None else f"{actual} bytes instead of {size}"
            lines.append(f"{volume.folder.name}, {path}: {problem}")
    return lines


def short_files(bundle: Bundle, volume: Volume) -> list[str]:
    """Return every stored file that this volume should hold and does not, or with another size."""
    return wrong_files(bundle, volume, {name for name, _size in volume.stored(bundle).values()})


def wrong_sums(bundle: Bundle, volume: Volume) -> list[str]:
    """Return every line of a volume's SHA256SUMS that is missing, or that says otherwise than the signed plan.

    The plan is what counts; but nobody with coreutils alone shall be told that a bad chunk is good.
    """
    stored = {path: name for path, (name, _size) in volume.stored(bundle).items()}
    listed = volume.small.listed
    missing = {*bundle.small, *declared(bundle), *stored} - {SUMS} - set(listed)
    wrong = [
        path for path, digest in listed.items() if path.startswith(STORED) and stored.get(path) != digest
    ]
    return [
        *(f"{volume.folder.name}, {SUMS}: does not list {path}" for path in sorted(missing)),
        *(f"{volume.folder.name}, {SUMS}: says otherwise than the plan of {path}" for path in wrong),
    ]


def undeclared(bundle: Bundle, volume: Volume) -> list[str]:
    """Return, volume by name, every file that no document accounts for, and everything that is no plain file."""
    known = {*declared(bundle), *volume.stored(bundle)}
    extra = [path for path in volume.folder.files if path not in known and not _is_trust(path, bundle)]
    emptied = {
        path[: path.rindex("/") + 1] for path in known if "/" in path
    }  # what lay there is gone: said elsewhere
    strange = [path for path in volume.folder.strange if path not in emptied]
    return [f"{volume.folder.name}, {path}" for path in sorted((*extra, *strange))]


def _is_trust(path: str, bundle: Bundle) -> bool:
    """Trust metadata that the believed volume lists too; the trust walk decides what it is worth."""
    return _TRUST_FILE.fullmatch(path) is not None and path in bundle.small
