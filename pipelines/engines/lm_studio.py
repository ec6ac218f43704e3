"""LM Studio, from its documentation alone: a program for people's desks, so people import and load, we look and unload.

What is to be loaded is written down like any other launch, with the commands; to start is to see that it was done.
It documents neither which files it has loaded nor how many requests it works on: never proven, never idle.
Sources: https://lmstudio.ai/docs, REST API v1 (`/api/v1/models`, `/api/v1/models/unload`) and the command line
(`lms import`, `lms load`).
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from pipelines.engines import staged
from pipelines.engines.any_endpoint import AnyEndpoint
from pipelines.engines.endpoint import json_body
from pipelines.engines.launch import DOCUMENTATION_ONLY, Command, Launch, Slot
from pipelines.engines.llama_server import gguf_file
from pipelines.engines.staged import Staged
from signing.canonical import NotCanonical, parse

_SECONDS = 30.0


@dataclass(frozen=True)
class LmStudio(AnyEndpoint):
    """The server of one LM Studio, at the slot's address; `model` is its identifier for what is loaded."""

    engine: ClassVar[str] = "lm-studio"
    tested: ClassVar[str] = DOCUMENTATION_ONLY

    def name(self, slot: Slot) -> str:
        """Return the identifier that was staged. Raises `SlotUnusable` if none was."""
        return staged.read(slot).model

    def command(self, launch: Launch, slot: Slot) -> Command:  # noqa: ARG002 - it has one address, its own
        """Return what a person runs after the import."""
        name = launch.served_name
        argv = ("lms", "load", name, "--identifier", name, "--context-length", str(launch.context))
        return Command(argv, {})

    def stage(self, launch: Launch, slot: Slot) -> None:
        """Write down what is to be loaded."""
        command = self.command(launch, slot)
        staged.write(
            slot,
            Staged(
                ref=launch.ref,
                version=launch.manifest.digest,
                engine=self.engine,
                argv=command.argv,
                env=command.env,
                flags=launch.profile.flags,
                model=launch.served_name,
                path=str(gguf_file(launch, self.engine)),
                calls=bool(launch.profile.parses),
                parser=None,
                template_sha256=None,
                dtype=None,
                context=launch.context,
            ),
        )

    def start(self, slot: Slot) -> None:
        """Do nothing if the model is loaded; refuse otherwise, naming the commands."""
        wanted = staged.read(slot)
        if wanted.model not in self.loaded(slot):
            importing = f"lms import {wanted.path} --user-repo {wanted.model} --symbolic-link"
            self.refuse(
                f"nothing called {wanted.model} is loaded: `{importing}`, then `{' '.join(wanted.argv)}`"
            )

    def stop(self, slot: Slot, *, seconds: float) -> None:
        """Unload the model. LM Studio itself goes on. Raises `EngineTrouble` if it does not answer."""
        name = self.name(slot)
        if name in self.loaded(slot):
            body = json_body({"instance_id": name})
            self.at(slot).post("/api/v1/models/unload", body, seconds=max(seconds, 1.0))

    def loaded(self, slot: Slot) -> set[str]:
        """Return the identifiers of everything that is loaded. Raises `EngineTrouble` if it does not answer."""
        answer = self.at(slot).get("/api/v1/models", seconds=_SECONDS)
        try:
            value = parse(answer.body, max_bytes=len(answer.body), at="/api/v1/models")
        except NotCanonical:
            return set()
        models = _objects(value.get("models") if isinstance(value, dict) else None)
        instances = [one for model in models for one in _objects(model.get("loaded_instances"))]
        return {str(one["id"]) for one in instances if isinstance(one.get("id"), str)}


def _objects(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
