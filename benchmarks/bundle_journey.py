"""Shipments through the real command line: what a site holds, what is packed for it, what it takes in.

One origin and one site are enrolled once. Between shipments both homes are put back as they were, so that every case
starts from the same held base and nothing learns from the case before.
"""

import filecmp
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.journey import MODEL, Crossing
from benchmarks.measure import Cost, settle

FAST: Sequence[str] = ()
COMPACT: Sequence[str] = ("--compact",)
_TABLE = "chunks.jsonl"


class NotTheSame(Exception):
    """What came out is not what went in: the benchmark stops here."""


@dataclass(frozen=True)
class Shipment:
    """One bundle, packed and taken in."""

    payload: int  # bytes of the chunks and of their table
    whole: int  # bytes of the whole bundle: signatures, statements and parity too
    pack: Cost
    take: Cost


def offers(option: str) -> bool:
    """Whether `bundles create` knows an option."""
    words = [sys.executable, "-m", "tidegate", "bundles", "create", "--help"]
    return option in subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout


class Exchange(Crossing):
    """An origin and a site whose homes can be kept and put back."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._folder = folder
        self._receipt = folder / "receipt.json"
        self.keep("enrolled")

    def keep(self, name: str) -> None:
        """Remember both homes as they are."""
        for home in (self.origin, self.site):
            shutil.copytree(home, self._folder / "kept" / name / home.name, symlinks=True)

    def forget(self, name: str) -> None:
        """Free the room that remembered homes take."""
        shutil.rmtree(self._folder / "kept" / name)

    def back(self, name: str) -> None:
        """Put both homes back, and clear the medium."""
        shutil.rmtree(self.medium, ignore_errors=True)
        self._receipt.unlink(missing_ok=True)
        for home in (self.origin, self.site):
            shutil.rmtree(home)
            shutil.copytree(self._folder / "kept" / name / home.name, home, symlinks=True)

    def hold(self, model: Path, *, name: str) -> None:
        """Let the site hold a model and acknowledge it; remember that as `name`."""
        self.back("enrolled")
        self.add(model)
        self.pack(FAST)
        self.take()
        self._tell(self.origin, "bundles", "acknowledge", str(self._receipt))
        shutil.rmtree(self.medium)
        self.keep(name)

    def ship(self, model: Path, options: Sequence[str], *, since: str) -> Shipment:
        """Ship a model's next version from homes as remembered. Raises `NotTheSame`."""
        self.back(since)
        self.add(model)
        settle()
        packed = self.pack(options)
        settle()
        taken = self.take()
        self.compare(model)
        payload = sum(path.stat().st_size for path in self.medium.rglob("*") if _carries(path))
        return Shipment(payload, tree_size(self.medium), packed, taken)

    def add(self, model: Path) -> Cost:
        """Take the folder in at the origin as the next version."""
        return self._measure(self.origin, "models", "add", str(model), "--as", MODEL)

    def pack(self, options: Sequence[str]) -> Cost:
        """Write the newest version to the medium."""
        words = (MODEL, "--to", "clinic", "--out", str(self.medium), *options)
        return self._measure(self.origin, "bundles", "create", *words)

    def take(self) -> Cost:
        """Import what is on the medium."""
        volumes = [str(path) for path in sorted(self.medium.iterdir())]
        return self._measure(self.site, "bundles", "import", *volumes, "--receipt", str(self._receipt))

    def compare(self, model: Path) -> None:
        """Compare every file of `model` with the site's copy, byte by byte. Raises `NotTheSame`."""
        for path in model.iterdir():
            with path.open("rb", buffering=0) as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
            stored = self.site / "store" / "blobs" / "sha256" / digest
            if not stored.is_file() or not filecmp.cmp(path, stored, shallow=False):
                raise NotTheSame(f"the site does not hold {path}")


def _carries(path: Path) -> bool:
    return path.is_file() and ("chunks" in path.parts or path.name == _TABLE)


def tree_size(folder: Path) -> int:
    """Bytes of all files below."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
