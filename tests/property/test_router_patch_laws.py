"""Laws of the router's patch: applied, it makes the version compatible; and nothing that was accepted is refused after."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.compatibility import Verdict, compare
from registry.contracts import Emission, EngineProfile, RouterContract, Tool, ToolContract, from_json, to_json
from registry.inclusion import NotIncluded, includes
from registry.router_patch import apply, difference, patch_for
from registry.schema_widening import widened

pytestmark = pytest.mark.property

LEAVES = st.sampled_from(
    [
        {"type": "string"},
        {"type": "integer"},
        {"type": "number"},
        {"type": ["string", "null"]},
        {"enum": ["a", "b"]},
        {"enum": ["b", 1]},
        {"type": "string", "maxLength": 3},
        {"type": "integer", "minimum": 1},
        {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        {"type": "array", "items": {"type": "string"}},
        {},
    ]
)


def objects(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {"type": st.just("object"), "properties": st.dictionaries(st.sampled_from("abc"), inner, max_size=3)},
        optional={
            "required": st.lists(st.sampled_from("abc"), unique=True, max_size=2),
            "additionalProperties": st.booleans(),
        },
    )


SCHEMAS = objects(st.one_of(LEAVES, objects(LEAVES)))
OUTPUTS = st.one_of(st.none(), LEAVES)
TOOLS = st.lists(
    st.builds(Tool, st.sampled_from(("read", "write", "list")), SCHEMAS, OUTPUTS),
    unique_by=lambda tool: tool.name,
    max_size=3,
).map(tuple)
FAMILIES = st.sampled_from(("hermes", "xml-function", "pythonic"))
SURFACES = st.sampled_from((("chat",), ("chat", "responses")))
MODELS = st.builds(
    ToolContract,
    name=st.just("model"),
    emission=st.builds(
        Emission, FAMILIES, parsers=st.sampled_from(({}, {"vllm": "qwen3_xml"})), roles=st.just(("user",))
    ),
    surfaces=SURFACES,
    tools=TOOLS,
    context=st.just(4096),
)
ROUTERS = st.builds(
    RouterContract,
    name=st.just("desk"),
    accepts=st.lists(FAMILIES, unique=True).map(tuple),
    surfaces=st.just(("chat",)),
    tools=TOOLS,
    required=st.just(()),
    min_context=st.just(1024),
    roles=st.sampled_from((None, ("user",), ("user", "developer"))),
)
ENGINES = st.builds(
    EngineProfile,
    name=st.just("engine"),
    engine=st.sampled_from(("vllm", "llama-server")),
    version=st.just("1"),
    parses=st.lists(FAMILIES, unique=True).map(tuple),
    flags=st.sampled_from(((), ("--tool-call-parser", "hermes"), ("--tool-call-parser=hermes",))),
    surfaces=st.sampled_from(((), ("chat",), ("responses",))),
)


@settings(max_examples=120, deadline=None)
@given(MODELS, ROUTERS, ENGINES)
def test_a_patch_applied_makes_the_version_compatible(
    model: ToolContract, router: RouterContract, engine: EngineProfile
) -> None:
    patch = patch_for(model, router, engine)
    if patch is None:
        assert not compare(model, router, engine).passed
        return
    after = from_json(apply(to_json(router), patch.operations))
    set_up = from_json(apply(to_json(engine), patch.profile_operations))
    assert (patch.router, patch.profile) == (after, set_up)
    assert isinstance(after, RouterContract)
    assert isinstance(set_up, EngineProfile)
    assert Verdict.COMPATIBLE is compare(model, after, set_up).verdict
    if compare(model, router, engine).passed:
        assert ((), ()) == (patch.operations, patch.profile_operations)
    json.dumps(patch.to_json())


@settings(max_examples=120, deadline=None)
@given(SCHEMAS, SCHEMAS)
def test_widening_takes_nothing_away(consumer: dict[str, Any], producer: dict[str, Any]) -> None:
    wide = widened(consumer, producer)
    assert not isinstance(includes(producer, wide), NotIncluded)
    # Here the consumer stands for all that it accepts, also under names that it does not declare.
    assert not isinstance(includes(consumer, wide, closed=False), NotIncluded)


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-3, 3), st.text("a/~", max_size=3)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text("a/~", max_size=2), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(VALUES, VALUES)
def test_a_difference_applied_leads_from_one_value_to_the_other(old: Any, new: Any) -> None:
    found = apply(old, difference(old, new))
    assert json.dumps(new, sort_keys=True) == json.dumps(found, sort_keys=True)
    assert () == difference(new, new)


def test_most_that_can_be_mended_is() -> None:
    """A law that held because no patch was ever made would prove nothing."""
    model = ToolContract(
        "model",
        Emission("xml-function"),
        ("chat",),
        (Tool("read", {"properties": {"p": {"type": ["string", "null"]}}}),),
        4096,
    )
    router = RouterContract(
        "desk", ("hermes",), ("chat",), (Tool("read", {"properties": {"p": {"type": "string"}}}),), (), 1
    )
    engine = EngineProfile("e", "llama-server", "1", ("hermes",), ("--jinja",), ("chat",))
    patch = patch_for(model, router, engine)
    assert patch is not None
    assert {"/accepts/-", "/tools/0/input/properties/p/type"} == {item["path"] for item in patch.operations}
    assert patch_for(replace(model, context=1), replace(router, min_context=9), engine) is None
