"""What a parity set covers: lanes, and where in them each chunk lies. Pure, and light to import.

A lane is a string of bytes: one volume's chunks one after another in the plan's order (`across`), or one of the
equal slices of one volume's chunks (`within`). All lanes count as padded with zeros to the longest. P is their sum,
Q the sum of 2^i times lane i; both are cut into pieces, each a file that is named by its SHA-256. What is lost is
known from digests, so parity only fills gaps: one unknown lane at an offset with P, two with P and Q. Offsets do
not touch each other. Source: airgap-bundles/parity.md.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal, NamedTuple

PIECE = 16 << 20  # bytes of P or Q in one file; the last one of a set may be shorter
MAX_LANES = 255  # the field has no more distinct powers of 2
SHARE = 50  # slices that a volume is cut into, so that parity weighs a fiftieth of it

Scheme = Literal["p", "pq"]
Sized = tuple[str, int]  # a chunk's SHA-256 and its bytes
Reader = Callable[
    [str, int, memoryview], None
]  # fills the view from an offset of a chunk or piece, or raises


class Unreadable(Exception):
    """A chunk or piece is absent, cannot be read, or is not what its name says; the text says which."""


class Part(NamedTuple):
    """`size` bytes from `offset` of a chunk stand at `at` in a lane."""

    at: int
    size: int
    chunk: str
    offset: int


@dataclass(frozen=True, slots=True)
class Lane:
    """The bytes from `start` to `start + size` of its chunks put one after another."""

    chunks: tuple[Sized, ...]
    start: int
    size: int

    def parts(self) -> list[Part]:
        """Return what the lane is made of, in order, without gaps."""
        found, at = [], -self.start
        for chunk, size in self.chunks:
            begin, end = max(at, 0), min(at + size, self.size)
            if begin < end:
                found.append(Part(begin, end - begin, chunk, begin - at))
            at += size
        return found


@dataclass(frozen=True)
class ParitySet:
    """Lanes and the pieces over them. Before the pieces are written, `p` and `q` are empty."""

    scheme: Scheme
    lanes: tuple[Lane, ...]
    length: int  # bytes of the longest lane, and of P and of Q
    p: tuple[str, ...] = ()
    q: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """How many pieces P has; Q has as many or none."""
        return -(-self.length // PIECE)

    def piece_bytes(self, index: int) -> int:
        """Bytes of a piece of P or Q."""
        return min(PIECE, self.length - index * PIECE)

    @property
    def bytes(self) -> int:
        """Bytes of all pieces together."""
        return self.length * len(self.scheme)

    def problem(self) -> str | None:
        """Say what is wrong with a set that was read from a plan; None when it can be used."""
        if self.scheme not in ("p", "pq"):
            return f"parity scheme {self.scheme!r} is not known"
        if len(self.lanes) > MAX_LANES:
            return f"{len(self.lanes)} lanes, at most {MAX_LANES} can be told apart"
        if self.length != _longest(self.lanes):
            return f"length {self.length}, its longest lane has {_longest(self.lanes)} bytes"
        if len(self.p) != self.count or len(self.q) != (self.count if self.scheme == "pq" else 0):
            return f"{len(self.p)} pieces of P and {len(self.q)} of Q do not fit {self.length} bytes"
        return None


def across(volumes: Sequence[Sequence[Sized]], scheme: Scheme) -> ParitySet:
    """Return the set with one lane for each data volume, in the given order; at most `MAX_LANES` volumes."""
    lanes = [Lane(tuple(volume), 0, sum(size for _, size in volume)) for volume in volumes]
    return _unwritten(scheme, lanes)


def within(volume: Sequence[Sized], scheme: Scheme, *, share: int = SHARE) -> ParitySet:
    """Return the set over one volume: at most `share` slices, none shorter than the volume's largest chunk but the last.

    A chunk then lies in at most two neighbouring slices, and its bytes there never share an offset: it ends in the
    second before the offset at which it begins in the first. So any one bad file (chunk or piece) can be rebuilt
    with P, and any two with P and Q.
    """
    total = sum(size for _, size in volume)
    largest = max((size for _, size in volume), default=0)
    return _unwritten(scheme, slices(volume, max(largest, -(-total // share))))


def slices(volume: Sequence[Sized], length: int) -> list[Lane]:
    """Return the lanes of a volume that is cut every `length` bytes, each with only the chunks that it touches."""
    ends = list(accumulate(size for _, size in volume))
    total = ends[-1] if ends else 0
    lanes = []
    for begin in range(0, total, max(length, 1)):
        end = min(begin + length, total)
        first, last = bisect_right(ends, begin), bisect_right(ends, end - 1)
        before = ends[first - 1] if first else 0
        lanes.append(Lane(tuple(volume[first : last + 1]), begin - before, end - begin))
    return lanes


def overlapping(parts: Sequence[Part], begin: int, end: int) -> list[Part]:
    """Return the bytes from `begin` to `end` of a lane, cut to measure. `parts` are in order of `at`."""
    found = []
    for index in range(max(bisect_right(parts, begin, key=_at) - 1, 0), len(parts)):
        at, size, chunk, offset = parts[index]
        if at >= end:
            break
        low, high = max(at, begin), min(at + size, end)
        if low < high:
            found.append(Part(low, high - low, chunk, offset + low - at))
    return found


def _at(part: Part) -> int:
    return part.at


def _longest(lanes: Sequence[Lane]) -> int:
    return max((lane.size for lane in lanes), default=0)


def _unwritten(scheme: Scheme, lanes: Sequence[Lane]) -> ParitySet:
    assert len(lanes) <= MAX_LANES, "the caller groups volumes, and cuts a volume into fewer slices"
    return ParitySet(scheme, tuple(lanes), _longest(lanes))
