"""Lines on stderr after a command at a site whose news are late, or that serves on one person's word: nobody has to ask.

Only where the command had the home's tables open anyway, and only when it succeeded: a refusal has enough to say,
and with --json it is the one document on stderr. It never changes what a command does or how it ends.
"""

import contextlib
from typing import TYPE_CHECKING

from signing.errors import OperatorError
from tidegate.output import plain, say

if TYPE_CHECKING:
    from tidegate.wiring import App


def freshness_line(app: "App") -> str | None:
    """Return the line, or None when the site is not late, or is no site. Raises what its tables raise."""
    if "store" not in app.__dict__ or not app.home.is_site:
        return None
    from pipelines.freshness import site_freshness

    with app.store.view() as view:
        found = site_freshness(view, app.now)
    return f"{found.state.value}: {found.text}." if found.late else None


def break_glass_lines(app: "App") -> list[str]:
    """Return a line for each break-glass that nobody has reviewed. Raises what its tables raise."""
    if "store" not in app.__dict__ or not app.home.is_site:
        return []
    with app.store.view() as view:
        if not view.overridden():
            return []
        from pipelines.break_glass import loud

        return loud(app.work, view)


def show_banner(app: "App") -> None:
    """Say on stderr what nobody should have to ask for. What keeps it from knowing, `tidegate doctor` says."""
    with contextlib.suppress(OperatorError):
        line = freshness_line(app)
        for said in [*break_glass_lines(app), *([line] if line is not None else [])]:
            say(plain(said), err=True)
