"""An address that no door answers, or not so: a page for who looks with a browser, a problem document for programs.

Apart from the guard, because no endpoint was found: nothing is looked up for it and nobody is identified.
"""

import json
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from registry.errors import NotFound
from signing.errors import OperatorError
from tidegate.errors import RequestUnreadable
from tidegate.server.problems import document

_PATH, _METHOD = 200, 20  # characters of what was asked for that an answer repeats


async def lost(request: Request, exc: Exception) -> Response:
    """Answer in words: what is not here, and what to do next."""
    assert isinstance(exc, HTTPException), "registered for nothing else"
    path = request.url.path[:_PATH]
    if wants_page(request):  # who has its address in a bookmark finds no page there, whatever else it takes
        from tidegate.server.pages import (
            look,
        )  # with its templates: a process that hands files out never needs them

        return look.refused(request, NotFound("page", path))
    refusal: OperatorError = NotFound("address", path)
    if exc.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        refusal = RequestUnreadable(f"{path} does not take {request.method[:_METHOD]}")
    body = json.dumps(document(refusal, exc.status_code, instance=path), ensure_ascii=False)
    return Response(body, exc.status_code, exc.headers, "application/problem+json")


def wants_page(request: Request) -> bool:
    """Whether a browser asks, for something to look at."""
    return request.method in ("GET", "HEAD") and "text/html" in request.headers.get("accept", "")
