"""The home's keys, opened for use.

The station key is this machine's own, like a host key: unencrypted, mode 0600, so that every change can be
logged without asking anybody. It proves which home wrote, never that a person agreed. Role keys at an origin
are people's: always encrypted, always asked for.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.signer import CryptoSigner, Signer

from registry import log_tree
from registry.errors import HomeUnusable
from registry.home import Home
from registry.store import HeadSigner
from signing import checkpoint, keys
from tidegate import settings


@cache
def _station_private(path: Path) -> Ed25519PrivateKey:
    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError) as exc:
        raise HomeUnusable(str(path), f"the station key cannot be read ({type(exc).__name__})") from exc
    if not isinstance(key, Ed25519PrivateKey):
        raise HomeUnusable(str(path), "the station key is not an Ed25519 key")
    return key


def station_signer(home: Home) -> CryptoSigner:
    """This machine's signer of statements and receipts. Raises `HomeUnusable`."""
    return CryptoSigner(_station_private(home.station_key))


def trust_signers(home: Home) -> tuple[Signer, ...]:
    """This machine's signers of snapshot and timestamp: every `station*.pem`, of which the root names some.

    More than one in the profiles with ML-DSA keys, and after one was replaced.
    """
    others = sorted(home.keys.glob("station-*.pem"))
    loaded = [keys.load_signer(f"file:{path}", passphrase=_never_sealed) for path in others]
    return (station_signer(home), *loaded)


def _never_sealed(uri: str) -> bytes:
    raise HomeUnusable(uri, "a key of the station is sealed, and nobody can be asked for it")


def log_name(home: Home) -> str:
    """The origin line of the home's checkpoints."""
    return log_tree.log_name(home.name)


def head_signer(home: Home) -> HeadSigner:
    """Signs the audit log's heads."""

    def sign(size: int, root: bytes) -> str:
        return checkpoint.sign_checkpoint(log_name(home), size, root, _station_private(home.station_key))

    return sign


def log_verifier_key(home: Home) -> str:
    """The public half, as an auditor writes it: `name+hash+key` (C2SP signed-note)."""
    return checkpoint.verifier_key(log_name(home), _station_private(home.station_key).public_key())


def role_signers(home: Home, *, named: tuple[str, ...], passphrase: Callable[[str], bytes]) -> list[Signer]:
    """Open the officers' keys: those named by URI or path, else every `officer*.pem` of the home."""
    uris = [key_uri(name) for name in named]
    uris = uris or [f"file:{path}" for path in sorted(home.keys.glob("officer*.pem"))]
    return [keys.load_signer(uri, passphrase=passphrase) for uri in uris]


def key_uri(name: str) -> str:
    """Return the URI of a key that was named by URI or path; a token's gets the library of TIDEGATE_PKCS11_MODULE.

    Raises:
        TokenUnusable: of `signing.tokens`, for an `hsm:` name that cannot be read.
    """
    if name.startswith("hsm:"):
        from signing.tokens import with_module

        return with_module(name, settings.pkcs11_module())
    return name if ":" in name else f"file:{Path(name).absolute()}"
