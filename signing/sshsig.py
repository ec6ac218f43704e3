"""SSH signatures by people: made from key files, checked by us.

`ssh-keygen -Y verify` calls a FIDO2 signature good although nobody touched the key; the flags are signed, but
it does not look at them (OpenSSH 9.2p1, by trial). So the check is ours: a signature by a hardware key (`sk-`)
counts only with the touch flag, and with the PIN flag where that is demanded. Ed25519 and ECDSA on P-256 and
P-384; hardware keys sign with `ssh-keygen -Y sign -n NAMESPACE`, which knows how to talk to the token.

Sources: openssh-portable PROTOCOL.sshsig, PROTOCOL.u2f; RFC 4253 section 5 (wire types), RFC 5656, RFC 8709
"""

import base64
import binascii
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_ssh_private_key,
)

from signing.hidden import Hidden
from signing.person_refusals import PersonSignatureUncheckable, PersonSignatureWrong

HEADER, FOOTER = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"
MAGIC, VERSION = b"SSHSIG", 1
MAX_TEXT = 16 << 10  # characters of a signature or a public key line
MAX_KEY_FILE = 64 << 10  # bytes
TOUCHED, PIN_GIVEN = 0x01, 0x04  # PROTOCOL.u2f: user presence, user verification

ED25519, P256, P384 = "ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384"
SK_ED25519, SK_P256 = "sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com"
HARDWARE = (SK_ED25519, SK_P256)
ALGORITHMS = (ED25519, P256, P384, SK_ED25519, SK_P256)

SigningKey = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey
_CURVES: dict[
    str, tuple[str, ec.EllipticCurve, hashes.HashAlgorithm]
] = {  # RFC 5656 section 6.2.1 for the hashes
    P256: ("nistp256", ec.SECP256R1(), hashes.SHA256()),
    P384: ("nistp384", ec.SECP384R1(), hashes.SHA384()),
    SK_P256: ("nistp256", ec.SECP256R1(), hashes.SHA256()),
}


@dataclass(frozen=True)
class SshSignature:
    """What a signature that holds says about how it was made."""

    algorithm: str  # one of ALGORITHMS
    fingerprint: str  # as `ssh-keygen -l` shows it: SHA256:…
    key_material: str  # see `PublicKey`
    flags: int | None  # of the token; None for a key in a file
    counter: int | None  # of the token

    @property
    def touched(self) -> bool:
        """Somebody touched a hardware token for this signature."""
        return self.flags is not None and bool(self.flags & TOUCHED)

    @property
    def pin_given(self) -> bool:
        """Somebody gave the token its PIN, or a fingerprint, for this signature."""
        return self.flags is not None and bool(self.flags & PIN_GIVEN)


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
    key = _read_key_blob(_unbase64(words[1], at=at))
    if key.algorithm != words[0]:
        raise PersonSignatureUncheckable(f"says {words[0]!r} and holds {key.algorithm!r}", at=at)
    return key


def public_key_line(private_key: SigningKey, comment: str = "") -> str:
    """Return the line of the public half, without a newline."""
    line = private_key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    return f"{line} {comment}".rstrip()


def load_private(path: Path, passphrase: Callable[[str], bytes]) -> SigningKey:
    """Return the private key in a file of OpenSSH's or PKCS#8 form.

    Args:
        passphrase: called with the path, and only when the file is sealed.

    Raises:
        KeyMissing, KeyUnreadable, UnknownKeyScheme: of `signing.keys`.
    """
    # Late: these words bring securesystemslib with them, which checking a signature does not need.
    from signing.keys import KeyMissing, KeyUnreadable, UnknownKeyScheme  # noqa: PLC0415

    try:
        with path.open("rb") as stream:
            data = Hidden(stream.read(MAX_KEY_FILE))
    except (FileNotFoundError, NotADirectoryError) as exc:
        raise KeyMissing(str(path)) from exc
    except OSError as exc:
        raise KeyUnreadable(str(path), exc.strerror or "cannot be read") from exc
    if data.startswith((b"ssh-", b"ecdsa-", b"sk-")):
        raise KeyUnreadable(
            str(path), "this is the public key; the private key beside it has no .pub in its name"
        )
    load = load_ssh_private_key if b"BEGIN OPENSSH PRIVATE KEY" in bytes(data) else load_pem_private_key
    try:
        try:
            key = load(data, None)
        except TypeError:  # how `cryptography` says that the file is sealed
            key = load(data, passphrase(str(path)))
    except TypeError as exc:
        raise KeyUnreadable(str(path), "sealed, and no passphrase was given") from exc
    except ValueError as exc:
        raise KeyUnreadable(str(path), "the passphrase is wrong, or this is no private key") from exc
    except (
        UnsupportedAlgorithm
    ) as exc:  # a token's handle, or OpenSSH's own seal where no bcrypt is installed
        raise KeyUnreadable(
            str(path),
            f"cannot be opened here ({exc}); sign with ssh-keygen -Y sign and hand in the .sig file",
        ) from exc
    if not isinstance(key, SigningKey) or _algorithm_of(key) is None:
        raise UnknownKeyScheme(type(key).__name__, (ED25519, P256, P384))
    return key


def sign(message: bytes, *, namespace: str, private_key: SigningKey) -> str:
    """Return an armored signature that `ssh-keygen -Y verify -n NAMESPACE` accepts.

    Raises:
        PersonSignatureUncheckable: a key of a curve that `verify` would not take.
    """
    assert namespace, "an empty namespace is forbidden by PROTOCOL.sshsig"
    algorithm = _algorithm_of(private_key)
    if algorithm is None:
        raise PersonSignatureUncheckable("a key of this kind cannot sign here", at="private key")
    name = namespace.encode()
    signed = _to_be_signed(message, name, b"", b"sha512")
    if isinstance(private_key, ed25519.Ed25519PrivateKey):
        raw = private_key.sign(signed)
    else:
        r, s = decode_dss_signature(private_key.sign(signed, ec.ECDSA(_CURVES[algorithm][2])))
        raw = _mpint(r) + _mpint(s)
    blob = _unbase64(public_key_line(private_key).split()[1], at="public key")
    signature = _string(algorithm.encode()) + _string(raw)
    fields = b"".join(_string(field) for field in (blob, name, b"", b"sha512", signature))
    text = base64.b64encode(MAGIC + VERSION.to_bytes(4, "big") + fields).decode()
    lines = (text[start : start + 70] for start in range(0, len(text), 70))
    return "\n".join((HEADER, *lines, FOOTER, ""))


def verify(
    armored: str,
    message: bytes,
    *,
    namespace: str,
    public_key_line: str,
    require_touch: bool = False,
    require_pin: bool = False,
) -> SshSignature:
    """Check a person's signature and return what it says about how it was made.

    Args:
        public_key_line: the one key that may have made it.
        require_touch: demand a hardware key; a hardware key's touch is demanded in any case.
        require_pin: demand a hardware key that was given its PIN.

    Raises:
        PersonSignatureUncheckable: not decodable, or of a kind that is not supported.
        PersonSignatureWrong: another key, namespace or message; or made without the touch or PIN demanded.
    """
    key = read_public_key(public_key_line)
    signed, blob, found_namespace, signature = _dearmor(armored, message)
    if blob != key.blob:
        raise PersonSignatureWrong(
            f"made by another key than the registered {key.fingerprint}",
            fingerprint=_read_key_blob(blob).fingerprint,
        )
    if found_namespace != namespace.encode():
        shown = found_namespace.decode(errors="replace")
        raise PersonSignatureWrong(f"made for {shown!r}, not for {namespace!r}", fingerprint=key.fingerprint)
    flags, counter = _check_signature(key, signature, signed)
    found = SshSignature(key.algorithm, key.fingerprint, key.key_material, flags, counter)
    if flags is None and (require_touch or require_pin):
        raise PersonSignatureWrong(
            "a hardware key is demanded, this one is a file", fingerprint=key.fingerprint
        )
    if flags is not None and not found.touched:
        raise PersonSignatureWrong("nobody touched the hardware key", fingerprint=key.fingerprint)
    if require_pin and not found.pin_given:
        raise PersonSignatureWrong("the hardware key was not given its PIN", fingerprint=key.fingerprint)
    return found


class _Reader:
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
        if not raw or _mpint(value)[4:] != raw or len(raw) > 49:  # P-384: 48 bytes and a sign byte
            raise self.refuse("not a positive number in its one form")
        return value

    def end(self) -> None:
        if self._offset != len(self._data):
            raise self.refuse("more bytes than expected")


def _dearmor(armored: str, message: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    """Return the bytes that were signed, and the public key, namespace and signature fields."""
    at = "SSH signature"
    text = armored.rstrip() if len(armored) <= MAX_TEXT else ""
    if not (text.startswith(HEADER) and text.endswith(FOOTER) and len(text) >= len(HEADER) + len(FOOTER)):
        raise PersonSignatureUncheckable(f"not between {HEADER!r} and {FOOTER!r}, or too long", at=at)
    data = _unbase64("".join(text[len(HEADER) : -len(FOOTER)].split()), at=at)
    reader = _Reader(data, at)
    if reader.take(len(MAGIC)) != MAGIC or reader.uint32() != VERSION:
        raise reader.refuse("not version 1 of the format")
    blob, namespace, reserved, algorithm, signature = (reader.string() for _ in range(5))
    reader.end()
    if algorithm not in (b"sha256", b"sha512"):
        raise reader.refuse("neither SHA-256 nor SHA-512 was used")
    return _to_be_signed(message, namespace, reserved, algorithm), blob, namespace, signature


def _check_signature(key: PublicKey, signature: bytes, signed: bytes) -> tuple[int | None, int | None]:
    """Check the innermost signature; return a token's flags and counter, which it covers."""
    reader = _Reader(signature, "SSH signature")
    if reader.string() != key.algorithm.encode():
        raise reader.refuse("the signature's type is not its key's")
    raw = reader.string()
    flags = counter = None
    if key.algorithm in HARDWARE:  # PROTOCOL.u2f: the token signs hashes, its flags and its counter
        tail = reader.take(5)
        flags, counter = tail[0], int.from_bytes(tail[1:], "big")
        signed = hashlib.sha256(key.application).digest() + tail + hashlib.sha256(signed).digest()
    reader.end()
    try:
        if key.algorithm in _CURVES:
            _, curve, digest = _CURVES[key.algorithm]
            inner = _Reader(raw, "SSH signature")
            pair = encode_dss_signature(inner.mpint(), inner.mpint())
            inner.end()
            ec.EllipticCurvePublicKey.from_encoded_point(curve, key.point).verify(
                pair, signed, ec.ECDSA(digest)
            )
        else:
            ed25519.Ed25519PublicKey.from_public_bytes(key.point).verify(raw, signed)
    except InvalidSignature as exc:
        raise PersonSignatureWrong("does not belong to these bytes", fingerprint=key.fingerprint) from exc
    return flags, counter


def _read_key_blob(blob: bytes) -> PublicKey:
    reader = _Reader(blob, "public key")
    algorithm = reader.string().decode("ascii", errors="replace")
    if algorithm not in ALGORITHMS:
        raise PersonSignatureUncheckable(
            f"{algorithm[:64]!r} is none of {', '.join(ALGORITHMS)}", at="public key"
        )
    if algorithm in _CURVES and reader.string() != _CURVES[algorithm][0].encode():
        raise reader.refuse("the curve is not the one of its type")
    point = reader.string()
    application = reader.string() if algorithm in HARDWARE else b""
    reader.end()
    try:
        if algorithm in _CURVES:
            if (
                point[:1] != b"\x04"
            ):  # one spelling per key: RFC 5656 allows a compressed one, OpenSSH does not
                raise reader.refuse("the curve point is not in its long form")
            ec.EllipticCurvePublicKey.from_encoded_point(_CURVES[algorithm][1], point)
        else:
            ed25519.Ed25519PublicKey.from_public_bytes(point)
    except ValueError as exc:
        raise reader.refuse("not a public key of its type") from exc
    return PublicKey(algorithm, blob, point, application)


def _algorithm_of(key: SigningKey) -> str | None:
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return ED25519
    return {"secp256r1": P256, "secp384r1": P384}.get(key.curve.name)


def _to_be_signed(message: bytes, namespace: bytes, reserved: bytes, algorithm: bytes) -> bytes:
    digest = hashlib.new(algorithm.decode(), message).digest()
    return MAGIC + b"".join(_string(field) for field in (namespace, reserved, algorithm, digest))


def _string(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def _mpint(value: int) -> bytes:
    return _string(value.to_bytes(value.bit_length() // 8 + 1, "big") if value else b"")


def _unbase64(text: str, *, at: str) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise PersonSignatureUncheckable("not base64", at=at) from exc
    if base64.b64encode(raw).decode() != text:
        raise PersonSignatureUncheckable("base64 with loose ends", at=at)
    return raw
