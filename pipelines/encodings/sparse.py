"""`sparse`: a few elements differ from what the site holds. Which ones, as a bitmap; then their differences alone."""

import numpy as np

from pipelines.encodings import huffman, scratch, words
from pipelines.encodings.names import FrameMalformed
from pipelines.encodings.planes import cuts
from pipelines.encodings.scratch import Bytes, Words
from pipelines.encodings.stored import Reader


def encode(raw: Words, base: Words) -> bytes:
    """Return the frame; `raw` has at most FRAME bytes and at least one element, `base` as many."""
    planes = scratch.buffer("planes", raw.nbytes).reshape(raw.itemsize, raw.size)
    bitmap: list[Bytes] = []
    count = 0
    for block, held in zip(cuts(raw), cuts(base), strict=True):
        differs = block != held
        bitmap.append(np.packbits(differs, bitorder="little"))
        places = np.flatnonzero(differs)
        folded = words.temporary("words", places.size, raw.itemsize)
        words.difference(block[places], held[places], folded)
        words.split(folded, [plane[count : count + places.size] for plane in planes])
        count += places.size
    parts: huffman.Parts = []
    huffman.write(np.concatenate(bitmap), parts)
    for plane in planes[:, :count] if count else ():
        huffman.write(plane, parts)
    return b"".join(parts)


def decode(stored: memoryview, out: Words, base: Words) -> None:
    """Fill `out`. Raises `FrameMalformed`."""
    reader = Reader(stored)
    differs = _read_bitmap(reader, out.size)
    count = int(np.bitwise_count(differs).sum(dtype=np.int64))
    planes = scratch.buffer("coded", count * out.itemsize).reshape(out.itemsize, count)
    for plane in planes if count else ():
        huffman.read(reader, plane)
    reader.finish()
    at = 0
    for block, held in zip(cuts(out), cuts(base), strict=True):
        bits = np.unpackbits(differs[: (block.size + 7) // 8], count=block.size, bitorder="little")
        differs = differs[bits.size // 8 :]
        places = np.flatnonzero(bits.view(np.bool_))
        folded = words.temporary("words", places.size, out.itemsize)
        words.join([plane[at : at + places.size] for plane in planes], folded)
        words.undo_difference(folded, held[places], folded)
        at += places.size
        block[:] = held
        block[places] = folded


def _read_bitmap(reader: Reader, count: int) -> Bytes:
    """One bit per element, the first in the lowest bit; the bits behind the last element are zero."""
    bitmap = scratch.buffer("planes", (count + 7) // 8)
    huffman.read(reader, bitmap)
    if count % 8 and bitmap[-1] >> (count % 8):
        raise FrameMalformed("the bitmap names elements behind the last one")
    return bitmap
