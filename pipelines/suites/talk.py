"""What is sent to an OpenAI-compatible endpoint, and what of its answer counts.

Pure. Chat completions, not streamed, temperature 0 and a fixed seed: the same question every time, which is
all that a client can do towards the same answer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.engines.endpoint import MAX_ANSWER, AnswerUnusable, json_body
from pipelines.suites.cases import Case
from pipelines.suites.format import Tool
from signing.canonical import NotCanonical, parse

PATH = "/v1/chat/completions"
MAX_CALLS = 64


@dataclass(frozen=True)
class Call:
    """One tool call as the engine parsed it. `arguments` is the raw text, not yet looked into."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True)
class Reply:
    """One answer of the model; `content` is empty when there were no words."""

    content: str
    calls: tuple[Call, ...]
    finish_reason: str | None


def request(
    case: Case, tools: Mapping[str, Tool], *, model: str, seed: int, more: Sequence[Mapping[str, Any]] = ()
) -> bytes:
    """Return the bytes of one request; `more` are the messages of a second turn."""
    body: dict[str, Any] = {
        "model": model,
        "messages": [*case.messages, *more],
        "max_tokens": case.max_tokens,
        "temperature": 0,
        "seed": seed,
        "stream": False,
    }
    if case.tools:
        body["tools"] = [tools[name].offer for name in case.tools]
        body["tool_choice"] = case.tool_choice
    return json_body(body)


def second_turn(reply: Reply, result: str) -> list[dict[str, Any]]:
    """Return the messages that answer a reply's calls, each with `result`, as a client would send them."""
    calls = [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in reply.calls
    ]
    answers = [{"role": "tool", "tool_call_id": call.id, "content": result} for call in reply.calls]
    return [{"role": "assistant", "content": reply.content, "tool_calls": calls}, *answers]


def read_reply(data: bytes, *, where: str) -> Reply:
    """Read a chat completion. Raises `AnswerUnusable`, naming the field, for any other shape."""
    try:
        value = parse(data, max_bytes=MAX_ANSWER, at="answer")
    except NotCanonical as exc:
        raise AnswerUnusable(where, str(exc)) from exc
    choices = value.get("choices") if isinstance(value, dict) else None
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise AnswerUnusable(where, "a completion without choices")
    message, reason = choices[0].get("message"), choices[0].get("finish_reason")
    if not isinstance(message, dict):
        raise AnswerUnusable(where, "choices[0] has no message")
    content = message.get("content")
    if not isinstance(content, str | None) or not isinstance(reason, str | None):
        raise AnswerUnusable(where, "choices[0]: content and finish_reason are texts or null")
    calls = message.get("tool_calls")
    if calls is not None and (not isinstance(calls, list) or len(calls) > MAX_CALLS):
        raise AnswerUnusable(where, f"tool_calls is not a list of at most {MAX_CALLS}")
    return Reply(
        content=content or "",
        calls=tuple(_call(item, number, where) for number, item in enumerate(calls or ())),
        finish_reason=reason,
    )


def _call(item: Any, number: int, where: str) -> Call:
    function = item.get("function") if isinstance(item, dict) else None
    if not isinstance(function, dict):
        raise AnswerUnusable(where, f"tool_calls[{number}] has no function")
    name, arguments, given = function.get("name"), function.get("arguments"), item.get("id")
    if not isinstance(name, str) or not isinstance(arguments, str):
        raise AnswerUnusable(where, f"tool_calls[{number}].function: name and arguments are texts")
    return Call(given if isinstance(given, str) and given else f"call-{number}", name, arguments)
