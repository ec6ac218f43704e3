"""The whole way of asking on a real engine: both surfaces, streamed or not, two versions in turn, many at once."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.engine import Served, find_engine
from pipelines.suites import BUILTIN
from pipelines.suites.format import Suite, read
from pipelines.suites.parent import Done, Side, run_child
from pipelines.suites.results import Attempt
from tests.pipelines.test_suite_asking import CONTRACT

pytestmark = pytest.mark.engine

MODELS = Path(__file__).parents[2] / "demo" / "models"
TOOLS = ["get_weather", "read_file", "add"]
SNOW = {"check": "multi_turn_tool_result", "result": "snow", "contains": "snow"}
WEATHER = {"check": "tool_called", "name": "get_weather"}
CASES: dict[str, dict[str, Any]] = {
    "hello": {
        "checks": [{"check": "answers"}, {"check": "max_output_tokens", "tokens": 64}],
        "said": "Hello",
    },
    "weather": {
        "checks": [
            WEATHER,
            {"check": "args_valid"},
            {"check": "args_match", "arguments": {"city": "^Oslo$"}},
            SNOW,
        ]
    },
    "required": {"checks": [WEATHER], "tool_choice": "required"},
    "none": {"checks": [{"check": "no_tool"}], "tool_choice": "none"},
    "both-ways": {
        "checks": [{"check": "stream_equals_nonstream"}, {"check": "max_ttft_ms", "milliseconds": 20_000}]
    },
}


def suite(*names: str, concurrency: int) -> Suite:
    basics = BUILTIN / "tool-basics" / "tools"
    lines = [
        json.dumps(
            {"id": name, "cluster": "all", "tools": TOOLS, "max_tokens": 128}
            | {"messages": [{"role": "user", "content": case.get("said", "What is the weather in Oslo?")}]}
            | {key: value for key, value in case.items() if key != "said"}
        )
        for name, case in CASES.items()
        if name in (names or CASES)
    ]
    toml = (
        f'format = "tidegate-suite/1"\nname = "ways"\ndescription = "All ways."\ncases = {len(lines)}\nrepeats = 1\n'
        'timeout_seconds = 60\nlimit_seconds = 300\nsurfaces = ["chat", "responses"]\nstreaming = ["no", "yes"]\n'
        f'concurrency = {concurrency}\nwarmup = 1\n[gates]\ncases.pass_rate = {{ min = "1.0" }}\n'
    )
    tools = {f"tools/{path.name}": path.read_text() for path in basics.iterdir()}
    return read({"suite.toml": toml, "cases/all.jsonl": "\n".join(lines) + "\n"} | tools)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, Served]]:
    engine = find_engine()
    assert engine is not None, (
        "no llama-server: run `python -m demo.engine`, or name one in TIDEGATE_LLAMA_SERVER"
    )
    log = tmp_path_factory.mktemp("engines") / "log"
    with engine.serve(MODELS / "v2", log) as candidate, engine.serve(MODELS / "v1", log) as baseline:
        yield candidate, baseline


def run(folder: Path, served: tuple[Served, Served], *names: str, concurrency: int) -> Done:
    named = zip(("candidate", "baseline"), served, strict=True)
    return run_child(
        folder,
        suite(*names, concurrency=concurrency),
        sides=[Side(name, one.base_url, "m") for name, one in named],
        contract=CONTRACT,
        junit=None,
        progress=lambda *_: None,
    )


def test_two_versions_are_asked_in_every_way_at_once(tmp_path: Path, served: tuple[Served, Served]) -> None:
    done = run(tmp_path, served, concurrency=4)
    assert ((), None, None) == (done.results.problems, done.results.stopped, done.ended.problem)
    assert [] == [(one.key, one.reasons) for one in done.results.attempts if one.outcome != "passed"]
    assert 2 * (4 * 4 + 2) == len(done.results.attempts)
    for one in done.results.attempts:
        assert one.output_tokens
        assert (one.ttft_ms is not None) == one.stream


def test_one_at_a_time_the_versions_take_turns(tmp_path: Path, served: tuple[Served, Served]) -> None:
    done = run(tmp_path, served, "hello", concurrency=1)
    assert ["candidate", "baseline"] * 4 == [one.side for one in done.results.attempts]
    assert {"passed"} == {one.outcome for one in done.results.attempts}


def test_an_engine_that_is_killed_in_the_middle_is_no_verdict_about_the_model(tmp_path: Path) -> None:
    """The server's process ends while answers are being streamed; the rest is nobody's answer, and the run ends."""
    engine = find_engine()
    assert engine is not None
    with engine.serve(MODELS / "v2", tmp_path / "log") as candidate:
        seen: list[int] = []

        def kill(done: int, _total: int) -> None:
            if not seen:
                os.kill(candidate.pid, signal.SIGKILL)
            seen.append(done)

        done = run_child(
            tmp_path,
            suite(concurrency=2),
            sides=[Side("candidate", candidate.base_url, "m")],
            contract=CONTRACT,
            junit=None,
            progress=kill,
        )
    troubled: list[Attempt] = [one for one in done.results.attempts if one.trouble]
    assert seen
    assert {"unreachable"} == {one.trouble for one in troubled}
    assert done.results.stopped == "3 requests in a row had no answer"
    assert any("results are missing" in problem for problem in done.results.problems)
