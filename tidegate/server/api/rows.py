"""Rows as JSON, and the JSON Schema of them, both made from the tables."""

from types import NoneType, UnionType
from typing import Any, get_args

from registry.entities import Row
from signing.canonical import parse

_JSON_TYPES = {str: "string", int: "integer", bool: "boolean", NoneType: "null"}
_MOST = 64 << 20  # bytes of a kept text; what keeps them has limits of its own
# Columns that hold JSON as text: shown as what they are where one row is shown.
_HOLD_JSON = ("manifest", "body", "evidence", "payload", "signature", "authority", "identity", "root")


def brief(row: Row) -> dict[str, Any]:
    """A row of a list: what the log carries of it, long texts by their SHA-256."""
    return row.content()


def whole(row: Row) -> dict[str, Any]:
    """One row with all that it holds; JSON as JSON, texts that are signed as the exact texts beside it."""
    values = {name: value for name, value in row.model_dump(warnings=False).items() if name != "id"}
    for name in _HOLD_JSON:
        text = values.get(name)
        if isinstance(text, str) and text[:1] in ("{", "["):
            values[f"{name}_json"] = parse(text.encode(), max_bytes=_MOST, at=name)
    return values


def row_schema(table: type[Row], *, all_of_it: bool = False) -> dict[str, Any]:
    """The JSON Schema of `brief`, or of `whole`."""
    fields = {name: info for name, info in table.model_fields.items() if name != "id"}
    properties: dict[str, Any] = {name: {"type": _types(info.annotation)} for name, info in fields.items()}
    required = [name for name in fields if all_of_it or name not in table.added_later]
    if all_of_it:
        properties |= {f"{name}_json": {"type": ["object", "array"]} for name in _HOLD_JSON if name in fields}
    return {"type": "object", "required": required, "properties": properties, "description": _about(table)}


def page_schema(item: dict[str, Any]) -> dict[str, Any]:
    """A page of a list."""
    following = {
        "type": ["string", "null"],
        "description": "The address of the next page; null: this is the last.",
    }
    return {
        "type": "object",
        "required": ["items", "next"],
        "properties": {"items": {"type": "array", "items": item}, "next": following},
    }


def _about(table: type[Row]) -> str:
    return (table.__doc__ or "").strip().split("\n\n")[0].replace("\n", " ")


def _types(annotation: Any) -> str | list[str]:
    kinds = get_args(annotation) if isinstance(annotation, UnionType) else (annotation,)
    found = [_JSON_TYPES[kind] for kind in kinds]
    return found[0] if len(found) == 1 else found
