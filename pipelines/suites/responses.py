"""The Responses surface: what is sent, and what of its answer counts. Coding agents speak nothing else.

Pure. Cases are written once, as chat messages; here they become `input` items, and the answer becomes the same
`Reply` as on the chat surface, `finish_reason` included, so that one case asks the same of both.
Source: OpenAI API reference, responses and their streaming events.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipelines.engines.endpoint import MAX_ANSWER, AnswerUnusable, json_body
from pipelines.suites.cases import Case, NamedTool
from pipelines.suites.format import Tool
from pipelines.suites.streaming import Event, event_object
from pipelines.suites.talk import MAX_CALLS, MAX_TEXT, Call, Reply, used
from signing.canonical import NotCanonical, parse

PATH = "/v1/responses"
MAX_ITEMS = 256  # of an answer
_LAST = ("response.completed", "response.incomplete", "response.failed", "response.cancelled")
_FIRST_TOKEN = (
    "response.output_text.delta",
    "response.function_call_arguments.delta",
    "response.reasoning_text.delta",
    "response.reasoning_summary_text.delta",
)


def request(
    case: Case,
    tools: Mapping[str, Tool],
    *,
    model: str,
    more: Sequence[Mapping[str, Any]] = (),
    stream: bool = False,
) -> bytes:
    """Return the bytes of one request; `more` are the items of a second turn. The surface knows no seed."""
    body: dict[str, Any] = {
        "model": model,
        "input": [*(item for message in case.messages for item in _items(message)), *more],
        "max_output_tokens": case.max_tokens,
        "temperature": 0,
        "stream": stream,
        "store": False,
    }
    if case.tools:
        body["tools"] = [_offer(tools[name]) for name in case.tools]
        body["tool_choice"] = _choice(case.tool_choice)
    if case.parallel_tool_calls is not None:
        body["parallel_tool_calls"] = case.parallel_tool_calls
    if case.response_format is not None:
        schema = {
            "type": "json_schema",
            "name": "answer",
            "strict": True,
            "schema": dict(case.response_format),
        }
        body["text"] = {"format": schema}
    if case.min_tokens is not None:
        body["min_tokens"] = case.min_tokens
    return json_body(body)


def _offer(tool: Tool) -> dict[str, Any]:
    return {
        "type": "function",
        "name": tool.name,
        "description": tool.description,
        "parameters": dict(tool.input),
        "strict": False,
    }


def _choice(choice: str | NamedTool) -> Any:
    return {"type": "function", "name": choice.name} if isinstance(choice, NamedTool) else choice


def _items(message: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the items that say what a chat message says."""
    role, words = message["role"], message["content"]
    if role == "tool":
        yield _result(str(message.get("tool_call_id", "")), words)
        return
    if words:
        part = {"type": "output_text" if role == "assistant" else "input_text", "text": words}
        yield {"type": "message", "role": role, "content": [part]}
    for call in message.get("tool_calls", ()):
        yield _called(Call(call["id"], **call["function"]))


def _called(call: Call) -> dict[str, Any]:
    return {"type": "function_call", "call_id": call.id, "name": call.name, "arguments": call.arguments}


def _result(call: str, result: str) -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": call, "output": result}


def second_turn(reply: Reply, result: str) -> list[dict[str, Any]]:
    """Return the items that repeat a reply's calls and answer each with `result`, as a client would send them."""
    words = list(_items({"role": "assistant", "content": reply.content}))
    return [*words, *map(_called, reply.calls), *(_result(call.id, result) for call in reply.calls)]


def read_reply(data: bytes, *, where: str) -> Reply:
    """Read a response that was not streamed. Raises `AnswerUnusable`, naming the field, for any other shape."""
    try:
        value = parse(data, max_bytes=MAX_ANSWER, at="answer")
    except NotCanonical as exc:
        raise AnswerUnusable(where, str(exc)) from exc
    return _reply(value, where)


def _reply(value: Any, where: str, *, tokens: int | None = None, ttft_ms: int | None = None) -> Reply:
    output = value.get("output") if isinstance(value, dict) else None
    if not isinstance(output, list) or len(output) > MAX_ITEMS:
        raise AnswerUnusable(where, f"output is not a list of at most {MAX_ITEMS} items")
    calls: list[Call] = []
    words: list[str] = []
    for number, item in enumerate(output):
        at = f"output[{number}]"
        kind = item.get("type") if isinstance(item, dict) else None
        if not isinstance(kind, str):
            raise AnswerUnusable(where, f"{at} has no type")
        if kind == "function_call":
            calls.append(_call(item, len(calls), at, where))
        elif kind == "message":
            words.extend(_words(item, at, where))
        elif kind.endswith("_call"):  # a client or the engine obeys it, and no check would see it
            raise AnswerUnusable(where, f"{at} is a {kind[:40]!r}: a call of no tool that was offered")
    if len(calls) > MAX_CALLS:
        raise AnswerUnusable(where, f"more than {MAX_CALLS} calls")
    counted = used(value, "output_tokens")
    return Reply(
        "".join(words),
        tuple(calls),
        _end(value, calls, where),
        tokens if counted is None else counted,
        ttft_ms,
    )


def _call(item: Mapping[str, Any], number: int, at: str, where: str) -> Call:
    name, arguments, given = (item.get(key) for key in ("name", "arguments", "call_id"))
    if not isinstance(name, str) or not isinstance(arguments, str):
        raise AnswerUnusable(where, f"{at}: name and arguments are texts")
    return Call(given if isinstance(given, str) and given else f"call-{number}", name, arguments)


def _words(item: Mapping[str, Any], at: str, where: str) -> Iterator[str]:
    parts = item.get("content")
    if not isinstance(parts, list) or len(parts) > MAX_ITEMS:
        raise AnswerUnusable(where, f"{at}: content is not a list of parts")
    for part in parts:
        text = part.get("text", part.get("refusal")) if isinstance(part, dict) else None
        if not isinstance(text, str):
            raise AnswerUnusable(where, f"{at}: a part of the content has no text")
        yield text


def _end(value: Mapping[str, Any], calls: Sequence[Call], where: str) -> str:
    """Say how the answer ended in the words of the chat surface."""
    status = value.get("status")
    if status == "completed":
        return "tool_calls" if calls else "stop"
    if status == "incomplete":
        details = value.get("incomplete_details")
        reason = details.get("reason") if isinstance(details, dict) else None
        return "length" if reason == "max_output_tokens" else str(reason)[:64]
    error = value.get("error")
    raise AnswerUnusable(where, f"the response is {str(status)[:40]}: {str(error)[:120]}")


class ResponseStream:
    """Puts one streamed response together: the last event says it whole, the pieces have to say the same."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._words: list[str] = []
        self._size = 0  # characters
        self._pieces = 0
        self._first: int | None = None
        self._items: list[Any] = []  # as each was done
        self._last: Any = None

    @property
    def ended(self) -> bool:
        """Whether the answer itself is over."""
        return self._last is not None

    def take(self, event: Event, milliseconds: int) -> bool:
        """Take one event in, and return whether it was the last. Raises `AnswerUnusable`."""
        if event.data == b"[DONE]":
            raise AnswerUnusable(self._where, "the stream is done, and no response.completed came")
        value = event_object(event, where=self._where)
        kind = value.get("type", event.name)
        if kind == "error":
            raise AnswerUnusable(self._where, f"the stream tells of an error: {str(value)[:120]}")
        if kind in _FIRST_TOKEN:
            self._take_piece(kind, value.get("delta"), milliseconds)
        elif kind == "response.output_item.done" and len(self._items) < MAX_ITEMS:
            self._items.append(value.get("item"))
        elif kind in _LAST:
            self._last = value.get("response")
            return True
        return False

    def _take_piece(self, kind: str, delta: Any, milliseconds: int) -> None:
        if not isinstance(delta, str):
            raise AnswerUnusable(self._where, f"{kind}: delta is no text")
        self._first = milliseconds if self._first is None else self._first
        self._pieces += 1
        self._size += len(delta)
        if self._size > MAX_TEXT:
            raise AnswerUnusable(self._where, f"a streamed answer of more than {MAX_TEXT:,} characters")
        if kind == "response.output_text.delta":
            self._words.append(delta)

    def reply(self) -> Reply:
        """Return the whole answer, after the last event. Raises `AnswerUnusable` when pieces and whole differ."""
        last = self._last
        if isinstance(last, dict) and not last.get("output"):
            last = last | {"output": self._items}
        found = _reply(last, self._where, tokens=self._pieces, ttft_ms=self._first)
        streamed = "".join(self._words)
        if streamed != found.content:
            raise AnswerUnusable(
                self._where, f"the pieces say {streamed[:60]!r}, the whole response {found.content[:60]!r}"
            )
        return found
