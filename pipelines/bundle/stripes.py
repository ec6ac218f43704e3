"""P and Q of a stripe of lanes: what writing and rebuilding parity have in common. Needs numpy.

A stripe is the same range of offsets in every lane. It is read lane by lane in steps that stay in a core's cache,
and summed at once. Memory is `MEMORY` for all threads together, whatever the sizes.
"""

import os
from collections.abc import Iterator, Sequence

import numpy as np

from pipelines.bundle import galois
from pipelines.bundle.lanes import Part, Reader, overlapping

MAX_THREADS = 12
STEP = 256 << 10  # bytes read and added at once: P, Q, a lane and the scratch stay in a core's cache
MEMORY = 40 << 20  # bytes for all sums together, however many threads there are
MAX_STRIPE = 2 << 20  # bytes read of one lane before the next lane's turn: a disk seeks less often


def threads() -> int:
    """How many pieces are worked on at once."""
    return min(os.cpu_count() or 1, MAX_THREADS)


def stripe_bytes(at_once: int) -> int:
    """Bytes of a stripe, so that P and Q of every thread fit into `MEMORY`."""
    return min(MAX_STRIPE, MEMORY // at_once // 2 // STEP * STEP - 2 * STEP)


class Sums:
    """P and Q of one stripe. Belongs to one thread."""

    def __init__(self, stripe: int) -> None:
        self.stripe = stripe
        self.p, self.q = (np.empty(stripe // 8, np.uint64) for _ in range(2))
        self._source, self._scratch = (np.empty(STEP // 8, np.uint64) for _ in range(2))
        self.buffer = self._source.data.cast("B")  # `STEP` bytes for whoever reads

    def gather(self, lanes: Sequence[Sequence[Part]], begin: int, end: int, use: str, read: Reader) -> int:
        """Sum the bytes from `begin` to `end` of every lane; an empty lane counts as zeros. Returns the bytes read.

        `use` says which sums are wanted: "p", "q", "pq". Q is made from the last lane to the first: each step
        doubles what is there, so that lane i is doubled i times in the end.
        """
        words = -(-(end - begin) // 8)
        self.p[:words] = 0
        self.q[:words] = 0
        total = 0
        for lane in reversed(lanes):
            for low in range(begin, end, STEP):
                high = min(low + STEP, end)
                place = slice((low - begin) // 8, -(-(high - begin) // 8))
                if "q" in use:
                    galois.double(self.q[place], self._scratch)
                if parts := overlapping(lane, low, high):
                    self._read(parts, low, high, read)
                    self._add(place, use)
                    total += sum(part.size for part in parts)
        return total

    def add_piece(self, which: str, name: str, offset: int, size: int, read: Reader) -> None:
        """Add the bytes of a piece that belong to this stripe."""
        for low in range(0, size, STEP):
            high = min(low + STEP, size)
            self._read([Part(low, high - low, name, offset + low)], low, high, read)
            self._add(slice(low // 8, -(-high // 8)), which)

    def octets(self, which: str, size: int) -> galois.Octets:
        """Return a view of the first bytes of P or Q."""
        return (self.p if which == "p" else self.q).view(np.uint8)[:size]

    def _read(self, parts: Sequence[Part], low: int, high: int, read: Reader) -> None:
        reached = 0
        for part in parts:
            begin = part.at - low
            self.buffer[reached:begin] = bytes(begin - reached)
            read(part.chunk, part.offset, self.buffer[begin : begin + part.size])
            reached = begin + part.size
        padded = -(-(high - low) // 8) * 8
        self.buffer[reached:padded] = bytes(padded - reached)

    def _add(self, place: slice, use: str) -> None:
        source = self._source[: place.stop - place.start]
        if "p" in use:
            galois.add(self.p[place], source)
        if "q" in use:
            galois.add(self.q[place], source)


def stripes(begin: int, end: int, stripe: int) -> Iterator[tuple[int, int]]:
    """Yield the ranges of at most `stripe` bytes that a range consists of."""
    return ((low, min(low + stripe, end)) for low in range(begin, end, stripe))
