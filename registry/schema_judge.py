"""Does a value meet a schema: yes, no, or it cannot be told.

Three answers, because a foreign keyword, an unreadable pattern or a `format` (which each reader may check
or not) decides nothing; the doubt is carried through `not`, `oneOf` and `if` by Kleene's rules. Besides
JSON values two stand-ins are judged: an exact `Fraction`, and `SomeText`, which is every text that one
state of the automata stands for. A verdict on those holds for all they stand for.
"""

import ipaddress
import math
import re
from collections.abc import Iterable, Iterator
from datetime import date
from fractions import Fraction
from typing import Any, Protocol
from uuid import UUID

from registry.schema_nodes import Condition, Contains, Items, Node, Shape, exact_number
from registry.schema_regex import matches
from registry.schemas import Work, value_key, weight

Answer = bool | None

# One undisputed text for each format that tools commonly use.
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


class SomeText(Protocol):
    """A stand-in for many texts that the same things are true of."""

    def matching(self, pattern: str) -> Answer: ...
    def at_least(self, length: int) -> Answer: ...
    def formatted(self, name: str) -> Answer: ...
    def among(self, texts: Iterable[str]) -> Answer: ...


def both(answers: Iterable[Answer]) -> Answer:
    """All of them: False as soon as one is."""
    doubt = False
    for answer in answers:
        if answer is False:
            return False
        doubt = doubt or answer is None
    return None if doubt else True


def either(answers: Iterable[Answer]) -> Answer:
    """Any of them."""
    return opposite(both(opposite(answer) for answer in answers))


def opposite(answer: Answer) -> Answer:
    return None if answer is None else not answer


def exactly_one(answers: Iterable[Answer]) -> Answer:
    """`oneOf`: one is true and the others are false."""
    sure, doubtful = 0, 0
    for answer in answers:
        sure, doubtful = sure + (answer is True), doubtful + (answer is None)
        if sure > 1:
            return False
    if doubtful:
        return None
    return sure == 1


def judge(node: Node, value: Any, work: Work) -> Answer:
    """Say whether the value meets all that the node demands. Raises `TooMuchWork`."""
    work.spend()
    return both(_answers(node, value, work))


def judge_all(nodes: Iterable[Node], value: Any, work: Work) -> Answer:
    """As `judge`, for several nodes at once."""
    return both(judge(node, value, work) for node in nodes)


def kind_of(value: Any) -> str:
    """Return the kind of a value, as in `schema_nodes.KINDS`."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, Fraction):
        return "integer" if value.denominator == 1 else "fraction"
    if isinstance(value, int | float):
        return "integer" if isinstance(value, int) or value.is_integer() else "fraction"
    if isinstance(value, list):
        return "array"
    return "object" if isinstance(value, dict) else "string"


def _answers(node: Node, value: Any, work: Work) -> Iterator[Answer]:
    """Yield one answer for each demand, the cheap ones first."""
    if node.never:
        yield False
    kind = kind_of(value)
    yield kind in node.kinds
    if node.enum is not None:
        yield _among(node, value, kind, work)
    if kind == "string":
        yield from _text(node, value, work)
    elif kind in ("integer", "fraction"):
        yield from _number(node, value)
    elif kind == "array":
        yield from _array(node, value, work)
    elif kind == "object":
        yield from _object(node, value, work)
    yield from _logic(node, value, work)
    if node.unsure:
        yield None


def _logic(node: Node, value: Any, work: Work) -> Iterator[Answer]:
    yield from (judge(part, value, work) for part in node.all)
    for group in node.any:
        yield either(judge(part, value, work) for part in group)
    for group in node.one:
        yield exactly_one(judge(part, value, work) for part in group)
    yield from (opposite(judge(part, value, work)) for part in node.nots)
    for condition in node.ifs:
        yield _condition(condition, value, work)


def _condition(condition: Condition, value: Any, work: Work) -> Answer:
    if condition.then is condition.otherwise:
        return judge(condition.then, value, work)
    test = judge(condition.test, value, work)
    if test is not None:
        return judge(condition.then if test else condition.otherwise, value, work)
    outcomes = {judge(condition.then, value, work), judge(condition.otherwise, value, work)}
    return outcomes.pop() if len(outcomes) == 1 else None


def _among(node: Node, value: Any, kind: str, work: Work) -> Answer:
    values = node.enum or ()
    if isinstance(value, Fraction):
        work.spend(1 + (len(values) >> 1))
        return any(number(v) == value for v in values if kind_of(v) in ("integer", "fraction"))
    if kind == "string" and not isinstance(value, str):
        work.spend(1 + (len(values) >> 3))
        answer: Answer = value.among([v for v in values if isinstance(v, str)])
        return answer
    work.spend(weight(value))
    return value_key(value) in node.enum_keys


def number(value: Any) -> Fraction | None:
    """Return a JSON number exactly, None for an infinite one (which some decoders make of 1e999)."""
    if isinstance(value, Fraction):
        return value
    return exact_number(value) if isinstance(value, int) or math.isfinite(value) else None


def _number(node: Node, value: Any) -> Iterator[Answer]:
    exact = number(value)
    if exact is None:
        yield None
        return
    yield node.low is None or (exact, 0) >= node.low
    yield node.high is None or (exact, 0) <= node.high
    yield from (exact % step == 0 for step in node.steps)


def _text(node: Node, value: Any, work: Work) -> Iterator[Answer]:
    if isinstance(value, str):
        yield len(value) >= node.min_length
        yield node.max_length is None or len(value) <= node.max_length
        yield from (matches(pattern, value, work) for pattern in node.patterns)
        yield from (has_format(name, value) for name in node.formats)
        return
    yield value.at_least(node.min_length)
    yield node.max_length is None or opposite(value.at_least(node.max_length + 1))
    yield from (value.matching(pattern) for pattern in node.patterns)
    yield from (value.formatted(name) for name in node.formats)


def has_format(name: str, text: str) -> Answer:
    """Return True where nobody would dispute it, else None: a reader need not check formats at all."""
    if text == FORMAT_EXAMPLES.get(name):
        return True
    shape = {
        "date": r"\d{4}-\d\d-\d\d",
        "ipv4": r"[\d.]{7,15}",
        "ipv6": r"[\da-f:]{2,39}",
        "uuid": r"[\da-f-]{36}",
    }
    read = {
        "date": date.fromisoformat,
        "ipv4": ipaddress.IPv4Address,
        "ipv6": ipaddress.IPv6Address,
        "uuid": UUID,
    }
    if name not in shape or not re.fullmatch(shape[name], text, re.ASCII):
        return None
    try:
        made = read[name](text)
    except ValueError:
        return None
    return True if str(made) == text else None


# -------------------------------------------------------------------------------------------------- arrays


def _array(node: Node, value: list[Any], work: Work) -> Iterator[Answer]:
    yield len(value) >= node.min_items
    yield node.max_items is None or len(value) <= node.max_items
    if node.unique:
        work.spend(weight(value))
        yield len({value_key(item) for item in value}) == len(value)
    for items in node.items:
        for place, item in enumerate(value):
            about = items.prefix[place] if place < len(items.prefix) else items.rest
            if about is not None:
                yield judge(about, item, work)
    for contains in node.contains:
        yield _contains(contains, value, work)
    if node.rest_items is not None:
        for place, item in enumerate(value):
            yield either((_item_seen(node, value, place, work), judge(node.rest_items, item, work)))


def _contains(contains: Contains, value: list[Any], work: Work) -> Answer:
    answers = [judge(contains.node, item, work) for item in value]
    sure, perhaps = answers.count(True), answers.count(True) + answers.count(None)
    if perhaps < contains.least or (contains.most is not None and sure > contains.most):
        return False
    good = sure >= contains.least and (contains.most is None or perhaps <= contains.most)
    return True if good else None


def _item_seen(node: Node, value: list[Any], place: int, work: Work) -> Answer:
    """Whether another keyword here has evaluated the item at `place` (what `unevaluatedItems` leaves out)."""

    def own(inner: Node) -> Iterator[Answer]:
        yield any(_covers(items, place) for items in inner.items)
        yield from (judge(contains.node, value[place], work) for contains in inner.contains)

    return _seen(node, value, own, lambda inner: _item_seen_in(inner, value, place, work), work)


def _item_seen_in(node: Node, value: list[Any], place: int, work: Work) -> Answer:
    return True if node.rest_items is not None else _item_seen(node, value, place, work)


def _covers(items: Items, place: int) -> bool:
    return items.rest is not None or place < len(items.prefix)


# ------------------------------------------------------------------------------------------------- objects


def _object(node: Node, value: dict[str, Any], work: Work) -> Iterator[Answer]:
    work.spend(len(value))
    yield len(value) >= node.min_names
    yield node.max_names is None or len(value) <= node.max_names
    yield all(name in value for name in node.required)
    yield from (name not in value or all(n in value for n in names) for name, names in node.together)
    for shape in node.shapes:
        for name, item in value.items():
            yield from _property(shape, name, item, work)
    yield from (judge(about, name, work) for about in node.names for name in value)
    yield from (judge(about, value, work) for name, about in node.whens if name in value)
    if node.rest_names is not None:
        for name, item in value.items():
            yield either((_name_seen(node, value, name, work), judge(node.rest_names, item, work)))


def _property(shape: Shape, name: str, item: Any, work: Work) -> Iterator[Answer]:
    known: Answer = name in shape.properties
    if name in shape.properties:
        yield judge(shape.properties[name], item, work)
    for pattern, about in shape.patterns:
        matched = matches(pattern, name, work)
        known = either((known, matched))
        if matched is not False:
            yield either((opposite(matched), judge(about, item, work)))
    if shape.rest is not None and known is not True:
        yield either((known, judge(shape.rest, item, work)))


def _name_seen(node: Node, value: dict[str, Any], name: str, work: Work) -> Answer:
    """Whether another keyword here has evaluated the key (what `unevaluatedProperties` leaves out)."""

    def own(inner: Node) -> Iterator[Answer]:
        for shape in inner.shapes:
            yield shape.rest is not None or name in shape.properties
            yield from (matches(pattern, name, work) for pattern, _ in shape.patterns)

    return _seen(node, value, own, lambda inner: _name_seen_in(inner, value, name, work), work)


def _name_seen_in(node: Node, value: dict[str, Any], name: str, work: Work) -> Answer:
    return True if node.rest_names is not None else _name_seen(node, value, name, work)


def _seen(node: Node, value: Any, own: Any, inside: Any, work: Work) -> Answer:
    """Whether the node itself or a schema in it that the value meets has evaluated something."""
    work.spend()

    def answers() -> Iterator[Answer]:
        yield from own(node)
        yield from (inside(part) for part in node.all)
        for group in (*node.any, *node.one):
            yield from (both((judge(part, value, work), inside(part))) for part in group)
        for condition in node.ifs:
            test = judge(condition.test, value, work)
            yield both((test, either((inside(condition.test), inside(condition.then)))))
            yield both((opposite(test), inside(condition.otherwise)))
        if isinstance(value, dict):
            yield from (inside(part) for name, part in node.whens if name in value)

    return either(answers())
