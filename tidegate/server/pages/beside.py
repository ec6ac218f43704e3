"""A version beside the one that a tier serves now: what a steward looks at before saying yes or no."""

from typing import Annotated

from fastapi import Query
from starlette.responses import Response

from pipelines.beside import beside
from registry import store_pages
from registry.access import Right
from registry.entities import Version
from registry.views import View
from tidegate.server.guard import needs
from tidegate.server.pages.charts import moved, scores
from tidegate.server.pages.finding import AtDesk, held_version
from tidegate.server.pages.look import page, pages

doors = pages()
_TENSORS = 200  # that a page lists
_FILES = 200


@doors.get("/versions/{digest}/beside")
@needs(Right.LOOK)
def side_by_side(
    desk: AtDesk,
    digest: str,
    tier: Annotated[str | None, Query(max_length=64)] = None,
    other: Annotated[str | None, Query(alias="with", max_length=64)] = None,
) -> Response:
    """Beside what `tier` serves, or beside the version `with`; without either, beside the highest tier's."""
    with desk.view() as view:
        row = held_version(view, digest)
        tiers = [one.tier for one in view.tiers()]
        pins = {pin.tier: pin for pin in store_pages.pins_now(view, model=row.model).rows}
        if tier is None and other is None:
            tier = next(
                (name for name in reversed(tiers) if name in pins and pins[name].version != row.digest), None
            )
            tier = tier or next((name for name in reversed(tiers) if name in pins), None)
        then = _other(view, row, pins[tier].version if tier in pins else None, other)
        setting = view.router(tier) if tier else None
        found = beside(desk.work, view, row, then, profile=setting.profile if setting else None)
    return page(
        desk,
        "steward/beside.html",
        found=found,
        tier=tier,
        tiers=tiers,
        pins=pins,
        moved=moved(found.weights.tensors) if found.weights else None,
        scores={run.suite: scores(run.now.figures) for run in found.suites if run.now},
        most_files=_FILES,
        most_tensors=_TENSORS,
    )


def _other(view: View, row: Version, pinned: str | None, other: str | None) -> Version | None:
    if other is not None:
        return held_version(view, other)
    if pinned is None or pinned == row.digest:
        return None
    return view.version_by_digest(pinned)
