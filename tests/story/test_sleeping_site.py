"""A site that heard nothing for a long time: what it serves it goes on serving, and one medium or one sheet of paper
brings it back, whatever happened to the origin's keys meanwhile. Told by typing commands on a clock that we move."""

import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path

import pytest

from tests.tidegate import town as making
from tests.tidegate.town import MODEL, Town

Clock = Callable[[int], None]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Town:
    """Version 1 serves in tier team, then version 2."""
    town = making.build(tmp_path_factory.mktemp("sleeping"))
    town.serve(1)
    town.serve(2)
    return town


@pytest.fixture
def town(built: Town, tmp_path: Path) -> Town:
    return making.copy(built, tmp_path / "town")


@pytest.fixture
def after(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Let so many days go by: every command reads this clock, once."""

    def go(days: int) -> None:
        class Later(datetime):
            @classmethod
            def now(cls, tz: tzinfo | None = None) -> "Later":
                late = datetime.now(tz or UTC) + timedelta(days=days)
                return cls.fromisoformat(late.isoformat())

        monkeypatch.setattr("tidegate.wiring.datetime", Later)

    return go


def pack(town: Town, out: str, *words: object, ends: int = 0) -> Path:
    folder = town.folder / out
    town.origin.type("bundles", "create", "--to", "clinic", "--out", folder, *words, ends=ends)
    return folder


def import_(town: Town, medium: Path, *words: object, ends: int = 0) -> str:
    return town.site.type("bundles", "import", medium, *words, ends=ends).output


def withdraw(town: Town, ordinal: int) -> None:
    town.origin.type("models", "withdraw", f"{MODEL}@{ordinal}", "--reason", "a poisoned licence")


def test_when_everything_has_run_out_serving_goes_on(town: Town, after: Clock) -> None:
    """Six years without a bundle: every signature is over, the root's too. Nothing that serves asks for it."""
    medium = pack(town, "second", f"{MODEL}@2")
    after(6 * 365)
    assert {"team": 2} == town.serves()
    town.site.type("pins")
    out = town.folder / "files"
    town.site.type("materialise", f"{MODEL}@2", out)
    assert (out / "config.json").is_file()
    town.site.type("rollback", MODEL, "--tier", "team", "--reason", "it answers worse")
    assert {"team": 1} == town.serves()
    town.site.type("audit", "verify")
    import_(town, medium, ends=17)
    town.approve(2, "team", "alice")
    town.promote(2, "team", ends=89)
    assert {"team": 1} == town.serves(), "a new promotion waits for a fresh bundle"


class TestPaper:
    """`trust restamp`: the bundle lay on a shelf until its signatures ran out, and the courier is a telephone."""

    def test_seven_lines_on_paper_revive_a_bundle(self, town: Town, after: Clock) -> None:
        medium = pack(town, "second", f"{MODEL}@2")
        after(100)
        refused = town.site.type("bundles", "import", medium, ends=17)
        assert "tidegate trust restamp" in refused.output
        file, code = town.folder / "fresh.json", town.folder / "fresh.svg"
        made = town.origin.ask("trust", "restamp", medium, "--out", file, "--paper", "--qr", code)
        assert made["bytes"] <= 600
        assert b"<svg" in code.read_bytes()
        typed = town.folder / "typed.txt"
        typed.write_text("\n".join(line.lower().replace("-", " ") for line in made["paper"]) + "\n")
        seen = town.site.ask("bundles", "inspect", medium, "--timestamp", typed)
        assert seen["trusted"]
        assert "imported" in import_(town, medium, "--timestamp", typed).lower()
        assert "is good until" not in import_(town, medium, "--timestamp", file), "the file does as well"

    def test_a_mistyped_line_is_named_and_nothing_is_changed(self, town: Town, after: Clock) -> None:
        medium = pack(town, "second", f"{MODEL}@2")
        after(100)
        lines = town.origin.ask("trust", "restamp", medium, "--out", town.folder / "t", "--paper")["paper"]
        typed = town.folder / "typed.txt"
        typed.write_text("\n".join([*lines[:3], lines[3][::-1], *lines[4:]]))
        before = making.tree(town.site.home)
        refused = town.site.type("bundles", "import", medium, "--timestamp", typed, ends=253)
        assert "line 4" in refused.output
        assert before == making.tree(town.site.home)

    def test_the_name_of_the_bundle_will_do_at_the_origin(self, town: Town) -> None:
        pack(town, "second", f"{MODEL}@2")
        name = town.origin.ask("sites", "list")[0]["exports"][-1]["bundle"]
        file = town.folder / "fresh.json"
        text = town.origin.type("trust", "restamp", name, "--days", "30", "--out", file).output
        assert f"Bundle {name} for clinic is good until" in text
        assert "bundle restamped" in town.origin.type("audit", "log").output
        town.origin.type("trust", "restamp", "20200101-01", ends=117)
        import_(town, town.folder / "second", "--timestamp", file)

    def test_what_was_withdrawn_since_is_not_revived(self, town: Town, after: Clock) -> None:
        medium = pack(town, "second", f"{MODEL}@2")
        withdraw(town, 2)
        after(100)
        refused = town.origin.type("trust", "restamp", medium, ends=253)
        assert f"{MODEL}@2 was withdrawn since" in refused.output
        fresh = pack(town, "third")
        assert "withdrawn" in import_(town, fresh)

    def test_an_old_paper_brings_nothing_back_that_was_withdrawn(self, town: Town, after: Clock) -> None:
        """The courier keeps the paper, and comes again after the withdrawal."""
        medium = pack(town, "second", f"{MODEL}@2")
        after(60)
        paper = town.folder / "fresh.json"
        town.origin.type("trust", "restamp", medium, "--out", paper)
        withdraw(town, 2)
        import_(town, pack(town, "third"))
        after(100)
        assert "A later bundle was here first" in import_(town, medium, "--timestamp", paper)
        town.promote(2, "team", ends=89)
        assert "withdrawn" in town.site.type("gate", f"{MODEL}@2", "--tier", "team", ends=89).output

    def test_it_cannot_be_asked_for_longer_than_the_signatures_under_it_hold(
        self, town: Town, after: Clock
    ) -> None:
        medium = pack(town, "second", f"{MODEL}@2")
        refused = town.origin.type("trust", "restamp", medium, "--days", "300", ends=253)
        assert "its site-clinic holds until" in refused.output
        after(181)
        town.origin.type("trust", "restamp", medium, ends=253)

    def test_the_medium_of_somebody_else_is_looked_at_for_its_number_only(self, town: Town) -> None:
        medium = pack(town, "second", f"{MODEL}@2")
        [bundle] = [path.parent for path in medium.rglob("volume.json")]
        (bundle / "trust/timestamp.json").write_bytes(b"{}")
        file = town.folder / "fresh.json"
        town.origin.type("trust", "restamp", medium, "--out", file)
        assert b'"_type":"timestamp"' in file.read_bytes()

    def test_only_an_origin_makes_one(self, town: Town) -> None:
        town.site.type("trust", "restamp", town.medium, ends=105)


class TestKeysThatChangedMeanwhile:
    """Each change is a ceremony; every bundle carries the whole chain of roots."""

    def change(self, town: Town, name: str, *words: object, signers: tuple[Path, ...]) -> None:
        folder = town.folder / name
        town.origin.type("trust", "rotate", folder, *words)
        for key in signers:
            town.origin.type("trust", "sign", folder, "--key", key)
        town.origin.type("trust", "publish", folder)

    def key(self, town: Town, name: str) -> Path:
        file = town.folder / f"{name}.pem"
        town.origin.type("keys", "create", file)
        return file

    def root_keyid(self, town: Town) -> str:
        return str(town.origin.ask("trust", "show")["origin"]["roles"]["root"]["keys"][0])

    def three_changes(self, town: Town) -> Path:
        """All officers' keys, the station's, all officers' again. Returns the key that signs now."""
        [first] = sorted((town.origin.home / "keys").glob("officer*.pem"))
        second, third = self.key(town, "second"), self.key(town, "third")
        swap = f"{self.root_keyid(town)}={second.with_suffix('.pub.json')}"
        self.change(town, "one", "--replace", swap, signers=(first, second))
        self.change(town, "two", "--replace-station", signers=(second,))
        swap = f"{self.root_keyid(town)}={third.with_suffix('.pub.json')}"
        self.change(town, "three", "--replace", swap, signers=(second, third))
        return third

    def test_a_site_that_slept_through_three_of_them_catches_up_from_one_medium(self, town: Town) -> None:
        key = self.three_changes(town)
        medium = pack(town, "later", f"{MODEL}@2", "--key", key)
        import_(town, medium)
        assert 4 == town.site.ask("bundles", "inspect", medium)["root_version"]
        town.site.type("audit", "verify")

    def test_and_takes_nothing_more_by_the_keys_of_before(self, town: Town) -> None:
        old = making.copy(town, town.folder / "thief")  # somebody copied the whole origin, and waits
        key = self.three_changes(town)
        import_(town, pack(town, "later", "--key", key))
        forged = pack(old, "forged", f"{MODEL}@1")
        import_(town, forged, ends=12)

    def test_a_bundle_of_before_is_not_restamped_and_is_taken_in_late(self, town: Town) -> None:
        medium = pack(town, "second", f"{MODEL}@2")
        key = self.three_changes(town)
        refused = town.origin.type("trust", "restamp", medium, ends=253)
        assert "new root was signed" in refused.output
        import_(town, pack(town, "later", "--key", key))
        assert "A later bundle was here first" in import_(town, medium)


class TestASiteThatLostItsMemory:
    """docs/decisions/0023."""

    def lose(self, town: Town) -> None:
        """The home is gone. The administrator makes a new one, enrolled with the same root."""
        shutil.rmtree(town.site.home)
        town.site.type("init", "clinic", "--role", "site", "--profile", "officers")
        root = town.folder / "root.json"
        fingerprint = town.origin.ask("trust", "root", root)["fingerprint"]
        town.site.type("trust", "enrol", root, "--fingerprint", fingerprint)

    def test_old_media_do_not_begin_it_again(self, town: Town) -> None:
        town.origin.type("bundles", "acknowledge", town.receipt)
        second = pack(town, "second", f"{MODEL}@2", "--self-contained")
        self.lose(town)
        refused = town.site.type("bundles", "import", second, ends=254)
        assert "tidegate bundles create --baseline" in refused.output

    def test_the_origin_lets_it_begin(self, town: Town) -> None:
        town.origin.type("bundles", "acknowledge", town.receipt)
        self.lose(town)
        anew = pack(town, "anew", f"{MODEL}@2", "--baseline")
        text = import_(town, anew)
        assert f"{MODEL}@2" in text
        assert "never arrived here: number 1" in text

    def test_a_new_identity_is_enough(self, town: Town) -> None:
        town.origin.type("bundles", "acknowledge", town.receipt)
        self.lose(town)
        identity = town.folder / "clinic-anew.json"
        town.site.type("trust", "identity", identity)
        town.origin.type("sites", "add", "clinic", "--identity", identity)
        import_(town, pack(town, "anew", f"{MODEL}@2", "--self-contained"))
