"""Does each step of a plan: files, engine, checks, proxy. Every one may be done twice."""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from pipelines.engines import probe, staged
from pipelines.engines.driver import Driver, daemon_for, driver_for
from pipelines.engines.launch import Launch, Slot
from pipelines.engines.llama_router import DAEMON, LlamaRouter
from pipelines.engines.staged import SlotUnusable
from pipelines.enrol import origin_keys
from pipelines.materialise import Layout, hand_over
from pipelines.rollout.beside import lay_out
from pipelines.rollout.front import Live, NginxFront
from pipelines.rollout.journal import FORTH
from pipelines.rollout.plan import Do, Step, Strategy
from pipelines.rollout.refusals import StepFailed
from pipelines.rollout.runners import DaemonRunner, ProcessRunner, Runner, SystemdRunner
from pipelines.rollout.settings import Serving, TierServing
from pipelines.rollout.wanted import PinnedSet, Wanted, engine_profile, held
from pipelines.suites.run import Settings, run_suite
from pipelines.workplace import Workplace
from registry.blobs import Progress, no_progress
from registry.contracts import EngineProfile
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
    strategy: Strategy
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

    def runner(self, driver: Driver) -> Runner:
        """Who starts and stops processes here; or loads models, if the driver's are in a daemon."""
        plain = SystemdRunner(self.tier.systemctl) if self.tier.runner == "systemd" else ProcessRunner()
        return DaemonRunner(plain, driver) if isinstance(driver, LlamaRouter) else plain

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
        """Who speaks to the engine of a slot: the one that served before may be another, or served in another way."""
        profile = self.wanted.profile
        if self.old is not None and name == self.old.slot and self.old.profile != self.new.profile:
            with self.work.store.view() as view:
                profile = engine_profile(held(view, "engine profile", self.old.profile))
        return driver_of(self.serving, self.tier, profile, daemon=self._in_daemon(name))

    def _in_daemon(self, name: str) -> bool:
        """Whether a slot's model is one of several in the daemon: as it was staged last, else as it will be."""
        try:
            return staged.read(self.slot(name)).engine == DAEMON
        except SlotUnusable:
            return self.strategy is Strategy.ALIAS_SWAP

    def _live(self, slot: str) -> Live:
        if slot == self.new.slot:
            return self.new
        assert self.old is not None, "the plan speaks of no other slot"
        return replace(self.old, closed=False)

    @property
    def _beside(self) -> Path:
        """What belongs to the set and not to the version: named by the set's digest."""
        return self.serving.folder / "sets" / self.wanted.pinned.digest

    def _lay_companions(self) -> Path | None:
        return lay_out(self.wanted.companions, self._beside / "companions")

    def _hand_over(self, _slot: Slot) -> str:
        """Lay the files where the engine reads them, and the set's documents and companions beside; named by digest."""
        self.serving.store.mkdir(parents=True, exist_ok=True)
        pinned = self.wanted.pinned
        done = hand_over(self.work, pinned.ref, self.files, layout=Layout.PLAIN, progress=self.progress)
        for folder, _, _ in os.walk(self.files):
            Path(folder).chmod(0o555)
        self._beside.mkdir(parents=True, exist_ok=True)
        for name, text in self.wanted.beside:
            if not (self._beside / name).is_file() or (self._beside / name).read_text() != text:
                write_durably(self._beside / name, text.encode())
        self._lay_companions()
        return f"{done[0].files} files, {done[0].size} bytes, {done[0].how}"

    def _stage(self, slot: Slot) -> str:
        """Write down what is to be started. In a daemon, versions are told apart by their names."""
        daemon, pinned = self.strategy is Strategy.ALIAS_SWAP, self.wanted.pinned
        launch = Launch(
            ref=self.wanted.pinned.ref,
            manifest=self.wanted.manifest,
            files=self.files,
            profile=self.wanted.profile,
            served_name=own_name(pinned, slot.name) if daemon else pinned.model,
            context=self.tier.context,
            template=self._lay_companions(),
        )
        slot.folder.parent.mkdir(parents=True, exist_ok=True)
        driver = driver_of(self.serving, self.tier, self.wanted.profile, daemon=daemon)
        driver.stage(launch, slot)
        self.runner(driver).staged(slot)
        return f"{pinned.ref} for {slot.endpoint} as {launch.served_name}"

    def _start(self, slot: Slot) -> str:
        driver = self.driver(slot.name)
        self.runner(driver).start(driver, slot)
        return f"runs at {slot.endpoint}"

    def _stop(self, slot: Slot) -> str:
        driver = self.driver(slot.name)
        self.runner(driver).stop(driver, slot, seconds=self.tier.stop_seconds)
        return "nothing runs there"

    def _switch(self, slot: Slot) -> str:
        there = self.driver(slot.name).where(slot)
        return self.front.point(replace(self._live(slot.name), host=there.host, port=there.port))

    def _close(self, slot: Slot) -> str:
        return self.front.point(replace(self._live(slot.name), closed=True))

    def _looked_at(self, slot: Slot) -> Driver:
        """The slot's driver, when it sees the process as it is now."""
        driver = self.driver(slot.name)
        self.runner(driver).look(slot)
        return driver

    def _ready(self, slot: Slot) -> str:
        found = self._looked_at(slot).ready(slot, seconds=self.tier.ready_seconds)
        if not found.ready:
            raise StepFailed(f"not ready within {self.tier.ready_seconds:g} s: {found.why}")
        return found.why

    def _identity(self, slot: Slot) -> str:
        found = self._looked_at(slot).identity(slot, self.wanted.manifest)
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
            endpoint=str(self.driver(slot.name).where(slot).endpoint),
            settings=Settings(tier=self.tier.tier, node=self.tier.node, model_name=staged.read(slot).model),
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
        driver = self._looked_at(slot)
        began = time.monotonic()
        found = driver.drain(slot, seconds=self.tier.drain_seconds)
        left = self.tier.drain_seconds - (time.monotonic() - began)
        if not found.idle:
            return f"NOT SEEN IDLE: {found.why}"
        workers = self.front.wait_for_old_workers(max(left, 0.0))
        # A request that a worker still held may have reached the engine after it was seen idle.
        left = self.tier.drain_seconds - (time.monotonic() - began)
        again = driver.drain(slot, seconds=max(left, 1.0))
        return f"idle: {again.why}; {workers}" if again.idle else f"NOT SEEN IDLE: {again.why}; {workers}"


def own_name(pinned: PinnedSet, slot: str) -> str:
    """The name of one version in a daemon. The slot is in it: the same version may be served anew, by another profile."""
    return f"{pinned.model}@{pinned.version[:12]}.{slot}"


def driver_of(serving: Serving, tier: TierServing, profile: EngineProfile, *, daemon: bool) -> Driver:
    """The driver of an engine in this tier. Raises `NoDriver`, and `ServingMalformed` for a daemon without a port."""
    if not daemon:
        return driver_for(profile, program=tier.program, environment=tier.environment)
    port = tier.port("", "", Strategy.ALIAS_SWAP)
    place = Slot("daemon", serving.daemon_folder(tier.tier), tier.host, port)
    return daemon_for(profile, place, program=tier.program, environment=tier.environment)
