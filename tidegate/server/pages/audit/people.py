"""Who did what: people with their keys, what they signed, what ran in their name; and all of it proved."""

from typing import Annotated

from fastapi import Query
from starlette.responses import Response

from pipelines.questions.touched import fingerprint_of
from pipelines.questions.touched import touched as ask
from registry import store_pages
from registry.access import Right
from registry.errors import NotFound
from registry.store_pages import Asked
from tidegate.server.guard import needs
from tidegate.server.pages.audit.frame import audit_page
from tidegate.server.pages.audit.log import lines
from tidegate.server.pages.finding import AtDesk, Cursor
from tidegate.server.pages.look import pages

doors = pages()
_PAGE, _NEWEST = 50, 20
_SHOWN = 500  # lines of a proof on a page


@doors.get("/audit/people")
@needs(Right.AUDIT)
def everybody(desk: AtDesk, after: Cursor = None) -> Response:
    """Everybody who is or was registered, as they stand now."""
    with desk.view() as view:
        found = store_pages.people(view, Asked(_PAGE, after))
        accounts = list(view.accounts()) if after is None else []
    people = [(row, fingerprint_of(row.public_key)) for row in found.rows]
    known = {row.name for row in found.rows}
    return audit_page(
        desk,
        "people.html",
        people=people,
        next=found.next,
        after=after,
        others=[row for row in accounts if row.name not in known][:_PAGE],
    )


@doors.get("/audit/people/{name}")
@needs(Right.AUDIT)
def person(desk: AtDesk, name: str, after: Cursor = None) -> Response:
    """One name: keys, words, and the newest that ran in it."""
    with desk.view() as view:
        keys = [(row, fingerprint_of(row.public_key)) for row in reversed(view.person_history(name))]
        account = view.account(name)
        where = {"person": name}
        approvals = store_pages.listing(view, "approvals", Asked(_NEWEST), where=where).rows
        decisions = store_pages.listing(view, "decisions", Asked(_NEWEST), where=where).rows
        acted = store_pages.events(view, Asked(_PAGE, after), actor=name)
        if not (keys or account or approvals or decisions or acted.rows):
            raise NotFound("person, account or name", name)
        shown = lines(view, acted.rows)
        versions = {row.version: view.version_by_digest(row.version) for row in approvals}
    return audit_page(
        desk, "person.html", name=name, keys=keys, account=account, approvals=approvals, decisions=decisions,
        versions=versions, lines=shown, next=acted.next, after=after, most=_NEWEST,
    )  # fmt: skip


@doors.get("/audit/touched")
@needs(Right.AUDIT)
def touched(desk: AtDesk, who: Annotated[str, Query(min_length=1, max_length=200)]) -> Response:
    """Everything that a person or a key touched, every signature checked now."""
    with desk.view() as view:
        found = ask(desk.work, view, who.strip())
    return audit_page(desk, "touched.html", who=who.strip(), found=found, doubts=found.doubts, most=_SHOWN)
