"""What the trust walk costs when the catalogue is large: 10,000 releases (`python -m benchmarks.trust_walk`).

A bundle of one new version comes to a site that remembers nothing of the origin but its root. Beside it, in the same
run: python-tuf's own client over the same folder, which checks the metadata and none of our rules, and the floor that
nobody gets under, reading and hashing those files once.
"""

import argparse
import hashlib
import json
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tuf.ngclient import Updater, UpdaterConfig

from signing.folder import FolderFetcher
from signing.profiles import Profile
from signing.trust import enrol, verify
from tests.signing.trust_world import NOW, Origin

ROUNDS = 9
LARGEST = 5_000_000  # bytes of one metadata file


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.trust_walk", description=__doc__)
    parser.add_argument("--releases", type=int, nargs="*", default=[100, 10_000])
    arguments = parser.parse_args()
    print(json.dumps([_measured(count) for count in arguments.releases], indent=2))


def _measured(releases: int) -> dict[str, object]:
    folder = Path(tempfile.mkdtemp(prefix="tidegate-walk-"))
    try:
        origin, export = _origin(releases)
        bundle = origin.pack(folder / "bundle", export)
        root = origin.state.roots[0]
        memory = enrol(root, hashlib.sha256(root).hexdigest())
        ours = _milliseconds(lambda: verify(bundle, memory, audience="alpha", now=NOW))
        peer = _milliseconds(lambda: _by_tuf(bundle, root))
        floor = _milliseconds(lambda: _read(bundle))
        return {
            "releases in the catalogue": releases,
            "catalogue, bytes": len(origin.state.metadata["catalog"]),
            "trust walk, ms (median)": round(ours, 1),
            "python-tuf's client, ms (median)": round(peer, 1),
            "reading and hashing, ms (median)": round(floor, 2),
            "walk / python-tuf": round(ours / peer, 2),
            "peak memory, MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
        }
    finally:
        shutil.rmtree(folder)


def _origin(releases: int) -> tuple[Origin, str]:
    """An origin of officers that has published so many versions, and the export of the newest one to `alpha`."""
    origin = Origin.founded(Profile.OFFICERS)
    paths = [f"releases/acme/model-{number % 100}/{number // 100 + 1}.json" for number in range(releases)]
    origin.publish({path: json.dumps({"path": path}).encode() for path in paths})
    return origin, origin.export("alpha", [paths[-1]])


def _by_tuf(bundle: Path, root: bytes) -> None:
    with tempfile.TemporaryDirectory() as cache:
        client = Updater(
            cache,
            "bundle:///trust/",
            target_base_url="bundle:///",
            fetcher=FolderFetcher(bundle, max_bytes=LARGEST),
            config=UpdaterConfig(prefix_targets_with_hash=False),
            bootstrap=root,
        )
        client.refresh()
        for path in sorted(bundle.glob("exports/*/*.json")) + sorted(bundle.glob("releases/*/*/*.json")):
            found = client.get_targetinfo(path.relative_to(bundle).as_posix())
            assert found is not None, path
            found.verify_length_and_hashes(path.read_bytes())


def _read(bundle: Path) -> None:
    for path in bundle.rglob("*.json"):
        hashlib.sha256(path.read_bytes()).digest()


def _milliseconds(act: Callable[[], object]) -> float:
    def once() -> float:
        began = time.perf_counter()
        act()
        return (time.perf_counter() - began) * 1000

    return statistics.median(once() for _ in range(ROUNDS))


if __name__ == "__main__":
    main()
