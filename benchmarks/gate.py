"""What the gate costs in a large registry: 100,000 versions, 1,000,000 events (`python -m benchmarks.gate`).

One real version is judged among rows that were written straight into the tables: nothing verifies that log, and
nothing here asks for it. Beside it stands what a bare query for one pin costs in the same database.
"""

import argparse
import json
import shutil
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from pipelines.case import case
from pipelines.intake.folder import add_folder
from pipelines.reconcile import reconcile
from pipelines.validate import Bench
from registry.names import Ref
from tests.world import at_work, new_home

HOUSE = Path(__file__).resolve().parents[1]
NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
MOMENT = "2026-11-20T12:00:00Z"
MODEL = "demo/tiny-toolcaller"
ROUNDS = 30


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gate", description=__doc__)
    parser.add_argument("--versions", type=int, default=100_000)
    parser.add_argument("--events", type=int, default=1_000_000)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="tidegate-gate-"))
    try:
        print(json.dumps(_measured(folder, arguments.versions, arguments.events), indent=2))
    finally:
        shutil.rmtree(folder)


def _measured(folder: Path, versions: int, events: int) -> dict[str, object]:
    home = new_home(folder / "home", name="clinic", roles=("origin", "site"), profile="solo", now=NOW)
    with at_work(home, actor="ines", now=NOW) as work:
        add_folder(work, MODEL, HOUSE / "demo" / "models" / "v1")
    fill(Path(home.database.removeprefix("sqlite:///")), versions, events)
    with at_work(home, actor="ines", now=NOW) as work, work.store.view() as view:
        ref = Ref(MODEL, ordinal=1)
        judged = _milliseconds(lambda: case(work, view, ref, "org"))
        pin = _milliseconds(lambda: view.pin("org", "bench/model-7"))
    with at_work(home, actor="ines", now=NOW) as work:
        bench = Bench(folder / "serving", "bench")
        began = time.monotonic()
        steps = reconcile(work, bench=lambda _tier: bench, clock=lambda: NOW, dry_run=True)
        passed = time.monotonic() - began
    return {
        "versions": versions,
        "events": events,
        "one gate, ms (median)": round(statistics.median(judged), 2),
        "one gate, ms (slowest)": round(max(judged), 2),
        "one pin, ms (median)": round(statistics.median(pin), 2),
        "reconcile, models x tiers": len(steps),
        "reconcile, seconds": round(passed, 1),
    }


def _milliseconds(act: Callable[[], object]) -> list[float]:
    def once() -> float:
        began = time.perf_counter()
        act()
        return (time.perf_counter() - began) * 1000

    return [once() for _ in range(ROUNDS)]


def fill(database: Path, versions: int, events: int) -> None:
    """Write versions of a hundred each per model, a pin of each in three tiers, and events, into the tables."""
    with sqlite3.connect(database) as link:
        manifest = link.execute("SELECT manifest, modelpack FROM version").fetchone()
        models = max(1, versions // 100)
        link.executemany(
            "INSERT INTO version (model, ordinal, digest, revision, manifest, modelpack, size, brought_by, added_at, added_by)"
            " VALUES (?, ?, ?, ?, ?, ?, 1000, 'fetch', ?, 'ines')",
            (
                (
                    f"bench/model-{number % models}",
                    number // models + 1,
                    f"{number:064x}",
                    f"{number:040x}",
                    *manifest,
                    MOMENT,
                )
                for number in range(versions)
            ),
        )
        link.executemany(
            "INSERT INTO pin (tier, model, position, kind, version, ordinal, evidence, reason, since, actor)"
            " VALUES (?, ?, ?, 'promote', ?, ?, '[]', 'bench', ?, 'ines')",
            _pins(versions, models),
        )
        start = link.execute("SELECT max(position) + 1 FROM event").fetchone()[0]
        leaf = link.execute("SELECT leaf FROM event ORDER BY position LIMIT 1").fetchone()[0]
        link.executemany(
            "INSERT INTO event (position, kind, subject, at, actor, leaf) VALUES (?, 'suite run', ?, ?, 'ines', ?)",
            ((start + number, f"{number % versions:064x}", MOMENT, leaf) for number in range(events)),
        )


def _pins(versions: int, models: int) -> Iterator[tuple[object, ...]]:
    for number in range(versions):
        model, ordinal = f"bench/model-{number % models}", number // models + 1
        for tier in ("edge", "team", "org"):
            yield tier, model, ordinal, f"{number:064x}", ordinal, MOMENT


if __name__ == "__main__":
    main()
