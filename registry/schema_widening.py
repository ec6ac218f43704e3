"""A schema that accepts what it accepted and another one's values besides, changed in as few places as can be.

Only a proposal: whoever uses it compares again. Where the two are too different to be laid over each other, the
answer is both, side by side in an `anyOf`.
"""

from collections.abc import Mapping
from typing import Any

from registry.inclusion import examine, new_budget
from registry.schemas import Work, value_key

Schema = Mapping[str, Any]
_NOTES = frozenset(
    ("title", "description", "default", "examples", "$comment", "deprecated", "readOnly", "writeOnly")
)
_PLAIN = frozenset(("type", "properties", "required", "additionalProperties"))
_MAX_DEPTH = 16
_MAX_PAIRS = 64  # of schemas that are compared to find the smallest change of one tool


def widened(consumer: Schema, producer: Schema, budget: Work | None = None) -> dict[str, Any]:
    """Return `consumer`, changed so that it also takes in what `producer` emits. Both describe arguments: objects.

    `budget`: the steps left for all tools; without any, a difference is answered with both side by side.
    """
    budget = budget or new_budget()
    if not examine(_object(producer), _object(consumer), budget=budget):
        return dict(consumer)
    merged = _Merge(budget).objects(consumer, producer, 0)
    if merged is not None and not examine(_object(producer), _object(merged), budget=budget):
        return merged
    # A reference means a place in its own document, which stands one branch deeper now.
    return {
        "type": "object",
        "anyOf": [_moved(consumer, "#/anyOf/0"), _moved(producer, "#/anyOf/1")],
    }


def _object(schema: Schema) -> Schema:
    return schema if "type" in schema or "$ref" in schema else {**schema, "type": "object"}


class _Merge:
    """Lays two schemas over each other; None where that is more than the plainest kind, or too much work."""

    def __init__(self, budget: Work) -> None:
        self.left, self.budget = _MAX_PAIRS, budget

    def objects(self, consumer: Schema, producer: Schema, depth: int) -> dict[str, Any] | None:
        if depth > _MAX_DEPTH or not (_is_plain(consumer) and _is_plain(producer)):
            return None
        ours, theirs = consumer.get("properties", {}), producer.get("properties", {})
        closed = consumer.get("additionalProperties") is False
        if closed and producer.get("additionalProperties", False) is not False:
            return None
        properties = dict(ours)
        for name, schema in theirs.items():
            if name in ours:
                both = self.either(ours[name], schema, depth + 1)
                if both is None:
                    return None
                properties[name] = both
            elif closed:
                properties[name] = schema
        return _demanding({**consumer, "properties": properties}, producer)

    def either(self, consumer: Any, producer: Any, depth: int) -> Any:
        if not (isinstance(consumer, Mapping) and isinstance(producer, Mapping)):
            return consumer if consumer is True or producer is False else True
        if value_key(consumer) == value_key(producer):
            return consumer
        self.left -= 1
        if self.left < 0 or _refers(consumer) or _refers(producer):
            return None
        if not examine(producer, consumer, budget=self.budget):
            return consumer
        if consumer.get("type") == producer.get("type") == "object":
            merged = self.objects(consumer, producer, depth)
            if merged is not None:
                return merged
        return _side_by_side(consumer, producer)


def _side_by_side(consumer: Schema, producer: Schema) -> dict[str, Any]:
    """Either of the two: one longer list where both are lists of types or of values, else an `anyOf`."""
    for word in ("type", "enum"):
        if _says_only(consumer, word) and _says_only(producer, word):
            return {**consumer, word: _union(consumer[word], producer[word])}
    options = consumer["anyOf"] if _says_only(consumer, "anyOf") else [consumer]
    return {"anyOf": [*options, producer]}


def _demanding(consumer: dict[str, Any], producer: Schema) -> dict[str, Any]:
    """Demand only what both demand."""
    both = [name for name in consumer.get("required", ()) if name in producer.get("required", ())]
    if "required" not in consumer or both == consumer["required"]:
        return consumer
    rest = {word: value for word, value in consumer.items() if word != "required"}
    return {**rest, "required": both} if both else rest


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
