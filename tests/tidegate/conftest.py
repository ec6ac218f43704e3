"""One town per test process, a copy of it per test."""

from pathlib import Path

import pytest

from tests.tidegate import town as making
from tests.tidegate.town import Town


@pytest.fixture(scope="session")
def built_town(tmp_path_factory: pytest.TempPathFactory) -> Town:
    return making.build(tmp_path_factory.mktemp("town"))


@pytest.fixture
def town(built_town: Town, tmp_path: Path) -> Town:
    return making.copy(built_town, tmp_path / "town")


@pytest.fixture(scope="session")
def built_serving(built_town: Town, tmp_path_factory: pytest.TempPathFactory) -> Town:
    made = making.copy(built_town, tmp_path_factory.mktemp("serving") / "town")
    made.serve(1)
    made.serve(2)
    made.site.type("audit", "verify")
    return made


@pytest.fixture
def serving(built_serving: Town, tmp_path: Path) -> Town:
    """team serves version 1, then 2, and the auditor has seen that all is well."""
    return making.copy(built_serving, tmp_path / "town")
