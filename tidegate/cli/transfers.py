"""What people say of a transfer when they pack it: the columns of the record that no file can tell."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import click

Function = TypeVar("Function", bound=Callable[..., Any])

_SAID = {
    "requester": "Who asked for the transfer.",
    "approver": "Who approved it, by the rules for transfers.",
    "classification": "How the contents are classified, in your own scheme's words.",
    "source_system": "The system it leaves, as your inventory names it.",
    "destination_system": "The system it is for, as your inventory names it.",
    "medium": "What it is carried on, such as 'DVD-R' or 'disk'.",
}


class Column(click.ParamType):  # type: ignore[type-arg]  # generic only to the type checker
    """One column of a transfer record."""

    name = "TEXT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value).strip()
        if not 1 <= len(text) <= 200 or not text.isprintable():
            self.fail("1 to 200 printable characters are needed", param, ctx)
        return text


def transfer_options(function: Function) -> Function:
    """Add the options and hand over `transfer`, a `signing.summaries.Transfer`."""

    @functools.wraps(function)
    def with_transfer(*args: Any, **kwargs: Any) -> Any:
        from signing.summaries import Transfer

        said = {name: kwargs.pop(name) for name in _SAID}
        numbers = kwargs.pop("control_numbers")
        return function(*args, transfer=Transfer(**said, control_numbers=numbers), **kwargs)

    wrapped: Any = click.option(
        "--control-number", "control_numbers", multiple=True, type=Column(), help="Of a medium, as labelled."
    )(with_transfer)
    for name, text in reversed(_SAID.items()):
        wrapped = click.option(f"--{name.replace('_', '-')}", type=Column(), help=text)(wrapped)
    return cast("Function", wrapped)
