"""Whether an answer satisfies a check: each answer of the vocabulary's questions, with the reason when not.

Pure but for the regular expressions and schemas, which somebody else wrote: the caller sets the time limit
(`pipelines.suites.plugin` runs them in the child process, under an alarm).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.suites.cases import Case
from pipelines.suites.format import Tool, argument_problem
from pipelines.suites.talk import Reply
from pipelines.suites.vocabulary import (
    Answers,
    ArgsEqual,
    ArgsValid,
    Check,
    ContentRegex,
    FinishReason,
    MultiTurnToolResult,
    NoTool,
    ToolCalled,
)
from signing.canonical import NotCanonical, parse

MAX_ARGUMENTS = 1 << 20  # bytes of one call's arguments
MAX_SEARCHED = 16 << 10  # characters of an answer that a regular expression looks at
SHOWN = 80  # characters of the model's words in a reason


@dataclass(frozen=True)
class Exchange:
    """What the model answered, and what it answered to the tool's result if it was asked to go on."""

    first: Reply
    second: Reply | None = None


def problem(check: Check, exchange: Exchange, case: Case, tools: Mapping[str, Tool]) -> str | None:
    """Return why the answer does not satisfy the check, in a line, or None when it does."""
    first = exchange.first
    found: str | None = None
    match check:
        case Answers():
            found = None if first.content.strip() else "the answer has no words"
        case NoTool():
            found = f"called {_names(first)}, and no tool fits" if first.calls else None
        case ToolCalled(name):
            found = _tool_called(name, first)
        case ArgsValid() | ArgsEqual():
            found = _arguments(check, first, tools.get(case.expects_call or ""))
        case ContentRegex(pattern):
            if not re.search(pattern, first.content[:MAX_SEARCHED]):
                found = f"no match of {pattern!r} in {_shown(first.content)}"
        case FinishReason(reason):
            if first.finish_reason != reason:
                found = f"ended with {_shown(str(first.finish_reason))}, not {reason!r}"
        case MultiTurnToolResult(_, contains):
            found = _used(contains, exchange.second)
    return found


def calls_valid(reply: Reply, tools: Mapping[str, Tool]) -> bool:
    """Whether there is a call, and each call's arguments satisfy the schema of the tool that it names."""
    return bool(reply.calls) and all(
        call.name in tools and _arguments(ArgsValid(), Reply("", (call,), None), tools[call.name]) is None
        for call in reply.calls
    )


def _tool_called(name: str, reply: Reply) -> str | None:
    if not reply.calls:
        return f"called nothing; said {_shown(reply.content)}"
    if [call.name for call in reply.calls] != [name]:
        return f"called {_names(reply)}, not {name} once"
    return None


def _arguments(check: ArgsValid | ArgsEqual, reply: Reply, tool: Tool | None) -> str | None:
    if not reply.calls or tool is None:
        return "there is no call to look at"
    text = reply.calls[0].arguments
    try:
        value = parse(text.encode("utf-8", "replace"), max_bytes=MAX_ARGUMENTS, at="arguments")
    except NotCanonical as exc:
        return f"{exc}: {_shown(text)}"
    if not isinstance(value, dict):
        return f"the arguments are not an object: {_shown(text)}"
    if isinstance(check, ArgsEqual):
        return None if same(value, dict(check.arguments)) else f"the arguments are {_shown(text)}"
    return argument_problem(tool, value)


def _used(contains: str, reply: Reply | None) -> str | None:
    if reply is None:
        return "there was no call to answer"
    if reply.calls:
        return f"called {_names(reply)} again instead of using the result"
    return None if contains in reply.content else f"the result is not in the answer {_shown(reply.content)}"


def same(left: Any, right: Any) -> bool:
    """Whether two JSON values are one value: 1 and 1.0 are, 1 and true are not. Depth is bounded by `parse`."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right)


def _names(reply: Reply) -> str:
    return ", ".join(call.name[:64] for call in reply.calls[:4])


def _shown(text: str) -> str:
    return repr(text if len(text) <= SHOWN else f"{text[:SHOWN]}…")
