"""Tool contract, engine profile, router contract: the three documents behind a tool call that works.

A tool contract says what a model version emits, an engine profile what the serving engine parses, a router
contract what a tier's tool router accepts and answers. Each is canonical JSON; its SHA-256 is its identity.
Decoding is strict: an unknown field is refused, because a misspelt one would be a promise that nobody
keeps. Fields that start with `x-` are carried along and mean nothing here.

Whether the three fit together is `registry.compatibility`.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from registry.schemas import misshapen, without_fractions
from signing.canonical import MAX_INTEGER, NotCanonical, canonical_bytes, parse, parse_canonical
from signing.digests import is_sha256, sha256_hex
from signing.errors import OperatorError

MAX_BYTES = 1 << 20  # of one document; real ones stay under 100 KiB
SURFACES = ("chat", "responses")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,127}")
_TOOL_NAME = re.compile(r"[A-Za-z0-9_.\-/]{1,128}")  # MCP allows `.` and `/` besides OpenAI's set
_FAMILY = re.compile(r"[a-z0-9][a-z0-9_.\-]{0,63}")


class MalformedContract(OperatorError):
    """A document that is no tool contract, engine profile or router contract."""

    exit_code: ClassVar[int] = 42
    next_step: ClassVar[str] = "Correct the document at the place named, then add it again."

    def __init__(self, problem: str, *, at: str) -> None:
        super().__init__(f"{at}: {problem}")
        self.problem, self.at = problem, at


class UnreadableToolList(OperatorError):
    """A list of tools in none of the shapes that tools are known to come in."""

    exit_code: ClassVar[int] = 43
    next_step: ClassVar[str] = (
        "Give the `tools` of a Chat Completions or Responses request, or the result of an MCP `tools/list`, "
        "with the place named corrected."
    )

    def __init__(self, problem: str, *, at: str) -> None:
        super().__init__(f"{at}: {problem}")
        self.problem, self.at = problem, at


@dataclass(frozen=True)
class Tool:
    """One tool that a model knows. `input` and `output` are JSON Schemas; output None: nothing is promised."""

    name: str
    input: Mapping[str, Any]
    output: Mapping[str, Any] | None = None
    description: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Emission:
    """How calls are written: a family of wire formats, and the chat template's SHA-256 where it is known."""

    family: str
    template_sha256: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ToolContract:
    """What a model version emits when it calls tools. `context` is in tokens."""

    format: ClassVar[str] = "tidegate-tool-contract/1"

    name: str
    emission: Emission
    surfaces: tuple[str, ...]
    tools: tuple[Tool, ...]
    context: int
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical bytes, 64 hex digits."""
        return sha256_hex(encode(self))


@dataclass(frozen=True)
class EngineProfile:
    """A serving engine, its version and flags, and the families of calls that it parses so."""

    format: ClassVar[str] = "tidegate-engine-profile/1"

    name: str
    engine: str
    version: str
    parses: tuple[str, ...]
    flags: tuple[str, ...]
    surfaces: tuple[str, ...]
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical bytes, 64 hex digits."""
        return sha256_hex(encode(self))


@dataclass(frozen=True)
class RouterContract:
    """What a tier's router accepts and answers. `required`: tools a model must know; `min_context` in tokens."""

    format: ClassVar[str] = "tidegate-router-contract/1"

    name: str
    accepts: tuple[str, ...]
    surfaces: tuple[str, ...]
    tools: tuple[Tool, ...]
    required: tuple[str, ...]
    min_context: int
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical bytes, 64 hex digits."""
        return sha256_hex(encode(self))


Document = ToolContract | EngineProfile | RouterContract


def decode_document(data: bytes) -> Document:
    """Read untrusted canonical bytes. Raises `MalformedContract`, naming the place, and nothing else."""
    try:
        return _document(parse_canonical(data, max_bytes=MAX_BYTES))
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
        document = _document(value)
        encode(document)
    except NotCanonical as exc:
        raise MalformedContract(exc.problem, at=exc.at.removeprefix("$.")) from exc
    return document


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
    if isinstance(document, ToolContract):
        emission = document.emission
        wire = {"family": emission.family, "template_sha256": emission.template_sha256, **emission.extra}
        out |= {"emission": wire, "context": document.context}
        out["tools"] = [tool_json(tool, described=True) for tool in document.tools]
    elif isinstance(document, EngineProfile):
        out |= {"engine": document.engine, "version": document.version}
        out |= {"parses": list(document.parses), "flags": list(document.flags)}
    else:
        out |= {"accepts": list(document.accepts), "required": list(document.required)}
        out["min_context"] = document.min_context
        out["tools"] = [tool_json(tool, described=False) for tool in document.tools]
    return out


def tools_from(data: bytes) -> tuple[Tool, ...]:
    """Read tools as people have them: Chat `tools`, Responses `tools`, or the result of MCP `tools/list`.

    Accepts the list itself, or an object that holds it under `tools` or `result.tools`.

    Raises:
        UnreadableToolList: naming the place; also for built-in tools (web search and such), which have no schema.
    """
    try:
        value = parse(data, max_bytes=MAX_BYTES)
        at = ""
        for step in ("result", "tools"):
            if isinstance(value, dict) and step in value:
                value, at = value[step], f"{at}.{step}".lstrip(".")
        if not isinstance(value, list):
            raise UnreadableToolList("not a list of tools", at=at or "document")
        tools = [
            _tool(
                _foreign_tool(item, f"{at or 'tools'}[{place}]"), f"{at or 'tools'}[{place}]", described=True
            )
            for place, item in enumerate(value)
        ]
        _different([tool.name for tool in tools], at or "tools")
        canonical_bytes([tool_json(tool, described=True) for tool in tools])
    except (NotCanonical, MalformedContract) as exc:
        raise UnreadableToolList(exc.problem, at=exc.at) from exc
    return tuple(tools)


# ------------------------------------------------------------------------------------------------- decoding


def _document(value: Any) -> Document:
    if not isinstance(value, dict):
        raise MalformedContract("not an object", at="document")
    readers: dict[str, Callable[[_Fields], Document]] = {
        ToolContract.format: _tool_contract,
        EngineProfile.format: _engine_profile,
        RouterContract.format: _router_contract,
    }
    wanted = value.get("format")
    if not isinstance(wanted, str) or wanted not in readers:
        raise MalformedContract(f"not one of {', '.join(readers)}", at="format")
    return readers[wanted](_Fields({k: v for k, v in value.items() if k != "format"}, at=""))


def _tool_contract(fields: "_Fields") -> ToolContract:
    emission = _Fields(fields.take("emission"), at="emission")
    template = emission.take("template_sha256")
    if template is not None and not is_sha256(template):
        raise MalformedContract("not null and not 64 lower-case hex digits", at="emission.template_sha256")
    return ToolContract(
        name=fields.text("name", _NAME),
        emission=Emission(emission.text("family", _FAMILY), template, emission.rest()),
        surfaces=fields.surfaces(),
        tools=fields.tools(described=True),
        context=fields.count("context"),
        extra=fields.rest(),
    )


def _engine_profile(fields: "_Fields") -> EngineProfile:
    return EngineProfile(
        name=fields.text("name", _NAME),
        engine=fields.text("engine", _FAMILY),
        version=fields.text("version"),
        parses=fields.texts("parses", _FAMILY),
        flags=fields.texts("flags", different=False),
        surfaces=fields.surfaces(),
        extra=fields.rest(),
    )


def _router_contract(fields: "_Fields") -> RouterContract:
    tools = fields.tools(described=False)
    required = fields.texts("required", _TOOL_NAME)
    known = {tool.name for tool in tools}
    for place, name in enumerate(required):
        if name not in known:
            raise MalformedContract(f"no tool of this contract is called {name!r}", at=f"required[{place}]")
    return RouterContract(
        name=fields.text("name", _NAME),
        accepts=fields.texts("accepts", _FAMILY),
        surfaces=fields.surfaces(),
        tools=tools,
        required=required,
        min_context=fields.count("min_context"),
        extra=fields.rest(),
    )


class _Fields:
    """The fields of one object that have not been read yet; what is left in the end is refused."""

    def __init__(self, value: Any, *, at: str) -> None:
        if not isinstance(value, dict):
            raise MalformedContract("not an object", at=at or "document")
        self.left, self.at = dict(value), at

    def place(self, name: str) -> str:
        return f"{self.at}.{name}" if self.at else name

    def take(self, name: str) -> Any:
        if name not in self.left:
            raise MalformedContract("this field is missing", at=self.place(name))
        return self.left.pop(name)

    def text(self, name: str, shape: re.Pattern[str] | None = None) -> str:
        return _text(self.take(name), self.place(name), shape)

    def count(self, name: str) -> int:
        value = self.take(name)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= MAX_INTEGER:
            raise MalformedContract("not a whole number above 0", at=self.place(name))
        return value

    def texts(
        self, name: str, shape: re.Pattern[str] | None = None, *, different: bool = True
    ) -> tuple[str, ...]:
        value, at = self.take(name), self.place(name)
        if not isinstance(value, list):
            raise MalformedContract("not a list", at=at)
        found = [_text(item, f"{at}[{place}]", shape) for place, item in enumerate(value)]
        if different:
            _different(found, at)
        return tuple(found)

    def surfaces(self) -> tuple[str, ...]:
        found = self.texts("surfaces")
        for place, surface in enumerate(found):
            if surface not in SURFACES:
                raise MalformedContract(f"not one of {', '.join(SURFACES)}", at=f"surfaces[{place}]")
        return found

    def tools(self, *, described: bool) -> tuple[Tool, ...]:
        value, at = self.take("tools"), self.place("tools")
        if not isinstance(value, list):
            raise MalformedContract("not a list", at=at)
        found = [_tool(item, f"{at}[{place}]", described=described) for place, item in enumerate(value)]
        _different([tool.name for tool in found], at)
        return tuple(found)

    def rest(self) -> dict[str, Any]:
        for name in self.left:
            if not name.startswith("x-"):
                raise MalformedContract("no field of this format is called so", at=self.place(name))
        return self.left


def _tool(value: Any, at: str, *, described: bool) -> Tool:
    fields = _Fields(value, at=at)
    description = fields.left.pop("description", None) if described else None
    if description is not None and not isinstance(description, str):
        raise MalformedContract("not text", at=f"{at}.description")
    output = fields.take("output")
    return Tool(
        name=fields.text("name", _TOOL_NAME),
        input=_schema(fields.take("input"), f"{at}.input", of_object=True),
        output=None if output is None else _schema(output, f"{at}.output", of_object=False),
        description=description,
        extra=fields.rest(),
    )


def _schema(value: Any, at: str, *, of_object: bool) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise MalformedContract("not an object holding a JSON Schema", at=at)
    problem = misshapen(value)
    if problem:
        raise MalformedContract(problem.problem, at=f"{at}{problem.at}")
    if of_object and value.get("type", "object") != "object":
        raise MalformedContract("arguments are always an object, so the type is `object`", at=f"{at}.type")
    return value


def _text(value: Any, at: str, shape: re.Pattern[str] | None) -> str:
    if not isinstance(value, str) or not value:
        raise MalformedContract("not text", at=at)
    if shape is not None and not shape.fullmatch(value):
        raise MalformedContract(f"{value[:80]!r} holds characters not allowed here, or too many", at=at)
    return value


def _different(names: Iterable[str], at: str) -> None:
    seen: set[str] = set()
    for place, name in enumerate(names):
        if name in seen:
            raise MalformedContract(f"{name!r} stands twice", at=f"{at}[{place}]")
        seen.add(name)


# ------------------------------------------------------------------------------------------- tools elsewhere


def tool_json(tool: Tool, *, described: bool = True) -> dict[str, Any]:
    """Return a tool as it stands in a contract's `tools`."""
    out = {"name": tool.name, "input": tool.input, "output": tool.output, **tool.extra}
    if described and tool.description is not None:
        out["description"] = tool.description
    return out


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


def _foreign_tool(item: Any, at: str) -> dict[str, Any]:
    """Return a tool of ours from one of theirs; what the three formats add besides is left behind."""
    if not isinstance(item, dict):
        raise UnreadableToolList("not an object", at=at)
    inside: Any = item
    if "function" in item:  # Chat Completions nests it
        inside, at = item["function"], f"{at}.function"
    elif item.get("type", "function") != "function":
        raise UnreadableToolList(
            f"{item['type']!r} is a tool of the service's own, without a schema", at=f"{at}.type"
        )
    if not isinstance(inside, dict) or "name" not in inside:
        raise UnreadableToolList("not an object with a name", at=at)
    found = inside.get("inputSchema", inside.get("parameters", {"type": "object", "properties": {}}))
    answers = inside.get("outputSchema", inside.get("output_schema"))
    tool = {"name": inside["name"], "input": without_fractions(found), "output": without_fractions(answers)}
    return tool | ({"description": inside["description"]} if inside.get("description") else {})
