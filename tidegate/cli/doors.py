"""What all commands share: their common options, the world they work in, and refusal to exit code.

Bugs keep their traceback; only refusals are translated.
"""

import errno
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar, cast

import click

from signing.errors import OperatorError
from tidegate import output
from tidegate.errors import SystemRefused
from tidegate.settings import Settings, from_environment
from tidegate.wiring import App

Function = TypeVar("Function", bound=Callable[..., Any])

_COMMON = (
    click.Option(
        ["--home"],
        type=click.Path(path_type=Path, file_okay=False),
        help="The home to work in. Default: TIDEGATE_HOME, else ~/.tidegate.",
    ),
    click.Option(
        ["--actor"], help="Who acts, for the audit log. Default: TIDEGATE_ACTOR, else the login name."
    ),
    click.Option(["--json", "as_json"], is_flag=True, help="Print one JSON document."),
)


class Door(click.Command):
    """A command that takes the common options and answers refusals with their own exit code."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.extend(_COMMON)

    def invoke(self, ctx: click.Context) -> Any:
        common = {name: ctx.params.pop(name) for name in ("home", "actor", "as_json")}
        settings = from_environment(**common, passphrase_file=ctx.params.pop("passphrase_file", None))
        ctx.obj = App(settings)
        try:
            return super().invoke(ctx)
        except OperatorError as refusal:
            _refuse(refusal, settings)
        except OSError as exc:
            if exc.errno is None or exc.errno == errno.EPIPE:  # a library's own, or a reader that has gone
                raise
            place = " -> ".join(str(name) for name in (exc.filename, exc.filename2) if name is not None)
            _refuse(SystemRefused(place, exc.strerror or "cannot be read or written"), settings)
        finally:
            ctx.obj.close()


class Noun(click.Group):
    """A group of commands about one noun."""

    command_class = Door


Noun.group_class = Noun


def _refuse(refusal: OperatorError, settings: Settings) -> NoReturn:
    output.show_refusal(refusal, as_json=settings.as_json)
    leave(refusal.exit_code)


def leave(code: int) -> NoReturn:
    """End the command with this exit code."""
    raise click.exceptions.Exit(code)


def pass_app(function: Function) -> Function:
    """Hand the command's `App` over as the first argument."""

    @functools.wraps(function)
    def with_app(*args: Any, **kwargs: Any) -> Any:
        return function(click.get_current_context().obj, *args, **kwargs)

    return cast("Function", with_app)


def passphrase_option(function: Function) -> Function:
    """Add `--passphrase-file`: a passphrase is never an argument."""
    return click.option(
        "--passphrase-file",
        type=click.Path(path_type=Path, dir_okay=False),
        help="File whose first line is the keys' passphrase. Default: TIDEGATE_PASSPHRASE_FILE, else you are asked.",
    )(function)


def settings_of(app: App) -> Settings:
    """The settings of the running command."""
    return app.settings
