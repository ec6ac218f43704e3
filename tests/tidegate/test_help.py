"""Every command explains itself: to somebody tired, in words, with every option said."""

import dataclasses
import inspect
import re
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from signing.summaries import Transfer
from tests.command_lines import in_backticks, problems
from tidegate.cli.doors import READ_BY_THE_DOOR
from tidegate.cli.root import COMMANDS, main
from tidegate.cli.signatures import Hand
from tidegate.reference import commands

ALL = dict(commands())
every_command = pytest.mark.parametrize("path", ALL)


def help_of(*words: str) -> str:
    done = CliRunner().invoke(main, [*words, "--help"], terminal_width=110)
    assert 0 == done.exit_code, done.output
    return done.output


def groups() -> list[str]:
    return sorted({path.split()[0] for path in ALL if " " in path})


def test_the_root_lists_every_command_with_its_line() -> None:
    text = help_of()
    assert set(COMMANDS) == {path.split()[0] for path in ALL}
    for name, (_, _, line) in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(line)}$", text, flags=re.MULTILINE)


def test_every_line_of_the_root_is_the_commands_own_subject() -> None:
    """The table is there so that help imports nothing; what it names must be what is imported."""
    for name in COMMANDS:
        command = main.get_command(click.Context(main), name)
        assert command is not None
        assert name == command.name


def test_an_unknown_command_is_a_usage_error() -> None:
    done = CliRunner().invoke(main, ["modles"])
    assert 2 == done.exit_code
    assert "modles" in done.output


@pytest.mark.parametrize("group", groups())
def test_every_group_says_what_it_is_about(group: str) -> None:
    text = help_of(group)
    assert "Commands:" in text
    for path in ALL:
        if path.startswith(f"{group} "):
            assert re.search(rf"^  {path.split()[1]} +\S", text, flags=re.MULTILINE)


@every_command
def test_every_command_says_what_it_does_in_a_sentence(path: str) -> None:
    first = (ALL[path].help or "").strip().split("\n\n")[0]
    assert first[:1].isupper()
    assert first.endswith((".", ":", "?")) or "?" in first
    assert "TODO" not in (ALL[path].help or "")


@every_command
def test_every_option_is_explained(path: str) -> None:
    silent = [p.opts[-1] for p in ALL[path].params if isinstance(p, click.Option) and not p.help]
    assert [] == silent


@every_command
def test_every_command_takes_the_common_options(path: str) -> None:
    options = {name for p in ALL[path].params for name in p.opts}
    assert {"--home", "--actor", "--json"} <= options


@every_command
def test_every_parameter_reaches_its_function(path: str) -> None:
    """An option without a parameter, or the other way round, is a traceback for whoever types the command."""
    callback = ALL[path].callback
    assert callback is not None
    wanted = set(inspect.signature(callback).parameters) - {"app"}
    if "hand" in wanted:  # how a person signs is one value, made of six options
        wanted = wanted - {"hand"} | {field.name for field in dataclasses.fields(Hand)}
    if "transfer" in wanted:  # what people say of a transfer, likewise
        wanted = wanted - {"transfer"} | {field.name for field in dataclasses.fields(Transfer)}
    if "given" in wanted:  # the many options of `suites run`, handed on as one table
        return
    assert wanted == {p.name for p in ALL[path].params} - set(READ_BY_THE_DOOR)


@every_command
def test_no_secret_is_ever_an_argument(path: str) -> None:
    """Arguments stand in every process list and shell history."""
    options = {name for p in ALL[path].params for name in p.opts}
    assert not options & {"--passphrase", "--password", "--token", "--secret"}


@every_command
def test_no_two_options_share_a_name(path: str) -> None:
    names = [name for p in ALL[path].params for name in (*p.opts, *p.secondary_opts)]
    assert sorted(set(names)) == sorted(names)


@every_command
def test_help_names_only_commands_that_exist(path: str) -> None:
    command = ALL[path]
    told = [command.help or "", *(p.help or "" for p in command.params if isinstance(p, click.Option))]
    assert [] == [wrong for text in told for line in in_backticks(text) for wrong in problems(line)]


@every_command
def test_help_is_shown_without_a_home(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEGATE_HOME", "/nowhere/at/all")
    assert help_of(*path.split()).startswith("Usage: ")


def test_python_m_tidegate_is_the_same_door() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tidegate", "--version"], capture_output=True, text=True, check=True
    )
    assert "version" in done.stdout
