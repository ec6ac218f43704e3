"""What all of an auditor's pages share: when the whole log last held, and how moments are typed into a form."""

from typing import Annotated, Any

from fastapi import Query
from starlette.responses import HTMLResponse, Response

from registry.entities import Document, Version
from registry.views import View
from signing.digests import is_sha256
from signing.times import TimeUnreadable, from_rfc3339, rfc3339
from tidegate.errors import RequestUnreadable
from tidegate.server.guard import Desk
from tidegate.server.log_watch import Look
from tidegate.server.pages.look import HEADERS, page

Text = Annotated[str, Query(max_length=200)]
_DAY = len("2026-11-20")


def audit_page(desk: Desk, template: str, **facts: Any) -> HTMLResponse:
    """Return a page that says on top when the log was last verified as a whole."""
    with desk.view() as view:
        head = view.head()
    look: Look | None = desk.request.app.state.log_watch.last
    return page(desk, f"audit/{template}", look=look, head=head, **facts)


def moment(text: str, *, last: bool = True) -> str | None:
    """Return a typed day (its last second, or its first) or moment in UTC as RFC 3339; None for nothing typed.

    Raises:
        RequestUnreadable: it is neither.
    """
    said = text.strip()
    if not said:
        return None
    whole = f"{said}T{'23:59:59' if last else '00:00:00'}Z" if len(said) == _DAY else said
    try:
        return rfc3339(from_rfc3339(whole))
    except TimeUnreadable as exc:
        raise RequestUnreadable(
            f"{said!r} is neither a day such as 2026-11-20 nor 2026-11-20T08:30:00Z"
        ) from exc


def names_of(view: View, subjects: list[str]) -> dict[str, str]:
    """Return what a page of digests is called here."""
    found: dict[str, str] = {}
    for digest in {one for one in subjects if is_sha256(one)}:
        row = view.version_by_digest(digest) or view.document_by_digest(digest)
        if isinstance(row, Version):
            found[digest] = f"{row.model}@{row.ordinal}"
        elif isinstance(row, Document):
            found[digest] = f"{row.kind.replace('-', ' ')} {row.name}"
    return found


def download(data: bytes, name: str, kind: str) -> Response:
    """Return a file to keep."""
    headers = {**HEADERS, "Content-Disposition": f'attachment; filename="{name}"'}
    return Response(data, headers=headers, media_type=kind)


def digest_href(label: str, digest: str) -> str:
    """Return the page about a row that is named by a digest."""
    return f"/audit/versions/{digest}" if label == Version.label else f"/evidence/{digest}"
