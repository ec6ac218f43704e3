"""`serve`: the doors for clients that know nothing of Tidegate, for browsers and for programs."""

from dataclasses import replace

import click

from tidegate.cli.doors import Door, pass_app
from tidegate.wiring import App


@click.command(cls=Door)
@click.option(
    "--listen", metavar="HOST:PORT", help="Where to listen; port 0 is any free one. Default: server.toml's."
)
@pass_app
def serve(app: App, listen: str | None) -> None:
    """Open the doors: model files for clients as they are, pages for people, an API, until it is told to end.

    \b
    tidegate serve
    tidegate serve --listen 127.0.0.1:0
    """
    from tidegate.server import run
    from tidegate.server.premises import Premises
    from tidegate.server.settings import load

    settings = load(app.home.path)
    if listen is not None:
        settings = replace(settings, listen=listen)
    run.serve(Premises(app, settings), ready=lambda url: click.echo(f"Serving {app.home.name} at {url}"))
