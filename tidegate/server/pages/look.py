"""How every page is made: one template engine, one frame, one policy for what a browser may load.

Everything that is put into a page is escaped, and characters that are invisible or turn the reading direction are
shown by their number, so that a name reads as it is. No page holds script or style of its own; none of it comes
from another host. The frame's menu is `NAV`: whoever adds pages adds a line there.
"""

import functools
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from registry.access import Right
from signing.errors import OperatorError
from tidegate.errors import NotSignedIn
from tidegate.server.guard import Desk, router
from tidegate.server.pages import filters
from tidegate.server.pages.static import address
from tidegate.server.problems import page_headers_of, status_of

TEMPLATES = Path(__file__).parent.parent / "templates"

# A form may send to this host alone. Nothing inline, nothing from elsewhere, no frame around us.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True)
class Place:
    """A line of the menu and of the palette: shown to whoever has the right, in any tier."""

    group: str
    label: str
    href: str
    right: Right
    hint: str


NAV: tuple[Place, ...] = (
    Place("Registry", "Waiting", "/", Right.LOOK, "what needs somebody now"),
    Place("Registry", "Requests", "/requests", Right.LOOK, "what people were asked, and what they said"),
    Place("Registry", "Models", "/models", Right.LOOK, "every model and its versions"),
    Place("Registry", "Tiers", "/tiers", Right.LOOK, "what serves where, with drift and age"),
    Place("Audit", "Overview", "/audit", Right.AUDIT, "does the log hold, and what to look at first"),
    Place("Audit", "Search", "/audit/search", Right.AUDIT, "digest, version, person, key, date, event"),
    Place("Audit", "Timeline", "/audit/timeline", Right.AUDIT, "every event, and its proof"),
    Place("Audit", "Served", "/audit/pins", Right.AUDIT, "what served on a date, why, who decided"),
    Place("Audit", "People and keys", "/audit/people", Right.AUDIT, "what they signed and did"),
    Place("Audit", "Transfers", "/audit/transfers", Right.AUDIT, "what crossed, for a spreadsheet"),
    Place("Audit", "Policies", "/audit/policies", Right.AUDIT, "in words, and what they keep out today"),
    Place("Audit", "Exports", "/audit/exports", Right.AUDIT, "evidence to check elsewhere"),
    Place("Home", "Accounts", "/account/all", Right.ADMINISTER, "who may use the doors, and their tokens"),
)


def page(desk: Desk, template: str, *, status: int = HTTPStatus.OK, **facts: Any) -> HTMLResponse:
    """Return a page: a template below `templates/`, and the facts that it names (none of them may be missing)."""
    return _written(template, status, _frame(desk.request, desk) | facts)


def refused(request: Request, refusal: OperatorError) -> Response:
    """Answer a refusal as a page: what, where, what to do next, and the same code that the command line ends with."""
    if isinstance(refusal, NotSignedIn) and request.method in ("GET", "HEAD"):
        here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse(f"/sign-in?next={quote(here, safe='')}", HTTPStatus.SEE_OTHER)
    status = status_of(refusal)
    said, _, rest = str(refusal).partition("\n")
    facts = {"refusal": refusal, "said": said, "more": [line.strip() for line in rest.splitlines()]}
    desk = getattr(request.state, "desk", None)  # not there when nobody was let in
    answer = _written("pages/refusal.html", status, _frame(request, desk) | facts | {"status": status})
    answer.headers.update(page_headers_of(refusal))
    return answer


def pages(prefix: str = "") -> APIRouter:
    """A guarded router whose refusals are pages."""
    return router(refused, prefix=prefix, default_response_class=HTMLResponse, include_in_schema=False)


def fresh(href: str) -> RedirectResponse:
    """After something was done: look at what came of it. A reload then does not do it again."""
    return RedirectResponse(href, HTTPStatus.SEE_OTHER, HEADERS)


def _written(template: str, status: int, facts: dict[str, Any]) -> HTMLResponse:
    return HTMLResponse(environment().get_template(template).render(facts), status, HEADERS)


def _frame(request: Request, desk: Desk | None) -> dict[str, Any]:
    principal = None if desk is None else desk.principal
    home = request.app.state.premises.home
    return {
        "desk": desk,
        "principal": principal,
        "home": home,
        "path": request.url.path,
        "menu": [] if desk is None else _menu(desk),
        "csrf": "" if desk is None or desk.session is None else desk.session.csrf,
        "palette": (),
    }


def _menu(desk: Desk) -> list[tuple[str, list[Place]]]:
    """The groups of the menu in their order, each with the places that are open to who looks."""
    groups = dict.fromkeys(place.group for place in NAV)
    lines = [
        (
            group,
            [place for place in NAV if place.group == group and desk.principal.may_somewhere(place.right)],
        )
        for group in groups
    ]
    return [line for line in lines if line[1]]


@functools.cache
def environment() -> Environment:
    """The one template engine."""
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=filters.visible,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters.update(filters.FILTERS)
    made.globals.update(static=address, Right=Right, mark=Markup)
    return made
