"""What the doors are tried on: the town of the commands' tests, and the home that clients pull from."""

from pathlib import Path

import pytest

from tests.server import hub_world
from tests.server.hub_world import HubWorld
from tests.tidegate.conftest import built_serving, built_town, serving, town

__all__ = ["built_hub", "built_serving", "built_town", "hub_copy", "serving", "town"]


@pytest.fixture(scope="session")
def built_hub(tmp_path_factory: pytest.TempPathFactory) -> HubWorld:
    """Built once per test process; nobody changes it."""
    return hub_world.build(tmp_path_factory.mktemp("hub"))


@pytest.fixture
def hub_copy(built_hub: HubWorld, tmp_path: Path) -> HubWorld:
    """One that a test may change."""
    return built_hub.copied(tmp_path)
