"""Keys in tokens and security modules, reached through PKCS#11.

A key is named by `hsm:token=LABEL;object=LABEL`, after the pkcs11 URIs of RFC 7512: parts in any order, percent
escapes in the values, `id=%02` and `serial=` where labels are not enough, `module=` for the vendor's library. A
PIN is never part of it: a URI stands in scripts and process lists.

A wrong PIN is never tried again by us, and a token that says it has one try left is not tried at all: tokens lock
themselves. A token is logged in to once and stays so until `close_all`, since PKCS#11 keeps the login per token and
process in any case. Digests are made here and the token signs those (CKM_ECDSA), which every token can do.

Source: PKCS#11 v2.40 (OASIS), sections 2.3.6 and 4.4; RFC 7512; NIST SP 800-78-5 for what PIV cards hold
"""

import contextlib
import hashlib
import re
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import quote, unquote_to_bytes

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_der_public_key
from securesystemslib.signer import Key, Signature, Signer, SSlibKey

from signing.errors import OperatorError

if TYPE_CHECKING:
    import pkcs11

Ask = Callable[[str], bytes]  # from the key's URI to its PIN
CardPublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey

MAX_URI = 1024  # characters
ALGORITHMS = {"ecdsa-p256": "secp256r1", "ecdsa-p384": "secp384r1"}
_HASHES = {"secp256r1": "sha256", "secp384r1": "sha384"}  # of the TUF scheme of the same curve
_SCHEMES = {"secp256r1": "ecdsa-sha2-nistp256", "secp384r1": "ecdsa-sha2-nistp384"}
_PARTS = {"token", "serial", "object", "id", "module"}
_SECRETS = {"pin-value", "pin-source", "pin"}
_WORDS = {  # what a module answers, for a person
    "PinIncorrect": "the PIN is wrong; it was tried once and is not tried again, tokens lock themselves",
    "PinInvalid": "the PIN holds characters that the token does not take",
    "PinLenRange": "the PIN is too short or too long for the token",
    "PinLocked": "the PIN is locked after too many wrong tries",
    "PinExpired": "the PIN has expired and has to be changed",
    "UserPinNotInitialized": "no PIN was ever set for its user",
    "TokenNotPresent": "the token is not plugged in",
    "DeviceRemoved": "the token was pulled out",
    "TokenWriteProtected": "the token is write-protected",
    "MechanismInvalid": "the token cannot do this kind of signature or key",
}


class TokenUnusable(OperatorError):
    """A token or security module that cannot be used as named: library, token, key or PIN."""

    exit_code: ClassVar[int] = 125
    next_step: ClassVar[str] = (
        "See what is there with `pkcs11-tool --module FILE --list-slots --list-objects`, correct the key's name "
        "(hsm:token=LABEL;object=LABEL) and name the library in TIDEGATE_PKCS11_MODULE. Do not guess PINs."
    )

    def __init__(self, uri: str, problem: str) -> None:
        super().__init__(f"{uri}: {problem}")
        self.uri, self.problem = uri, problem


@dataclass(frozen=True)
class TokenUri:
    """The name of a key in a token, in its parts."""

    token: str | None = None  # label
    serial: str | None = None
    object: str | None = None  # label
    id: bytes | None = None
    module: str | None = None  # path of the PKCS#11 library

    def __str__(self) -> str:
        parts = {"token": self.token, "serial": self.serial, "object": self.object, "id": self.id}
        parts["module"] = self.module
        shown = (f"{name}={quote(value, safe='/ ')}" for name, value in parts.items() if value is not None)
        return "hsm:" + ";".join(shown)


@dataclass(frozen=True)
class TokenKey:
    """A key that is ready to sign; the private half stays where it is."""

    uri: TokenUri
    public_key: CardPublicKey
    certificate: bytes | None  # DER, when the token holds one for this key
    _private: "pkcs11.SignMixin" = field(repr=False)  # its repr asks the token
    _ask: Ask = field(repr=False)

    def sign(self, data: bytes) -> bytes:
        """Return the signature over `data`: ECDSA in DER, with the curve's hash, or RSA PKCS #1 v1.5 with SHA-256.

        Raises:
            TokenUnusable: the token refused, or was pulled out.
        """
        from pkcs11 import Attribute, Mechanism  # noqa: PLC0415  # of the extra `hsm`

        with _refusing(self.uri):
            again = _flag(self._private, Attribute.ALWAYS_AUTHENTICATE)
            mechanism, signed = Mechanism.SHA256_RSA_PKCS, data
            if isinstance(self.public_key, ec.EllipticCurvePublicKey):
                mechanism = Mechanism.ECDSA
                signed = hashlib.new(_HASHES[self.public_key.curve.name], data).digest()
            # The PIN in no variable of ours: a traceback may be shown with them.
            raw = self._private.sign(
                signed, mechanism=mechanism, pin=_pin(self.uri, self._ask) if again else None
            )
        if mechanism is Mechanism.SHA256_RSA_PKCS:
            return bytes(raw)
        half = len(raw) // 2
        return encode_dss_signature(int.from_bytes(raw[:half], "big"), int.from_bytes(raw[half:], "big"))


class TokenSigner(Signer):
    """Signs TUF metadata and statements with an ECDSA key in a token."""

    def __init__(self, key: TokenKey) -> None:
        assert isinstance(key.public_key, ec.EllipticCurvePublicKey), "asked before"
        self._key = key
        self._public = SSlibKey.from_crypto(key.public_key, scheme=_SCHEMES[key.public_key.curve.name])

    @property
    def public_key(self) -> Key:
        return self._public

    @classmethod
    def from_priv_key_uri(cls, priv_key_uri: str, public_key: Key, secrets_handler: Any = None) -> Signer:
        """Not how a key is opened here: see `load_token_signer`."""
        raise NotImplementedError(priv_key_uri)

    def sign(self, payload: bytes) -> Signature:
        return Signature(self._public.keyid, self._key.sign(payload).hex())


def read_uri(text: str) -> TokenUri:
    """Return the parts of a key's name. Raises `TokenUnusable`, without repeating what the name holds."""
    if not text.startswith("hsm:") or len(text) > MAX_URI:
        raise TokenUnusable("a token's key", "not of the form hsm:token=LABEL;object=LABEL")
    found: dict[str, bytes] = {}
    for part in re.split(r"[;?&]", text.removeprefix("hsm:")):
        name, equals, value = part.partition("=")
        if name in _SECRETS:
            raise TokenUnusable(
                "a token's key", "a PIN in a key's name shows in every process list; leave it out"
            )
        name = {"module-path": "module"}.get(name, name)
        if name not in _PARTS or not equals or not value or name in found:
            raise TokenUnusable(
                "a token's key", f"each of {', '.join(sorted(_PARTS))} at most once, each with a value"
            )
        found[name] = unquote_to_bytes(value)
    identity = found.pop("id", None)
    try:
        uri = TokenUri(id=identity, **{name: value.decode() for name, value in found.items()})
    except UnicodeDecodeError as exc:
        raise TokenUnusable("a token's key", "a label is not UTF-8") from exc
    if (uri.token or uri.serial) is None or (uri.object is None and uri.id is None):
        raise TokenUnusable("a token's key", "it takes token= or serial=, and object= or id=")
    if uri.module is not None and not uri.module.startswith("/"):
        raise TokenUnusable(
            "a token's key", "module= takes a whole path, so that no library of another folder is loaded"
        )
    return uri


def with_module(uri: str, module: str | None) -> str:
    """Return the name with the library that is to be used, unless it names one. Raises `TokenUnusable`."""
    found = read_uri(uri)
    return str(read_uri(str(replace(found, module=found.module or module))))


def load_token_signer(uri: str, *, passphrase: Ask) -> Signer:
    """Return what signs with the ECDSA key at `hsm:…`; the loader that `signing.keys` has for the scheme.

    Raises:
        TokenUnusable: as named, or the key is of a kind that TUF roles cannot use.
    """
    key = open_key(uri, passphrase=passphrase)
    if not isinstance(key.public_key, ec.EllipticCurvePublicKey):
        raise TokenUnusable(str(key.uri), "the key is RSA; roles are signed with ECDSA P-256 or P-384")
    return TokenSigner(key)


def open_key(uri: str, *, passphrase: Ask) -> TokenKey:
    """Log in to the token, unless that was done, and return its key.

    Args:
        passphrase: called with the URI for the PIN; not when the token has a PIN pad of its own.

    Raises:
        TokenUnusable: no library, token or key of that name, or the PIN is wrong.
    """
    name = read_uri(uri)
    with _refusing(name):
        from pkcs11 import KeyType, ObjectClass  # noqa: PLC0415  # of the extra `hsm`

        session = _session(name, passphrase)
        private = _one(session, name, ObjectClass.PRIVATE_KEY)
        if private is None:
            raise TokenUnusable(str(name), "the token holds no private key of that name")
        if private.key_type not in (KeyType.EC, KeyType.RSA):
            raise TokenUnusable(str(name), "the key is neither ECDSA nor RSA")
        same = replace(name, object=None, id=private.id) if private.id else name
        certificate = _certificate(session, same)
        return TokenKey(name, _public(session, same, certificate), certificate, private, passphrase)


def create_token_key(uri: str, *, passphrase: Ask, algorithm: str = "ecdsa-p256") -> TokenKey:
    """Make a new key pair in the token that never leaves it, and return it.

    Args:
        algorithm: one of `ALGORITHMS`.

    Raises:
        TokenUnusable: as `open_key`, or there is a key of that name, or the token cannot make one.
    """
    name = read_uri(uri)
    if algorithm not in ALGORITHMS:
        raise TokenUnusable(str(name), f"tokens make {' or '.join(ALGORITHMS)} here, not {algorithm}")
    if name.object is None:
        raise TokenUnusable(str(name), "a new key needs a label: object=")
    with _refusing(name):
        from pkcs11 import Attribute, KeyType, ObjectClass  # noqa: PLC0415  # of the extra `hsm`
        from pkcs11.util.ec import encode_named_curve_parameters  # noqa: PLC0415

        session = _session(name, passphrase)
        if _one(session, replace(name, id=None), ObjectClass.PRIVATE_KEY) is not None:
            raise TokenUnusable(str(name), "there is a key of that name; keys are never overwritten")
        curve = encode_named_curve_parameters(ALGORITHMS[algorithm])
        parameters = session.create_domain_parameters(KeyType.EC, {Attribute.EC_PARAMS: curve}, local=True)
        kept = {Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False}
        parameters.generate_keypair(
            store=True, label=name.object, id=name.id or secrets.token_bytes(8), private_template=kept
        )
    return open_key(uri, passphrase=passphrase)


# PKCS#11 itself keeps one login per token and process, so this is no more global than the library below it.
_sessions: dict[tuple[str, str | None, str | None], "pkcs11.Session"] = {}


def close_all() -> None:
    """Log out of every token."""
    while _sessions:
        _, session = _sessions.popitem()
        with contextlib.suppress(RuntimeError):  # a token that was pulled out has logged out
            session.close()


def _session(name: TokenUri, ask: Ask) -> "pkcs11.Session":
    from pkcs11 import PROTECTED_AUTH, TokenFlag, lib  # noqa: PLC0415

    if name.module is None:
        raise TokenUnusable(str(name), "no PKCS#11 library is named (module= or TIDEGATE_PKCS11_MODULE)")
    place = (name.module, name.token, name.serial)
    if place in _sessions:
        return _sessions[place]
    serial = None if name.serial is None else name.serial.encode()
    tokens = list(lib(name.module).get_tokens(token_label=name.token, token_serial=serial))
    if len(tokens) != 1:
        problem = (
            f"{len(tokens)} tokens of that name; tell them apart with serial=" if tokens else "no such token"
        )
        raise TokenUnusable(str(name), problem)
    token = tokens[0]
    if token.flags & TokenFlag.USER_PIN_LOCKED:
        raise TokenUnusable(str(name), _WORDS["PinLocked"])
    if token.flags & TokenFlag.USER_PIN_FINAL_TRY:
        raise TokenUnusable(
            str(name), "one wrong PIN more would lock the token; log in with its own tool first"
        )
    padded = token.flags & TokenFlag.PROTECTED_AUTHENTICATION_PATH
    _sessions[place] = token.open(rw=True, user_pin=PROTECTED_AUTH if padded else _pin(name, ask))
    return _sessions[place]


def _pin(name: TokenUri, ask: Ask) -> str:
    try:
        return ask(str(name)).decode()
    except UnicodeDecodeError:
        raise TokenUnusable(str(name), _WORDS["PinInvalid"]) from None  # the bytes would stand in the chain


def _one(session: "pkcs11.Session", name: TokenUri, kind: "pkcs11.ObjectClass") -> Any:
    """Return the one object of that name and kind, or None."""
    from pkcs11 import Attribute  # noqa: PLC0415

    wanted: dict[Attribute, Any] = {Attribute.CLASS: kind}
    if name.object is not None:
        wanted[Attribute.LABEL] = name.object
    if name.id is not None:
        wanted[Attribute.ID] = name.id
    found = list(session.get_objects(wanted))
    if len(found) > 1:
        raise TokenUnusable(
            str(name), f"{len(found)} objects ({kind.name}) of that name; tell them apart with id="
        )
    return found[0] if found else None


def _certificate(session: "pkcs11.Session", name: TokenUri) -> bytes | None:
    from pkcs11 import Attribute, ObjectClass  # noqa: PLC0415

    found = _one(session, name, ObjectClass.CERTIFICATE)
    return None if found is None else bytes(found[Attribute.VALUE])


def _public(session: "pkcs11.Session", name: TokenUri, certificate: bytes | None) -> CardPublicKey:
    from pkcs11 import KeyType, ObjectClass  # noqa: PLC0415
    from pkcs11.util.ec import encode_ec_public_key  # noqa: PLC0415
    from pkcs11.util.rsa import encode_rsa_public_key  # noqa: PLC0415

    found = _one(session, name, ObjectClass.PUBLIC_KEY)
    key: object = None
    try:
        if found is not None and found.key_type == KeyType.EC:
            key = load_der_public_key(encode_ec_public_key(found))
        elif found is not None and found.key_type == KeyType.RSA:
            key = load_der_public_key(encode_rsa_public_key(found))
        elif certificate is not None:  # some cards give out the certificate alone
            from cryptography.x509 import load_der_x509_certificate  # noqa: PLC0415

            key = load_der_x509_certificate(certificate).public_key()
    except (ValueError, UnsupportedAlgorithm) as exc:
        raise TokenUnusable(str(name), "its public key does not decode") from exc
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _SCHEMES:
        return key
    if isinstance(key, rsa.RSAPublicKey):
        return key
    raise TokenUnusable(str(name), "no public key or certificate for it, of ECDSA P-256 or P-384 or of RSA")


def _flag(found: Any, attribute: "pkcs11.Attribute") -> bool:
    from pkcs11 import AttributeTypeInvalid  # noqa: PLC0415

    try:
        return bool(found[attribute])
    except AttributeTypeInvalid:  # a token need not know the attribute
        return False


@contextlib.contextmanager
def _refusing(name: TokenUri) -> Iterator[None]:
    """Say what the library says in words; every answer of PKCS#11 is one exception of the binding."""
    try:
        from pkcs11 import PKCS11Error  # noqa: PLC0415
    except ImportError as exc:
        raise TokenUnusable(
            str(name), "this installation lacks the extra: pip install 'tidegate[hsm]'"
        ) from exc
    try:
        yield
    except PKCS11Error as exc:
        kind = type(exc).__name__
        exc.__traceback__ = None  # the binding's frames, which hold the PIN
        raise TokenUnusable(str(name), _WORDS.get(kind, str(exc) or f"the library answers {kind}")) from None
