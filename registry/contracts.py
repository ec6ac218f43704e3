"""Tool contract, engine profile, router contract: the three documents behind a tool call that works.

A tool contract says what a model version emits, an engine profile what the serving engine parses, a router
contract what a tier's tool router accepts and answers. Each is canonical JSON; its SHA-256 is its identity.
Decoding is strict: an unknown field is refused, because a misspelt one would be a promise that nobody
keeps. Fields that start with `x-` are carried along and mean nothing here. An optional field that says nothing
is left out of the bytes, so that a document without it keeps its digest.

Whether the three fit together is `registry.compatibility`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from registry.contract_fields import (
    FAMILY,
    MAX_BYTES,
    NAME,
    PARSER,
    SURFACES,
    TOOL_CHOICES,
    TOOL_NAME,
    Fields,
    MalformedContract,
    SurfaceFacts,
    Tool,
    tool_json,
)
from registry.schemas import without_fractions
from registry.tool_lists import UnreadableToolList, tools_from
from signing.canonical import NotCanonical, canonical_bytes, parse, parse_canonical
from signing.digests import sha256_hex

__all__ = [
    "MAX_BYTES",
    "SURFACES",
    "TOOL_CHOICES",
    "Document",
    "Emission",
    "EngineProfile",
    "MalformedContract",
    "RouterContract",
    "SurfaceFacts",
    "Tool",
    "ToolContract",
    "UnreadableToolList",
    "decode_document",
    "encode",
    "from_json",
    "from_json_text",
    "to_json",
    "tool_json",
    "tools_from",
]


@dataclass(frozen=True)
class Emission:
    """How calls are written: a family of wire formats, and what was found by rendering the chat template.

    `template_sha256` is of the template's text. `wire_sha256` is of the text that it renders for one fixed dialogue,
    `call_sha256` of the part of it that is the call (`pipelines.wire`). `roles`: those that it takes; None where
    nobody looked. `parsers`: by engine, the name of the parser that reads these calls there.
    """

    family: str
    template_sha256: str | None = None
    wire_sha256: str | None = None
    call_sha256: str | None = None
    roles: tuple[str, ...] | None = None
    parsers: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ToolContract:
    """What a model version emits when it calls tools. `context` is in tokens; `surface`: what it is known to do."""

    format: ClassVar[str] = "tidegate-tool-contract/1"

    name: str
    emission: Emission
    surfaces: tuple[str, ...]
    tools: tuple[Tool, ...]
    context: int
    surface: Mapping[str, SurfaceFacts] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical bytes, 64 hex digits."""
        return sha256_hex(encode(self))


@dataclass(frozen=True)
class EngineProfile:
    """A serving engine, its version and flags, the families of calls that it parses so, and what it can besides."""

    format: ClassVar[str] = "tidegate-engine-profile/1"

    name: str
    engine: str
    version: str
    parses: tuple[str, ...]
    flags: tuple[str, ...]
    surfaces: tuple[str, ...]
    surface: Mapping[str, SurfaceFacts] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical bytes, 64 hex digits."""
        return sha256_hex(encode(self))


@dataclass(frozen=True)
class RouterContract:
    """What a tier's router accepts and answers. `required`: tools a model must know; `min_context` in tokens.

    `aliases`: the name that a model calls, and the tool of this contract that answers it. `roles`: those that the
    router's clients write messages in. `surface`: what they use of each surface. `clients`: who they are.
    """

    format: ClassVar[str] = "tidegate-router-contract/1"

    name: str
    accepts: tuple[str, ...]
    surfaces: tuple[str, ...]
    tools: tuple[Tool, ...]
    required: tuple[str, ...]
    min_context: int
    aliases: Mapping[str, str] = field(default_factory=dict)
    roles: tuple[str, ...] | None = None
    clients: tuple[str, ...] | None = None
    surface: Mapping[str, SurfaceFacts] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical bytes, 64 hex digits."""
        return sha256_hex(encode(self))

    def answering(self, called: str) -> str:
        """The tool of this contract that answers a call by this name, whether it is there or not."""
        return self.aliases.get(called, called)


Document = ToolContract | EngineProfile | RouterContract


def decode_document(data: bytes) -> Document:
    """Read untrusted canonical bytes. Raises `MalformedContract`, naming the place, and nothing else."""
    try:
        return from_json(parse_canonical(data, max_bytes=MAX_BYTES))
    except NotCanonical as exc:
        raise MalformedContract(exc.problem, at=exc.at) from exc


def from_json_text(data: bytes) -> Document:
    """Read JSON as people write it: any spacing and order of keys, `1.0` for 1, defaults with fractions.

    Raises:
        MalformedContract: as `decode_document`, and for a number with a fraction in an enum or a bound, which
            has no canonical form.
    """
    try:
        value = parse(data, max_bytes=MAX_BYTES)
        if isinstance(value, dict):
            value = {name: _plain_tools(item) if name == "tools" else item for name, item in value.items()}
        document = from_json(value)
        encode(document)
    except NotCanonical as exc:
        raise MalformedContract(exc.problem, at=exc.at.removeprefix("$.")) from exc
    return document


def from_json(value: Any) -> Document:
    """Read decoded JSON. Raises `MalformedContract`."""
    if not isinstance(value, dict):
        raise MalformedContract("not an object", at="document")
    readers: dict[str, Callable[[Fields], Document]] = {
        ToolContract.format: _tool_contract,
        EngineProfile.format: _engine_profile,
        RouterContract.format: _router_contract,
    }
    wanted = value.get("format")
    if not isinstance(wanted, str) or wanted not in readers:
        raise MalformedContract(f"not one of {', '.join(readers)}", at="format")
    return readers[wanted](Fields({k: v for k, v in value.items() if k != "format"}, at=""))


def encode(document: Document) -> bytes:
    """Return the canonical bytes. Raises `NotCanonical` for a value built by hand that has none."""
    return canonical_bytes(to_json(document))


def to_json(document: Document) -> dict[str, Any]:
    """Return the document as a JSON object, `format` and all."""
    out = {
        "format": document.format,
        "name": document.name,
        "surfaces": list(document.surfaces),
        **document.extra,
    }
    if document.surface:
        out["surface"] = {name: facts.to_json() for name, facts in document.surface.items()}
    if isinstance(document, ToolContract):
        out |= {"emission": _emission_json(document.emission), "context": document.context}
        out["tools"] = [tool_json(tool, described=True) for tool in document.tools]
    elif isinstance(document, EngineProfile):
        out |= {"engine": document.engine, "version": document.version}
        out |= {"parses": list(document.parses), "flags": list(document.flags)}
    else:
        out |= {"accepts": list(document.accepts), "required": list(document.required)}
        out["min_context"] = document.min_context
        out["tools"] = [tool_json(tool, described=False) for tool in document.tools]
        out |= {"aliases": dict(document.aliases)} if document.aliases else {}
        out |= {"roles": list(document.roles)} if document.roles is not None else {}
        out |= {"clients": list(document.clients)} if document.clients is not None else {}
    return out


def _emission_json(emission: Emission) -> dict[str, Any]:
    known = {"wire_sha256": emission.wire_sha256, "call_sha256": emission.call_sha256}
    return {
        "family": emission.family,
        "template_sha256": emission.template_sha256,
        **{name: value for name, value in known.items() if value is not None},
        **({"roles": list(emission.roles)} if emission.roles is not None else {}),
        **({"parsers": dict(emission.parsers)} if emission.parsers else {}),
        **emission.extra,
    }


# ------------------------------------------------------------------------------------------------- decoding


def _tool_contract(fields: Fields) -> ToolContract:
    return ToolContract(
        name=fields.text("name", NAME),
        emission=_emission(Fields(fields.take("emission"), at="emission")),
        surfaces=fields.some_of("surfaces", SURFACES),
        tools=fields.tools(described=True),
        context=fields.count("context"),
        surface=fields.optional_surface(),
        extra=fields.rest(),
    )


def _emission(fields: Fields) -> Emission:
    return Emission(
        template_sha256=fields.digest("template_sha256"),
        family=fields.text("family", FAMILY),
        wire_sha256=fields.optional_digest("wire_sha256"),
        call_sha256=fields.optional_digest("call_sha256"),
        roles=fields.optional_texts("roles", FAMILY),
        parsers=fields.optional_map("parsers", FAMILY, PARSER),
        extra=fields.rest(),
    )


def _engine_profile(fields: Fields) -> EngineProfile:
    return EngineProfile(
        name=fields.text("name", NAME),
        engine=fields.text("engine", FAMILY),
        version=fields.text("version"),
        parses=fields.texts("parses", FAMILY),
        flags=fields.texts("flags", different=False),
        surfaces=fields.some_of("surfaces", SURFACES),
        surface=fields.optional_surface(),
        extra=fields.rest(),
    )


def _router_contract(fields: Fields) -> RouterContract:
    tools = fields.tools(described=False)
    known = {tool.name for tool in tools}
    required = fields.texts("required", TOOL_NAME)
    for place, name in enumerate(required):
        if name not in known:
            raise MalformedContract(f"no tool of this contract is called {name!r}", at=f"required[{place}]")
    aliases = fields.optional_map("aliases", TOOL_NAME, TOOL_NAME)
    for other, name in aliases.items():
        if name not in known:
            raise MalformedContract(f"no tool of this contract is called {name!r}", at=f"aliases.{other}")
        if other in known:
            raise MalformedContract("a tool of this contract has this name itself", at=f"aliases.{other}")
    return RouterContract(
        name=fields.text("name", NAME),
        accepts=fields.texts("accepts", FAMILY),
        surfaces=fields.some_of("surfaces", SURFACES),
        tools=tools,
        required=required,
        min_context=fields.count("min_context"),
        aliases=aliases,
        roles=fields.optional_texts("roles", FAMILY),
        clients=fields.optional_texts("clients", NAME),
        surface=fields.optional_surface(),
        extra=fields.rest(),
    )


def _plain_tools(tools: Any) -> Any:
    if not isinstance(tools, list):
        return tools
    return [
        {
            name: without_fractions(item) if name in ("input", "output") else item
            for name, item in tool.items()
        }
        if isinstance(tool, dict)
        else tool
        for tool in tools
    ]
