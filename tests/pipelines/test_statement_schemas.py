"""The published schemas of statements: what the product signs fits them, and what lacks a field does not."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from pipelines.suites import report
from signing import statements, summaries
from tests.pipelines.gap import World, make_world, model_files
from tests.signing.test_statements import approved, brought_in, fetched, pinned, validated
from tests.signing.test_summaries import bill, gate, left, looked_at

HOUSE = Path(__file__).parents[2]
SCHEMAS = HOUSE / "airgap-bundles" / "schemas" / "statements"
NAMES = sorted(path.name.removesuffix(".schema.json") for path in SCHEMAS.glob("*.json"))
TYPES = {
    "provenance": statements.PROVENANCE,
    "test-result": statements.TEST_RESULT,
    "validation-run": statements.VALIDATION_RUN,
    "approval": statements.APPROVAL,
    "pin": statements.PIN,
    "import": statements.IMPORT,
    "suite": report.SUITE_VOUCHED,
    "svr": summaries.SVR,
    "vsa": summaries.VSA,
    "reference": summaries.REFERENCE,
    "export": summaries.EXPORT,
}


def schema(name: str) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((SCHEMAS / f"{name}.schema.json").read_text())
    return read


def problems(name: str, value: Any) -> list[str]:
    return [error.message for error in Draft202012Validator(schema(name)).iter_errors(value)]


def made() -> dict[str, dict[str, Any]]:
    result, run = validated()
    vouched = statements.statement(
        report.SUITE_VOUCHED,
        [("suite:smoke", "0f" * 32)],
        {"name": "smoke", "cases": 6, "home": "bank", "addedBy": "vera"},
    )
    return {
        "provenance": fetched(),
        "test-result": result,
        "validation-run": run,
        "approval": approved(),
        "pin": pinned(),
        "import": brought_in(),
        "suite": vouched,
        "svr": looked_at(),
        "vsa": gate(overridden=["approvals"]),
        "reference": bill(),
        "export": left(),
    }


def test_every_kind_of_statement_has_a_schema_and_a_row_in_the_page() -> None:
    assert sorted(TYPES) == NAMES == sorted(made())
    page = (HOUSE / "docs" / "reference" / "statements.md").read_text()
    for name, uri in TYPES.items():
        assert {"const": uri} == schema(name)["properties"]["predicateType"]
        assert f"`{uri}` | `{name}`" in page
        for field in schema(name)["properties"]["predicate"]["properties"]:
            assert f"`{field}`" in page, f"{name}.{field} stands on the page"


@pytest.mark.parametrize("name", NAMES)
def test_what_the_builders_make_fits_and_nothing_in_it_may_be_missing(name: str) -> None:
    value = made()[name]
    Draft202012Validator.check_schema(schema(name))
    assert [] == problems(name, value)
    for field in schema(name)["properties"]["predicate"]["required"]:
        less = {key: item for key, item in value["predicate"].items() if key != field}
        assert problems(name, {**value, "predicate": less}), f"{field} is needed"
    for field in ("_type", "subject", "predicateType", "predicate"):
        assert problems(name, {key: item for key, item in value.items() if key != field})
    assert problems(name, {**value, "subject": [{"name": "x", "digest": {"sha256": "ABC"}}]})


@pytest.fixture(scope="module")
def crossed(tmp_path_factory: pytest.TempPathFactory) -> World:
    gap = make_world(tmp_path_factory.mktemp("statements") / "world")
    gap.add("acme/tiny", model_files())
    gap.receive(gap.ship("acme/tiny"))
    return gap


def kept(gap: World) -> Iterator[dict[str, Any]]:
    """Every statement that crossing the gap left, at both homes."""
    for home in (gap.origin, gap.site):
        with gap.at(home) as work, work.store.view() as view:
            for label, rows in view.recorded():
                for row in rows if label == "statement" else ():
                    found = view.statement(str(row["digest"]))
                    assert found is not None
                    yield json.loads(found.payload)


def test_what_crossing_the_gap_leaves_fits(crossed: World) -> None:
    by_type = {uri: name for name, uri in TYPES.items()}
    found = [(by_type[one["predicateType"]], one) for one in kept(crossed)]
    assert {"provenance", "export", "import"} <= {name for name, _ in found}
    assert [] == [(name, problem) for name, one in found for problem in problems(name, one)]
