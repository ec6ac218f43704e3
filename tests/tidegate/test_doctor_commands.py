"""`tidegate doctor`: each thing that can be wrong with a home, found by name with what to do; and what every command shares."""

import importlib.metadata
import json
import os
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.tidegate.town import DEMO, MODEL, Town, tree
from tidegate.cli.root import main
from tidegate.errors import DoctorFoundProblems, SystemRefused
from tidegate.reference import commands


def problems(town: Town, *words: str) -> dict[str, str]:
    """What the doctor finds wrong: check -> message. Each has something to do."""
    result = town.site.type("doctor", *words, "--json", ends=DoctorFoundProblems.exit_code)
    found = [check for check in json.loads(result.stdout) if not check["ok"]]
    assert all(check["next_step"] for check in found)
    return {check["check"]: check["message"] for check in found}


def test_a_sound_home_is_sound_and_looking_changes_nothing(town: Town) -> None:
    before = tree(town.folder)
    for home in (town.site, town.origin):
        checks = home.ask("doctor", "--deep")
        assert all(check["ok"] for check in checks)
    assert {
        "packages", "home", "keys", "space", "audit log", "clock", "trust", "other logs", "freshness", "people", "break-glass", "expiry",
        "blobs", "quarantine",
    } == {check["check"] for check in town.site.ask("doctor")}  # fmt: skip
    assert before == tree(town.folder)


def test_a_folder_that_is_no_home(town: Town) -> None:
    (town.site.home / "tidegate.toml").unlink()
    assert "is not a home" in problems(town)["home"]


def test_a_key_that_others_can_read(town: Town) -> None:
    (town.site.home / "keys" / "station.pem").chmod(0o644)
    assert "station.pem" in problems(town)["keys"]


def test_a_station_key_that_is_gone(town: Town) -> None:
    (town.site.home / "keys" / "station.pem").unlink()
    assert "station.pem" in problems(town)["station key"]


def test_a_database_that_is_gone_or_of_another_release(town: Town) -> None:
    file = town.site.home / "registry.db"
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("UPDATE alembic_version SET version_num = '0000'")
    assert "0000" in problems(town)["database"]
    file.unlink()
    assert "not there" in problems(town)["database"]
    assert not file.exists(), "looking makes no database"


def test_a_pin_edited(serving: Town) -> None:
    with closing(sqlite3.connect(serving.site.home / "registry.db")) as database, database:
        database.execute("UPDATE pin SET ordinal = 1")
    assert "pin: a row is not in the log" in problems(serving)["audit log"]


def test_a_clock_that_stands_before_what_was_recorded(town: Town) -> None:
    """An import's signed time is a floor; here the home has recorded a moment that is yet to come."""
    with closing(sqlite3.connect(town.site.home / "registry.db")) as database, database:
        database.execute("UPDATE event SET at = '2999-01-01T00:00:00Z' WHERE position = 3")
    assert "2999" in problems(town)["clock"]


def test_a_site_that_trusts_nobody_yet(tmp_path: Path) -> None:
    home = str(tmp_path / "new")
    assert 0 == CliRunner().invoke(main, ["init", "lab", "--role", "site", "--home", home]).exit_code
    result = CliRunner().invoke(main, ["doctor", "--home", home])
    assert DoctorFoundProblems.exit_code == result.exit_code
    assert "trust: no root is enrolled" in result.stdout
    assert "tidegate trust enrol" in result.stdout


def test_a_blob_that_is_gone(town: Town) -> None:
    blob = town.blob(1, "model.gguf")
    blob.unlink()
    assert blob.name[:12] in problems(town)["blobs"]


def test_a_blob_that_is_damaged_is_found_by_reading(town: Town) -> None:
    blob = town.blob(1, "model.gguf")
    blob.chmod(0o644)
    blob.write_bytes(b"X" + blob.read_bytes()[1:])
    town.site.type("doctor")
    assert blob.name[:12] in problems(town, "--deep")["blobs"]


def test_leftovers_in_quarantine_are_named(town: Town) -> None:
    (town.site.home / "quarantine" / "abc123").mkdir()
    [check] = [check for check in town.site.ask("doctor") if check["check"] == "quarantine"]
    assert "abc123" in check["message"]
    assert "tidegate bundles import" in check["message"]


def test_folders_that_are_gone_do_not_stop_the_other_checks(town: Town) -> None:
    (town.site.home / "quarantine").rmdir()
    (town.site.home / "keys").chmod(0o755)
    assert {"quarantine", "keys"} == set(problems(town))


def test_trust_that_is_damaged_at_an_origin(town: Town) -> None:
    for file in (town.origin.home / "trust").rglob("*.json"):
        file.write_text("{}")
    result = town.origin.type("doctor", "--json", ends=DoctorFoundProblems.exit_code)
    assert {"trust"} == {check["check"] for check in json.loads(result.stdout) if not check["ok"]}


def test_another_owner_of_our_package_names(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        importlib.metadata, "packages_distributions", lambda: {"registry": ["tidegate", "sneaky-registry"]}
    )
    assert "sneaky-registry" in problems(town)["packages"]


# --- a full disk -----------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB. Mounting needs root; an ordinary user's run leaves this attack out."""
    folder = tmp_path / "small"
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("layout", ["plain", "hf-cache"])
def test_a_full_disk_is_refused_in_words_and_nothing_half_is_visible(
    town: Town, small_disk: Path, layout: str
) -> None:
    words = ["materialise", f"{MODEL}@1", small_disk / "served", "--layout", layout]
    refusal = town.site.ask_refused(*words, ends=SystemRefused.exit_code)
    assert "No space left on device" in refusal["message"]
    assert [] == [path for path in small_disk.rglob("*") if path.name == "config.json"]


# --- what every command shares ---------------------------------------------------------------------------------

READERS = [
    ["doctor"], ["models", "list"], ["models", "show", MODEL], ["contracts", "list"],
    ["contracts", "show", "demo-router-v1"], ["contracts", "compare", "demo-router-v1", "demo-router-v1"],
    ["suites", "list"], ["tiers", "list"], ["tiers", "show", "org"], ["people", "list"], ["trust", "show"],
    ["bundles", "list"], ["pins"], ["pins", "--history"], ["audit", "log"], ["audit", "head"],
    ["audit", "verify"], ["audit", "explain", MODEL],
]  # fmt: skip


@pytest.mark.parametrize("words", READERS, ids=" ".join)
def test_json_is_one_document_and_text_is_not_empty(serving: Town, words: list[str]) -> None:
    assert json.loads(serving.site.type(*words, "--json").stdout) is not None
    assert serving.site.type(*words).stdout.strip()


def test_changes_speak_json_too(town: Town) -> None:
    """Each step of the way, as a program would take it."""
    site, out = town.site, town.folder / "out"
    assert town.origin.ask("bundles", "acknowledge", town.receipt)["newest"]
    assert town.origin.ask("bundles", "create", f"{MODEL}@1", "--to", "clinic", "--out", out)["left_out"] > 0
    assert not town.origin.ask("models", "add", DEMO / "models" / "v1", "--as", MODEL)["new"]
    assert site.ask("bundles", "inspect", out)["trusted"]
    assert not site.ask("bundles", "import", out)["already"]
    assert "PASS" in site.ask("models", "scan", MODEL)["outcome"]
    assert site.ask("people", "remove", "bob", *town.signs("alice"))["active"] is False
    words = [
        "approve",
        MODEL,
        "--tier",
        "team",
        "--person",
        "alice",
        "--key",
        town.key("alice"),
        "--reason",
        "x",
    ]
    assert site.ask(*words)["counts"]
    assert site.ask("promote", MODEL, "--tier", "team")["promoted"]
    assert 9 == site.ask("materialise", "team", town.folder / "served")[0]["files"]
    assert site.ask("models", "withdraw", MODEL, "--reason", "x")["served_by"] == ["team"]


@pytest.mark.parametrize(
    ("path", "command"), list(commands()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_help_says_what_it_does_in_a_sentence(path: str, command: object) -> None:
    result = CliRunner().invoke(main, [*path.split(), "--help"], catch_exceptions=False)
    assert 0 == result.exit_code
    lines = [line.strip() for line in result.stdout.splitlines() if line.strip()]
    assert lines[0].startswith("Usage:")
    assert lines[1][0].isupper()
    assert all(word in result.stdout for word in ("--home", "--actor", "--json"))
