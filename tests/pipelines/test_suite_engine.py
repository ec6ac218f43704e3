"""The built-in suite on a real engine that serves the demonstration's models. Fails, never skips, without an engine."""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from demo.engine import Served, find_engine
from pipelines.engines.endpoint import Endpoint
from pipelines.engines.probe import identify, ready
from pipelines.suites import BUILTIN
from pipelines.suites.run import SuiteRun, add_suite, run_suite
from pipelines.workplace import Workplace
from signing.digests import file_sha256
from tests.pipelines.test_suite_run import CONTRACT, PROFILE, document, version_of

pytestmark = pytest.mark.engine

MODELS = Path(__file__).parents[2] / "demo" / "models"
Serve = Callable[..., AbstractContextManager[Served]]


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    engine = find_engine()
    assert engine is not None, (
        "no llama-server: run `python -m demo.engine`, or name one in TIDEGATE_LLAMA_SERVER"
    )

    @contextmanager
    def serving(model: Path, *flags: str) -> Iterator[Served]:
        with engine.serve(model, tmp_path / "engine.log", flags) as served:
            yield served

    return serving


def run_basics(work: Workplace, folder: Path, served: Served) -> SuiteRun:
    """Run tool-basics about the version in `folder`, whatever is served; the profile names the engine that is there."""
    engine = identify(Endpoint.parse(served.base_url))
    version = version_of(folder)
    template = folder / "chat_template.jinja"
    assert file_sha256(template) == work.blobs.put(template.read_bytes())
    return run_suite(
        work,
        add_suite(work, BUILTIN / "tool-basics"),
        version,
        document(work, "tool-contract", CONTRACT),
        document(work, "engine-profile", PROFILE | {"version": engine.version}),
        endpoint=served.base_url,
    )


@pytest.mark.parametrize("name", ["v1", "v2"])
def test_a_model_that_keeps_its_contract_passes_and_is_proven(
    workplace: Workplace, serve: Serve, name: str
) -> None:
    with serve(MODELS / name) as served:
        run = run_basics(workplace, MODELS / name, served)
    assert ("PASSED", ()) == (run.outcome, run.verdict.reasons)
    assert ("proven", ["model.gguf"]) == (run.served.state, [entry.path for entry in run.served.files])
    assert "own" == json.loads(run.report.body)["engine"]["template"]["whose"]


def test_a_new_wire_format_under_the_old_template_fails_though_every_answer_is_200(
    workplace: Workplace, serve: Serve
) -> None:
    old = MODELS / "v1" / "chat_template.jinja"
    with serve(MODELS / "v3", "--chat-template-file", str(old)) as served:
        assert ready(Endpoint.parse(served.base_url), seconds=30).ready
        run = run_basics(workplace, MODELS / "v3", served)
    assert ("FAILED", "proven") == (run.outcome, run.served.state)
    assert "gate contract.parse_rate: 0 of 8 cases, at least 1.0 demanded" in run.verdict.reasons
    assert "other" == json.loads(run.report.body)["engine"]["template"]["whose"]
    assert all(case.passed for case in run.verdict.cases if case.case.cluster == "silence")


def test_another_versions_file_under_the_wanted_name_is_not_measured(
    workplace: Workplace, serve: Serve, tmp_path: Path
) -> None:
    disguise = tmp_path / "v2"
    disguise.mkdir()
    (disguise / "model.gguf").write_bytes((MODELS / "v1" / "model.gguf").read_bytes())
    with serve(disguise) as served:
        run = run_basics(workplace, MODELS / "v2", served)
    assert ("INCONCLUSIVE", "not-proven") == (run.outcome, run.served.state)
    assert "another model is served" in run.verdict.reasons[0]


def test_a_file_exchanged_under_a_running_engine_is_not_what_is_served(
    workplace: Workplace, serve: Serve, tmp_path: Path
) -> None:
    """The next version is put in place by a rename, and nobody restarts the engine."""
    place = tmp_path / "served"
    place.mkdir()
    (place / "model.gguf").write_bytes((MODELS / "v1" / "model.gguf").read_bytes())
    with serve(place) as served:
        assert run_basics(workplace, MODELS / "v1", served).served.proven
        (place / "next").write_bytes((MODELS / "v2" / "model.gguf").read_bytes())
        (place / "next").rename(place / "model.gguf")
        run = run_basics(workplace, MODELS / "v2", served)
    assert ("INCONCLUSIVE", "not-proven") == (run.outcome, run.served.state)
    assert "still holds the old one" in run.verdict.reasons[0]


def test_the_same_questions_get_the_same_answers_again(workplace: Workplace, serve: Serve) -> None:
    with serve(MODELS / "v2") as served:
        runs = [run_basics(workplace, MODELS / "v2", served) for _ in range(2)]
    first, second = (
        [(c.case.id, c.attempts[0].request, c.attempts[0].calls) for c in r.verdict.cases] for r in runs
    )
    assert first == second
