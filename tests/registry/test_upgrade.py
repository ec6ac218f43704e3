"""What was before goes on working: homes as an older release left them, brought here by `tidegate upgrade`.

The homes are frozen (`tests/homes/README.md`), so every later release meets exactly what that one wrote.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select

from registry.audit import EventKind
from registry.entities import Person, Tile
from registry.errors import NotFound, PeopleUnsigned, PolicyUnsigned, StoreUnusable
from registry.home import HomeBusy, load
from tests import second_reader, world
from tests.cli import Prompt
from tests.conftest import new_database
from tests.old_homes import MODEL, OldTown, at_their_time, killed_at, move, unpack
from tests.small_disk import fill, mounted
from tests.tidegate.town import new_ssh_key, tree
from tidegate.errors import DoctorFoundProblems, HomeOlder


@pytest.fixture(scope="module")
def frozen(tmp_path_factory: pytest.TempPathFactory) -> OldTown:
    return unpack(tmp_path_factory.mktemp("old") / "homes")


@pytest.fixture
def old(frozen: OldTown, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OldTown]:
    """Homes that nobody has upgraded."""
    with at_their_time(monkeypatch):
        yield OldTown(Path(shutil.copytree(frozen.folder, tmp_path / "homes", symlinks=True)))


@pytest.fixture
def town(old: OldTown) -> OldTown:
    """The same homes, upgraded."""
    old.upgrade()
    return old


def facts(town: OldTown) -> dict[str, Any]:
    """What the old release itself said of its site."""
    found: dict[str, Any] = json.loads((town.folder / "facts.json").read_text())
    return found


class TestUpgrade:
    def test_nothing_else_works_before_and_nothing_is_touched(self, old: OldTown) -> None:
        before = tree(old.folder)
        for words in (["pins"], ["models", "list"], ["people", "list"], ["audit", "verify"]):
            refused = old.site.ask_refused(*words, ends=HomeOlder.exit_code)
            assert "tidegate upgrade" in refused["next_step"]
        looked = old.site.ask("doctor", ends=DoctorFoundProblems.exit_code)
        assert ["tidegate upgrade" in check["next_step"] for check in looked if not check["ok"]] == [True]
        assert {"found": "0003", "upgraded": False}.items() <= old.site.ask("upgrade", "--plan").items()
        assert before == tree(old.folder)

    @pytest.mark.parametrize("where", ["sqlite", "postgresql"])
    def test_what_was_said_before_is_said_after(
        self, old: OldTown, where: str, request: pytest.FixtureRequest
    ) -> None:
        if where == "postgresql":
            move(old.site.home, new_database(request.getfixturevalue("postgres_server")))
        said = old.site.ask("upgrade")
        assert ("0003", True) == (said["found"], said["upgraded"])
        then, site = facts(old), old.site
        assert then["pins"] == [{name: pin[name] for name in then["pins"][0]} for pin in site.ask("pins")]
        for words, name in ((["pins", "--history"], "history"), (["decisions", "list"], "decisions")):
            assert _known(then[name], site.ask(*words))
        assert _known(then["people"], site.ask("people", "list"))
        assert _known(then["explain"], site.ask("audit", "explain", f"{MODEL}@2"))
        assert then["head"]["size"] + 1 == site.ask("audit", "head")["size"]
        [last] = site.ask("audit", "log", "--last", 1)
        assert (EventKind.UPGRADED, "ines", {"from": "0003", "to": said["wanted"]}) == (
            last["kind"], last["actor"], last["note"],
        )  # fmt: skip
        site.type("audit", "verify", "--every-signature")
        _goes_on(old)

    def test_a_second_time_changes_nothing(self, town: OldTown) -> None:
        size = town.site.ask("audit", "head")["size"]
        assert not town.site.ask("upgrade")["upgraded"]
        assert "of this release already" in town.site.type("upgrade").output
        assert size == town.site.ask("audit", "head")["size"]

    def test_a_long_log_gets_its_tiles(self, town: OldTown) -> None:
        with world.at_work(load(town.desk.home), actor="dora", now=_now()) as work, work.store.view() as view:
            assert [(0, 0)] == [(tile.level, tile.index) for tile in view.session.exec(select(Tile))]
        proof = town.folder / "event-3.tlog-proof"
        town.desk.type("audit", "prove", 3, "--out", proof)
        town.desk.type("audit", "check-proof", proof)
        town.desk.type("audit", "verify")

    def test_while_others_work_in_the_home_it_is_refused(self, old: OldTown) -> None:
        with load(old.site.home).busy("import"):
            old.site.type("upgrade", ends=HomeBusy.exit_code)
        old.site.type("upgrade")

    @pytest.mark.parametrize("damage", ["gone", "newer"])
    def test_what_this_release_does_not_know_is_left_as_it_is(self, old: OldTown, damage: str) -> None:
        import sqlite3
        from contextlib import closing

        file = old.site.home / "registry.db"
        if damage == "gone":
            file.unlink()
        else:
            with closing(sqlite3.connect(file)) as database, database:
                database.execute("UPDATE alembic_version SET version_num = '9999'")
        before = tree(old.site.home)
        old.site.type("upgrade", ends=StoreUnusable.exit_code)
        assert before == tree(old.site.home)


class TestCutShort:
    @pytest.mark.parametrize("where", ["sqlite", "postgresql"])
    def test_killed_at_any_moment_the_same_command_finishes(
        self, old: OldTown, where: str, request: pytest.FixtureRequest
    ) -> None:
        home = old.desk
        if where == "postgresql":
            move(home.home, new_database(request.getfixturevalue("postgres_server")))
        died = 0
        while killed_at(3 + 5 * died, lambda: home.type("upgrade")):
            died += 1
            assert {"found": "0003"}.items() <= home.ask("upgrade", "--plan").items()
        assert died > 4
        assert not home.ask("upgrade")["upgraded"]  # the last one lived
        home.type("audit", "verify", "--every-signature")

    def test_on_a_full_disk_nothing_happens_and_with_space_it_does(
        self, old: OldTown, tmp_path: Path
    ) -> None:
        with mounted(tmp_path / "small", megabytes=24) as disk:
            home = Prompt(Path(shutil.copytree(old.desk.home, disk / "desk", symlinks=True)), "dora")
            (home.home / ".reserve").unlink(missing_ok=True)
            fill(disk)
            refused = home.ask_refused("upgrade", ends=StoreUnusable.exit_code)
            assert "full" in refused["message"]
            (disk / "ballast").unlink()
            assert {"found": "0003"}.items() <= home.ask("upgrade", "--plan").items()
            assert home.ask("upgrade")["upgraded"]
            home.type("audit", "verify")


class TestWhatGoesOn:
    def test_an_approval_that_was_given_before_counts(self, town: OldTown) -> None:
        """alice signed for org before the upgrade; bob signs after it, in the format of today."""
        words = [f"{MODEL}@2", "--tier", "org"]
        town.site.as_("bob").type("approve", *words, *town.signs("bob"))
        town.site.as_("bob").type("promote", *words)
        decided = town.site.ask("audit", "decided", "org", MODEL)
        assert {"alice", "bob"} <= set(_values(decided, "person"))
        town.site.type("rollback", MODEL, "--tier", "org", "--reason", "back again")
        assert {"org": 1, "team": 2} == {pin["tier"]: pin["ordinal"] for pin in town.site.ask("pins")}
        town.site.type("audit", "verify")

    def test_who_could_sign_can_sign_and_that_nobody_signed_for_them_is_told(self, town: OldTown) -> None:
        listed = town.site.type("people", "list").stdout
        assert 4 == listed.count("nobody (before signatures)")
        new_ssh_key(town.folder / "dave.key")
        words = ["people", "add", "dave", "--public-key", town.folder / "dave.pub"]
        town.site.type(*words, ends=PeopleUnsigned.exit_code)
        town.site.type(*words, *town.signs("alice"))
        town.site.type("people", "confirm", "dave", *town.signs("bob"))
        active = {person["name"] for person in town.site.ask("people", "list") if person["active"]}
        assert {"alice", "bob", "dave", "rita"} == active
        assert "4 may sign" in town.site.type("doctor").output

    def test_nobody_slips_in_as_one_of_before(self, town: OldTown) -> None:
        """An administrator with the database and the station's key writes a row as the old release did."""
        new_ssh_key(town.folder / "mallory.key")
        line = (town.folder / "mallory.pub").read_text().strip()
        row = Person(
            name="mallory", position=1, public_key=line, roles="steward", active=True,
            since="2026-11-20T14:05:00Z", actor="ines",
        )  # fmt: skip
        with (
            world.at_work(load(town.site.home), actor="ines", now=_now()) as work,
            work.store.change(actor="ines", now=_now()) as change,
        ):
            change.record(EventKind.PERSON_SET, "mallory", row)
        assert "mallory" in town.site.type("doctor", ends=DoctorFoundProblems.exit_code).output
        words = [f"{MODEL}@2", "--tier", "org", *town.signs("mallory")]
        town.site.as_("mallory").type("approve", *words, ends=NotFound.exit_code)

    def test_what_was_on_its_way_arrives(self, town: OldTown) -> None:
        """A bundle with the courier, a repair that was asked for, a receipt that nobody had read."""
        folder = town.folder
        town.origin.type("bundles", "acknowledge", folder / "receipt-2.json")
        came = town.site.ask("bundles", "import", folder / "bundle-4", "--receipt", folder / "receipt-4.json")
        assert ["demo/other@1"] == [f"{one['model']}@{one['ordinal']}" for one in came["versions"]]
        town.origin.type("bundles", "repair", folder / "repair-request.json", "--out", folder / "answer")
        town.site.type("bundles", "import", folder / "answer", folder / "bundle-3-damaged")
        for number in (3, 4):
            receipt = folder / f"new-{number}.json"
            town.site.type("receipts", "write", number, "--out", receipt)
            town.origin.type("bundles", "acknowledge", receipt)
        [clinic] = town.origin.ask("receipts", "status")["sites"]
        assert {"ACKNOWLEDGED"} == {bundle["state"] for bundle in clinic["bundles"]}

    def test_the_logs_begin_to_watch_each_other(self, town: OldTown) -> None:
        for number in (5, 6):
            medium, receipt = town.folder / f"bundle-{number}", town.folder / f"receipt-{number}.json"
            town.origin.type("bundles", "create", "demo/other@1", "--to", "clinic", "--out", medium)
            town.site.type("bundles", "import", medium, "--receipt", receipt)
            town.origin.type("bundles", "acknowledge", receipt)
        assert "harbour cosigned our first" in town.site.type("audit", "witnesses").output
        assert "clinic cosigned our first" in town.origin.type("audit", "witnesses").output
        for prompt in (town.site, town.origin):
            prompt.type("audit", "verify")

    def test_a_weaker_policy_takes_as_many_as_approve(self, town: OldTown) -> None:

        file = town.folder / "weaker.toml"
        text = town.site.type("policy", "show").stdout
        file.write_text(text.replace("approvals = 2", "approvals = 1"))
        town.site.type("policy", "apply", file, *town.signs("alice"), ends=PolicyUnsigned.exit_code)
        town.site.type("policy", "apply", file, *town.signs("bob"))

    def test_an_auditors_own_program_reads_all_of_it(self, town: OldTown) -> None:
        out = town.folder / "audit"
        town.site.type("audit", "export", out)
        program = [sys.executable, "-E", "-s", str(second_reader.VERIFIER / "verify.py")]
        for words in (["audit", str(out)], ["promotion", str(out), "team", MODEL]):
            done = subprocess.run([*program, *words], capture_output=True, text=True, check=False)
            assert 0 == done.returncode, done.stdout + done.stderr

    def test_an_old_root_changes_a_key(self, town: OldTown) -> None:
        """Nobody's name stands in it; the key that comes has one."""
        keys, cer = town.origin.home / "keys", town.folder / "ceremony"
        town.origin.type("trust", "lint", town.folder / "root.json")
        town.origin.type("keys", "create", town.folder / "rosa.pem")
        first = town.origin.ask("trust", "show")["origin"]["roles"]["root"]["keys"][0]
        town.origin.type(
            "trust",
            "rotate",
            cer,
            "--replace",
            f"{first}={town.folder / 'rosa.pub.json'}",
            "--person",
            "rosa",
        )
        for number in (1, 2, 3):
            town.origin.type("trust", "sign", cer, "--key", keys / f"officer-root-{number}.pem")
        town.origin.type("trust", "sign", cer, "--key", town.folder / "rosa.pem")
        town.origin.type("trust", "publish", cer)
        medium = town.folder / "bundle-5"
        town.origin.type("bundles", "create", "demo/other@1", "--to", "clinic", "--out", medium)
        town.site.type("bundles", "import", medium)
        assert 2 == town.site.ask("trust", "show")["site"]["version"]


def _now() -> Any:
    from datetime import UTC, datetime

    return datetime(2026, 11, 21, 14, 0, tzinfo=UTC)


def _values(document: Any, name: str) -> Iterator[Any]:
    if isinstance(document, dict):
        if name in document:
            yield document[name]
        document = list(document.values())
    for one in document if isinstance(document, list) else ():
        yield from _values(one, name)


def _known(old: Any, new: Any) -> bool:
    """Whether the new release says all that the old one said; it may say more."""
    if isinstance(old, dict):
        return isinstance(new, dict) and all(name in new and _known(old[name], new[name]) for name in old)
    if isinstance(old, list):
        return isinstance(new, list) and len(old) == len(new) and all(map(_known, old, new))
    return bool(old == new)


def _goes_on(town: OldTown) -> None:
    words = [f"{MODEL}@2", "--tier", "org"]
    town.site.as_("bob").type("approve", *words, *town.signs("bob"))
    town.site.as_("bob").type("promote", *words)
    town.site.type("bundles", "import", town.folder / "bundle-4")
    town.site.type("audit", "verify")
