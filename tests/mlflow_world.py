"""A real `mlflow server` of the client environment (`tests.clients.setup`), with a sqlite registry below one folder.

It needs ten seconds and 700 MB to start, so those who ask share it. It listens on a free port of the loopback, reports
to nobody, and is ended by the id of the process that was started here.
"""

import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.clients.setup import MLFLOW

_SEED = Path(__file__).with_name("clients") / "mlflow_seed.py"
PATIENCE = 120  # seconds, on a machine where everything runs at once
QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "NO_PROXY": "127.0.0.1"}


@dataclass(frozen=True)
class Running:
    """The server, and where its files are."""

    url: str
    folder: Path

    def seed(self, model: str, source: Path, **more: Any) -> dict[str, Any]:
        """Log `source` as a model of a run and register it, with MLflow's own client; what it made."""
        done = subprocess.run(
            [str(MLFLOW.executable), str(_SEED)],
            input=json.dumps({"url": self.url, "model": model, "source": str(source), **more}),
            capture_output=True,
            text=True,
            env={**os.environ, **QUIET},
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found


@contextmanager
def mlflow_server(folder: Path) -> Iterator[Running]:
    """Start it, and end it with everything that it started."""
    assert MLFLOW.installed, "no MLflow here: run `make clients`"
    url = f"http://127.0.0.1:{_free_port()}"
    command = [
        str(MLFLOW.executable.with_name("mlflow")), "server", "--host", "127.0.0.1", "--port", url.rpartition(":")[2],
        "--workers", "1", "--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}",
        "--artifacts-destination", str(folder / "artifacts"),
    ]  # fmt: skip
    environment = {**os.environ, **QUIET, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (folder / "mlflow.log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        _await(url, process, folder / "mlflow.log")
        yield Running(url, folder)
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # the session that was begun above, and nobody else's
        process.wait()


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def _await(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise AssertionError(f"mlflow server did not come up:\n{log.read_text()[-2000:]}")
