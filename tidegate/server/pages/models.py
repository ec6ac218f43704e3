"""Every model, found by name or digest, and one model with its versions, tiers and history."""

from typing import Annotated

from fastapi import Query
from starlette.responses import Response

from registry import store_attention, store_pages
from registry.access import Right
from registry.entities import Pin
from registry.errors import NotFound
from registry.store_pages import Asked
from registry.views import View
from tidegate.server.guard import needs
from tidegate.server.pages import svg
from tidegate.server.pages.finding import AtDesk, Cursor, by_digest, model_of, standings
from tidegate.server.pages.look import fresh, page, pages
from tidegate.server.pages.serving import pins_and_drift
from tidegate.server.pages.svg import Lane, Span

doors = pages()
_PAGE = 50
_LINES = 400  # of a tier's history that are drawn


@doors.get("/models")
@needs(Right.LOOK)
def models(desk: AtDesk, q: Annotated[str, Query(max_length=200)] = "", after: Cursor = None) -> Response:
    """The list, or what a search finds; a single version that is meant is shown at once."""
    wanted = q.strip()
    with desk.view() as view:
        versions = by_digest(view, wanted)
        found = store_pages.models(view, Asked(_PAGE, after), search=wanted or None)
        names = [line.model for line in found.rows]
        served: dict[str, list[Pin]] = {name: [] for name in names}
        for pin in store_attention.pins_of(view, [row.tier for row in view.tiers()], names):
            served[pin.model].append(pin)
        gone = store_attention.withdrawn_among(view, [line.digest for line in found.rows])
    if len(versions) == 1 and not found.rows:
        return fresh(f"/versions/{versions[0].digest}")
    return page(
        desk,
        "steward/models.html",
        q=wanted,
        versions=versions,
        found=found,
        served=served,
        gone=gone,
        after=after,
    )


@doors.get("/models/{namespace}/{name}")
@needs(Right.LOOK)
def model(desk: AtDesk, namespace: str, name: str, after: Cursor = None) -> Response:
    """One model."""
    wanted = model_of(namespace, name)
    with desk.view() as view:
        found = store_pages.versions(view, wanted, Asked(_PAGE, after))
        if not found.rows and after is None:
            raise NotFound("model", wanted)
        lines = standings(view, found.rows)
        pins, drifts = pins_and_drift(desk, view, model=wanted)
        picture = svg.lanes(
            lanes_of(view, wanted),
            desk.app.now,
            title=f"Which version of {wanted} each tier served, over time",
        )
        tiers = [row.tier for row in view.tiers()]
        companions = view.companions_bound(wanted)
    return page(
        desk,
        "steward/model.html",
        model=wanted,
        lines=lines,
        found=found,
        after=after,
        pins={pin.tier: pin for pin in pins},
        drifts=drifts,
        tiers=tiers,
        picture=picture if pins else None,
        companions=companions.companions if companions else None,
    )


def lanes_of(view: View, name: str) -> list[Lane]:
    """A lane for each tier that ever served the model, lowest tier first."""
    found = []
    for row in view.tiers():
        history = store_pages.listing(
            view, "pins", Asked(_LINES), where={"tier": row.tier, "model": name}
        ).rows[::-1]
        ends = [*(pin.since for pin in history[1:]), None]
        spans = [Span(pin.since, until, f"@{pin.ordinal}") for pin, until in zip(history, ends, strict=False)]
        if spans:
            found.append(Lane(row.tier, spans))
    return found
