"""Refusals in the Hub's words: a status, `X-Error-Code` that clients make an exception of, `X-Error-Message` that they print."""

import json
from collections.abc import Mapping
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response

from pipelines.resolving import RevisionUnknown, VersionWithdrawn
from registry.errors import NotFound
from registry.keeping import BytesRemoved
from signing.errors import OperatorError
from tidegate.errors import NotSignedIn
from tidegate.server.problems import headers_of, status_of

REPO, REVISION, ENTRY, GATED = "RepoNotFound", "RevisionNotFound", "EntryNotFound", "GatedRepo"
_LONGEST = 1500  # characters of a header: proxies refuse 4 KiB and more
# Only at these does a client stop using what it has in its cache (rule 8).
_STOPS = (RevisionUnknown, VersionWithdrawn, BytesRemoved)


def answer(_request: Request, refusal: OperatorError) -> Response:
    """Put a refusal into the Hub's words, with the next step."""
    status, code = _status_and_code(refusal)
    sentence = f"{refusal}. Next: {refusal.next_step}"
    headers = dict(headers_of(refusal))
    if code != REPO or status != HTTPStatus.NOT_FOUND:
        # `hf` makes its own sentence of most errors and drops ours; a warning it prints as it is.
        headers["X-HF-Warning"] = one_line(f"{code} {_topic(refusal)}; {sentence}")
    return said(status, code, sentence, headers=headers)


def said(status: int, code: str, sentence: str, *, headers: Mapping[str, str] | None = None) -> Response:
    """An error as the clients read it. The body says the same once more, for whoever looks with another tool."""
    line = one_line(sentence)
    body = json.dumps({"error": line}, ensure_ascii=False).encode()
    named = {"X-Error-Code": code, "X-Error-Message": line, **(headers or {})}
    return Response(body, status, named, "application/json")


def one_line(text: str) -> str:
    """What a header may hold: printable ASCII on one line, not too long."""
    plain = " ".join(text.split()).encode("ascii", "replace").decode()
    clean = "".join(letter if letter.isprintable() else "?" for letter in plain)
    return clean if len(clean) <= _LONGEST else clean[: _LONGEST - 3] + "..."


def _topic(refusal: OperatorError) -> str:
    """Of each topic a client prints the first warning alone."""
    return one_line(str(refusal)).partition(":")[0].replace(";", ",")


def _status_and_code(refusal: OperatorError) -> tuple[int, str]:
    if isinstance(refusal, NotFound) and refusal.what == "model":
        return HTTPStatus.NOT_FOUND, REPO
    if isinstance(refusal, _STOPS):
        return HTTPStatus.NOT_FOUND, REVISION
    if isinstance(refusal, NotSignedIn):
        # As the Hub itself does; over plain http the clients look at the code alone.
        return HTTPStatus.UNAUTHORIZED, REPO
    status = status_of(refusal)
    # What clients show at once; any other 403 they keep behind "check your connection".
    return status, GATED if status == HTTPStatus.FORBIDDEN else type(refusal).__name__
