"""`serve` opens the doors for clients that know nothing of Tidegate; `server` looks at what they are told to be."""

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from tidegate.cli.doors import Door, Noun, leave, pass_app
from tidegate.errors import ServerSettingsWrong
from tidegate.output import say, show, table
from tidegate.wiring import App

if TYPE_CHECKING:
    from tidegate.server.explain import Line
    from tidegate.server.settings import ServerSettings

_TLS = 443


class _Address(click.ParamType):  # type: ignore[type-arg]  # generic only to the type checker
    name = "HOST:PORT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        host, _, port = str(value).rpartition(":")
        if not host or not port.isdecimal() or int(port) > 65535:
            self.fail(f"{value!r} is no address; write HOST:PORT", param, ctx)
        return str(value)


@click.command(cls=Door)
@click.option(
    "--listen", type=_Address(), help="Where to listen; port 0 is any free one. Default: server.toml's."
)
@pass_app
def serve(app: App, listen: str | None) -> None:
    """Open the doors: model files for clients as they are, pages for people, an API, until it is told to end.

    Prints one line with the address once it answers, and on stderr what `server check` finds wrong. SIGTERM or Ctrl-C
    ends it: who is being served may finish, within `limits.stop_seconds` of server.toml; a second one ends it at once.

    \b
    tidegate serve
    tidegate serve --listen 127.0.0.1:0
    """
    settings = _settings(app, listen)
    from tidegate.server import run
    from tidegate.server.premises import Premises

    notes = [f"Note: {line.setting}: {line.text}" for line in _explained(app, settings) if line.wrong]

    def ready(at: str) -> None:
        click.echo(f"Serving {app.home.name} at {at}")
        for note in notes:
            say(note, err=True)

    run.serve(Premises(app, settings), ready=ready)


@click.group(cls=Noun)
def server() -> None:
    """What server.toml means, and the configuration of nginx in front of the doors."""


@server.command()
@pass_app
def check(app: App) -> None:
    """Say what server.toml means, line by line, and what of it would not work. Opens nothing.

    Ends with the code of wrong settings when anything would not work.
    """
    lines = _explained(app, _settings(app, None))
    shown = table(
        ("", "setting", "means"),
        [("wrong" if line.wrong else "", line.setting, line.text) for line in lines],
        empty="",
    )
    show({"lines": [vars(line) for line in lines]}, shown, as_json=app.settings.as_json)
    if any(line.wrong for line in lines):
        leave(ServerSettingsWrong.exit_code)


@server.command()
@click.option("--name", help="What clients call the server. Default: the host of public_url.")
@click.option(
    "--port", type=click.IntRange(1, 65535), help="Where nginx listens. Default: public_url's, else 443."
)
@click.option(
    "--certificate",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="PEM, with its chain.",
)
@click.option("--key", type=click.Path(path_type=Path, dir_okay=False), required=True, help="PEM of its key.")
@click.option(
    "--client-ca",
    type=click.Path(path_type=Path, dir_okay=False),
    help="PEM of who vouches for clients' certificates; they are asked for, and not demanded.",
)
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="A file. Default: it is printed."
)
@pass_app
def nginx(
    app: App,
    name: str | None,
    port: int | None,
    certificate: Path,
    key: Path,
    client_ca: Path | None,
    out: Path | None,
) -> None:
    """Write the nginx configuration that goes in front: TLS, client certificates, files sent by nginx.

    It belongs into `http {}` of nginx: a file in /etc/nginx/conf.d. server.toml has to name a `socket`.

    \b
    tidegate server nginx --certificate /etc/ssl/doors.pem --key /etc/ssl/doors.key --out /etc/nginx/conf.d/tidegate.conf
    """
    settings = _settings(app, None)
    from signing.durable import write_durably
    from tidegate.server.nginx import Front, configuration

    public = urlsplit(settings.public_url or "")
    found = name or public.hostname
    if not found:
        raise click.UsageError("--name is missing, and server.toml has no public_url to take it from")
    front = Front(found, port or public.port or _TLS, certificate, key, client_ca)
    text = configuration(app.home.path, app.blobs.path("0" * 64).parent, settings, front)
    if out is None:
        show({"configuration": text}, text.rstrip("\n"), as_json=app.settings.as_json)
        return
    write_durably(out, text.encode())
    said = f"Written: {out}\nNext:    nginx -t && systemctl reload nginx"
    show({"file": str(out)}, said, as_json=app.settings.as_json)


def _explained(app: App, settings: "ServerSettings") -> "list[Line]":
    from tidegate.server.explain import explained

    with app.store.view() as view:
        tiers = frozenset(row.tier for row in view.tiers())
    return explained(settings, tiers=tiers, now=app.now)


def _settings(app: App, listen: str | None) -> "ServerSettings":
    """Read server.toml; a site without the doors' packages is told so before anything is imported."""
    from tidegate.server.settings import load

    if importlib.util.find_spec("uvicorn") is None or importlib.util.find_spec("fastapi") is None:
        raise ServerSettingsWrong(
            str(app.home.path), "this installation lacks the extra: pip install 'tidegate[serve]'"
        )
    settings = load(app.home.path)
    return settings if listen is None else replace(settings, listen=listen)
