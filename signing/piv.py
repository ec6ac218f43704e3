"""A person's signature by the key of a PIV card: a certificate, and what its key signed.

The text is one line of JSON, so that it travels and is stored like an armored SSH signature:

    {"format": "tidegate-piv-signature/1", "certificate": BASE64 DER, "signature": BASE64}

What is signed is DSSE's encoding of the message under the type `application/vnd.tidegate.NAMESPACE`, so that a
signature made for one purpose is none for another, and `openssl dgst -verify` can check it. ECDSA on P-256 with
SHA-256 and on P-384 with SHA-384, RSA of 2048 bits or more with SHA-256 and PKCS #1 v1.5, as cards make them
(NIST SP 800-78-5). Only the very certificate that was registered is believed; the one that the signature carries
tells an auditor who is asked for it.
"""

import base64
import binascii
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from signing import certificates
from signing.canonical import NotCanonical, canonical_bytes, parse
from signing.envelope import pae
from signing.person_refusals import PersonSignatureUncheckable, PersonSignatureWrong

FORMAT = "tidegate-piv-signature/1"
MAX_TEXT = 16 << 10  # characters of a signature or a registered certificate
MIN_RSA, MAX_RSA = 2048, 4096  # bits
CURVES = {"secp256r1": hashes.SHA256, "secp384r1": hashes.SHA384}

CardPublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey


@dataclass(frozen=True)
class Certificate:
    """The certificate of a person's card, decoded."""

    x509: x509.Certificate
    public_key: CardPublicKey
    fingerprint: str  # `x509:` and SHA-256 of the DER in hex, as `openssl x509 -fingerprint -sha256` gives it
    key_material: str  # 64 hex digits; of a curve point the same as `sshsig.PublicKey.key_material`

    @property
    def subject(self) -> str:
        """Who it is for (RFC 4514)."""
        return self.x509.subject.rfc4514_string()

    @property
    def until(self) -> datetime:
        """Its last moment (UTC)."""
        return self.x509.not_valid_after_utc

    @property
    def line(self) -> str:
        """How it is registered: `x509 BASE64`."""
        return "x509 " + base64.b64encode(self.x509.public_bytes(Encoding.DER)).decode()


@dataclass(frozen=True)
class CardSignature:
    """A signature that holds."""

    certificate: Certificate
    issuer: str | None  # the registered anchor that vouches for the certificate (RFC 4514); None: nobody does


def payload_type(namespace: str) -> str:
    """Return the DSSE type under which a message of this namespace is signed."""
    return f"application/vnd.tidegate.{namespace}"


def to_be_signed(message: bytes, namespace: str) -> bytes:
    """Return the bytes that the card signs."""
    return pae(message, payload_type(namespace))


def read_certificate(line: str) -> Certificate:
    """Decode the registered form, `x509 BASE64`.

    Raises:
        PersonSignatureUncheckable: another form, not one certificate, or a key of a kind that is not supported.
    """
    words = line.split() if len(line) <= MAX_TEXT else []
    if len(words) != 2 or words[0] != "x509":
        raise PersonSignatureUncheckable("not of the form `x509 BASE64`", at="certificate")
    return certificate_of(_unbase64(words[1], at="certificate"))


def certificate_of(data: bytes) -> Certificate:
    """Return the certificate of PEM or DER bytes. Raises `PersonSignatureUncheckable`."""
    found = certificates.load_certificate(data)
    try:
        public = found.public_key()
    except (ValueError, UnsupportedAlgorithm) as exc:
        raise PersonSignatureUncheckable("its public key does not decode", at="certificate") from exc
    if isinstance(public, ec.EllipticCurvePublicKey) and public.curve.name in CURVES:
        material = public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    elif isinstance(public, rsa.RSAPublicKey) and MIN_RSA <= public.key_size <= MAX_RSA:
        material = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    else:
        problem = f"its key is neither ECDSA on P-256 or P-384 nor RSA of {MIN_RSA} to {MAX_RSA} bits"
        raise PersonSignatureUncheckable(problem, at="certificate")
    der = found.public_bytes(Encoding.DER)
    return Certificate(
        found, public, "x509:" + hashlib.sha256(der).hexdigest(), hashlib.sha256(material).hexdigest()
    )


def signature_text(certificate: Certificate, signature: bytes) -> str:
    """Return the one line that is handed in and stored."""
    der = certificate.x509.public_bytes(Encoding.DER)
    value = {
        "format": FORMAT,
        "certificate": base64.b64encode(der).decode(),
        "signature": base64.b64encode(signature).decode(),
    }
    return canonical_bytes(value).decode() + "\n"


def sign(message: bytes, *, namespace: str, uri: str, passphrase: Callable[[str], bytes]) -> str:
    """Return a signature by the key of a card, whose certificate the card holds too.

    Args:
        uri: `hsm:…`, see `signing.tokens`.
        passphrase: called with the URI for the PIN.

    Raises:
        TokenUnusable: of `signing.tokens`; also when there is no certificate for the key, or another key's.
        PersonSignatureUncheckable: the certificate is of a kind that is not supported.
    """
    from signing.tokens import TokenUnusable, open_key  # noqa: PLC0415  # checking needs no card

    key = open_key(uri, passphrase=passphrase)
    if key.certificate is None:
        raise TokenUnusable(
            str(key.uri), "the token holds no certificate for this key; a person signs with one"
        )
    certificate = certificate_of(key.certificate)
    if certificate.public_key != key.public_key:
        raise TokenUnusable(str(key.uri), "the certificate of that name is another key's")
    return signature_text(certificate, key.sign(to_be_signed(message, namespace)))


def verify(
    text: str,
    message: bytes,
    *,
    namespace: str,
    public_key: str,
    at: datetime | None = None,
    anchors: Sequence[bytes] = (),
    crls: Sequence[bytes] = (),
) -> CardSignature:
    """Check a card's signature by the registered certificate; see `signing.person_signature.verify`.

    Raises:
        PersonSignatureUncheckable: the text, the certificate, an anchor or a list does not decode.
        PersonSignatureWrong: another certificate, namespace or message, or one that was not valid or revoked.
    """
    registered = read_certificate(public_key)
    carried, signature = _read(text)
    if carried != registered.x509.public_bytes(Encoding.DER):
        shown = "x509:" + hashlib.sha256(carried).hexdigest()
        problem = f"made by another certificate than the registered {registered.fingerprint}"
        raise PersonSignatureWrong(problem, fingerprint=shown)
    _check(registered, signature, to_be_signed(message, namespace))
    certificates.demand_signing_use(registered.x509, fingerprint=registered.fingerprint)
    if at is None:
        return CardSignature(registered, None)
    issuer = certificates.judge(
        registered.x509, fingerprint=registered.fingerprint, at=at, anchors=anchors, crls=crls
    )
    return CardSignature(registered, issuer)


def _check(certificate: Certificate, signature: bytes, signed: bytes) -> None:
    key = certificate.public_key
    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, signed, ec.ECDSA(CURVES[key.curve.name]()))
        else:
            key.verify(signature, signed, padding.PKCS1v15(), hashes.SHA256())
    except InvalidSignature as exc:
        raise PersonSignatureWrong(
            "does not belong to these bytes", fingerprint=certificate.fingerprint
        ) from exc


def _read(text: str) -> tuple[bytes, bytes]:
    """Return the DER of the certificate that the text carries, and the signature."""
    at = "PIV signature"
    try:
        value = parse(text.encode(errors="replace"), max_bytes=MAX_TEXT, at=at)
    except NotCanonical as exc:
        raise PersonSignatureUncheckable(f"not one line of JSON ({exc})", at=at) from exc
    if not isinstance(value, dict) or set(value) != {"format", "certificate", "signature"}:
        raise PersonSignatureUncheckable("exactly format, certificate and signature are expected", at=at)
    if value["format"] != FORMAT:
        raise PersonSignatureUncheckable(f"the format is not {FORMAT}", at=at)
    return _unbase64(value["certificate"], at=at), _unbase64(value["signature"], at=at)


def _unbase64(text: object, *, at: str) -> bytes:
    try:
        raw = base64.b64decode(text if isinstance(text, str) else "", validate=True)
    except (binascii.Error, ValueError) as exc:
        raise PersonSignatureUncheckable("not base64", at=at) from exc
    if not raw or base64.b64encode(raw).decode() != text:
        raise PersonSignatureUncheckable("empty, or base64 with loose ends", at=at)
    return raw
