"""`support-bundle`: what somebody elsewhere needs to help. Nothing is sent; a person reads it and carries it."""

from pathlib import Path

import click

from tidegate.cli.doors import Door, pass_app
from tidegate.output import show
from tidegate.wiring import App


@click.command("support-bundle", cls=Door)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="The file to write (.tar.gz).",
)
@click.option(
    "--log",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A file with the server's log lines, such as `journalctl -o cat -u tidegate` prints.",
)
@pass_app
def support_bundle(app: App, out: Path, log: Path | None) -> None:
    """Write what somebody elsewhere needs to help: versions, findings, counts, the newest events by kind.

    No weights, documents, keys or tokens; names are replaced by numbers. Read it before you hand it on.

    \b
    tidegate support-bundle --out help.tar.gz
    journalctl -o cat -u tidegate > server.log && tidegate support-bundle --out help.tar.gz --log server.log
    """
    from tidegate.support_bundle import write_support_bundle

    names = write_support_bundle(app, out, log=log)
    text = f"Wrote {out}: {', '.join(names)}.\nNext:    read it (tar -xzf {out}), then hand it on."
    show({"file": str(out), "holds": names}, text, as_json=app.settings.as_json)
