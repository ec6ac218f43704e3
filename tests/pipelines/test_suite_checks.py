"""The vocabulary of checks against answers, polite and hostile; and from results to a verdict."""

import json
from dataclasses import asdict, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from pipelines.engines.endpoint import AnswerUnusable
from pipelines.suites import responses
from pipelines.suites import results as results_module
from pipelines.suites.cases import read_case
from pipelines.suites.checks import Exchange, calls_valid, problem, same
from pipelines.suites.format import Suite, Tool, read
from pipelines.suites.judge import judge
from pipelines.suites.results import Attempt, Results, Writer
from pipelines.suites.schema import first_problem
from pipelines.suites.talk import Call, Reply, read_reply, request, second_turn
from pipelines.suites.vocabulary import FilesCheck, PythonCheck
from tests.pipelines.test_suite_format import HELLO, TOML, TOOL, WEATHER, files

SCHEMA: dict[str, Any] = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = {"get_weather": Tool("get_weather", "", SCHEMA), "add": Tool("add", "", {"type": "object"})}


def call(arguments: str, name: str = "get_weather") -> Reply:
    return Reply("", (Call("c1", name, arguments),), "tool_calls")


def said(words: str, reason: str = "stop") -> Reply:
    return Reply(words, (), reason)


OSLO = call('{"city": "Oslo"}')
CALLED: dict[str, Any] = {"check": "tool_called", "name": "get_weather"}
VALID: dict[str, Any] = {"check": "args_valid"}
EQUAL: dict[str, Any] = {"check": "args_equal", "arguments": {"city": "Oslo"}}
TURN: dict[str, Any] = {"check": "multi_turn_tool_result", "result": "snow", "contains": "snow"}
WORDS: dict[str, Any] = {"check": "content_regex", "pattern": r"\bok\b"}
ENDED: dict[str, Any] = {"check": "finish_reason", "reason": "stop"}


ADD = call('{"a": 1}', "add")
BOTH: dict[str, Any] = {"check": "tools_called", "names": ["add", "get_weather"]}
MATCH: dict[str, Any] = {"check": "args_match", "arguments": {"city": "^O"}}
ABSENT: dict[str, Any] = {"check": "content_absent", "pattern": "SECRET"}
JSON: dict[str, Any] = {"check": "json_schema", "schema": SCHEMA}
FEW: dict[str, Any] = {"check": "max_output_tokens", "tokens": 3}
QUICK: dict[str, Any] = {"check": "max_ttft_ms", "milliseconds": 100}


def verdict(checks: list[dict[str, Any]], first: Reply, second: Reply | None = None) -> list[bool]:
    raw = HELLO | {"checks": checks, "tools": ["get_weather", "add"]}
    case = read_case(raw, at="here")
    return [problem(check, Exchange(first, second), case, TOOLS) is None for check in case.checks]


@pytest.mark.parametrize(
    ("checks", "first", "second", "expected"),
    [
        ([{"check": "answers"}], said("hi"), None, [True]),
        ([{"check": "answers"}], said(" \n"), None, [False]),
        ([{"check": "answers"}], OSLO, None, [False]),
        ([{"check": "no_tool"}], said("hi"), None, [True]),
        ([{"check": "no_tool"}], OSLO, None, [False]),
        ([CALLED, VALID, EQUAL], OSLO, None, [True, True, True]),
        ([CALLED, VALID, EQUAL], call('{"city": "Rome"}'), None, [True, True, False]),
        ([CALLED, VALID, EQUAL], call('{"city": 7}'), None, [True, False, False]),
        ([CALLED, VALID, EQUAL], call('{"city": "Oslo", "x": 1}'), None, [True, True, False]),
        ([CALLED, VALID], call("{}", "add"), None, [False, False]),
        ([CALLED], replace(OSLO, calls=OSLO.calls * 2), None, [False]),
        ([CALLED, VALID], said('<tool_call>{"name":"get_weather"}</tool_call>'), None, [False, False]),
        ([WORDS], said("It is ok."), None, [True]),
        ([WORDS], said("broken"), None, [False]),
        ([ENDED], said("hi"), None, [True]),
        ([ENDED], said("hi", "length"), None, [False]),
        ([CALLED, TURN], OSLO, said("It is snow in Oslo."), [True, True]),
        ([CALLED, TURN], OSLO, said("It is sunny."), [True, False]),
        ([CALLED, TURN], OSLO, OSLO, [True, False]),
        ([CALLED, TURN], said("snow"), None, [False, False]),
        ([BOTH, VALID], replace(OSLO, calls=(*OSLO.calls, *ADD.calls)), None, [True, True]),
        ([BOTH, VALID], replace(OSLO, calls=(*ADD.calls, *OSLO.calls)), None, [True, True]),
        ([BOTH, VALID], replace(OSLO, calls=(*ADD.calls, *call("{}").calls)), None, [True, False]),
        ([BOTH, VALID], OSLO, None, [False, True]),
        ([BOTH], replace(OSLO, calls=(*OSLO.calls, *ADD.calls, *ADD.calls)), None, [False]),
        ([BOTH, TURN], replace(OSLO, calls=(*OSLO.calls, *ADD.calls)), said("snow"), [True, True]),
        ([CALLED, MATCH], OSLO, None, [True, True]),
        ([CALLED, MATCH], call('{"city": "Rome"}'), None, [True, False]),
        ([CALLED, MATCH], call('{"town": "Oslo"}'), None, [True, False]),
        ([CALLED, MATCH], call('{"city": ["Oslo"]}'), None, [True, False]),
        ([ABSENT], said("All is well."), None, [True]),
        ([ABSENT], said("the SECRET is 7"), None, [False]),
        ([ABSENT], said("x" * 20_000), None, [False]),
        ([JSON], said(' {"city": "Oslo"} '), None, [True]),
        ([JSON], said('{"city": 7}'), None, [False]),
        ([JSON], said('Here it is: {"city": "Oslo"}'), None, [False]),
        ([JSON], said("[" * 100_000), None, [False]),
        ([JSON], said(""), None, [False]),
        ([FEW], replace(said("hi"), output_tokens=3), None, [True]),
        ([FEW], replace(said("hi"), output_tokens=4), None, [False]),
        ([FEW], said("hi"), None, [False]),
        ([QUICK], replace(said("hi"), ttft_ms=100), None, [True]),
        ([QUICK], replace(said("hi"), ttft_ms=101), None, [False]),
        ([QUICK], said("hi"), None, [False]),
    ],
)
def test_each_check_says_yes_and_no(
    checks: list[dict[str, Any]], first: Reply, second: Reply | None, expected: list[bool]
) -> None:
    assert expected == verdict(checks, first, second)


def test_a_whole_answer_has_its_time() -> None:
    case = read_case(HELLO | {"checks": [{"check": "max_seconds", "seconds": 2}]}, at="here")
    took = [
        problem(case.checks[0], Exchange(said("hi"), milliseconds=ms), case, TOOLS) for ms in (2000, 2001)
    ]
    assert [None, "the answer took 2001 ms, at most 2 s allowed"] == took


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (None, "not asked both ways"),
        (OSLO, None),
        (call('{ "city":"Oslo" }'), None),
        (replace(OSLO, output_tokens=9, ttft_ms=None), None),
        (call('{"city": "Rome"}'), "not streamed get_weather"),
        (call('{"city": '), "not streamed get_weather"),
        (replace(OSLO, calls=OSLO.calls * 2), "not streamed get_weather"),
        (replace(OSLO, content="Let me see."), "not streamed 'Let me see.'"),
        (replace(OSLO, finish_reason="stop"), "not streamed with 'stop'"),
        (said('<tool_call>{"name": "get_weather"}</tool_call>'), "not streamed nothing"),
    ],
)
def test_both_ways_of_asking_get_the_same_answer(other: Reply | None, told: str | None) -> None:
    case = read_case(HELLO | {"checks": [{"check": "stream_equals_nonstream"}]}, at="here")
    found = problem(case.checks[0], Exchange(OSLO, other=other), case, TOOLS)
    assert (found is None) if told is None else (found is not None and told in found)


def test_checks_that_somebody_else_answers_never_pass_here() -> None:
    case = read_case(HELLO, at="here")
    for check in (PythonCheck("check_it"), FilesCheck("complete")):
        assert problem(check, Exchange(said("hi")), case, TOOLS) is not None


@pytest.mark.parametrize(
    "arguments",
    [
        "", "null", "[]", '"{}"', "{", '{"city":"Oslo","city":"Oslo"}', '{"city":NaN}', "[" * 100_000,
        '{"a":' * 5000 + "1" + "}" * 5000, '{"city":"\\ud800"}', "\ud800", "9" * 5000, '{"city":"Oslo"} extra',
        "{" + ",".join(f'"k{n}":1' for n in range(200_000)) + "}",
    ],
    ids=lambda text: f"{text[:12]!r}-{len(text)}",
)  # fmt: skip
def test_hostile_arguments_are_wrong_and_nothing_worse(arguments: str) -> None:
    assert [True, False, False] == verdict([CALLED, VALID, EQUAL], call(arguments))
    assert not calls_valid(call(arguments), TOOLS)


def test_a_schema_that_points_elsewhere_is_not_followed() -> None:
    for ref in ("http://127.0.0.1:9/schema.json", "file:///etc/passwd", "#/nowhere", "#"):
        assert first_problem({"$ref": ref}, {}) is not None


def test_one_is_one_point_nought_and_not_true() -> None:
    assert same({"a": [1, None, "x"]}, {"a": [1.0, None, "x"]})
    for left, right in (
        (1, True),
        (0, False),
        (None, 0),
        ("1", 1),
        ([1], [1, 2]),
        ({"a": 1}, {"b": 1}),
        ([], {}),
    ):
        assert not same(left, right)


@pytest.mark.parametrize(
    "body",
    [
        b"", b"null", b"{}", b'{"output":{}}', b'{"output":[7],"status":"completed"}', b'{"output":[{}]}',
        b'{"output":[{"type":"message","content":"hi"}],"status":"completed"}',
        b'{"output":[{"type":"message","content":[{"type":"output_text"}]}],"status":"completed"}',
        b'{"output":[{"type":"function_call","name":"x","arguments":{}}],"status":"completed"}',
        b'{"output":[]}', b'{"output":[],"status":"queued"}', b'{"output":[],"status":"failed","error":"no"}',
        b'{"output":[' + b"{}," * 300 + b"{}]}", b"[" * 100_000,
    ],
)  # fmt: skip
def test_a_response_of_another_shape_is_unusable(body: bytes) -> None:
    with pytest.raises(AnswerUnusable):
        responses.read_reply(body, where="here")


def test_a_response_that_ran_out_of_room_ends_as_chat_does() -> None:
    body = {"output": [], "status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
    assert "length" == responses.read_reply(json.dumps(body).encode(), where="here").finish_reason


DIALOGUE = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Weather?"},
    {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"id": "c7", "function": {"name": "get_weather", "arguments": "{}"}}],
    },
    {"role": "tool", "tool_call_id": "c7", "content": "snow"},
]


def test_one_case_asks_the_same_on_both_surfaces() -> None:
    settings = {"tool_choice": {"name": "add"}, "parallel_tool_calls": True, "response_format": SCHEMA}
    raw = HELLO | {"messages": DIALOGUE, "tools": ["add"], "min_tokens": 2} | settings
    case = read_case(raw, at="here")
    chat = json.loads(request(case, TOOLS, model="m", seed=7, stream=True))
    other = json.loads(responses.request(case, TOOLS, model="m", stream=True))
    assert DIALOGUE == chat["messages"]
    assert ["message", "message", "function_call", "function_call_output"] == [
        i["type"] for i in other["input"]
    ]
    assert "c7" == other["input"][2]["call_id"] == other["input"][3]["call_id"]
    assert ("add", "add") == (chat["tool_choice"]["function"]["name"], other["tool_choice"]["name"])
    assert ("add", "add") == (chat["tools"][0]["function"]["name"], other["tools"][0]["name"])
    assert SCHEMA == chat["response_format"]["json_schema"]["schema"] == other["text"]["format"]["schema"]
    assert (True, True) == (chat["parallel_tool_calls"], other["parallel_tool_calls"])
    assert (16, 16, 2, 2) == (
        *(chat["max_tokens"], other["max_output_tokens"]),
        *(chat["min_tokens"], other["min_tokens"]),
    )
    more = responses.second_turn(OSLO, "snow")
    assert ["function_call", "function_call_output"] == [item["type"] for item in more]
    assert more[0]["call_id"] == more[1]["call_id"]


@pytest.mark.parametrize(
    "body",
    [
        b"", b"null", b"{}", b'{"choices":[]}', b'{"choices":[7]}', b'{"choices":[{}]}',
        b'{"choices":[{"message":7}]}', b'{"choices":[{"message":{"content":[]}}]}',
        b'{"choices":[{"message":{"content":"","tool_calls":{}}}]}',
        b'{"choices":[{"message":{"content":"","tool_calls":[7]}}]}',
        b'{"choices":[{"message":{"content":"","tool_calls":[{"function":{"name":"x","arguments":{}}}]}}]}',
        b'{"choices":[{"message":{"content":""},"finish_reason":7}]}',
        b'{"choices":[{"message":{"content":"","tool_calls":[' + b"{}," * 99 + b"{}]}}]}",
        b"[" * 100_000,
    ],
)  # fmt: skip
def test_an_answer_of_another_shape_is_unusable(body: bytes) -> None:
    with pytest.raises(AnswerUnusable):
        read_reply(body, where="here")


def test_the_same_question_is_the_same_bytes_and_carries_its_settings() -> None:
    case = read_case(WEATHER, at="here")
    tools = {"get_weather": Tool("get_weather", "", SCHEMA)}
    first = request(case, tools, model="m", seed=7)
    body = json.loads(first)
    assert first == request(case, tools, model="m", seed=7)
    assert (0, 7, False, "auto") == tuple(
        body[key] for key in ("temperature", "seed", "stream", "tool_choice")
    )
    more = second_turn(OSLO, "snow")
    assert ["assistant", "tool"] == [message["role"] for message in more]
    assert more[0]["tool_calls"][0]["id"] == more[1]["tool_call_id"]


# -- from results to a verdict ----------------------------------------------------------------------------


def small(*, repeats: int = 1, least: str = "1.0") -> Suite:
    toml = TOML.replace("repeats = 1", f"repeats = {repeats}").replace('"0.5"', f'"{least}"')
    return read(files(toml=toml, tool=TOOL))


def attempt(case: str, repeat: int = 1, *, outcome: str = "passed", trouble: str | None = None) -> Attempt:
    reasons = () if outcome == "passed" else ("answers: no",)
    good = outcome == "passed"
    return Attempt(case, repeat, outcome, trouble, reasons, good, good, "0" * 64, 5, "stop", "ok", ())


def written(path: Path, *attempts: Attempt, seal: bool = True, stopped: str | None = None) -> Path:
    writer = Writer(path)
    for one in attempts:
        writer.add(one)
    if seal:
        writer.seal(stopped)
    return path


GOOD = (attempt("hello"), attempt("weather"))


def test_a_whole_run_that_is_right_passes(tmp_path: Path) -> None:
    found = results_module.read(written(tmp_path / "r", *GOOD), small())
    assert Results(GOOD, (), None) == found
    assert ("PASSED", ()) == (judge(small(), found).outcome, judge(small(), found).reasons)


@pytest.mark.parametrize(
    "attempts",
    [(), GOOD[:1], (*GOOD, attempt("stranger")), (*GOOD, GOOD[0]), (GOOD[0], attempt("weather", 2))],
    ids=["none", "one-missing", "stranger", "twice", "another-repeat"],
)
def test_results_that_do_not_fit_the_suite_make_it_fail(
    tmp_path: Path, attempts: tuple[Attempt, ...]
) -> None:
    found = results_module.read(written(tmp_path / "r", *attempts), small())
    assert found.problems
    assert "FAILED" == judge(small(), found).outcome


def test_results_cut_short_at_any_byte_never_pass(tmp_path: Path) -> None:
    whole = written(tmp_path / "whole", *GOOD).read_bytes()
    suite = small()
    for length in range(len(whole)):
        (tmp_path / "cut").write_bytes(whole[:length])
        assert "FAILED" == judge(suite, results_module.read(tmp_path / "cut", suite)).outcome


def test_a_failure_that_was_edited_into_a_pass_breaks_the_seal(tmp_path: Path) -> None:
    path = written(tmp_path / "r", GOOD[0], attempt("weather", outcome="failed"))
    forged = (
        path.read_text().replace('"failed"', '"passed"').replace('"reasons":["answers: no"]', '"reasons":[]')
    )
    path.write_text(forged.replace("false", "true"))
    found = results_module.read(path, small())
    assert "the results are not the ones that were sealed" in found.problems
    assert "FAILED" == judge(small(), found).outcome


@pytest.mark.parametrize(
    "change",
    [
        {"outcome": "excellent"}, {"outcome": "failed"}, {"reasons": ["no"]}, {"trouble": "too-slow"},
        {"repeat": "1"}, {"repeat": True}, {"milliseconds": 1.5}, {"calls": "x"}, {"extra": 1}, {"content": None},
    ],
)  # fmt: skip
def test_a_result_of_another_shape_is_not_believed(tmp_path: Path, change: dict[str, Any]) -> None:
    path = tmp_path / "r"
    path.write_text(json.dumps(asdict(GOOD[0]) | change) + "\n")
    found = results_module.read(path, small())
    assert () == found.attempts
    assert any("results line 1" in told for told in found.problems)


@pytest.mark.parametrize(
    "data", [b"", b"\n", b"\x00" * 4096, b"[" * 9999 + b"\n", b'{"lines":0}\n', b"\xff\n"]
)
def test_a_results_file_that_is_rubbish_is_a_failed_run(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "r").write_bytes(data)
    assert "FAILED" == judge(small(), results_module.read(tmp_path / "r", small())).outcome


def test_a_missing_results_file_is_a_failed_run(tmp_path: Path) -> None:
    assert "FAILED" == judge(small(), results_module.read(tmp_path / "nowhere", small())).outcome


def test_a_share_is_counted_exactly() -> None:
    half = Results((GOOD[0], attempt("weather", outcome="failed")), (), None)
    assert ["gate contract.parse_rate: 0 of 1 cases, at least 1.0 demanded"] == list(
        judge(small(least="0.5"), half).reasons
    )
    gates = {gate.metric: gate for gate in judge(small(least="0.5001"), half).gates}
    assert (1, 2, False) == tuple(
        getattr(gates["cases.pass_rate"], name) for name in ("good", "counted", "held")
    )
    assert Fraction(1, 2) == getattr(small(least="0.5").gates[1], "least", None)


def test_a_case_that_is_right_two_times_in_three_is_wrong() -> None:
    suite = small(repeats=3)
    runs = [attempt(case, repeat) for case in ("hello", "weather") for repeat in (1, 2, 3)]
    runs[4] = attempt("weather", 2, outcome="failed")
    found = judge(suite, Results(tuple(runs), (), None))
    assert ("FAILED", 1) == (found.outcome, found.passed)


def test_what_the_engine_did_is_no_verdict_about_the_model() -> None:
    whole = Results(GOOD, (), None)
    assert "INCONCLUSIVE" == judge(small(), whole, engine=["gone after the run"]).outcome
    broken = Results((GOOD[0], attempt("weather", outcome="trouble", trouble="unreachable")), (), None)
    assert "INCONCLUSIVE" == judge(small(), broken).outcome
    slow = Results((GOOD[0], attempt("weather", outcome="trouble", trouble="too-slow")), (), None)
    assert "FAILED" == judge(small(), slow).outcome  # the engine lived: this question has no answer in time


def test_a_child_that_was_killed_makes_a_whole_run_fail() -> None:
    found = judge(small(), Results(GOOD, (), None), run=["ended after its limit"])
    assert ("FAILED", ("ended after its limit",)) == (found.outcome, found.reasons)
