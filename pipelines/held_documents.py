"""The kinds of documents that people add and bundles bring: who reads each, and which event says that it is here."""

from pipelines.agreements import KINDS
from pipelines.engines import advisories
from pipelines.suites.format import KIND as SUITE
from pipelines.suites.format import unpack
from registry import companions, contracts
from registry.audit import EventKind

_ADDED = {
    SUITE: EventKind.SUITE_ADDED,
    companions.KIND: EventKind.COMPANIONS_ADDED,
    advisories.KIND: EventKind.ADVISORIES_ADDED,
}


def added(kind: str) -> EventKind:
    """The event that takes a document of this kind in."""
    return _ADDED.get(kind, EventKind.CONTRACT_ADDED)


def read(kind: str, body: bytes) -> tuple[str, str] | None:
    """Return the kind and name that a document really has; None for a kind that this release does not know.

    Raises:
        OperatorError: the refusal of that kind's own reader.
    """
    if kind in KINDS.values():
        document = contracts.decode_document(body)
        return KINDS[type(document)], document.name
    if kind == SUITE:
        return kind, unpack(body).name
    if kind == companions.KIND:
        return kind, companions.decode(body).name
    if kind == advisories.KIND:
        return kind, advisories.decode(body).name
    return None
