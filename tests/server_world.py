"""The doors for tests: within this process for questions, as the real process for clients that know nothing of us."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from registry.access import parse_grants
from registry.home import Home
from tidegate.server.premises import Premises
from tidegate.server.settings import ServerSettings, load
from tidegate.settings import from_environment
from tidegate.wiring import App

if TYPE_CHECKING:
    from starlette.testclient import TestClient

PATIENCE = 60  # seconds until a server has to be there, on a machine where everything runs at once


@contextmanager
def premises(
    home: Path,
    settings: ServerSettings | None = None,
    *,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Iterator[Premises]:
    """A home opened as the server opens it."""
    app = App(from_environment(home=home, actor="server"), clock=clock)
    found = Premises(app, settings or load(home))
    try:
        yield found
    finally:
        found.close()


@contextmanager
def door(
    home: Path,
    settings: ServerSettings | None = None,
    *,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    token: str | None = None,
) -> Iterator["TestClient"]:
    """The application in this process, asked without a socket. A bug's traceback comes through."""
    from starlette.testclient import TestClient

    from tidegate.server.app import build

    with premises(home, settings, clock=clock) as open_home:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        with TestClient(build(open_home), base_url="http://127.0.0.1", headers=headers) as client:
            yield client


@dataclass(frozen=True)
class Served:
    """A running `tidegate serve`."""

    url: str
    process: "subprocess.Popen[str]"


@contextmanager
def served(home: Path, *arguments: str, environment: dict[str, str] | None = None) -> Iterator[Served]:
    """The real process on a free port of the loopback; asked to end when the block does, by its own process id."""
    command = [
        sys.executable,
        "-m",
        "tidegate",
        "serve",
        "--home",
        str(home),
        "--listen",
        "127.0.0.1:0",
        *arguments,
    ]
    log = home.parent / "serve.log"
    with log.open("a") as errors:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, **(environment or {})},
        )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert "http" in line, f"the server did not come up: {line!r}\n{log.read_text()}"
        yield Served(line[line.index("http") :].split()[0], process)
    finally:
        stop(process)


def stop(process: "subprocess.Popen[str]") -> None:
    """End a process: politely, then not."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + PATIENCE
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        if process.poll() is None:
            process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def token(home: Home | Path, account: str, grants: str, *, days: int = 30) -> str:
    """An account with these grants, and a token of its with all of them."""
    from registry.accounts import Accounts

    path = home.path if isinstance(home, Home) else home
    app = App(from_environment(home=path, actor="root"))
    try:
        accounts = Accounts(app.store, actor="root", now=app.now, at_machine=True)
        accounts.become(account, parse_grants(grants))
        made = accounts.new_token(account, f"t{os.urandom(4).hex()}", parse_grants(grants), days=days)
        return bytes(made.secret).decode()
    finally:
        app.close()
