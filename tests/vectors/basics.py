"""Fixed keys and moments, and the one table and export that most vectors vary."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner

from pipelines.bundle import documents, history, tables
from pipelines.bundle.documents import (
    AssumedReceived,
    Export,
    Lines,
    ShippedDocument,
    ShippedRelease,
    Sized,
)
from pipelines.bundle.history import Sent
from pipelines.bundle.tables import Chunk, Part, Table
from signing.canonical import canonical_bytes
from signing.keys import public_key_json

VECTORS = Path(__file__).parents[2] / "airgap-bundles" / "vectors" / "v1"
MOMENT = "2026-11-20T12:00:00Z"
Files = Iterator[tuple[str, bytes]]


def digest(what: str) -> str:
    return hashlib.sha256(what.encode()).hexdigest()


def signer(name: str) -> CryptoSigner:
    """A key that everybody knows."""
    seed = hashlib.sha256(f"tidegate vectors, key of {name}".encode()).digest()
    return CryptoSigner(Ed25519PrivateKey.from_private_bytes(seed))


STATION = signer("the station")
PACKER = json.loads(public_key_json(STATION))


def lines_of(data: bytes) -> Lines:
    return Lines(hashlib.sha256(data).hexdigest(), len(data), data.count(b"\n"))


BASE, OLD, NEW, EMPTY = (
    Sized(digest(name), size) for name, size in (("base", 9000), ("old", 40), ("new", 9100), ("", 0))
)
HISTORY = (
    Sent(1, "20261101-01", digest("export 1"), "2026-11-01T12:00:00Z", ("acme/tiny@1",), 0, 9040),
    Sent(2, "20261108-02", digest("export 2"), "2026-11-08T12:00:00Z", (), 2, 0),
)


def table() -> Table:
    """Every kind of part: reference, raw, frames with and without a base."""
    chunks = (Chunk(digest("chunk 0"), 3000), Chunk(digest("chunk 1"), 500), Chunk(digest("chunk 2"), 40))
    parts = (
        Part(100, tables.REFERENCE, base=BASE.sha256, start=0),
        Part(4000, "delta", "bf16", 0, 0, 1000, BASE.sha256, 100),
        Part(4000, "planes", "f32", 0, 1000, 2000),
        Part(500, tables.RAW, None, 1, 0, 500),
        Part(500, "zstd", "bytes", 2, 0, 40),
    )
    return Table(chunks, {NEW.sha256: parts, EMPTY.sha256: ()})


def export(found: Table, *, blobs: tuple[Sized, ...] = (NEW, EMPTY), **more: Any) -> Export:
    data = tables.encode_table(found, {blob.sha256: blob.size for blob in blobs})
    whole = Export(
        bundle="20261120-03", sequence=3, audience="lab", origin="harbour", issued_at=MOMENT,
        previous=digest("export 2"), next_expected_by="2026-12-20T12:00:00Z", receipt=digest("receipt"),
        assumed_received=(AssumedReceived(2, "ines", "the courier called"),),
        releases=(ShippedRelease("releases/acme/tiny/2.json", digest("release")),),
        documents=(ShippedDocument(digest("manifest"), "manifest", "acme/tiny@2", 300),),
        statements=(documents.ShippedStatement(digest("statement"), "https://slsa.dev/provenance/v1", digest("sig")),),
        blobs=blobs, assumed=(OLD,), bases=(BASE,), chunks=lines_of(data),
        history=lines_of(history.encode(HISTORY)), readme=digest("readme"), profile="media",
        withdrawals=(documents.ShippedWithdrawal(digest("withdrawn"), "löscht Dateien"),), packer=PACKER,
    )  # fmt: skip
    return replace(whole, **more)


def with_fields(data: bytes, **fields: Any) -> bytes:
    return canonical_bytes({**json.loads(data), **fields})


def without(data: bytes, name: str) -> bytes:
    return canonical_bytes({key: value for key, value in json.loads(data).items() if key != name})
