"""The published schemas of what crosses in `documents/`: they say what the decoders do, of good documents and of changed ones."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from jsonschema import Draft202012Validator

from pipelines.engines import advisories
from registry import companions, contracts
from signing.canonical import NotCanonical, canonical_bytes
from signing.errors import OperatorError
from tests.pipelines.test_schemas import changed

HOUSE = Path(__file__).parents[2]
SCHEMAS = HOUSE / "airgap-bundles" / "schemas" / "documents"
NAMES = [path.name.removesuffix(".schema.json") for path in sorted(SCHEMAS.glob("*.json"))]
DIGEST = "0f" * 32
FACTS = {"streaming": True, "parallel": False, "tool_choice": ["auto", "named"], "strict": True}
TOOL = {"name": "add", "input": {"type": "object", "properties": {"a": {"type": "integer"}}}, "output": None}


class Kind(NamedTuple):
    """A kind of document: its decoder, one that says everything, and where only the decoder can see what is wrong."""

    read: Callable[[bytes], object]
    full: dict[str, Any]
    beyond: str


KINDS = {
    "tool-contract": Kind(
        contracts.decode_document,
        {
            "format": "tidegate-tool-contract/1",
            "name": "coder-1",
            "emission": {
                "family": "hermes",
                "template_sha256": DIGEST,
                "wire_sha256": DIGEST,
                "call_sha256": DIGEST,
                "roles": ["system", "user"],
                "parsers": {"vllm": "hermes"},
                "x-note": 1,
            },
            "surfaces": ["chat", "responses"],
            "tools": [{**TOOL, "description": "Adds.", "x-hint": True}],
            "context": 4096,
            "surface": {"chat": FACTS},
            "x-from": "here",
        },
        r"tools\[\d\]\.(input|output).*|.*x-.*",
    ),
    "engine-profile": Kind(
        contracts.decode_document,
        {
            "format": "tidegate-engine-profile/1",
            "name": "vllm-hermes",
            "engine": "vllm",
            "version": "0.32.0",
            "parses": ["hermes"],
            "flags": ["--enable-auto-tool-choice", "--tool-call-parser", "hermes"],
            "surfaces": ["chat"],
            "surface": {"chat": FACTS, "responses": {}},
            "x-file": "model.gguf",
        },
        r"x-file",
    ),
    "router-contract": Kind(
        contracts.decode_document,
        {
            "format": "tidegate-router-contract/1",
            "name": "desk",
            "accepts": ["hermes"],
            "surfaces": ["chat"],
            "tools": [{**TOOL, "x-hint": True}],
            "required": ["add"],
            "min_context": 2048,
            "aliases": {"sum": "add"},
            "roles": ["developer"],
            "clients": ["codex-0.151"],
            "surface": {"chat": FACTS},
        },
        r"tools.*|required.*|aliases\..*",
    ),
    "companions": Kind(
        companions.decode,
        {
            "format": "tidegate-companions/1",
            "name": "coding",
            "files": {"AGENTS.md": "Use tools.", "skills/review/SKILL.md": "s", "config.toml": "a = 1"},
        },
        r"files\.config\.toml",
    ),
    "advisories": Kind(
        advisories.decode,
        {
            "format": "tidegate-advisories/1",
            "name": "engines",
            "serial": 3,
            "entries": [
                {
                    "id": "CVE-2026-27893",
                    "engine": "vllm",
                    "versions": [{"from": "0.10.1", "below": "0.18.0"}, {"from": None, "below": None}],
                    "severity": "block",
                    "title": "runs repository code",
                    "url": "https://example.org/advisory",
                }
            ],
        },
        r"entries\[0\]\.versions\[0\]\.(from|below)",
    ),
}


def validator(name: str) -> Draft202012Validator:
    return Draft202012Validator(json.loads((SCHEMAS / f"{name}.schema.json").read_text()))


def taken(name: str, value: Any) -> bool:
    try:
        KINDS[name].read(canonical_bytes(value))
    except (OperatorError, NotCanonical):
        return False
    return True


def test_every_kind_has_a_schema_and_the_format_page_names_it() -> None:
    page = (HOUSE / "airgap-bundles" / "SPEC.md").read_text()
    assert sorted(KINDS) == NAMES
    for name, kind in KINDS.items():
        assert f"`{name}`" in page
        assert str(kind.full["format"]) in page


@pytest.mark.parametrize("name", NAMES)
def test_a_schema_is_one_and_takes_a_document_that_says_everything(name: str) -> None:
    schema = json.loads((SCHEMAS / f"{name}.schema.json").read_text())
    Draft202012Validator.check_schema(schema)
    assert f"{name}.schema.json" == schema["$id"]
    assert [] == [error.message for error in validator(name).iter_errors(KINDS[name].full)]
    assert taken(name, KINDS[name].full)


@pytest.mark.parametrize("name", NAMES)
def test_schema_and_decoder_agree_on_what_somebody_changed(name: str) -> None:
    """Never does the decoder take what the schema refuses; the other way only where no schema can say it."""
    schema, tried = validator(name), 0
    for place, value in changed(KINDS[name].full):
        valid, held = schema.is_valid(value), taken(name, value)
        assert valid or not held, f"{name}, {place}: the decoder takes what the schema refuses: {value}"
        beyond = re.fullmatch(KINDS[name].beyond, place) is not None
        assert held or not valid or beyond, f"{name}, {place}: only the decoder refuses {value}"
        tried += 1
    assert tried > 100


def test_the_documents_of_the_demonstration_and_of_the_first_release_are_valid() -> None:
    looked = [
        *(HOUSE / "demo/contracts").glob("*.json"),
        *(HOUSE / "airgap-bundles/frozen").rglob("documents/*.json"),
    ]
    seen = set()
    for path in looked:
        value = json.loads(path.read_text())
        name = str(value.get("format", "")).removeprefix("tidegate-").removesuffix("/1")
        if name in KINDS:
            assert [] == [error.message for error in validator(name).iter_errors(value)], path
            seen.add(name)
    assert {"tool-contract", "engine-profile", "router-contract"} <= seen
