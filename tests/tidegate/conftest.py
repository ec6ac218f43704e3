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
