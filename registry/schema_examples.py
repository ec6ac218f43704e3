"""Values that a producer probably emits: what a witness is made of.

Only suggestions, made simplest first and in bounded number; whoever uses one lets it be judged. A schema
that asks for itself inside itself without end has no example, and gets none.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from registry import schema_numbers, schema_text
from registry.schema_flat import Flat, Group, Sides
from registry.schema_judge import judge_all
from registry.schema_nodes import KINDS
from registry.schemas import Work, value_key, weight

MAX_WEIGHT = 10_000  # JSON values in one example
MAX_ITEMS = 32  # longest array that is made up
MAX_EXAMPLES = 6  # for one schema
FRESH_NAMES = ("unnamed_key", "other_key", "third_key")
_ORDER = ("string", "integer", "fraction", "boolean", "null", "object", "array")


class Examples:
    """Makes examples for one comparison and keeps them. Every method may raise `TooMuchWork`."""

    def __init__(self, sides: Sides, work: Work) -> None:
        self.sides, self.work = sides, work
        self.made: dict[Any, list[Any]] = {}

    def of(self, group: Group) -> list[Any]:
        """Return up to `MAX_EXAMPLES` values, of different kinds where the group allows several."""
        key = (group.key, group.chosen)
        found = self.made.get(key)
        if found is None:
            self.made[key] = []  # asked again while being made: a schema inside itself
            branches = self.sides.branches(group)
            each = 2 if len(branches) > 1 else MAX_EXAMPLES
            every = [value for flat in branches[: 2 * MAX_EXAMPLES] for value in self.of_flat(flat)[:each]]
            found = self.made[key] = _different(every)[: 2 * MAX_EXAMPLES]
        return found

    def of_flat(self, flat: Flat) -> list[Any]:
        """As `of`, for one alternative."""
        self.work.spend()
        if flat.enum is not None:
            return flat.enum[:MAX_EXAMPLES]
        kinds = [kind for kind in _ORDER if kind in flat.kinds]
        each = MAX_EXAMPLES if len(kinds) < 3 else 1
        found = [value for kind in kinds for value in self.of_kind(kind, flat)[:each]]
        return found[: max(MAX_EXAMPLES, len(KINDS))]

    def of_kind(self, kind: str, flat: Flat) -> list[Any]:
        if kind in ("null", "boolean"):
            return [None] if kind == "null" else [False, True]
        if kind == "string":
            return list(schema_text.some_texts(flat, self.work))
        if kind in ("integer", "fraction"):
            return self.numbers(kind, flat)
        if kind == "array":
            return self.arrays(flat)
        return self.objects(flat)

    def numbers(self, kind: str, flat: Flat) -> list[Any]:
        points, _ = schema_numbers.points(flat, (), self.work)
        whole = [point for point in points if (point.denominator == 1) == (kind == "integer")]
        return [value for value in map(schema_numbers.as_json, whole[:MAX_EXAMPLES]) if value is not None]

    # ------------------------------------------------------------------------------------------ structures

    def arrays(self, flat: Flat, sizes: Iterable[int] = ()) -> list[Any]:
        """Return arrays of the least size, of one and two more, and of the further `sizes`."""
        least, most = flat.sizes
        wanted = dict.fromkeys((*sizes, least, least + 1, least + 2))
        made = [self.array_of(flat, n) for n in wanted if n >= least and (most is None or n <= most)]
        return [array for array in made if array is not None]

    def array_of(self, flat: Flat, size: int, given: Mapping[int, Any] | None = None) -> list[Any] | None:
        """Return an array of `size` items with those `given` at their places, or None."""
        if size > MAX_ITEMS:
            return None
        out: list[Any] = []
        given = given or {}
        for place in range(size):
            choices = [given[place]] if place in given else self.choices(flat, place)
            if flat.unique:
                held = {value_key(item) for item in (*out, *(v for n, v in given.items() if n > place))}
                choices = [choice for choice in choices if value_key(choice) not in held]
            if not choices:
                return None
            out.append(choices[0])
        return out if self.affordable(out) else None

    def choices(self, flat: Flat, place: int) -> list[Any]:
        """Return examples of an item; the first ones also meet what the array has to contain."""
        item = flat.item(place)
        asked = [contains.node for contains in flat.contains for _ in range(min(contains.least, MAX_ITEMS))]
        first = self.of(item.also(asked[place])) if place < len(asked) else []
        return [*first, *self.of(item)]

    def objects(self, flat: Flat) -> list[Any]:
        """Return the smallest object, the one with every declared key, and some with one besides."""
        declared = tuple(flat.declared)
        fresh = FRESH_NAMES[:1] if flat.free else ()
        samples = (
            schema_text.sample([p], [], (), self.work).text
            for shape in flat.shapes
            for p, _ in shape.patterns
        )
        fresh = (*fresh, *(name for name in samples if name is not None))[:3]
        sets: list[tuple[str, ...]] = [
            (),
            declared,
            *((name,) for name in declared[: MAX_EXAMPLES - 2]),
            fresh,
        ]
        made = [self.object_with(flat, {}, names) for names in dict.fromkeys(sets)]
        return _different([item for item in made if item is not None])

    def object_with(
        self, flat: Flat, given: Mapping[str, Any], names: Iterable[str] = ()
    ) -> dict[str, Any] | None:
        """Return `given` with what is required, and `names` besides; None if a required one has no example."""
        out = dict(given)
        wanted = flat.along([*flat.required, *out, *names])
        spare = (name for name in (*flat.declared, *FRESH_NAMES) if name not in wanted)
        while len(set(wanted) | out.keys()) < flat.name_counts[0] and (more := next(spare, None)) is not None:
            wanted.append(more)
        for name in wanted:
            if name in out:
                continue
            about = flat.child(name)
            choices = self.of(about) if about is not None else []
            if choices:
                out[name] = choices[0]
            elif name in flat.required:
                return None
        return out if self.affordable(out) else None

    def affordable(self, value: Any) -> bool:
        """Whether a value is small enough to look at: parts that stand in it twice count twice."""
        steps = weight(value, most=MAX_WEIGHT)
        self.work.spend(1 + (steps >> 1))
        return steps < MAX_WEIGHT

    # ------------------------------------------------------------------------------------------- emitting

    def emits(self, group: Group, value: Any) -> bool:
        """Whether some alternative of the producer, closed as it is, may allow the value."""
        for flat in self.sides.branches(group):
            if judge_all(flat.nodes, value, self.work) is not False and self.allows(flat, value):
                return True
        return False

    def allows(self, flat: Flat, value: Any) -> bool:
        if isinstance(value, list):
            return all(self.emits(flat.item(place), item) for place, item in enumerate(value))
        if isinstance(value, dict):
            children = ((flat.child(name), item) for name, item in value.items())
            return all(about is not None and self.emits(about, item) for about, item in children)
        return True


def _different(values: list[Any]) -> list[Any]:
    return list({value_key(value): value for value in values}.values())
