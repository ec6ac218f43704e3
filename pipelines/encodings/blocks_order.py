"""In which order the sub-blocks of a fine-tune are coded, so that those that changed alike lie together.

A quantiser fits scale and minimum of each sub-block anew. Where they come out as they were, next to no number changes;
where the grid moved by a tenth of a step, a tenth of the numbers change, and nearly all in one direction. How far it
moved follows from the scales and minima of base and fine-tune, which the reader has by then: nothing needs to say
where a sub-block belongs. Worth a fifth of what the numbers cost.

The arithmetic is float32 in single steps, which IEEE 754 makes the same on every machine.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.encodings import words
from pipelines.encodings.blocks_fields import take
from pipelines.encodings.blocks_layout import LAYOUTS, Field
from pipelines.encodings.names import UNITS
from pipelines.encodings.scratch import Bytes

Floats = NDArray[np.float32]
_FINE = np.float32(64)  # parts of a step that are told apart
_MOST = np.float32(127)
_CLASSES = np.array([-47, -19, -7, -1, 2, 8, 20, 48], np.int8)  # where each but the first begins


class Order(NamedTuple):
    """Sub-blocks in the order in which they are coded."""

    places: NDArray[np.intp]
    ends: list[int]  # of the classes; each is coded on its own


def by_shift(cut: Bytes, held: Bytes, field: Field, unit: str) -> Order:
    """Return how the sub-blocks of `field` lie by how far their grid moved; equal ones in their own order.

    Only the scales and minima of `cut` are read: its numbers may not be there yet.
    """
    with np.errstate(all="ignore"):  # infinite and absent numbers are legal bytes
        scales, minima = _grid(cut, unit)
        scales_before, minima_before = _grid(held, unit)
        np.subtract(scales_before, scales, out=scales_before)
        np.multiply(scales_before, np.float32(field.middle), out=scales_before)
        np.subtract(minima, minima_before, out=minima)
        np.add(scales_before, minima, out=minima)
        np.divide(minima, scales, out=minima)
        np.multiply(minima, _FINE, out=minima)
        np.fmin(minima, _MOST, out=minima)  # what is no number (0 / 0) becomes the most
        np.fmax(minima, -_MOST, out=minima)
    keys = _as_taken(minima.astype(np.int8))
    places = np.argsort(keys, kind="stable")
    ends = np.searchsorted(keys, _CLASSES, sorter=places)
    return Order(places, [*ends.tolist(), keys.size])


def _grid(blocks: Bytes, unit: str) -> tuple[Floats, Floats]:
    """Return scales and minima of q4_k or q5_k: first sub-blocks 0 to 3 of every block, then 4 to 7."""
    scale, minimum, sixes = LAYOUTS[unit][:3]
    count = blocks.size // UNITS[unit]
    numbers = words.temporary("words", 16 * count, 1)
    take(blocks, sixes, unit, numbers)
    scales, minima = numbers.reshape(2, 2, 4 * count).astype(np.float32)
    np.multiply(scales, _half(blocks, scale, unit, count), out=scales)
    np.multiply(minima, _half(blocks, minimum, unit, count), out=minima)
    return scales, minima


def _half(blocks: Bytes, field: Field, unit: str, count: int) -> Floats:
    """Return a float16 of every block, four times: as often as `_grid` needs it in a row."""
    half = np.empty(count, "<u2")
    take(blocks, field, unit, half)
    return np.repeat(half.view("<f2").astype(np.float32), 4)


def _as_taken(keys: NDArray[np.int8]) -> NDArray[np.int8]:
    """First sub-blocks 0, 2, 4 and 6 of every block, then 1, 3, 5 and 7: as `nibbles` are taken."""
    taken = np.empty((2, keys.size // 8, 2, 2), np.int8)
    for half, four in enumerate(keys.reshape(2, -1, 2, 2)):
        for place in (0, 1):
            for odd in (0, 1):
                taken[odd, :, half, place] = four[:, place, odd]
    return taken.reshape(-1)
