"""A steward's day: versions measured on a real engine, compared, refused, let in, and taken back, by typed commands.

Version 1 serves. 2 is better, 3 writes its calls in another way, one is damaged, one is quantised.
"""

import os
import re
import subprocess
import sys
from html import unescape
from pathlib import Path

import pytest

from demo.engine import Engine, find_engine
from registry.errors import PolicyUnsigned
from registry.gate import GateClosed
from registry.home import HomeBusy
from tests.story.judging_models import MODELS, SUITE, quantised, with_a_nan, without_a_tensor
from tests.story.judging_site import MODEL, PROFILE, ROUTER, Site, build, copy
from tidegate.errors import SuiteNotPassed

pytestmark = [pytest.mark.engine]
V1, V2, V3 = (f"{MODEL}@{ordinal}" for ordinal in (1, 2, 3))
LESS = ('"smoke", "contract"]', '"smoke"]')  # what team demands, and no more than seconds of it


@pytest.fixture(scope="module")
def engine() -> Engine:
    found = find_engine()
    assert found is not None, "no engine: python -m demo.engine sets one up"
    return found


@pytest.fixture(scope="module")
def founded(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A policy in force, and version 1 that nobody has measured."""
    return build(tmp_path_factory.mktemp("founded"), engine)


@pytest.fixture(scope="module")
def serving(founded: Site, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Team and org serve version 1."""
    site = copy(founded, tmp_path_factory.mktemp("serving") / "it")
    site.validate(V1, "team")
    site.promote(V1, "team", "alice")
    site.validate(V1, "org")
    site.promote(V1, "org", "alice", "bob")
    return site


@pytest.fixture(scope="module")
def second(serving: Site, tmp_path_factory: pytest.TempPathFactory) -> tuple[Site, str]:
    """Team and org serve version 2; and what its validation for org said."""
    site = copy(serving, tmp_path_factory.mktemp("second") / "it")
    site.add(MODELS / "v2")
    alone = site.validate(V2, "team")
    assert f"for {V1}" not in alone  # nothing that team demands compares
    site.promote(V2, "team", "alice")
    said = site.validate(V2, "org")
    site.promote(V2, "org", "alice", "bob")
    return site, said


@pytest.fixture
def town(second: tuple[Site, str], tmp_path: Path) -> Site:
    return copy(second[0], tmp_path / "it")


@pytest.fixture
def empty(founded: Site, tmp_path: Path) -> Site:
    return copy(founded, tmp_path / "it")


class TestPolicy:
    def test_nobody_measures_less_without_a_steward(self, empty: Site) -> None:
        text = empty.policy.read_text()
        file = empty.folder / "less.toml"
        file.write_text(text.replace(*LESS))
        empty.at.ask_refused("policy", "apply", file, ends=PolicyUnsigned.exit_code)
        assert "suite contract" in empty.gate(V1, "team", ends=89)
        empty.at.type("policy", "apply", file, *empty.signs("bob"))
        assert "suite contract" not in empty.gate(V1, "team", ends=89)

    def test_what_was_never_measured_is_against(self, empty: Site) -> None:
        assert ["suite files", "suite smoke", "suite contract", "approvals"] == empty.against(V1, "team")
        empty.at.type("promote", V1, "--tier", "team", ends=GateClosed.exit_code)


class TestVersion2:
    def test_it_is_measured_beside_version_1_and_promoted_tier_by_tier(
        self, second: tuple[Site, str]
    ) -> None:
        site, said = second
        assert {"team": 2, "org": 2} == site.serves()
        assert f"starting llama-server for {V1}" in said  # the one that served, beside it
        [digest] = re.findall(rf"{SUITE}: PASSED \[(\w+)\]", said)
        report = site.at.ask("suites", "report", digest)
        assert ("measured", "proven") == (report["comparison"]["state"], report["identity"]["state"])
        assert all(
            len(case["attempts"]) == len(case["pinned"]["attempts"]) > 0 for case in report["cases"]
        )  # every question was put to both, in the same run
        site.at.type("audit", "verify")

    def test_what_is_known_is_not_measured_again(self, town: Site) -> None:
        said = town.validate(V2, "org")
        assert 3 == said.count("PASSED before, on exactly this set")
        assert "starting" not in said

    def test_an_approval_is_for_what_was_measured(self, town: Site) -> None:
        """Two people for org; and one of them cannot sign twice."""
        ref = town.add(quantised("v1", town.folder / "small"))
        town.at.as_("alice").type("approve", ref, "--tier", "org", *town.signs("alice"))
        found = town.gate(ref, "org", ends=89)
        assert "1 of 2" in found["approvals"]["message"]
        assert "the serving engineer" == found["suite paths"]["who"]


class TestVersion3:
    def test_the_gate_says_what_to_change_and_with_that_it_goes_up_and_comes_back(self, town: Site) -> None:
        town.add(MODELS / "v3", "tool-contract-xml-function")
        finding = town.gate(V3, "team", ends=89)["contract"]
        assert not finding["ok"]
        assert "needs-router-update" in finding["message"]
        assert f"router contract '{ROUTER}': add accepts \"xml-function\"" in finding["next_step"]
        assert f"engine profile '{PROFILE}': add parses \"xml-function\"" in finding["next_step"]
        assert f"tidegate contracts patch {V3} --tier team" in finding["next_step"]
        before = town.pin("team")

        self._change_the_router(town)
        assert town.gate(V3, "team", ends=89)["contract"]["ok"]
        town.companions("notes-for-3")
        town.at.type("companions", "set", V3, "notes-for-3")
        town.validate(V3, "team")
        town.promote(V3, "team", "bob")
        assert 3 == town.pin("team")["ordinal"]
        assert "These are the notes-for-3.\n" == town.agents("team")
        config = town.folder / "config.toml"
        words = ["--tier", "team", "--model", MODEL, "--base-url", "http://llm.team.example:8080/v1"]
        town.at.type("client-config", "codex", *words, "--out", config)
        assert 'wire_api = "responses"' in config.read_text()

        town.at.type("rollback", MODEL, "--tier", "team", "--reason", "calls without arguments")
        after = town.pin("team")
        whole = ("version", "contract", "profile", "router", "companions")
        assert [before[name] for name in whole] == [after[name] for name in whole]
        assert "These are the notes.\n" == town.agents("team")
        town.at.type("audit", "verify")

    def _change_the_router(self, town: Site) -> None:
        """What the gate asked for: both documents written by the command, taken in, put in force."""
        router, profile = town.folder / "router.json", town.folder / "engine.json"
        words = ["contracts", "patch", V3, "--tier", "team", "--out", router, "--out-engine", profile]
        patch = town.at.ask(*words)
        assert "compatible" == patch["verdict"]
        assert [] == patch["breaks"]  # version 2 goes on working
        for file in (router, profile):
            town.at.type("contracts", "add", file)
        town.at.type("contracts", "set-router", "team", ROUTER, "--engine", PROFILE)

    def test_behind_yesterdays_template_no_call_is_read_though_every_answer_is_200(self, town: Site) -> None:
        """The companions bring the template that somebody had pinned for version 2."""
        town.add(MODELS / "v3", "tool-contract-xml-function")
        self._change_the_router(town)
        old = (MODELS / "v2" / "chat_template.jinja").read_text()
        town.companions("with-a-template", {"chat_template.jinja": old})
        town.at.type("companions", "set", V3, "with-a-template")
        assert "contract" in town.against(V3, "team")
        said = town.validate(V3, "team", ends=SuiteNotPassed.exit_code)
        assert "smoke: FAILED" in said
        assert "gate contract.parse_rate: 0 of 4 cases" in said
        town.at.type("companions", "set", V3, "notes")
        found = town.gate(V3, "team", ends=89)
        assert found["contract"]["ok"]
        assert not found["suite smoke"]["ok"]  # that run was about another template

    def test_before_the_update_it_is_not_even_started_by_itself(self, town: Site) -> None:
        town.add(MODELS / "v3", "tool-contract-xml-function")
        step = town.reconcile("--tier", "team")["team"]
        assert ("waits", []) == (step["state"], step["done"])
        assert any(reason.startswith("contract") for reason in step["waits_for"])


class TestDamaged:
    @pytest.mark.parametrize(
        ("spoil", "case", "said"),
        [(with_a_nan, "finite", "NaN"), (without_a_tensor, "complete", "model.layers.1.mlp.up_proj.weight")],
    )
    def test_it_fails_files_and_never_reaches_an_engine(
        self, serving: Site, tmp_path: Path, spoil: object, case: str, said: str
    ) -> None:
        site = copy(serving, tmp_path / "it")
        assert callable(spoil)
        ref = site.add(spoil("v2", site.folder / "damaged"))
        shown = site.validate(ref, "team", ends=SuiteNotPassed.exit_code)
        assert "starting" not in shown
        [digest] = re.findall(r"files: FAILED \[(\w+)\]", shown)
        report = site.at.ask("suites", "report", digest)
        wrong = [found["id"] for found in report["cases"] if found["outcome"] != "passed"]
        assert [case] == wrong
        assert said in str(report["cases"])
        assert "suite files" in site.against(ref, "team")
        assert {"team": 1, "org": 1} == site.serves()


class TestQuantised:
    def test_its_regression_is_shown_with_its_interval_and_by_name(self, town: Site) -> None:
        """All that is lost is one path, one cluster: the interval alone proves nothing, the list of lost cases decides."""
        ref = town.add(quantised("v2", town.folder / "q4_0"))
        said = town.validate(ref, "org", ends=SuiteNotPassed.exit_code)
        assert f"starting llama-server for {V2}" in said
        [(outcome, digest)] = re.findall(rf"{SUITE}: (\w+) \[(\w+)\]", said)
        assert outcome in ("FAILED", "INCONCLUSIVE")
        page = town.folder / "report.html"
        report = town.at.ask("suites", "report", digest, "--html", page)
        [gate] = [gate for gate in report["gates"] if gate["metric"] == "cases.pass_rate"]
        assert re.search(r"behind the pinned version over 64 cases, interval -\d\.\d\d to", str(gate))
        lost = report["lost"]
        assert len(lost) > 1
        assert re.search(rf"{len(lost)} cases lost that the pinned version gets right \({lost[0]}", said)
        text = unescape(page.read_text())
        assert all(name in text for name in lost)
        assert "src/a.py" in text  # what was asked, beside what was answered
        assert f"suite {SUITE}" in town.against(ref, "org")


class TestModes:
    def test_each_tier_goes_as_far_as_it_may_and_a_second_pass_changes_nothing(self, empty: Site) -> None:
        empty.policy.write_text(empty.policy.read_text().replace(*LESS))
        empty.at.type("policy", "apply", empty.policy, *empty.signs("bob"))
        first = empty.reconcile()
        assert {"edge": "promoted", "team": "waits", "org": "waits"} == {
            tier: step["state"] for tier, step in first.items()
        }
        passed = [f"suite {name}: PASSED" for name in ("files", "smoke")]
        assert [*passed, "promoted"] == first["edge"]["done"]
        assert passed == first["team"]["done"]
        assert [] == first["org"]["done"]
        assert ["approvals"] == empty.against(V1, "team")

        entries = len(empty.at.ask("audit", "log"))
        again = empty.reconcile()
        assert [[], [], []] == [step["done"] for step in again.values()]
        assert "serves it" == again["edge"]["state"]
        assert entries == len(empty.at.ask("audit", "log"))
        self._after_a_rollback(empty)

    def _after_a_rollback(self, site: Site) -> None:
        """Version 2 comes up by itself; taken back, it stays back."""
        site.add(MODELS / "v2")
        assert "promoted" == site.reconcile("--tier", "edge")["edge"]["state"]
        assert {"edge": 2} == site.serves()
        site.at.type("rollback", MODEL, "--tier", "edge", "--reason", "slow on this box")
        step = site.reconcile("--tier", "edge")["edge"]
        assert ("serves it", 1, []) == (step["state"], step["ordinal"], step["done"])
        assert {"edge": 1} == site.serves()

    def test_two_at_once_one_is_refused(self, empty: Site) -> None:
        """The second is refused at once, while the first one's engine runs."""
        words = ["reconcile", "--tier", "edge", "--home", empty.at.home, "--program", empty.engine.path]
        command = [sys.executable, "-m", "tidegate", *map(str, words)]
        clean = {name: value for name, value in os.environ.items() if not name.startswith("TIDEGATE_")}
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=clean
        ) as one:
            assert one.stderr is not None
            said = []
            for line in one.stderr:
                said.append(line)
                if "starting llama-server" in line:
                    break
            assert "starting llama-server" in "".join(said), said
            empty.at.ask_refused("reconcile", "--tier", "edge", ends=HomeBusy.exit_code)
            assert "promoted" in one.communicate(timeout=120)[0]
        assert {"edge": 1} == empty.serves()
        assert not empty.running()
