"""The walk that every engine process goes: stage, start, ready, identity, drain, stop. What differs is the engine's.

A driver of an engine that we start is this with five facts of its own: its command line, what it loads, how it
counts requests, its parser, and what it says of itself.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

from pipelines.engines import counting, flags, process, staged, tool_call
from pipelines.engines.endpoint import EngineTrouble
from pipelines.engines.fingerprint import Fingerprint
from pipelines.engines.launch import REAL, Command, Drained, Launch, Slot
from pipelines.engines.probe import EngineIdentity, Readiness, identify
from pipelines.engines.staged import Staged
from pipelines.errors import JudgingRefused
from pipelines.suites.identity import Served, hold_against
from registry.manifests import Manifest
from signing.digests import file_sha256

_SOCKET_NAME = 50  # bytes that an engine adds: a slash, a UUID, an ending
_USUAL_PATH = "/usr/local/bin:/usr/bin:/bin"
# No engine of ours asks anybody anything: not for newer files, not to tell how it is used.
_SILENT = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
}


class NothingServable(JudgingRefused):
    """The version has no file that this engine can load, or several of which one would have to be guessed."""

    exit_code: ClassVar[int] = 220
    next_step: ClassVar[str] = (
        "Use a profile of an engine that loads this version's files; where it has several GGUF files, "
        'name one in the profile: `"x-file": "NAME.gguf"`.'
    )

    def __init__(self, ref: str, engine: str, problem: str) -> None:
        super().__init__(f"{ref} with {engine}: {problem}")
        self.ref, self.engine, self.problem = ref, engine, problem


@dataclass(frozen=True)
class ProcessDriver(ABC):
    """An engine that we start ourselves. `program`: how it is called here; `environment`: added to its own."""

    engine: ClassVar[str]
    tested: ClassVar[str] = REAL
    parses_calls: ClassVar[bool] = True
    usual: ClassVar[tuple[str, ...]]  # the program, where nothing else is said
    refused: ClassVar[Mapping[str, str]]  # flags that a profile may not have
    abbreviated: ClassVar[bool] = True  # the engine's flags may be cut short

    program: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)

    # ------------------------------------------------------------------------ what each engine has of its own

    @abstractmethod
    def path(self, launch: Launch) -> Path:
        """Return what the engine loads: a file or a folder. Raises `NothingServable`."""

    @abstractmethod
    def arguments(self, launch: Launch, slot: Slot, path: Path) -> list[str]:
        """Return the command line after the program, without the profile's flags."""

    def model_name(self, launch: Launch) -> str:
        """Return the name that requests must use."""
        return launch.served_name

    def silent(self) -> Mapping[str, str]:
        """Return the engine's own variables that keep it from talking to anybody."""
        return {}

    def parser(self, launch: Launch) -> str | None:  # noqa: ARG002 - what an engine without one answers
        """Return the parser of tool calls that the command line chooses."""
        return None

    def dtype(self, launch: Launch) -> str | None:
        """Return the type of numbers that the command line chooses."""
        return flags.value_of(launch.profile.flags, "--dtype")

    def in_flight(self, slot: Slot) -> int | None:  # noqa: ARG002 - what a silent engine answers
        """Return how many requests are worked on or wait; None where the engine does not say."""
        return None

    def loaded(self, slot: Slot, said: EngineIdentity) -> EngineIdentity:  # noqa: ARG002 - mostly it is said
        """Return what the engine has loaded, where it does not say that itself."""
        return said

    def told(self, slot: Slot, known: Fingerprint) -> Fingerprint:  # noqa: ARG002 - as above
        """Return the fingerprint with what only the running engine says."""
        return known

    # ------------------------------------------------------------------------------------------- the same walk

    def command(self, launch: Launch, slot: Slot) -> Command:
        """Return what would be run. Pure; raises as `Driver.command`."""
        flags.check(launch.profile, self.refused, abbreviated=self.abbreviated)
        arguments = self.arguments(launch, slot, self.path(launch))
        return self.surroundings(slot, [*arguments, *launch.profile.flags])

    def surroundings(self, slot: Slot, arguments: Sequence[str]) -> Command:
        """Return the program with these arguments, and all that it is to know of the machine."""
        own = staged.folder_of(slot).resolve()
        env = {"PATH": _USUAL_PATH, "LANG": "C.UTF-8", "HOME": str(own), "TMPDIR": _temporary(own)}
        return Command(
            (*(self.program or self.usual), *arguments),
            {**env, **self.environment, **_SILENT, **self.silent()},
        )

    def stage(self, launch: Launch, slot: Slot) -> None:
        """Write down what `start` is to run. Idempotent."""
        command = self.command(launch, slot)
        template = launch.template or launch.files / "chat_template.jinja"
        new = staged.write(
            slot,
            Staged(
                ref=launch.ref,
                version=launch.manifest.digest,
                engine=self.engine,
                argv=command.argv,
                env=command.env,
                flags=launch.profile.flags,
                model=self.model_name(launch),
                path=str(self.path(launch)),
                calls=self.parses_calls and bool(launch.profile.parses),
                parser=self.parser(launch),
                template_sha256=file_sha256(template) if template.is_file() else None,
                dtype=self.dtype(launch),
                context=launch.context,
            ),
        )
        if new:
            if process.running(slot) is None:
                process.forget_journal(slot)
            with process.step(slot, "stage"):
                pass

    def where(self, slot: Slot) -> Slot:
        """Return the slot with the address that clients are to be sent to: the process's own."""
        return slot

    def start(self, slot: Slot) -> None:
        """Run what is staged; nothing if exactly that runs. Raises as `Driver.start`."""
        process.start(slot)

    def ready(self, slot: Slot, *, seconds: float) -> Readiness:
        """Ask for a tool call until it is answered. An answer from anybody but our process is none."""
        wanted = staged.read(slot)
        found = tool_call.ready(
            slot.endpoint, model=wanted.model, seconds=seconds, calls=wanted.calls, gone=lambda: _gone(slot)
        )
        if found.ready and not process.serves(slot):
            why = f"{slot.endpoint} is answered by a process that is not the slot's"
            return Readiness(ready=False, milliseconds=None, why=why)
        return found

    def identity(self, slot: Slot, manifest: Manifest) -> Served:
        """Hash the files that are loaded and hold them against the manifest."""
        try:
            said = self.loaded(slot, identify(slot.endpoint, model=staged.read(slot).model))
        except EngineTrouble as exc:
            return Served(proven=False, why=str(exc))
        return hold_against(said, slot.endpoint, manifest)

    def drain(self, slot: Slot, *, seconds: float) -> Drained:
        """Wait until nothing is in flight. An engine that is not there works on nothing."""
        if process.running(slot) is None:
            return Drained(idle=True, seconds=0.0, why="no engine runs here")
        return counting.wait_idle(lambda: self._in_flight_or_gone(slot), seconds=seconds)

    def _in_flight_or_gone(self, slot: Slot) -> int | None:
        return 0 if process.running(slot) is None else self.in_flight(slot)

    def stop(self, slot: Slot, *, seconds: float) -> None:
        """Ask the process to end, and end it after `seconds`."""
        process.stop(slot, seconds=seconds)

    def fingerprint(self, slot: Slot) -> Fingerprint:
        """Return what runs here: from the command line, and from the engine where it answers."""
        wanted = staged.read(slot)
        known = Fingerprint(
            engine=self.engine,
            flags=wanted.flags,
            parser=wanted.parser,
            template_sha256=wanted.template_sha256,
            dtype=wanted.dtype,
            context=wanted.context,
        )
        try:
            said = identify(slot.endpoint, model=wanted.model)
        except EngineTrouble:
            return known
        build, template = said.version, said.template_sha256 or known.template_sha256
        return self.told(slot, replace(known, build=build, template_sha256=template))


def _temporary(own: Path) -> str:
    """Engines put the sockets between their processes here, and a socket's path may have 107 bytes (unix(7))."""
    return str(own) if len(os.fsencode(own)) + _SOCKET_NAME <= 107 else "/tmp"  # noqa: S108 - the usual place


def _gone(slot: Slot) -> str | None:
    if process.running(slot) is not None:
        return None
    return f"the engine's process has ended ({process.how_it_ended(slot)})"
