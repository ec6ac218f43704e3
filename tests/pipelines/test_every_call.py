"""Killed, full or failing at any call that changes a file, every command leaves a home that the next try finishes.

The stories are an export, the imports, a repair and a division anew; what can happen to them stands in
`tests.faults`. By default every second line of the product that changes a file meets one of the faults
the first time it is reached, and the stories take turns; `TIDEGATE_EXHAUSTIVE=1` tries every fault at every call (hours).
"""

import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from pprint import pformat

import pytest

from pipelines.bundle import crew, ingest, packer, quarantine, rebuilding
from pipelines.bundle.errors import OutputUnusable, PartlyImported, VolumeMissing
from registry.audit import compare
from registry.home import Home
from registry.manifests import decode
from signing.durable import sync_directory
from tests import world as homes
from tests.faults import KILLED, endured, faults_of
from tests.pipelines.compact_world import compact_world, in_volumes, quick_folder, small_everything
from tests.pipelines.gap import NOON, World, model_files, state_of, stored_files

EXHAUSTIVE = bool(os.environ.get("TIDEGATE_EXHAUSTIVE"))
# How a full disk is said. An `OSError` comes with its traceback here; the command line says it in words.
FULL = ("SpaceShort", "StoreUnusable", "OutputUnusable", "Traceback")
REFS = ("acme/tiny@2", "acme/other@1")


@dataclass
class Story:
    """A command, the world it begins in, and how the world looks after it."""

    start: World
    run: Callable[[World], object]
    ended: Callable[[World], object]  # has to be the same, whatever happened on the way
    turn: int = 0  # with which fault to begin

    def points(self, room: Path) -> list[tuple[str, int]]:
        """Which fault at which call."""
        tried = self.start.copied(room / "recorded")
        done = endured(lambda: self.run(tried), room / "layer")
        assert 0 == done.code, done.said
        if EXHAUSTIVE:
            return [(fault, at) for at, step in enumerate(done.steps, start=1) for fault in faults_of(step)]
        points = []
        for number, kind in enumerate(dict.fromkeys(done.steps), start=self.turn):
            if (
                number % 2
            ):  # the other half meets a fault in a story that shares these lines and has another turn
                faults = faults_of(kind)
                points.append((faults[number // 2 % len(faults)], done.steps.index(kind) + 1))
        return points


@pytest.fixture(scope="module", autouse=True)
def _in_one_order() -> Iterator[None]:
    """One thread at a time, so that the n-th call is the same call whenever it is counted."""
    with pytest.MonkeyPatch.context() as patched:
        small_everything(patched)
        for module in (ingest, packer, quarantine):
            patched.setattr(module, "LANES", 1)
        for module in (crew, ingest, packer):
            patched.setattr(module, "crew_size", lambda: 1)
        patched.setattr(rebuilding, "threads", lambda: 1)
        yield


@dataclass
class Stage:
    """The worlds that the stories begin in."""

    base: Path
    unpacked: World
    packed: World
    volumes: list[Path]  # the last one holds parity
    whole: dict[str, object]  # the site after an undisturbed import


@pytest.fixture(scope="module")
def stage(_in_one_order: None) -> Iterator[Stage]:
    with quick_folder() as base, pytest.MonkeyPatch.context() as patched:
        (base / "tmp").mkdir()
        patched.setattr(tempfile, "tempdir", str(base / "tmp"))  # who is killed leaves something there
        unpacked = compact_world(base / "unpacked")
        unpacked.add("acme/other", {**model_files(5, 600), "config.json": b'{"model_type": "llama"}'})
        packed = unpacked.copied(base / "packed")
        volumes = in_volumes(packed, *REFS, out="medium", parity=1)
        reference = packed.copied(base / "reference")
        reference.receive(*volumes)
        yield Stage(base, unpacked, packed, volumes, state_of(reference.site))


# -- what has to be true at any time -----------------------------------------------------------------------


def demand_sound(home: Home) -> None:
    """Every blob is what its name says; every visible version is whole; every row is in the log."""
    for path in (home.blobs.root / "blobs" / "sha256").iterdir():
        assert path.name == hashlib.sha256(path.read_bytes()).hexdigest()
    with homes.at_work(home, actor="auditor", now=NOON) as work, work.store.view() as view:
        for version in view.versions():
            for entry in decode(version.manifest.encode()).files:
                assert work.blobs.has(entry.sha256)
        assert not compare(view.events(), dict(view.recorded()))


def endure(story: Story, stage: Stage) -> None:
    """Every chosen fault, then the same command again."""
    room = Path(tempfile.mkdtemp(dir=stage.base))
    undisturbed = story.start.copied(room / "undisturbed")
    story.run(undisturbed)
    wanted = story.ended(undisturbed)
    for fault, at in story.points(room):
        tried = story.start.copied(room / f"{fault}-{at}")
        ending = endured(lambda: story.run(tried), room / "layer", fault=fault, at=at)  # noqa: B023 - runs here
        happened = f"{fault} at call {at}: {ending.said} {ending.steps[at - 1 : at]}"
        assert ending.code in ((-9,) if fault in KILLED else (0, 3)), happened
        assert fault != "full" or not ending.code or ending.said.startswith(FULL), happened
        for home in (tried.origin, tried.site):
            demand_sound(home)
        tried.now += timedelta(hours=1)
        story.run(tried)
        for home in (tried.origin, tried.site):
            demand_sound(home)
        seen = story.ended(tried)
        assert wanted == seen, f"{happened}\n{apart(wanted, seen)}"
        shutil.rmtree(tried.base)
    shutil.rmtree(room)


def apart(wanted: object, seen: object) -> list[str]:
    """What one has and the other has not."""
    left, right = (set(pformat(one, width=60).split("\n")) for one in (wanted, seen))
    return [f"- {line}" for line in sorted(left - right)] + [f"+ {line}" for line in sorted(right - left)]


# -- the layer itself --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "synced", "named", "left"),
    [
        ("cut", False, False, {}),
        ("cut", True, False, {}),  # the bytes are safe, and nothing leads to them
        ("cut", True, True, {"new": b"bytes"}),
        ("cut", False, True, {"new": b""}),
        ("zeros", False, False, {"new": bytes(5)}),
        ("zeros", True, False, {"new": b"bytes"}),
        ("kill", False, False, {"new": b"bytes"}),
    ],
)
def test_the_layer_forgets_what_was_not_made_durable(
    tmp_path: Path, fault: str, synced: bool, named: bool, left: dict[str, bytes]
) -> None:
    place = tmp_path / "place"
    place.mkdir()

    def write() -> None:
        with (place / "old").open("xb") as stream:
            stream.write(b"bytes")
            stream.flush()
            if synced:
                os.fsync(stream.fileno())
        (place / "old").rename(place / "new")
        if named:
            sync_directory(place)
        (place / "last").mkdir()

    steps = endured(write, tmp_path / "layer").steps
    shutil.rmtree(place)
    place.mkdir()
    assert -9 == endured(write, tmp_path / "layer", fault=fault, at=len(steps)).code
    assert left == {path.name: path.read_bytes() for path in place.iterdir()}


@pytest.mark.parametrize("forgotten", ["files", "folders"])
def test_an_import_that_made_nothing_durable_would_be_found_out(stage: Stage, forgotten: str) -> None:
    """The proof has teeth: without `fsync` a power cut after the commit loses what the commit promised."""
    tried = stage.packed.copied(stage.base / f"careless-{forgotten}")
    asked: Callable[[int], object] = os.fsync

    def careless(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode) != (forgotten == "folders"):
            asked(handle)

    def run(world: World) -> None:
        nonlocal asked
        asked = os.fsync
        os.fsync = careless  # type: ignore[assignment]
        world.receive(*stage.volumes[:-1])

    recorded = stage.packed.copied(stage.base / f"careful-{forgotten}")
    steps = endured(lambda: run(recorded), stage.base / "layer").steps
    at = next(n for n, step in enumerate(steps, start=1) if step.startswith("committed"))
    assert -9 == endured(lambda: run(tried), stage.base / "layer", fault="cut", at=at).code
    with pytest.raises(AssertionError):
        demand_sound(tried.site)


# -- the site ----------------------------------------------------------------------------------------------


def site_of(world: World) -> dict[str, object]:
    return state_of(world.site)


@pytest.mark.slow
def test_an_import(stage: Stage) -> None:
    story = Story(stage.packed, lambda world: world.receive(*stage.volumes[:-1]), site_of)
    endure(story, stage)


@pytest.mark.slow
def test_an_import_of_one_medium_after_the_other(stage: Stage) -> None:
    def one_by_one(world: World) -> None:
        for volume in stage.volumes[:-1]:
            with suppress(VolumeMissing, PartlyImported):
                world.receive(volume, collecting=True)

    def taken_in(world: World) -> object:
        """How many statements say so depends on what was whole when: a version is visible as soon as it is."""
        state = site_of(world)
        rows = state.pop("rows")
        assert isinstance(rows, dict)
        return state, {label: count for label, count in rows.items() if label != "statement"}

    endure(Story(stage.packed, one_by_one, taken_in, turn=1), stage)


@pytest.mark.slow
def test_an_import_that_rebuilds_a_lost_volume(stage: Stage) -> None:
    endure(Story(stage.packed, lambda world: world.receive(*stage.volumes[1:]), site_of, turn=2), stage)


@pytest.mark.slow
def test_an_import_that_finishes_what_an_earlier_one_left_open(stage: Stage) -> None:
    started = stage.packed.copied(stage.base / "started")
    bad = stage.base / "bad"
    copies = [Path(shutil.copytree(volume, bad / str(n))) for n, volume in enumerate(stage.volumes[:-1])]
    chunk = stored_files(copies[-1])[-1]
    chunk.write_bytes(bytes(chunk.stat().st_size))
    with pytest.raises(PartlyImported):
        started.receive(*copies)
    endure(Story(started, lambda world: world.receive(*stage.volumes[:-1]), site_of, turn=3), stage)


# -- the origin --------------------------------------------------------------------------------------------

# What does not tell of numbers: a number that was signed and never handed over stays used.
_LASTING = ("versions", "scans", "claims", "documents", "withdrawals", "unlogged", "blobs", "quarantine")


def lasting(home: Home) -> dict[str, object]:
    state = state_of(home)
    return {key: state[key] for key in _LASTING}


def places(world: World, make: Callable[[str], Sequence[Path]]) -> list[Path]:
    """Make it in the first place that is free: what was handed over in part before is not replaced."""
    for out in ("out", "elsewhere"):
        try:
            made = list(make(out))
        except OutputUnusable:
            if out == "elsewhere":
                raise
        else:
            assert not [place for place in (world.base / out).iterdir() if place.name.startswith(".")]
            return made
    raise AssertionError("one of them is the last")


@pytest.mark.slow
def test_an_export(stage: Stage) -> None:
    def export(world: World) -> list[Path]:
        return places(world, lambda out: in_volumes(world, *REFS, out=out, parity=1))

    def arrived(world: World) -> object:
        site = world.copied(world.base / "arrived")
        site.receive(*world_folders(world))
        return lasting(world.origin), lasting(site.site)

    endure(Story(stage.unpacked, export, arrived, turn=4), stage)


def world_folders(world: World) -> list[Path]:
    """The folders of the bundle that was packed last, wherever it was placed."""
    last = world.shipped[-1]
    return [folder / last.bundle for folder in last.folders]


@pytest.mark.slow
def test_a_division_for_other_media(stage: Stage) -> None:
    def divide(world: World) -> list[Path]:
        return places(world, lambda out: world.resplit(*stage.volumes, out=out, parity=1))

    def arrived(world: World) -> object:
        again = world.copied(world.base / "arrived")
        out = next(p for p in (world.base / "elsewhere", world.base / "out") if p.exists())
        again.receive(out)
        return site_of(again), lasting(world.origin)

    endure(Story(stage.packed, divide, arrived, turn=2), stage)


@pytest.mark.slow
def test_a_repair(stage: Stage) -> None:
    request = stage.packed.ask_for_repair(*stage.volumes[1:-1])

    def repair(world: World) -> list[Path]:
        return places(world, lambda out: world.repair(request, out=out))

    def arrived(world: World) -> object:
        again = world.copied(world.base / "arrived")
        out = next(p for p in (world.base / "elsewhere", world.base / "out") if p.exists())
        again.receive(*stage.volumes[1:-1], out)
        return site_of(again), lasting(world.origin)

    endure(Story(stage.packed, repair, arrived, turn=5), stage)
