"""Chat completions: what is sent to an OpenAI-compatible endpoint, and what of its answer counts.

Pure. Temperature 0 and a fixed seed: the same question every time, which is all that a client can do towards the
same answer. A streamed answer is put together as strictly as clients do it: what would confuse one is a finding.
Source: OpenAI API reference, chat completions and their streaming.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipelines.engines.endpoint import MAX_ANSWER, AnswerUnusable, json_body
from pipelines.suites.cases import Case, NamedTool
from pipelines.suites.format import Tool
from pipelines.suites.streaming import Event, event_object
from signing.canonical import NotCanonical, parse

PATH = "/v1/chat/completions"
MAX_CALLS = 64
MAX_TEXT = MAX_ANSWER  # characters of all pieces of one streamed answer


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
    output_tokens: int | None = None  # as the engine counts; else the pieces of a stream; None: nobody said
    ttft_ms: int | None = None  # milliseconds from the question to the first token, of a streamed answer


def request(
    case: Case,
    tools: Mapping[str, Tool],
    *,
    model: str,
    seed: int,
    more: Sequence[Mapping[str, Any]] = (),
    stream: bool = False,
) -> bytes:
    """Return the bytes of one request; `more` are the messages of a second turn."""
    body: dict[str, Any] = {
        "model": model,
        "messages": [*case.messages, *more],
        "max_tokens": case.max_tokens,
        "temperature": 0,
        "seed": seed,
        "stream": stream,
    }
    if stream:
        body["stream_options"] = {"include_usage": True}
    if case.tools:
        body["tools"] = [tools[name].offer for name in case.tools]
        body["tool_choice"] = _choice(case.tool_choice)
    if case.parallel_tool_calls is not None:
        body["parallel_tool_calls"] = case.parallel_tool_calls
    if case.response_format is not None:
        schema = {"name": "answer", "strict": True, "schema": dict(case.response_format)}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    if case.min_tokens is not None:
        body["min_tokens"] = case.min_tokens
    return json_body(body)


def _choice(choice: str | NamedTool) -> Any:
    if isinstance(choice, NamedTool):
        return {"type": "function", "function": {"name": choice.name}}
    return choice


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
    if len(choices) > 1:
        raise AnswerUnusable(where, "more answers than the one that was asked for")
    _no_old_call(message, where)
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
        output_tokens=used(value, "completion_tokens"),
    )


def _no_old_call(message: Mapping[str, Any], where: str) -> None:
    """Refuse `function_call`, which came before `tool_calls`: a client may obey it, and no check would see it."""
    if message.get("function_call"):
        raise AnswerUnusable(where, "calls a function in the old form, function_call")


def _call(item: Any, number: int, where: str) -> Call:
    function = item.get("function") if isinstance(item, dict) else None
    if not isinstance(function, dict):
        raise AnswerUnusable(where, f"tool_calls[{number}] has no function")
    name, arguments, given = function.get("name"), function.get("arguments"), item.get("id")
    if not isinstance(name, str) or not isinstance(arguments, str):
        raise AnswerUnusable(where, f"tool_calls[{number}].function: name and arguments are texts")
    return Call(given if isinstance(given, str) and given else f"call-{number}", name, arguments)


def used(value: Mapping[str, Any], name: str) -> int | None:
    """Return a number of tokens from an answer's `usage`, where there is one that makes sense."""
    usage = value.get("usage")
    number = usage.get(name) if isinstance(usage, dict) else None
    return number if type(number) is int and 0 <= number <= 2**31 else None


@dataclass
class _Growing:
    """A call of a streamed answer, as far as it has come."""

    id: str
    name: str
    arguments: list[str] = field(default_factory=list)


class ChatStream:
    """Puts one streamed chat completion together, event by event."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._words: list[str] = []
        self._calls: list[_Growing] = []
        self._size = 0  # characters taken so far
        self._pieces = 0
        self._tokens: int | None = None
        self._first: int | None = None
        self._reason: str | None = None

    @property
    def ended(self) -> bool:
        """Whether the answer itself is over, though the stream may not be."""
        return self._reason is not None

    def take(self, event: Event, milliseconds: int) -> bool:
        """Take one event in, and return whether it was the last. Raises `AnswerUnusable`."""
        if event.data == b"[DONE]":
            if self._reason is None:
                raise AnswerUnusable(self._where, "the stream is done, and no finish_reason came")
            return True
        value = event_object(event, where=self._where)
        self._tokens = used(value, "completion_tokens") or self._tokens
        choices = value.get("choices", [])
        if not isinstance(choices, list) or not all(isinstance(item, dict) for item in choices):
            raise AnswerUnusable(self._where, "choices of a piece is no list of objects")
        for choice in choices:
            if choice.get("index", 0) != 0:
                raise AnswerUnusable(self._where, "more answers than the one that was asked for")
            self._take_choice(choice, milliseconds)
        return False

    def _take_choice(self, choice: Mapping[str, Any], milliseconds: int) -> None:
        delta, reason = choice.get("delta") or {}, choice.get("finish_reason")
        if not isinstance(delta, dict) or not isinstance(reason, str | None):
            raise AnswerUnusable(self._where, "delta is no object, or finish_reason no text")
        _no_old_call(delta, self._where)
        words, thought, calls = (delta.get(name) for name in ("content", "reasoning_content", "tool_calls"))
        if not isinstance(words, str | None) or not isinstance(thought, str | None):
            raise AnswerUnusable(self._where, "content of a piece is no text")
        if words or thought or calls:
            if self._reason is not None:
                raise AnswerUnusable(self._where, "the stream goes on after its finish_reason")
            self._pieces += 1
            self._first = milliseconds if self._first is None else self._first
        self._words.append(self._counted(words or ""))
        self._take_calls(calls)
        self._reason = reason or self._reason

    def _take_calls(self, calls: Any) -> None:
        if calls is None:
            return
        if not isinstance(calls, list):
            raise AnswerUnusable(self._where, "tool_calls of a piece is no list")
        for item in calls:
            function = item.get("function") if isinstance(item, dict) else None
            if not isinstance(function, dict) or type(item.get("index")) is not int:
                raise AnswerUnusable(self._where, "a piece of a tool call has no index or no function")
            self._take_call(item["index"], item.get("id"), function)

    def _take_call(self, index: int, given: Any, function: Mapping[str, Any]) -> None:
        name, arguments = function.get("name"), function.get("arguments")
        if not all(isinstance(item, str | None) for item in (given, name, arguments)):
            raise AnswerUnusable(self._where, f"tool_calls[{index}]: id, name and arguments are texts")
        if index == len(self._calls) < MAX_CALLS:
            if not name:
                raise AnswerUnusable(self._where, f"tool_calls[{index}] begins without a name")
            self._calls.append(_Growing(given or f"call-{index}", name))
        elif not 0 <= index < len(self._calls):
            raise AnswerUnusable(self._where, f"tool_calls[{index}] comes after {len(self._calls)} calls")
        call = self._calls[index]
        if (name or call.name) != call.name or (given or call.id) != call.id:
            raise AnswerUnusable(
                self._where, f"tool_calls[{index}] changes its name or id: two calls share a place"
            )
        call.arguments.append(self._counted(arguments or ""))

    def _counted(self, text: str) -> str:
        self._size += len(text)
        if self._size > MAX_TEXT:
            raise AnswerUnusable(self._where, f"a streamed answer of more than {MAX_TEXT:,} characters")
        return text

    def reply(self) -> Reply:
        """Return the whole answer, after the last event."""
        return Reply(
            content="".join(self._words),
            calls=tuple(Call(call.id, call.name, "".join(call.arguments)) for call in self._calls),
            finish_reason=self._reason,
            output_tokens=self._pieces if self._tokens is None else self._tokens,
            ttft_ms=self._first,
        )
