"""`blocks` and `blocks-delta`: GGUF's quantised blocks, field by field, alone or against a held file of the same type.

A block is a small struct: scales, and numbers of two to eight bits packed into bytes. Coded as it lies there is
nothing to gain; each field on its own has statistics, and against the same tensor of the base it is nearly all zeros.

Packed numbers are subtracted as the bytes that hold them, modulo 256: small differences of the packed numbers give as
many different bytes as subtracting each number would, in one pass at memory speed.
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from pipelines.encodings import gaps, huffman, scratch, words
from pipelines.encodings.blocks_fields import add, put, subtract, take
from pipelines.encodings.blocks_layout import LAYOUTS, Field
from pipelines.encodings.blocks_order import Order, by_shift
from pipelines.encodings.names import FRAME, UNITS, Encoded, FrameMalformed
from pipelines.encodings.scratch import Bytes, Words
from pipelines.encodings.stored import Reader

_CUT = (
    FRAME // 2
)  # bytes; larger cuts have fewer tables, and base and fine-tune must fit into a frame's scratch
_ALONE = 0.8  # of the raw size; a delta above it may lose to no base at all


def encode_blocks(raw: memoryview, unit: str, base: memoryview | None) -> Encoded | None:
    """Return a frame of `blocks` or `blocks-delta`, the smaller; None when `raw` itself is no larger.

    Args:
        raw: at most FRAME bytes. None is returned for bytes that are no whole blocks.
        unit: a key of `LAYOUTS`.
        base: as many bytes that the site holds already.
    """
    if not 0 < len(raw) <= FRAME or len(raw) % UNITS[unit]:
        return None
    found: list[Encoded] = []
    if base is not None:
        found.append(Encoded("blocks-delta", _encode(raw, unit, base)))
    if base is None or len(found[0].data) > _ALONE * len(raw):
        found.append(Encoded("blocks", _encode(raw, unit, None)))
    smallest = min(found, key=lambda one: len(one.data))
    return smallest if len(smallest.data) < len(raw) else None


def decode_blocks(
    encoding: str, unit: str, stored: memoryview, out: memoryview, base: memoryview | None
) -> None:
    """Fill `out`, at most FRAME bytes. Raises `FrameMalformed`, and nothing else, whatever `stored` holds."""
    if unit not in LAYOUTS or not 0 < len(out) <= FRAME or len(out) % UNITS[unit]:
        raise FrameMalformed(f"{len(out)} bytes are no frame of {unit} blocks")
    if encoding == "blocks":
        base = None
    elif encoding != "blocks-delta" or base is None or len(base) != len(out):
        raise FrameMalformed(f"{encoding} of {unit}: no such encoding, or its base is not as long as it is")
    reader = Reader(stored)
    for cut, held in _cuts(out, base, unit):
        _decode_cut(reader, cut, held, unit)
    reader.finish()


def _cuts(frame: memoryview, base: memoryview | None, unit: str) -> Iterator[tuple[Bytes, Bytes | None]]:
    """Cut a frame, and its base alike, into cuts of whole blocks."""
    step = -(-_CUT // UNITS[unit]) * UNITS[unit]  # rounded up: two cuts, not two and a rest
    for start in range(0, len(frame), step):
        held = None if base is None else words.of(base[start : start + step], 1)
        yield words.of(frame[start : start + step], 1), held


def _encode(raw: memoryview, unit: str, base: memoryview | None) -> bytes:
    return b"".join(_encode_cut(cut, held, unit) for cut, held in _cuts(raw, base, unit))


def _encode_cut(cut: Bytes, held: Bytes | None, unit: str) -> bytes:
    """Code one cut, joined at once because the next one uses the same scratch memory."""
    parts: huffman.Parts = []
    room = scratch.buffer("planes", FRAME)
    for field in LAYOUTS[unit]:
        planes = _planes(room, field, cut.size // UNITS[unit])
        room = room[planes.size :]
        order = _order(cut, held, field, unit)
        numbers = _numbers(planes, field, order)
        take(cut, field, unit, numbers)
        if held is not None:
            subtract(numbers, _before(held, field, unit, numbers), field)
        if field.kind == "half":
            words.split(numbers, list(planes))
        elif order is not None:
            np.take(numbers.view("V16"), order.places, out=planes[0].view("V16"), mode="clip")
        for plane in _coded(planes, order):
            gaps.write(plane, parts)
    return b"".join(parts)


def _decode_cut(reader: Reader, cut: Bytes, held: Bytes | None, unit: str) -> None:
    for field in LAYOUTS[unit]:
        planes = _planes(scratch.buffer("planes", FRAME), field, cut.size // UNITS[unit])
        order = _order(cut, held, field, unit)
        for plane in _coded(planes, order):
            gaps.read(reader, plane)
        numbers = _numbers(planes, field, order)
        if field.kind == "half":
            words.join(list(planes), numbers)
        elif order is not None:
            numbers.view("V16")[order.places] = planes[0].view("V16")
        if held is not None:
            add(numbers, _before(held, field, unit, numbers), field)
        put(numbers, field, unit, cut)


def _order(cut: Bytes, held: Bytes | None, field: Field, unit: str) -> Order | None:
    """Return how the field's sub-blocks are sorted; None where they are coded as they lie."""
    return by_shift(cut, held, field, unit) if held is not None and field.kind == "nibbles" else None


def _planes(room: Bytes, field: Field, count: int) -> Bytes:
    """Return the planes of a field of `count` blocks: rows at the start of `room`, two of a `half`, else one."""
    rows = 2 if field.kind == "half" else 1
    size = count * (16 if field.kind == "sixes" else field.size)
    return room[:size].reshape(rows, size // rows)


def _numbers(planes: Bytes, field: Field, order: Order | None) -> Words:
    """Return memory for the field's numbers: the plane itself where they are coded as they lie."""
    if field.kind == "half":
        return words.temporary("words", planes.shape[1], 2)
    return planes[0] if order is None else scratch.buffer("coded", FRAME)[FRAME // 2 :][: planes.size]


def _before(held: Bytes, field: Field, unit: str, like: Words) -> Words:
    """Return the field's numbers in the base: at most half a frame of them."""
    numbers = words.temporary("coded", like.size, like.itemsize)
    take(held, field, unit, numbers)
    return numbers


def _coded(planes: Bytes, order: Order | None) -> Iterator[Bytes]:
    """What is coded on its own: each plane; of a sorted one, each class that has sub-blocks."""
    if order is None:
        yield from planes
        return
    for start, end in pairwise([0, *order.ends]):
        if start < end:
            yield planes[0, 16 * start : 16 * end]
