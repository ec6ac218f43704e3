"""Which numbers have to be tried so that a verdict on each is a verdict on all.

Whether a number meets demands depends on where it lies between the bounds and which steps it is a multiple
of. Between two neighbouring bounds the second repeats with a period. So one number for each multiple in one
period of each interval, and one that is a multiple of nothing, stand for every number there is.
"""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import pairwise
from math import lcm

from registry.schema_flat import Flat
from registry.schema_judge import kind_of, number
from registry.schema_nodes import Node
from registry.schemas import Work

MAX_POINTS = 4_000


def points(p: Flat, demands: Iterable[Node], work: Work) -> tuple[list[Fraction], bool]:
    """Return numbers that the producer may emit, and whether a verdict on all of them holds for all numbers."""
    about = [*p.nodes, *related(demands, work)]
    steps = sorted({step for node in about for step in node.steps} | {Fraction(1)})
    edges = sorted({edge for node in about for edge in _edges(node)})
    period = _period(steps)
    room = MAX_POINTS // (len(edges) + 1)
    found, complete = list[Fraction](edges), True
    for low, high in _intervals(edges, period):
        inside, whole = _multiples(low, high, steps, room)
        work.spend(1 + 4 * len(inside))  # exact numbers are slow
        found += [*inside, *_between(low, high, inside)]
        complete = complete and whole
    return [point for point in _near_zero_first(found) if emitted(p, point)], complete


def related(nodes: Iterable[Node], work: Work) -> list[Node]:
    """Return the nodes and every one that is about the same value, whether it has to hold or not."""
    found: dict[int, Node] = {}
    todo = list(nodes)
    while todo:
        node = todo.pop()
        if node.key not in found:
            work.spend()
            found[node.key] = node
            todo.extend(node.about_itself())
    return list(found.values())


def emitted(p: Flat, point: Fraction) -> bool:
    """Whether the producer's bounds, steps and types allow the number."""
    return (
        kind_of(point) in p.kinds
        and (p.low is None or (point, 0) >= p.low)
        and (p.high is None or (point, 0) <= p.high)
        and all(point % step == 0 for step in p.steps)
    )


def as_json(point: Fraction) -> int | float | None:
    """Return the number as JSON has it, None where a float cannot hold it."""
    if point.denominator == 1:
        return int(point)
    try:
        return float(point)
    except OverflowError:
        return None


def _edges(node: Node) -> Iterator[Fraction]:
    yield from (bound[0] for bound in (node.low, node.high) if bound is not None)
    for value in node.enum or ():
        exact = number(value) if kind_of(value) in ("integer", "fraction") else None
        if exact is not None:
            yield exact


def _period(steps: list[Fraction]) -> Fraction:
    """Return the least number that is a multiple of every step."""
    below = lcm(*(step.denominator for step in steps))
    return Fraction(lcm(*(int(step * below) for step in steps)), below)


def _intervals(edges: list[Fraction], period: Fraction) -> Iterator[tuple[Fraction, Fraction]]:
    """Yield what lies strictly between two neighbouring edges, and one period beyond the outermost."""
    if not edges:
        yield -period / 2, period * 2 + 1
        return
    yield edges[0] - period - 1, edges[0]
    yield from pairwise(edges)
    yield edges[-1], edges[-1] + period + 1


def _multiples(
    low: Fraction, high: Fraction, steps: list[Fraction], room: int
) -> tuple[list[Fraction], bool]:
    """Return the multiples strictly inside, of at least one period; at most `room`, and whether that is all."""
    high = min(high, low + _period(steps) + max(steps))
    found: set[Fraction] = set()
    for step in steps:
        first, last = low // step + 1, -(-high // step) - 1
        if last - first + 1 > room:
            some = (first, first + 1, last - 1, last)
            return sorted({found_at * step for found_at in some}), False
        found.update(place * step for place in range(first, last + 1))
    return sorted(found), True


def _between(low: Fraction, high: Fraction, inside: list[Fraction]) -> list[Fraction]:
    """Return a number that is a multiple of no step, if there is room for one."""
    start, end = (inside[0], inside[1]) if len(inside) > 1 else (low, inside[0] if inside else high)
    return [(start + end) / 2]


def _near_zero_first(found: list[Fraction]) -> list[Fraction]:
    return sorted(dict.fromkeys(found), key=lambda point: (point.denominator != 1, abs(point), point < 0))
