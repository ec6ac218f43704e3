"""OpenSSH's public key lines and wire types, and the bytes that an SSHSIG covers.

Apart from `signing.sshsig`, which judges signatures, so that the signatures of browsers (`signing.webauthn`) stand on
the same few words.

Sources: openssh-portable PROTOCOL.sshsig, PROTOCOL.u2f; RFC 4251 section 5 (wire types), RFC 5656, RFC 8709
"""

import base64
import binascii
import hashlib
from dataclasses import dataclass

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from signing.person_refusals import PersonSignatureUncheckable

HEADER, FOOTER = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"
MAGIC, VERSION = b"SSHSIG", 1
MAX_TEXT = 16 << 10  # characters of a signature or a public key line

ED25519, P256, P384 = "ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384"
SK_ED25519, SK_P256 = "sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com"
HARDWARE = (SK_ED25519, SK_P256)
ALGORITHMS = (ED25519, P256, P384, SK_ED25519, SK_P256)

CURVES: dict[
    str, tuple[str, ec.EllipticCurve, hashes.HashAlgorithm]
] = {  # RFC 5656 section 6.2.1 for the hashes
    P256: ("nistp256", ec.SECP256R1(), hashes.SHA256()),
    P384: ("nistp384", ec.SECP384R1(), hashes.SHA384()),
    SK_P256: ("nistp256", ec.SECP256R1(), hashes.SHA256()),
}


@dataclass(frozen=True)
class PublicKey:
    """A decoded OpenSSH public key line."""

    algorithm: str
    blob: bytes  # wire form, what the fingerprint is made of
    point: bytes  # the bare public key: 32 bytes, or an uncompressed curve point
    application: bytes  # what a token bound the key to; empty for others

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the wire form, in base64 without padding, after `SHA256:`."""
        return "SHA256:" + base64.b64encode(hashlib.sha256(self.blob).digest()).decode().rstrip("=")

    @property
    def key_material(self) -> str:
        """64 hex digits that stay the same when one key is registered under two types or two applications."""
        return hashlib.sha256(self.point).hexdigest()


def fingerprint(public_key_line: str) -> str:
    """Return `SHA256:…` of an OpenSSH public key line. Raises `PersonSignatureUncheckable`."""
    return read_public_key(public_key_line).fingerprint


def read_public_key(line: str) -> PublicKey:
    """Decode `TYPE BASE64 [comment]`; options as in authorized_keys are refused.

    Raises:
        PersonSignatureUncheckable: another key type, trailing bytes, a point that is not on its curve.
    """
    at = "public key"
    words = line.split(maxsplit=2) if len(line) <= MAX_TEXT else []
    if len(words) < 2 or "\n" in line.strip():
        raise PersonSignatureUncheckable("not one line of the form TYPE BASE64 COMMENT", at=at)
    key = read_key_blob(unbase64(words[1], at=at))
    if key.algorithm != words[0]:
        raise PersonSignatureUncheckable(f"says {words[0]!r} and holds {key.algorithm!r}", at=at)
    return key


class Reader:
    """Wire types of RFC 4253 section 5, from bytes that anybody may have written."""

    def __init__(self, data: bytes, at: str) -> None:
        self._data, self._offset, self._at = data, 0, at

    def refuse(self, problem: str) -> PersonSignatureUncheckable:
        return PersonSignatureUncheckable(f"{problem} at byte {self._offset}", at=self._at)

    def take(self, count: int) -> bytes:
        if count > len(self._data) - self._offset:
            raise self.refuse("ends too early")
        self._offset += count
        return self._data[self._offset - count : self._offset]

    def uint32(self) -> int:
        return int.from_bytes(self.take(4), "big")

    def string(self) -> bytes:
        return self.take(self.uint32())

    def mpint(self) -> int:
        raw = self.string()
        value = int.from_bytes(raw, "big")
        if not raw or mpint(value)[4:] != raw or len(raw) > 49:  # P-384: 48 bytes and a sign byte
            raise self.refuse("not a positive number in its one form")
        return value

    def end(self) -> None:
        if self._offset != len(self._data):
            raise self.refuse("more bytes than expected")


def read_key_blob(blob: bytes) -> PublicKey:
    reader = Reader(blob, "public key")
    algorithm = reader.string().decode("ascii", errors="replace")
    if algorithm not in ALGORITHMS:
        raise PersonSignatureUncheckable(
            f"{algorithm[:64]!r} is none of {', '.join(ALGORITHMS)}", at="public key"
        )
    if algorithm in CURVES and reader.string() != CURVES[algorithm][0].encode():
        raise reader.refuse("the curve is not the one of its type")
    point = reader.string()
    application = reader.string() if algorithm in HARDWARE else b""
    reader.end()
    try:
        if algorithm in CURVES:
            if (
                point[:1] != b"\x04"
            ):  # one spelling per key: RFC 5656 allows a compressed one, OpenSSH does not
                raise reader.refuse("the curve point is not in its long form")
            ec.EllipticCurvePublicKey.from_encoded_point(CURVES[algorithm][1], point)
        else:
            ed25519.Ed25519PublicKey.from_public_bytes(point)
    except ValueError as exc:
        raise reader.refuse("not a public key of its type") from exc
    return PublicKey(algorithm, blob, point, application)


def to_be_signed(message: bytes, namespace: bytes, reserved: bytes, algorithm: bytes) -> bytes:
    digest = hashlib.new(algorithm.decode(), message).digest()
    return MAGIC + b"".join(string(field) for field in (namespace, reserved, algorithm, digest))


def string(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def mpint(value: int) -> bytes:
    return string(value.to_bytes(value.bit_length() // 8 + 1, "big") if value else b"")


def unbase64(text: str, *, at: str) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise PersonSignatureUncheckable("not base64", at=at) from exc
    if base64.b64encode(raw).decode() != text:
        raise PersonSignatureUncheckable("base64 with loose ends", at=at)
    return raw


def armor(blob: bytes, namespace: bytes, signature: bytes) -> str:
    """The text of a version 1 signature over a SHA-512. `blob`: the public key in its wire form."""
    fields = b"".join(string(field) for field in (blob, namespace, b"", b"sha512", signature))
    text = base64.b64encode(MAGIC + VERSION.to_bytes(4, "big") + fields).decode()
    lines = (text[start : start + 70] for start in range(0, len(text), 70))
    return "\n".join((HEADER, *lines, FOOTER, ""))
