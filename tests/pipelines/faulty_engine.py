"""A small server on loopback that fails in the ways that engines fail. For nothing else: real answers come from real engines."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Body = dict[str, Any]


def completion(content: str = "", *calls: tuple[str, str], reason: str | None = None) -> Body:
    """A chat completion; each call is a name and the arguments' raw text."""
    made = [
        {"id": f"c{number}", "type": "function", "function": {"name": name, "arguments": arguments}}
        for number, (name, arguments) in enumerate(calls)
    ]
    message = {"role": "assistant", "content": content} | ({"tool_calls": made} if made else {})
    end = reason or ("tool_calls" if made else "stop")
    return {"choices": [{"index": 0, "message": message, "finish_reason": end}]}


def well_behaved(body: Body) -> Body:
    """What a model that can do the small suite of these tests answers."""
    last = body["messages"][-1]
    if last["role"] == "tool":
        return completion(f"It is {last['content']}.")
    if "weather" in last["content"] and body.get("tools"):
        return completion("", ("get_weather", '{"city": "Oslo"}'))
    return completion("ok")


def response(content: str = "", *calls: tuple[str, str], status: str = "completed") -> Body:
    """The same answer on the Responses surface."""
    words = [{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": content}]}]
    made = [
        {"type": "function_call", "call_id": f"c{number}", "name": name, "arguments": arguments}
        for number, (name, arguments) in enumerate(calls)
    ]
    return {"object": "response", "status": status, "output": [*(words if content else []), *made]}


def chunks(content: str = "", *calls: tuple[str, str], reason: str | None = None) -> list[Body]:
    """A chat completion in pieces: words three letters at a time, arguments in two halves."""
    deltas: list[Body] = [{"role": "assistant", "content": None}]
    deltas += [{"content": content[at : at + 3]} for at in range(0, len(content), 3)]
    for index, (name, text) in enumerate(calls):
        half = len(text) // 2
        begun = {"index": index, "id": f"c{index}", "type": "function"}
        deltas.append({"tool_calls": [begun | {"function": {"name": name, "arguments": text[:half]}}]})
        deltas.append({"tool_calls": [{"index": index, "function": {"arguments": text[half:]}}]})
    end = reason or ("tool_calls" if calls else "stop")
    pieces = [{"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    last = {"choices": [{"index": 0, "delta": {}, "finish_reason": end}]}
    return [*pieces, last, {"choices": [], "usage": {"completion_tokens": 5}}]


def response_events(content: str = "", *calls: tuple[str, str]) -> list[Body]:
    """A response in pieces, the last of which says it whole."""
    words = [{"type": "response.output_text.delta", "delta": letter} for letter in content]
    said = [{"type": "response.function_call_arguments.delta", "delta": text} for _, text in calls]
    whole = {"type": "response.completed", "response": response(content, *calls)}
    return [{"type": "response.created", "response": {}}, *words, *said, whole]


def spoken(body: Body, content: str = "", *calls: tuple[str, str]) -> Any:
    """An answer in the form that was asked for: chat or Responses, streamed or whole."""
    if "input" in body:
        return sse(*response_events(content, *calls)) if body["stream"] else response(content, *calls)
    if body["stream"]:
        return sse(*chunks(content, *calls), b"[DONE]")
    return completion(content, *calls)


def able(body: Body) -> Any:
    """What a model that can do the small suite answers, on either surface and either way."""
    last = (body.get("input") or body["messages"])[-1]
    if last.get("role") == "tool" or last.get("type") == "function_call_output":
        return spoken(body, f"It is {last.get('content') or last['output']}.")
    words = last["content"] if isinstance(last["content"], str) else last["content"][0]["text"]
    if "weather" in words and body.get("tools"):
        return spoken(body, "", ("get_weather", '{"city": "Oslo"}'))
    return spoken(body, "ok")


@dataclass
class FaultyEngine:
    """What it answers can be exchanged while it runs; every question is kept."""

    answer: Callable[[Body], Body | Callable[[BaseHTTPRequestHandler], None]] = well_behaved
    props: Body | None = None
    models: Any = field(default_factory=lambda: {"data": [{"id": "tiny", "root": None}]})
    version: Body | None = None
    asked: list[Body] = field(default_factory=list)
    visited: list[str] = field(default_factory=list)
    url: str = ""
    counting: threading.Lock = field(default_factory=threading.Lock)
    closing: threading.Event = field(default_factory=threading.Event)
    close: Callable[[], None] = lambda: None

    @property
    def questions(self) -> list[Body]:
        """What the cases asked: everything but the readiness probe."""
        return [body for body in self.asked if body.get("max_tokens") != 4]


@contextmanager
def faulty_engine(**settings: Any) -> Iterator[FaultyEngine]:
    engine = FaultyEngine(**settings)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            engine.visited.append(self.path)
            known = {"/props": engine.props, "/v1/models": engine.models, "/version": engine.version}
            send(self, known.get(self.path), status=200 if known.get(self.path) is not None else 404)

        def do_POST(self) -> None:
            engine.visited.append(self.path)
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with engine.counting:
                engine.asked.append(body)
            given = engine.answer(body)
            if callable(given):
                given(self)
            else:
                send(self, given)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class calls it so
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # clients that cut the line are what these tests are about

    server = Server(("127.0.0.1", 0), Handler)
    engine.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()

    def close() -> None:
        engine.closing.set()
        server.shutdown()
        server.server_close()

    engine.close = close
    try:
        yield engine
    finally:
        if not engine.closing.is_set():
            close()
        thread.join()


def send(handler: BaseHTTPRequestHandler, body: Any, *, status: int = 200) -> None:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data)


def raw(*pieces: bytes) -> Callable[[BaseHTTPRequestHandler], None]:
    """Send exactly these bytes instead of a decent answer, and close the line."""

    def act(handler: BaseHTTPRequestHandler) -> None:
        for piece in pieces:
            handler.wfile.write(piece)
        handler.close_connection = True

    return act


def status(number: int, said: str = "no") -> Callable[[BaseHTTPRequestHandler], None]:
    return lambda handler: send(handler, {"error": said}, status=number)


def silence(engine: FaultyEngine) -> Callable[[BaseHTTPRequestHandler], None]:
    """Take the question and say nothing until the test is over."""

    def act(handler: BaseHTTPRequestHandler) -> None:
        engine.closing.wait(60)

    return act


def drip(engine: FaultyEngine) -> Callable[[BaseHTTPRequestHandler], None]:
    """A byte now and then, each one well within any timeout that counts per read."""

    def act(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while not engine.closing.wait(0.05):
            handler.wfile.write(b" ")

    return act


def flood(megabytes: int, *, announced: bool) -> Callable[[BaseHTTPRequestHandler], None]:
    """Far more than anybody asked for, with or without saying so first."""

    def act(handler: BaseHTTPRequestHandler) -> None:
        head = b"HTTP/1.1 200 OK\r\n"
        if announced:
            head += b"Content-Length: %d\r\n" % (megabytes << 20)
        handler.wfile.write(head + b"\r\n")
        for _ in range(megabytes):
            handler.wfile.write(b" " * (1 << 20))
        handler.close_connection = True

    return act


STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"


def sse(*events: Body | bytes) -> Callable[[BaseHTTPRequestHandler], None]:
    """Send events, each in a chunk of its own, and end the stream decently. Bytes go out as an event's data."""
    lines = [event if isinstance(event, bytes) else json.dumps(event).encode() for event in events]
    return chunked(*(b"data: " + line + b"\n\n" for line in lines))


def chunked(*pieces: bytes, ends: bool = True) -> Callable[[BaseHTTPRequestHandler], None]:
    """Send these bytes as an event stream, cut exactly here; without its end the line just breaks."""
    sent = [b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces]
    return raw(STREAM + b"Transfer-Encoding: chunked\r\n\r\n", *sent, *([b"0\r\n\r\n"] if ends else []))


def endless(
    engine: FaultyEngine, event: bytes, *, pause: float = 0.0
) -> Callable[[BaseHTTPRequestHandler], None]:
    """Send the same bytes until the client goes or the test is over."""

    def act(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(STREAM + b"\r\n")
        while not engine.closing.wait(pause):
            handler.wfile.write(event)

    return act
