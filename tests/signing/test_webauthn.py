"""Signatures made in a browser by a passkey: what OpenSSH says of them, what we refuse, and hostile bytes.

The passkey here is software (`tests.vectors.people.Passkey`); `tests/server/test_passkeys.py` has a real browser make them.
"""

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signing import person_signature, sshsig, webauthn
from signing.errors import OperatorError
from signing.person_refusals import PersonSignatureUncheckable, PersonSignatureWrong
from tests.signing.test_sshsig import ANNA_LINE, armor, dearmor, keygen_accepts
from tests.vectors.people import Passkey, string

NAMESPACE = "approval@tidegate"
MESSAGE = b'{"action":"promote"}'
KEY = Passkey("anna")
AT_HOME = Passkey("anna", host="localhost")
SIGNED = KEY.sign(MESSAGE, NAMESPACE)
REFUSALS = (PersonSignatureWrong, PersonSignatureUncheckable)


def judge(armored: str, key: Passkey = KEY, **demands: bool) -> sshsig.SshSignature:
    return sshsig.verify(armored, MESSAGE, namespace=NAMESPACE, public_key_line=key.line, **demands)


def answered(
    client_data: bytes, *, key: Passkey = KEY, flags: int = 5, host: str | None = None
) -> dict[str, bytes]:
    """What a browser hands over for these client data."""
    data = key.data(flags, host=host)
    return {
        "authenticator_data": data,
        "client_data": client_data,
        "signature": key.raw(data, client_data),
    }


def test_ssh_keygen_and_we_accept_what_a_browser_answered(tmp_path: Path) -> None:
    client_data = KEY.client_data(MESSAGE, NAMESPACE)
    armored = webauthn.assemble(KEY.line, NAMESPACE, **answered(client_data))
    assert SIGNED == armored
    assert keygen_accepts(tmp_path, KEY.line, armored)
    assert not keygen_accepts(tmp_path, KEY.line, armored, b"another message")
    found = judge(armored, require_touch=True, require_pin=True)
    assert ("https://models.example", 5, 7) == (found.origin, found.flags, found.counter)
    made = person_signature.verify(armored, MESSAGE, namespace=NAMESPACE, public_key=KEY.line)
    assert (True, True, True, found.origin) == (made.hardware, made.touched, made.pin_given, made.origin)


def test_the_challenge_is_what_a_signature_covers() -> None:
    """SSHSIG's own words: so whoever checks one, checks what the browser was asked."""
    covered = webauthn.challenge(MESSAGE, NAMESPACE)
    assert covered.startswith(b"SSHSIG" + string(NAMESPACE.encode()))
    assert covered.endswith(hashlib.sha512(MESSAGE).digest())


@pytest.mark.parametrize("number", range(20))
def test_every_length_of_the_numbers_comes_through(number: int) -> None:
    message = b"%d" % number
    client_data = KEY.client_data(message, NAMESPACE)
    armored = webauthn.assemble(KEY.line, NAMESPACE, **answered(client_data))
    sshsig.verify(armored, message, namespace=NAMESPACE, public_key_line=KEY.line, require_pin=True)


class TestWhatSshKeygenDoesNotLookAt:
    """It calls all of these good; the reasons why this product has its own check."""

    @pytest.mark.parametrize(
        ("said", "flags", "problem"),
        [
            ({}, 0x04, "nobody touched"),
            ({"crossOrigin": True}, 5, "frame within another page"),
            ({"topOrigin": "https://evil.example"}, 5, "frame within another page"),
        ],
    )
    def test_is_refused(self, tmp_path: Path, said: dict[str, Any], flags: int, problem: str) -> None:
        armored = KEY.sign(MESSAGE, NAMESPACE, flags=flags, **said)
        assert keygen_accepts(tmp_path, KEY.line, armored)
        with pytest.raises(PersonSignatureWrong, match=problem):
            judge(armored)

    @pytest.mark.parametrize(
        "origin",
        [
            "https://evil.example",
            "https://models.example.evil.example",
            "https://evil.models.example",
            "http://models.example",
            "https://models.example:0",
            "https://user@models.example",
            "https://MODELS.example",
            "https://models.example/",
            "https://models.example.",
            "android:apk-key-hash:AAAA",
            "null",
            "",
        ],
    )
    def test_a_page_elsewhere_gets_no_signature(self, tmp_path: Path, origin: str) -> None:
        """The token bound its key to the host; malware beside the browser may still write any origin there."""
        armored = KEY.packed(NAMESPACE, KEY.client_data(MESSAGE, NAMESPACE, origin=origin), origin=origin)
        assert keygen_accepts(tmp_path, KEY.line, armored)
        with pytest.raises(PersonSignatureWrong, match="made on the page"):
            judge(armored)


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ({"type": "webauthn.create"}, "to register a passkey"),
        ({"challenge": "AAAA"}, "does not belong"),
        ({"challenge": 7}, "does not belong"),
        ({"origin": "https://models.example:444"}, "states another page"),
    ],
)
def test_another_use_or_challenge_or_page_is_refused(
    tmp_path: Path, said: dict[str, Any], problem: str
) -> None:
    armored = KEY.sign(MESSAGE, NAMESPACE, **said)
    assert not keygen_accepts(tmp_path, KEY.line, armored)
    with pytest.raises(PersonSignatureWrong, match=problem):
        judge(armored)


def test_what_signs_people_in_here_never_approves_anything() -> None:
    """The challenge of a sign-in is 32 random bytes, never the beginning of an SSHSIG."""
    login = base64.urlsafe_b64encode(b"\x07" * 32).rstrip(b"=").decode()
    with pytest.raises(PersonSignatureWrong, match="does not belong"):
        judge(KEY.sign(MESSAGE, NAMESPACE, challenge=login))


def test_another_message_purpose_or_key_is_refused() -> None:
    with pytest.raises(PersonSignatureWrong, match="does not belong"):
        sshsig.verify(SIGNED, b"no", namespace=NAMESPACE, public_key_line=KEY.line)
    other = KEY.packed(NAMESPACE, KEY.client_data(MESSAGE, "decision@tidegate"))
    with pytest.raises(PersonSignatureWrong, match="does not belong"):
        judge(other)
    with pytest.raises(PersonSignatureWrong, match="another key"):
        judge(SIGNED, Passkey("bo"))
    with pytest.raises(PersonSignatureWrong, match="another key"):
        judge(SIGNED, AT_HOME)  # the same key, registered for another host


def test_a_copied_passkey_is_no_hardware() -> None:
    """Flag 0x08: its vendor may carry the key from device to device, so it counts as a file where tokens are demanded."""
    armored = KEY.sign(MESSAGE, NAMESPACE, flags=0x1D)
    assert judge(armored).copyable
    made = person_signature.verify(armored, MESSAGE, namespace=NAMESPACE, public_key=KEY.line)
    assert (False, True, True) == (made.hardware, made.touched, made.pin_given)
    for touch, pin in ((True, False), (False, True)):
        with pytest.raises(PersonSignatureWrong, match="may be copied"):
            judge(armored, require_touch=touch, require_pin=pin)


def test_a_touch_is_no_pin_and_flags_cannot_be_added() -> None:
    touched = KEY.sign(MESSAGE, NAMESPACE, flags=1)
    assert judge(touched, require_touch=True).touched
    with pytest.raises(PersonSignatureWrong, match="PIN"):
        judge(touched, require_pin=True)
    forged = KEY.packed(NAMESPACE, KEY.client_data(MESSAGE, NAMESPACE), flags=1, shown=5)
    with pytest.raises(PersonSignatureWrong, match="does not belong"):
        judge(forged)


def test_a_trial_on_ones_own_machine_needs_no_tls() -> None:
    client_data = AT_HOME.client_data(MESSAGE, NAMESPACE, origin="http://localhost:8765")
    armored = webauthn.assemble(AT_HOME.line, NAMESPACE, **answered(client_data, key=AT_HOME))
    assert "http://localhost:8765" == judge(armored, AT_HOME).origin


def test_a_browsers_type_is_no_other_keys() -> None:
    """A key in a file, or an Ed25519 token, cannot sign in a browser's name."""
    raw = dearmor(SIGNED).replace(string(KEY.blob), string(sshsig.read_public_key(ANNA_LINE).blob))
    with pytest.raises(PersonSignatureUncheckable, match="type is not its key's"):
        sshsig.verify(armor(raw), MESSAGE, namespace=NAMESPACE, public_key_line=ANNA_LINE)


class TestAnAnswerThatIsNone:
    def test_for_another_site(self) -> None:
        client_data = KEY.client_data(MESSAGE, NAMESPACE)
        with pytest.raises(PersonSignatureWrong, match="another site"):
            webauthn.assemble(KEY.line, NAMESPACE, **answered(client_data, host="evil.example"))

    @pytest.mark.parametrize(
        ("changed", "problem"),
        [
            ({"authenticator_data": b"short"}, "too early"),
            ({"signature": b"no der"}, "no ECDSA"),
            ({"signature": bytes.fromhex("3006020100020101")}, "no ECDSA"),
            ({"client_data": b"[]"}, "no object"),
            ({"client_data": b'{"origin":7}'}, "no origin"),
            ({"client_data": b"{" * 5000}, "at most"),
        ],
    )
    def test_cannot_be_put_together(self, changed: dict[str, bytes], problem: str) -> None:
        whole = {**answered(KEY.client_data(MESSAGE, NAMESPACE)), **changed}
        with pytest.raises(PersonSignatureUncheckable, match=problem):
            webauthn.assemble(KEY.line, NAMESPACE, **whole)

    def test_of_a_key_that_is_no_passkeys(self) -> None:
        with pytest.raises(PersonSignatureUncheckable, match="a passkey is an sk-ecdsa"):
            webauthn.assemble(ANNA_LINE, NAMESPACE, **answered(KEY.client_data(MESSAGE, NAMESPACE)))


WHOLE = dearmor(SIGNED)


@pytest.mark.property
@given(st.integers(0, len(WHOLE) - 1), st.integers(1, 255))
def test_no_single_changed_byte_leaves_a_valid_signature(place: int, change: int) -> None:
    changed = bytearray(WHOLE)
    changed[place] ^= change
    with pytest.raises(REFUSALS):
        judge(armor(bytes(changed)))


@pytest.mark.property
def test_no_cut_off_signature_is_valid() -> None:
    for length in range(0, len(WHOLE), 3):
        with pytest.raises(REFUSALS):
            judge(armor(WHOLE[:length]))


pieces = st.binary(max_size=60) | st.text(max_size=40).map(lambda text: json.dumps({"origin": text}).encode())


@pytest.mark.property
@given(st.lists(pieces, max_size=5), st.binary(max_size=8))
def test_hostile_pages_meet_only_our_refusals(parts: list[bytes], tail: bytes) -> None:
    inner = string(webauthn.TYPE.encode()) + string(b"") + b"\x05" * 5 + b"".join(map(string, parts)) + tail
    fields = (KEY.blob, NAMESPACE.encode(), b"", b"sha512", inner)
    raw = b"SSHSIG" + (1).to_bytes(4, "big") + b"".join(map(string, fields))
    with pytest.raises(REFUSALS):
        judge(armor(raw))


@pytest.mark.property
@given(st.binary(max_size=80), st.binary(max_size=120), st.binary(max_size=80))
def test_hostile_answers_meet_only_our_refusals(data: bytes, client_data: bytes, signature: bytes) -> None:
    known = hashlib.sha256(KEY.host.encode()).digest()
    for about in (data, known + data):
        with pytest.raises(OperatorError):
            webauthn.assemble(
                KEY.line, NAMESPACE, authenticator_data=about, client_data=client_data, signature=signature
            )


@pytest.mark.property
@given(st.text(max_size=60), st.sampled_from(("https://", "http://", "")))
def test_a_host_is_what_a_browser_would_write(text: str, scheme: str) -> None:
    found = webauthn.host_of(scheme + text)
    if found is not None:
        assert found == found.lower().strip()
        assert (scheme + text).startswith((f"https://{found}", "http://localhost"))
