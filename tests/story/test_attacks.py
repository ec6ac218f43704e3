"""What attackers tried, each told as it happened: nothing of it may work. The table of attackers is SECURITY.md."""

import shutil
from pathlib import Path

import pytest

import pipelines.suites
from pipelines import ship
from pipelines.bundle.errors import MalformedBundle
from pipelines.suites.run import add_suite, adopt_suite
from registry.audit import EventKind
from registry.entities import Binding, Document
from registry.names import Ref
from signing.refusals import ExportMalformed
from signing.stream import MAX_STEP
from tests.pipelines.gap import World, document_row, make_world, model_files
from tidegate import verifying

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


def with_number(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """The next bundle is signed under this number, as whoever holds the export keys can do."""
    monkeypatch.setattr(ship, "_next_number", lambda *_: (number, "ab" * 32))


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

    def test_cannot_burn_the_numbers_that_are_left(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """One bundle with the highest number there is would make every honest one after it look old."""
        with_number(monkeypatch, 2**40)
        medium = world.ship("acme/falcon@1")
        with pytest.raises(ExportMalformed, match="sequence"):
            world.receive(medium)

    def test_cannot_make_the_log_unreadable(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        """An import says which numbers are missing; so many that no reader takes the event again were possible."""
        with_number(monkeypatch, MAX_STEP)
        assert MAX_STEP - 1 == len(world.receive(world.ship("acme/falcon@1")).gap)
        with world.at(world.site) as work:
            assert [] == verifying.verify(work.store, work.home)

    def test_cannot_pass_another_document_for_a_tool_contract(self, world: World) -> None:
        with world.at(world.origin) as work:
            suite = add_suite(work, BASICS)
            with work.store.change(actor="mallory", now=work.now) as change:
                digest = change.version(Ref("acme/falcon")).digest
                row = Binding(
                    version=digest, position=1, contract=suite.digest, since=change.now, actor="mallory"
                )
                change.record(EventKind.CONTRACT_BOUND, digest, row)
        with pytest.raises(MalformedBundle, match="tool contract"):
            world.receive(world.ship("acme/falcon@1"))

    def test_cannot_pass_anything_for_a_suite(self, world: World) -> None:
        empty = document_row(b'{"cases":[]}', kind="suite", name="tool-basics")
        with world.at(world.origin) as work, work.store.change(actor="mallory", now=work.now) as change:
            change.record(EventKind.SUITE_ADDED, empty.digest, empty)
        with pytest.raises(MalformedBundle, match="suite"):
            world.receive(world.ship("acme/falcon@1", documents=[empty.digest]))
