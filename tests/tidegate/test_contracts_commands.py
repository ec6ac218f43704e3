"""Contracts as a person makes them: from the tools that their router already has."""

import json
from pathlib import Path

from tests.cli import Prompt


def test_a_contract_is_made_from_the_tools_that_people_have(tmp_path: Path) -> None:
    """OpenAI tools in, a contract's tools out; the contract made of them is taken."""
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    theirs = [
        {"type": "function", "function": {"name": "get_weather", "description": "Now", "parameters": schema}}
    ]
    (tmp_path / "tools.json").write_text(json.dumps(theirs))
    site = Prompt(tmp_path / "site", "sam")
    site.type("init", "clinic", "--role", "site")
    ours = site.ask("contracts", "tools", tmp_path / "tools.json")
    assert ["get_weather"] == [tool["name"] for tool in ours]

    contract = {
        "format": "tidegate-tool-contract/1",
        "name": "weather",
        "emission": {"family": "hermes", "template_sha256": None},
        "surfaces": ["chat"],
        "context": 4096,
        "tools": ours,
    }
    (tmp_path / "contract.json").write_text(json.dumps(contract))
    site.type("contracts", "add", tmp_path / "contract.json")
    assert ["weather"] == [row["name"] for row in site.ask("contracts", "list")]


def test_a_document_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("# no contract")
    site = Prompt(tmp_path / "site", "sam")
    site.type("init", "clinic", "--role", "site")
    assert "notes.md" in site.type("contracts", "add", tmp_path / "notes.md", ends=42).output
    assert "notes.md" in site.type("contracts", "tools", tmp_path / "notes.md", ends=43).output
