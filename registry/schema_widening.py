"""A schema that accepts what it accepted and another one's values besides, changed in as few places as can be.

Only a proposal: whoever uses it compares again. Where the two are too different to be laid over each other, the
answer is both, side by side in an `anyOf`.
"""

from collections.abc import Mapping
from typing import Any

from registry.inclusion import examine

Schema = Mapping[str, Any]
_NOTES = frozenset(
    ("title", "description", "default", "examples", "$comment", "deprecated", "readOnly", "writeOnly")
)
_PLAIN = frozenset(("type", "properties", "required", "additionalProperties"))
_MAX_DEPTH = 16


def widened(consumer: Schema, producer: Schema) -> dict[str, Any]:
    """Return `consumer`, changed so that it also takes in what `producer` emits. Both describe arguments: objects."""
    if not examine(_object(producer), _object(consumer)):
        return dict(consumer)
    merged = _merged(consumer, producer, 0)
    if merged is not None and not examine(_object(producer), _object(merged)):
        return merged
    # A reference means a place in its own document, which stands one branch deeper now.
    return {
        "type": "object",
        "anyOf": [_moved(consumer, "#/anyOf/0"), _moved(producer, "#/anyOf/1")],
    }


def _object(schema: Schema) -> Schema:
    return schema if "type" in schema or "$ref" in schema else {**schema, "type": "object"}


def _merged(consumer: Schema, producer: Schema, depth: int) -> dict[str, Any] | None:
    """Lay two object schemas of the plainest kind over each other; None where one of them says more than that."""
    if depth > _MAX_DEPTH or not (_is_plain(consumer) and _is_plain(producer)):
        return None
    ours, theirs = consumer.get("properties", {}), producer.get("properties", {})
    closed = consumer.get("additionalProperties") is False
    if closed and producer.get("additionalProperties", False) is not False:
        return None
    properties = dict(ours)
    for name, schema in theirs.items():
        if name in ours:
            both = _either(ours[name], schema, depth + 1)
            if both is None:
                return None
            properties[name] = both
        elif closed:
            properties[name] = schema
    out = {**consumer, "properties": properties}
    required = [name for name in consumer.get("required", ()) if name in producer.get("required", ())]
    if "required" in consumer and required != consumer["required"]:
        del out["required"]
        out |= {"required": required} if required else {}
    return out


def _either(consumer: Any, producer: Any, depth: int) -> Any:
    if not (isinstance(consumer, Mapping) and isinstance(producer, Mapping)):
        return consumer if consumer is True or producer is False else True
    if _refers(consumer) or _refers(producer):
        return None
    if not examine(producer, consumer):
        return consumer
    if consumer.get("type") == producer.get("type") == "object":
        merged = _merged(consumer, producer, depth)
        if merged is not None:
            return merged
    for word in ("type", "enum"):
        if _says_only(consumer, word) and _says_only(producer, word):
            return {**consumer, word: _union(consumer[word], producer[word])}
    options = consumer["anyOf"] if _says_only(consumer, "anyOf") else [consumer]
    return {"anyOf": [*options, producer]}


def _union(first: Any, second: Any) -> list[Any]:
    ours, theirs = (value if isinstance(value, list) else [value] for value in (first, second))
    # 1 and true are equal to Python and two values in JSON.
    seen = [(type(item), item) for item in ours]
    return [*ours, *(item for item in theirs if (type(item), item) not in seen)]


def _says_only(schema: Schema, word: str) -> bool:
    return word in schema and not schema.keys() - _NOTES - {word}


def _is_plain(schema: Schema) -> bool:
    return schema.get("type", "object") == "object" and not schema.keys() - _PLAIN - _NOTES


def _refers(node: Any) -> bool:
    if isinstance(node, Mapping):
        return any(word.startswith(("$ref", "$dynamicRef")) for word in node) or any(
            _refers(value) for value in node.values()
        )
    return isinstance(node, list) and any(_refers(item) for item in node)


def _moved(node: Any, to: str) -> Any:
    """The same schema with its local references led to where it stands now."""
    if isinstance(node, list):
        return [_moved(item, to) for item in node]
    if not isinstance(node, Mapping):
        return node
    return {
        word: f"{to}{value[1:]}"
        if word == "$ref" and isinstance(value, str) and value.startswith("#")
        else _moved(value, to)
        for word, value in node.items()
    }
