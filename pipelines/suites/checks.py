"""Whether an answer satisfies a check: each answer of the vocabulary's questions, with the reason when not.

Pure but for the regular expressions and schemas, which somebody else wrote: the caller sets the time limit
(`pipelines.suites.plugin` runs them in the child process, under an alarm).
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.suites.cases import Case
from pipelines.suites.format import Tool, argument_problem
from pipelines.suites.talk import Call, Reply
from pipelines.suites.vocabulary import (
    Answers,
    ArgsEqual,
    ArgsMatch,
    ArgsValid,
    Check,
    ContentAbsent,
    ContentRegex,
    FilesCheck,
    FinishReason,
    JsonSchema,
    MaxOutputTokens,
    MaxSeconds,
    MaxTtftMs,
    MultiTurnToolResult,
    NoTool,
    PythonCheck,
    StreamEqualsNonstream,
    ToolCalled,
    ToolsCalled,
)
from signing.canonical import NotCanonical, parse

MAX_ARGUMENTS = 1 << 20  # bytes of one call's arguments
MAX_SEARCHED = 16 << 10  # characters of an answer that a regular expression looks at
SHOWN = 80  # characters of the model's words in a reason


@dataclass(frozen=True)
class Exchange:
    """What the model answered, and what it answered to the tool's result if it was asked to go on.

    `other`: the answer to the same question asked the other way (not streamed), where a check compares the two.
    """

    first: Reply
    second: Reply | None = None
    other: Reply | None = None
    milliseconds: int = 0  # of the first answer


def problem(check: Check, exchange: Exchange, case: Case, tools: Mapping[str, Tool]) -> str | None:
    """Return why the answer does not satisfy the check, in a line, or None when it does."""
    first = exchange.first
    found: str | None = None
    match check:
        case ContentRegex() | ContentAbsent() | JsonSchema() | Answers():
            found = _content_problem(check, first)
        case ToolCalled() | ToolsCalled() | NoTool() | ArgsValid() | ArgsEqual() | ArgsMatch():
            expected = {name: tools[name] for name in case.expects_calls if name in tools}
            found = _call_problem(check, first, expected)
        case MaxTtftMs() | MaxSeconds() | MaxOutputTokens():
            found = _figure_problem(check, exchange)
        case FinishReason(reason):
            said = first.finish_reason
            found = None if said == reason else f"ended with {_shown(str(said))}, not {reason!r}"
        case MultiTurnToolResult(_, contains):
            found = _used(contains, exchange.second)
        case StreamEqualsNonstream():
            found = _difference(first, exchange.other)
        case PythonCheck() | FilesCheck():
            found = (
                "is not answered here"  # the run asks somebody else; were it forgotten, nothing would pass
            )
    return found


def _content_problem(check: ContentRegex | ContentAbsent | JsonSchema | Answers, reply: Reply) -> str | None:
    said = reply.content
    match check:
        case Answers():
            return None if said.strip() else "the answer has no words"
        case ContentRegex(pattern):
            found = re.search(pattern, said[:MAX_SEARCHED])
            return None if found else f"no match of {pattern!r} in {_shown(said)}"
        case ContentAbsent(pattern):
            if len(said) > MAX_SEARCHED:
                return f"the answer is longer than the {MAX_SEARCHED} characters that are searched"
            found = re.search(pattern, said)
            return f"{_shown(found[0])} is in the answer" if found else None
        case JsonSchema(schema):
            return _json_problem(schema, said)


def _json_problem(schema: Mapping[str, Any], said: str) -> str | None:
    try:
        value = parse(said.encode("utf-8", "replace"), max_bytes=MAX_ARGUMENTS, at="content")
    except NotCanonical as exc:
        return f"{exc}: {_shown(said)}"
    from pipelines.suites.schema import first_problem  # noqa: PLC0415 - jsonschema costs time to import

    return first_problem(schema, value)


def _call_problem(
    check: ToolCalled | ToolsCalled | NoTool | ArgsValid | ArgsEqual | ArgsMatch,
    reply: Reply,
    tools: Mapping[str, Tool],
) -> str | None:
    match check:
        case NoTool():
            return f"called {_names(reply)}, and no tool fits" if reply.calls else None
        case ToolCalled(name):
            return _called((name,), reply)
        case ToolsCalled(names):
            return _called(names, reply)
    if not reply.calls:
        return "there is no call to look at"
    looked_at = reply.calls if isinstance(check, ArgsValid) else reply.calls[:1]
    found = (_arguments(check, call, tools.get(call.name)) for call in looked_at)
    return next((problem for problem in found if problem), None)


def _called(names: Sequence[str], reply: Reply) -> str | None:
    if not reply.calls:
        return f"called nothing; said {_shown(reply.content)}"
    if sorted(call.name for call in reply.calls) != sorted(names):
        once = f"{names[0]} once" if len(names) == 1 else f"exactly {', '.join(names)}"
        return f"called {_names(reply)}, not {once}"
    return None


def _arguments(check: ArgsValid | ArgsEqual | ArgsMatch, call: Call, tool: Tool | None) -> str | None:
    if tool is None:
        return f"{call.name[:64]} is not the tool to look at"
    text = call.arguments
    try:
        value = parse(text.encode("utf-8", "replace"), max_bytes=MAX_ARGUMENTS, at="arguments")
    except NotCanonical as exc:
        return f"{exc}: {_shown(text)}"
    if not isinstance(value, dict):
        return f"the arguments are not an object: {_shown(text)}"
    match check:
        case ArgsEqual(wanted):
            return None if same(value, dict(wanted)) else f"the arguments are {_shown(text)}"
        case ArgsMatch(patterns):
            return _unmatched(patterns, value)
        case ArgsValid():
            return argument_problem(tool, value)


def _unmatched(patterns: Mapping[str, str], arguments: Mapping[str, Any]) -> str | None:
    for key, pattern in patterns.items():
        if key not in arguments:
            return f"the argument {key[:64]!r} is missing"
        value = arguments[key]
        words = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
        if not re.search(pattern, words[:MAX_SEARCHED]):
            return f"{key[:64]}: no match of {pattern!r} in {_shown(words)}"
    return None


def calls_valid(reply: Reply, tools: Mapping[str, Tool]) -> bool:
    """Whether there is a call, and each call's arguments satisfy the schema of the tool that it names."""
    return bool(reply.calls) and _call_problem(ArgsValid(), reply, tools) is None


def _figure_problem(check: MaxTtftMs | MaxSeconds | MaxOutputTokens, exchange: Exchange) -> str | None:
    match check:
        case MaxTtftMs(most):
            took = exchange.first.ttft_ms
            if took is None:
                return "the stream held no token"
            return None if took <= most else f"the first token came after {took} ms, at most {most} allowed"
        case MaxSeconds(most):
            took = exchange.milliseconds
            return None if took <= most * 1000 else f"the answer took {took} ms, at most {most} s allowed"
        case MaxOutputTokens(most):
            count = exchange.first.output_tokens
            if count is None:
                return "the engine does not say how many tokens the answer has"
            return None if count <= most else f"the answer has {count} tokens, at most {most} allowed"


def _difference(streamed: Reply, whole: Reply | None) -> str | None:
    """Say in what two answers to one question differ, first their calls: those are what breaks clients."""
    if whole is None:
        return "the question was not asked both ways"
    mine, other = (
        [(call.name, _plain_arguments(call)) for call in reply.calls] for reply in (streamed, whole)
    )
    if mine != other:
        return f"streamed it calls {_calls(streamed)}, not streamed {_calls(whole)}"
    if streamed.content != whole.content:
        return f"streamed it says {_shown(streamed.content)}, not streamed {_shown(whole.content)}"
    if streamed.finish_reason != whole.finish_reason:
        return f"streamed it ends with {streamed.finish_reason!r}, not streamed with {whole.finish_reason!r}"
    return None


def _plain_arguments(call: Call) -> str:
    """The same arguments are the same text, whatever spaces the engine puts between them."""
    try:
        value = parse(call.arguments.encode("utf-8", "replace"), max_bytes=MAX_ARGUMENTS, at="arguments")
    except NotCanonical:
        return call.arguments
    return json.dumps(value, sort_keys=True)


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


def _calls(reply: Reply) -> str:
    return ", ".join(f"{call.name[:64]} {call.arguments[:SHOWN]}" for call in reply.calls[:4]) or "nothing"


def _names(reply: Reply) -> str:
    return ", ".join(call.name[:64] for call in reply.calls[:4])


def _shown(text: str) -> str:
    return repr(text if len(text) <= SHOWN else f"{text[:SHOWN]}…")
