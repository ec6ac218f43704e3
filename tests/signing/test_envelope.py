"""Signatures that stand beside a readable document: wrong is not the same as not checkable."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib import dsse
from securesystemslib.signer import CryptoSigner, Key, SSlibKey

from signing.canonical import NotCanonical
from signing.envelope import Envelope, SignatureUncheckable, SignatureWrong, pae, sign, verify

KIND = "application/vnd.in-toto+json"
PAYLOAD = b'{"what": "a statement"}'


@pytest.fixture(
    params=[CryptoSigner.generate_ed25519, CryptoSigner.generate_ecdsa, CryptoSigner.generate_mldsa],
    ids=["ed25519", "ecdsa", "ml-dsa"],
)
def signer(request: pytest.FixtureRequest) -> CryptoSigner:
    made: CryptoSigner = request.param()
    return made


def known(*signers: CryptoSigner) -> dict[str, Key]:
    return {signer.public_key.keyid: signer.public_key for signer in signers}


def test_what_was_signed_verifies_and_nothing_else(signer: CryptoSigner) -> None:
    envelope = Envelope.from_json(sign(PAYLOAD, KIND, signer).to_json())
    assert signer.public_key.keyid == verify(PAYLOAD, envelope, known(signer), payload_type=KIND)
    for payload in (PAYLOAD + b" ", PAYLOAD[:-1], b""):
        with pytest.raises(SignatureWrong):
            verify(payload, envelope, known(signer))


def test_joined_with_its_payload_it_is_an_envelope_that_others_read(signer: CryptoSigner) -> None:
    beside = json.loads(sign(PAYLOAD, KIND, signer).to_json())
    joined = dsse.Envelope.from_dict(beside | {"payload": base64.b64encode(PAYLOAD).decode()})
    assert signer.public_key.keyid in joined.verify([signer.public_key], 1)


def test_the_published_encoding() -> None:
    """The example of the DSSE protocol document."""
    assert b"DSSEv1 29 http://example.com/HelloWorld 11 hello world" == pae(
        b"hello world", "http://example.com/HelloWorld"
    )


def test_an_unknown_key_is_not_a_wrong_signature(signer: CryptoSigner) -> None:
    envelope = sign(PAYLOAD, KIND, signer)
    with pytest.raises(SignatureUncheckable):
        verify(PAYLOAD, envelope, {})
    odd = SSlibKey(envelope.keyid, "odd", "odd", {"public": "00"})
    with pytest.raises(SignatureUncheckable):
        verify(PAYLOAD, envelope, {envelope.keyid: odd})
    assert SignatureWrong.next_step != SignatureUncheckable.next_step


def test_a_signature_over_one_kind_of_document_is_none_over_another(signer: CryptoSigner) -> None:
    envelope = sign(PAYLOAD, KIND, signer)
    with pytest.raises(SignatureWrong, match="made over"):
        verify(PAYLOAD, envelope, known(signer), payload_type="application/other")
    relabelled = Envelope("application/other", envelope.keyid, envelope.signature)
    with pytest.raises(SignatureWrong):
        verify(PAYLOAD, relabelled, known(signer), payload_type="application/other")


def test_any_flipped_byte_of_the_signature_file_is_refused() -> None:
    signer = CryptoSigner.generate_ed25519()
    data = sign(PAYLOAD, KIND, signer).to_json()
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 1 << position % 8
        if data[position : position + 1].isspace():
            continue  # the spacing of the file is not signed, and says nothing
        with pytest.raises((NotCanonical, SignatureWrong, SignatureUncheckable)):
            verify(PAYLOAD, Envelope.from_json(bytes(damaged)), known(signer), payload_type=KIND)


@pytest.mark.parametrize(
    "value",
    [
        [],
        {},
        {"payloadType": "t", "signatures": []},
        {"payloadType": "t", "signatures": [{"keyid": "k", "sig": "AA=="}] * 2},
        {"payloadType": "", "signatures": [{"keyid": "k", "sig": "AA=="}]},
        {"payloadType": "\ud800", "signatures": [{"keyid": "k", "sig": "AA=="}]},
        {"payloadType": "t", "signatures": [{"keyid": None, "sig": "AA=="}]},
        {"payloadType": "t", "signatures": [{"keyid": "k", "sig": "AB=="}]},
        {"payloadType": "t", "signatures": [{"keyid": "k", "sig": "A A=="}]},
        {"payloadType": "t", "signatures": [{"keyid": "k", "sig": "!"}]},
        {"payloadType": "t", "signatures": [{"keyid": "k", "sig": "AA==", "cert": ""}]},
        {"payloadType": "t", "payload": "AA==", "signatures": [{"keyid": "k", "sig": "AA=="}]},
    ],
)
def test_other_shapes_are_refused(value: object) -> None:
    with pytest.raises(NotCanonical):
        Envelope.from_json(json.dumps(value).encode())


@pytest.mark.property
@given(
    st.text(min_size=1, alphabet=st.characters(max_codepoint=126)),
    st.text("0123456789abcdef", min_size=1),
    st.binary(min_size=1),
)
def test_what_is_written_is_read(kind: str, keyid: str, signature: bytes) -> None:
    envelope = Envelope(kind, keyid, signature)
    assert envelope == Envelope.from_json(envelope.to_json())


@pytest.mark.property
@given(
    st.binary()
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["payloadType", "signatures", "keyid", "sig"]), inner)
        ),
    ).map(lambda value: json.dumps(value).encode())
)
def test_any_bytes_meet_our_refusal_or_are_an_envelope(data: bytes) -> None:
    try:
        Envelope.from_json(data)
    except NotCanonical:
        return
