"""What tiers serve and what was seen of it, loaded for pages in bounded time."""

from collections.abc import Mapping

from pipelines.drift import Drift, drift
from registry import store_attention, store_pages
from registry.entities import Pin
from registry.store_pages import Asked
from registry.views import View
from tidegate.server.guard import Desk


def hours(desk: Desk, view: View) -> Mapping[str, int]:
    """How old an observation may be in each tier; a home without serving.toml goes by the default."""
    from pipelines.rollout import settings

    home = desk.premises.home.path
    if not (home / settings.FILE).exists():
        return {}
    found = settings.read(home, tiers={row.tier for row in view.tiers()})
    return {name: one.observe_hours for name, one in found.tiers.items()}


def pins_and_drift(desk: Desk, view: View, *, model: str | None = None) -> tuple[list[Pin], list[Drift]]:
    """What tiers serve now, of one model if it is named (at most a page), and how the nodes keep to it."""
    pins = list(store_pages.pins_now(view, Asked(store_pages.MOST), model=model).rows)
    seen = [row for row in store_attention.newest_observations(view) if model in (None, row.model)]
    return pins, drift(pins, seen, now=desk.app.now, hours=hours(desk, view))
