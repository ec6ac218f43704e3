"""Connections: uvicorn's protocol with a bound on what a stranger may send, and for how long, before asking anything.

uvicorn bounds neither the bytes of a request's head nor the time it takes, so one client could fill the memory, or
a few hundred take every descriptor, without having said who they are.
"""

import asyncio
from asyncio import TimerHandle
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD = 64 << 10  # bytes of one request line and its headers
_HEAD_SECONDS = 30.0  # from the connection, or the first byte after an answer, to the end of the head


class Wire(HttpToolsProtocol):
    """One client's connection."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head: int | None = 0  # bytes of the head so far; None while a body is read
        self._deadline: TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._deadline = self.loop.call_later(_HEAD_SECONDS, self.transport.close)

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
        super().data_received(data)

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        if self._deadline is None:
            self._deadline = self.loop.call_later(_HEAD_SECONDS, self.transport.close)
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """What follows is the body: the endpoint's matter."""
        self._head = None
        self._wait_no_longer()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """What follows is another head."""
        self._head = 0
        super().on_message_complete()

    def _wait_no_longer(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
