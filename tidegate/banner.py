"""One line on stderr after a command at a site whose news are late: nobody has to ask to be told.

Only where the command had the home's tables open anyway, and only when it succeeded: a refusal has enough to say,
and with --json it is the one document on stderr. It never changes what a command does or how it ends.
"""

import contextlib
from typing import TYPE_CHECKING

import click

from signing.errors import OperatorError
from tidegate.output import plain

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


def show_banner(app: "App") -> None:
    """Say on stderr that this site's news are late, if so. What keeps it from knowing, `tidegate doctor` says."""
    with contextlib.suppress(OperatorError):
        line = freshness_line(app)
        if line is not None:
            click.echo(plain(line), err=True)
