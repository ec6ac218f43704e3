"""`/healthz` and `/readyz`: whether the process lives, and whether it can do its work.

Anybody may ask, so neither says where anything is, nor what is held.
"""

import os
import shutil
from collections.abc import Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from registry import store_schema
from registry.access import Right
from registry.errors import StoreUnusable
from tidegate.server.guard import needs, router
from tidegate.server.premises import Premises
from tidegate.server.problems import problem_json

doors = router(problem_json)
_SPACE = 64 << 20  # bytes; with less, nothing can be recorded much longer
_FRESH = {"Cache-Control": "no-store"}


@doors.get("/healthz")
@needs(Right.OPEN)
def alive() -> Response:
    """The process answers."""
    return JSONResponse({"status": "alive"}, headers=_FRESH)


@doors.get("/readyz")
@needs(Right.OPEN)
def ready(request: Request) -> Response:
    """What the doors need is there: 200 with every check, or 503. A full disk is said and does not make it unready."""
    premises: Premises = request.app.state.premises
    rounds = getattr(request.app.state, "rounds", None)  # none in an application without a process of its own
    checks = {name: check(premises) for name, check in _CHECKS.items()}
    checks["files"] = {
        "ok": not premises.watch.damaged(),
        "damaged": len(premises.watch.damaged()),
        "waiting": 0 if rounds is None else rounds.waiting,
    }
    is_ready = all(checks[name]["ok"] for name in _NEEDED)
    return JSONResponse(
        {"status": "ready" if is_ready else "not ready", "checks": checks},
        200 if is_ready else 503,
        headers=_FRESH,
    )


def _database(premises: Premises) -> Mapping[str, Any]:
    try:
        found = store_schema.shape(premises.store)
        with premises.store.view() as view:
            head = view.head()
    except StoreUnusable:
        return {"ok": False, "problem": "the database does not answer, or its disk is full"}
    wanted = store_schema.newest()
    if found != wanted:
        return {"ok": False, "problem": "the database has the shape of another release", "shape": found}
    return {"ok": True, "shape": found, "events": head.size if head else 0}


def _store(premises: Premises) -> Mapping[str, Any]:
    folder = premises.blobs.path("0" * 64).parent
    if not os.access(folder, os.R_OK | os.X_OK) or not folder.is_dir():
        return {"ok": False, "problem": "the blob store cannot be read"}
    return {"ok": True}


def _space(premises: Premises) -> Mapping[str, Any]:
    try:
        free = shutil.disk_usage(premises.home.path).free
    except OSError:
        return {"ok": False, "problem": "the home's disk does not answer"}
    return {"ok": free >= _SPACE, "free_bytes": free}


_CHECKS: Mapping[str, Callable[[Premises], Mapping[str, Any]]] = {
    "database": _database,
    "store": _store,
    "space": _space,
}
_NEEDED = ("database", "store")
