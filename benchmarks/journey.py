"""A model's way from a folder to a site, by the commands a person types; the three long ones are measured."""

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.measure import Cost, run

ADD = "models add"
CREATE = "bundles create"
IMPORT = "bundles import"
MODEL = "bench/model"
Ready = Callable[[Path], None]  # makes a folder's bytes warm or cold, and the disk quiet


class Crossing:
    """An origin, a site that is enrolled with it, and the medium between them, in a folder that is not there yet."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.origin, self.site, self.medium = folder / "origin", folder / "site", folder / "medium"
        self._passphrase = folder / "passphrase.txt"
        self._passphrase.write_text(secrets.token_urlsafe(24) + "\n")
        self._tell(self.origin, "init", "harbour", "--role", "origin")
        self._tell(self.site, "init", "clinic", "--role", "site")
        root, identity = str(folder / "root.json"), str(folder / "clinic.json")
        fingerprint = json.loads(self._tell(self.origin, "trust", "root", root, "--json"))["fingerprint"]
        self._tell(self.site, "trust", "enrol", root, "--fingerprint", fingerprint)
        self._tell(self.site, "trust", "identity", identity)
        self._tell(self.origin, "sites", "add", "clinic", "--identity", identity)

    def costs(self, model: Path, ready: Ready) -> Iterator[tuple[str, Cost]]:
        """Take the model over; yield each long command's cost. `ready` is called before each, unmeasured."""
        ready(model)
        yield ADD, self._measure(self.origin, "models", "add", str(model), "--as", MODEL)
        ready(self.origin)
        words = (f"{MODEL}@1", "--to", "clinic", "--out", str(self.medium))
        yield CREATE, self._measure(self.origin, "bundles", "create", *words)
        ready(self.medium)
        yield IMPORT, self._measure(self.site, "bundles", "import", str(self.medium))

    def _measure(self, home: Path, *words: str) -> Cost:
        return run([sys.executable, "-m", "tidegate", *words], environment=self._environment(home))

    def _tell(self, home: Path, *words: str) -> str:
        return subprocess.run(
            [sys.executable, "-m", "tidegate", *words],
            env={**os.environ, **self._environment(home)},
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        ).stdout

    def _environment(self, home: Path) -> dict[str, str]:
        return {
            "TIDEGATE_HOME": str(home),
            "TIDEGATE_ACTOR": "bench",
            "TIDEGATE_PASSPHRASE_FILE": str(self._passphrase),
        }
