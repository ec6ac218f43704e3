"""`accounts` and `tokens` as an administrator types them at the machine."""

import os
from datetime import timedelta
from pathlib import Path

import pytest

from registry.accounts import AccountUnfit, TokenUnfit
from registry.errors import NameUnusable, NotFound
from registry.home import Home, load
from registry.store import Store
from registry.store_doors import DoorStore
from signing.digests import sha256_hex
from signing.hidden import Hidden
from signing.times import from_rfc3339
from tests.cli import Prompt
from tests.world import PASSPHRASE, copied
from tidegate import keyring
from tidegate.errors import FileUnreadable, PassphraseMissing, PassphraseUnreadable
from tidegate.server.accounts import first
from tidegate.server.accounts.keeping import knows_password
from tidegate.server.accounts.refusals import PasswordUnusable

WORD = "four unrelated words here"


@pytest.fixture(scope="module")
def nobody(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home with nobody."""
    at = Prompt(tmp_path_factory.mktemp("nobody") / "site", "root")
    at.type("init", "clinic", "--role", "site", "--profile", "solo")
    return load(at.home)


@pytest.fixture(scope="module")
def origin(nobody: Home, tmp_path_factory: pytest.TempPathFactory) -> Prompt:
    """A home in which each test has accounts of its own."""
    return Prompt(copied(nobody, tmp_path_factory.mktemp("accounts") / "site").path, "root")


@pytest.fixture
def doors(origin: Prompt) -> DoorStore:
    return _doors(origin.home)


def _doors(home: Path) -> DoorStore:
    found = load(home)
    return DoorStore(Store(found.database, sign_head=keyring.head_signer(found)))


def test_the_first_administrator_is_made_at_the_machine(nobody: Home, tmp_path: Path) -> None:
    origin = Prompt(copied(nobody, tmp_path / "site").path, "root")
    doors = _doors(origin.home)
    assert "accounts add NAME --grants admin" in origin.type("accounts", "list").stdout
    said = origin.ask("accounts", "add", "ada", "--grants", "admin")

    assert ("ada", "admin", True) == (said["name"], said["grants"], said["active"])
    assert "ada" == first.account_of(doors, said["code"], from_rfc3339(said["since"]))
    assert said["code"] not in origin.type("audit", "log").stdout
    assert "/sign-in/first" in origin.type("accounts", "password", "ada", "--code").stdout
    assert first.account_of(doors, said["code"], from_rfc3339(said["since"])) is None, "a newer one was made"
    origin.ask_refused("accounts", "add", "ada", "--grants", "admin", ends=AccountUnfit.exit_code)


def test_a_tier_that_there_is_none_of_is_told(origin: Prompt) -> None:
    assert (
        "this home has no tier orgg (yet)"
        in origin.type("accounts", "add", "olga", "--grants", "steward:orgg").stdout
    )
    assert "orgg" not in origin.type("accounts", "add", "oleg", "--grants", "steward:org").stdout


def test_a_program_gets_no_code_and_a_token_that_is_shown_once(origin: Prompt) -> None:
    assert (
        origin.ask("accounts", "add", "ci", "--grants", "viewer,validator:team", "--program")["code"] is None
    )
    words = ["tokens", "create", "ci", "--label", "nightly", "--grants", "viewer"]
    made = origin.ask(*words, "--tier", "team", "--days", "30")

    assert ("ci/nightly", "viewer:team") == (made["name"], made["grants"])
    assert timedelta(days=30) == from_rfc3339(made["until"]) - from_rfc3339(made["since"])
    assert sha256_hex(made["token"].encode()) == made["digest"]
    [listed] = origin.ask("tokens", "list")
    assert "token" not in listed
    assert listed["last_used"] is None
    shown = origin.type("tokens", "list", "--account", "ci").stdout
    assert "ci/nightly" in shown
    assert "never" in shown
    assert made["token"] not in shown + origin.type("audit", "log", "--json").stdout
    origin.ask_refused(*words, ends=TokenUnfit.exit_code)
    origin.type("tokens", "revoke", "ci/nightly")
    assert [] == origin.ask("tokens", "list", "--account", "ci")
    origin.ask_refused("tokens", "revoke", "ci/nightly", ends=TokenUnfit.exit_code)


def test_grants_come_and_go_and_the_log_keeps_them(origin: Prompt) -> None:
    origin.type("accounts", "add", "gwen", "--grants", "viewer")
    assert (
        "steward:org,viewer" == origin.ask("accounts", "grant", "gwen", "--grants", "steward:org")["grants"]
    )
    assert "steward:org" == origin.ask("accounts", "revoke", "gwen", "--grants", "viewer")["grants"]
    assert "do nothing" in origin.type("accounts", "revoke", "gwen", "--grants", "steward:org").stdout
    origin.type("accounts", "deactivate", "gwen")
    assert "ENDED" in origin.type("accounts", "list").stdout
    whats = [e["note"]["what"] for e in origin.ask("audit", "log") if e["subject"] == "gwen"]
    assert ["added", "one-time code made", "granted", "revoked", "revoked", "deactivated"] == whats
    assert "equal to the tables" in origin.type("audit", "verify").stdout


def test_a_password_comes_from_a_file_a_descriptor_or_the_terminal_and_from_nowhere_else(
    origin: Prompt, doors: DoorStore, tmp_path: Path
) -> None:
    origin.type("accounts", "add", "hugo", "--grants", "viewer")
    origin.ask_refused("accounts", "password", "hugo", ends=PassphraseMissing.exit_code)
    assert not knows_password(doors, "hugo", Hidden(PASSPHRASE), active=True), (
        "the keys' passphrase is no password"
    )

    file = tmp_path / "word"
    file.write_text(f"{WORD}\n")
    said = origin.type("accounts", "password", "hugo", "--password-file", file).stdout
    assert knows_password(doors, "hugo", Hidden(WORD.encode()), active=True)
    assert WORD not in said
    file.write_text("another fine password\n")
    descriptor = os.open(file, os.O_RDONLY)  # closed by who reads it
    origin.type("accounts", "password", "hugo", "--password-fd", descriptor)
    assert not knows_password(doors, "hugo", Hidden(WORD.encode()), active=True)
    assert "--password " not in origin.type("accounts", "password", "--help").stdout


def test_an_account_that_somebody_locked_is_opened(origin: Prompt, doors: DoorStore) -> None:
    from tidegate.server.accounts.limits import account_subject

    origin.type("accounts", "add", "ines", "--grants", "viewer")
    doors.tried(account_subject("ines"), "2026-11-20T12:00:00Z")
    origin.type("accounts", "unlock", "ines")
    assert 0 == doors.tries(account_subject("ines"), "2026-01-01T00:00:00Z")


@pytest.mark.parametrize(
    ("words", "refusal"),
    [
        (["accounts", "add", "Zed", "--grants", "viewer"], NameUnusable),
        (["accounts", "add", "anonymous", "--grants", "viewer"], NameUnusable),
        (["accounts", "add", "zed", "--grants", "king"], NameUnusable),
        (["accounts", "add", "zed", "--grants", "viewer:"], NameUnusable),
        (["accounts", "add", "zed", "--grants", "viewer:Team"], NameUnusable),
        (["accounts", "grant", "zed", "--grants", "viewer"], NotFound),
        (["accounts", "revoke", "zed", "--grants", "viewer"], NotFound),
        (["accounts", "deactivate", "zed"], NotFound),
        (["accounts", "unlock", "zed"], NotFound),
        (["accounts", "password", "zed"], NotFound),
        (["accounts", "password", "zed", "--code"], NotFound),
        (["accounts", "password", "ada", "--password-file", "{folder}/none"], FileUnreadable),
        (["accounts", "password", "ada", "--password-file", "{folder}/short"], PasswordUnusable),
        (["accounts", "password", "ada", "--password-file", "{folder}/binary"], PasswordUnusable),
        (["accounts", "password", "ada", "--password-file", "{folder}/long"], PassphraseUnreadable),
        (["accounts", "password", "ada", "--password-fd", "917"], PassphraseUnreadable),
        (["tokens", "create", "zed", "--label", "x", "--grants", "viewer"], NotFound),
        (["tokens", "create", "ada", "--label", "x", "--grants", "steward"], TokenUnfit),
        (["tokens", "create", "ada", "--label", "x", "--grants", ""], TokenUnfit),
        (["tokens", "create", "ada", "--label", "x", "--grants", "admin", "--days", "0"], TokenUnfit),
        (["tokens", "create", "ada", "--label", "x", "--grants", "admin", "--days", "9999"], TokenUnfit),
        (["tokens", "create", "ada", "--label", "X Y", "--grants", "admin"], NameUnusable),
        (["tokens", "create", "ada", "--label", "x", "--grants", "admin", "--tier", "team"], NameUnusable),
        (["tokens", "revoke", "ada/none"], NotFound),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_what_cannot_be_meant_changes_nothing(
    origin: Prompt, tmp_path: Path, words: list[str], refusal: type[NotFound]
) -> None:
    (tmp_path / "short").write_text("short\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe" * 20)
    (tmp_path / "long").write_text("x" * 5000)
    if not any(row["name"] == "ada" for row in origin.ask("accounts", "list")):
        origin.type("accounts", "add", "ada", "--grants", "admin")
    size = origin.ask("audit", "head")["size"]
    said = origin.ask_refused(*[word.format(folder=tmp_path) for word in words], ends=refusal.exit_code)
    assert said["next_step"]
    assert size == origin.ask("audit", "head")["size"]


def test_one_source_of_a_password_is_named_or_none(origin: Prompt) -> None:
    words = ["accounts", "password", "ada", "--code", "--password-fd", "0"]
    assert "give one of" in origin.type(*words, ends=2).stderr
