"""Random schemas and values for the laws of schema inclusion.

Seeded and quick, without hypothesis: the exhaustive run makes a million pairs. Producer and consumer are
made from each other by small edits, as real tools change; two schemas that share nothing decide nothing.
"""

import copy
import random
from typing import Any

NAMES = ("a", "b", "c")
TEXTS = ("", "a", "b", "ab", "abc", "aaaa", "0", "12", "a1")
PATTERNS = ("^a", "b$", "^[ab]*$", "^[a-z]+$", "^a+$", "[0-9]", "^(a|b){1,2}$", "^.{0,2}$", "^\\w+$")
SCALARS: tuple[Any, ...] = (None, True, False, 0, 1, 2, 3, -1, 6, 1.5, *TEXTS)


class Maker:
    """Makes schemas and values from one seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def schema(self, depth: int = 3) -> Any:
        """Return a schema of JSON Schema 2020-12 that nests at most `depth` times."""
        if depth <= 0 or self.random.random() < 0.3:
            return self.leaf()
        made: dict[str, Any] = self.random.choice([self.objects, self.arrays, self.mixed])(depth - 1)
        return made

    def leaf(self) -> Any:
        pick = self.random.randrange(8)
        if pick == 0:
            return self.random.choice([True, {}, {}, False])
        if pick == 1:
            return {"enum": self.random.sample(SCALARS, self.random.randint(1, 4))}
        if pick == 2:
            return {"const": self.random.choice(SCALARS)}
        if pick == 3:
            return {
                "type": self.random.choice([["string", "null"], ["integer", "string"], "boolean", "null"])
            }
        return self.text() if pick < 6 else self.number()

    def some(self, words: dict[str, Any], chance: float = 0.3) -> dict[str, Any]:
        return {word: make() for word, make in words.items() if self.random.random() < chance}

    def text(self) -> dict[str, Any]:
        words: dict[str, Any] = {
            "minLength": lambda: self.random.randint(0, 3),
            "maxLength": lambda: self.random.randint(0, 4),
            "pattern": lambda: self.random.choice(PATTERNS),
        }
        return {"type": "string", **self.some(words)}

    def number(self) -> dict[str, Any]:
        words: dict[str, Any] = {
            "minimum": lambda: self.random.randint(-2, 4),
            "maximum": lambda: self.random.randint(-2, 7),
            "exclusiveMinimum": lambda: self.random.randint(-2, 4),
            "exclusiveMaximum": lambda: self.random.randint(-2, 7),
            "multipleOf": lambda: self.random.randint(1, 4),
        }
        return {"type": self.random.choice(["integer", "number"]), **self.some(words)}

    def objects(self, depth: int) -> dict[str, Any]:
        words: dict[str, Any] = {
            "type": lambda: "object",
            "properties": lambda: {n: self.schema(depth) for n in NAMES if self.random.random() < 0.6},
            "required": lambda: self.random.sample(NAMES, self.random.randint(1, 2)),
            "additionalProperties": lambda: self.random.choice([False, False, True, self.schema(depth)]),
        }
        rare: dict[str, Any] = {
            "patternProperties": lambda: {
                self.random.choice(["^a", "^[ab]$", "c", "^x"]): self.schema(depth)
            },
            "minProperties": lambda: self.random.randint(0, 2),
            "maxProperties": lambda: self.random.randint(0, 3),
            "propertyNames": lambda: self.random.choice(
                [{"maxLength": 1}, {"pattern": "^[a-c]"}, {"enum": ["a"]}]
            ),
            "dependentRequired": lambda: {"a": ["b"]},
            "dependentSchemas": lambda: {"a": self.schema(depth)},
            "unevaluatedProperties": lambda: self.random.choice([False, self.schema(depth)]),
        }
        return {**self.some(words, 0.8), **self.some(rare, 0.12)}

    def arrays(self, depth: int) -> dict[str, Any]:
        words: dict[str, Any] = {
            "items": lambda: self.schema(depth),
            "prefixItems": lambda: [self.schema(depth) for _ in range(self.random.randint(1, 2))],
            "minItems": lambda: self.random.randint(0, 2),
            "maxItems": lambda: self.random.randint(0, 3),
        }
        rare: dict[str, Any] = {
            "uniqueItems": lambda: True,
            "contains": lambda: self.schema(depth),
            "unevaluatedItems": lambda: self.random.choice([False, self.schema(depth)]),
        }
        made: dict[str, Any] = {"type": "array", **self.some(words, 0.4), **self.some(rare, 0.12)}
        if "contains" in made:
            counts: dict[str, Any] = {
                "minContains": lambda: self.random.randint(0, 2),
                "maxContains": lambda: 2,
            }
            made |= self.some(counts)
        return made

    def mixed(self, depth: int) -> dict[str, Any]:
        def parts() -> list[Any]:
            return [self.schema(depth) for _ in range(self.random.randint(1, 3))]

        word = self.random.choice(["anyOf", "oneOf", "allOf", "not", "if", "beside"])
        if word == "not":
            return {"not": self.schema(depth)}
        if word == "if":
            return {part: self.schema(depth) for part in ("if", "then", "else")}
        if word == "beside":
            return {**self.objects(depth), self.random.choice(["anyOf", "allOf", "oneOf"]): parts()}
        return {word: parts()}

    def recursive(self) -> dict[str, Any]:
        """Return a tree: a schema that asks for itself inside."""
        node: dict[str, Any] = {
            "type": "object",
            "properties": {"v": self.leaf(), "k": {"type": "array", "items": {"$ref": "#"}}},
        }
        if self.random.random() < 0.5:
            node["additionalProperties"] = False
        return node

    def pair(self) -> tuple[Any, Any]:
        """Return a producer and a consumer: now and then strangers, mostly one changed a little."""
        producer = self.recursive() if self.random.random() < 0.05 else self.schema()
        if self.random.random() < 0.2:
            return producer, self.schema()
        consumer = copy.deepcopy(producer)
        for _ in range(self.random.randint(1, 2)):
            consumer = self.edited(consumer)
        return (producer, consumer) if self.random.random() < 0.5 else (consumer, producer)

    def edited(self, schema: Any) -> Any:
        """Return the schema with one thing in it changed."""
        if not isinstance(schema, dict) or not schema or self.random.random() < 0.15:
            return self.random.choice(
                [self.leaf(), {"anyOf": [schema, self.leaf()]}, {"allOf": [schema]}, True]
            )
        out = dict(schema)
        word = self.random.choice(list(out))
        inside = out[word]
        if word in ("items", "additionalProperties", "not", "contains", "if", "then", "else"):
            out[word] = self.edited(inside)
        elif word in ("properties", "patternProperties") and inside:
            name = self.random.choice(list(inside))
            out[word] = {**inside, name: self.edited(inside[name])}
        elif word in ("anyOf", "oneOf", "allOf", "prefixItems"):
            place = self.random.randrange(len(inside))
            out[word] = [self.edited(part) if n == place else part for n, part in enumerate(inside)]
        elif self.random.random() < 0.5:
            del out[word]
        else:
            out |= self.random.choice([self.text(), self.number(), {"required": ["a"]}])
        return out

    # -------------------------------------------------------------------------------------------- values

    def value(self, schema: Any, depth: int = 4) -> Any:  # noqa: PLR0911 -- one line per sort of schema
        """Return a value that leans towards the schema, without promising anything."""
        if not isinstance(schema, dict) or depth <= 0 or self.random.random() < 0.1:
            return self.any_value(depth)
        if "enum" in schema:
            return self.random.choice(schema["enum"])
        if "const" in schema:
            return schema["const"]
        for word in ("anyOf", "oneOf", "allOf"):
            if word in schema and self.random.random() < 0.6:
                return self.value(self.random.choice(schema[word]), depth - 1)
        if "properties" in schema or schema.get("type") == "object":
            return self.object_value(schema, depth)
        if schema.get("type") == "array" or "items" in schema:
            items = [*schema.get("prefixItems", [])] + [schema.get("items", True)] * self.random.randint(0, 3)
            return [self.value(item, depth - 1) for item in items]
        if schema.get("type") in ("integer", "number"):
            return self.random.choice([self.random.randint(-3, 12), self.random.randint(-3, 12) + 0.5])
        return self.random.choice(SCALARS)

    def object_value(self, schema: dict[str, Any], depth: int) -> dict[str, Any]:
        out = {}
        for name in (*NAMES, "v", "k", "x", "zz"):
            about = schema.get("properties", {}).get(name)
            wanted = 0.9 if name in schema.get("required", ()) else 0.5 if about is not None else 0.12
            if self.random.random() < wanted:
                rest = schema.get("additionalProperties", True)
                out[name] = self.value(rest if about is None else about, depth - 1)
        return out

    def any_value(self, depth: int) -> Any:
        pick = self.random.randrange(6)
        if depth > 0 and pick == 0:
            return [self.any_value(depth - 1) for _ in range(self.random.randint(0, 3))]
        if depth > 0 and pick == 1:
            return {name: self.any_value(depth - 1) for name in NAMES if self.random.random() < 0.5}
        return self.random.choice(SCALARS)
