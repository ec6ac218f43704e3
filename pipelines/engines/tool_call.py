"""Ready means: a tool was offered, the model called it, and the engine gave the call back parsed, in time.

An engine answers 200 while it is paused, while it loads, and while every call of the model ends as plain text in
the content. So the question is asked as a client asks it, without `tool_choice`: to demand a call would switch
on constrained decoding in some engines and show nothing about the parser.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pipelines.engines.endpoint import Answer, Endpoint, EngineTrouble, json_body
from pipelines.engines.probe import Readiness
from signing.canonical import NotCanonical, parse

_PATH = "/v1/chat/completions"
_PAUSE = 0.1  # seconds between two tries while nothing answers
_PATIENCE = 3  # tries with the same refusal before it is believed
_LOADING = (404, 425, 429, 503)  # engines that are not there yet say one of these
_TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tell the weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
_QUESTIONS = ("What is the weather in oslo?", "Call the tool get_weather for the city of oslo.")


@dataclass(frozen=True)
class _Seen:
    """What one question got: parsed or not, and whether another try could end otherwise."""

    parsed: bool
    milliseconds: int | None
    why: str
    answered: bool = False  # a completion came, so that what it holds can be believed
    wait: bool = True


def ready(
    endpoint: Endpoint,
    *,
    model: str,
    seconds: float,
    calls: bool = True,
    gone: Callable[[], str | None] = lambda: None,
) -> Readiness:
    """Ask until there is an answer or the deadline is over. Never raises: a silent engine is an answer too.

    Args:
        model: the name to ask for.
        seconds: from now to the last byte of the answer, over all tries.
        calls: demand a parsed call. Without it, any completion makes the engine ready, and whether it was
            parsed is said all the same.
        gone: why nobody can answer any more, such as that the process has ended; asked between tries.
    """
    deadline = time.monotonic() + seconds
    refused = 0
    seen = _Seen(parsed=False, milliseconds=None, why=f"{endpoint}: not asked within {seconds:g} s")
    while (left := deadline - time.monotonic()) > 0:
        why = gone()
        if why is not None:
            return Readiness(ready=False, milliseconds=None, why=why)
        seen = _ask_all(endpoint, model, left)
        refused = 0 if seen.wait else refused + 1
        if seen.answered or refused >= _PATIENCE:
            break
        time.sleep(min(_PAUSE, max(0.0, deadline - time.monotonic())))
    return _verdict(seen, calls=calls)


def _verdict(seen: _Seen, *, calls: bool) -> Readiness:
    fit = seen.parsed or (seen.answered and not calls)
    return Readiness(
        ready=fit,
        milliseconds=seen.milliseconds if seen.answered else None,
        why=seen.why,
        parses_calls=seen.parsed if seen.answered else None,
    )


def _ask_all(endpoint: Endpoint, model: str, seconds: float) -> _Seen:
    """Ask in two ways: a model that answers the first in words is given a second, plainer one."""
    deadline = time.monotonic() + seconds
    first = _ask(endpoint, model, _QUESTIONS[0], seconds)
    if first.parsed or not first.answered:
        return first
    second = _ask(endpoint, model, _QUESTIONS[1], max(0.01, deadline - time.monotonic()))
    return second if second.parsed else first


def _ask(endpoint: Endpoint, model: str, question: str, seconds: float) -> _Seen:
    body = {
        "model": model,
        "messages": [{"role": "user", "content": question}],
        "tools": [_TOOL],
        "temperature": 0,
        "max_tokens": 512,  # a model that thinks first needs some
        "stream": False,
    }
    try:
        answer = endpoint.post(_PATH, json_body(body), seconds=seconds)
    except EngineTrouble as exc:
        return _Seen(parsed=False, milliseconds=None, why=str(exc))
    return _judge(answer, f"{endpoint}{_PATH}")


def _judge(answer: Answer, where: str) -> _Seen:
    if answer.status != 200:
        why = f"{where}: HTTP status {answer.status}"
        return _Seen(parsed=False, milliseconds=None, why=why, wait=answer.status in _LOADING)
    message = _message(answer.body)
    if message is None:
        return _Seen(parsed=False, milliseconds=None, why=f"{where}: 200, but no completion", wait=False)
    if _called(message):
        return _Seen(
            parsed=True, milliseconds=answer.milliseconds, why="answered a timed tool call", answered=True
        )
    shown = " ".join(str(message.get("content") or "").split())[:160]
    why = f"{where}: 200, but no parsed tool call in it; the content begins {shown!r}"
    return _Seen(parsed=False, milliseconds=answer.milliseconds, why=why, answered=True)


def _message(body: bytes) -> dict[str, Any] | None:
    try:
        value = parse(body, max_bytes=len(body), at="answer")
        message = value["choices"][0]["message"]
    except (NotCanonical, KeyError, IndexError, TypeError):
        return None
    return message if isinstance(message, dict) else None


def _called(message: dict[str, Any]) -> bool:
    """Whether the first call is of the tool that was offered, with arguments that are a JSON object."""
    try:
        call = message["tool_calls"][0]["function"]
        arguments = call["arguments"]
        if isinstance(arguments, str):
            arguments = parse(arguments.encode("utf-8", "replace"), max_bytes=1 << 16)
        return call["name"] == _TOOL["function"]["name"] and isinstance(arguments, dict)  # type: ignore[index]
    except (NotCanonical, KeyError, IndexError, TypeError):
        return False
