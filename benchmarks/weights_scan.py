"""How fast weights are looked at: the NaN scan and the header scan, against the disk and against numpy's own way.

    python -m benchmarks.weights_scan [--size 2GiB] [--folder FOLDER] [--rounds 3] [--json]
    python -m benchmarks.weights_scan --only FILE    the scan alone, for a process whose memory is measured

Makes one safetensors file of random finite weights per type and one of many tensors, reads them by every means in turn,
and prints bytes per second: best of the rounds, as whatever else the machine does only ever takes away. "Cold" drops
the file from the page cache first; "warm" has it there, so that the processor is what is measured; "of CPU" counts the
processor's time instead of the clock's, which a busy machine does not change much.

The plain peer is what one writes first: read the file, `np.isnan(values).any()`, one core, BF16 widened to float32.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.measure import chill, machine, run, settle, warm
from pipelines.bundle.media import parse_size

_PIECE = 64 << 20  # bytes written, or read by the plain peer, at once
_TENSOR = 128 << 20  # bytes of one tensor
_TENSORS = 100_000  # of the file whose header is read
_WIDTH = {"BF16": 2, "F16": 2, "F32": 4}
Rates = dict[str, float]  # what was measured: bytes per second


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.weights_scan", description="Rates of the file checks."
    )
    parser.add_argument("--size", default="2GiB", help="bytes of weights of each type; default 2GiB")
    parser.add_argument(
        "--folder", type=Path, default=Path(tempfile.gettempdir()), help="the disk under test"
    )
    parser.add_argument("--rounds", type=int, default=3, help="how often everything runs; default 3")
    parser.add_argument("--json", action="store_true", help="figures for programs")
    parser.add_argument("--only", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        scan(arguments.only)
        return
    with tempfile.TemporaryDirectory(prefix="tidegate-weights-", dir=arguments.folder) as name:
        figures = measured(Path(name), parse_size(arguments.size), arguments.rounds)
    document = {"machine": machine(), "cores": os.cpu_count(), **figures}
    print(json.dumps(document, indent=2) if arguments.json else page(document))


def measured(folder: Path, size: int, rounds: int) -> dict[str, Any]:
    """Return the figures: of each type, of the headers, and the memory that a scan takes at most."""
    peak = memory_of_a_scan(folder / "memory", size)  # first: a child's figure begins at what its parent has
    types = {dtype: of_type(folder / dtype, dtype, size, rounds) for dtype in _WIDTH}
    header = of_header(folder / "header", rounds)
    return {"types": types, "header": header, "peak_bytes": peak}


def memory_of_a_scan(folder: Path, size: int) -> int:
    """Bytes resident at most in a process that scans a file and does nothing else."""
    folder.mkdir()
    path = folder / "model.safetensors"
    run(
        [
            sys.executable,
            "-c",
            f"from benchmarks.weights_scan import *; make(Path({str(path)!r}), 'BF16', {size})",
        ]
    )
    cost = run([sys.executable, "-m", "benchmarks.weights_scan", "--only", str(path)])
    path.unlink()
    return cost.peak


def of_type(folder: Path, dtype: str, size: int, rounds: int) -> Rates:
    """Make a file of one type and read it by every means."""
    folder.mkdir()
    path = folder / "model.safetensors"
    make(path, dtype, size)
    settle()
    ways: dict[str, Callable[[], None]] = {
        "read": lambda: read_plainly(path),
        "scan": lambda: scan(path),
        "scan, one worker": lambda: scan(path, crew=1),
        "numpy": lambda: isnan_plainly(path, dtype),
    }
    best: Rates = {}
    total = path.stat().st_size
    for _ in range(rounds):
        for temperature, prepare in (("cold", chill), ("warm", warm)):
            for name, way in ways.items():
                prepare(folder)
                began, busy = time.perf_counter(), time.process_time()
                way()
                spent = {temperature: time.perf_counter() - began}
                if temperature == "warm":
                    spent["of CPU"] = time.process_time() - busy
                for kind, seconds in spent.items():
                    best[f"{name}, {kind}"] = max(total / seconds, best.get(f"{name}, {kind}", 0.0))
    path.unlink()
    return best


def of_header(folder: Path, rounds: int) -> Rates:
    """Read the header of a file with very many tensors; bytes and tensors per second of CPU."""
    from pipelines.scan.safetensors import SafetensorsHeader, read_header

    folder.mkdir()
    path = folder / "model.safetensors"
    make(path, "BF16", _TENSORS * 64, tensor=64)
    size = path.stat().st_size
    seconds, loads = [], []
    header = SafetensorsHeader((), {}, 0)
    for _ in range(rounds):
        began = time.process_time()
        with path.open("rb") as stream:
            header = read_header(stream, size)
        seconds.append(time.process_time() - began)
        raw = path.read_bytes()[8 : header.data_start]
        began = time.process_time()
        json.loads(raw)
        loads.append(time.process_time() - began)
    return {
        "tensors": len(header.tensors),
        "bytes": header.data_start,
        "bytes per second": header.data_start / min(seconds),
        "tensors per second": len(header.tensors) / min(seconds),
        "json alone, bytes per second": header.data_start / min(loads),
    }


def make(path: Path, dtype: str, size: int, *, tensor: int = _TENSOR) -> None:
    """Write a safetensors file of `size` bytes of finite random weights, in tensors of `tensor` bytes at most."""
    import numpy as np

    header: dict[str, Any] = {}
    place = 0
    while place < size:
        end = min(place + tensor, size) // 4 * 4
        shape = [(end - place) // _WIDTH[dtype]]
        header[f"model.layers.{len(header)}.weight"] = {
            "dtype": dtype,
            "shape": shape,
            "data_offsets": [place, end],
        }
        place = end
    raw = json.dumps(header).encode()
    raw += b" " * (-len(raw) % 8)
    random = np.random.default_rng(7)
    piece = random.integers(0, 256, _PIECE, dtype=np.uint8)
    piece[_WIDTH[dtype] - 1 :: _WIDTH[dtype]] &= (
        0xBB  # one exponent bit is never set: finite, whatever the rest is
    )
    with path.open("wb") as stream:
        stream.write(len(raw).to_bytes(8, "little") + raw)
        for begin in range(0, place, _PIECE):
            stream.write(piece[: min(_PIECE, place - begin)].data)


def read_plainly(path: Path) -> None:
    """Read the file in order and do nothing with it: as fast as the disk, or the page cache, gives it."""
    buffer = bytearray(1 << 20)
    with path.open("rb", buffering=0) as stream:
        while stream.readinto(buffer):
            pass


def scan(path: Path, *, crew: int | None = None) -> None:
    """The product's scan of the weights alone."""
    from pipelines.files_check.sweep import Part, sweep
    from pipelines.scan.safetensors import read_header

    with path.open("rb", buffering=0) as stream:
        header = read_header(stream, path.stat().st_size)
    parts = [
        Part(0, one.name, one.dtype, header.data_start + one.begin, header.data_start + one.end)
        for one in header.tensors
    ]
    seen = sweep([lambda: path.open("rb", buffering=0)], parts, progress=lambda _count: None, crew=crew)
    if any(one.first is not None or not one.varies for one in seen):
        sys.exit("the scan saw damage in weights that have none")


def isnan_plainly(path: Path, dtype: str) -> None:
    """Read and ask numpy, one piece after the other, converting where numpy has no such type."""
    import numpy as np

    with path.open("rb", buffering=0) as stream:
        stream.seek(8 + int.from_bytes(stream.read(8), "little"))
        while piece := stream.read(_PIECE):
            if dtype == "BF16":
                values: Any = (np.frombuffer(piece, np.uint16).astype(np.uint32) << 16).view(np.float32)
            else:
                values = np.frombuffer(piece, {"F16": np.float16, "F32": np.float32}[dtype])
            if np.isnan(values).any():
                sys.exit("numpy saw a NaN in weights that have none")


def page(document: dict[str, Any]) -> str:
    """The figures for people."""
    lines = [f"{document['machine']['processor']}, {document['cores']} cores", ""]
    for dtype, rates in document["types"].items():
        lines.append(f"{dtype}: GB/s, and how many times numpy's plain way")
        for name, rate in rates.items():
            plain = rates[f"numpy, {name.rpartition(', ')[2]}"]
            lines.append(f"  {name:24} {rate / 1e9:6.2f}   {rate / plain:5.1f}")
    header = document["header"]
    lines.append(f"header of {header['tensors']:.0f} tensors, {header['bytes'] / 1e6:.1f} MB:")
    lines.append(
        f"  {header['bytes per second'] / 1e6:.0f} MB/s, {header['tensors per second']:.0f} tensors/s"
    )
    lines.append(f"  json alone: {header['json alone, bytes per second'] / 1e6:.0f} MB/s")
    lines.append(f"memory of a scan at most: {document['peak_bytes'] / (1 << 20):.0f} MiB")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
