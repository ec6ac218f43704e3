"""What a request's address says, read from its bytes as they came: a revision is one segment, whatever `%2F` is in it."""

import re
from dataclasses import dataclass
from urllib.parse import parse_qs, unquote, urlencode

from starlette.requests import Request

from tidegate.errors import RequestUnreadable
from tidegate.server.guard import Desk

_REF = re.compile(r"refs/(?:heads|tags)/(.+)")  # a full name of what `refs` lists
_NAME = re.compile(r"[a-z0-9._/-]{1,200}")
_FORM = 4 << 20  # bytes of a form
_FIELDS = 20_000  # of a form


@dataclass(frozen=True)
class Place:
    """A revision, and a file or folder in it ("" is the top)."""

    revision: str
    path: str


def place(request: Request, *, before: int) -> Place:
    """Read revision and path behind the first `before` segments of the address (a name's own `%2F` counts as two)."""
    segments = request.scope["raw_path"].decode("latin-1").partition("?")[0].split("/")[1:]
    while before > 0 and segments:
        before -= unquote(segments.pop(0)).count("/") + 1
    name, path = unquote(segments[0] if segments else ""), "/".join(segments[1:])
    full = _REF.fullmatch(name)
    return Place(full[1] if full else name, unquote(path).strip("/"))


def whole_number(text: str | None, *, most: int, otherwise: int) -> int:
    """A number from a query, within 1 and `most`; what is no number counts as not given."""
    if text is None or not re.fullmatch(r"[0-9]{1,9}", text):
        return otherwise
    return max(1, min(int(text), most))


def truth(text: str | None) -> bool:
    """A yes from a query or a form, as the clients write it."""
    return text is not None and text.lower() in ("1", "true", "yes")


def begin_at(cursor: str | None, *, author: str) -> str:
    """The name behind which a page of models begins; a cursor that no page gave begins at the start."""
    after = cursor if cursor is not None and _NAME.fullmatch(cursor) else ""
    return max(after, f"{author}/") if _NAME.fullmatch(author) else after


async def form_of(request: Request) -> dict[str, list[str]]:
    """The fields of a form as clients post it (urlencoded), never more than fits. Raises `RequestUnreadable`."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > _FORM:
            raise RequestUnreadable(f"the form has more than {_FORM:,} bytes")
    try:
        return parse_qs(body.decode(), max_num_fields=_FIELDS)
    except ValueError as exc:  # also what is no UTF-8
        raise RequestUnreadable(f"the form has more than {_FIELDS:,} fields or is not UTF-8") from exc


def next_page(desk: Desk, **parameters: str) -> dict[str, str]:
    """The header that leads to the next page: this address with other parameters, absolute as the clients want it."""
    query = {**dict(desk.request.query_params), **parameters}
    base = desk.premises.settings.public_url or str(desk.request.base_url)
    path = desk.request.scope["raw_path"].decode("latin-1").partition("?")[0]
    return {"Link": f'<{base.rstrip("/")}{path}?{urlencode(query)}>; rel="next"'}
