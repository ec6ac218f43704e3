"""The board of tiers: what serves where, how old it is, what nodes and sites do; one tier's history; the way back."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import Form, Query
from starlette.responses import Response

from pipelines.case import rules_of
from pipelines.drift import Drift
from pipelines.rollback import preview, roll_back
from pipelines.workplace import Workplace
from registry import store_pages
from registry.access import Right
from registry.entities import Pin, Site
from registry.pins import NothingToRollBackTo
from registry.policy import Policy
from registry.store_pages import Asked
from registry.views import View
from tidegate.server.guard import needs
from tidegate.server.pages.finding import AtDesk, Cursor, model_of, reason
from tidegate.server.pages.gate import set_parts
from tidegate.server.pages.look import fresh, page, pages
from tidegate.server.pages.serving import pins_and_drift

doors = pages()
_PAGE = 50


@dataclass(frozen=True)
class Column:
    """A tier on the board."""

    name: str
    rules: Policy
    router: str | None  # the names of what its router and engines speak
    profile: str | None


@dataclass(frozen=True)
class Cell:
    """What a tier serves of a model."""

    pin: Pin | None
    drifts: Sequence[Drift]
    behind: Pin | None  # what the tier below serves instead, if it is newer

    @property
    def wrong(self) -> list[Drift]:
        """Nodes that do not keep to it."""
        return [one for one in self.drifts if not one.ok and one.node]


@dataclass(frozen=True)
class SiteLine:
    """A site that this origin ships to."""

    site: Site
    sent: str | None  # when the newest bundle was made
    bundle: str | None
    answered: str | None  # when its newest receipt was taken
    behind: int  # bundles that no receipt answers yet


@doors.get("/tiers")
@needs(Right.LOOK)
def board(desk: AtDesk) -> Response:
    """Tiers beside each other, a line for each model."""
    with desk.view() as view:
        columns = [_column(desk.work, view, row.tier) for row in view.tiers()]
        pins, drifts = pins_and_drift(desk, view)
        sites = [_site(view, row) for row in store_pages.sites(view).rows]
    models = sorted({pin.model for pin in pins})
    rows = {model: _cells(model, columns, pins, drifts) for model in models}
    return page(
        desk, "steward/tiers.html", columns=columns, rows=rows, drifts=drifts, sites=sites, most=store_pages.MOST, count=len(pins)
    )  # fmt: skip


def _column(work: Workplace, view: View, tier: str) -> Column:
    setting = view.router(tier)
    names = [
        None if digest is None else (row.name if (row := view.document_by_digest(digest)) else digest[:12])
        for digest in ((setting.router, setting.profile) if setting else (None, None))
    ]
    return Column(tier, rules_of(work, view, tier), *names)


def _cells(
    model: str, columns: Sequence[Column], pins: Sequence[Pin], drifts: Sequence[Drift]
) -> dict[str, Cell]:
    held = {pin.tier: pin for pin in pins if pin.model == model}
    cells: dict[str, Cell] = {}
    below: Pin | None = None
    for column in columns:
        pin = held.get(column.name)
        newer = below if below and (pin is None or below.ordinal > pin.ordinal) else None
        mine = [one for one in drifts if (one.tier, one.model) == (column.name, model)]
        cells[column.name] = Cell(pin, mine, newer)
        below = pin or below
    return cells


def _site(view: View, row: Site) -> SiteLine:
    sent = store_pages.listing(view, "exports", Asked(1), where={"site": row.name}).rows
    answered = store_pages.listing(view, "receipts", Asked(1), where={"site": row.name}).rows
    number = answered[0].sequence if answered else 0
    return SiteLine(
        row,
        sent[0].made_at if sent else None,
        sent[0].bundle if sent else None,
        answered[0].taken_at if answered else None,
        max(0, sent[0].sequence - number) if sent else 0,
    )


@doors.get("/tiers/{tier}/{namespace}/{name}")
@needs(Right.LOOK)
def history(
    desk: AtDesk,
    tier: str,
    namespace: str,
    name: str,
    after: Cursor = None,
    done: Annotated[str, Query(max_length=16)] = "",
) -> Response:
    """What a tier served of a model, newest first, and how its nodes keep to it."""
    model = model_of(namespace, name)
    with desk.view() as view:
        view.tier(tier)
        found = store_pages.listing(view, "pins", Asked(_PAGE, after), where={"tier": tier, "model": model})
        _, drifts = pins_and_drift(desk, view, model=model)
    return page(
        desk,
        "steward/tier_model.html",
        tier=tier,
        model=model,
        found=found,
        after=after,
        drifts=[one for one in drifts if one.tier == tier],
        done=done if done in ("promoted", "back") else "",
    )


@doors.get("/tiers/{tier}/{namespace}/{name}/back")
@needs(Right.ROLL_BACK)
def before_going_back(desk: AtDesk, tier: str, namespace: str, name: str) -> Response:
    """What going back would change."""
    desk.demand(Right.ROLL_BACK, tier)
    model, problem, parts, target = model_of(namespace, name), None, [], None
    with desk.view() as view:
        view.tier(tier)
        left = view.pin(tier, model)
        try:
            target = preview(view, model, tier)
            parts = set_parts(view, left, target)
        except NothingToRollBackTo as refusal:
            problem = refusal
    return page(
        desk, "steward/back.html", tier=tier, model=model, left=left, target=target, set_parts=parts, problem=problem
    )  # fmt: skip


@doors.post("/tiers/{tier}/{namespace}/{name}/back")
@needs(Right.ROLL_BACK)
def gone_back(
    desk: AtDesk, tier: str, namespace: str, name: str, why: Annotated[str, Form(alias="reason")]
) -> Response:
    """Go back."""
    desk.demand(Right.ROLL_BACK, tier)
    model = model_of(namespace, name)
    roll_back(desk.work, model, tier, reason=reason(why))
    return fresh(f"/tiers/{tier}/{model}?done=back")
