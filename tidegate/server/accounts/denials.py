"""Every denial is an event."""

from typing import TYPE_CHECKING

from registry.access import Right
from registry.audit import EventKind

if TYPE_CHECKING:
    from tidegate.server.guard import Desk


def record_denial(desk: "Desk", right: Right, tier: str | None) -> None:
    """Record that somebody asked for what they may not do."""
    request = desk.request
    route = request.scope.get("route")
    note = {
        "method": request.method,
        "path": request.url.path[:200],
        "right": str(right),
        "tier": tier,
        "how": desk.principal.how,
        "count": 1,
    }
    with desk.premises.store.change(actor=desk.principal.name, now=desk.premises.clock()) as change:
        change.record(EventKind.DENIED, str(getattr(route, "path", request.url.path[:200])), note=note)
