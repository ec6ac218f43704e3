"""Keeping the documents behind a tool call, and finding them again by name, digest or file."""

from typing import TypeVar

from pipelines.workplace import Workplace
from registry import contracts
from registry.audit import EventKind
from registry.compatibility import Comparison, compare_documents
from registry.contracts import EngineProfile, RouterContract, ToolContract
from registry.entities import Binding, Document, Version
from registry.errors import DocumentRefused, NotFound
from registry.names import Ref
from registry.store import Change
from registry.views import View
from signing.digests import sha256_hex
from signing.times import rfc3339

KINDS = {
    ToolContract: "tool-contract",
    EngineProfile: "engine-profile",
    RouterContract: "router-contract",
}

__all__ = ["KINDS", "Comparison", "add_document", "compare_documents", "find", "load", "read_as"]
T = TypeVar("T", ToolContract, EngineProfile, RouterContract)


def add_document(work: Workplace, data: bytes, *, ref: Ref | None = None) -> tuple[Document, Version | None]:
    """Keep a contract or profile that a person wrote as JSON. The same document again is no change.

    From now on its name means this document here, whatever bundles bring under the same name.

    Args:
        ref: the version that keeps to this tool contract from now on: both are recorded, or neither.

    Raises:
        MalformedContract: naming the place.
        NotFound: no such version. DocumentRefused: the document is no tool contract.
    """
    document = contracts.from_json_text(data)
    body = contracts.encode(document)
    kind = KINDS[type(document)]
    if ref is not None and kind != KINDS[ToolContract]:
        raise DocumentRefused(f"a version keeps to a tool contract, and this is a {kind}", at=document.name)
    with work.store.change(actor=work.actor, now=work.now) as change:
        version = change.version(ref) if ref is not None else None
        row = change.document_by_digest(sha256_hex(body))
        if row is None:
            row = Document(
                digest=sha256_hex(body),
                kind=kind,
                name=document.name,
                body=body.decode(),
                added_at=rfc3339(work.now),
                added_by=work.actor,
            )
            change.record(EventKind.CONTRACT_ADDED, row.digest, row)
        elif change.meaning(kind, row.name) != row.digest:
            change.record(EventKind.CONTRACT_ADDED, row.digest)  # held already; now the name means it
        if version is not None:
            _bind(work, change, version, row)
    return row, version


def _bind(work: Workplace, change: Change, version: Version, contract: Document) -> None:
    last = change.binding(version.digest)
    if last is None or last.contract != contract.digest:
        row = Binding(
            version=version.digest,
            position=last.position + 1 if last else 1,
            contract=contract.digest,
            since=rfc3339(work.now),
            actor=work.actor,
        )
        change.record(EventKind.CONTRACT_BOUND, version.digest, row)


def find(view: View, name: str) -> Document:
    """A document of any of the three kinds, by name or digest. Raises `NotFound`."""
    for kind in KINDS.values():
        try:
            return view.document(kind, name)
        except NotFound:
            continue
    raise NotFound("contract or profile", name)


def load(view: View, name: str, data: bytes | None) -> contracts.Document:
    """The document itself: from a file's bytes when there are any, else the one held under this name."""
    if data is not None:
        return contracts.from_json_text(data)
    return contracts.decode_document(find(view, name).body.encode())


def read_as(view: View, digest: str, kind: type[T]) -> T:
    """The held document with this digest, which is of this kind. Raises `NotFound`."""
    row = view.document_by_digest(digest)
    document = contracts.decode_document(row.body.encode()) if row is not None else None
    if not isinstance(document, kind):
        raise NotFound(KINDS[kind].replace("-", " "), digest)
    return document
