"""Who stands beside the doors in the same run: nginx with the same file, a real MLflow server with as many versions."""

import os
import shutil
import socket
import sqlite3
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.clients.setup import MLFLOW

PATIENCE = 300  # seconds until a server has to be there
_MOMENT = 1_795_000_000_000  # milliseconds since 1970


def free_port() -> int:
    """A TCP port of the loopback that nobody has."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def until_answered(url: str, process: "subprocess.Popen[bytes]") -> None:
    """Wait for the first answer of 200."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.005)
    raise TimeoutError(f"{url} does not answer")


def ended(process: "subprocess.Popen[bytes]") -> None:
    """End a process by its own id, politely and then not."""
    process.terminate()
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def nginx(folder: Path, blobs: Path) -> Iterator[str]:
    """One worker that serves the folder of the blobs as static files, with sendfile; yields the URL of the folder."""
    folder.mkdir()
    port = free_port()
    (folder / "nginx.conf").write_text(
        f"{'user root;' if os.geteuid() == 0 else ''} worker_processes 1; pid {folder / 'pid'};\n"
        f"error_log {folder / 'error.log'}; events {{}}\n"
        "http { access_log off; sendfile on; tcp_nopush on;\n"
        f"server {{ listen 127.0.0.1:{port}; location / {{ alias {blobs}/; }} }} }}\n"
    )
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    with subprocess.Popen([program, "-c", str(folder / "nginx.conf"), "-g", "daemon off;"]) as process:
        try:
            until_answered(f"http://127.0.0.1:{port}/{next(os.scandir(blobs)).name}", process)
            yield f"http://127.0.0.1:{port}"
        finally:
            ended(process)


@contextmanager
def mlflow_server(folder: Path, versions: int) -> Iterator[tuple[str, int, float]]:
    """MLflow's own server over SQLite with as many versions and an alias `org` per model, written into its tables.

    Yields its URL, its process id and the seconds until it answered.
    """
    folder.mkdir()
    address = f"sqlite:///{folder / 'mlflow.db'}"
    python = str(MLFLOW.executable)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run([python, "-m", "mlflow", "db", "upgrade", address], check=True, **quiet)  # type: ignore[call-overload]
    _fill(folder / "mlflow.db", versions)
    port = free_port()
    command = [python, "-m", "mlflow", "server", "--backend-store-uri", address, "--workers", "1"]
    command += [
        "--default-artifact-root",
        str(folder / "artifacts"),
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    began = time.monotonic()
    with subprocess.Popen(command, start_new_session=True, cwd=folder, **quiet) as process:  # type: ignore[call-overload]
        try:
            until_answered(f"http://127.0.0.1:{port}/health", process)
            yield f"http://127.0.0.1:{port}", process.pid, time.monotonic() - began
        finally:
            ended(process)


def _fill(database: Path, versions: int) -> None:
    models = max(1, versions // 100)
    with sqlite3.connect(database) as link:
        link.executemany(
            "INSERT INTO registered_models (name, creation_time, last_updated_time) VALUES (?, ?, ?)",
            ((f"bench--model-{number}", _MOMENT, _MOMENT) for number in range(models)),
        )
        link.executemany(
            "INSERT INTO model_versions (name, version, creation_time, last_updated_time, current_stage, source, status)"
            " VALUES (?, ?, ?, ?, 'None', 's3://models/x', 'READY')",
            (
                (f"bench--model-{number % models}", number // models + 1, _MOMENT, _MOMENT)
                for number in range(versions)
            ),
        )
        link.executemany(
            "INSERT INTO registered_model_aliases (alias, version, name) VALUES ('org', ?, ?)",
            ((versions // models, f"bench--model-{number}") for number in range(models)),
        )


def resident(process: int, *, children: bool = False) -> int:
    """Bytes resident of a process at most since its start (`VmHWM`), shared libraries among them."""
    total = 0
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        except (FileNotFoundError, ProcessLookupError):
            continue
        if str(process) == status.parent.name or (children and str(process) == lines["PPid"].strip()):
            total += int(lines.get("VmHWM", "0 kB").split()[0]) << 10
    return total
