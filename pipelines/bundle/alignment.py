"""Which held bytes each tensor of a blob is compared with: found by content, by name and shape, by common rows.

Apart from the packer, because nothing here decides what is written. A few sampled windows propose a base; the packer
compares every byte and the reader checks the whole blob's SHA-256, so a wrong proposal costs size, never a byte.

A base is looked for in this order:

1. the held tensor that follows the base of the tensor before, when samples say that it is equal: runs stay long;
2. one of the same name, unit and shape that samples call equal;
3. any of the same size and unit that samples call equal: renamed, re-sharded, put in another order;
4. one of the same name and unit with the same rows or a common beginning of rows: its bytes differ, a delta.

Time is linear in the tensors of both sides, also when all are alike: every look-up goes through a dictionary. Each
held tensor is sampled at most once, and only when a tensor of its size and unit asks.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256

from pipelines.bundle.spans import Source, Span
from pipelines.encodings.names import FRAME, unit_bytes

SMALL = 64 << 10  # bytes; equal tensors up to this go along with changed neighbours rather than apart
LEAST = (
    512  # bytes; anything smaller is not looked for elsewhere: naming the place costs as much as the bytes
)
WINDOW = 4096  # bytes of one sample
CHOICES = 8  # bases of one name that are weighed; the first ones given


@dataclass(frozen=True, slots=True)
class Extent:
    """`size` bytes at `offset` of the blob, beside as many at `base_offset` of the held blob `base`, if any.

    `alike` says that samples of both were equal, so that a reference is likely.
    """

    offset: int
    size: int
    unit: str
    base: str | None = None  # SHA-256
    base_offset: int = 0
    alike: bool = False


class Bases:
    """The tensors of held blobs, to be found by name, by content and by place. For one thread at a time.

    Made once for any number of targets; the samples that were taken are kept.
    """

    def __init__(self, held: Iterable[tuple[str, Source, Sequence[Span]]]) -> None:
        """Index the spans; nothing is read yet.

        Args:
            held: SHA-256, source and spans of each blob, the likeliest base first. The sources stay open.
        """
        self._placed: dict[str, dict[int, _Piece]] = {}
        self._named: dict[str, list[_Piece]] = {}
        self._sized: dict[tuple[int, str], list[_Piece]] = {}
        self._probed: dict[tuple[int, str], dict[bytes, list[_Piece]]] = {}
        self._known: dict[bytes, _Piece] = {}
        for blob, source, spans in held:
            if blob not in self._placed:
                self._index(blob, source, spans)

    def _index(self, blob: str, source: Source, spans: Sequence[Span]) -> None:
        placed = self._placed[blob] = {}
        for span in spans:
            piece = placed[span.offset] = _Piece(source, span, blob)
            self._sized.setdefault((span.size, span.unit), []).append(piece)
            if span.name:  # headers and padding have none: all of them would be one name
                self._named.setdefault(span.name, []).append(piece)

    def at(self, blob: str | None, offset: int) -> "_Piece | None":
        """The span that begins there."""
        return self._placed[blob].get(offset) if blob in self._placed else None

    def named(self, span: Span) -> list["_Piece"]:
        """The spans of the same name and unit that have bytes in common places, those of the same shape first."""
        found = [piece for piece in self._named.get(span.name, ()) if _common(span, piece.span)]
        return sorted(found, key=lambda piece: piece.span.shape != span.shape)

    def equal(self, piece: "_Piece") -> "_Piece | None":
        """The first span of the same size and unit with the same samples."""
        kind = piece.span.size, piece.span.unit
        if kind not in self._probed:
            groups = self._probed[kind] = {}
            for held in self._sized.pop(kind, ()):
                groups.setdefault(held.probe, []).append(held)
        groups = self._probed[kind]
        if piece.probe not in groups:
            return None
        for held in groups[piece.probe]:
            self._known.setdefault(held.fingerprint, held)
        groups[piece.probe] = []  # all of these are known now
        return self._known.get(piece.fingerprint)


def align(target: Source, target_spans: Iterable[Span], bases: Bases) -> list[Extent]:
    """Return extents that cover the target in the order of its spans; a span that grew by rows gives two.

    Raises:
        OSError, EOFError: from a source.
    """
    pieces = [_Piece(target, span) for span in target_spans]
    choices: list[list[Extent]] = []
    last = Extent(0, 0, "")
    for piece in pieces:
        choices.append(_choose(piece, bases.at(last.base, last.base_offset + last.size), bases))
        last = choices[-1][-1]
    _reach_back(pieces, choices, bases)
    return [extent for choice in choices for extent in choice]


def _choose(piece: "_Piece", follower: "_Piece | None", bases: Bases) -> list[Extent]:
    named = bases.named(piece.span)[:CHOICES]
    found = _equal(piece, [follower, *named] if follower else named, bases)
    return [_beside(piece.span, found, alike=True)] if found else _delta(piece, named, follower)


def _reach_back(pieces: Sequence["_Piece"], choices: list[list[Extent]], bases: Bases) -> None:
    """Where a run begins, take in the equal spans before it that were found elsewhere, or too small to be sought."""
    for index in range(len(pieces) - 2, -1, -1):
        extent, after = choices[index][0], choices[index + 1][0]
        alone = index == 0 or not _continues(choices[index - 1][-1], extent)
        if alone and not _continues(extent, after):
            held = bases.at(after.base, after.base_offset - pieces[index].span.size)
            if held is not None and held.alike(pieces[index]):
                choices[index] = [_beside(pieces[index].span, held, alike=True)]


def _continues(run: Extent, extent: Extent) -> bool:
    """Whether the base of one goes on where that of the other ends."""
    return run.base is not None and (run.base, run.base_offset + run.size) == (
        extent.base,
        extent.base_offset,
    )


def _equal(piece: "_Piece", candidates: Iterable["_Piece"], bases: Bases) -> "_Piece | None":
    found = next((held for held in candidates if held.alike(piece)), None)
    if found is None and piece.span.size >= LEAST:
        found = bases.equal(piece)
    return found


def _delta(piece: "_Piece", named: Sequence["_Piece"], follower: "_Piece | None") -> list[Extent]:
    """The span beside the nearest of its name; rows that this one lacks have no base."""
    span = piece.span
    if not named:
        return [Extent(span.offset, span.size, span.unit)]
    found = _nearest(piece, named, follower)
    common = _common(span, found.span)
    if common == span.size:
        return [_beside(span, found)]
    rest = Extent(span.offset + common, span.size - common, span.unit)
    return [_beside(replace(span, size=common), found), rest]


def _nearest(piece: "_Piece", candidates: Sequence["_Piece"], follower: "_Piece | None") -> "_Piece":
    """The most rows in common, then the fewest bits that differ in a sample; what keeps a run going wins a near tie."""
    if len(candidates) == 1:
        return candidates[0]

    def rank(held: _Piece) -> tuple[int, int, bool]:
        common = _common(piece.span, held.span)
        here, there = piece.middle(common), held.middle(common)
        # The length of the count is its logarithm: only half as many bits are really nearer.
        return -common, (here ^ there).bit_count().bit_length(), held is not follower

    return min(candidates, key=rank)


def _common(one: Span, other: Span) -> int:
    """Bytes of the rows that both have from their first row on; 0 when the rows differ in kind."""
    if one.unit != other.unit or one.shape[1:] != other.shape[1:] or len(one.shape) != len(other.shape):
        return 0
    rows, other_rows = (one.shape or (1,))[0], (other.shape or (1,))[0]
    if (
        one.size * other_rows != other.size * rows or one.size % rows
    ):  # another dtype of the same unit, or no bytes
        return 0
    return one.size // rows * min(rows, other_rows)


def _beside(span: Span, held: "_Piece", *, alike: bool = False) -> Extent:
    return Extent(span.offset, span.size, span.unit, held.blob, held.span.offset, alike)


class _Piece:
    """A span with its source: samples are read when they are asked for, once."""

    __slots__ = ("_fingerprint", "_probe", "_source", "blob", "span")

    def __init__(self, source: Source, span: Span, blob: str = "") -> None:
        self._source, self.span, self.blob = source, span, blob
        self._probe = self._fingerprint = b""

    @property
    def probe(self) -> bytes:
        """Digest of the middle window alone: one read tells most spans apart."""
        if not self._probe:
            self._probe = sha256(self._read(_windows(self.span.size)[0])).digest()[:16]
        return self._probe

    @property
    def fingerprint(self) -> bytes:
        """Digest of size, unit and all windows."""
        if not self._fingerprint:
            state = sha256(f"{self.span.size} {self.span.unit} ".encode() + self.probe)
            for window in _windows(self.span.size)[1:]:
                state.update(self._read(window))
            self._fingerprint = state.digest()[:16]
        return self._fingerprint

    def alike(self, other: "_Piece") -> bool:
        """Whether size, unit and samples are the same."""
        same_kind = (self.span.size, self.span.unit) == (other.span.size, other.span.unit)
        return same_kind and self.probe == other.probe and self.fingerprint == other.fingerprint

    def middle(self, size: int) -> int:
        """The middle window of the first `size` bytes, as one number."""
        return int.from_bytes(self._read(_windows(size)[0]), "little")

    def _read(self, window: tuple[int, int]) -> bytearray:
        offset, size = window
        data = bytearray(size)
        self._source.read_into(memoryview(data), self.span.offset + offset)
        return data


def _windows(size: int) -> list[tuple[int, int]]:
    """Offset and bytes of each sample: the middle, the ends, and the quarters; everything when that is little."""
    if size <= 5 * WINDOW:
        return [(0, size)]
    return [((size - WINDOW) * quarter // 4, WINDOW) for quarter in (2, 0, 4, 1, 3)]


def frames(extents: Iterable[Extent], *, frame: int = FRAME) -> Iterator[Extent]:
    """Return the same bytes in pieces fit for the encoder: neighbours of one kind together, then cut.

    Neighbours go together when their unit is the same and their bases follow each other or neither has one, so that
    ten thousand small tensors are not ten thousand frames. What samples call equal stays apart from what changed,
    unless it is small: an equal run is a reference, and one changed byte in it would make it a delta.

    Args:
        extents: in the order of their offsets, without gaps.
        frame: most bytes of a piece, no fewer than one unit has; cuts are on the boundaries of the unit, counted from where the run begins.
    """
    run: Extent | None = None
    for extent in extents:
        if run is not None and _joins(run, extent):
            run = replace(run, size=run.size + extent.size, alike=run.alike and extent.alike)
            continue
        if run is not None:
            yield from _cut(run, frame)
        run = extent
    if run is not None:
        yield from _cut(run, frame)


def _joins(run: Extent, extent: Extent) -> bool:
    if run.unit != extent.unit or run.size % unit_bytes(run.unit):
        return False
    if not _continues(run, extent) and (run.base, extent.base) != (None, None):
        return False
    equal = run if run.alike else extent
    return run.alike == extent.alike or equal.size < SMALL


def _cut(run: Extent, frame: int) -> Iterator[Extent]:
    step = frame - frame % unit_bytes(run.unit)
    for start in range(0, run.size, step):
        base_offset = run.base_offset if run.base is None else run.base_offset + start
        size = min(step, run.size - start)
        yield replace(run, offset=run.offset + start, size=size, base_offset=base_offset)
