"""People's SSH signatures: both ways with the real ssh-keygen, emulated FIDO2 keys, and hostile bytes."""

import base64
import hashlib
import importlib.util
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from signing import sshsig
from signing.keys import KeyMissing, KeyUnreadable, UnknownKeyScheme
from signing.person_refusals import PersonSignatureUncheckable, PersonSignatureWrong
from signing.sshsig import SshSignature
from tests.programs import program

NAMESPACE = "approval@tidegate"
MESSAGE = b'{"action":"promote"}'
ANNA = Ed25519PrivateKey.from_private_bytes(b"\x01" * 32)
BO = Ed25519PrivateKey.from_private_bytes(b"\x02" * 32)
CURVED = ec.derive_private_key(0xC0FFEE, ec.SECP256R1())
CURVED_384 = ec.derive_private_key(0xC0FFEE, ec.SECP384R1())
FILE_KEYS = (ANNA, CURVED, CURVED_384)
SIGNED = sshsig.sign(MESSAGE, namespace=NAMESPACE, private_key=ANNA)
ANNA_LINE = sshsig.public_key_line(ANNA, "anna@harbour")


def string(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def armor(blob: bytes) -> str:
    text = base64.b64encode(blob).decode()
    lines = [text[start : start + 70] for start in range(0, len(text), 70)]
    return "\n".join([sshsig.HEADER, *lines, sshsig.FOOTER, ""])


def dearmor(armored: str) -> bytes:
    return base64.b64decode("".join(armored.split("\n")[1:-2]))


class Token:
    """A FIDO2 key in software, as PROTOCOL.u2f describes it, that obeys whoever asks for flags."""

    def __init__(
        self, private: Ed25519PrivateKey | ec.EllipticCurvePrivateKey, application: bytes = b"ssh:"
    ) -> None:
        self.private, self.application = private, application
        if isinstance(private, Ed25519PrivateKey):
            self.type = b"sk-ssh-ed25519@openssh.com"
            body = string(private.public_key().public_bytes_raw())
        else:
            self.type = b"sk-ecdsa-sha2-nistp256@openssh.com"
            point = private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
            body = string(b"nistp256") + string(point)
        self.blob = string(self.type) + body + string(application)
        self.line = f"{self.type.decode()} {base64.b64encode(self.blob).decode()} token"

    def sign(self, message: bytes, flags: int, counter: int = 7, claimed: int | None = None) -> str:
        """`claimed`: the flags that are shown, where a forger shows others than were signed."""
        head = string(NAMESPACE.encode()) + string(b"") + string(b"sha512")
        inner = hashlib.sha256(b"SSHSIG" + head + string(hashlib.sha512(message).digest())).digest()
        tail = bytes([flags]) + counter.to_bytes(4, "big")
        data = hashlib.sha256(self.application).digest() + tail + inner
        if isinstance(self.private, Ed25519PrivateKey):
            raw = self.private.sign(data)
        else:
            pair = decode_dss_signature(self.private.sign(data, ec.ECDSA(hashes.SHA256())))
            raw = b"".join(string(part.to_bytes(part.bit_length() // 8 + 1, "big")) for part in pair)
        shown = bytes([flags if claimed is None else claimed]) + tail[1:]
        signature = string(self.type) + string(raw) + shown
        return armor(b"SSHSIG" + (1).to_bytes(4, "big") + string(self.blob) + head + string(signature))


TOKENS = (Token(BO), Token(CURVED))


def keygen_accepts(folder: Path, line: str, armored: str, message: bytes = MESSAGE) -> bool:
    (folder / "allowed").write_text(f'anna namespaces="{NAMESPACE}" {line}\n')
    (folder / "message.sig").write_text(armored)
    command = [
        program("ssh-keygen"),
        "-Y",
        "verify",
        "-f",
        "allowed",
        "-I",
        "anna",
        "-n",
        NAMESPACE,
        "-s",
        "message.sig",
    ]
    return (
        subprocess.run(command, cwd=folder, input=message, capture_output=True, check=False).returncode == 0
    )


@pytest.mark.parametrize("key", FILE_KEYS, ids=("ed25519", "p256", "p384"))
def test_ssh_keygen_accepts_what_we_sign(tmp_path: Path, key: sshsig.SigningKey) -> None:
    line = sshsig.public_key_line(key)
    armored = sshsig.sign(MESSAGE, namespace=NAMESPACE, private_key=key)
    assert keygen_accepts(tmp_path, line, armored)
    assert not keygen_accepts(tmp_path, line, armored, b"another message")
    found = sshsig.verify(armored, MESSAGE, namespace=NAMESPACE, public_key_line=line)
    assert SshSignature(line.split()[0], sshsig.fingerprint(line), found.key_material, None, None) == found
    assert not found.touched
    assert not found.pin_given


@pytest.mark.parametrize("kind", [("ed25519", "256"), ("ecdsa", "256"), ("ecdsa", "384")])
@pytest.mark.parametrize("digest", ["sha256", "sha512"])
def test_we_accept_what_ssh_keygen_signs(tmp_path: Path, kind: tuple[str, str], digest: str) -> None:
    new = [
        program("ssh-keygen"),
        "-q",
        "-t",
        kind[0],
        "-b",
        kind[1],
        "-N",
        "",
        "-C",
        "bo at home",
        "-f",
        "key",
    ]
    subprocess.run(new, cwd=tmp_path, check=True)
    (tmp_path / "message").write_bytes(MESSAGE)
    command = [
        program("ssh-keygen"),
        "-q",
        "-Y",
        "sign",
        "-f",
        "key",
        "-n",
        NAMESPACE,
        "-O",
        f"hashalg={digest}",
        "message",
    ]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    line = (tmp_path / "key.pub").read_text()
    found = sshsig.verify(
        (tmp_path / "message.sig").read_text(), MESSAGE, namespace=NAMESPACE, public_key_line=line
    )
    shown = subprocess.run(
        [program("ssh-keygen"), "-l", "-f", "key.pub"], cwd=tmp_path, check=True, capture_output=True
    )
    assert found.fingerprint == shown.stdout.decode().split()[1] == sshsig.fingerprint(line)
    key = sshsig.load_private(tmp_path / "key", never_asked)
    assert sshsig.public_key_line(key, "bo at home") == line.strip()


@pytest.mark.parametrize("key", FILE_KEYS, ids=("ed25519", "p256", "p384"))
@pytest.mark.parametrize("number", range(20))
def test_every_length_of_the_numbers_in_a_signature_comes_through(
    key: sshsig.SigningKey, number: int
) -> None:
    message = b"%d" % number
    armored = sshsig.sign(message, namespace=NAMESPACE, private_key=key)
    line = sshsig.public_key_line(key)
    found = sshsig.verify(armored, message, namespace=NAMESPACE, public_key_line=line)
    assert sshsig.fingerprint(line) == found.fingerprint


@pytest.mark.parametrize("token", TOKENS, ids=("sk-ed25519", "sk-ecdsa"))
def test_a_touched_token_counts_and_says_so(tmp_path: Path, token: Token) -> None:
    armored = token.sign(MESSAGE, flags=0x05, counter=513)
    found = sshsig.verify(
        armored,
        MESSAGE,
        namespace=NAMESPACE,
        public_key_line=token.line,
        require_touch=True,
        require_pin=True,
    )
    assert (token.type.decode(), 5, 513) == (found.algorithm, found.flags, found.counter)
    assert found.touched
    assert found.pin_given
    assert keygen_accepts(tmp_path, token.line, armored)


@pytest.mark.parametrize("token", TOKENS, ids=("sk-ed25519", "sk-ecdsa"))
@pytest.mark.parametrize("flags", [0x00, 0x04, 0xFE])
def test_malware_that_signs_without_a_touch_is_refused_where_ssh_keygen_says_good(
    tmp_path: Path, token: Token, flags: int
) -> None:
    armored = token.sign(MESSAGE, flags=flags)
    assert keygen_accepts(tmp_path, token.line, armored)  # the reason why this product has its own check
    with pytest.raises(PersonSignatureWrong, match="nobody touched"):
        sshsig.verify(armored, MESSAGE, namespace=NAMESPACE, public_key_line=token.line)


@pytest.mark.parametrize("token", TOKENS, ids=("sk-ed25519", "sk-ecdsa"))
def test_flags_cannot_be_added_afterwards(token: Token) -> None:
    armored = token.sign(MESSAGE, flags=0x00, claimed=0x05)
    with pytest.raises(PersonSignatureWrong, match="does not belong"):
        sshsig.verify(armored, MESSAGE, namespace=NAMESPACE, public_key_line=token.line)


@pytest.mark.parametrize("token", TOKENS, ids=("sk-ed25519", "sk-ecdsa"))
def test_a_touch_is_no_pin(token: Token) -> None:
    armored = token.sign(MESSAGE, flags=0x01)
    assert sshsig.verify(armored, MESSAGE, namespace=NAMESPACE, public_key_line=token.line).touched
    with pytest.raises(PersonSignatureWrong, match="PIN"):
        sshsig.verify(armored, MESSAGE, namespace=NAMESPACE, public_key_line=token.line, require_pin=True)


@pytest.mark.parametrize("demand", ["require_touch", "require_pin"])
def test_a_file_key_never_stands_for_a_token(demand: str) -> None:
    touch, pin = demand == "require_touch", demand == "require_pin"
    with pytest.raises(PersonSignatureWrong, match="hardware key is demanded"):
        sshsig.verify(
            SIGNED,
            MESSAGE,
            namespace=NAMESPACE,
            public_key_line=ANNA_LINE,
            require_touch=touch,
            require_pin=pin,
        )


def test_a_file_key_is_not_accepted_in_a_tokens_name() -> None:
    token = Token(ANNA)  # the same key material, registered as a token
    with pytest.raises(PersonSignatureWrong, match="another key"):
        sshsig.verify(SIGNED, MESSAGE, namespace=NAMESPACE, public_key_line=token.line)
    blob = dearmor(SIGNED).replace(string(sshsig.read_public_key(ANNA_LINE).blob), string(token.blob))
    with pytest.raises(PersonSignatureUncheckable, match="type is not its key's"):
        sshsig.verify(armor(blob), MESSAGE, namespace=NAMESPACE, public_key_line=token.line)


def test_one_key_under_two_types_or_applications_has_one_material() -> None:
    lines = (ANNA_LINE, Token(ANNA).line, Token(ANNA, b"ssh:other").line)
    assert 3 == len({sshsig.fingerprint(line) for line in lines})
    assert 1 == len({sshsig.read_public_key(line).key_material for line in lines})


def test_wrong_message_key_or_namespace_is_refused() -> None:
    with pytest.raises(PersonSignatureWrong, match="does not belong"):
        sshsig.verify(SIGNED, MESSAGE + b" ", namespace=NAMESPACE, public_key_line=ANNA_LINE)
    with pytest.raises(PersonSignatureWrong, match="made by another key") as caught:
        sshsig.verify(SIGNED, MESSAGE, namespace=NAMESPACE, public_key_line=sshsig.public_key_line(BO))
    assert sshsig.fingerprint(ANNA_LINE) == caught.value.fingerprint
    other = sshsig.sign(MESSAGE, namespace="git", private_key=ANNA)
    with pytest.raises(PersonSignatureWrong, match="made for 'git'"):
        sshsig.verify(other, MESSAGE, namespace=NAMESPACE, public_key_line=ANNA_LINE)


def test_a_namespace_swapped_after_signing_is_refused() -> None:
    other = sshsig.sign(MESSAGE, namespace="approval@elsewhere", private_key=ANNA)
    swapped = dearmor(other).replace(string(b"approval@elsewhere"), string(NAMESPACE.encode()))
    with pytest.raises(PersonSignatureWrong, match="does not belong"):
        sshsig.verify(armor(swapped), MESSAGE, namespace=NAMESPACE, public_key_line=ANNA_LINE)


GOOD = dearmor(SIGNED)


@pytest.mark.parametrize(
    ("armored", "problem"),
    [
        ("", "not between"),
        (sshsig.HEADER, "not between"),
        (" " + SIGNED, "not between"),
        (SIGNED.replace("END", "BEGIN"), "not between"),
        (SIGNED + "x" * (16 << 10), "too long"),
        (SIGNED.replace("U1NI", "U1N!"), "not base64"),
        (armor(b"SSHSIH" + GOOD[6:]), "not version 1"),
        (armor(GOOD[:9] + b"\x02" + GOOD[10:]), "not version 1"),
        (armor(GOOD + b"\x00"), "more bytes"),
        (armor(GOOD[:-1]), "ends too early"),
        (armor(GOOD[:10] + b"\xff\xff\xff\xff" + GOOD[14:]), "ends too early"),
        (armor(GOOD.replace(string(b"sha512"), string(b"md5"))), "neither SHA-256"),
        (armor(GOOD.replace(string(b"sha512"), string(b"\xff"))), "neither SHA-256"),
    ],
)
def test_what_is_no_ssh_signature_cannot_be_checked(armored: str, problem: str) -> None:
    with pytest.raises(PersonSignatureUncheckable, match=problem):
        sshsig.verify(armored, MESSAGE, namespace=NAMESPACE, public_key_line=ANNA_LINE)


def test_windows_line_ends_do_no_harm() -> None:
    crossed = SIGNED.replace("\n", "\r\n")
    found = sshsig.verify(crossed, MESSAGE, namespace=NAMESPACE, public_key_line=ANNA_LINE)
    assert sshsig.fingerprint(ANNA_LINE) == found.fingerprint


@pytest.mark.parametrize("raw", [b"\x00\x01", b"\x80", b""], ids=("padded", "negative", "empty"))
def test_a_number_in_another_than_its_one_form_is_refused(raw: bytes) -> None:
    line = sshsig.public_key_line(CURVED)
    key = sshsig.read_public_key(line)
    signature = string(b"ecdsa-sha2-nistp256") + string(string(raw) + string(b"\x01"))
    fields = (key.blob, NAMESPACE.encode(), b"", b"sha512", signature)
    blob = b"SSHSIG" + (1).to_bytes(4, "big") + b"".join(string(field) for field in fields)
    with pytest.raises(PersonSignatureUncheckable, match="one form"):
        sshsig.verify(armor(blob), MESSAGE, namespace=NAMESPACE, public_key_line=line)


def line_of(kind: str, *fields: bytes) -> str:
    return f"{kind} {base64.b64encode(b''.join(string(field) for field in fields)).decode()}"


RAW = ANNA.public_key().public_bytes_raw()
POINT = CURVED.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
SHORT_POINT = CURVED.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("", "not one line"),
        ("ssh-ed25519", "not one line"),
        (f"{ANNA_LINE}\n{ANNA_LINE}", "not one line"),
        ("ssh-ed25519 !!!", "not base64"),
        (f"no-touch-required {ANNA_LINE.partition(' ')[2]}", "holds"),
        (f"cert-authority {ANNA_LINE}", "not base64"),
        (line_of("ssh-rsa", b"ssh-rsa", b"\x03", b"\x00" * 9), "'ssh-rsa' is none of"),
        (line_of("ssh-ed25519", b"ssh-ed25519", RAW[:-1]), "not a public key"),
        (line_of("ssh-ed25519", b"ssh-ed25519", RAW, b""), "more bytes"),
        (line_of("ecdsa-sha2-nistp256", b"ecdsa-sha2-nistp256", b"nistp384", POINT), "curve is not"),
        (
            line_of("ecdsa-sha2-nistp256", b"ecdsa-sha2-nistp256", b"nistp256", POINT[:-1] + b"x"),
            "not a public key",
        ),
        (line_of("ecdsa-sha2-nistp256", b"ecdsa-sha2-nistp256", b"nistp256", SHORT_POINT), "long form"),
        (line_of("sk-ssh-ed25519@openssh.com", b"sk-ssh-ed25519@openssh.com", RAW), "ends too early"),
    ],
)
def test_a_key_line_that_cannot_be_used_is_refused(line: str, problem: str) -> None:
    with pytest.raises(PersonSignatureUncheckable, match=problem):
        sshsig.verify(SIGNED, MESSAGE, namespace=NAMESPACE, public_key_line=line)


def never_asked(path: str) -> bytes:
    raise AssertionError(f"asked for the passphrase of {path}, which is open")


def test_key_files_of_both_forms_open(tmp_path: Path) -> None:
    path = tmp_path / "key"
    for key in FILE_KEYS:
        for form in (PrivateFormat.OpenSSH, PrivateFormat.PKCS8):
            path.write_bytes(key.private_bytes(Encoding.PEM, form, NoEncryption()))
            assert sshsig.public_key_line(key) == sshsig.public_key_line(
                sshsig.load_private(path, never_asked)
            )


def test_a_sealed_key_file_opens_with_its_passphrase_only(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(
        ANNA.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"six words"))
    )
    asked: list[str] = []

    def answer(where: str) -> bytes:
        asked.append(where)
        return b"six words"

    assert sshsig.public_key_line(ANNA) == sshsig.public_key_line(sshsig.load_private(path, answer))
    assert [str(path)] == asked
    with pytest.raises(KeyUnreadable, match="passphrase is wrong") as caught:
        sshsig.load_private(path, lambda _: b"seven words")
    assert "seven words" not in str(caught.value)
    with pytest.raises(KeyUnreadable, match="no passphrase"):
        sshsig.load_private(path, lambda _: b"")


def test_a_key_that_ssh_keygen_sealed_opens_or_says_how_to_sign_without_us(tmp_path: Path) -> None:
    new = [program("ssh-keygen"), "-q", "-t", "ed25519", "-a", "1", "-N", "six words", "-C", "", "-f", "key"]
    subprocess.run(new, cwd=tmp_path, check=True)
    if importlib.util.find_spec("bcrypt") is None:  # what OpenSSH's own seal needs
        with pytest.raises(KeyUnreadable, match="ssh-keygen -Y sign"):
            sshsig.load_private(tmp_path / "key", lambda _: b"six words")
    else:
        key = sshsig.load_private(tmp_path / "key", lambda _: b"six words")
        assert (tmp_path / "key.pub").read_text().strip() == sshsig.public_key_line(key)


def test_a_file_that_is_no_usable_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(KeyMissing, match="nowhere"):
        sshsig.load_private(tmp_path / "nowhere", never_asked)
    with pytest.raises(KeyUnreadable, match="directory"):
        sshsig.load_private(tmp_path, never_asked)
    path = tmp_path / "key"
    path.write_bytes(b"not a key")
    with pytest.raises(KeyUnreadable, match="no private key"):
        sshsig.load_private(path, never_asked)
    other = ec.derive_private_key(0xC0FFEE, ec.SECP521R1())
    path.write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(UnknownKeyScheme):
        sshsig.load_private(path, never_asked)
    with pytest.raises(PersonSignatureUncheckable, match="private key"):
        sshsig.sign(MESSAGE, namespace=NAMESPACE, private_key=other)


REFUSALS = (PersonSignatureWrong, PersonSignatureUncheckable)


@pytest.mark.property
@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_no_single_changed_byte_leaves_a_valid_signature(place: int, change: int) -> None:
    changed = bytearray(GOOD)
    changed[place] ^= change
    with pytest.raises(REFUSALS):
        sshsig.verify(armor(bytes(changed)), MESSAGE, namespace=NAMESPACE, public_key_line=ANNA_LINE)


@pytest.mark.property
def test_no_cut_off_signature_is_valid() -> None:
    for token in TOKENS:
        whole = dearmor(token.sign(MESSAGE, flags=5))
        for length in range(len(whole)):
            with pytest.raises(REFUSALS):
                sshsig.verify(armor(whole[:length]), MESSAGE, namespace=NAMESPACE, public_key_line=token.line)


@pytest.mark.property
@given(st.binary(max_size=300), st.text(max_size=300), st.lists(st.binary(max_size=40), max_size=6))
def test_hostile_bytes_meet_only_our_refusals(junk: bytes, text: str, fields: list[bytes]) -> None:
    prefix = b"SSHSIG" + (1).to_bytes(4, "big")
    packed = b"".join(string(field) for field in fields)
    key = sshsig.read_public_key(sshsig.public_key_line(CURVED)).blob
    head = b"".join(string(field) for field in (key, NAMESPACE.encode(), b"", b"sha256"))
    inner = string(string(b"ecdsa-sha2-nistp256") + string(packed))
    for armored in (
        text,
        armor(junk),
        armor(prefix + junk),
        armor(prefix + packed),
        armor(prefix + head + inner),
    ):
        with pytest.raises(REFUSALS):
            sshsig.verify(
                armored, MESSAGE, namespace=NAMESPACE, public_key_line=sshsig.public_key_line(CURVED)
            )


@pytest.mark.property
@given(st.text(max_size=200), st.binary(max_size=100), st.sampled_from(sshsig.ALGORITHMS))
def test_hostile_key_lines_meet_only_our_refusal(text: str, junk: bytes, kind: str) -> None:
    encoded = base64.b64encode(string(kind.encode()) + junk).decode()
    for line in (
        text,
        f"{kind} {text}",
        f"{kind} {encoded}",
        line_of(kind, kind.encode(), b"nistp256", junk),
    ):
        try:
            key = sshsig.read_public_key(line)
        except PersonSignatureUncheckable:
            continue
        assert key.fingerprint.startswith("SHA256:")
