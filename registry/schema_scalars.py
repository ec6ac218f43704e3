"""Null, booleans, texts and numbers: everything about them is decided exactly, whatever the demands.

For these a schema is a true-or-false formula over few facts, so trying one value for each way the facts can
fall out is a proof. Also says in a person's words which demand a value does not meet.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from registry import schema_numbers, schema_text
from registry.schema_flat import Flat
from registry.schema_judge import has_format, judge, judge_all, kind_of, number
from registry.schema_nodes import KINDS, Node
from registry.schema_regex import matches
from registry.schemas import Work, value_key

NUMBERS = frozenset(("integer", "fraction"))
_SEVERAL = 5  # values named in one message


@dataclass(frozen=True)
class Tried:
    """The emitted values that are refused, those of which nobody can tell, and whether the rest is accepted."""

    refused: tuple[Any, ...] = ()
    doubtful: tuple[Any, ...] = ()
    complete: bool = True

    @property
    def proved(self) -> bool:
        return self.complete and not self.refused


def fixed(values: Sequence[Any], p: Flat, demands: Sequence[Node], work: Work) -> Tried:
    """Try each of the few values that a producer emits."""
    refused, doubtful = list[Any](), list[Any]()
    for value in values:
        if judge_all(p.nodes, value, work) is False:
            continue
        answer = judge_all(demands, value, work)
        if answer is not True:
            (doubtful if answer is None else refused).append(value)
    return Tried(tuple(refused), tuple(doubtful), not doubtful)


def texts(p: Flat, demands: Sequence[Node], work: Work) -> Tried:
    """Try the texts that a producer emits."""
    found = schema_text.refused_texts(p, demands, work)
    return Tried(found.refused, (), found.complete)


def numbers(p: Flat, demands: Sequence[Node], work: Work) -> Tried:
    """Try the numbers that a producer emits."""
    points, complete = schema_numbers.points(p, demands, work)
    refused = []
    for point in points:
        answer = judge_all(demands, point, work)
        complete = complete and answer is not None
        if answer is False:
            refused.append(point)
    shown = [value for value in map(schema_numbers.as_json, refused[:8]) if value is not None]
    return Tried(tuple(shown), (), complete and len(shown) == len(refused[:8]))


def of_kind(kind: str, p: Flat, demands: Sequence[Node], work: Work) -> Tried:
    """Try the values of one kind: null, boolean, string, or (for both kinds of them) a number."""
    if kind in ("null", "boolean"):
        return fixed([None] if kind == "null" else [False, True], p, demands, work)
    return texts(p, demands, work) if kind == "string" else numbers(p, demands, work)


# ------------------------------------------------------------------------------------------------ reasons


def shown(value: Any) -> str:
    """A value short enough for a message."""
    text = value_key(value)
    return text if len(text) <= 60 else text[:57] + "..."


def several(values: Sequence[Any]) -> str:
    return ", ".join(shown(value) for value in values[:_SEVERAL])


def unmet(demands: Sequence[Node], value: Any, work: Work) -> tuple[str, str]:
    """Return the keyword that a value does not meet, and what it says, as the end of a sentence."""
    for node in demands:
        for rule, reason in _unmet(node, value, kind_of(value), work):
            return rule, reason
    return "value", f"{shown(value)} is not accepted"


def _unmet(node: Node, value: Any, kind: str, work: Work) -> Iterator[tuple[str, str]]:
    if node.never:
        yield "false", "nothing is accepted here"
    if kind not in node.kinds:
        yield "type", f"{named({kind})} is emitted, accepted is {named(node.kinds)}"
    if node.enum is not None and value_key(value) not in node.enum_keys:
        yield "enum", f"{shown(value)} is emitted, accepted is {several(node.enum)}"
    if kind == "string":
        yield from _unmet_text(node, value, work)
    if kind in NUMBERS:
        yield from _unmet_number(node, value)
    if node.any and judge(Node(0, any=node.any), value, work) is False:
        yield "anyOf", f"{shown(value)} fits none of the alternatives"
    if node.one and judge(Node(0, one=node.one), value, work) is False:
        yield "oneOf", f"{shown(value)} fits not exactly one of the alternatives"
    if any(judge(part, value, work) for part in node.nots):
        yield "not", f"{shown(value)} is what `not` forbids"
    if node.ifs and judge(Node(0, ifs=node.ifs), value, work) is False:
        yield "if", f"{shown(value)} does not meet what a condition demands"


def _unmet_text(node: Node, text: str, work: Work) -> Iterator[tuple[str, str]]:
    if len(text) < node.min_length:
        yield "minLength", f"may have {len(text)} characters, at least {node.min_length} are accepted"
    if node.max_length is not None and len(text) > node.max_length:
        yield "maxLength", f"may have more than the {node.max_length} characters accepted"
    for pattern in node.patterns:
        if matches(pattern, text, work) is False:
            yield "pattern", f"{shown(text)} does not match {shown(pattern)}"


def _unmet_number(node: Node, value: Any) -> Iterator[tuple[str, str]]:
    exact = number(value)
    if exact is None:
        return
    if node.low is not None and (exact, 0) < node.low:
        yield (
            "minimum",
            f"may be {shown(value)}, accepted is {'above' * node.low[1]}{'from' * (1 - node.low[1])} {_bound(node.low)}",
        )
    if node.high is not None and (exact, 0) > node.high:
        yield (
            "maximum",
            f"may be {shown(value)}, accepted is {'below' if node.high[1] else 'up to'} {_bound(node.high)}",
        )
    for step in node.steps:
        if exact % step:
            yield "multipleOf", f"{shown(value)} is no multiple of {schema_numbers.as_json(step)}"


def _bound(edge: tuple[Any, int]) -> str:
    return shown(schema_numbers.as_json(edge[0]))


def doubt(p: Flat, demands: Sequence[Node], kind: str, work: Work) -> tuple[str, str]:
    """Return the keyword because of which it cannot be told, and why."""
    about = schema_numbers.related(demands, work)
    for node in about:
        for reason in node.unsure:
            return "$unsure", reason
    if kind == "string":
        formats = [name for node in about for name in node.formats if name not in p.formats]
        if formats:
            return "format", f"not all text is seen to have the format {shown(formats[0])}"
        patterns = [t for node in about for t in node.patterns if t not in p.patterns]
        if patterns:
            return "pattern", f"not all text is seen to match {shown(patterns[0])}"
        return "maxLength", "the lengths are beyond any example"
    return "multipleOf", "there are too many steps to try between the bounds"


def doubtful(value: Any, demands: Sequence[Node], work: Work) -> tuple[str, str]:
    """As `doubt`, for one value that a producer emits."""
    for node in schema_numbers.related(demands, work):
        if node.unsure:
            return "$unsure", node.unsure[0]
        if isinstance(value, str) and any(has_format(name, value) is None for name in node.formats):
            return "format", f"whether {shown(value)} has the format {shown(node.formats[0])} cannot be told"
    return "$unsure", f"whether {shown(value)} is accepted cannot be told"


def named(kinds: frozenset[str] | set[str]) -> str:
    """Name kinds as schemas do."""
    left = {"number" if kind == "fraction" else kind for kind in kinds}
    if "fraction" in kinds:
        left.discard("integer")
    return "anything" if kinds == KINDS else " or ".join(sorted(left)) or "nothing"
