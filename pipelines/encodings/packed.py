"""Coded planes whose bytes are nearly all tiny: several to a byte, so that a Huffman code reaches fractions of a bit.

A Huffman code spends at least one bit on a byte. Where most bytes are 0, a bitmap, or two or four of them together,
cost less. A value that does not fit is written as the highest one that does, and stands in full in a second plane.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipelines.encodings import huffman, words
from pipelines.encodings.huffman import Parts
from pipelines.encodings.names import FRAME
from pipelines.encodings.scratch import Bytes
from pipelines.encodings.stored import Reader

_BITS: Final = {3: 1, 4: 2, 5: 4}  # kind of coded plane: bits per value
# Bits of entropy per value between which a kind is the smallest: measured on deltas of bf16 sorted by exponent.
_BEST: Final = {3: (0.05, 0.6), 4: (0.6, 1.45), 5: (1.45, 4.5)}
_SHIFTS: Final = {
    1: (7, 14, 28),
    2: (6, 12),
    4: (4,),
}  # by which neighbours meet in a word of 8 // bits bytes
_PIECE = FRAME // 16  # values that are packed at once: numpy needs 8 bytes for the place of each escape
_SAMPLE = 4096  # bytes that the choice looks at


def write(plane: Bytes, parts: Parts) -> None:
    """Append one coded plane, packed if that is likely to be smaller. A part may be a view of `plane`."""
    counts = np.bincount(plane[:: max(1, plane.size // _SAMPLE)], minlength=256)
    bits = huffman.entropy(counts)
    for kind, (low, high) in _BEST.items():
        if low <= bits < high:
            body: Parts = []
            _pack(plane, _BITS[kind], body)
            if sum(map(len, body)) < plane.size:
                huffman.put(parts, kind, b"".join(body))
                return
    huffman.write(plane, parts)


def read(stored: Reader, out: Bytes) -> None:
    """Fill `out`, contiguous, with the next coded plane, packed or not. Raises `FrameMalformed`."""
    kind, length = stored.head()
    body = stored.take(length)
    if kind not in _BITS:
        huffman.expand(kind, body, out)
        return
    inner = Reader(body)
    _unpack(inner, _BITS[kind], out)
    inner.finish()


def _pack(plane: Bytes, bits: int, parts: Parts) -> None:
    together, large = [], []
    for start in range(0, plane.size, _PIECE):
        piece = plane[start : start + _PIECE]
        places = np.flatnonzero(piece >= _escape(bits))
        together.append(_squeeze(piece, places, bits))
        large.append(piece[places])
    huffman.write(np.concatenate(together), parts)
    if any(part.size for part in large):
        huffman.write(np.concatenate(large), parts)


def _unpack(stored: Reader, bits: int, out: Bytes) -> None:
    together = np.empty(-(-out.size * bits // 8), np.uint8)
    huffman.read(stored, together)
    for start in range(0, out.size, _PIECE):
        piece = out[start : start + _PIECE]
        at = start * bits // 8
        _stretch(together[at : at + -(-piece.size * bits // 8)], bits, piece)
    count = int(np.count_nonzero(out == _escape(bits)))
    if not count:
        return
    large = np.empty(count, np.uint8)
    huffman.read(stored, large)
    for start in range(0, out.size, _PIECE):
        piece = out[start : start + _PIECE]
        places = np.flatnonzero(piece == _escape(bits))
        piece[places] = large[: places.size]
        large = large[places.size :]


def _escape(bits: int) -> int:
    """The highest value of so many bits: it says that the value stands in the second plane."""
    return (1 << bits) - 1


def _squeeze(values: Bytes, places: NDArray[np.intp], bits: int) -> Bytes:
    """Several values to a byte, the first in the lowest bits, zeros behind the last; escapes at `places`."""
    each = 8 // bits
    wide = words.temporary("words", -(-values.size // each), each)
    small = wide.view(np.uint8)
    small[: values.size] = values
    small[values.size :] = 0
    small[places] = _escape(bits)
    spare = words.temporary("spare", wide.size, each)
    for shift in _SHIFTS[bits]:  # the lowest byte of each word gathers what the others hold
        np.right_shift(wide, shift, out=spare)
        np.bitwise_or(wide, spare, out=wide)
    return wide.astype(np.uint8)


def _stretch(together: Bytes, bits: int, out: Bytes) -> None:
    """Undo `_squeeze`."""
    each = 8 // bits
    wide = words.temporary("words", together.size, each)
    spare = words.temporary("spare", together.size, each)
    np.copyto(wide, together)
    for shift in reversed(_SHIFTS[bits]):
        np.left_shift(wide, shift, out=spare)
        np.bitwise_or(wide, spare, out=wide)
    np.bitwise_and(wide, int.from_bytes(bytes([_escape(bits)] * each), "little"), out=wide)
    out[:] = wide.view(np.uint8)[: out.size]
