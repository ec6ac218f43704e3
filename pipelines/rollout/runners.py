"""Who starts and stops an engine's process: the driver itself, or systemd by the generated unit; or a daemon its model.

Apart from the drivers because they know engines, not init systems. Under systemd the driver still asks the engine
everything; it finds the process by the same file, which is written here from what systemd says.
"""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from pipelines.engines import keeper, process, staged
from pipelines.engines.launch import Slot
from pipelines.engines.llama_router import LlamaRouter
from pipelines.rollout.front import run
from pipelines.rollout.refusals import StepFailed
from signing.canonical import canonical_bytes
from signing.digests import sha256_hex
from signing.durable import write_durably

SCRIPT = "run"  # what the unit runs, in the slot's folder
_STARTED = "started"  # SHA-256 of the script that was started
UNIT = "tidegate-serve@{}.service"
_START_SECONDS = 120.0  # until systemd has run the program; loading takes longer and is waited for elsewhere


class Startable(Protocol):
    """What a runner needs of a driver."""

    def start(self, slot: Slot) -> None:
        """Run what is staged."""

    def stop(self, slot: Slot, *, seconds: float) -> None:
        """End what runs."""


class Runner(Protocol):
    """Starts and stops what is staged in a slot. Each may be asked for twice."""

    def staged(self, slot: Slot) -> None:
        """Something new may have been staged."""

    def start(self, driver: Startable, slot: Slot) -> None:
        """Run what is staged, unless exactly that runs."""

    def stop(self, driver: Startable, slot: Slot, *, seconds: float) -> None:
        """End what runs there, if anything does."""

    def look(self, slot: Slot) -> None:
        """Make what the driver sees of the process true: it may have been started anew by itself."""


class ProcessRunner:
    """The driver's own process handling: for one box, for trying, for tests."""

    def staged(self, slot: Slot) -> None:
        """Nothing: the driver wrote down all that it needs."""

    def start(self, driver: Startable, slot: Slot) -> None:
        """As `Driver.start`."""
        driver.start(slot)

    def stop(self, driver: Startable, slot: Slot, *, seconds: float) -> None:
        """As `Driver.stop`."""
        driver.stop(slot, seconds=seconds)

    def look(self, slot: Slot) -> None:
        """Nothing: the driver knows its own process."""


class SystemdRunner:
    """Units of `tidegate serving units`: one instance per slot, running the script in the slot's folder."""

    def __init__(self, systemctl: Sequence[str]) -> None:
        self.systemctl = tuple(systemctl)

    def staged(self, slot: Slot) -> None:
        """Write the script that the unit runs."""
        wanted = staged.read(slot)
        staged.folder_of(slot).mkdir(mode=0o700, exist_ok=True)
        lines = [f"{name}={value}" for name, value in sorted(wanted.env.items())]
        command = shlex.join(["exec", "env", "-i", *lines, *wanted.argv])
        text = f"#!/bin/sh\n# Written by `tidegate rollout` for {wanted.ref}.\n{command}\n"
        write_durably(slot.folder / SCRIPT, text.encode(), mode=0o755)

    def start(self, driver: Startable, slot: Slot) -> None:  # noqa: ARG002 - systemd starts it, not the driver
        """Start the unit; start it anew only if it runs something else than what is staged."""
        script = sha256_hex((slot.folder / SCRIPT).read_bytes())
        if self._pid(slot) and _read(slot.folder / _STARTED) == script:
            self.look(slot)
            return
        # Noted before: a crash in between starts the same thing once more.
        write_durably(slot.folder / _STARTED, b"")
        run([*self.systemctl, "restart", unit(slot)], seconds=_START_SECONDS)
        write_durably(slot.folder / _STARTED, script.encode())
        self.look(slot)

    def stop(self, driver: Startable, slot: Slot, *, seconds: float) -> None:  # noqa: ARG002 - as above
        """Stop the unit; systemd kills what has not ended after the unit's own deadline."""
        run([*self.systemctl, "stop", unit(slot)], seconds=seconds + _START_SECONDS)
        self.look(slot)

    def look(self, slot: Slot) -> None:
        """Write the unit's main process where the driver looks for it."""
        pid = self._pid(slot)
        began = keeper.start_of(pid) if pid else None
        if began is None:
            (slot.folder / keeper.PID).unlink(missing_ok=True)
            return
        known = {"pid": pid, "started": began, "boot": keeper.boot(), "digest": staged.read(slot).digest}
        write_durably(slot.folder / keeper.PID, canonical_bytes(known))

    def _pid(self, slot: Slot) -> int:
        said = run([*self.systemctl, "show", "--property=MainPID", "--value", unit(slot)]).strip()
        if not said.isascii() or not said.isdigit():
            raise StepFailed(f"{unit(slot)}: systemd does not say which process it is ({said[:80]!r})")
        return int(said)


class DaemonRunner:
    """Models of a daemon: it is started as any engine is, by `inner`, and goes on when its last model is unloaded."""

    def __init__(self, inner: Runner, router: LlamaRouter) -> None:
        self.inner, self.router = inner, router

    def staged(self, slot: Slot) -> None:
        """Write down what the daemon runs. Raises `SlotUnusable` if it runs otherwise now."""
        self.look(slot)
        self.router.stage_daemon()
        self.inner.staged(self.router.daemon)

    def start(self, driver: Startable, slot: Slot) -> None:
        """Have the model loaded by a daemon that runs. The daemon knows of it before it is started itself."""
        self.router.declare(slot)
        self.inner.start(_Process(), self.router.daemon)
        self.router.answers()
        driver.start(slot)

    def stop(self, driver: Startable, slot: Slot, *, seconds: float) -> None:
        """Have the model unloaded."""
        self.look(slot)
        driver.stop(slot, seconds=seconds)

    def look(self, slot: Slot) -> None:  # noqa: ARG002 - whichever model it is
        """As for the daemon's process."""
        self.inner.look(self.router.daemon)


class _Process:
    """What is staged, run as a process of ours."""

    def start(self, slot: Slot) -> None:
        process.start(slot)

    def stop(self, slot: Slot, *, seconds: float) -> None:
        process.stop(slot, seconds=seconds)


def unit(slot: Slot) -> str:
    """The systemd unit of a slot."""
    return UNIT.format(slot.folder.name)


def _read(path: Path) -> str:
    return path.read_text("ascii", "replace") if path.is_file() else ""
