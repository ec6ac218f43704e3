"""What every part of a walk over two schemas is made of: the places found, and the ground that all parts stand on.

Apart, because the parts (arrays, objects, branches) need each other through the walk and must not import it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from registry.schema_apart import Apart
from registry.schema_examples import MAX_EXAMPLES, Examples
from registry.schema_flat import Flat, Group, Sides
from registry.schema_nodes import Keys, Node
from registry.schema_same import Sameness
from registry.schemas import Work

MAX_PLACES = 24  # for one pair of schemas
MAX_SPLITS = 5  # times one producer is taken apart to find its alternative


@dataclass(frozen=True)
class Place:
    """Somewhere that inclusion is not proved, with whole values that may show the opposite."""

    path: str
    rule: str
    reason: str
    candidates: tuple[Any, ...] = ()

    def lifted(self, wrap: Callable[[Any], Any]) -> "Place":
        """Return the place with each candidate put into what surrounds it; `wrap` answers None for cannot."""
        whole = (wrap(value) for value in self.candidates[:MAX_EXAMPLES])
        return replace(self, candidates=tuple(value for value in whole if value is not None))


class Ground(ABC):
    """What all parts of one comparison share. Every method may raise `TooMuchWork`."""

    def __init__(self, keys: Keys, work: Work, *, closed: bool) -> None:
        self.keys, self.work = keys, work
        self.sides = Sides(work, closed=closed)
        self.examples = Examples(self.sides, work)
        self.same = Sameness(work)
        self.apart = Apart(keys, self.sides, work)
        self.extra: dict[Any, Node] = {}  # demands made up while comparing, each once

    @abstractmethod
    def places(self, p: Group, c: Group, path: str, splits: int = MAX_SPLITS) -> list[Place]:
        """Return where the producer `p` may leave the consumer `c`."""

    def demand(self, name: tuple[str, ...], **demands: Any) -> Node:
        """Return a demand made up while comparing; the same name is the same node."""
        if name not in self.extra:
            self.extra[name] = self.keys.node(**demands)
        return self.extra[name]

    def having(self, name: str) -> Node:
        """Return the demand that an object has a key."""
        return self.demand(("has", name), required=(name,), kinds=frozenset(["object"]))

    def around(self, p: Flat, given: dict[str, Any], names: tuple[str, ...] = ()) -> tuple[Any, ...]:
        made = self.examples.object_with(p, given, names)
        return () if made is None else (made,)

    def into(self, p: Flat, name: str) -> Callable[[Any], Any]:
        return lambda value: self.examples.object_with(p, {name: value})
