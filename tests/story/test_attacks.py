"""What attackers tried, each told as it happened: nothing of it may work. The table of attackers is SECURITY.md."""

import shutil
from pathlib import Path

import pytest

import pipelines.suites
from pipelines.suites.run import add_suite, adopt_suite
from registry.entities import Document
from tests.pipelines.gap import World, make_world, model_files

BASICS = Path(pipelines.suites.__file__).parent / "builtin" / "tool-basics"


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = make_world(tmp_path / "world")
    made.add("acme/falcon", model_files())
    return made


def weaker(folder: Path) -> Path:
    """The suite that every tier demands, without the cases that it would fail, under the same name."""
    shutil.copytree(BASICS, folder)
    suite = folder / "suite.toml"
    text = suite.read_text()
    assert "cases = 15\n" in text
    for file in sorted((folder / "cases").iterdir())[2:]:
        file.unlink()
    suite.write_text(text.replace("cases = 15\n", "cases = 8\n"))
    return folder


class TestAThiefOfTheSitesExportKeys:
    """Ships whatever documents they like, validly signed."""

    def smuggle(self, world: World) -> Document:
        with world.at(world.origin) as work:
            evil = add_suite(work, weaker(world.base / "weaker"))
        world.receive(world.ship("acme/falcon@1", documents=[evil.digest]))
        return evil

    def test_does_not_exchange_the_suite_that_a_tier_demands(self, world: World) -> None:
        with world.at(world.site) as work:
            good = add_suite(work, BASICS)
        evil = self.smuggle(world)
        with world.at(world.site) as work, work.store.view() as view:
            assert good.digest == view.document("suite", "tool-basics").digest
            assert evil.digest == view.document("suite", evil.digest[:12]).digest, (
                "held, and can be looked at"
            )

    def test_does_not_exchange_one_that_an_earlier_bundle_brought(self, world: World) -> None:
        with world.at(world.origin) as work:
            good = add_suite(work, BASICS)
        world.receive(world.ship("acme/falcon@1", documents=[good.digest], out="first"))
        done_before = self.smuggle(world)
        with world.at(world.site) as work:
            with work.store.view() as view:
                assert good.digest == view.document("suite", "tool-basics").digest
            adopt_suite(work, done_before.digest)  # only somebody here, who has looked at it
            with work.store.view() as view:
                assert done_before.digest == view.document("suite", "tool-basics").digest

    def test_the_importer_is_told(self, world: World) -> None:
        with world.at(world.site) as work:
            add_suite(work, BASICS)
        with world.at(world.origin) as work:
            evil = add_suite(work, weaker(world.base / "weaker"))
        done = world.receive(world.ship("acme/falcon@1", documents=[evil.digest]))
        assert (("suite", "tool-basics", evil.digest),) == done.beside
