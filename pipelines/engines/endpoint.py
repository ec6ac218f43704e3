"""One engine's address, and bounded HTTP to exactly that address.

An engine is asked, never trusted: no redirect is followed, no proxy or environment is looked at, an answer
has a largest size and a last moment, whatever the other side does (a byte a minute, a terabyte, silence).
Sources: RFC 3986 section 3.2; RFC 9110.
"""

import contextlib
import http.client
import ipaddress
import json
import socket
import ssl
import threading
import time
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import urlsplit

from pipelines.errors import JudgingRefused

MAX_URL = 2048  # characters
MAX_ANSWER = 4 << 20  # bytes; a long completion is some hundred kilobytes


class EndpointUnusable(JudgingRefused):
    """An address that is no endpoint."""

    exit_code: ClassVar[int] = 36
    next_step: ClassVar[str] = (
        "Give the engine's address as http://HOST:PORT, with no user name, password, query or fragment in it."
    )

    def __init__(self, shown: str, problem: str) -> None:
        super().__init__(f"endpoint {shown}: {problem}")
        self.shown, self.problem = shown, problem


class EngineTrouble(JudgingRefused):
    """The engine gave no answer that could be judged. Says nothing about the model."""

    kind: ClassVar[str]  # how the results of a run call it


class EngineUnreachable(EngineTrouble):
    """Nothing answers at the endpoint, or not as an engine does."""

    exit_code: ClassVar[int] = 37
    next_step: ClassVar[str] = (
        "Start the engine, or look at its log for why it stopped; check host and port; then run this again."
    )
    kind: ClassVar[str] = "unreachable"

    def __init__(self, where: str, problem: str) -> None:
        super().__init__(f"{where}: {problem}")
        self.where, self.problem = where, problem


class EngineTooSlow(EngineTrouble):
    """No complete answer within the time allowed."""

    exit_code: ClassVar[int] = 38
    next_step: ClassVar[str] = (
        "See whether the engine is paused, still loading or overloaded. A health page that says ok proves nothing."
    )
    kind: ClassVar[str] = "too-slow"

    def __init__(self, where: str, seconds: float) -> None:
        super().__init__(f"{where}: no whole answer within {seconds:g} s")
        self.where, self.seconds = where, seconds


class AnswerUnusable(EngineTrouble):
    """An answer that cannot be read within the limits."""

    exit_code: ClassVar[int] = 39
    next_step: ClassVar[str] = (
        "Check that the address is an OpenAI-compatible engine and that its release is one you know."
    )
    kind: ClassVar[str] = "unusable-answer"

    def __init__(self, where: str, problem: str) -> None:
        super().__init__(f"{where}: {problem}")
        self.where, self.problem = where, problem


@dataclass(frozen=True)
class Answer:
    """What came back: HTTP status, at most `max_bytes` of body, milliseconds from first to last byte."""

    status: int
    body: bytes
    milliseconds: int


@dataclass(frozen=True)
class Endpoint:
    """Where an engine listens. `prefix` is the path before `/v1`, mostly empty."""

    scheme: str
    host: str
    port: int
    prefix: str = ""

    @classmethod
    def parse(cls, url: str) -> "Endpoint":
        """Read `http://HOST:PORT[/PREFIX][/v1]`. Raises `EndpointUnusable`, never showing a password."""
        if len(url) > MAX_URL or not url.isascii() or any(ord(c) <= 32 or ord(c) == 127 for c in url):
            raise EndpointUnusable("(not shown)", "has spaces, control or other characters no address has")
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError as exc:
            raise EndpointUnusable("(not shown)", f"is not a URL ({exc})") from exc
        if "@" in parts.netloc:
            raise EndpointUnusable("(not shown)", "holds credentials; they would end in reports and logs")
        if parts.scheme not in ("http", "https"):
            raise EndpointUnusable(url, "only http and https are spoken")
        if not host or port == 0:
            raise EndpointUnusable(url, "names no host or no port")
        if parts.query or parts.fragment or "%" in parts.path or "\\" in url:
            raise EndpointUnusable(url, "has a query, a fragment or an escape in it")
        prefix = parts.path.rstrip("/").removesuffix("/v1").rstrip("/")
        return cls(parts.scheme, host, port or (443 if parts.scheme == "https" else 80), prefix)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.prefix}"

    @property
    def is_local(self) -> bool:
        """Whether the host is this machine by its name alone: `localhost` or a loopback address."""
        if self.host == "localhost":
            return True
        with contextlib.suppress(ValueError):
            address = ipaddress.ip_address(self.host)
            mapped = getattr(address, "ipv4_mapped", None)
            return bool((mapped or address).is_loopback)
        return False

    def get(self, path: str, *, seconds: float, max_bytes: int = MAX_ANSWER) -> Answer:
        """Ask for `prefix + path`. Raises as `post` does."""
        return self._ask("GET", path, None, seconds=seconds, max_bytes=max_bytes)

    def post(self, path: str, body: bytes, *, seconds: float, max_bytes: int = MAX_ANSWER) -> Answer:
        """Send JSON bytes to `prefix + path` and return the whole answer.

        Args:
            seconds: from the first packet to the last byte, not per read.

        Raises:
            EngineUnreachable: no connection, or it broke before the answer was whole.
            EngineTooSlow: the answer was not whole in time.
            AnswerUnusable: more than `max_bytes`, or not HTTP.
        """
        return self._ask("POST", path, body, seconds=seconds, max_bytes=max_bytes)

    def _ask(self, method: str, path: str, body: bytes | None, *, seconds: float, max_bytes: int) -> Answer:
        where = f"{self}{path}"
        started = time.monotonic()
        try:
            link = self._connect(seconds)
        except TimeoutError as exc:
            raise EngineTooSlow(where, seconds) from exc
        except (OSError, UnicodeError) as exc:
            raise EngineUnreachable(
                where, f"no connection ({getattr(exc, 'strerror', None) or exc})"
            ) from exc
        late = threading.Event()
        # A socket's own timeout counts from each byte; this one cuts the line at the last moment.
        cutter = threading.Timer(max(0.0, started + seconds - time.monotonic()), _cut, (link.sock, late))
        cutter.daemon = True
        cutter.start()
        try:
            status, data = _exchange(link, method, self.prefix + path, body, max_bytes=max_bytes)
        except (OSError, http.client.HTTPException, ValueError) as exc:
            if late.is_set() or isinstance(exc, TimeoutError):
                raise EngineTooSlow(where, seconds) from exc
            if isinstance(
                exc, _Misfit | http.client.LineTooLong | http.client.BadStatusLine
            ) and not isinstance(exc, http.client.RemoteDisconnected):
                raise AnswerUnusable(where, str(exc) or "not HTTP") from exc
            raise EngineUnreachable(
                where, f"the connection broke ({str(exc) or type(exc).__name__})"
            ) from exc
        finally:
            cutter.cancel()
            link.close()
        return Answer(status, data, round((time.monotonic() - started) * 1000))

    def _connect(self, seconds: float) -> http.client.HTTPConnection:
        link: http.client.HTTPConnection
        if self.scheme == "https":
            link = http.client.HTTPSConnection(
                self.host, self.port, timeout=seconds, context=ssl.create_default_context()
            )
        else:
            link = http.client.HTTPConnection(self.host, self.port, timeout=seconds)
        link.connect()
        return link


class _Misfit(ValueError):
    """An answer that was read and cannot be used."""


def _cut(line: socket.socket, late: threading.Event) -> None:
    late.set()
    with contextlib.suppress(OSError):
        line.shutdown(socket.SHUT_RDWR)


def _exchange(
    link: http.client.HTTPConnection, method: str, path: str, body: bytes | None, *, max_bytes: int
) -> tuple[int, bytes]:
    headers = {"Accept": "application/json", "Accept-Encoding": "identity", "Connection": "close"}
    if body is not None:
        headers["Content-Type"] = "application/json"
    link.request(method, path, body, headers)
    with link.getresponse() as response:
        if response.length is not None and response.length > max_bytes:
            raise _Misfit(f"an answer of {response.length:,} bytes; at most {max_bytes:,} are read")
        data = response.read(max_bytes + 1)
        if len(data) > max_bytes:
            raise _Misfit(f"an answer of more than {max_bytes:,} bytes; no more are read")
        if response.length:  # http.client does not count for us when an amount is given
            raise http.client.IncompleteRead(data, response.length)
        return response.status, data


def json_body(value: Any) -> bytes:
    """Return the bytes of a request. Not canonical: schemas may hold fractions and any keys."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
