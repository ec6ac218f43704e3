"""One byte plane, coded: as one constant, as it is, or by zstd. Every encoding of numbers is made of these.

A coded plane is `kind u8 | length u32 | body of that length`, little-endian. How many bytes it stands for is never
stored: the reader knows it from the frame's size, so a plane cannot claim more.
"""

import struct
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipelines.encodings import zstd
from pipelines.encodings.names import FrameMalformed
from pipelines.encodings.scratch import Bytes
from pipelines.encodings.stored import Reader

CONSTANT: Final = 0
PLAIN: Final = 1
ZSTD: Final = 2

_SAMPLE = 4096  # bytes that the choice looks at
_NOISE = 7.8  # bits per byte; what is above is stored as it is
_SPARSE = 0.9  # share of zeros from which matches pay

Parts = list[bytes | memoryview]  # of a frame, to be joined
Counts = NDArray[np.int64]  # how often each byte value stands in a plane


def write(plane: Bytes, parts: Parts) -> None:
    """Append one coded plane to `parts`. A part may be a view of `plane`: join before its memory is used again.

    `plane` is one-dimensional and contiguous, at least one byte.
    """
    sample = plane[:: max(1, plane.size // _SAMPLE)]
    counts = np.bincount(sample, minlength=256)
    if counts[plane[0]] == sample.size and plane.min() == plane.max():
        put(parts, CONSTANT, bytes(plane[:1]))
        return
    if entropy(counts) > _NOISE and plane.size > _SAMPLE:
        put(parts, PLAIN, plane.data)
        return
    coded = zstd.light(plane) if counts[0] > _SPARSE * sample.size else zstd.huffman(plane)
    if len(coded) < plane.size:
        put(parts, ZSTD, coded)
    else:
        put(parts, PLAIN, plane.data)


def put(parts: Parts, kind: int, body: bytes | memoryview) -> None:
    """Append a coded plane whose kind and body are decided already."""
    parts.append(struct.pack("<BI", kind, len(body)))
    parts.append(body)


def read(stored: Reader, out: Bytes) -> None:
    """Fill `out`, contiguous, with the next coded plane. Raises `FrameMalformed`."""
    kind, length = stored.head()
    expand(kind, stored.take(length), out)


def expand(kind: int, body: memoryview, out: Bytes) -> None:
    """Fill `out`, contiguous, from the body of a coded plane. Raises `FrameMalformed`."""
    if kind == ZSTD:
        zstd.expand(body, out.data)
    elif kind == PLAIN and len(body) == out.size:
        out[:] = np.frombuffer(body, np.uint8)
    elif kind == CONSTANT and len(body) == 1:
        out.fill(body[0])
    else:
        raise FrameMalformed(
            f"a plane of {out.size} bytes: kind {kind} with {len(body)} stored bytes is none"
        )


def entropy(counts: Counts) -> float:
    """Return the bits per symbol of a histogram, order 0."""
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log2(shares)).sum())
