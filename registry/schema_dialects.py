"""Which dialect of JSON Schema a document is written in, and which keywords that dialect has.

Apart, because two readers have to agree on it: our own (`registry.schema_reading`) and the library that has
the last word on a value (`registry.schema_oracle`).

Source: JSON Schema draft-06, draft-07, 2019-09 and 2020-12 (Core, Validation); OpenAPI 3.0 `nullable`.
"""

from collections.abc import Iterator
from typing import Any

from registry.schemas import Schema, children

ANNOTATIONS = frozenset(
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
WORDS = {
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
OLD = ("draft-06", "draft-07")


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
