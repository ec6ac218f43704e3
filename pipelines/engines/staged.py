"""What a slot is to run, as it is written down: read again by every later command, and by people.

Apart from the drivers because it is a document of its own with its own reader. What was staged is what is
started, whatever happened to profiles and pins in between.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from pipelines.engines.launch import Command, Slot
from pipelines.errors import JudgingRefused
from signing.canonical import NotCanonical, parse, pretty_bytes
from signing.digests import sha256_hex
from signing.durable import write_durably

FILE, ENVIRONMENT = "command.json", "env"
_FORMAT = "tidegate-command/1"
_MAX_BYTES = 1 << 20


class SlotUnusable(JudgingRefused):
    """A slot holds nothing that can be started, something else runs in it, or its port is taken."""

    exit_code: ClassVar[int] = 221
    next_step: ClassVar[str] = (
        "Stop what runs there or give the slot another port, stage the version again, and start it then."
    )

    def __init__(self, slot: Slot, problem: str) -> None:
        super().__init__(f"slot {slot.name} ({slot.folder}): {problem}")
        self.slot, self.problem = slot, problem


@dataclass(frozen=True)
class Staged:
    """Everything that the steps after staging need. `calls`: readiness demands a parsed tool call."""

    ref: str
    version: str  # manifest digest
    engine: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    flags: tuple[str, ...]  # the profile's own, in its order
    model: str  # the name to ask for
    path: str  # the file or folder that the engine loads
    calls: bool
    parser: str | None
    template_sha256: str | None
    dtype: str | None
    context: int

    @property
    def command(self) -> Command:
        """What is run."""
        return Command(self.argv, self.env)

    def encode(self) -> bytes:
        """Return the document, indented: people read it."""
        fields = asdict(self) | {"argv": list(self.argv), "flags": list(self.flags), "env": dict(self.env)}
        return pretty_bytes({"format": _FORMAT, **fields})

    @property
    def digest(self) -> str:
        """SHA-256 of the document."""
        return sha256_hex(self.encode())


def write(slot: Slot, staged: Staged) -> bool:
    """Write down what the slot is to run. Returns whether that is something new."""
    slot.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path, data = slot.folder / FILE, staged.encode()
    if path.is_file() and path.read_bytes() == data:
        return False
    lines = "".join(f"{name}={value}\n" for name, value in sorted(staged.env.items()))
    write_durably(slot.folder / ENVIRONMENT, lines.encode())
    write_durably(path, data)
    return True


def read(slot: Slot) -> Staged:
    """Return what was staged. Raises `SlotUnusable` if nothing was, or the document is not one of ours."""
    try:
        with (slot.folder / FILE).open("rb") as stream:
            value = parse(stream.read(_MAX_BYTES + 1), max_bytes=_MAX_BYTES, at=FILE)
    except FileNotFoundError as exc:
        raise SlotUnusable(slot, "nothing is staged") from exc
    except NotCanonical as exc:
        raise SlotUnusable(slot, str(exc)) from exc
    staged = _staged(value)
    if staged is None or value != parse(staged.encode(), max_bytes=_MAX_BYTES):
        raise SlotUnusable(slot, f"{FILE} is not what staging writes")
    return staged


def _staged(value: Any) -> Staged | None:
    """The value as it is; whether every field is what it should be shows when it is written again."""
    fields = dict(value) if isinstance(value, dict) else {}
    if fields.pop("format", None) != _FORMAT or set(fields) != set(Staged.__dataclass_fields__):
        return None
    texts = all(isinstance(fields[name], list) for name in ("argv", "flags"))
    words = [*fields["argv"], *fields["flags"]] if texts else [None]
    if not all(isinstance(word, str) for word in words) or not isinstance(fields["env"], dict):
        return None
    return Staged(**fields | {"argv": tuple(fields["argv"]), "flags": tuple(fields["flags"])})


def folder_of(slot: Slot) -> Path:
    """Where the engine may write: its home and its temporary files."""
    return slot.folder / "home"
