"""The child process of a run: takes away from itself what a run does not need, then hands over to pytest.

A suite is data and the engine's answers are data, and both are somebody else's. Should either find a hole in
a parser, there is little behind it: no other address to speak to, no program to start, no file to write
outside the run's folder, bounded memory, time and file size, and no life after the parent's.
The audit hook is a second line, not a sandbox: it stops Python code, not native code.
"""

import contextlib
import ctypes
import json
import os
import resource
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipelines.engines.endpoint import Endpoint
from pipelines.suites.plan import Side
from pipelines.suites.python_checks import PythonChecks
from pipelines.suites.results import MAX_BYTES
from signing.canonical import parse

SUITE, CONTRACT, RESULTS, JUNIT = "tidegate.suite.json", "contract.json", "results.jsonl", "junit.xml"
RESUMED = "resumed.jsonl"
MEMORY = 1 << 30  # bytes of address space; a run needs about 300 MB of it
FILES = 256  # open at once; a request in flight is one
_PR_SET_PDEATHSIG = 1  # <sys/prctl.h>
_NEVER = frozenset(
    {
        "subprocess.Popen",
        "os.system",
        "os.exec",
        "os.posix_spawn",
        "os.spawn",
        "os.fork",
        "os.forkpty",
        "pty.spawn",
        "socket.bind",
        "socket.sendto",
        "ctypes.dlopen",
    }
)
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class NotForARun(PermissionError):
    """Something that no case needs was tried."""


@dataclass(frozen=True)
class Order:
    """What the parent wants; it comes as one argument, so that nothing else in the environment counts."""

    parent: int  # process id
    seconds: int
    sides: tuple[Side, ...]  # the candidate first
    python: bool  # the suite's own checks may be run

    def text(self) -> str:
        """The argument."""
        return json.dumps(asdict(self))

    @classmethod
    def read(cls, text: str) -> "Order":
        """Undo `text`."""
        value = parse(text.encode(), max_bytes=1 << 20, at="order")
        return cls(**value | {"sides": tuple(Side(**side) for side in value["sides"])})


def main(arguments: list[str]) -> int:
    """Run the suite in the current folder."""
    order = Order.read(arguments[0])
    _die_with(order.parent)
    _limit(order.seconds)
    import pytest  # noqa: PLC0415 - within the limits; and the parent, which knows our names, needs none of it

    folder = Path.cwd()
    python = PythonChecks() if order.python else None  # before no program can be started any more
    sys.addaudithook(_guard(folder, [Endpoint.parse(side.endpoint) for side in order.sides]))
    return pytest.main(
        [
            *("-p", "pipelines.suites.plugin", "-p", "no:cacheprovider", "-p", "no:faulthandler"),
            *("-c", "pytest.ini", "--rootdir", str(folder), "--noconftest", "--assert=plain"),
            *("-q", "--no-header", "--tb=short", "--capture=no", "--color=no"),
            *(f"--junitxml={JUNIT}", "-o", "junit_suite_name=tidegate", "-o", "junit_family=xunit2"),
            *_options(order.sides),
            SUITE,
        ],
        plugins=[python] if python else [],
    )


def _options(sides: Sequence[Side]) -> Iterator[str]:
    yield f"--tidegate-results={RESULTS}"
    for side, prefix in zip(sides, ("", "-baseline"), strict=False):
        yield f"--tidegate{prefix or '-endpoint'}={side.endpoint}"
        yield f"--tidegate{prefix}-model={side.model}"
    for name, file in (("contract", CONTRACT), ("resume", RESUMED)):
        if Path(file).exists():
            yield f"--tidegate-{name}={file}"


def _die_with(parent: int) -> None:
    """Be killed when the parent ends, however it ends. Source: prctl(2)."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before we asked
        os.kill(os.getpid(), signal.SIGKILL)


def _limit(seconds: int) -> None:
    for what, most in (
        (resource.RLIMIT_AS, MEMORY),
        (resource.RLIMIT_CPU, seconds + 5),
        (resource.RLIMIT_FSIZE, MAX_BYTES),
        (resource.RLIMIT_NOFILE, FILES),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(what)
        least = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (least, least))


def _guard(folder: Path, endpoints: Sequence[Endpoint]) -> Any:
    """Return the hook. Source: PEP 578; the events are in Python's audit events table."""
    named = {(endpoint.host, endpoint.port) for endpoint in endpoints}
    allowed: set[tuple[Any, Any]] = set()
    for host, port in named:
        with contextlib.suppress(OSError):  # every request will say so itself
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            allowed |= {(entry[4][0], entry[4][1]) for entry in found}
    inside = f"{folder}{os.sep}"

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in _NEVER:
            raise NotForARun(event)
        if event == "socket.connect" and tuple(arguments[1][:2]) not in allowed:
            raise NotForARun(f"a connection to {arguments[1]!r}")
        if event == "socket.getaddrinfo" and tuple(arguments[:2]) not in named:
            raise NotForARun(f"the address of {arguments[0]!r}")
        if event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITES:
            path = arguments[0]
            known = isinstance(path, str | bytes)
            name = os.path.abspath(os.fsdecode(path)) if known else ""  # noqa: PTH100 - no look at the disk here
            if name and name != os.devnull and not name.startswith(inside):
                raise NotForARun(f"writing {name}")

    return hook


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
