"""The record of a transfer: which files, of which formats, for whom, asked for and approved by whom.

Kept at the origin as a signed statement beside the export's event. What people said travels in the export document,
so that the site's record has the same columns; what the files are, both ends read from the manifests.
"""

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

from pipelines.bundle.documents import Export
from pipelines.workplace import Workplace
from registry import manifests
from registry.entities import Version
from registry.names import Ref
from signing.summaries import TransferredFile, exported
from signing.times import from_rfc3339


def export_statement(
    work: Workplace, export: Export, digest: str, *, volumes: int, size: int
) -> dict[str, Any]:
    """Return the statement that a bundle left, unsigned.

    Args:
        digest: SHA-256 of the export document.
        size: bytes on all volumes together.
    """
    with work.store.view() as view:
        versions = [view.version(Ref.parse(_named(release.path))) for release in export.releases]
    return exported(
        [(f"{one.model}@{one.ordinal}", one.digest) for one in versions] or [(export.bundle, digest)],
        bundle=export.bundle,
        sequence=export.sequence,
        export=digest,
        origin=export.origin,
        destination=export.audience,
        files=transferred(versions),
        volumes=volumes,
        size=size,
        transfer=export.transfer,
        actor=work.actor,
        at=from_rfc3339(export.issued_at),
    )


def transferred(versions: Sequence[Version]) -> list[TransferredFile]:
    """Return every file of these versions, as a transfer record lists them."""
    return [
        TransferredFile(
            f"{version.model}@{version.ordinal}/{file.path}", format_of(file.path), file.sha256, file.size
        )
        for version in versions
        for file in manifests.decode(version.manifest.encode()).files
    ]


def format_of(path: str) -> str:
    """Return a file's format as transfer rules mean it: its ending, or `none`."""
    return PurePosixPath(path).suffix.removeprefix(".").lower() or "none"


def _named(path: str) -> str:
    """`releases/acme/coder/2.json` is acme/coder@2."""
    _, namespace, name, number = path.removesuffix(".json").split("/")
    return f"{namespace}/{name}@{number}"
