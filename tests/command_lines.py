"""Holds a command that is written down somewhere against the commands that exist."""

import re
import shlex
from functools import cache

import click

from tidegate.reference import commands

_ELLIPSES = {"…", "..."}


@cache
def known() -> dict[str, click.Command]:
    """Every command by its path, as `bundles import`."""
    return dict(commands())


def _words(line: str) -> list[str]:
    """The words of a command; where its output goes is the shell's."""
    words = shlex.split(line, comments=True)
    return words[: words.index(">")] if ">" in words else words


def problems(line: str) -> list[str]:
    """Return what is wrong with `tidegate …` as it would be typed; an ellipsis stands for anything."""
    try:
        words = _words(line)
    except ValueError as exc:
        return [f"{line}: {exc}"]
    assert words[0] == "tidegate", line
    words = words[1:]
    path = next((" ".join(words[:n]) for n in (2, 1) if " ".join(words[:n]) in known()), None)
    if path is None:
        groups = {name.split()[0] for name in known()}
        is_group = len(words) == 1 and words[0] in groups  # "run `tidegate audit`"
        ours = {"--help", "-h", "--version"}
        return (
            [] if is_group or set(words) <= ours or words[:1] == ["COMMAND"] else [f"{line}: no such command"]
        )
    rest = words[len(path.split()) :]
    return _options(line, known()[path], rest)


def _options(line: str, command: click.Command, rest: list[str]) -> list[str]:
    options = {name: p for p in command.params if isinstance(p, click.Option) for name in p.opts}
    arguments = [p for p in command.params if isinstance(p, click.Argument)]
    found: list[str] = []
    values: list[str] = []
    words = iter(rest)
    for word in words:
        name = word.split("=", 1)[0]
        if name in ("--help", "-h"):
            return found
        if not word.startswith("-"):
            values.append(word)
        elif name not in options:
            found.append(f"{line}: {command.name} has no {name}")
        elif not options[name].is_flag and "=" not in word:
            next(words, None)  # its value; running text may leave it out
    open_ended = bool(_ELLIPSES & set(values)) or any(p.nargs == -1 for p in arguments) or "…" in line
    if not open_ended and len(values) > len(arguments):
        found.append(f"{line}: {values[len(arguments)]!r} is too much")
    return found


def missing(line: str) -> list[str]:
    """Return the arguments and required options that a whole command lacks."""
    words = _words(line)[1:]
    path = next(" ".join(words[:n]) for n in (2, 1) if " ".join(words[:n]) in known())
    command, rest = known()[path], words[len(path.split()) :]
    flags = {name for p in command.params if isinstance(p, click.Option) and p.is_flag for name in p.opts}
    values, skip = 0, False
    for word in rest:
        if skip:
            skip = False
        elif word.startswith("-"):
            skip = word not in flags and "=" not in word
        else:
            values += 1
    needed = sum(1 for p in command.params if isinstance(p, click.Argument) and p.required)
    lacking = [f"{line}: lacks an argument"] if values < needed else []
    lacking += [f"{line}: {rest[-1]} needs a value"] if skip else []
    required = [p for p in command.params if isinstance(p, click.Option) and p.required]
    lacking += [f"{line}: lacks {p.opts[0]}" for p in required if not set(p.opts) & set(rest)]
    return lacking


def in_backticks(text: str) -> list[str]:
    """Every `tidegate …` between backticks in running text."""
    return [" ".join(found.split()) for found in re.findall(r"`(tidegate [^`]+)`", text)]
