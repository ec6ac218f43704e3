"""Writes the reference pages from the code, so that they cannot say anything else.

`python -m tidegate.reference` writes them, `--check` only compares. Every refusal with its exit code (from the subclasses
of `OperatorError`), every command with its options (from click), every address of the REST API (from its description).
"""

import importlib
import inspect
import pkgutil
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from signing.errors import OperatorError
from tidegate.cli.doors import COMMON

_PACKAGES = ("signing", "registry", "pipelines", "tidegate")
_NOT_IMPORTED = re.compile(r".*\.(migrations(\..*)?|__main__)")  # programs and Alembic's own steps
_NOTE = "<!-- Written by `python -m tidegate.reference`; edit the code, not this page. -->"


@dataclass(frozen=True)
class Family:
    """Refusals of one kind, and the numbers that are theirs."""

    title: str
    meaning: str
    codes: tuple[range, ...]
    modules: tuple[str, ...]  # where they may be defined


FAMILIES = (
    Family(
        "Who vouches for these bytes",
        "A document, a signature, a key or the trust of this home. Nothing was taken in, nothing was published.",
        (
            range(10, 20),
            range(50, 60),
            range(90, 100),
            range(120, 126),
            range(208, 210),
            range(250, 255),
        ),
        ("signing",),
    ),
    Family(
        "Bundles",
        "What lies on the medium, or what would be written to one. Nothing of it has become visible here.",
        (range(20, 30), range(60, 70), range(110, 120)),
        ("pipelines",),
    ),
    Family(
        "Judging",
        "A source, a scan, a suite, an engine, a hand-over. Nothing was pinned.",
        (range(30, 40), range(70, 80), range(176, 185), range(200, 208), range(210, 240)),
        ("pipelines",),
    ),
    Family(
        "The registry",
        "What is held, how it is named, and what may serve.",
        (range(40, 50), range(80, 90), range(188, 193), range(240, 250)),
        ("registry", "signing.times"),
    ),
    Family(
        "The doors",
        "What a command found, or lacked, before or after the work.",
        (range(3, 10), range(100, 110), range(160, 176), range(185, 188), range(193, 200)),
        ("tidegate",),
    ),
)


def refusals() -> list[type[OperatorError]]:
    """Return every concrete refusal of the product, by exit code. Imports every module to find them."""
    for package in _PACKAGES:
        for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
            if not _NOT_IMPORTED.fullmatch(module.name):
                importlib.import_module(module.name)
    ours = [cls for cls in _subclasses(OperatorError) if cls.__module__.split(".")[0] in _PACKAGES]
    concrete = {cls for cls in ours if "exit_code" in vars(cls)}
    return sorted(concrete, key=lambda cls: (cls.exit_code, cls.__name__))


def family_of(refusal: type[OperatorError]) -> Family | None:
    """Return the family whose numbers the refusal's exit code is one of."""
    return next((f for f in FAMILIES if any(refusal.exit_code in codes for codes in f.codes)), None)


def commands() -> Iterator[tuple[str, click.Command]]:
    """Yield (path, command) for every command that does something: `("bundles import", …)`, in the order of help."""
    from tidegate.cli.root import main

    yield from _commands("", main)


def exit_codes_page() -> str:
    """Return `docs/operator/exit-codes.md`."""
    lines = [
        _NOTE,
        "",
        "# Exit codes",
        "",
        "Every refusal has an exit code of its own and says what to do next. 0 is success. 1 is a bug: it shows a",
        "traceback and should be reported with it. 2 is a command line that cannot be read. With `--json` a refusal",
        "is one JSON document on stderr: `refused`, `message`, `next_step`, `exit_code`.",
    ]
    known = refusals()
    for family in FAMILIES:
        ranges = ", ".join(f"{codes.start}-{codes.stop - 1}" for codes in family.codes)
        lines += ["", f"## {family.title} ({ranges})", "", family.meaning, ""]
        lines += ["| code | refusal | when | what to do next |", "|---|---|---|---|"]
        for refusal in known:
            if family_of(refusal) is family:
                cells = (
                    str(refusal.exit_code),
                    f"`{refusal.__name__}`",
                    first_line(refusal),
                    refusal.next_step,
                )
                lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def first_line(refusal: type[OperatorError]) -> str:
    """Return the first paragraph of the refusal's own docstring, on one line; empty when it has none."""
    own = inspect.cleandoc(vars(refusal).get("__doc__") or "")
    return " ".join(own.split("\n\n", 1)[0].split())


def commands_page() -> str:
    """Return `docs/reference/commands.md`."""
    lines = [
        _NOTE,
        "",
        "# Commands",
        "",
        "Every command also takes these:",
        "",
        *_options([option for option in _one_door().params if option.name in COMMON]),
        "",
        "`REF` is `NAMESPACE/NAME`, `NAMESPACE/NAME@ORDINAL`, `NAMESPACE/NAME@TIER` or `NAMESPACE/NAME@sha256:PREFIX`.",
    ]
    for path, command in commands():
        context = click.Context(command, info_name=f"tidegate {path}")
        arguments = [piece for piece in command.collect_usage_pieces(context) if piece != "[OPTIONS]"]
        own = [p for p in command.params if isinstance(p, click.Option) and p.name not in COMMON]
        required = [_spelling(p) for p in own if p.required]
        usage = " ".join(
            ["tidegate", path, *required, *(["[OPTIONS]"] if len(own) > len(required) else []), *arguments]
        )
        text = inspect.cleandoc(command.help or "").replace("\b\n", "")
        lines += ["", f"## {path}", "", "```", usage, "```", "", text]
        if own:
            lines += ["", *_options(own)]
    return "\n".join(lines) + "\n"


def _one_door() -> click.Command:
    return next(command for _, command in commands())


def _commands(path: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    if not isinstance(command, click.Group):
        yield path, command
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        child = command.get_command(context, name)
        assert child is not None, f"{path} {name} is listed and not there"
        yield from _commands(f"{path} {name}".strip(), child)


def _options(options: list[click.Parameter] | list[click.Option]) -> list[str]:
    lines = ["| option | meaning |", "|---|---|"]
    for option in options:
        assert isinstance(option, click.Option), option
        notes = [option.help or ""]
        notes += ["Required."] if option.required else []
        notes += ["May be given several times."] if option.multiple else []
        notes += [f"Default: {_default(option)}."] if option.show_default else []
        text = " ".join(note for note in notes if note)
        cells = (f"`{_spelling(option)}`", text)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return lines


def _spelling(option: click.Option) -> str:
    value = "" if option.is_flag else f" {option.make_metavar(click.Context(click.Command('x')))}"
    return ", ".join(option.opts) + value


def _default(option: click.Option) -> str:
    value = option.default
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _subclasses(cls: type[OperatorError]) -> Iterator[type[OperatorError]]:
    for child in cls.__subclasses__():
        yield child
        yield from _subclasses(child)


def rest_api_page() -> str:
    """Return `docs/reference/rest-api.md`."""
    from tidegate.server.api.page import page

    return page(_NOTE)


PAGES = {
    "docs/operator/exit-codes.md": exit_codes_page,
    "docs/reference/commands.md": commands_page,
    "docs/reference/rest-api.md": rest_api_page,
}


def main(arguments: list[str]) -> int:
    """Write the pages below the working folder, or with `--check` say which ones are out of date."""
    stale = [page for page, made in PAGES.items() if not _is(Path(page), made())]
    if "--check" in arguments:
        for page in stale:
            click.echo(f"{page} is out of date; run python -m tidegate.reference", err=True)
        return 1 if stale else 0
    for page in stale:
        Path(page).parent.mkdir(parents=True, exist_ok=True)
        Path(page).write_text(PAGES[page](), encoding="utf-8")
        click.echo(f"wrote {page}")
    return 0


def _is(file: Path, text: str) -> bool:
    return file.is_file() and file.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
