"""The reference pages that people write: every field of every format, with its default, is held against the code."""

import json
import re
import tomllib
from dataclasses import MISSING, fields
from pathlib import Path

import pytest

from pipelines.engines import advisories
from pipelines.engines.driver import _DRIVERS as DRIVERS
from pipelines.engines.driver import DOCUMENTATION_ONLY, driver_for
from pipelines.rollout import plan
from pipelines.rollout import settings as serving
from pipelines.suites import cases, gates, settings, statistics, vocabulary
from pipelines.suites.format import load
from pipelines.suites.python_host import OFFERED
from pipelines.suites.python_source import check_functions
from registry import companions, contracts, decisions, policy, tiers_file
from registry.contracts import EngineProfile
from signing.canonical import canonical_bytes

HOUSE = Path(__file__).parents[1]
DOCS = HOUSE / "docs"
BUILTIN = HOUSE / "pipelines" / "suites" / "builtin"
REFERENCE = DOCS / "reference"


def section(page: str, heading: str) -> str:
    """The text under a heading, up to the next one of any depth."""
    text = (REFERENCE / page).read_text(encoding="utf-8")
    return re.split(r"^#+ ", text.split(f"# {heading}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]


def rows(text: str) -> dict[str, list[str]]:
    """Every table row that begins with code: each name in its first cell, and the other cells."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.startswith("| `"):
            names, *rest = (cell.strip() for cell in line.strip("|").split("|"))
            for name in re.findall(r"`([^`]+)`", names):
                assert name not in found, f"{name} stands twice"
                found[name] = rest
    return found


def example(page: str, language: str = "toml") -> str:
    text = (REFERENCE / page).read_text(encoding="utf-8")
    return str(re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)[0])


# -- tiers.toml -----------------------------------------------------------------------------------------


def test_every_field_of_a_policy_is_told() -> None:
    told = set(rows((REFERENCE / "policy.md").read_text()))
    known = {entry.name for entry in fields(policy.Policy)} - {"tier", "max_bytes"} | {"memory"}
    assert known == told


def test_every_default_of_a_policy_is_the_one_that_a_file_gets() -> None:
    [found] = tiers_file.read('format = "tidegate-tiers/1"\n[tiers.only]\nrank = 1\napprovals = 1\n')
    words = {"needed": None, "none": None, "no limit": None}
    for name, (default, *_) in rows((REFERENCE / "policy.md").read_text()).items():
        value = getattr(found, "max_bytes" if name == "memory" else name)
        if default == "needed":
            assert name in ("rank", "approvals")
        elif default in words:
            assert value is None, name
        else:
            written = re.findall(r"`([^`]+)`", default)[0]
            assert written in (tiers_file.shown(value), str(value)), name


def test_the_example_of_a_policy_is_one() -> None:
    assert ["team", "org"] == [rules.tier for rules in tiers_file.read(example("policy.md"))]


# -- suites ---------------------------------------------------------------------------------------------


def test_every_setting_of_a_suite_is_told_and_its_default_is_the_one() -> None:
    told = rows(section("suite-format.md", "suite.toml"))
    assert {entry.name for entry in fields(settings.Settings)} - {"own_tools"} | {"format", "tools"} == set(
        told
    )
    plain = {
        "name": "a",
        "description": "a",
        "cases": 1,
        "repeats": 1,
        "timeout_seconds": 1,
        "limit_seconds": 1,
    }
    lines = [f"{name} = {tiers_file.shown(value)}" for name, value in plain.items()]
    found = settings.read_settings(
        "\n".join(['format = "tidegate-suite/1"', *lines, "[gates]", 'cases.pass_rate = { min = "1.0" }'])
    )
    for name, (default, *_) in told.items():
        needed = name in plain or name in ("format", "gates")
        assert needed == (not default), name
        if not needed and name not in ("tools", "streaming"):
            assert default.strip("`") == tiers_file.shown(getattr(found, name)), name
    assert found.own_tools
    assert (False,) == found.streaming


def test_every_field_of_a_case_is_told() -> None:
    known = {entry.name for entry in fields(cases.Case)}
    assert known == set(rows(section("suite-format.md", "A case")))


def test_every_check_is_told_with_its_fields() -> None:
    told = rows(section("suite-format.md", "Checks"))
    assert set(vocabulary.VOCABULARY) == set(told)
    for name, kind in vocabulary.VOCABULARY.items():
        assert [entry.name for entry in fields(kind)] == re.findall(r"`(\w+)`", told[name][0]), name


def test_every_gate_is_told() -> None:
    assert {*gates.METRICS, "cluster.NAME"} == set(
        rows(section("suite-format.md", "Gates").split("\nWith a share", 1)[0])
    )


def test_every_module_that_a_python_check_finds_is_told() -> None:
    text = section("suite-format.md", "Python checks")
    assert set(OFFERED) <= set(re.findall(r"\w+", text))


def test_every_suite_that_comes_with_the_product_is_told_with_its_number_of_cases() -> None:
    told = rows(section("suite-format.md", "Suites that come with Tidegate"))
    held = {folder.name: str(load(folder).declared) for folder in BUILTIN.iterdir() if folder.is_dir()}
    assert held == {name: cells[0] for name, cells in told.items()}


# -- serving.toml ---------------------------------------------------------------------------------------


def test_every_setting_of_serving_is_told() -> None:
    told = set(rows((REFERENCE / "serving-toml.md").read_text()))
    known = {entry.name for kind in (serving.TierServing, serving.Nginx) for entry in fields(kind)}
    assert known - {"tier"} | {"format", "folder", "listen", "blue", "green"} == told


def test_every_default_of_serving_is_the_one_that_a_file_gets() -> None:
    needed = {
        "node",
        "strategy",
        "nginx",
        "models",
        "includes",
        "format",
        "folder",
        "listen",
        "blue",
        "green",
    }
    plain = (
        'format = "tidegate-serving/1"\nfolder = "/srv/x"\n[tiers.a]\nnode = "n"\nstrategy = "recreate"\n'
        '[tiers.a.nginx]\nincludes = "/x"\n[tiers.a.models]\n'
    )
    tier = serving.decode(plain.encode()).tier("a")
    for name, (default, *_) in rows((REFERENCE / "serving-toml.md").read_text()).items():
        assert (name in needed) == (default == "needed"), name
        if name in needed or name in ("program", "environment", "daemon"):
            continue
        value = getattr(tier.nginx if name in ("test", "reload") else tier, name)
        shown = f"{value:g}" if isinstance(value, float) else value
        assert default.strip("`") in (str(shown), tiers_file.shown(shown)), name
    assert ((), {}, None) == (tier.program, dict(tier.environment), tier.daemon)


def test_every_strategy_is_told() -> None:
    told = set(re.findall(r"`([\w-]+)`", rows((REFERENCE / "serving-toml.md").read_text())["strategy"][1]))
    explained = (DOCS / "explanation" / "rollout.md").read_text()
    assert {str(one) for one in plan.Strategy} == told
    assert all(f"| `{one}` |" in explained for one in plan.Strategy)


def test_the_example_of_serving_is_one() -> None:
    found = serving.decode(example("serving-toml.md").encode())
    assert 18081 == found.tier("team").place("acme/tiny-coder").blue
    assert plan.Strategy.BLUE_GREEN == found.tier("team").strategy


# -- documents and engines ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("heading", "kind", "left_out"),
    [
        ("Tool contract: what a version emits", contracts.ToolContract, set()),
        ("Engine profile: what an engine parses", contracts.EngineProfile, set()),
        ("Router contract: what a tier's router accepts", contracts.RouterContract, set()),
        ("Companions", companions.Companions, set()),
        ("Advisories", advisories.Advisories, {"entries"}),
    ],
)
def test_every_field_of_a_document_is_told(heading: str, kind: type, left_out: set[str]) -> None:
    text = section("documents.md", heading)
    told = set(rows(text.split("\n`emission`:", 1)[0]))
    known = {entry.name for entry in fields(kind)} - {"extra"} - left_out
    assert known <= told
    if kind is contracts.ToolContract:
        emission = rows(text.split("\n`emission`:", 1)[1])
        assert {entry.name for entry in fields(contracts.Emission)} - {"extra"} == set(emission)
        optional = {
            entry.name
            for entry in fields(contracts.Emission)
            if entry.default is not MISSING or entry.default_factory is not MISSING
        } - {"template_sha256", "extra"}
        assert optional == {name for name, cells in emission.items() if cells[0] == "optional"}


def test_every_kind_of_decision_is_told_with_who_may_make_it() -> None:
    text = section("documents.md", "Decision: what a person signs")
    told = rows(text)
    assert {str(kind) for kind in decisions.Kind} <= set(told)
    assert {entry.name for entry in fields(decisions.Request)} <= set(told)
    for kind, roles in decisions.NEEDS.items():
        assert " or ".join(roles) == told[str(kind)][-1], kind


def test_the_example_of_advisories_is_one() -> None:
    found = advisories.decode(canonical_bytes(json.loads(example("documents.md", "json"))))
    assert ["CVE-2026-27893"] == [hit.advisory.id for hit in advisories.hits([found], "vllm", "0.17.2")]
    assert [] == advisories.hits([found], "vllm", "0.18.0")


def test_every_engine_is_told_with_how_it_was_tested() -> None:
    text = (REFERENCE / "engines.md").read_text()
    told = {
        name: line.split(" | ")[1]
        for line in text.splitlines()
        for name in re.findall(r"`([\w.-]+)`", line.split(" | ")[0])
        if line.startswith("| `")
    }
    for name in DRIVERS:
        profile = EngineProfile(name="a", engine=name, version="1", parses=(), flags=(), surfaces=())
        assert driver_for(profile).tested == told[name], name
    assert DOCUMENTATION_ONLY in told.values()


def test_every_example_in_toml_can_be_read() -> None:
    for page in DOCS.rglob("*.md"):
        for text in re.findall(r"^```toml\n(.*?)^```$", page.read_text(), flags=re.MULTILINE | re.DOTALL):
            tomllib.loads(text)


def test_the_worked_example_of_the_statistics_is_what_the_code_computes() -> None:
    page = (DOCS / "explanation" / "judging.md").read_text()
    seen = 0
    for lost, won, difference, low, high, gate, p in re.findall(
        r"^\| lost (\d), won (\d.*?) \| (-?[\d.]+) \| (\S+) to (\S+) \| (.+?) \| ([\d.]+) \|$",
        page,
        re.MULTILINE,
    ):
        pairs = _pairs(int(lost), int(won[0]), together="cluster" in won)
        found = statistics.paired_difference(pairs)
        assert (difference, low, high) == (f"{found.estimate:.3f}", f"{found.low:+.3f}", f"{found.high:+.3f}")
        assert p == f"{statistics.mcnemar_exact(int(lost), int(won[0])):.2f}"
        assert (found.low > -0.05) == (gate == "HELD")
        if found.low <= -0.05:
            more = int(re.findall(r"about (\d+) more", gate)[0])
            needed = statistics.cases_for_margin(found, len(pairs), 0.05)
            assert needed is not None
            assert needed <= more < needed + 10
        seen += 1
    assert 4 == seen


def _pairs(lost: int, won: int, *, together: bool) -> list[statistics.Pair]:
    """200 cases; the changed ones come first, each a cluster of its own or ten of them one."""
    sides = [(0.0, 1.0)] * lost + [(1.0, 0.0)] * won
    sides += [(1.0, 1.0)] * (200 - len(sides))
    return [statistics.Pair(str(n // 10 if together else n), *side) for n, side in enumerate(sides)]


def test_the_suite_that_authors_are_shown_is_one(tmp_path: Path) -> None:
    page = (DOCS / "how-to" / "suite-author.md").read_text()
    blocks = re.findall(r"^```(toml|json|python)\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)
    suite, case, tool = blocks[0][1], blocks[1][1], blocks[2][1]
    files = {"suite.toml": suite, "cases/leave.jsonl": case, "tools/get_balance.json": tool}
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert "house-rules" == load(tmp_path).name
    gate_table = tomllib.loads(blocks[3][1])["gates"]
    assert 2 == len(gates.read_gates(gate_table, at="gates"))
    assert ["check_units"] == list(check_functions({"checks/units.py": blocks[4][1]}))
