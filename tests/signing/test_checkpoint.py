"""Signed heads of the log: the published vectors, forgeries, and bytes from strangers."""

import base64
import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from signing.checkpoint import (
    Checkpoint,
    CheckpointSignatureWrong,
    CheckpointUnreadable,
    body,
    parse,
    sign_checkpoint,
    verifier_key,
    verify,
    verify_note,
)
from signing.merkle import EMPTY_ROOT, MAX_SIZE

LOG = Ed25519PrivateKey.from_private_bytes(b"\x07" * 32)
OTHER = Ed25519PrivateKey.from_private_bytes(b"\x08" * 32)
ORIGIN = "tidegate.example/harbour"
KEY = verifier_key(ORIGIN, LOG.public_key())
ROOT = hashlib.sha256(b"root").digest()
NOTE = sign_checkpoint(ORIGIN, 42, ROOT, LOG)
DASH = "\N{EM DASH}"

# golang.org/x/mod/sumdb/note, whose example C2SP signed-note points to
PUBLISHED_KEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
PUBLISHED_NOTE = (
    "This is an example message.\n\n"
    f"{DASH} example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)
# c2sp.org/tlog-checkpoint, the example at the top of the page
PUBLISHED_CHECKPOINT = (
    "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
    f"{DASH} example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
)


def test_the_published_note_verifies() -> None:
    assert "This is an example message.\n" == verify_note(PUBLISHED_NOTE, PUBLISHED_KEY)


def test_the_published_checkpoint_is_read() -> None:
    root = base64.b64decode("CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=")
    assert Checkpoint("example.com/behind-the-sofa", 20852163, root) == parse(PUBLISHED_CHECKPOINT)


def test_what_the_log_signed_comes_back() -> None:
    assert Checkpoint(ORIGIN, 42, ROOT) == verify(NOTE, KEY) == parse(NOTE)
    assert Checkpoint(ORIGIN, 0, EMPTY_ROOT) == verify(sign_checkpoint(ORIGIN, 0, EMPTY_ROOT, LOG), KEY)


def test_a_witness_adds_a_line_and_the_log_still_verifies() -> None:
    witness = f"{DASH} witness.example/w1 {base64.b64encode(b'four' + bytes(72)).decode()}\n"
    assert 42 == verify(NOTE + witness, KEY).size
    name, blank, tail = NOTE.rpartition("\n\n")
    assert 42 == verify(name + blank + witness + tail, KEY).size


@pytest.mark.parametrize(
    "forged",
    [
        NOTE.replace("\n42\n", "\n43\n"),
        NOTE.replace(base64.b64encode(ROOT).decode(), base64.b64encode(EMPTY_ROOT).decode()),
        sign_checkpoint(ORIGIN, 42, ROOT, OTHER),
        sign_checkpoint("tidegate.example/elsewhere", 42, ROOT, LOG),
        NOTE.replace("\n\n", "\nextension\n\n"),
        PUBLISHED_NOTE,
    ],
)
def test_a_changed_or_foreign_checkpoint_is_refused(forged: str) -> None:
    with pytest.raises(CheckpointSignatureWrong):
        verify(forged, KEY)


def test_a_second_line_in_the_logs_name_that_does_not_hold_spoils_the_note() -> None:
    _, _, line = NOTE.rpartition("\n\n")
    raw = bytearray(base64.b64decode(line.split()[-1]))
    raw[-1] ^= 1
    with pytest.raises(CheckpointSignatureWrong, match="does not belong"):
        verify(NOTE + f"{DASH} {ORIGIN} {base64.b64encode(raw).decode()}\n", KEY)


def test_a_logs_key_vouches_for_no_other_log() -> None:
    text = body("tidegate.example/elsewhere", 42, ROOT)
    key_id = hashlib.sha256(f"{ORIGIN}\n".encode() + b"\x01" + LOG.public_key().public_bytes_raw()).digest()[
        :4
    ]
    note = f"{text}\n{DASH} {ORIGIN} {base64.b64encode(key_id + LOG.sign(text.encode())).decode()}\n"
    assert text == verify_note(note, KEY)
    with pytest.raises(CheckpointSignatureWrong, match="signed for another log"):
        verify(note, KEY)


def signed(text: str) -> str:
    """A note by the log over any text: what a log with a bug would publish."""
    key_id = bytes.fromhex(KEY.split("+")[1])
    return f"{text}\n{DASH} {ORIGIN} {base64.b64encode(key_id + LOG.sign(text.encode())).decode()}\n"


@pytest.mark.parametrize(
    "text",
    [
        f"{ORIGIN}\n42\n",
        f"{ORIGIN}\n042\n{base64.b64encode(ROOT).decode()}\n",
        f"{ORIGIN}\n-1\n{base64.b64encode(ROOT).decode()}\n",
        f"{ORIGIN}\n{MAX_SIZE + 1}\n{base64.b64encode(ROOT).decode()}\n",
        f"{ORIGIN}\n\N{ARABIC-INDIC DIGIT FOUR}\n{base64.b64encode(ROOT).decode()}\n",
        f"{ORIGIN}\n42\n{base64.b64encode(ROOT[:31]).decode()}\n",
        f"{ORIGIN}\n42\n{base64.b64encode(ROOT).decode()[:-1]}\n",
        f"{ORIGIN}\n42\n{base64.b64encode(ROOT).decode()}\n\nafter\n",
    ],
)
def test_a_signed_text_that_is_no_checkpoint_is_unreadable(text: str) -> None:
    with pytest.raises(CheckpointUnreadable, match="checkpoint"):
        verify(signed(text), KEY)


@pytest.mark.parametrize(
    "note",
    [
        "",
        "\n\n",
        NOTE.rstrip("\n"),
        NOTE.replace("\n", "\r\n"),
        NOTE.replace(DASH, "-"),
        NOTE.replace("\n\n", "\n"),
        NOTE + "\n",
        NOTE.replace("\n\n", "\n\ud800\n\n"),
        f"text\n\n{DASH} name\n",
        f"text\n\n{DASH} name AAAA\n",
        f"text\n\n{DASH} na+me AAAAAAAA\n",
        f"text\n\n{DASH}  AAAAAAAA\n",
        f"text\n\n{DASH} name !!!\n",
        f"text\n\n{DASH} name AAAAAB==\n",
        "x" * (1 << 20) + NOTE,
    ],
)
def test_what_is_no_note_is_unreadable(note: str) -> None:
    with pytest.raises(CheckpointUnreadable, match="note"):
        verify(note, KEY)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "name",
        "name+00000000",
        KEY.replace("+", " "),
        KEY.replace(ORIGIN, "tidegate.example/other"),
        "+" + KEY.partition("+")[2],
        KEY[:-4],
        KEY + "\n",
    ],
)
def test_a_damaged_verifier_key_is_unreadable(key: str) -> None:
    with pytest.raises(CheckpointUnreadable, match="verifier key"):
        verify(NOTE, key)


@pytest.mark.parametrize("origin", ["", "two words", "a+b", "a\nb", "a\u2028b", "a\x00b", "a\ud800"])
def test_an_origin_that_would_frame_another_checkpoint_is_never_signed(origin: str) -> None:
    with pytest.raises(CheckpointUnreadable, match="origin"):
        sign_checkpoint(origin, 1, ROOT, LOG)


def test_impossible_heads_are_never_signed() -> None:
    with pytest.raises(CheckpointUnreadable, match="size"):
        body(ORIGIN, -1, ROOT)
    with pytest.raises(CheckpointUnreadable, match="size"):
        body(ORIGIN, MAX_SIZE + 1, ROOT)
    with pytest.raises(CheckpointUnreadable, match="root: 31 bytes"):
        body(ORIGIN, 1, ROOT[:31])


@pytest.mark.property
@given(st.text(), st.text())
def test_any_text_is_refused_in_our_words(note: str, key: str) -> None:
    for text, using in ((note, KEY), (NOTE, key), (note + NOTE, KEY), (NOTE + note, KEY)):
        try:
            found = verify(text, using)
        except (CheckpointUnreadable, CheckpointSignatureWrong):
            continue
        assert text.startswith(NOTE)
        assert Checkpoint(ORIGIN, 42, ROOT) == found


@pytest.mark.property
@given(st.integers(0, len(NOTE) - 1), st.characters())
def test_no_single_changed_character_leaves_a_valid_checkpoint(place: int, letter: str) -> None:
    changed = NOTE[:place] + letter + NOTE[place + 1 :]
    if changed != NOTE:
        with pytest.raises((CheckpointUnreadable, CheckpointSignatureWrong)):
            verify(changed, KEY)
