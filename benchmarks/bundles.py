"""`make bench-bundles`: what bundles weigh and cost beside what other tools ship, on the same weights in one run.

    python -m benchmarks.bundles [--quick] [--large] [--page FILE]

Trains the fine-tunes if the cache has none (once, some minutes), ships every case by every tool, times the codecs, and
writes the page of figures with each aim marked as met or missed. No figure is asserted: what does not come back as it
went in is, and stops the run.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import bundle_cases, finetunes
from benchmarks.bundle_journey import NotTheSame
from benchmarks.bundle_measuring import Measuring, Sizes
from benchmarks.bundle_page import page
from benchmarks.bundle_peers import NOT_INSTALLED, Rivals
from benchmarks.bundle_results import Results
from benchmarks.measure import CommandFailed, machine

PROJECT = Path(__file__).parent.parent
CACHE = Path.home() / ".cache" / "tidegate" / "bench"
PAGE = PROJECT / "docs" / "reference" / "bundle-figures.md"
_FULL = Sizes(rates=1 << 30, raw=1 << 30, scaling=(1 << 28, 1 << 30), rounds=3)
_QUICK = Sizes(rates=1 << 28, raw=1 << 28, scaling=(1 << 27, 1 << 28), rounds=1)
_LARGE = (1 << 30, 1 << 34)  # bytes
_COPIES = 5  # of the largest model: itself, the origin's store, the medium, the site's store, and some


def main() -> None:
    """Measure everything and write the page."""
    arguments = _arguments()
    sizes = _sizes(arguments)
    _demand_space(arguments.folder, max(*sizes.scaling, 3 * sizes.rates))
    _models(arguments.python)
    folder = Path(tempfile.mkdtemp(prefix="tidegate-bench-", dir=arguments.folder))
    try:
        results = _measured(folder, sizes, arguments)
    except (CommandFailed, NotTheSame) as failed:
        sys.exit(f"The run stops here: {failed}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(results.document(), indent=2) + "\n")
    if arguments.page:
        arguments.page.write_text(page(results), encoding="utf-8")
    else:
        print(page(results))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bundles", description="Figures of bundles.")
    parser.add_argument(
        "--quick", action="store_true", help="small sizes, one round, no slow peers; prints the page"
    )
    parser.add_argument("--large", action="store_true", help="also 16 GiB; needs about 80 GB free")
    parser.add_argument("--page", type=Path, help="write here; default: the page in docs, unless --quick")
    parser.add_argument("--json", type=Path, help="also write the figures for programs here")
    parser.add_argument(
        "--folder", type=Path, default=Path(tempfile.gettempdir()), help="where to work: the disk under test"
    )
    parser.add_argument(
        "--python",
        type=Path,
        default=PROJECT / ".venv-bench" / "bin" / "python",
        help="of the environment that has torch and zipnn; default: .venv-bench",
    )
    arguments = parser.parse_args()
    if arguments.page is None and not arguments.quick:
        arguments.page = PAGE
    return arguments


def _sizes(arguments: argparse.Namespace) -> Sizes:
    sizes = _QUICK if arguments.quick else _FULL
    return sizes._replace(scaling=_LARGE) if arguments.large else sizes


def _demand_space(folder: Path, largest: int) -> None:
    needed, free = _COPIES * largest, shutil.disk_usage(folder).free
    if needed > free:
        sys.exit(
            f"Refused: {folder} has {free / 1e9:.1f} GB free and this takes {needed / 1e9:.1f} GB. "
            "Name another disk with --folder, or leave --large out."
        )


def _models(python: Path) -> None:
    """Train and write what the cache lacks."""
    if finetunes.missing(CACHE):
        if not python.is_file():
            sys.exit(
                f"Refused: the fine-tunes are not trained yet and {python} is not there to do it. "
                "Run `make bench-bundles`, which makes that environment, or name one with --python."
            )
        print("training the fine-tunes (once; about ten minutes)", file=sys.stderr, flush=True)
        subprocess.run([str(python), "-m", "benchmarks.finetunes", str(CACHE)], check=True, cwd=PROJECT)
    subprocess.run([sys.executable, "-m", "benchmarks.bundle_cases", str(CACHE)], check=True, cwd=PROJECT)


def _measured(folder: Path, sizes: Sizes, arguments: argparse.Namespace) -> Results:
    python = arguments.python if arguments.python.is_file() else None
    rivals = Rivals(folder / "rivals", python, quick=arguments.quick)
    results = Results(
        command=_command(sys.argv[1:]),
        date=datetime.now(UTC).date().isoformat(),
        machine=machine(),
        versions={peer.name: version or NOT_INSTALLED for peer, version in rivals.versions.items()},
    )
    Measuring(folder, CACHE / finetunes.EDITION, rivals, python, results).everything(sizes)
    missing = set(bundle_cases.CASES) - set(bundle_cases.ready(CACHE))
    results.notes += sorted(f"{case.name}: its files could not be made" for case in missing)
    return results


def _command(words: Sequence[str]) -> str:
    """The run as a reader repeats it; folders of this machine are left out."""
    kept = [word for word in words if word in ("--quick", "--large")]
    return " ".join(["make bench-bundles", *([f'BENCH="{" ".join(kept)}"'] if kept else [])])


if __name__ == "__main__":
    main()
