"""What a producer emits, as the few shapes an inclusion proof can walk over.

A consumer's `allOf` is simply several demands. A producer's is one demand written in pieces, and so are
keywords beside an `anyOf`. Here the pieces become one: `allOf` is merged, `anyOf` and `oneOf` move outward,
and objects are closed, because a model under a grammar or in strict mode emits the keys it declares and no
others. Where two pieces cannot be merged, one is dropped and `$unsure` says so: the result always covers
at least what the producer emits, so a proof over it holds for the producer.
"""

from fractions import Fraction
from typing import Any

from registry.schemas import TYPES, UNSURE, Schema, TooMuchWork, Work, has_type, ordered, value_key, weight

MAX_BRANCHES = 64
_GROUPS = (("if", "then", "else"), ("contains", "minContains", "maxContains"), ("prefixItems", "items"))
_TIGHTEST = {
    **dict.fromkeys(("minLength", "minItems", "minProperties", "minimum", "exclusiveMinimum"), max),
    **dict.fromkeys(("maxLength", "maxItems", "maxProperties", "maximum", "exclusiveMaximum"), min),
}


def producer_view(normal: Schema, work: Work) -> Schema:
    """Return a closed, flat form of a normal form: no `allOf`, and `anyOf` only with nothing beside it.

    Raises:
        TooMuchWork: more than `MAX_BRANCHES` branches, or more steps than `work` allows.
    """
    return _closed(_flat(normal, work), work)


def exact_number(value: float) -> Fraction:
    """Return the number that was written: 0.1 is one tenth."""
    return Fraction(value) if isinstance(value, int) else Fraction(repr(value))


def _flat(node: Schema, work: Work) -> Schema:
    work.spend()
    if isinstance(node, bool):
        return node
    pieces: list[Schema] = [_flat(part, work) for part in node.get("allOf", ())]
    unions = [node[word] for word in ("anyOf", "oneOf") if word in node]
    own = {word: value for word, value in node.items() if word not in ("allOf", "anyOf", "oneOf")}
    if "properties" in own:
        own["properties"] = {name: _flat(child, work) for name, child in own["properties"].items()}
    if "prefixItems" in own:
        own["prefixItems"] = [_flat(child, work) for child in own["prefixItems"]]
    for word in ("items", "additionalProperties"):
        if word in own:
            own[word] = _flat(own[word], work)
    merged: Schema = own
    for piece in (*pieces, *({"anyOf": [_flat(branch, work) for branch in union]} for union in unions)):
        merged = _merge(merged, piece, work)
    return merged


def _merge(one: Schema, two: Schema, work: Work) -> Schema:
    """Return the values in both, or a few more with `$unsure`."""
    work.spend()
    if one is True or two is True:
        return two if one is True else one
    if isinstance(one, bool) or isinstance(two, bool):
        return False
    for union, other in ((one, two), (two, one)):
        if "anyOf" in union:
            branches = [_merge(branch, other, work) for branch in union["anyOf"]]
            beside = {word: value for word, value in union.items() if word != "anyOf"}
            flat = [_merge(branch, beside, work) for branch in branches] if beside else branches
            return _union(flat)
    out = dict(one)
    for word, value in _without_rival_groups(one, two).items():
        if word not in out:
            out[word] = value
            continue
        work.spend(weight(value))
        if value_key(out[word]) != value_key(value):
            _merge_keyword(out, word, value, work)
    _merge_objects(out, one, two, work)
    if "type" in out and not out["type"]:
        return False
    if "enum" in out and "type" in out:
        kinds = out.pop("type")
        out["enum"] = [value for value in out["enum"] if has_type(value, kinds)]
    return ordered(out)


def _without_rival_groups(one: dict[str, Any], two: dict[str, Any]) -> dict[str, Any]:
    """Drop from `two` the keywords that only mean something beside one that `one` has too."""
    dropped = {word for group in _GROUPS if group[0] in one and group[0] in two for word in group}
    return {word: value for word, value in two.items() if word not in dropped}


def _merge_objects(out: dict[str, Any], one: dict[str, Any], two: dict[str, Any], work: Work) -> None:
    """Each property must suit both; what one names and the other does not falls to the other's rest."""
    rests = [side.get("additionalProperties", True) for side in (one, two)]
    names = {**one.get("properties", {}), **two.get("properties", {})}
    if names:
        sides = [side.get("properties", {}) for side in (one, two)]
        out["properties"] = {
            name: _merge(sides[0].get(name, rests[0]), sides[1].get(name, rests[1]), work) for name in names
        }
    if "additionalProperties" in one or "additionalProperties" in two:
        out["additionalProperties"] = _merge(rests[0], rests[1], work)


def _union(branches: list[Schema]) -> Schema:
    flat: list[Schema] = []
    for branch in branches:
        if isinstance(branch, dict) and branch.keys() == {"anyOf"}:
            flat.extend(branch["anyOf"])
        elif branch is not False:
            flat.append(branch)
    if len(flat) > MAX_BRANCHES:
        raise TooMuchWork
    return {"anyOf": flat} if flat else False


def _merge_keyword(out: dict[str, Any], word: str, value: Any, work: Work) -> None:
    """Tighten `out[word]` by `value`; `out[word]` is known to differ from it."""
    held = out[word]
    if word == "type":
        out[word] = [kind for kind in TYPES if _both_allow(kind, held, value)]
    elif word == "enum":
        known = {value_key(item) for item in value}
        out[word] = [item for item in held if value_key(item) in known]
    elif word == "required":
        out[word] = sorted({*held, *value})
    elif word in _TIGHTEST:
        out[word] = _TIGHTEST[word](held, value)
    elif word == "items" and "prefixItems" not in out:
        out[word] = _merge(held, value, work)
    elif word == UNSURE:
        out[word] = held if value in held else f"{held}; {value}"[:500]
    elif word not in ("properties", "additionalProperties"):  # those go together, in `_merge_objects`
        out[UNSURE] = f"two demands of `{word}` on one value"


def _both_allow(kind: str, one: list[str], two: list[str]) -> bool:
    if kind == "integer":  # a normal form never lists it beside `number`
        return "integer" in (*one, *two) and all({"integer", "number"} & {*side} for side in (one, two))
    return kind in one and kind in two


def _closed(node: Schema, work: Work) -> Schema:
    work.spend()
    if isinstance(node, bool):
        return node
    out = dict(node)
    for word in ("anyOf", "prefixItems"):
        if word in out:
            out[word] = [_closed(child, work) for child in out[word]]
    for word in ("items", "additionalProperties"):
        if word in out:
            out[word] = _closed(out[word], work)
    if "properties" in out:
        out["properties"] = {name: _closed(child, work) for name, child in out["properties"].items()}
        # An object that declares no properties at all is a free one; closing it would say it is empty.
        if UNSURE not in out:
            out.setdefault("additionalProperties", False)
    return ordered(out)
