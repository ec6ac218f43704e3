"""Ollama, from its documentation alone: a daemon per slot with a store of its own, the model made from the GGUF.

Ollama names models by tags that may be moved, so identity is the blob that the model is made FROM, and the alias
is a copy of the name. It documents no count of requests, so draining it never says idle.
Sources: Ollama `docs/api.md` (version, show, copy), `docs/modelfile.md` (FROM), `docs/faq.md` (OLLAMA_HOST,
OLLAMA_MODELS, OLLAMA_KEEP_ALIVE, OLLAMA_CONTEXT_LENGTH).
"""

import re
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from pipelines.engines import process, staged
from pipelines.engines.endpoint import EngineTrouble, json_body
from pipelines.engines.flags import FlagRefused
from pipelines.engines.launch import DOCUMENTATION_ONLY, Command, Launch, Slot
from pipelines.engines.llama_server import gguf_file
from pipelines.engines.probe import EngineIdentity
from pipelines.engines.process import EngineProcessTrouble
from pipelines.engines.serving import NothingServable, ProcessDriver
from signing.canonical import NotCanonical, parse
from signing.durable import write_durably

_MODELFILE = "Modelfile"
_WAIT = 60.0  # seconds for the daemon to answer
_CREATE = 3600.0  # seconds to copy a model into the slot's store
_FROM = re.compile(r"^FROM (/.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Ollama(ProcessDriver):
    """One `ollama serve` per slot, with its models below the slot's folder."""

    engine: ClassVar[str] = "ollama"
    tested: ClassVar[str] = DOCUMENTATION_ONLY
    usual: ClassVar[tuple[str, ...]] = ("ollama",)
    refused: ClassVar[Mapping[str, str]] = {}

    def path(self, launch: Launch) -> Path:
        """Return the version's GGUF file."""
        return gguf_file(launch, self.engine)

    def arguments(self, launch: Launch, slot: Slot, path: Path) -> list[str]:  # noqa: ARG002 - all in the variables
        """Return the command line. Ollama's settings are variables; its templates are not Jinja."""
        if launch.profile.flags:
            raise FlagRefused(launch.profile.name, launch.profile.flags[0], "is none that `ollama serve` has")
        if launch.template is not None:
            raise NothingServable(launch.ref, self.engine, "it takes no Jinja chat template")
        return ["serve"]

    def command(self, launch: Launch, slot: Slot) -> Command:
        """Return the daemon's command with its address and store."""
        plain = super().command(launch, slot)
        own = {
            "OLLAMA_HOST": f"{slot.host}:{slot.port}",
            "OLLAMA_MODELS": str(staged.folder_of(slot).resolve() / "models"),
            "OLLAMA_KEEP_ALIVE": "-1",
            "OLLAMA_CONTEXT_LENGTH": str(launch.context),
        }
        return replace(plain, env={**plain.env, **own})

    def stage(self, launch: Launch, slot: Slot) -> None:
        """Write down what `start` is to run, and the Modelfile."""
        super().stage(launch, slot)
        write_durably(slot.folder / _MODELFILE, f"FROM {self.path(launch)}\n".encode())

    def start(self, slot: Slot) -> None:
        """Run the daemon, and make the model in it if it is not there."""
        super().start(slot)
        wanted = staged.read(slot)
        self._answers(slot)
        if _ask(slot, "/api/show", {"model": wanted.model}) is None:
            self._create(slot, wanted)

    def _answers(self, slot: Slot) -> None:
        deadline = time.monotonic() + _WAIT
        while time.monotonic() < deadline and process.running(slot) is not None:
            if _ask(slot, "/api/version") is not None:
                return
            time.sleep(0.2)
        raise EngineProcessTrouble(slot, f"does not answer ({process.how_it_ended(slot)})")

    def _create(self, slot: Slot, wanted: staged.Staged) -> None:
        """Blobs are copied by Ollama's own client: they are larger than one request of ours."""
        command = [*wanted.argv[:-1], "create", wanted.model, "-f", str(slot.folder / _MODELFILE)]
        try:
            subprocess.run(
                command,
                env=dict(wanted.env),
                capture_output=True,
                timeout=_CREATE,
                check=True,
                cwd=slot.folder,
            )
        except (OSError, subprocess.SubprocessError) as exc:
            raise EngineProcessTrouble(slot, f"`ollama create` did not make {wanted.model} ({exc})") from exc

    def loaded(self, slot: Slot, said: EngineIdentity) -> EngineIdentity:
        """The blob that the model is made from. Not what was staged: names can be moved by anybody."""
        shown = _ask(slot, "/api/show", {"model": staged.read(slot).model}) or {}
        made_from = _FROM.search(str(shown.get("modelfile", "")))
        return replace(said, engine=self.engine, model_path=made_from[1] if made_from else None)

    def alias(self, slot: Slot, name: str, target: str) -> None:
        """Let `name` mean what `target` means. Raises `EngineProcessTrouble` if Ollama does not do so."""
        try:
            answer = slot.endpoint.post(
                "/api/copy", json_body({"source": target, "destination": name}), seconds=_WAIT
            )
        except EngineTrouble as exc:
            raise EngineProcessTrouble(slot, f"the name {name} was not moved ({exc})") from exc
        if answer.status != 200:
            raise EngineProcessTrouble(slot, f"the name {name} was not moved (HTTP status {answer.status})")


def _ask(slot: Slot, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
    try:
        if body is None:
            answer = slot.endpoint.get(path, seconds=10)
        else:
            answer = slot.endpoint.post(path, json_body(body), seconds=30)
        value = parse(answer.body, max_bytes=len(answer.body), at=path)
    except (EngineTrouble, NotCanonical):
        return None
    return value if answer.status == 200 and isinstance(value, dict) else None
