"""A pin carried out, resumed, refused and walked back, with an engine and a proxy that do as they are told."""

import fcntl
import json
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import pytest

from pipelines.companions import add_companions
from pipelines.engines import probe, staged
from pipelines.engines.driver import NoDriver, driver_for
from pipelines.engines.launch import Drained, Launch, Slot
from pipelines.engines.probe import Readiness
from pipelines.engines.staged import Staged
from pipelines.materialise import Withdrawn
from pipelines.promote import withdraw
from pipelines.rollback import roll_back
from pipelines.rollout import front as fronts
from pipelines.rollout import hands as acting
from pipelines.rollout import journal as journals
from pipelines.rollout.carry import carry_out, preview
from pipelines.rollout.durations import durations
from pipelines.rollout.front import NginxFront
from pipelines.rollout.journal import Journal
from pipelines.rollout.refusals import (
    FrontUnclear,
    JournalDamaged,
    RolloutTurnedBack,
    RolloutUnderway,
    ServingMalformed,
    StepFailed,
    WayBackBlocked,
)
from pipelines.suites.identity import Served
from registry.entities import Rollout
from registry.errors import NotFound
from registry.home import Home
from registry.manifests import Manifest
from registry.names import Ref
from signing.digests import file_sha256
from tests.rollout_world import MODEL, Node, copied, home_with_two_versions


@dataclass
class Machine:
    """What runs in which slot, and what happens to whom."""

    running: dict[str, str] = field(default_factory=dict)  # slot -> digest of the version
    trouble: dict[str, str] = field(default_factory=dict)  # act -> what goes wrong
    in_flight: int | None = 0
    acts: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class ObedientDriver:
    """An engine without an engine: it serves what was staged."""

    machine: Machine
    engine: ClassVar[str] = "llama-server"

    def stage(self, launch: Launch, slot: Slot) -> None:
        driver_for(launch.profile).stage(launch, slot)

    def start(self, slot: Slot) -> None:
        self._act("start", slot)
        self.machine.running[slot.name] = staged.read(slot).version

    def where(self, slot: Slot) -> Slot:
        return slot

    def ready(self, slot: Slot, *, seconds: float) -> Readiness:
        why = self.machine.trouble.get(f"ready {slot.name}", "")
        there = slot.name in self.machine.running
        return Readiness(ready=there and not why, milliseconds=3, why=why or "answered")

    def identity(self, slot: Slot, manifest: Manifest) -> Served:
        same = self.machine.running[slot.name] == manifest.digest
        wrong = self.machine.trouble.get(f"identity {slot.name}")
        return Served(proven=same and not wrong, why=wrong or "hashed", contradicted=not same)

    def drain(self, slot: Slot, *, seconds: float) -> Drained:
        self._act("drain", slot)
        idle = self.machine.in_flight == 0
        return Drained(idle, 0.0, "nothing in flight" if idle else "the engine does not say")

    def stop(self, slot: Slot, *, seconds: float) -> None:
        self._act("stop", slot)
        self.machine.running.pop(slot.name, None)

    def _act(self, act: str, slot: Slot) -> None:
        self.machine.acts.append(f"{act} {slot.name}")
        if f"{act} {slot.name}" in self.machine.trouble:
            raise StepFailed(self.machine.trouble[f"{act} {slot.name}"])


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Engines and proxy of this process: the proxy speaks by its file as soon as it was told to read it."""
    made = Machine()
    read: dict[Path, str] = {}

    def told(self: NginxFront, token: str) -> None:
        live = self.live()
        assert live is not None
        read[self.path] = live.token
        assert live.token == token

    monkeypatch.setattr(acting, "driver_for", lambda *_args, **_more: ObedientDriver(made))
    monkeypatch.setattr(NginxFront, "_token", lambda self: read.get(self.path))
    monkeypatch.setattr(NginxFront, "_settle", told)
    answers = Readiness(ready=True, milliseconds=5, why="answered")
    monkeypatch.setattr(probe, "ready", lambda *_args, **_more: answers)
    return made


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return home_with_two_versions(tmp_path_factory.mktemp("built"))


@pytest.fixture
def node(built: Home, tmp_path: Path) -> Iterator[Node]:
    """Versions 1 and 2 are held, 1 is pinned; nothing serves yet."""
    with copied(built, tmp_path / "home") as work:
        made = Node(work, tmp_path / "node")
        made.write_settings()
        made.pin(1)
        yield made


def live(node: Node) -> tuple[str, str, bool] | None:
    """Slot, version and gate, as the proxy's file says."""
    nginx = node.serving().tier("team").nginx
    found = NginxFront(nginx, "team", MODEL, node.serving().tier("team").place(MODEL).listen).live()
    return (found.slot, found.ref.removeprefix(f"{MODEL}@"), found.closed) if found else None


def rows(node: Node) -> list[Rollout]:
    with node.work.store.view() as view:
        return view.rollouts("team", MODEL)


def outcomes(node: Node) -> list[str]:
    return [row.outcome for row in rows(node)]


class TestOneAfterTheOther:
    def test_the_pin_is_carried_out_and_the_way_back_is_the_same_walk(
        self, node: Node, machine: Machine
    ) -> None:
        assert "SERVED" == carry_out(node.at(), "team", MODEL).outcome
        assert ("blue", "1", False) == live(node)
        node.pin(2)
        assert f"{MODEL}@2" == carry_out(node.at(), "team", MODEL).pinned.ref
        assert ("green", "2", False) == live(node)
        roll_back(node.at(), MODEL, "team", reason="odd answers")
        assert f"{MODEL}@1" == carry_out(node.at(), "team", MODEL).pinned.ref
        assert ("blue", "1", False) == live(node)
        assert {"blue"} == set(machine.running)
        assert ["SERVED"] * 3 == outcomes(node)
        assert [None, rows(node)[0].version, rows(node)[1].version] == [row.left for row in rows(node)]

    def test_carrying_out_again_does_nothing_unless_the_engine_is_gone(
        self, node: Node, machine: Machine
    ) -> None:
        carry_out(node.at(), "team", MODEL)
        acts = len(machine.acts)
        assert "ALREADY" == carry_out(node.at(), "team", MODEL).outcome
        assert acts == len(machine.acts)
        machine.running.clear()  # it fell over
        assert "SERVED" == carry_out(node.at(), "team", MODEL).outcome
        assert ("green", "1", False) == live(node)

    def test_weights_are_handed_over_by_digest_and_the_set_lies_beside(
        self, node: Node, machine: Machine
    ) -> None:
        done = carry_out(node.at(), "team", MODEL)
        folder = node.serving().folder
        held = folder / "store" / done.pinned.version
        assert (node.work.blobs.root / "blobs").exists()
        assert {"model.gguf", "chat_template.jinja"} <= {path.name for path in held.iterdir()}
        assert 0o555 == held.stat().st_mode & 0o777
        beside = {path.name for path in (folder / "sets" / done.pinned.digest).iterdir()}
        assert {"contract.json", "engine-profile.json", "router.json"} == beside

    def test_companions_are_unpacked_beside_the_set_read_only_and_their_template_is_started_with(
        self, node: Node, machine: Machine, tmp_path: Path
    ) -> None:
        texts = {
            "AGENTS.md": "Be brief.\n",
            "skills/sum/SKILL.md": "Add.\n",
            "chat_template.jinja": "{{ 1 }}",
        }
        node.pin(2, companions=add_texts(node, tmp_path / "in", texts))
        done = carry_out(node.at(), "team", MODEL)
        beside = node.serving().folder / "sets" / done.pinned.digest / "companions"
        assert texts == {path: (beside / path).read_text() for path in texts}
        assert {0o555, 0o444} == {path.stat().st_mode & 0o777 for path in (beside, *beside.rglob("*"))}
        assert str(beside / "chat_template.jinja") in staged_in(node, "blue").argv
        assert file_sha256(beside / "chat_template.jinja") == staged_in(node, "blue").template_sha256

        (beside / "chat_template.jinja").chmod(0o644)
        (beside / "chat_template.jinja").write_text("{{ 2 }}")
        machine.running.clear()
        carry_out(node.at(), "team", MODEL)
        assert "{{ 1 }}" == (beside / "chat_template.jinja").read_text(), "what somebody changed is put right"

        node.pin(1)  # without companions: the version's own template again
        carry_out(node.at(), "team", MODEL)
        assert "--chat-template-file" not in staged_in(node, "blue").argv

    def test_what_was_measured_is_recorded_and_shown_before_the_next_time(
        self, node: Node, machine: Machine
    ) -> None:
        carry_out(node.at(), "team", MODEL)
        with node.work.store.view() as view:
            took = durations(view, "team", MODEL)
            assert durations(view, "org", MODEL) is None
        body = json.loads(rows(node)[0].body)
        assert took is not None
        assert (1, rows(node)[0].milliseconds) == (took.count, took.median)
        assert (body["switch_ms"] is not None, body["closed_ms"]) == (True, None)
        assert "measured once" in str(took)

    def test_a_file_that_somebody_changed_in_the_engines_folder_is_found_before_it_is_served(
        self, node: Node, machine: Machine
    ) -> None:
        done = carry_out(node.at(), "team", MODEL)
        config = node.serving().store / done.pinned.version / "config.json"
        config.unlink()
        config.write_bytes(b"{}")
        machine.running.clear()
        with pytest.raises(RolloutTurnedBack, match=r"holds another config\.json"):
            carry_out(node.at(), "team", MODEL)


def add_texts(node: Node, folder: Path, texts: dict[str, str]) -> str:
    """Take a set of companions in; return its digest."""
    for path, text in texts.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return add_companions(node.at(), folder, name="notes").digest


def staged_in(node: Node, name: str) -> Staged:
    return staged.read(Slot(name, node.serving().slot_folder("team", MODEL, name), "127.0.0.1", 1))


class TestFailing:
    @pytest.mark.parametrize("strategy", ["blue-green", "recreate"])
    @pytest.mark.parametrize("trouble", ["start green", "ready green", "identity green"])
    def test_a_candidate_that_does_not_hold_what_it_promised_is_stopped_and_the_old_one_serves(
        self, node: Node, machine: Machine, trouble: str, strategy: str
    ) -> None:
        node.write_settings(strategy=strategy)
        carry_out(node.at(), "team", MODEL)
        node.pin(2)
        machine.trouble[trouble] = "it has the hiccups"
        with pytest.raises(RolloutTurnedBack, match="hiccups") as refusal:
            carry_out(node.at(), "team", MODEL)
        assert f"{MODEL}@1 serves" in str(refusal.value)
        assert ("blue", "1", False) == live(node)
        assert {"blue"} == set(machine.running)
        assert ["SERVED", "TURNED-BACK"] == outcomes(node)
        del machine.trouble[trouble]
        assert "SERVED" == carry_out(node.at(), "team", MODEL).outcome
        assert ("green", "2", False) == live(node)

    def test_a_first_rollout_that_fails_leaves_the_gate_shut(self, node: Node, machine: Machine) -> None:
        machine.trouble["ready blue"] = "no tool call came"
        with pytest.raises(RolloutTurnedBack, match="nothing serves; the gate is shut"):
            carry_out(node.at(), "team", MODEL)
        assert {} == machine.running

    def test_a_proxy_that_refuses_the_file_keeps_the_old_one(
        self, node: Node, machine: Machine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        carry_out(node.at(), "team", MODEL)
        before = live(node)
        node.pin(2)
        monkeypatch.setattr(Node, "commands", lambda _self: ['test = ["false"]', 'reload = ["true"]'])
        node.write_settings()
        with pytest.raises(RolloutTurnedBack, match="false ended with 1"):
            carry_out(node.at(), "team", MODEL)
        assert before == live(node)
        assert {"blue"} == set(machine.running)

    def test_an_old_engine_that_does_not_end_is_told_and_cleared_the_next_time(
        self, node: Node, machine: Machine
    ) -> None:
        carry_out(node.at(), "team", MODEL)
        node.pin(2)
        machine.trouble["stop blue"] = "hangs in its driver"
        done = carry_out(node.at(), "team", MODEL)
        assert ("SERVED", ("stop blue: hangs in its driver",)) == (done.outcome, done.notes)
        machine.trouble.clear()
        node.pin(1)
        carry_out(node.at(), "team", MODEL)
        assert ("blue", "1", False) == live(node)

    def test_an_engine_that_does_not_say_what_it_works_on_is_never_called_idle(
        self, node: Node, machine: Machine
    ) -> None:
        carry_out(node.at(), "team", MODEL)
        node.pin(2)
        machine.in_flight = None
        done = carry_out(node.at(), "team", MODEL)
        assert ("drain blue: NOT SEEN IDLE: the engine does not say",) == done.notes

    def test_a_way_back_that_is_blocked_is_said_and_walked_by_the_same_command(
        self, node: Node, machine: Machine
    ) -> None:
        node.write_settings(strategy="recreate")
        carry_out(node.at(), "team", MODEL)
        node.pin(2)
        machine.trouble |= {"start green": "no memory", "start blue": "no memory either"}
        with pytest.raises(WayBackBlocked, match="start blue"):
            carry_out(node.at(), "team", MODEL)
        assert ("blue", "1", True) == live(node), (
            "the gate is shut: nobody is sent to an engine that is not there"
        )
        machine.trouble.clear()
        with pytest.raises(RolloutTurnedBack, match="no memory"):
            carry_out(node.at(), "team", MODEL)
        assert ("blue", "1", False) == live(node)


class Killed(BaseException):
    """The power went."""


@pytest.fixture
def power(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """`power[0]` lines of the journal are written before the power goes; -1: it stays."""
    left = [-1]
    write = Journal._write

    def fragile(self: Journal, value: dict[str, object]) -> None:
        if left[0] == 0:
            left[0] = -1
            raise Killed
        left[0] -= left[0] > 0
        write(self, value)

    monkeypatch.setattr(Journal, "_write", fragile)
    monkeypatch.setattr(os, "fsync", lambda _handle: None)
    return left


class TestCutOff:
    @pytest.mark.parametrize("strategy", ["blue-green", "recreate"])
    def test_cut_off_at_any_line_the_same_command_finishes(
        self, node: Node, machine: Machine, power: list[int], strategy: str
    ) -> None:
        node.write_settings(strategy=strategy)
        carry_out(node.at(), "team", MODEL)
        for number in range(100):
            node.pin(2 - number % 2)
            power[0] = number
            try:
                carry_out(node.at(), "team", MODEL)
                break
            except Killed:
                pass
            done = carry_out(node.at(), "team", MODEL)
            assert done.outcome in ("SERVED", "ALREADY")
            wanted = (done.live.slot, str(2 - number % 2), False)
            assert wanted == live(node)
            assert {done.live.slot} == set(machine.running)
        assert number > 20
        assert {"SERVED"} == set(outcomes(node)), "each was recorded, and once"
        assert len(rows(node)) == len({row.rollout for row in rows(node)})

    def test_a_pin_that_moved_back_meanwhile_turns_the_unfinished_one_back(
        self, node: Node, machine: Machine, power: list[int]
    ) -> None:
        """Killed while the new one already serves; the steward rolls back; the old engine still runs: that is quick."""
        carry_out(node.at(), "team", MODEL)
        node.pin(2)
        power[0] = 1 + 2 * 8  # after the switch
        with pytest.raises(Killed):
            carry_out(node.at(), "team", MODEL)
        assert ("green", "2", False) == live(node)
        roll_back(node.at(), MODEL, "team", reason="odd answers")
        starts = machine.acts.count("start blue")
        assert f"{MODEL}@1" == carry_out(node.at(), "team", MODEL).pinned.ref
        assert ("blue", "1", False) == live(node)
        assert ["SERVED", "TURNED-BACK"] == outcomes(node)
        assert "pinned to demo/tiny-toolcaller@1 meanwhile" in json.loads(rows(node)[1].body)["why"]
        assert starts + 1 == machine.acts.count("start blue"), "asked to run, which it does"

    def test_a_journal_that_was_damaged_stops_everything(self, node: Node, machine: Machine) -> None:
        carry_out(node.at(), "team", MODEL)
        path = next((node.work.home.path / "rollouts").glob("*.jsonl"))
        path.write_bytes(path.read_bytes().replace(b"begun", b"beg\x00n", 1))
        node.pin(2)
        with pytest.raises(JournalDamaged):
            carry_out(node.at(), "team", MODEL)
        assert ("blue", "1", False) == live(node)


class TestRefusedBeforeAnythingIsTouched:
    def test_a_strategy_that_serving_toml_or_the_engine_has_no_room_for(
        self, node: Node, machine: Machine
    ) -> None:
        with pytest.raises(
            ServingMalformed, match=r"tiers\.team\.daemon: is missing, and alias-swap needs it"
        ):
            carry_out(node.at(), "team", MODEL, strategy="alias-swap")
        node.write_settings(daemon=1)
        node.profile = node.add_profile({"name": "vllm", "engine": "vllm"})
        node.pin(1)
        with pytest.raises(NoDriver, match="vllm with several models in one process"):
            carry_out(node.at(), "team", MODEL, strategy="alias-swap")
        assert [] == machine.acts

    def test_a_second_one_at_the_same_time(self, node: Node, machine: Machine) -> None:
        refused: list[BaseException] = []

        def second(text: str) -> None:
            if text.startswith("start"):
                other = threading.Thread(target=_catch, args=(refused, node))
                other.start()
                other.join()

        carry_out(node.at(), "team", MODEL, say=second)
        assert [RolloutUnderway] == [type(one) for one in refused]

    def test_a_dead_process_holds_no_lock(self, node: Node, machine: Machine) -> None:
        folder = node.work.home.path / "rollouts"
        folder.mkdir()
        handle = os.open(folder / f".team--{MODEL.replace('/', '--')}.lock", os.O_RDWR | os.O_CREAT)
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(RolloutUnderway):
            carry_out(node.at(), "team", MODEL)
        os.close(handle)
        assert "SERVED" == carry_out(node.at(), "team", MODEL).outcome

    def test_nothing_pinned_or_pinned_and_withdrawn(self, node: Node, machine: Machine) -> None:
        withdraw(node.at(), Ref(MODEL, ordinal=1), reason="recalled")
        with pytest.raises(Withdrawn):
            carry_out(node.at(), "team", MODEL)
        with pytest.raises(ServingMalformed, match="does not say where demo/other"):
            carry_out(node.at(), "team", "demo/other")
        assert not (node.work.home.path / "rollouts").exists()

    def test_a_smoke_suite_that_nobody_took_in(self, node: Node, machine: Machine) -> None:
        node.write_settings(smoke="smoke-of-ours")
        with pytest.raises(NotFound, match="smoke-of-ours"):
            carry_out(node.at(), "team", MODEL)
        assert [] == machine.acts

    def test_a_proxy_file_that_somebody_edited(self, node: Node, machine: Machine) -> None:
        carry_out(node.at(), "team", MODEL)
        path = next(node.includes.iterdir())
        path.write_text(path.read_text().replace("max_fails=0", "max_fails=1"))
        node.pin(2)
        with pytest.raises(FrontUnclear):
            carry_out(node.at(), "team", MODEL)
        assert {"blue"} == set(machine.running)

    def test_a_preview_touches_nothing(self, node: Node, machine: Machine) -> None:
        found = preview(node.at(), "team", MODEL)
        assert ("blue", None, None) == (found.plan.new, found.live, found.unfinished)
        assert ([], False) == (machine.acts, (node.work.home.path / "rollouts").exists())


def _catch(refused: list[BaseException], node: Node) -> None:
    try:
        carry_out(node.at(), "team", MODEL)
    except RolloutUnderway as exc:
        refused.append(exc)


def test_the_preview_names_a_rollout_that_was_cut_off(node: Node, machine: Machine, power: list[int]) -> None:
    power[0] = 4
    with pytest.raises(Killed):
        carry_out(node.at(), "team", MODEL)
    newest = journals.latest(node.work.home.path / "rollouts", f"team--{MODEL.replace('/', '--')}")
    assert newest is not None
    before = newest.read_bytes()
    assert newest.stem == preview(node.at(), "team", MODEL).unfinished
    assert before == newest.read_bytes()


def test_a_command_that_fails_or_hangs_says_so() -> None:
    assert "hello\n" == fronts.run(["echo", "hello"])
    for command, said in ((["false"], "ended with 1"), (["no-such-program"], "No such file")):
        with pytest.raises(StepFailed, match=said):
            fronts.run(command)
    with pytest.raises(StepFailed, match="not done after"):
        fronts.run(["sleep", "20"], seconds=0.1)
