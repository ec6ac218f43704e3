"""The file that a run leaves behind: one JSON line per request as it finishes, and a last line that seals it.

Written by the child process, read by the parent as untrusted: another shape, a missing line, a line too many
or a last line that does not fit makes the run count as failed, whatever the lines say.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from io import BufferedWriter
from pathlib import Path
from typing import Any

from pipelines.suites.cases import CHAT
from pipelines.suites.format import Suite
from pipelines.suites.plan import CANDIDATE, Key, keys
from signing.canonical import NotCanonical, canonical_bytes, parse
from signing.digests import is_sha256

MAX_BYTES = 256 << 20  # of the file
MAX_LINE = 256 << 10  # bytes of one attempt, every letter escaped
MAX_EXCERPT = 400  # characters of the model's words that are kept
MAX_REASONS = 8  # of one attempt
MAX_REASON = 200  # characters
MAX_MESSAGES = 16  # of an attempt's transcript

OUTCOMES = ("passed", "failed", "trouble")


@dataclass(frozen=True)
class Attempt:
    """One run of one case. `trouble`: the engine gave nothing that could be judged; `reasons` say what."""

    case: str
    repeat: int  # 1 is the first
    outcome: str
    trouble: str | None  # unreachable, too-slow
    reasons: tuple[str, ...]
    parsed: bool  # the answer held a call that the engine had parsed
    valid: bool  # its arguments satisfied the tool's schema
    request: str  # sha256 of the request's bytes
    milliseconds: int
    finish_reason: str | None
    content: str  # excerpt
    calls: tuple[str, ...]  # excerpts, name and arguments
    side: str = CANDIDATE
    surface: str = CHAT
    stream: bool = False
    ttft_ms: int | None = None  # milliseconds to the first token; only of a streamed answer
    output_tokens: int | None = None  # as the engine counts them, else the streamed pieces
    messages: tuple[str, ...] = ()  # the transcript in short texts, `role: words`

    @property
    def key(self) -> Key:
        """What tells this attempt from every other of the run."""
        return Key(self.side, self.case, self.surface, self.stream, self.repeat)


@dataclass(frozen=True)
class Results:
    """What could be read. `problems` is empty only for a whole, sealed file that fits the suite."""

    attempts: tuple[Attempt, ...]
    problems: tuple[str, ...]
    stopped: str | None  # why the child ended early, as it said itself


class Writer:
    """Writes attempts as they finish, each flushed at once: a killed run leaves what it found."""

    def __init__(self, path: Path) -> None:
        self._stream: BufferedWriter = path.open("xb")
        self._hash = hashlib.sha256()
        self._lines = 0

    def add(self, attempt: Attempt) -> None:
        """Append one attempt."""
        line = _line(asdict(attempt))
        self._hash.update(line)
        self._lines += 1
        self._write(line)

    def seal(self, stopped: str | None) -> None:
        """Write the last line: how many came before it, their SHA-256, and why it ended early if it did."""
        self._write(_line({"lines": self._lines, "sha256": self._hash.hexdigest(), "stopped": stopped}))
        self._stream.close()

    def _write(self, line: bytes) -> None:
        self._stream.write(line)
        self._stream.flush()


def excerpt(text: str) -> str:
    """Return the beginning of a model's words, fit to be written and signed."""
    return text[:MAX_EXCERPT].encode("utf-8", "replace").decode()


def read(path: Path, suite: Suite, sides: Sequence[str] = (CANDIDATE,)) -> Results:
    """Read a results file that ought to be about `suite`, asked of `sides`. Never raises for what the file holds."""
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as exc:
        return Results((), (f"the results cannot be read ({exc.strerror})",), None)
    if len(data) > MAX_BYTES:
        return Results((), (f"the results are larger than {MAX_BYTES:,} bytes",), None)
    *lines, rest = data.split(b"\n")
    problems = ["the last line of the results is cut off"] if rest else []
    sealed = _seal(lines)
    if sealed is None:
        problems.append("the results are not sealed: the run did not end by itself")
    else:
        body = b"".join(line + b"\n" for line in lines[:-1])
        if (sealed["lines"], sealed["sha256"]) != (len(lines) - 1, hashlib.sha256(body).hexdigest()):
            problems.append("the results are not the ones that were sealed")
        lines = lines[:-1]
    attempts: list[Attempt] = []
    for number, line in enumerate(lines, start=1):
        try:
            attempts.append(read_line(line, number))
        except NotCanonical as exc:
            problems.append(str(exc)[:300])
            break
    problems.extend(_misfits(attempts, suite, sides))
    return Results(tuple(attempts), tuple(problems), sealed["stopped"] if sealed else None)


def _misfits(attempts: list[Attempt], suite: Suite, sides: Sequence[str]) -> Iterator[str]:
    """Yield what is there too much and what is missing."""
    wanted = set(keys(suite, suite.cases, sides))
    found = [attempt.key for attempt in attempts]
    if len(set(found)) != len(found):
        yield "a case has more results than it was run"
    if set(found) - wanted:
        yield "there are results of cases that the suite does not have"
    if missing := sorted(wanted - set(found)):
        yield f"{len(missing)} of {len(wanted)} results are missing, the first of case {missing[0].case}"


def _seal(lines: list[bytes]) -> dict[str, Any] | None:
    try:
        value = parse(lines[-1], max_bytes=MAX_LINE) if lines else None
    except NotCanonical:
        return None
    if not isinstance(value, dict) or set(value) != {"lines", "sha256", "stopped"}:
        return None
    fits = (
        type(value["lines"]) is int
        and is_sha256(value["sha256"])
        and isinstance(value["stopped"], str | None)
    )
    return value if fits else None


_TYPES: dict[str, Any] = {
    "case": str, "repeat": int, "outcome": str, "trouble": str | None, "parsed": bool, "valid": bool,
    "request": str, "milliseconds": int, "finish_reason": str | None, "content": str, "side": str,
    "surface": str, "stream": bool, "ttft_ms": int | None, "output_tokens": int | None,
}  # fmt: skip
_LISTS = ("reasons", "calls", "messages")


def read_line(line: bytes, number: int) -> Attempt:
    """Read one line of a results file. Raises `NotCanonical`."""
    at = f"results line {number}"
    value = parse(line, max_bytes=MAX_LINE, at=at)
    if not isinstance(value, dict) or set(value) != {field.name for field in fields(Attempt)}:
        raise NotCanonical("not the fields of a result", at=at)
    for name, kind in _TYPES.items():
        if not isinstance(value[name], kind) or (kind not in (bool, str) and isinstance(value[name], bool)):
            raise NotCanonical("not of the right type", at=f"{at}: {name}")
    for name in _LISTS:
        if not isinstance(value[name], list) or not all(isinstance(item, str) for item in value[name]):
            raise NotCanonical("not a list of texts", at=f"{at}: {name}")
    canonical_bytes(value)  # what has no canonical form could not stand in a report either
    if value["outcome"] not in OUTCOMES or (value["outcome"] == "passed") == bool(value["reasons"]):
        raise NotCanonical("the outcome and its reasons contradict each other", at=f"{at}: outcome")
    if (value["outcome"] == "trouble") != (value["trouble"] is not None):
        raise NotCanonical("the outcome and the trouble contradict each other", at=f"{at}: trouble")
    return Attempt(**value | {name: tuple(value[name]) for name in _LISTS})


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"  # ASCII: any text survives
