"""A whole run in its child process: recorded whatever comes of it, and cut off when an engine or a suite goes mad.

The engine here is a faulty one, made to fail; runs against a real engine are in `test_suite_engine.py`.
"""

import json
import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from pipelines.engines.endpoint import EndpointUnusable
from pipelines.suites import parent, results
from pipelines.suites.format import read
from pipelines.suites.refusals import (
    DocumentAltered,
    RunnerBroken,
    SuiteMalformed,
    SuiteNotVouched,
    SuiteUnfit,
)
from pipelines.suites.run import Settings, SuiteRun, add_suite, run_suite
from pipelines.workplace import Workplace
from registry import contracts, manifests
from registry.entities import Document, Version
from registry.manifests import FileEntry, Manifest
from signing.digests import file_sha256, sha256_hex
from signing.envelope import Envelope, verify
from signing.times import rfc3339
from tests.pipelines import faulty_engine as faulty
from tests.pipelines.faulty_engine import FaultyEngine, completion, faulty_engine, well_behaved
from tests.pipelines.test_suite_format import HELLO, TOML, TOOL, WEATHER, files, folder_of

CASES = [HELLO | {"id": f"hello-{number}"} for number in range(4)] + [
    WEATHER
    | {
        "messages": [{"role": "user", "content": "What is the weather in Oslo?"}],
        "checks": [
            {"check": "tool_called", "name": "get_weather"},
            {"check": "args_valid"},
            {"check": "multi_turn_tool_result", "result": "snow", "contains": "snow"},
        ],
    }
]
STRICT = (
    TOML.replace("cases = 2", "cases = 5").replace('"0.5"', '"1.0"').replace("seconds = 5", "seconds = 1")
)


def version_of(folder: Path) -> Version:
    entries = sorted(FileEntry(p.name, p.stat().st_size, file_sha256(p)) for p in folder.iterdir())
    manifest = Manifest("demo/tiny", tuple(entries))
    return Version(
        model="demo/tiny", ordinal=1, digest=manifest.digest, revision=manifest.revision,
        manifest=manifests.encode(manifest).decode(), modelpack="0" * 64, size=manifest.size,
        brought_by="add", added_at="2026-11-20T12:00:00Z", added_by="ines",
    )  # fmt: skip


def document(work: Workplace, kind: str, value: dict[str, Any]) -> Document:
    found = contracts.from_json_text(json.dumps(value).encode())
    body = contracts.encode(found)
    return Document(
        digest=sha256_hex(body), kind=kind, name=found.name, body=body.decode(),
        added_at=rfc3339(work.now), added_by=work.actor,
    )  # fmt: skip


CONTRACT = {
    "format": "tidegate-tool-contract/1", "name": "demo", "surfaces": ["chat"], "context": 2048,
    "emission": {"family": "hermes", "template_sha256": None},
    "tools": [{"name": "get_weather", "input": TOOL["input"], "output": None}],
}  # fmt: skip
PROFILE = {
    "format": "tidegate-engine-profile/1", "name": "p", "engine": "llama-server", "version": "b7",
    "parses": ["hermes"], "flags": [], "surfaces": ["chat"],
}  # fmt: skip


@dataclass(frozen=True)
class Bench:
    """A version, a suite and documents at hand, and a way to run them."""

    work: Workplace
    version: Version
    suite: Document
    folder: Path

    def add(self, name: str, *cases: Any, toml: str = STRICT) -> Document:
        return add_suite(self.work, folder_of(self.folder / name, files(*cases, toml=toml)))

    def run(self, url: str, suite: Document | None = None, **settings: Any) -> SuiteRun:
        profile = document(self.work, "engine-profile", PROFILE | settings.pop("profile", {}))
        contract = document(self.work, "tool-contract", CONTRACT | settings.pop("contract", {}))
        for_all = {name: settings.pop(name) for name in ("progress", "vouchers") if name in settings}
        return run_suite(
            self.work,
            suite or self.suite,
            settings.pop("version", self.version),
            contract,
            profile,
            endpoint=url,
            settings=Settings(**settings),
            **for_all,
        )


@pytest.fixture
def bench(workplace: Workplace, tmp_path: Path) -> Bench:
    weights = tmp_path / "weights"
    weights.mkdir()
    (weights / "model.gguf").write_bytes(b"GGUF one")
    suite = add_suite(workplace, folder_of(tmp_path / "suite", files(*CASES, toml=STRICT)))
    return Bench(workplace, version_of(weights), suite, tmp_path)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[FaultyEngine]:
    props = {
        "build_info": "b7-abc",
        "model_path": str(tmp_path / "weights" / "model.gguf"),
        "chat_template": "x",
    }
    with faulty_engine(props=props) as one:
        yield one


def asked_by_a_case(body: dict[str, Any]) -> bool:
    return bool(body["max_tokens"] != 4)  # the readiness probe asks for four tokens


def for_cases(answer: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], Any]:
    """Answer cases like this, and the readiness probe decently."""
    return lambda body: answer(body) if asked_by_a_case(body) else completion("ok")


# -- what is recorded -------------------------------------------------------------------------------------


def test_a_run_that_passes_is_reported_signed_and_recorded(bench: Bench, engine: FaultyEngine) -> None:
    seen: list[tuple[int, int]] = []
    junit = bench.folder / "junit.xml"
    run = bench.run(engine.url, junit=junit, progress=lambda done, total: seen.append((done, total)))

    assert ("PASSED", (), "proven") == (run.outcome, run.verdict.reasons, run.served.state)
    report = json.loads(run.report.body)
    assert sha256_hex(run.report.body.encode()) == run.report.digest
    assert bench.suite.digest == report["suite"]["digest"] == run.report.suite
    assert bench.version.digest == report["version"]["digest"] == run.report.version
    assert {"declared": 5, "failed": 0, "passed": 5, "without_result": 0} == report["counts"]
    assert ("llama-server", "b7-abc", "local") == tuple(
        report["engine"][k] for k in ("kind", "version", "endpoint")
    )
    assert (5, 5) == seen[-1]
    suite = ET.parse(junit).getroot().find("testsuite")
    assert suite is not None
    assert ("5", "0") == (suite.get("tests"), suite.get("failures"))

    own = bench.work.station.public_key
    payload = run.statement.payload.encode()
    verify(payload, Envelope.from_json(run.statement.signature.encode()), {own.keyid: own})
    statement = json.loads(payload)
    assert "https://in-toto.io/attestation/test-result/v0.1" == statement["predicateType"]
    assert "PASSED" == statement["predicate"]["result"]
    bound = {item["digest"]["sha256"] for item in statement["predicate"]["configuration"]}
    assert {run.report.suite, run.report.contract, run.report.profile, run.report.digest} == bound
    with bench.work.store.view() as view:
        assert [run.report.digest] == [row.digest for row in view.reports(bench.version.digest)]
        assert run.statement.digest == view.reports(bench.version.digest)[0].statement
        assert ["suite added", "suite run"] == [entry.kind for entry in view.events()][-2:]
    assert [] == list(bench.work.home.path.glob(".suite-*"))  # nothing of the run stays behind


def test_a_run_that_fails_is_recorded_too_and_says_why(bench: Bench, engine: FaultyEngine) -> None:
    engine.answer = for_cases(lambda _body: completion("<tool_call>{}</tool_call>"))
    run = bench.run(engine.url)
    assert "FAILED" == run.outcome
    assert "gate contract.parse_rate: 0 of 1 cases, at least 1.0 demanded" in run.verdict.reasons
    with bench.work.store.view() as view:
        assert ["FAILED"] == [row.outcome for row in view.reports(bench.version.digest)]
    assert "FAILED" == json.loads(run.statement.payload)["predicate"]["result"]


def test_two_runs_are_two_reports(bench: Bench, engine: FaultyEngine) -> None:
    assert bench.run(engine.url).report.digest != bench.run(engine.url).report.digest


def test_adding_a_suite_twice_changes_nothing(bench: Bench) -> None:
    again = add_suite(bench.work, bench.folder / "suite")
    with bench.work.store.view() as view:
        assert 1 == len(view.documents("suite"))
        assert 1 == len([entry for entry in view.events() if entry.kind == "suite added"])
    assert bench.suite.digest == again.digest


def test_repeats_are_asked_and_the_question_stays_the_same(bench: Bench, engine: FaultyEngine) -> None:
    suite = bench.add("thrice", HELLO, WEATHER, toml=TOML.replace("repeats = 1", "repeats = 3"))
    run = bench.run(engine.url, suite)
    assert 3 == len(run.verdict.cases[0].attempts)
    assert 1 == len({attempt.request for attempt in run.verdict.cases[0].attempts})


# -- refused before anything is asked ---------------------------------------------------------------------


def nothing_recorded(bench: Bench) -> bool:
    with bench.work.store.view() as view:
        return not view.reports(bench.version.digest)


def test_an_address_of_another_kind_is_refused(bench: Bench) -> None:
    for url in ("file:///etc/passwd", "http://ines:pw@127.0.0.1:80/", "unix:/run/engine.sock"):
        with pytest.raises(EndpointUnusable):
            bench.run(url)
    assert nothing_recorded(bench)


def test_a_suite_whose_bytes_were_edited_is_not_run(bench: Bench, engine: FaultyEngine) -> None:
    easier = bench.suite.body.replace('min = \\"1.0\\"', 'min = \\"0.1\\"')
    assert easier != bench.suite.body
    with bench.work.store.engine.begin() as connection:
        connection.execute(
            text("UPDATE document SET body = :b WHERE digest = :d"), {"b": easier, "d": bench.suite.digest}
        )
    with bench.work.store.view() as view:
        edited = view.document("suite", "small")
    with pytest.raises(DocumentAltered):
        bench.run(engine.url, edited)
    assert [] == engine.visited
    assert nothing_recorded(bench)


def test_a_suite_that_this_home_never_took_in_is_not_run(bench: Bench, engine: FaultyEngine) -> None:
    suite = read(files(HELLO, WEATHER))
    stranger = Document(**bench.suite.model_dump() | {"digest": suite.digest, "body": _packed(suite)})
    with pytest.raises(SuiteNotVouched):
        bench.run(engine.url, stranger)
    assert [] == engine.visited


def test_a_statement_about_another_suite_vouches_for_nothing(bench: Bench, engine: FaultyEngine) -> None:
    suite = read(files(HELLO, WEATHER))
    stranger = Document(**bench.suite.model_dump() | {"digest": suite.digest, "body": _packed(suite)})
    with bench.work.store.engine.begin() as connection:
        connection.execute(text("UPDATE statement SET subject = :d"), {"d": suite.digest})
    with pytest.raises(SuiteNotVouched):
        bench.run(engine.url, stranger)


def _contract(bench: Bench) -> bytes:
    return document(bench.work, "tool-contract", CONTRACT).body.encode()


def _packed(suite: Any) -> str:
    from pipelines.suites.format import pack

    return pack(suite).decode()


def test_a_suite_that_claims_more_cases_than_it_has_never_gets_in(bench: Bench) -> None:
    with pytest.raises(SuiteMalformed, match="says 5, there are 2"):
        bench.add("short", HELLO, WEATHER)


def test_a_suite_of_the_contracts_tools_needs_a_contract_that_has_them(
    bench: Bench, engine: FaultyEngine
) -> None:
    texts = files(HELLO, WEATHER, toml=TOML.replace('tools = "own"', 'tools = "contract"'))
    del texts["tools/get_weather.json"]
    suite = add_suite(bench.work, folder_of(bench.folder / "borrowing", texts))
    with pytest.raises(SuiteUnfit):
        bench.run(engine.url, suite, contract={"tools": []})
    engine.answer = well_behaved
    assert "get_weather" == bench.run(engine.url, suite).verdict.cases[1].case.expects_call
    assert [TOOL["input"]] == [
        b["tools"][0]["function"]["parameters"] for b in engine.questions if "tools" in b
    ]


def test_a_runner_that_does_not_start_is_our_own_trouble(
    bench: Bench, engine: FaultyEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(RunnerBroken):
        bench.run(engine.url)
    assert nothing_recorded(bench)


# -- another engine, another model, no engine: no verdict about this version -------------------------------


def test_nobody_there_is_inconclusive(bench: Bench) -> None:
    run = bench.run("http://127.0.0.1:9")
    assert ("INCONCLUSIVE", "not-proven", None) == (run.outcome, run.served.state, run.engine)
    assert "no connection" in run.verdict.reasons[0]
    assert "FAILED" == json.loads(run.statement.payload)["predicate"]["result"]


def test_an_engine_that_is_healthy_and_hangs_is_not_ready(bench: Bench, engine: FaultyEngine) -> None:
    engine.answer = lambda _body: faulty.silence(engine)
    run = bench.run(engine.url)
    assert "INCONCLUSIVE" == run.outcome
    assert "not ready" in run.verdict.reasons[0]
    assert [] == engine.questions  # no case was asked


def test_the_right_name_with_the_wrong_file_is_never_proven(bench: Bench, engine: FaultyEngine) -> None:
    (bench.folder / "weights" / "model.gguf").write_bytes(b"GGUF two")
    run = bench.run(engine.url)
    assert ("INCONCLUSIVE", "not-proven") == (run.outcome, run.served.state)
    assert "another model is served" in run.verdict.reasons[0]
    assert [] == engine.questions


def test_an_engine_that_shows_no_path_can_pass_but_not_prove(bench: Bench, engine: FaultyEngine) -> None:
    engine.props = {"build_info": "b7-abc"}
    run = bench.run(engine.url)
    assert ("PASSED", "not-proven") == (run.outcome, run.served.state)
    assert "not-proven" == json.loads(run.report.body)["identity"]["state"]


@pytest.mark.parametrize("profile", [{"version": "b8"}, {"engine": "vllm"}])
def test_another_engine_than_the_profile_names_is_inconclusive(
    bench: Bench, engine: FaultyEngine, profile: dict[str, str]
) -> None:
    run = bench.run(engine.url, profile=profile)
    assert "INCONCLUSIVE" == run.outcome
    assert run.verdict.reasons[0].startswith("profile-mismatch")
    assert json.loads(run.report.body)["engine"]["profile_mismatch"]


def test_a_model_exchanged_during_the_run_is_noticed(bench: Bench, engine: FaultyEngine) -> None:
    def exchange(body: dict[str, Any]) -> Any:
        assert engine.props is not None
        engine.props = engine.props | {"model_path": "/elsewhere/model.gguf"}
        return well_behaved(body)

    engine.answer = for_cases(exchange)
    run = bench.run(engine.url)
    assert "INCONCLUSIVE" == run.outcome
    assert any("exchanged" in reason for reason in run.verdict.reasons)


def test_an_engine_that_dies_in_the_middle_is_inconclusive(bench: Bench, engine: FaultyEngine) -> None:
    def die(body: dict[str, Any]) -> Any:
        if len(engine.questions) < 2:
            return well_behaved(body)
        if not engine.closing.is_set():
            engine.close()  # from now on nobody listens
        return faulty.raw()

    engine.answer = for_cases(die)
    run = bench.run(engine.url)
    assert "INCONCLUSIVE" == run.outcome
    assert any("gone after the run" in reason for reason in run.verdict.reasons)
    assert any("results are missing" in reason for reason in run.verdict.reasons)


def test_a_dropped_connection_of_a_living_engine_is_inconclusive(bench: Bench, engine: FaultyEngine) -> None:
    engine.answer = for_cases(lambda body: faulty.raw() if len(engine.questions) == 2 else well_behaved(body))
    run = bench.run(engine.url)
    assert "INCONCLUSIVE" == run.outcome
    assert any("broke off 1 requests" in reason for reason in run.verdict.reasons)


# -- a living engine with answers that are none: the case fails --------------------------------------------


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (faulty.status(500, "cannot parse the call"), "HTTP status 500"),
        (faulty.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnope"), "not readable as JSON"),
        (faulty.flood(100, announced=True), "104,857,600 bytes"),
        (faulty.flood(100, announced=False), "more than 4,194,304 bytes"),
        ({"choices": [{"message": {"content": None, "tool_calls": 7}}]}, "tool_calls"),
        (completion("", ("get_weather", "[" * 200_000)), "arguments: not readable as JSON"),
    ],
    ids=["status-500", "garbage", "announced-100-MB", "100-MB", "wrong-shape", "deep-arguments"],
)
def test_an_answer_that_is_none_fails_its_case(
    bench: Bench, engine: FaultyEngine, answer: Any, told: str
) -> None:
    engine.answer = for_cases(lambda body: answer if len(engine.questions) == 5 else well_behaved(body))
    run = bench.run(engine.url)
    assert ("FAILED", 4) == (run.outcome, run.verdict.passed)
    wrong = next(case for case in run.verdict.cases if not case.passed)
    assert told in " ".join(wrong.attempts[0].reasons)


def test_one_question_that_hangs_fails_its_case_in_its_time(bench: Bench, engine: FaultyEngine) -> None:
    engine.answer = for_cases(
        lambda body: faulty.drip(engine) if len(engine.questions) == 2 else well_behaved(body)
    )
    run = bench.run(engine.url)
    assert ("FAILED", 4) == (run.outcome, run.verdict.passed)


def test_an_engine_that_hangs_on_every_case_is_given_up_after_three(
    bench: Bench, engine: FaultyEngine
) -> None:
    engine.answer = for_cases(lambda _body: faulty.silence(engine))
    run = bench.run(engine.url)
    assert "FAILED" == run.outcome
    assert 3 == len(engine.questions)
    assert any("3 requests in a row" in reason for reason in run.verdict.reasons)


def test_a_pattern_that_would_take_years_is_cut_off(bench: Bench, engine: FaultyEngine) -> None:
    bomb = HELLO | {"checks": [{"check": "content_regex", "pattern": "^(a+)+$"}]}
    suite = bench.add("bomb", bomb, WEATHER, toml=TOML)
    engine.answer = for_cases(
        lambda body: well_behaved(body) if body.get("tools") else completion("a" * 64 + "!")
    )
    run = bench.run(engine.url, suite)
    assert ("content_regex: could not be decided within 2 s",) == run.verdict.cases[0].attempts[0].reasons


def test_the_whole_run_ends_at_its_limit(bench: Bench, engine: FaultyEngine) -> None:
    toml = STRICT.replace("seconds = 1\n", "seconds = 60\n").replace(
        "limit_seconds = 60", "limit_seconds = 3"
    )
    suite = bench.add("limited", *CASES, toml=toml)
    engine.answer = for_cases(lambda _body: faulty.drip(engine))
    started = time.monotonic()
    run = bench.run(engine.url, suite)
    assert time.monotonic() - started < 30
    assert "FAILED" == run.outcome
    assert any("limit of 3 s" in reason for reason in run.verdict.reasons)


# -- the child ---------------------------------------------------------------------------------------------

ATTEMPTS = {
    "a connection elsewhere": "import socket; socket.create_connection(('127.0.0.1', {other}), 5)",
    "a name looked up": "import socket; socket.getaddrinfo('example.org', 80)",
    "a program": "import subprocess; subprocess.run(['/bin/true'])",
    "a shell": "import os; os.system('true')",
    "a fork": "import os; os.fork()",
    "a file outside": "open({outside!r}, 'w')",
    "a file outside by descriptor": "import os; os.open({outside!r}, os.O_CREAT | os.O_WRONLY)",
    "a listening socket": "import socket; socket.socket().bind(('127.0.0.1', 0))",
    "a library": "import ctypes; ctypes.CDLL('libc.so.6')",
}


@pytest.mark.parametrize("code", list(ATTEMPTS.values()), ids=list(ATTEMPTS))
def test_the_child_may_do_nothing_but_ask_its_engine(tmp_path: Path, engine: FaultyEngine, code: str) -> None:
    """The code stands for a hole in a parser: it runs in a process that has gone through the child's own steps."""
    with faulty_engine() as other:
        inside = tmp_path / "inside"
        inside.mkdir()
        port = other.url.rsplit(":", 1)[1]
        attack = code.format(other=port, outside=str(tmp_path / "outside"))
        program = f"""
import os, sys
from pathlib import Path
from pipelines.engines.endpoint import Endpoint
from pipelines.suites import child
child._die_with(os.getppid()); child._limit(30)
sys.addaudithook(child._guard(Path.cwd(), [Endpoint.parse({engine.url!r})]))
Endpoint.parse({engine.url!r}).get("/v1/models", seconds=10)
open("allowed", "w").close()
try:
    {attack}
except child.NotForARun:
    sys.exit(7)
"""
        done = subprocess.run(
            [sys.executable, "-I", "-c", program], cwd=inside, capture_output=True, timeout=60, check=False
        )
        assert (7, b"") == (done.returncode, done.stderr)
        assert [] == other.visited
    assert not (tmp_path / "outside").exists()


def test_the_childs_memory_ends_where_it_should(tmp_path: Path) -> None:
    program = "from pipelines.suites import child; child._limit(30); bytearray(2 << 30)"
    done = subprocess.run(
        [sys.executable, "-I", "-c", program], cwd=tmp_path, capture_output=True, timeout=60, check=False
    )
    assert b"MemoryError" in done.stderr


def test_the_child_dies_with_its_parent(bench: Bench, engine: FaultyEngine, tmp_path: Path) -> None:
    engine.answer = for_cases(lambda _body: faulty.silence(engine))
    suite = read(files(*CASES, toml=STRICT.replace("seconds = 1\n", "seconds = 60\n")))
    program = f"""
import pathlib
from pipelines.suites.format import unpack
from pipelines.suites.parent import Side, run_child
run_child(pathlib.Path({str(tmp_path)!r}), unpack({_packed(suite).encode()!r}),
          sides=[Side("candidate", {engine.url!r}, "m")], contract={_contract(bench)!r}, junit=None, progress=lambda *_: None)
"""
    process = subprocess.Popen([sys.executable, "-c", program], start_new_session=True)
    deadline = time.monotonic() + 30
    while not engine.questions and time.monotonic() < deadline:
        time.sleep(0.05)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert engine.questions
    assert 1 == len(children)
    while Path(f"/proc/{children[0]}/cmdline").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert (
        not Path(f"/proc/{children[0]}/cmdline").exists()
        or not Path(f"/proc/{children[0]}/cmdline").read_bytes()
    )


@pytest.mark.parametrize("harm", ["truncated", "rewritten", "removed-a-line"])
def test_results_that_were_tampered_with_make_the_run_fail(
    bench: Bench, engine: FaultyEngine, monkeypatch: pytest.MonkeyPatch, harm: str
) -> None:
    genuine = results.read

    def tampered(path: Path, suite: Any, sides: Any) -> Any:
        lines = path.read_bytes().splitlines(keepends=True)
        changed = {
            "truncated": b"".join(lines)[:-40],
            "rewritten": b"".join(lines).replace(b'"milliseconds":', b'"milliseconds":1'),
            "removed-a-line": b"".join(lines[1:]),
        }[harm]
        path.write_bytes(changed)
        return genuine(path, suite, sides)

    monkeypatch.setattr(parent, "read", tampered)
    run = bench.run(engine.url)
    assert "FAILED" == run.outcome
    assert any("seal" in reason or "cut off" in reason for reason in run.verdict.reasons)


def test_an_environment_full_of_traps_changes_nothing(
    bench: Bench, engine: FaultyEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    trap = tmp_path / "trap"
    trap.mkdir()
    (trap / "sitecustomize.py").write_text("raise SystemExit('trapped')")
    (trap / "pytest.py").write_text("raise SystemExit('trapped')")
    (bench.work.home.path / "conftest.py").write_text("raise SystemExit('trapped')")
    for name, value in {
        "PYTHONPATH": str(trap),
        "PYTEST_ADDOPTS": "--collect-only",
        "PYTEST_PLUGINS": "trap",
        "http_proxy": "http://127.0.0.1:9",
        "HTTP_PROXY": "http://127.0.0.1:9",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(trap)
    assert "PASSED" == bench.run(engine.url).outcome


def test_an_author_runs_one_case_of_a_folder_by_hand(bench: Bench, engine: FaultyEngine) -> None:
    def by_hand(*options: str) -> subprocess.CompletedProcess[str]:
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "pipelines.suites.plugin",
            "-p",
            "no:cacheprovider",
            "-q",
        ]
        where = ["-c", "/dev/null", str(bench.folder / "suite" / "suite.toml")]
        return subprocess.run(
            [*command, *where, *options],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=bench.folder,
        )

    done = by_hand("--tidegate-endpoint", engine.url, "-k", "weather")
    assert "1 passed, 4 deselected" in done.stdout
    assert ["What is the weather in Oslo?", "snow"] == [
        b["messages"][-1]["content"] for b in engine.questions
    ]
    for options, said in (
        ((), "which engine to ask"),
        (("--tidegate-endpoint", "file:///x"), "only http and https"),
        (("--tidegate-endpoint", engine.url, "--tidegate-results", "/dev/null"), "File exists"),
    ):
        refused = by_hand(*options)
        assert pytest.ExitCode.USAGE_ERROR == refused.returncode
        assert said in refused.stderr


def test_documents_that_are_something_else_are_refused(bench: Bench, engine: FaultyEngine) -> None:
    work = bench.work
    profile, contract = document(work, "engine-profile", PROFILE), document(work, "tool-contract", CONTRACT)
    with pytest.raises(SuiteUnfit):
        run_suite(work, bench.suite, bench.version, profile, profile, endpoint=engine.url)
    with pytest.raises(SuiteUnfit):
        run_suite(work, bench.suite, bench.version, contract, contract, endpoint=engine.url)
    lying = Version(**bench.version.model_dump() | {"digest": "0" * 64})
    with pytest.raises(DocumentAltered):
        replace(bench, version=lying).run(engine.url)
