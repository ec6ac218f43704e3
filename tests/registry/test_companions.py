"""Companions: what may stand in a set, what is bound to one place, and how a machine's file differs."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.companions import CompanionsMalformed, bound_to_a_place, companions_of, decode, drift, encode

REQUIREMENTS = """
allowed_approval_policies = ["untrusted", "on-request"]
allowed_sandbox_modes = ["read-only", "workspace-write"]

[mcp_servers.docs.identity]
command = "/usr/bin/docs-mcp"
"""
FILES = {
    "AGENTS.md": "Run the tests before you say that you are done.\n",
    "requirements.toml": REQUIREMENTS,
    "skills/review/SKILL.md": "# Review\n",
}


def test_a_set_is_read_as_it_was_written() -> None:
    made = companions_of("coding", FILES)
    assert made == decode(encode(made))
    assert 64 == len(made.digest)


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("Coding", FILES),
        ("coding", {}),
        ("coding", {"../AGENTS.md": "x"}),
        ("coding", {"skills/../../x/SKILL.md": "x"}),
        ("coding", {"install.sh": "rm -rf /"}),
        ("coding", {"/etc/passwd": "x"}),
        ("coding", {"requirements.toml": "allowed = ["}),
        ("coding", {"AGENTS.md": "x" * (5 << 20)}),
        ("coding", {"AGENTS.md": "\ud800"}),
        ("coding", {f"prompts/{number}": "x" for number in range(600)}),
    ],
)
def test_what_is_no_companion_is_refused(name: str, files: dict[str, str]) -> None:
    with pytest.raises(CompanionsMalformed):
        companions_of(name, files)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('url = "https://docs.team-3.example/mcp"', "names the host docs.team-3.example"),
        ('url = "docs.team-3.example:8080"', "the address of one host"),
        ('url = "10.1.2.3"', "the address of one host"),
        ('url = "10.1.2.3:80"', "the address of one host"),
        ('paths = ["/home/ines/skills"]', "a folder of one machine"),
        ('log_dir = "~/log"', "a folder of one machine"),
        ('url = "http://[::broken/"', "no readable URL"),
    ],
)
def test_what_holds_in_one_place_only_is_named(line: str, said: str) -> None:
    [found] = bound_to_a_place(
        companions_of("coding", {"requirements.toml": f"[mcp_servers.docs]\n{line}\n"})
    )
    assert found.at.startswith("mcp_servers.docs.")
    assert said in found.problem


@pytest.mark.parametrize(
    "line",
    [
        'url = "http://127.0.0.1:9/mcp"',
        'url = "http://localhost/mcp"',
        'command = "/usr/bin/x"',
        'name = "a:b"',
    ],
)
def test_what_holds_everywhere_is_portable(line: str) -> None:
    assert [] == bound_to_a_place(companions_of("coding", {"requirements.toml": line}))


def test_a_machines_file_is_held_against_the_pinned_one_key_by_key() -> None:
    loosened = REQUIREMENTS.replace('"workspace-write"', '"danger-full-access"').replace(
        "[mcp_servers", "[other"
    )
    assert [
        "allowed_sandbox_modes: pinned as ['read-only', 'workspace-write'], found ['read-only', 'danger-full-access']",
        "mcp_servers.docs.identity.command: pinned as '/usr/bin/docs-mcp', missing",
        "other.docs.identity.command: '/usr/bin/docs-mcp', and nothing is pinned",
    ] == [str(item) for item in drift(REQUIREMENTS, loosened, at="requirements.toml")]
    assert [] == drift(REQUIREMENTS, f"# a comment\n{REQUIREMENTS}", at="requirements.toml")
    with pytest.raises(CompanionsMalformed):
        drift(REQUIREMENTS, "not toml", at="requirements.toml")


@pytest.mark.property
@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with contextlib.suppress(CompanionsMalformed):
        assert encode(decode(data)) == data
