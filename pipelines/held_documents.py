"""The kinds of documents that people add and bundles bring: who reads each, and which event says that it is here."""

from collections.abc import Callable, Mapping

from pipelines import bom, publishers
from pipelines.agreements import KINDS
from pipelines.decide import CARD_ISSUER
from pipelines.engines import advisories
from pipelines.model_signatures import KEY_DOCUMENT, key_name
from pipelines.people_ground import CARD_LIST, FOLLOWING
from pipelines.suites.format import KIND as SUITE
from pipelines.suites.format import unpack
from registry import companions, contracts, people
from registry.audit import EventKind
from registry.errors import DocumentRefused
from signing.model_signature import hint_of, public_key

_ADDED = {
    SUITE: EventKind.SUITE_ADDED,
    companions.KIND: EventKind.COMPANIONS_ADDED,
    advisories.KIND: EventKind.ADVISORIES_ADDED,
    bom.KIND: EventKind.BOM_MADE,
    KEY_DOCUMENT: EventKind.MODEL_SIGNED,
}
# What a home says for itself: of its own people, and of whom it believes. A bundle that brings it is refused.
_LOCAL = (people.KIND, FOLLOWING, CARD_ISSUER, CARD_LIST, publishers.CRL)

# Kind to what reads the document's own name out of it.
_NAMES: Mapping[str, Callable[[bytes], str]] = {
    SUITE: lambda body: unpack(body).name,
    companions.KIND: lambda body: companions.decode(body).name,
    advisories.KIND: lambda body: advisories.decode(body).name,
    bom.KIND: bom.read,
    KEY_DOCUMENT: lambda body: key_name(hint_of(public_key(body))),
}


def added(kind: str) -> EventKind:
    """The event that takes a document of this kind in."""
    return _ADDED.get(kind, EventKind.CONTRACT_ADDED)


def read(kind: str, body: bytes) -> tuple[str, str] | None:
    """Return the kind and name that a document really has; None for a kind that this release does not know.

    Raises:
        DocumentRefused: a kind that a home only ever writes for itself.
        OperatorError: the refusal of that kind's own reader.
    """
    if kind in _LOCAL:
        raise DocumentRefused("comes with no bundle; every home says this for itself", at=kind)
    if kind in KINDS.values():
        document = contracts.decode_document(body)
        return KINDS[type(document)], document.name
    name = _NAMES.get(kind)
    return None if name is None else (kind, name(body))
