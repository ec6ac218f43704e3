"""What `tidegate suites` says on a terminal: a run's progress, its result in a few lines, and the machine's kind."""

import os
import platform
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from tidegate.output import SHORT, duration

SHOWN_CASES = 10
SHOWN_REASONS = 3
REASON_CHARS = 160
_COMPARING = ("margin", "lost_cases_max", "ratio")  # fields of a gate that compares
_MEMORY = re.compile(r"MemTotal:\s+(\d+) kB")


class Count:
    """Requests answered, and time left, on stderr: live on a terminal, else a line every ten seconds."""

    def __init__(self, suite: str) -> None:
        self._suite = suite
        self._began = self._said = time.monotonic()
        self._terminal = sys.stderr.isatty()
        self._open = False

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._said < (0.1 if self._terminal else 10) and done < total:
            return
        if not self._terminal and now - self._began < 10:
            return  # a short run needs no progress in a log
        self._said = now
        left = (now - self._began) / done * (total - done) if done else 0
        text = f"{self._suite}: {done} of {total} requests answered, {duration(left)} left"
        click.echo(f"\r\x1b[K{text}" if self._terminal else text, err=True, nl=not self._terminal)
        self._open = self._terminal

    def finish(self) -> None:
        """Leave the line."""
        if self._open:
            click.echo("", err=True)


def this_machine() -> str:
    """Return the kind of this machine, not its name: `x86_64/2 cores/24 GiB`."""
    try:
        found = _MEMORY.search(Path("/proc/meminfo").read_text())
    except OSError:
        found = None
    memory = f"{round(int(found[1]) / (1 << 20))} GiB" if found else "memory unknown"
    return f"{platform.machine()}/{os.cpu_count() or 1} cores/{memory}"


def is_local(endpoint: str) -> bool:
    """Whether an address is this machine's. Raises `EndpointUnusable`."""
    from pipelines.engines.endpoint import Endpoint  # light commands import no engine

    return Endpoint.parse(endpoint).is_local


def run_lines(digest: str, body: Mapping[str, Any], page: Path | None) -> Iterator[str]:
    """Yield a run's result in a few lines, from its report."""
    version, counts = body["version"], body["counts"]
    ref = f"{version['model']}@{version['ordinal']}"
    yield (
        f"{body['suite']['name']} on {ref}: {body['outcome']}, "
        f"{counts['passed']} of {len(body['cases'])} cases"
    )
    yield f"  files served: {body['identity']['state']} ({body['identity']['why']})"
    yield from _comparison(body)
    yield f"  report {digest[:SHORT]}, signed by this home"
    yield from (f"  {reason}" for reason in body["reasons"])
    wrong = [case for case in body["cases"] if case["attempts"] and case["outcome"] != "passed"]
    yield from _named("not passed", [case["id"] for case in wrong])
    yield from (f"    {line}" for line in _first_reasons(wrong))
    yield from _named("set aside by decision", [case["id"] for case in wrong if case.get("quarantined")])
    yield from _named("flaky", [flip["case"] for flip in body.get("flips", [])])
    if page is not None:
        yield f"  page: {page}"


def _first_reasons(wrong: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What was wrong with the first few, in a line each; the page and --json say the rest."""
    for case in wrong[:SHOWN_REASONS]:
        said = next((reason for one in case["attempts"] for reason in one["reasons"]), None)
        if said is not None:
            line = " ".join(f"{case['id']}: {said}".split())
            yield line if len(line) <= REASON_CHARS else f"{line[:REASON_CHARS]}…"


def _comparison(body: Mapping[str, Any]) -> Iterator[str]:
    """What a gate wanted to compare with, and what came of it; nothing where no gate compares."""
    comparison = body.get("comparison")
    compares = any(gate.get(name) is not None for gate in body["gates"] for name in _COMPARING)
    if comparison is None or (comparison["state"] != "measured" and not compares):
        return
    yield f"  {comparison['why']}"
    if comparison["state"] == "measured":
        yield from _named("lost", body["lost"])
        yield from _named("won", body["won"])


def _named(what: str, names: Sequence[str]) -> Iterator[str]:
    """Some things by name, as many as fit a screen; the report holds them all."""
    if names:
        more = f" and {len(names) - SHOWN_CASES} more" if len(names) > SHOWN_CASES else ""
        yield f"  {what}: {', '.join(names[:SHOWN_CASES])}{more}"


def evidence_lines(digest: str, body: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a log that was taken in says."""
    log, version = body["log"], body["version"]
    yield f"{log['tool']} {log['tool_version']} about {log['model_named']}: {log['counted']} samples, {log['status']}"
    yield f"  noted beside {version['model']}@{version['ordinal']}; no gate looks at it"
    for one in log["metrics"][:SHOWN_CASES]:
        error = f" (standard error {one['error']})" if one["error"] else ""
        yield f"  {one['task']} {one['name']}: {one['value']}{error}"
    yield f"  report {digest[:SHORT]}; file {log['file']['sha256'][:SHORT]}"
