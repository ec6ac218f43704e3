"""Which transfers crossed: a page of them from the tables, all of them proved, and the list for a spreadsheet."""

from typing import Annotated, Literal

from fastapi import Query
from starlette.responses import Response

from pipelines.bundle import documents as docs
from pipelines.questions.transfers import as_csv, crossings
from registry import store_pages
from registry.access import Right
from registry.entities import Export, Import
from registry.store_pages import Asked
from signing.errors import OperatorError
from tidegate.server.guard import needs
from tidegate.server.pages.audit.frame import Text, audit_page, download, moment
from tidegate.server.pages.finding import AtDesk, Cursor
from tidegate.server.pages.look import pages

doors = pages()
_PAGE = 25
_FILES = 40  # of one transfer that a page lists

Way = Annotated[Literal["in", "out"] | None, Query()]


@doors.get("/audit/transfers")
@needs(Right.AUDIT)
def transfers(desk: AtDesk, way: Way = None, bundle: Text = "", after: Cursor = None) -> Response:
    """The newest that came, or that left."""
    way = way or ("in" if desk.premises.home.is_site else "out")
    with desk.view() as view:
        if way == "in":
            found = store_pages.listing(
                view, "imports", Asked(_PAGE, after), where={"bundle": bundle.strip() or None}
            )
        else:
            found = store_pages.listing(view, "exports", Asked(_PAGE, after))
    rows = [(row, _read(row)) for row in found.rows if not bundle.strip() or row.bundle == bundle.strip()]
    return audit_page(
        desk, "transfers.html", way=way, bundle=bundle.strip(), rows=rows, next=found.next, after=after
    )


def _read(row: Export | Import) -> docs.Export | None:
    """The export document; None where somebody made it unreadable."""
    try:
        return docs.decode_export(row.body.encode())
    except OperatorError:
        return None


@doors.get("/audit/transfers/proved")
@needs(Right.AUDIT)
def proved(desk: AtDesk, since: Text = "", until: Text = "") -> Response:
    """Every transfer between two days, each held against the log now."""
    first, last = moment(since, last=False), moment(until)
    with desk.view() as view:
        found, gone = crossings(desk.work, view, since=first, until=last)
    doubts = [*(one.proof.doubt for one in found if not one.proof.verified), *gone]
    given = {name: value for name, value in (("since", since.strip()), ("until", until.strip())) if value}
    return audit_page(
        desk, "transfers_proved.html", found=found, doubts=doubts, given=given, since=since, until=until, most=_FILES
    )  # fmt: skip


@doors.get("/audit/transfers.csv")
@needs(Right.AUDIT)
def table(desk: AtDesk, since: Text = "", until: Text = "") -> Response:
    """The same for a spreadsheet: one line per file, RFC 4180."""
    with desk.view() as view:
        found, _ = crossings(desk.work, view, since=moment(since, last=False), until=moment(until))
    return download(as_csv(found).encode(), "transfers.csv", "text/csv; charset=utf-8")
