"""Puts the doors together: one application, its routers in order."""

import importlib
from typing import Any

from fastapi import FastAPI

from tidegate.server.premises import Premises

# Module and attribute of each door's router. The order counts: the Hub's last route takes almost any path.
DOORS: tuple[tuple[str, str], ...] = (
    ("tidegate.server.health", "doors"),
    ("tidegate.server.pages.static", "static"),
    ("tidegate.server.pages.waiting", "doors"),
)


def build(premises: Premises) -> FastAPI:
    """The application over one home. What it answers to is listed by `DOORS`."""
    app = FastAPI(title="Tidegate", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.premises = premises
    for module, attribute in DOORS:
        found: Any = getattr(importlib.import_module(module), attribute)
        app.include_router(found)
    return app
