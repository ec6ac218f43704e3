"""Concrete values for schemas in normal form: does one fit, and which are worth trying.

Two readings of every schema, because some keywords cannot be evaluated safely: a foreign regular expression
can run for years, and whether `format` is asserted is each reader's choice. `surely_fits` counts such a
keyword as failed, `surely_rejected` counts it as satisfied, so each answer holds whatever the truth is
(`registry.schemas` keeps doubtful parts out of `not`, `if` and `oneOf`, where the two would swap).

The verdict on a value comes from the `jsonschema` library, not from the code that suggested the value.
"""

import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from jsonschema import Draft202012Validator, ValidationError, validators
from referencing import Registry

from registry.schema_merge import exact_number
from registry.schemas import UNSURE, Schema, Work, value_key, weight

MAX_ITEMS = 32  # longest array that is made up as an example
MAX_TEXT = 4096  # longest text made up as an example
MAX_EXAMPLES = 6  # per schema
# One undisputed text for each format that tools commonly use; nothing else is claimed to have the format.
FORMAT_EXAMPLES = {
    "date": "2020-01-31",
    "date-time": "2020-01-31T12:00:00Z",
    "email": "someone@example.org",
    "hostname": "example.org",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "time": "12:00:00Z",
    "uri": "https://example.org/",
    "uuid": "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
}
_SOME_TEXTS = ("", "a", "A", "0", "a0", "a-b", "/a", "example")
# Atoms with at most three repeats and no groups: polynomial on the short texts that they are tried on.
_PLAIN_PATTERN = re.compile(
    r"(?:\\[dswDSW.\-/]|\[\^?[A-Za-z0-9_.\- ]+\]|[A-Za-z0-9_ /:@.^$,=-]|[*+?]|\{\d{1,2}\})*"
)


_NOTHING: Registry[Any] = Registry()  # normal forms hold no `$ref`; if one did, this registry fetches nothing


def _pattern_answer(pattern: str, text: str) -> bool | None:
    """Say whether the text matches, or None where asking could be expensive or engines could differ."""
    plain = (
        len(pattern) <= 128 and _PLAIN_PATTERN.fullmatch(pattern) and len(re.findall(r"[*+?{]", pattern)) <= 3
    )
    if not plain or len(text) > 64 or not text.isascii() or "\n" in text:
        return None
    try:
        return re.search(pattern, text) is not None
    except re.error:
        return None


def _reading(*, doubt_passes: bool) -> Any:
    def unsure(_validator: Any, reason: str, _value: Any, _schema: Any) -> Any:
        if not doubt_passes:
            yield ValidationError(reason)

    def pattern(_validator: Any, wanted: str, value: Any, _schema: Any) -> Any:
        answer = _pattern_answer(wanted, value) if isinstance(value, str) else True
        if not (doubt_passes if answer is None else answer):
            yield ValidationError("pattern")

    def of_format(_validator: Any, wanted: str, value: Any, _schema: Any) -> Any:
        if isinstance(value, str) and value != FORMAT_EXAMPLES.get(wanted) and not doubt_passes:
            yield ValidationError("format")

    keywords = {UNSURE: unsure, "pattern": pattern, "format": of_format}
    extend: Any = validators.extend  # its stub leaves the result untyped
    return extend(Draft202012Validator, keywords)


_STRICT, _LENIENT = _reading(doubt_passes=False), _reading(doubt_passes=True)


def surely_fits(schema: Schema, value: Any, work: Work) -> bool:
    """Whether the schema accepts the value however its doubtful parts are read. Raises `TooMuchWork`."""
    work.spend(weight(schema) * weight(value))
    return bool(_STRICT(schema, registry=_NOTHING).is_valid(value))


def surely_rejected(schema: Schema, value: Any, work: Work) -> bool:
    """Whether the schema refuses the value however its doubtful parts are read. Raises `TooMuchWork`."""
    work.spend(weight(schema) * weight(value))
    return not _LENIENT(schema, registry=_NOTHING).is_valid(value)


def examples(node: Schema, work: Work) -> list[Any]:
    """Return up to `MAX_EXAMPLES` values that a flat producer view probably emits, simplest first.

    Only suggestions: callers check each against the schema. May be empty.
    """
    work.spend()
    if node is False:
        return []
    if node is True:
        return ["", 0, None, {}]
    if "enum" in node:
        return list(node["enum"][:MAX_EXAMPLES])
    if "anyOf" in node:
        found = [example for branch in node["anyOf"] for example in examples(branch, work)[:2]]
        return found[:MAX_EXAMPLES]
    found = []
    for kind in node.get("type", ("string", "integer", "null", "object", "array", "boolean")):
        found.extend(typed_examples(kind, node, work))
    return found[:MAX_EXAMPLES]


def typed_examples(kind: str, node: dict[str, Any], work: Work) -> list[Any]:
    """Return suggestions of one type; see `examples`."""
    if kind in ("null", "boolean"):
        return [None] if kind == "null" else [False, True]
    if kind == "string":
        return texts(node)
    if kind in ("integer", "number"):
        return numbers(kind, node)
    if kind == "array":
        return arrays(node, work)
    return objects(node, work)


def texts(node: Mapping[str, Any], lengths: tuple[int, ...] = ()) -> list[str]:
    """Return texts at the edges of the length bounds, and of the further `lengths`."""
    if "format" in node:
        known = FORMAT_EXAMPLES.get(node["format"])
        return [known] if known is not None else []
    least, most = node.get("minLength", 0), node.get("maxLength", MAX_TEXT)
    edges = [n for n in (*lengths, least, most) if least <= n <= min(most, MAX_TEXT)]
    some = [text for text in _SOME_TEXTS if least <= len(text) <= most]
    if "pattern" in node:
        some = [text for text in some if _pattern_answer(node["pattern"], text)]
    made = ["a" * n for n in edges[: len(lengths) + 1]]
    return list(dict.fromkeys([*made, *some] if lengths else [*some, *made]))[: MAX_EXAMPLES + 2]


def numbers(kind: str, node: Mapping[str, Any], near: tuple[Fraction, ...] = ()) -> list[int | float]:
    """Return numbers at the edges of the bounds and on both sides of the points in `near`."""
    step = exact_number(node["multipleOf"]) if "multipleOf" in node else None
    bounds = [
        exact_number(node[w])
        for w in ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum")
        if w in node
    ]
    gap = step or (Fraction(1) if kind == "integer" else Fraction(1, 2))
    anchors = [*near, *bounds, Fraction(0)]
    points = [point + gap * side for point in anchors for side in (0, 1, -1)]
    if step:
        points = [step * (point // step + side) for point in anchors for side in (0, 1, -1)]
    good = [as_json(p) for p in points if _within(node, p) and (kind == "number" or p.denominator == 1)]
    if kind == "number" and not step:  # a fraction first: what an integer reader trips over
        good.sort(key=lambda value: isinstance(value, int))
    return list(dict.fromkeys(good))[: MAX_EXAMPLES + 2]


def _within(node: Mapping[str, Any], point: Fraction) -> bool:
    return (
        ("minimum" not in node or point >= exact_number(node["minimum"]))
        and ("maximum" not in node or point <= exact_number(node["maximum"]))
        and ("exclusiveMinimum" not in node or point > exact_number(node["exclusiveMinimum"]))
        and ("exclusiveMaximum" not in node or point < exact_number(node["exclusiveMaximum"]))
    )


def as_json(point: Fraction) -> int | float:
    return int(point) if point.denominator == 1 else float(point)


def arrays(node: Mapping[str, Any], work: Work, sizes: tuple[int, ...] = ()) -> list[Any]:
    """Return arrays of the least size, of one more, and of the further `sizes`."""
    least = node.get("minItems", 0)
    most = min(node.get("maxItems", MAX_ITEMS), MAX_ITEMS)
    made = (
        array_of(node, size, work)
        for size in dict.fromkeys((*sizes, least, least + 1))
        if least <= size <= most
    )
    return [array for array in made if array is not None]


def array_of(node: Mapping[str, Any], size: int, work: Work) -> list[Any] | None:
    """Return an array of `size` items, different ones where the schema asks for that, or None."""
    if size > MAX_ITEMS:
        return None
    prefix = node.get("prefixItems", [])
    out: list[Any] = []
    rest: list[Any] | None = None
    for place in range(size):
        if place < len(prefix):
            choices = examples(prefix[place], work)
        else:
            rest = examples(node.get("items", True), work) if rest is None else rest
            choices = rest
        if node.get("uniqueItems"):
            held = {value_key(item) for item in out}
            choices = [choice for choice in choices if value_key(choice) not in held]
        if not choices:
            return None
        out.append(choices[0])
    return out


def objects(node: Mapping[str, Any], work: Work) -> list[Any]:
    """Return the smallest object, the one with every declared property, and some with one besides."""
    declared = tuple(node.get("properties", ()))
    choices: list[tuple[str, ...]] = [(), declared, *((name,) for name in declared[: MAX_EXAMPLES - 2])]
    made = [object_with(node, {}, work, names=names) for names in choices]
    return list({value_key(item): item for item in made if item is not None}.values())


def object_with(
    node: Mapping[str, Any], given: Mapping[str, Any], work: Work, names: tuple[str, ...] = ()
) -> dict[str, Any] | None:
    """Return `given` with what the schema requires, and `names` besides; None if a required one has no example."""
    declared, rest = node.get("properties", {}), node.get("additionalProperties", True)
    required = node.get("required", ())
    out = dict(given)
    for name in (*required, *names):
        if name in out:
            continue
        choices = examples(declared.get(name, rest), work)
        if choices:
            out[name] = choices[0]
        elif name in required:
            return None
    return out
