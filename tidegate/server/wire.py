"""Connections: uvicorn's protocol with a bound on what a stranger may send, and for how long.

uvicorn bounds neither the bytes of a request's head nor the time it takes, nor what stands around its body (the sizes
of its pieces, headers behind it), so one client could fill the memory, or a few hundred take every descriptor, without
having said who they are. How long a body may be is the endpoint's matter; how long it may take is bounded here.
"""

import asyncio
from asyncio import TimerHandle
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD = 64 << 10  # bytes of one request line and its headers
_HEAD_SECONDS = 30.0  # from the connection, or the first byte after an answer, to the end of the head
_BODY_SECONDS = 120.0  # to the body's end; 16 MiB take that long over a line of 1 Mbit/s
_SPARED = 1 << 20  # bytes of a body that stand for as many around what follows


class Wire(HttpToolsProtocol):
    """One client's connection."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head: int | None = 0  # bytes of the head so far; None while a body is read
        self._around = 0  # bytes that came for the body and are none of it, less those of it
        self._deadline: TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._wait(_HEAD_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        self._wait_no_longer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what is no body yet, and read the rest only if it is not too much."""
        if self._head is not None:
            self._head += len(data)
            if self._head > MAX_HEAD + len(data):
                self._unset_keepalive_if_required()
                self.send_400_response("The request's headers are too long.")
                return
        else:
            self._around += len(data)
            if self._around > MAX_HEAD + len(data):
                self.transport.close()
                return
        super().data_received(data)

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        if self._deadline is None:
            self._wait(_HEAD_SECONDS)
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header; what comes behind a body is none of the request's, whose headers were believed already."""
        if self._head is not None:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """What follows is the body: the endpoint's matter."""
        self._head, self._around = None, 0
        self._wait(_BODY_SECONDS)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._around = max(-_SPARED, self._around - 2 * len(body))
        super().on_body(body)

    def on_message_complete(self) -> None:
        """What follows is another head."""
        self._head = 0
        self._wait_no_longer()
        super().on_message_complete()

    def _wait(self, seconds: float) -> None:
        self._wait_no_longer()
        self._deadline = self.loop.call_later(seconds, self.transport.close)

    def _wait_no_longer(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
