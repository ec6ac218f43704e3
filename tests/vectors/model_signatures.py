"""OpenSSF Model Signing files as they travel in bundles: by keys that everybody knows, and what is no such file."""

import base64
import json
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from signing import model_signature as oms
from signing.canonical import pretty_bytes
from signing.digests import sha256_hex
from signing.envelope import pae
from signing.statements import PAYLOAD_TYPE, STATEMENT_TYPE
from tests.vectors.basics import Files, digest
from tests.vectors.people import curved, same_each_time

KEY = curved("a home's models", ec.SECP256R1())
LARGE = curved("a publisher", ec.SECP384R1())
OTHER = curved("somebody else", ec.SECP256R1())
FILES = {"config.json": digest("config"), "weights/model.safetensors": digest("weights")}


def pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def resource(name: str, value: str) -> dict[str, str]:
    return {"name": name, "algorithm": "sha256", "digest": value}


def root(resources: list[dict[str, str]]) -> str:
    return sha256_hex(b"".join(bytes.fromhex(one["digest"]) for one in resources))


def statement(resources: list[dict[str, str]], **serialization: Any) -> dict[str, Any]:
    said = {
        "method": "files",
        "hash_type": "sha256",
        "allow_symlinks": False,
        "ignore_paths": list(oms.IGNORED),
    }
    return {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": "acme/tiny", "digest": {"sha256": root(resources)}}],
        "predicateType": oms.PREDICATE,
        "predicate": {"serialization": {**said, **serialization}, "resources": resources},
    }


def signed(said: dict[str, Any], key: ec.EllipticCurvePrivateKey = KEY) -> dict[str, Any]:
    payload = pretty_bytes(said)
    how = hashes.SHA256() if key.key_size == 256 else hashes.SHA384()
    raw = key.sign(pae(payload, PAYLOAD_TYPE), same_each_time(how))
    envelope = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [{"sig": base64.b64encode(raw).decode(), "keyid": ""}],
    }
    hint = oms.hint_of(key.public_key())
    material = {"publicKey": {"hint": hint}, "tlogEntries": []}
    return {"mediaType": oms.MEDIA_TYPE, "verificationMaterial": material, "dsseEnvelope": envelope}


def case(path: str, value: Any, key: ec.EllipticCurvePrivateKey = KEY) -> Files:
    """A folder: the file, and the key of whoever is believed."""
    yield f"{path}/model.sig", pretty_bytes(value)
    yield f"{path}/model.pem", pem(key)


def model_signature_vectors() -> Files:
    files = [resource(name, value) for name, value in FILES.items()]
    said = statement(files)
    good = signed(said)
    yield from case("valid/model-signature/files", good)
    yield from case("valid/model-signature/p384", signed(said, LARGE), LARGE)
    parts = [resource(f"model.safetensors:{at}:{at + 50_000}", digest(f"part {at}")) for at in (0, 50_000)]
    sharded = statement(parts, method="shards", shard_size=50_000)
    yield from case("valid/model-signature/stretches", signed(sharded))
    without_hint = {**good, "verificationMaterial": {"publicKey": {}, "tlogEntries": []}}
    yield from case("valid/model-signature/names-no-key", without_hint)
    envelope = good["dsseEnvelope"]
    wrong = "refused/ModelSignatureWrong/model-signature"
    yield from case(f"{wrong}/another-key", good, OTHER)
    other = pretty_bytes(statement(files[:1]))
    swapped = {**envelope, "payload": base64.b64encode(other).decode()}
    yield from case(f"{wrong}/another-payload", {**good, "dsseEnvelope": swapped})
    bad = "refused/ModelSignatureUnreadable/model-signature"
    yield from case(f"{bad}/another-media-type", {**good, "mediaType": "application/json"})
    yield from case(
        f"{bad}/another-payload-type", {**good, "dsseEnvelope": {**envelope, "payloadType": "text/plain"}}
    )
    yield from case(
        f"{bad}/two-signatures",
        {**good, "dsseEnvelope": {**envelope, "signatures": envelope["signatures"] * 2}},
    )
    keyless = {"certificate": {"rawBytes": ""}, "tlogEntries": []}
    yield from case(f"{bad}/keyless", {**good, "verificationMaterial": keyless})
    subject = [{"name": "acme/tiny", "digest": {"sha256": digest("another root")}}]
    for name, value in {
        "another-root": {**said, "subject": subject},
        "release-0-2": {**said, "predicateType": oms.PREDICATE_0_2},
        "two-subjects": {**said, "subject": said["subject"] * 2},
        "path-climbs": statement([resource("../config.json", digest("config"))]),
        "path-twice": statement([files[0], files[0]]),
        "nothing": statement([]),
        "digest-in-capitals": statement([{**files[0], "digest": files[0]["digest"].upper()}]),
        "another-algorithm": statement([{**files[0], "algorithm": "md5"}]),
        "hash-that-is-not-known": statement(files, hash_type="md5"),
        "stretch-that-overlaps": statement(
            [parts[0], resource("model.safetensors:25000:75000", digest("x"))],
            method="shards",
            shard_size=50_000,
        ),
        "way-that-is-not-known": statement(files, method="trees"),
    }.items():
        yield from case(f"{bad}/{name}", signed(value))
    yield f"{bad}/no-json/model.sig", b"-----BEGIN SIGNATURE-----\n"
    yield f"{bad}/no-json/model.pem", pem(KEY)
    assert json.loads(base64.b64decode(envelope["payload"])) == said
