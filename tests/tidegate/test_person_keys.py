"""A person's own key, wherever it is: a real ssh-agent, a FIDO2 token behind ssh-keygen, a PIV card, a file."""

import base64
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from signing import piv, tokens
from signing.keys import KeyMissing, KeyUnreadable
from signing.person_signature import verify
from signing.tokens import TokenUnusable
from tests.programs import program
from tests.signing.test_piv import CA, NOON, usage
from tests.signing.test_sshsig import MESSAGE, NAMESPACE, TOKENS, string
from tests.softhsm import PIN, SoftHsm
from tests.tidegate.town import MODEL, Town, new_ssh_key
from tidegate.person_keys import sign_as_person


def nobody(key: str) -> bytes:
    raise AssertionError(f"asked for the passphrase of {key}")


@pytest.fixture
def agent(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A real ssh-agent of this test alone."""
    socket = tmp_path_factory.mktemp("a") / "s"
    running = subprocess.Popen([program("ssh-agent"), "-D", "-a", str(socket)], stdout=subprocess.PIPE)
    try:
        assert running.stdout is not None
        running.stdout.readline()  # it says where it listens once it does
        monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
        yield
    finally:
        running.terminate()
        running.communicate()


def hand_over(key: Path) -> None:
    """Give the private half to the agent and take the file away."""
    subprocess.run([program("ssh-add"), "-q", str(key)], check=True)
    key.unlink()


@pytest.mark.usefixtures("agent")
def test_a_key_in_the_agent_signs_by_its_public_half(tmp_path: Path) -> None:
    key = tmp_path / "alice.key"
    new_ssh_key(key)
    line = key.with_suffix(".pub").read_text()
    hand_over(key)
    signed = sign_as_person(str(key.with_suffix(".pub")), MESSAGE, namespace=NAMESPACE, passphrase=nobody)
    assert verify(signed, MESSAGE, namespace=NAMESPACE, public_key=line).method == "ssh"


@pytest.mark.usefixtures("agent")
def test_a_steward_approves_with_the_key_in_their_agent(town: Town) -> None:
    hand_over(town.key("alice"))
    words = ["approve", f"{MODEL}@1", "--tier", "team", "--person", "alice", "--reason", "read the report"]
    town.site.as_("alice").type(*words, "--key", town.key("alice").with_suffix(".pub"))
    town.promote(1, "team")
    assert {"team": 1} == town.serves()


def test_without_the_agent_the_refusal_says_who_could_not_sign(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    key = tmp_path / "alice.key"
    new_ssh_key(key)
    key.unlink()
    with pytest.raises(KeyUnreadable, match="agent"):
        sign_as_person(str(key.with_suffix(".pub")), MESSAGE, namespace=NAMESPACE, passphrase=nobody)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(KeyUnreadable, match="not installed"):
        sign_as_person(str(key.with_suffix(".pub")), MESSAGE, namespace=NAMESPACE, passphrase=nobody)


def handle(token: object) -> str:
    """The file that ssh-keygen makes for a token's key: the public half, and where the private one is."""
    blob: bytes = token.blob  # type: ignore[attr-defined]
    body = string(b"none") * 2 + string(b"") + (1).to_bytes(4, "big") + string(blob) + string(b"\0" * 8)
    text = base64.b64encode(b"openssh-key-v1\0" + body).decode()
    lines = "\n".join(text[start : start + 70] for start in range(0, len(text), 70))
    return f"-----BEGIN OPENSSH PRIVATE KEY-----\n{lines}\n-----END OPENSSH PRIVATE KEY-----\n"


@pytest.mark.parametrize("which", [0, 1], ids=("ed25519", "p256"))
def test_a_token_signs_through_ssh_keygen(
    which: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stands in for the program alone: what it is asked, and that its answer is what the person hands in."""
    token = TOKENS[which]
    (tmp_path / "id_sk").write_text(handle(token))
    (tmp_path / "answer").write_text(token.sign(MESSAGE, 0x05))
    stand = tmp_path / "bin" / "ssh-keygen"
    stand.parent.mkdir()
    stand.write_text(
        f'#!/bin/sh\necho "$@" > {tmp_path}/words\ncat > {tmp_path}/given\ncat {tmp_path}/answer\n'
    )
    stand.chmod(0o700)
    monkeypatch.setenv("PATH", f"{stand.parent}:{os.environ['PATH']}")
    signed = sign_as_person(str(tmp_path / "id_sk"), MESSAGE, namespace=NAMESPACE, passphrase=nobody)
    assert f"-Y sign -n {NAMESPACE} -f {tmp_path / 'id_sk'}\n" == (tmp_path / "words").read_text()
    assert MESSAGE == (tmp_path / "given").read_bytes()
    assert verify(signed, MESSAGE, namespace=NAMESPACE, public_key=token.line, require_pin=True).touched


@pytest.fixture(scope="module")
def line(hsm: SoftHsm) -> str:
    """A card with a key and the certificate that was made for it; how it is registered."""
    hsm.make("SIGN key", "EC:prime256v1", token="card", identity="9c")
    public = tokens.open_key(hsm.uri("SIGN key", "card"), passphrase=lambda _: PIN).public_key
    made = CA.sign("Alice", public, usage(sign=True)).public_bytes(Encoding.DER)
    hsm.keep_certificate("SIGN key", made, "9c")
    return piv.certificate_of(made).line


class TestCards:
    @pytest.fixture(autouse=True)
    def logged_out(self, hsm: SoftHsm, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        monkeypatch.setenv("TIDEGATE_PKCS11_MODULE", hsm.module)
        yield
        tokens.close_all()

    def test_a_card_signs_with_the_library_of_this_machine(self, line: str) -> None:
        uri = "hsm:token=card;object=SIGN%20key"
        signed = sign_as_person(uri, MESSAGE, namespace=NAMESPACE, passphrase=lambda _: PIN)
        judged = verify(
            signed, MESSAGE, namespace=NAMESPACE, public_key=line, at=NOON, anchors=[CA.pem], require_pin=True
        )
        assert (judged.method, judged.hardware) == ("piv", True)

    def test_a_card_on_the_command_line_asks_for_its_pin(self, town: Town, line: str) -> None:
        words = ["approve", f"{MODEL}@1", "--tier", "team", "--person", "alice", "--reason", "x"]
        words += ["--key", "hsm:token=card;object=SIGN key"]
        # The town's passphrase file holds no PIN: it is tried once, and refused.
        assert "PIN is wrong" in town.site.type(*words, ends=TokenUnusable.exit_code).stderr
        # The right PIN signs; the certificate is not alice's registered key, so the approval does not count.
        (town.folder / "pin").write_bytes(PIN)
        town.site.type(*words, "--passphrase-file", town.folder / "pin", ends=58)


def test_a_key_in_a_file_is_opened_here(tmp_path: Path) -> None:
    key = tmp_path / "alice.key"
    new_ssh_key(key)
    for name in (str(key), f"file:{key}"):
        signed = sign_as_person(name, MESSAGE, namespace=NAMESPACE, passphrase=nobody)
        verify(signed, MESSAGE, namespace=NAMESPACE, public_key=key.with_suffix(".pub").read_text())
    for content, refusal in ((None, KeyMissing), ("junk", KeyUnreadable), ("x" * 200_000, KeyUnreadable)):
        file = tmp_path / f"bad-{refusal.__name__}-{len(content or '')}"
        if content is not None:
            file.write_text(content)
        with pytest.raises(refusal):
            sign_as_person(str(file), MESSAGE, namespace=NAMESPACE, passphrase=nobody)
    subprocess.run(
        [program("ssh-keygen"), "-q", "-t", "ed25519", "-N", "long enough", "-f", str(tmp_path / "sealed")],
        check=True,
    )
    sealed = sign_as_person(
        str(tmp_path / "sealed"), MESSAGE, namespace=NAMESPACE, passphrase=lambda _: b"long enough"
    )
    assert sealed.startswith("-----BEGIN SSH SIGNATURE-----")


def test_nothing_of_tokens_is_loaded_for_a_key_in_a_file(tmp_path: Path) -> None:
    new_ssh_key(tmp_path / "k")
    code = (
        "import sys; from tidegate.person_keys import sign_as_person as sign;"
        f"sign({str(tmp_path / 'k')!r}, b'x', namespace='n', passphrase=None);"
        "print([name for name in ('signing.tokens', 'signing.piv') if name in sys.modules])"
    )
    assert b"[]\n" == subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout
