"""One case of a suite: what is asked, and the closed vocabulary of what may be demanded of the answer.

Pure: values in, values or a refusal out. A case that demands nothing, or that contradicts itself, is
refused here, because at a run it would pass without having said anything about the model.
"""

import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from pipelines.suites.refusals import SuiteMalformed
from signing.canonical import NotCanonical, canonical_bytes

MAX_PATTERN = 200  # characters of a regular expression
MAX_TEXT = 32 << 10  # characters of one message
MAX_MESSAGES = 64
MAX_TOKENS = 32 << 10
MAX_TOOLS = 128
CHOICES = ("auto", "none", "required")
ROLES = ("system", "developer", "user", "assistant", "tool")
ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,79}")
TOOL_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")  # OpenAI's rule for function names


@dataclass(frozen=True)
class Answers:
    """The answer has words in it."""


@dataclass(frozen=True)
class ToolCalled:
    """The answer is exactly one call, of this tool."""

    name: str


@dataclass(frozen=True)
class ArgsValid:
    """The call's arguments are one JSON object that satisfies the tool's input schema."""


@dataclass(frozen=True)
class ArgsEqual:
    """The call's arguments are this object, key by key."""

    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class NoTool:
    """The answer calls nothing."""


@dataclass(frozen=True)
class ContentRegex:
    """The answer's words contain a match of this Python regular expression."""

    pattern: str


@dataclass(frozen=True)
class FinishReason:
    """The engine says that the answer ended for this reason."""

    reason: str


@dataclass(frozen=True)
class MultiTurnToolResult:
    """The call is answered with `result`; the model's next answer calls nothing and contains `contains`."""

    result: str
    contains: str


Check = (
    Answers | ToolCalled | ArgsValid | ArgsEqual | NoTool | ContentRegex | FinishReason | MultiTurnToolResult
)

VOCABULARY: dict[str, type[Check]] = {
    "answers": Answers,
    "tool_called": ToolCalled,
    "args_valid": ArgsValid,
    "args_equal": ArgsEqual,
    "no_tool": NoTool,
    "content_regex": ContentRegex,
    "finish_reason": FinishReason,
    "multi_turn_tool_result": MultiTurnToolResult,
}
NAMES = {kind: name for name, kind in VOCABULARY.items()}
_ABOUT_A_CALL = (ArgsValid, ArgsEqual, MultiTurnToolResult)


@dataclass(frozen=True)
class Case:
    """One question. `messages` are in the form that an OpenAI-compatible endpoint takes."""

    id: str
    cluster: str
    messages: tuple[Mapping[str, Any], ...]
    tools: tuple[str, ...]
    tool_choice: str
    max_tokens: int
    checks: tuple[Check, ...]

    @property
    def expects_call(self) -> str | None:
        """The tool that has to be called, if one has."""
        return next((check.name for check in self.checks if isinstance(check, ToolCalled)), None)

    @property
    def turn(self) -> MultiTurnToolResult | None:
        """What comes back from the tool, if the case goes on after the call."""
        return next((check for check in self.checks if isinstance(check, MultiTurnToolResult)), None)


def read_case(raw: Any, *, at: str) -> Case:
    """Decode one case. Raises `SuiteMalformed` with the place, `cases/basic.jsonl line 3: checks[0].name`."""
    needed = {"id", "cluster", "messages", "tools", "max_tokens", "checks"}
    item = exactly(raw, needed, {"tool_choice"}, at=at)
    case = Case(
        id=_matching(item["id"], ID, "a-z, 0-9, '.', '_', '-', at most 80", at=f"{at}: id"),
        cluster=_matching(item["cluster"], ID, "a-z, 0-9, '.', '_', '-', at most 80", at=f"{at}: cluster"),
        messages=_messages(item["messages"], at=at),
        tools=_tools(item["tools"], at=f"{at}: tools"),
        tool_choice=item.get("tool_choice", "auto"),
        max_tokens=whole(item["max_tokens"], 1, MAX_TOKENS, at=f"{at}: max_tokens"),
        checks=_checks(item["checks"], at=at),
    )
    if case.tool_choice not in CHOICES:
        raise SuiteMalformed(f"one of {', '.join(CHOICES)}", at=f"{at}: tool_choice")
    _consistent(case, at=at)
    return case


def _consistent(case: Case, *, at: str) -> None:
    kinds = [type(check) for check in case.checks]
    if len(set(kinds)) != len(kinds):
        raise SuiteMalformed("a check stands twice", at=f"{at}: checks")
    called = case.expects_call
    if called is None:
        for number, check in enumerate(case.checks):
            if isinstance(check, _ABOUT_A_CALL):
                raise SuiteMalformed(
                    "looks at a call, and no tool_called beside it says which", at=f"{at}: checks[{number}]"
                )
        return
    if called not in case.tools:
        raise SuiteMalformed(
            f"{called!r} must be called and is not among the case's tools", at=f"{at}: tools"
        )
    if NoTool in kinds or case.tool_choice == "none":
        raise SuiteMalformed("demands a call and forbids one", at=f"{at}: checks")


def _checks(raw: Any, *, at: str) -> tuple[Check, ...]:
    if not isinstance(raw, list) or not raw:
        raise SuiteMalformed("a case without checks says nothing about a model", at=f"{at}: checks")
    return tuple(_check(item, at=f"{at}: checks[{number}]") for number, item in enumerate(raw[:32]))


def _check(raw: Any, *, at: str) -> Check:
    if not isinstance(raw, dict) or not isinstance(raw.get("check"), str):
        raise SuiteMalformed("an object with the field 'check'", at=at)
    kind = VOCABULARY.get(raw["check"])
    if kind is None:
        raise SuiteMalformed(
            f"{raw['check'][:64]!r} is not a check; known are {', '.join(VOCABULARY)}", at=f"{at}.check"
        )
    names = [field.name for field in fields(kind)]
    item = exactly(raw, {"check", *names}, set(), at=at)
    return kind(**{name: _RULES[name](item[name], f"{at}.{name}") for name in names})


def _name(value: Any, at: str) -> str:
    return _matching(value, TOOL_NAME, "a tool's name, as a function of OpenAI's may be called", at=at)


def _arguments(value: Any, at: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise SuiteMalformed("an object of arguments", at=at)
    return value


def _pattern(value: Any, at: str) -> str:
    pattern = text(value, MAX_PATTERN, at=at)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # what Python only doubts today means something else tomorrow
            nothing = re.compile(pattern).search("") is not None
    except (re.error, OverflowError, RecursionError, Warning) as exc:
        raise SuiteMalformed(f"not a regular expression of Python's ({exc})", at=at) from exc
    if nothing:
        raise SuiteMalformed("matches even an empty answer, so it checks nothing", at=at)
    return pattern


def _words(value: Any, at: str) -> str:
    return text(value, 4096, at=at)


_RULES: dict[str, Callable[[Any, str], Any]] = {
    "name": _name,
    "arguments": _arguments,
    "pattern": _pattern,
    "reason": _words,
    "result": _words,
    "contains": _words,
}


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
    if raw[-1]["role"] not in ("user", "tool"):
        raise SuiteMalformed(
            "the last message leaves nothing to answer", at=f"{at}: messages[{len(raw) - 1}]"
        )
    return tuple(raw)


def _tools(raw: Any, *, at: str) -> tuple[str, ...]:
    if not isinstance(raw, list) or len(raw) > MAX_TOOLS:
        raise SuiteMalformed(f"a list of at most {MAX_TOOLS} names of tools", at=at)
    names = tuple(_name(item, f"{at}[{number}]") for number, item in enumerate(raw))
    if len(set(names)) != len(names):
        raise SuiteMalformed("a tool stands twice", at=at)
    return names


# -- small decoders that the suite's other files use too ------------------------------------------------


def exactly(raw: Any, needed: set[str], optional: set[str], *, at: str) -> dict[str, Any]:
    """Return an object that has every needed field and no unknown one."""
    if not isinstance(raw, dict):
        raise SuiteMalformed("a table of fields is expected", at=at)
    if missing := sorted(needed - set(raw)):
        raise SuiteMalformed(f"the field {missing[0]!r} is missing", at=at)
    if unknown := sorted(set(raw) - needed - optional):
        raise SuiteMalformed(f"{unknown[0][:64]!r} is not a field that is known here", at=at)
    return raw


def text(value: Any, most: int, *, at: str) -> str:
    """Return a text of 1 to `most` characters."""
    if not isinstance(value, str) or not value or len(value) > most:
        raise SuiteMalformed(f"a text of 1 to {most} characters", at=at)
    try:
        canonical_bytes(value)
    except NotCanonical as exc:
        raise SuiteMalformed(exc.problem, at=at) from exc
    return value


def whole(value: Any, least: int, most: int, *, at: str) -> int:
    """Return a whole number between two bounds."""
    if type(value) is not int or not least <= value <= most:
        raise SuiteMalformed(f"a whole number from {least} to {most}", at=at)
    return value


def _matching(value: Any, rule: re.Pattern[str], said: str, *, at: str) -> str:
    if not isinstance(value, str) or not rule.fullmatch(value):
        raise SuiteMalformed(said, at=at)
    return value
