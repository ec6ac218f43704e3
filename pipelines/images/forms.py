"""The words of the OCI image format that every other module here uses. Pure.

Source: OCI image specification 1.1, `manifest.md`, `descriptor.md`, `image-index.md`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from signing.canonical import canonical_bytes
from signing.digests import sha256_hex

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
EMPTY = "application/vnd.oci.empty.v1+json"
EMPTY_BYTES = b"{}"
REF_NAME = "org.opencontainers.image.ref.name"
CREATED = "org.opencontainers.image.created"
MAX_MANIFEST = (
    4 << 20
)  # bytes; what registries take at most (distribution specification, "Pushing Manifests")


def descriptor(
    media_type: str, digest: str, size: int, annotations: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Name bytes that lie elsewhere. `digest`: SHA-256 in hex; `size` in bytes."""
    found: dict[str, Any] = {"mediaType": media_type, "digest": f"sha256:{digest}", "size": size}
    return {**found, "annotations": dict(annotations)} if annotations else found


def describe(media_type: str, data: bytes, annotations: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The same, of bytes that are at hand."""
    return descriptor(media_type, sha256_hex(data), len(data), annotations)


@dataclass(frozen=True)
class Artifact:
    """A small OCI artifact about a version, with everything that it is made of."""

    type: str  # its artifactType
    manifest: bytes
    blobs: Mapping[str, bytes]  # SHA-256 in hex to bytes: what the manifest names
    annotations: Mapping[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """SHA-256 of the manifest in hex."""
        return sha256_hex(self.manifest)

    def descriptor(self) -> dict[str, Any]:
        """As a list of referrers names it."""
        return {**describe(MANIFEST, self.manifest, self.annotations), "artifactType": self.type}


def artifact(
    kind: str,
    layers: Iterable[tuple[str, str, bytes]],
    *,
    subject: Mapping[str, Any],
    annotations: Mapping[str, str],
) -> Artifact:
    """Make an artifact about `subject`, a descriptor.

    Args:
        kind: its artifactType.
        layers: (media type, file name, bytes) of each.
        annotations: what a client may choose by.
    """
    held = list(layers)
    body = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": kind,
        "config": describe(EMPTY, EMPTY_BYTES),
        "layers": [
            describe(media_type, data, {"org.opencontainers.image.title": name})
            for media_type, name, data in held
        ],
        "subject": dict(subject),
        "annotations": dict(annotations),
    }
    blobs = {sha256_hex(data): data for data in (EMPTY_BYTES, *(data for _, _, data in held))}
    return Artifact(kind, canonical_bytes(body), blobs, annotations)


def index(manifests: Iterable[Mapping[str, Any]]) -> bytes:
    """An image index of these descriptors: the answer to who refers to a subject."""
    return canonical_bytes(
        {"schemaVersion": 2, "mediaType": INDEX, "manifests": [dict(one) for one in manifests]}
    )
