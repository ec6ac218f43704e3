"""Opens most doors when somebody first knocks at one: a process that only hands files out never needs them.

With every door open a process starts in twice the time and holds half as much memory again; a site whose engines
pull through the Hub's protocol may never be asked for a page. The first request that no open door answers opens
all the others, once; it waits a second or two for that.
"""

import threading

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.routing import Match
from starlette.types import Receive, Scope, Send

from tidegate.server.app import open_all


class LateDoors:
    """The application, its doors opened as they are needed."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app
        self._lock = threading.Lock()
        self._all = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if not self._all and scope["type"] == "http" and not self._answered(scope):
            await run_in_threadpool(self._open)
        await self._app(scope, receive, send)

    def _answered(self, scope: Scope) -> bool:
        return any(route.matches(scope)[0] == Match.FULL for route in self._app.router.routes)

    def _open(self) -> None:
        with self._lock:  # who knocks meanwhile waits for all of them
            if not self._all:
                open_all(self._app)
                self._all = True
