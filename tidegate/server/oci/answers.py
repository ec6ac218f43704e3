"""Answers in the words of the OCI distribution specification: its error body, its headers.

Source: distribution specification 1.1, "Error Codes", "Content Discovery", "Warnings".
"""

import json
from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response

from registry.errors import NameUnusable, NotFound
from signing.errors import OperatorError
from tidegate.server.problems import headers_of, status_of

IMAGE, BLOB = "image", "blob"  # what `NotFound` calls them here
_VERSION = {"Docker-Distribution-API-Version": "registry/2.0"}
_BY_STATUS = {
    401: "UNAUTHORIZED",
    403: "DENIED",
    404: "MANIFEST_UNKNOWN",
    405: "UNSUPPORTED",
    429: "TOOMANYREQUESTS",
}
_LONGEST = 1000  # characters of a message; clients print it on one line


def answer(request: Request, refusal: OperatorError) -> Response:
    """A refusal, with the code that clients branch on and the sentence that people read."""
    status = status_of(refusal)
    if isinstance(refusal, NameUnusable):
        status = 404  # no repository has such a name
    # Where files lie on this machine is nothing for who pulls.
    said = str(refusal).replace(f"{request.app.state.premises.home.path}/", "")
    message = f"{said} Next: {refusal.next_step}"
    headers = headers_of(refusal)
    if status in (
        401,
        403,
    ):  # with 403 too: oras-py tries again for two minutes where it is given no way to sign in
        headers["WWW-Authenticate"] = f'Bearer realm="{_origin(request)}/v2/token",service="tidegate"'
    return error(status, _code(refusal, status), message, headers, exit_code=refusal.exit_code)


def _origin(request: Request) -> str:
    told: str | None = request.app.state.premises.settings.public_url
    return (told or str(request.base_url)).rstrip("/")


def error(
    status: int,
    code: str,
    message: str,
    headers: Mapping[str, str] | None = None,
    *,
    exit_code: int | None = None,
) -> Response:
    """The specification's body for something that is refused."""
    told: dict[str, object] = {"code": code, "message": message[:_LONGEST]}
    if exit_code is not None:
        told["detail"] = {"exit_code": exit_code}
    body = json.dumps({"errors": [told]}, ensure_ascii=False)
    return Response(body, status, {**_VERSION, **(headers or {})}, "application/json")


def document(
    data: bytes,
    media_type: str,
    digest: str,
    *,
    warning: str | None = None,
    more: Mapping[str, str] | None = None,
) -> Response:
    """A manifest or another small document, under its digest."""
    headers = {
        **_VERSION,
        "Docker-Content-Digest": f"sha256:{digest}",
        "ETag": f'"sha256:{digest}"',
        **(more or {}),
    }
    if warning:
        headers["Warning"] = warned(warning)
    return Response(data, 200, headers, media_type)


def warned(text: str) -> str:
    """The header's value: code 299, no agent, the text quoted."""
    quoted = text.encode("ascii", "replace").decode().replace("\\", "\\\\").replace('"', '\\"')
    return f'299 - "{quoted}"'


def _code(refusal: OperatorError, status: int) -> str:
    if isinstance(refusal, NameUnusable):
        return "NAME_INVALID"
    if isinstance(refusal, NotFound):
        return {IMAGE: "MANIFEST_UNKNOWN", BLOB: "BLOB_UNKNOWN"}.get(refusal.what, "NAME_UNKNOWN")
    return _BY_STATUS.get(status, "UNKNOWN" if status >= 500 else "DENIED")
