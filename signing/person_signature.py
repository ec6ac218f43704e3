"""A person's signature, made with an SSH key or with a PIV card: one question, one answer.

Who judges people (approvals, decisions, changes of people) asks here and does not care which of the two it was.
The registered `public_key` says the method: an OpenSSH line (`ssh-ed25519 AAAA… comment`), or
`x509 BASE64` with the DER of one certificate. A signature of the other method is refused.

A touch and a PIN are proven by a FIDO2 token, which signs its flags, also in a browser (a passkey); a passkey that says
that it may be copied from device to device is no hardware. A PIV card signs nothing about itself: that a
PIN was given is the promise of the issuer who handed the card out, so it counts only for a certificate whose
issuer is a registered anchor; without anchors a certificate is a key in a file like any other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from signing import sshsig
from signing.person_refusals import PersonSignatureUncheckable, PersonSignatureWrong

Method = Literal["ssh", "piv"]
X509 = "x509"  # the first word of a registered certificate

__all__ = [
    "Method",
    "PersonSignature",
    "PersonSignatureUncheckable",
    "PersonSignatureWrong",
    "fingerprint",
    "key_material",
    "method_of",
    "verify",
]


@dataclass(frozen=True)
class PersonSignature:
    """What a signature that holds says about how it was made."""

    method: Method
    fingerprint: str  # see `fingerprint`
    key_material: str  # 64 hex digits, the same for one key under two registrations
    touched: bool  # a FIDO2 token was touched; a PIV card cannot show it
    pin_given: bool  # by a token's own signed flag, or by the promise of a PIV card's issuer
    hardware: bool  # the key lives in a FIDO2 token alone, or in a card whose issuer is a registered anchor
    certificate_subject: str | None = None  # RFC 4514
    certificate_until: datetime | None = None  # the last moment of the certificate
    origin: str | None = None  # of the page in whose browser a passkey made it: https://models.example


def method_of(public_key: str) -> Method:
    """Return the method that a registered public key is for; the key itself is not looked at."""
    return "piv" if public_key.split(maxsplit=1)[:1] == [X509] else "ssh"


def fingerprint(public_key: str) -> str:
    """Return `SHA256:…` of an SSH key as `ssh-keygen -l` shows it, or `x509:HEX` of a certificate (SHA-256 of its DER).

    Raises:
        PersonSignatureUncheckable: no public key, or of a kind that is not supported.
    """
    if method_of(public_key) == "ssh":
        return sshsig.fingerprint(public_key)
    from signing import piv  # noqa: PLC0415  # X.509 costs time to load, and most homes have none

    return piv.read_certificate(public_key).fingerprint


def key_material(public_key: str) -> str:
    """Return 64 hex digits that one key has under every registration. Raises `PersonSignatureUncheckable`."""
    if method_of(public_key) == "ssh":
        return sshsig.read_public_key(public_key).key_material
    from signing import piv  # noqa: PLC0415

    return piv.read_certificate(public_key).key_material


def verify(
    signature: str,
    message: bytes,
    *,
    namespace: str,
    public_key: str,
    require_touch: bool = False,
    require_pin: bool = False,
    at: datetime | None = None,
    anchors: Sequence[bytes] = (),
    crls: Sequence[bytes] = (),
) -> PersonSignature:
    """Check a person's signature and return what it says about how it was made.

    Args:
        signature: armored SSHSIG, or the one line of `signing.piv`.
        public_key: the one key that may have made it, see the module's text.
        require_touch: demand a FIDO2 token, or a PIV card with a registered issuer.
        require_pin: demand one of these that was given its PIN.
        at: when it was signed (UTC); a certificate has to have been valid then. Without it a certificate's
            dates and issuer are not judged, and it counts as no hardware.
        anchors: certificates (PEM or DER) of the issuers whose cards count.
        crls: revocation lists (PEM or DER) as they were carried here; one that is given must be in force.

    Raises:
        PersonSignatureUncheckable: not decodable, or of a kind that is not supported.
        PersonSignatureWrong: another key, namespace or message; made without the touch or PIN demanded; a
            certificate that was not valid.
    """
    registered = method_of(public_key)
    found = _method_of_signature(signature, registered)
    if registered != found:
        raise PersonSignatureWrong(f"made by the {found} method, and the registered key is for {registered}")
    if registered == "ssh":
        made = sshsig.verify(
            signature,
            message,
            namespace=namespace,
            public_key_line=public_key,
            require_touch=require_touch,
            require_pin=require_pin,
        )
        hardware = made.flags is not None and not made.copyable
        return PersonSignature(
            "ssh",
            made.fingerprint,
            made.key_material,
            made.touched,
            made.pin_given,
            hardware,
            origin=made.origin,
        )
    from signing import piv  # noqa: PLC0415

    card = piv.verify(
        signature, message, namespace=namespace, public_key=public_key, at=at, anchors=anchors, crls=crls
    )
    certificate, hardware = card.certificate, card.issuer is not None
    if (require_touch or require_pin) and not hardware:
        problem = "a hardware key is demanded, and no registered anchor vouches for this certificate"
        raise PersonSignatureWrong(problem, fingerprint=certificate.fingerprint)
    return PersonSignature(
        "piv",
        certificate.fingerprint,
        certificate.key_material,
        touched=False,
        pin_given=hardware,
        hardware=hardware,
        certificate_subject=certificate.subject,
        certificate_until=certificate.until,
    )


def _method_of_signature(signature: str, registered: Method) -> Method:
    """What a signature looks like; braces around anything else are no card's: whose key is registered refuses them."""
    if signature.lstrip()[:1] != "{":
        return "ssh"
    return "piv" if '"tidegate-piv-signature/' in signature else registered
