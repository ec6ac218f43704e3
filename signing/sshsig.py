"""SSH signatures by people: made from key files, checked by us.

`ssh-keygen -Y verify` calls a FIDO2 signature good although nobody touched the key; the flags are signed, but
it does not look at them (OpenSSH 9.2p1, by trial). So the check is ours: a signature by a hardware key (`sk-`)
counts only with the touch flag, and with the PIN flag where that is demanded. Ed25519 and ECDSA on P-256 and
P-384; hardware keys sign with `ssh-keygen -Y sign -n NAMESPACE`, which knows how to talk to the token, and passkeys in
a browser (`signing.webauthn`). Key lines and wire types are in `signing.ssh_keys`.

Sources: openssh-portable PROTOCOL.sshsig, PROTOCOL.u2f; WebAuthn Level 3, section 6.1 (flags)
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_ssh_private_key,
)

from signing import webauthn
from signing.hidden import Hidden
from signing.person_refusals import PersonSignatureUncheckable, PersonSignatureWrong
from signing.ssh_keys import (
    ALGORITHMS,
    CURVES,
    ED25519,
    FOOTER,
    HARDWARE,
    HEADER,
    MAGIC,
    MAX_TEXT,
    P256,
    P384,
    SK_P256,
    VERSION,
    PublicKey,
    Reader,
    armor,
    fingerprint,
    mpint,
    read_key_blob,
    read_public_key,
    string,
    to_be_signed,
    unbase64,
)

__all__ = [
    "ALGORITHMS", "FOOTER", "HARDWARE", "HEADER", "PublicKey", "SigningKey", "SshSignature",
    "fingerprint", "load_private", "public_key_line", "read_public_key", "sign", "verify",
]  # fmt: skip

MAX_KEY_FILE = 64 << 10  # bytes
TOUCHED, PIN_GIVEN, COPYABLE = 0x01, 0x04, 0x08  # user presence, user verification, backup eligibility

SigningKey = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey


@dataclass(frozen=True)
class SshSignature:
    """What a signature that holds says about how it was made."""

    algorithm: str  # one of ALGORITHMS
    fingerprint: str  # as `ssh-keygen -l` shows it: SHA256:…
    key_material: str  # see `PublicKey`
    flags: int | None  # of the token; None for a key in a file
    counter: int | None  # of the token
    origin: str | None = None  # of the page in whose browser it was made: https://models.example

    @property
    def copyable(self) -> bool:
        """The key itself may lie elsewhere too: a passkey that its vendor carries from device to device."""
        return self.flags is not None and bool(self.flags & COPYABLE)

    @property
    def touched(self) -> bool:
        """Somebody touched a hardware token for this signature."""
        return self.flags is not None and bool(self.flags & TOUCHED)

    @property
    def pin_given(self) -> bool:
        """Somebody gave the token its PIN, or a fingerprint, for this signature."""
        return self.flags is not None and bool(self.flags & PIN_GIVEN)


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
    signed = to_be_signed(message, name, b"", b"sha512")
    if isinstance(private_key, ed25519.Ed25519PrivateKey):
        raw = private_key.sign(signed)
    else:
        r, s = decode_dss_signature(private_key.sign(signed, ec.ECDSA(CURVES[algorithm][2])))
        raw = mpint(r) + mpint(s)
    blob = unbase64(public_key_line(private_key).split()[1], at="public key")
    return armor(blob, name, string(algorithm.encode()) + string(raw))


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
            fingerprint=read_key_blob(blob).fingerprint,
        )
    if found_namespace != namespace.encode():
        shown = found_namespace.decode(errors="replace")
        raise PersonSignatureWrong(f"made for {shown!r}, not for {namespace!r}", fingerprint=key.fingerprint)
    found = _check_signature(key, signature, signed)
    problem = _missing(found, hardware=require_touch or require_pin, pin=require_pin)
    if problem is not None:
        raise PersonSignatureWrong(problem, fingerprint=key.fingerprint)
    return found


def _missing(found: SshSignature, *, hardware: bool, pin: bool) -> str | None:
    """What a good signature lacks. A touch is demanded of whatever can be touched."""
    if found.flags is None:
        return "a hardware key is demanded, this one is a file" if hardware else None
    if not found.touched:
        return "nobody touched the hardware key"
    if hardware and found.copyable:
        return "a hardware key is demanded, this passkey may be copied to other devices"
    return "the hardware key was not given its PIN" if pin and not found.pin_given else None


def _dearmor(armored: str, message: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    """Return the bytes that were signed, and the public key, namespace and signature fields."""
    at = "SSH signature"
    text = armored.rstrip() if len(armored) <= MAX_TEXT else ""
    if not (text.startswith(HEADER) and text.endswith(FOOTER) and len(text) >= len(HEADER) + len(FOOTER)):
        raise PersonSignatureUncheckable(f"not between {HEADER!r} and {FOOTER!r}, or too long", at=at)
    data = unbase64("".join(text[len(HEADER) : -len(FOOTER)].split()), at=at)
    reader = Reader(data, at)
    if reader.take(len(MAGIC)) != MAGIC or reader.uint32() != VERSION:
        raise reader.refuse("not version 1 of the format")
    blob, namespace, reserved, algorithm, signature = (reader.string() for _ in range(5))
    reader.end()
    if algorithm not in (b"sha256", b"sha512"):
        raise reader.refuse("neither SHA-256 nor SHA-512 was used")
    return to_be_signed(message, namespace, reserved, algorithm), blob, namespace, signature


def _check_signature(key: PublicKey, signature: bytes, signed: bytes) -> SshSignature:
    """Check the innermost signature; return a token's flags and counter, which it covers, and a browser's page."""
    reader = Reader(signature, "SSH signature")
    kind, raw = reader.string(), reader.string()
    in_browser = key.algorithm == SK_P256 and kind == webauthn.TYPE.encode()
    if kind != key.algorithm.encode() and not in_browser:
        raise reader.refuse("the signature's type is not its key's")
    tail = reader.take(5) if key.algorithm in HARDWARE else b""
    page = webauthn.read_page(reader) if in_browser else None
    reader.end()
    if page is not None:
        signed = webauthn.covered(
            page, tail, signed, application=key.application, fingerprint=key.fingerprint
        )
    elif tail:  # PROTOCOL.u2f: the token signs hashes, its flags and its counter
        signed = hashlib.sha256(key.application).digest() + tail + hashlib.sha256(signed).digest()
    _check_raw(key, raw, signed)
    flags, counter = (tail[0], int.from_bytes(tail[1:], "big")) if tail else (None, None)
    origin = page.origin if page else None
    return SshSignature(key.algorithm, key.fingerprint, key.key_material, flags, counter, origin)


def _check_raw(key: PublicKey, raw: bytes, signed: bytes) -> None:
    try:
        if key.algorithm in CURVES:
            _, curve, digest = CURVES[key.algorithm]
            inner = Reader(raw, "SSH signature")
            pair = encode_dss_signature(inner.mpint(), inner.mpint())
            inner.end()
            ec.EllipticCurvePublicKey.from_encoded_point(curve, key.point).verify(
                pair, signed, ec.ECDSA(digest)
            )
        else:
            ed25519.Ed25519PublicKey.from_public_bytes(key.point).verify(raw, signed)
    except InvalidSignature as exc:
        raise PersonSignatureWrong("does not belong to these bytes", fingerprint=key.fingerprint) from exc


def _algorithm_of(key: SigningKey) -> str | None:
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return ED25519
    return {"secp256r1": P256, "secp384r1": P384}.get(key.curve.name)
