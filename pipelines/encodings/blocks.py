"""`blocks` and `blocks-delta`: GGUF's quantised blocks, field by field, alone or against a held file of the same type.

A block is a small struct: scales, and numbers of two to eight bits packed into bytes. Coded as it lies there is
nothing to gain; each field on its own has statistics, and against the same tensor of the base it is nearly all zeros.

Packed numbers are subtracted as the bytes that hold them, modulo 256: small differences of the packed numbers give as
many different bytes as subtracting each number would, in one pass at memory speed. Fields are gathered and scattered as
opaque items of their size, which numpy moves at 20 to 50 GB/s (as rows of bytes: 4 to 8).
"""

from collections.abc import Iterator

import numpy as np

from pipelines.encodings import huffman, packed, scratch, words
from pipelines.encodings.blocks_layout import LAYOUTS, Field
from pipelines.encodings.names import FRAME, UNITS, Encoded, FrameMalformed
from pipelines.encodings.scratch import Bytes, Words
from pipelines.encodings.stored import Reader

_CUT = FRAME // 2  # bytes; larger cuts have fewer tables, and unpacked they must fit into a frame's scratch
_ALONE = 0.8  # of the raw size; a delta above it may lose to no base at all
_LOWER_FOUR, _UPPER_TWO = np.uint32(0x0F0F0F0F), np.uint32(0x03030303)  # of four bytes at once


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
    step = _CUT // UNITS[unit] * UNITS[unit]
    for start in range(0, len(frame), step):
        held = None if base is None else words.of(base[start : start + step], 1)
        yield words.of(frame[start : start + step], 1), held


def _encode(raw: memoryview, unit: str, base: memoryview | None) -> bytes:
    return b"".join(_encode_cut(cut, held, unit) for cut, held in _cuts(raw, base, unit))


def _encode_cut(cut: Bytes, held: Bytes | None, unit: str) -> bytes:
    """Code one cut, joined at once because the next one uses the same scratch memory."""
    parts: huffman.Parts = []
    room, count = scratch.buffer("planes", FRAME), cut.size // UNITS[unit]
    for field in LAYOUTS[unit]:
        planes = _planes(room, field, count)
        room = room[planes.size :]
        values = _values(planes, field)
        _take(cut, field, unit, values)
        if held is not None:
            _subtract(values, _held(held, field, unit, values), field)
        if field.kind == "half":
            words.split(values, list(planes))
        for plane in planes:
            packed.write(plane, parts)
    return b"".join(parts)


def _decode_cut(reader: Reader, cut: Bytes, held: Bytes | None, unit: str) -> None:
    for field in LAYOUTS[unit]:
        planes = _planes(scratch.buffer("planes", FRAME), field, cut.size // UNITS[unit])
        for plane in planes:
            packed.read(reader, plane)
        values = _values(planes, field)
        if field.kind == "half":
            words.join(list(planes), values)
        if held is not None:
            _add(values, _held(held, field, unit, values), field)
        _put(values, field, unit, cut)


def _planes(room: Bytes, field: Field, count: int) -> Bytes:
    """Return the planes of a field of `count` blocks: rows at the start of `room`, two of a `half`, else one."""
    rows = 2 if field.kind == "half" else 1
    size = count * (16 if field.kind == "sixes" else field.size)
    return room[:size].reshape(rows, size // rows)


def _values(planes: Bytes, field: Field) -> Words:
    """Return memory for the field's numbers: the plane itself where a number is a byte."""
    return words.temporary("words", planes.shape[1], 2) if field.kind == "half" else planes[0]


def _held(held: Bytes, field: Field, unit: str, like: Words) -> Words:
    values = words.temporary("coded", like.size, like.itemsize)
    _take(held, field, unit, values)
    return values


def _items(blocks: Bytes, field: Field, unit: str) -> Words:
    """Return a view of one field of every block, as opaque items."""
    item = np.dtype(
        {"names": ["it"], "formats": [f"V{field.size}"], "offsets": [field.start], "itemsize": UNITS[unit]}
    )
    items: Words = blocks.view(item)["it"]
    return items


def _take(blocks: Bytes, field: Field, unit: str, values: Words) -> None:
    """Fill `values` with the field of every block."""
    if field.kind != "sixes":
        np.copyto(values.view(f"V{field.size}"), _items(blocks, field, unit))
        return
    packed = words.temporary("spare", values.size // 16 * 3, 4)
    np.copyto(packed.view("V12"), _items(blocks, field, unit))
    columns = packed.reshape(-1, 3).T
    for row, (low, low_at, high, high_at) in zip(values.view("<u4").reshape(4, -1), field.sixes, strict=True):
        np.bitwise_and(columns[high] >> high_at, _UPPER_TWO, out=row)
        np.left_shift(row, 4, out=row)
        np.bitwise_or(row, columns[low] >> low_at & _LOWER_FOUR, out=row)


def _put(values: Words, field: Field, unit: str, blocks: Bytes) -> None:
    """Fill the field of every block from `values`."""
    if field.kind != "sixes":
        np.copyto(_items(blocks, field, unit), values.view(f"V{field.size}"))
        return
    packed = words.temporary("spare", values.size // 16 * 3, 4)
    packed.fill(0)
    columns = packed.reshape(-1, 3).T
    for row, (low, low_at, high, high_at) in zip(values.view("<u4").reshape(4, -1), field.sixes, strict=True):
        columns[low] |= (row & _LOWER_FOUR) << low_at
        columns[high] |= (row >> 4 & _UPPER_TWO) << high_at
    np.copyto(_items(blocks, field, unit), packed.view("V12"))


def _subtract(values: Words, held: Words, field: Field) -> None:
    if field.kind == "half":
        words.difference(values, held, values)
        return
    np.subtract(values, held, out=values)
    if field.kind == "sixes":
        np.bitwise_and(values, 63, out=values)


def _add(values: Words, held: Words, field: Field) -> None:
    if field.kind == "half":
        words.undo_difference(values, held, values)
        return
    np.add(values, held, out=values)
    if field.kind == "sixes":
        np.bitwise_and(values, 63, out=values)
