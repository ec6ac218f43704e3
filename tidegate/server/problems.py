"""What a refusal is in HTTP: its status, and the problem document that programs get (RFC 9457).

The same code, sentence and next step as on the command line: who reads a log of one knows the other.
"""

import json
from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from signing.errors import OperatorError

# By exit code. What is not named is a conflict with the state that things are in.
_STATUS: dict[int, int] = {
    **dict.fromkeys((2, 10, 21, 34, 40, 42, 43, 45, 70, 71, 72, 73, 74, 83, 86, 210, 224, 240, 243), 400),
    **dict.fromkeys((58, 59, 77, 205, 241, 244), 403),
    **dict.fromkeys((41, 76, 98), 404),
    **dict.fromkeys((46,), 410),
    **dict.fromkeys((87, 212, 227), 423),
    **dict.fromkeys((49, 81, 82, 101, 196, 198), 500),
    **dict.fromkeys((32, 37, 38, 108), 502),
    **dict.fromkeys((85,), 507),
}
_KIND = "tag:tidegate,2026:refusal"


def status_of(refusal: OperatorError) -> int:
    """The HTTP status of a refusal: its own if it was made for the doors (`status`), else by its code."""
    own = getattr(type(refusal), "status", None)
    return own if isinstance(own, int) else _STATUS.get(refusal.exit_code, HTTPStatus.CONFLICT)


def document(refusal: OperatorError, status: int, *, instance: str) -> dict[str, Any]:
    """The problem document: RFC 9457's members, and ours beside them."""
    return {
        "type": f"{_KIND}:{type(refusal).__name__}",
        "title": type(refusal).__name__,
        "status": status,
        "detail": str(refusal),
        "instance": instance,
        "exit_code": refusal.exit_code,
        "next_step": refusal.next_step,
    }


def problem_json(request: Request, refusal: OperatorError) -> Response:
    """Answer a program."""
    status = status_of(refusal)
    body = json.dumps(document(refusal, status, instance=request.url.path), ensure_ascii=False)
    return Response(body, status, headers_of(refusal), "application/problem+json")


def headers_of(refusal: OperatorError) -> dict[str, str]:
    """Headers that go with a refusal in every protocol: how to show who you are, when to come again."""
    headers: dict[str, str] = dict(getattr(refusal, "headers", {}))
    return headers


def page_headers_of(refusal: OperatorError) -> dict[str, str]:
    """Those for a page. A browser that is told how programs show who they are opens a box of its own for a password."""
    return {name: value for name, value in headers_of(refusal).items() if name != "WWW-Authenticate"}
