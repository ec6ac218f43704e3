"""Cosignatures: another home's word that it saw this head of a log, and that the log only grew until then.

Apart from `signing.checkpoint` because the signer is another: a log signs its own heads, a witness signs what it checked.
A cosignature is one more line under the note, with the moment in it; whoever checks the log's own line ignores it.
Ed25519 only (signature type 0x04). A station key signs both kinds: what it signs for its own log begins with the log's
name, what it signs as a witness with `cosignature/v1`, and no log is named so.

Source: https://c2sp.org/tlog-cosignature
"""

from collections.abc import Callable

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from signing import checkpoint
from signing.checkpoint import CheckpointSignatureWrong, CheckpointUnreadable

TYPE = b"\x04"
_HEADER = "cosignature/v1"
_TIME_BYTES, _SIGNATURE_BYTES = 8, 64
_LATEST = 2**63 - 1  # POSIX seconds

Sign = Callable[[bytes], bytes]  # an Ed25519 signature over the message, 64 bytes


def cosigner_key(name: str, public: Ed25519PublicKey) -> str:
    """Return `name+hash+base64`, what is configured to check this witness's cosignatures."""
    return checkpoint.verifier_key(name, public, kind=TYPE)


def cosign(note: str, name: str, public: Ed25519PublicKey, sign: Sign, *, at: int) -> str:
    """Return the line that a witness puts under a note. The witness has checked it, and that the log only grew.

    Args:
        at: POSIX seconds.

    Raises:
        CheckpointUnreadable: not a signed checkpoint.
    """
    checkpoint.parse(note)
    text, _ = checkpoint.split(note)
    signature = sign(_message(text, at))
    return checkpoint.signature_line(
        name, _key_id(name, public) + at.to_bytes(_TIME_BYTES, "big") + signature
    )


def with_line(note: str, line: str) -> str:
    """Return the note with one more line under it; as it is if the line stands there already."""
    return note if line in note.split("\n") else f"{note}{line}\n"


def verify(note: str, key: str) -> int:
    """Return when a witness last cosigned a note, in POSIX seconds. Its body is still the log's word.

    Args:
        key: the witness's `name+hash+base64`, of signature type 0x04.

    Raises:
        CheckpointUnreadable: not a checkpoint, or not such a key.
        CheckpointSignatureWrong: no cosignature by this witness, or a wrong one.
    """
    name, key_id, public = checkpoint.read_verifier_key(key, kind=TYPE)
    checkpoint.parse(note)
    text, signatures = checkpoint.split(note)
    ours = [raw[len(key_id) :] for signer, raw in signatures if signer == name and raw.startswith(key_id)]
    if not ours:
        raise CheckpointSignatureWrong(name, "no cosignature by this witness")
    return max(_moment(text, raw, name, public) for raw in ours)


def _moment(text: str, raw: bytes, name: str, public: Ed25519PublicKey) -> int:
    at = int.from_bytes(raw[:_TIME_BYTES], "big")
    if len(raw) != _TIME_BYTES + _SIGNATURE_BYTES or at > _LATEST:
        raise CheckpointUnreadable("not a moment and an Ed25519 signature", at=f"cosignature by {name}")
    try:
        public.verify(raw[_TIME_BYTES:], _message(text, at))
    except InvalidSignature as exc:
        raise CheckpointSignatureWrong(name, "the cosignature does not belong to this head") from exc
    return at


def _message(text: str, at: int) -> bytes:
    return f"{_HEADER}\ntime {at}\n{text}".encode()


def _key_id(name: str, public: Ed25519PublicKey) -> bytes:
    return checkpoint.key_id(name, public.public_bytes_raw(), kind=TYPE)
