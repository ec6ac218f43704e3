"""Alternatives, conditions and `not` that a consumer demands of a producer's arrays and objects.

One part of the walk (`registry.schema_walk`), apart because it is the only one that takes a producer to pieces: by
the few values of a key that tells its alternatives from each other, or by whether an optional key is there.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from registry.schema_flat import Flat, Group
from registry.schema_nodes import Condition, Node, Shape
from registry.schema_places import Ground, Place
from registry.schemas import value_key

MAX_BRANCH_PLACES = 4  # kept of an alternative that does not take everything
MAX_CASES = 12  # values by which a producer is taken apart at once


class Branches:
    """Compares with a consumer that offers a choice. Methods may raise `TooMuchWork`."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground

    def places(self, p: Group, c: Node, path: str, splits: int) -> Iterator[Place]:
        """Alternatives, conditions and `not`, for arrays and objects."""
        for word, groups in (("anyOf", c.any), ("oneOf", c.one)):
            for group in groups:
                yield from self.branch_places(word, p, group, path, splits)
        for condition in c.ifs:
            yield from self.condition_places(p, condition, path, splits)
        for part in c.nots:
            yield from self.not_places(p, part, path, splits)

    def branch_places(
        self, word: str, p: Group, branches: Sequence[Node], path: str, splits: int
    ) -> list[Place]:
        """One branch must take everything; for `oneOf` the others must take nothing."""
        near = [node for node in branches if self.ground.apart.path(p, Group.of([node]), path) is None]
        if len(near) == 1:
            return self.ground.places(p, Group.of(near), path, splits)
        found = []
        for node in near:
            places = self.ground.places(p, Group.of([node]), path, 0)
            if not places and word == "anyOf":
                return []
            found.append(places[:MAX_BRANCH_PLACES])
        cases = self.cases(p, near, splits) if near else []
        if cases:
            return self.each_case(
                cases, lambda case: self.branch_places(word, case, branches, path, splits - 1)
            )
        tries = list(self.ground.examples.of(p))
        tries += [value for places in found for place in places for value in place.candidates[:2]]
        how = "one of the alternatives" if word == "anyOf" else "exactly one of the alternatives"
        return [Place(path, word, f"not every value is seen to fit {how}", tuple(tries))]

    def condition_places(self, p: Group, c: Condition, path: str, splits: int) -> list[Place]:
        """What passes the test must meet `then`, the rest `else`."""
        test, then, otherwise = (Group.of([node]) for node in (c.test, c.then, c.otherwise))
        if self.ground.apart.path(p, test, path) is not None:
            return self.ground.places(p, otherwise, path, splits)
        if not self.ground.places(p, test, path, 0):
            return self.ground.places(p, then, path, splits)
        cases = self.cases(p, [c.test], splits)
        if cases:
            return self.each_case(cases, lambda case: self.condition_places(case, c, path, splits - 1))
        found = [
            *self.ground.places(p.also(c.test), then, path, 0),
            *self.ground.places(p, otherwise, path, 0),
        ]
        if not found:
            return []
        tries = [*(v for place in found for v in place.candidates), *self.ground.examples.of(p)]
        return [Place(path, "if", "what a condition demands is not seen to be met", tuple(tries))]

    def not_places(self, p: Group, part: Node, path: str, splits: int) -> list[Place]:
        if self.ground.apart.path(p, Group.of([part]), path) is not None:
            return []
        cases = self.cases(p, [part], splits)
        if cases:
            return self.each_case(cases, lambda case: self.not_places(case, part, path, splits - 1))
        tries = (*self.ground.examples.of(p.also(part)), *self.ground.examples.of(p))
        return [Place(path, "not", "what `not` forbids is not seen to be avoided", tries)]

    def each_case(self, cases: Iterable[Group], look: Callable[[Group], Iterable[Place]]) -> list[Place]:
        found: list[Place] = []
        for case in cases:
            found += look(case)
            if len(found) >= MAX_BRANCH_PLACES:
                break
        return found

    def cases(self, p: Group, about: Sequence[Node], splits: int) -> list[Group]:
        """Take objects apart by one key that `about` speaks of: by its few values, or by whether it is there."""
        flats = self.ground.sides.branches(p)
        if splits <= 0 or not flats:
            return []
        if len(flats) > 1:
            return [flat.group for flat in flats]
        flat = flats[0]
        if flat.kinds != {"object"}:
            return []
        for name in self.spoken_of(about):
            child = flat.child(name)
            if child is None or not self.ground.sides.branches(child):
                continue
            values = self.few_values(child)
            if values is not None and name in flat.required and len(values) > 1:
                return [p.also(self.holding(name, value)) for value in values]
            if name not in flat.required:
                has = self.ground.having(name)
                return [p.also(has), p.also(self.lacking_key(name))]
        return []

    def spoken_of(self, about: Sequence[Node]) -> list[str]:
        """Return the keys that demands on objects name, those that fix a value first."""
        flats = [self.ground.sides.demands(Group.of([node])) for node in about]
        names = dict.fromkeys(name for flat in flats for name in (*flat.required, *flat.declared))
        fixing = [n for n in names if any(self.fixes(flat, n) for flat in flats)]
        return [*sorted(fixing), *sorted(n for n in names if n not in fixing)]

    def fixes(self, flat: Flat, name: str) -> bool:
        return any(name in s.properties and s.properties[name].enum is not None for s in flat.shapes)

    def few_values(self, child: Group) -> list[Any] | None:
        """Return every value of a producer that has few, None for one that has many."""
        found: list[Any] = []
        for flat in self.ground.sides.branches(child):
            if flat.enum is not None:
                found += flat.enum
            elif flat.kinds <= {"null", "boolean"}:
                found += [
                    value for kind in sorted(flat.kinds) for value in self.ground.examples.of_kind(kind, flat)
                ]
            else:
                return None
        different = list({value_key(value): value for value in found}.values())
        return different if len(different) <= MAX_CASES else None

    def holding(self, name: str, value: Any) -> Node:
        only = self.ground.demand(("value", value_key(value)), enum=(value,))
        return self.ground.demand(("holds", name, value_key(value)), shapes=(Shape({name: only}, (), None),))

    def lacking_key(self, name: str) -> Node:
        nothing = self.ground.demand(("nothing",), never=True)
        return self.ground.demand(("lacks", name), shapes=(Shape({name: nothing}, (), None),))
