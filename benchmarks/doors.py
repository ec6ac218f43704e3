"""What the doors cost (`python -m benchmarks.doors`): a large file, a start, a pin among a million versions.

Beside `tidegate serve`, in the same run: nginx with the very same file, and a real MLflow server that is asked the
same question in the same protocol over as many versions. Each round asks everybody once.
"""

import argparse
import http.client
import json
import os
import random
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks import doors_peers, gate
from benchmarks.doors_peers import ended, free_port, resident, until_answered
from benchmarks.measure import machine
from pipelines.bundle.media import parse_size
from pipelines.intake.folder import add_folder
from registry.home import Home
from tests.clients.setup import MLFLOW
from tests.pipelines.test_materialise import pin
from tests.server_world import token
from tests.world import at_work, new_home

NOW = datetime.now(UTC)
FILE_MODEL, SMALL_MODEL = "bench/large", "demo/tiny-toolcaller"
STARTS = 3
SEED = 6


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.doors", description=__doc__)
    parser.add_argument("--size", default="2GiB", help="bytes of the file; default 2GiB")
    parser.add_argument("--versions", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=7, help="downloads of each kind; default 7")
    parser.add_argument("--questions", type=int, default=1000, help="resolutions of each kind; default 1000")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="tidegate-doors-", dir=asked.folder))
    try:
        found = {
            "machine": machine(),
            "load": [round(load, 2) for load in os.getloadavg()],
            "a file": _files(folder, parse_size(asked.size), asked.rounds),
            "a pin": _pins(folder, asked.versions, asked.questions),
        }
        print(json.dumps(found, indent=2))
    finally:
        shutil.rmtree(folder)


# --- a file -----------------------------------------------------------------------------------------------------------


def _files(folder: Path, size: int, rounds: int) -> dict[str, object]:
    home = new_home(folder / "files", name="clinic", roles=("origin", "site"), now=NOW)
    model = _model(folder / "model", size)
    with at_work(home, actor="ines", now=NOW) as work:
        version = add_folder(work, FILE_MODEL, model).version
        pin(work, version, "org")
    shutil.rmtree(model)
    file = max(json.loads(version.manifest)["files"], key=lambda entry: int(entry["size"]))
    bearer = token(home, "vic", "viewer")
    with (
        _serving(home) as (url, process),
        doors_peers.nginx(folder / "nginx", home.blobs.path("0").parent) as peer,
    ):
        _until_hashed(url)
        idle = resident(process)
        ours = f"{url}/{FILE_MODEL}/resolve/org/{file['path']}"
        beside = f"{peer}/{file['sha256']}"
        whole = [(_speed(ours, bearer), _speed(beside)) for _ in range(rounds)]
        first = int(file["size"]) // 4
        parts = [(_speed(ours, bearer, first), _speed(beside, None, first)) for _ in range(rounds)]
        return {
            "bytes": file["size"],
            "whole": _compared(whole),
            "range, the last three quarters": _compared(parts),
            "resident before, MB": round(idle / 1e6, 1),
            "resident at most, MB": round(resident(process) / 1e6, 1),
        }


def _model(folder: Path, size: int) -> Path:
    """A folder with one file of weights of about so many bytes; what they say is the same block again and again."""
    folder.mkdir()
    header = {"weight": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}
    block = random.Random(SEED).randbytes(1 << 20)
    (folder / "config.json").write_text('{"model_type": "llama"}')
    with (folder / "model.safetensors").open("wb") as file:
        text = json.dumps(header).encode()
        file.write(struct.pack("<Q", len(text)) + text)
        for begin in range(0, size, len(block)):
            file.write(block[: size - begin])
    return folder


def _compared(rounds: Sequence[tuple[float, float]]) -> dict[str, object]:
    return {
        "ours, GB/s (median)": round(statistics.median(ours for ours, _ in rounds) / 1e9, 2),
        "nginx, GB/s (median)": round(statistics.median(peer for _, peer in rounds) / 1e9, 2),
        "ours to nginx, in one round (median)": round(
            statistics.median(ours / peer for ours, peer in rounds), 2
        ),
        "rounds": [[round(ours / 1e9, 2), round(peer / 1e9, 2)] for ours, peer in rounds],
    }


def _speed(url: str, bearer: str | None = None, first: int = 0) -> float:
    """Bytes per second, taken by curl and thrown away."""
    command = ["curl", "--silent", "--fail", "--output", "/dev/null", "--write-out", "%{speed_download}"]
    command += ["--header", f"Authorization: Bearer {bearer}"] if bearer else []
    command += ["--range", f"{first}-"] if first else []
    return float(subprocess.run([*command, url], capture_output=True, check=True, text=True).stdout)


@contextmanager
def _serving(home: Home) -> Iterator[tuple[str, int]]:
    """The real process; its URL and process id."""
    url, process, _ = _started(home)
    try:
        yield url, process.pid
    finally:
        ended(process)


def _started(home: Home) -> tuple[str, "subprocess.Popen[bytes]", float]:
    """The real process, and the seconds until `/readyz` answered 200."""
    address = f"127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "tidegate", "serve", "--home", str(home.path), "--listen", address]
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until_answered(f"http://{address}/readyz", process)
    except BaseException:
        ended(process)
        raise
    return f"http://{address}", process, time.monotonic() - began


def _until_hashed(url: str) -> None:
    place = urlsplit(url)
    with closing(http.client.HTTPConnection(place.hostname or "", place.port)) as link:
        for _ in range(3000):
            link.request("GET", "/readyz")
            if not json.loads(link.getresponse().read())["checks"]["files"]["waiting"]:
                return
            time.sleep(0.1)


# --- a pin ------------------------------------------------------------------------------------------------------------


def _pins(folder: Path, versions: int, questions: int) -> dict[str, object]:
    home = new_home(folder / "pins", name="clinic", roles=("origin", "site"), now=NOW)
    with at_work(home, actor="ines", now=NOW) as work:
        add_folder(work, SMALL_MODEL, gate.HOUSE / "demo" / "models" / "v1")
    bearer = token(home, "vic", "viewer")
    small = [_start(home) for _ in range(STARTS)]
    gate.fill(Path(home.database.removeprefix("sqlite:///")), versions, 0)
    large = [_start(home) for _ in range(STARTS)]
    picked = random.Random(SEED).choices(range(max(1, versions // 100)), k=questions)
    found: dict[str, object] = {
        "versions": versions,
        "start of a small home until ready, s": [round(seconds, 2) for seconds in small],
        "start of this one until ready, s": [round(seconds, 2) for seconds in large],
    }
    with _serving(home) as (url, process):
        ask = _asker(url, bearer)
        found["ours, what the tier serves (MLflow's protocol)"] = _times(ask, _aliases(picked))
        found["ours, what the tier serves (the Hub's protocol)"] = _times(ask, _revisions(picked))
        found["ours, a file's address by tier (HEAD)"] = _times(_asker(url, bearer, "HEAD"), _heads(picked))
        found["ours, resident at most, MB"] = round(resident(process) / 1e6, 1)
    found["MLflow's server"] = _mlflow(folder, versions, picked)
    return found


def _mlflow(folder: Path, versions: int, picked: Sequence[int]) -> dict[str, object] | str:
    if not MLFLOW.installed:
        return "not installed: python -m tests.clients.setup mlflow"
    with doors_peers.mlflow_server(folder / "mlflow", versions) as (url, process, seconds):
        return {
            "release": MLFLOW.version,
            "start until it answers, s": round(seconds, 1),
            "what the alias means": _times(_asker(url, None), _aliases(picked)),
            "resident at most, its children with it, MB": round(resident(process, children=True) / 1e6, 1),
        }


def _start(home: Home) -> float:
    _, process, seconds = _started(home)
    ended(process)
    return seconds


def _aliases(picked: Sequence[int]) -> list[str]:
    path = "/api/2.0/mlflow/registered-models/alias?name=bench--model-{}&alias=org"
    return [path.format(number) for number in picked]


def _revisions(picked: Sequence[int]) -> list[str]:
    return [f"/api/models/bench/model-{number}/revision/org" for number in picked]


def _heads(picked: Sequence[int]) -> list[str]:
    return [f"/bench/model-{number}/resolve/org/config.json" for number in picked]


def _asker(url: str, bearer: str | None, method: str = "GET") -> Callable[[str], None]:
    """Ask over one connection that is kept; anything but 200 ends the run."""
    place = urlsplit(url)
    link = http.client.HTTPConnection(place.hostname or "", place.port)
    headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}

    def ask(path: str) -> None:
        link.request(method, path, headers=headers)
        answer = link.getresponse()
        body = answer.read()
        if answer.status != 200:
            sys.exit(f"{path} was answered with {answer.status}: {body.decode(errors='replace')[:500]}")

    return ask


def _times(ask: Callable[[str], None], paths: Sequence[str]) -> dict[str, float]:
    for path in paths[:20]:
        ask(path)
    times = []
    for path in paths:
        began = time.perf_counter()
        ask(path)
        times.append((time.perf_counter() - began) * 1000)
    times.sort()
    return {
        "p50, ms": round(statistics.median(times), 2),
        "p99, ms": round(times[int(len(times) * 0.99)], 2),
        "slowest, ms": round(times[-1], 2),
    }


if __name__ == "__main__":
    main()
