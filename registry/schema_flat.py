"""Several schemas about one value, put together: what the walk over two sides looks at.

A `Group` is a set of nodes that all hold; putting demands together is nothing but union, so it loses
nothing and a recursive schema has finitely many groups. A `Flat` is a group with what its nodes say of one
value gathered. A consumer has one `Flat`; a producer has one per alternative that it may choose, so that
each can be followed to its end. Where a producer's demand cannot be followed it is left out: the result
covers at least what the producer emits, and a proof over it holds.

Producer objects are closed: a model under a grammar or in strict mode emits the keys that it declares and
no others, unless the schema says `additionalProperties` itself or has no `properties` at all.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import Any

from registry.schema_judge import Answer
from registry.schema_nodes import KINDS, Condition, Contains, Items, Node, Shape
from registry.schema_regex import matches
from registry.schemas import Work, value_key, weight

MAX_BRANCHES = 64  # alternatives of one producer that are followed apart
_CROWD = "too many to choose"


@dataclass(frozen=True)
class Group:
    """Nodes that all hold of one value.

    `nodes` close an object and declare its keys, `quiet` ones (of a condition) only declare, `given` ones
    were added while comparing and do neither. `chosen` names the alternatives that are settled.
    """

    nodes: tuple[Node, ...] = field(hash=False, compare=False)
    quiet: tuple[Node, ...] = field(hash=False, compare=False)
    given: tuple[Node, ...] = field(hash=False, compare=False)
    chosen: frozenset[Any]
    key: tuple[tuple[int, ...], ...]

    @classmethod
    def of(
        cls,
        nodes: Iterable[Node],
        given: Iterable[Node] = (),
        quiet: Iterable[Node] = (),
        chosen: frozenset[Any] = frozenset(),
    ) -> "Group":
        sides = [
            tuple(sorted({n.key: n for n in part}.values(), key=_by_key)) for part in (nodes, quiet, given)
        ]
        key = tuple(tuple(node.key for node in part) for part in sides)
        return cls(sides[0], sides[1], sides[2], chosen, key)

    def also(self, *given: Node) -> "Group":
        """Return the group with more that is known of the value."""
        return Group.of(self.nodes, (*self.given, *given), self.quiet, self.chosen)


def _by_key(node: Node) -> int:
    return node.key


def pieces(nodes: Iterable[Node]) -> dict[int, Node]:
    """Return the nodes and all that they demand of the same value by `allOf` and `$ref`."""
    found: dict[int, Node] = {}
    todo = list(nodes)
    while todo:
        node = todo.pop()
        if node.key not in found:
            found[node.key] = node
            todo.extend(node.all)
    return found


class Flat:
    """What a group demands of one value, gathered: every node in it, and what it may not be closed by.

    Looking may raise `TooMuchWork`.
    """

    def __init__(self, group: Group, work: Work, *, producer: bool, closed: bool = False) -> None:
        self.group, self.work, self.producer = group, work, producer
        self.own = [*group.nodes, *group.quiet]
        self.nodes = list({node.key: node for node in (*self.own, *group.given)}.values())
        work.spend(len(self.nodes))
        self.shapes = [shape for node in self.nodes for shape in _shapes(node, work, producer=producer)]
        self.own_shapes = {id(shape) for node in self.own for shape in node.shapes}
        declares = any(shape.rest is None for node in group.nodes for shape in node.shapes)
        said = any(shape.rest is not None for node in self.own for shape in node.shapes)
        self.closed = closed and declares and not said and all(node.rest_names is None for node in self.own)

    # ------------------------------------------------------------------------------------------ one value

    @cached_property
    def kinds(self) -> frozenset[str]:
        return (
            frozenset()
            if any(n.never for n in self.nodes)
            else KINDS.intersection(*(n.kinds for n in self.nodes))
        )

    @cached_property
    def enum(self) -> list[Any] | None:
        """The fixed values that every node with an `enum` lists."""
        listed = [node for node in self.nodes if node.enum is not None]
        if not listed:
            return None
        if len(listed) == 1:
            return list(listed[0].enum or ())
        self.work.spend(weight(list(listed[0].enum or ())))
        rest = [node.enum_keys for node in listed[1:]]
        return [v for v in listed[0].enum or () if all(value_key(v) in keys for keys in rest)]

    @cached_property
    def low(self) -> tuple[Fraction, int] | None:
        return max((node.low for node in self.nodes if node.low is not None), default=None)

    @cached_property
    def high(self) -> tuple[Fraction, int] | None:
        return min((node.high for node in self.nodes if node.high is not None), default=None)

    @cached_property
    def lengths(self) -> tuple[int, int | None]:
        return self._between("min_length", "max_length")

    @cached_property
    def sizes(self) -> tuple[int, int | None]:
        """How many items an array may have."""
        return self._between("min_items", "max_items")

    def _between(self, low: str, high: str) -> tuple[int, int | None]:
        most = [getattr(node, high) for node in self.nodes if getattr(node, high) is not None]
        return max((getattr(node, low) for node in self.nodes), default=0), min(most, default=None)

    def _gathered(self, name: str) -> list[Any]:
        return list(dict.fromkeys(item for node in self.nodes for item in getattr(node, name)))

    @cached_property
    def steps(self) -> list[Fraction]:
        return self._gathered("steps")

    @cached_property
    def patterns(self) -> list[str]:
        return self._gathered("patterns")

    @cached_property
    def formats(self) -> list[str]:
        return self._gathered("formats")

    @cached_property
    def contains(self) -> list[Contains]:
        return self._gathered("contains")

    @cached_property
    def names(self) -> list[Node]:
        return self._gathered("names")

    @cached_property
    def unsure(self) -> list[str]:
        return self._gathered("unsure")

    @property
    def unique(self) -> bool:
        return any(node.unique for node in self.nodes)

    # ----------------------------------------------------------------------------------------------- items

    @cached_property
    def items(self) -> list[Items]:
        found = [items for node in self.nodes for items in node.items]
        extra = (
            _items_left(node, self.work, producer=self.producer)
            for node in self.nodes
            if node.rest_items is not None
        )
        return found + [items for items in extra if items is not None]

    @property
    def longest_prefix(self) -> int:
        return max((len(items.prefix) for items in self.items), default=0)

    def item(self, place: int) -> Group:
        """Return what is demanded of the item at `place`."""
        self.work.spend(4)
        about = (i.prefix[place] if place < len(i.prefix) else i.rest for i in self.items)
        return Group.of(node for node in about if node is not None)

    # ------------------------------------------------------------------------------------------------ keys

    @cached_property
    def required(self) -> frozenset[str]:
        """The keys that are always there, those that others bring along included."""
        return frozenset(self.along(name for node in self.nodes for name in node.required))

    @cached_property
    def brings(self) -> dict[str, list[str]]:
        """The keys that come along with one (`dependentRequired`)."""
        found: dict[str, list[str]] = {}
        for node in self.nodes:
            self.work.spend(len(node.together))
            for name, more in node.together:
                found.setdefault(name, []).extend(more)
        return found

    def along(self, names: Iterable[str]) -> list[str]:
        """Return the names, in order, with all that they bring along."""
        found = dict.fromkeys(names)
        todo = list(found)
        while todo:
            more = self.brings.get(todo.pop(0), ())
            fresh = [name for name in dict.fromkeys(more) if name not in found]
            self.work.spend(1 + len(more))
            found.update(dict.fromkeys(fresh))
            todo += fresh
        return list(found)

    @cached_property
    def name_counts(self) -> tuple[int, int | None]:
        return self._between("min_names", "max_names")

    @cached_property
    def declared(self) -> list[str]:
        """Every key that some schema here names, in the order of the document."""
        return list(dict.fromkeys(name for shape in self.shapes for name in shape.properties))

    def child(self, name: str) -> Group | None:
        """Return what is demanded of the value at a key; None where the producer never writes that key.

        For a producer, what a doubtful pattern might demand is left out.
        """
        found: list[Node] = []
        extra: list[Node] = []
        declared = False
        self.work.spend(4 + len(self.shapes))  # a group is dearer than a look
        for shape in self.shapes:
            about, known = demanded(shape, name, self.work)
            (found if id(shape) in self.own_shapes else extra).extend(about)
            declared = declared or (id(shape) in self.own_shapes and known is not False)
        if (self.closed and not declared) or any(node.never for node in (*found, *extra)):
            return None
        return Group.of(found, extra)

    @property
    def free(self) -> bool:
        """Whether keys that nothing here names may be written."""
        if self.closed:
            return False
        return not any(
            shape.rest is not None and shape.rest.never and not shape.patterns for shape in self.shapes
        )


def demanded(shape: Shape, name: str, work: Work) -> tuple[list[Node], Answer]:
    """Return what a shape surely demands at a key, and whether it is one of its own names."""
    about = [shape.properties[name]] if name in shape.properties else []
    known: Answer = name in shape.properties
    for pattern, node in shape.patterns:
        matched = matches(pattern, name, work)
        if matched:
            about.append(node)
        known = True if known or matched else None if matched is None else known
    if known is False and shape.rest is not None:
        about.append(shape.rest)
    return about, known


def _shapes(node: Node, work: Work, *, producer: bool) -> Iterator[Shape]:
    yield from node.shapes
    if node.rest_names is not None:
        left = _names_left(node, work, producer=producer)
        if left is not None:
            yield left


def _names_left(node: Node, work: Work, *, producer: bool) -> Shape | None:
    """Write `unevaluatedProperties` as a shape, None where it leaves nothing.

    For a consumer only names that are surely evaluated count, for a producer all that may be: the consumer
    then accepts no more than it says, the producer emits no less.
    """
    known: dict[str, Node] = {}
    patterns: list[tuple[str, Node]] = []
    anything = Node(0)
    for inner in _same_value(node, work, everywhere=producer):
        if inner is not node and inner.rest_names is not None:
            return None
        for shape in inner.shapes:
            if shape.rest is not None:
                return None
            known.update(dict.fromkeys(shape.properties, anything))
            patterns += [(pattern, anything) for pattern, _ in shape.patterns]
    return Shape(known, tuple(patterns), node.rest_names)


def _items_left(node: Node, work: Work, *, producer: bool) -> Items | None:
    """Write `unevaluatedItems` as items; see `_names_left`."""
    longest, anything = 0, Node(0)
    for inner in _same_value(node, work, everywhere=producer):
        if (inner is not node and inner.rest_items is not None) or (producer and inner.contains):
            return None
        for items in inner.items:
            if items.rest is not None:
                return None
            longest = max(longest, len(items.prefix))
    return Items((anything,) * longest, node.rest_items)


def _same_value(node: Node, work: Work, *, everywhere: bool) -> Iterator[Node]:
    """Yield the nodes about the same value: those that always hold, or `everywhere` also those that may."""
    seen, todo = set[int](), [node]
    while todo:
        inner = todo.pop()
        if inner.key not in seen:
            work.spend()
            seen.add(inner.key)
            yield inner
            todo.extend(inner.about_itself() if everywhere else inner.all)


# ---------------------------------------------------------------------------------------------- two sides


class Sides:
    """Makes and keeps the flat forms of groups while one comparison lasts. May raise `TooMuchWork`."""

    def __init__(self, work: Work, *, closed: bool = True) -> None:
        self.work, self.open = work, not closed
        self._consumers: dict[Any, Flat] = {}
        self._producers: dict[Any, list[Flat]] = {}

    def demands(self, group: Group) -> Flat:
        """Return all that a consumer demands."""
        key = (group.key, group.chosen)
        flat = self._consumers.get(key)
        if flat is None:
            own = pieces(group.nodes)
            self.work.spend(len(own))
            flat = self._consumers[key] = Flat(Group.of(own.values()), self.work, producer=False)
        return flat

    def branches(self, group: Group) -> list[Flat]:
        """Return the alternatives of a producer, those left out that emit nothing."""
        key = (group.key, group.chosen)
        found = self._producers.get(key)
        if found is None:
            found = self._producers[key] = [flat for flat in self._alternatives(group) if flat.kinds]
        return found

    def sizes(self, p: Flat) -> tuple[int, int | None]:
        """Return how many items an array may have; none comes after a place where no value can be."""
        least, most = p.sizes
        for place in range(min(p.longest_prefix + 1, p.longest_prefix + 1 if most is None else most)):
            if not self.branches(p.item(place)):
                return least, place
        return least, most

    def _alternatives(self, group: Group) -> Iterator[Flat]:
        """Follow every alternative; past `MAX_BRANCHES` the rest stay unchosen and the object open."""
        given = list(pieces(group.given).values())
        todo = [(pieces(group.nodes), pieces(group.quiet), group.chosen)]
        done = 0
        while todo:
            closing, quiet, chosen = todo.pop()
            self.work.spend(len(closing) + len(quiet))
            unions = [union for union in _unions({**closing, **quiet}) if union[0] not in chosen]
            name, alternatives = unions[0] if unions and _CROWD not in chosen else (None, [])
            crowded = done + len(todo) + len(alternatives) > MAX_BRANCHES or _CROWD in chosen
            if name is None or crowded:
                done += 1
                settled = chosen | {_CROWD} if crowded else chosen
                grown = Group.of(closing.values(), given, quiet.values(), settled)
                yield Flat(grown, self.work, producer=True, closed=not (self.open or crowded))
                continue
            for nodes in reversed(alternatives):
                more = pieces(nodes)
                if any(node.never for node in more.values()):
                    continue
                sides = (closing, {**quiet, **more}) if "if" in name else ({**closing, **more}, quiet)
                todo.append((*sides, chosen | {name}))


def _unions(own: dict[int, Node]) -> list[tuple[Any, list[list[Node]]]]:
    """Return the choices in a set of nodes, each with an identity and what each alternative adds."""
    found: list[tuple[Any, list[list[Node]]]] = []
    for node in own.values():
        for word, groups in (("any", node.any), ("one", node.one)):
            found += [((node.key, word, n), [[part] for part in group]) for n, group in enumerate(groups)]
        found += [
            ((node.key, "if", n), _outcomes(condition))
            for n, condition in enumerate(node.ifs)
            if condition.then is not condition.otherwise
        ]
    return found


def _outcomes(condition: Condition) -> list[list[Node]]:
    return [[condition.test, condition.then], [condition.otherwise]]
