"""A fresh timestamp on a sheet of paper: a few lines that a person types in, each with a check of its own.

What the medium says already is left out: the site takes the bundle's own timestamp and puts number, expiry and
signature from the paper into it. So seven lines do for what would be forty. Nothing here is believed: a line that is
mistyped is named, and what comes out is judged by the signature in it.

    bytes: 1 form, 1 length of all, 4 begin of the snapshot's SHA-256, 4 number, 5 expiry (seconds), the signature
    line:  number, five groups of four letters (100 bits), two letters of check

The check is a CRC of ten bits over line number and letters. It finds every wrong letter and every two neighbours that
changed places. Letters are Crockford's, as in `spoken.py`.
"""

import json
import re
from datetime import UTC, datetime
from typing import Any

from tuf.api.metadata import Metadata, Timestamp

from pipelines.spoken import FORGIVEN, LETTERS
from signing.refusals import MetadataTampered, RestampRefused
from signing.roots import open_metadata

LONGEST = 16 << 10  # bytes of what somebody typed
MOST_SIGNATURE = 160  # bytes: Ed25519 has 64, ECDSA P-384 at most 104
_FORM = 1
_HEAD = 15  # bytes before the signature
_PER_LINE = 20  # letters
_LAST_MOMENT = 253_402_300_799  # seconds: the end of the year 9999
_POLYNOMIAL = 0x633  # CRC-10/ATM, ITU-T I.610
_LINE = re.compile(r"\s*([0-9]{1,2})[\s.:)]+(\S.*?)\s*")


def to_paper(timestamp: bytes) -> tuple[str, ...]:
    """Return the lines to print.

    Raises:
        RestampRefused: signed by several keys or a long one: such a timestamp goes as a file.
    """
    opened = open_metadata(Timestamp, timestamp, name="timestamp")
    stamp, signatures = opened.signed, list(opened.signatures.values())
    raw = bytes.fromhex(signatures[0].signature)
    if len(signatures) != 1 or len(raw) > MOST_SIGNATURE:
        raise RestampRefused("its signature is too long for a sheet of paper: carry it as a file (--out)")
    payload = (
        bytes((_FORM, _HEAD + len(raw)))
        + bytes.fromhex(_tag(stamp))
        + stamp.version.to_bytes(4, "big")
        + int(stamp.expires.timestamp()).to_bytes(5, "big")
        + raw
    )
    text = _letters_of(payload)
    pieces = [text[at : at + _PER_LINE] for at in range(0, len(text), _PER_LINE)]
    return tuple(_line(number, piece) for number, piece in enumerate(pieces, start=1))


def from_paper(text: str, own: bytes) -> bytes:
    """Return the timestamp that the lines stand for.

    Args:
        text: what was typed: one line per line, blank ones between them, any case, hyphens and spaces anywhere.
        own: the timestamp that lies on the medium of the bundle.

    Raises:
        RestampRefused: naming the line that is mistyped or missing, or it is for another bundle.
    """
    payload = _payload(text)
    try:
        opened = open_metadata(Timestamp, own, name="the bundle's own timestamp")
    except MetadataTampered as exc:
        raise RestampRefused(
            f"the lines add to the bundle's own timestamp, and that is damaged: {exc}"
        ) from exc
    if payload[2:6].hex() != _tag(opened.signed):
        raise RestampRefused("the lines are for another bundle than this one")
    return _rebuilt(opened, payload)


def timestamp_of(given: bytes, own: bytes) -> bytes:
    """Return the timestamp in a file that a person gives: metadata as it was made, or the lines of the paper.

    Raises:
        RestampRefused: it is neither, or for another bundle.
    """
    if len(given) > LONGEST:
        raise RestampRefused(f"a fresh timestamp has at most {LONGEST} bytes")
    if given.lstrip().startswith(b"{"):
        return given.strip()
    try:
        return from_paper(given.decode("ascii"), own)
    except UnicodeDecodeError as exc:
        raise RestampRefused("neither a timestamp nor the lines of a paper") from exc


def _rebuilt(opened: "Metadata[Timestamp]", payload: bytes) -> bytes:
    value: dict[str, Any] = opened.to_dict()
    seconds = int.from_bytes(payload[10:15], "big")
    if seconds > _LAST_MOMENT:
        raise RestampRefused("the lines say an expiry that no calendar has")
    moment = datetime.fromtimestamp(seconds, UTC)
    value["signed"]["version"] = int.from_bytes(payload[6:10], "big")
    value["signed"]["expires"] = moment.strftime("%Y-%m-%dT%H:%M:%SZ")
    if len(value["signatures"]) != 1:
        raise RestampRefused(
            "the bundle's own timestamp has several signatures: carry the fresh one as a file"
        )
    value["signatures"][0]["sig"] = payload[_HEAD:].hex()
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


def _tag(stamp: Timestamp) -> str:
    """Eight hex digits of the snapshot that a timestamp stands for: enough to tell bundles apart."""
    hashes = stamp.snapshot_meta.hashes or {}
    return hashes.get("sha256", "")[:8].rjust(8, "0")


def _letters_of(payload: bytes) -> str:
    count = -(-len(payload) * 8 // 5)
    bits = int.from_bytes(payload, "big") << (count * 5 - len(payload) * 8)
    return "".join(LETTERS[bits >> shift & 31] for shift in range((count - 1) * 5, -1, -5))


def _bytes_of(text: str) -> bytes:
    bits = 0
    for letter in text:
        bits = bits << 5 | LETTERS.index(letter)
    count = len(text) * 5 // 8
    return (bits >> (len(text) * 5 - count * 8)).to_bytes(count, "big")


def _line(number: int, piece: str) -> str:
    groups = "-".join(piece[at : at + 4] for at in range(0, len(piece), 4))
    return f"{number:2}  {groups}  {_check(number, piece)}"


def _check(number: int, piece: str) -> str:
    """The remainder of line number and letters, as bits, by the polynomial; two letters."""
    bits = (number << 5 * len(piece) | int("".join(f"{LETTERS.index(one):05b}" for one in piece), 2)) << 10
    for shift in range(bits.bit_length() - 11, -1, -1):
        if bits >> (shift + 10) & 1:
            bits ^= _POLYNOMIAL << shift
    return LETTERS[bits >> 5] + LETTERS[bits & 31]


def _payload(text: str) -> bytes:
    """Return the bytes that the lines carry, each line checked."""
    lines = [line for line in text.splitlines() if line.strip()]
    found = "".join(_piece(line, wanted) for wanted, line in enumerate(lines, start=1))
    payload = _bytes_of(found)
    length = payload[1] if len(payload) > 1 else 0
    if len(payload) < 2 or payload[0] != _FORM or not _HEAD < length <= _HEAD + MOST_SIGNATURE:
        raise RestampRefused("these are not the lines of a fresh timestamp")
    needed = -(-length * 8 // 5)
    if len(found) != needed:
        raise RestampRefused(f"{len(lines)} lines were given; it has {-(-needed // _PER_LINE)}")
    return payload[:length]


def _piece(line: str, wanted: int) -> str:
    match = _LINE.fullmatch(line)
    letters = "" if match is None else match[2].upper().translate(FORGIVEN)
    if match is None or int(match[1]) != wanted:
        raise RestampRefused(f"line {wanted} is missing, or its number is mistyped")
    if any(letter not in LETTERS for letter in letters):
        raise RestampRefused(f"line {wanted} is mistyped: only digits and letters without U stand in it")
    piece, check = letters[:-2], letters[-2:]
    if not 0 < len(piece) <= _PER_LINE or check != _check(wanted, piece):
        raise RestampRefused(f"line {wanted} is mistyped: its check does not fit")
    return piece
