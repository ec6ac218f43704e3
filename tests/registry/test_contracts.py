"""Contracts are strict, have one byte form, and read what people already have."""

import json
from pathlib import Path
from typing import Any

import pytest

from registry.contracts import (
    EngineProfile,
    MalformedContract,
    RouterContract,
    ToolContract,
    UnreadableToolList,
    decode_document,
    encode,
    from_json_text,
    tools_from,
)
from signing.canonical import canonical_bytes
from signing.digests import sha256_hex

DEMO = sorted((Path(__file__).parents[2] / "demo" / "contracts").glob("*.json"))
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def tool_contract(**changes: Any) -> dict[str, Any]:
    return {
        "format": "tidegate-tool-contract/1",
        "name": "guard-hermes",
        "emission": {"family": "hermes", "template_sha256": "ab" * 32},
        "surfaces": ["chat"],
        "tools": [
            {"name": "get_weather", "description": "Now.", "input": CITY, "output": {"type": "string"}},
            {"name": "read_file", "input": {"type": "object"}, "output": None},
        ],
        "context": 32768,
        **changes,
    }


def engine_profile(**changes: Any) -> dict[str, Any]:
    return {
        "format": "tidegate-engine-profile/1",
        "name": "vllm-hermes",
        "engine": "vllm",
        "version": "0.32.0",
        "parses": ["hermes"],
        "flags": ["--tool-call-parser", "hermes"],
        "surfaces": ["chat"],
        **changes,
    }


def router_contract(**changes: Any) -> dict[str, Any]:
    return {
        "format": "tidegate-router-contract/1",
        "name": "desk-router",
        "accepts": ["hermes"],
        "surfaces": ["chat"],
        "tools": [{"name": "get_weather", "input": CITY, "output": {"type": "string"}}],
        "required": ["get_weather"],
        "min_context": 8192,
        **changes,
    }


def written(value: Any) -> bytes:
    return json.dumps(value, indent=2).encode()


@pytest.mark.parametrize(
    ("value", "kind"),
    [(tool_contract(), ToolContract), (engine_profile(), EngineProfile), (router_contract(), RouterContract)],
)
def test_each_document_survives_the_round_trip_and_is_named_by_its_bytes(
    value: dict[str, Any], kind: type
) -> None:
    data = canonical_bytes(value)
    document = decode_document(data)
    assert kind is type(document)
    assert data == encode(document)
    assert sha256_hex(data) == document.digest
    assert document == from_json_text(written(value))


@pytest.mark.parametrize("path", DEMO, ids=lambda path: path.stem)
def test_the_demo_documents_read(path: Path) -> None:
    document = from_json_text(path.read_bytes())
    assert document == decode_document(encode(document))


def test_there_are_demo_documents() -> None:
    assert 6 == len(DEMO)


def with_tool(**changes: Any) -> dict[str, Any]:
    tool = {"name": "third", "input": {"type": "object"}, "output": None, **changes}
    return tool_contract(tools=[*tool_contract()["tools"], tool])


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ([], "document"),
        ({}, "format"),
        (tool_contract(format="tidegate-tool-contract/2"), "format"),
        (tool_contract(format=["x"]), "format"),
        (tool_contract(name=""), "name"),
        (tool_contract(name="Übergang"), "name"),
        (tool_contract(contxt=1), "contxt"),
        (tool_contract(context=0), "context"),
        (tool_contract(context=True), "context"),
        (tool_contract(emission="hermes"), "emission"),
        (tool_contract(emission={"family": "hermes", "template_sha256": "AB"}), "emission.template_sha256"),
        (tool_contract(emission={"family": "hermes"}), "emission.template_sha256"),
        (tool_contract(emission={"family": "her mes", "template_sha256": None}), "emission.family"),
        (tool_contract(surfaces=["chat", "voice"]), "surfaces[1]"),
        (tool_contract(surfaces=["chat", "chat"]), "surfaces[1]"),
        (tool_contract(tools={}), "tools"),
        (tool_contract(tools=[3]), "tools[0]"),
        (with_tool(name="get_weather"), "tools[2]"),
        (with_tool(name="a b"), "tools[2].name"),
        (with_tool(description=3), "tools[2].description"),
        (with_tool(input=None), "tools[2].input"),
        (with_tool(input={"type": "strin"}), "tools[2].input.type"),
        (with_tool(input={"type": "string"}), "tools[2].input.type"),
        (with_tool(input={"properties": {"n": {"minimum": "1"}}}), "tools[2].input.properties.n.minimum"),
        (with_tool(input={"properties": {"n": {"anyOf": []}}}), "tools[2].input.properties.n.anyOf"),
        (with_tool(input={"properties": {"n": 5}}), "tools[2].input.properties.n"),
        (with_tool(input={"required": ["a", "a"]}), "tools[2].input.required"),
        (with_tool(output=[]), "tools[2].output"),
        (with_tool(output={"items": {"type": []}}), "tools[2].output.items.type"),
        (with_tool(outptu=None), "tools[2].outptu"),
        (engine_profile(flags="--jinja"), "flags"),
        (engine_profile(flags=["--a", 1]), "flags[1]"),
        (engine_profile(tools=[]), "tools"),
        (router_contract(required=["get_weather", "add"]), "required[1]"),
        (router_contract(min_context="8k"), "min_context"),
    ],
)
def test_a_refusal_names_the_exact_place(value: Any, place: str) -> None:
    for read, data in ((decode_document, canonical_bytes(value)), (from_json_text, written(value))):
        with pytest.raises(MalformedContract) as refusal:
            read(data)
        assert place == refusal.value.at


FULL = tool_contract(
    emission={
        "family": "hermes",
        "template_sha256": "ab" * 32,
        "wire_sha256": "cd" * 32,
        "call_sha256": "ef" * 32,
        "roles": ["system", "user"],
        "parsers": {"vllm": "qwen3_xml"},
    },
    surface={"chat": {"parallel": True, "tool_choice": ["auto", "named"]}},
)
ALIASED = router_contract(
    aliases={"weather": "get_weather"},
    roles=["user", "developer"],
    clients=["codex-0.151"],
    surface={"chat": {"streaming": True}, "responses": {"strict": False}},
)


@pytest.mark.parametrize("value", [FULL, ALIASED, engine_profile(surface={"chat": {"parallel": False}})])
def test_what_need_not_be_said_survives_the_round_trip_too(value: dict[str, Any]) -> None:
    data = canonical_bytes(value)
    assert data == encode(decode_document(data))
    assert decode_document(data) == from_json_text(written(value))


def test_what_is_not_said_leaves_a_documents_digest_as_it_was() -> None:
    """Written down before these fields were: the bytes of a document that does not use them."""
    for value in (tool_contract(), engine_profile(), router_contract()):
        assert sha256_hex(canonical_bytes(value)) == decode_document(canonical_bytes(value)).digest


def emission(**changes: Any) -> dict[str, Any]:
    return tool_contract(emission={"family": "hermes", "template_sha256": None, **changes})


@pytest.mark.parametrize(
    ("value", "place"),
    [
        (emission(wire_sha256="AB"), "emission.wire_sha256"),
        (emission(call_sha256=None), "emission.call_sha256"),
        (emission(roles="user"), "emission.roles"),
        (emission(roles=["user", "user"]), "emission.roles[1]"),
        (emission(parsers={}), "emission.parsers"),
        (emission(parsers={"vllm": ""}), "emission.parsers.vllm"),
        (emission(parsers=["vllm"]), "emission.parsers"),
        (emission(parsers={"v llm": "x"}), "emission.parsers.v llm"),
        (tool_contract(surface={}), "surface"),
        (tool_contract(surface={"voice": {}}), "surface.voice"),
        (tool_contract(surface={"chat": {"parallel": "yes"}}), "surface.chat.parallel"),
        (tool_contract(surface={"chat": {"paralel": True}}), "surface.chat.paralel"),
        (tool_contract(surface={"chat": {"tool_choice": ["any"]}}), "surface.chat.tool_choice[0]"),
        (tool_contract(aliases={"a": "get_weather"}), "aliases"),
        (router_contract(aliases={"a": "b"}), "aliases.a"),
        (router_contract(aliases={"get_weather": "get_weather"}), "aliases.get_weather"),
        (router_contract(roles=[1]), "roles[0]"),
        (router_contract(clients=["a b"]), "clients[0]"),
    ],
)
def test_a_refusal_names_the_place_of_what_need_not_be_said(value: Any, place: str) -> None:
    with pytest.raises(MalformedContract) as refusal:
        decode_document(canonical_bytes(value))
    assert place == refusal.value.at


def test_a_missing_field_is_named() -> None:
    for name in tool_contract().keys() - {"format"}:
        value = tool_contract()
        del value[name]
        with pytest.raises(MalformedContract, match="missing") as refusal:
            decode_document(canonical_bytes(value))
        assert name == refusal.value.at


def test_signed_bytes_must_be_canonical_but_hand_written_ones_need_not() -> None:
    with pytest.raises(MalformedContract, match="canonical"):
        decode_document(written(tool_contract()))
    assert "guard-hermes" == from_json_text(written(tool_contract())).name


def test_fields_of_somebody_elses_are_carried_along() -> None:
    value = tool_contract(**{"x-ticket": {"id": 7}})
    assert value == json.loads(encode(decode_document(canonical_bytes(value))))


def test_a_number_with_a_fraction_is_refused_where_it_means_something_and_dropped_where_not() -> None:
    def asking(temperature: dict[str, Any]) -> bytes:
        schema = {"type": "object", "properties": {"default": temperature}}
        return written(with_tool(input=schema))

    read = from_json_text(asking({"type": "number", "default": 0.7, "maximum": 2.0}))
    assert isinstance(read, ToolContract)
    assert {"type": "number", "maximum": 2} == read.tools[2].input["properties"]["default"]
    with pytest.raises(MalformedContract) as refusal:
        from_json_text(asking({"type": "number", "maximum": 0.5}))
    assert "tools[2].input.properties.default.maximum" == refusal.value.at


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"null",
        b'{"format":1}',
        b"[" * 10_000,
        b'{"format":"tidegate-tool-contract/1","format":"x"}',
        b" " * (1 << 20) + b"{}",
        canonical_bytes({"format": "tidegate-tool-contract/1"}),
    ],
)
def test_hostile_bytes_raise_only_our_error(data: bytes) -> None:
    for read in (decode_document, from_json_text):
        with pytest.raises(MalformedContract):
            read(data)
    with pytest.raises(UnreadableToolList):
        tools_from(data)


CHAT = [
    {"type": "function", "function": {"name": "f", "description": "d", "parameters": CITY, "strict": True}}
]
RESPONSES = [{"type": "function", "name": "f", "description": "d", "parameters": CITY, "strict": True}]
MESSAGES = [{"name": "f", "description": "d", "input_schema": CITY}]
OURS = {"tools": [{"name": "f", "description": "d", "input": CITY, "output": None}]}
MCP = {"tools": [{"name": "f", "title": "F", "description": "d", "inputSchema": CITY}], "ttlMs": 5}


@pytest.mark.parametrize(
    "value",
    [
        CHAT,
        {"model": "m", "tools": CHAT},
        RESPONSES,
        MCP,
        {"jsonrpc": "2.0", "id": 1, "result": MCP},
        MESSAGES,
        OURS,
    ],
)
def test_the_same_tool_reads_the_same_from_every_format(value: Any) -> None:
    (tool,) = tools_from(written(value))
    assert ("f", "d", CITY, None) == (tool.name, tool.description, tool.input, tool.output)


def test_an_mcp_output_schema_is_kept() -> None:
    value = [{"name": "f", "inputSchema": CITY, "outputSchema": {"type": "object"}}]
    assert {"type": "object"} == tools_from(written(value))[0].output


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"model": "m"}, "document"),
        ([{"type": "web_search"}], "tools[0].type"),
        ([{"type": "function", "function": []}], "tools[0].function"),
        ([*RESPONSES, {"type": "function"}], "tools[1]"),
        ([*RESPONSES, *RESPONSES], "tools[1]"),
        ({"result": {"tools": [{"name": "f", "inputSchema": {"type": 3}}]}}, "result.tools[0].input.type"),
        ([3], "tools[0]"),
        ({"tools": [], "nextCursor": "2"}, "nextCursor"),
        ({"result": {"tools": [], "nextCursor": "2"}}, "result.nextCursor"),
    ],
)
def test_a_tool_list_is_refused_at_its_place(value: Any, place: str) -> None:
    with pytest.raises(UnreadableToolList) as refusal:
        tools_from(written(value))
    assert place == refusal.value.at
