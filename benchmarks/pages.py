"""What the pages cost in a large registry: 100,000 versions, 1,000,000 events (`python -m benchmarks.pages`).

Two real versions among rows that were written straight into the tables, and every page asked for as a browser does.
Processor time stands beside the wall's: on a machine that does other things only the first says what a page costs.
"""

import argparse
import json
import logging
import re
import shutil
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.gate import HOUSE, MODEL, fill
from pipelines.intake.folder import add_folder
from tests.server_world import door, token
from tests.world import at_work, new_home

if TYPE_CHECKING:
    from starlette.testclient import TestClient

ROUNDS = 20


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pages", description=__doc__)
    parser.add_argument("--versions", type=int, default=100_000)
    parser.add_argument("--events", type=int, default=1_000_000)
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    folder = Path(tempfile.mkdtemp(prefix="tidegate-pages-"))
    try:
        print(json.dumps(_measured(folder, arguments.versions, arguments.events), indent=2))
    finally:
        shutil.rmtree(folder)


def _measured(folder: Path, versions: int, events: int) -> dict[str, object]:
    now = datetime.now(UTC)
    home = new_home(folder / "home", name="clinic", roles=("origin", "site"), profile="solo", now=now)
    with at_work(home, actor="ines", now=now) as work:
        for name in ("v1", "v2"):
            add_folder(work, MODEL, HOUSE / "demo" / "models" / name)
    key = token(home, "bob", "steward")
    fill(Path(home.database.removeprefix("sqlite:///")), versions, events)
    with door(home.path, token=key) as desk:
        return {"versions": versions, "events": events} | {
            path: _asked(desk, path) for path in _addresses(desk)
        }


def _addresses(desk: "TestClient") -> list[str]:
    newest, oldest = re.findall(r"/versions/([0-9a-f]{64})\"", desk.get(f"/models/{MODEL}").text)[:2]
    return [
        "/",
        "/models",
        "/models?q=model-7",
        f"/models?q={newest[:8]}",
        f"/models/{MODEL}",
        "/models/bench/model-7",
        f"/versions/{newest}",
        f"/versions/{newest}/beside?with={oldest}",
        f"/gate/org/{newest}",
        "/requests",
        "/tiers",
        "/tiers/org/bench/model-7",
        "/tiers/org/bench/model-7/back",
        "/audit",
        f"/audit/search?q={newest[:8]}",
        "/audit/search?q=bob",
        f"/audit/search?q={MODEL}@2",
        f"/audit/versions/{newest}",
        f"/audit/models/{MODEL}",
        "/audit/timeline",
        "/audit/timeline?kind=promoted&since=2026-01-01",
        "/audit/timeline?actor=bob",
        "/audit/pins",
        "/audit/pins?at=2026-11-20",
        "/audit/people",
        "/audit/people/bob",
        "/audit/transfers?way=out",
        "/audit/policies",
        "/audit/exports",
    ]


def _asked(desk: "TestClient", path: str) -> dict[str, float]:
    wall, processor, length = [], [], 0
    for _ in range(ROUNDS):
        began, used = time.perf_counter(), time.process_time()
        answer = desk.get(path)
        wall.append((time.perf_counter() - began) * 1000)
        processor.append((time.process_time() - used) * 1000)
        assert answer.is_success, (path, answer.status_code)
        length = len(answer.content)
    return {
        "ms (median)": round(statistics.median(wall), 1),
        "processor ms (median)": round(statistics.median(processor), 1),
        "KB": round(length / 1000, 1),
    }


if __name__ == "__main__":
    main()
