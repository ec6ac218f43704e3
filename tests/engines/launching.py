"""Launching the demonstration's models in slots of a test's own folder, ended by their own process at the end."""

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from pipelines.engines import process
from pipelines.engines.driver import Driver, Launch, Slot
from registry.contracts import EngineProfile
from registry.manifests import FileEntry, Manifest
from signing.digests import file_sha256

MODELS = Path(__file__).resolve().parents[2] / "demo" / "models"
CONTEXT = 1024  # tokens; the models were trained for 4096


def manifest_of(folder: Path) -> Manifest:
    """The manifest of the files that lie in a folder."""
    entries = sorted(FileEntry(p.name, p.stat().st_size, file_sha256(p)) for p in folder.iterdir())
    return Manifest("demo/tiny", tuple(entries))


def profile(engine: str, *flags: str, parses: Sequence[str] = ("hermes",), **extra: str) -> EngineProfile:
    return EngineProfile(f"{engine}-test", engine, "0", tuple(parses), flags, ("chat",), extra=extra)


def launch(name: str, of: EngineProfile, template: Path | None = None) -> Launch:
    folder = MODELS / name
    return Launch(f"demo/tiny@{name}", manifest_of(folder), folder, of, "demo/tiny", CONTEXT, template)


def free_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        port: int = trial.getsockname()[1]
        return port


@dataclass
class Slots:
    """Makes slots, and ends whatever runs in them."""

    folder: Path
    made: list[Slot] = field(default_factory=list)

    def new(self, name: str) -> Slot:
        slot = Slot(name, self.folder / name, "127.0.0.1", free_port())
        self.made.append(slot)
        return slot

    def moved(self, slot: Slot) -> Slot:
        """The same slot on another port."""
        return replace(slot, port=free_port())


@contextmanager
def slots(folder: Path) -> Iterator[Slots]:
    found = Slots(folder)
    try:
        yield found
    finally:
        for slot in found.made:
            if slot.folder.is_dir():
                process.stop(slot, seconds=3)


def serve(driver: Driver, what: Launch, slot: Slot, *, seconds: float = 180) -> None:
    """Stage, start and wait until ready."""
    driver.stage(what, slot)
    driver.start(slot)
    found = driver.ready(slot, seconds=seconds)
    assert found.ready, found.why
