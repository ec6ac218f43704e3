"""The first page: what waits for somebody, with its reason and the next step."""

from typing import Annotated

from fastapi import Depends
from starlette.responses import Response

from registry.access import Right
from tidegate.server.guard import Desk, at_desk, needs
from tidegate.server.pages.look import page, pages

doors = pages()


@doors.get("/")
@needs(Right.LOOK)
def waiting(desk: Annotated[Desk, Depends(at_desk)]) -> Response:
    """What waits."""
    return page(desk, "steward/waiting.html")
