"""Puts the doors together: one application, its routers in order."""

import importlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI

from tidegate.server.log_watch import LogWatch
from tidegate.server.logs import RequestLog, logger
from tidegate.server.lost import lost
from tidegate.server.metrics import Metrics
from tidegate.server.premises import Premises
from tidegate.server.traces import traces_for

# Module and attribute of each door's router. The order counts: the Hub's last route takes almost any path.
DOORS: tuple[tuple[str, str], ...] = (
    ("tidegate.server.health", "doors"),
    ("tidegate.server.mlflow.door", "doors"),
    ("tidegate.server.hub.door", "api"),
    ("tidegate.server.oci.door", "doors"),
    ("tidegate.server.api.resources", "doors"),
    ("tidegate.server.api.operations", "doors"),
    ("tidegate.server.api.openapi", "doors"),
    ("tidegate.server.metrics", "doors"),
    ("tidegate.server.pages.static", "static"),
    ("tidegate.server.accounts.signing_in", "doors"),
    ("tidegate.server.accounts.own", "doors"),
    ("tidegate.server.accounts.everybody", "doors"),
    ("tidegate.server.accounts.oidc_door", "doors"),
    ("tidegate.server.accounts.passkey_door", "doors"),
    ("tidegate.server.accounts.passkey_door", "answers"),
    ("tidegate.server.pages.waiting", "doors"),
    ("tidegate.server.pages.models", "doors"),
    ("tidegate.server.pages.versions", "doors"),
    ("tidegate.server.pages.beside", "doors"),
    ("tidegate.server.pages.gate", "doors"),
    ("tidegate.server.pages.approvals", "doors"),
    ("tidegate.server.pages.tiers", "doors"),
    ("tidegate.server.pages.audit.home", "doors"),
    ("tidegate.server.pages.audit.search", "doors"),
    ("tidegate.server.pages.audit.lives", "doors"),
    ("tidegate.server.pages.audit.log", "doors"),
    ("tidegate.server.pages.audit.pins", "doors"),
    ("tidegate.server.pages.audit.people", "doors"),
    ("tidegate.server.pages.audit.transfers", "doors"),
    ("tidegate.server.pages.audit.policies", "doors"),
    ("tidegate.server.pages.audit.standing", "doors"),
    ("tidegate.server.pages.audit.exports", "doors"),
    ("tidegate.server.hub.door", "files"),
)


# What a process that only hands files out ever needs; the others may wait (`tidegate.server.late`).
EARLY: tuple[tuple[str, str], ...] = (
    ("tidegate.server.health", "doors"),
    ("tidegate.server.hub.door", "api"),
    ("tidegate.server.hub.door", "files"),
)


def build(premises: Premises, *, background: bool = False, late: bool = False) -> FastAPI:
    """The application over one home. What it answers to is listed by `DOORS`.

    Args:
        background: also do what goes on beside requests, from start-up to shutdown: the log is verified now and then.
        late: open only the doors of `EARLY`; `open_all` opens the others.
    """
    watch = LogWatch(premises.home.path, premises.clock)
    traces = traces_for(premises.settings.otlp, service=premises.home.name)

    @asynccontextmanager
    async def life(_app: FastAPI) -> AsyncIterator[None]:
        if background:
            watch.start()
        try:
            yield
        finally:
            watch.close()
            traces.close()

    app = FastAPI(title="Tidegate", docs_url=None, redoc_url=None, openapi_url=None, lifespan=life)
    app.state.premises, app.state.log_watch = premises, watch
    app.state.metrics = Metrics(premises, watch)
    for status in (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED):
        app.add_exception_handler(status, lost)
    if late:
        _include(app, EARLY)
    else:
        open_all(app)
    app.add_middleware(RequestLog, log=logger(premises.clock), metrics=app.state.metrics, traces=traces)
    return app


def open_all(app: FastAPI) -> None:
    """Open every door, in place of those that are open, in the order of `DOORS`."""
    whole = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    _include(whole, DOORS)
    app.router.routes[:] = whole.router.routes  # at once: others are being answered meanwhile


def _include(app: FastAPI, doors: tuple[tuple[str, str], ...]) -> None:
    for module, attribute in doors:
        found: Any = getattr(importlib.import_module(module), attribute)
        app.include_router(found)
