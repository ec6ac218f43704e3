"""`/healthz` and `/readyz`: whether the process lives, and whether it can do its work."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from registry.access import Right
from tidegate.server.guard import needs, router
from tidegate.server.problems import problem_json

doors = router(problem_json)


@doors.get("/healthz")
@needs(Right.OPEN)
def alive() -> Response:
    """The process answers."""
    return JSONResponse({"status": "alive"})


@doors.get("/readyz")
@needs(Right.OPEN)
def ready(request: Request) -> Response:
    """The database answers."""
    with request.app.state.premises.store.view() as view:
        head = view.head()
    return JSONResponse({"status": "ready", "log": head.size if head else 0})
