"""Does each step of a plan: files, engine, checks, proxy. Every one may be done twice."""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from pipelines.engines import probe
from pipelines.engines.driver import Driver, driver_for
from pipelines.engines.launch import Launch, Slot
from pipelines.enrol import origin_keys
from pipelines.materialise import Layout, hand_over
from pipelines.rollout.front import Live, NginxFront
from pipelines.rollout.journal import FORTH
from pipelines.rollout.plan import Do, Step
from pipelines.rollout.refusals import StepFailed
from pipelines.rollout.runners import ProcessRunner, Runner, SystemdRunner
from pipelines.rollout.settings import Serving, TierServing
from pipelines.rollout.wanted import Wanted, engine_profile, held
from pipelines.suites.run import Settings, run_suite
from pipelines.workplace import Workplace
from registry.blobs import Progress, no_progress
from signing.durable import write_durably

_FRONT_SECONDS = 60.0  # for one answer through the proxy


@dataclass(frozen=True)
class EngineHands:
    """Acts for one rollout: `new` is what shall serve, `old` what served before it."""

    work: Workplace
    serving: Serving
    tier: TierServing
    wanted: Wanted
    front: NginxFront
    old: Live | None
    new: Live
    progress: Progress = no_progress
    say: Callable[[str], None] = lambda _text: None

    def do(self, step: Step, way: str) -> str:
        """Do one step. Raises `StepFailed`, a refusal or `OSError`."""
        self.say(step.name if way == FORTH else f"taking back: {step.name}")
        ways: Mapping[Do, Callable[[Slot], str]] = {
            Do.HAND_OVER: self._hand_over,
            Do.CLEAR: self._stop,
            Do.STAGE: self._stage,
            Do.START: self._start,
            Do.READY: self._ready,
            Do.IDENTITY: self._identity,
            Do.SMOKE: self._smoke,
            Do.SWITCH: self._switch,
            Do.CLOSE: self._close,
            Do.FRONT: self._front_answers,
            Do.STILL: self._front_answers,
            Do.DRAIN: self._drain,
            Do.STOP: self._stop,
        }
        return ways[step.do](self.slot(step.slot))

    @property
    def runner(self) -> Runner:
        """Who starts and stops processes here."""
        return SystemdRunner(self.tier.systemctl) if self.tier.runner == "systemd" else ProcessRunner()

    @property
    def files(self) -> Path:
        """The version's own folder, named by its digest."""
        return self.serving.store / self.wanted.pinned.version

    def slot(self, name: str) -> Slot:
        """Where a slot's engine lives."""
        model = self.wanted.pinned.model
        folder = self.serving.slot_folder(self.tier.tier, model, name)
        live = self.old if self.old is not None and name == self.old.slot else self.new
        return Slot(name, folder, live.host, live.port)

    def driver(self, name: str) -> Driver:
        """Who speaks to the engine of a slot: the one that served before may be another engine."""
        profile = self.wanted.profile
        if self.old is not None and name == self.old.slot and self.old.profile != self.new.profile:
            with self.work.store.view() as view:
                profile = engine_profile(held(view, "engine profile", self.old.profile))
        return driver_for(profile, program=self.tier.program, environment=self.tier.environment)

    def _live(self, slot: str) -> Live:
        if slot == self.new.slot:
            return self.new
        assert self.old is not None, "the plan speaks of no other slot"
        return replace(self.old, closed=False)

    def _hand_over(self, _slot: Slot) -> str:
        """Lay the files where the engine reads them, and the set's documents beside; both named by digest."""
        self.serving.store.mkdir(parents=True, exist_ok=True)
        pinned = self.wanted.pinned
        done = hand_over(self.work, pinned.ref, self.files, layout=Layout.PLAIN, progress=self.progress)
        for folder, _, _ in os.walk(self.files):
            Path(folder).chmod(0o555)
        beside = self.serving.folder / "sets" / pinned.digest
        beside.mkdir(parents=True, exist_ok=True)
        for name, text in self.wanted.beside:
            if not (beside / name).is_file() or (beside / name).read_text() != text:
                write_durably(beside / name, text.encode())
        return f"{done[0].files} files, {done[0].size} bytes, {done[0].how}"

    def _stage(self, slot: Slot) -> str:
        launch = Launch(
            ref=self.wanted.pinned.ref,
            manifest=self.wanted.manifest,
            files=self.files,
            profile=self.wanted.profile,
            served_name=self.wanted.pinned.model,
            context=self.tier.context,
        )
        slot.folder.parent.mkdir(parents=True, exist_ok=True)
        self.driver(slot.name).stage(launch, slot)
        self.runner.staged(slot)
        return f"{self.wanted.pinned.ref} for {slot.endpoint}"

    def _start(self, slot: Slot) -> str:
        self.runner.start(self.driver(slot.name), slot)
        return f"runs at {slot.endpoint}"

    def _stop(self, slot: Slot) -> str:
        self.runner.stop(self.driver(slot.name), slot, seconds=self.tier.stop_seconds)
        return "nothing runs there"

    def _switch(self, slot: Slot) -> str:
        return self.front.point(self._live(slot.name))

    def _close(self, slot: Slot) -> str:
        return self.front.point(replace(self._live(slot.name), closed=True))

    def _ready(self, slot: Slot) -> str:
        self.runner.look(slot)
        found = self.driver(slot.name).ready(slot, seconds=self.tier.ready_seconds)
        if not found.ready:
            raise StepFailed(f"not ready within {self.tier.ready_seconds:g} s: {found.why}")
        return found.why

    def _identity(self, slot: Slot) -> str:
        self.runner.look(slot)
        found = self.driver(slot.name).identity(slot, self.wanted.manifest)
        if not found.proven:
            raise StepFailed(
                f"the engine does not prove that it serves {self.wanted.pinned.ref}: {found.why}"
            )
        return found.why

    def _smoke(self, slot: Slot) -> str:
        """Run the suite on the candidate's own port; its report is kept like any other."""
        suite, contract = self.wanted.suite, self.wanted.contract_row
        assert suite is not None
        assert contract is not None
        with self.work.store.view() as view:
            vouchers = origin_keys(view)
        done = run_suite(
            self.work,
            suite,
            self.wanted.row,
            contract,
            self.wanted.profile_row,
            endpoint=str(slot.endpoint),
            settings=Settings(tier=self.tier.tier, node=self.tier.node, model_name=self.wanted.pinned.model),
            vouchers=vouchers,
        )
        if done.outcome != "PASSED":
            raise StepFailed(f"suite {suite.name} {done.outcome}: {'; '.join(done.verdict.reasons)[:600]}")
        return f"suite {suite.name} PASSED, report {done.report.digest}"

    def _front_answers(self, slot: Slot) -> str:
        """The proxy speaks by what we wrote, and a completion comes through it."""
        self.front.answers(self._live(slot.name))
        found = probe.ready(self.front.endpoint, seconds=_FRONT_SECONDS, model=self.wanted.pinned.model)
        if not found.ready:
            raise StepFailed(f"no answer through the proxy: {found.why}")
        return f"answered in {found.milliseconds} ms"

    def _drain(self, slot: Slot) -> str:
        """Wait until nobody is served by the old engine any more, at most to the deadline; say what was seen."""
        self.runner.look(slot)
        began = time.monotonic()
        found = self.driver(slot.name).drain(slot, seconds=self.tier.drain_seconds)
        left = self.tier.drain_seconds - (time.monotonic() - began)
        if not found.idle:
            return f"NOT SEEN IDLE: {found.why}"
        workers = self.front.wait_for_old_workers(max(left, 0.0))
        # A request that a worker still held may have reached the engine after it was seen idle.
        left = self.tier.drain_seconds - (time.monotonic() - began)
        again = self.driver(slot.name).drain(slot, seconds=max(left, 1.0))
        return f"idle: {again.why}; {workers}" if again.idle else f"NOT SEEN IDLE: {again.why}; {workers}"
