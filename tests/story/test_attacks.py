"""What attackers tried, each told as it happened: nothing of it may work. The table of attackers is docs/explanation/threats.md."""

import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

import pipelines.suites
from pipelines import ship
from pipelines.bundle.errors import MalformedBundle, MediumUnreadable
from pipelines.case import case
from pipelines.materialise import FolderTaken
from pipelines.promote import withdraw
from pipelines.rollback import roll_back
from pipelines.suites.run import add_suite, adopt_suite
from registry.audit import EventKind
from registry.entities import Binding, Document
from registry.errors import HomeUnusable
from registry.gate import GateClosed
from registry.home import load
from registry.names import Ref
from signing.refusals import ExportMalformed
from signing.stream import MAX_STEP
from tests.cli import Prompt
from tests.pipelines.gap import World, document_row, make_world, model_files
from tests.tidegate.town import MODEL, Town, build
from tests.world import at_work
from tidegate import verifying
from tidegate.errors import AuditBroken, FileUnreadable

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
    said = suite.read_text()
    assert "cases = 15\n" in said
    for file in sorted((folder / "cases").iterdir())[2:]:
        file.unlink()
    suite.write_text(said.replace("cases = 15\n", "cases = 8\n"))
    return folder


def with_number(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """The next bundle is signed under this number, as whoever holds the export keys can do."""
    monkeypatch.setattr(ship, "next_number", lambda *_: (number, "ab" * 32))


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

    def test_cannot_call_two_bundles_alike(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        """What brought a version is recorded by the bundle's name."""
        monkeypatch.setattr("pipelines.ship.bundle_id", lambda _made, _sequence: "20261120-01")
        world.receive(world.ship("acme/falcon@1", out="first"))
        again = world.ship("acme/falcon@1", out="second")
        with pytest.raises(MalformedBundle, match="another bundle was called 20261120-01"):
            world.receive(again)

    def test_cannot_make_the_log_unreadable(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        """An import says which numbers are missing; so many that no reader takes the event again were possible."""
        with_number(monkeypatch, MAX_STEP)
        assert MAX_STEP - 1 == len(world.receive(world.ship("acme/falcon@1")).missing)
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


class TestASiteAdministrator:
    """Owns the folder and the clock, and would rather not ask the second person."""

    @pytest.fixture
    def town(self, tmp_path: Path) -> Town:
        """A site of officers with a version that alice approved for org, where two have to."""
        made = build(tmp_path)
        made.approve(1, "org", "alice")
        return made

    def test_does_not_abolish_the_two_person_rule_in_the_settings(self, town: Town) -> None:
        settings = town.site.home / "tidegate.toml"
        settings.write_text(settings.read_text().replace('"officers"', '"solo"'))
        refusal = town.site.type("promote", f"{MODEL}@1", "--tier", "org", ends=HomeUnusable.exit_code)
        assert "profile" in refusal.output

    def test_does_not_turn_the_site_into_another_one_in_the_settings(self, town: Town) -> None:
        """Approvals and bundles name the site that they are for."""
        settings = town.site.home / "tidegate.toml"
        settings.write_text(settings.read_text().replace('"clinic"', '"harbour"'))
        assert "name" in town.site.type("pins", ends=HomeUnusable.exit_code).output

    def test_is_not_helped_by_a_permissive_umask(self, tmp_path: Path) -> None:
        before = os.umask(0)
        try:
            Prompt(tmp_path / "home", "root").type("init", "clinic", "--role", "site")
        finally:
            os.umask(before)
        loose = [path for path in (tmp_path / "home").rglob("*") if path.stat().st_mode & 0o022]
        assert [] == loose

    def test_does_not_revive_an_expired_approval_with_the_clock(self, town: Town) -> None:
        town.approve(1, "org", "bob")
        later = datetime.now(UTC) + timedelta(days=4)
        home = load(town.site.home)
        with at_work(home, actor="sam", now=later) as work:
            with work.store.view() as view:
                assert not case(work, view, Ref(MODEL, 1), "org").open, "expired"
            withdraw(work, Ref(MODEL, 2), reason="something happened since")
        town.promote(1, "org", ends=GateClosed.exit_code)
        assert {} == town.serves()

    def test_does_not_rewrite_the_past_with_the_clock(self, town: Town) -> None:
        """A way back on a clock that was set back does not claim that the old version served all along."""
        town.serve(1)
        town.serve(2)
        with at_work(load(town.site.home), actor="sam", now=datetime.now(UTC) - timedelta(days=30)) as work:
            roll_back(work, MODEL, "team", reason="the clock's battery is empty")
            with work.store.view() as view:
                moments = [line.since for line in view.pin_history("team", MODEL)]
        assert 3 == len(moments)
        assert sorted(moments) == moments

    def test_finds_the_first_event_missed(self, town: Town) -> None:
        """Without its first event the log cannot say how the home was made; then it says that."""
        with at_work(load(town.site.home), actor="mallory", now=datetime.now(UTC)) as work:
            with work.store.engine.begin() as connection:
                connection.execute(text("UPDATE event SET leaf = '{' WHERE position = 0"))
        town.site.type("audit", "verify", ends=AuditBroken.exit_code)


class TestACourier:
    """Leaves things on the medium that no one asked for."""

    def test_leaves_a_pipe_where_a_receipt_or_a_root_should_be(self, world: World) -> None:
        """Reading it would wait for ever."""
        pipe = world.base / "pipe"
        os.mkfifo(pipe)
        Prompt(world.origin.path, "oda").type("bundles", "acknowledge", pipe, ends=MediumUnreadable.exit_code)
        words = ["trust", "enrol", pipe, "--fingerprint", "00"]
        Prompt(world.site.path, "ines").type(*words, ends=FileUnreadable.exit_code)


def test_nothing_is_handed_over_into_a_home(world: World) -> None:
    """An engine that may write into its folder must not come to stand in the blob store."""
    inside = world.origin.path / "store" / "served"
    Prompt(world.origin.path, "oda").type("materialise", "acme/falcon@1", inside, ends=FolderTaken.exit_code)
    assert not inside.exists()
