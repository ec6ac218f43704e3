"""Real engines: each test asks for one by name, and gets its program, a visible skip, or a failure if it was demanded."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.engines.launching import Slots, slots
from tests.engines.setup import RECIPES

SETTING = "TIDEGATE_ENGINES"  # names of engines, with commas between, that must be there and are tested


@pytest.fixture
def program() -> Callable[[str], Path]:
    """Find an engine's program. Starting these takes minutes, so they are tested where somebody says so."""

    def find(name: str) -> Path:
        recipe = RECIPES[name]
        demanded = os.environ.get(SETTING, "").split(",")
        if name not in demanded:
            state = "installed" if recipe.installed else f"`python -m tests.engines.setup {name}`"
            pytest.skip(f"{name} {recipe.version} is tested with {SETTING}={name} ({state})")
        assert recipe.installed, f"{SETTING} demands {name}: run `python -m tests.engines.setup {name}`"
        return recipe.executable

    return find


@pytest.fixture
def places(tmp_path: Path) -> Iterator[Slots]:
    with slots(tmp_path) as found:
        yield found
