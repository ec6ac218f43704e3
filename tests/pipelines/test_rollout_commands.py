"""The doors: what a person sees of a rollout, and the exit codes that scripts and timers act on."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from pipelines.rollout.plan import Strategy
from registry.home import Home
from tests.pipelines.test_rollout import Machine, built, machine
from tests.rollout_world import MODEL, Node, copied
from tidegate.cli.agent import agent, drift
from tidegate.cli.rollout import _STRATEGIES, rollout, serving

__all__ = ["built", "machine"]  # fixtures
DOORS = click.Group(commands={"rollout": rollout, "serving": serving, "agent": agent, "drift": drift})


@pytest.fixture
def node(built: Home, machine: Machine, tmp_path: Path) -> Iterator[Node]:
    with copied(built, tmp_path / "home") as work:
        made = Node(work, tmp_path / "node")
        made.write_settings()
        made.pin(1)
        yield made


def type_(node: Node, *words: str, ends: int = 0) -> str:
    done = CliRunner().invoke(
        DOORS, [*words, "--home", str(node.work.home.path), "--actor", "ines"], catch_exceptions=False
    )
    assert ends == done.exit_code, done.output
    return done.output


def ask(node: Node, *words: str) -> Any:
    home = str(node.work.home.path)
    done = CliRunner().invoke(DOORS, [*words, "--json", "--home", home, "--actor", "ines"])
    return json.loads(done.stdout)


def test_the_strategies_of_the_door_are_the_plans_own() -> None:
    assert [str(one) for one in Strategy] == list(_STRATEGIES)


def test_a_dry_run_shows_every_step_and_what_takes_it_back_and_touches_nothing(
    node: Node, machine: Machine
) -> None:
    said = type_(node, "rollout", "team", MODEL, "--dry-run")
    assert f"team would serve {MODEL}@1" in said
    assert "start blue   (taken back by: stop blue)" in said
    assert "How long it takes was never measured here." in said
    assert [] == machine.acts
    type_(node, "rollout", "team", MODEL)
    assert "measured once" in type_(node, "rollout", "team", MODEL, "--dry-run")


def test_a_rollout_says_what_serves_from_where_and_how_long_it_took(node: Node) -> None:
    said = type_(node, "rollout", "team", MODEL)
    assert f"team serves {MODEL}@1" in said
    assert "switch: 0.0 s" in said
    assert "served already" in type_(node, "rollout", "team", MODEL)
    (shown,) = ask(node, "serving", "show")
    assert (MODEL, "blue", False) == (shown["model"], shown["live"]["slot"], shown["live"]["closed"])
    assert f"{MODEL}@1 (blue)" in type_(node, "serving", "show")


def test_a_rollout_that_turned_back_ends_with_its_own_code(node: Node, machine: Machine) -> None:
    machine.trouble["ready blue"] = "no tool call came"
    said = type_(node, "rollout", "team", MODEL, ends=228)
    assert "no tool call came; nothing serves; the gate is shut" in said
    machine.trouble["stop blue"] = "hangs"
    assert "cannot take back" not in type_(node, "rollout", "team", MODEL, ends=228)


def test_a_settings_file_that_says_nothing_clear_ends_with_its_own_code(node: Node) -> None:
    node.write_settings(strategy="canary")
    for words in (("rollout", "team", MODEL), ("serving", "show"), ("agent", "team"), ("drift",)):
        assert "tiers.team.strategy" in type_(node, *words, ends=226)


def test_files_are_written_to_an_empty_folder_only(node: Node, tmp_path: Path) -> None:
    out = tmp_path / "out"
    said = ask(node, "serving", "units", "--out", str(out))
    assert sorted(said["files"]) == sorted(
        str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()
    )
    assert {"README", "nginx.conf", "tidegate-serve@.service"} <= set(said["files"])
    type_(node, "serving", "units", "--out", str(out), ends=75)


def test_drift_is_an_alarm_with_its_own_code_and_says_how_old_it_is(node: Node) -> None:
    said = type_(node, "drift", ends=225)
    assert "no node was seen to serve it (never looked at)" in said
    assert "SILENT" in type_(node, "agent", "team", "--node", "other-box")
    said = type_(node, "drift", "team", ends=225)
    assert "team/other-box" in said
    (found,) = ask(node, "drift", "team")
    assert not found["ok"]
    assert "Nothing is pinned" in type_(node, "drift", "org")
