"""`exponent`: `delta`, sorted by the exponent of the base. A third smaller, at a third of the speed.

An optimiser's step is about as large for a small weight as for a large one, but a unit in the last place is not: where
the base's exponent is small, differences are many units, where it is large, next to none. So each exponent gets a code
of its own. The site has the base and sorts it again: nothing needs to say where an element belongs.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.encodings import packed, scratch, words
from pipelines.encodings.huffman import Parts
from pipelines.encodings.names import EXPONENTS
from pipelines.encodings.scratch import Bytes, Words
from pipelines.encodings.stored import Reader

_TILE = 1 << 16  # elements that are sorted at once; their places fit 16 bits, and a core's cache
_LEAST = 8192  # elements of a group: fewer do not pay for a code of their own


class _Order(NamedTuple):
    """How the elements of a base lie by exponent, and within one exponent as they lie in the frame."""

    places: Words  # u16: tile by tile, where in its tile the next element of the sorted tile is
    counts: NDArray[np.int64]  # [tile, exponent]
    groups: list[tuple[int, int]]  # from where to where in the sorted frame; each is coded on its own


def encode(raw: Words, base: Words, unit: str) -> bytes:
    """Return the frame; `raw` has at most FRAME bytes and at least one element, `base` as many."""
    order = _order(base, unit)
    folded = words.temporary("coded", raw.size, raw.itemsize)
    for tile, segments in _tiles(order, folded):
        one = words.temporary("words", order.places[tile].size, raw.itemsize)
        words.difference(raw[tile], base[tile], one)
        one = one[order.places[tile]]
        at = 0
        for segment in segments:
            segment[:] = one[at : at + segment.size]
            at += segment.size
    parts: Parts = []
    for group, planes in _groups(order, folded, "planes"):
        words.split(group, planes)
        for plane in planes:
            packed.write(plane, parts)
    return b"".join(parts)


def decode(stored: memoryview, out: Words, base: Words, unit: str) -> None:
    """Fill `out`. Raises `FrameMalformed`."""
    order = _order(base, unit)
    reader = Reader(stored)
    folded = words.temporary("planes", out.size, out.itemsize)
    for group, planes in _groups(order, folded, "coded"):
        for plane in planes:
            packed.read(reader, plane)
        words.join(planes, group)
    reader.finish()
    for tile, segments in _tiles(order, folded):
        one = words.temporary("words", order.places[tile].size, out.itemsize)
        one[order.places[tile]] = np.concatenate(segments)
        words.undo_difference(one, base[tile], out[tile])


def _order(base: Words, unit: str) -> _Order:
    places = words.temporary("places", base.size, 2)
    counts = []
    for start in range(0, base.size, _TILE):
        exponents = _exponents(base[start : start + _TILE], unit)
        sorted_places = np.argsort(exponents, kind="stable")
        places[start : start + _TILE] = sorted_places
        begins = np.searchsorted(exponents, np.arange(256, dtype=np.uint8), sorter=sorted_places)
        counts.append(np.diff(begins, append=exponents.size))
    return _Order(places, np.array(counts), _grouped(np.sum(counts, axis=0)))


def _exponents(tile: Words, unit: str) -> Bytes:
    lowest, size = EXPONENTS[unit]
    shifted = np.right_shift(tile, lowest, out=words.temporary("spare", tile.size, tile.itemsize))
    return shifted.astype(np.uint8) & np.uint8((1 << size) - 1)


def _grouped(counts: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Exponents from 0 upwards, as many to a group as it takes to be large enough; what is left joins the last one."""
    ends: list[int] = []
    start = 0
    for end in np.cumsum(counts).tolist():
        if end - start >= _LEAST:
            ends.append(end)
            start = end
    last = int(counts.sum())
    ends = [*ends[:-1], last] if ends else [last]
    return list(zip([0, *ends[:-1]], ends, strict=True))


def _tiles(order: _Order, whole: Words) -> Iterator[tuple[slice, list[Words]]]:
    """For each tile: where it is in the frame, and where its exponents' elements are in the sorted frame `whole`."""
    of_exponent = np.cumsum(order.counts.sum(axis=0)) - order.counts.sum(axis=0)
    begins = of_exponent + np.cumsum(order.counts, axis=0) - order.counts
    for tile, (first, count) in enumerate(zip(begins, order.counts, strict=True)):
        present = np.flatnonzero(count)
        pairs = zip(first[present].tolist(), count[present].tolist(), strict=True)
        segments = [whole[begin : begin + size] for begin, size in pairs]
        yield slice(tile * _TILE, (tile + 1) * _TILE), segments


def _groups(order: _Order, whole: Words, role: str) -> Iterator[tuple[Words, list[Bytes]]]:
    """Each group of the sorted frame, with planes of its own in the scratch memory `role`."""
    room = scratch.buffer(role, whole.nbytes)
    for start, end in order.groups:
        planes = room[start * whole.itemsize : end * whole.itemsize].reshape(whole.itemsize, end - start)
        yield whole[start:end], list(planes)
