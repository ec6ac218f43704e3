"""Cosignatures against the specification's own words, and every way to pass one off for another."""

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from signing import checkpoint, cosignature
from signing.checkpoint import CheckpointSignatureWrong, CheckpointUnreadable

LOG = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
WITNESS = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
NOTE = checkpoint.sign_checkpoint("tidegate/high", 7, b"\x07" * 32, LOG)
NAME = "tidegate/low"
KEY = cosignature.cosigner_key(NAME, WITNESS.public_key())
AT = 1_795_176_000


def cosigned(note: str = NOTE, *, at: int = AT, name: str = NAME) -> str:
    line = cosignature.cosign(note, name, WITNESS.public_key(), WITNESS.sign, at=at)
    return cosignature.with_line(note, line)


def test_a_witness_says_when_it_saw_a_head() -> None:
    assert AT == cosignature.verify(cosigned(), KEY)


def test_the_line_is_what_the_specification_says() -> None:
    """Key id, moment in eight bytes, and a signature over a header, the moment and the note's text."""
    line = cosigned().split("\n")[-2]
    raw = base64.b64decode(line.split(" ")[2])
    assert "— tidegate/low" == line.rpartition(" ")[0]
    assert AT == int.from_bytes(raw[4:12], "big")
    text = NOTE.partition("\n\n")[0] + "\n"
    WITNESS.public_key().verify(raw[12:], f"cosignature/v1\ntime {AT}\n{text}".encode())


def test_the_logs_own_signature_holds_beside_it() -> None:
    key = checkpoint.verifier_key("tidegate/high", LOG.public_key())
    assert checkpoint.verify(NOTE, key) == checkpoint.verify(cosigned(), key)


def test_a_line_is_put_under_a_note_once() -> None:
    line = cosigned().split("\n")[-2]
    assert cosigned() == cosignature.with_line(cosigned(), line)


def test_the_newest_of_several_moments_counts() -> None:
    line = cosigned(at=AT + 60).split("\n")[-2]
    assert AT + 60 == cosignature.verify(cosignature.with_line(cosigned(), line), KEY)


def test_a_head_that_nobody_cosigned_has_no_cosignature() -> None:
    with pytest.raises(CheckpointSignatureWrong, match="no cosignature by this witness"):
        cosignature.verify(NOTE, KEY)


def test_a_cosignature_does_not_move_to_another_head() -> None:
    other = checkpoint.sign_checkpoint("tidegate/high", 8, b"\x07" * 32, LOG)
    with pytest.raises(CheckpointSignatureWrong, match="does not belong"):
        cosignature.verify(cosignature.with_line(other, cosigned().split("\n")[-2]), KEY)


def test_a_moment_cannot_be_changed() -> None:
    line = cosigned().split("\n")[-2]
    raw = bytearray(base64.b64decode(line.split(" ")[2]))
    raw[11] ^= 1
    bent = f"{line.rpartition(' ')[0]} {base64.b64encode(raw).decode()}"
    with pytest.raises(CheckpointSignatureWrong, match="does not belong"):
        cosignature.verify(cosignature.with_line(NOTE, bent), KEY)


def test_a_logs_own_signature_is_no_cosignature_and_the_other_way_round() -> None:
    """The same station key signs its log's heads and cosigns others': one never passes for the other."""
    own = checkpoint.sign_checkpoint(NAME, 7, b"\x07" * 32, WITNESS)
    with pytest.raises(CheckpointSignatureWrong):
        cosignature.verify(own, KEY)
    with pytest.raises(CheckpointSignatureWrong):
        checkpoint.verify_note(cosigned(), checkpoint.verifier_key(NAME, WITNESS.public_key()))
    with pytest.raises(CheckpointUnreadable):
        cosignature.verify(cosigned(), checkpoint.verifier_key(NAME, WITNESS.public_key()))


def test_a_line_of_another_length_is_unreadable() -> None:
    raw = checkpoint.key_id(NAME, WITNESS.public_key().public_bytes_raw(), kind=cosignature.TYPE) + bytes(71)
    line = checkpoint.signature_line(NAME, raw)
    with pytest.raises(CheckpointUnreadable):
        cosignature.verify(cosignature.with_line(NOTE, line), KEY)


def test_only_a_checkpoint_is_cosigned() -> None:
    with pytest.raises(CheckpointUnreadable):
        cosigned("a note\n\n— somebody AAAAAAA=\n")


@given(st.integers(0, len(cosigned()) - 1), st.characters())
def test_hostile_notes_raise_only_our_errors_and_never_move_the_word(at: int, put: str) -> None:
    good = cosigned()
    bent = good[:at] + put + good[at + 1 :]
    try:
        cosignature.verify(bent, KEY)
    except (CheckpointUnreadable, CheckpointSignatureWrong):
        return
    assert good.partition("\n\n")[0] == bent.partition("\n\n")[0]
