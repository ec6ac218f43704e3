"""Reads one JSON Schema document into nodes: each schema once, whatever points at it. Nothing is fetched.

Apart from the nodes themselves (`registry.schema_nodes`), because only here is JSON looked at: what the rest
of the comparison knows of a keyword is what is written into a node here, doubts included.
"""

from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote

from registry.schema_dialects import ANNOTATIONS, OLD, WORDS, UnknownDialect, dialect, subschemas
from registry.schema_loops import cut_loops
from registry.schema_nodes import KINDS, Condition, Contains, Items, Keys, Node, Shape, exact_number
from registry.schema_regex import KEPT, effort
from registry.schemas import Misshapen, Schema, TooMuchWork, Work, misshapen, value_key, weight

MAX_NODES = 20_000  # schemas in one document; real tools stay under a hundred
MAX_PATTERNS = KEPT // 2  # different ones in one document, so that those of both sides are compiled once
_KINDS_OF = {name: frozenset([name]) for name in KINDS} | {"number": frozenset(("integer", "fraction"))}


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
    cut_loops(node, work)
    return node


def _place(problem: Misshapen) -> str:
    return f" at {problem.at[:80]}" if problem.at else ""


class _Reader:
    """Reads one document; each schema in it once, whatever points at it."""

    def __init__(self, root: Schema, dialect: str, keys: Keys, work: Work) -> None:
        self.root, self.dialect, self.keys, self.work = root, dialect, keys, work
        self.made: dict[int, Node] = {}
        self.todo: list[tuple[Node, dict[str, Any]]] = []
        self.patterns: set[str] = set()
        self.anything = keys.node()
        self.words = WORDS[dialect]

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
        words = {k: v for k, v in schema.items() if k not in ANNOTATIONS and not k.startswith("x-")}
        reasons = [
            f"the keyword `{word[:40]}` is not one that can be compared in {self.dialect}"
            for word in words
            if word not in self.words
        ]
        if "$id" in schema and schema is not self.root:
            reasons.append("a schema with an `$id` of its own")
        if "$ref" in words and len(words) > 1 and self.dialect in OLD:
            node.blur("keywords beside a `$ref` mean different things in draft-07 and later")
            return
        words = {word: value for word, value in words.items() if word in self.words}
        self.work.spend(weight([words.get("enum"), words.get("required"), words.get("const")]))
        self.afford([words["pattern"]] if "pattern" in words else [])
        self.afford(words.get("patternProperties", ()))
        _values(node, words)
        _numbers_and_texts(node, words)
        self.array(node, words)
        self.object(node, words)
        self.logic(node, words)
        node.unsure = (*node.unsure, *reasons)

    def afford(self, patterns: Iterable[str]) -> None:
        """Compile patterns here, where it is paid for, so that whoever asks later finds them made."""
        for pattern in patterns:
            if pattern not in self.patterns:
                self.patterns.add(pattern)
                self.work.spend(effort(pattern))
        if len(self.patterns) > MAX_PATTERNS:
            raise TooMuchWork

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
        if self.dialect in OLD:
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
