"""Whose signatures on models are believed: rows appended, never changed, each with the models that it is for.

Once an active publisher is named for a model, its versions come in with a valid signature of theirs or not at all:
naming a publisher is the policy. Models of nobody come in as before, and their signatures are kept unjudged.
"""

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import ClassVar, Literal

from pipelines.errors import JudgingRefused
from pipelines.workplace import Workplace
from registry.audit import EventKind
from registry.entities import Document, Publisher
from registry.errors import NameUnusable
from registry.names import word
from registry.views import View
from signing.digests import sha256_hex
from signing.model_signature import hint_of, public_key
from signing.times import rfc3339

CRL = "publisher-crl"  # kind of document; its name is the publisher's
_PATTERN = re.compile(r"[a-z0-9._*-]{1,96}/[a-z0-9._*-]{1,96}")


class PublisherRefused(JudgingRefused):
    """Files that a named publisher has to have signed, and has not."""

    exit_code: ClassVar[int] = 214
    next_step: ClassVar[str] = (
        "Get the files again with the publisher's signature (`--signature FILE` where it lies elsewhere). If the "
        "publisher's key has changed, compare the new one with them over another channel and set it with "
        "`tidegate publishers add`."
    )

    def __init__(self, model: str, publishers: Sequence[str], problem: str) -> None:
        super().__init__(f"{model} has to be signed by {' or '.join(publishers)}: {problem}")
        self.model, self.publishers, self.problem = model, tuple(publishers), problem


class UnknownPublisher(JudgingRefused):
    """Nobody of this name is believed here, or nobody at all for a model."""

    exit_code: ClassVar[int] = 215
    next_step: ClassVar[str] = (
        "See `tidegate publishers list`; add a publisher with `tidegate publishers add NAME --models 'namespace/*' "
        "--public-key FILE.pem` once you have compared the key with them."
    )

    def __init__(self, name: str) -> None:
        super().__init__(f"no publisher {name} is believed here")
        self.name = name


def set_publisher(
    work: Workplace, name: str, *, method: Literal["key", "certificate"], material: bytes, models: str
) -> Publisher:
    """From now on signatures by this key, or under this authority, are believed on these models.

    Args:
        material: PEM: one public key, or certificates of authorities.
        models: `namespace/name`, with `*` for any run of characters.

    Raises:
        NameUnusable: name or pattern.
        ModelSignatureUnreadable: not such material.
    """
    from signing.model_certificates import load_anchors  # noqa: PLC0415 - X.509 is slow to import

    word("publisher", name)
    if not _PATTERN.fullmatch(models):
        raise NameUnusable(
            "pattern of models", models, "write namespace/name, with * for any run of characters"
        )
    if method == "key":
        public_key(material, at=name)
    else:
        load_anchors(material, at=name)
    return _append(work, name, method=method, material=material.decode(), models=models, active=True)


def retire_publisher(work: Workplace, name: str) -> Publisher:
    """From now on nothing that this publisher signed is believed. Raises `UnknownPublisher`."""
    with work.store.view() as view:
        row = named(view, name)
    return _append(work, name, method=row.method, material=row.material, models=row.models, active=False)


def add_crl(work: Workplace, name: str, data: bytes) -> Document:
    """Keep an authority's revocation list: every one that was ever taken in counts.

    Raises:
        UnknownPublisher: nobody of this name.
        ModelSignatureUnreadable: no revocation list.
    """
    from cryptography.hazmat.primitives.serialization import Encoding  # noqa: PLC0415

    from signing.model_certificates import load_crl  # noqa: PLC0415

    body = load_crl(data, at=name).public_bytes(Encoding.PEM)
    with work.store.change(actor=work.actor, now=work.now) as change:
        named(change, name)
        held = change.document_by_digest(sha256_hex(body))
        if held is not None:
            return held
        row = Document(
            digest=sha256_hex(body),
            kind=CRL,
            name=name,
            body=body.decode(),
            added_at=rfc3339(work.now),
            added_by=work.actor,
        )
        change.record(EventKind.PUBLISHER_SET, name, row)
    return row


def named(view: View, name: str) -> Publisher:
    """The publisher as they stand now. Raises `UnknownPublisher`."""
    for row in view.publishers():
        if row.name == name:
            return row
    raise UnknownPublisher(name)


def believed_for(view: View, model: str) -> list[Publisher]:
    """The active publishers who have to sign a model."""
    return [row for row in view.publishers() if row.active and fnmatchcase(model, row.models)]


def crls_of(view: View, publisher: Publisher) -> list[bytes]:
    """The revocation lists that were taken in for a publisher, PEM."""
    return [row.body.encode() for row in view.documents(CRL) if row.name == publisher.name]


def fingerprint(row: Publisher) -> str:
    """What two people compare: SHA-256 of the key in PEM (as signature files name it), or of the certificates' text."""
    data = row.material.encode()
    return hint_of(public_key(data)) if row.method == "key" else sha256_hex(data)


def _append(
    work: Workplace, name: str, *, method: str, material: str, models: str, active: bool
) -> Publisher:
    with work.store.change(actor=work.actor, now=work.now) as change:
        earlier = [row.position for row in change.publishers() if row.name == name]
        row = Publisher(
            name=name,
            position=max(earlier, default=0) + 1,
            method=method,
            material=material,
            models=models,
            active=active,
            since=rfc3339(work.now),
            actor=work.actor,
        )
        change.record(EventKind.PUBLISHER_SET, name, row)
    return row
