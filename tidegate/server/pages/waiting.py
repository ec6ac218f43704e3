"""The first page: what waits for somebody, what of it for who looks, each with its reason and the next step."""

from dataclasses import dataclass

from starlette.responses import Response

from pipelines.attention import Item, attention
from registry import store_pages
from registry.access import Right
from registry.store_pages import Asked
from registry.views import View
from tidegate.server.guard import Desk, needs
from tidegate.server.pages import serving
from tidegate.server.pages.finding import AtDesk
from tidegate.server.pages.look import fresh, page, pages

doors = pages()

_WORDS = {
    "request": ("Approval", "info"),
    "promotion": ("Ready to promote", "good"),
    "break-glass": ("Break-glass", "bad"),
    "validation": ("Validation", "bad"),
    "ready": ("Validated", "info"),
    "drift": ("Drift", "warn"),
    "freshness": ("Freshness", "warn"),
    "expiry": ("Ends soon", "warn"),
    "people": ("People", "info"),
}


@dataclass(frozen=True)
class Shown:
    """A thing that waits, as a line of the page."""

    item: Item
    label: str
    tone: str
    href: str | None
    mine: bool


@doors.get("/")
@needs(Right.LOOK)
def waiting(desk: AtDesk) -> Response:
    """What waits."""
    with desk.view() as view:
        items = [_shown(desk, item) for item in attention(desk.work, view, hours=serving.hours(desk, view))]
        tiers, holds_any = [row.tier for row in view.tiers()], _holds_any(view)
    return page(
        desk,
        "steward/waiting.html",
        mine=[item for item in items if item.mine],
        others=[item for item in items if not item.mine],
        tiers=tiers,
        holds_any=holds_any,
    )


@doors.get("/waiting")
@needs(Right.LOOK)
def same() -> Response:
    """The first page, by its name."""
    return fresh("/")


def _holds_any(view: View) -> bool:
    return bool(store_pages.models(view, Asked(1)).rows)


def _shown(desk: Desk, item: Item) -> Shown:
    label, tone = _WORDS[item.kind]
    mine = desk.may(item.right, item.tier) and desk.principal.name not in item.done_by
    return Shown(item, label, "bad" if item.urgent else tone, _href(item), mine)


def _href(item: Item) -> str | None:
    """The page where the next step is taken, or where one sees why."""
    pages = {
        "request": f"/requests/{item.subject}",
        "promotion": f"/requests/{item.subject}",
        "break-glass": f"/versions/{item.subject}",
        "validation": f"/reports/{item.subject}",
        "ready": f"/versions/{item.subject}/beside",
        "drift": f"/tiers/{item.tier}/{item.subject}",
    }
    return pages.get(item.kind)
