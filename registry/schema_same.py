"""Do two schemas say the same thing in the same words, references followed.

What nobody can evaluate (a `format`, a pattern with look-ahead, a `contains` within a `not`) is still met
where the producer states it too. Annotations and the order of keys do not count as words.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from registry.schema_nodes import Node, Shape
from registry.schemas import Work

_WORDS = (
    *("never", "kinds", "low", "high", "steps", "min_length", "max_length", "patterns", "formats"),
    *("min_items", "max_items", "unique", "min_names", "max_names", "required", "together"),
)


class Sameness:
    """Compares nodes and remembers; the graphs may lead back to themselves. May raise `TooMuchWork`."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.known: dict[tuple[int, int], bool] = {}

    def among(self, node: Node, others: Iterable[Node]) -> bool:
        """Whether one of the others says what the node says, or the node demands nothing by itself."""
        if says_nothing(node):
            return True
        return any(self.same(node, other) for other in others)

    def same(self, one: Node, two: Node) -> bool:
        """Whether both say the same. Two graphs are, when following them never shows a difference."""
        pairs, seen = [(one, two)], set[tuple[int, int]]()
        while pairs:
            left, right = pairs.pop()
            key = (left.key, right.key)
            if left is right or key in seen or self.known.get(key):
                continue
            self.work.spend()
            inside = _inside(left), _inside(right)
            alike = key not in self.known and _alike(left, right) and len(inside[0]) == len(inside[1])
            if not alike or any(a[0] != b[0] for a, b in zip(*inside, strict=True)):
                self.known[one.key, two.key] = False
                return False
            seen.add(key)
            pairs += [(a[1], b[1]) for a, b in zip(*inside, strict=True)]
        self.known.update(dict.fromkeys(seen, True))
        return True


def says_nothing(node: Node) -> bool:
    """Whether the node accepts everything."""
    return (
        not node.unsure
        and not _inside(node)
        and all(getattr(node, w) == getattr(_BLANK, w) for w in _WORDS)
        and (node.enum is None)
    )


def _alike(left: Node, right: Node) -> bool:
    if left.unsure or right.unsure or (left.enum is None) != (right.enum is None):
        return False
    return left.enum_keys == right.enum_keys and all(getattr(left, w) == getattr(right, w) for w in _WORDS)


def _inside(node: Node) -> list[tuple[Any, Node]]:
    """Return every schema inside, each with what it is for."""
    return [*_logic(node), *_structure(node)]


def _logic(node: Node) -> Iterator[tuple[Any, Node]]:
    yield from (("all", n) for n in node.all)
    for word, groups in (("any", node.any), ("one", node.one)):
        for number, group in enumerate(groups):
            yield from (((word, number), n) for n in group)
    yield from (("not", n) for n in node.nots)
    for condition in node.ifs:
        yield from (("if", condition.test), ("then", condition.then), ("else", condition.otherwise))
    yield from ((("when", name), n) for name, n in sorted(node.whens, key=_first))


def _structure(node: Node) -> Iterator[tuple[Any, Node]]:
    for items in node.items:
        yield from ((("item", number), n) for number, n in enumerate(items.prefix))
        yield from [("items", items.rest)] if items.rest is not None else []
    for contains in node.contains:
        yield ("contains", contains.least, contains.most), contains.node
    for shape in node.shapes:
        yield from _keys(shape)
    yield from (("name", n) for n in node.names)
    for word, rest in (("names", node.rest_names), ("more items", node.rest_items)):
        yield from [(word, rest)] if rest is not None else []


def _keys(shape: Shape) -> Iterator[tuple[Any, Node]]:
    yield from ((("key", name), n) for name, n in sorted(shape.properties.items(), key=_first))
    yield from ((("keys", pattern), n) for pattern, n in sorted(shape.patterns, key=_first))
    yield from [("rest", shape.rest)] if shape.rest is not None else []


def _first(pair: tuple[str, Node]) -> str:
    return pair[0]


_BLANK = Node(0)
