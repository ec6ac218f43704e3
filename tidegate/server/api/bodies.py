"""Reads what a request carries: no more bytes than the doors allow, as JSON that has one meaning."""

from typing import Any

from starlette.requests import Request

from signing.canonical import NotCanonical, parse
from tidegate.afar_refusals import RequestTooLarge
from tidegate.errors import RequestUnreadable

_VALUES = 200_000  # in one document


async def body_of(request: Request) -> bytes:
    """The body, for `Depends`: given up as soon as it is larger than the settings allow. Raises `RequestTooLarge`."""
    most = request.app.state.premises.settings.limits.body_bytes
    length = request.headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > most:
        raise RequestTooLarge(most)
    found = bytearray()
    async for chunk in request.stream():
        found += chunk
        if len(found) > most:
            raise RequestTooLarge(most)
    return bytes(found)


def parameters_of(body: bytes) -> dict[str, Any]:
    """The parameters that a body gives; an empty one gives none. Raises `RequestUnreadable`."""
    try:
        found = parse(body or b"{}", max_bytes=len(body) + 2, at="body", max_values=_VALUES)
    except NotCanonical as exc:
        raise RequestUnreadable(str(exc)) from exc
    if not isinstance(found, dict):
        raise RequestUnreadable("body: give the parameters as one JSON object")
    return found
