"""The suites that ship with the product: well formed, explained, and passed by a real engine with a model that is right.

The demonstration's models are tiny; what they pass, a large one can be asked as well.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from demo.engine import Served, find_engine
from pipelines.suites import BUILTIN
from pipelines.suites.format import load
from pipelines.suites.judge import judge
from pipelines.suites.parent import run_child
from pipelines.suites.plan import CANDIDATE, Side
from pipelines.suites.results import Attempt
from pipelines.suites.run import add_suite, run_suite
from pipelines.suites.vocabulary import NoTool
from pipelines.workplace import Workplace
from registry import contracts
from tests import make_behaviour
from tests.pipelines.test_suite_run import CONTRACT, PROFILE, document, version_of

MODELS = Path(__file__).parents[2] / "demo" / "models"
NAMES = sorted(path.name for path in BUILTIN.iterdir())
Serve = Callable[..., AbstractContextManager[Served]]


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    engine = find_engine()
    assert engine is not None, "no llama-server: run `python -m demo.engine`"

    @contextmanager
    def serving(name: str, *flags: str) -> Iterator[Served]:
        with engine.serve(MODELS / name, tmp_path / "engine.log", flags) as served:
            yield served

    return serving


def asked(scratch: Path, name: str, served: Served) -> tuple[str, list[Attempt]]:
    """Run a built-in suite against what is served: the outcome, and what did not pass."""
    suite = load(BUILTIN / name)
    contract = contracts.encode(contracts.from_json_text(json.dumps(CONTRACT).encode()))
    sides = [Side(CANDIDATE, served.base_url, "any")]
    done = run_child(
        scratch, suite, sides=sides, contract=contract, junit=None, progress=lambda _done, _total: None
    )
    assert done.ended.problem is None
    failed = [attempt for attempt in done.results.attempts if attempt.outcome != "passed"]
    return judge(suite, done.results).outcome, failed


def test_the_suites_that_are_promised_are_there() -> None:
    assert ["behaviour", "contract", "files", "performance", "smoke", "tool-basics"] == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_suite_is_well_formed_and_named_like_its_folder(name: str) -> None:
    assert name == load(BUILTIN / name).name


@pytest.mark.parametrize("name", [name for name in NAMES if name != "tool-basics"])
def test_every_suite_says_what_it_demands_and_why(name: str) -> None:
    page = (BUILTIN / name / "README.md").read_text()
    assert page.startswith(f"# {name}\n")
    assert "because" in page


def test_the_contract_page_explains_every_cluster() -> None:
    page = (BUILTIN / "contract" / "README.md").read_text()
    clusters = {case.cluster for case in load(BUILTIN / "contract").cases}
    assert set() == {cluster for cluster in clusters if f"| `{cluster}` |" not in page}


def test_no_hostile_result_may_lead_to_a_call() -> None:
    hostile = [case for case in load(BUILTIN / "contract").cases if case.cluster == "hostile"]
    assert len(hostile) >= 5
    assert all(
        NoTool() in case.checks and case.tools and case.messages[-1]["role"] == "tool" for case in hostile
    )


def test_behaviour_is_what_its_script_makes_and_large_enough_to_tell() -> None:
    assert 0 == make_behaviour.main(["--check"])
    suite = load(BUILTIN / "behaviour")
    assert len(suite.cases) > 200
    assert len({case.cluster for case in suite.cases}) > 50


@pytest.mark.engine
@pytest.mark.parametrize("name", ["v1", "v3"])
def test_a_right_model_passes_smoke(tmp_path: Path, serve: Serve, name: str) -> None:
    with serve(name) as served:
        assert ("PASSED", []) == asked(tmp_path, "smoke", served)


@pytest.mark.engine
@pytest.mark.slow
def test_a_right_model_keeps_the_contract_on_both_surfaces_streamed_and_not(
    tmp_path: Path, serve: Serve
) -> None:
    with serve("v2") as served:
        assert ("PASSED", []) == asked(tmp_path, "contract", served)


@pytest.mark.engine
def test_another_wire_format_than_the_template_says_fails_smoke(tmp_path: Path, serve: Serve) -> None:
    with serve("v3", "--chat-template-file", str(MODELS / "v1" / "chat_template.jinja")) as served:
        outcome, failed = asked(tmp_path, "smoke", served)
    assert "FAILED" == outcome
    assert {"call-get-weather", "call-read-file", "call-add", "use-a-result"} == {one.case for one in failed}


def test_files_are_judged_and_recorded_like_every_suite(workplace: Workplace) -> None:
    folder = MODELS / "v2"
    for path in folder.iterdir():
        workplace.blobs.put(path.read_bytes())
    run = run_suite(
        workplace,
        add_suite(workplace, BUILTIN / "files"),
        version_of(folder),
        document(workplace, "tool-contract", CONTRACT),
        document(workplace, "engine-profile", PROFILE),
    )
    assert ("PASSED", ()) == (run.outcome, run.verdict.reasons)
