"""OpenSSF Model Signing v1.0, read and written: one signature over the list of a model's files.

Apart from `signing.envelope` because the format is somebody else's: one JSON file with the payload inside, ECDSA keys
only, and forms of earlier releases that publishers' signatures still have. The order is fixed: shape of the outer file
(`read`), signature (`verify`), and only then what it says (`SignedModel`). Nothing inside the file says whom to
believe: the caller brings the key, or the certificate that `signing.model_certificates` has judged.

The format lists names and contents, no more. Sizes, modes, empty folders and the names that it always leaves out are
the manifest's affair: a version is compared with both.

Not read: the predicate of release 0.2 (the specification leaves it to the reader; its signatures cover bytes that
nobody can check by the rules of DSSE), and the keyless method, whose log is on a network. What a signature's author
says to ignore is read and not obeyed: `pipelines.signed_files`.

Sources: https://github.com/ossf/model-signing-spec (spec/v1.0, schemas/v1.0), DSSE protocol v1.0, Sigstore bundle
format (media types), docs/how-to/model-signatures.md
"""

import base64
import binascii
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from securesystemslib.signer import Signer

from signing.canonical import NotCanonical, parse, pretty_bytes
from signing.digests import is_sha256, sha256_hex
from signing.envelope import pae
from signing.errors import OperatorError
from signing.statements import PAYLOAD_TYPE, STATEMENT_TYPE

MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_MEDIA_TYPES = (  # read; the others are older names, and differ in nothing that counts here
    MEDIA_TYPE,
    *(f"application/vnd.dev.sigstore.bundle+json;version=0.{minor}" for minor in (1, 2, 3)),
)
PREDICATE = "https://model_signing/signature/v1.0"
PREDICATE_0_2 = "https://model_signing/Digests/v0.1"
IGNORED = (".git", ".gitattributes", ".github", ".gitignore")  # spec 6.2: top-level names never signed

MAX_BUNDLE = 64 << 20  # bytes; 100,000 files are about 30 MB
MAX_RESOURCES = 200_000
MAX_CERTIFICATES = 10
_SCHEMES = ("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521")
_HASHES = {256: hashes.SHA256(), 384: hashes.SHA384(), 521: hashes.SHA512()}  # bits of the curve
_KINDS = {"publicKey", "x509CertificateChain", "certificate"}  # one of them names the signer
_SERIALIZATION = {"method", "hash_type", "shard_size", "allow_symlinks", "ignore_paths"}
DIGEST_BYTES = {"sha256": 32, "blake2b": 64, "blake3": 32}

Method = Literal["key", "certificate"]


class ModelSignatureWrong(OperatorError):
    """A signature that does not hold, or files that are not the ones that were signed."""

    exit_code: ClassVar[int] = 208
    next_step: ClassVar[str] = (
        "Do not use these files. Fetch files and signature again from whoever published them; if it fails again, "
        "ask the publisher over another channel which files and which key are theirs."
    )

    def __init__(self, what: str, problem: str) -> None:
        super().__init__(f"{what}: {problem}")
        self.what, self.problem = what, problem


class ModelSignatureUnreadable(OperatorError):
    """A file that is no OpenSSF Model Signing v1.0 signature, or one of a kind that cannot be checked offline."""

    exit_code: ClassVar[int] = 209
    next_step: ClassVar[str] = (
        "Check that this is the model's signature file. If it is, ask the publisher for one in the v1.0 format made "
        "with a key or a certificate; an older form or a keyless one cannot be checked here."
    )

    def __init__(self, problem: str, *, at: str) -> None:
        super().__init__(f"{at}: {problem}")
        self.problem, self.at = problem, at


@dataclass(frozen=True)
class Resource:
    """One file, or a stretch of one, and its digest in hex."""

    path: str  # relative, `/` between parts; `.` is the one file of a model that is a single file
    digest: str
    start: int = 0  # bytes
    end: int | None = None  # bytes, not included; None is the end of the file


@dataclass(frozen=True)
class SignedModel:
    """What was signed. Believe it only as the result of `verify`."""

    name: str  # for people
    digest: str  # SHA-256 of the resources' digests in order; names are not in it
    hash_type: str  # of DIGEST_BYTES
    stretch: int | None  # bytes of each stretch of a file; None where files are hashed whole
    resources: tuple[Resource, ...]


@dataclass(frozen=True)
class ModelSignature:
    """A signature file as read: nothing of it is believed yet."""

    method: Method
    hint: str | None  # as the file says, of the key
    certificates: tuple[bytes, ...]  # DER, the signer's own first
    payload: bytes
    signature: bytes  # ECDSA, DER


def read(data: bytes, *, at: str = "model signature") -> ModelSignature:
    """Read a signature file; its payload stays bytes until `verify`.

    Raises:
        ModelSignatureUnreadable: not such a file, too large, or of a kind that cannot be checked offline.
    """
    try:
        raw = parse(data, max_bytes=MAX_BUNDLE, at=at, max_values=1000)
    except NotCanonical as exc:
        raise ModelSignatureUnreadable(exc.problem, at=exc.at) from exc
    top = _object(raw, at=at)
    if top.get("mediaType") not in _MEDIA_TYPES:
        raise ModelSignatureUnreadable(f"is no {MEDIA_TYPE}", at=f"{at}.mediaType")
    envelope = _object(top.get("dsseEnvelope"), at=f"{at}.dsseEnvelope")
    if envelope.get("payloadType") != PAYLOAD_TYPE:
        raise ModelSignatureUnreadable(f"is no {PAYLOAD_TYPE}", at=f"{at}.dsseEnvelope.payloadType")
    signatures = envelope.get("signatures")
    if not isinstance(signatures, list) or len(signatures) != 1:
        raise ModelSignatureUnreadable("one signature is expected", at=f"{at}.dsseEnvelope.signatures")
    one = _object(signatures[0], at=f"{at}.dsseEnvelope.signatures[0]")
    method, hint, certificates = _material(top.get("verificationMaterial"), at=f"{at}.verificationMaterial")
    return ModelSignature(
        method=method,
        hint=hint,
        certificates=certificates,
        payload=_base64(envelope.get("payload"), at=f"{at}.dsseEnvelope.payload"),
        signature=_base64(one.get("sig"), at=f"{at}.dsseEnvelope.signatures[0].sig"),
    )


def public_key(pem: bytes, *, at: str = "public key") -> ec.EllipticCurvePublicKey:
    """Return the key of a PEM file. Raises `ModelSignatureUnreadable`: none, or of a kind that the format has not."""
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as exc:
        raise ModelSignatureUnreadable("is no public key in PEM", at=at) from exc
    return elliptic(key, at=at)


def elliptic(key: object, *, at: str) -> ec.EllipticCurvePublicKey:
    """Return `key` if the format has its kind. Raises `ModelSignatureUnreadable`."""
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(
        key.curve, ec.SECP256R1 | ec.SECP384R1 | ec.SECP521R1
    ):
        raise ModelSignatureUnreadable("is no ECDSA key on P-256, P-384 or P-521", at=at)
    return key


def hint_of(key: ec.EllipticCurvePublicKey) -> str:
    """Return SHA-256 over the PEM form of a key, 64 hex digits: how signature files name their key."""
    return sha256_hex(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


def verify(
    signature: ModelSignature, key: ec.EllipticCurvePublicKey, *, at: str = "model signature"
) -> SignedModel:
    """Return what `key` signed.

    Raises:
        ModelSignatureWrong: the key did not sign these bytes.
        ModelSignatureUnreadable: it did, and they are no statement about a model.
    """
    try:
        key.verify(
            signature.signature, pae(signature.payload, PAYLOAD_TYPE), ec.ECDSA(_HASHES[key.curve.key_size])
        )
    except InvalidSignature as exc:
        problem = f"the key {hint_of(key)[:12]} did not make this signature"
        raise ModelSignatureWrong(at, problem) from exc
    return _statement(signature.payload, at=f"{at}, payload")


def sign(
    name: str, files: Iterable[tuple[str, str]], signer: Signer, *, certificates: Sequence[bytes] = ()
) -> bytes:
    """Return a signature file over a model's files.

    Args:
        name: shown to people.
        files: (path, SHA-256 in hex); the names that the format never signs are left out.
        signer: of an ECDSA key on P-256, P-384 or P-521.
        certificates: DER, the signer's own first and no root; none: the key method.

    Raises:
        ModelSignatureUnreadable: another kind of key, or no file that may be signed.
    """
    key = signer.public_key
    if key.scheme not in _SCHEMES:
        raise ModelSignatureUnreadable("is no ECDSA key on P-256, P-384 or P-521", at=f"key {key.keyid[:12]}")
    signed = sorted(item for item in files if item[0].partition("/")[0] not in IGNORED)
    if not signed:
        raise ModelSignatureUnreadable("has no file that the format signs", at=name)
    payload = pretty_bytes(_written(name, signed))
    raw = bytes.fromhex(signer.sign(pae(payload, PAYLOAD_TYPE)).signature)
    material: dict[str, Any] = {"publicKey": {"hint": hint_of(public_key(key.keyval["public"].encode()))}}
    if certificates:
        chain = [{"rawBytes": _text(one)} for one in certificates]
        material = {"x509CertificateChain": {"certificates": chain}}
    envelope = {
        "payload": _text(payload),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [{"sig": _text(raw), "keyid": ""}],
    }
    return pretty_bytes(
        {
            "mediaType": MEDIA_TYPE,
            "verificationMaterial": {**material, "tlogEntries": []},
            "dsseEnvelope": envelope,
        }
    )


def _written(name: str, signed: Sequence[tuple[str, str]]) -> dict[str, Any]:
    resources = [{"name": path, "algorithm": "sha256", "digest": digest} for path, digest in signed]
    serialization = {
        "method": "files",
        "hash_type": "sha256",
        "allow_symlinks": False,
        "ignore_paths": list(IGNORED),
    }
    return {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": _root(digest for _, digest in signed)}}],
        "predicateType": PREDICATE,
        "predicate": {"serialization": serialization, "resources": resources},
    }


def _root(digests: Iterable[str]) -> str:
    total = hashlib.sha256()
    for digest in digests:
        total.update(bytes.fromhex(digest))
    return total.hexdigest()


def _material(raw: Any, *, at: str) -> tuple[Method, str | None, tuple[bytes, ...]]:
    """Which method, the key's hint, the certificates. Releases before 1.1 wrote the key itself: it says nothing more."""
    material = _object(raw, at=at)
    if len(_KINDS & set(material)) != 1:
        raise ModelSignatureUnreadable("names no signer, or several", at=at)
    if "certificate" in material:
        raise ModelSignatureUnreadable("signed keyless, which needs a log on the network", at=at)
    if "x509CertificateChain" in material:
        place = f"{at}.x509CertificateChain.certificates"
        chain = _object(material["x509CertificateChain"], at=f"{at}.x509CertificateChain").get("certificates")
        if not isinstance(chain, list) or not 1 <= len(chain) <= MAX_CERTIFICATES:
            raise ModelSignatureUnreadable(f"is no list of 1 to {MAX_CERTIFICATES} certificates", at=place)
        return "certificate", None, tuple(_certificate(one, at=place) for one in chain)
    named = _object(material.get("publicKey"), at=f"{at}.publicKey")
    hint = named.get("hint")
    if hint is None and named.get("rawBytes") is not None:
        hint = sha256_hex(_base64(named["rawBytes"], at=f"{at}.publicKey.rawBytes"))
    if not (hint is None or isinstance(hint, str)):
        raise ModelSignatureUnreadable("is no text", at=f"{at}.publicKey.hint")
    return "key", hint or None, ()


def _certificate(raw: Any, *, at: str) -> bytes:
    return _base64(_object(raw, at=at).get("rawBytes"), at=f"{at}.rawBytes")


def _statement(payload: bytes, *, at: str) -> SignedModel:
    try:
        raw = parse(payload, max_bytes=MAX_BUNDLE, at=at, max_values=6 * MAX_RESOURCES)
    except NotCanonical as exc:
        raise ModelSignatureUnreadable(exc.problem, at=exc.at) from exc
    top = _object(raw, at=at)
    if top.get("_type") != STATEMENT_TYPE:
        raise ModelSignatureUnreadable(f"is no {STATEMENT_TYPE}", at=f"{at}._type")
    if top.get("predicateType") != PREDICATE:
        old = top.get("predicateType") == PREDICATE_0_2
        problem = "has the form of release 0.2, which is not read" if old else f"is no {PREDICATE}"
        raise ModelSignatureUnreadable(problem, at=f"{at}.predicateType")
    predicate = _only(top.get("predicate"), {"resources", "serialization"}, at=f"{at}.predicate")
    hash_type, stretch = _serialization(predicate.get("serialization"), at=f"{at}.predicate.serialization")
    resources = _resources(predicate.get("resources"), hash_type, stretch, at=f"{at}.predicate.resources")
    name, digest = _subject(top.get("subject"), at=f"{at}.subject")
    if digest != _root(one.digest for one in resources):
        raise ModelSignatureUnreadable("is not the digest of the resources", at=f"{at}.subject[0].digest")
    return SignedModel(name, digest, hash_type, stretch, resources)


def _subject(raw: Any, *, at: str) -> tuple[str, str]:
    if not isinstance(raw, list) or len(raw) != 1:
        raise ModelSignatureUnreadable("one subject is expected", at=at)
    one = _object(raw[0], at=f"{at}[0]")
    name, digest = one.get("name"), _object(one.get("digest"), at=f"{at}[0].digest").get("sha256")
    if not isinstance(name, str) or not name or not isinstance(digest, str) or not is_sha256(digest):
        raise ModelSignatureUnreadable("has no name, or no SHA-256", at=f"{at}[0]")
    return name, digest


def _serialization(raw: Any, *, at: str) -> tuple[str, int | None]:
    """Return the hash and the bytes of a stretch. Drafts of the spec wrote the size of stretches into the method."""
    said = _only(raw, _SERIALIZATION, at=at)
    hash_type, method, ignored = said.get("hash_type"), said.get("method"), said.get("ignore_paths", [])
    if not isinstance(hash_type, str) or hash_type not in DIGEST_BYTES:
        raise ModelSignatureUnreadable(f"is none of {', '.join(DIGEST_BYTES)}", at=f"{at}.hash_type")
    if not isinstance(said.get("allow_symlinks"), bool):
        raise ModelSignatureUnreadable("is neither true nor false", at=f"{at}.allow_symlinks")
    if not isinstance(ignored, list) or not all(isinstance(path, str) and path for path in ignored):
        raise ModelSignatureUnreadable("is no list of paths", at=f"{at}.ignore_paths")
    if method == "files" and "shard_size" not in said:
        return hash_type, None
    return hash_type, _shard_size(said, at=at)


def _shard_size(said: dict[str, Any], *, at: str) -> int:
    size: Any = None
    method = said.get("method")
    if method == "shards":
        size = said.get("shard_size")
    elif isinstance(method, str) and method.startswith("file-shard-"):
        size = _whole(method.removeprefix("file-shard-"))
    else:
        raise ModelSignatureUnreadable("is a way to list files that is not known", at=f"{at}.method")
    if isinstance(size, float) and size.is_integer():  # the reference tool writes 50000.0
        size = int(size)
    if type(size) is not int or not 1 <= size <= 1 << 50:
        raise ModelSignatureUnreadable("is no whole number of bytes", at=f"{at}.shard_size")
    return size


def _resources(raw: Any, hash_type: str, stretch: int | None, *, at: str) -> tuple[Resource, ...]:
    if not isinstance(raw, list) or not 1 <= len(raw) <= MAX_RESOURCES:
        raise ModelSignatureUnreadable(f"is no list of 1 to {MAX_RESOURCES} files", at=at)
    found: dict[tuple[str, int], Resource] = {}
    for number, item in enumerate(raw):
        one = _resource(item, hash_type, stretch, at=f"{at}[{number}]")
        if found.setdefault((one.path, one.start), one) is not one:
            raise ModelSignatureUnreadable("stands twice", at=f"{at}[{number}].name")
    if len(found) > 1 and any(path == "." for path, _ in found):
        raise ModelSignatureUnreadable("a model that is one file has one resource", at=at)
    return tuple(found.values())


def _resource(raw: Any, hash_type: str, stretch: int | None, *, at: str) -> Resource:
    item = _object(raw, at=at)
    name, digest, algorithm = (item.get(key) for key in ("name", "digest", "algorithm"))
    if not isinstance(name, str) or not isinstance(digest, str) or not isinstance(algorithm, str):
        raise ModelSignatureUnreadable("needs the texts name, digest and algorithm", at=at)
    if algorithm != hash_type and algorithm.partition("-sharded-")[0] != hash_type:
        raise ModelSignatureUnreadable(f"is not the {hash_type} of the others", at=f"{at}.algorithm")
    if len(digest) != 2 * DIGEST_BYTES[hash_type] or set(digest) - set("0123456789abcdef"):
        raise ModelSignatureUnreadable(f"is no {hash_type} in lower-case hex", at=f"{at}.digest")
    if stretch is None:
        return Resource(_path(name, at=at), digest)
    path, start, end = _stretch(name, stretch, at=at)
    return Resource(_path(path, at=at), digest, start, end)


def _stretch(name: str, size: int, *, at: str) -> tuple[str, int, int]:
    """Read `path:start:end` of the spec, or `path:shard-3` of its drafts: from the end, since names have colons."""
    path, mark, index = name.rpartition(":shard-")
    if mark and (number := _whole(index)) is not None:
        return path, number * size, (number + 1) * size
    path, _, last = name.rpartition(":")
    path, _, first = path.rpartition(":")
    start, end = _whole(first), _whole(last)
    if start is None or end is None or start % size or not start <= end <= start + size:
        raise ModelSignatureUnreadable("names no stretch of a file", at=f"{at}.name")
    return path, start, end


def _whole(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 15 else None


def _path(path: str, *, at: str) -> str:
    """Return a name that stays below the model's folder and is written in one way."""
    if path != "." and (any(part in ("", ".", "..") for part in path.split("/")) or "\0" in path):
        raise ModelSignatureUnreadable("is no plain relative path", at=f"{at}.name")
    return path


def _object(raw: Any, *, at: str) -> dict[str, Any]:
    if not isinstance(raw, dict):
        raise ModelSignatureUnreadable("is no object", at=at)
    return raw


def _only(raw: Any, known: set[str], *, at: str) -> dict[str, Any]:
    """An object without further members: one that is not known might say that the files are to be read otherwise."""
    found = _object(raw, at=at)
    if further := sorted(set(found) - known):
        raise ModelSignatureUnreadable("is not known here", at=f"{at}.{further[0][:40]}")
    return found


def _base64(raw: Any, *, at: str) -> bytes:
    try:
        return base64.b64decode(raw.encode("ascii"), validate=True) if isinstance(raw, str) else _no_text(at)
    except (UnicodeEncodeError, binascii.Error) as exc:
        raise ModelSignatureUnreadable("is no base64", at=at) from exc


def _no_text(at: str) -> bytes:
    raise ModelSignatureUnreadable("is no text", at=at)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
