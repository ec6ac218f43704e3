"""What a long audit log costs: append, proofs and `audit verify` at 1,000,000 events (`python -m benchmarks.audit_log`).

The log is a real one: sealed leaves, each with the row that it records, every head signed, every tile kept. It is
written in bulk, as ten million transactions would measure the disk; appending is then measured through the store,
one transaction each. `audit verify` runs as its own process, so that its memory is its own.
"""

import argparse
import json
import os
import resource
import secrets
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from registry.audit import Entry, EventKind, seal
from registry.entities import Observation
from registry.home import Home
from registry.log_tree import LogTree
from registry.store import Store
from signing.canonical import canonical_bytes
from signing.merkle import Frontier, leaf_hash, verify_consistency, verify_inclusion
from signing.tiles import WIDTH, completed_by, tile_root
from tests.world import at_work, new_home
from tidegate.keyring import head_signer

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
MOMENT = "2026-11-20T12:00:00Z"
T = TypeVar("T")
APPENDS = 200
PROOFS = 200


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.audit_log", description=__doc__)
    parser.add_argument("--events", type=int, nargs="+", default=[1_000_000], help="sizes, growing one log")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="tidegate-log-", dir=arguments.folder))
    try:
        home = new_home(folder / "home", name="clinic", now=NOW)
        for size in sorted(arguments.events):
            fill(home, size)
            print(json.dumps(measured(home), indent=2), flush=True)
    finally:
        shutil.rmtree(folder)


def measured(home: Home) -> dict[str, object]:
    """The figures of the log as it stands."""
    with at_work(home, actor="ines", now=NOW) as work:
        appends, _ = _timed(range(APPENDS), lambda _number: _append(work.store))
        with work.store.view() as view:
            tree = LogTree(view)
            root, size = tree.root(), tree.size
            leaves = {position: view.leaves(position, 1)[0][1] for position in _spread(size)}
            built, proofs = _timed(leaves, lambda position: LogTree(view).inclusion(position))
            checked, _ = _timed(
                leaves,
                lambda p: _true(
                    verify_inclusion(leaf_hash(leaves[p]), index=p, size=size, proof=proofs[p], root=root)
                ),
            )
            grown, paths = _timed(leaves, lambda old: LogTree(view).consistency(old))
            for old, proof in paths.items():
                _true(
                    verify_consistency(
                        old_size=old, new_size=size, old_root=tree.root(old), new_root=root, proof=proof
                    )
                )
    wall, cpu, peak = _verify(home)
    database = Path(home.database.removeprefix("sqlite:///"))
    return {
        "events": size,
        "cores": os.cpu_count(),
        "append one, ms (median)": statistics.median(appends),
        "append one, ms (slowest of 200)": max(appends),
        "inclusion proof, hashes": max(map(len, proofs.values())),
        "inclusion proof built, ms (median)": statistics.median(built),
        "inclusion proof checked, ms (median)": statistics.median(checked),
        "consistency proof built, ms (median)": statistics.median(grown),
        "audit verify, s": wall,
        "audit verify, s per million events": wall / size * 1e6,
        "audit verify, CPU s": cpu,
        "audit verify, MiB of the largest process": peak,
        "database, bytes per event": database.stat().st_size / size,
    }


def fill(home: Home, size: int) -> None:
    """Grow the log to `size` events, each an observation of a node."""
    sign = head_signer(home)
    with sqlite3.connect(home.database.removeprefix("sqlite:///")) as link:
        link.execute("PRAGMA synchronous=OFF")
        frontier = Frontier.from_hex(
            link.execute("SELECT frontier FROM checkpoint ORDER BY size DESC LIMIT 1").fetchone()[0]
        )
        tile = [leaf_hash(row[0].encode()) for row in link.execute(
            "SELECT leaf FROM event WHERE position >= ? ORDER BY position", (frontier.size // WIDTH * WIDTH,)
        )]  # fmt: skip
        while frontier.size < size:
            events, heads, rows = [], [], []
            for number in range(frontier.size, min(size, frontier.size + WIDTH * 16)):
                row = _observation(number)
                leaf = seal(
                    Entry(number, EventKind.OBSERVED.value, "team", MOMENT, "ines", ((row.label, row.content()),), {}),
                    salt=lambda: secrets.token_bytes(16),
                )  # fmt: skip
                frontier = frontier.append(leaf_hash(leaf.data))
                tile.append(leaf_hash(leaf.data))
                events.append((number, "observed", "team", MOMENT, "ines", leaf.data.decode(), leaf.openings))
                root = frontier.root()
                heads.append((frontier.size, root.hex(), frontier.to_hex(), sign(frontier.size, root)))
                rows.append(tuple(row.model_dump(exclude={"id"}).values()))
                if frontier.size % WIDTH == 0:
                    _keep_tiles(link, frontier.size, b"".join(tile))
                    tile = []
            link.executemany("INSERT INTO event VALUES (?, ?, ?, ?, ?, ?, ?)", events)
            link.executemany("INSERT INTO checkpoint VALUES (?, ?, ?, ?)", heads)
            link.executemany(
                "INSERT INTO observation (tier, node, model, state, version, body, since, actor)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows,
            )  # fmt: skip


def _keep_tiles(link: sqlite3.Connection, size: int, hashes: bytes) -> None:
    for level, index in completed_by(size):
        if level:
            found = link.execute(
                'SELECT root FROM tile WHERE level = ? AND "index" >= ? ORDER BY "index"', (level - 1, index * WIDTH)
            )  # fmt: skip
            hashes = b"".join(bytes.fromhex(root) for (root,) in found)
        link.execute("INSERT INTO tile VALUES (?, ?, ?, ?)", (level, index, tile_root(hashes).hex(), hashes))


def _observation(number: int) -> Observation:
    return Observation(
        tier="team",
        node=f"node-{number % 50}",
        model="demo/tiny-toolcaller",
        state="SERVES",
        version=f"{number % 90:064x}",
        body=canonical_bytes({"files": number % 7, "said": "as pinned"}).decode(),
        since=MOMENT,
        actor="ines",
    )


def _append(store: Store) -> None:
    with store.change(actor="ines", now=NOW) as change:
        change.record(EventKind.OBSERVED, "team", _observation(1))


def _spread(size: int) -> range:
    return range(0, size, max(1, size // PROOFS))


def _timed(numbers: Iterable[int], act: Callable[[int], T]) -> tuple[list[float], dict[int, T]]:
    """Do something for each number. Returns the milliseconds of each, and what came of it."""
    times: list[float] = []
    results: dict[int, T] = {}
    for number in numbers:
        began = time.perf_counter()
        results[number] = act(number)
        times.append((time.perf_counter() - began) * 1000)
    return times, results


def _true(held: bool) -> None:
    if not held:
        raise AssertionError("a proof does not hold")


def _verify(home: Home) -> tuple[float, float, float]:
    """Run `tidegate audit verify`. Returns seconds, CPU seconds, MiB."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "tidegate", "audit", "verify"],
        check=True,
        stdout=sys.stderr,
        env={**os.environ, "TIDEGATE_HOME": str(home.path)},
    )
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu, after.ru_maxrss / 1024


if __name__ == "__main__":
    main()
