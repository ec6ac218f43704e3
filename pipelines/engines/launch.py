"""The words of serving: where an engine lives, what is to be served there, and what is run for it.

Apart from the drivers because every module of this folder speaks of them. Nothing here does anything.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pipelines.engines.endpoint import Endpoint
from pipelines.errors import JudgingRefused
from registry.contracts import EngineProfile
from registry.manifests import Manifest

REAL = "real"  # tested with the engine itself
DOCUMENTATION_ONLY = "documentation only"
_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where to ask an engine that listens everywhere


class NotStartedHere(JudgingRefused):
    """An engine that somebody else starts and stops was to be started, stopped or given a model from here."""

    exit_code: ClassVar[int] = 223
    next_step: ClassVar[str] = (
        "Do this step with the engine's own tools, as its documentation says; then run the same command again."
    )

    def __init__(self, engine: str, step: str) -> None:
        super().__init__(f"{engine}: {step}")
        self.engine, self.step = engine, step


@dataclass(frozen=True)
class Slot:
    """Where one engine process lives: `name` is blue, green or candidate; `folder` is its own and private."""

    name: str
    folder: Path  # command.json, env, pid, ended, log, journal.jsonl, home
    host: str
    port: int

    @property
    def endpoint(self) -> Endpoint:
        """Where to ask what runs here."""
        return Endpoint("http", _ANY_ADDRESS.get(self.host, self.host), self.port)


@dataclass(frozen=True)
class Launch:
    """What is to be served. `files`: the version's own folder; `context`: tokens of one request, answer included."""

    ref: str
    manifest: Manifest
    files: Path
    profile: EngineProfile
    served_name: str  # the model name that clients ask for
    context: int
    template: Path | None = None  # a chat template that takes the place of the version's own


@dataclass(frozen=True)
class Command:
    """A program's arguments, and its whole environment: nothing else is inherited. Holds no secret."""

    argv: tuple[str, ...]
    env: Mapping[str, str]


@dataclass(frozen=True)
class Drained:
    """Whether the engine was seen idle, after how many seconds, and what was seen. Unknown is not idle."""

    idle: bool
    seconds: float
    why: str
