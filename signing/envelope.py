"""DSSE signatures that stand beside a readable document.

The payload stays a plain file that a person and a cross-domain guard can read; its signature is a small
`<name>.sig.json` next to it. The signed bytes are DSSE's pre-authentication encoding, so joining the two
files gives a standard envelope. One signature per envelope: several people make several files.

Source: DSSE protocol v1.0, https://github.com/secure-systems-lab/dsse/blob/v1.0.0/protocol.md
"""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from securesystemslib.exceptions import UnverifiedSignatureError, VerificationError
from securesystemslib.signer import Key, Signature, Signer

from signing.canonical import NotCanonical, parse, pretty_bytes
from signing.errors import OperatorError

MAX_SIGNATURE_FILE = 64 << 10  # bytes; ML-DSA-87 in base64 is 6 KiB


class SignatureWrong(OperatorError):
    """The key is known, and it did not sign these bytes."""

    exit_code: ClassVar[int] = 54
    next_step: ClassVar[str] = (
        "Do not use the document. Fetch it and its .sig.json again from whoever signed; if it fails again, "
        "one of the two was changed."
    )

    def __init__(self, keyid: str, problem: str) -> None:
        super().__init__(f"signature by key {keyid[:12]}: {problem}")
        self.keyid, self.problem = keyid, problem


class SignatureUncheckable(OperatorError):
    """The signature may be right or wrong: the key to check it with is not at hand."""

    exit_code: ClassVar[int] = 55
    next_step: ClassVar[str] = (
        "Get the signer's public key over a channel that you trust and add it, then check again. "
        "Until then treat the document as unsigned."
    )

    def __init__(self, keyid: str, problem: str = "this key is not known here") -> None:
        super().__init__(f"signature by key {keyid[:12]}: {problem}")
        self.keyid, self.problem = keyid, problem


@dataclass(frozen=True)
class Envelope:
    """One signature over one payload that lies elsewhere."""

    payload_type: str
    keyid: str
    signature: bytes  # raw

    def to_json(self) -> bytes:
        """Return `{payloadType, signatures: [{keyid, sig}]}`, indented, `sig` in base64."""
        sig = base64.b64encode(self.signature).decode()
        return pretty_bytes(
            {"payloadType": self.payload_type, "signatures": [{"keyid": self.keyid, "sig": sig}]}
        )

    @classmethod
    def from_json(cls, data: bytes, *, at: str = "signature") -> "Envelope":
        """Return the envelope of `to_json`'s value, in any spacing.

        Raises:
            NotCanonical: another shape, more or fewer than one signature, or base64 with loose ends.
        """
        value = parse(data, max_bytes=MAX_SIGNATURE_FILE, at=at)
        _fields(value, {"payloadType", "signatures"}, at=at)
        signatures = value["signatures"]
        if not isinstance(signatures, list) or len(signatures) != 1:
            raise NotCanonical("exactly one signature is expected", at=f"{at}.signatures")
        _fields(signatures[0], {"keyid", "sig"}, at=f"{at}.signatures[0]")
        texts = (value["payloadType"], signatures[0]["keyid"], signatures[0]["sig"])
        if not all(isinstance(text, str) and text and text.isascii() for text in texts):
            raise NotCanonical("payloadType, keyid and sig are ASCII texts that are not empty", at=at)
        return cls(texts[0], texts[1], _unbase64(texts[2], at=f"{at}.signatures[0].sig"))


def pae(payload: bytes, payload_type: str) -> bytes:
    """Return the bytes that a DSSE signature covers."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def sign(payload: bytes, payload_type: str, signer: Signer) -> Envelope:
    """Return one signature over `payload` and its type."""
    made = signer.sign(pae(payload, payload_type))
    return Envelope(payload_type, made.keyid, bytes.fromhex(made.signature))


def verify(
    payload: bytes, envelope: Envelope, keys: Mapping[str, Key], *, payload_type: str | None = None
) -> str:
    """Return the id of the key that signed `payload`.

    Args:
        keys: key id to key; only these are believed.
        payload_type: what the payload has to have been signed as. A caller that leaves it out looks at
            `envelope.payload_type` itself: a signature over one kind of document says nothing of another.

    Raises:
        SignatureUncheckable: no such key, or one that this build cannot use.
        SignatureWrong: the key did not sign these bytes, or signed them as something else.
    """
    if payload_type is not None and envelope.payload_type != payload_type:
        raise SignatureWrong(
            envelope.keyid, f"made over a {envelope.payload_type!r}, not over a {payload_type!r}"
        )
    key = keys.get(envelope.keyid)
    if key is None:
        raise SignatureUncheckable(envelope.keyid)
    try:
        key.verify_signature(
            Signature(key.keyid, envelope.signature.hex()), pae(payload, envelope.payload_type)
        )
    except VerificationError as exc:
        raise SignatureUncheckable(envelope.keyid, "this build cannot use the key") from exc
    except UnverifiedSignatureError as exc:
        raise SignatureWrong(envelope.keyid, "does not belong to these bytes") from exc
    return key.keyid


def _fields(value: Any, names: set[str], *, at: str) -> None:
    if not isinstance(value, dict) or set(value) != names:
        raise NotCanonical(f"exactly the fields {', '.join(sorted(names))} are expected", at=at)


def _unbase64(text: str, *, at: str) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise NotCanonical("not base64", at=at) from exc
    if base64.b64encode(raw).decode() != text:
        raise NotCanonical("base64 with loose ends", at=at)
    return raw
