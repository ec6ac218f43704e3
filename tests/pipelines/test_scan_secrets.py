"""Secrets in texts that go along with a model. Every token is put together here, so that none stands in this file."""

import json
import random
import string
import time

import pytest

from pipelines.scan.secrets import MAX_FOUND, SecretFinding, find_secrets
from tests.pipelines.clean_templates import CLEAN


def letters(count: int, alphabet: str = string.ascii_letters + string.digits) -> str:
    chance = random.Random(count)
    return "".join(chance.choice(alphabet) for _ in range(count))


SECRETS = {
    "private key": "-----BEGIN OPENSSH " + "PRIVATE KEY-----",
    "pkcs8": "-----BEGIN " + "PRIVATE KEY-----",
    "pgp": "-----BEGIN PGP " + "PRIVATE KEY BLOCK-----",
    "age": "AGE-SECRET-KEY-1" + letters(58, string.ascii_uppercase + string.digits),
    "hub": "hf_" + letters(34),
    "github": "ghp_" + letters(36),
    "github fine": "github_pat_" + letters(82),
    "gitlab": "glpat-" + letters(20),
    "aws": "AKIA" + letters(16, string.ascii_uppercase + string.digits),
    "google": "AIza" + letters(35),
    "slack": "xoxb-" + letters(40),
    "openai": "sk-proj-" + letters(48),
    "stripe": "sk_live_" + letters(24),
    "npm": "npm_" + letters(36),
    "jwt": "eyJ" + letters(20) + ".eyJ" + letters(40) + "." + letters(43),
    "address": "postgres://tidegate:" + letters(14) + "@db.internal/models",
    "assigned": "DB_PASSWORD=" + letters(20),
    "toml": 'api_key = "' + letters(32) + '"',
    "json": json.dumps({"client_secret": letters(30)}),
}


@pytest.mark.parametrize("kind", SECRETS)
def test_a_secret_is_found_at_its_line_and_not_shown_whole(kind: str) -> None:
    text = f"# Settings\n\nuse {SECRETS[kind]} here\n"
    (found,) = find_secrets(text)
    assert 3 == found.line
    assert kind in ("private key", "pkcs8", "pgp") or SECRETS[kind] not in found.shown


INNOCENT = {
    "an example": "api_key = 'your-api-key-goes-here-1'",
    "a placeholder": "HF_TOKEN=hf_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    "a variable": "password: ${DB_PASSWORD_OF_THE_SITE}",
    "a file": "api_key_file = /etc/tidegate/keys/engine-key-2026",
    "a name": "env_key = 'TIDEGATE_API_KEY'",
    "words": "secret: the-quick-brown-fox-jumps",
    "a digest": "sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "a commit": "revision = 1035d607de4b7225ced27a19071a8bd8a1c08fbc",
    "prose": "Never print a password, a secret or an API key: refuse politely.",
    "a public key": "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA\n-----END PUBLIC KEY-----",
    "an ssh key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ3qQ5l9X2Vw0kPZ8m1c7b6y5t4r3e2w1q0 steward",
    "a documented key": "AKIAIOSFODNN7EXAMPLE",
    "a call": "access_token = settings.access_token_of(user)",
    "a schema": '{"password": {"type": "string", "minLength": 12}}',
    "tokens": '{"<|secret|>": 151643, "password": 3571, "api_key=": 77}',
}


@pytest.mark.parametrize("kind", INNOCENT)
def test_what_is_no_secret_stops_nobody(kind: str) -> None:
    assert [] == find_secrets(INNOCENT[kind])


def test_templates_hold_none() -> None:
    assert [] == [found for text, _ in CLEAN.values() for found in find_secrets(text)]


def test_a_token_behind_its_name_is_one_finding() -> None:
    assert 1 == len(find_secrets("api_key=" + SECRETS["hub"]))


def test_the_first_letters_tell_which_it_is() -> None:
    (found,) = find_secrets(SECRETS["hub"])
    assert SecretFinding("Hugging Face token", 1, "hf_" + SECRETS["hub"][3] + "… (37 characters)") == found


@pytest.mark.parametrize(
    "text",
    ["a_" * 500_000, "password" * 200_000, "password = " * 100_000, "eyJ" * 300_000, SECRETS["hub"] + " ",
     "x://" * 200_000, "-----BEGIN " * 80_000, (SECRETS["github"] + " ") * 20_000],
    ids=["underscores", "names", "assignments", "jwt", "one", "addresses", "begins", "many on one line"],
)  # fmt: skip
def test_hostile_text_is_read_in_bounded_time(text: str) -> None:
    begun = time.monotonic()
    assert len(find_secrets(text)) <= 1
    assert time.monotonic() - begun < 8


def test_a_flood_is_cut() -> None:
    assert MAX_FOUND == len(find_secrets((SECRETS["github"] + "\n") * (MAX_FOUND + 50)))
