"""The numbers of one field: out of its blocks into numpy's arrays, and back again.

Fields are gathered and scattered as opaque items of their size, which numpy moves at 20 to 50 GB/s (as rows of bytes:
4 to 8). Working memory is the scratch role `spare`.
"""

import numpy as np

from pipelines.encodings import words
from pipelines.encodings.blocks_layout import Field
from pipelines.encodings.names import UNITS
from pipelines.encodings.scratch import Bytes, Words

_LOWER_FOUR, _UPPER_TWO = np.uint32(0x0F0F0F0F), np.uint32(0x03030303)  # of four bytes at once
_LOWER_HALVES = np.uint64(0x0F0F0F0F0F0F0F0F)


def take(blocks: Bytes, field: Field, unit: str, values: Words) -> None:
    """Fill `values`, contiguous, with the field of every block."""
    items = _items(blocks, field, unit)
    if field.kind == "sixes":
        _take_sixes(items, field, values)
    elif field.kind == "nibbles":
        _take_nibbles(items, values)
    else:
        np.copyto(values.view(f"V{field.size}"), items)


def put(values: Words, field: Field, unit: str, blocks: Bytes) -> None:
    """Fill the field of every block from `values`, which are used up."""
    items = _items(blocks, field, unit)
    if field.kind == "sixes":
        _put_sixes(values, field, items)
    elif field.kind == "nibbles":
        _put_nibbles(values, items)
    else:
        np.copyto(items, values.view(f"V{field.size}"))


def _items(blocks: Bytes, field: Field, unit: str) -> Words:
    """Return a view of one field of every block, as opaque items."""
    shape = (field.size // 32, 2) if field.kind == "nibbles" else ()
    kind = np.dtype((f"V{16 if shape else field.size}", shape))
    item = np.dtype({"names": ["it"], "formats": [kind], "offsets": [field.start], "itemsize": UNITS[unit]})
    items: Words = blocks.view(item)["it"]
    return items


def _take_sixes(items: Words, field: Field, values: Words) -> None:
    """Four rows of four numbers for each block, each number a byte."""
    packed = words.temporary("spare", items.size * 3, 4)
    np.copyto(packed.view("V12"), items)
    columns = packed.reshape(-1, 3).T
    for row, (low, low_at, high, high_at) in zip(values.view("<u4").reshape(4, -1), field.sixes, strict=True):
        np.bitwise_and(columns[high] >> high_at, _UPPER_TWO, out=row)
        np.left_shift(row, 4, out=row)
        np.bitwise_or(row, columns[low] >> low_at & _LOWER_FOUR, out=row)


def _put_sixes(values: Words, field: Field, items: Words) -> None:
    packed = words.temporary("spare", items.size * 3, 4)
    packed.fill(0)
    columns = packed.reshape(-1, 3).T
    for row, (low, low_at, high, high_at) in zip(values.view("<u4").reshape(4, -1), field.sixes, strict=True):
        columns[low] |= (row & _LOWER_FOUR) << low_at
        columns[high] |= (row >> 4 & _UPPER_TWO) << high_at
    np.copyto(items, packed.view("V12"))


def _take_nibbles(items: Words, values: Words) -> None:
    """First all sub-blocks of the lower halves, then all of the upper ones: 16 bytes each, two numbers to a byte."""
    first, second = values.view("V16").reshape(2, *items.shape[:2])
    np.copyto(first, items[:, :, 0])
    np.copyto(second, items[:, :, 1])
    _exchange(values)


def _put_nibbles(values: Words, items: Words) -> None:
    _exchange(values)
    first, second = values.view("V16").reshape(2, *items.shape[:2])
    np.copyto(items[:, :, 0], first)
    np.copyto(items[:, :, 1], second)


def _exchange(values: Words) -> None:
    """Exchange the upper halves of the first 16 bytes of each 32 with the lower halves of the others."""
    first, second = values.view("<u8").reshape(2, -1)
    spare = words.temporary("spare", first.nbytes, 1).view("<u8")
    np.right_shift(first, 4, out=spare)
    np.bitwise_xor(spare, second, out=spare)
    np.bitwise_and(spare, _LOWER_HALVES, out=spare)
    np.bitwise_xor(second, spare, out=second)
    np.left_shift(spare, 4, out=spare)
    np.bitwise_xor(first, spare, out=first)


def subtract(values: Words, held: Words, field: Field) -> None:
    """Differences in place of `values`, modulo their size; those of a `half` folded to small numbers."""
    if field.kind == "half":
        words.difference(values, held, values)
    else:
        np.subtract(values, held, out=values)


def add(values: Words, held: Words, field: Field) -> None:
    """Undo `subtract`."""
    if field.kind == "half":
        words.undo_difference(values, held, values)
    else:
        np.add(values, held, out=values)
