"""What the schemas of a document demand, as values: one `Node` for each schema, references followed.

Nodes form a graph that may lead back to itself, as recursive schemas do; each says only what its own
keywords demand. What is not understood, or means different things to different readers, is kept as a reason
in `unsure`, so that nobody downstream takes silence for consent. Apart from the reading that makes them
(`registry.schema_reading`), because everything that compares looks at nodes and never at JSON.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from fractions import Fraction
from typing import Any

from registry.schemas import value_key

KINDS = frozenset(("null", "boolean", "object", "array", "integer", "fraction", "string"))


@dataclass(frozen=True, eq=False)
class Items:
    """`prefix[i]` is about item i; `rest` about the others, None where nothing is said of them."""

    prefix: tuple["Node", ...]
    rest: "Node | None"


@dataclass(frozen=True, eq=False)
class Contains:
    """From `least` to `most` items fit `node`; `most` None is any number."""

    node: "Node"
    least: int
    most: int | None


@dataclass(frozen=True, eq=False)
class Shape:
    """What one schema says of an object's keys; `rest` None where it says nothing of the others."""

    properties: dict[str, "Node"]
    patterns: tuple[tuple[str, "Node"], ...]
    rest: "Node | None"


@dataclass(frozen=True, eq=False)
class Condition:
    """`if`, `then` and `else`; a missing branch is the schema that accepts everything."""

    test: "Node"
    then: "Node"
    otherwise: "Node"


@dataclass(eq=False)
class Node:
    """The demands of one schema; all of them hold. `key` is unique among all that are compared together.

    Bounds are (number, 1 or -1 when the number itself is left out). `kinds` tells whole numbers
    (`integer`) from the others (`fraction`).
    """

    key: int
    never: bool = False
    kinds: frozenset[str] = KINDS
    enum: tuple[Any, ...] | None = None
    low: tuple[Fraction, int] | None = None
    high: tuple[Fraction, int] | None = None
    steps: tuple[Fraction, ...] = ()
    min_length: int = 0
    max_length: int | None = None
    patterns: tuple[str, ...] = ()
    formats: tuple[str, ...] = ()
    min_items: int = 0
    max_items: int | None = None
    unique: bool = False
    items: tuple[Items, ...] = ()
    contains: tuple[Contains, ...] = ()
    rest_items: "Node | None" = None
    min_names: int = 0
    max_names: int | None = None
    required: tuple[str, ...] = ()
    shapes: tuple[Shape, ...] = ()
    names: tuple["Node", ...] = ()
    together: tuple[tuple[str, tuple[str, ...]], ...] = ()
    whens: tuple[tuple[str, "Node"], ...] = ()
    rest_names: "Node | None" = None
    all: tuple["Node", ...] = ()
    any: tuple[tuple["Node", ...], ...] = ()
    one: tuple[tuple["Node", ...], ...] = ()
    nots: tuple["Node", ...] = ()
    ifs: tuple[Condition, ...] = ()
    unsure: tuple[str, ...] = ()

    def about_itself(self) -> Iterator["Node"]:
        """Yield the nodes inside that are about the same value, not about a part of it."""
        yield from self.all
        for group in (*self.any, *self.one):
            yield from group
        yield from self.nots
        for condition in self.ifs:
            yield from (condition.test, condition.then, condition.otherwise)
        yield from (node for _, node in self.whens)

    def blur(self, reason: str) -> None:
        """Forget every demand: whatever they were, they are not known any more."""
        blank = Node(self.key, unsure=(reason,))
        for each in fields(Node):
            setattr(self, each.name, getattr(blank, each.name))

    @property
    def enum_keys(self) -> frozenset[str]:
        """The texts that stand for the values of `enum` (`value_key`)."""
        held: frozenset[str] | None = self.__dict__.get("_enum_keys")
        if held is None:
            held = self.__dict__["_enum_keys"] = frozenset(value_key(value) for value in self.enum or ())
        return held


class Keys:
    """Hands out the keys of nodes that are compared together."""

    def __init__(self) -> None:
        self.last = 0

    def node(self, **demands: Any) -> Node:
        self.last += 1
        return Node(self.last, **demands)


def exact_number(value: float) -> Fraction:
    """Return the number that was written: 0.1 is one tenth."""
    return Fraction(value) if isinstance(value, int) else Fraction(repr(value))
