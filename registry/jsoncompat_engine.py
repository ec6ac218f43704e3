"""A second engine where it can be had: the `jsoncompat` package (native code, Python 3.12 and later).

It is asked for counter-examples only. It calls itself an alpha, knows 2020-12 alone, and takes some changes
for compatible that are not (a typed optional property added to an open object); so its "compatible" proves
nothing here, and each counter-example is confirmed like any other. It cannot be interrupted and a fault in
native code ends the process, so it is shown only documents that are small, flat and free of patterns and of
references that lead back.
"""

import importlib
import json
from typing import Any

from registry.schema_dialects import UnknownDialect, dialect, subschemas
from registry.schema_engines import NotIncluded, Opinion, Pair
from registry.schemas import misshapen, weight

MAX_WEIGHT = 2_000  # JSON values in one document
_STRANGE = frozenset(("$ref", "$dynamicRef", "$id", "$anchor", "pattern", "patternProperties", "nullable"))
_LIBRARY = "jsoncompat"


class Jsoncompat:
    """The `jsoncompat` library behind our interface."""

    name = "jsoncompat"

    def __init__(self, library: Any) -> None:
        self.library = library

    def compare(self, pair: Pair) -> Opinion:
        """Return a counter-example of the library's, not yet confirmed, or no opinion."""
        sides = [_document(schema) for schema in (pair.producer, pair.consumer)]
        if None in sides:
            return Opinion()
        try:
            found = self.library.analyze_compat(*sides, "deserializer")
        except ValueError:
            return Opinion()
        if found.get("status") != "incompatible" or "counterexample_json" not in found:
            return Opinion()
        reason = "an example that is emitted is not accepted"
        return Opinion((NotIncluded("", "value", reason, json.loads(found["counterexample_json"])),))


def available() -> Jsoncompat | None:
    """Return the engine if the library is installed here."""
    try:
        return Jsoncompat(importlib.import_module(_LIBRARY))
    except ImportError:
        return None


def _document(schema: Any) -> str | None:
    """Return the text to show the library, None for what it is not shown."""
    if misshapen(schema) or weight(schema) > MAX_WEIGHT:
        return None
    try:
        if dialect(schema) != "2020-12":
            return None
    except UnknownDialect:
        return None
    if any(not _STRANGE.isdisjoint(node) or node.get("required") == [] for node in subschemas(schema)):
        return None
    plain = {k: v for k, v in schema.items() if k != "$schema"} if isinstance(schema, dict) else schema
    return json.dumps(plain)
