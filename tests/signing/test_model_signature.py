"""OpenSSF Model Signing: our files, those of six releases of the reference tool, certificates, and hostile bytes."""

import base64
import contextlib
import hashlib
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.signer import CryptoSigner

from signing import model_certificates as certificates
from signing import model_signature as oms
from signing.envelope import pae
from signing.model_signature import ModelSignatureUnreadable, ModelSignatureWrong
from signing.statements import PAYLOAD_TYPE
from tests.signing.model_authority import START, Holder, issue, revoke, usage
from tests.signing.oms_vectors import BUNDLE, STATEMENT, VECTORS, statement_of

PUBLISHER = ec.derive_private_key(0xC0FFEE, ec.SECP256R1())
FILES = [
    ("model.safetensors", hashlib.sha256(b"weights").hexdigest()),
    ("config.json", hashlib.sha256(b"{}").hexdigest()),
    ("a.b/c.json", hashlib.sha256(b"c").hexdigest()),
    ("a/b.json", hashlib.sha256(b"b").hexdigest()),
    (".gitattributes", hashlib.sha256(b"git").hexdigest()),
]
ROOT = issue("Acme root", authority=True, days=4000)
ISSUER = issue("Acme issuer", ROOT, authority=True, days=2000)
NOW = START + timedelta(days=100)


def signed(key: ec.EllipticCurvePrivateKey = PUBLISHER, chain: tuple[Holder, ...] = ()) -> bytes:
    return oms.sign("tiny", FILES, CryptoSigner(key), certificates=[one.der for one in chain])


SIGNED = signed()


def changed(change: Callable[[dict[str, Any]], None], data: bytes = SIGNED) -> bytes:
    value = json.loads(data)
    change(value)
    return json.dumps(value).encode()


def with_statement(
    change: Callable[[dict[str, Any]], None], *, key: ec.EllipticCurvePrivateKey = PUBLISHER
) -> oms.ModelSignature:
    """A publisher who signs something else than the format allows."""
    statement = json.loads(oms.read(SIGNED).payload)
    change(statement)
    payload = json.dumps(statement).encode()
    raw = CryptoSigner(key).sign(pae(payload, PAYLOAD_TYPE)).signature
    return oms.ModelSignature("key", None, (), payload, bytes.fromhex(raw))


def resources(statement: dict[str, Any], *items: tuple[str, str], algorithm: str = "sha256") -> None:
    statement["predicate"]["resources"] = [
        {"name": name, "digest": digest, "algorithm": algorithm} for name, digest in items
    ]
    total = b"".join(bytes.fromhex(digest) for _, digest in items)
    statement["subject"][0]["digest"]["sha256"] = hashlib.sha256(total).hexdigest()


class TestWhatWeWrite:
    @pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda c: c.name)
    def test_is_read_again(self, curve: ec.EllipticCurve) -> None:
        key = ec.generate_private_key(curve)
        found = oms.verify(oms.read(signed(key)), key.public_key())
        assert sorted(item for item in FILES if item[0] != ".gitattributes") == [
            (one.path, one.digest) for one in found.resources
        ]
        assert ("tiny", "sha256", None) == (found.name, found.hash_type, found.stretch)

    def test_follows_the_published_form(self) -> None:
        for data in (SIGNED, signed(chain=(issue("signer", ISSUER), ISSUER))):
            bundle = json.loads(data)
            BUNDLE.validate(bundle)
            STATEMENT.validate(statement_of(bundle))

    def test_lists_files_by_code_point(self) -> None:
        names = [one.path for one in oms.verify(oms.read(SIGNED), PUBLISHER.public_key()).resources]
        assert ["a.b/c.json", "a/b.json", "config.json", "model.safetensors"] == names

    def test_needs_a_file_and_an_elliptic_key(self) -> None:
        with pytest.raises(ModelSignatureUnreadable, match="no file that the format signs"):
            oms.sign("tiny", FILES[-1:], CryptoSigner(PUBLISHER))
        with pytest.raises(ModelSignatureUnreadable, match="no ECDSA key"):
            oms.sign("tiny", FILES, CryptoSigner.generate_ed25519())


class TestWhoSigned:
    def test_another_key_did_not(self) -> None:
        other = ec.generate_private_key(ec.SECP256R1()).public_key()
        with pytest.raises(ModelSignatureWrong, match="did not make this signature"):
            oms.verify(oms.read(SIGNED), other)

    def test_one_changed_byte_of_the_payload_is_seen(self) -> None:
        def swap(value: dict[str, Any]) -> None:
            payload = base64.b64decode(value["dsseEnvelope"]["payload"])
            payload = payload.replace(b"config.json", b"confiG.json")
            value["dsseEnvelope"]["payload"] = base64.b64encode(payload).decode()

        with pytest.raises(ModelSignatureWrong):
            oms.verify(oms.read(changed(swap)), PUBLISHER.public_key())

    def test_the_hint_names_a_key_and_proves_nothing(self) -> None:
        def lie(value: dict[str, Any]) -> None:
            value["verificationMaterial"]["publicKey"]["hint"] = "0" * 64

        assert oms.read(SIGNED).hint == oms.hint_of(PUBLISHER.public_key())
        assert oms.verify(oms.read(changed(lie)), PUBLISHER.public_key()).resources

    def test_only_keys_of_the_format_are_taken(self) -> None:
        line = (
            ed25519.Ed25519PrivateKey.generate()
            .public_key()
            .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        )
        with pytest.raises(ModelSignatureUnreadable, match="no ECDSA key"):
            oms.public_key(line)
        with pytest.raises(ModelSignatureUnreadable, match="no public key"):
            oms.public_key(b"nothing")


class TestEarlierReleases:
    """Files of the reference tool, byte for byte. Its key is the same in all of them."""

    def key(self) -> ec.EllipticCurvePublicKey:
        return certificates.signers_key(self.signature("v1.1.0-certificate").certificates)

    def signature(self, name: str) -> oms.ModelSignature:
        return oms.read((VECTORS / f"{name}.sig").read_bytes())

    @pytest.mark.parametrize("name", ["v0.3.1-key", "v1.0.0-key", "v1.0.1-key", "v1.1.0-key"])
    def test_keys(self, name: str) -> None:
        signature = self.signature(name)
        assert signature.hint == oms.hint_of(self.key())  # from 1.1 on as a hint, before as the key itself
        found = oms.verify(signature, self.key())
        assert found.resources[0].path == ("." if name in ("v0.3.1-key", "v1.0.0-key") else "signme-1")

    @pytest.mark.parametrize("version", ["v0.3.1", "v1.0.0", "v1.0.1", "v1.1.0"])
    def test_certificates(self, version: str) -> None:
        signature = self.signature(f"{version}-certificate")
        anchors = [certificates._load(signature.certificates[1], at="test")]
        key = certificates.judge(signature.certificates, anchors, moment=NOW)
        assert ["signme-1", "signme-2"] == [one.path for one in oms.verify(signature, key).resources]

    def test_what_release_0_2_signed_is_not_taken(self) -> None:
        """Its signature covers other bytes than DSSE says; a reader that tries both can be talked into either."""
        with pytest.raises(ModelSignatureWrong):
            oms.verify(self.signature("v0.2.0-certificate"), self.key())

    def test_what_release_0_2_listed_is_not_taken(self) -> None:
        old = with_statement(lambda statement: statement.update(predicateType=oms.PREDICATE_0_2))
        with pytest.raises(ModelSignatureUnreadable, match=r"release 0\.2"):
            oms.verify(old, PUBLISHER.public_key())

    @pytest.mark.parametrize("keyid", ["", None, "absent"])
    def test_the_key_id_may_be_anything(self, keyid: str | None) -> None:
        def said(value: dict[str, Any]) -> None:
            one = value["dsseEnvelope"]["signatures"][0]
            one.pop("keyid") if keyid == "absent" else one.update(keyid=keyid)
            del value["verificationMaterial"]["tlogEntries"]

        assert oms.verify(oms.read(changed(said)), PUBLISHER.public_key()).resources

    @pytest.mark.parametrize("minor", [1, 2, 3])
    def test_media_types_of_before(self, minor: int) -> None:
        older = f"application/vnd.dev.sigstore.bundle+json;version=0.{minor}"
        assert oms.read(changed(lambda value: value.update(mediaType=older))).hint
        with pytest.raises(ModelSignatureUnreadable, match="mediaType"):
            oms.read(changed(lambda value: value.update(mediaType=[older])))

    @pytest.mark.parametrize(
        "material",
        [
            {"tlogEntries": []},
            {"publicKey": {"hint": ""}, "x509CertificateChain": {"certificates": [{"rawBytes": "AA=="}]}},
        ],
        ids=["nobody", "two"],
    )
    def test_one_signer_is_named(self, material: dict[str, Any]) -> None:
        with pytest.raises(ModelSignatureUnreadable, match="names no signer, or several"):
            oms.read(changed(lambda value: value.update(verificationMaterial=material)))

    def test_keyless_is_said_to_need_a_network(self) -> None:
        keyless = changed(lambda v: v.update(verificationMaterial={"certificate": {"rawBytes": "AA=="}}))
        with pytest.raises(ModelSignatureUnreadable, match="keyless"):
            oms.read(keyless)


DIGEST = hashlib.sha256(b"weights").hexdigest()


class TestStretches:
    """Large files in stretches: the reference tool and the text of the specification name them differently."""

    @pytest.mark.parametrize("size", [50000, 50000.0])
    def test_as_the_tool_writes_them(self, size: float) -> None:
        def shards(statement: dict[str, Any]) -> None:
            statement["predicate"]["serialization"].update(method="shards", shard_size=size)
            resources(
                statement,
                ("odd:name.bin:0:50000", DIGEST),
                ("odd:name.bin:50000:50003", DIGEST),
                algorithm="sha256-sharded-50000",
            )

        found = oms.verify(with_statement(shards), PUBLISHER.public_key())
        assert [("odd:name.bin", 0, 50000), ("odd:name.bin", 50000, 50003)] == [
            (one.path, one.start, one.end) for one in found.resources
        ]

    def test_as_the_text_has_them(self) -> None:
        def shards(statement: dict[str, Any]) -> None:
            statement["predicate"]["serialization"]["method"] = "file-shard-1024"
            resources(statement, ("w.bin:shard-0", DIGEST), ("w.bin:shard-1", DIGEST))

        found = oms.verify(with_statement(shards), PUBLISHER.public_key())
        assert [(0, 1024), (1024, 2048)] == [(one.start, one.end) for one in found.resources]

    @pytest.mark.parametrize("name", ["w.bin", "w.bin:0", "w.bin:5:9", "w.bin:0:99999999", "w.bin:9:0"])
    def test_what_is_none_is_refused(self, name: str) -> None:
        def shards(statement: dict[str, Any]) -> None:
            statement["predicate"]["serialization"].update(method="shards", shard_size=1000)
            resources(statement, (name, DIGEST))

        with pytest.raises(ModelSignatureUnreadable, match="no stretch"):
            oms.verify(with_statement(shards), PUBLISHER.public_key())


def _twice(statement: dict[str, Any]) -> None:
    resources(statement, ("a", DIGEST), ("a", DIGEST))


def _two_subjects(statement: dict[str, Any]) -> None:
    statement["subject"] *= 2


@pytest.mark.parametrize(
    ("lie", "said"),
    [
        (lambda s: resources(s, ("../config.json", DIGEST)), "plain relative path"),
        (lambda s: resources(s, ("/etc/passwd", DIGEST)), "plain relative path"),
        (lambda s: resources(s, ("a//b", DIGEST)), "plain relative path"),
        (_twice, "stands twice"),
        (lambda s: resources(s, (".", DIGEST), ("a", DIGEST)), "one file"),
        (resources, "no list of 1"),
        (lambda s: resources(s, ("a", DIGEST.upper())), "lower-case hex"),
        (lambda s: resources(s, ("a", DIGEST), algorithm="md5"), "is not the sha256"),
        (lambda s: s["subject"][0]["digest"].update(sha256="0" * 64), "not the digest of the resources"),
        (_two_subjects, "one subject"),
        (lambda s: s["subject"][0].update(name=""), "no name"),
        (lambda s: s["predicate"].update(further={}), "not known here"),
        (lambda s: s["predicate"]["serialization"].update(skip="*.bin"), "not known here"),
        (lambda s: s["predicate"]["serialization"].update(ignore_paths=[""]), "no list of paths"),
        (lambda s: s["predicate"]["serialization"].update(shard_size=9), "way to list files"),
        (lambda s: s["predicate"]["serialization"].update(allow_symlinks="false"), "true nor false"),
        (lambda s: s["predicate"]["serialization"].pop("allow_symlinks"), "true nor false"),
        (lambda s: s["predicate"]["serialization"].update(hash_type="md5"), "is none of"),
        (lambda s: s["predicate"]["serialization"].update(method="tensors"), "not known"),
        (lambda s: s["predicate"]["serialization"].update(method="shards", shard_size=0), "whole number"),
        (lambda s: s.update(predicateType="https://example.org/other"), "is no https://model_signing"),
        (lambda s: s.update(_type="https://in-toto.io/Statement/v0.1"), "is no https://in-toto"),
    ],
)
def test_a_publisher_who_signs_nonsense_is_not_read(lie: Callable[[dict[str, Any]], None], said: str) -> None:
    with pytest.raises(ModelSignatureUnreadable, match=said):
        oms.verify(with_statement(lie), PUBLISHER.public_key())


class TestCertificates:
    def verify(self, *chain: Holder, **told: Any) -> oms.SignedModel:
        signature = oms.read(signed(chain[0].key, chain))
        anchors = told.pop("anchors", [ROOT.certificate])
        key = certificates.judge(signature.certificates, anchors, **({"moment": NOW} | told))
        return oms.verify(signature, key)

    @pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda c: c.name)
    def test_a_chain_to_a_believed_root_holds(self, curve: ec.EllipticCurve) -> None:
        assert self.verify(issue("signer", ISSUER, curve=curve), ISSUER).resources

    def test_a_signers_own_certificate_may_be_believed(self) -> None:
        signer = issue("signer", ISSUER)
        assert self.verify(signer, anchors=[signer.certificate]).resources

    @pytest.mark.parametrize(
        "anchors", [[], [issue("Acme root", authority=True).certificate]], ids=["none", "namesake"]
    )
    def test_without_its_root_it_does_not(self, anchors: list[Any]) -> None:
        with pytest.raises(ModelSignatureWrong, match="no chain to a believed authority"):
            self.verify(issue("signer", ISSUER), ISSUER, anchors=anchors)

    def test_the_root_does_not_come_with_the_signature(self) -> None:
        own = issue("Rogue root", authority=True)
        with pytest.raises(ModelSignatureWrong, match="no chain"):
            self.verify(issue("signer", own), own)

    def test_a_signer_is_no_authority(self) -> None:
        signer = issue("signer", ISSUER)
        with pytest.raises(ModelSignatureWrong, match="no chain"):
            self.verify(issue("below", signer), signer, ISSUER)

    def test_it_holds_in_its_time_only(self) -> None:
        short = issue("signer", ISSUER, days=50)
        with pytest.raises(ModelSignatureWrong, match="valid from"):
            self.verify(short, ISSUER)
        assert self.verify(short, ISSUER, moment=START + timedelta(days=10)).resources

    def test_an_expired_issuer_ends_it_too(self) -> None:
        old = issue("Acme old issuer", ROOT, authority=True, days=10)
        with pytest.raises(ModelSignatureWrong, match="no chain"):
            self.verify(issue("signer", old), old)

    @pytest.mark.parametrize(
        "told",
        [
            {"key_usage": usage(key_encipherment=True)},
            {"extended": [ExtendedKeyUsageOID.SERVER_AUTH]},
            {"extended": []},
            {"key_usage": usage(key_encipherment=True), "extended": [ExtendedKeyUsageOID.CODE_SIGNING]},
        ],
        ids=["encipherment", "server", "unstated", "both-ways"],
    )
    def test_one_for_something_else_is_refused(self, told: dict[str, Any]) -> None:
        with pytest.raises(ModelSignatureWrong, match="no certificate for signing"):
            self.verify(issue("signer", ISSUER, **told), ISSUER)

    def test_a_revoked_one_is_refused_for_whatever_moment(self) -> None:
        signer, other = issue("signer", ISSUER), issue("other", ISSUER)
        crls = [certificates.load_crl(revoke(ISSUER, signer))]
        for moment in (NOW, START + timedelta(days=1)):
            with pytest.raises(ModelSignatureWrong, match="was revoked on 2026-01-31"):
                self.verify(signer, ISSUER, crls=crls, moment=moment)
        assert self.verify(other, ISSUER, crls=crls).resources

    def test_a_revoked_issuer_takes_its_signers_with_it(self) -> None:
        crls = [certificates.load_crl(revoke(ROOT, ISSUER))]
        with pytest.raises(ModelSignatureWrong, match="Acme issuer was revoked"):
            self.verify(issue("signer", ISSUER), ISSUER, crls=crls)

    def test_a_list_that_the_issuer_did_not_sign_revokes_nothing(self) -> None:
        signer = issue("signer", ISSUER)
        namesake = issue("Acme issuer", authority=True)
        assert self.verify(signer, ISSUER, crls=[certificates.load_crl(revoke(namesake, signer))]).resources

    def test_what_is_no_certificate_is_said(self) -> None:
        for call in (certificates.load_anchors, certificates.load_crl):
            with pytest.raises(ModelSignatureUnreadable):
                call(b"nothing")
        with pytest.raises(ModelSignatureUnreadable, match="certificate that is none"):
            certificates.judge([b"nothing"], [ROOT.certificate], moment=NOW)


@pytest.mark.property
class TestHostileBytes:
    @given(st.binary(max_size=200))
    def test_any_bytes(self, data: bytes) -> None:
        with pytest.raises(ModelSignatureUnreadable):
            oms.read(data)

    @given(st.data())
    def test_any_field_that_is_something_else(self, data: st.DataObject) -> None:
        value = json.loads(SIGNED)
        place: Any = value
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            key = data.draw(st.sampled_from(keys))
            inner = place[key]
            if not isinstance(inner, dict | list) or not inner or data.draw(st.booleans()):
                break
            place = inner
        place[key] = data.draw(st.none() | st.integers() | st.text(max_size=5) | st.just({}) | st.just([]))
        with contextlib.suppress(ModelSignatureUnreadable, ModelSignatureWrong):
            oms.verify(oms.read(json.dumps(value).encode()), PUBLISHER.public_key())

    @given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=5))
    def test_any_signed_payload(self, statement: Any) -> None:
        payload = json.dumps(statement).encode()
        raw = CryptoSigner(PUBLISHER).sign(pae(payload, PAYLOAD_TYPE)).signature
        with pytest.raises(ModelSignatureUnreadable):
            oms.verify(
                oms.ModelSignature("key", None, (), payload, bytes.fromhex(raw)), PUBLISHER.public_key()
            )

    def test_size_is_bounded_before_parsing(self) -> None:
        with pytest.raises(ModelSignatureUnreadable, match="at most"):
            oms.read(b"[" * (oms.MAX_BUNDLE + 1))
        with pytest.raises(ModelSignatureUnreadable, match="more than 1000 values"):
            oms.read(b"[" + b"{}," * 2000 + b"{}]")
