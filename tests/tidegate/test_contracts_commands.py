"""Contracts as people make them and live with them: from the tools they have to a router that may be changed."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.deriving import ContractUnfounded
from pipelines.routers import NoRouterPatch, RouterBreaksPins
from pipelines.wire.held import TemplateUnusable
from registry.contracts import UnreadableToolList
from tests.cli import Prompt
from tests.tidegate.town import DEMO, MODEL, Town, tree

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
PYTHON = '''
import os

os.system("touch ran")  # a module that is read is not run


def get_weather(city: str) -> str:
    """The weather in a city, now."""


def read_file(path: str) -> str:
    """The text of a file."""


def add(a: int, b: int) -> str:
    """The sum of two whole numbers."""
'''


@pytest.fixture
def site(tmp_path: Path) -> Prompt:
    made = Prompt(tmp_path / "site", "sam")
    made.type("init", "clinic", "--role", "site")
    return made


@pytest.fixture
def module(tmp_path: Path) -> Path:
    path = tmp_path / "our_tools.py"
    path.write_text(PYTHON)
    return path


def written(path: Path, value: Any) -> Path:
    path.write_text(json.dumps(value))
    return path


def router(path: Path, **changes: Any) -> Path:
    """A router contract like the demo's, changed."""
    document = json.loads((DEMO / "contracts" / "router-contract-v1.json").read_text())
    return written(path, document | changes)


# ------------------------------------------------------------------------------------------------ making one


def test_a_contract_is_made_from_the_tools_that_people_have(site: Prompt, tmp_path: Path) -> None:
    """OpenAI tools in, a contract's tools out; the contract made of them is taken."""
    theirs = [
        {"type": "function", "function": {"name": "get_weather", "description": "Now", "parameters": CITY}}
    ]
    ours = site.ask("contracts", "tools", written(tmp_path / "tools.json", theirs))
    assert ["get_weather"] == [tool["name"] for tool in ours]

    words = ["--family", "hermes", "--context", 4096, "--name", "weather", "--surface", "chat"]
    site.type("contracts", "add", "--from-tools", tmp_path / "tools.json", *words)
    assert ["weather"] == [row["name"] for row in site.ask("contracts", "list")]
    kept = site.ask("contracts", "show", "weather")
    assert (ours, ["chat"], 4096) == (kept["tools"], kept["surfaces"], kept["context"])
    assert {"family": "hermes", "template_sha256": None} == kept["emission"]


def test_a_python_module_is_read_and_never_run(
    site: Prompt, module: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(module.parent)
    tools = site.ask("contracts", "tools", module)
    assert ["get_weather", "read_file", "add"] == [tool["name"] for tool in tools]
    assert {"a": {"type": "integer"}, "b": {"type": "integer"}} == tools[2]["input"]["properties"]
    assert not (module.parent / "ran").exists()


def test_a_function_without_types_is_named_with_its_line_and_parameter(site: Prompt, tmp_path: Path) -> None:
    (tmp_path / "loose.py").write_text('def look(what, where: str):\n    """Look."""\n')
    said = site.type("contracts", "tools", tmp_path / "loose.py", ends=UnreadableToolList.exit_code).output
    assert "loose.py, line 1" in said
    assert "'what'" in said


def test_a_document_that_is_none_is_named(site: Prompt, tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("# no contract")
    assert "notes.md" in site.type("contracts", "add", tmp_path / "notes.md", ends=42).output
    assert "notes.md" in site.type("contracts", "tools", tmp_path / "notes.md", ends=43).output


def test_a_contract_that_nobody_vouches_for_is_not_made(site: Prompt, module: Path) -> None:
    words = ["contracts", "add", "--from-tools", module, "--name", "x", "--context", 1]
    refused = site.ask_refused(*words, ends=ContractUnfounded.exit_code)
    assert "family" in refused["message"]
    assert [] == site.ask("contracts", "list")
    site.type("contracts", "add", ends=2)
    site.type("contracts", "add", module, "--from-tools", module, ends=2)
    site.type(*words, "--family", "hermes", "--parser", "vllm", ends=2)


def test_a_contract_is_derived_from_what_the_template_writes(town: Town, module: Path) -> None:
    """Family, digests, roles and context come from the files; nothing is kept until somebody adds it."""
    before = tree(town.origin.home)
    made = town.origin.ask("contracts", "derive", f"{MODEL}@2", "--tools", module, "--parser", "vllm=hermes")
    assert before == tree(town.origin.home)
    emission = made["emission"]
    assert ("hermes", {"vllm": "hermes"}) == (emission["family"], emission["parsers"])
    assert ["system", "developer", "user", "assistant", "tool"] == emission["roles"]
    assert 64 == len(emission["wire_sha256"]) == len(emission["call_sha256"])
    assert 4096 == made["context"]

    town.origin.type("models", "add", DEMO / "models" / "v3", "--as", MODEL)
    third = town.origin.ask("contracts", "derive", f"{MODEL}@3", "--tools", module)["emission"]
    assert "xml-function" == third["family"]
    assert emission["call_sha256"] != third["call_sha256"]
    refused = town.origin.ask_refused(
        *("contracts", "derive", f"{MODEL}@3", "--tools", module, "--family", "hermes"),
        ends=ContractUnfounded.exit_code,
    )
    assert "'xml-function'" in refused["message"]


def test_a_version_without_a_template_says_nothing_about_calls(
    town: Town, module: Path, tmp_path: Path
) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("LICENSE", "README.md", "config.json", "model.safetensors", "tokenizer.json"):
        (bare / name).write_bytes((DEMO / "models" / "v1" / name).read_bytes())
    town.origin.type("models", "add", bare, "--as", "demo/bare")
    words = ("contracts", "derive", "demo/bare@1", "--tools", module)
    assert "no file" in town.origin.ask_refused(*words, ends=TemplateUnusable.exit_code)["message"]


# ------------------------------------------------------------------------------------------------ looking at two


def test_what_a_revision_changes_is_shown_place_by_place(site: Prompt, tmp_path: Path) -> None:
    old = router(tmp_path / "old.json")
    document = json.loads(old.read_text())
    document["tools"][0]["input"]["properties"]["city"] = {"type": "string", "maxLength": 20}
    document["accepts"].append("xml-function")
    document["tools"].reverse()  # no change of meaning, and none that is shown
    new = written(tmp_path / "new.json", document)

    found = site.ask("contracts", "diff", old, new)
    assert [
        {"at": "/accepts", "how": "added", "after": "xml-function"},
        {"at": "/tools/get_weather/input/properties/city/maxLength", "how": "added", "after": 20},
    ] == found["changes"]
    assert ("needs-router-update", "arguments-not-accepted") == (
        found["verdict"],
        found["findings"][0]["rule"],
    )
    text = site.type("contracts", "diff", old, new).output
    assert "+ tools get_weather input /properties/city/maxLength: 20" in text.replace("input/", "input /")
    assert "Example:" in text
    assert "same document" in site.type("contracts", "diff", old, old).output
    site.type("contracts", "diff", old, DEMO / "contracts" / "engine-profile-both.json", ends=44)


# ------------------------------------------------------------------------------------------------ a tier's router


def test_a_router_that_breaks_what_is_served_is_refused_until_each_is_named(
    serving: Town, tmp_path: Path
) -> None:
    """team serves 2 and would go back to 1; both write hermes, the new router takes XML alone."""
    narrow = router(tmp_path / "narrow.json", name="narrow", accepts=["xml-function"])
    serving.site.type("contracts", "add", narrow)
    words = ["contracts", "set-router", "team", "narrow", "--engine", "llama-server-hermes"]
    before = tree(serving.site.home)
    for more in ([], ["--dry-run"], ["--although-it-breaks", f"{MODEL}@2"]):
        refused = serving.site.ask_refused(*words, *more, ends=RouterBreaksPins.exit_code)
        assert f"{MODEL}@1 (a rollback leads to it)" in refused["message"]
    assert f"{MODEL}@2 (serves now)" in serving.site.type(*words, ends=RouterBreaksPins.exit_code).output
    assert before == tree(serving.site.home)

    both = ["--although-it-breaks", f"{MODEL}@1", "--although-it-breaks", f"{MODEL}@2"]
    serving.site.type(*words, *both, "--dry-run")
    assert before == tree(serving.site.home)
    done = serving.site.ask(*words, *both)
    assert [(f"{MODEL}@2", "serves now"), (f"{MODEL}@1", "a rollback leads to it")] == [
        (item["ref"], item["place"]) for item in done["breaks"]
    ]
    assert "emission-not-accepted" == done["breaks"][0]["findings"][0]["rule"]
    event = serving.site.ask("audit", "log", "--subject", "team")[-1]
    assert 2 == len(event["note"]["although_it_breaks"])
    serving.site.type("audit", "verify")


def test_the_history_of_a_tiers_router_is_kept(town: Town, tmp_path: Path) -> None:
    town.site.type("contracts", "add", router(tmp_path / "second.json", name="second"))
    town.site.as_("bob").type("contracts", "set-router", "team", "second", "--engine", "llama-server-hermes")
    now = town.site.ask("contracts", "routers", "team")
    assert [("team", 2, "bob")] == [(row["tier"], row["position"], row["actor"]) for row in now]
    every = town.site.ask("contracts", "routers", "team", "--history")
    assert [1, 2] == [row["position"] for row in every]
    text = town.site.type("contracts", "routers").output
    assert "second" in text
    assert "demo-router-v1" in text  # org's
    town.site.type("contracts", "routers", "attic", ends=41)


def test_the_patch_of_a_router_is_what_had_to_change(town: Town, module: Path, tmp_path: Path) -> None:
    """Version 3 writes its calls otherwise and knows a tool more. The patch says both; done, the gate's finding passes."""
    module.write_text(f'{PYTHON}\n\ndef list_files(folder: str | None = None) -> str:\n    """Names."""\n')
    town.origin.type("models", "add", DEMO / "models" / "v3", "--as", MODEL)
    town.origin.type("contracts", "add", "--from-tools", module, "--for", f"{MODEL}@3")
    town.origin.type("bundles", "create", f"{MODEL}@3", "--to", "clinic", "--out", tmp_path / "second-medium")
    town.site.type("bundles", "import", tmp_path / "second-medium", "--receipt", tmp_path / "second.json")

    new, engine = tmp_path / "router.json", tmp_path / "engine.json"
    words = ["contracts", "patch", f"{MODEL}@3", "--tier", "team"]
    said = town.site.ask(*words, "--out", new, "--out-engine", engine)
    assert ["/accepts/-", "/tools/-"] == [step["path"] for step in said["router"]["operations"]]
    assert ["/parses/-"] == [step["path"] for step in said["profile"]["operations"]]
    assert ("compatible", []) == (said["verdict"], said["breaks"])
    assert "add tool 'list_files'" in said["summary"]

    before = contract_finding(town, 3)
    assert not before["ok"]
    for path in (new, engine):
        town.site.type("contracts", "add", path)
    town.site.type("contracts", "set-router", "team", "demo-router-v1", "--engine", "llama-server-hermes")
    assert contract_finding(town, 3)["ok"]
    assert "Nothing has to change" in town.site.type(*words).output


def contract_finding(town: Town, ordinal: int) -> dict[str, Any]:
    words = ("promote", f"{MODEL}@{ordinal}", "--tier", "team", "--dry-run")
    found = json.loads(town.site.type(*words, "--json", ends=89).stdout)["findings"]
    return next(item for item in found if item["check"] == "contract")


def test_where_no_change_is_enough_no_patch_is_made(town: Town, tmp_path: Path) -> None:
    """A contract that says XML, bound to a version whose template writes hermes: the contract is wrong, not the router."""
    wrong = DEMO / "contracts" / "tool-contract-xml-function.json"
    town.site.type("contracts", "add", wrong, "--for", f"{MODEL}@2")
    words = ("contracts", "patch", f"{MODEL}@2", "--tier", "team", "--out", tmp_path / "router.json")
    refused = town.site.ask_refused(*words, ends=NoRouterPatch.exit_code)
    assert "the chat template writes 'hermes'" in refused["message"]
    assert not (tmp_path / "router.json").exists()
