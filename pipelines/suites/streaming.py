"""A streamed answer: server-sent events read from one endpoint, within bounds of time and size.

The engine decides how the bytes come: letters cut in two, a line that never ends, events for ever, an end that
never comes, an end too early. Each of these is told apart, because each is another finding about the engine.
Source: WHATWG HTML, "Server-sent events" (event streams end a line with LF or CRLF; a lone CR ends none here).
"""

import contextlib
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from pipelines.engines.endpoint import AnswerUnusable, Endpoint, EngineTooSlow, EngineUnreachable
from signing.canonical import NotCanonical, parse

MAX_STREAM = 64 << 20  # bytes: some hundred for every token
MAX_LINE = 4 << 20  # bytes: the last event of the Responses surface repeats the whole answer
MAX_EVENTS = 200_000
PIECE = 64 << 10  # bytes read at once
MAX_SAID = 4096  # bytes of an error page


@dataclass(frozen=True)
class Event:
    """One server-sent event. `name` is empty where the engine gave none."""

    name: str
    data: bytes


class Events:
    """Cuts bytes into events, however they were cut on their way."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._rest = b""
        self._name = ""
        self._data: list[bytes] = []
        self._size = 0  # bytes of this event so far

    def feed(self, piece: bytes) -> Iterator[Event]:
        """Yield the events that are whole now. Raises `AnswerUnusable` for one that is too long."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            if found := self._line(line.removesuffix(b"\r")):
                yield found
        if len(self._rest) + self._size > MAX_LINE:
            raise AnswerUnusable(self._where, f"an event of more than {MAX_LINE:,} bytes")

    def _line(self, line: bytes) -> Event | None:
        if not line:
            found = Event(self._name, b"\n".join(self._data)) if self._data else None
            self._name, self._data, self._size = "", [], 0
            return found
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"event":
            self._name = value[:80].decode("utf-8", "replace")
        elif field == b"data":
            self._data.append(value)
            self._size += len(value) + 1
        elif field not in (b"", b"id", b"retry"):
            raise AnswerUnusable(self._where, f"a line that no event stream has: {line[:60]!r}")
        return None


def event_object(event: Event, *, where: str) -> dict[str, Any]:
    """Return the JSON object that an event carries. Raises `AnswerUnusable`, also for one that tells of an error."""
    try:
        value = parse(event.data, max_bytes=MAX_LINE, at="event")
    except NotCanonical as exc:
        raise AnswerUnusable(where, f"{exc}: {event.data[:60]!r}") from exc
    if not isinstance(value, dict):
        raise AnswerUnusable(where, f"an event that is no object: {event.data[:60]!r}")
    if value.get("error"):
        raise AnswerUnusable(where, f"the stream tells of an error: {str(value['error'])[:120]}")
    return value


@dataclass(frozen=True)
class Listener:
    """Who takes the events. `take` returns whether the last one has come; `ended`, whether the answer is over."""

    take: Callable[[Event, int], bool]  # event, milliseconds since the question
    ended: Callable[[], bool]


def listen(endpoint: Endpoint, path: str, body: bytes, listener: Listener, *, seconds: float) -> int:
    """Send JSON bytes, hand each event on as it comes, and return milliseconds from the question to the last event.

    Args:
        seconds: from the first packet to the last event, not per read.

    Raises:
        EngineUnreachable: no connection, or it broke before the answer was over.
        EngineTooSlow: the last event did not come in time.
        AnswerUnusable: not an event stream, too much of it, or an end without its last event.
    """
    where = f"{endpoint}{path}"
    started = time.monotonic()
    link = _link(endpoint, seconds)
    late = threading.Event()
    cutter: threading.Timer | None = None
    try:
        link.connect()
        left = max(0.0, started + seconds - time.monotonic())
        cutter = threading.Timer(left, _cut, (link.sock, late))
        cutter.daemon = True
        cutter.start()
        _exchange(link, endpoint.prefix + path, body, listener, started=started, where=where, late=late)
    except (http.client.LineTooLong, http.client.BadStatusLine) as exc:
        if isinstance(exc, http.client.RemoteDisconnected) and not late.is_set():
            raise EngineUnreachable(where, "the connection broke (no answer)") from exc
        raise _trouble(late, where, seconds, AnswerUnusable(where, "not HTTP")) from exc
    except (OSError, http.client.HTTPException, ValueError) as exc:
        if isinstance(exc, TimeoutError):
            late.set()
        said = getattr(exc, "strerror", None) or str(exc) or type(exc).__name__
        raise _trouble(
            late, where, seconds, EngineUnreachable(where, f"the connection broke ({said})")
        ) from exc
    finally:
        if cutter is not None:
            cutter.cancel()
        link.close()
    return round((time.monotonic() - started) * 1000)


def _trouble(
    late: threading.Event, where: str, seconds: float, otherwise: EngineUnreachable | AnswerUnusable
) -> EngineTooSlow | EngineUnreachable | AnswerUnusable:
    """A line that we cut ourselves looks like one that broke."""
    return EngineTooSlow(where, seconds) if late.is_set() else otherwise


def _link(endpoint: Endpoint, seconds: float) -> http.client.HTTPConnection:
    if endpoint.scheme == "https":
        context = ssl.create_default_context()
        return http.client.HTTPSConnection(endpoint.host, endpoint.port, timeout=seconds, context=context)
    return http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=seconds)


def _cut(line: socket.socket, late: threading.Event) -> None:
    late.set()
    with contextlib.suppress(OSError):
        line.shutdown(socket.SHUT_RDWR)


def _exchange(
    link: http.client.HTTPConnection,
    path: str,
    body: bytes,
    listener: Listener,
    *,
    started: float,
    where: str,
    late: threading.Event,
) -> None:
    headers = {"Accept": "text/event-stream", "Accept-Encoding": "identity", "Connection": "close"}
    link.request("POST", path, body, headers | {"Content-Type": "application/json"})
    with link.getresponse() as response:
        if response.status != 200:
            said = response.read(MAX_SAID)[:120].decode("utf-8", "replace")
            raise AnswerUnusable(where, f"HTTP status {response.status}: {said!r}")
        kind = response.headers.get_content_type()
        if kind != "text/event-stream":
            raise AnswerUnusable(where, f"asked for a stream, answered with {kind}")
        for event in _events(response, where):
            if late.is_set():
                raise TimeoutError
            if listener.take(event, round((time.monotonic() - started) * 1000)):
                return
        if late.is_set() or response.length or not (listener.ended() or response.chunked):
            raise ConnectionResetError(None, "it ended within the answer")
    raise AnswerUnusable(where, "the stream ended without its last event")


def _events(response: http.client.HTTPResponse, where: str) -> Iterator[Event]:
    cut, size, count = Events(where), 0, 0
    while piece := response.read1(PIECE):
        size += len(piece)
        if size > MAX_STREAM:
            raise AnswerUnusable(where, f"a stream of more than {MAX_STREAM:,} bytes; no more are read")
        for event in cut.feed(piece):
            count += 1
            if count > MAX_EVENTS:
                raise AnswerUnusable(where, f"a stream of more than {MAX_EVENTS:,} events; no more are read")
            yield event
