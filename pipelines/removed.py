"""Versions whose bytes were removed here. The record of it stays for good; the bytes may come back.

A removal is recorded before the first blob goes. So a version counts as removed when that is recorded and a blob
is missing: brought back whole, by an import or an intake of the same files, it is a version like any other.
"""

from pipelines.workplace import Workplace
from registry.blobs import BlobStore
from registry.entities import Removal, Version
from registry.keeping import BytesRemoved
from registry.manifests import decode
from registry.views import View


def removed(view: View, blobs: BlobStore) -> dict[str, Removal]:
    """Return the newest removal of every version that is not whole since; by the version's digest."""
    newest = {row.version: row for row in view.removals()}
    return {
        digest: row
        for digest, row in newest.items()
        if (version := view.version_by_digest(digest)) is not None and not whole(version, blobs)
    }


def whole(version: Version, blobs: BlobStore) -> bool:
    """Say whether the store has every file of the version, by name."""
    return all(blobs.has(entry.sha256) for entry in decode(version.manifest.encode()).files)


def demand_bytes(work: Workplace, view: View, version: Version) -> None:
    """Raise `BytesRemoved` when the version's bytes were removed here and have not come back."""
    rows = [row for row in view.removals() if row.version == version.digest]
    if rows and not whole(version, work.blobs):
        last = rows[-1]
        ref = f"{version.model}@{version.ordinal}"
        raise BytesRemoved(ref, since=last.since, by=last.actor, reason=last.reason)
