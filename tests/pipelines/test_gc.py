"""Freeing space: what nobody needs goes, what anybody may need stays, whatever happens meanwhile."""

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

import pytest

from pipelines.case import case
from pipelines.gc import Plan, collect, plan
from pipelines.intake.folder import add_folder
from pipelines.intake.record import rescan
from pipelines.materialise import Layout, hand_over
from pipelines.promote import promote, withdraw
from pipelines.rollback import roll_back
from pipelines.workplace import Workplace
from registry import reserve
from registry.audit import EventKind
from registry.entities import Pin, Version
from registry.errors import NotFound, StoreUnusable
from registry.home import Home, HomeBusy
from registry.keeping import BytesRemoved
from registry.manifests import decode
from registry.names import Ref
from tests import world
from tests.conftest import NOON
from tests.pipelines.gap import World, make_world, model_files, state_of
from tests.small_disk import fill, mounted
from tidegate.verifying import verify

MODEL = "acme/coder"


class Shelf:
    """A home with some versions of one model, and its tiers."""

    def __init__(self, work: Workplace) -> None:
        self.work = work
        self.versions: dict[int, Version] = {}

    def add(self, *seeds: int, size: int = 4096) -> None:
        for seed in seeds:
            folder = self.work.home.path.parent / f"source-{seed}"
            for path, data in model_files(seed, size).items():
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / path).write_bytes(data)
            version = add_folder(self.work, MODEL, folder).version
            self.versions[version.ordinal] = version

    def serve(self, tier: str, *ordinals: int) -> None:
        """Pin, whatever the gate would say."""
        for ordinal in ordinals:
            version = self.versions[ordinal]
            with self.work.store.change(actor="root", now=self.work.now) as change:
                history = change.pin_history(tier, MODEL)
                row = Pin(
                    tier=tier, model=MODEL, position=len(history) + 1, kind="promote", version=version.digest,
                    ordinal=ordinal, contract=None, profile=None, router=None, evidence="[]", reason="x",
                    since="2026-11-20T12:00:00Z", actor="root",
                )  # fmt: skip
                change.record(EventKind.PROMOTED, version.digest, row)

    def files(self, ordinal: int) -> dict[str, Path]:
        manifest = decode(self.versions[ordinal].manifest.encode())
        return {entry.path: self.work.blobs.path(entry.sha256) for entry in manifest.files}

    def whole(self) -> set[int]:
        """The versions of which every file is there and is what its name says."""
        return {
            ordinal
            for ordinal in self.versions
            if all(
                path.is_file() and sha256(path.read_bytes()).hexdigest() == path.name
                for path in self.files(ordinal).values()
            )
        }

    def indexed(self) -> list[str]:
        index = json.loads((self.work.blobs.root / "index.json").read_bytes())
        return [item["annotations"]["org.opencontainers.image.ref.name"] for item in index["manifests"]]

    def events(self) -> list[str]:
        with self.work.store.view() as view:
            return [view_event.subject for view_event in view.events(kind=EventKind.BYTES_REMOVED)]

    def removals(self) -> dict[str, str]:
        with self.work.store.view() as view:
            return {row.version: row.reason for row in view.removals()}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    """Version 1 was served, 2 never, 3 is served, 4 may follow. Made once: every test has a copy."""
    place = tmp_path_factory.mktemp("shelf") / "home"
    home = world.new_home(place, name="harbour", roles=("origin", "site"), now=NOON)
    with world.at_work(home, actor="ines", now=NOON) as work:
        made = Shelf(work)
        made.add(1, 2, 3, 4)
        made.serve("team", 1, 3)
    return made


@pytest.fixture
def shelf(built: Shelf, tmp_path: Path) -> Iterator[Shelf]:
    place = tmp_path / "home"
    shutil.copytree(built.work.home.path, place)
    home = replace(built.work.home, path=place, database=f"sqlite:///{place / 'registry.db'}")
    with world.at_work(home, actor="ines", now=NOON) as work:
        yield at(built, work)


def at(shelf: Shelf, work: Workplace) -> Shelf:
    """The same versions, looked at by somebody else."""
    other = Shelf(work)
    other.versions = dict(shelf.versions)
    return other


def everything(home: Home) -> dict[str, tuple[int, int]]:
    """Each file of a home with its size and time of change; the database's side files and locks come and go."""
    return {
        str(path.relative_to(home.path)): (path.lstat().st_size, path.lstat().st_mtime_ns)
        for path in sorted(home.path.rglob("*"))
        if not path.is_dir() and not path.name.endswith(("-wal", "-shm", ".lock"))
    }


def test_what_was_never_served_and_is_passed_by_goes_and_the_log_says_so(shelf: Shelf) -> None:
    own = sum(shelf.files(2)[path].stat().st_size for path in ("model.safetensors", "tokenizer.json"))
    done = collect(shelf.work)
    assert {1, 3, 4} == shelf.whole()
    assert own == done.bytes
    assert [f"{MODEL}@2"] == [item.version.ref for item in done.versions.removable]
    assert {shelf.versions[2].digest: "superseded: never served, and older than what team serves"} == (
        shelf.removals()
    )
    assert [f"{MODEL}:1", f"{MODEL}:3", f"{MODEL}:4"] == shelf.indexed()
    assert [] == verify(shelf.work.store, shelf.work.home)


def test_files_that_versions_share_stay_with_the_ones_that_stay(shelf: Shelf) -> None:
    shared = shelf.files(2)["LICENSE"]
    assert shared == shelf.files(3)["LICENSE"]
    collect(shelf.work)
    assert shared.exists()
    assert not shelf.files(2)["model.safetensors"].exists()


def test_a_second_time_nothing_happens(shelf: Shelf) -> None:
    collect(shelf.work)
    before, events = everything(shelf.work.home), shelf.events()
    again = collect(shelf.work)
    assert (0, (), events) == (again.bytes, again.versions.removable, shelf.events())
    assert before == everything(shelf.work.home)


def test_a_plan_says_the_same_and_touches_nothing(shelf: Shelf) -> None:
    (shelf.work.blobs.tmp / "999999-dead").write_bytes(b"half")
    before = everything(shelf.work.home)
    said = plan(shelf.work)
    assert before == everything(shelf.work.home)
    assert said == collect(shelf.work)


def test_a_withdrawn_version_goes_and_the_way_back_still_leads_past_it(shelf: Shelf) -> None:
    shelf.serve("team", 4)
    withdraw(shelf.work, Ref(MODEL, ordinal=3), reason="leaks")
    collect(shelf.work)
    assert {1, 4} == shelf.whole()
    assert 1 == roll_back(shelf.work, MODEL, "team", reason="x").pin.ordinal


class TestAVersionWithoutBytes:
    @pytest.fixture
    def without(self, shelf: Shelf) -> Shelf:
        collect(shelf.work)
        return shelf

    def test_is_neither_handed_over_nor_promoted_nor_scanned(self, without: Shelf, tmp_path: Path) -> None:
        ref = Ref(MODEL, ordinal=2)
        attempts: list[Callable[[], object]] = [
            lambda: hand_over(without.work, str(ref), tmp_path / "out", layout=Layout.PLAIN),
            lambda: promote(without.work, ref, "team", reason="x"),
            lambda: rescan(without.work, ref),
        ]
        for attempt in attempts:
            with pytest.raises(BytesRemoved, match=f"{MODEL}@2 were removed here by ines on 2026") as refusal:
                attempt()
            assert 46 == refusal.value.exit_code
        assert not (tmp_path / "out").exists()

    def test_is_a_version_like_any_other_once_the_bytes_are_back(
        self, without: Shelf, tmp_path: Path
    ) -> None:
        without.add(2)
        assert {1, 2, 3, 4} == without.whole()
        assert f"{MODEL}:2" in without.indexed()
        hand_over(without.work, f"{MODEL}@2", tmp_path / "out", layout=Layout.PLAIN)
        with without.work.store.view() as view:
            assert case(without.work, view, Ref(MODEL, ordinal=2), "team").version.ordinal == 2

    def test_can_be_removed_again(self, without: Shelf) -> None:
        without.add(2)
        collect(without.work)
        assert {1, 3, 4} == without.whole()
        assert 2 == len(without.events())


# -- rubbish ------------------------------------------------------------------------------------------------


def test_what_crashes_left_behind_goes(shelf: Shelf) -> None:
    home, blobs = shelf.work.home, shelf.work.blobs
    orphan = blobs.put(b"its command died before the transaction")
    left = [
        blobs.tmp / "4711-0123456789abcdef",
        blobs.root / ".index.json.0123456789ab",
        home.quarantine / "add-x1" / "0",
        home.path / ".partial-harbour-lab-20261120-01" / "volume-01" / "chunks",
    ]
    for path in left:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
    done = collect(shelf.work)
    assert not any(path.exists() for path in [*left, blobs.path(orphan), left[2].parent, left[3].parents[1]])
    assert {1, 3, 4} == shelf.whole()
    assert {
        "a blob that nothing names",
        "files of an intake that died",
        "half-written when its command died",
    } == {item.what for item in done.rubbish}


def test_links_and_strangers_in_the_store_are_left_alone(shelf: Shelf, tmp_path: Path) -> None:
    """Somebody has put a link where a blob's name would be: neither it nor what it leads to is touched."""
    blobs = shelf.work.blobs
    treasure = tmp_path / "treasure"
    treasure.write_bytes(b"mine")
    folder = blobs.path("a" * 64)
    folder.mkdir()
    link, stranger = blobs.path("b" * 64), blobs.path("notes.txt")
    link.symlink_to(treasure)
    stranger.write_text("remember")
    (blobs.tmp / "link").symlink_to(tmp_path)
    (shelf.work.home.quarantine / "add-link").symlink_to(tmp_path)
    collect(shelf.work)
    assert b"mine" == treasure.read_bytes()
    assert folder.is_dir()
    assert link.is_symlink()
    assert stranger.exists()
    assert not (blobs.tmp / "link").is_symlink()


def test_a_blob_that_was_exchanged_for_a_link_is_not_followed(shelf: Shelf, tmp_path: Path) -> None:
    weights = shelf.files(2)["model.safetensors"]
    treasure = weights.rename(tmp_path / "treasure")
    weights.symlink_to(treasure)
    collect(shelf.work)
    assert treasure.exists()


class TestQuarantine:
    @pytest.fixture
    def room(self, shelf: Shelf) -> Path:
        place = shelf.work.home.quarantine / ("c" * 64)
        place.mkdir()
        (place / f"{'d' * 64}.partial").write_bytes(b"so far")
        return place

    def test_what_has_not_wholly_arrived_stays_with_the_blobs_it_may_have_named(
        self, shelf: Shelf, room: Path
    ) -> None:
        orphan = shelf.work.blobs.put(b"named a moment before the import died")
        done = collect(shelf.work)
        assert [("c" * 64, 6)] == [(item.name, item.bytes) for item in done.waiting]
        assert room.exists()
        assert shelf.work.blobs.has(orphan)

    def test_it_goes_only_when_a_person_gives_it_up_and_that_is_recorded(
        self, shelf: Shelf, room: Path
    ) -> None:
        orphan = shelf.work.blobs.put(b"named a moment before the import died")
        collect(shelf.work, discard=["c" * 8])
        assert not room.exists()
        assert not shelf.work.blobs.has(orphan)
        assert "c" * 64 in shelf.events()
        assert [] == verify(shelf.work.store, shelf.work.home)

    def test_a_name_that_is_not_one_of_them_removes_nothing(self, shelf: Shelf, room: Path) -> None:
        before = everything(shelf.work.home)
        for name in ("", "c", "ccccccc", "d" * 8, "..", "../keys", "/", "add-x"):
            with pytest.raises(NotFound):
                collect(shelf.work, discard=[name])
        assert before == everything(shelf.work.home)

    def test_of_two_that_begin_alike_neither_goes(self, shelf: Shelf, room: Path) -> None:
        twin = room.with_name("c" * 63 + "d")
        twin.mkdir()
        with pytest.raises(NotFound):
            collect(shelf.work, discard=["c" * 60])
        collect(shelf.work, discard=[twin.name])
        assert (True, False) == (room.exists(), twin.exists())

    def test_a_download_stays_until_it_is_a_version(self, shelf: Shelf) -> None:
        place = shelf.work.home.quarantine / f"fetch-{'e' * 40}"
        place.mkdir()
        (place / "0").write_bytes(b"half a model")
        assert [place.name] == [room.name for room in collect(shelf.work).waiting]
        assert place.exists()


# -- others at work -----------------------------------------------------------------------------------------


def test_while_others_use_the_store_nothing_is_removed(shelf: Shelf) -> None:
    before = everything(shelf.work.home)
    for work in ("import", "export", "add", "fetch"):
        with shelf.work.home.busy(work):
            with pytest.raises(HomeBusy, match="at work on the blob store"):
                collect(shelf.work)
            said = plan(shelf.work)
        assert (True, ()) == (said.in_use, said.rubbish)
    assert before == everything(shelf.work.home)
    collect(shelf.work)
    assert {1, 3, 4} == shelf.whole()


def test_while_it_removes_nobody_begins(shelf: Shelf, tmp_path: Path) -> None:
    with shelf.work.home.store_alone():
        for attempt in (
            lambda: collect(shelf.work),
            lambda: shelf.add(5),
            lambda: hand_over(shelf.work, f"{MODEL}@3", tmp_path / "out", layout=Layout.PLAIN),
            lambda: promote(shelf.work, Ref(MODEL, ordinal=4), "team", reason="x"),
        ):
            with pytest.raises(HomeBusy):
                attempt()
        assert 1 == roll_back(shelf.work, MODEL, "team", reason="in a hurry").pin.ordinal
    shelf.add(5)


# -- killed -------------------------------------------------------------------------------------------------

STEPS = ("unlink", "rmdir", "rename", "fsync")


def collect_in_child(shelf: Shelf, *, dies_at: int) -> int:
    """Collect in a process of its own that dies just before its n-th change to the disk; returns how it ended."""
    child = os.fork()
    if child == 0:
        left = [dies_at]

        def wrap(real: Callable[..., object]) -> Callable[..., object]:
            def step(*args: object, **kwargs: object) -> object:
                left[0] -= 1
                if left[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(*args, **kwargs)

            return step

        for name in STEPS:
            setattr(os, name, wrap(getattr(os, name)))
        with world.at_work(shelf.work.home, actor="ines", now=NOON) as work:
            collect(work)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_killed_at_each_step_the_next_run_finishes(shelf: Shelf, tmp_path: Path) -> None:
    shelf.add(5)
    withdraw(shelf.work, Ref(MODEL, ordinal=5), reason="leaks")
    (shelf.work.blobs.tmp / "4711-dead").write_bytes(b"half")
    room = shelf.work.home.quarantine / "add-dead"
    room.mkdir()
    (room / "0").write_bytes(b"half")
    shelf.work.store.close()
    kept = tmp_path / "kept"
    shutil.copytree(shelf.work.home.path, kept)
    killed = 0
    for number in range(1, 100):
        shutil.rmtree(shelf.work.home.path)
        shutil.copytree(kept, shelf.work.home.path)
        code = collect_in_child(shelf, dies_at=number)
        assert {1, 3, 4} <= shelf.whole()
        with world.at_work(shelf.work.home, actor="ines", now=NOON + timedelta(hours=1)) as work:
            collect(work)
            after = at(shelf, work)
            assert {1, 3, 4} == after.whole()
            assert {f"{MODEL}:1", f"{MODEL}:3", f"{MODEL}:4"} == set(after.indexed())
            assert {shelf.versions[n].digest for n in (2, 5)} == after.removals().keys()
            assert ([], []) == (list(work.blobs.tmp.iterdir()), list(work.home.quarantine.iterdir()))
            assert [] == verify(work.store, work.home)
        if code == 0:
            break
        killed += 1
        assert -signal.SIGKILL == code
    assert killed >= 8


# -- across the gap -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def built_gap(tmp_path_factory: pytest.TempPathFactory) -> World:
    made = make_world(tmp_path_factory.mktemp("gap") / "world")
    made.add("acme/tiny", model_files(1))
    made.add("acme/tiny", model_files(2))
    return made


@pytest.fixture
def gap(built_gap: World, tmp_path: Path) -> World:
    return built_gap.copied(tmp_path / "world")


def removable(home: Home, gap: World) -> list[str]:
    with gap.at(home) as work:
        return [item.version.ref for item in plan(work).versions.removable]


def reasons(found: Plan) -> dict[str, tuple[str, ...]]:
    return {kept.version.ref: kept.reasons for kept in found.versions.kept}


def withdraw_at(gap: World, home: Home, ordinal: int) -> None:
    with gap.at(home) as work:
        withdraw(work, Ref("acme/tiny", ordinal=ordinal), reason="leaks")


def test_an_origin_keeps_what_it_sent_until_the_site_says_that_it_has_it(gap: World, tmp_path: Path) -> None:
    medium = gap.ship("acme/tiny@1")
    withdraw_at(gap, gap.origin, 1)
    assert [] == removable(gap.origin, gap)
    gap.receive(medium, receipt_to=tmp_path / "receipt.json")
    assert [] == removable(gap.origin, gap)
    gap.acknowledge(tmp_path / "receipt.json")
    assert ["acme/tiny@1"] == removable(gap.origin, gap)


def test_an_origin_keeps_what_the_next_delta_will_build_on(gap: World, tmp_path: Path) -> None:
    gap.receive(gap.ship("acme/tiny@1"), receipt_to=tmp_path / "receipt.json")
    gap.acknowledge(tmp_path / "receipt.json")
    with gap.at(gap.origin) as work:
        assert "the next delta for lab builds on it" in reasons(plan(work))["acme/tiny@1"]
        assert "the next delta for lab builds on it" not in reasons(plan(work))["acme/tiny@2"]


def test_a_version_whose_bytes_went_is_not_shipped(gap: World) -> None:
    withdraw_at(gap, gap.origin, 1)
    with gap.at(gap.origin) as work:
        collect(work)
    with pytest.raises(BytesRemoved, match="acme/tiny@1"):
        gap.ship("acme/tiny@1")
    gap.ship("acme/tiny@2")


def test_the_bundle_that_brought_a_version_brings_its_bytes_again(gap: World) -> None:
    medium = gap.ship("acme/tiny@1", "acme/tiny@2")
    gap.receive(medium)
    whole = state_of(gap.site)
    withdraw_at(gap, gap.site, 1)
    with gap.at(gap.site) as work:
        collect(work)
    assert whole["blobs"] != state_of(gap.site)["blobs"]
    assert gap.receive(medium).already
    assert whole["blobs"] == state_of(gap.site)["blobs"]
    with gap.at(gap.site) as work, work.store.view() as view:
        assert [] == [
            entry.path
            for version in view.versions()
            for entry in decode(version.manifest.encode()).files
            if not work.blobs.has(entry.sha256)
        ]


def test_the_room_of_a_bundle_that_is_taken_in_goes_but_not_while_it_brings_something_back(
    gap: World,
) -> None:
    medium = gap.ship("acme/tiny@1")
    done = gap.receive(medium)
    room = gap.site.quarantine / done.digest
    room.mkdir()
    with gap.at(gap.site) as work:
        with work.store.view() as view:
            files = decode(view.versions()[0].manifest.encode()).files
        lost = work.blobs.path(files[0].sha256)
        aside = lost.rename(gap.base / "aside")
        collect(work)
        assert room.exists()
        aside.rename(lost)
        collect(work)
        assert not room.exists()


# -- a full disk --------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "disk", megabytes=24) as place:
        yield place


@pytest.fixture
def full(small_disk: Path) -> Shelf:
    """A home on a disk without a free byte; its database is closed."""
    home = world.new_home(small_disk / "home", name="harbour", roles=("origin", "site"), now=NOON)
    with world.at_work(home, actor="ines", now=NOON) as work:
        shelf = Shelf(work)
        shelf.add(1, 2, 3, size=3 << 20)
        shelf.serve("team", 1, 3)
    fill(small_disk)
    return shelf


def test_on_a_full_disk_it_frees_space_all_the_same(full: Shelf) -> None:
    home = full.work.home
    with reserve.lent(home.path), world.at_work(home, actor="ines", now=NOON) as work:
        said = plan(work)
    assert (home.path / reserve.NAME).exists()
    with reserve.lent(home.path), world.at_work(home, actor="ines", now=NOON) as work:
        assert said == collect(work)
    with world.at_work(home, actor="ines", now=NOON) as work:
        shelf = at(full, work)
        assert {1, 3} == shelf.whole()
        assert [shelf.versions[2].digest] == shelf.events()
        assert [] == verify(work.store, work.home)
    assert shutil.disk_usage(home.path).free > 2 << 20
    assert reserve.SIZE == (home.path / reserve.NAME).stat().st_size


def test_without_the_reserve_a_full_disk_answers_nothing(full: Shelf) -> None:
    """What the reserve is for; and that nothing is lost when there is none."""
    home = full.work.home
    with world.at_work(home, actor="ines", now=NOON) as work, pytest.raises(StoreUnusable):
        collect(work)
    assert {1, 2, 3} == full.whole()
