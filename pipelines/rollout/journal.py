"""What a rollout has begun and done, on disk before and after each step: a crash loses nothing but the crash.

One file per rollout, one JSON line per fact, each made durable before the next step. A line that a crash cut off
never ends in a newline: it says nothing, and is cut away. Anything else that cannot be read is a refusal.
"""

import os
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.rollout.plan import Step
from pipelines.rollout.refusals import JournalDamaged
from signing.canonical import NotCanonical, canonical_bytes, parse
from signing.durable import sync_directory

FORMAT = "tidegate-rollout/1"
FORTH, BACK = "forth", "back"
BEGUN, DONE, FAILED = "begun", "done", "failed"
SERVED, TURNED_BACK = "SERVED", "TURNED-BACK"
_MAX_BYTES = 4 << 20
_MAX_SAID = 2000  # characters of what a step said
_NAME = re.compile(r".*--(\d{4,})-[0-9a-f]{6}\.jsonl")
_STEP = {"ms", "way", "step", "state", "said"}


@dataclass(frozen=True)
class Line:
    """One fact about a step. `ms`: milliseconds that the rollout had worked by then, time between crashes left out."""

    ms: int
    way: str
    step: str
    state: str
    said: str


@dataclass
class Journal:
    """One rollout's journal, open for more. `header`: what was to be done, as it was when it began."""

    path: Path
    header: dict[str, Any]
    lines: list[Line] = field(default_factory=list)
    turned: str | None = None  # why it walks back
    end: str | None = None
    crashes: int = 0  # how often it was taken up again
    worked: int = 0  # milliseconds, as the newest line says
    _began: float = field(default_factory=time.monotonic)

    @property
    def rollout(self) -> str:
        """The rollout's own name."""
        return self.path.name.removesuffix(".jsonl")

    @property
    def milliseconds(self) -> int:
        """How long the rollout has worked."""
        return round((time.monotonic() - self._began) * 1000)

    def begin(self, step: Step, way: str) -> None:
        """Say that a step is about to be done."""
        self._step(way, step.name, BEGUN, "")

    def done(self, step: Step, way: str, said: str) -> None:
        """Say that it was."""
        self._step(way, step.name, DONE, said)

    def failed(self, step: Step, way: str, why: str) -> None:
        """Say that it was not."""
        self._step(way, step.name, FAILED, why)

    def turn(self, why: str) -> None:
        """From now on the rollout walks back."""
        self.turned = why[:_MAX_SAID]
        self._write({"ms": self.milliseconds, "turned": self.turned})

    def finish(self, outcome: str) -> None:
        """Nothing more comes."""
        self.end = outcome
        self._write({"ms": self.milliseconds, "end": outcome})

    def take_up(self, actor: str) -> None:
        """Somebody goes on where a crash left off."""
        self.crashes += 1
        self._write({"ms": self.milliseconds, "again": actor})

    def state(self, step: Step, way: str) -> str | None:
        """The newest that is said of a step: begun, done, failed; None when nothing is."""
        found = [line.state for line in self.lines if (line.way, line.step) == (way, step.name)]
        return found[-1] if found else None

    def begun(self) -> set[str]:
        """Names of the steps that were begun on the way forth: these may have changed something."""
        return {line.step for line in self.lines if line.way == FORTH}

    def _step(self, way: str, step: str, state: str, said: str) -> None:
        line = Line(self.milliseconds, way, step, state, said[:_MAX_SAID])
        self._write(
            {"ms": line.ms, "way": line.way, "step": line.step, "state": line.state, "said": line.said}
        )
        self.lines.append(line)

    def _write(self, value: dict[str, Any]) -> None:
        self.worked = value.get("ms", 0)
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        try:
            data = canonical_bytes(value) + b"\n"
            if os.write(handle, data) != len(data):  # a full disk takes a part: the next reader cuts it off
                raise OSError(28, "the journal's disk is full", str(self.path))
            os.fsync(handle)
        finally:
            os.close(handle)


def create(folder: Path, label: str, header: dict[str, Any], *, salt: str) -> Journal:
    """Begin a rollout's journal. `salt`: six hex digits, so that two nodes never give the same name."""
    folder.mkdir(parents=True, exist_ok=True)
    newest = latest(folder, label)
    number = _number(newest) + 1 if newest else 1
    path = folder / f"{label}--{number:04d}-{salt}.jsonl"
    journal = Journal(path, header)
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
    journal._write({"format": FORMAT, **header})  # noqa: SLF001 - its own constructor
    sync_directory(folder)
    return journal


def latest(folder: Path, label: str) -> Path | None:
    """The newest journal of a model in a tier."""
    found = [
        path
        for path in folder.glob(f"{label}--*.jsonl")
        if _NAME.fullmatch(path.name) and path.name.rsplit("--", 1)[0] == label
    ]
    return max(found, key=_number, default=None)


def _number(path: Path) -> int:
    match = _NAME.fullmatch(path.name)
    return int(match[1]) if match else 0


def reopen(path: Path, *, repair: bool = True) -> Journal | None:
    """Read a journal and cut off what a crash left half written. None: it crashed before its first line was whole.

    Args:
        repair: False leaves the file as it is, for those who only look.

    Raises:
        JournalDamaged: a whole line is not one of ours.
    """
    with path.open("r+b" if repair else "rb") as stream:
        data = stream.read(_MAX_BYTES + 1)
        if len(data) > _MAX_BYTES:
            raise JournalDamaged(str(path), f"more than {_MAX_BYTES} bytes")
        whole = data[: data.rfind(b"\n") + 1]
        if whole != data and repair:
            stream.truncate(len(whole))
            os.fsync(stream.fileno())
    values = [_value(path, number, line) for number, line in enumerate(whole.splitlines(), 1)]
    if not values:
        if repair:
            path.unlink()
            sync_directory(path.parent)
        return None
    journal = Journal(path, values[0])
    if journal.header.pop("format", None) != FORMAT:
        raise JournalDamaged(str(path), f"its first line is not of format {FORMAT}")
    for number, value in enumerate(values[1:], 2):
        journal.worked = _take(journal, value, number)
    journal._began -= journal.worked / 1000  # noqa: SLF001 - its own constructor
    return journal


def _value(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        value = parse(line, max_bytes=_MAX_BYTES, at=f"line {number}")
    except NotCanonical as exc:
        raise JournalDamaged(str(path), str(exc)) from exc
    if not isinstance(value, dict):
        raise JournalDamaged(str(path), f"line {number} is not an object")
    return value


def _take(journal: Journal, value: dict[str, Any], number: int) -> int:
    """Add a line that was read; return its milliseconds."""
    ms = value.get("ms")
    texts = all(isinstance(item, str) for name, item in value.items() if name != "ms")
    if type(ms) is int and ms >= 0 and texts:
        if set(value) == _STEP:
            journal.lines.append(Line(**value))
            return ms
        if set(value) == {"ms", "turned"}:
            journal.turned = value["turned"]
            return ms
        if set(value) == {"ms", "again"}:
            journal.crashes += 1
            return ms
        if set(value) == {"ms", "end"}:
            journal.end = value["end"]
            return ms
    raise JournalDamaged(str(journal.path), f"line {number} is not what a rollout writes")
