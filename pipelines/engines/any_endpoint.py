"""An OpenAI-compatible engine that somebody else runs: asked by its address, never started or stopped.

Everything that needs only questions works; everything that needs the process is refused, so that no plan that
counts on it begins.
"""

from dataclasses import dataclass
from typing import ClassVar, NoReturn

from pipelines.engines import counting, tool_call
from pipelines.engines.endpoint import Endpoint, EngineTrouble
from pipelines.engines.fingerprint import Fingerprint
from pipelines.engines.launch import (
    REAL,
    Command,
    Drained,
    Launch,
    NotStartedHere,
    Slot,
)
from pipelines.engines.probe import ANY_MODEL, EngineIdentity, Readiness, identify
from pipelines.suites.identity import Served, hold_against
from registry.manifests import Manifest

_COUNTERS = {"llama-server": counting.llama_server, "vllm": counting.vllm}


@dataclass(frozen=True)
class AnyEndpoint:
    """Whatever answers at an address. `model`: the name to ask for; by default the first that is listed."""

    engine: ClassVar[str] = "endpoint"
    tested: ClassVar[str] = REAL
    parses_calls: ClassVar[bool] = True

    address: Endpoint | None = None  # by default the slot's
    model: str | None = None

    def at(self, slot: Slot) -> Endpoint:
        """Where to ask."""
        return self.address or slot.endpoint

    def name(self, slot: Slot) -> str | None:  # noqa: ARG002 - whoever writes slots down knows more
        """Return the model's name in requests, None for whatever is listed first."""
        return self.model

    def where(self, slot: Slot) -> Slot:
        """Return the slot: its address is the engine's."""
        return slot

    def command(self, launch: Launch, slot: Slot) -> Command:
        """Refuse: nothing is run from here."""
        self.refuse(f"the engine at {self.at(slot)} is to be given {launch.ref}, and is not run from here")

    def stage(self, launch: Launch, slot: Slot) -> None:
        """Refuse, as `command`."""
        self.command(launch, slot)

    def start(self, slot: Slot) -> None:
        """Refuse: somebody else starts it."""
        self.refuse(f"the engine at {self.at(slot)} is not started from here")

    def stop(self, slot: Slot, *, seconds: float) -> None:
        """Refuse: somebody else stops it."""
        self.refuse(f"the engine at {self.at(slot)} is not stopped from here (asked to within {seconds:g} s)")

    def ready(self, slot: Slot, *, seconds: float) -> Readiness:
        """Ask for one tool call until it is answered or the deadline is over."""
        endpoint = self.at(slot)
        said = _said(endpoint, self.name(slot))
        model = self.name(slot) or (said.first_model if said else ANY_MODEL)
        return tool_call.ready(endpoint, model=model, seconds=seconds, calls=self.parses_calls)

    def identity(self, slot: Slot, manifest: Manifest) -> Served:
        """Hash the files that the engine says it has loaded, where they can be seen from here."""
        endpoint = self.at(slot)
        try:
            return hold_against(identify(endpoint, model=self.name(slot)), endpoint, manifest)
        except EngineTrouble as exc:
            return Served(proven=False, why=str(exc))

    def in_flight(self, slot: Slot) -> int | None:
        """Return the engine's own count, where it is one that has a page for it."""
        said = _said(self.at(slot), self.name(slot))
        count = _COUNTERS.get(said.engine) if said else None
        return count(self.at(slot)) if count else None

    def drain(self, slot: Slot, *, seconds: float) -> Drained:
        """Wait until nothing is in flight; an engine that does not count is never idle."""
        return counting.wait_idle(lambda: self.in_flight(slot), seconds=seconds)

    def fingerprint(self, slot: Slot) -> Fingerprint:
        """Return what the engine says of itself; how it was started nobody here knows."""
        said = _said(self.at(slot), self.name(slot))
        if said is None:
            return Fingerprint(engine=self.engine)
        return Fingerprint(engine=said.engine, build=said.version, template_sha256=said.template_sha256)

    def refuse(self, step: str) -> NoReturn:
        raise NotStartedHere(self.engine, step)


def _said(endpoint: Endpoint, model: str | None) -> EngineIdentity | None:
    try:
        return identify(endpoint, model=model)
    except EngineTrouble:
        return None
