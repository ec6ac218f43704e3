"""The walk over a producer's and a consumer's schema, side by side.

Each method returns the places where the producer's side is not seen to lie inside the consumer's, with
values worth trying there. No place is a proof; a place proves nothing until a value is confirmed
(`registry.inclusion`). A pair of schemas that is met again inside itself is taken to hold: values are finite,
so a proof that only needs itself about a smaller value is one (and places found later take it back).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from registry import schema_scalars as scalars
from registry import schema_text
from registry.schema_examples import FRESH_NAMES, MAX_EXAMPLES, Examples
from registry.schema_flat import Flat, Group, Sides, demanded
from registry.schema_judge import judge_all
from registry.schema_nodes import Condition, Contains, Keys, Node, Shape
from registry.schema_regex import matches
from registry.schema_same import Sameness, says_nothing
from registry.schemas import UNSURE, Work, value_key

MAX_PLACES = 24  # for one pair of schemas
MAX_BRANCH_PLACES = 4  # kept of an alternative that does not take everything
MAX_SPLITS = 5  # times one producer is taken apart to find its alternative
MAX_CASES = 12  # values by which it is taken apart at once


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


@dataclass(frozen=True)
class _Keys:
    """Keys that nobody names: what they match, what they do not, and what a producer writes there."""

    matching: tuple[str, ...]
    avoiding: tuple[str, ...]
    child: Group
    path: str


def step(path: str, *names: str) -> str:
    """Extend a JSON pointer (RFC 6901)."""
    return path + "".join("/" + name.replace("~", "~0").replace("/", "~1") for name in names)


class Walk:
    """One comparison. Every method may raise `TooMuchWork`."""

    def __init__(self, keys: Keys, work: Work, *, closed: bool) -> None:
        self.keys, self.work = keys, work
        self.sides = Sides(work, closed=closed)
        self.examples = Examples(self.sides, work)
        self.same = Sameness(work)
        self.held: dict[Any, None] = {}  # pairs that are proved, or being proved
        self.extra: dict[Any, Node] = {}  # demands made up while comparing, each once

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
        wanted = Flat(Group.of(demands), producer=False)
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

    # -------------------------------------------------------------------------------------------- structures

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
        found += self.array_places(p, c, path) if kind == "array" else self.object_places(p, c, path, splits)
        group = p.group.also(kind_node)
        for node in c.nodes:
            found += self.logic_places(group, node, path, splits)
        return found

    def array_places(self, p: Flat, c: Flat, path: str) -> list[Place]:
        found: list[Place] = []
        (least, most), (low, high) = self.sizes(p), c.sizes
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
            for place in self.places(mine, c.item(number), step(path, *name)):
                found.append(place.lifted(self.at(p, number)))
        return found

    def sizes(self, p: Flat) -> tuple[int, int | None]:
        """Return how many items an array may have; none comes after a place where no value can be."""
        least, most = p.sizes
        for place in range(min(p.longest_prefix + 1, p.longest_prefix + 1 if most is None else most)):
            if not self.sides.branches(p.item(place)):
                return least, place
        return least, most

    def sized(self, p: Flat, *sizes: int) -> tuple[Any, ...]:
        return tuple(self.examples.arrays(p, [size for size in sizes if size >= 0]))

    def repeating(self, p: Flat) -> tuple[Any, ...]:
        pairs = [self.examples.array_of(p, 2, {0: item, 1: item}) for item in self.examples.of(p.item(0))]
        return (*(pair for pair in pairs if pair is not None), *self.sized(p, 2, 3))

    def at(self, p: Flat, number: int) -> Callable[[Any], Any]:
        return lambda value: self.examples.array_of(p, max(number + 1, p.sizes[0]), {number: value})

    def contains_places(self, p: Flat, c: Contains, path: str) -> list[Place]:
        """Enough items that surely fit, and not too many that may."""
        least, most = self.sizes(p)
        wanted, reach = Group.of([c.node]), p.longest_prefix
        rest_fits = least > reach and not self.places(p.item(reach), wanted, path)
        sure = sum(not self.places(p.item(n), wanted, path) for n in range(min(least, reach)))
        sure += (least - reach) * rest_fits
        inside = [
            m.least
            for m in p.contains
            if not self.places(p.item(reach).also(m.node), wanted, path) and not reach
        ]
        found: list[Place] = []
        if max([sure, *inside]) < c.least:
            reason = "not every array is seen to contain what is asked for"
            tries = (*self.sized(p, 0, 1), *self.lacking(p, c))
            found.append(Place(path, "contains", reason, tries))
        if c.most is not None and (most is None or most > c.most):
            possible = sum(
                self.apart(p.item(n), wanted, path) is None for n in range(min(most or reach, reach))
            )
            if possible > c.most or self.apart(p.item(reach), wanted, path) is None:
                reason = f"may contain more than {c.most} of what is asked for"
                found.append(Place(path, "maxContains", reason, self.sized(p, c.most + 1)))
        return found

    def lacking(self, p: Flat, c: Contains) -> tuple[Any, ...]:
        """Return arrays whose items do not fit, where such an item is known."""
        strange = [v for v in self.examples.of(p.item(0)) if judge_all([c.node], v, self.work) is False]
        size = max(p.sizes[0], 1)
        made = (
            self.examples.array_of(p, size, dict.fromkeys(range(size), v)) for v in strange[:2] if size < 9
        )
        return tuple(array for array in made if array is not None)

    def object_places(self, p: Flat, c: Flat, path: str, splits: int) -> list[Place]:
        found: list[Place] = []
        for name in sorted(c.required - p.required):
            never = p.child(name) is None
            how = "is never emitted" if never else "may be left out"
            found.append(Place(path, "required", f"`{name}` {how} and is required", self.around(p, {})))
        for name in dict.fromkeys((*p.declared, *c.declared)):
            child = p.child(name)
            if child is not None and self.sides.branches(child):
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
            about, known = demanded(shape, name)
            wanted += about
            if known is None:
                yield Place(there, UNSURE, f"whether a pattern takes the key `{name}` cannot be told")
        if any(node.never for node in wanted) and not any(name in shape.properties for shape in c.shapes):
            tries = tuple(self.examples.of(child)[:2])
            refused = Place(there, "additionalProperties", f"`{name}` is not a property accepted", tries)
            yield refused.lifted(self.into(p, name))
            return
        for place in self.places(child, Group.of(wanted), there):
            yield place.lifted(self.into(p, name))

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
        for shape in c.shapes if self.sides.branches(keys.child) else ():
            theirs = tuple(pattern for pattern, _ in shape.patterns)
            found = [((pattern,), (), node) for pattern, node in shape.patterns]
            rest = [((), theirs, shape.rest)] if shape.rest is not None else []
            for also, without, wanted in (*found, *rest):
                name = self.key_like([*keys.matching, *also], [*keys.avoiding, *without], named)
                if name is not None:
                    for place in self.places(keys.child, Group.of([wanted]), keys.path):
                        yield place.lifted(self.into(p, name))

    def key_like(self, matching: list[str], avoiding: list[str], named: set[str]) -> str | None:
        """Return a key that matches and is named by nobody, None where there surely is none."""
        if not matching:
            for name in FRESH_NAMES:
                if name not in named and not any(matches(pattern, name) for pattern in avoiding):
                    return name
        sample = schema_text.sample(matching, avoiding, named, self.work)
        if sample.text is None and not sample.complete:
            return FRESH_NAMES[0]
        return sample.text

    def key_places(self, p: Flat, c: Flat, path: str) -> list[Place]:
        """Demands on the set of keys: how many, and which names."""
        found: list[Place] = []
        (least, most), (low, high) = p.name_counts, c.name_counts
        everything = (*self.around(p, {}), *self.around(p, {}, names=tuple(p.declared)))
        if max(least, len(p.required)) < low:
            found.append(Place(path, "minProperties", f"may have fewer than {low} keys", everything))
        possible = [name for name in p.declared if p.child(name) is not None]
        bounded = not p.free and not (p.closed and any(shape.patterns for shape in p.shapes))
        if high is not None and (most is None or most > high) and (not bounded or len(possible) > high):
            tries = (*everything, *self.around(p, {}, names=(*p.declared, *FRESH_NAMES)))
            found.append(Place(path, "maxProperties", f"may have more than {high} keys", tries))
        for node in c.names:
            found += self.name_places(p, node, possible, everything, path)
        return found

    def name_places(
        self, p: Flat, node: Node, possible: list[str], everything: tuple[Any, ...], path: str
    ) -> list[Place]:
        """Names that `propertyNames` does not accept: of the keys declared, and of any others."""
        bad = [name for name in possible if judge_all([node], name, self.work) is not True]
        tries = [value for name in bad[:3] for value in self.around(p, {}, names=(name,))]
        doubtful = bool(bad)
        texts = [Group.of([*p.names])] if p.free else []
        texts += [Group.of([self.demand(("key", t), patterns=(t,))]) for s in p.shapes for t, _ in s.patterns]
        text = self.demand(("kind", "string"), kinds=frozenset(["string"]))
        for group in texts:
            for place in self.places(group.also(text), Group.of([node]), path):
                doubtful = True
                tries += [
                    v
                    for name in place.candidates
                    if isinstance(name, str)
                    for v in self.around(p, {}, (name,))
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
                yield Place(path, "dependentRequired", there, self.around(p, {}, names=(name,)))
        for name, about in node.whens:
            if p.child(name) is not None:
                group = p.group.also(
                    self.demand(("has", name), required=(name,), kinds=frozenset(["object"]))
                )
                for place in self.places(group, Group.of([about]), path, splits):
                    yield replace(place, rule="dependentSchemas") if place.path == path else place

    def with_key(self, p: Flat, name: str) -> Flat:
        group = p.group.also(self.demand(("has", name), required=(name,), kinds=frozenset(["object"])))
        return Flat(group, producer=True)

    def around(self, p: Flat, given: dict[str, Any], names: tuple[str, ...] = ()) -> tuple[Any, ...]:
        made = self.examples.object_with(p, given, names)
        return () if made is None else (made,)

    def into(self, p: Flat, name: str) -> Callable[[Any], Any]:
        return lambda value: self.examples.object_with(p, {name: value})

    def demand(self, name: tuple[str, ...], **demands: Any) -> Node:
        """Return a demand made up while comparing; the same name is the same node."""
        if name not in self.extra:
            self.extra[name] = self.keys.node(**demands)
        return self.extra[name]

    # ---------------------------------------------------------------------------------------------- branches

    def logic_places(self, p: Group, c: Node, path: str, splits: int) -> Iterator[Place]:
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
        near = [node for node in branches if self.apart(p, Group.of([node]), path) is None]
        if len(near) == 1:
            return self.places(p, Group.of(near), path, splits)
        found = []
        for node in near:
            places = self.places(p, Group.of([node]), path, 0)
            if not places and word == "anyOf":
                return []
            found.append(places[:MAX_BRANCH_PLACES])
        cases = self.cases(p, near, splits) if near else []
        if cases:
            return self.each_case(
                cases, lambda case: self.branch_places(word, case, branches, path, splits - 1)
            )
        tries = list(self.examples.of(p))
        tries += [value for places in found for place in places for value in place.candidates[:2]]
        how = "one of the alternatives" if word == "anyOf" else "exactly one of the alternatives"
        return [Place(path, word, f"not every value is seen to fit {how}", tuple(tries))]

    def condition_places(self, p: Group, c: Condition, path: str, splits: int) -> list[Place]:
        """What passes the test must meet `then`, the rest `else`."""
        test, then, otherwise = (Group.of([node]) for node in (c.test, c.then, c.otherwise))
        if self.apart(p, test, path) is not None:
            return self.places(p, otherwise, path, splits)
        if not self.places(p, test, path, 0):
            return self.places(p, then, path, splits)
        cases = self.cases(p, [c.test], splits)
        if cases:
            return self.each_case(cases, lambda case: self.condition_places(case, c, path, splits - 1))
        found = [*self.places(p.also(c.test), then, path, 0), *self.places(p, otherwise, path, 0)]
        if not found:
            return []
        tries = [*(v for place in found for v in place.candidates), *self.examples.of(p)]
        return [Place(path, "if", "what a condition demands is not seen to be met", tuple(tries))]

    def not_places(self, p: Group, part: Node, path: str, splits: int) -> list[Place]:
        if self.apart(p, Group.of([part]), path) is not None:
            return []
        cases = self.cases(p, [part], splits)
        if cases:
            return self.each_case(cases, lambda case: self.not_places(case, part, path, splits - 1))
        tries = (*self.examples.of(p.also(part)), *self.examples.of(p))
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
        flats = self.sides.branches(p)
        if splits <= 0 or not flats:
            return []
        if len(flats) > 1:
            return [flat.group for flat in flats]
        flat = flats[0]
        if flat.kinds != {"object"}:
            return []
        for name in self.spoken_of(about):
            child = flat.child(name)
            if child is None or not self.sides.branches(child):
                continue
            values = self.few_values(child)
            if values is not None and name in flat.required and len(values) > 1:
                return [p.also(self.holding(name, value)) for value in values]
            if name not in flat.required:
                has = self.demand(("has", name), required=(name,), kinds=frozenset(["object"]))
                return [p.also(has), p.also(self.lacking_key(name))]
        return []

    def spoken_of(self, about: Sequence[Node]) -> list[str]:
        """Return the keys that demands on objects name, those that fix a value first."""
        flats = [self.sides.demands(Group.of([node])) for node in about]
        names = dict.fromkeys(name for flat in flats for name in (*flat.required, *flat.declared))
        fixing = [n for n in names if any(self.fixes(flat, n) for flat in flats)]
        return [*sorted(fixing), *sorted(n for n in names if n not in fixing)]

    def fixes(self, flat: Flat, name: str) -> bool:
        return any(name in s.properties and s.properties[name].enum is not None for s in flat.shapes)

    def few_values(self, child: Group) -> list[Any] | None:
        """Return every value of a producer that has few, None for one that has many."""
        found: list[Any] = []
        for flat in self.sides.branches(child):
            if flat.enum is not None:
                found += flat.enum
            elif flat.kinds <= {"null", "boolean"}:
                found += [value for kind in sorted(flat.kinds) for value in self.examples.of_kind(kind, flat)]
            else:
                return None
        different = list({value_key(value): value for value in found}.values())
        return different if len(different) <= MAX_CASES else None

    def holding(self, name: str, value: Any) -> Node:
        only = self.demand(("value", value_key(value)), enum=(value,))
        return self.demand(("holds", name, value_key(value)), shapes=(Shape({name: only}, (), None),))

    def lacking_key(self, name: str) -> Node:
        nothing = self.demand(("nothing",), never=True)
        return self.demand(("lacks", name), shapes=(Shape({name: nothing}, (), None),))

    # ------------------------------------------------------------------------------------------------- apart

    def apart(self, p: Group, c: Group, path: str, *, depth: int = 8, shared: bool = False) -> str | None:
        """Return the path where `p` always emits what `c` never accepts, or None where that is not proved.

        `shared`: only at a key that both sides name and the producer always writes.
        """
        self.work.spend()
        branches = self.sides.branches(p)
        found = [self.flat_apart(flat, c, path, depth, shared=shared) for flat in branches] if depth else []
        return None if None in found or not found else found[0]

    def flat_apart(self, p: Flat, c: Group, path: str, depth: int, *, shared: bool) -> str | None:
        wanted = self.sides.demands(c)
        if not p.kinds & wanted.kinds:
            return path
        if p.enum is not None:
            held = [value for value in p.enum if judge_all(p.nodes, value, self.work) is not False]
            return path if all(judge_all(wanted.own, v, self.work) is False for v in held) else None
        for node in wanted.own:
            for group in (*node.any, *node.one):
                parts = [
                    self.apart(p.group, Group.of([n]), path, depth=depth - 1, shared=shared) for n in group
                ]
                if parts and None not in parts:
                    return parts[0]
        kinds = p.kinds & wanted.kinds
        kinds -= {"fraction"} if "integer" in kinds else set()
        if len(kinds) > 1:
            return None
        return self.kind_apart(next(iter(kinds)), p, wanted, path, depth, shared=shared)

    def kind_apart(self, kind: str, p: Flat, c: Flat, path: str, depth: int, *, shared: bool) -> str | None:
        """As `apart`, where both sides have one kind in common."""
        if kind == "object":
            return self.object_apart(p, c, path, depth, shared=shared)
        if kind == "array":
            (least, most), (low, high) = self.sizes(p), c.sizes
            misfit = (high is not None and least > high) or (most is not None and most < low)
            return path if misfit and not shared else None
        if kind == "string" or kind in scalars.NUMBERS:
            refused = self.keys.node(nots=(self.keys.node(all=tuple(c.own)),))
            return path if scalars.of_kind(kind, p, [refused], self.work).proved else None
        return None

    def object_apart(self, p: Flat, c: Flat, path: str, depth: int, *, shared: bool) -> str | None:
        for name in sorted(p.required if shared else p.required | c.required):
            mine, yours = p.child(name), c.child(name)
            if mine is None or yours is None:
                if not shared and (name in p.required or name in c.required):
                    return path
                continue
            if shared and not (name in p.declared and name in c.declared):
                continue
            there = step(path, "properties", name)
            found = self.apart(mine, yours, there, depth=depth - 1, shared=shared)
            if found is not None:
                return found
        return None
