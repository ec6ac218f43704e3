"""`tidegate bundles finish|redraft`: a bundle that was packed with `--draft` and waited for officers elsewhere."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tidegate.cli.doors import Door, pass_app
from tidegate.output import progress, show, size
from tidegate.wiring import App

if TYPE_CHECKING:
    from pipelines.drafting import Drafted


@click.command(cls=Door)
@click.argument("place", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@pass_app
def finish(app: App, place: Path) -> None:
    """Make a bundle of one that was packed with --draft, once its ceremony is published.

    DIR is the --out that it was packed for, or its hidden folder where several wait. Every packed byte is read again.
    Stopped at any moment, the same command finishes the job.

    \b
    tidegate bundles finish media
    """
    from pipelines.finishing import finish as complete
    from tidegate.cli.bundles import show_shipped

    app.demand("origin")
    with progress("reading back") as bar:
        done = complete(app.work, place, progress=bar, expect=bar.expect)
    show_shipped(app, done, 0)


@click.command(cls=Door)
@click.argument("place", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--draft",
    "ceremony",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    required=True,
    help="Where the new ceremony begins: a new or empty folder.",
)
@pass_app
def redraft(app: App, place: Path, ceremony: Path) -> None:
    """Give a bundle that waits for its officers the next free number, and begin another ceremony for it.

    For when another bundle took its number, the catalogue changed, or a version was withdrawn meanwhile. Nothing is
    packed again; the officers sign again.

    \b
    tidegate bundles redraft media --draft ceremony-2
    """
    from pipelines.finishing import redraft as renew

    app.demand("origin")
    show_drafted(app, renew(app.work, place, ceremony))


def show_drafted(app: App, done: "Drafted") -> None:
    """Print what waits, and what comes next."""
    lines = [
        f"Bundle {done.bundle} (number {done.sequence} for {done.site}) is packed, {size(done.bytes)}, and not signed."
    ]
    lines += [f"  {version}" for version in done.versions]
    lines += [f"  {note}" for note in done.notes]
    lines += [
        f"  it waits in {done.hidden}",
        f"  {done.ceremony}: to be signed for {' and '.join(done.roles)}",
    ]
    lines.append(
        f"Next:    each officer, on their own machine: tidegate trust sign {done.ceremony.name} --key KEY; then here: "
        f"tidegate trust publish {done.ceremony} and tidegate bundles finish {done.hidden.parent}"
    )
    document = {
        "bundle": done.bundle,
        "sequence": done.sequence,
        "site": done.site,
        "waits_in": str(done.hidden),
        "ceremony": str(done.ceremony),
        "roles": list(done.roles),
        "versions": list(done.versions),
        "bytes": done.bytes,
        "notes": list(done.notes),
    }
    show(document, "\n".join(lines), as_json=app.settings.as_json)
