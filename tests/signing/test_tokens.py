"""Keys in a security module: named by URI, logged in to once, never tried twice, never leaving it."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pkcs11
import pytest
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.exceptions import UnverifiedSignatureError
from tuf.api.metadata import Metadata, Root

from signing import keys, tokens
from signing.keys import UnknownKeyScheme, load_signer, public_key_from_json
from signing.tokens import TokenUnusable, read_uri, with_module
from tests.programs import program
from tests.softhsm import PIN, SoftHsm


class Asked:
    """Somebody who is asked for the PIN, and counts."""

    def __init__(self, answer: bytes = PIN) -> None:
        self.answer, self.times = answer, 0

    def __call__(self, uri: str) -> bytes:
        self.times += 1
        return self.answer


@pytest.fixture(autouse=True)
def logged_out() -> Iterator[None]:
    yield
    tokens.close_all()


@pytest.fixture(scope="module")
def export(hsm: SoftHsm) -> str:
    uri = hsm.uri("export-2026")
    tokens.create_token_key(uri, passphrase=Asked())
    tokens.close_all()
    return uri


@pytest.mark.parametrize(
    ("algorithm", "digest"), [("ecdsa-p256", "sha256"), ("ecdsa-p384", "sha384")], ids=("p256", "p384")
)
def test_a_key_that_was_made_in_the_module_signs(
    hsm: SoftHsm, algorithm: str, digest: str, tmp_path: Path
) -> None:
    uri = hsm.uri(f"made-{algorithm}")
    tokens.create_token_key(uri, passphrase=Asked(), algorithm=algorithm)
    signer = load_signer(uri, passphrase=Asked())
    signature = signer.sign(b"words")
    public = public_key_from_json(keys.describe(uri, signer.public_key).public_json)
    public.verify_signature(signature, b"words")
    with pytest.raises(UnverifiedSignatureError):
        public.verify_signature(signature, b"other words")
    (tmp_path / "key.pem").write_text(public.keyval["public"])
    (tmp_path / "words").write_bytes(b"words")
    (tmp_path / "sig").write_bytes(bytes.fromhex(signature.signature))
    checked = [program("openssl"), "dgst", f"-{digest}", "-verify", "key.pem", "-signature", "sig", "words"]
    assert "OK" in subprocess.run(checked, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    shown = hsm.tool("--list-objects", "--type", "privkey", "--label", f"made-{algorithm}")
    assert "never extractable" in shown
    assert "always sensitive" in shown


def test_a_root_that_an_hsm_signed_reaches_its_threshold(export: str) -> None:
    signer = load_signer(export, passphrase=Asked())
    root = Metadata(Root())
    root.signed.add_key(signer.public_key, "root")
    root.sign(signer)
    root.verify_delegate("root", root)


def test_the_pin_is_asked_for_once_and_again_after_logging_out(export: str) -> None:
    asked = Asked()
    for _ in range(3):
        load_signer(export, passphrase=asked).sign(b"words")
    assert 1 == asked.times
    tokens.close_all()
    load_signer(export, passphrase=asked)
    assert 2 == asked.times


@pytest.mark.parametrize("answer", [b"000000", b"", b"1", b"x" * 300, b"\xff\xfe"])
def test_a_wrong_pin_is_tried_once_and_not_repeated_aloud(export: str, answer: bytes) -> None:
    asked = Asked(answer)
    with pytest.raises(TokenUnusable, match="PIN") as refused:
        load_signer(export, passphrase=asked)
    assert 1 == asked.times
    assert not answer or answer.decode(errors="replace") not in str(refused.value).removeprefix(export)


def test_a_key_that_wants_its_pin_every_time_gets_it(hsm: SoftHsm) -> None:
    hsm.make("careful", "EC:prime256v1", "--always-auth")
    asked = Asked()
    signer = load_signer(hsm.uri("careful"), passphrase=asked)
    for _ in range(2):
        signer.public_key.verify_signature(signer.sign(b"words"), b"words")
    assert 1 + 2 == asked.times


class Stand:
    """A token's state that SoftHSM never shows."""

    def __init__(self, flags: pkcs11.TokenFlag) -> None:
        self.flags, self.opened_with = flags, None

    def open(self, *, rw: bool, user_pin: Any) -> Any:
        self.opened_with = user_pin
        return SimpleNamespace(get_objects=lambda _: iter(()), close=lambda: None)

    def library(self, _: str) -> Any:
        return SimpleNamespace(get_tokens=lambda **_: [self])


@pytest.mark.parametrize("flag", [pkcs11.TokenFlag.USER_PIN_FINAL_TRY, pkcs11.TokenFlag.USER_PIN_LOCKED])
def test_a_token_that_is_about_to_lock_is_not_tried(flag: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    token, asked = Stand(flag), Asked()
    monkeypatch.setattr(pkcs11, "lib", token.library)
    with pytest.raises(TokenUnusable, match="lock"):
        load_signer("hsm:token=a;object=b;module=/m.so", passphrase=asked)
    assert (0, None) == (asked.times, token.opened_with)


def test_a_token_with_a_pin_pad_asks_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    token, asked = Stand(pkcs11.TokenFlag.PROTECTED_AUTHENTICATION_PATH), Asked()
    monkeypatch.setattr(pkcs11, "lib", token.library)
    with pytest.raises(TokenUnusable, match="no private key"):
        load_signer("hsm:token=a;object=b;module=/m.so", passphrase=asked)
    assert (0, pkcs11.PROTECTED_AUTH) == (asked.times, token.opened_with)


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("hsm:;", "at most once"),
        ("hsm:token=a", "object="),
        ("hsm:object=b", "token="),
        ("hsm:token=a;object=b;pin-value=4711", "leave it out"),
        ("hsm:token=a;object=b?pin-source=file:/4711", "leave it out"),
        ("hsm:token=a;token=b;object=c", "at most once"),
        ("hsm:token=a;object=b;colour=4711", "at most once"),
        ("hsm:token=%ff;object=b", "UTF-8"),
        ("hsm:token=a;object=b;module=libevil.so", "whole path"),
        ("hsm:token=a;object=" + "b" * 2000, "form"),
        ("hsm:token=a;object=b", "TIDEGATE_PKCS11_MODULE"),
        ("hsm:token=a;object=b;module=/nowhere.so", "nowhere"),
    ],
)
def test_a_name_that_leads_nowhere_is_refused_without_asking(uri: str, said: str) -> None:
    asked = Asked()
    with pytest.raises(TokenUnusable, match=said) as refused:
        load_signer(uri, passphrase=asked)
    assert 0 == asked.times
    assert "4711" not in str(refused.value)


def test_what_is_not_in_the_module_is_named(hsm: SoftHsm, export: str) -> None:
    for uri, said in (
        (hsm.uri("export-2026", token="q"), "no such token"),
        (hsm.uri("nothing"), "no private key"),
        (export + ";serial=0000", "no such token"),
    ):
        with pytest.raises(TokenUnusable, match=said):
            load_signer(uri, passphrase=Asked())
    for algorithm in ("ed25519", "ml-dsa-87"):
        with pytest.raises(TokenUnusable, match=algorithm):
            tokens.create_token_key(hsm.uri("new"), passphrase=Asked(), algorithm=algorithm)
    with pytest.raises(TokenUnusable, match="never overwritten"):
        tokens.create_token_key(export, passphrase=Asked())
    with pytest.raises(TokenUnusable, match="label"):
        tokens.create_token_key(f"hsm:token=export;id=%01;module={hsm.module}", passphrase=Asked())


def test_two_keys_of_one_name_are_told_apart_by_their_id(hsm: SoftHsm) -> None:
    for identity in ("0a", "0b"):
        hsm.make("twin", "EC:secp384r1", identity=identity)
    with pytest.raises(TokenUnusable, match="id="):
        load_signer(hsm.uri("twin"), passphrase=Asked())
    first, second = (load_signer(hsm.uri("twin") + f";id=%0{n}", passphrase=Asked()) for n in "ab")
    assert first.public_key.keyid != second.public_key.keyid


def test_a_key_of_a_kind_that_roles_do_not_take_is_refused(hsm: SoftHsm) -> None:
    hsm.make("rsa", "rsa:2048")
    with pytest.raises(TokenUnusable, match="RSA"):
        load_signer(hsm.uri("rsa"), passphrase=Asked())
    hsm.make("odd", "EC:secp521r1")
    with pytest.raises(TokenUnusable, match="P-256"):
        load_signer(hsm.uri("odd"), passphrase=Asked())


def test_without_the_binding_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pkcs11", None)
    with pytest.raises(TokenUnusable, match=r"tidegate\[hsm\]"):
        load_signer("hsm:token=a;object=b;module=/m.so", passphrase=Asked())


def test_the_library_is_added_only_where_none_is_named() -> None:
    assert "hsm:token=a;object=b;module=/m.so" == with_module("hsm:token=a;object=b", "/m.so")
    assert "hsm:token=a;object=b;module=/own.so" == with_module(
        "hsm:object=b;token=a?module-path=/own.so", "/m.so"
    )
    assert "hsm:token=a;object=b" == with_module("hsm:token=a;object=b", None)
    with pytest.raises(TokenUnusable):
        with_module("hsm:token=a;object=b", "relative.so")


names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)


@pytest.mark.property
@given(token=names, label=names, identity=st.binary(min_size=1, max_size=8))
def test_any_label_survives_in_a_name(token: str, label: str, identity: bytes) -> None:
    made = tokens.TokenUri(token=token, object=label, id=identity)
    assert made == read_uri(str(made))


@pytest.mark.property
@given(
    st.text(max_size=80) | st.lists(st.sampled_from(["token", "id", "=", ";", "%", "pin-value", "?", "a"]))
)
def test_any_text_as_a_name_meets_our_refusal_only(text: str | list[str]) -> None:
    try:
        found = read_uri("hsm:" + "".join(text))
    except TokenUnusable:
        return
    assert found == read_uri(str(found))


PACKAGE = """
from securesystemslib.signer import CryptoSigner

def open_key(uri, *, passphrase):
    assert uri == "vault:team/export" and passphrase(uri) == b"open"
    return CryptoSigner.generate_ed25519()
"""


def test_an_installed_package_brings_a_scheme_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "harbour_vault.py").write_text(PACKAGE)
    about = tmp_path / "harbour_vault-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: harbour-vault\nVersion: 1.0\n")
    points = "[tidegate.signers]\nvault = harbour_vault:open_key\nfile = harbour_vault:open_key\n"
    (about / "entry_points.txt").write_text(points)
    monkeypatch.syspath_prepend(tmp_path)
    signer = load_signer("vault:team/export", passphrase=lambda _: b"open")
    signer.public_key.verify_signature(signer.sign(b"words"), b"words")
    # It cannot put itself in the place of ours.
    made = keys.create_key(tmp_path / "k.pem", passphrase=None)
    assert made.keyid == load_signer(made.uri, passphrase=Asked()).public_key.keyid
    with pytest.raises(UnknownKeyScheme, match="known: file:, hsm:, vault:"):
        load_signer("tpm:1", passphrase=Asked())


def test_post_quantum_keys_are_asked_for_before_they_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert keys.can_make("ecdsa-p384")
    assert not keys.can_make("rsa-512")
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.asymmetric.mldsa", None)
    monkeypatch.delattr("cryptography.hazmat.primitives.asymmetric.mldsa", raising=False)
    assert not keys.can_make("ml-dsa-65")
    with pytest.raises(UnknownKeyScheme, match="ml-dsa-65"):
        keys.create_key(tmp_path / "k.pem", passphrase=b"x", algorithm="ml-dsa-65")
