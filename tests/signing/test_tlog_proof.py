"""`.tlog-proof` files: what an auditor keeps of one event, and every way to bend one."""

import dataclasses

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from signing.checkpoint import CheckpointSignatureWrong, CheckpointUnreadable, sign_checkpoint, verifier_key
from signing.merkle import inclusion_proof, leaf_hash, root_of
from signing.tlog_proof import TlogProof, read, write

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
LOG = "tidegate/high"
VKEY = verifier_key(LOG, KEY.public_key())
EVENTS = tuple(b"event %d" % number for number in range(11))
HASHES = tuple(map(leaf_hash, EVENTS))


def proof_of(index: int, *, extra: bytes | None = None) -> TlogProof:
    note = sign_checkpoint(LOG, len(EVENTS), root_of(HASHES), KEY)
    return TlogProof(index, inclusion_proof(HASHES, index), note, extra)


def test_an_auditor_checks_one_event_with_the_file_and_the_key_alone() -> None:
    for index, event in enumerate(EVENTS):
        kept = read(write(proof_of(index)))
        head = kept.proves(event, VKEY)
        assert head is not None
        assert (LOG, 11, root_of(HASHES)) == (head.origin, head.size, head.root)


def test_the_file_is_what_the_specification_shows() -> None:
    lines = write(proof_of(3, extra=b"event 3")).decode().split("\n")
    assert ["c2sp.org/tlog-proof@v1", "extra ZXZlbnQgMw==", "index 3"] == lines[:3]
    assert ["", LOG, "11"] == lines[7:10]


def test_another_event_another_place_and_another_path_prove_nothing() -> None:
    kept = proof_of(3)
    assert kept.proves(b"event 4", VKEY) is None
    assert dataclasses.replace(kept, index=4).proves(b"event 3", VKEY) is None
    assert dataclasses.replace(kept, path=kept.path[:-1]).proves(b"event 3", VKEY) is None
    assert dataclasses.replace(kept, path=kept.path[::-1]).proves(b"event 3", VKEY) is None


def test_another_logs_key_vouches_for_nothing() -> None:
    other = verifier_key("tidegate/other", KEY.public_key())
    with pytest.raises(CheckpointSignatureWrong):
        proof_of(3).proves(b"event 3", other)


@given(st.binary(max_size=80) | st.none(), st.integers(0, 10))
def test_a_file_survives_a_round_trip(extra: bytes | None, index: int) -> None:
    proof = proof_of(index, extra=extra)
    assert proof == read(write(proof))


GOOD = write(proof_of(3, extra=b"event 3"))


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff", GOOD.replace(b"@v1", b"@v2"), GOOD.replace(b"index 3", b"index 03"),
     GOOD.replace(b"index 3\n", b""), GOOD.replace(b"extra Z", b"extra !"), GOOD.replace(b"\n\n", b"\n", 1),
     GOOD.replace(b"index 3\n", b"index 3\nAAAA\n"), GOOD.replace(b"index 3\n", b"index 3\n" + b"A" * 43 + b"=\n" * 64),
     GOOD.replace(b"index 3", b"index 9999999999999999999"), GOOD + bytes(4 << 20)],
)  # fmt: skip
def test_what_is_not_such_a_file_is_refused(data: bytes) -> None:
    with pytest.raises(CheckpointUnreadable):
        read(data)


@given(st.integers(0, len(GOOD) - 1), st.binary(min_size=1, max_size=2))
def test_hostile_bytes_raise_only_our_error_and_never_prove_another_event(at: int, put: bytes) -> None:
    bent = GOOD[:at] + put + GOOD[at + 1 :]
    try:
        assert read(bent).proves(b"event 4", VKEY) is None
    except (CheckpointUnreadable, CheckpointSignatureWrong):
        return
