"""The objects of a producer beside those that a consumer accepts: keys by name, by pattern, and by number.

One part of the walk (`registry.schema_walk`), apart because keys have the most rules of all: some are named, some
match a pattern, the rest are whatever nobody names, and one may bring others along.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from registry import schema_text
from registry.schema_apart import step
from registry.schema_examples import FRESH_NAMES
from registry.schema_flat import Flat, Group, demanded
from registry.schema_judge import judge_all
from registry.schema_nodes import Node
from registry.schema_places import MAX_PLACES, Ground, Place
from registry.schema_regex import matches
from registry.schemas import UNSURE


@dataclass(frozen=True)
class _Keys:
    """Keys that nobody names: what they match, what they do not, and what a producer writes there."""

    matching: tuple[str, ...]
    avoiding: tuple[str, ...]
    child: Group
    path: str


class Objects:
    """Compares objects. Methods may raise `TooMuchWork`."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground

    def places(self, p: Flat, c: Flat, path: str, splits: int) -> list[Place]:
        found: list[Place] = []
        for name in sorted(c.required - p.required):
            never = p.child(name) is None
            how = "is never emitted" if never else "may be left out"
            found.append(
                Place(path, "required", f"`{name}` {how} and is required", self.ground.around(p, {}))
            )
        for name in dict.fromkeys((*p.declared, *c.declared)):
            child = p.child(name)
            if child is not None and self.ground.sides.branches(child):
                found += self.property_places(p, c, name, child, path)
            if len(found) >= MAX_PLACES:
                return found
        found += self.other_keys(p, c, path)
        found += self.key_places(p, c, path)
        for node in c.nodes:
            found += self.key_conditions(p, node, path, splits)
        return found

    def property_places(self, p: Flat, c: Flat, name: str, child: Group, path: str) -> Iterator[Place]:
        there = step(path, *(("properties", name) if name in p.declared else ("additionalProperties",)))
        wanted: list[Node] = []
        for shape in c.shapes:
            about, known = demanded(shape, name, self.ground.work)
            wanted += about
            if known is None:
                yield Place(there, UNSURE, f"whether a pattern takes the key `{name}` cannot be told")
        if any(node.never for node in wanted) and not any(name in shape.properties for shape in c.shapes):
            tries = tuple(self.ground.examples.of(child)[:2])
            refused = Place(there, "additionalProperties", f"`{name}` is not a property accepted", tries)
            yield refused.lifted(self.ground.into(p, name))
            return
        for place in self.ground.places(child, Group.of(wanted), there):
            yield place.lifted(self.ground.into(p, name))

    def other_keys(self, p: Flat, c: Flat, path: str) -> list[Place]:
        """Keys that neither side names: those that a pattern of the producer takes, and any others."""
        patterns = [(pattern, node) for shape in p.shapes for pattern, node in shape.patterns]
        sorts = [_Keys((t,), (), Group.of([n]), step(path, "patternProperties", t)) for t, n in patterns]
        rest = [shape.rest for shape in p.shapes if shape.rest is not None]
        if not p.closed:
            avoiding = tuple(pattern for pattern, _ in patterns)
            sorts.append(_Keys((), avoiding, Group.of(rest), step(path, "additionalProperties")))
        return [place for keys in sorts for place in self.keys_like(p, c, keys)]

    def keys_like(self, p: Flat, c: Flat, keys: "_Keys") -> Iterator[Place]:
        """Compare the values at all keys of one sort with each demand that could fall on such a key."""
        named = {*p.declared, *c.declared}
        for shape in c.shapes if self.ground.sides.branches(keys.child) else ():
            theirs = tuple(pattern for pattern, _ in shape.patterns)
            found = [((pattern,), (), node) for pattern, node in shape.patterns]
            rest = [((), theirs, shape.rest)] if shape.rest is not None else []
            for also, without, wanted in (*found, *rest):
                name = self.key_like([*keys.matching, *also], [*keys.avoiding, *without], named)
                if name is not None:
                    for place in self.ground.places(keys.child, Group.of([wanted]), keys.path):
                        yield place.lifted(self.ground.into(p, name))

    def key_like(self, matching: list[str], avoiding: list[str], named: set[str]) -> str | None:
        """Return a key that matches and is named by nobody, None where there surely is none."""
        if not matching:
            for name in FRESH_NAMES:
                if name not in named and not any(
                    matches(pattern, name, self.ground.work) for pattern in avoiding
                ):
                    return name
        sample = schema_text.sample(matching, avoiding, named, self.ground.work)
        if sample.text is None and not sample.complete:
            return FRESH_NAMES[0]
        return sample.text

    def key_places(self, p: Flat, c: Flat, path: str) -> list[Place]:
        """Demands on the set of keys: how many, and which names."""
        found: list[Place] = []
        (least, most), (low, high) = p.name_counts, c.name_counts
        everything = (*self.ground.around(p, {}), *self.ground.around(p, {}, names=tuple(p.declared)))
        if max(least, len(p.required)) < low:
            found.append(Place(path, "minProperties", f"may have fewer than {low} keys", everything))
        possible = [name for name in p.declared if p.child(name) is not None]
        bounded = not p.free and not (p.closed and any(shape.patterns for shape in p.shapes))
        if high is not None and (most is None or most > high) and (not bounded or len(possible) > high):
            tries = (*everything, *self.ground.around(p, {}, names=(*p.declared, *FRESH_NAMES)))
            found.append(Place(path, "maxProperties", f"may have more than {high} keys", tries))
        for node in c.names:
            found += self.name_places(p, node, possible, everything, path)
        return found

    def name_places(
        self, p: Flat, node: Node, possible: list[str], everything: tuple[Any, ...], path: str
    ) -> list[Place]:
        """Names that `propertyNames` does not accept: of the keys declared, and of any others."""
        bad = [name for name in possible if judge_all([node], name, self.ground.work) is not True]
        tries = [value for name in bad[:3] for value in self.ground.around(p, {}, names=(name,))]
        doubtful = bool(bad)
        texts = [Group.of([*p.names])] if p.free else []
        texts += [
            Group.of([self.ground.demand(("key", t), patterns=(t,))]) for s in p.shapes for t, _ in s.patterns
        ]
        text = self.ground.demand(("kind", "string"), kinds=frozenset(["string"]))
        for group in texts:
            for place in self.ground.places(group.also(text), Group.of([node]), path):
                doubtful = True
                tries += [
                    v
                    for name in place.candidates
                    if isinstance(name, str)
                    for v in self.ground.around(p, {}, (name,))
                ]
        if not doubtful:
            return []
        return [Place(path, "propertyNames", "not every key is seen to be accepted", (*tries, *everything))]

    def key_conditions(self, p: Flat, node: Node, path: str, splits: int) -> Iterator[Place]:
        """What the presence of a key brings with it."""
        for name, more in node.together:
            if p.child(name) is None:
                continue
            missing = set(more) - self.with_key(p, name).required
            if missing:
                there = f"`{name}` may come without {', '.join(sorted(missing))}"
                yield Place(path, "dependentRequired", there, self.ground.around(p, {}, names=(name,)))
        for name, about in node.whens:
            if p.child(name) is not None:
                group = p.group.also(self.ground.having(name))
                for place in self.ground.places(group, Group.of([about]), path, splits):
                    yield replace(place, rule="dependentSchemas") if place.path == path else place

    def with_key(self, p: Flat, name: str) -> Flat:
        group = p.group.also(self.ground.having(name))
        return Flat(group, self.ground.work, producer=True)
