"""The rivals: what other tools ship for the same folders, each run as a process of its own and unpacked again.

A tool that is not installed stays in the list and says so. Every tool gets its kindest ordinary settings; what they
are stands in its name. A shipment is what a place that has the held folder's share of the tool's store still needs:
the new bytes of the store.
"""

import filecmp
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bundle_journey import NotTheSame, tree_size
from benchmarks.measure import Cost, run, settle

NOT_INSTALLED = "not installed"


@dataclass(frozen=True)
class Sent:
    """One shipment by a peer."""

    size: int  # bytes
    encode: Cost
    decode: Cost


@dataclass(frozen=True)
class Peer:
    """A tool. The commands are run by `sh`, with the words that they name (`$HELD`, …) in the environment.

    STORE is the tool's folder, FROM the folder to send, HELD the folder that is there already (or nothing), TO the
    folder to unpack into, FILES what FROM holds. STORE after `first` with the held folder, then `encode`.
    """

    name: str
    program: str
    version: str  # a command that prints it
    encode: str
    decode: str
    prepare: str = ""  # makes an empty STORE
    keeps: bool = False  # the held folder's share of the store is put in first
    slow: bool = False  # left out of quick runs
    small_only: bool = False  # not run on gigabytes
    only: str = ""  # "first": it knows no deltas; "delta": it knows nothing else

    def installed(self, python: Path | None) -> str | None:
        """Return its version, or None."""
        if self.program == "python":
            return None if python is None else _said([str(python), "-c", self.version])
        if shutil.which(self.program) is None:
            return None
        return _said(["sh", "-c", self.version])


def _said(command: Sequence[str]) -> str | None:
    """Return the version number in what a command says; None if it fails."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    found = re.search(r"\d+(\.\d+)+", done.stdout) or re.search(r"\d+", done.stdout)
    return found[0] if done.returncode == 0 and found else None


def _restic(compression: str, *, slow: bool, small_only: bool) -> Peer:
    return Peer(
        f"restic, compression {compression}",
        "restic",
        "restic version",
        f'cd "$FROM" && restic -q --no-cache -r "$STORE" backup --compression {compression} .',
        'restic -q --no-cache -r "$STORE" restore latest --target "$TO"',
        'restic -q --no-cache -r "$STORE" init --repository-version 2',
        keeps=True,
        slow=slow,
        small_only=small_only,
    )


def _borg(name: str, chunker: str, *, slow: bool) -> Peer:
    return Peer(
        name,
        "borg",
        "borg --version",
        f'cd "$FROM" && borg create --compression zstd,3 {chunker} "$STORE::$(date +%s%N)" .',
        'mkdir -p "$TO" && cd "$TO" && borg extract "$STORE::$(borg list --short --last 1 "$STORE")"',
        'borg init -e none "$STORE"',
        keeps=True,
        slow=slow,
    )


RESTIC, RESTIC_MAX = (
    _restic("auto", slow=False, small_only=False),
    _restic("max", slow=True, small_only=True),
)
BORG = _borg("borg, zstd,3", "", slow=False)
BORG_FINE = _borg("borg, zstd,3, chunks of 16 KiB", "--chunker-params buzhash,10,20,14,4095", slow=True)
CASYNC = Peer(
    "casync",
    "casync",
    "casync --version",
    'casync make --store="$STORE/chunks.castr" "$STORE/$(date +%s%N).caidx" "$FROM"',
    'casync extract --store="$STORE/chunks.castr" "$(ls -t "$STORE"/*.caidx | head -1)" "$TO"',
    'mkdir -p "$STORE/chunks.castr"',
    keeps=True,
)
ZSTD = Peer(
    "zstd -3",
    "zstd",
    "zstd --version",
    'mkdir -p "$STORE" && cd "$FROM" && zstd -q -3 --output-dir-flat "$STORE" ./*',
    'mkdir -p "$TO" && zstd -q -d --output-dir-flat "$TO" "$STORE"/*',
)
PATCH = Peer(
    "zstd -3 --patch-from",
    "zstd",
    "zstd --version",
    'mkdir -p "$STORE"; printf "%s\\n" "$PAIRS" | while IFS="|" read -r held file; do '
    'zstd -q -3 --long=31 --patch-from="$HELD/$held" "$FROM/$file" -o "$STORE/$file.zst" || exit 1; done',
    'mkdir -p "$TO"; printf "%s\\n" "$PAIRS" | while IFS="|" read -r held file; do '
    'zstd -q -d --long=31 --memory=2048MB --patch-from="$HELD/$held" "$STORE/$file.zst" -o "$TO/$file" || exit 1; done',
    only="delta",
)
ZIPNN = Peer(
    "zipnn",
    "python",
    "import importlib.metadata as m; print(m.version('zipnn'))",
    '"$PYTHON" -m benchmarks.zipnn_files encode "$FROM" "$STORE"',
    '"$PYTHON" -m benchmarks.zipnn_files decode "$STORE" "$TO"',
    only="first",
)
BITX = Peer(
    "BitX-style XOR delta",
    "python",
    "print(0)",
    '"$OWN_PYTHON" -m benchmarks.bitx encode "${HELD:--}" "$FROM" "$STORE"',
    '"$OWN_PYTHON" -m benchmarks.bitx decode "${HELD:--}" "$STORE" "$TO" "$FROM"',
)
PEERS = (ZIPNN, BITX, ZSTD, PATCH, RESTIC, RESTIC_MAX, BORG, BORG_FINE, CASYNC)


class Rivals:
    """Runs peers in a folder of their own; the held folder's store is made once for each peer."""

    def __init__(self, folder: Path, python: Path | None, *, quick: bool) -> None:
        folder.mkdir()
        self._folder, self._python = folder, python
        self._at = folder / "at"  # the state of the tool at work
        wanted = [peer for peer in PEERS if not (quick and peer.slow)]
        self.versions = {peer: _version(peer, python) for peer in wanted}

    def send(self, peer: Peer, target: Path, held: Path | None) -> Sent | None:
        """Ship, unpack and compare. None: the tool has no answer for this. Raises `NotTheSame`, `CommandFailed`."""
        if peer.only not in ("", "first" if held is None else "delta"):
            return None
        shutil.rmtree(self._at, ignore_errors=True)
        words = self._words(target, held)
        self._fill(peer, words, held)
        store, out = Path(words["STORE"]), Path(words["TO"])
        before = tree_size(store) if store.is_dir() else 0
        settle()
        encode = run(["sh", "-c", peer.encode], environment=words)
        size = tree_size(store) - before
        settle()
        decode = run(["sh", "-c", peer.decode], environment=words)
        _compare(peer, target, out)
        return Sent(size, encode, decode)

    def forget(self) -> None:
        """Free the room that the held folders' stores take."""
        for kept in self._folder.glob("held-*"):
            shutil.rmtree(kept)

    def _words(self, target: Path, held: Path | None) -> dict[str, str]:
        return {
            "STORE": str(self._at / "store"),
            "FROM": str(target),
            "HELD": "" if held is None else str(held),
            "TO": str(self._at / "out"),
            "PAIRS": "" if held is None else "\n".join(_pairs(target, held)),
            "PYTHON": str(self._python),
            "OWN_PYTHON": sys.executable,
            "PYTHONPATH": os.pathsep.join(filter(None, (str(Path.cwd()), os.environ.get("PYTHONPATH")))),
            "RESTIC_PASSWORD": "bench",
            "BORG_BASE_DIR": str(self._at / "home"),  # its cache belongs to the state of its store
            "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
            "BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes",
        }

    def _fill(self, peer: Peer, words: Mapping[str, str], held: Path | None) -> None:
        """Make the store that both ends have before the shipment."""
        kept = self._folder / f"held-{peer.name}-{held.name if held else ''}"
        if kept.is_dir():
            shutil.copytree(kept, self._at, symlinks=True)
            return
        (self._at / "home").mkdir(parents=True)
        if peer.prepare:
            run(["sh", "-c", peer.prepare], environment=words)
        if peer.keeps and held is not None:
            run(["sh", "-c", peer.encode], environment={**words, "FROM": str(held)})
        if peer.prepare:
            shutil.copytree(self._at, kept, symlinks=True)


def _version(peer: Peer, python: Path | None) -> str | None:
    return "own" if peer is BITX else peer.installed(python)


def _pairs(target: Path, held: Path) -> list[str]:
    """`held|file` for each file to send: the held file of its name, else the largest held one."""
    largest = max(held.iterdir(), key=lambda path: path.stat().st_size).name
    return [
        f"{path.name if (held / path.name).is_file() else largest}|{path.name}"
        for path in sorted(target.iterdir())
    ]


def _compare(peer: Peer, target: Path, out: Path) -> None:
    """Raise `NotTheSame` unless every file came out; tools may put them below folders of their own."""
    for path in target.iterdir():
        found = [there for there in out.rglob(path.name) if there.is_file()]
        if len(found) != 1 or not filecmp.cmp(path, found[0], shallow=False):
            raise NotTheSame(f"{peer.name} does not give {path} back")
