"""Private keys by URI, those in files whole, and the public halves that others are given.

A key file is PKCS#8 PEM (RFC 5958), mode 0600, that OpenSSL reads too. Role keys belong to people and are
always sealed with a passphrase. Machine keys (audit log, packer, receipts) may lie open: the process that
uses them starts without a person, so a passphrase would stand in a file beside them and protect nothing;
their reach is kept small instead, no machine key signs a root, a catalogue or a pin.

The seal is PBES2 as `cryptography` writes it (AES-256-CBC, PBKDF2 with 2048 rounds), so the passphrase has
to carry the strength: six random words or more. `openssl pkcs8 -topk8 -scrypt` seals the same key harder,
and such files are read here as well. No secret appears in a message or a repr.
"""

import contextlib
import errno
import hashlib
import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from securesystemslib.signer import CryptoSigner, Key, Signer, SSlibKey

from signing.canonical import NotCanonical, parse, pretty_bytes
from signing.durable import sync_directory
from signing.errors import OperatorError
from signing.hidden import Hidden

ENTRY_POINTS = "tidegate.signers"  # where an installed package offers a scheme of its own
MAX_KEY_FILE = 64 << 10  # bytes; an ML-DSA-87 key sealed in PEM is under 8 KiB
SEALED = b"-----BEGIN ENCRYPTED PRIVATE KEY-----"


class KeyMissing(OperatorError):
    """No key file where one was named."""

    exit_code: ClassVar[int] = 90
    next_step: ClassVar[str] = "Check the path; plug in the medium that holds the key, or create it first."

    def __init__(self, path: str) -> None:
        super().__init__(f"{path}: no such key file")
        self.path = path


class KeyUnreadable(OperatorError):
    """A key file that does not open: wrong passphrase, or not a private key."""

    exit_code: ClassVar[int] = 91
    next_step: ClassVar[str] = (
        "Check that this is the private key file that you mean; if it is, try its passphrase again."
    )

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path, self.problem = path, problem


class KeyExists(OperatorError):
    """A key file is never overwritten: the signatures it made could not be made again."""

    exit_code: ClassVar[int] = 92
    next_step: ClassVar[str] = "Choose another path, or move the old key away yourself once nothing needs it."

    def __init__(self, path: str) -> None:
        super().__init__(f"{path}: already exists")
        self.path = path


class UnknownKeyScheme(OperatorError):
    """A kind of key, or of place for a key, that this build does not know."""

    exit_code: ClassVar[int] = 93
    next_step: ClassVar[str] = (
        "Use one of the kinds named here, or install the extra that brings the one you want."
    )

    def __init__(self, found: str, known: tuple[str, ...]) -> None:
        super().__init__(f"{found!r} is not known; known: {', '.join(known)}")
        self.found, self.known = found, known


def _ml_dsa(size: int) -> PrivateKeyTypes:
    # Late, because a `cryptography` linked to an older OpenSSL has no ML-DSA.
    from cryptography.hazmat.primitives.asymmetric import mldsa  # noqa: PLC0415

    made: PrivateKeyTypes = getattr(mldsa, f"MLDSA{size}PrivateKey").generate()
    return made


ALGORITHMS: Mapping[str, Callable[[], PrivateKeyTypes]] = MappingProxyType(
    {
        "ed25519": Ed25519PrivateKey.generate,
        "ecdsa-p256": lambda: ec.generate_private_key(ec.SECP256R1()),
        "ecdsa-p384": lambda: ec.generate_private_key(ec.SECP384R1()),
        "ml-dsa-65": lambda: _ml_dsa(65),
        "ml-dsa-87": lambda: _ml_dsa(87),
    }
)


@dataclass(frozen=True)
class PublicKeyInfo:
    """The half of a key that others may see."""

    uri: str  # of the private half: what `load_signer` takes
    keyid: str  # 64 hex, as in TUF metadata
    scheme: str  # `ed25519`, `ecdsa-sha2-nistp256`, `ml-dsa-65/1`, ...
    fingerprint: str  # 64 hex, see `fingerprint`
    public_json: bytes  # see `public_key_json`

    @property
    def path(self) -> Path:
        """The file of the private half, for a key in a file."""
        return Path(self.uri.removeprefix("file:"))


def create_key(path: Path, *, passphrase: bytes | None, algorithm: str = "ed25519") -> PublicKeyInfo:
    """Make a new private key file, mode 0600, complete or not at all, and return its public half.

    Args:
        passphrase: seals the file; None leaves it open, for machine keys only (see the module's text).
        algorithm: one of `ALGORITHMS`.

    Raises:
        KeyExists: something is at `path` already; it is left alone.
        UnknownKeyScheme: the algorithm is not known, or this `cryptography` cannot make it.
        KeyUnreadable: the passphrase is empty.
        OSError: the folder is missing or cannot be written, as the file system gives it.
    """
    if algorithm not in ALGORITHMS:
        raise UnknownKeyScheme(algorithm, tuple(ALGORITHMS))
    if passphrase is not None and not passphrase:
        raise KeyUnreadable(str(path), "an empty passphrase would protect nothing")
    try:
        private = ALGORITHMS[algorithm]()
    except (ImportError, UnsupportedAlgorithm) as exc:
        raise UnknownKeyScheme(algorithm, ("ed25519", "ecdsa-p256", "ecdsa-p384")) from exc
    seal: KeySerializationEncryption = (
        NoEncryption() if passphrase is None else BestAvailableEncryption(passphrase)
    )
    _write_once(path, private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, seal))
    key = CryptoSigner(private).public_key
    return describe(f"file:{path}", key)


def describe(uri: str, key: Key) -> PublicKeyInfo:
    """Return the public half of the key at `uri`. Raises `KeyUnreadable`: the key material does not decode."""
    return PublicKeyInfo(uri, key.keyid, key.scheme, fingerprint(key), public_key_json(key))


def can_make(algorithm: str) -> bool:
    """Whether this `cryptography` makes keys of one of `ALGORITHMS`; ML-DSA takes a recent OpenSSL."""
    try:
        ALGORITHMS[algorithm]()
    except (KeyError, ImportError, UnsupportedAlgorithm):
        return False
    return True


def load_signer(uri: str, *, passphrase: Callable[[str], bytes]) -> Signer:
    """Return what signs with the key at `uri`.

    Args:
        uri: `file:PATH`, the path taken literally (no percent escapes); `hsm:…`, see `signing.tokens`; or the
            scheme of an installed package (entry points of the group `tidegate.signers`).
        passphrase: called with the URI, and only when the file is sealed or the token wants its PIN.

    Raises:
        UnknownKeyScheme: another scheme, or a kind of key that cannot sign here.
        KeyMissing, KeyUnreadable: as named.
        TokenUnusable: of `signing.tokens`.
    """
    scheme, colon, place = uri.partition(":")
    opener = _opener(scheme) if place else None
    if opener is None:
        names = tuple(f"{name}:" for name in sorted({*_OWN, *_installed()}))
        raise UnknownKeyScheme(f"{scheme}:" if colon else uri, names)
    signer: Signer = opener.load()(uri, passphrase=passphrase)
    return signer


# Ours first, so that no package can put itself in their place; named, so that files need no token's library.
_OWN = {
    name: EntryPoint(name, place, ENTRY_POINTS)
    for name, place in (("file", f"{__name__}:load_file_signer"), ("hsm", "signing.tokens:load_token_signer"))
}


def _opener(scheme: str) -> EntryPoint | None:
    return _OWN.get(scheme) or _installed().get(scheme)


def _installed() -> dict[str, EntryPoint]:
    """What packages offer: an entry point named like its scheme, called like `load_signer`, that returns a `Signer`."""
    return {point.name: point for point in entry_points(group=ENTRY_POINTS)}


def load_file_signer(uri: str, *, passphrase: Callable[[str], bytes]) -> Signer:
    """Return what signs with the key file at `file:PATH`; raises as `load_signer` does."""
    place = uri.removeprefix("file:")
    pem = _read_key_file(Path(place))
    secret = Hidden(passphrase(uri)) if SEALED in bytes(pem) else None
    try:
        private = load_pem_private_key(pem, secret or None)
    except TypeError as exc:  # a sealed file and an empty passphrase
        raise KeyUnreadable(place, "sealed, and no passphrase was given") from exc
    except (ValueError, UnsupportedAlgorithm) as exc:
        raise KeyUnreadable(
            place, "the passphrase does not open it" if secret else "not a private key in PEM"
        ) from exc
    try:
        return CryptoSigner(private)
    except ValueError as exc:  # securesystemslib names the type, never the key
        raise UnknownKeyScheme(type(private).__name__, tuple(ALGORITHMS)) from exc


def fingerprint(key: Key | Signer) -> str:
    """Return SHA-256 of the key's DER SubjectPublicKeyInfo (RFC 5280), 64 hex digits.

    The same key gives the same fingerprint under any key id or scheme name, which is what the root lint needs.

    Raises:
        KeyUnreadable: the key material does not decode.
    """
    public = key if isinstance(key, Key) else key.public_key
    try:
        der = _public(public).public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except (KeyError, ValueError, TypeError, AttributeError, UnsupportedAlgorithm) as exc:
        raise KeyUnreadable(f"key {public.keyid[:12]}", "the public key does not decode") from exc
    return hashlib.sha256(der).hexdigest()


def public_key_json(key: Key | Signer) -> bytes:
    """Return the public half as readable JSON: keyid, keytype, scheme, keyval, fingerprint."""
    public = key if isinstance(key, Key) else key.public_key
    return pretty_bytes({"keyid": public.keyid, "fingerprint": fingerprint(public), **public.to_dict()})


def public_key_from_json(data: bytes, *, at: str = "public key") -> Key:
    """Return the key of `public_key_json`'s bytes; its id and fingerprint are computed, not believed.

    Raises:
        NotCanonical: not JSON of that shape, or key id or fingerprint is not this key's.
    """
    value = parse(data, max_bytes=MAX_KEY_FILE, at=at)
    try:
        fields = {name: value[name] for name in ("keytype", "scheme", "keyval")}
        key = Key.from_dict(str(value["keyid"]), fields)
        assert isinstance(key, SSlibKey)
        again = SSlibKey.from_crypto(_public(key), scheme=key.scheme)
    except (KeyError, TypeError, ValueError, AttributeError, UnsupportedAlgorithm) as exc:
        raise NotCanonical("not a public key as Tidegate writes it", at=at) from exc
    if public_key_json(again) != pretty_bytes(value):
        raise NotCanonical("the key id or fingerprint is not this key's", at=at)
    return again


def _public(key: Key) -> PublicKeyTypes:
    if key.keytype == "ed25519":
        return Ed25519PublicKey.from_public_bytes(bytes.fromhex(key.keyval["public"]))
    return load_pem_public_key(key.keyval["public"].encode())


def _read_key_file(path: Path) -> Hidden:
    try:
        with path.open("rb") as stream:
            pem = Hidden(stream.read(MAX_KEY_FILE + 1))
    except (FileNotFoundError, NotADirectoryError) as exc:
        raise KeyMissing(str(path)) from exc
    except OSError as exc:
        raise KeyUnreadable(str(path), exc.strerror or "cannot be read") from exc
    if len(pem) > MAX_KEY_FILE:
        raise KeyUnreadable(str(path), "too large for a key file")
    return pem


def _write_once(path: Path, data: bytes) -> None:
    """Write beside, then link: the name appears with all its bytes, and never replaces another file."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        try:
            os.link(beside, path)
        except FileExistsError as exc:
            raise KeyExists(str(path)) from exc
        except OSError as exc:
            if exc.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS):
                raise
            _create_exclusively(path, data)  # FAT and exFAT sticks have no links
    finally:
        with contextlib.suppress(FileNotFoundError):
            beside.unlink()
    sync_directory(path.parent)


def _create_exclusively(path: Path, data: bytes) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as exc:
        raise KeyExists(str(path)) from exc
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
