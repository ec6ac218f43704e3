"""The ceremony in which officers elsewhere sign for a bundle that is packed already."""

from dataclasses import dataclass
from pathlib import Path

from pipelines.bundle.cargo import signed_paths
from pipelines.bundle.reader import document_path
from pipelines.shipment_words import manifest_path
from pipelines.unsigned import Unsigned
from pipelines.workplace import Workplace
from signing import draft_making
from signing.drafts import Draft
from signing.repository import TrustState
from signing.roots import CATALOG


@dataclass(frozen=True)
class Drafted:
    """A bundle that waits for its officers."""

    bundle: str
    sequence: int
    site: str
    hidden: Path  # where it waits
    ceremony: Path
    roles: tuple[str, ...]  # that have to sign
    versions: tuple[str, ...]  # namespace/name@ordinal
    bytes: int  # of chunks and parity
    notes: tuple[str, ...]


def draft_of(work: Workplace, state: TrustState, waiting: Unsigned) -> Draft:
    """Return the ceremony, with all that an officer's machine needs to say in words what is signed.

    Raises: as `draft_making.publishing`.
    """
    packed = waiting.packed
    known = {*signed_paths(state, CATALOG), *waiting.relayed}
    payloads = {packed.export.path: packed.body}
    evidence: dict[str, bytes] = {}
    for release in packed.releases:
        (evidence if release.path in known else payloads)[release.path] = packed.shared[release.path]
        evidence[manifest_path(release.digest)] = packed.shared[document_path(release.digest)]
    return draft_making.publishing(state, payloads, work.home.name, now=work.now, evidence=evidence)


def drafted(waiting: Unsigned, draft: Draft, ceremony: Path) -> Drafted:
    """Return what was begun."""
    packed = waiting.packed
    return Drafted(
        bundle=packed.export.bundle,
        sequence=packed.export.sequence,
        site=packed.export.audience,
        hidden=waiting.hidden,
        ceremony=ceremony,
        roles=tuple(draft.documents),
        versions=tuple(f"{release.model}@{release.ordinal}" for release in packed.releases),
        bytes=sum(volume.bytes for volume in packed.layout.volumes),
        notes=packed.notes,
    )
