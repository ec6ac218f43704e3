"""Streamed answers, as decent engines send them and as broken ones do: each break is told apart, and none of them waits."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from pipelines.engines.endpoint import (
    AnswerUnusable,
    Endpoint,
    EngineTooSlow,
    EngineTrouble,
    EngineUnreachable,
)
from pipelines.suites import responses, streaming
from pipelines.suites.responses import ResponseStream
from pipelines.suites.streaming import Event, Events, Listener, listen
from pipelines.suites.talk import PATH, Call, ChatStream, Reply
from tests.pipelines import faulty_engine as faulty
from tests.pipelines.faulty_engine import FaultyEngine, chunks, faulty_engine, response_events, sse

OSLO = ("get_weather", '{"city": "Oslo"}')
ROME = ("get_weather", '{"city": "Rome"}')
DONE = b"[DONE]"


@pytest.fixture
def engine() -> Iterator[FaultyEngine]:
    with faulty_engine() as one:
        yield one


def heard(engine: FaultyEngine, answer: Any, *, path: str = PATH, seconds: float = 5) -> Reply:
    """What a client makes of this answer."""
    engine.answer = lambda _body: answer
    stream = ChatStream("here") if path == PATH else ResponseStream("here")
    listener = Listener(stream.take, lambda: stream.ended)
    listen(Endpoint.parse(engine.url), path, b'{"stream":true}', listener, seconds=seconds)
    return stream.reply()


# -- events, however the bytes come ------------------------------------------------------------------------


def test_events_are_the_same_wherever_the_bytes_were_cut() -> None:
    data = 'event: a\r\ndata: {"é": "𝄞"}\n\n: a comment\n\nid: 7\nretry: 1\ndata: one\ndata:two\n\n'.encode()
    expected = [Event("a", '{"é": "𝄞"}'.encode()), Event("", b"one\ntwo")]
    for place in range(len(data)):
        cut = Events("here")
        assert expected == [*cut.feed(data[:place]), *cut.feed(data[place:])]


def test_an_event_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "MAX_LINE", 1000)
    for endless in (b"data: " + b"x" * 100, b"data: x\n" * 20):
        cut = Events("here")
        with pytest.raises(AnswerUnusable, match="an event of more than 1,000 bytes"):
            for _ in range(100):
                list(cut.feed(endless))


# -- a whole answer ----------------------------------------------------------------------------------------


def test_a_streamed_chat_answer_is_put_together(engine: FaultyEngine) -> None:
    found = heard(engine, sse(*chunks("Hello there", OSLO, ROME), DONE))
    assert ("Hello there", "tool_calls", 5) == (found.content, found.finish_reason, found.output_tokens)
    assert (Call("c0", *OSLO), Call("c1", *ROME)) == found.calls
    assert found.ttft_ms is not None


def test_a_streamed_response_is_put_together(engine: FaultyEngine) -> None:
    found = heard(engine, sse(*response_events("Hello", OSLO)), path=responses.PATH)
    assert ("Hello", "tool_calls", (Call("c0", *OSLO),)) == (found.content, found.finish_reason, found.calls)
    assert 6 == found.output_tokens  # nobody counted for us: the pieces are counted


def test_an_engine_that_ends_its_items_and_not_its_response_is_understood(engine: FaultyEngine) -> None:
    whole = faulty.response("", OSLO)
    item = {"type": "response.output_item.done", "item": whole["output"][0]}
    last = {"type": "response.completed", "response": whole | {"output": []}}
    assert (Call("c0", *OSLO),) == heard(engine, sse(item, last), path=responses.PATH).calls


def test_letters_cut_in_two_on_the_line_arrive_whole(engine: FaultyEngine) -> None:
    words = "Schnee in Tromsø 𝄞"
    said = b"".join(
        b"data: " + json.dumps(one, ensure_ascii=False).encode() + b"\n\n" for one in chunks(words)
    )
    pieces = [bytes([byte]) for byte in said + b"data: [DONE]\n\n"]
    assert words == heard(engine, faulty.chunked(*pieces)).content


def test_time_to_the_first_token_is_not_the_time_to_the_first_event(engine: FaultyEngine) -> None:
    first, *rest = (b"data: " + json.dumps(one).encode() + b"\n\n" for one in chunks("Hello"))

    def slow(handler: Any) -> None:
        faulty.raw(faulty.STREAM + b"\r\n" + first)(handler)
        handler.wfile.flush()
        time.sleep(0.2)
        faulty.raw(*rest, b"data: [DONE]\n\n")(handler)

    found = heard(engine, slow)
    assert found.ttft_ms is not None
    assert found.ttft_ms >= 200


# -- a broken one ------------------------------------------------------------------------------------------

HALF = chunks("Hello")[:2]
NONSENSE: dict[str, tuple[Any, str]] = {
    "no-json": (sse(b"hello"), "not readable as JSON"),
    "no-object": (sse(b"[]"), "no object"),
    "no-event-stream": (faulty.chunked(b"<html>hi</html>\n\n"), "no event stream has"),
    "bytes-that-are-no-text": (sse(b'{"choices":[{"delta":{"content":"\xff"}}]}'), "not readable"),
    "half-a-letter-in-an-event": (sse(b'{"choices":[{"delta":{"content":"\\ud834"}}]}'), "surrogate"),
    "a-whole-answer-instead": (faulty.completion("hi"), "answered with"),
    "an-error": (faulty.status(500, "template"), "HTTP status 500"),
    "an-error-within": (sse(*HALF, {"error": {"message": "out of memory"}}), "out of memory"),
    "choices-that-are-none": (sse({"choices": 7}), "no list"),
    "delta-that-is-none": (sse({"choices": [{"delta": 7}]}), "delta is no object"),
    "words-that-are-none": (sse({"choices": [{"delta": {"content": 7}}]}), "no text"),
    "calls-that-are-none": (sse({"choices": [{"delta": {"tool_calls": {}}}]}), "no list"),
    "done-too-early": (sse(*HALF, DONE), "no finish_reason"),
    "no-done": (sse(*chunks("Hello")), "without its last event"),
    "no-end-at-all": (sse(*HALF), "without its last event"),
    "words-after-the-end": (sse(*chunks("Hello"), *HALF, DONE), "after its finish_reason"),
}  # fmt: skip


@pytest.mark.parametrize("name", NONSENSE)
def test_a_stream_of_nonsense_is_unusable_and_says_why(engine: FaultyEngine, name: str) -> None:
    answer, told = NONSENSE[name]
    with pytest.raises(AnswerUnusable, match=told):
        heard(engine, answer)


def piece(index: Any, name: str | None, arguments: Any = "", given: str | None = None) -> dict[str, Any]:
    function = {"arguments": arguments} | ({"name": name} if name else {})
    return {"choices": [{"delta": {"tool_calls": [{"index": index, "id": given, "function": function}]}}]}


@pytest.mark.parametrize(
    ("pieces", "told"),
    [
        ([piece(None, "add")], "no index"),
        ([piece("0", "add")], "no index"),
        ([piece(0, None)], "begins without a name"),
        ([piece(1, "add")], "comes after 0 calls"),
        ([piece(-1, "add")], "comes after 0 calls"),
        ([piece(0, "add", 7)], "are texts"),
        ([piece(0, "add"), piece(0, "get_weather")], "two calls share a place"),
        ([piece(0, "add", given="a"), piece(0, None, given="b")], "two calls share a place"),
        ([piece(number, "add") for number in range(65)], "comes after 64 calls"),
    ],
)
def test_calls_that_a_client_would_put_together_wrongly_are_found(
    engine: FaultyEngine, pieces: list[Any], told: str
) -> None:
    with pytest.raises(AnswerUnusable, match=told):
        heard(engine, sse(*pieces, *chunks("")[1:], DONE))


@pytest.mark.parametrize(
    ("events", "told"),
    [
        ([DONE], "no response.completed"),
        ([{"type": "error", "message": "no memory"}], "no memory"),
        ([{"type": "response.output_text.delta", "delta": 7}], "no text"),
        (
            [{"type": "response.output_text.delta", "delta": "a"}, response_events("b")[-1]],
            "the pieces say 'a'",
        ),
        ([{"type": "response.completed"}], "output is not a list"),
        ([{"type": "response.completed", "response": faulty.response("x", status="odd")}], "is odd"),
        (
            [{"type": "response.failed", "response": {"output": [], "status": "failed", "error": "gpu"}}],
            "failed: gpu",
        ),
        ([{"type": "response.output_text.delta", "delta": "a"}], "without its last event"),
    ],
)
def test_a_streamed_response_of_nonsense_is_unusable(
    engine: FaultyEngine, events: list[Any], told: str
) -> None:
    with pytest.raises(AnswerUnusable, match=told):
        heard(engine, sse(*events), path=responses.PATH)


def test_an_engine_that_breaks_off_within_an_answer_is_not_judged(engine: FaultyEngine) -> None:
    lines = [b"data: " + json.dumps(one).encode() + b"\n\n" for one in HALF]
    broken = {
        "in a chunk": faulty.chunked(*lines, ends=False),
        "in an open stream": faulty.raw(faulty.STREAM + b"\r\n", *lines),
        "of a known length": faulty.raw(faulty.STREAM + b"Content-Length: 9999\r\n\r\n", *lines),
        "before a word": faulty.raw(),
    }
    for name, answer in broken.items():
        with pytest.raises(EngineUnreachable, match="the connection broke"):
            raise AssertionError(f"{name}: {heard(engine, answer)}")


def test_nobody_there_and_nothing_like_http(engine: FaultyEngine) -> None:
    with pytest.raises(AnswerUnusable, match="not HTTP"):
        heard(engine, faulty.raw(b"SSH-2.0-OpenSSH\r\n\r\n"))
    engine.close()
    with pytest.raises(EngineUnreachable):
        heard(engine, {})


# -- streams that go on for ever ---------------------------------------------------------------------------

WORDS = b'data: {"choices":[{"index":0,"delta":{"content":"on and "}}]}\n\n'


def refused_in_time(engine: FaultyEngine, answer: Any, *, seconds: float = 0.5) -> EngineTrouble:
    began = time.monotonic()
    with pytest.raises(EngineTrouble) as refused:
        heard(engine, answer, seconds=seconds)
    assert time.monotonic() - began < seconds + 3
    return refused.value


@pytest.mark.parametrize(
    "event", [WORDS, b": still there\n\n", b"data: ", b" "], ids=["words", "comments", "a-line", "spaces"]
)
def test_a_stream_without_end_ends_in_its_time(engine: FaultyEngine, event: bytes) -> None:
    assert isinstance(refused_in_time(engine, faulty.endless(engine, event, pause=0.02)), EngineTooSlow)


def test_a_stream_that_falls_silent_ends_in_its_time(engine: FaultyEngine) -> None:
    assert isinstance(refused_in_time(engine, faulty.endless(engine, WORDS, pause=30)), EngineTooSlow)


@pytest.mark.parametrize(
    ("event", "told"),
    [
        (WORDS * 1000, "more than 1,000 events|more than 100,000 characters"),
        (b"data: " + b"x" * (1 << 20), "an event of more than"),
        (b":" + b" " * 70_000 + b"\n\n", "a stream of more than"),
    ],
    ids=["events", "one-line", "comments"],
)
def test_a_gigabyte_of_stream_is_not_read_to_its_end(
    engine: FaultyEngine, monkeypatch: pytest.MonkeyPatch, event: bytes, told: str
) -> None:
    monkeypatch.setattr(streaming, "MAX_EVENTS", 1000)
    monkeypatch.setattr(streaming, "MAX_STREAM", 8 << 20)
    found = refused_in_time(engine, faulty.endless(engine, event), seconds=20)
    assert isinstance(found, AnswerUnusable)
    assert any(part in str(found) for part in told.split("|"))


def test_an_answer_without_end_in_one_stream_is_bounded() -> None:
    stream = ChatStream("here")
    event = Event("", json.dumps({"choices": [{"delta": {"content": "x" * (1 << 20)}}]}).encode())
    with pytest.raises(AnswerUnusable, match="more than 4,194,304 characters"):
        for _ in range(5):
            stream.take(event, 1)
