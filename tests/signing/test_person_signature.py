"""One question for every way in which a person signs, and one answer."""

import base64
import subprocess
import sys
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signing import sshsig
from signing.errors import OperatorError
from signing.person_refusals import PersonSignatureUncheckable, PersonSignatureWrong
from signing.person_signature import PersonSignature, fingerprint, key_material, method_of, verify
from tests.signing.test_piv import ALICE, CA, MESSAGE, NAMESPACE, NOON, YEAR, YESTERDAY, entry
from tests.signing.test_sshsig import ANNA, ANNA_LINE, SIGNED, TOKENS

TOUCHED, TOUCHED_WITH_PIN = 0x01, 0x05


def judge(signature: str, key: str, **demands: object) -> PersonSignature:
    return verify(signature, MESSAGE, namespace=NAMESPACE, public_key=key, **demands)  # type: ignore[arg-type]


def test_a_key_in_a_file_shows_neither_touch_nor_pin() -> None:
    found = judge(SIGNED, ANNA_LINE)
    assert found == PersonSignature(
        "ssh", fingerprint(ANNA_LINE), key_material(ANNA_LINE), False, False, False
    )
    for demand in ("require_touch", "require_pin"):
        with pytest.raises(PersonSignatureWrong, match="hardware"):
            judge(SIGNED, ANNA_LINE, **{demand: True})


@pytest.mark.parametrize("token", TOKENS, ids=("ed25519", "p256"))
def test_a_token_proves_its_touch_and_its_pin(token: object) -> None:
    touched = judge(token.sign(MESSAGE, TOUCHED), token.line, require_touch=True)  # type: ignore[attr-defined]
    assert (touched.hardware, touched.touched, touched.pin_given) == (True, True, False)
    both = judge(token.sign(MESSAGE, TOUCHED_WITH_PIN), token.line, require_pin=True)  # type: ignore[attr-defined]
    assert (both.hardware, both.touched, both.pin_given) == (True, True, True)
    for flags, demand in ((0, False), (TOUCHED, True)):
        with pytest.raises(PersonSignatureWrong):
            judge(token.sign(MESSAGE, flags), token.line, require_pin=demand)  # type: ignore[attr-defined]


def test_a_card_is_hardware_on_the_word_of_a_registered_issuer() -> None:
    signed = ALICE.sign()
    known = judge(signed, ALICE.line, at=NOON, anchors=[CA.pem], require_touch=True, require_pin=True)
    assert known == PersonSignature(
        "piv", fingerprint(ALICE.line), key_material(ALICE.line), touched=False, pin_given=True, hardware=True,
        certificate_subject="CN=Alice", certificate_until=NOON + YEAR,
    )  # fmt: skip
    for told in ({"at": NOON}, {"anchors": [CA.pem]}, {}):
        alone = judge(signed, ALICE.line, **told)
        assert (alone.hardware, alone.pin_given, alone.touched) == (False, False, False)
        for demand in ("require_touch", "require_pin"):
            with pytest.raises(PersonSignatureWrong, match="no registered anchor"):
                judge(signed, ALICE.line, **told, **{demand: True})


def test_a_card_that_was_revoked_or_ran_out_counts_for_nothing() -> None:
    with pytest.raises(PersonSignatureWrong, match="revoked"):
        judge(ALICE.sign(), ALICE.line, at=NOON, anchors=[CA.pem], crls=[CA.revokes(entry(YESTERDAY))])
    with pytest.raises(PersonSignatureWrong, match="valid from"):
        judge(ALICE.sign(), ALICE.line, at=NOON + YEAR + timedelta(days=1))


def test_one_method_does_not_stand_in_for_the_other() -> None:
    with pytest.raises(PersonSignatureWrong, match="made by the ssh method"):
        judge(SIGNED, ALICE.line)
    with pytest.raises(PersonSignatureWrong, match="made by the piv method"):
        judge(ALICE.sign(), ANNA_LINE)


def test_one_key_under_two_registrations_is_one_key() -> None:
    as_ssh = sshsig.public_key_line(ALICE.key, "alice")
    assert key_material(as_ssh) == key_material(ALICE.line)
    assert fingerprint(as_ssh) != fingerprint(ALICE.line)
    assert ("ssh", "piv") == (method_of(as_ssh), method_of(ALICE.line))


def test_fingerprints_are_what_everybody_else_shows() -> None:
    digest = ALICE.certificate.fingerprint(ALICE.certificate.signature_hash_algorithm)  # type: ignore[arg-type]
    assert f"x509:{digest.hex()}" == fingerprint(ALICE.line)
    assert sshsig.fingerprint(ANNA_LINE) == fingerprint(ANNA_LINE)
    assert sshsig.sign(MESSAGE, namespace=NAMESPACE, private_key=ANNA) == SIGNED


lines = st.text(max_size=40) | st.binary(max_size=40).map(lambda b: "x509 " + base64.b64encode(b).decode())


@pytest.mark.property
@given(signature=st.text(max_size=60) | st.sampled_from([SIGNED, ALICE.sign()]), key=lines)
def test_any_texts_meet_our_refusal_only(signature: str, key: str) -> None:
    with pytest.raises(OperatorError):
        judge(signature, key, at=NOON)
    for ask in (fingerprint, key_material):
        with pytest.raises(PersonSignatureUncheckable):
            ask(key)


def test_a_home_without_cards_does_not_load_what_reads_them() -> None:
    ask = "import sys, signing.person_signature; print([n for n in ('signing.piv', 'pkcs11') if n in sys.modules])"
    assert b"[]\n" == subprocess.run([sys.executable, "-c", ask], check=True, capture_output=True).stdout
