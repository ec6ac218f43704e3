"""`delta`: numbers whose earlier version the site holds. Integer differences, folded, as byte planes.

Subtracting beats XOR by a quarter: a step of one is one symbol, where XOR sees 1, 3, 7, 15 … depending on the carry.
"""

import numpy as np

from pipelines.encodings import huffman, scratch, words
from pipelines.encodings.planes import blocks, cuts, read_planes
from pipelines.encodings.scratch import Words
from pipelines.encodings.stored import Reader


def encode(raw: Words, base: Words) -> bytes:
    """Return the frame; `raw` has at most FRAME bytes and at least one element, `base` as many."""
    parts: huffman.Parts = []
    for (block, planes), held in zip(blocks(raw), cuts(base), strict=True):
        folded = words.temporary("words", block.size, block.itemsize)
        words.difference(block, held, folded)
        words.split(folded, planes)
        for plane in planes:
            huffman.write(plane, parts)
    return b"".join(parts)


def bits(sample: Words, before: Words) -> float:
    """Estimate the bits per element that this encoding needs, from a sample of at most a BLOCK."""
    folded = words.temporary("words", sample.size, sample.itemsize)
    words.difference(sample, before, folded)
    planes = list(scratch.buffer("planes", sample.nbytes).reshape(sample.itemsize, sample.size))
    words.split(folded, planes)
    return sum(huffman.entropy(np.bincount(plane, minlength=256)) for plane in planes)


def decode(stored: memoryview, out: Words, base: Words) -> None:
    """Fill `out`. Raises `FrameMalformed`."""
    reader = Reader(stored)
    for block, held in zip(cuts(out), cuts(base), strict=True):
        folded = words.temporary("words", block.size, block.itemsize)
        words.join(read_planes(reader, block), folded)
        words.undo_difference(folded, held, block)
    reader.finish()
