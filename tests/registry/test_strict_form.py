"""Strict mode takes only schemas written in its form; who promises it for others is told where they leave it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.compatibility import Verdict, compare, compare_documents
from registry.contracts import Emission, EngineProfile, RouterContract, SurfaceFacts, Tool, ToolContract
from registry.strict_form import MAX_DEPARTURES, departures

S: dict[str, Any] = {"type": "string"}


def obj(properties: dict[str, Any], **more: Any) -> dict[str, Any]:
    plain = {"type": "object", "properties": properties, "required": [*properties]}
    return {**plain, "additionalProperties": False, **more}


STRICT: dict[str, dict[str, Any]] = {
    "no parameters": obj({}),
    "an optional one may be null": obj(
        {"city": S, "unit": {"type": ["string", "null"], "enum": ["c", "f", None]}}
    ),
    "a list of objects with alternatives": obj(
        {"by": {"type": "array", "items": obj({"v": {"anyOf": [S, {"type": "number"}, obj({"c": S})]}})}}
    ),
    "bounds": obj({"n": {"type": "number", "minimum": 0}, "l": {"type": "array", "items": S, "maxItems": 3}}),
    "a list inside itself": obj(
        {"head": {"$ref": "#/$defs/Node"}},
        **{"$defs": {"Node": obj({"next": {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]}})}},
    ),
    "the whole inside itself": obj({"children": {"type": "array", "items": {"$ref": "#"}}}),
}
DEEP: dict[str, Any] = S
for _ in range(11):
    DEEP = obj({"a": DEEP})
LOOSE: dict[str, tuple[dict[str, Any], list[tuple[str, str, bool]]]] = {
    "open": (obj({"a": S}, additionalProperties=True), [("", "additionalProperties", True)]),
    "silent": ({"type": "object", "properties": {}}, [("", "additionalProperties", True)]),
    "optional": (obj({"a": S, "b/c": S}, required=["a"]), [("", "required", True)]),
    "required and unknown": (obj({"a": S}, required=["a", "b"]), [("", "required", True)]),
    "open inside": (
        obj({"a/b": {"type": ["object", "null"], "properties": {}}}),
        [("/properties/a~1b", "additionalProperties", True)],
    ),
    "open in a definition": (
        obj({"a": {"$ref": "#/$defs/T"}}, **{"$defs": {"T": {**obj({"b": S}), "required": []}}}),
        [("/$defs/T", "required", True)],
    ),
    "open in an alternative": (
        obj({"a": {"anyOf": [S, {"type": "object"}]}}),
        [("/properties/a/anyOf/1", "additionalProperties", True)],
    ),
    "no object": ({"type": "array", "items": S}, [("", "type", True)]),
    "a choice at the top": (obj({}, anyOf=[obj({})]), [("", "anyOf", True)]),
    "oneOf": (obj({"a": {"type": "string", "oneOf": [S]}}), [("/properties/a", "oneOf", True)]),
    "a condition": (obj({}, **{"if": {}, "then": {}}), [("", "if", True), ("", "then", True)]),
    "anything": (obj({"a": {}}), [("/properties/a", "type", True)]),
    "anything, said so": (obj({"a": True}), [("/properties/a", "type", True)]),
    "a default": (obj({"a": {**S, "default": "x"}}), [("/properties/a", "default", False)]),
    "items by place": (
        obj({"a": {"type": "array", "items": [S]}}),
        [("/properties/a", "items", True)],
    ),
    "many levels": (DEEP, [("/properties/a" * 10, "properties", False)]),
    "many properties": (obj({f"p{n}": S for n in range(5_001)}), [("", "properties", True)]),
    "many values": (
        obj({"a": {"enum": [*range(600)]}, "b": {"enum": [*range(401)]}}),
        [("", "enum", True)],
    ),
    "long values": (
        obj({"a": {"enum": [f"{n:0100}" for n in range(251)]}}),
        [("/properties/a", "enum", True)],
    ),
    "long names": (obj({"a" * 120_001: S}), [("", "properties", True)]),
    "no schema": ({"type": 5}, [("", "$schema", True)]),
}


@pytest.mark.parametrize("name", STRICT)
def test_what_strict_mode_takes(name: str) -> None:
    assert () == departures(STRICT[name])


@pytest.mark.parametrize("name", LOOSE)
def test_each_departure_is_named_with_its_place_and_keyword(name: str) -> None:
    schema, expected = LOOSE[name]
    assert expected == [(found.path, found.rule, found.known) for found in departures(schema)]


@given(
    st.recursive(
        st.none() | st.booleans() | st.text(max_size=3),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.dictionaries(
                st.sampled_from(["type", "properties", "items", "anyOf", "required", "enum", "$defs"]), inner
            ),
        ),
    )
)
def test_whatever_is_called_a_schema_is_answered(value: Any) -> None:
    found = departures(value if isinstance(value, dict) else {"items": value})
    assert len(found) <= MAX_DEPARTURES


def documents(
    schema: dict[str, Any], *, model: bool | None, router: bool | None
) -> tuple[ToolContract, RouterContract, EngineProfile]:
    said = {
        name: {"chat": SurfaceFacts(strict=flag)} for name, flag in (("model", model), ("router", router))
    }
    tools = (Tool("weather", schema),)
    return (
        ToolContract("guard", Emission("hermes"), ("chat",), tools, 8192, surface=said["model"]),
        RouterContract("desk", ("hermes",), ("chat",), tools, (), 4096, surface=said["router"]),
        EngineProfile(
            "vllm", "vllm", "0.32.0", ("hermes",), (), ("chat",), surface={"chat": SurfaceFacts(strict=True)}
        ),
    )


OPTIONAL = obj({"city": S, "unit": S}, required=["city"])


@pytest.mark.parametrize(("model", "router"), [(True, None), (None, True)])
def test_whoever_promises_strict_for_another_schema_is_told_where_it_leaves_the_form(
    model: bool | None, router: bool | None
) -> None:
    [finding] = compare(*documents(OPTIONAL, model=model, router=router)).findings
    assert ("strict-form-refused", Verdict.NEEDS_ROUTER_UPDATE) == (finding.rule, finding.verdict)
    assert ("weather", "") == (finding.tool, finding.path)
    assert "`unit`" in finding.message
    assert ("the tool contract" if model else "router contract 'desk'") in finding.message
    assert "strict" in finding.next_step


def test_a_keyword_that_nobody_documents_is_unknown_and_a_strict_schema_passes() -> None:
    doubtful = obj({"city": {**S, "default": "Bern"}})
    comparison = compare(*documents(doubtful, model=True, router=True))
    assert {"strict-form-unknown"} == {finding.rule for finding in comparison.findings}
    assert Verdict.UNKNOWN is comparison.verdict
    assert compare(*documents(obj({"city": S}), model=True, router=True)).passed
    assert compare(*documents(OPTIONAL, model=False, router=None)).passed


def test_a_tool_contract_before_an_engine_profile_is_held_to_its_own_word() -> None:
    contract, _, profile = documents(OPTIONAL, model=True, router=None)
    assert ["strict-form-refused"] == [f.rule for f in compare_documents(contract, profile).findings]
