"""A JSON Schema read into demands: one `Node` for each schema in the document, references followed.

Nodes form a graph that may lead back to itself, as recursive schemas do; each says only what its own
keywords demand. What is not understood, or means different things to different readers, is kept as a reason
in `unsure`, so that nobody downstream takes silence for consent. Nothing is fetched.

Source: JSON Schema draft-06, draft-07, 2019-09 and 2020-12 (Core, Validation); OpenAPI 3.0 `nullable`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from fractions import Fraction
from typing import Any
from urllib.parse import unquote

from registry.schemas import Misshapen, Schema, TooMuchWork, Work, children, misshapen, value_key, weight

MAX_NODES = 20_000  # schemas in one document; real tools stay under a hundred
MAX_CHAIN = 100  # schemas about one and the same value, inside each other
MAX_EVALUATIONS = 5_000  # that a plain validator needs for one value, without its parts
KINDS = frozenset(("null", "boolean", "object", "array", "integer", "fraction", "string"))
_KINDS_OF = {name: frozenset([name]) for name in KINDS} | {"number": frozenset(("integer", "fraction"))}

_ANNOTATIONS = frozenset(
    (
        *("title", "description", "default", "examples", "example", "deprecated", "readOnly", "writeOnly"),
        *("$comment", "$schema", "$id", "$anchor", "$defs", "definitions", "contentMediaType"),
        *("contentEncoding", "contentSchema"),
    )
)
_BASE = frozenset(
    (
        *("type", "enum", "const", "required", "multipleOf", "properties", "patternProperties", "allOf"),
        *("anyOf", "oneOf", "not", "items", "additionalProperties", "contains", "propertyNames", "pattern"),
        *("format", "uniqueItems", "nullable", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
        *("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties", "$ref"),
    )
)
_IF = frozenset(("if", "then", "else"))
_LATER = frozenset(
    (
        *("dependentRequired", "dependentSchemas", "unevaluatedProperties", "unevaluatedItems"),
        *("minContains", "maxContains"),
    )
)
_OF_DIALECT = {
    "draft-06": _BASE | {"dependencies", "additionalItems"},
    "draft-07": _BASE | _IF | {"dependencies", "additionalItems"},
    "2019-09": (_BASE | _IF | _LATER | {"additionalItems"})
    - {"unevaluatedItems"},  # it counts items differently
    "2020-12": _BASE | _IF | _LATER | {"prefixItems"},
}
_ADDRESS = {
    "http://json-schema.org/draft-06/schema": "draft-06",
    "http://json-schema.org/draft-07/schema": "draft-07",
    "https://json-schema.org/draft/2019-09/schema": "2019-09",
    "https://json-schema.org/draft/2020-12/schema": "2020-12",
}
_OLD = ("draft-06", "draft-07")


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


def dialect(schema: Schema) -> str:
    """Return the dialect that a well-formed schema is written in, or raise `UnknownDialect`.

    Without a `$schema` it is 2020-12, unless draft-07's own words are used: a list under `items`,
    `additionalItems` or `dependencies`.
    """
    if isinstance(schema, bool):
        return "2020-12"
    if "$schema" in schema:
        named = _ADDRESS.get(schema["$schema"].rstrip("#"))
        if named is None:
            raise UnknownDialect(f"the dialect {schema['$schema'][:80]!r} is not one that can be compared")
        return named
    old, new = _words_of_dialects(schema)
    if old and new:
        raise UnknownDialect(
            f"`{old}` is a word of draft-07 and `{new}` of later ones; `$schema` says neither"
        )
    return "draft-07" if old else "2020-12"


class UnknownDialect(Exception):
    """Nobody can tell by which rules a schema is to be read. Never leaves this layer."""


def _words_of_dialects(schema: Schema) -> tuple[str, str]:
    """Return a word that only draft-07 has, and one that only later dialects have; empty where none is used."""
    old, new = "", ""
    for node in subschemas(schema):
        if isinstance(node.get("items"), list):
            old = "items"
        old = next((word for word in ("additionalItems", "dependencies") if word in node), old)
        new = next((word for word in (*_LATER, "prefixItems") if word in node), new)
    return old, new


def subschemas(schema: Schema) -> Iterator[dict[str, Any]]:
    """Yield every schema object in a well-formed schema, itself included."""
    todo: list[Any] = [schema]
    while todo:
        node = todo.pop()
        if isinstance(node, dict):
            yield node
            todo.extend(child for _, child in children(node))


def read(schema: Any, keys: Keys, work: Work) -> Node:
    """Return the node of a whole document. Raises `TooMuchWork` for one that is too large."""
    problem = misshapen(schema)
    if problem:
        return keys.node(unsure=(f"not a JSON Schema{_place(problem)}: {problem.problem}",))
    try:
        reader = _Reader(schema, dialect(schema), keys, work)
    except UnknownDialect as unknown:
        return keys.node(unsure=(str(unknown),))
    node = reader.whole()
    _cut_loops(node, work)
    return node


def _place(problem: Misshapen) -> str:
    return f" at {problem.at[:80]}" if problem.at else ""


class _Reader:
    """Reads one document; each schema in it once, whatever points at it."""

    def __init__(self, root: Schema, dialect: str, keys: Keys, work: Work) -> None:
        self.root, self.dialect, self.keys, self.work = root, dialect, keys, work
        self.made: dict[int, Node] = {}
        self.todo: list[tuple[Node, dict[str, Any]]] = []
        self.anything = keys.node()
        self.words = _OF_DIALECT[dialect]

    def whole(self) -> Node:
        node = self.node(self.root)
        while self.todo:
            self.fill(*self.todo.pop())
        return node

    def node(self, schema: Schema) -> Node:
        """Return the node of a schema, to be filled later."""
        if isinstance(schema, bool):
            return self.anything if schema else self.keys.node(never=True)
        node = self.made.get(id(schema))
        if node is None:
            self.work.spend(1 + len(schema))
            if len(self.made) >= MAX_NODES:
                raise TooMuchWork
            node = self.made[id(schema)] = self.keys.node()
            self.todo.append((node, schema))
        return node

    def fill(self, node: Node, schema: dict[str, Any]) -> None:
        words = {k: v for k, v in schema.items() if k not in _ANNOTATIONS and not k.startswith("x-")}
        reasons = [
            f"the keyword `{word[:40]}` is not one that can be compared in {self.dialect}"
            for word in words
            if word not in self.words
        ]
        if "$id" in schema and schema is not self.root:
            reasons.append("a schema with an `$id` of its own")
        if "$ref" in words and len(words) > 1 and self.dialect in _OLD:
            node.blur("keywords beside a `$ref` mean different things in draft-07 and later")
            return
        words = {word: value for word, value in words.items() if word in self.words}
        self.work.spend(weight([words.get("enum"), words.get("required"), words.get("const")]))
        _values(node, words)
        _numbers_and_texts(node, words)
        self.array(node, words)
        self.object(node, words)
        self.logic(node, words)
        node.unsure = (*node.unsure, *reasons)

    def each(self, schemas: list[Schema]) -> tuple[Node, ...]:
        return tuple(self.node(schema) for schema in schemas)

    def maybe(self, words: dict[str, Any], word: str) -> Node | None:
        return self.node(words[word]) if word in words else None

    def array(self, node: Node, words: dict[str, Any]) -> None:
        node.min_items, node.max_items = words.get("minItems", 0), words.get("maxItems")
        node.unique = words.get("uniqueItems", False)
        items = words.get("items")
        if isinstance(items, list):
            node.items = (Items(self.each(items), self.maybe(words, "additionalItems")),)
        elif "items" in words or "prefixItems" in words:
            node.items = (Items(self.each(words.get("prefixItems", [])), self.maybe(words, "items")),)
        if "contains" in words:
            least, most = words.get("minContains", 1), words.get("maxContains")
            node.contains = (Contains(self.node(words["contains"]), least, most),)
        node.rest_items = self.maybe(words, "unevaluatedItems")

    def object(self, node: Node, words: dict[str, Any]) -> None:
        node.min_names, node.max_names = words.get("minProperties", 0), words.get("maxProperties")
        node.required = tuple(words.get("required", ()))
        if not words.keys().isdisjoint(("properties", "patternProperties", "additionalProperties")):
            node.shapes = (
                Shape(
                    {name: self.node(child) for name, child in words.get("properties", {}).items()},
                    tuple((p, self.node(child)) for p, child in words.get("patternProperties", {}).items()),
                    self.maybe(words, "additionalProperties"),
                ),
            )
        node.names = self.each([words["propertyNames"]]) if "propertyNames" in words else ()
        rules = list(words.get("dependentRequired", {}).items()) + list(words.get("dependencies", {}).items())
        node.together = tuple((name, tuple(rule)) for name, rule in rules if isinstance(rule, list))
        rules += list(words.get("dependentSchemas", {}).items())
        node.whens = tuple((name, self.node(rule)) for name, rule in rules if not isinstance(rule, list))
        node.rest_names = self.maybe(words, "unevaluatedProperties")

    def logic(self, node: Node, words: dict[str, Any]) -> None:
        node.all = self.each(words.get("allOf", []))
        if "$ref" in words:
            node.all = (*node.all, self.reference(words["$ref"]))
        node.any = (self.each(words["anyOf"]),) if "anyOf" in words else ()
        node.one = (self.each(words["oneOf"]),) if "oneOf" in words else ()
        node.nots = self.each([words["not"]]) if "not" in words else ()
        if "if" in words:  # kept without branches too: what it looked at counts as evaluated
            both = [self.node(words.get(word, True)) for word in ("then", "else")]
            node.ifs = (Condition(self.node(words["if"]), *both),)

    def reference(self, ref: str) -> Node:
        """Follow a reference inside the document; nothing else is ever followed."""
        home = self.root.get("$id", "") if isinstance(self.root, dict) else ""
        here = ref.removeprefix(home.rstrip("#")) if home else ref
        if here not in ("", "#") and not here.startswith("#"):
            return self.keys.node(unsure=(f"`$ref` {ref[:80]!r} leads out of the document",))
        found = self.pointed(here) if here in ("", "#") or here.startswith("#/") else self.anchored(here[1:])
        if found is None or (id(found) not in self.made and misshapen(found)):
            return self.keys.node(unsure=(f"`$ref` {ref[:80]!r} points at no schema",))
        return self.node(found)

    def pointed(self, ref: str) -> Any:
        """Return what a JSON pointer in a fragment (RFC 6901 section 6) points at, None for nothing."""
        found: Any = self.root
        for step in ref.split("/")[1:]:
            name = _unescaped(step)
            if isinstance(found, list) and name.isascii() and name.isdigit() and int(name) < len(found):
                found = found[int(name)]
            elif isinstance(found, dict) and name in found:
                found = found[name]
            else:
                return None
        return found

    def anchored(self, name: str) -> Any:
        """Return the one schema that has this `$anchor`, or a draft-07 `$id` that is a bare fragment."""
        if self.dialect in _OLD:
            return None
        found = [node for node in subschemas(self.root) if node.get("$anchor") == name]
        return found[0] if len(found) == 1 else None


def _unescaped(step: str) -> str:
    return unquote(step).replace("~1", "/").replace("~0", "~")


def _values(node: Node, words: dict[str, Any]) -> None:
    """Types and fixed values: `nullable`, `const`, one type, an enum beside a type."""
    types = words.get("type")
    if types is not None:
        listed = [types] if isinstance(types, str) else types
        node.kinds = frozenset[str]().union(*(_KINDS_OF[name] for name in listed))
        if words.get("nullable", False):
            node.kinds |= {"null"}
    if "enum" in words:
        node.enum = tuple(words["enum"])
    if "const" in words:
        fixed = words["const"]
        agreed = node.enum is None or value_key(fixed) in {value_key(value) for value in node.enum}
        node.enum = (fixed,) if agreed else ()


def _numbers_and_texts(node: Node, words: dict[str, Any]) -> None:
    low = [
        (exact_number(words[w]), out) for w, out in (("minimum", 0), ("exclusiveMinimum", 1)) if w in words
    ]
    high = [
        (exact_number(words[w]), out) for w, out in (("maximum", 0), ("exclusiveMaximum", -1)) if w in words
    ]
    node.low, node.high = max(low, default=None), min(high, default=None)
    node.steps = (exact_number(words["multipleOf"]),) if "multipleOf" in words else ()
    node.min_length, node.max_length = words.get("minLength", 0), words.get("maxLength")
    node.patterns = (words["pattern"],) if "pattern" in words else ()
    node.formats = (words["format"],) if "format" in words else ()


def _cut_loops(root: Node, work: Work) -> None:
    """Blur every schema that is about itself without ever looking inside a value; validators do not end there.

    Also blurs chains longer than `MAX_CHAIN` and what a plain validator would evaluate for years.
    Afterwards following `about_itself` ends.
    """
    costs: dict[int, tuple[int, int]] = {}
    for start in _reachable(root, work):
        if start.key not in costs:
            _measure(start, costs, work)


def _measure(start: Node, costs: dict[int, tuple[int, int]], work: Work) -> None:
    """Write down, for each node below, the longest chain and the evaluations that one value takes."""
    chain, open_ = [(start, list(start.about_itself()))], {start.key}
    while chain:
        work.spend()
        node, rest = chain[-1]
        if rest:
            child = rest.pop()
            if child.key in open_ or len(chain) > MAX_CHAIN:
                _blur_from(chain, child)
            elif child.key not in costs:
                open_.add(child.key)
                chain.append((child, list(child.about_itself())))
            continue
        chain.pop()
        open_.discard(node.key)
        below = [costs.get(child.key, (0, 0)) for child in node.about_itself()]
        depth, evaluations = 1 + max((d for d, _ in below), default=0), 1 + sum(e for _, e in below)
        if depth > MAX_CHAIN or evaluations > MAX_EVALUATIONS:
            node.blur("one value would have to be evaluated too many times")
            depth, evaluations = 1, 1
        costs[node.key] = depth, evaluations


def _blur_from(chain: list[tuple[Node, list[Node]]], again: Node) -> None:
    """Blur every schema of the loop that has come back to `again`, or the end of a chain that is too long."""
    places = [place for place, (node, _) in enumerate(chain) if node is again]
    for node, rest in chain[places[0] if places else -1 :]:
        node.blur("a `$ref` leads back to itself, or through too many others")
        rest.clear()


def _reachable(root: Node, work: Work) -> list[Node]:
    found, todo = {root.key: root}, [root]
    while todo:
        work.spend()
        for child in _inside(todo.pop()):
            if child.key not in found:
                found[child.key] = child
                todo.append(child)
    return list(found.values())


def _inside(node: Node) -> Iterator[Node]:
    yield from node.about_itself()
    for items in node.items:
        yield from items.prefix
        yield from [items.rest] if items.rest else []
    yield from (contains.node for contains in node.contains)
    for shape in node.shapes:
        yield from shape.properties.values()
        yield from (child for _, child in shape.patterns)
        yield from [shape.rest] if shape.rest else []
    yield from node.names
    yield from (rest for rest in (node.rest_names, node.rest_items) if rest is not None)
