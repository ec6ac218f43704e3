"""A rollout is killed at every boundary, and every step fails once: what serves is always an engine that was proven."""

import contextlib
import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.rollout import journal as journals
from pipelines.rollout.journal import SERVED, TURNED_BACK, Journal
from pipelines.rollout.plan import Do, Plan, Step, Strategy, back, plan
from pipelines.rollout.refusals import JournalDamaged, StepFailed, WayBackBlocked
from pipelines.rollout.walk import walk

PLANS = {
    f"{strategy}, {'from ' + old if old else 'the first'}": plan(strategy, old=old, smoke=True)
    for strategy, old in itertools.product(Strategy, ("blue", None))
}
every_plan = pytest.mark.parametrize("made", PLANS.values(), ids=PLANS)


@pytest.fixture(autouse=True, scope="module")
def quick_disk() -> Iterator[list[int]]:
    """A disk that is done at once, and counts: thousands of walks, and none of them is about the disk."""
    counted: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", counted.append)
        yield counted


class Killed(BaseException):
    """The power went."""


@dataclass
class World:
    """Two slots and a gate. Complains at once when a request could meet an engine that is not proven."""

    old: str | None
    running: set[str] = field(default_factory=set)
    proven: set[str] = field(default_factory=set)
    gate: str | None = None
    drained: set[str] = field(default_factory=set)
    fails: frozenset[tuple[str, str]] = frozenset()
    killed_after: int = -1  # acts and lines of the journal
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.old:
            self.running, self.proven, self.gate = {self.old}, {self.old}, self.old

    def tick(self) -> None:
        self.killed_after -= 1
        if self.killed_after == -1:
            raise Killed

    def do(self, step: Step, way: str) -> str:
        self.tick()
        self.said.append(f"{way} {step.name}")
        if (way, step.name) in self.fails:
            raise StepFailed("as arranged")
        self._act(step)
        self.tick()
        return "done"

    def _act(self, step: Step) -> None:
        slot = step.slot
        match step.do:
            case Do.CLEAR:
                assert slot != self.gate
                self.running.discard(slot)
            case Do.START:
                if slot not in self.running:
                    self.proven.discard(slot)
                self.running.add(slot)
            case Do.READY | Do.IDENTITY:
                assert slot in self.running
                self.proven.add(slot)
            case Do.SWITCH:
                assert slot in self.running & self.proven, "requests would meet an engine that is not proven"
                self.gate = slot
                self.drained.discard(slot)
            case Do.CLOSE:
                self.gate = None
            case Do.FRONT | Do.STILL:
                assert self.gate == slot
            case Do.DRAIN:
                assert self.gate != slot
                self.drained.add(slot)
            case Do.STOP:
                assert self.gate != slot, "an engine that serves is not stopped"
                self.running.discard(slot)
                self.proven.discard(slot)

    def boot(self) -> None:
        """The whole machine was started anew: no engine runs."""
        self.running, self.proven = set(), set()


class TickingJournal(Journal):
    """Dies before or after a line is on disk."""

    world: World

    def _write(self, value: dict[str, object]) -> None:
        self.world.tick()
        super()._write(value)
        self.world.tick()


def begin(folder: Path, world: World) -> Journal:
    made = journals.create(folder, "team--m", {"tier": "team"}, salt="00000a")
    journal = TickingJournal(made.path, made.header)
    journal.world = world
    return journal


def go(made: Plan, journal: Journal, world: World) -> str:
    return walk(made, journal, world, tier="team", model="n/m")


def again(made: Plan, journal: Journal, world: World) -> str:
    """The same command once more: the journal is read from disk."""
    found = journals.reopen(journal.path)
    assert found is not None
    if found.end is not None:
        return found.end
    found.take_up("ines")
    return go(made, found, world)


def served_well(made: Plan, world: World) -> None:
    assert (made.new, {made.new}) == (world.gate, world.running)


def as_before(made: Plan, world: World) -> None:
    assert world.gate == made.old
    assert world.running == ({made.old} if made.old else set())


@every_plan
def test_each_step_needs_only_steps_before_it_and_no_two_share_a_name(made: Plan) -> None:
    before: set[str] = set()
    for step in made.steps:
        assert before.issuperset(step.needs)
        assert step.name not in before
        before.add(step.name)


@every_plan
def test_a_walk_that_nothing_disturbs_ends_with_the_new_one_alone(made: Plan, tmp_path: Path) -> None:
    world = World(made.old)
    assert SERVED == go(made, begin(tmp_path, world), world)
    served_well(made, world)
    assert made.old is None or made.old in world.drained


@every_plan
def test_whatever_step_fails_the_old_one_serves(made: Plan, tmp_path: Path) -> None:
    for number, step in enumerate(made.steps):
        world = World(made.old, fails=frozenset({("forth", step.name)}))
        outcome = go(made, begin(tmp_path / str(number), world), world)
        if step.keeps:
            assert (SERVED, made.new) == (outcome, world.gate), step.name
        else:
            assert TURNED_BACK == outcome, step.name
            as_before(made, world)


@every_plan
def test_killed_at_every_boundary_the_same_command_goes_on(made: Plan, tmp_path: Path) -> None:
    number = 0
    for number in itertools.count():
        world = World(made.old, killed_after=number)
        journal = begin(tmp_path / str(number), world)
        try:
            go(made, journal, world)
            break
        except Killed:
            pass
        assert SERVED == again(made, journal, world)
        served_well(made, world)
    assert number > 3 * len(made.steps), "every act and both sides of every line were tried"


@every_plan
def test_killed_on_the_way_back_too_it_walks_back(made: Plan, tmp_path: Path) -> None:
    failing = [step for step in made.steps if not step.keeps][-1]
    for number in itertools.count():
        world = World(made.old, fails=frozenset({("forth", failing.name)}), killed_after=number)
        journal = begin(tmp_path / str(number), world)
        try:
            go(made, journal, world)
            break
        except Killed:
            pass
        assert TURNED_BACK == again(made, journal, world)
        as_before(made, world)


@every_plan
def test_a_machine_that_was_started_anew_proves_the_engine_again_before_it_serves(
    made: Plan, tmp_path: Path
) -> None:
    """Done before the crash is not true after it: the journal is believed about what was asked, not about what runs."""
    for number in itertools.count():
        world = World(made.old, killed_after=number)
        journal = begin(tmp_path / str(number), world)
        try:
            go(made, journal, world)
            break
        except Killed:
            world.boot()
        over = journals.reopen(journal.path)
        if over is not None and over.end is not None:
            continue  # the next command asks the engine that serves, and finds none
        assert SERVED == again(made, journal, world)
        assert (made.new, True) == (world.gate, made.new in world.proven)


@every_plan
def test_a_way_back_that_is_blocked_says_where_and_goes_on_from_there(made: Plan, tmp_path: Path) -> None:
    last = [step for step in made.steps if not step.keeps][-1]
    for number, undo in enumerate(back(made.steps, {step.name for step in made.steps if not step.keeps})):
        fails = frozenset({("forth", last.name), ("back", undo.name)})
        world = World(made.old, fails=fails)
        journal = begin(tmp_path / str(number), world)
        with pytest.raises(WayBackBlocked) as refusal:
            go(made, journal, world)
        assert undo.name == refusal.value.step
        world.fails = frozenset()
        assert TURNED_BACK == again(made, journal, world)
        as_before(made, world)


@given(
    made=st.sampled_from(list(PLANS.values())),
    kills=st.lists(st.integers(0, 60), max_size=4),
    fails=st.sets(st.tuples(st.just("forth"), st.sampled_from([str(do) for do in Do])), max_size=2),
    boots=st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_killed_and_failing_in_any_order_it_ends_and_nobody_meets_an_unproven_engine(
    tmp_path_factory: pytest.TempPathFactory,
    made: Plan,
    kills: list[int],
    fails: set[tuple[str, str]],
    boots: bool,
) -> None:
    failing = frozenset((way, f"{do} {slot}") for way, do in fails for slot in ("blue", "green"))
    world = World(made.old, fails=failing)
    journal: Journal | None = None
    folder, outcome = tmp_path_factory.mktemp("walk"), ""
    for kill in [*kills, -1]:
        world.killed_after = kill
        try:
            if journal is None:
                journal = begin(folder, world)
                outcome = go(made, journal, world)
            else:
                outcome = again(made, journal, world)
        except Killed:
            if boots:
                world.boot()
            continue
        break
    assert outcome in (SERVED, TURNED_BACK)
    assert world.gate == (made.new if outcome == SERVED else made.old)
    assert boots or world.gate is None or world.gate in world.running


def test_a_line_that_a_crash_cut_off_is_cut_away_and_any_other_damage_is_refused(tmp_path: Path) -> None:
    made = PLANS["blue-green, from blue"]
    journal = journals.create(tmp_path, "team--m", {"tier": "team"}, salt="00000a")
    journal.begin(made.steps[0], journals.FORTH)
    whole = journal.path.read_bytes()
    for length in range(len(whole)):
        journal.path.write_bytes(whole[:length])
        found = journals.reopen(journal.path)
        if b"\n" not in whole[:length]:
            assert found is None
            assert not journal.path.exists()
        else:
            assert found is not None
            assert journal.path.read_bytes() == whole[: whole[:length].rfind(b"\n") + 1]
    journal.path.write_bytes(whole.replace(b'"begun"', b"begun"))
    with pytest.raises(JournalDamaged):
        journals.reopen(journal.path)


@given(st.binary(max_size=300))
def test_hostile_journals_raise_only_our_error(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("j") / "team--m--0001-00000a.jsonl"
    path.write_bytes(data)
    with contextlib.suppress(JournalDamaged):
        journals.reopen(path)


def test_journals_are_numbered_and_the_newest_is_found_by_its_number(tmp_path: Path) -> None:
    for salt in ("00000f", "00000a", "00000c"):
        journals.create(tmp_path, "team--m", {}, salt=salt)
    journals.create(tmp_path, "team--m--longer", {}, salt="00000b")
    newest = journals.latest(tmp_path, "team--m")
    assert newest is not None
    assert "team--m--0003-00000c.jsonl" == newest.name
