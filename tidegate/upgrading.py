"""Brings a home of an older release to this one: its database, while nobody imports, exports or hands over."""

from dataclasses import dataclass

from registry import store_schema
from registry.reserve import lent
from registry.store_schema import By
from tidegate.wiring import App


@dataclass(frozen=True)
class Upgrade:
    """Which shape was found, which one this release reads, and whether anything was done."""

    found: str
    wanted: str
    upgraded: bool


def look(app: App) -> Upgrade:
    """Say what would be done. Raises `StoreUnusable` for a database that this release does not know."""
    return Upgrade(store_schema.demand_readable(app.any_store), store_schema.newest(), upgraded=False)


def upgrade(app: App) -> Upgrade:
    """Run the steps that are missing, and record it; all of it or nothing.

    Raises:
        StoreUnusable: the database is away, in use, full, or of a release that this one does not know.
        HomeBusy: something imports, exports, hands over or frees space.
    """
    seen = look(app)
    if seen.found == seen.wanted:
        return seen
    with app.home.store_alone(), lent(app.home.path):
        found = store_schema.upgrade(app.any_store, By(app.home.name, app.settings.actor, app.now))
        app.close()  # the database's own log takes space until then
    return Upgrade(str(found), seen.wanted, upgraded=found != seen.wanted)
