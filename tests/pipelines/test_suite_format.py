"""Suites as folders and as documents: what a steward may write, and every way in which it is refused with its place."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.suites import BUILTIN
from pipelines.suites.format import Suite, load, pack, read, tools_for, unpack
from pipelines.suites.refusals import SuiteMalformed, SuiteUnfit
from registry.contracts import Emission, Tool, ToolContract

TOML = """
format = "tidegate-suite/1"
name = "small"
description = "A small suite."
cases = 2
repeats = 1
timeout_seconds = 5
limit_seconds = 60
tools = "own"

[gates]
contract.parse_rate = { min = "1.0" }
cases.pass_rate = { min = "0.5" }
"""
TOOL = {
    "name": "get_weather",
    "description": "The weather in a city.",
    "input": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
HELLO = {
    "id": "hello",
    "cluster": "talk",
    "messages": [{"role": "user", "content": "Hello"}],
    "tools": [],
    "max_tokens": 16,
    "checks": [{"check": "answers"}],
}
CALLED: Any = {"check": "tool_called", "name": "get_weather"}
WEATHER = HELLO | {
    "id": "weather",
    "cluster": "calls",
    "tools": ["get_weather"],
    "checks": [
        CALLED,
        {"check": "args_equal", "arguments": {"city": "Oslo"}},
    ],
}


def files(*cases: Any, toml: str = TOML, tool: Any = TOOL) -> dict[str, str]:
    lines = [case if isinstance(case, str) else json.dumps(case) for case in cases or (HELLO, WEATHER)]
    return {
        "suite.toml": toml,
        "cases/basic.jsonl": "\n".join(lines) + "\n",
        "tools/get_weather.json": json.dumps(tool),
    }


def folder_of(path: Path, texts: dict[str, str]) -> Path:
    for name, text in texts.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text)
    return path


def test_a_suite_survives_packing_byte_for_byte(tmp_path: Path) -> None:
    suite = load(folder_of(tmp_path, files()))
    assert suite == unpack(pack(suite))
    assert pack(suite) == pack(unpack(pack(suite)))
    assert ["hello", "weather"] == [case.id for case in suite.cases]


def test_the_identity_covers_every_letter_even_a_comment(tmp_path: Path) -> None:
    assert read(files()).digest != read(files(toml=TOML + "# a note\n")).digest


def test_the_suite_that_ships_with_the_product_is_one() -> None:
    suite = load(BUILTIN / "tool-basics")
    assert "tool-basics" == suite.name
    assert {"answers", "calls", "silence", "results"} == {case.cluster for case in suite.cases}
    assert all(gate.least == 1 for gate in suite.gates)


def refusal(texts: dict[str, str]) -> SuiteMalformed:
    with pytest.raises(SuiteMalformed) as refused:
        read(texts)
    return refused.value


@pytest.mark.parametrize(
    ("change", "at"),
    [
        ({"checks": []}, "checks"),
        ({"checks": "answers"}, "checks"),
        ({"checks": ["answers"]}, "checks[0]"),
        ({"checks": [{"check": "is_nice"}]}, "checks[0].check"),
        ({"checks": [{"check": "answers", "loudly": True}]}, "checks[0]"),
        ({"checks": [{"check": "tool_called"}]}, "checks[0]"),
        ({"checks": [{"check": "answers"}, {"check": "answers"}]}, "checks"),
        ({"checks": [{"check": "args_valid"}]}, "checks[0]"),
        ({"checks": [{"check": "args_equal", "arguments": {}}]}, "checks[0]"),
        ({"checks": [{"check": "multi_turn_tool_result", "result": "x", "contains": "x"}]}, "checks[0]"),
        ({"checks": [{"check": "content_regex", "pattern": ".*"}]}, "checks[0].pattern"),
        ({"checks": [{"check": "content_regex", "pattern": "("}]}, "checks[0].pattern"),
        ({"checks": [{"check": "content_regex", "pattern": "a" * 201}]}, "checks[0].pattern"),
        ({"checks": [{"check": "content_regex", "pattern": "a{99999999999999999999}"}]}, "checks[0].pattern"),
        ({"checks": [{"check": "content_regex", "pattern": "[[a]"}]}, "checks[0].pattern"),
        ({"checks": [{"check": "finish_reason", "reason": ""}]}, "checks[0].reason"),
        ({"checks": [{"check": "tool_called", "name": "get_weather"}]}, "tools"),
        ({"id": "../../etc"}, "id"),
        ({"id": 7}, "id"),
        ({"tools": ["get_weather", "get_weather"]}, "tools"),
        ({"tools": "get_weather"}, "tools"),
        ({"tool_choice": "maybe"}, "tool_choice"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"max_tokens": 10**9}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user"}]}, "messages[0]"),
        ({"messages": [{"role": "root", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": ["x"]}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": "x", "tool_calls": []}]}, "messages[0].tool_calls"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "messages[0]"),
        ({"note": "hi"}, None),
    ],
)
def test_a_case_that_means_nothing_is_refused_at_its_place(change: dict[str, Any], at: str | None) -> None:
    found = refusal(files(WEATHER, HELLO | change))
    assert f"cases/basic.jsonl line 2{f': {at}' if at else ''}" == found.at


def test_a_check_that_contradicts_another_is_refused() -> None:
    both = {"checks": [{"check": "tool_called", "name": "get_weather"}, {"check": "no_tool"}]}
    assert "forbids" in refusal(files(HELLO, WEATHER | both)).problem


@pytest.mark.parametrize(
    "line", ["", "{", "[]", '{"id":"a","id":"b"}', "[" * 5000, '{"a":NaN}', "x" * 70_000]
)
def test_a_line_that_is_no_case_is_refused_with_its_number(line: str) -> None:
    assert refusal(files(HELLO, line)).at.startswith("cases/basic.jsonl line 2")


def test_expected_arguments_that_no_schema_allows_are_the_suites_own_mistake() -> None:
    wrong = {"checks": [CALLED, {"check": "args_equal", "arguments": {"city": 7}}]}
    assert "case weather: checks[1].arguments" == refusal(files(HELLO, WEATHER | wrong)).at


@pytest.mark.parametrize(
    ("old", "new", "at"),
    [
        ("cases = 2", "cases = 3", "suite.toml: cases"),
        ("cases = 2", "cases = 1", "suite.toml: cases"),
        ("cases = 2", "cases = 2.0", "suite.toml: cases"),
        ("suite/1", "suite/2", "suite.toml: format"),
        ('"small"', '"../small"', "suite.toml: name"),
        ("repeats = 1", "repeats = 0", "suite.toml: repeats"),
        ("timeout_seconds = 5\n", "", "suite.toml"),
        ('tools = "own"', 'tools = "own"\nscript = "x.py"', "suite.toml"),
        ('tools = "own"', 'tools = "contract"', "suite.toml: tools"),
        ('tools = "own"', 'tools = "network"', "suite.toml: tools"),
        ('{ min = "0.5" }', "{ min = 0.5 }", "suite.toml: gates.cases.pass_rate.min"),
        ('{ min = "0.5" }', '{ min = "0.0" }', "suite.toml: gates.cases.pass_rate.min"),
        ('{ min = "0.5" }', '{ min = "1.5" }', "suite.toml: gates.cases.pass_rate.min"),
        ('{ min = "0.5" }', '{ min = "0.5", max = "1.0" }', "suite.toml: gates.cases.pass_rate"),
        ('{ min = "0.5" }', "{}", "suite.toml: gates.cases.pass_rate"),
        ('{ min = "1.0" }', '{ min = "0.9" }', "suite.toml: gates.contract.parse_rate.min"),
        ("contract.parse_rate", "contract.luck", "suite.toml: gates.contract.luck"),
        ("cases.pass_rate", "cluster.nobody", "suite.toml: gates.cluster.nobody"),
        ("cases.pass_rate", "cluster.calls", "case hello"),
        ('cases.pass_rate = { min = "0.5" }\n', "", "case hello"),
        ("[gates]", "[gates", "suite.toml"),
    ],
)
def test_settings_that_promise_nothing_are_refused(old: str, new: str, at: str) -> None:
    assert old in TOML
    assert at == refusal(files(toml=TOML.replace(old, new))).at


def test_a_suite_without_any_gate_could_not_fail_and_is_none() -> None:
    toml = TOML[: TOML.index("[gates]")] + "[gates]\n"
    assert "suite.toml: gates" == refusal(files(toml=toml)).at


def test_the_same_case_in_two_files_is_refused() -> None:
    again = files() | {"cases/more.jsonl": json.dumps(HELLO)}
    again["suite.toml"] = TOML.replace("cases = 2", "cases = 3")
    assert "case hello" == refusal(again).at


@pytest.mark.parametrize(
    ("tool", "at"),
    [
        (TOOL | {"name": "other"}, "tools/get_weather.json: name"),
        (TOOL | {"input": {"type": "strnig"}}, "tools/get_weather.json: input.type"),
        (TOOL | {"input": []}, "tools/get_weather.json: input"),
        (TOOL | {"run": "rm"}, "tools/get_weather.json"),
        ([], "tools/get_weather.json"),
    ],
)
def test_a_tool_that_is_none_is_refused(tool: Any, at: str) -> None:
    assert at == refusal(files(tool=tool)).at


@pytest.mark.parametrize(
    "name",
    [
        "checks/evil.py",
        "conftest.py",
        "cases/evil.py",
        "cases/.hidden",
        "../x.jsonl",
        "cases/a/b.jsonl",
        ".git",
    ],
)
def test_nothing_but_data_may_lie_in_a_suite(tmp_path: Path, name: str) -> None:
    assert name == refusal(files() | {name: "{}"}).at
    if not name.startswith(".."):
        with pytest.raises(SuiteMalformed):
            load(folder_of(tmp_path, files() | {name: "{}"}))


def link(path: Path) -> None:
    path.symlink_to("/etc/passwd")


@pytest.mark.parametrize("make", [link, os.mkfifo, Path.mkdir], ids=["link", "fifo", "folder"])
def test_what_is_no_plain_file_is_not_opened(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(folder_of(tmp_path, files()) / "cases" / "more.jsonl")
    with pytest.raises(SuiteMalformed) as refused:
        load(tmp_path)
    assert "cases/more.jsonl" == refused.value.at


def test_bytes_that_are_no_text_and_files_that_are_too_large_are_refused(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, files())
    (folder / "README.md").write_bytes(b"\xff\xfe")
    with pytest.raises(SuiteMalformed, match=r"README\.md"):
        load(folder)
    (folder / "README.md").write_bytes(b"a" * (9 << 20))
    with pytest.raises(SuiteMalformed, match=r"README\.md"):
        load(folder)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SuiteMalformed):
        load(tmp_path / "nowhere")


def contract(*names: str) -> ToolContract:
    tools = tuple(Tool(name, TOOL["input"]) for name in names)  # type: ignore[arg-type]  # TOOL is a literal above
    return ToolContract("demo", Emission("hermes"), ("chat",), tools, 2048)


def borrowing() -> Suite:
    texts = files(toml=TOML.replace('tools = "own"', 'tools = "contract"'))
    del texts["tools/get_weather.json"]
    return read(texts)


def test_a_suite_may_borrow_the_contracts_tools() -> None:
    assert {"get_weather", "add"} == set(tools_for(borrowing(), contract("get_weather", "add")))


def test_a_contract_without_the_tool_does_not_fit() -> None:
    with pytest.raises(SuiteUnfit, match="get_weather"):
        tools_for(borrowing(), contract("add"))
    with pytest.raises(SuiteUnfit):
        tools_for(borrowing(), None)


def test_packed_bytes_that_were_touched_are_refused_or_are_another_suite() -> None:
    suite = read(files())
    data = pack(suite)
    for place in range(0, len(data), 7):
        touched = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        try:
            assert unpack(touched).digest != suite.digest
        except SuiteMalformed:
            continue
