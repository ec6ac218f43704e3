"""Laws of schema inclusion and of the documents: what holds whatever somebody writes."""

import contextlib
import json
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.contracts import (
    MalformedContract,
    UnreadableToolList,
    decode_document,
    from_json_text,
    tools_from,
)
from registry.inclusion import Included, NotIncluded, includes
from registry.schema_engines import Pair
from registry.schema_flat import Group
from registry.schemas import Work

pytestmark = pytest.mark.property

NAMES = ("a", "b", "c")
VALUES = st.sampled_from(
    [None, True, False, 0, 1, 2, 5, 0.5, "", "a", "bb", "ccc", [], [1], ["a", "a"], {}, {"a": 1}]
)
TEXT = st.fixed_dictionaries(
    {"type": st.just("string")},
    optional={"minLength": st.integers(0, 3), "maxLength": st.integers(0, 4), "pattern": st.just("^a")},
)
NUMBER = st.fixed_dictionaries(
    {"type": st.sampled_from(["integer", "number", ["integer", "null"]])},
    optional={
        "minimum": st.integers(-2, 4),
        "maximum": st.integers(-2, 6),
        "exclusiveMinimum": st.integers(-2, 4),
        "multipleOf": st.integers(1, 3),
    },
)
LEAVES = st.one_of(
    st.booleans(),
    st.just({}),
    TEXT,
    NUMBER,
    st.builds(lambda values: {"enum": values}, st.lists(VALUES, min_size=1, max_size=4)),
    st.builds(lambda value: {"const": value}, VALUES),
    st.sampled_from([{"type": name} for name in ("null", "boolean", "object", "array")]),
)


def _object(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries(
        {
            "type": st.just("object"),
            "properties": st.dictionaries(st.sampled_from(NAMES), children, max_size=3),
        },
        optional={
            "required": st.lists(st.sampled_from(NAMES), unique=True, max_size=2),
            "additionalProperties": children,
            "minProperties": st.integers(0, 2),
            "maxProperties": st.integers(0, 3),
            "dependentRequired": st.just({"a": ["b"]}),
            "propertyNames": st.just({"maxLength": 1}),
        },
    )


def _array(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries(
        {"type": st.just("array")},
        optional={
            "items": children,
            "prefixItems": st.lists(children, min_size=1, max_size=2),
            "minItems": st.integers(0, 2),
            "maxItems": st.integers(0, 3),
            "uniqueItems": st.booleans(),
            "contains": children,
        },
    )


def _mixed(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    some = st.lists(children, min_size=1, max_size=3)
    return st.one_of(
        _object(children),
        _array(children),
        st.builds(lambda word, parts: {word: parts}, st.sampled_from(["anyOf", "oneOf", "allOf"]), some),
        st.builds(lambda part: {"not": part}, children),
        st.builds(lambda a, b, c: {"if": a, "then": b, "else": c}, children, children, children),
        st.builds(lambda base, parts: {**base, "anyOf": parts}, _object(children), some),
    )


SCHEMAS = st.recursive(LEAVES, _mixed, max_leaves=6)
POOL: list[Any] = [
    *(None, True, False, 0, 1, 2, 3, 5, -1, 6, 0.5, 2.5, "", "a", "bb", "aaa", "ccc", "aaaaa"),
    *([], [1], [0.5], ["a"], ["a", "a"], [None], [1, "a"], [1, 2, 3], [[]], [{}], ["b", 2]),
    *({}, {"a": 1}, {"a": "a"}, {"b": 1}, {"a": None, "b": "a"}, {"c": 0.5}, {"a": {}, "b": []}),
    *(
        {"a": 1, "b": 2},
        {"a": 1, "b": 2, "c": 3},
        {"zz": 1},
        {"a": {"a": 1}},
        {"b": [1]},
        {"c": "bb", "b": True},
    ),
]


def leaves_nothing_open(schema: Any) -> bool:
    """Whether every object that declares properties also says what else it emits."""
    if isinstance(schema, list):
        return all(leaves_nothing_open(item) for item in schema)
    if not isinstance(schema, dict):
        return True
    return ("properties" not in schema or "additionalProperties" in schema) and all(
        leaves_nothing_open(item) for word, item in schema.items() if word not in ("enum", "const")
    )


@given(SCHEMAS, SCHEMAS)
@settings(max_examples=400, deadline=None)
def test_an_included_producer_emits_nothing_that_is_refused(producer: Any, consumer: Any) -> None:
    """Values from a pool and from the producer itself; an object that does not say is closed."""
    if not isinstance(includes(producer, consumer), Included):
        return
    pair = Pair(producer, consumer, work=Work(10**7))
    group = Group.of([pair.emitted])
    emits, accepts = jsonschema.Draft202012Validator(producer), jsonschema.Draft202012Validator(consumer)
    for value in [*POOL, *pair.walk.examples.of(group)]:
        closed_to_it = not leaves_nothing_open(producer) and not pair.walk.examples.emits(group, value)
        if emits.is_valid(value) and not closed_to_it:
            assert accepts.is_valid(value), value


@given(SCHEMAS, SCHEMAS)
@settings(max_examples=300, deadline=None)
def test_a_refutation_comes_with_a_value_that_shows_it(producer: Any, consumer: Any) -> None:
    found = includes(producer, consumer)
    if isinstance(found, NotIncluded):
        assert jsonschema.Draft202012Validator(producer).is_valid(found.witness)
        assert not jsonschema.Draft202012Validator(consumer).is_valid(found.witness)


@given(SCHEMAS)
@settings(max_examples=150, deadline=None)
def test_every_schema_includes_itself_and_lies_in_true(schema: Any) -> None:
    assert isinstance(includes(schema, schema), Included)
    assert isinstance(includes(schema, True), Included)


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                ["type", "properties", "$ref", "items", "enum", "anyOf", "required", "pattern", "not", "x"]
            ),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=12,
)


@given(JSON, JSON)
@settings(max_examples=200, deadline=None)
def test_any_json_at_all_gets_an_answer(producer: Any, consumer: Any) -> None:
    assert includes(producer, consumer) is not None


@given(st.one_of(st.binary(max_size=500), JSON.map(lambda value: json.dumps(value).encode())))
def test_hostile_bytes_raise_only_our_errors(data: bytes) -> None:
    for read in (decode_document, from_json_text, tools_from):
        with contextlib.suppress(MalformedContract, UnreadableToolList):
            read(data)


@given(
    JSON,
    st.sampled_from(["name", "emission", "surfaces", "tools", "context", "x-more", "more"]),
)
def test_a_document_with_one_field_replaced_is_read_or_refused_by_us(value: Any, name: str) -> None:
    document = {
        "format": "tidegate-tool-contract/1",
        "name": "guard",
        "emission": {"family": "hermes", "template_sha256": None},
        "surfaces": ["chat"],
        "tools": [{"name": "f", "input": value if name == "tools" else {}, "output": None}],
        "context": 4096,
    }
    if name != "tools":
        document[name] = value
    with contextlib.suppress(MalformedContract):
        from_json_text(_written(document))
    with contextlib.suppress(MalformedContract, UnreadableToolList):
        tools_from(_written(document))


def _written(value: Any) -> bytes:
    return json.dumps(value).encode()


def test_the_generators_reach_all_three_answers() -> None:
    """A law that only ever saw undecided pairs would hold for nothing."""
    seen: set[str] = set()

    @given(SCHEMAS, SCHEMAS)
    @settings(max_examples=200, deadline=None, database=None)
    def look(producer: Any, consumer: Any) -> None:
        seen.add(type(includes(producer, consumer)).__name__)

    look()
    assert {"Included", "NotIncluded", "Undecided"} == seen
