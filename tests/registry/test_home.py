"""A home: where things are, what its settings may say, and its locks."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from registry import home as homes
from registry import reserve
from registry.errors import HomeUnusable, NameUnusable
from registry.home import Home, HomeBusy
from tests.small_disk import fill, mounted

GOOD = 'format = 1\nname = "clinic"\nroles = ["site"]\nprofile = "solo"\n'


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = homes.make(tmp_path / "clinic", name="clinic", roles=("site",), profile="solo")
    homes.write_settings(made)
    return made


def settings(tmp_path: Path, text: str) -> Path:
    (tmp_path / "tidegate.toml").write_text(text)
    return tmp_path


def test_a_home_is_read_as_it_was_made(home: Home) -> None:
    assert home == homes.load(home.path)
    assert (home.is_site, home.is_origin) == (True, False)
    assert 0o700 == stat.S_IMODE(home.keys.stat().st_mode)
    assert home.quarantine.stat().st_dev == home.blobs.root.stat().st_dev, "adopting a file is a rename"


def test_another_database_is_remembered(tmp_path: Path) -> None:
    url = "postgresql+psycopg://tidegate@db.internal/clinic"
    made = homes.make(
        tmp_path / "c", name="clinic", roles=("origin", "site"), profile="officers", database=url
    )
    homes.write_settings(made)
    assert made == homes.load(made.path)
    assert (url, True, True) == (made.database, made.is_site, made.is_origin)


def test_a_home_that_was_moved_finds_its_own_database(home: Home, tmp_path: Path) -> None:
    moved = home.path.rename(tmp_path / "elsewhere")
    assert f"sqlite:///{moved / 'registry.db'}" == homes.load(moved).database


def test_a_home_is_made_in_a_new_or_empty_folder_only(home: Home, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    for path, problem in ((home.path, "is a home already"), (tmp_path / "full", "is not empty")):
        before = sorted(path.rglob("*"))
        with pytest.raises(HomeUnusable, match=problem):
            homes.make(path, name="clinic", roles=("site",), profile="solo")
        assert before == sorted(path.rglob("*"))


def test_a_home_without_settings_is_not_one(tmp_path: Path) -> None:
    """The settings come last: what was interrupted before is no home."""
    homes.make(tmp_path / "half", name="clinic", roles=("site",), profile="solo")
    with pytest.raises(HomeUnusable, match="`tidegate init` makes one"):
        homes.load(tmp_path / "half")


def test_a_name_that_no_home_may_have(tmp_path: Path) -> None:
    with pytest.raises(NameUnusable):
        homes.make(tmp_path / "x", name="The Clinic", roles=("site",), profile="solo")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "format is None"),
        (GOOD.replace("1", "2"), "format is 2"),
        (GOOD.replace('["site"]', "[]"), "roles must be"),
        (GOOD.replace('["site"]', '["site", "king"]'), "roles must be"),
        (GOOD.replace('["site"]', '"site"'), "roles must be"),
        (GOOD.replace('["site"]', "[[1]]"), "roles must be"),
        (GOOD.replace('"solo"', '"duo"'), "profile must be"),
        (GOOD.replace('"solo"', "[1]"), "profile must be"),
        (GOOD.replace('"clinic"', "7"), "name must be"),
        (GOOD + "colour = 1\n", "unknown settings: colour"),
        (GOOD + "database = 7\n", "database must be"),
        (GOOD + "name = 'twice'\n", "cannot be read"),
        ("{", "cannot be read"),
        ("\x00", "cannot be read"),
        ("a = " + "[" * 50_000, "cannot be read"),
    ],
)
def test_settings_that_cannot_be_meant_are_named(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(HomeUnusable, match=problem):
        homes.load(settings(tmp_path, text))


def test_settings_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "tidegate.toml").write_bytes(b"name = '\xff'")
    with pytest.raises(HomeUnusable, match="cannot be read"):
        homes.load(tmp_path)
    (tmp_path / "tidegate.toml").unlink()
    (tmp_path / "tidegate.toml").mkdir()
    with pytest.raises(HomeUnusable, match="cannot be read"):
        homes.load(tmp_path)


def test_a_name_in_the_settings_keeps_the_rule_of_names(tmp_path: Path) -> None:
    with pytest.raises(NameUnusable):
        homes.load(settings(tmp_path, GOOD.replace("clinic", "../clinic")))


def test_two_imports_at_once_are_one_too_many(home: Home) -> None:
    with home.busy("import"):
        with pytest.raises(HomeBusy, match="at work on import"), home.busy("import"):
            pytest.fail("two at once")
        with home.busy("export"):
            pass  # other work goes on
    with home.busy("import"):
        pass


def test_a_lock_ends_with_the_process_that_held_it(home: Home) -> None:
    """Killed without a chance to clean up: the next command is not told to remove a lock file."""
    program = (
        "import sys, time; from pathlib import Path; from registry import home\n"
        "with home.load(Path(sys.argv[1])).busy('import'):\n    print('held', flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(home.path)], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    ) as child:
        assert child.stdout is not None
        assert b"held\n" == child.stdout.readline()
        with pytest.raises(HomeBusy), home.busy("import"):
            pytest.fail("the child holds it")
        child.kill()
        child.wait()
        with home.busy("import"):
            pass


def test_the_lock_file_is_nobody_elses(home: Home) -> None:
    umask = os.umask(0)
    try:
        with home.busy("import"):
            pass
    finally:
        os.umask(umask)
    assert 0o600 == stat.S_IMODE((home.path / ".import.lock").stat().st_mode)


def test_any_number_use_the_store_together_and_only_alone_is_anything_removed(home: Home) -> None:
    with home.using_store(), home.using_store(), home.busy("import"):
        assert home.store_in_use()
        with pytest.raises(HomeBusy, match="the blob store"), home.store_alone():
            pytest.fail("somebody reads it")
    assert not home.store_in_use()
    with home.store_alone():
        for attempt in (home.using_store(), home.busy("import"), home.store_alone()):
            with pytest.raises(HomeBusy), attempt:
                pytest.fail("somebody removes from it")


class TestReserve:
    def test_a_new_home_sets_space_aside(self, home: Home) -> None:
        facts = (home.path / reserve.NAME).stat()
        assert reserve.SIZE == facts.st_size
        assert facts.st_blocks * 512 >= reserve.SIZE, "really taken, not a hole"
        assert 0o600 == stat.S_IMODE(facts.st_mode)

    def test_while_there_is_space_it_is_not_touched(self, home: Home) -> None:
        before = (home.path / reserve.NAME).stat()
        with reserve.lent(home.path):
            assert before == (home.path / reserve.NAME).stat()
        assert reserve.set_aside(home.path)
        assert before == (home.path / reserve.NAME).stat()

    def test_on_a_full_disk_its_bytes_are_lent_and_taken_back(self, tmp_path: Path) -> None:
        with mounted(tmp_path / "disk", megabytes=2) as disk:
            assert reserve.set_aside(disk)
            fill(disk)
            with reserve.lent(disk):
                (disk / "log").write_bytes(b"x" * 4096)
                (disk / "log").unlink()
            assert (disk / reserve.NAME).exists()

    def test_what_the_work_used_up_is_not_half_taken_back(self, tmp_path: Path) -> None:
        with mounted(tmp_path / "disk", megabytes=2) as disk:
            reserve.set_aside(disk)
            fill(disk)
            with reserve.lent(disk):
                (disk / "log").write_bytes(b"x" * 4096)
            assert not (disk / reserve.NAME).exists()
            (disk / "ballast").unlink()
            assert reserve.set_aside(disk)

    def test_a_link_in_its_place_is_not_written_through(self, home: Home, tmp_path: Path) -> None:
        (home.path / reserve.NAME).unlink()
        (tmp_path / "mine").write_text("mine")
        (home.path / reserve.NAME).symlink_to(tmp_path / "mine")
        reserve.set_aside(home.path)
        assert "mine" == (tmp_path / "mine").read_text()
