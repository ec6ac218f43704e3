"""Coded planes whose bytes are nearly all tiny: several to a byte, so that a Huffman code reaches fractions of a bit.

A Huffman code spends at least one bit on a byte. Where most bytes are 0, two or four of them together, or a bitmap,
cost less. A value that does not fit is written as the highest one that does, and stands in full in a second plane.
"""

from typing import Final

import numpy as np

from pipelines.encodings import huffman
from pipelines.encodings.huffman import Parts
from pipelines.encodings.scratch import Bytes
from pipelines.encodings.stored import Reader

BITS: Final = {3: 1, 4: 2, 5: 4}  # kind of coded plane: bits per value
_SAMPLE = 4096


def write(plane: Bytes, parts: Parts) -> None:
    """Append one coded plane, packed where that is smaller. As `huffman.write` otherwise."""
    best: Parts = []
    huffman.write(plane, best)
    for kind in _promising(plane):
        body: Parts = []
        _pack(plane, BITS[kind], body)
        if _size(body) + 5 < _size(best):
            best = []
            huffman.put(best, kind, b"".join(body))
    parts.extend(best)


def read(stored: Reader, out: Bytes) -> None:
    """Fill `out`, contiguous, with the next coded plane, packed or not. Raises `FrameMalformed`."""
    kind, length = stored.head()
    body = stored.take(length)
    if kind not in BITS:
        huffman.expand(kind, body, out)
        return
    inner = Reader(body)
    _unpack(inner, BITS[kind], out)
    inner.finish()


def _size(parts: Parts) -> int:
    return sum(map(len, parts))


def _promising(plane: Bytes) -> list[int]:
    counts = np.bincount(plane[:: max(1, plane.size // _SAMPLE)], minlength=256)
    if counts[0] == counts.sum():
        return [3]
    bits = huffman.entropy(counts)
    return [kind for kind, (low, high) in _RANGES.items() if low < bits < high]


_RANGES = {3: (0.0, 0.7), 4: (0.2, 1.6), 5: (0.8, 3.8)}  # bits of entropy per value where a kind may win


def _pack(plane: Bytes, bits: int, parts: Parts) -> None:
    escape = (1 << bits) - 1
    each = 8 // bits
    small = np.zeros(-(-plane.size // each) * each, np.uint8)
    np.minimum(plane, escape, out=small[: plane.size])
    if bits == 1:
        huffman.write(np.packbits(small, bitorder="little"), parts)
    else:
        wide = small.view(f"<u{each}")
        together = wide.copy()
        for place in range(1, each):
            together |= wide >> (place * (8 - bits))
        huffman.write(together.astype(np.uint8), parts)
    large = plane[plane >= escape]
    if large.size:
        huffman.write(large, parts)


def _unpack(stored: Reader, bits: int, out: Bytes) -> None:
    escape = (1 << bits) - 1
    each = 8 // bits
    together = np.empty(-(-out.size // each), np.uint8)
    huffman.read(stored, together)
    if bits == 1:
        out[:] = np.unpackbits(together, count=out.size, bitorder="little")
    else:
        wide = together.astype(f"<u{each}")
        for place in range(1, each):
            wide |= together.astype(wide.dtype) << (place * (8 - bits))
        wide &= int.from_bytes(bytes([escape] * each), "little")
        out[:] = wide.view(np.uint8)[: out.size]
    places = np.flatnonzero(out == escape)
    if places.size:
        large = np.empty(places.size, np.uint8)
        huffman.read(stored, large)
        out[places] = large
