"""Which way a request came: over TCP from anybody, or over the unix socket from the proxy on this machine.

Only the proxy can open the socket, so what it says of its client is believed there and nowhere else.
"""

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

_MARK = "tidegate.socket"  # in the scope: set by this process, out of reach of any header


class OverSocket:
    """The application as the proxy sees it: the client's address and scheme are what the proxy says they are."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http":
            said = dict(scope["headers"])
            address = said.get(b"x-real-ip", b"").decode("latin-1")
            secure = said.get(b"x-forwarded-proto") == b"https"
            scope = {**scope, _MARK: True, "client": (address, 0) if address else None}
            scope["scheme"] = "https" if secure else "http"
        await self._app(scope, receive, send)


def came_over_socket(request: HTTPConnection) -> bool:
    """Whether the proxy brought this request: its identity headers and `X-Accel-Redirect` are for such ones only."""
    return bool(request.scope.get(_MARK))
