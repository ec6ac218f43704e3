"""What tiers served on a date; and of one line why it was allowed and who decided, proved while it is shown."""

from starlette.responses import Response

from pipelines.questions.allowing import why
from pipelines.questions.deciding import decided
from registry import store_pages, store_search
from registry.access import Right
from registry.store_pages import Asked
from tidegate.server.guard import needs
from tidegate.server.pages.audit.frame import Text, audit_page, moment
from tidegate.server.pages.finding import AtDesk, Cursor, model_of
from tidegate.server.pages.look import pages

doors = pages()
_PAGE = 50


@doors.get("/audit/pins")
@needs(Right.AUDIT)
def served(desk: AtDesk, tier: Text = "", model: Text = "", at: Text = "", after: Cursor = None) -> Response:
    """What served then, as the tables say it; each line leads to its proof."""
    then = moment(at)
    asked = {"tier": tier.strip(), "model": model.strip(), "at": at.strip()}
    with desk.view() as view:
        found = store_pages.pins_now(
            view, Asked(_PAGE, after), tier=asked["tier"] or None, model=asked["model"] or None, at=then
        )
        untils = {pin.id: store_search.until(view, pin) for pin in found.rows}
        names = {
            digest: row.name
            for digest in {
                one for pin in found.rows for one in (pin.profile, pin.router, pin.companions) if one
            }
            if (row := view.document_by_digest(digest)) is not None
        }
        tiers = [row.tier for row in view.tiers()]
    return audit_page(
        desk,
        "pins.html",
        asked=asked,
        given={name: value for name, value in asked.items() if value},
        then=then,
        pins=found.rows,
        untils=untils,
        names=names,
        tiers=tiers,
        next=found.next,
        after=after,
    )


@doors.get("/audit/pins/{tier}/{namespace}/{name}")
@needs(Right.AUDIT)
def one(desk: AtDesk, tier: str, namespace: str, name: str, at: Text = "") -> Response:
    """One line of a tier's history: the evidence, looked at now; the people, and the page that they saw."""
    model, then = model_of(namespace, name), moment(at)
    with desk.view() as view:
        allowed = why(desk.work, view, tier, model, at=then)
        words = decided(desk.work, view, tier, model, at=then)
    doubts = list(dict.fromkeys([*allowed.doubts, *words.doubts]))
    return audit_page(
        desk, "pin.html", tier=tier, model=model, at=at.strip(), then=then, found=allowed, pin=allowed.served.pin,
        words=words.words, doubts=doubts,
    )  # fmt: skip
