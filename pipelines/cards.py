"""The issuers whose PIV cards count here, and the lists of cards that they revoked: carried in as files.

An issuer is a person's right in another form: a certificate that it vouches for counts as hardware. So it is signed
for like a person: by as many stewards as a new person needs, unless nobody was registered yet. A revocation list
takes rights away and is signed by its issuer, so anybody may carry it in; an older one than is held changes nothing.
"""

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding

from pipelines.decide import CARD_ISSUER, people
from pipelines.people_ground import CARD_LIST
from pipelines.workplace import Workplace
from registry.audit import EventKind
from registry.entities import Document
from registry.errors import DocumentRefused, NotFound, PeopleUnsigned
from registry.views import View
from signing.certificates import load_certificate, load_list
from signing.digests import sha256_hex
from signing.times import rfc3339


def issuer_digest(data: bytes) -> str:
    """Return what stewards sign for: SHA-256 of the certificate's DER.

    Raises:
        PersonSignatureUncheckable: not one certificate in PEM or DER. DocumentRefused: not an issuer's.
    """
    certificate = load_certificate(data)
    try:
        issues = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        issues = False
    if not issues:
        raise DocumentRefused("this certificate issues no others; give the issuer's", at="certificate")
    return sha256_hex(certificate.public_bytes(Encoding.DER))


def add_issuer(work: Workplace, data: bytes, *, signed: bool) -> Document:
    """Keep an issuer's certificate; whether it counts is `pipelines.decide.card_issuers`. The same again is no change.

    Args:
        signed: a steward's decision about it was just taken in.

    Raises:
        PeopleUnsigned: nobody signed, and there is somebody who could.
    """
    name = issuer_digest(data)
    body = load_certificate(data).public_bytes(Encoding.PEM)
    with work.store.change(actor=work.actor, now=work.now) as change:
        if not signed and not people(work, change).founding:
            raise PeopleUnsigned("the issuer of cards", "stewards of this home sign for it")
        held = change.document_by_digest(sha256_hex(body))
        if held is not None:
            return held
        row = _document(work, CARD_ISSUER, name, body)
        change.record(EventKind.TRUST_CHANGED, row.digest, row, note={"cards": CARD_ISSUER})
    return row


def add_list(work: Workplace, data: bytes) -> Document | None:
    """Keep a revocation list of a known issuer; None when one as new is held.

    Raises:
        PersonSignatureUncheckable: not one revocation list in PEM or DER.
        NotFound: no issuer held here signed it.
    """
    found = load_list(data)
    with work.store.change(actor=work.actor, now=work.now) as change:
        if not any(_signed_by(found, row) for row in change.documents(CARD_ISSUER)):
            raise NotFound("issuer of cards", found.issuer.rfc4514_string())
        if found.last_update_utc > work.now:
            raise DocumentRefused(
                f"is of {rfc3339(found.last_update_utc)}, which lies ahead", at="revocation list"
            )
        name = found.issuer.rfc4514_string()
        newest = max((_made(row) for row in lists(change) if row.name == name), default="")
        if rfc3339(found.last_update_utc) <= newest:
            return None
        row = _document(work, CARD_LIST, name, found.public_bytes(Encoding.PEM))
        change.record(EventKind.TRUST_CHANGED, row.digest, row, note={"cards": CARD_LIST})
    return row


def lists(view: View) -> list[Document]:
    """The revocation lists that are held, oldest first."""
    return view.documents(CARD_LIST)


def _made(row: Document) -> str:
    return rfc3339(load_list(row.body.encode()).last_update_utc)


def _signed_by(found: x509.CertificateRevocationList, row: Document) -> bool:
    issuer = load_certificate(row.body.encode())
    if issuer.subject != found.issuer:
        return False
    try:
        return found.is_signature_valid(issuer.public_key())  # type: ignore[arg-type]  # refuses other kinds itself
    except (TypeError, ValueError, UnsupportedAlgorithm):
        return False


def _document(work: Workplace, kind: str, name: str, body: bytes) -> Document:
    return Document(
        digest=sha256_hex(body), kind=kind, name=name, body=body.decode(), added_at=rfc3339(work.now), added_by=work.actor
    )  # fmt: skip
