"""The arrays of a producer beside those that a consumer accepts: sizes, items in order, repeats, `contains`.

One part of the walk (`registry.schema_walk`), apart because nothing here knows of keys or alternatives.
"""

from collections.abc import Callable
from typing import Any

from registry.schema_apart import step
from registry.schema_flat import Flat, Group
from registry.schema_judge import judge_all
from registry.schema_nodes import Contains
from registry.schema_places import Ground, Place


class Arrays:
    """Compares arrays. Methods may raise `TooMuchWork`."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground

    def places(self, p: Flat, c: Flat, path: str) -> list[Place]:
        found: list[Place] = []
        (least, most), (low, high) = self.ground.sides.sizes(p), c.sizes
        if least < low:
            tries = self.sized(p, least, low - 1)
            found.append(
                Place(path, "minItems", f"may have {least} items, at least {low} are accepted", tries)
            )
        if high is not None and (most is None or most > high):
            reason = f"may have more than the {high} items accepted"
            found.append(Place(path, "maxItems", reason, self.sized(p, high + 1)))
        if c.unique and not p.unique and (most is None or most > 1):
            reason = "may repeat an item, different ones are accepted"
            found.append(Place(path, "uniqueItems", reason, self.repeating(p)))
        for contains in c.contains:
            found += self.contains_places(p, contains, path)
        for number in range(max(p.longest_prefix, c.longest_prefix) + 1):
            if most is not None and number >= most:
                break
            mine = p.item(number)
            name = ("prefixItems", str(number)) if number < p.longest_prefix else ("items",)
            for place in self.ground.places(mine, c.item(number), step(path, *name)):
                found.append(place.lifted(self.at(p, number)))
        return found

    def sized(self, p: Flat, *sizes: int) -> tuple[Any, ...]:
        return tuple(self.ground.examples.arrays(p, [size for size in sizes if size >= 0]))

    def repeating(self, p: Flat) -> tuple[Any, ...]:
        pairs = [
            self.ground.examples.array_of(p, 2, {0: item, 1: item})
            for item in self.ground.examples.of(p.item(0))
        ]
        return (*(pair for pair in pairs if pair is not None), *self.sized(p, 2, 3))

    def at(self, p: Flat, number: int) -> Callable[[Any], Any]:
        return lambda value: self.ground.examples.array_of(p, max(number + 1, p.sizes[0]), {number: value})

    def contains_places(self, p: Flat, c: Contains, path: str) -> list[Place]:
        """Enough items that surely fit, and not too many that may."""
        least, most = self.ground.sides.sizes(p)
        wanted, reach = Group.of([c.node]), p.longest_prefix
        rest_fits = least > reach and not self.ground.places(p.item(reach), wanted, path)
        sure = sum(not self.ground.places(p.item(n), wanted, path) for n in range(min(least, reach)))
        sure += (least - reach) * rest_fits
        inside = [
            m.least
            for m in p.contains
            if not self.ground.places(p.item(reach).also(m.node), wanted, path) and not reach
        ]
        found: list[Place] = []
        if max([sure, *inside]) < c.least:
            reason = "not every array is seen to contain what is asked for"
            tries = (*self.sized(p, 0, 1), *self.lacking(p, c))
            found.append(Place(path, "contains", reason, tries))
        if c.most is not None and (most is None or most > c.most):
            possible = sum(
                self.ground.apart.path(p.item(n), wanted, path) is None
                for n in range(min(most or reach, reach))
            )
            if possible > c.most or self.ground.apart.path(p.item(reach), wanted, path) is None:
                reason = f"may contain more than {c.most} of what is asked for"
                found.append(Place(path, "maxContains", reason, self.sized(p, c.most + 1)))
        return found

    def lacking(self, p: Flat, c: Contains) -> tuple[Any, ...]:
        """Return arrays whose items do not fit, where such an item is known."""
        strange = [
            v for v in self.ground.examples.of(p.item(0)) if judge_all([c.node], v, self.ground.work) is False
        ]
        size = max(p.sizes[0], 1)
        made = (
            self.ground.examples.array_of(p, size, dict.fromkeys(range(size), v))
            for v in strange[:2]
            if size < 9
        )
        return tuple(array for array in made if array is not None)
