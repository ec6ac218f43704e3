"""`/api/v1/openapi.json`: the API described, from the routes that answer. Public: it holds nothing of any home."""

from functools import cache
from importlib.metadata import version
from typing import Any

from fastapi.openapi.utils import get_openapi
from starlette.responses import JSONResponse, Response

from registry.access import Right
from tidegate.server.api import operations, resources, schema
from tidegate.server.guard import needs, router
from tidegate.server.problems import problem_json

_ABOUT = """\
Resources to read, operations to act. An operation is a command of the command line: the same parameters, the same words, the
same refusals with the same codes. Lists come a page at a time; follow `next`. A refusal is a problem document (RFC 9457)
with the command line's exit code and what to do next. Show a token: `Authorization: Bearer tdg_…`.
"""

doors = router(problem_json, prefix="/api/v1", include_in_schema=False)


@cache
def description() -> dict[str, Any]:
    """The OpenAPI document."""
    found = get_openapi(
        title="Tidegate",
        version=version("tidegate"),
        description=_ABOUT,
        routes=[*resources.doors.routes, *operations.doors.routes],
        tags=[
            {"name": "resources", "description": "The registry's state, to read."},
            {"name": "operations", "description": "Commands, to act."},
        ],
    )
    found["components"] = {
        "schemas": schema.COMPONENTS,
        "securitySchemes": {
            "token": {
                "type": "http",
                "scheme": "bearer",
                "description": "`tidegate tokens create` makes one.",
            }
        },
    }
    found["security"] = [{"token": []}]
    return found


@doors.get("/openapi.json")
@needs(Right.OPEN)
def openapi() -> Response:
    """The description itself."""
    return JSONResponse(description())
