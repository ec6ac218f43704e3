"""The closed vocabulary of what may be demanded of an answer, and its strict reading.

Apart from the cases, because this is what an author looks up: each check is one class, and says what it means.
A check that any answer would satisfy (a pattern that matches nothing at all, a schema without a demand) is
refused here, because at a run it would pass without having said anything about the model.
"""

import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from pipelines.suites.fields import exactly, matching, schema, text, tool_name, whole
from pipelines.suites.refusals import SuiteMalformed

MAX_PATTERN = 200  # characters of a regular expression
MAX_CHECKS = 32
MAX_NAMES = 16  # calls that one answer may be expected to hold
MAX_TOKENS = 32 << 10
MAX_MILLISECONDS = 3_600_000
FILE_CHECKS = ("complete", "dtypes", "finite", "tokenizer", "template", "generation")
FUNCTION = re.compile(r"check_[a-z0-9_]{1,64}")


@dataclass(frozen=True)
class Answers:
    """The answer has words in it."""


@dataclass(frozen=True)
class ToolCalled:
    """The answer is exactly one call, of this tool."""

    name: str


@dataclass(frozen=True)
class ToolsCalled:
    """The answer is exactly these calls, in any order; a name may stand twice."""

    names: tuple[str, ...]


@dataclass(frozen=True)
class ArgsValid:
    """The arguments of every call are one JSON object that satisfies the tool's input schema."""


@dataclass(frozen=True)
class ArgsEqual:
    """The call's arguments are this object, key by key."""

    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class ArgsMatch:
    """Each key named is there, and its value contains a match; what is no text is looked at as JSON."""

    arguments: Mapping[str, str]


@dataclass(frozen=True)
class NoTool:
    """The answer calls nothing."""


@dataclass(frozen=True)
class ContentRegex:
    """The answer's words contain a match of this Python regular expression."""

    pattern: str


@dataclass(frozen=True)
class ContentAbsent:
    """The answer's words contain no match of this Python regular expression."""

    pattern: str


@dataclass(frozen=True)
class JsonSchema:
    """The answer's words are one JSON value that satisfies this schema."""

    schema: Mapping[str, Any]


@dataclass(frozen=True)
class FinishReason:
    """The engine says that the answer ended for this reason."""

    reason: str


@dataclass(frozen=True)
class StreamEqualsNonstream:
    """The same question is asked both ways, and both answers have the same words, calls and end."""


@dataclass(frozen=True)
class MultiTurnToolResult:
    """Each call is answered with `result`; the model's next answer calls nothing and contains `contains`."""

    result: str
    contains: str


@dataclass(frozen=True)
class MaxTtftMs:
    """The first token of a streamed answer came within so many milliseconds."""

    milliseconds: int


@dataclass(frozen=True)
class MaxSeconds:
    """The whole answer came within so many seconds."""

    seconds: int


@dataclass(frozen=True)
class MaxOutputTokens:
    """The answer has at most so many tokens, as the engine counts them."""

    tokens: int


@dataclass(frozen=True)
class PythonCheck:
    """`function` of the suite's checks/*.py has nothing to say against the exchange."""

    function: str


@dataclass(frozen=True)
class FilesCheck:
    """One of the questions that `pipelines.files_check` answers about a version's files; asks no engine."""

    name: str


Check = (
    Answers
    | ToolCalled
    | ToolsCalled
    | ArgsValid
    | ArgsEqual
    | ArgsMatch
    | NoTool
    | ContentRegex
    | ContentAbsent
    | JsonSchema
    | FinishReason
    | StreamEqualsNonstream
    | MultiTurnToolResult
    | MaxTtftMs
    | MaxSeconds
    | MaxOutputTokens
    | PythonCheck
    | FilesCheck
)

VOCABULARY: dict[str, type[Check]] = {
    "answers": Answers,
    "tool_called": ToolCalled,
    "tools_called": ToolsCalled,
    "args_valid": ArgsValid,
    "args_equal": ArgsEqual,
    "args_match": ArgsMatch,
    "no_tool": NoTool,
    "content_regex": ContentRegex,
    "content_absent": ContentAbsent,
    "json_schema": JsonSchema,
    "finish_reason": FinishReason,
    "stream_equals_nonstream": StreamEqualsNonstream,
    "multi_turn_tool_result": MultiTurnToolResult,
    "max_ttft_ms": MaxTtftMs,
    "max_seconds": MaxSeconds,
    "max_output_tokens": MaxOutputTokens,
    "python_check": PythonCheck,
    "files": FilesCheck,
}
NAMES = {kind: name for name, kind in VOCABULARY.items()}


def read_checks(raw: Any, *, at: str) -> tuple[Check, ...]:
    """Decode a case's checks; at least one."""
    if not isinstance(raw, list) or not raw:
        raise SuiteMalformed("a case without checks says nothing about a model", at=f"{at}: checks")
    if len(raw) > MAX_CHECKS:
        raise SuiteMalformed(f"at most {MAX_CHECKS} checks", at=f"{at}: checks")
    return tuple(_check(item, at=f"{at}: checks[{number}]") for number, item in enumerate(raw))


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
    rules = _RULES | _OWN_RULES.get(kind, {})
    return kind(**{name: rules[name](item[name], f"{at}.{name}") for name in names})


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


def _names(value: Any, at: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_NAMES:
        raise SuiteMalformed(f"a list of 1 to {MAX_NAMES} names of tools", at=at)
    return tuple(tool_name(item, f"{at}[{number}]") for number, item in enumerate(value))


def _patterns(value: Any, at: str) -> dict[str, str]:
    if not isinstance(value, dict) or not value:
        raise SuiteMalformed("an object of argument and regular expression", at=at)
    return {key: _pattern(item, f"{at}.{key[:64]}") for key, item in value.items()}


def _function(value: Any, at: str) -> str:
    return matching(value, FUNCTION, "check_ and then a-z, 0-9 and '_'", at=at)


def _files_check(value: Any, at: str) -> str:
    if not isinstance(value, str) or value not in FILE_CHECKS:
        raise SuiteMalformed(f"one of {', '.join(FILE_CHECKS)}", at=at)
    return value


_RULES: dict[str, Callable[[Any, str], Any]] = {
    "name": tool_name,
    "arguments": _arguments,
    "pattern": _pattern,
    "reason": _words,
    "result": _words,
    "contains": _words,
    "names": _names,
    "schema": schema,
    "function": _function,
    "milliseconds": lambda value, at: whole(value, 1, MAX_MILLISECONDS, at=at),
    "seconds": lambda value, at: whole(value, 1, MAX_MILLISECONDS // 1000, at=at),
    "tokens": lambda value, at: whole(value, 1, MAX_TOKENS, at=at),
}
_OWN_RULES: dict[type[Check], dict[str, Callable[[Any, str], Any]]] = {  # the same word, another meaning
    ArgsMatch: {"arguments": _patterns},
    FilesCheck: {"name": _files_check},
}
