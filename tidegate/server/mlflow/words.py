"""Refusals in MLflow's words: a status, an `error_code` that its client makes an exception of, and a sentence."""

import json
from collections.abc import Mapping
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response

from registry.errors import BlobDamaged, CursorUnusable
from signing.errors import OperatorError
from tidegate.errors import RequestUnreadable
from tidegate.server.problems import headers_of, status_of

UNKNOWN, DENIED, WRONG = "RESOURCE_DOES_NOT_EXIST", "PERMISSION_DENIED", "INVALID_PARAMETER_VALUE"
NO_ENDPOINT, DAMAGED = "ENDPOINT_NOT_FOUND", "DATA_LOSS"
# Source: mlflow/protos/databricks.proto, ErrorCode
_CODES = {
    400: WRONG, 401: "UNAUTHENTICATED", 403: DENIED, 404: UNKNOWN, 409: "RESOURCE_CONFLICT", 410: UNKNOWN,
    422: WRONG, 423: "RESOURCE_CONFLICT", 429: "REQUEST_LIMIT_EXCEEDED", 503: "TEMPORARILY_UNAVAILABLE",
}  # fmt: skip


def answer(_request: Request, refusal: OperatorError) -> Response:
    """Put a refusal into MLflow's words, with the next step."""
    sentence = f"{refusal}. Next: {refusal.next_step}"
    if isinstance(refusal, BlobDamaged):
        return said(HTTPStatus.CONFLICT, DAMAGED, sentence)  # rule (7): no second try mends it
    if isinstance(refusal, (CursorUnusable, RequestUnreadable)):
        return said(HTTPStatus.BAD_REQUEST, WRONG, f"{refusal}.")
    status = status_of(refusal)
    return said(status, _CODES.get(status, "INTERNAL_ERROR"), sentence, headers=headers_of(refusal))


def said(status: int, code: str, sentence: str, *, headers: Mapping[str, str] | None = None) -> Response:
    """An error as the clients read it."""
    body = json.dumps({"error_code": code, "message": sentence}, ensure_ascii=False)
    return Response(body, status, dict(headers or {}), "application/json")
