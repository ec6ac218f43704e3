"""What all commands share: their common options, the world they work in, and refusal to exit code.

Bugs keep their traceback; only refusals are translated.
"""

import errno
import functools
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeVar, cast

import click

from signing.errors import OperatorError
from tidegate import output
from tidegate.banner import show_banner
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
    click.Option(
        ["--server"],
        metavar="URL",
        help="Do it at the Tidegate that serves there, not in a home here. Default: TIDEGATE_SERVER, if it is set.",
    ),
    click.Option(
        ["--token-file"],
        type=click.Path(path_type=Path, dir_okay=False),
        help="With --server: file whose first line is your token. Default: TIDEGATE_TOKEN_FILE, else TIDEGATE_TOKEN.",
    ),
    click.Option(
        ["--ca-file"],
        type=click.Path(path_type=Path, dir_okay=False),
        help="With --server: certificates (PEM) of who vouches for it. Default: TIDEGATE_CA_FILE, else the system's.",
    ),
)
COMMON = tuple(str(option.name) for option in _COMMON)
_PASSPHRASE = ("passphrase_file", "passphrase_fd")
READ_BY_THE_DOOR = (*COMMON, *_PASSPHRASE)  # what no command's own function takes


GIVEN = "tidegate.given"  # in a context's meta: the parameters by name, instead of a line of words
TYPED = "tidegate.typed"  # in a context's meta: parameter to what was typed for it
_REASON = 2000  # characters
_ACTOR = 64  # characters; the audit log shows it in a column


def _demand_text(ctx: click.Context) -> None:
    """Refuse arguments that are not UTF-8: no document, database or log could hold them. Paths may be any bytes."""
    for name, value in ctx.params.items():
        for text in value if isinstance(value, tuple) else (value,):
            if isinstance(text, str) and not text.isascii():
                try:
                    text.encode()
                except UnicodeEncodeError as exc:
                    raise click.UsageError(f"{name} is not valid UTF-8", ctx) from exc


class _Named:
    """Stands where click's parser does, for a command that is given in another way than by a line of words."""

    _opt_prefixes: frozenset[str] = frozenset()

    def __init__(self, command: click.Command, given: Mapping[str, Any]) -> None:
        self._given = given
        self._order = [parameter for parameter in command.params if parameter.name in given]

    def parse_args(self, args: list[str]) -> tuple[dict[str, Any], list[str], list[click.Parameter]]:
        """What click's parser returns: the values as they were given, the words that are left, the order."""
        return dict(self._given), args, self._order


class Door(click.Command):
    """A command that takes the common options and answers refusals with their own exit code."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.extend(_COMMON)

    def make_parser(self, ctx: click.Context) -> Any:
        """A parser of words; of parameters that are known by name already, where the context brings those."""
        given = ctx.meta.get(GIVEN)
        return super().make_parser(ctx) if given is None else _Named(self, given)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep what was typed beside what it means: it is what travels, if the command does."""
        ctx.meta[TYPED] = self.make_parser(ctx).parse_args(list(args))[0] if not ctx.resilient_parsing else {}
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        _demand_text(ctx)
        if ctx.obj is not None:  # the world of somebody else's request: they answer for its refusals
            ctx.params = {name: value for name, value in ctx.params.items() if name not in READ_BY_THE_DOOR}
            return self._work(ctx)
        settings = _settings(ctx)
        try:
            if settings.afar is not None and not _homeless(ctx):
                from tidegate.remote import run

                return run(ctx, settings)
            # Nothing of a home may be written by others, whatever the shell allows.
            os.umask(os.umask(0o077) | 0o022)
            ctx.obj = App(settings)
            return self._work(ctx)
        except OperatorError as refusal:
            _refuse(refusal, settings)
        finally:
            if ctx.obj is not None:
                ctx.obj.close()

    def _work(self, ctx: click.Context) -> Any:
        try:
            done = super().invoke(ctx)
        except OSError as exc:
            if exc.errno is None or exc.errno == errno.EPIPE:  # a library's own, or a reader that has gone
                raise
            place = " -> ".join(str(name) for name in (exc.filename, exc.filename2) if name is not None)
            raise SystemRefused(place, exc.strerror or "cannot be read or written") from exc
        show_banner(ctx.obj)
        return done


def _settings(ctx: click.Context) -> Settings:
    """What the common options say, taken out of the command's own."""
    common = {name: ctx.params.pop(name, None) for name in COMMON}
    named = {name: ctx.params.pop(name, None) for name in _PASSPHRASE}
    if None not in named.values():
        raise click.UsageError("--passphrase-file and --passphrase-fd name two sources; give one", ctx)
    for mine in ("home", "actor"):
        if common["server"] is not None and common[mine] is not None:
            raise click.UsageError(f"--{mine} is of a home here; leave it out with --server", ctx)
    settings = from_environment(**common, **named)
    if not settings.actor.isprintable() or not 1 <= len(settings.actor.strip()) <= _ACTOR:
        raise click.UsageError(f"the actor must be a name on one line, at most {_ACTOR} characters", ctx)
    return settings


def _homeless(ctx: click.Context) -> bool:
    """Whether a command works on files of this machine alone, whichever server is named."""
    from tidegate.afar import COMMANDS, Stay

    found = COMMANDS.get(path_of(ctx))
    return isinstance(found, Stay) and found.homeless


def path_of(ctx: click.Context) -> str:
    """The command as it is typed after `tidegate`: `models show`."""
    return " ".join(ctx.command_path.split()[1:])


class Noun(click.Group):
    """A group of commands about one noun."""

    command_class = Door

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The first sentence of every command, whole: click would cut it."""
        with formatter.section("Commands"):
            lines = {name: self.get_command(ctx, name) for name in self.list_commands(ctx)}
            formatter.write_dl([(name, _sentence(command)) for name, command in lines.items() if command])


Noun.group_class = Noun


def _refuse(refusal: OperatorError, settings: Settings) -> NoReturn:
    output.show_refusal(refusal, as_json=settings.as_json)
    leave(refusal.exit_code)


def _sentence(command: click.Command) -> str:
    paragraph = " ".join((command.help or "").split("\n\n")[0].split())
    return re.split(r"(?<=[.?]) (?=[A-Z])", paragraph)[0]


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
    """Add `--passphrase-file` and `--passphrase-fd`: a passphrase or PIN is never an argument."""
    function = click.option(
        "--passphrase-fd",
        type=click.IntRange(min=0),
        metavar="N",
        help="An open descriptor whose first line is the keys' passphrase, or a token's PIN.",
    )(function)
    return click.option(
        "--passphrase-file",
        type=click.Path(path_type=Path, dir_okay=False),
        help="File whose first line is the keys' passphrase, or a token's PIN. Default: TIDEGATE_PASSPHRASE_FILE, "
        "else the program TIDEGATE_ASKPASS, else you are asked.",
    )(function)


class Reason(click.ParamType):  # type: ignore[type-arg]  # generic only to the type checker
    """Why something was done, for whoever reads the log in a year."""

    name = "TEXT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value).strip()
        if not text or len(text) > _REASON:
            self.fail(f"say why, in at most {_REASON:,} characters", param, ctx)
        return text


def settings_of(app: App) -> Settings:
    """The settings of the running command."""
    return app.settings
