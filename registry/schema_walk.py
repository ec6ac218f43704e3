"""The walk over a producer's and a consumer's schema, side by side.

Each method yields the places where the producer's side is not seen to lie inside the consumer's, with
values worth trying there. Yielding nothing is a proof; yielding a place proves nothing until a value is
confirmed (`registry.inclusion`). Keywords that nothing here reasons about always yield a place.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import islice
from typing import Any

from registry import schema_values as values
from registry.schema_merge import exact_number
from registry.schemas import UNSURE, Schema, Work, has_type, value_key

MAX_SMALL_RANGE = 64  # integers between two bounds that are simply all tried
MAX_BRANCH_PLACES = 4  # places looked at in a branch that does not take everything
_KINDS = ["null", "boolean", "object", "array", "number", "string"]
# Keywords that speak for themselves: the same text on both sides is the same demand.
_WHOLE = (
    *(("if", "then", "else"), ("contains", "minContains", "maxContains"), ("not",), ("dependentSchemas",)),
    *(("propertyNames",), ("pattern",), ("format",), ("uniqueItems",), ("dependentRequired",)),
)
_FRESH_NAME = "unnamed_key"


@dataclass(frozen=True)
class Place:
    """Somewhere that inclusion is not proved, with whole values that may show the opposite."""

    path: str
    rule: str
    reason: str
    candidates: tuple[Any, ...] = ()

    def lifted(self, wrap: Callable[[Any], Any]) -> "Place":
        """Return the place with each candidate put into what surrounds it; `wrap` answers None for cannot."""
        whole = (wrap(value) for value in self.candidates[: values.MAX_EXAMPLES])
        return replace(self, candidates=tuple(value for value in whole if value is not None))


def step(path: str, *names: str) -> str:
    """Extend a JSON pointer (RFC 6901)."""
    return path + "".join("/" + name.replace("~", "~0").replace("/", "~1") for name in names)


def shown(value: Any) -> str:
    """A value short enough for a message."""
    text = value_key(value)
    return text if len(text) <= 60 else text[:57] + "..."


class Walk:
    """One comparison; holds nothing but the steps that are left. Every method may raise `TooMuchWork`."""

    def __init__(self, work: Work) -> None:
        self.work = work

    def places(self, p: Schema, c: Schema, path: str) -> Iterator[Place]:
        """Yield where the flat producer view `p` may leave the normal form `c`."""
        self.work.spend()
        if c is True or p is False:
            return
        p = {} if p is True else p
        if c is False:
            yield Place(path, "false", "nothing is accepted here", tuple(values.examples(p, self.work)))
            return
        if "anyOf" in p:
            for branch in p["anyOf"]:
                yield from self.places(branch, c, path)
            return
        yield from self.flat_places(p, _unmet(p, c), path)

    def flat_places(self, p: dict[str, Any], c: dict[str, Any], path: str) -> Iterator[Place]:
        """As `places`, for a producer without branches."""
        fixed = self.fixed(p)
        if fixed is not None:
            yield from self.fixed_places(fixed, c, path)
            return
        for demand in c.get("allOf", ()):
            yield from self.places(p, demand, path)
        if UNSURE in c:
            yield Place(path, UNSURE, c[UNSURE])
        kinds = list(p.get("type", _KINDS))
        strange = [kind for kind in kinds if not _kind_taken(kind, c)]
        if strange:
            tries = [v for kind in strange for v in values.typed_examples(kind, p, self.work)[:2]]
            reason = f"emits {' or '.join(strange)}, accepted is {' or '.join(c['type'])}"
            yield Place(path, "type", reason, tuple(tries))
        for kind in kinds:
            if kind not in strange:
                yield from self.kind_places(kind, {**p, "type": [kind]}, c, path)

    def kind_places(self, kind: str, p: dict[str, Any], c: dict[str, Any], path: str) -> Iterator[Place]:
        """As `places`, for a producer of exactly one type that the consumer takes."""
        if kind in ("null", "boolean"):
            demands = {word: value for word, value in c.items() if word not in ("allOf", UNSURE)}
            yield from self.fixed_places([None] if kind == "null" else [False, True], demands, path)
            return
        tries = tuple(values.typed_examples(kind, p, self.work))
        if "enum" in c:
            known = ", ".join(shown(value) for value in c["enum"][:5])
            yield Place(path, "enum", f"emits any {kind}, accepted are {known}", tries)
            return
        by_kind = {"string": text_places, "array": self.array_places, "object": self.object_places}
        yield from by_kind.get(kind, number_places)(p, c, path)
        for word in ("anyOf", "oneOf"):
            if word in c:
                yield from self.branch_places(word, p, c, path)
        if "not" in c and self.clash(p, c["not"], path) is None:
            yield Place(path, "not", "what `not` forbids is not seen to be avoided", tries)
        if "if" in c and ("then" in c or "else" in c):
            yield Place(path, "if", "what a condition demands is not seen to be met", tries)

    # ------------------------------------------------------------------------------------------ fixed values

    def fixed(self, p: dict[str, Any]) -> list[Any] | None:
        """Return every value of a producer that has few, or None."""
        if "enum" in p:
            return [value for value in p["enum"] if not values.surely_rejected(p, value, self.work)]
        if p.get("type") == ["integer"] and "multipleOf" not in p:
            low, high = _low(p, whole=True), _high(p, whole=True)
            if low is not None and high is not None and high[0] - low[0] < MAX_SMALL_RANGE:
                return list(range(int(low[0]), int(high[0]) + 1))
        return None

    def fixed_places(self, fixed: list[Any], c: dict[str, Any], path: str) -> Iterator[Place]:
        """Try each value: exact whatever the consumer's keywords are."""
        if c.keys() == {"enum"}:
            known = {value_key(value) for value in c["enum"]}
            self.work.spend(len(fixed) + len(known))
            refused, doubtful = [value for value in fixed if value_key(value) not in known], []
        else:
            open_ = [value for value in fixed if not values.surely_fits(c, value, self.work)]
            refused = [value for value in open_ if values.surely_rejected(c, value, self.work)]
            doubtful = [value for value in open_ if value not in refused]
        if refused:
            rule = "enum" if "enum" in c else "type" if _none_typed(refused, c) else "value"
            yield Place(path, rule, f"{', '.join(map(shown, refused[:5]))} is not accepted", tuple(refused))
        if doubtful:
            reason = c.get(UNSURE, f"whether {shown(doubtful[0])} is accepted cannot be told")
            yield Place(path, UNSURE, reason)

    # -------------------------------------------------------------------------------------------- structures

    def array_places(self, p: dict[str, Any], c: dict[str, Any], path: str) -> Iterator[Place]:
        def sized(*sizes: int) -> tuple[Any, ...]:
            return tuple(values.arrays(p, self.work, tuple(size for size in sizes if size >= 0)))

        least, most = p.get("minItems", 0), p.get("maxItems")
        if least < c.get("minItems", 0):
            short = f"may have {least} items, at least {c['minItems']} are accepted"
            yield Place(path, "minItems", short, sized(least, c["minItems"] - 1))
        if "maxItems" in c and (most is None or most > c["maxItems"]):
            long = f"may have more than the {c['maxItems']} items accepted"
            yield Place(path, "maxItems", long, sized(c["maxItems"] + 1))
        if c.get("uniqueItems") and (most is None or most > 1):
            yield Place(path, "uniqueItems", "may repeat an item, different ones are accepted", sized(2, 3))
        if "contains" in c:
            yield Place(path, "contains", "not every array is seen to contain what is asked for", sized(0, 1))
        ours, theirs = p.get("prefixItems", []), c.get("prefixItems", [])
        for number in range(max(len(ours), len(theirs)) + 1):
            if most is not None and number >= most:
                break
            mine = ours[number] if number < len(ours) else p.get("items", True)
            yours = theirs[number] if number < len(theirs) else c.get("items", True)
            name = ("prefixItems", str(number)) if number < len(ours) else ("items",)
            for place in self.places(mine, yours, step(path, *name)):
                yield place.lifted(self.at(p, number))

    def at(self, p: dict[str, Any], number: int) -> Callable[[Any], Any]:
        def wrap(value: Any) -> list[Any] | None:
            array = values.array_of(p, max(number + 1, p.get("minItems", 0)), self.work)
            if array is not None:
                array[number] = value
            return array

        return wrap

    def object_places(self, p: dict[str, Any], c: dict[str, Any], path: str) -> Iterator[Place]:
        declared, rest = p.get("properties", {}), p.get("additionalProperties", True)
        wanted, others = c.get("properties", {}), c.get("additionalProperties", True)
        for name in c.get("required", ()):
            if name not in p.get("required", ()):
                how = "is never emitted" if name not in declared and rest is False else "may be left out"
                yield Place(path, "required", f"`{name}` {how} and is required", self.around(p, {}))
        for name, child in declared.items():
            there = step(path, "properties", name)
            if name not in wanted and others is False and child is not False:
                tries = tuple(values.examples(child, self.work)[:2])
                refused = Place(there, "additionalProperties", f"`{name}` is not a property accepted", tries)
                yield refused.lifted(self.into(p, name))
                continue
            for place in self.places(child, wanted.get(name, others), there):
                yield place.lifted(self.into(p, name))
        if rest is not False:
            for name in [name for name in wanted if name not in declared] + [_FRESH_NAME]:
                for place in self.places(rest, wanted.get(name, others), step(path, "additionalProperties")):
                    yield place.lifted(self.into(p, name))
        yield from self.key_places(p, c, path)

    def key_places(self, p: dict[str, Any], c: dict[str, Any], path: str) -> Iterator[Place]:
        """Demands on the set of keys: how many, which names, which together."""
        declared, closed = p.get("properties", {}), p.get("additionalProperties", True) is False
        required = p.get("required", ())
        everything = (*self.around(p, {}), *self.around(p, {}, names=tuple(declared)))
        if max(p.get("minProperties", 0), len(required)) < c.get("minProperties", 0):
            yield Place(path, "minProperties", f"may have fewer than {c['minProperties']} keys", everything)
        most = min([p.get("maxProperties", float("inf"))] + ([len(declared)] if closed else []))
        if most > c.get("maxProperties", float("inf")):
            yield Place(path, "maxProperties", f"may have more than {c['maxProperties']} keys", everything)
        if "propertyNames" in c:
            names = [n for n in declared if not values.surely_fits(c["propertyNames"], n, self.work)]
            if names or not closed:
                tries = [*everything, *(v for n in names[:3] for v in self.around(p, {}, names=(n,)))]
                tries += [] if closed else self.around(p, {_FRESH_NAME: 0})
                yield Place(path, "propertyNames", "not every key is seen to be accepted", tuple(tries))
        for name, together in c.get("dependentRequired", {}).items():
            if (name in declared or not closed) and not set(together) <= set(required):
                there = f"`{name}` may come without {', '.join(together)}"
                yield Place(path, "dependentRequired", there, self.around(p, {}, names=(name,)))
        if "dependentSchemas" in c:
            yield Place(path, "dependentSchemas", "what a key demands is not seen to be met", everything)

    def around(
        self, p: dict[str, Any], given: dict[str, Any], names: tuple[str, ...] = ()
    ) -> tuple[Any, ...]:
        made = values.object_with(p, given, self.work, names=names)
        return () if made is None else (made,)

    def into(self, p: dict[str, Any], name: str) -> Callable[[Any], Any]:
        return lambda value: values.object_with(p, {name: value}, self.work)

    # ---------------------------------------------------------------------------------------------- branches

    def branch_places(self, word: str, p: dict[str, Any], c: dict[str, Any], path: str) -> Iterator[Place]:
        """One branch must take everything; for `oneOf` the others must take nothing."""
        near = [branch for branch in c[word] if self.clash(p, branch, path) is None]
        found = [list(islice(self.places(p, branch, path), MAX_BRANCH_PLACES)) for branch in near]
        if len(near) == 1:
            yield from found[0]
            return
        if word == "anyOf" and any(not places for places in found):
            return
        tries = list(values.examples(p, self.work))
        tries += [value for places in found for place in places for value in place.candidates[:2]]
        how = "one of the alternatives" if word == "anyOf" else "exactly one of the alternatives"
        yield Place(path, word, f"not every value is seen to fit {how}", tuple(tries))

    def clash(self, p: Schema, c: Schema, path: str) -> str | None:
        """Return the path where `p` always emits what `c` never accepts, or None where that is not proved."""
        self.work.spend()
        if isinstance(p, bool) or isinstance(c, bool):
            return path if c is False and p is not False else None
        if "anyOf" in p:
            clashes = [self.clash(branch, c, path) for branch in p["anyOf"]]
            return clashes[0] if clashes and None not in clashes else None
        for fixed, other in ((p, c), (c, p)):
            if fixed.get("enum"):
                refused = all(values.surely_rejected(other, value, self.work) for value in fixed["enum"])
                return path if refused else None
        return self.flat_clash(p, c, path)

    def flat_clash(self, p: dict[str, Any], c: dict[str, Any], path: str) -> str | None:
        """As `clash`, for two schemas without fixed values, the producer without branches."""
        kinds = p.get("type", _KINDS)
        if not any(_kinds_meet(kind, c.get("type", _KINDS)) for kind in kinds):
            return path
        for demand in c.get("allOf", ()):
            if (found := self.clash(p, demand, path)) is not None:
                return found
        for word in ("anyOf", "oneOf"):
            clashes = [self.clash(p, branch, path) for branch in c.get(word, ())]
            if clashes and None not in clashes:
                return clashes[0]
        return self.property_clash(p, c, path) if kinds == ["object"] else None

    def property_clash(self, p: dict[str, Any], c: dict[str, Any], path: str) -> str | None:
        for name in p.get("required", ()):
            if name in p.get("properties", {}) and name in c.get("properties", {}):
                there = step(path, "properties", name)
                found = self.clash(p["properties"][name], c["properties"][name], there)
                if found is not None:
                    return found
        return None


# -------------------------------------------------------------------------------------------------- leaves


def text_places(p: dict[str, Any], c: dict[str, Any], path: str) -> Iterator[Place]:
    """Yield where text may leave the accepted lengths, pattern or format."""
    least, most = p.get("minLength", 0), p.get("maxLength")
    if least < c.get("minLength", 0):
        short = f"may have {least} characters, at least {c['minLength']} are accepted"
        yield Place(path, "minLength", short, tuple(values.texts(p, (least, c["minLength"] - 1))))
    if "maxLength" in c and (most is None or most > c["maxLength"]):
        long = f"may have more than the {c['maxLength']} characters accepted"
        yield Place(path, "maxLength", long, tuple(values.texts(p, (c["maxLength"] + 1,))))
    if "pattern" in c:
        yield Place(
            path, "pattern", f"not all text is seen to match {shown(c['pattern'])}", tuple(values.texts(p))
        )
    if "format" in c:
        yield Place(path, "format", f"not all text is seen to have the format {shown(c['format'])}")


def number_places(p: dict[str, Any], c: dict[str, Any], path: str) -> Iterator[Place]:
    """Yield where numbers may leave the accepted bounds or steps."""
    kind = p["type"][0]
    whole = kind == "integer"
    low, high = _low(c, whole=whole), _high(c, whole=whole)
    mine = _low(p, whole=whole)
    if low is not None and (mine is None or mine < low):
        tries = tuple(values.numbers(kind, p, (low[0] - 1, low[0])))
        yield Place(path, "minimum", f"may be below the {values.as_json(low[0])} accepted", tries)
    mine = _high(p, whole=whole)
    if high is not None and (mine is None or mine > high):
        tries = tuple(values.numbers(kind, p, (high[0] + 1, high[0])))
        yield Place(path, "maximum", f"may be above the {values.as_json(high[0])} accepted", tries)
    if "multipleOf" in c:
        wanted = exact_number(c["multipleOf"])
        steps = [exact_number(p["multipleOf"])] if "multipleOf" in p else []
        if not any(have % wanted == 0 for have in steps + [Fraction(1)] * whole):
            reason = f"may be no multiple of {c['multipleOf']}"
            yield Place(path, "multipleOf", reason, tuple(values.numbers(kind, p, (wanted, Fraction(1)))))


def _low(node: dict[str, Any], *, whole: bool) -> tuple[Fraction, int] | None:
    """The lower bound, comparable: the number, then 1 if it is itself left out. Whole numbers reach theirs."""
    bounds = [(exact_number(node["minimum"]), 0)] if "minimum" in node else []
    bounds += [(exact_number(node["exclusiveMinimum"]), 1)] if "exclusiveMinimum" in node else []
    if whole:
        bounds = [(Fraction(-(-value // 1) if not out else value // 1 + 1), 0) for value, out in bounds]
    return max(bounds, default=None)


def _high(node: dict[str, Any], *, whole: bool) -> tuple[Fraction, int] | None:
    """The upper bound, comparable: the number, then -1 if it is itself left out."""
    bounds = [(exact_number(node["maximum"]), 0)] if "maximum" in node else []
    bounds += [(exact_number(node["exclusiveMaximum"]), -1)] if "exclusiveMaximum" in node else []
    if whole:
        bounds = [(Fraction(value // 1 if not out else -(-value // 1) - 1), 0) for value, out in bounds]
    return min(bounds, default=None)


def _unmet(p: dict[str, Any], c: dict[str, Any]) -> dict[str, Any]:
    """Return the consumer's keywords without those that the producer states in the same words."""
    met = {
        word
        for group in _WHOLE
        if group[0] in c and all(value_key(c.get(word)) == value_key(p.get(word)) for word in group)
        for word in group
    }
    return {word: value for word, value in c.items() if word not in met} if met else c


def _kind_taken(kind: str, c: dict[str, Any]) -> bool:
    accepted = c.get("type", _KINDS)
    return kind in accepted or (kind == "integer" and "number" in accepted)


def _kinds_meet(kind: str, accepted: list[str]) -> bool:
    return kind in accepted or (
        kind in ("integer", "number") and not {"integer", "number"}.isdisjoint(accepted)
    )


def _none_typed(refused: list[Any], c: dict[str, Any]) -> bool:
    return "type" in c and not any(has_type(value, c["type"]) for value in refused)
