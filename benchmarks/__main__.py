"""`make bench`: measures the long commands against plain tools, prints the figures, leaves nothing behind.

Each round runs every peer and every command once, so that what else the machine does meets all of them. No time
is asserted: a figure is for people to judge.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import base_install, peers
from benchmarks.figures import Figures, Round
from benchmarks.journey import Crossing, Ready
from benchmarks.measure import CommandFailed, Cost, chill, machine, run, settle, warm
from pipelines.bundle.media import parse_size

_HELP_RUNS = 9
_SPARE = 1 << 30  # bytes beside the copies of the model: homes, the base install
_COPIES = 4  # the model itself, the origin's store, the medium, the site's store


def main() -> None:
    """Measure and report."""
    arguments = _arguments()
    size = parse_size(arguments.size)
    _demand_space(arguments.folder, size)
    folder = Path(tempfile.mkdtemp(prefix="tidegate-bench-", dir=arguments.folder))
    try:
        figures = _measured(folder, size, arguments)
    except CommandFailed as failed:
        sys.exit(f"A measured command failed: {failed}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(figures.document(), indent=2) if arguments.json else figures.text())


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Figures of this machine.")
    parser.add_argument("--size", default="4GiB", help="bytes of the model's tensors; default 4GiB")
    parser.add_argument(
        "--folder", type=Path, default=Path(tempfile.gettempdir()), help="where to work: the disk under test"
    )
    parser.add_argument("--rounds", type=int, default=3, help="how often everything runs; default 3")
    parser.add_argument(
        "--cold", action="store_true", help="drop what is read from the page cache before each run"
    )
    parser.add_argument("--skip-base", action="store_true", help="do not make a base install (it downloads)")
    parser.add_argument("--json", action="store_true", help="figures for programs")
    return parser.parse_args()


def _demand_space(folder: Path, size: int) -> None:
    needed, free = _COPIES * size + size // 8 + _SPARE, shutil.disk_usage(folder).free
    if needed > free:
        sys.exit(
            f"Refused: {folder} has {free / 1e9:.1f} GB free and this takes {needed / 1e9:.1f} GB. "
            "Name another disk with --folder, or a smaller model with --size."
        )


def _measured(folder: Path, size: int, arguments: argparse.Namespace) -> Figures:
    base = None
    python = Path(sys.executable)
    if not arguments.skip_base:
        _say("making a base install")
        base = base_install.build(folder)
        python = base.python
    _say("tidegate --help")
    here = {"PYTHONPATH": str(base_install.PROJECT)}
    helped = [run([str(python), "-m", "tidegate", "--help"], environment=here) for _ in range(_HELP_RUNS)]
    model = folder / "model"
    _say(f"making a model of {size / (1 << 30):.2f} GiB")
    subprocess.run([sys.executable, "-m", "benchmarks.model", str(model), str(size)], check=True)
    loads, rounds = [], []
    for number in range(arguments.rounds):
        loads.append(os.getloadavg()[0])
        rounds.append(_round(folder, model, number + 1, cold=arguments.cold))
    return Figures(
        machine=machine(),
        size=sum(path.stat().st_size for path in model.iterdir()),
        cache="cold" if arguments.cold else "warm",
        rounds=rounds,
        help_cpu=statistics.median(cost.cpu for cost in helped),
        distributions=None if base is None else base.distributions,
        installed=None if base is None else base.size,
        load=loads,
    )


def _round(folder: Path, model: Path, number: int, *, cold: bool) -> Round:
    costs: dict[str, Cost] = {}
    ready = _ready(cold=cold)
    scratch = folder / "scratch"
    for name, command in peers.commands(model, scratch).items():
        ready(model)
        _note(number, name, costs, run(command))
        shutil.rmtree(scratch, ignore_errors=True)
    place = folder / "crossing"
    for name, cost in Crossing(place).costs(model, ready):
        _note(number, name, costs, cost)
    shutil.rmtree(place)
    return costs


def _ready(*, cold: bool) -> Ready:
    def ready(source: Path) -> None:
        settle()
        (chill if cold else warm)(source)

    return ready


def _note(number: int, name: str, costs: dict[str, Cost], cost: Cost) -> None:
    costs[name] = cost
    _say(f"round {number}: {name}: {cost.wall:.2f} s, {cost.cpu:.2f} s of CPU, {cost.peak >> 20} MiB")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
