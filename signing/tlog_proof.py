"""`.tlog-proof` files: one event's place in a signed log, in one small text that an auditor can keep.

A file holds the index, the audit path and the log's checkpoint as it was signed, with whatever cosignatures it
had. Its extra data, where there is some, is the event itself: not authenticated by itself, so a checker hashes it.

Source: https://c2sp.org/tlog-proof@v1
"""

import base64
import binascii
import re
from dataclasses import dataclass

from signing.checkpoint import MAX_NOTE, Checkpoint, CheckpointUnreadable, verify
from signing.merkle import HASH_BYTES, MAX_SIZE, leaf_hash, verify_inclusion

SUFFIX = ".tlog-proof"
_HEADER = "c2sp.org/tlog-proof@v1"
_MAX_PATH = 63  # hashes: the height of the largest tree
_MAX_EXTRA = 1 << 20  # bytes: events of older releases can be longer than an entry may be now
MAX_PROOF = MAX_NOTE + 2 * _MAX_EXTRA + 64 * 64  # characters
_INDEX = re.compile(r"index (0|[1-9][0-9]{0,18})", re.ASCII)


@dataclass(frozen=True)
class TlogProof:
    """What such a file says; nothing of it is checked by reading it."""

    index: int  # of the entry, from 0
    path: tuple[bytes, ...]  # 32-byte hashes, lowest sibling first
    note: str  # the checkpoint with its signature lines, verbatim
    extra: bytes | None = None  # here: the event's leaf

    def proves(self, leaf: bytes, key: str) -> Checkpoint | None:
        """Return the signed head under which `leaf` (the bytes, unhashed) stands at the index; None if it does not.

        Args:
            key: the log's verifier key, `name+hash+base64`.

        Raises:
            CheckpointUnreadable, CheckpointSignatureWrong: the head itself does not hold.
        """
        head = verify(self.note, key)
        found = verify_inclusion(
            leaf_hash(leaf), index=self.index, size=head.size, proof=self.path, root=head.root
        )
        return head if found else None


def write(proof: TlogProof) -> bytes:
    """Return the file."""
    lines = [_HEADER]
    if proof.extra is not None:
        lines.append(f"extra {_base64(proof.extra)}")
    lines += [f"index {proof.index}", *map(_base64, proof.path), "", proof.note]
    return "\n".join(lines).encode()


def read(data: bytes) -> TlogProof:
    """Read an untrusted file. Raises `CheckpointUnreadable`, naming the line."""
    if len(data) > MAX_PROOF:
        raise CheckpointUnreadable(f"{len(data)} bytes; at most {MAX_PROOF} are read", at="proof")
    try:
        head, blank, note = data.decode().partition("\n\n")
    except UnicodeDecodeError as exc:
        raise CheckpointUnreadable("not UTF-8", at="proof") from exc
    lines = head.split("\n")
    if not blank or lines.pop(0) != _HEADER:
        raise CheckpointUnreadable(f"not '{_HEADER}', lines, a blank line and a checkpoint", at="proof")
    extra = None
    if lines and lines[0].startswith("extra "):
        extra = _unbase64(lines.pop(0).removeprefix("extra "), at="proof.extra")
    match = _INDEX.fullmatch(lines.pop(0)) if lines else None
    if match is None or int(match[1]) >= MAX_SIZE:
        raise CheckpointUnreadable("not 'index' and a number", at="proof.index")
    if len(lines) > _MAX_PATH:
        raise CheckpointUnreadable(f"{len(lines)} hashes; at most {_MAX_PATH}", at="proof.path")
    path = tuple(_hash(line, at=f"proof.path[{number}]") for number, line in enumerate(lines))
    return TlogProof(int(match[1]), path, note, extra)


def _hash(line: str, *, at: str) -> bytes:
    raw = _unbase64(line, at=at)
    if len(raw) != HASH_BYTES:
        raise CheckpointUnreadable(f"{len(raw)} bytes; a hash has {HASH_BYTES}", at=at)
    return raw


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _unbase64(text: str, *, at: str) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise CheckpointUnreadable("not base64", at=at) from exc
    if _base64(raw) != text:
        raise CheckpointUnreadable("base64 with loose ends", at=at)
    return raw
