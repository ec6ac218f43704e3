"""How a run asks: in every way that the suite says, both sides in turn, so many at once, and after a kill only the rest."""

import json
import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pipelines.suites.format import Suite, pack, read
from pipelines.suites.kept import KeptAnswers
from pipelines.suites.parent import Done, Side, run_child
from pipelines.suites.refusals import RunNotResumable
from pipelines.suites.results import Attempt
from registry.contracts import Emission, ToolContract, encode
from tests.pipelines import faulty_engine as faulty
from tests.pipelines.faulty_engine import FaultyEngine, able, faulty_engine, spoken
from tests.pipelines.test_suite_format import CALLED, HELLO, PARSED, TOML, WEATHER, files

CONTRACT = encode(ToolContract("demo", Emission("hermes"), ("chat",), (), 2048))
BOTH_WAYS = 'surfaces = ["chat", "responses"]\nstreaming = ["no", "yes"]\n'
ASKED_WEATHER = WEATHER | {
    "messages": [{"role": "user", "content": "What is the weather in Oslo?"}],
    "checks": [
        CALLED,
        {"check": "args_valid"},
        {"check": "multi_turn_tool_result", "result": "snow", "contains": "snow"},
    ],
}


def suite_of(*cases: Any, settings: str = "", **changes: str) -> Suite:
    """A suite of these cases; `settings` are further lines of suite.toml."""
    toml = TOML.replace("cases = 2", f"cases = {len(cases)}").replace(PARSED, "").replace('"0.5"', '"1.0"')
    for name, value in {"timeout_seconds": "2", **changes}.items():
        old = next(line for line in toml.splitlines() if line.startswith(f"{name} ="))
        toml = toml.replace(old, f"{name} = {value}")
    return read(files(*cases, toml=toml.replace("[gates]", f"{settings}\n[gates]")))


def hellos(count: int) -> list[dict[str, Any]]:
    return [HELLO | {"id": f"hello-{number:02}"} for number in range(count)]


@dataclass
class Bench:
    """A folder and engines to ask."""

    folder: Path
    seen: list[tuple[int, int]] = field(default_factory=list)

    def run(self, suite: Suite, *engines: FaultyEngine, **settings: Any) -> Done:
        sides = [
            Side(name, engine.url, "m")
            for name, engine in zip(("candidate", "baseline"), engines, strict=False)
        ]
        return run_child(
            self.folder,
            suite,
            sides=sides,
            contract=CONTRACT,
            junit=self.folder / "junit.xml",
            progress=lambda *news: self.seen.append(news),
            **settings,
        )


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def engine() -> Iterator[FaultyEngine]:
    with faulty_engine(answer=able) as one:
        yield one


def passed(done: Done) -> bool:
    whole = not done.results.problems and done.ended.problem is None and done.results.stopped is None
    return whole and all(attempt.outcome == "passed" for attempt in done.results.attempts)


def reasons(done: Done) -> str:
    return "\n".join(reason for attempt in done.results.attempts for reason in attempt.reasons)


# -- every way of asking -----------------------------------------------------------------------------------


def test_a_suite_is_asked_on_both_surfaces_and_both_ways(bench: Bench, engine: FaultyEngine) -> None:
    same = HELLO | {"id": "same", "checks": [{"check": "stream_equals_nonstream"}]}
    done = bench.run(suite_of(HELLO, ASKED_WEATHER, same, settings=BOTH_WAYS), engine)
    assert passed(done), reasons(done)
    found = {(one.case, one.surface, one.stream): one for one in done.results.attempts}
    assert 10 == len(found)  # four ways of two cases, two of the one that is asked both ways by itself
    assert all((one.ttft_ms is not None) == one.stream for one in found.values())
    assert 5 == found["hello", "chat", True].output_tokens
    told = found["weather", "responses", True].messages
    assert ("user: What is the weather in Oslo?", "tool: snow", "assistant: It is snow.") == (
        told[0],
        *told[2:],
    )
    assert 'get_weather {"city": "Oslo"}' in told[1]
    assert {"/v1/chat/completions", "/v1/responses"} == set(engine.visited)
    suite = ET.parse(bench.folder / "junit.xml").getroot().find("testsuite")
    assert suite is not None
    assert ("10", "0") == (suite.get("tests"), suite.get("failures"))
    assert "hello[responses, streamed]" in {case.get("name") for case in suite.iter("testcase")}


def test_a_dialogue_that_has_a_past_is_told_whole(bench: Bench, engine: FaultyEngine) -> None:
    call = {"id": "c7", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
    past = [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c7", "content": "snow"},
    ]
    done = bench.run(suite_of(WEATHER | {"messages": past, "checks": [{"check": "answers"}]}), engine)
    told = ("user: Weather?", "assistant calls: get_weather {}", "tool: snow", "assistant: It is snow.")
    assert told == done.results.attempts[0].messages


def test_a_surface_that_loses_calls_when_it_streams_is_found_there_alone(
    bench: Bench, engine: FaultyEngine
) -> None:
    def forgetful(body: dict[str, Any]) -> Any:
        return spoken(body, "It is cold.") if body["stream"] and "input" in body else able(body)

    engine.answer = forgetful
    case = ASKED_WEATHER | {"checks": [CALLED]}
    done = bench.run(suite_of(case, settings=BOTH_WAYS), engine)
    wrong = [(one.surface, one.stream) for one in done.results.attempts if one.outcome != "passed"]
    assert [("responses", True)] == wrong


def test_a_streamed_answer_that_differs_is_told_in_what(bench: Bench, engine: FaultyEngine) -> None:
    engine.answer = lambda body: spoken(body, "now" if body["stream"] else "later")
    done = bench.run(suite_of(HELLO | {"checks": [{"check": "stream_equals_nonstream"}]}), engine)
    assert "streamed it says 'now', not streamed 'later'" in reasons(done)


def test_parallel_calls_are_each_answered(bench: Bench, engine: FaultyEngine) -> None:
    calls = [("get_weather", '{"city": "Oslo"}'), ("get_weather", '{"city": "Rome"}')]

    def answer(body: dict[str, Any]) -> Any:
        given = [one for one in body.get("input") or body["messages"] if "snow" in str(one)]
        return spoken(body, "snow in both") if len(given) == 2 else spoken(body, "", *calls)

    engine.answer = answer
    names = {"check": "tools_called", "names": ["get_weather", "get_weather"]}
    turn = {"check": "multi_turn_tool_result", "result": "snow", "contains": "both"}
    case = WEATHER | {"parallel_tool_calls": True, "checks": [names, {"check": "args_valid"}, turn]}
    done = bench.run(suite_of(case, settings=BOTH_WAYS), engine)
    assert passed(done), reasons(done)
    assert all(one.parsed and one.valid for one in done.results.attempts)
    calls.pop()
    assert not any(one.parsed for one in bench.run(suite_of(case), engine).results.attempts)


# -- both sides --------------------------------------------------------------------------------------------


def test_candidate_and_baseline_take_turns_and_only_the_candidates_faults_are_junits(
    bench: Bench, engine: FaultyEngine
) -> None:
    order: list[str] = []
    with faulty_engine() as baseline:

        def asked(name: str, words: str) -> Callable[[dict[str, Any]], Any]:
            def answer(body: dict[str, Any]) -> Any:
                order.append(name)
                return spoken(body, words)

            return answer

        engine.answer, baseline.answer = asked("candidate", "ok"), asked("baseline", " ")
        done = bench.run(suite_of(*hellos(3), repeats="2"), engine, baseline)
    assert ["candidate", "baseline"] * 6 == order
    outcomes = {(one.side, one.outcome) for one in done.results.attempts}
    assert {("candidate", "passed"), ("baseline", "failed")} == outcomes
    assert (12, 12) == bench.seen[-1]
    assert 0 == done.ended.status
    assert not done.results.problems


def test_a_baseline_that_is_gone_ends_the_run_at_once(bench: Bench, engine: FaultyEngine) -> None:
    with faulty_engine() as baseline:
        baseline.close()
        done = bench.run(suite_of(*hellos(9), repeats="1"), engine, baseline)
    troubled = [one for one in done.results.attempts if one.trouble]
    assert {("baseline", "unreachable")} == {(one.side, one.trouble) for one in troubled}


# -- so many at once ---------------------------------------------------------------------------------------


def test_as_many_requests_are_in_flight_as_the_suite_says_and_never_more(
    bench: Bench, engine: FaultyEngine
) -> None:
    # Counted while the answer is being thought of: once it is sent, the client may ask again before the server
    # has noticed that it is done.
    thinking = most = 0

    def slowly(body: dict[str, Any]) -> Any:
        nonlocal thinking, most
        with engine.counting:
            thinking += 1
            most = max(most, thinking)
        time.sleep(0.05)
        with engine.counting:
            thinking -= 1
        return able(body)

    engine.answer = slowly
    done = bench.run(suite_of(*hellos(24), settings="concurrency = 4"), engine)
    assert passed(done), reasons(done)
    assert 4 == most
    assert 24 == len({one.case for one in done.results.attempts})


def test_many_at_once_that_all_hang_are_given_up(bench: Bench, engine: FaultyEngine) -> None:
    engine.answer = lambda _body: faulty.silence(engine)
    done = bench.run(suite_of(*hellos(40), settings="concurrency = 8", timeout_seconds="1"), engine)
    assert done.results.stopped == "3 requests in a row had no answer"
    assert len(engine.asked) <= 16
    assert any("results are missing" in problem for problem in done.results.problems)


def test_a_gigabyte_from_many_at_once_stays_within_the_childs_memory(
    bench: Bench, engine: FaultyEngine
) -> None:
    engine.answer = lambda _body: faulty.flood(100, announced=False)
    done = bench.run(suite_of(*hellos(10), settings="concurrency = 10", timeout_seconds="20"), engine)
    assert 10 == reasons(done).count("more than 4,194,304 bytes")
    assert not done.results.problems


def test_warming_up_is_asked_of_both_sides_and_counts_for_nothing(bench: Bench, engine: FaultyEngine) -> None:
    answers = iter([faulty.status(500)] * 3)
    engine.answer = lambda body: next(answers, None) or able(body)
    with faulty_engine(answer=able) as baseline:
        done = bench.run(suite_of(*hellos(2), settings="warmup = 3"), engine, baseline)
        assert (5, 5) == (len(engine.asked), len(baseline.asked))
    assert passed(done)
    assert 4 == len(done.results.attempts)


# -- streams that break, in a run --------------------------------------------------------------------------


def test_a_broken_stream_is_its_cases_finding_and_the_run_goes_on(bench: Bench, engine: FaultyEngine) -> None:
    broken = [
        (faulty.sse(b"nonsense"), "failed", "not readable as JSON"),
        (faulty.sse(*faulty.chunks("ok")), "failed", "without its last event"),
        (faulty.status(500, "boom"), "failed", "HTTP status 500"),
        (faulty.chunked(b"data: ", ends=False), "trouble", "the connection broke"),
    ]
    engine.answer = lambda body: (
        able(body) if len(engine.asked) % 2 else broken[len(engine.asked) // 2 - 1][0]
    )
    done = bench.run(suite_of(*hellos(8), settings='streaming = ["yes"]'), engine)
    assert ["passed"] * 4 == [one.outcome for one in done.results.attempts[::2]]
    for one, (_, outcome, told) in zip(done.results.attempts[1::2], broken, strict=True):
        assert outcome == one.outcome
        assert told in one.reasons[0]


def test_an_engine_that_streams_for_ever_costs_its_time_and_no_more(
    bench: Bench, engine: FaultyEngine
) -> None:
    engine.answer = lambda _body: faulty.endless(engine, b": wait\n\n", pause=0.02)
    began = time.monotonic()
    settings = 'streaming = ["yes"]\nconcurrency = 3'
    done = bench.run(suite_of(*hellos(9), settings=settings, timeout_seconds="1"), engine)
    assert time.monotonic() - began < 15
    assert done.results.stopped == "3 requests in a row had no answer"


# -- going on after a kill ---------------------------------------------------------------------------------

KILLED = """
import pathlib, sys
from pipelines.suites.format import unpack
from pipelines.suites.parent import Side, run_child
folder = pathlib.Path(sys.argv[1])
run_child(folder, unpack((folder / "suite").read_bytes()), sides=[Side("candidate", sys.argv[2], "m")],
          contract=(folder / "contract").read_bytes(), junit=None, progress=lambda *_: None,
          resume=folder / "journal", fingerprint="b7")
"""


def killed_half_way(bench: Bench, suite: Suite, engine: FaultyEngine) -> Path:
    """Run the suite in a process of its own that is killed at the fourth question; return the journal."""
    journal = bench.folder / "journal"
    (bench.folder / "suite").write_bytes(pack(suite))
    (bench.folder / "contract").write_bytes(CONTRACT)
    engine.answer = lambda body: able(body) if len(engine.asked) < 4 else faulty.silence(engine)
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(bench.folder), engine.url])
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and not (journal.exists() and journal.read_bytes().count(b"\n") >= 4):
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert 4 == journal.read_bytes().count(b"\n")  # the heading and three answers
    engine.answer = able
    engine.asked.clear()
    return journal


def test_a_run_that_was_killed_goes_on_and_asks_only_the_rest(bench: Bench, engine: FaultyEngine) -> None:
    suite = suite_of(*hellos(6), timeout_seconds="30")
    journal = killed_half_way(bench, suite, engine)
    done = bench.run(suite, engine, resume=journal, fingerprint="b7")
    assert passed(done), done
    assert 3 == len(engine.asked)
    assert [f"hello-{number:02}" for number in range(6)] == [one.case for one in done.results.attempts]
    assert 6 == len(list(ET.parse(bench.folder / "junit.xml").getroot().iter("testcase")))
    engine.asked.clear()
    again = bench.run(
        suite, engine, resume=journal, fingerprint="b7"
    )  # killed after its end, before its record
    assert (done.results, []) == (again.results, engine.asked)


def attempt(case: str, **changes: Any) -> bytes:
    found = Attempt(case, 1, "passed", None, (), False, False, "0" * 64, 5, "stop", "ok", ())
    return json.dumps(asdict(found) | changes, separators=(",", ":")).encode()


def sides(url: str = "http://127.0.0.1:1") -> list[Side]:
    return [Side("candidate", url, "m")]


def kept(path: Path, suite: Suite, **changes: Any) -> KeptAnswers:
    given: dict[str, Any] = {"sides": sides(), "contract": CONTRACT, "fingerprint": "b7"} | changes
    found = KeptAnswers(path, suite, given["sides"], given["contract"], given["fingerprint"])
    found.close()
    return found


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """What a killed run of two of three hellos left."""
    begun = KeptAnswers(tmp_path / "journal", suite_of(*hellos(3)), sides(), CONTRACT, "b7")
    begun.add([attempt("hello-00"), attempt("hello-01")])
    begun.close()
    return tmp_path / "journal"


def test_another_suite_engine_address_or_contract_never_goes_on(journal: Path) -> None:
    assert 2 == kept(journal, suite_of(*hellos(3))).count
    before = journal.read_bytes()
    for suite, change in (
        (suite_of(*hellos(3), repeats="2"), {}),
        (suite_of(*hellos(3)), {"fingerprint": "b8"}),
        (suite_of(*hellos(3)), {"sides": sides("http://127.0.0.1:2")}),
        (suite_of(*hellos(3)), {"sides": [*sides(), Side("baseline", "http://127.0.0.1:2", "m")]}),
        (suite_of(*hellos(3)), {"contract": b"{}"}),
    ):
        with pytest.raises(RunNotResumable) as refused:
            kept(journal, suite, **change)
        assert 206 == refused.value.exit_code
    assert before == journal.read_bytes()


def test_half_a_line_rubbish_and_answers_to_nothing_are_dropped(journal: Path) -> None:
    whole, suite = journal.read_bytes(), suite_of(*hellos(3))
    for tail in (b'{"case":', b"\x00" * 100, b"\n", attempt("stranger") + b"\n", attempt("hello-01") + b"\n"):
        journal.write_bytes(whole + tail)
        assert (2, whole) == (kept(journal, suite).count, journal.read_bytes())
    for length in range(0, len(whole), 23):
        journal.write_bytes(whole[:length])
        found = kept(journal, suite)
        assert found.count == max(0, whole[:length].count(b"\n") - 1)
        assert whole.startswith(journal.read_bytes())


def test_a_request_that_the_engine_broke_off_is_asked_again(tmp_path: Path) -> None:
    begun = KeptAnswers(tmp_path / "journal", suite_of(*hellos(3)), sides(), CONTRACT, "b7")
    no_answer: dict[str, Any] = {"outcome": "trouble", "reasons": ["gone"]}
    begun.add(
        [
            attempt("hello-00", trouble="unreachable", **no_answer),
            attempt("hello-01", trouble="too-slow", **no_answer),
            b'{"lines":2,"sha256":"0","stopped":null}',
        ]
    )
    begun.close()
    assert 1 == kept(tmp_path / "journal", suite_of(*hellos(3))).count


def test_something_else_in_the_journals_place_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "journal").write_text("a diary\n")
    with pytest.raises(RunNotResumable):
        kept(tmp_path / "journal", suite_of(*hellos(3)))
    assert "a diary\n" == (tmp_path / "journal").read_text()
