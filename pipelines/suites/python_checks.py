"""A suite's Python checks as the run's child process sees them: a call, and what came of it.

The code itself runs in `python_host`, one caged process for each call; here nothing of it is even compiled.
"""

import contextlib
import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from pipelines.suites.cases import Case
from pipelines.suites.checks import Exchange
from pipelines.suites.format import Suite
from pipelines.suites.python_source import check_functions
from pipelines.suites.talk import Reply
from signing.canonical import NotCanonical, parse

SECONDS = 2.0  # for one check
MAX_WORDS = 256 << 10  # characters of an answer that a check is shown
MAX_SAID = 64 << 10  # bytes of one answer of the host's


class PythonChecks:
    """The host process, as long as the run lasts."""

    def __init__(self) -> None:
        self._host = subprocess.Popen(
            [sys.executable, "-I", "-B", "-m", "pipelines.suites.python_host"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"LANG": "C.UTF-8"},
        )

    def problem(self, suite: Suite, case: Case, function: str, exchange: Exchange) -> str | None:
        """Return what a check says against an exchange, or how it broke: that is never a pass."""
        path = check_functions(suite.files)[function]
        call = {
            "path": path,
            "source": suite.files[path],
            "function": function,
            "seconds": SECONDS,
            "exchange": shown(case, exchange),
        }
        found = self._ask(json.dumps(call).encode())
        if "broke" in found:
            return f"{function} broke: {found['broke']}"
        return None if found["said"] is None else f"{function}: {found['said']}"

    def _ask(self, line: bytes) -> dict[str, Any]:
        stdin, stdout = self._host.stdin, self._host.stdout
        if stdin is None or stdout is None:
            return {"broke": "there is no host for it"}
        try:
            stdin.write(line + b"\n")
            stdin.flush()
            return dict(parse(stdout.readline(MAX_SAID), max_bytes=MAX_SAID, at="check"))
        except (OSError, ValueError, NotCanonical):  # ValueError: closed by us
            return {"broke": "its host process is gone"}

    def close(self) -> None:
        """End the host."""
        with contextlib.suppress(OSError):
            if self._host.stdin is not None:
                self._host.stdin.close()
            if self._host.stdout is not None:
                self._host.stdout.close()
        self._host.kill()
        self._host.wait()


def shown(case: Case, exchange: Exchange) -> dict[str, Any]:
    """Return what a Python check is given: plain values, as documented in the guide to suites."""
    return {
        "case": case.id,
        "messages": [dict(message) for message in case.messages],
        "answer": _reply(exchange.first),
        "answer_to_result": _reply(exchange.second),
        "milliseconds": exchange.milliseconds,
    }


def _reply(reply: Reply | None) -> Mapping[str, Any] | None:
    if reply is None:
        return None
    return {
        "content": reply.content[:MAX_WORDS],
        "calls": [{"name": call.name, "arguments": call.arguments[:MAX_WORDS]} for call in reply.calls],
        "finish_reason": reply.finish_reason,
        "ttft_ms": reply.ttft_ms,
        "output_tokens": reply.output_tokens,
    }
