"""A bundle that waited for its officers is finished whole or not at all, however often the run is cut off."""

import os
import shutil
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from pipelines import answer, finishing, receipts, trust_changes
from pipelines.bundle import crew, packer
from pipelines.bundle.errors import VolumeTooSmall
from pipelines.drafting import Drafted
from pipelines.handover import Shipped
from pipelines.ship import Packing, draft_bundle
from pipelines.unsigned import UnsignedBundleRefused
from registry.audit import EventKind, compare
from registry.names import Ref
from signing import draft_folder, drafts
from signing.drafts import CeremonyUnusable
from tests.faults import KILLED, endured, faults_of
from tests.pipelines.gap import SITE, World, make_world, medium_of, model_files, small_chunks, weights

EXHAUSTIVE = bool(os.environ.get("TIDEGATE_EXHAUSTIVE"))
_EVERY = (
    4  # by default every so many lines that change a file meet one fault, the first time they are reached
)


@pytest.fixture(autouse=True)
def _in_one_order(monkeypatch: pytest.MonkeyPatch) -> None:
    small_chunks(monkeypatch, 4000)
    for module in (packer, finishing):
        monkeypatch.setattr(module, "LANES", 1)
    for module in (crew, packer):
        monkeypatch.setattr(module, "crew_size", lambda: 1)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> World:
    made = make_world(tmp_path_factory.mktemp("finish") / "world")
    made.add("acme/tiny", {**model_files(), "model.safetensors": weights(3, 12_000)})
    return made


@pytest.fixture
def gap(made: World, tmp_path: Path) -> World:
    return made.copied(tmp_path / "world")


def draft(gap: World, *refs: str, name: str = "ceremony", out: str = "medium", **packing: object) -> Drafted:
    with gap.at(gap.origin) as work:
        return draft_bundle(
            work,
            site=SITE,
            refs=[Ref.parse(ref) for ref in refs],
            out=gap.base / out,
            ceremony=gap.base / name,
            packing=Packing(**packing),  # type: ignore[arg-type]
        )


def publish(gap: World, name: str = "ceremony") -> None:
    folder = gap.base / name
    ceremony = draft_folder.read(folder)
    with gap.at(gap.origin) as work:
        for signer in gap.officer:
            if any(signer.public_key.keyid in count.keys for count in drafts.waiting(ceremony, [])):
                for one in drafts.sign(ceremony, signer, now=gap.now):
                    draft_folder.add_signature(folder, one)
        trust_changes.put_in_force(work, ceremony, draft_folder.signatures(folder))


def finish(gap: World, out: str = "medium") -> Shipped:
    with gap.at(gap.origin) as work:
        return finishing.finish(work, gap.base / out)


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def copied(gap: World, base: Path) -> World:
    """The homes and the medium, somewhere else."""
    there = gap.copied(base)
    for name in ("medium", "ceremony"):
        shutil.copytree(gap.base / name, base / name)
    return there


def points(steps: Sequence[str], *, turn: int) -> list[tuple[str, int]]:
    """Which fault at which call."""
    if EXHAUSTIVE:
        return [(fault, at) for at, step in enumerate(steps, start=1) for fault in faults_of(step)]
    lines = list(dict.fromkeys(steps))[turn::_EVERY]
    lines += [steps[-1]]
    chosen = ((faults_of(line), line, number) for number, line in enumerate(lines))
    return [(faults[number % len(faults)], steps.index(line) + 1) for faults, line, number in chosen]


@pytest.mark.parametrize("volumes", [1, 3])
def test_cut_off_at_any_call_the_same_command_finishes(gap: World, tmp_path: Path, volumes: int) -> None:
    if volumes == 1:
        draft(gap, "acme/tiny")
    else:
        refs = ("acme/tiny", "acme/wide")
        gap.add("acme/wide", {**model_files(), "model.safetensors": weights(5, 14_000)})
        with pytest.raises(VolumeTooSmall) as small:
            draft(gap, *refs, medium=medium_of(10_000), parity=1)
        draft(gap, *refs, medium=medium_of(small.value.least), parity=1)
    publish(gap)
    counted = copied(gap, tmp_path / "counted")
    undisturbed = endured(lambda: finish(counted), tmp_path / "layer")
    assert 0 == undisturbed.code, undisturbed.said
    wanted = visible(counted.base / "medium")
    assert volumes == len(wanted)
    for fault, at in points(undisturbed.steps, turn=volumes):
        tried = copied(gap, tmp_path / f"{fault}-{at}")
        ending = endured(lambda: finish(tried), tmp_path / "layer", fault=fault, at=at)  # noqa: B023 - runs here
        happened = f"{fault} at call {at}: {ending.said} {undisturbed.steps[at - 1]}"
        assert ending.code in ((-9,) if fault in KILLED else (0, 3)), happened
        tried.now += timedelta(hours=1)
        done = finish(tried)
        assert wanted == visible(tried.base / "medium"), happened
        with tried.at(tried.origin) as work, work.store.view() as view:
            assert [done.digest] == [row.digest for row in view.exports(SITE)], happened
            assert 1 == len(list(view.events(kind=EventKind.BUNDLE_MADE))), happened
            assert not compare(view.events(), dict(view.recorded()))
        assert all(one.outcome == "WHOLE" for one in tried.read_back(tried.base / "medium")), happened
        seen = tried.receive(tried.base / "medium")
        assert {"imported"} == {item.outcome for item in seen.versions}
        shutil.rmtree(tried.base)


def test_a_bundle_made_between_publication_and_finish_tells_of_the_same_log(gap: World) -> None:
    """The site may meet either first; the later one owes it a proof from the head in the earlier one."""
    draft(gap, "acme/tiny")
    publish(gap)
    later = gap.ship("acme/tiny", out="later")
    assert 2 == gap.shipped[-1].sequence
    finish(gap)
    for world, order in (("one", ("medium", "later")), ("two", ("later", "medium"))):
        tried = gap.copied(gap.base / world)
        for place in order:
            seen = tried.receive(gap.base / place).witnessed
            assert seen is None or seen.outcome in ("FIRST", "CONSISTENT"), (order, seen)
    assert later.exists()


def test_a_publication_that_was_cut_off_keeps_what_the_next_bundle_needs(gap: World) -> None:
    draft(gap, "acme/tiny")
    publish(gap)
    for path in ("releases/acme/tiny/1.json", f"exports/{SITE}/1.json"):
        (gap.origin.trust / path).unlink()
    publish(gap)
    finish(gap)
    gap.ship("acme/tiny", out="next", self_contained=True)
    gap.receive(gap.base / "medium")
    gap.receive(gap.base / "next")


def test_a_draft_says_what_is_wrong_before_it_packs(gap: World) -> None:
    (gap.base / "ceremony").mkdir()
    (gap.base / "ceremony" / "x").write_text("somebody's")
    with pytest.raises(CeremonyUnusable):
        draft(gap, "acme/tiny")
    assert not (gap.base / "medium").exists()
    draft(gap, "acme/tiny", name="first")
    with pytest.raises(Exception, match="waits there"):
        draft(gap, "acme/tiny", name="second")
    assert not (gap.base / "second").exists()


def test_what_the_site_lost_meanwhile_is_packed_again(gap: World) -> None:
    gap.arrive(gap.ship("acme/tiny", out="first"))
    tuned = {**model_files(), "model.safetensors": weights(3, 12_000), "tokenizer.json": b'{"v": 2}'}
    gap.add("acme/tiny", tuned)
    waits = draft(gap, "acme/tiny@2")
    with gap.at(gap.origin) as work:
        renewed = finishing.redraft(work, gap.base / "medium", gap.base / "again")
    assert 2 == renewed.sequence
    held = gap.site.path / "store" / "blobs" / "sha256"
    held.rename(gap.base / "lost")
    held.mkdir()
    with gap.at(gap.site) as work:
        with work.store.view() as view:
            said = answer.compose(work, view, answer.taken_in(view, None))
        (gap.base / "later.json").write_bytes(receipts.write(said, work))
    gap.acknowledge(gap.base / "later.json")
    with gap.at(gap.origin) as work, pytest.raises(UnsignedBundleRefused, match="pack it again"):
        finishing.redraft(work, renewed.hidden, gap.base / "third")
    assert waits.hidden == renewed.hidden
