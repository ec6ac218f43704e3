"""The walk over a producer's and a consumer's schema, side by side.

Each method returns the places where the producer's side is not seen to lie inside the consumer's, with
values worth trying there. No place is a proof; a place proves nothing until a value is confirmed
(`registry.inclusion`). A pair of schemas that is met again inside itself is taken to hold: values are finite,
so a proof that only needs itself about a smaller value is one (and places found later take it back).

Here stands the order in which things are looked at, and what needs no structure: kinds, fixed values, scalars.
`registry.schema_arrays`, `schema_objects` and `schema_branches` come back here for what lies inside.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from registry import schema_scalars as scalars
from registry.schema_arrays import Arrays
from registry.schema_branches import Branches
from registry.schema_flat import Flat, Group
from registry.schema_nodes import Keys, Node
from registry.schema_objects import Objects
from registry.schema_places import MAX_PLACES, MAX_SPLITS, Ground, Place
from registry.schema_same import says_nothing
from registry.schemas import UNSURE, Work


class Walk(Ground):
    """One comparison. Every method may raise `TooMuchWork`."""

    def __init__(self, keys: Keys, work: Work, *, closed: bool) -> None:
        super().__init__(keys, work, closed=closed)
        self.arrays, self.objects, self.branches = Arrays(self), Objects(self), Branches(self)
        self.held: dict[Any, None] = {}  # pairs that are proved, or being proved

    def places(self, p: Group, c: Group, path: str, splits: int = MAX_SPLITS) -> list[Place]:
        """Return where the producer `p` may leave the consumer `c`."""
        self.work.spend()
        pair = (p.key, p.chosen, c.key)
        if pair in self.held:
            return []
        mark = len(self.held)
        self.held[pair] = None
        found: list[Place] = []
        for flat in self.sides.branches(p):
            found += self.flat_places(flat, c, path, splits)
            if len(found) >= MAX_PLACES:
                break
        if found:
            for late in list(self.held)[mark:]:
                del self.held[late]
        return found[:MAX_PLACES]

    def flat_places(self, p: Flat, c: Group, path: str, splits: int) -> list[Place]:
        """As `places`, for one alternative of the producer."""
        stated = (node for node in self.sides.demands(c).own if not self.same.among(node, p.nodes))
        demands = [node for node in map(self.alone, stated) if not says_nothing(node)]
        if not demands:
            return []
        wanted = Flat(Group.of(demands), self.work, producer=False)
        if p.enum is not None:
            return self.fixed_places(p, demands, path)
        found = self.strange_kinds(p, wanted, path)
        kinds = p.kinds & wanted.kinds
        for kind in sorted(kinds - {"array", "object"} - ({"fraction"} if "integer" in kinds else set())):
            places = self.scalar_places(kind, p, demands, path)
            found += [place for place in places if place.rule != "type" or not found]
        for kind in sorted(kinds & {"array", "object"}):
            found += self.structure_places(kind, p, wanted, path, splits)
        return found

    def alone(self, node: Node) -> Node:
        """Return the node without the ones that it demands beside itself: those are walked over by themselves."""
        if not node.all or node.rest_names is not None or node.rest_items is not None:
            return node
        name = ("alone", str(node.key))
        if name not in self.extra:
            self.extra[name] = replace(node, key=self.keys.node().key, all=())
        return self.extra[name]

    def fixed_places(self, p: Flat, demands: Sequence[Node], path: str) -> list[Place]:
        """Try each value of a producer that has few: exact whatever the consumer's keywords are."""
        tried = scalars.fixed(p.enum or [], p, demands, self.work)
        found = []
        if tried.refused:
            rule, _ = scalars.unmet(demands, tried.refused[0], self.work)
            reason = f"{scalars.several(tried.refused)} is not accepted"
            found.append(Place(path, rule, reason, tried.refused))
        if tried.doubtful:
            found.append(Place(path, *scalars.doubtful(tried.doubtful[0], demands, self.work)))
        return found

    def strange_kinds(self, p: Flat, c: Flat, path: str) -> list[Place]:
        strange = p.kinds - c.kinds
        if "integer" in p.kinds and "fraction" in strange and not self.fractions(p):
            strange = strange - {"fraction"}
        if not strange:
            return []
        if any(node.never for node in c.nodes):
            return [Place(path, "false", "nothing is accepted here", tuple(self.examples.of_flat(p)))]
        tries = [v for kind in sorted(strange) for v in self.examples.of_kind(kind, p)[:2]]
        reason = f"emits {scalars.named(strange)}, accepted is {scalars.named(c.kinds)}"
        return [Place(path, "type", reason, tuple(tries))]

    def fractions(self, p: Flat) -> bool:
        """Whether the producer's steps leave room for numbers that are not whole."""
        return not any(step.denominator == 1 for step in p.steps)

    def scalar_places(self, kind: str, p: Flat, demands: Sequence[Node], path: str) -> list[Place]:
        tried = scalars.of_kind(kind, p, demands, self.work)
        if tried.proved:
            return []
        if tried.refused:
            return [Place(path, *scalars.unmet(demands, tried.refused[0], self.work), tried.refused)]
        if tried.doubtful:
            return [Place(path, *scalars.doubtful(tried.doubtful[0], demands, self.work))]
        return [Place(path, *scalars.doubt(p, demands, kind, self.work))]

    def structure_places(self, kind: str, p: Flat, c: Flat, path: str, splits: int) -> list[Place]:
        """As `places`, for the arrays or the objects of a producer, where the consumer takes some."""
        kind_node = self.demand(("kind", kind), kinds=frozenset([kind]))
        if c.enum is not None:
            accepted = scalars.several(c.enum)
            tries = tuple(self.examples.of_kind(kind, p))
            return [Place(path, "enum", f"emits any {kind}, accepted are {accepted}", tries)]
        found = [
            Place(path, UNSURE, reason, tuple(self.examples.of_kind(kind, p))) for reason in c.unsure[:1]
        ]
        found += (
            self.arrays.places(p, c, path) if kind == "array" else self.objects.places(p, c, path, splits)
        )
        group = p.group.also(kind_node)
        for node in c.nodes:
            found += self.branches.places(group, node, path, splits)
        return found
