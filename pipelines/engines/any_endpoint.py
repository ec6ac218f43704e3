"""An OpenAI-compatible engine that somebody else runs: asked by its address, never started or stopped.

Everything that needs only questions works; everything that needs the process is refused, so that no plan that
counts on it begins. LM Studio is such an engine with two pages of its own.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, NoReturn

from pipelines.engines import counting, tool_call
from pipelines.engines.endpoint import Endpoint, EngineTrouble, json_body
from pipelines.engines.fingerprint import Fingerprint
from pipelines.engines.launch import (
    DOCUMENTATION_ONLY,
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
from signing.canonical import NotCanonical, parse

_COUNTERS = {"llama-server": counting.llama_server, "vllm": counting.vllm}
_SECONDS = 30.0


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

    def command(self, launch: Launch, slot: Slot) -> Command:
        """Refuse: nothing is run from here."""
        self._not_ours(f"the engine at {self.at(slot)} is to be given {launch.ref}, and is not run from here")

    def stage(self, launch: Launch, slot: Slot) -> None:
        """Refuse, as `command`."""
        self.command(launch, slot)

    def start(self, slot: Slot) -> None:
        """Refuse: somebody else starts it."""
        self._not_ours(f"the engine at {self.at(slot)} is not started from here")

    def stop(self, slot: Slot, *, seconds: float) -> None:
        """Refuse: somebody else stops it."""
        self._not_ours(
            f"the engine at {self.at(slot)} is not stopped from here (asked to within {seconds:g} s)"
        )

    def ready(self, slot: Slot, *, seconds: float) -> Readiness:
        """Ask for one tool call until it is answered or the deadline is over."""
        endpoint = self.at(slot)
        said = _said(endpoint, self.model)
        model = self.model or (said.first_model if said else ANY_MODEL)
        return tool_call.ready(endpoint, model=model, seconds=seconds, calls=self.parses_calls)

    def identity(self, slot: Slot, manifest: Manifest) -> Served:
        """Hash the files that the engine says it has loaded, where they can be seen from here."""
        endpoint = self.at(slot)
        try:
            return hold_against(identify(endpoint, model=self.model), endpoint, manifest)
        except EngineTrouble as exc:
            return Served(proven=False, why=str(exc))

    def in_flight(self, slot: Slot) -> int | None:
        """Return the engine's own count, where it is one that has a page for it."""
        said = _said(self.at(slot), self.model)
        count = _COUNTERS.get(said.engine) if said else None
        return count(self.at(slot)) if count else None

    def drain(self, slot: Slot, *, seconds: float) -> Drained:
        """Wait until nothing is in flight; an engine that does not count is never idle."""
        return counting.wait_idle(lambda: self.in_flight(slot), seconds=seconds)

    def fingerprint(self, slot: Slot) -> Fingerprint:
        """Return what the engine says of itself; how it was started nobody here knows."""
        said = _said(self.at(slot), self.model)
        if said is None:
            return Fingerprint(engine=self.engine)
        return Fingerprint(engine=said.engine, build=said.version, template_sha256=said.template_sha256)

    def _not_ours(self, step: str) -> NoReturn:
        raise NotStartedHere(self.engine, step)


@dataclass(frozen=True)
class LmStudio(AnyEndpoint):
    """LM Studio's server, from its documentation alone: people import and load, we look and unload.

    Sources: https://lmstudio.ai/docs, developer, REST API v1: models, models/unload; command line: import, load.
    """

    engine: ClassVar[str] = "lm-studio"
    tested: ClassVar[str] = DOCUMENTATION_ONLY

    def start(self, slot: Slot) -> None:
        """Do nothing if the model is loaded; refuse otherwise, naming the commands."""
        if self.model is None or self.model not in self.loaded(slot):
            name = self.model or "NAME"
            self._not_ours(
                f"nothing called {name} is loaded: `lms import FILE.gguf --user-repo {name} --symbolic-link`, "
                f"then `lms load {name} --identifier {name} --context-length TOKENS`"
            )

    def stop(self, slot: Slot, *, seconds: float) -> None:
        """Unload the model. LM Studio itself goes on. Raises `EngineTrouble` if it does not answer."""
        if self.model is not None and self.model in self.loaded(slot):
            body = json_body({"instance_id": self.model})
            self.at(slot).post("/api/v1/models/unload", body, seconds=max(seconds, 1.0))

    def loaded(self, slot: Slot) -> set[str]:
        """Return the names of everything that is loaded. Raises `EngineTrouble` if it does not answer."""
        answer = self.at(slot).get("/api/v1/models", seconds=_SECONDS)
        try:
            value = parse(answer.body, max_bytes=len(answer.body), at="/api/v1/models")
        except NotCanonical:
            return set()
        models = value.get("models") if isinstance(value, dict) else None
        instances = [one for model in _objects(models) for one in _objects(model.get("loaded_instances"))]
        return {str(one["id"]) for one in instances if isinstance(one.get("id"), str)}


def _objects(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _said(endpoint: Endpoint, model: str | None) -> EngineIdentity | None:
    try:
        return identify(endpoint, model=model)
    except EngineTrouble:
        return None
