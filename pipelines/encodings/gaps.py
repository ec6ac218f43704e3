"""Coded planes that are mostly zeros: where the others are, as gaps, and what they are.

A Huffman code spends at least one bit on a byte, a bitmap at least one on eight, even where one byte in a hundred is
not zero. Gaps cost what they must at every density, and time only for the bytes that are there.
"""

import struct
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipelines.encodings import huffman, packed
from pipelines.encodings.huffman import Parts
from pipelines.encodings.names import FrameMalformed
from pipelines.encodings.scratch import Bytes
from pipelines.encodings.stored import Reader

GAPS: Final = 6  # kind of coded plane
_FAR: Final = 255  # so many zeros, and no byte behind them
_PIECE: Final = 1 << 16  # bytes that are looked at at once: places take eight times as much


def write(plane: Bytes, parts: Parts) -> None:
    """Append one coded plane, as gaps where less than half of it is not zero. As for `huffman.write`."""
    if not 0 < np.count_nonzero(plane) < plane.size // 2:
        huffman.write(plane, parts)
        return
    steps, values, carried = [], [], 0
    for start in range(0, plane.size, _PIECE):
        piece = plane[start : start + _PIECE]
        places = np.flatnonzero(piece != 0)
        if places.size:
            steps.append(_steps(places, carried))
            values.append(piece[places])
            carried = -int(places[-1]) - 1
        carried += piece.size
    together = np.concatenate(steps)
    body: Parts = [struct.pack("<I", together.size)]
    huffman.write(together, body)
    _write_values(_small(np.concatenate(values)), body)
    huffman.put(parts, GAPS, b"".join(body))


def _steps(places: NDArray[np.intp], carried: int) -> Bytes:
    """Return the zeros before each of `places`, `carried` more before the first; long gaps with `_FAR` in front."""
    zeros = np.empty(places.size, np.int32)
    zeros[0] = places[0] + carried
    np.subtract(places[1:], places[:-1], out=zeros[1:], casting="unsafe")
    zeros[1:] -= 1
    if zeros.max() < _FAR:
        return zeros.astype(np.uint8)
    far = zeros // _FAR
    ends = np.cumsum(far + 1) - 1
    steps = np.full(int(ends[-1]) + 1, _FAR, np.uint8)
    steps[ends] = zeros - far * _FAR
    return steps


def read(stored: Reader, out: Bytes) -> None:
    """Fill `out`, contiguous, with the next coded plane, gaps or not. Raises `FrameMalformed`."""
    kind, length = stored.head()
    body = stored.take(length)
    if kind != GAPS:
        huffman.expand(kind, body, out)
        return
    inner = Reader(body)
    (count,) = struct.unpack("<I", inner.take(4))
    if not 0 < count <= out.size // 2 + out.size // _FAR:  # what `write` can need; it bounds the memory below
        raise FrameMalformed(f"{count} gaps in a plane of {out.size} bytes")
    steps = np.empty(count, np.uint8)
    huffman.read(inner, steps)
    there = steps != _FAR
    places = np.cumsum(steps + there.view(np.uint8), dtype=np.uint32)[there]
    if not places.size or int(places[-1]) > out.size or not there[-1]:
        raise FrameMalformed(f"gaps that lead out of a plane of {out.size} bytes")
    values = np.empty(places.size, np.uint8)
    packed.read(inner, values)
    inner.finish()
    out.fill(0)
    out[places - 1] = _undo_small(values)


def _write_values(small: Bytes, parts: Parts) -> None:
    """Several to a byte where nearly all of them fit: numbers on their own do, several numbers to a byte do not."""
    fit = np.count_nonzero(small < 15) > 0.95 * small.size
    (packed if fit else huffman).write(small, parts)


def _small(values: Bytes) -> Bytes:
    """1, -1, 2, -2 … as 1, 0, 3, 2 …: what is packed must be small, and 0 is none of the values."""
    sign = (values.view(np.int8) >> 7).view(np.uint8)
    small: Bytes = (values << np.uint8(1) ^ sign) - np.uint8(1)
    return small


def _undo_small(small: Bytes) -> Bytes:
    folded = small + np.uint8(1)
    values: Bytes = folded >> np.uint8(1) ^ np.uint8(0) - (folded & np.uint8(1))
    return values
