"""The auditor's first page: does the log hold, who else saw it, and what should be looked at first."""

from starlette.responses import Response

from pipelines.attention import standing
from registry import store_pages
from registry.access import Right
from registry.audit import EventKind
from registry.store_pages import Asked
from tidegate.server.guard import needs
from tidegate.server.pages import serving
from tidegate.server.pages.audit.frame import audit_page
from tidegate.server.pages.audit.log import lines
from tidegate.server.pages.finding import AtDesk
from tidegate.server.pages.look import pages

doors = pages()


@doors.get("/audit")
@needs(Right.AUDIT)
def home(desk: AtDesk) -> Response:
    """Where to begin."""
    with desk.view() as view:
        waits = standing(desk.work, view, hours=serving.hours(desk, view))
        denied = lines(view, store_pages.events(view, Asked(6), kind=str(EventKind.DENIED)).rows)
        newest = lines(view, store_pages.events(view, Asked(8)).rows)
        cosigned = store_pages.listing(view, "cosigned", Asked(5)).rows
        witnessed = store_pages.listing(view, "witnessed", Asked(5)).rows
        tiers = [row.tier for row in view.tiers()]
    return audit_page(
        desk, "home.html", waits=waits, denied=denied, newest=newest, cosigned=cosigned, witnessed=witnessed, tiers=tiers
    )  # fmt: skip
