"""A throw-away PostgreSQL server on loopback, which also works as root (the server itself never runs as root)."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.programs import postgres_binaries


@contextmanager
def server() -> Iterator[str]:
    """Yield `postgresql+psycopg://test@127.0.0.1:PORT`; the server is stopped by its own pg_ctl at the end."""
    where = postgres_binaries()
    folder = Path(
        tempfile.mkdtemp(prefix="tidegate-pg-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
    )
    drop: dict[str, Any] = {}
    if os.geteuid() == 0:
        names = {entry.pw_name for entry in pwd.getpwall()}
        user = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
        os.chown(folder, user.pw_uid, user.pw_gid)
        drop = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}

    def run(name: str, *args: str) -> None:
        environment = {"PATH": str(where), "LC_ALL": "C.UTF-8", "HOME": str(folder)}
        subprocess.run(
            [where / name, *args], check=True, env=environment, cwd=folder, stdout=subprocess.DEVNULL, **drop
        )

    data = str(folder / "data")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    run("initdb", "-D", data, "-A", "trust", "-U", "test", "-E", "UTF8", "--no-locale", "-N")
    options = f"-p {port} -c listen_addresses=127.0.0.1 -k {folder} -c fsync=off"
    run("pg_ctl", "-D", data, "-w", "-l", str(folder / "log"), "-o", options, "start")
    try:
        yield f"postgresql+psycopg://test@127.0.0.1:{port}"
    finally:
        run("pg_ctl", "-D", data, "-m", "immediate", "stop")
        shutil.rmtree(folder)
