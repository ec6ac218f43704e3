"""Does a tool's schema keep to the strict form that OpenAI's structured outputs ask for, and if not, where.

Apart from the comparison of schemas, because this is about how one is written, not about what it accepts: strict
mode refuses a request whose schema says the same in other words. Three answers for each keyword: it is documented
as supported, documented as refused, or not documented, and then nobody knows (`Departure.known`).

Source: OpenAI, "Structured model outputs", section "Supported schemas" (developers.openai.com/api/docs/guides/
structured-outputs), as of 2026. Limits were raised before: they are the ones documented then.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from registry.schemas import misshapen

MAX_DEPARTURES = 8  # told of one schema
MAX_PROPERTIES = 5_000  # of all objects together
MAX_LEVELS = 10  # of objects inside objects
MAX_VALUES = 1_000  # of all enums together
MAX_CHARACTERS = 120_000  # of all names of properties and definitions and all texts of enums and consts
MANY_VALUES, MAX_MANY = 250, 15_000  # an enum with more values may have so many characters

_SUPPORTED = frozenset(
    (
        *(
            "type",
            "properties",
            "required",
            "additionalProperties",
            "items",
            "anyOf",
            "enum",
            "const",
            "$ref",
        ),
        *("$defs", "definitions", "pattern", "format", "minItems", "maxItems", "multipleOf", "minimum"),
        *("maximum", "exclusiveMinimum", "exclusiveMaximum", "title", "description", "$schema"),
    )
)
_REFUSED = frozenset(("allOf", "oneOf", "not", "dependentRequired", "dependentSchemas", "if", "then", "else"))
_SAYS_WHAT = frozenset(("type", "anyOf", "$ref", "enum", "const"))


@dataclass(frozen=True)
class Departure:
    """A place that is not in strict form. `path`: a JSON pointer into the schema as written, `rule` a keyword.

    `known`: documented as refused; otherwise the documentation does not say.
    """

    path: str
    rule: str
    problem: str
    known: bool = True


@dataclass(frozen=True)
class _Place:
    node: Any
    path: str
    level: int  # objects around it

    def below(self, node: Any, *steps: str) -> "_Place":
        path = "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in steps)
        return _Place(node, self.path + path, self.level + _is_object(self.node))


def departures(schema: Mapping[str, Any]) -> tuple[Departure, ...]:
    """Return where a tool's input leaves the strict form, the first `MAX_DEPARTURES`; none: it keeps to it.

    Never raises for a JSON value. What stands below a keyword that is not supported is not looked at.
    """
    problem = misshapen(schema)
    if problem is not None:
        return (Departure("", "$schema", f"not a JSON Schema: {problem.problem}"),)
    found = [*_root(schema)]
    places = list(_places(schema))
    for place in places:
        found += _departures_at(place)
        if len(found) >= MAX_DEPARTURES:
            return tuple(found[:MAX_DEPARTURES])
    return tuple([*found, *_limits(places)][:MAX_DEPARTURES])


def _root(schema: Mapping[str, Any]) -> Iterator[Departure]:
    if schema.get("type") != "object":
        yield Departure("", "type", "the whole has to say that its type is `object`")
    if "anyOf" in schema:
        yield Departure("", "anyOf", "the whole may not offer alternatives")


def _places(schema: Mapping[str, Any]) -> Iterator[_Place]:
    """Yield every schema that is looked at, in the order of the document."""
    todo = [_Place(schema, "", 0)]
    while todo:
        place = todo.pop()
        yield place
        if isinstance(place.node, dict):
            todo.extend(reversed(list(_below(place))))


def _below(place: _Place) -> Iterator[_Place]:
    node = place.node
    for word in ("properties", "$defs", "definitions"):
        yield from (place.below(child, word, name) for name, child in node.get(word, {}).items())
    yield from (place.below(child, "anyOf", str(n)) for n, child in enumerate(node.get("anyOf", ())))
    if isinstance(node.get("items"), dict):
        yield place.below(node["items"], "items")


def _is_object(node: Any) -> bool:
    types = node.get("type", ()) if isinstance(node, dict) else ()
    return isinstance(node, dict) and ("properties" in node or "object" in types)


def _departures_at(place: _Place) -> Iterator[Departure]:
    node, path = place.node, place.path
    if not isinstance(node, dict):
        yield Departure(path, "type", "says no type")
        return
    for word in node:
        if word in _REFUSED:
            yield Departure(path, word, f"`{word}` is not supported")
        elif word not in _SUPPORTED:
            yield Departure(path, word, f"whether `{word[:40]}` is supported is not documented", known=False)
    if path and _SAYS_WHAT.isdisjoint(node):
        yield Departure(path, "type", "says no type")
    if "items" in node and not isinstance(node["items"], dict):
        yield Departure(path, "items", "items have no schema of their own")
    if _is_object(node):
        yield from _object(node, path)
    if _is_object(node) and place.level == MAX_LEVELS:  # one more than there may be
        yield Departure(path, "properties", f"more than {MAX_LEVELS} objects inside each other", known=False)


def _object(node: Mapping[str, Any], path: str) -> Iterator[Departure]:
    if node.get("additionalProperties") is not False:
        yield Departure(path, "additionalProperties", "has to be `false`")
    properties, required = node.get("properties", {}), set(node.get("required", ()))
    left_out = [name for name in properties if name not in required]
    if left_out:
        some = ", ".join(f"`{name[:40]}`" for name in left_out[:4])
        more = f" and {len(left_out) - 4} more" if len(left_out) > 4 else ""
        yield Departure(path, "required", f"has to list every property: {some}{more}")
    unknown = sorted(required - properties.keys())
    if unknown:
        yield Departure(path, "required", f"lists `{unknown[0][:40]}`, which is no property")


def _limits(places: list[_Place]) -> Iterator[Departure]:
    """What is counted over the whole schema."""
    nodes = [place.node for place in places if isinstance(place.node, dict)]
    properties = sum(len(node.get("properties", ())) for node in nodes)
    if properties > MAX_PROPERTIES:
        yield Departure("", "properties", f"{properties} properties, {MAX_PROPERTIES} are supported")
    values = sum(len(node.get("enum", ())) for node in nodes)
    if values > MAX_VALUES:
        yield Departure("", "enum", f"{values} values of enums, {MAX_VALUES} are supported")
    characters = sum(map(_characters, nodes))
    if characters > MAX_CHARACTERS:
        yield Departure(
            "", "properties", f"{characters} characters of names and values, {MAX_CHARACTERS} are supported"
        )
    for place in places:
        listed = place.node.get("enum", ()) if isinstance(place.node, dict) else ()
        if len(listed) > MANY_VALUES and _texts(listed) > MAX_MANY:
            reason = f"more than {MANY_VALUES} values of together more than {MAX_MANY} characters"
            yield Departure(place.path, "enum", reason)


def _characters(node: Mapping[str, Any]) -> int:
    names = (name for word in ("properties", "$defs", "definitions") for name in node.get(word, ()))
    return _texts([*names, *node.get("enum", ()), node.get("const")])


def _texts(values: Any) -> int:
    return sum(len(value) for value in values if isinstance(value, str))
