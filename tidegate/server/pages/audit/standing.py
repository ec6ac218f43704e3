"""What was let pass, what breaks policy today, what ends soon: each looked at while one waits."""

from typing import Annotated

from fastapi import Query
from starlette.responses import Response

from pipelines.questions.breaking import breaking
from pipelines.questions.expiring import expiring as ending
from pipelines.questions.overridden import overridden
from registry.access import Right
from tidegate.server.guard import needs
from tidegate.server.pages.audit.frame import audit_page
from tidegate.server.pages.finding import AtDesk
from tidegate.server.pages.look import pages

doors = pages()


@doors.get("/audit/overrides")
@needs(Right.AUDIT)
def overrides(desk: AtDesk) -> Response:
    """Everything that a person's word ever let pass."""
    with desk.view() as view:
        found, gone = overridden(desk.work, view)
    doubts = [*(one.proof.doubt for one in found if not one.proof.verified), *gone]
    return audit_page(desk, "overrides.html", found=list(reversed(found)), doubts=doubts)


@doors.get("/audit/breaches")
@needs(Right.AUDIT)
def breaches(desk: AtDesk) -> Response:
    """Every pin before the gate as it stands now."""
    with desk.view() as view:
        found = breaking(desk.work, view)
    return audit_page(desk, "breaches.html", found=found)


@doors.get("/audit/expiring")
@needs(Right.AUDIT)
def expiring(desk: AtDesk, days: Annotated[int, Query(ge=0, le=36500)] = 180) -> Response:
    """What ends soon, or has ended."""
    with desk.view() as view:
        found = ending(desk.work, view, days=days)
    return audit_page(desk, "expiring.html", found=found, days=days)
