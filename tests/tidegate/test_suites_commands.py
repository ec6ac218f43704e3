"""Suites at the keyboard: a run that asks no engine, its report shown and written again, and what is refused.

Runs against real engines are in `tests/story`; the verdicts themselves in `tests/pipelines`.
"""

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from pipelines.suites.evidence_logs import EvidenceUnreadable
from pipelines.suites.held import ReportUnwritable
from pipelines.suites.run import EngineNotNamed
from registry.errors import NotFound
from tests.tidegate import town as making
from tests.tidegate.town import MODEL, Town
from tidegate.suite_lines import Count, this_machine

LOGS = Path(__file__).parents[1] / "pipelines" / "foreign_logs"
V2 = f"{MODEL}@2"


@pytest.fixture(scope="module")
def built_measured(built_town: Town, tmp_path_factory: pytest.TempPathFactory) -> Town:
    """The town after one run of the suite that looks at a version's files."""
    made = making.copy(built_town, tmp_path_factory.mktemp("measured") / "town")
    for name in ("files", "smoke"):
        made.site.type("suites", "add", "--builtin", name)
    made.site.type("suites", "run", "files", V2, "--tier", "team")
    return made


@pytest.fixture
def measured(built_measured: Town, tmp_path: Path) -> Town:
    return making.copy(built_measured, tmp_path / "town")


def test_a_suite_of_files_needs_no_engine_and_its_report_is_a_page(measured: Town, tmp_path: Path) -> None:
    said = measured.site.ask("suites", "run", "files", V2, "--tier", "team", "--html", tmp_path / "page.html")
    assert ("PASSED", "team") == (said["outcome"], said["report"]["tier"])
    assert this_machine() == said["report"]["node"]
    assert "PASSED" in (tmp_path / "page.html").read_text()
    digest = said["digest"]
    again = measured.site.type(
        "suites", "report", digest[:12], "--html", tmp_path / "again.html", "--junit", tmp_path / "again.xml"
    )
    assert f"files on {V2}: PASSED, 6 of 6 cases" in again.stdout
    assert (tmp_path / "page.html").read_bytes() == (tmp_path / "again.html").read_bytes()
    assert "testsuites" == ET.parse(tmp_path / "again.xml").getroot().tag
    assert said["report"] == measured.site.ask("suites", "report", digest)
    flips = measured.site.type("suites", "flips", "files").stdout
    assert "No case flipped in 2 whole runs of files." in flips
    assert 6 == len(measured.site.ask("suites", "flips", "files", "--version", V2))
    assert "complete" in measured.site.type("suites", "flips", "files", "--all").stdout


@pytest.mark.parametrize("name", ["inspect.eval", "results_weather.json"])
def test_another_programs_log_is_noted_and_shown(town: Town, name: str) -> None:
    said = town.site.type("suites", "evidence", V2, LOGS / name).stdout
    assert "no gate looks at it" in said
    digest = said.split("report ")[1].split(";")[0]
    shown = town.site.type("suites", "report", digest).stdout
    assert said.splitlines()[:3] == shown.splitlines()[:3]
    assert 2 == json.loads(town.site.type("suites", "report", digest, "--json").stdout)["log"]["counted"]
    town.site.type("suites", "report", digest, "--html", town.folder / "x.html", ends=2)


def test_what_is_refused(measured: Town, tmp_path: Path) -> None:
    run = ["suites", "run", "smoke", V2, "--tier", "team"]
    measured.site.type(*run, ends=EngineNotNamed.exit_code)
    measured.site.type(*run, "--html", tmp_path / "no" / "page.html", ends=ReportUnwritable.exit_code)
    measured.site.type(*run, "--html", tmp_path, ends=2)
    measured.site.type("suites", "report", "ffffffff", ends=NotFound.exit_code)
    measured.site.type("suites", "flips", "nothing", ends=NotFound.exit_code)
    measured.site.type("suites", "evidence", V2, LOGS, ends=EvidenceUnreadable.exit_code)
    measured.site.type("suites", "evidence", V2, tmp_path / "missing", ends=EvidenceUnreadable.exit_code)
    baseline = [
        "--engine",
        "p",
        "--baseline-endpoint",
        "http://127.0.0.1:9/v1",
        "--endpoint",
        "http://127.0.0.1:9",
    ]
    measured.site.type("suites", "run", "smoke", V2, *baseline, ends=2)


def test_progress_goes_to_stderr_and_says_how_long_it_takes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = iter([0.0, 5.0, 11.0, 12.0, 30.0])
    monkeypatch.setattr("tidegate.suite_lines.time.monotonic", lambda: next(moments))
    count = Count("smoke")
    for done in (10, 25, 30, 50):
        count(done, 50)
    count.finish()
    said = capsys.readouterr()
    assert "" == said.out
    assert [
        "smoke: 25 of 50 requests answered, 11 s left",
        "smoke: 50 of 50 requests answered, 0 s left",
    ] == (said.err.splitlines())
