"""Key files: sealed, never overwritten, never in a message."""

import os
import stat
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from securesystemslib.signer import CryptoSigner, Key, Signer, SSlibKey

from signing import keys
from signing.canonical import NotCanonical
from signing.errors import OperatorError
from signing.keys import (
    KeyExists,
    KeyMissing,
    KeyUnreadable,
    UnknownKeyScheme,
    create_key,
    fingerprint,
    load_signer,
    public_key_from_json,
    public_key_json,
)
from tests.programs import program

SECRET = b"six random words are much better"


def never(uri: str) -> bytes:
    raise AssertionError(f"asked for a passphrase of {uri}")


@pytest.mark.parametrize("algorithm", list(keys.ALGORITHMS))
@pytest.mark.parametrize("passphrase", [None, SECRET])
def test_a_key_signs_after_it_was_stored(algorithm: str, passphrase: bytes | None, tmp_path: Path) -> None:
    made = create_key(tmp_path / "k.pem", passphrase=passphrase, algorithm=algorithm)
    signer = load_signer(made.uri, passphrase=(lambda _: SECRET) if passphrase else never)
    signature = signer.sign(b"words")
    public_key_from_json(made.public_json).verify_signature(signature, b"words")
    assert made.keyid == signer.public_key.keyid == signature.keyid
    assert made.fingerprint == fingerprint(signer)
    assert [tmp_path / "k.pem"] == list(tmp_path.iterdir())


def test_only_the_owner_can_read_the_file(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        create_key(tmp_path / "k.pem", passphrase=None)
    finally:
        os.umask(before)
    assert 0o600 == stat.S_IMODE((tmp_path / "k.pem").stat().st_mode)


def test_openssl_reads_the_file_and_sees_the_same_fingerprint(tmp_path: Path) -> None:
    made = create_key(tmp_path / "k.pem", passphrase=SECRET)
    der = subprocess.run(
        [
            program("openssl"),
            "pkey",
            "-in",
            made.path,
            "-passin",
            f"pass:{SECRET.decode()}",
            "-pubout",
            "-outform",
            "DER",
        ],
        check=True,
        capture_output=True,
    ).stdout
    digest = subprocess.run(["sha256sum"], input=der, check=True, capture_output=True).stdout.split()[0]
    assert made.fingerprint == digest.decode()


def test_a_key_sealed_harder_by_openssl_opens_here(tmp_path: Path) -> None:
    made = create_key(tmp_path / "k.pem", passphrase=None)
    sealed = tmp_path / "scrypt.pem"
    subprocess.run(
        [
            program("openssl"),
            "pkcs8",
            "-topk8",
            "-scrypt",
            "-in",
            made.path,
            "-out",
            sealed,
            "-passout",
            "pass:x",
        ],
        check=True,
        capture_output=True,
    )
    assert made.keyid == load_signer(f"file:{sealed}", passphrase=lambda _: b"x").public_key.keyid


@pytest.mark.parametrize("links", [True, False])
def test_an_existing_file_is_left_alone(links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not links:  # as on a FAT stick

        def no_links(*args: object) -> None:
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr("os.link", no_links)
    create_key(tmp_path / "k.pem", passphrase=None)
    before = (tmp_path / "k.pem").read_bytes()
    with pytest.raises(KeyExists):
        create_key(tmp_path / "k.pem", passphrase=SECRET)
    assert before == (tmp_path / "k.pem").read_bytes()
    assert [tmp_path / "k.pem"] == list(tmp_path.iterdir())
    assert 0o600 == stat.S_IMODE((tmp_path / "k.pem").stat().st_mode)


def test_what_is_no_key_is_refused_by_name(tmp_path: Path) -> None:
    sealed = create_key(tmp_path / "sealed.pem", passphrase=SECRET)
    (tmp_path / "junk.pem").write_bytes(b"not a key")
    (tmp_path / "big.pem").write_bytes(b"x" * 100_000)
    for uri, answer, refusal in (
        ("file:" + str(tmp_path / "none.pem"), b"", KeyMissing),
        (sealed.uri, b"wrong", KeyUnreadable),
        (sealed.uri, b"", KeyUnreadable),
        (f"file:{tmp_path}/junk.pem", b"", KeyUnreadable),
        (f"file:{tmp_path}/big.pem", b"", KeyUnreadable),
        (f"file:{tmp_path}", b"", KeyUnreadable),
        (f"file:{sealed.path}/below", b"", KeyMissing),
        ("tpm:slot-1", b"", UnknownKeyScheme),
        (str(sealed.path), b"", UnknownKeyScheme),
        ("file:", b"", UnknownKeyScheme),
    ):
        answers = {uri: answer}
        with pytest.raises(refusal):
            load_signer(uri, passphrase=answers.__getitem__)


def test_a_private_key_that_cannot_sign_here_is_named_by_kind(tmp_path: Path) -> None:
    subprocess.run(
        [program("openssl"), "genpkey", "-algorithm", "X25519", "-out", tmp_path / "x.pem"],
        check=True,
        capture_output=True,
    )
    with pytest.raises(UnknownKeyScheme, match="X25519"):
        load_signer(f"file:{tmp_path}/x.pem", passphrase=never)


def test_an_unknown_algorithm_and_an_empty_passphrase_make_no_key(tmp_path: Path) -> None:
    with pytest.raises(UnknownKeyScheme, match="ed25519"):
        create_key(tmp_path / "k.pem", passphrase=None, algorithm="rsa-512")
    with pytest.raises(KeyUnreadable):
        create_key(tmp_path / "k.pem", passphrase=b"")
    assert [] == list(tmp_path.iterdir())


def test_no_secret_is_said_aloud(tmp_path: Path) -> None:
    made = create_key(tmp_path / "k.pem", passphrase=SECRET)
    private = CryptoSigner.generate_ed25519()
    said = [repr(made), str(made), repr(load_signer(made.uri, passphrase=lambda _: SECRET)), repr(private)]
    with pytest.raises(KeyUnreadable) as refused:
        load_signer(made.uri, passphrase=lambda _: SECRET + b"!")
    said += [str(refused.value), repr(refused.value), repr(vars(refused.value))]
    inner = (tmp_path / "k.pem").read_text().splitlines()[1]
    assert not [text for text in said if SECRET.decode() in text or inner in text or "PRIVATE" in text]


def test_one_key_has_one_fingerprint_under_any_name() -> None:
    signer = CryptoSigner.generate_ed25519()
    twin = SSlibKey("f" * 64, "ed25519", "ed25519", dict(signer.public_key.keyval))
    assert fingerprint(signer) == fingerprint(twin)
    with pytest.raises(KeyUnreadable):
        fingerprint(SSlibKey("f" * 64, "ed25519", "ed25519", {"public": "zz"}))


def test_a_public_key_with_another_keys_name_is_refused() -> None:
    one, two = CryptoSigner.generate_ed25519(), CryptoSigner.generate_ed25519()
    text = public_key_json(one).decode()
    for wrong in (
        text.replace(one.public_key.keyid, two.public_key.keyid),
        text.replace(fingerprint(one), fingerprint(two)),
        text.replace('"ed25519"', '"rsa"'),
        "[]",
        "{}",
        text.replace("{", '{"surplus": 1,', 1),
    ):
        with pytest.raises(NotCanonical):
            public_key_from_json(wrong.encode())


@pytest.mark.property
@given(
    st.binary(max_size=200)
    | st.recursive(st.none() | st.text(max_size=5), st.lists).map(lambda v: str(v).encode())
)
def test_any_bytes_as_a_public_key_meet_our_refusal_only(data: bytes) -> None:
    with pytest.raises(OperatorError):
        public_key_from_json(data)


@pytest.mark.property
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=200))
def test_any_bytes_as_a_key_file_meet_our_refusal_only(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "k.pem").write_bytes(data)
    with pytest.raises(OperatorError):
        load_signer(f"file:{tmp_path}/k.pem", passphrase=lambda _: b"x")


def test_signer_and_key_are_what_securesystemslib_means(tmp_path: Path) -> None:
    signer = load_signer(create_key(tmp_path / "k", passphrase=None).uri, passphrase=never)
    assert isinstance(signer, Signer)
    assert isinstance(signer.public_key, Key)
