"""What the base install weighs: an environment made from `requirements-site.lock`, as an import station has it."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).parent.parent
_COUNT = (
    "import json, sysconfig, importlib.metadata as m;"
    "print(json.dumps([sysconfig.get_path('purelib'), len({d.name for d in m.distributions()})]))"
)


@dataclass(frozen=True)
class BaseInstall:
    """An environment with what Tidegate needs and without Tidegate itself: it is run from this folder."""

    python: Path
    distributions: int  # Tidegate is one more; pip is none, the environment has none
    size: int  # bytes of the packages' files, compiled ones too


def build(folder: Path) -> BaseInstall:
    """Make the environment below `folder`. Needs the place that Python packages are installed from."""
    environment = folder / "base"
    _do([sys.executable, "-m", "venv", "--without-pip", str(environment)])
    pip = [sys.executable, "-m", "pip", "-qq", "--disable-pip-version-check", "--python", str(environment)]
    _do([*pip, "install", "--require-hashes", "-r", str(PROJECT / "requirements-site.lock")])
    python = environment / "bin" / "python"
    packages, count = json.loads(_do([str(python), "-I", "-c", _COUNT]))
    size = sum(path.lstat().st_size for path in Path(packages).rglob("*") if path.is_file())
    return BaseInstall(python, count, size)


def _do(command: list[str]) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
