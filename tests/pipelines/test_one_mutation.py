"""One thing about a medium is another than it was packed: it is refused, and nothing of it is visible at the site.

Every file meets some kinds of change, and all of them with `TIDEGATE_EXHAUSTIVE=1`; what is a matter of chance (which
file, which bit, how long) is drawn. The bundle has no parity, so that nothing can be done without. What a file system may
say otherwise about a good file, its mode and its times, changes nothing.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from signing.errors import OperatorError
from tests.pipelines.compact_world import quick_folder
from tests.pipelines.gap import World, make_world, model_files, state_of
from tests.pipelines.test_people_ride import publish

pytestmark = pytest.mark.property
Number = Callable[[int], int]  # one of chance, below this one
STRANGERS = (
    ".github/x", ".github/workflows/run.yml", ".git/config", ".gitattributes", ".gitignore", ".DS_Store", "Thumbs.db",
    "__pycache__/x.pyc", "model.sig", "a b", "x",
)  # fmt: skip
EXHAUSTIVE = bool(os.environ.get("TIDEGATE_EXHAUSTIVE"))
EMPTY_FOLDERS = (".github", ".git", "empty", "chunks2", "a/b/c")


@dataclass
class Scene:
    """A packed bundle and the site that it is for."""

    world: World
    bundle: Path
    files: list[str]
    folders: list[str]
    before: dict[str, object]
    after: dict[str, object]

    @contextmanager
    def tried(self) -> Iterator[tuple[World, Path]]:
        """A copy of both, for the time of a block."""
        place = self.world.base.parent / "tried"
        world = self.world.copied(place)
        try:
            yield world, Path(shutil.copytree(self.bundle, place / "bundle"))
        finally:
            shutil.rmtree(place)

    def demand_refused(self, change: Callable[[Path], object]) -> None:
        with self.tried() as (world, bundle):
            change(bundle)
            with pytest.raises(OperatorError):
                world.receive(bundle)
            # What was good may wait in quarantine for the next try: it is in no store, and no command shows it.
            assert self.before == {**state_of(world.site), "quarantine": []}


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    """A bundle with a history, a list of people, heads of the log, and a version."""
    with quick_folder() as base:
        yield made(base)


def made(base: Path) -> Scene:
    world = make_world(base / "world")
    world.add("acme/tiny", model_files(size=600))
    publish(world, 1)
    world.arrive(world.ship(out="first"))
    world.ship("acme/tiny")
    bundle = world.base / "medium" / world.shipped[-1].bundle
    whole = world.copied(base / "whole")
    whole.receive(bundle)
    entries = sorted(path for path in bundle.rglob("*"))
    files = [path.relative_to(bundle).as_posix() for path in entries if path.is_file()]
    folders = [".", *(path.relative_to(bundle).as_posix() for path in entries if path.is_dir())]
    return Scene(world, bundle, files, folders, state_of(world.site), state_of(whole.site))


# -- what can become of one file ---------------------------------------------------------------------------


def flipped(path: Path, number: Number) -> None:
    data = bytearray(path.read_bytes())
    data[number(len(data))] ^= 1 << number(8)
    path.write_bytes(data)


def cut(path: Path, number: Number) -> None:
    os.truncate(path, number(path.stat().st_size))


def longer(path: Path, number: Number) -> None:
    path.write_bytes(path.read_bytes() + bytes([number(256)]) * (1 + number(3)))


def gone(path: Path, _number: Number) -> None:
    path.unlink()


def renamed(path: Path, number: Number) -> None:
    at = number(len(path.name))
    other = "x" if path.name[at] != "x" else "y"
    path.rename(path.with_name(path.name[:at] + other + path.name[at + 1 :]))


def moved_up(path: Path, _number: Number) -> None:
    path.rename(path.parent.parent / path.name)


def linked(path: Path, _number: Number) -> None:
    """The very same bytes, somewhere else: by the time somebody looks again they are others."""
    outside = next(parent for parent in path.parents if parent.name == "tried") / "outside"
    shutil.move(path, outside)
    path.symlink_to(outside)


def made_a_folder(path: Path, _number: Number) -> None:
    path.unlink()
    path.mkdir()


def made_a_pipe(path: Path, _number: Number) -> None:
    path.unlink()
    os.mkfifo(path)


def doubled(path: Path, _number: Number) -> None:
    shutil.copyfile(path, path.with_name(f"{path.name}~"))


CHANGES = (
    flipped, cut, longer, gone, renamed, moved_up, linked, made_a_folder, made_a_pipe, doubled,
)  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_every_file_meets_every_change(scene: Scene, change: Callable[[Path, Number], None]) -> None:
    """One file after the other, each with its own place of the change."""
    turn = CHANGES.index(change)
    for at, name in enumerate(scene.files):
        if EXHAUSTIVE or at % 5 == turn % 5:
            scene.demand_refused(lambda bundle: change(bundle / name, lambda below: at * 37 % below))  # noqa: B023 - runs here


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_single_change_is_taken_in(scene: Scene, data: st.DataObject) -> None:
    change = data.draw(st.sampled_from(CHANGES))
    name = data.draw(st.sampled_from(scene.files))

    def number(below: int) -> int:
        return data.draw(st.integers(0, below - 1))

    scene.demand_refused(lambda bundle: change(bundle / name, number))


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_two_files_change_places(scene: Scene, data: st.DataObject) -> None:
    one, other = data.draw(st.lists(st.sampled_from(scene.files), min_size=2, max_size=2, unique=True))

    def exchange(bundle: Path) -> None:
        (bundle / one).rename(bundle / "aside")
        (bundle / other).rename(bundle / one)
        (bundle / "aside").rename(bundle / other)

    scene.demand_refused(exchange)


@pytest.mark.parametrize("stranger", STRANGERS)
def test_a_stranger_is_let_in_nowhere(scene: Scene, stranger: str) -> None:
    """Also under the names that tools for models and sources pass over."""
    for folder in scene.folders[STRANGERS.index(stranger) % 9 :: 9]:

        def leave(bundle: Path, folder: str = folder) -> None:
            place = bundle / folder / stranger
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(b"x")

        scene.demand_refused(leave)


@pytest.mark.parametrize("name", EMPTY_FOLDERS)
def test_an_empty_folder_is_a_stranger_too(scene: Scene, name: str) -> None:
    for folder in scene.folders[EMPTY_FOLDERS.index(name) % 9 :: 9]:
        scene.demand_refused(lambda bundle: (bundle / folder / name).mkdir(parents=True))  # noqa: B023 - runs here


def marked_executable(path: Path) -> None:
    path.chmod(0o4777)


def marked_read_only(path: Path) -> None:
    path.chmod(0o400)


def dated_back(path: Path) -> None:
    os.utime(path, (0, 0))


@pytest.mark.parametrize(
    "change", [marked_executable, marked_read_only, dated_back], ids=lambda change: change.__name__
)
def test_what_only_the_file_system_says_changes_nothing(scene: Scene, change: Callable[[Path], None]) -> None:
    """Media keep modes and times as they can. None of it comes in: what is in the store is readable and no program."""
    with scene.tried() as (world, bundle):
        for path in bundle.rglob("*"):
            if path.is_file():
                change(path)
        world.receive(bundle)
        assert scene.after == state_of(world.site)
        blobs = world.site.blobs.root / "blobs" / "sha256"
        assert {0o444} == {path.stat().st_mode & 0o7777 for path in blobs.iterdir()}
