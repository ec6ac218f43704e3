"""Whether a certificate may sign models: its chain to a believed authority, its time, its use, its revocation.

Pure: certificates, revocation lists and the moment come in, a name or a refusal goes out. Chains are built by
`cryptography`'s verifier; what it does not know (use for code, revocation lists) is judged here. Lists are carried in
as files: nothing asks a network. A revoked certificate is refused for whatever moment: the date in a list says when
the authority noticed, not since when a thief had the key.

Source: RFC 5280 sections 4.2.1.3, 4.2.1.12, 5 and 6; model signing spec v1.0, section 8.2, and its conformance suite.
"""

from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import verification
from cryptography.x509.oid import ExtendedKeyUsageOID

from signing.model_signature import ModelSignatureUnreadable, ModelSignatureWrong, elliptic
from signing.times import rfc3339

MAX_DEPTH = 8
_FOR_CODE = {ExtendedKeyUsageOID.CODE_SIGNING, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
_UNDECODABLE = (
    ValueError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)


def load_anchors(pem: bytes, *, at: str = "certificates") -> tuple[x509.Certificate, ...]:
    """Return the certificates of a PEM file. Raises `ModelSignatureUnreadable`."""
    try:
        return tuple(x509.load_pem_x509_certificates(pem))
    except _UNDECODABLE as exc:
        raise ModelSignatureUnreadable("holds no certificate in PEM", at=at) from exc


def load_crl(data: bytes, *, at: str = "revocation list") -> x509.CertificateRevocationList:
    """Return a revocation list, PEM or DER. Raises `ModelSignatureUnreadable`."""
    load = x509.load_pem_x509_crl if data.lstrip().startswith(b"-----BEGIN") else x509.load_der_x509_crl
    try:
        return load(data)
    except _UNDECODABLE as exc:
        raise ModelSignatureUnreadable("is no revocation list", at=at) from exc


def signers_key(certificates: Sequence[bytes], *, at: str = "model signature") -> ec.EllipticCurvePublicKey:
    """Return the key of the first certificate, believed or not. Raises `ModelSignatureUnreadable`."""
    return _key(_load(certificates[0], at=at), at=at)


def subject_of(certificates: Sequence[bytes], *, at: str = "model signature") -> str:
    """Return the subject of the first certificate as text (RFC 4514). Raises `ModelSignatureUnreadable`."""
    return _load(certificates[0], at=at).subject.rfc4514_string()


def judge(
    certificates: Sequence[bytes],
    anchors: Sequence[x509.Certificate],
    *,
    moment: datetime,
    crls: Sequence[x509.CertificateRevocationList] = (),
    at: str = "model signature",
) -> ec.EllipticCurvePublicKey:
    """Return the key of the first certificate, which may sign models at `moment`.

    Args:
        certificates: DER, the signer's own first, others in any order.
        anchors: what is believed; a signer's own certificate may stand among them.
        moment: now, or a time of signing that somebody trusted vouches for.
        crls: of every authority of the chain that has one.

    Raises:
        ModelSignatureWrong: no chain that holds at that moment, not made for signing, or revoked.
        ModelSignatureUnreadable: not certificates, or of a key that the format has not.
    """
    signer, *others = (_load(one, at=at) for one in certificates)
    chain = _chain(signer, others, anchors, moment, at=at)
    if not _may_sign(signer):
        raise ModelSignatureWrong(at, f"{_name(signer)} is no certificate for signing code")
    for issued, issuer in pairwise(chain):
        _demand_unrevoked(issued, issuer, crls, at=at)
    return _key(signer, at=at)


def _load(der: bytes, *, at: str) -> x509.Certificate:
    try:
        return x509.load_der_x509_certificate(der)
    except _UNDECODABLE as exc:
        raise ModelSignatureUnreadable("holds a certificate that is none", at=at) from exc


def _key(certificate: x509.Certificate, *, at: str) -> ec.EllipticCurvePublicKey:
    try:
        key = certificate.public_key()
    except _UNDECODABLE as exc:
        raise ModelSignatureUnreadable("holds a certificate with a key of an unknown kind", at=at) from exc
    return elliptic(key, at=f"{at}, {_name(certificate)}")


def _chain(
    signer: x509.Certificate,
    others: Sequence[x509.Certificate],
    anchors: Sequence[x509.Certificate],
    moment: datetime,
    *,
    at: str,
) -> Sequence[x509.Certificate]:
    if not signer.not_valid_before_utc <= moment <= signer.not_valid_after_utc:
        since, until = rfc3339(signer.not_valid_before_utc), rfc3339(signer.not_valid_after_utc)
        raise ModelSignatureWrong(at, f"{_name(signer)} is valid from {since} to {until} only")
    authority = verification.ExtensionPolicy.permit_all().require_present(
        x509.BasicConstraints, verification.Criticality.AGNOSTIC, None
    )
    builder = (
        verification.PolicyBuilder()
        .time(moment)
        .max_chain_depth(MAX_DEPTH)
        .extension_policies(ca_policy=authority, ee_policy=verification.ExtensionPolicy.permit_all())
    )
    try:
        policy = builder.store(verification.Store(list(anchors)))  # a ValueError for no anchor at all
        return policy.build_client_verifier().verify(signer, list(others)).chain
    except (verification.VerificationError, *_UNDECODABLE) as exc:
        problem = f"{_name(signer)} has no chain to a believed authority that holds on {moment:%Y-%m-%d}"
        raise ModelSignatureWrong(at, problem) from exc


def _may_sign(certificate: x509.Certificate) -> bool:
    """Whether the certificate says so: extended key usage codeSigning, and no key usage without digitalSignature.

    The specification's suite demands the first: without it any certificate for mail or a computer could sign models.
    """
    for_code = False
    try:
        for extension in certificate.extensions:
            if isinstance(extension.value, x509.KeyUsage) and not extension.value.digital_signature:
                return False
            if isinstance(extension.value, x509.ExtendedKeyUsage):
                for_code = bool(_FOR_CODE & set(extension.value))
    except _UNDECODABLE:
        return False
    return for_code


def _demand_unrevoked(
    issued: x509.Certificate,
    issuer: x509.Certificate,
    crls: Sequence[x509.CertificateRevocationList],
    *,
    at: str,
) -> None:
    for crl in crls:
        if crl.issuer != issuer.subject or not _signed_by(crl, issuer):
            continue
        entry = crl.get_revoked_certificate_by_serial_number(issued.serial_number)
        if entry is not None:
            problem = f"{_name(issued)} was revoked on {rfc3339(entry.revocation_date_utc)}"
            raise ModelSignatureWrong(at, problem)


def _signed_by(crl: x509.CertificateRevocationList, issuer: x509.Certificate) -> bool:
    try:
        return crl.is_signature_valid(issuer.public_key())  # type: ignore[arg-type]  # TypeError for other kinds
    except (TypeError, *_UNDECODABLE):
        return False


def _name(certificate: x509.Certificate) -> str:
    return certificate.subject.rfc4514_string() or f"certificate {certificate.serial_number:x}"
