"""What a rollout asks of a serving engine, whichever it is, and which driver speaks to which engine.

Everything above knows only this. Every step may be asked for twice and does its work once. Nothing here claims
what an engine does not say: `in_flight` is None where it cannot be told, and then draining never says idle.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Protocol

from pipelines.engines.any_endpoint import AnyEndpoint
from pipelines.engines.fingerprint import Fingerprint
from pipelines.engines.launch import DOCUMENTATION_ONLY, REAL, Command, Drained, Launch, NotStartedHere, Slot
from pipelines.engines.llama_cpp_python import LlamaCppPython
from pipelines.engines.llama_router import LlamaRouter
from pipelines.engines.llama_server import LlamaServer
from pipelines.engines.lm_studio import LmStudio
from pipelines.engines.ollama import Ollama
from pipelines.engines.probe import Readiness
from pipelines.engines.transformers_serve import TransformersServe
from pipelines.engines.vllm import Vllm
from pipelines.errors import JudgingRefused
from pipelines.suites.identity import Served
from registry.contracts import EngineProfile
from registry.manifests import Manifest

__all__ = [
    "DOCUMENTATION_ONLY",
    "REAL",
    "AnyEndpoint",
    "Command",
    "Drained",
    "Driver",
    "Fingerprint",
    "Launch",
    "NoDriver",
    "NotStartedHere",
    "Readiness",
    "Served",
    "Slot",
    "daemon_for",
    "driver_for",
]  # fmt: skip


class NoDriver(JudgingRefused):
    """A profile names an engine that Tidegate does not know how to start."""

    exit_code: ClassVar[int] = 218
    next_step: ClassVar[str] = (
        "Use a profile of an engine that has a driver, or start the engine yourself and name its address."
    )

    def __init__(self, engine: str, known: Sequence[str]) -> None:
        super().__init__(f"engine {engine!r}: no driver; there are {', '.join(known)}")
        self.engine = engine


class Driver(Protocol):
    """One engine's ways. Each step is idempotent; `seconds` are deadlines, never promises."""

    @property
    def engine(self) -> str:
        """The name that engine profiles use."""

    @property
    def tested(self) -> str:
        """`REAL`, or `DOCUMENTATION_ONLY`."""

    @property
    def parses_calls(self) -> bool:
        """Whether the engine can turn what a model writes into tool calls at all."""

    def command(self, launch: Launch, slot: Slot) -> Command:
        """Return what would be run. Pure.

        Raises:
            FlagRefused: the profile has a flag that is the driver's, fetches something, or carries a secret.
            NothingServable: the version has no file that this engine loads.
        """

    def stage(self, launch: Launch, slot: Slot) -> None:
        """Write down what `start` is to run. Starts nothing, also while something runs."""

    def start(self, slot: Slot) -> None:
        """Run what is staged; nothing if exactly that runs already.

        Raises:
            SlotUnusable: nothing is staged, something else runs here, or the port is somebody else's.
            EngineProcessTrouble: the program is missing.
        """

    def where(self, slot: Slot) -> Slot:
        """Return the slot with the address that clients are to be sent to.

        Raises:
            EngineProcessTrouble: the model is one of several in a daemon, and not loaded now.
        """

    def ready(self, slot: Slot, *, seconds: float) -> Readiness:
        """Ask for one tool call until it is answered or the deadline is over. Never raises for what is served."""

    def identity(self, slot: Slot, manifest: Manifest) -> Served:
        """Hash the files that are loaded and hold them against the manifest."""

    def in_flight(self, slot: Slot) -> int | None:
        """Return how many requests are worked on or wait; None if that cannot be told now."""

    def drain(self, slot: Slot, *, seconds: float) -> Drained:
        """Wait until nothing is in flight. Ends nothing. The proxy must send no more requests before this."""

    def stop(self, slot: Slot, *, seconds: float) -> None:
        """Ask the process to end, and end it after `seconds`. Nothing if none runs."""

    def fingerprint(self, slot: Slot) -> Fingerprint:
        """Return what runs here: engine, build, flags, parser, template, type, device, context."""


_Make = Callable[[tuple[str, ...], Mapping[str, str]], Driver]
_DRIVERS: Mapping[str, _Make] = {
    "llama-server": LlamaServer,
    "llama.cpp": LlamaServer,
    "vllm": Vllm,
    "transformers": TransformersServe,
    "llama-cpp-python": LlamaCppPython,
    "ollama": Ollama,
    "lm-studio": lambda _program, _environment: LmStudio(),
}


def driver_for(
    profile: EngineProfile,
    *,
    program: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> Driver:
    """Return the driver of the profile's engine.

    Args:
        program: how the engine is called on this machine, such as `/opt/vllm/bin/vllm`; by default its usual
            name, looked up in the usual places.
        environment: added to the engine's, such as `CUDA_VISIBLE_DEVICES`. No secrets: it is written down.

    Raises:
        NoDriver: nobody knows how to start this engine.
    """
    kind = _DRIVERS.get(profile.engine)
    if kind is None:
        raise NoDriver(profile.engine, sorted(_DRIVERS))
    return kind(tuple(program), dict(environment or {}))


def daemon_for(
    profile: EngineProfile,
    daemon: Slot,
    *,
    program: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> LlamaRouter:
    """Return the driver of one model among several in a daemon.

    Args:
        daemon: where the daemon's process lives.

    Raises:
        NoDriver: nobody knows how to load a second version beside the first in a process of this engine.
    """
    if _DRIVERS.get(profile.engine) is not LlamaServer:
        known = sorted(name for name, kind in _DRIVERS.items() if kind is LlamaServer)
        raise NoDriver(f"{profile.engine} with several models in one process", known)
    return LlamaRouter(tuple(program), dict(environment or {}), daemon=daemon)
