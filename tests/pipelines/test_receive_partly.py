"""An item is visible as soon as its own closure is whole; the rest follows with the same command, in any order."""

import itertools
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from pipelines.bundle.errors import ChunksDamaged, ChunksMissing, NotReady, PartlyImported, VolumeMissing
from pipelines.receive import Imported, inspect
from pipelines.removed import demand_bytes
from registry.audit import EventKind, compare
from registry.entities import Withdrawal
from registry.names import Ref
from signing.errors import OperatorError
from tests.pipelines.gap import (
    World,
    make_world,
    model_files,
    small_chunks,
    state_of,
    stored_files,
)

REFS = ("acme/one@1", "acme/two@1", "acme/three@1")
GONE = "ab" * 32


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Three versions, each on a volume of its own but for the last, which takes two; and a withdrawal."""
    made = make_world(tmp_path_factory.mktemp("partly") / "world")
    for seed, (ref, size) in enumerate(zip(REFS, (60_000, 60_000, 120_000), strict=True), start=1):
        made.add(ref.partition("@")[0], model_files(seed, size))
    with made.at(made.origin) as work, work.store.change(actor="ines", now=work.now) as change:
        row = Withdrawal(version=GONE, reason="leaks secrets", since=change.now, actor="ines")
        change.record(EventKind.WITHDRAWN, GONE, row)
    with pytest.MonkeyPatch.context() as patched:
        small_chunks(patched, 20_000)
        for name, parity in (("plain", 0), ("parity", 1)):
            folders = made.volumes(*REFS, out=name, volume_bytes=ROOM, parity=parity)
            assert 4 + parity == len(folders)
    return made


ROOM = 205_000


@pytest.fixture
def gap(made: World, tmp_path: Path) -> World:
    return made.copied(tmp_path / "world")


@pytest.fixture
def volumes(made: World, tmp_path: Path) -> list[Path]:
    """The volumes of the plain bundle, where a test may damage them."""
    target = shutil.copytree(made.base / "plain", tmp_path / "media")
    return [next(volume.iterdir()) for volume in sorted(target.iterdir())]


def visible(gap: World) -> list[str]:
    return [f"{model}@{ordinal}" for model, ordinal, *_rest in state_of(gap.site)["versions"]]  # type: ignore[attr-defined]


def attempt(gap: World, folders: Sequence[Path], **options: object) -> Imported | OperatorError:
    try:
        return gap.receive(*folders, **options)
    except OperatorError as refusal:
        return refusal


def is_sound(gap: World) -> None:
    """Nothing that can be seen lacks a byte, and the log agrees with the tables."""
    with gap.at(gap.site) as work, work.store.view() as view:
        for version in view.versions():
            demand_bytes(work, view, version)
        for blob in work.blobs.held():
            work.blobs.verify(blob)
        assert [] == compare(view.events(), dict(view.recorded()))


def damage(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def test_what_is_whole_is_visible_and_the_rest_waits(gap: World, volumes: list[Path]) -> None:
    bad = stored_files(volumes[3])[0]
    good = bad.read_bytes()
    damage(bad)
    refusal = attempt(gap, volumes)
    assert isinstance(refusal, PartlyImported)
    assert (set(REFS[:2]), {REFS[2]}) == (set(refusal.visible), set(refusal.waiting))
    [problem] = refusal.problems
    assert isinstance(problem, ChunksDamaged)
    assert bad.name in str(refusal)
    assert set(REFS[:2]) == set(visible(gap))
    is_sound(gap)
    bad.write_bytes(good)
    done = gap.receive(volumes[3])
    assert (False, 3) == (done.already, len(done.versions))
    assert set(REFS) == set(visible(gap))
    assert [] == state_of(gap.site)["quarantine"]
    is_sound(gap)
    assert gap.receive(*volumes).already


def test_each_item_waits_for_itself_alone(gap: World, volumes: list[Path]) -> None:
    """A bad chunk on every volume but one."""
    for number in range(4):
        tried = gap.copied(gap.base / f"try-{number}")
        broken = [volume for index, volume in enumerate(volumes) if index != number]
        saved = {stored_files(volume)[0]: stored_files(volume)[0].read_bytes() for volume in broken}
        for path in saved:
            damage(path)
        refusal = attempt(tried, volumes)
        assert isinstance(refusal, PartlyImported if visible(tried) else OperatorError)
        assert len(visible(tried)) <= 1
        is_sound(tried)
        for path, data in saved.items():
            path.write_bytes(data)
        tried.receive(*broken, volumes[number])
        assert set(REFS) == set(visible(tried))


def test_the_receipt_is_written_when_all_is_here_and_names_all(gap: World, volumes: list[Path]) -> None:
    bad = stored_files(volumes[3])[0]
    good = bad.read_bytes()
    damage(bad)
    receipt = gap.base / "receipt.json"
    assert isinstance(attempt(gap, volumes, receipt_to=receipt), PartlyImported)
    assert not receipt.exists()
    bad.write_bytes(good)
    gap.arrive(*volumes)
    gap.ship(*REFS, out="again")
    assert 0 == gap.shipped[-1].carried


def test_withdrawals_win_even_when_nothing_else_is_whole(gap: World, volumes: list[Path]) -> None:
    """Every chunk of every volume is bad: no version comes in, and the withdrawn one may not serve any more."""
    for volume in volumes:
        for path in stored_files(volume):
            damage(path)
    refusal = attempt(gap, volumes)
    assert isinstance(refusal, PartlyImported)
    assert ((), REFS) == (refusal.visible, tuple(sorted(refusal.waiting, key=REFS.index)))
    state = state_of(gap.site)
    assert ([GONE], []) == (state["withdrawals"], state["versions"])
    with gap.at(gap.site) as work:
        assert not inspect(work, volumes).items[0].held


def test_a_withdrawal_that_is_known_is_no_reason_to_begin(gap: World, volumes: list[Path]) -> None:
    """The second time round it is no news: then a bundle of which nothing is whole changes nothing."""
    gap.receive(gap.ship(out="withdrawals only"))
    for volume in volumes:
        for path in stored_files(volume):
            damage(path)
    before = state_of(gap.site)
    assert isinstance(attempt(gap, volumes), ChunksDamaged)
    after = state_of(gap.site)
    assert {**before, "quarantine": after["quarantine"]} == after


@pytest.mark.parametrize("name", [pytest.param("plain", marks=pytest.mark.slow), "parity"])
def test_with_one_drive_the_media_come_in_every_order(made: World, tmp_path: Path, name: str) -> None:
    """Each medium once, whatever the order; in the end the same, whichever came first."""
    folders = sorted((made.base / name).iterdir())[:4]
    reference = made.copied(tmp_path / "reference")
    reference.receive(*folders)
    whole = settled(state_of(reference.site))
    orders = list(itertools.permutations(folders))
    for number, order in enumerate(orders[:: 1 if name == "plain" else 5]):
        tried = made.copied(tmp_path / f"try-{number}")
        seen: set[str] = set()
        for place, folder in enumerate(order, start=1):
            outcome = attempt(tried, [folder], collecting=True)
            assert seen <= set(visible(tried)), "nothing goes back"
            seen = set(visible(tried))
            if isinstance(outcome, Imported):
                break
            assert isinstance(outcome, VolumeMissing | PartlyImported)
            assert place < 4
        assert set(REFS) == seen
        assert whole == settled(state_of(tried.site))
        is_sound(tried)
        shutil.rmtree(tried.base)


def settled(state: dict[str, object]) -> dict[str, object]:
    """What several landings of one bundle leave alike: a landing signs a statement of its own."""
    return {key: value for key, value in state.items() if key not in ("rows", "versions")} | {
        "versions": sorted(state["versions"])  # type: ignore[call-overload]
    }


def test_collected_media_are_not_needed_again(gap: World, volumes: list[Path]) -> None:
    """What was copied from a medium is read from quarantine, also when the medium has rotted since."""
    for volume in volumes[:3]:
        outcome = attempt(gap, [volume], collecting=True)
        assert isinstance(outcome, VolumeMissing | PartlyImported)
        for path in stored_files(volume):
            damage(path)
    gap.receive(*volumes, collecting=True)
    assert set(REFS) == set(visible(gap))


def test_a_bad_chunk_on_a_collected_medium_is_asked_for_again(gap: World, volumes: list[Path]) -> None:
    bad = max(stored_files(volumes[0]), key=lambda path: path.stat().st_size)  # of the first version alone
    good = bad.read_bytes()
    damage(bad)
    outcome = [attempt(gap, [volume], collecting=True) for volume in volumes][-1]
    assert isinstance(outcome, VolumeMissing | PartlyImported)
    assert "volume 1 of 4" in str(outcome)
    assert REFS[2] in visible(gap)
    bad.write_bytes(good)
    gap.receive(volumes[0], collecting=True)
    assert set(REFS) == set(visible(gap))


def test_what_was_collected_and_rots_in_quarantine_is_noticed(gap: World, volumes: list[Path]) -> None:
    attempt(gap, [volumes[0]], collecting=True)
    attempt(gap, [volumes[1]], collecting=True)
    [room] = gap.site.quarantine.iterdir()
    kept = sorted(path for path in (room / "chunks").iterdir())
    for path in kept:
        damage(path)
    outcome = [attempt(gap, [volume], collecting=True) for volume in volumes][-1]
    if not isinstance(outcome, Imported):
        gap.receive(*volumes)
    assert set(REFS) == set(visible(gap))
    is_sound(gap)


def test_a_missing_volume_is_said_before_long_work(gap: World, volumes: list[Path]) -> None:
    """Without --collect nothing is copied while a medium can still be fetched from the car."""
    before = state_of(gap.site)
    refusal = attempt(gap, volumes[:3])
    assert isinstance(refusal, VolumeMissing)
    assert before == state_of(gap.site)
    stored_files(volumes[0])[0].unlink()
    both = attempt(gap, volumes[:3])
    assert isinstance(both, NotReady)
    assert {VolumeMissing, ChunksMissing} == {type(problem) for problem in both.problems}
    assert before == state_of(gap.site)


# Killed and late -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["first landing", "second landing"])
def test_a_crash_between_two_landings_loses_nothing(
    gap: World, volumes: list[Path], monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    bad = stored_files(volumes[3])[0]
    good = bad.read_bytes()
    damage(bad)
    if step == "second landing":
        attempt(gap, volumes)
        bad.write_bytes(good)
    before = visible(gap)

    def crash(*_args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("pipelines.bundle.landing.Landing.commit", crash)
        with pytest.raises(KeyboardInterrupt):
            gap.receive(*volumes)
    assert before == visible(gap)
    bad.write_bytes(good)
    gap.receive(*volumes)
    assert set(REFS) == set(visible(gap))
    is_sound(gap)


def test_a_medium_that_fails_while_it_is_read_is_named_and_the_rest_lands(
    gap: World, volumes: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = {path.stat().st_ino for path in stored_files(volumes[1])}
    real = os.preadv

    def failing(handle: int, buffers: list[memoryview], offset: int) -> int:
        if os.fstat(handle).st_ino in bad:
            raise OSError(5, "Input/output error")
        return real(handle, buffers, offset)

    with monkeypatch.context() as patched:
        patched.setattr(os, "preadv", failing)
        refusal = attempt(gap, volumes)
    assert isinstance(refusal, PartlyImported)
    assert 1 <= len(refusal.waiting) <= 2
    gap.receive(*volumes)
    assert set(REFS) == set(visible(gap))


def test_a_late_bundle_brings_what_the_newer_one_waits_for(gap: World, volumes: list[Path]) -> None:
    """Number 3 arrives in part, then number 1 whole: its files make the versions of both visible."""
    third = gap.ship(*REFS, out="third")
    for path in stored_files(next(third.iterdir())):
        damage(path)
    attempt(gap, [third])
    assert [] == visible(gap)
    late = gap.receive(*volumes)
    assert late.late
    assert set(REFS) == set(visible(gap))
    outcome = gap.receive(third)
    assert 0 == outcome.bytes, "everything that it carries is held"
    assert [] == state_of(gap.site)["quarantine"]
    is_sound(gap)


def test_two_bundles_arrive_in_part_and_are_finished_in_any_order(
    gap: World, volumes: list[Path], tmp_path: Path
) -> None:
    gap.add("acme/four", model_files(4, 60_000))
    fourth = next(gap.ship("acme/four@1", "acme/one@1", out="fourth").iterdir())
    spoiled = [stored_files(volumes[3])[0], max(stored_files(fourth), key=lambda path: path.stat().st_size)]
    good = {path: path.read_bytes() for path in spoiled}
    for number, order in enumerate(itertools.product(([volumes, [fourth]], [[fourth], volumes]), repeat=2)):
        tried = gap.copied(tmp_path / f"order-{number}")
        for path in spoiled:
            damage(path)
        for folders in order[0]:
            attempt(tried, folders)
        is_sound(tried)
        for path, data in good.items():
            path.write_bytes(data)
        for folders in order[1]:
            tried.receive(*folders)
        assert {*REFS, "acme/four@1"} == set(visible(tried))
        assert [] == state_of(tried.site)["quarantine"]
        is_sound(tried)


def test_a_late_bundle_never_brings_back_what_was_withdrawn(gap: World, volumes: list[Path]) -> None:
    """The withdrawal overtakes the version: it arrives, and may not serve."""
    with gap.at(gap.origin) as work, work.store.change(actor="ines", now=work.now) as change:
        digest = change.version(Ref("acme/one")).digest
        row = Withdrawal(version=digest, reason="licence recalled", since=change.now, actor="ines")
        change.record(EventKind.WITHDRAWN, digest, row)
    gap.receive(gap.ship(out="withdrawal"))
    assert gap.receive(*volumes).late
    with gap.at(gap.site) as work, work.store.view() as view:
        assert view.withdrawal(view.version(Ref("acme/one")).digest) is not None
