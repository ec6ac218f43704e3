"""A certificate authority for tests: a root, an issuer below it, and signers of models."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

START = datetime(2026, 1, 1, tzinfo=UTC)
NO_USE = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)


def usage(**chosen: bool) -> x509.KeyUsage:
    names = [name.removeprefix("_") for name in vars(NO_USE)]
    return x509.KeyUsage(**{name: chosen.get(name, False) for name in names})


@dataclass(frozen=True)
class Holder:
    """A key and its certificate."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)


def issue(
    name: str,
    issuer: Holder | None = None,
    *,
    authority: bool = False,
    curve: ec.EllipticCurve | None = None,
    key_usage: x509.KeyUsage | None = None,
    extended: Sequence[x509.ObjectIdentifier] = (ExtendedKeyUsageOID.CODE_SIGNING,),
    days: int = 365,
    start: datetime = START,
) -> Holder:
    """Make a certificate. A root is its own issuer."""
    key = ec.generate_private_key(curve or ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    signs = issuer.key if issuer else key
    builder = builder.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(signs.public_key()), critical=False
    )
    use = key_usage or (
        usage(key_cert_sign=True, crl_sign=True) if authority else usage(digital_signature=True)
    )
    builder = builder.add_extension(use, critical=True)
    if not authority and extended:
        builder = builder.add_extension(x509.ExtendedKeyUsage(extended), critical=False)
    return Holder(key, builder.sign(signs, hashes.SHA256()))


def revoke(issuer: Holder, *gone: Holder, at: datetime = START + timedelta(days=30)) -> bytes:
    """Return a revocation list, PEM."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.certificate.subject)
        .last_update(at)
        .next_update(at + timedelta(days=30))
    )
    for holder in gone:
        builder = builder.add_revoked_certificate(
            x509.RevokedCertificateBuilder()
            .serial_number(holder.certificate.serial_number)
            .revocation_date(at)
            .build()
        )
    return builder.sign(issuer.key, hashes.SHA256()).public_bytes(Encoding.PEM)
