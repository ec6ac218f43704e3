"""The parent's side: hands a template to a child process, ends it in time, and believes nothing that it answers."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, BinaryIO

from pipelines.scan.reading import quoted
from pipelines.wire import dialogue
from pipelines.wire.child import MAX_ANSWER, MAX_REQUEST, MAX_TEXT
from pipelines.wire.dialogue import Rendered
from registry.template_rules import WireDigests
from signing.canonical import NotCanonical, canonical_bytes, parse
from signing.digests import sha256_hex

MAX_TEMPLATE = 256 << 10  # bytes; the longest published template has about 30 KB
SECONDS = 10
_TOKENS = frozenset(
    ("bos_token", "eos_token", "pad_token", "unk_token", "sep_token", "cls_token", "mask_token")
)


class _Silent(Exception):
    """The child gave no answer. An internal signal: `render_digests` turns it into a problem."""


def render_digests(template: str, *, tokens: Mapping[str, str], seconds: int = SECONDS) -> WireDigests:
    """Render a chat template over the fixed dialogue and say what it writes. Never raises for any template.

    Args:
        tokens: the tokenizer's special tokens by their names, `bos_token` and so on; others are left out.
        seconds: of time, and of processor time, that the template may take for everything.

    Returns: with `problem` set where the template is too large, is no template, never ends, needs too much, writes
        too much, or tries what no chat template has to do.
    """
    known = {name: text for name, text in tokens.items() if name in _TOKENS}
    try:
        size = len(template.encode())
    except UnicodeEncodeError:
        return WireDigests(problem="half of a surrogate pair stands in the template")
    if size > MAX_TEMPLATE:
        return WireDigests(problem=f"the template has {size} bytes; at most {MAX_TEMPLATE} are rendered")
    try:
        return _digests(template, tuple(sorted(known.items())), seconds)
    except (_Silent, NotCanonical) as exc:
        return WireDigests(
            problem=quoted(str(exc), quotes=False), template_sha256=sha256_hex(template.encode())
        )


@lru_cache(maxsize=64)
def _digests(template: str, tokens: tuple[tuple[str, str], ...], seconds: int) -> WireDigests:
    jobs = dialogue.jobs()
    request = {
        "parent": os.getpid(),
        "seconds": seconds,
        "template": template,
        "tokens": dict(tokens),
        "jobs": jobs,
    }
    answer = parse(_ask(canonical_bytes(request), seconds), max_bytes=MAX_ANSWER, at="the answer")
    if isinstance(answer, dict) and isinstance(answer.get("problem"), str):
        raise _Silent(answer["problem"])
    return dialogue.interpret(template, _rendered(answer, jobs))


def _rendered(answer: Any, jobs: Mapping[str, Any]) -> dict[str, Rendered]:
    """Read the answer as strictly as any foreign document: whoever broke out of the sandbox wrote it."""
    found = answer.get("rendered") if isinstance(answer, dict) else None
    if not isinstance(found, dict) or found.keys() != jobs.keys():
        raise _Silent("the child process answered something else")
    out = {}
    for name, item in found.items():
        text = item.get("text") if isinstance(item, dict) else None
        error = item.get("error") if isinstance(item, dict) else None
        if isinstance(text, str) and len(text) <= MAX_TEXT:
            out[name] = Rendered(text)
        elif isinstance(error, str):
            out[name] = Rendered(None, quoted(error, quotes=False))
        else:
            raise _Silent("the child process answered something else")
    return out


def _ask(request: bytes, seconds: int) -> bytes:
    if len(request) > MAX_REQUEST:
        raise _Silent("the template and its tokens are too large together")
    with _memory("request") as given, _memory("answer") as taken:
        given.write(request)
        given.seek(0)
        process = subprocess.Popen(
            [sys.executable, "-I", "-B", "-m", "pipelines.wire.child"],
            cwd="/",
            env={"PATH": os.defpath, "LANG": "C.UTF-8"},
            stdin=given,
            stdout=taken,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        late = _wait(process, seconds)
        if late:
            raise _Silent(f"did not end within {seconds} s")
        if process.returncode:
            raise _Silent(_ended(process.returncode, seconds))
        taken.seek(0)
        return taken.read(MAX_ANSWER + 1)


def _wait(process: subprocess.Popen[bytes], seconds: int) -> bool:
    """Wait for the end, or make one. Returns whether it had to be made."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return True
    finally:
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return False


def _ended(status: int, seconds: int) -> str:
    if -status in (signal.SIGXCPU, signal.SIGKILL):
        return f"did not end within {seconds} s"
    return f"rendering ended with status {status}"


def _memory(name: str) -> BinaryIO:
    """A file without a name, in memory: nothing of a template ever lies on a disk."""
    return os.fdopen(os.memfd_create(f"tidegate-{name}"), "w+b")
