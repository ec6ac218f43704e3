"""Runs one command of the command line for somebody elsewhere, in this process, as them.

The command is the same object that the command line runs; its parameters go through click's own conversion, so what
is refused there is refused here, with the same words and the same code. What differs is its world: their name, their
files (`luggage`), and a place for its words that nobody else sees (`output.Kept`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import click

from signing.errors import OperatorError
from tidegate import output
from tidegate.afar import Act
from tidegate.cli.doors import GIVEN, READ_BY_THE_DOOR
from tidegate.errors import RequestUnreadable
from tidegate.server.api.luggage import Room, room
from tidegate.server.premises import Visit


@dataclass(frozen=True)
class Command:
    """A command that may be given from elsewhere."""

    path: str  # `models show`
    command: click.Command
    rule: Act

    @property
    def parameters(self) -> dict[str, click.Parameter]:
        """The command's own, by name."""
        own = (item for item in self.command.params if item.name not in READ_BY_THE_DOOR)
        return {str(item.name): item for item in own if item.name not in self.rule.withheld}


@dataclass(frozen=True)
class Done:
    """How a command ended, and all that it said and wrote."""

    exit_code: int
    document: Any = None
    preface: str = ""  # what stood before the answer on stdout
    text: str | None = None  # None: it showed nothing
    notes: str = ""  # what went to stderr
    files: list[dict[str, str]] = field(default_factory=list)
    refusal: OperatorError | None = None
    message: str = ""  # the refusal's, in the caller's own words for files
    usage: str | None = None  # how the command is used, where it was not


def perform(command: Command, given: Mapping[str, Any], visit: Visit) -> Done:
    """Run a command with parameters as JSON has them.

    Raises:
        RequestUnreadable: parameters that are none, or of another type.
    """
    with room() as luggage:
        values = _values(command, given, luggage)
        visit.brought = frozenset(luggage.brought)
        kept = output.Kept()
        with output.to(kept):
            ended = _run(command, values, visit)
        return Done(
            exit_code=ended.exit_code,
            document=luggage.said(kept.document),
            preface=luggage.said(kept.preface),
            text=luggage.said(kept.text),
            notes=luggage.said(kept.notes),
            files=luggage.written() if ended.exit_code == 0 else [],
            refusal=ended.refusal,
            message=luggage.said(ended.message),
            usage=ended.usage,
        )


def _values(command: Command, given: Mapping[str, Any], luggage: Room) -> dict[str, Any]:
    """What click would have read from a command line."""
    known = command.parameters
    values = {}
    for name, value in given.items():
        if name not in known:
            raise RequestUnreadable(f"{name} is no parameter of `tidegate {command.path}`")
        if value is not None:
            way = command.rule.files.get(name)
            checked = _checked(known[name], value, name, anything=way is not None)
            values[name] = checked if way is None else luggage.take(name, way, checked)
    return values


def _checked(parameter: click.Parameter, value: Any, name: str, *, anything: bool) -> Any:
    """The value if it is of the parameter's type in JSON. Raises `RequestUnreadable`."""
    if is_list(parameter):
        if not isinstance(value, list):
            raise RequestUnreadable(f"{name} is a list")
        return [_one(parameter, item, name, anything=anything) for item in value]
    return _one(parameter, value, name, anything=anything)


def _one(parameter: click.Parameter, value: Any, name: str, *, anything: bool) -> Any:
    wanted = kind_of(parameter)
    if anything and isinstance(value, dict):
        return value  # a file; the luggage looks at it
    if type(value) is not wanted:
        raise RequestUnreadable(f"{name} is {_NAMES[wanted]}")
    if isinstance(value, str) and "\0" in value:
        raise RequestUnreadable(f"{name} holds a character that no text has")
    if isinstance(value, str) and len(value) > _LONGEST:
        raise RequestUnreadable(
            f"{name} has more than {_LONGEST:,} characters, and no command line holds as many"
        )
    return value


_LONGEST = 32768  # characters; Linux takes 131,071 bytes in one argument, and a character has four at most
_NAMES: dict[type, str] = {bool: "true or false", int: "a whole number", str: "a text"}


def is_list(parameter: click.Parameter) -> bool:
    """Whether a parameter may be given more than once."""
    return parameter.multiple or parameter.nargs != 1


def kind_of(parameter: click.Parameter) -> type:
    """What one value of a parameter is in JSON: a bool, an int, or a text that click reads."""
    if isinstance(parameter, click.Option) and parameter.is_flag:
        return bool
    return int if isinstance(parameter.type, click.types.IntParamType) else str


def _run(command: Command, values: Mapping[str, Any], visit: Visit) -> Done:
    context = _context(command, visit)
    context.meta[GIVEN] = values
    try:
        with context:
            command.command.parse_args(context, [])
            command.command.invoke(context)
    except OperatorError as refusal:
        return Done(refusal.exit_code, refusal=refusal, message=str(refusal))
    except click.UsageError as wrong:
        return Done(wrong.exit_code, message=wrong.format_message(), usage=context.get_usage())
    except click.exceptions.Exit as ended:
        return Done(ended.exit_code)
    return Done(0)


def _context(command: Command, visit: Visit) -> click.Context:
    """As the command line makes it, so that usage reads the same."""
    *groups, name = command.path.split()
    parent = click.Context(click.Group("tidegate"), info_name="tidegate")
    for group in groups:
        parent = click.Context(click.Group(group), info_name=group, parent=parent)
    return click.Context(command.command, info_name=name, parent=parent, obj=visit)
