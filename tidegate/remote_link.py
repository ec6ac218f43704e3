"""The line to a server, on the standard library alone: one request, one answer, and nothing else goes out.

No proxy of the environment is used, no redirect is followed, TLS is verified, and a token goes in the clear to this
machine alone. A request that may change something carries a key of its own, so that it can be repeated when the line
breaks and is still done once.
"""

import http.client
import re
import secrets
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit

from signing.canonical import NotCanonical, canonical_bytes, parse
from signing.hidden import Hidden
from tidegate.afar_refusals import RequestAtWork, ServerAnswerStrange, ServerUnreachable
from tidegate.errors import FileUnreadable
from tidegate.settings import Afar
from tidegate.wiring import read_file

_CONNECT, _ANSWER = 15, 1800  # seconds: a command may read a whole model again
_MOST = 128 << 20  # bytes of an answer
_TOKEN = re.compile(rb"[\x21-\x7e]{1,500}")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_TRIES = 30


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    body: dict[str, Any]


class Line:
    """One server, for the length of one command."""

    def __init__(self, afar: Afar) -> None:
        self.url = afar.url.rstrip("/")
        self._where = _address(self.url)
        self._token = _token(afar)
        self._tls = _context(afar) if self._where.scheme == "https" else None
        if self._tls is None and self._token and self._where.hostname not in _LOOPBACK:
            raise ServerUnreachable(self.url, "a token is not sent in the clear; write https")

    def post(self, path: str, document: Mapping[str, Any]) -> Answer:
        """Send a document, and read the answer; when the line breaks, ask again with the same key.

        Raises:
            ServerUnreachable: there is no line, or it broke twice.
            ServerAnswerStrange: what answers is no Tidegate.
        """
        body, key = canonical_bytes(document), secrets.token_hex(16)
        try:
            return self._ask(path, body, key)
        except (
            http.client.RemoteDisconnected,
            http.client.IncompleteRead,
            ConnectionResetError,
            BrokenPipeError,
        ):
            time.sleep(1)
        except (OSError, http.client.HTTPException) as exc:
            raise ServerUnreachable(self.url, _said(exc)) from exc
        return self._again(path, body, key)

    def _again(self, path: str, body: bytes, key: str) -> Answer:
        """The first request may still be at work there."""
        try:
            answer = self._ask(path, body, key)
            for _ in range(_TRIES):
                if not _at_work(answer):
                    break
                time.sleep(1)
                answer = self._ask(path, body, key)
        except (OSError, http.client.HTTPException) as exc:
            raise ServerUnreachable(self.url, _said(exc)) from exc
        return answer

    def _ask(self, path: str, body: bytes, key: str) -> Answer:
        where = self._where
        line = (
            http.client.HTTPConnection(str(where.hostname), where.port, timeout=_CONNECT)
            if self._tls is None
            else http.client.HTTPSConnection(
                str(where.hostname), where.port, timeout=_CONNECT, context=self._tls
            )
        )
        headers = {"Content-Type": "application/json", "Accept": "application/json", "Idempotency-Key": key}
        if self._token:
            headers["Authorization"] = f"Bearer {bytes(self._token).decode()}"
        try:
            line.connect()
            line.sock.settimeout(_ANSWER)
            line.request("POST", where.path + path, body, headers)
            found = line.getresponse()
            data = found.read(_MOST + 1)
            return Answer(found.status, self._read(found.status, found.getheader("Content-Type", ""), data))
        finally:
            line.close()

    def _read(self, status: int, kind: str, data: bytes) -> dict[str, Any]:
        if kind.partition(";")[0].strip() not in ("application/json", "application/problem+json"):
            raise ServerAnswerStrange(
                self.url, f"answered {status} with {kind[:80] or 'nothing'!r}, not as Tidegate does"
            )
        try:
            found = parse(data, max_bytes=_MOST, at="answer")
        except NotCanonical as exc:
            raise ServerAnswerStrange(self.url, str(exc)) from exc
        if not isinstance(found, dict):
            raise ServerAnswerStrange(self.url, "answered with something else than an object")
        return found


def _at_work(answer: Answer) -> bool:
    return answer.body.get("exit_code") == RequestAtWork.exit_code and "at work" in str(
        answer.body.get("detail")
    )


def _address(url: str) -> SplitResult:
    wrong = ServerUnreachable(url, "write https://name or https://name:port, without a user or a token in it")
    try:
        parts = urlsplit(url)
        port = parts.port
        (parts.hostname or "").encode("idna")
    except ValueError:  # a UnicodeError is one: a name that no DNS can hold
        raise wrong from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0 or "@" in parts.netloc:
        raise wrong
    if parts.query or parts.fragment or not url.isascii() or not url.isprintable():
        raise wrong
    return parts


def _token(afar: Afar) -> Hidden | None:
    if afar.token_file is None:
        token = None if afar.token is None else Hidden(afar.token.strip())
        place = "TIDEGATE_TOKEN"
    else:
        token = Hidden(read_file(afar.token_file, max_bytes=4096).split(b"\n", 1)[0].strip())
        place = str(afar.token_file)
    if token is not None and not _TOKEN.fullmatch(token):
        raise FileUnreadable(place, "holds no token in its first line")
    return token


def _context(afar: Afar) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=afar.ca_file)
    except (OSError, ssl.SSLError) as exc:
        raise FileUnreadable(str(afar.ca_file), f"holds no certificates in PEM ({_said(exc)})") from exc


def _said(exc: Exception) -> str:
    if isinstance(exc, ssl.SSLCertVerificationError):
        return f"its certificate is not good: {exc.verify_message}"
    if isinstance(exc, TimeoutError):
        return "it does not answer in time"
    return getattr(exc, "strerror", None) or str(exc) or type(exc).__name__
