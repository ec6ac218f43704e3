"""The grandchild of a run that calls a suite's Python checks: one caged process for each call, and no code in itself.

One JSON object per line comes in: the source, the function, what it is given, how long it may take. One per line
goes out: what the check said, or how it broke. Whatever the check does, the answer is bounded in time and size.
"""

import contextlib
import importlib
import json
import os
import select
import signal
import sys
import time
from collections.abc import Mapping
from typing import Any

from pipelines.suites import cage
from signing.canonical import NotCanonical, parse

MAX_CALL = 256 << 20  # bytes of a question; what is in it was bounded where it came from
MAX_SAID = 4096  # bytes that a check's answer may have on the pipe
# Loaded before the cage is shut: inside, no file can be opened, so nothing else can be imported.
OFFERED = (
    "ast", "base64", "binascii", "bisect", "collections", "copy", "dataclasses", "datetime", "decimal", "difflib",
    "enum", "fractions", "functools", "hashlib", "heapq", "html", "itertools", "json", "math", "operator", "random",
    "re", "statistics", "string", "textwrap", "typing", "unicodedata", "zlib",
)  # fmt: skip


def main() -> int:
    """Answer calls until the input ends."""
    for name in OFFERED:
        importlib.import_module(name)
    for line in sys.stdin.buffer:
        try:
            found = answer(parse(line, max_bytes=MAX_CALL, at="call"))
        except NotCanonical as exc:
            found = {"broke": f"it cannot be shown the exchange ({exc})"}
        sys.stdout.buffer.write(json.dumps(found).encode() + b"\n")
        sys.stdout.buffer.flush()
    return 0


def answer(call: Mapping[str, Any]) -> dict[str, Any]:
    """Make one call in a process of its own and return {"said": text or null} or {"broke": why}."""
    out, into = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(out)
        _inside(call, into)
    os.close(into)
    try:
        data, late = _listen(out, call["seconds"])
    finally:
        os.close(out)
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
        _, status = os.waitpid(process, 0)
    if late:
        return {"broke": f"took longer than {call['seconds']:g} s"}
    return _read(data, status)


def _listen(pipe: int, seconds: float) -> tuple[bytes, bool]:
    """Return what came, a little more than is allowed at most, and whether time ran out first."""
    deadline = time.monotonic() + seconds
    data = b""
    while len(data) <= MAX_SAID:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([pipe], [], [], left)[0]:
            return data, True
        piece = os.read(pipe, MAX_SAID)
        if not piece:
            break
        data += piece
    return data, False


def _read(data: bytes, status: int) -> dict[str, Any]:
    if len(data) > MAX_SAID:
        return {"broke": f"said more than {MAX_SAID} bytes"}
    with contextlib.suppress(NotCanonical):
        found = parse(data, max_bytes=MAX_SAID, at="check")
        if isinstance(found, dict) and set(found) in ({"said"}, {"broke"}):
            value = next(iter(found.values()))
            if isinstance(value, str) or (value is None and "said" in found):
                return found
    return {"broke": f"ended without an answer (status {os.waitstatus_to_exitcode(status)})"}


def _inside(call: Mapping[str, Any], pipe: int) -> None:
    """Become the caged process: never returns."""
    found: dict[str, Any] = {"broke": "ended without an answer"}
    try:
        _leave_only(pipe)
        cage.enter(int(call["seconds"]) + 1)
        found = {"said": _called(call)}
    except BaseException as exc:  # noqa: BLE001 - somebody else's code: SystemExit is as good as any other end
        found = {"broke": f"{type(exc).__name__}: {exc}"[:400]}
    finally:
        with contextlib.suppress(BaseException):
            os.write(pipe, json.dumps(found).encode())
        os._exit(0)


def _leave_only(pipe: int) -> None:
    """Keep no way to anywhere: not to the run, not to its log, not to the terminal."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nowhere, number)
    os.closerange(3, pipe)
    os.closerange(pipe + 1, 1024)


def _called(call: Mapping[str, Any]) -> str | None:
    names: dict[str, Any] = {"__name__": "checks"}
    exec(compile(call["source"], call["path"], "exec"), names)  # noqa: S102 - this is what the cage is for
    said = names[call["function"]](call["exchange"])
    if said is not None and not isinstance(said, str):
        raise TypeError(
            f"the check returned {type(said).__name__}; None means that all is well, a text says what is not"
        )
    return said


if __name__ == "__main__":
    sys.exit(main())
