"""Whether a certificate was good for a signature at a moment: its dates, its use, its issuer, the lists carried here.

Pure: anchors, lists and the moment come in, an answer goes out; nothing is fetched and no clock is read. An anchor
is any certificate of an issuer that the home registered, at the top or in the middle: a chain ends where an
issuer is registered, and goes on while the issuer's own issuer is registered too, so that its list counts.

A revocation list is optional. Once one of an issuer is here it has to be in force at the moment asked about, or
nobody vouches: a list that ran out is how a revoked card comes back.

Source: RFC 5280 sections 4.2.1.3, 4.2.1.9, 5 and 6
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtensionOID

from signing.person_refusals import PersonSignatureUncheckable, PersonSignatureWrong

Extension = TypeVar("Extension", bound=x509.ExtensionType)

MAX_CERTIFICATE = 16 << 10  # bytes
MAX_LIST = 16 << 20  # bytes of one revocation list
MAX_ANCHORS = 64
_BEGIN = b"-----BEGIN "
# What may be marked critical in a person's certificate: nothing that we would pass over.
_UNDERSTOOD = {
    ExtensionOID.KEY_USAGE,
    ExtensionOID.EXTENDED_KEY_USAGE,
    ExtensionOID.BASIC_CONSTRAINTS,
    ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
    ExtensionOID.CERTIFICATE_POLICIES,
}
_UNDECODABLE = (
    ValueError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
_COMPROMISED = {
    x509.ReasonFlags.key_compromise,
    x509.ReasonFlags.ca_compromise,
    x509.ReasonFlags.aa_compromise,
}


def load_certificate(data: bytes) -> x509.Certificate:
    """Return the one certificate of PEM or DER bytes. Raises `PersonSignatureUncheckable`."""
    if len(data) > MAX_CERTIFICATE:
        raise PersonSignatureUncheckable("too large for a certificate", at="certificate")
    try:
        load = (
            x509.load_pem_x509_certificate
            if data.lstrip().startswith(_BEGIN)
            else x509.load_der_x509_certificate
        )
        found = load(data)
        _ = found.extensions, found.subject, found.signature_hash_algorithm  # decoded late, and refused here
    except _UNDECODABLE as exc:
        raise PersonSignatureUncheckable("not one certificate in PEM or DER", at="certificate") from exc
    return found


def load_list(data: bytes) -> x509.CertificateRevocationList:
    """Return the revocation list of PEM or DER bytes. Raises `PersonSignatureUncheckable`."""
    at = "revocation list"
    if len(data) > MAX_LIST:
        raise PersonSignatureUncheckable("too large for a revocation list", at=at)
    try:
        load = x509.load_pem_x509_crl if data.lstrip().startswith(_BEGIN) else x509.load_der_x509_crl
        found = load(data)
        _ = found.extensions, found.issuer, found.signature_hash_algorithm
    except _UNDECODABLE as exc:
        raise PersonSignatureUncheckable("not one revocation list in PEM or DER", at=at) from exc
    if found.next_update_utc is None:
        raise PersonSignatureUncheckable("does not say until when it is in force", at=at)
    return found


def demand_signing_use(certificate: x509.Certificate, *, fingerprint: str) -> None:
    """Refuse a certificate that is not for signing, or holds a demand that we do not know.

    Raises:
        PersonSignatureWrong: no key usage `digitalSignature`, an issuer's certificate, an unknown critical extension.
    """
    usage = _extension(certificate, x509.KeyUsage)
    if usage is None or not usage.digital_signature:
        raise PersonSignatureWrong("the certificate is not for digital signatures", fingerprint=fingerprint)
    constraints = _extension(certificate, x509.BasicConstraints)
    if constraints is not None and constraints.ca:
        raise PersonSignatureWrong("the certificate is an issuer's, not a person's", fingerprint=fingerprint)
    for extension in certificate.extensions:
        if extension.critical and extension.oid not in _UNDERSTOOD:
            problem = f"the certificate demands {extension.oid.dotted_string}, which is not known here"
            raise PersonSignatureWrong(problem, fingerprint=fingerprint)


def judge(
    certificate: x509.Certificate,
    *,
    fingerprint: str,
    at: datetime,
    anchors: Sequence[bytes],
    crls: Sequence[bytes],
) -> str | None:
    """Return the name of the registered issuer that vouches for the certificate at a moment, None when none does.

    Args:
        fingerprint: of the certificate, for the refusals.
        at: the moment (UTC).
        anchors, crls: PEM or DER, see `signing.person_signature.verify`.

    Raises:
        PersonSignatureUncheckable: an anchor or a list does not decode, or there are too many.
        PersonSignatureWrong: not valid then, revoked, or the list of its issuer was not in force.
    """
    if len(anchors) > MAX_ANCHORS or len(crls) > MAX_ANCHORS:
        raise PersonSignatureUncheckable(f"more than {MAX_ANCHORS} of them", at="anchors and lists")
    issuers = [load_certificate(data) for data in anchors]
    lists = [load_list(data) for data in crls]
    _demand_signed(lists, issuers)
    _demand_valid(certificate, at, fingerprint)
    vouching, below = None, certificate
    for _ in issuers:  # each registered issuer stands in a chain at most once
        above = _issuer_of(below, issuers, at)
        if above is None:
            break
        _demand_not_revoked(below, above, lists, at, fingerprint)
        vouching = vouching or above.subject.rfc4514_string()
        if above.issuer == above.subject:
            break
        below = above
    return vouching


def _demand_valid(certificate: x509.Certificate, at: datetime, fingerprint: str) -> None:
    first, last = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if not first <= at <= last:
        problem = f"the certificate is valid from {first:%Y-%m-%d} to {last:%Y-%m-%d}, not on {at:%Y-%m-%d}"
        raise PersonSignatureWrong(problem, fingerprint=fingerprint)


def _issuer_of(
    certificate: x509.Certificate, issuers: list[x509.Certificate], at: datetime
) -> x509.Certificate | None:
    for issuer in issuers:
        valid = issuer.not_valid_before_utc <= at <= issuer.not_valid_after_utc
        if valid and _may_issue(issuer) and _signed_by(certificate, issuer):
            return issuer
    return None


def _may_issue(issuer: x509.Certificate) -> bool:
    constraints, usage = _extension(issuer, x509.BasicConstraints), _extension(issuer, x509.KeyUsage)
    return constraints is not None and constraints.ca and (usage is None or usage.key_cert_sign)


def _signed_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    if isinstance(certificate.signature_hash_algorithm, hashes.SHA1 | hashes.MD5):
        return False
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _demand_signed(lists: list[x509.CertificateRevocationList], issuers: list[x509.Certificate]) -> None:
    """A list in a registered issuer's name that it did not sign was changed, so what it said is lost: no guess."""
    for found in lists:
        named = [issuer for issuer in issuers if issuer.subject == found.issuer]
        if named and not any(_list_by(found, issuer) for issuer in named):
            problem = f"not signed by {found.issuer.rfc4514_string()}, in whose name it is"
            raise PersonSignatureUncheckable(problem, at="revocation list")


def _demand_not_revoked(
    certificate: x509.Certificate,
    issuer: x509.Certificate,
    lists: list[x509.CertificateRevocationList],
    at: datetime,
    fingerprint: str,
) -> None:
    ours = [found for found in lists if _list_by(found, issuer)]
    if not ours:
        return
    name = issuer.subject.rfc4514_string()
    newest = max(ours, key=lambda found: found.last_update_utc)
    until = newest.next_update_utc
    if until is None or until < at:
        problem = (
            f"the revocation list of {name} ended on {until:%Y-%m-%d}; a newer one has to be carried here"
        )
        raise PersonSignatureWrong(problem, fingerprint=fingerprint)
    for found in ours:  # a certificate that any list names stays revoked
        entry = found.get_revoked_certificate_by_serial_number(certificate.serial_number)
        if entry is not None and _counts(entry, at):
            problem = f"{name} revoked {certificate.subject.rfc4514_string()} on {entry.revocation_date_utc:%Y-%m-%d}"
            raise PersonSignatureWrong(problem, fingerprint=fingerprint)


def _list_by(found: x509.CertificateRevocationList, issuer: x509.Certificate) -> bool:
    if found.issuer != issuer.subject or isinstance(found.signature_hash_algorithm, hashes.SHA1 | hashes.MD5):
        return False
    usage = _extension(issuer, x509.KeyUsage)
    if usage is not None and not usage.crl_sign:
        return False
    try:
        return found.is_signature_valid(issuer.public_key())  # type: ignore[arg-type]  # refuses other kinds itself
    except (TypeError, ValueError, UnsupportedAlgorithm):
        return False


def _counts(entry: x509.RevokedCertificate, at: datetime) -> bool:
    """Whether a revocation reaches back to a signature made at that moment.

    One that was revoked later was good then, unless somebody else had the key: since when nobody knows, except
    where the list says so.
    """
    try:
        since = entry.extensions.get_extension_for_class(x509.InvalidityDate).value.invalidity_date
        return min(since.replace(tzinfo=UTC), entry.revocation_date_utc) <= at
    except x509.ExtensionNotFound:
        pass
    try:
        reason = entry.extensions.get_extension_for_class(x509.CRLReason).value.reason
    except x509.ExtensionNotFound:
        reason = x509.ReasonFlags.unspecified
    return reason in _COMPROMISED or entry.revocation_date_utc <= at


def _extension(certificate: x509.Certificate, kind: type[Extension]) -> Extension | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
