"""Companions as people type them: taken in, promoted with a version, written to a machine, and back again."""

import tomllib
from pathlib import Path

import pytest

from pipelines.client_config import SurfaceMissing, VariableUnusable
from pipelines.companions import NoCompanions, SecretFound
from registry.companions import CompanionsMalformed
from registry.errors import NotFound
from tests.tidegate.town import MODEL, Town
from tidegate.errors import CompanionsDrifted

REQUIREMENTS = 'allowed_sandbox_modes = ["read-only"]\n'


def folder(town: Town, name: str, **files: str) -> Path:
    made = town.folder / name
    (made / "skills" / "review").mkdir(parents=True)
    (made / "skills" / "review" / "SKILL.md").write_text("# How we review\n")
    (made / "AGENTS.md").write_text(f"{name}: run the tests.\n")
    (made / "requirements.toml").write_text(REQUIREMENTS)
    for path, text in files.items():
        (made / path.replace("_toml", ".toml")).write_text(text)
    return made


@pytest.fixture
def equipped(town: Town) -> Town:
    """Team serves version 1 with the companions `coding`."""
    town.site.type("companions", "add", folder(town, "coding"), "--name", "coding")
    town.site.type("companions", "set", MODEL, "coding")
    town.serve(1)
    return town


def agents(town: Town) -> str:
    out = town.folder / "out"
    town.site.type("companions", "write", out, "--tier", "team", "--model", MODEL)
    return (out / "AGENTS.md").read_text()


def test_they_are_pinned_written_and_go_back_with_the_version(equipped: Town) -> None:
    assert "coding: run the tests.\n" == agents(equipped)
    equipped.site.type("companions", "add", folder(equipped, "careful"), "--name", "careful")
    equipped.site.type("companions", "set", f"{MODEL}@2", "careful")
    assert "coding: run the tests.\n" == agents(equipped)  # said, and not promoted yet
    equipped.serve(2)
    assert "careful: run the tests.\n" == agents(equipped)
    equipped.site.type("rollback", MODEL, "--tier", "team", "--reason", "it forgets the tests")
    assert "coding: run the tests.\n" == agents(equipped)
    equipped.site.type("audit", "verify")


def test_a_pass_of_reconcile_leaves_the_set_that_a_rollback_restored(equipped: Town) -> None:
    """The companions of today are what was left; they come back under the old version by nobody's doing."""
    equipped.site.type("companions", "add", folder(equipped, "careful"), "--name", "careful")
    equipped.site.type("companions", "set", MODEL, "careful")
    equipped.serve(2)

    def state() -> tuple[int, str]:
        [step] = equipped.site.ask("reconcile", "--tier", "team", "--dry-run")
        return step["ordinal"], step["state"]

    assert (2, "serves it") == state()
    equipped.site.type(
        "rollback", MODEL, "--tier", "team", "--reason", "the new instructions forget the tests"
    )
    assert (1, "serves it") == state()
    assert "coding: run the tests.\n" == agents(equipped)


def test_an_approval_is_for_the_companions_that_were_seen(equipped: Town) -> None:
    equipped.approve(2, "team", "alice")
    equipped.site.type("companions", "add", folder(equipped, "other"), "--name", "other")
    equipped.site.type("companions", "set", MODEL, "other")
    closed = equipped.site.ask("gate", f"{MODEL}@2", "--tier", "team", ends=89)
    assert ["approvals"] == [item["check"] for item in closed["findings"] if not item["ok"]]


def test_a_machines_policy_that_drifted_is_said_key_by_key(equipped: Town) -> None:
    file = equipped.folder / "etc.toml"
    file.write_text(REQUIREMENTS)
    words = ["companions", "drift", file, "--tier", "team", "--model", MODEL]
    equipped.site.type(*words)
    file.write_text('allowed_sandbox_modes = ["danger-full-access"]\n')
    shown = equipped.site.type(*words, ends=CompanionsDrifted.exit_code).output
    assert "allowed_sandbox_modes" in shown
    equipped.site.ask_refused(*words, "--as", "managed_config.toml", ends=NoCompanions.exit_code)


def test_what_is_bound_to_one_place_is_said(town: Town) -> None:
    made = folder(town, "bound", config_toml='[mcp_servers.docs]\nurl = "https://docs.lab-3.example/mcp"\n')
    assert (
        "names the host docs.lab-3.example"
        in town.site.type("companions", "add", made, "--name", "bound").output
    )


def test_a_secret_never_comes_in_nor_is_it_shown(town: Town) -> None:
    key = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\n-----END OPENSSH PRIVATE KEY-----\n"  # fmt: skip
    made = folder(town, "leaky")
    (made / "AGENTS.md").write_text(f"Use this:\n{key}")
    refused = town.site.ask_refused("companions", "add", made, "--name", "leaky", ends=SecretFound.exit_code)
    assert "AGENTS.md line 2" in refused["message"]
    assert "b3BlbnNz" not in refused["message"]


def test_links_and_strange_files_are_refused(town: Town) -> None:
    made = folder(town, "linked")
    (made / "config.toml").symlink_to("/etc/hostname")
    town.site.ask_refused("companions", "add", made, "--name", "linked", ends=CompanionsMalformed.exit_code)
    (made / "config.toml").unlink()
    (made / "run.sh").write_text("x")
    refused = town.site.ask_refused(
        "companions", "add", made, "--name", "linked", ends=CompanionsMalformed.exit_code
    )
    assert "run.sh" in refused["message"]


def test_they_cross_the_gap_and_are_named_by_nobody_but_the_site(town: Town) -> None:
    made = town.origin.ask("companions", "add", folder(town, "shipped"), "--name", "shipped")
    medium = town.folder / "second"
    town.origin.type("bundles", "create", "--to", "clinic", "--out", medium, "--with", "shipped")
    town.site.type("bundles", "import", medium, "--receipt", town.folder / "r2.json")
    assert made["digest"] in [row["digest"] for row in town.site.ask("companions", "list")]


class TestClientConfig:
    def write(self, town: Town, *words: str, ends: int = 0) -> str:
        given = ["--tier", "team", "--model", MODEL, "--base-url", "http://llm.team.example:8080", *words]
        return town.site.type("client-config", "codex", *given, ends=ends).output

    def test_codex_reads_what_the_pin_says(self, equipped: Town) -> None:
        made = folder(equipped, "own", config_toml='model = "other"\napproval_policy = "on-request"\n')
        equipped.site.type("companions", "add", made, "--name", "own")
        equipped.site.type("companions", "set", MODEL, "own")
        equipped.serve(2)
        found = tomllib.loads(self.write(equipped))
        assert (MODEL, "tidegate", "on-request") == (
            found["model"],
            found["model_provider"],
            found["approval_policy"],
        )
        provider = found["model_providers"]["tidegate"]
        assert ("responses", "http://llm.team.example:8080/v1", "TIDEGATE_API_KEY") == (
            provider["wire_api"], provider["base_url"], provider["env_key"],
        )  # fmt: skip
        assert found["model_context_window"] > 0

    def test_a_key_is_never_written(self, equipped: Town) -> None:
        shown = self.write(equipped, "--env-key", "sk-123-not-a-name", ends=VariableUnusable.exit_code)
        assert "sk-123" not in shown

    def test_nothing_pinned_nothing_written(self, town: Town) -> None:
        self.write(town, ends=NotFound.exit_code)

    def test_a_set_that_speaks_no_responses_is_refused(self, equipped: Town) -> None:
        row = equipped.site.ask("pins")[0]
        assert row["contract"]
        assert SurfaceMissing.exit_code == 237
