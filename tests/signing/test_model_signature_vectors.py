"""Every published case of OpenSSF Model Signing v1.0 for keys and certificates, with the verdict that it demands.

The cases are those of the specification's test vectors and of its conformance suite. Their names are theirs. Where the
suite makes its own keys and signatures at run time, the case is written here anew with keys of ours.

Two choices of the suite are made elsewhere here. Files that its `--ignore-paths` names are files that nobody took in;
while they are among the files, they are a finding, whatever the signature's author said to ignore. There is no
`--ignore-unsigned-files`: what is not signed is left out, or found.

Not checked: the keyless method (said to be uncheckable), symbolic links that are to be followed, and the predicate of
release 0.2, which the specification leaves to the reader.
"""

import base64
import hashlib
import json
from datetime import UTC, datetime, timedelta
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from securesystemslib.signer import CryptoSigner

from pipelines.closed_world import look
from pipelines.model_judging import UNCHECKABLE, UNKNOWN_SIGNER, VALID, WRONG, Believed, Judged, judge
from pipelines.signed_files import File
from signing import model_certificates as certificates
from signing import model_signature as oms
from signing.envelope import pae
from signing.model_signature import ModelSignatureUnreadable
from signing.statements import PAYLOAD_TYPE
from tests.signing.model_authority import Holder, issue, usage
from tests.signing.oms_vectors import BUNDLE, STATEMENT, VECTORS, statement_of

CASES, SPEC = VECTORS / "conformance", VECTORS / "spec"
NOW = datetime(2026, 6, 1, tzinfo=UTC)  # all that is published is valid then, unless its name says otherwise

Files = dict[str, bytes]
SIMPLE: Files = {"signme-1": b"signme-1\n", "signme-2": b"signme-2"}
OLD: Files = {"signme-1": b"signme-1", "signme-2": b"signme-2"}  # of the certificates' releases
EXTRA = {"extra.bin": b"extra file added after signing\n"}
MULTI: Files = {
    "config.json": b'{"model": "test", "version": "1.0"}',
    "subdir/adapter.bin": b"\xcd" * 512,
    "weights.bin": b"\xab" * 1024,
}
SINGLE: Files = {"model.bin": b"\xef" * 256}


def there(files: Files) -> dict[str, File]:
    return {
        path: File(len(content), hashlib.sha256(content).hexdigest(), partial(BytesIO, content))
        for path, content in files.items()
    }


def pem(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _published_chain() -> tuple[bytes, ...]:
    return oms.read((CASES / "certificate-simple.sig").read_bytes()).certificates


KEY = Believed("the suite's key", "key", pem(certificates.signers_key(_published_chain())))
AUTHORITY = Believed(
    "the suite's authority",  # the one below its root, whose certificate is not published
    "certificate",
    x509.load_der_x509_certificate(_published_chain()[1]).public_bytes(Encoding.PEM),
)
WRONG_KEY = Believed("another key", "key", (CASES / "keys/wrong-key-pub.pem").read_bytes())
WRONG_CA = Believed("another authority", "certificate", (CASES / "keys/wrong-ca-cert.pem").read_bytes())


def judged(case: Path, files: Files, *believed: Believed, moment: datetime = NOW) -> Judged:
    return judge(case.read_bytes(), there(files), believed, moment=moment)


@pytest.mark.parametrize(
    "path", sorted(SPEC.glob("*/*.json")), ids=lambda path: f"{path.parent.name}/{path.stem}"
)
def test_the_published_schemas_are_read_as_their_authors_mean_them(path: Path) -> None:
    """What the specification's own check of its vectors says: which of the schemas refuses which."""
    bundle = json.loads(path.read_bytes())
    kind = path.parent.name
    assert BUNDLE.is_valid(bundle) == (kind != "invalid")
    if kind != "invalid":
        assert STATEMENT.is_valid(statement_of(bundle)) == (kind == "valid")


class TestVectorsOfTheSpecification:
    @pytest.mark.parametrize(("name", "believed"), [("key", KEY), ("certificate", AUTHORITY)])
    def test_what_is_valid_is_accepted(self, name: str, believed: Believed) -> None:
        found = judged(SPEC / f"valid/{name}.bundle.json", SIMPLE, believed)
        assert (VALID, name, believed) == (found.outcome, found.method, found.publisher)

    def test_what_is_keyless_is_uncheckable_and_so_said(self) -> None:
        found = judged(SPEC / "valid/sigstore.bundle.json", OLD, KEY, AUTHORITY)
        assert found.outcome == UNCHECKABLE
        assert "keyless" in found.problem

    @pytest.mark.parametrize(
        "path",
        sorted([*SPEC.glob("invalid/*.json"), *SPEC.glob("invalid-payload/*.json")]),
        ids=lambda path: path.stem,
    )
    def test_what_is_invalid_is_refused(self, path: Path) -> None:
        assert judged(path, SIMPLE, KEY, AUTHORITY).outcome in (UNCHECKABLE, WRONG)


@pytest.mark.parametrize(
    ("case", "files", "believed"),
    [
        ("key-simple", SIMPLE, KEY),
        ("key-simple-go", SIMPLE, KEY),
        ("key-ignore-paths", SIMPLE, KEY),
        ("key-multi-file", MULTI, KEY),
        ("key-single-file", SINGLE, KEY),
        ("key-simple-ignore-unsigned-files", SIMPLE | EXTRA, KEY),
        ("certificate-simple", SIMPLE, AUTHORITY),
        ("certificate-simple-go", SIMPLE, AUTHORITY),
    ],
)
class TestPositiveCases:
    def test_are_accepted(self, case: str, files: Files, believed: Believed) -> None:
        found = judged(CASES / f"{case}.sig", files, believed)
        assert (VALID, "") == (found.outcome, found.problem)

    def test_follow_the_schemas(self, case: str, files: Files, believed: Believed) -> None:
        del believed
        bundle = json.loads((CASES / f"{case}.sig").read_bytes())
        BUNDLE.validate(bundle)
        STATEMENT.validate(statement_of(bundle))
        assert sorted(files) == [one["name"] for one in statement_of(bundle)["predicate"]["resources"]]

    def test_say_of_every_file_that_is_not_signed(self, case: str, files: Files, believed: Believed) -> None:
        """Also of one that the signature's author chose to ignore: an engine may load it."""
        found = judged(CASES / f"{case}.sig", {**files, "ignore-me": b""}, believed)
        assert (WRONG, "ignore-me is here and not signed") == (found.outcome, found.problem)


@pytest.mark.parametrize(
    ("case", "files", "believed"),
    [
        ("v0.3.1-key", {"signme-1": SIMPLE["signme-1"]}, KEY),
        ("v0.3.1-certificate", OLD, AUTHORITY),
        ("v1.0.0-key", {"signme-1": SIMPLE["signme-1"]}, KEY),
        ("v1.0.0-certificate", OLD, AUTHORITY),
        ("v1.0.1-key", SIMPLE, KEY),
        ("v1.0.1-certificate", OLD, AUTHORITY),
        ("v1.1.0-key", SIMPLE, KEY),
        ("v1.1.0-certificate", OLD, AUTHORITY),
    ],
)
def test_historical_cases_are_accepted(case: str, files: Files, believed: Believed) -> None:
    assert judged(VECTORS / f"{case}.sig", files, believed).outcome == VALID
    first, content = next(iter(files.items()))
    assert judged(VECTORS / f"{case}.sig", {**files, first: content + b" "}, believed).outcome == WRONG


def test_the_historical_case_that_the_specification_leaves_open_is_refused() -> None:
    assert judged(VECTORS / "v0.2.0-certificate.sig", OLD, AUTHORITY).outcome != VALID


TAMPERED = {**SIMPLE, "signme-1": b"TAMPERED CONTENT\n"}
MISSING = {"signme-1": SIMPLE["signme-1"]}
NEGATIVE: list[tuple[str, Files, Believed, str]] = [
    ("certificate-expired_fail", SIMPLE, AUTHORITY, UNKNOWN_SIGNER),
    ("certificate-simple-wrong-ca_fail", SIMPLE, WRONG_CA, UNKNOWN_SIGNER),
    ("key-simple-corrupted-bundle_fail", SIMPLE, KEY, UNCHECKABLE),
    ("key-simple-empty-resources_fail", SIMPLE, KEY, UNCHECKABLE),
    ("key-simple-extra-file_fail", {**SIMPLE, "injected.bin": b"injected after signing\n"}, KEY, WRONG),
    ("key-simple-missing-file_fail", MISSING, KEY, WRONG),
    ("key-simple-missing-serialization_fail", SIMPLE, KEY, UNCHECKABLE),
    ("key-simple-no-signature_fail", SIMPLE, KEY, UNCHECKABLE),
    ("key-simple-tampered-content_fail", TAMPERED, KEY, WRONG),
    ("key-simple-truncated-bundle_fail", SIMPLE, KEY, UNCHECKABLE),
    ("key-simple-wrong-key_fail", SIMPLE, WRONG_KEY, UNKNOWN_SIGNER),
    ("key-simple-wrong-mediatype_fail", SIMPLE, KEY, UNCHECKABLE),
    ("key-simple-wrong-payload-type_fail", SIMPLE, KEY, UNCHECKABLE),
    ("key-simple-wrong-statement-type_fail", SIMPLE, KEY, UNCHECKABLE),
    ("malformed-missing-envelope_fail", SIMPLE, KEY, UNCHECKABLE),
    ("malformed-wrong-predicate_fail", SIMPLE, KEY, WRONG),  # the suite did not sign it anew
    ("earlier/malformed-empty-resources_fail", SIMPLE, KEY, WRONG),
    ("earlier/malformed-no-predicate_fail", SIMPLE, KEY, WRONG),
    ("earlier/malformed-no-subject_fail", SIMPLE, KEY, WRONG),
    ("earlier/malformed-wrong-payload-type_fail", SIMPLE, KEY, UNCHECKABLE),
    ("earlier/malformed-wrong-statement-type_fail", SIMPLE, KEY, WRONG),
    # cases that use a signature of another one
    ("certificate-simple", SIMPLE, KEY, UNKNOWN_SIGNER),  # certificate-verify-as-key_fail
    ("key-simple", SIMPLE, AUTHORITY, UNKNOWN_SIGNER),  # key-verify-as-certificate_fail
    ("key-simple", MISSING, KEY, WRONG),  # key-missing-file-with-ignore-unsigned_fail
    ("key-simple", TAMPERED, KEY, WRONG),  # key-tampered-with-ignore-unsigned_fail
]


@pytest.mark.parametrize(("case", "files", "believed", "outcome"), NEGATIVE)
def test_negative_cases_are_refused(case: str, files: Files, believed: Believed, outcome: str) -> None:
    assert judged(CASES / f"{case}.sig", files, believed).outcome == outcome


def test_no_published_signature_is_left_out() -> None:
    used = {case for case, *_ in NEGATIVE}
    refused = {path.relative_to(CASES).with_suffix("").as_posix() for path in CASES.rglob("*_fail.sig")}
    assert len(refused) == 21
    assert refused <= used


def test_an_empty_file_is_no_signature() -> None:  # malformed-empty-bundle_fail
    with pytest.raises(ModelSignatureUnreadable):
        oms.read(b"")


@pytest.mark.parametrize("believed", [KEY, AUTHORITY], ids=["key", "certificate"])
def test_a_keyless_signature_is_taken_for_no_other(believed: Believed) -> None:  # sigstore-verify-as-key_fail
    assert judged(SPEC / "valid/sigstore.bundle.json", OLD, believed).outcome == UNCHECKABLE


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("malformed-wrong-predicate_fail", "predicateType"),
        ("earlier/malformed-empty-resources_fail", "resources"),
        ("earlier/malformed-no-predicate_fail", "predicate"),
        ("earlier/malformed-no-subject_fail", "one subject"),
        ("earlier/malformed-wrong-statement-type_fail", "_type"),
    ],
)
def test_what_the_suite_did_not_sign_anew_is_refused_also_when_it_is_signed(case: str, said: str) -> None:
    bundle = json.loads((CASES / f"{case}.sig").read_bytes())
    payload = base64.b64decode(bundle["dsseEnvelope"]["payload"])
    raw = bytes.fromhex(CryptoSigner(OURS.key).sign(pae(payload, PAYLOAD_TYPE)).signature)
    bundle["dsseEnvelope"]["signatures"] = [{"sig": base64.b64encode(raw).decode()}]
    believed = Believed("us", "key", pem(OURS.key.public_key()))
    found = judge(json.dumps(bundle).encode(), there(SIMPLE), [believed], moment=NOW)
    assert found.outcome == UNCHECKABLE
    assert said in found.problem


class TestValidityOfCertificates:
    """The suite makes these chains of three at run time: when each of them is valid, and that all refuse but the first.

    The reference tool takes the beginning of the signer's certificate for now; the suite has a case for that mistake.
    """

    PAST = (datetime(2020, 1, 1, tzinfo=UTC), 1)
    FUTURE = (NOW + timedelta(days=365), 365)
    FINE = (NOW - timedelta(days=30), 365)

    def outcome(self, *spans: tuple[datetime, int], **told: Any) -> str:
        (root_start, root_days), (mid_start, mid_days), (start, days) = spans
        root = issue("root-ca", authority=True, curve=ec.SECP384R1(), start=root_start, days=root_days)
        middle = issue("intermediate-ca", root, authority=True, start=mid_start, days=mid_days)
        signer = issue("signing-key", middle, curve=ec.SECP384R1(), start=start, days=days, **told)
        return self.judged(signer, middle, believed=root).outcome

    def judged(self, signer: Holder, *others: Holder, believed: Holder) -> Judged:
        data = signed(SIMPLE, signer.key, *(one.der for one in (signer, *others)))
        return judge(data, there(SIMPLE), [Believed("root", "certificate", believed.pem)], moment=NOW)

    def test_certificate_simple(self) -> None:
        assert self.outcome(self.FINE, self.FINE, self.FINE) == VALID

    @pytest.mark.parametrize(
        "spans",
        [
            pytest.param((FINE, FINE, PAST), id="expired"),
            pytest.param((FINE, FINE, FUTURE), id="not-yet-valid"),
            pytest.param((FINE, PAST, FINE), id="expired-intermediate"),
            pytest.param((PAST, FINE, FINE), id="expired-root"),
            pytest.param((PAST, PAST, PAST), id="all-expired"),
            pytest.param((FINE, FUTURE, FINE), id="not-yet-valid-intermediate"),
            pytest.param((FINE, PAST, PAST), id="expired-intermediate-expired-leaf"),
        ],
    )
    def test_out_of_its_time(self, spans: tuple[tuple[datetime, int], ...]) -> None:
        assert self.outcome(*spans) == UNKNOWN_SIGNER

    def test_no_code_signing_eku(self) -> None:
        spans = (self.FINE, self.FINE, self.FINE)
        assert self.outcome(*spans, extended=(), key_usage=usage(digital_signature=True)) == UNKNOWN_SIGNER

    def test_certificate_self_signed(self) -> None:
        """The published one: an authority by its basic constraints, and a signer by its uses."""
        key = load_pem_private_key((CASES / "keys/self-signed-key.pem").read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        own = Holder(key, x509.load_pem_x509_certificate((CASES / "keys/self-signed-cert.pem").read_bytes()))
        assert self.judged(own, believed=own).outcome == VALID
        other = issue("self-signed-test", authority=True)
        assert self.judged(own, believed=other).outcome == UNKNOWN_SIGNER


def signed(files: Files, key: ec.EllipticCurvePrivateKey, *chain: bytes) -> bytes:
    listed = [(path, hashlib.sha256(content).hexdigest()) for path, content in files.items()]
    return oms.sign("tiny", listed, CryptoSigner(key), certificates=chain)


OURS = issue("signer", curve=ec.SECP384R1(), start=NOW - timedelta(days=1))

# The suite's models: what is signed, and what lies beside it under names that are never signed. What its signers were
# told to ignore besides was not taken in.
MODELS: dict[str, tuple[Files, Files]] = {
    "simple": (SIMPLE, {}),
    "single-file": (SINGLE, {}),
    "multi-file": (MULTI, {}),
    "binary-content": (
        {"header.bin": bytes.fromhex("0001fffe000089504e47"), "weights.bin": bytes(range(256)) * 4},
        {},
    ),
    "with-dotfiles": ({".config": b"config data", ".env.example": b"env example", "model.bin": b"model"}, {}),
    "with-empty-file": ({"empty.bin": b"", "signme-1": b"signme-1"}, {}),
    "with-git-dir": (
        {"model.bin": b"model data"},
        {".gitattributes": b"", ".gitignore": b"", ".git/HEAD": b"git object", ".github/ci.yml": b"workflow"},
    ),
    "hidden-subdir": (
        {
            "model.bin": b"main model",
            ".cache/weights.bin": b"cached weights",
            ".local/share/data.bin": b"local data",
        },
        {},
    ),
    "with-nested-gitignore": (
        {"model.bin": b"model content\n", "subdir/.gitignore": b"nested gitignore\n"},
        {},
    ),
    "with-nested-ignore": ({"signme-1": b"signme content\n", "subdir/ignore-me": b"nested ignore\n"}, {}),
    "unicode-names": ({"weights.bin": b"weights", "模型.bin": b"model data"}, {}),
    "special-chars": (
        {"file (copy).bin": b"file1", "normal.bin": b"file3", "path with spaces/model.bin": b"file2"},
        {},
    ),
    "deeply-nested": ({"a/very/deep/directory/tree/weights.bin": b"deep weights"}, {}),
    "deeply-nested-with-git": (
        {"a/very/deep/directory/tree/weights.bin": b"deep weights"},
        {".git/HEAD": b"git object"},
    ),
    "with-git-and-ignore": ({"model.bin": b"model"}, {".gitignore": b"", ".gitattributes": b""}),
    "multi-git-dirs": (
        {"model.bin": b"main model", "submodule/model.bin": b"sub model"},
        {".git/HEAD": b"git root"},
    ),
    "multi-gitignore": ({"model.bin": b"main model", "subdir/data.bin": b"sub data"}, {".gitignore": b""}),
    "with-assets-subdir": (
        {
            "weights.bin": b"weights",
            "config.json": b'{"version": "1.0"}',
            "assets/vocab.txt": b"vocabulary data",
            "assets/tokenizer.bin": b"\xaa" * 128,
        },
        {},
    ),
}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("method", ["key", "certificate"])
class TestRoundtrips:
    """What we write over each of the suite's models has everything that the suite asserts of a signature."""

    def written(self, model: str, method: str) -> tuple[bytes, Files]:
        files, beside = MODELS[model]
        return signed(files | beside, OURS.key, *([OURS.der] if method == "certificate" else [])), files

    def test_is_accepted_again(self, model: str, method: oms.Method) -> None:
        data, files = self.written(model, method)
        material = pem(OURS.key.public_key()) if method == "key" else OURS.pem
        believed = Believed("us", method, material)
        found = judge(data, there(files), [believed], moment=NOW)
        assert (VALID, "") == (found.outcome, found.problem)

    def test_follows_the_schemas_and_the_rules(self, model: str, method: str) -> None:
        data, files = self.written(model, method)
        bundle = json.loads(data)
        BUNDLE.validate(bundle)
        statement = statement_of(bundle)
        STATEMENT.validate(statement)
        resources = statement["predicate"]["resources"]
        assert sorted(files) == [one["name"] for one in resources]
        assert {one["algorithm"] for one in resources} == {"sha256"}
        assert "shard_size" not in statement["predicate"]["serialization"]
        total = b"".join(hashlib.sha256(files[name]).digest() for name in sorted(files))
        assert statement["subject"] == [
            {"name": "tiny", "digest": {"sha256": hashlib.sha256(total).hexdigest()}}
        ]
        kind = bundle["verificationMaterial"]
        assert set(kind) == {"tlogEntries", "publicKey" if method == "key" else "x509CertificateChain"}
        assert method == "certificate" or kind["publicKey"] == {"hint": oms.hint_of(OURS.key.public_key())}


@pytest.mark.parametrize(
    "curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda curve: curve.name
)
def test_every_curve_that_must_be_supported_is(curve: ec.EllipticCurve) -> None:  # key-p256, -p384, -p521
    key = ec.generate_private_key(curve)
    believed = Believed("us", "key", pem(key.public_key()))
    assert judge(signed(SIMPLE, key), there(SIMPLE), [believed], moment=NOW).outcome == VALID


def test_the_same_model_has_the_same_statement() -> None:  # key-simple-deterministic
    once, again = (json.loads(signed(files, OURS.key)) for files in (MULTI, dict(reversed(MULTI.items()))))
    assert statement_of(once) == statement_of(again)


def test_a_model_of_names_that_are_never_signed_is_not_signed() -> None:  # key-empty-model-rejected
    with pytest.raises(ModelSignatureUnreadable, match="no file that the format signs"):
        signed({".gitignore": b".gitkeep\n"}, OURS.key)


def test_the_signature_may_lie_among_the_files() -> None:  # key-sig-inside-model
    data = signed(SIMPLE, OURS.key)
    believed = Believed("us", "key", pem(OURS.key.public_key()))
    assert judge(data, there({**SIMPLE, "model.sig": data}), [believed], moment=NOW).outcome == VALID


@pytest.mark.parametrize(
    "target", ["signme-1", ".", "/nonexistent-target"], ids=["default", "cycle", "outside-root"]
)
def test_links_are_no_files(tmp_path: Path, target: str) -> None:  # key-symlink-*
    (tmp_path / "signme-1").write_bytes(SIMPLE["signme-1"])
    (tmp_path / "link").symlink_to(target)
    seen = look(tmp_path)
    assert list(seen.files) == ["signme-1"]
    assert seen.found == ["link is a link"]
