"""Suites as folders and as documents: what a steward may write, and every way in which it is refused with its place."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.suites import BUILTIN
from pipelines.suites.format import Suite, load, pack, read, tools_for, unpack
from pipelines.suites.gates import ShareGate
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
PARSED = 'contract.parse_rate = { min = "1.0" }\n'
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
ASKED = {"role": "user", "content": "Hello"}
SAID = {"role": "assistant", "content": ""}
CALLED: Any = {"check": "tool_called", "name": "get_weather"}
EQUAL: Any = {"check": "args_equal", "arguments": {"city": "Oslo"}}
WEATHER = HELLO | {
    "id": "weather",
    "cluster": "calls",
    "tools": ["get_weather"],
    "checks": [
        CALLED,
        EQUAL,
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


def test_a_suite_that_was_signed_by_an_earlier_release_keeps_its_digest() -> None:
    """0.1.0 knew no surfaces, no streams and no Python; what it packed is read as it was meant, and is the same bytes."""
    suite = load(BUILTIN / "tool-basics")
    assert "56ce212d9d17" == suite.digest[:12]
    assert ("endpoint", ("chat",), (False,), 1, False, 0) == (
        *(suite.kind, suite.surfaces, suite.streaming, suite.concurrency, suite.python, suite.warmup),
    )
    assert suite == unpack(pack(suite))


def test_the_suite_that_ships_with_the_product_is_one() -> None:
    suite = load(BUILTIN / "tool-basics")
    assert "tool-basics" == suite.name
    assert {"answers", "calls", "silence", "results"} == {case.cluster for case in suite.cases}
    assert all(isinstance(gate, ShareGate) and gate.least == 1 for gate in suite.gates)


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
        ({"messages": [SAID | {"tool_calls": 7}, ASKED]}, "messages[0].tool_calls"),
        ({"messages": [SAID | {"tool_calls": [7]}, ASKED]}, "messages[0].tool_calls[0]"),
        (
            {"messages": [SAID | {"tool_calls": [{"id": "c", "function": 7}]}, ASKED]},
            "messages[0].tool_calls[0].function",
        ),
        (
            {
                "messages": [
                    SAID | {"tool_calls": [{"id": "c", "function": {"name": "x", "arguments": {}}}]},
                    ASKED,
                ]
            },
            "messages[0].tool_calls[0]",
        ),
        ({"messages": [{"role": "tool", "content": "x", "tool_call_id": 7}]}, "messages[0].tool_call_id"),
        ({"note": "hi"}, None),
        ({"checks": [{"check": "answers"}] * 33}, "checks"),
        ({"checks": [{"check": "tools_called", "names": []}]}, "checks[0].names"),
        ({"checks": [{"check": "tools_called", "names": ["get_weather"]}]}, "tools"),
        (
            {
                "checks": [CALLED, {"check": "tools_called", "names": ["get_weather"]}],
                "tools": ["get_weather"],
            },
            "checks",
        ),
        (
            {
                "checks": [{"check": "tools_called", "names": ["get_weather"]}, EQUAL],
                "tools": ["get_weather"],
            },
            "checks[1]",
        ),
        ({"checks": [CALLED, {"check": "args_match", "arguments": {}}]}, "checks[1].arguments"),
        (
            {"checks": [CALLED, {"check": "args_match", "arguments": {"city": ".*"}}]},
            "checks[1].arguments.city",
        ),
        ({"checks": [{"check": "args_match", "arguments": {"city": "x"}}]}, "checks[0]"),
        ({"checks": [{"check": "content_absent", "pattern": "x*"}]}, "checks[0].pattern"),
        ({"checks": [{"check": "json_schema", "schema": {}}]}, "checks[0].schema"),
        ({"checks": [{"check": "json_schema", "schema": {"type": "strnig"}}]}, "checks[0].schema.type"),
        ({"checks": [{"check": "json_schema", "schema": True}]}, "checks[0].schema"),
        ({"checks": [{"check": "max_ttft_ms", "milliseconds": 0}]}, "checks[0].milliseconds"),
        ({"checks": [{"check": "max_ttft_ms", "milliseconds": 9}], "stream": False}, "stream"),
        ({"checks": [{"check": "stream_equals_nonstream"}], "stream": False}, "stream"),
        ({"checks": [{"check": "max_seconds", "seconds": 1.5}]}, "checks[0].seconds"),
        ({"checks": [{"check": "max_output_tokens", "tokens": "9"}]}, "checks[0].tokens"),
        ({"checks": [{"check": "python_check", "function": "os.system"}]}, "checks[0].function"),
        ({"checks": [{"check": "files", "name": "complete"}]}, "checks"),
        ({"tool_choice": {"name": "get_weather"}}, "tool_choice.name"),
        ({"tool_choice": {"name": "get_weather", "x": 1}}, "tool_choice"),
        (
            {"tool_choice": {"name": "add"}, "tools": ["add", "get_weather"], "checks": [CALLED]},
            "tool_choice",
        ),
        ({"surface": "telephone"}, "surface"),
        ({"stream": "yes"}, "stream"),
        ({"temperature": 1}, None),
        ({"parallel_tool_calls": 1}, "parallel_tool_calls"),
        ({"response_format": {}}, "response_format"),
        ({"response_format": {"type": 7}}, "response_format.type"),
        ({"min_tokens": 17}, "min_tokens"),
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


def test_a_pattern_for_an_argument_that_the_tool_lacks_is_the_suites_own_mistake() -> None:
    closed = TOOL | {"input": TOOL["input"] | {"additionalProperties": False}}  # type: ignore[operator]
    wrong = {"checks": [CALLED, {"check": "args_match", "arguments": {"town": "Oslo"}}]}
    assert "case weather: checks[1].arguments" == refusal(files(HELLO, WEATHER | wrong, tool=closed)).at


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
        ("repeats = 1", 'repeats = 1\nkind = "other"', "suite.toml: kind"),
        ("repeats = 1", "repeats = 1\nsurfaces = []", "suite.toml: surfaces"),
        ("repeats = 1", 'repeats = 1\nsurfaces = ["chat", "chat"]', "suite.toml: surfaces"),
        ("repeats = 1", 'repeats = 1\nsurfaces = "chat"', "suite.toml: surfaces"),
        ("repeats = 1", "repeats = 1\nstreaming = [true]", "suite.toml: streaming"),
        ("repeats = 1", "repeats = 1\nconcurrency = 0", "suite.toml: concurrency"),
        ("repeats = 1", "repeats = 1\nconcurrency = 1000", "suite.toml: concurrency"),
        ("repeats = 1", "repeats = 1\nwarmup = 101", "suite.toml: warmup"),
        ("repeats = 1", "repeats = 1\npython = 1", "suite.toml: python"),
        ("repeats = 1", "repeats = 1\npython = true", "suite.toml: python"),
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


PYTHON = TOML.replace("tools =", "python = true\ntools =")
POLITE: Any = HELLO | {"checks": [{"check": "python_check", "function": "check_polite"}]}
SOURCE = "def check_polite(exchange):\n    return None\n"


def with_python(source: str, toml: str = PYTHON, case: Any = POLITE) -> dict[str, str]:
    return files(case, WEATHER, toml=toml) | {"checks/manners.py": source}


def test_a_suite_says_that_it_brings_python_and_every_check_is_used() -> None:
    suite = read(with_python(SOURCE))
    assert (True, suite) == (suite.python, unpack(pack(suite)))
    assert "checks/manners.py" == refusal(with_python(SOURCE, toml=TOML)).at
    assert "checks/manners.py" == refusal(with_python(SOURCE, case=HELLO)).at
    assert "case hello: checks" == refusal(files(POLITE, WEATHER, toml=TOML)).at


@pytest.mark.parametrize(
    "source",
    [
        "", "x = 1\n", "def check_polite(", "def polite(e): ...\n", SOURCE * 2, "#" * 70_000 + SOURCE, "\0",
        "(" * 5000, "class A:\n    def check_polite(self): ...\n",
    ],
)  # fmt: skip
def test_python_that_is_no_check_is_refused_and_never_run(source: str) -> None:
    assert "checks/manners.py" == refusal(with_python(source)).at


def test_a_suite_is_asked_in_every_way_that_it_says_unless_a_case_fixes_it() -> None:
    wide = 'surfaces = ["chat", "responses"]\nstreaming = ["no", "yes"]\nrepeats = 1'
    cases = [
        HELLO,
        HELLO | {"id": "fixed", "surface": "responses", "stream": False},
        HELLO | {"id": "streamed", "checks": [{"check": "max_ttft_ms", "milliseconds": 9}]},
    ]
    suite = read(
        files(*cases, toml=TOML.replace("repeats = 1", wide).replace("s = 2", "s = 3").replace(PARSED, ""))
    )
    assert [4, 1, 2] == [len(suite.modes(case)) for case in suite.cases]
    assert {("chat", True), ("responses", True)} == set(suite.modes(suite.cases[2]))
    assert [("chat", False)] == list(read(files()).modes(read(files()).cases[0]))
    assert ["hello", "fixed", "streamed"] == [case.id for case in suite.counted("surface.responses")]
    assert ["hello", "streamed"] == [case.id for case in suite.counted("perf.ttft_p95_ms")]


FILES_TOML = TOML.replace('tools = "own"', 'kind = "files"').replace(PARSED, "")


def test_a_suite_about_files_asks_no_engine() -> None:
    def case(name: str) -> str:
        return json.dumps({"id": name, "cluster": "files", "checks": [{"check": "files", "name": name}]})

    texts = {"suite.toml": FILES_TOML, "cases/a.jsonl": f"{case('complete')}\n{case('finite')}\n"}
    suite = read(texts)
    assert ("files", {}, suite) == (suite.kind, suite.tools, unpack(pack(suite)))
    assert [1, 1] == [len(suite.modes(one)) for one in suite.cases]
    for change in (
        {"checks": [{"check": "answers"}]},
        {"checks": [{"check": "files", "name": "nice"}]},
        HELLO,
    ):
        wrong = json.dumps(json.loads(case("finite")) | change)
        assert refusal(texts | {"cases/a.jsonl": f"{case('complete')}\n{wrong}\n"}).at.startswith(
            "cases/a.jsonl line 2"
        )
    for old, new in (
        ("repeats = 1", "repeats = 2"),
        ("kind", "warmup = 1\nkind"),
        ("kind", 'tools = "own"\nkind'),
    ):
        assert refusal(texts | {"suite.toml": FILES_TOML.replace(old, new)}).at.startswith("suite.toml")


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
