"""Which lost chunks parity can bring back, and in which order. Pure: names and sizes decide, nothing is read.

Knowledge is kept byte by byte: a chunk may get its first half from the set within its volume and its second half
from the set across volumes, and each new byte may be the one that another set was waiting for. Sets are gone
through in turn until a whole round brings nothing new. `rebuilding.rebuild` does exactly what is planned here, so what
preflight promises is what happens.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from pipelines.bundle.lanes import PIECE, ParitySet, Part, overlapping

Use = Literal["p", "q", "pq"]
Span = tuple[int, int]  # from, to
Gaps = list[list[Part]]  # for each lane of a set, its parts of lost chunks
# Losses can be chosen so that each pass brings back one chunk, which the next needs: a whole sweep for each.
MOST_PASSES = 1000
_P, _Q = -1, -2  # stand among the numbers of lanes for the sums themselves


class Segment(NamedTuple):
    """From `begin` to `end` the bytes of `lanes` follow from all others and the sums that `use` names."""

    begin: int
    end: int
    lanes: tuple[int, ...]
    use: Use


class Pass(NamedTuple):
    """Segments of one set; they do not depend on each other, but may on earlier passes."""

    number: int  # of the set
    segments: tuple[Segment, ...]


@dataclass(frozen=True)
class Plan:
    """What to compute, and nothing that leads nowhere."""

    passes: tuple[Pass, ...]
    writes: dict[
        str, int
    ]  # chunk to the bytes that all passes together give of it; some stay parts that help others
    whole: frozenset[str]  # the chunks that are wanted and will be whole


def can_rebuild(
    sets: Sequence[ParitySet], bad: Collection[str], *, bad_pieces: Collection[str] | None = None
) -> tuple[frozenset[str], frozenset[str]]:
    """Return which lost chunks can be rebuilt, and which can not.

    Args:
        bad: names of chunks, and of pieces, that are absent or damaged.
        bad_pieces: the pieces among them, where the caller tells the two apart (a piece over a single chunk has the
            chunk's name); otherwise every name in `bad` counts as both.

    A name that is no chunk of any set is lost, unless it is a piece.
    """
    broken = bad if bad_pieces is None else bad_pieces
    rebuildable = plan(sets, bad, bad, broken).whole
    chunks = {chunk for one in sets for lane in one.lanes for chunk, _ in lane.chunks}
    pieces = {piece for one in sets for piece in (*one.p, *one.q)}
    return rebuildable, frozenset(name for name in bad if name in chunks or name not in pieces) - rebuildable


def plan(
    sets: Sequence[ParitySet], wanted: Collection[str], bad: Collection[str], bad_pieces: Collection[str]
) -> Plan:
    """Return the passes that bring back all that can be had of `wanted`, chunks among the lost ones in `bad`."""
    missing = _Missing()
    gaps = [_gaps(one, frozenset(bad), missing) for one in sets]
    holes = [list(_holes(one, frozenset(bad_pieces))) for one in sets]
    passes: list[Pass] = []
    idle, index = 0, 0
    while idle < len(sets) and len(passes) < MOST_PASSES:  # until each set was tried since the last new byte
        segments = _segments(gaps[index], holes[index], missing)
        for segment in segments:
            for part in _given(segment, gaps[index]):
                missing.found(part)
        if segments:
            passes.append(Pass(index, tuple(segments)))
        idle = 0 if segments else idle + 1
        index = (index + 1) % len(sets)
    return _worthwhile(passes, gaps, missing.whole() & frozenset(wanted))


def _worthwhile(passes: Sequence[Pass], gaps: Sequence[Gaps], whole: frozenset[str]) -> Plan:
    """Keep what gives bytes of a needed chunk. Backwards: what a kept segment reads of lost chunks is needed too."""
    needed = set(whole)
    kept: list[Pass] = []
    writes: dict[str, int] = defaultdict(int)
    for index, segments in reversed(passes):
        chosen = []
        for segment in segments:
            given = list(_given(segment, gaps[index]))
            if any(part.chunk in needed for part in given):
                chosen.append(segment)
                needed.update(_leaned_on(segment, gaps[index]))
                for part in given:
                    writes[part.chunk] += part.size
        if chosen:
            kept.append(Pass(index, tuple(chosen)))
    return Plan(tuple(reversed(kept)), dict(writes), whole)


def _given(segment: Segment, gaps: Gaps) -> Iterator[Part]:
    """Yield what a segment gives."""
    for lane in segment.lanes:
        yield from overlapping(gaps[lane], segment.begin, segment.end)


def _leaned_on(segment: Segment, gaps: Gaps) -> Iterator[str]:
    """Yield the lost chunks that a segment reads: earlier passes found those bytes."""
    for number, parts in enumerate(gaps):
        if parts and number not in segment.lanes:
            yield from (part.chunk for part in overlapping(parts, segment.begin, segment.end))


class _Missing:
    """The bytes of lost chunks that are not known yet."""

    def __init__(self) -> None:
        self._spans: dict[str, list[Span]] = {}

    def lose(self, chunk: str, size: int) -> None:
        self._spans[chunk] = [(0, size)]

    def of(self, part: Part) -> Iterator[Span]:
        """Yield what is missing of a part, in offsets of its lane."""
        shift = part.at - part.offset
        for begin, end in self._spans[part.chunk]:
            low, high = max(begin, part.offset), min(end, part.offset + part.size)
            if low < high:
                yield low + shift, high + shift

    def found(self, part: Part) -> None:
        low, high = part.offset, part.offset + part.size
        cut = [side for span in self._spans[part.chunk] for side in _without(span, low, high)]
        self._spans[part.chunk] = cut

    def whole(self) -> frozenset[str]:
        return frozenset(chunk for chunk, spans in self._spans.items() if not spans)


def _without(span: Span, low: int, high: int) -> Iterator[Span]:
    begin, end = span
    if begin < min(low, end):
        yield begin, min(low, end)
    if max(high, begin) < end:
        yield max(high, begin), end


def _gaps(one: ParitySet, bad: frozenset[str], missing: _Missing) -> Gaps:
    """Return, for each lane, its parts of lost chunks; note their sizes."""
    for lane in one.lanes:
        for chunk, size in lane.chunks:
            if chunk in bad:
                missing.lose(chunk, size)
    return [[part for part in lane.parts() if part.chunk in bad] for lane in one.lanes]


def _holes(one: ParitySet, bad_pieces: frozenset[str]) -> Iterator[tuple[int, int, int]]:
    """Yield (sum, from, to) of what is missing of P and Q."""
    for which, pieces in ((_P, one.p), (_Q, one.q)):
        for index in range(one.count):
            if index >= len(pieces) or pieces[index] in bad_pieces:
                yield which, index * PIECE, index * PIECE + one.piece_bytes(index)


def _segments(gaps: Gaps, holes: Sequence[tuple[int, int, int]], missing: _Missing) -> list[Segment]:
    """Sweep over the offsets of a set: few enough unknowns at once make a segment."""
    spans = [
        *holes,
        *(
            (number, *span)
            for number, parts in enumerate(gaps)
            for part in parts
            for span in missing.of(part)
        ),
    ]
    events = [event for number, begin, end in spans for event in ((begin, number, 1), (end, number, -1))]
    found: list[Segment] = []
    unknown: dict[int, int] = {}
    reached = 0
    for at, number, step in sorted(events):
        if at > reached and (segment := _solvable(reached, at, unknown)):
            _append(found, segment)
        reached = at
        unknown[number] = unknown.get(number, 0) + step
        if not unknown[number]:
            del unknown[number]
    return found


def _solvable(begin: int, end: int, unknown: Collection[int]) -> Segment | None:
    """Two sums are two equations: with the sums that are missing, no more than two unknowns can be found."""
    if len(unknown) > 2:
        return None
    lanes = tuple(sorted(number for number in unknown if number >= 0))
    if len(lanes) == 2:
        return Segment(begin, end, lanes, "pq")
    if len(lanes) == 1:
        return Segment(begin, end, lanes, "q" if _P in unknown else "p")
    return None


def _append(found: list[Segment], segment: Segment) -> None:
    if found and found[-1].end == segment.begin and found[-1][2:] == segment[2:]:
        segment = segment._replace(begin=found.pop().begin)
    found.append(segment)
