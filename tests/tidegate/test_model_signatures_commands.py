"""`publishers` and what `models` says of signatures, files and bills of materials: as typed, with every refusal."""

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from securesystemslib.signer import CryptoSigner

from signing import model_signature as oms
from signing.digests import sha256_hex
from tests.pipelines.gap import model_files
from tests.signing.model_authority import START, issue, revoke
from tests.tidegate.town import Town

MODEL = "acme/signed"
KEY = ec.derive_private_key(0xACDC, ec.SECP256R1())
PEM = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
ROOT = issue("Acme root", authority=True, days=4000)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A publisher's model, with the publisher's signature and key beside it."""
    files, place = model_files(seed=77), tmp_path / "published"
    place.mkdir()
    for path, data in files.items():
        (place / path).write_bytes(data)
    listed = [(path, sha256_hex(data)) for path, data in files.items()]
    (tmp_path / "acme.sig").write_bytes(oms.sign("signed", listed, CryptoSigner(KEY)))
    (tmp_path / "acme.pem").write_bytes(PEM)
    signer = issue("Acme signer", ROOT)
    (tmp_path / "cert.sig").write_bytes(
        oms.sign("signed", listed, CryptoSigner(signer.key), certificates=[signer.der])
    )
    (tmp_path / "root.pem").write_bytes(ROOT.pem)
    (tmp_path / "revoked.crl").write_bytes(revoke(ROOT, signer))
    return place


def test_a_named_publishers_model_comes_in_signed_or_not_at_all(
    town: Town, folder: Path, tmp_path: Path
) -> None:
    origin = town.origin
    added = origin.ask(
        "publishers", "add", "acme", "--models", "acme/*", "--public-key", tmp_path / "acme.pem"
    )
    assert oms.hint_of(KEY.public_key()) == added["fingerprint"]
    origin.type("models", "add", folder, "--as", MODEL, ends=214)
    said = origin.type("models", "add", folder, "--as", MODEL, "--signature", tmp_path / "acme.sig")
    assert "publisher's signature VALID by acme" in said.output

    checked = origin.ask("models", "verify-signature", MODEL)
    assert [("publisher", "VALID"), ("home", "VALID")] == [(one["source"], one["outcome"]) for one in checked]
    origin.type("publishers", "remove", "acme")
    assert "REMOVED" in origin.type("publishers", "list").output
    origin.type("models", "verify-signature", MODEL, "--signature", tmp_path / "acme.sig", ends=215)
    origin.type("publishers", "remove", "nobody", ends=215)
    origin.type("audit", "verify")


def test_authorities_and_their_lists(town: Town, folder: Path, tmp_path: Path) -> None:
    origin = town.origin
    words = ("publishers", "add", "acme", "--models", MODEL)
    assert "give --public-key" in origin.type(*words, ends=2).output
    origin.type(*words, "--certificate-chain", tmp_path / "root.pem")
    origin.type("publishers", "revocations", "acme", tmp_path / "root.pem", ends=209)
    origin.type("publishers", "revocations", "acme", tmp_path / "revoked.crl")
    add = ("models", "add", folder, "--as", MODEL, "--signature", tmp_path / "cert.sig")
    assert "was revoked" in origin.type(*add, ends=214).output


def test_our_signature_is_written_out_and_checked_anywhere(town: Town, folder: Path, tmp_path: Path) -> None:
    origin = town.origin
    origin.type("models", "add", folder, "--as", MODEL)
    out, pem = tmp_path / "model.sig", tmp_path / "home.pem"
    origin.type("models", "sign", MODEL, "--out", out, "--public-key-out", pem)
    origin.type("models", "sign", MODEL, "--out", out, ends=108)  # never over another file

    check = ("models", "verify-signature", f"{folder}/", "--signature", out, "--public-key", pem)
    assert "VALID" in origin.type(*check).output
    (folder / "hollow").mkdir()
    assert ["hollow is an empty folder"] == origin.ask(*check)["not_covered"]
    (folder / "config.json").write_bytes(b"{}")
    assert "config.json is not the file that was signed" in origin.type(*check, ends=208).output
    origin.type(*check[:4], tmp_path / "acme.pem", *check[5:], ends=208)
    origin.type("models", "verify-signature", f"{folder}/", "--signature", out, ends=2)


def test_a_key_of_ones_own_signs_too(town: Town, folder: Path, tmp_path: Path) -> None:
    town.origin.type("models", "add", folder, "--as", MODEL)
    key = tmp_path / "release.pem"
    key.write_bytes(KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    made = town.origin.ask("models", "sign", MODEL, "--out", tmp_path / "o.sig", "--key", f"file:{key}")
    assert oms.hint_of(KEY.public_key()) == made["signer"]


def test_a_certificate_is_judged_at_the_moment_that_is_asked_for(
    town: Town, folder: Path, tmp_path: Path
) -> None:
    words = ("models", "verify-signature", f"{folder}/", "--signature", tmp_path / "cert.sig")
    chain = ("--certificate-chain", tmp_path / "root.pem")
    town.origin.type(*words, *chain, "--at", f"{START.year}-02-01T00:00:00Z")
    town.origin.type(*words, *chain, "--at", "2031-01-01T00:00:00Z", ends=208)
    town.origin.type(*words, *chain, "--revocations", tmp_path / "revoked.crl", ends=208)


def test_a_folder_is_held_against_a_version(town: Town, folder: Path) -> None:
    town.origin.type("models", "add", folder, "--as", MODEL)
    assert "4 files" in town.origin.type("models", "verify-files", folder, MODEL).output
    (folder / ".github").mkdir()
    (folder / ".github" / "x.py").write_text("print()")
    said = town.origin.type("models", "verify-files", folder, MODEL, ends=208).output
    assert ".github/x.py is not part of the version" in said


def test_a_bill_of_materials_is_shown_and_written(town: Town, folder: Path, tmp_path: Path) -> None:
    town.origin.type("models", "add", folder, "--as", MODEL)
    shown = town.origin.ask("models", "bom", MODEL)
    assert ("CycloneDX", "1.7") == (shown["bomFormat"], shown["specVersion"])
    town.origin.type("models", "bom", MODEL, "--out", tmp_path / "bom.json")
    assert shown == json.loads((tmp_path / "bom.json").read_bytes())
