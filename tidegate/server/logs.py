"""One JSON line for each request, and the id that ties an answer, a log line and a trace together.

A line says who asked for what and how it ended; never a header, a body or a query, where tokens stand. A bug is
logged with its traceback and answered with its id alone.
"""

import json
import re
import secrets
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final, TextIO

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tidegate.server.guard import Desk
from tidegate.server.metrics import Metrics
from tidegate.server.traces import Traces

HEADER: Final = b"x-request-id"
_ID = re.compile(rb"[A-Za-z0-9._-]{8,64}")
_PATH = 300  # characters of a path in a line
# What a browser shows when one of our pages broke: plain, because what makes pages may be what broke.
_BUG_PAGE = b"""<!doctype html><html lang="en"><meta charset="utf-8"><title>A fault in Tidegate</title>
<link rel="stylesheet" href="/static/site.css"><div class="bare"><main><h1>A fault in Tidegate</h1>
<p>What you asked for was not answered. Load the page that you came from, and look whether it was done.</p>
<p>Tell whoever runs this server that its log has it under <code>ID</code>.</p>
<p><a class="button" href="/">What waits</a></p></main></div></html>
"""


class Lines:
    """Writes JSON lines with a UTC moment. No logging library: one of those costs every start 6 MiB and 0.2 s."""

    def __init__(self, stream: TextIO, clock: Callable[[], datetime]) -> None:
        self._stream, self._clock = stream, clock

    def info(self, event: str, **facts: object) -> None:
        """Something that happens every day."""
        self._write("info", event, facts)

    def error(self, event: str, **facts: object) -> None:
        """Something that somebody should look at."""
        self._write("error", event, facts)

    def _write(self, level: str, event: str, facts: Mapping[str, object]) -> None:
        at = self._clock().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        text = json.dumps({**facts, "at": at, "event": event, "level": level}, sort_keys=True)
        self._stream.write(text + "\n")  # one call for one line, whichever thread it comes from
        self._stream.flush()


def logger(clock: Callable[[], datetime], stream: TextIO | None = None) -> Lines:
    """A logger that writes JSON lines, to stderr unless told otherwise."""
    return Lines(stream or sys.stderr, clock)


class RequestLog:
    """Wraps the application: gives each request its id, counts it, times it, and says how it ended."""

    def __init__(self, app: ASGIApp, *, log: Lines, metrics: Metrics, traces: Traces) -> None:
        self._app, self._log, self._metrics, self._traces = app, log, metrics, traces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        seen = _Seen(scope)
        with self._traces.request(scope, seen.id) as span:
            try:
                await self._app(scope, receive, seen.sending(send))
            except Exception:  # a bug of ours: logged whole, answered with the id alone
                self._log.error(
                    "bug", id=seen.id, path=scope["path"][:_PATH], traceback=traceback.format_exc()
                )
                await seen.answer_bug(send)
                raise
            finally:
                line = seen.line()
                self._metrics.request(line)
                span.ended(line)
                if line["route"] not in (
                    "/healthz",
                    "/readyz",
                    "/metrics",
                ):  # asked every few seconds, by machines
                    self._log.info("request", **line)


class _Seen:
    """What is known of one request as it goes on."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._began = time.perf_counter()
        self._status, self._bytes, self._whole = 0, 0, False
        given = dict(scope["headers"]).get(HEADER, b"")
        self.id = given.decode() if _ID.fullmatch(given) else secrets.token_hex(8)
        scope.setdefault("state", {})["request_id"] = self.id

    def sending(self, send: Send) -> Send:
        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._status = message["status"]
                message = {**message, "headers": [*message["headers"], (HEADER, self.id.encode())]}
            elif message["type"] == "http.response.body":
                self._bytes += len(message.get("body", b""))
                self._whole = not message.get("more_body", False)
            await send(message)

        return counted

    async def answer_bug(self, send: Send) -> None:
        """Say that something broke here, and under which id it stands in the log. Too late once an answer began."""
        if self._status:
            return
        body = json.dumps(
            {
                "type": "about:blank",
                "title": "Internal Server Error",
                "status": 500,
                "detail": f"this is a fault in Tidegate; the server's log has it under {self.id}",
                "request_id": self.id,
            }
        ).encode()
        kind = b"application/problem+json"
        if b"text/html" in dict(self._scope["headers"]).get(b"accept", b""):
            body, kind = _BUG_PAGE.replace(b"ID", self.id.encode()), b"text/html; charset=utf-8"
        headers = [
            (b"content-type", kind),
            (b"content-length", str(len(body)).encode()),
            (b"content-security-policy", b"default-src 'none'; style-src 'self'"),
        ]
        counted = self.sending(send)
        await counted({"type": "http.response.start", "status": 500, "headers": headers})
        await counted({"type": "http.response.body", "body": body})

    def line(self) -> dict[str, Any]:
        """The request in one line. `cut` says that the caller went away, or that we broke the answer off."""
        desk = self._scope.get("state", {}).get("desk")
        client = self._scope.get("client")
        return {
            "id": self.id,
            "method": self._scope["method"],
            "path": self._scope["path"][:_PATH],
            "route": getattr(self._scope.get("route"), "path", "none"),
            "status": self._status,
            "bytes": self._bytes,
            "milliseconds": round((time.perf_counter() - self._began) * 1000, 1),
            "who": desk.principal.name if isinstance(desk, Desk) else None,
            "how": desk.principal.how if isinstance(desk, Desk) else None,
            "from": client[0] if client else "socket",
            "cut": not self._whole,
        }
