"""Strict reading of a contract's fields, and of a tool: what contracts and lists of tools have in common.

Whatever is not a field of the format is refused with its place, but for names that start with `x-`.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from registry.schemas import misshapen
from signing.canonical import MAX_INTEGER
from signing.digests import is_sha256
from signing.errors import OperatorError

MAX_BYTES = 1 << 20  # of one document; real ones stay under 100 KiB
SURFACES = ("chat", "responses")
TOOL_CHOICES = ("auto", "none", "required", "named")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,127}")
TOOL_NAME = re.compile(r"[A-Za-z0-9_.\-/]{1,128}")  # MCP allows `.` and `/` besides OpenAI's set
FAMILY = re.compile(r"[a-z0-9][a-z0-9_.\-]{0,63}")
PARSER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,127}")


class MalformedContract(OperatorError):
    """A document that is no tool contract, engine profile or router contract."""

    exit_code: ClassVar[int] = 42
    next_step: ClassVar[str] = "Correct the document at the place named, then add it again."

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
class SurfaceFacts:
    """What is done over one surface; None and an absent choice: nothing was said about it."""

    streaming: bool | None = None
    parallel: bool | None = None  # several calls in one answer
    tool_choice: tuple[str, ...] | None = None  # of `TOOL_CHOICES`
    strict: bool | None = None  # arguments are held to the schema while they are written

    def to_json(self) -> dict[str, Any]:
        """Return what was said, and no more."""
        said: dict[str, Any] = {
            "streaming": self.streaming,
            "parallel": self.parallel,
            "tool_choice": None if self.tool_choice is None else list(self.tool_choice),
            "strict": self.strict,
        }
        return {name: value for name, value in said.items() if value is not None}


def tool_json(tool: Tool, *, described: bool = True) -> dict[str, Any]:
    """Return a tool as it stands in a contract's `tools`."""
    out = {"name": tool.name, "input": tool.input, "output": tool.output, **tool.extra}
    if described and tool.description is not None:
        out["description"] = tool.description
    return out


class Fields:
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

    def digest(self, name: str) -> str | None:
        """A digest or null."""
        value = self.take(name)
        if value is not None and not is_sha256(value):
            raise MalformedContract("not null and not 64 lower-case hex digits", at=self.place(name))
        return str(value) if value is not None else None

    def optional_digest(self, name: str) -> str | None:
        if name in self.left and self.left[name] is None:
            raise MalformedContract("leave the field out where nothing is known", at=self.place(name))
        return self.digest(name) if name in self.left else None

    def texts(
        self, name: str, shape: re.Pattern[str] | None = None, *, different: bool = True
    ) -> tuple[str, ...]:
        value, at = self.take(name), self.place(name)
        if not isinstance(value, list):
            raise MalformedContract("not a list", at=at)
        found = [_text(item, f"{at}[{place}]", shape) for place, item in enumerate(value)]
        if different:
            all_different(found, at)
        return tuple(found)

    def some_of(self, name: str, known: tuple[str, ...]) -> tuple[str, ...]:
        """A list of different words out of those that are known."""
        found = self.texts(name)
        for place, word in enumerate(found):
            if word not in known:
                raise MalformedContract(f"not one of {', '.join(known)}", at=f"{self.place(name)}[{place}]")
        return found

    def optional_texts(self, name: str, shape: re.Pattern[str]) -> tuple[str, ...] | None:
        return self.texts(name, shape) if name in self.left else None

    def optional_map(self, name: str, key: re.Pattern[str], value: re.Pattern[str]) -> dict[str, str]:
        """An object of text to text; absent: empty."""
        if name not in self.left:
            return {}
        given, at = self.take(name), self.place(name)
        if not isinstance(given, dict):
            raise MalformedContract("not an object", at=at)
        if not given:
            raise MalformedContract("leave the field out where there is nothing to say", at=at)
        return {
            _text(word, f"{at}.{str(word)[:80]}", key): _text(item, f"{at}.{str(word)[:80]}", value)
            for word, item in given.items()
        }

    def optional_surface(self) -> dict[str, SurfaceFacts]:
        """The optional `surface`: what is done, or needed, over each surface."""
        if "surface" not in self.left:
            return {}
        given = self.take("surface")
        if not isinstance(given, dict) or not given:
            raise MalformedContract("not an object that says something", at=self.place("surface"))
        for name in given:
            if name not in SURFACES:
                raise MalformedContract(f"not one of {', '.join(SURFACES)}", at=f"surface.{str(name)[:80]}")
        return {name: _surface(Fields(facts, at=f"surface.{name}")) for name, facts in given.items()}

    def tools(self, *, described: bool) -> tuple[Tool, ...]:
        value, at = self.take("tools"), self.place("tools")
        if not isinstance(value, list):
            raise MalformedContract("not a list", at=at)
        found = [read_tool(item, f"{at}[{place}]", described=described) for place, item in enumerate(value)]
        all_different([tool.name for tool in found], at)
        return tuple(found)

    def rest(self) -> dict[str, Any]:
        for name in self.left:
            if not name.startswith("x-"):
                raise MalformedContract("no field of this format is called so", at=self.place(name))
        return self.left


def read_tool(value: Any, at: str, *, described: bool) -> Tool:
    """Read one entry of a contract's `tools`. Raises `MalformedContract`."""
    fields = Fields(value, at=at)
    description = fields.left.pop("description", None) if described else None
    if description is not None and not isinstance(description, str):
        raise MalformedContract("not text", at=f"{at}.description")
    output = fields.take("output")
    return Tool(
        name=fields.text("name", TOOL_NAME),
        input=_schema(fields.take("input"), f"{at}.input", of_object=True),
        output=None if output is None else _schema(output, f"{at}.output", of_object=False),
        description=description,
        extra=fields.rest(),
    )


def all_different(names: Iterable[str], at: str) -> None:
    """Raise `MalformedContract` where a name stands twice."""
    seen: set[str] = set()
    for place, name in enumerate(names):
        if name in seen:
            raise MalformedContract(f"{name!r} stands twice", at=f"{at}[{place}]")
        seen.add(name)


def _surface(fields: Fields) -> SurfaceFacts:
    flags = {}
    for name in ("streaming", "parallel", "strict"):
        flags[name] = fields.left.pop(name, None)
        if flags[name] is not None and not isinstance(flags[name], bool):
            raise MalformedContract("not true or false", at=fields.place(name))
    choices = fields.some_of("tool_choice", TOOL_CHOICES) if "tool_choice" in fields.left else None
    for name in fields.left:
        raise MalformedContract("no field of this format is called so", at=fields.place(name))
    return SurfaceFacts(flags["streaming"], flags["parallel"], choices, flags["strict"])


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
