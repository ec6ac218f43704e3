"""Signed heads of the audit log: C2SP signed notes with the checkpoint body.

A checkpoint is three lines that fit on a paper transfer record (origin, size, root) and a signature line
that any C2SP tool checks. Ed25519 only (signature type 0x01): the specification asks implementations to
select one type. Other signers' lines, such as a witness's (`signing.cosignature`), stay in the note and are ignored here.

Sources: https://c2sp.org/signed-note@v1.0.0 and https://c2sp.org/tlog-checkpoint@v1.0.0
"""

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from typing import ClassVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from signing.errors import OperatorError
from signing.merkle import HASH_BYTES, MAX_SIZE

MAX_NOTE = 1 << 20  # characters; 16 post-quantum signatures, which must be accepted, are 110 KiB
ED25519 = b"\x01"  # signed-note's type byte
KEY_BYTES = 32
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)
_DASH = "\N{EM DASH} "


class CheckpointUnreadable(OperatorError):
    """Text that is not a signed note, not a checkpoint, or not a verifier key."""

    exit_code: ClassVar[int] = 56
    next_step: ClassVar[str] = (
        "Take the checkpoint again from where it was published, byte for byte: an editor or a mail program "
        "that changes dashes or line ends breaks it."
    )

    def __init__(self, problem: str, *, at: str) -> None:
        super().__init__(f"{at}: {problem}")
        self.problem, self.at = problem, at


class CheckpointSignatureWrong(OperatorError):
    """A readable checkpoint that the expected log did not sign."""

    exit_code: ClassVar[int] = 57
    next_step: ClassVar[str] = (
        "Do not rely on this audit log. Compare origin, size and root with the paper transfer record or with "
        "a copy of the checkpoint kept elsewhere, and tell the security officer."
    )

    def __init__(self, key_name: str, problem: str) -> None:
        super().__init__(f"checkpoint by {key_name}: {problem}")
        self.key_name, self.problem = key_name, problem


@dataclass(frozen=True)
class Checkpoint:
    """The head of a log: how many leaves, and the root over them."""

    origin: str
    size: int  # leaves
    root: bytes  # 32 bytes, RFC 6962


def body(origin: str, size: int, root: bytes) -> str:
    """Return the three lines that are signed, each with its newline.

    Raises:
        CheckpointUnreadable: an origin that cannot name a key, or values that no reader would take.
    """
    _check_name(origin, at="origin")
    if not 0 <= size <= MAX_SIZE:
        raise CheckpointUnreadable(f"{size} leaves; 0 to {MAX_SIZE} can be counted", at="size")
    if len(root) != HASH_BYTES:
        raise CheckpointUnreadable(f"{len(root)} bytes; a root has {HASH_BYTES}", at="root")
    return f"{origin}\n{size}\n{_base64(root)}\n"


def verifier_key(name: str, public: Ed25519PublicKey, *, kind: bytes = ED25519) -> str:
    """Return `name+hash+base64`, what an auditor configures to check this log's checkpoints."""
    _check_name(name, at="key name")
    raw = public.public_bytes_raw()
    return f"{name}+{key_id(name, raw, kind=kind).hex()}+{_base64(kind + raw)}"


def sign_checkpoint(origin: str, size: int, root: bytes, private_key: Ed25519PrivateKey) -> str:
    """Return the signed note. The key is named by the origin, as the specification recommends.

    The caller keeps the log's one duty: never to sign a head that does not extend the last one.

    Raises:
        CheckpointUnreadable: as `body`.
    """
    text = body(origin, size, root)
    signer = key_id(origin, private_key.public_key().public_bytes_raw())
    return f"{text}\n{signature_line(origin, signer + private_key.sign(text.encode()))}\n"


def signature_line(name: str, raw: bytes) -> str:
    """Return a line of a note: the signer's name, and in base64 the key id with what follows it."""
    return f"{_DASH}{name} {_base64(raw)}"


def verify(note: str, key: str) -> Checkpoint:
    """Return the checkpoint that the log of this verifier key signed.

    Args:
        note: the signed note; nothing in it is believed before the signature holds.
        key: `name+hash+base64`; the log's origin must be its name, so that one log's key vouches for no other.

    Raises:
        CheckpointUnreadable, CheckpointSignatureWrong: as named.
    """
    found = _checkpoint(verify_note(note, key))
    name = key.partition("+")[0]
    if found.origin != name:
        raise CheckpointSignatureWrong(name, f"signed for another log, {found.origin!r}")
    return found


def parse(note: str) -> Checkpoint:
    """Return what a note says, whoever wrote it: for showing, never for deciding. Raises `CheckpointUnreadable`."""
    return _checkpoint(split(note)[0])


def verify_note(note: str, key: str) -> str:
    """Return the text of a signed note of any content, if the key signed it.

    Every signature line with this key's name and id has to hold; lines of other keys are ignored.

    Raises:
        CheckpointUnreadable: not a note, or not an Ed25519 verifier key.
        CheckpointSignatureWrong: no line by this key, or one that does not belong to the text.
    """
    name, mine, public = read_verifier_key(key)
    text, signatures = split(note)
    ours = [raw for signer, raw in signatures if signer == name and raw.startswith(mine)]
    if not ours:
        raise CheckpointSignatureWrong(name, "no signature by this key")
    for raw in ours:
        try:
            public.verify(raw[len(mine) :], text.encode())
        except InvalidSignature as exc:
            raise CheckpointSignatureWrong(name, "the signature does not belong to this text") from exc
    return text


def split(note: str) -> tuple[str, list[tuple[str, bytes]]]:
    """Return the text with its last newline, and per signature line the key name and the raw bytes.

    Raises:
        CheckpointUnreadable: not a signed note.
    """
    if len(note) > MAX_NOTE:
        raise CheckpointUnreadable(f"{len(note)} characters; at most {MAX_NOTE} are read", at="note")
    if any((letter < " " and letter != "\n") or "\ud800" <= letter <= "\udfff" for letter in note):
        raise CheckpointUnreadable("a control character, or text that is not Unicode", at="note")
    head, blank, tail = note.rpartition("\n\n")
    if not blank or not head or not tail.endswith("\n"):
        raise CheckpointUnreadable("not a text, a blank line and signature lines", at="note")
    signatures = []
    for number, line in enumerate(tail[:-1].split("\n")):  # splitlines would also split at Unicode separators
        at = f"note.signatures[{number}]"
        name, space, encoded = line.removeprefix(_DASH).partition(" ")
        if not line.startswith(_DASH) or not space:
            raise CheckpointUnreadable("not an em dash, a key name and base64", at=at)
        _check_name(name, at=at)
        raw = _unbase64(encoded, at=at)
        if len(raw) <= 4:
            raise CheckpointUnreadable("no signature after the key id", at=at)
        signatures.append((name, raw))
    return head + "\n", signatures


def _checkpoint(text: str) -> Checkpoint:
    lines = text.removesuffix("\n").split("\n")
    if len(lines) < 3 or "" in lines:  # lines after the third are extensions: opaque, never empty
        raise CheckpointUnreadable("origin, size and root are expected, with no empty line", at="checkpoint")
    if _SIZE.fullmatch(lines[1]) is None or int(lines[1]) > MAX_SIZE:
        raise CheckpointUnreadable("not a number of leaves", at="checkpoint.size")
    root = _unbase64(lines[2], at="checkpoint.root")
    if len(root) != HASH_BYTES:
        raise CheckpointUnreadable(f"{len(root)} bytes; a root has {HASH_BYTES}", at="checkpoint.root")
    return Checkpoint(lines[0], int(lines[1]), root)


def read_verifier_key(key: str, *, kind: bytes = ED25519) -> tuple[str, bytes, Ed25519PublicKey]:
    """Return the name, the key id and the key of `name+hash+base64`. Raises `CheckpointUnreadable`."""
    at = "verifier key"
    parts = key.split("+", 2)  # the base64 may hold a plus itself
    if len(parts) != 3:
        raise CheckpointUnreadable("not <name>+<hash>+<base64>", at=at)
    name, shown, encoded = parts
    _check_name(name, at=at)
    raw = _unbase64(encoded, at=at)
    if raw[:1] != kind or len(raw) != 1 + KEY_BYTES:
        raise CheckpointUnreadable("not an Ed25519 key of this type", at=at)
    found = key_id(name, raw[1:], kind=kind)
    if shown != found.hex():
        raise CheckpointUnreadable("its hash is not the hash of its name and key", at=at)
    return name, found, Ed25519PublicKey.from_public_bytes(raw[1:])


def key_id(name: str, public: bytes, *, kind: bytes = ED25519) -> bytes:
    """Return the four bytes that a signature line begins with: they say by whose key, and as what, it was signed."""
    return hashlib.sha256(name.encode() + b"\n" + kind + public).digest()[:4]


def _check_name(name: str, *, at: str) -> None:
    if not name or any(letter.isspace() or letter == "+" or letter < " " for letter in name):
        raise CheckpointUnreadable("a name is not empty and has no space and no plus", at=at)
    if any("\ud800" <= letter <= "\udfff" for letter in name):
        raise CheckpointUnreadable("half of a surrogate pair", at=at)


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
