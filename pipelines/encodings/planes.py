"""`planes`: floats without a base. Exponents apart from mantissas, each byte plane coded on its own.

The upper 16 bits of each element are rotated left by one: the sign goes below the mantissa's upper bits, and the
highest byte of bf16 and f32 is the whole exponent and nothing else. Only the upper half turns, so an f32 that once was
a bf16 keeps its lower half zero. u8 has nothing to rotate.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from pipelines.encodings import huffman, scratch, words
from pipelines.encodings.names import BLOCK
from pipelines.encodings.scratch import Bytes, Words
from pipelines.encodings.stored import Reader


def encode(raw: Words) -> bytes:
    """Return the frame; `raw` has at most FRAME bytes and at least one element."""
    parts: huffman.Parts = []
    for block, planes in blocks(raw):
        _cut(block, planes)
        for plane in planes:
            huffman.write(plane, parts)
    return b"".join(parts)


def decode(stored: memoryview, out: Words) -> None:
    """Fill `out`. Raises `FrameMalformed`."""
    reader = Reader(stored)
    for block in cuts(out):
        planes = read_planes(reader, block)
        _merge(planes, block)
    reader.finish()


def bits(sample: Words) -> float:
    """Estimate the bits per element that this encoding needs, from a sample of at most a BLOCK."""
    planes = list(scratch.buffer("planes", sample.nbytes).reshape(sample.itemsize, sample.size))
    _cut(sample, planes)
    return sum(huffman.entropy(np.bincount(plane, minlength=256)) for plane in planes)


def blocks(raw: Words) -> Iterator[tuple[Words, list[Bytes]]]:
    """Cut a frame into its blocks, each with empty planes of its own, which stay valid until the frame is joined."""
    room = scratch.buffer("planes", raw.nbytes)
    at = 0
    for block in cuts(raw):
        planes = room[at : at + block.nbytes].reshape(block.itemsize, block.size)
        at += block.nbytes
        yield block, list(planes)


def read_planes(reader: Reader, block: Words) -> list[Bytes]:
    """Read the planes of one block, as many as an element has bytes."""
    planes = list(scratch.buffer("coded", block.nbytes).reshape(block.itemsize, block.size))
    for plane in planes:
        huffman.read(reader, plane)
    return planes


def cuts(frame: Words) -> Iterator[Words]:
    """Cut a frame into blocks, in order, without copying."""
    step = BLOCK // frame.itemsize
    for start in range(0, frame.size, step):
        yield frame[start : start + step]


def _cut(block: Words, planes: Sequence[Bytes]) -> None:
    if block.itemsize == 1:
        np.copyto(planes[0], block)
        return
    half = words.temporary("words", block.size, 2)
    _rotate(_upper(block), 1, half)
    words.split(half, planes[:2])
    if block.itemsize == 4:
        np.copyto(half, block, casting="unsafe")
        words.split(half, planes[2:])


def _merge(planes: Sequence[Bytes], block: Words) -> None:
    if block.itemsize == 1:
        np.copyto(block, planes[0])
        return
    half = words.temporary("words", block.size, 2)
    words.join(planes[:2], half)
    if block.itemsize == 2:
        _rotate(half, 15, block)
        return
    _rotate(half, 15, half)
    np.copyto(block, half)
    np.multiply(block, 1 << 16, out=block)
    words.join(planes[2:], half)
    np.bitwise_or(block, half, out=block)


def _upper(block: Words) -> Words:
    """The upper 16 bits of every element; those of f32 in place of the result of `_rotate`, which may be the same."""
    if block.itemsize == 2:
        return block
    wide = words.temporary("spare", block.size, 4)
    half = words.temporary("words", block.size, 2)
    np.right_shift(block, 16, out=wide)
    np.copyto(half, wide, casting="unsafe")
    return half


def _rotate(half: Words, left: int, out: Words) -> None:
    """Rotate 16-bit words left by `left`; `out` may be the same memory."""
    spare = words.temporary("spare", half.size, 2)
    np.right_shift(half, 16 - left, out=spare)
    np.multiply(half, 1 << left, out=out)  # twice as fast as a shift
    np.bitwise_or(out, spare, out=out)
