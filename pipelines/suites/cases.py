"""One case of a suite: what is asked, how, and what is demanded of the answer.

Pure: values in, values or a refusal out. A case that demands nothing, or that contradicts itself, is
refused here, because at a run it would pass without having said anything about the model.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from pipelines.suites.fields import exactly, matching, schema, text, tool_name, whole, yes_or_no
from pipelines.suites.refusals import SuiteMalformed
from pipelines.suites.vocabulary import (
    MAX_TOKENS,
    ArgsEqual,
    ArgsMatch,
    ArgsValid,
    Check,
    FilesCheck,
    MaxTtftMs,
    MultiTurnToolResult,
    NoTool,
    PythonCheck,
    StreamEqualsNonstream,
    ToolCalled,
    ToolsCalled,
    read_checks,
)

__all__ = ["Case", "NamedTool", "exactly", "read_case", "read_files_case", "text", "whole"]

MAX_TEXT = 32 << 10  # characters of one message
MAX_MESSAGES = 64
MAX_TOOLS = 128
CHOICES = ("auto", "none", "required")
CHAT, RESPONSES = "chat", "responses"  # the two surfaces of OpenAI-compatible endpoints
SURFACES = (CHAT, RESPONSES)
ROLES = ("system", "developer", "user", "assistant", "tool")
ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,79}")

_ABOUT_CALLS = (ArgsValid, MultiTurnToolResult)
_ABOUT_ONE_CALL = (ArgsEqual, ArgsMatch)
_OF_A_STREAM = (StreamEqualsNonstream, MaxTtftMs)


class Mode(NamedTuple):
    """How a case is asked."""

    surface: str
    stream: bool

    def __str__(self) -> str:
        return f"{self.surface}, streamed" if self.stream else self.surface


@dataclass(frozen=True)
class NamedTool:
    """A `tool_choice` that names the tool to call."""

    name: str


@dataclass(frozen=True)
class Case:
    """One question. `messages` are in the form that a chat endpoint takes; of a files case only id and checks count.

    `surface` and `stream` are None where the case leaves them to its suite.
    """

    id: str
    cluster: str
    messages: tuple[Mapping[str, Any], ...]
    tools: tuple[str, ...]
    tool_choice: str | NamedTool
    max_tokens: int
    checks: tuple[Check, ...]
    surface: str | None = None
    stream: bool | None = None
    parallel_tool_calls: bool | None = None  # None: not said to the engine
    response_format: Mapping[str, Any] | None = None  # JSON Schema that the engine is asked to keep to
    min_tokens: int | None = None  # not every engine obeys

    @property
    def expects_calls(self) -> tuple[str, ...]:
        """The tools that have to be called, one name per call; empty when none has."""
        for check in self.checks:
            if isinstance(check, ToolCalled):
                return (check.name,)
            if isinstance(check, ToolsCalled):
                return check.names
        return ()

    @property
    def expects_call(self) -> str | None:
        """The tool that has to be called (first), if one has."""
        return next(iter(self.expects_calls), None)

    @property
    def turn(self) -> MultiTurnToolResult | None:
        """What comes back from the tool, if the case goes on after the call."""
        return next((check for check in self.checks if isinstance(check, MultiTurnToolResult)), None)

    @property
    def asks_both_ways(self) -> bool:
        """Whether the question is asked once streamed and once not, to compare the two."""
        return any(isinstance(check, StreamEqualsNonstream) for check in self.checks)

    @property
    def streams(self) -> bool | None:
        """Whether the case is asked streamed; None leaves it to the suite. A check that looks at a stream fixes it."""
        return True if any(isinstance(check, _OF_A_STREAM) for check in self.checks) else self.stream

    @property
    def functions(self) -> tuple[str, ...]:
        """The Python checks that the case uses."""
        return tuple(check.function for check in self.checks if isinstance(check, PythonCheck))


def read_case(raw: Any, *, at: str) -> Case:
    """Decode one case. Raises `SuiteMalformed` with the place, `cases/basic.jsonl line 3: checks[0].name`."""
    needed = {"id", "cluster", "messages", "tools", "max_tokens", "checks"}
    optional = {"tool_choice", "surface", "stream", "parallel_tool_calls", "response_format", "min_tokens"}
    item = exactly(raw, needed, optional, at=at)
    most = whole(item["max_tokens"], 1, MAX_TOKENS, at=f"{at}: max_tokens")
    tools = _tools(item["tools"], at=f"{at}: tools")
    case = Case(
        id=_label(item, "id", at=at),
        cluster=_label(item, "cluster", at=at),
        messages=_messages(item["messages"], at=at),
        tools=tools,
        tool_choice=_choice(item.get("tool_choice", "auto"), tools, at=f"{at}: tool_choice"),
        max_tokens=most,
        checks=read_checks(item["checks"], at=at),
        surface=_given(item, "surface", _surface, at=at),
        stream=_given(item, "stream", yes_or_no, at=at),
        parallel_tool_calls=_given(item, "parallel_tool_calls", yes_or_no, at=at),
        response_format=_given(item, "response_format", schema, at=at),
        min_tokens=_given(item, "min_tokens", lambda value, place: whole(value, 1, most, at=place), at=at),
    )
    _consistent(case, at=at)
    return case


def read_files_case(raw: Any, *, at: str) -> Case:
    """Decode a case of a suite of kind `files`: an id, a cluster and one `files` check."""
    item = exactly(raw, {"id", "cluster", "checks"}, set(), at=at)
    checks = read_checks(item["checks"], at=at)
    if len(checks) != 1 or not isinstance(checks[0], FilesCheck):
        raise SuiteMalformed("exactly one check, and it is 'files'", at=f"{at}: checks")
    return Case(
        id=_label(item, "id", at=at),
        cluster=_label(item, "cluster", at=at),
        messages=(),
        tools=(),
        tool_choice="auto",
        max_tokens=0,
        checks=checks,
    )


def _label(item: Mapping[str, Any], name: str, *, at: str) -> str:
    return matching(item[name], ID, "a-z, 0-9, '.', '_', '-', at most 80", at=f"{at}: {name}")


def _given(item: Mapping[str, Any], name: str, rule: Callable[[Any, str], Any], *, at: str) -> Any:
    return rule(item[name], f"{at}: {name}") if name in item else None


def _choice(value: Any, tools: tuple[str, ...], *, at: str) -> str | NamedTool:
    if isinstance(value, dict):
        name = tool_name(exactly(value, {"name"}, set(), at=at)["name"], f"{at}.name")
        if name not in tools:
            raise SuiteMalformed(f"{name!r} is not among the case's tools", at=f"{at}.name")
        return NamedTool(name)
    if not isinstance(value, str) or value not in CHOICES:
        raise SuiteMalformed(f'one of {", ".join(CHOICES)}, or {{"name": "TOOL"}}', at=at)
    return value


def _consistent(case: Case, *, at: str) -> None:
    kinds = [type(check) for check in case.checks if not isinstance(check, PythonCheck)]
    if len(set(kinds)) != len(kinds) or len(set(case.functions)) != len(case.functions):
        raise SuiteMalformed("a check stands twice", at=f"{at}: checks")
    if FilesCheck in kinds:
        raise SuiteMalformed("'files' stands only in a suite of kind 'files'", at=f"{at}: checks")
    _consistent_calls(case, kinds, at=at)
    if case.stream is False and any(isinstance(check, _OF_A_STREAM) for check in case.checks):
        raise SuiteMalformed("a check looks at a stream, and the case forbids one", at=f"{at}: stream")


def _consistent_calls(case: Case, kinds: Sequence[type[Check]], *, at: str) -> None:
    for number, check in enumerate(case.checks):
        place = f"{at}: checks[{number}]"
        if isinstance(check, _ABOUT_CALLS) and not case.expects_calls:
            raise SuiteMalformed("looks at a call, and no tool_called beside it says which", at=place)
        if isinstance(check, _ABOUT_ONE_CALL) and ToolCalled not in kinds:
            raise SuiteMalformed("looks at a call, and no tool_called beside it says which", at=place)
    for called in case.expects_calls:
        if called not in case.tools:
            raise SuiteMalformed(
                f"{called!r} must be called and is not among the case's tools", at=f"{at}: tools"
            )
    if not case.expects_calls:
        return
    if ToolCalled in kinds and ToolsCalled in kinds:
        raise SuiteMalformed("tool_called and tools_called contradict each other", at=f"{at}: checks")
    if NoTool in kinds or case.tool_choice == "none":
        raise SuiteMalformed("demands a call and forbids one", at=f"{at}: checks")
    if isinstance(case.tool_choice, NamedTool) and set(case.expects_calls) != {case.tool_choice.name}:
        raise SuiteMalformed("demands another tool's call than tool_choice names", at=f"{at}: tool_choice")


def _surface(value: Any, at: str) -> str:
    if not isinstance(value, str) or value not in SURFACES:
        raise SuiteMalformed(f"one of {', '.join(SURFACES)}", at=at)
    return value


def _messages(raw: Any, *, at: str) -> tuple[Mapping[str, Any], ...]:
    if not isinstance(raw, list) or not 1 <= len(raw) <= MAX_MESSAGES:
        raise SuiteMalformed(f"a list of 1 to {MAX_MESSAGES} messages", at=f"{at}: messages")
    for number, item in enumerate(raw):
        place = f"{at}: messages[{number}]"
        message = exactly(item, {"role", "content"}, {"tool_calls", "tool_call_id"}, at=place)
        if message["role"] not in ROLES:
            raise SuiteMalformed(f"one of {', '.join(ROLES)}", at=f"{place}.role")
        if not isinstance(message["content"], str) or len(message["content"]) > MAX_TEXT:
            raise SuiteMalformed(f"a text of at most {MAX_TEXT} characters", at=f"{place}.content")
        if ("tool_calls" in message) > (message["role"] == "assistant"):
            raise SuiteMalformed("only an assistant calls tools", at=f"{place}.tool_calls")
        if not isinstance(message.get("tool_call_id", ""), str):
            raise SuiteMalformed("a text", at=f"{place}.tool_call_id")
        _past_calls(message.get("tool_calls", []), at=f"{place}.tool_calls")
    if raw[-1]["role"] not in ("user", "tool"):
        raise SuiteMalformed(
            "the last message leaves nothing to answer", at=f"{at}: messages[{len(raw) - 1}]"
        )
    return tuple(raw)


def _past_calls(raw: Any, *, at: str) -> None:
    """Calls that a case says were made: both surfaces and the transcript read them."""
    if not isinstance(raw, list) or len(raw) > MAX_TOOLS:
        raise SuiteMalformed(f"a list of at most {MAX_TOOLS} calls", at=at)
    for number, item in enumerate(raw):
        place = f"{at}[{number}]"
        call = exactly(item, {"id", "function"}, {"type"}, at=place)
        function = exactly(call["function"], {"name", "arguments"}, set(), at=f"{place}.function")
        if not all(isinstance(value, str) for value in (call["id"], *function.values())):
            raise SuiteMalformed("id, name and arguments are texts", at=place)


def _tools(raw: Any, *, at: str) -> tuple[str, ...]:
    if not isinstance(raw, list) or len(raw) > MAX_TOOLS:
        raise SuiteMalformed(f"a list of at most {MAX_TOOLS} names of tools", at=at)
    names = tuple(tool_name(item, f"{at}[{number}]") for number, item in enumerate(raw))
    if len(set(names)) != len(names):
        raise SuiteMalformed("a tool stands twice", at=at)
    return names
