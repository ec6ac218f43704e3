"""What building the engine needs besides Python: found on the machine, else taken from the Python index.

Apart from `engine_setup.py` because this is the list of foreign programs that the demonstration may run. Each
is pinned to exact bytes, installed by pip into a folder that is removed after the build, and needs no hands:
a machine with Python and nothing else gets CMake, Ninja and a C++ compiler (Zig's, which is Clang with its
own headers and libraries) as wheels. Wheels are unpacked, never built, so nothing runs while they arrive.
"""

import os
import platform
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path


class EngineTrouble(RuntimeError):
    """The engine cannot be found, built or started; the message says what to do."""


@dataclass(frozen=True)
class Wheel:
    """One release of one program; `megabytes` is the largest of its wheels (10^6 bytes)."""

    name: str
    version: str
    megabytes: int
    hashes: tuple[str, ...]  # SHA-256, one for each platform; pip takes the one that fits

    @property
    def requirement(self) -> str:
        """Return the line that makes pip refuse every other byte."""
        return " ".join(
            [f"{self.name}=={self.version}", *(f"--hash=sha256:{digest}" for digest in self.hashes)]
        )


CMAKE = Wheel(
    "cmake",
    "4.4.4",
    31,
    (
        "f773a0544c66370408f451acd487c2c643b0dfebb48c5d64f3638bc1bb820238",  # manylinux x86_64
        "b3029f586853e01ddf2824c1ff124a1c5284f8ae897994758e9c4eeb45903b58",  # manylinux aarch64
        "ed50c732a82ac04f6e5606a0677ddfb49dda9ee130f9d4163c5df217e478417e",  # musllinux x86_64
        "e2d98233f16b5d6b9d4673a0a724ce801fc413811befb8f0b008cbffb7a2ad63",  # musllinux aarch64
    ),
)
NINJA = Wheel(
    "ninja",
    "1.13.2",
    1,
    (
        "65a24341b5ac09fcadcc37082660be40a94174e51a937fabf6e2cae26225fa2c",  # manylinux x86_64
        "d775a5e43e9088f507a6250d57fcf5678eb31268c545feb5064ffeee33735622",  # manylinux aarch64
        "915bd482c4be41c75120fd67a22e0bb3f0fbb3bbc5f95b89787deadd59e27ef2",  # musllinux x86_64
        "0e083700470c02ca154a855ae6d692d03564f5064cae52e113896f9ccc078418",  # musllinux aarch64
    ),
)
ZIG = Wheel(
    "ziglang",
    "0.17.0",
    101,
    (
        "97079827064a7492cce5541ceb438ae8003ce1e54e399676da2d62fb7a5dc08b",  # x86_64
        "d2804f94f54f7fcf8169f4b212a619ad688a4e2e6592e976f0cf2e58e2cd8af3",  # aarch64
    ),
)
# The C library that the engine will find on any glibc distribution since 2014. Zig's own default would be
# this machine's, and this machine's vector instructions with it.
_ZIG_TARGETS = {"x86_64": "x86_64-linux-gnu.2.17", "aarch64": "aarch64-linux-gnu.2.17"}
_COMPILER_PACKAGE = {
    "debian": "build-essential",
    "ubuntu": "build-essential",
    "fedora": "gcc-c++",
    "rhel": "gcc-c++",
    "suse": "gcc-c++",
    "alpine": "build-base",
    "arch": "base-devel",
}
_TRIAL = "#include <mutex>\n#include <string>\nint main() { return std::string().size(); }\n"


@dataclass(frozen=True)
class Tools:
    """The programs found on this machine; None for each that has to be fetched."""

    compilers: tuple[str, str] | None  # C, C++
    cmake: str | None
    ninja: str | None
    make: str | None = None

    def missing(self) -> tuple[Wheel, ...]:
        """Return what has to be fetched, in a fixed order. Ninja or make is enough."""
        wanted = {
            ZIG: self.compilers is None,
            CMAKE: self.cmake is None,
            NINJA: self.ninja is None and self.make is None,
        }
        return tuple(wheel for wheel, needed in wanted.items() if needed)


def find_tools(environ: Mapping[str, str]) -> Tools:
    """Return what this machine has. A compiler counts only if it turns a small C++ program into a file."""
    path = environ.get("PATH")
    cmake, ninja, make = (shutil.which(name, path=path) for name in ("cmake", "ninja", "make"))
    return Tools(find_compilers(environ), cmake, ninja, make)


def find_compilers(environ: Mapping[str, str]) -> tuple[str, str] | None:
    """Return a C and a C++ compiler that work, `$CC` and `$CXX` before the usual names, or None."""
    path = environ.get("PATH")

    def first(*names: str) -> str | None:
        return next(filter(None, (shutil.which(name, path=path) for name in names)), None)

    c, cxx = (
        first(environ.get("CC", "cc"), "gcc", "clang"),
        first(environ.get("CXX", "c++"), "g++", "clang++"),
    )
    if c and cxx and first("ar", "gcc-ar", "llvm-ar") and _works(cxx, environ):
        return c, cxx
    return None


def _works(cxx: str, environ: Mapping[str, str]) -> bool:
    """A compiler without its library or its linker is common, and cmake says so only after the download."""
    with tempfile.TemporaryDirectory() as folder:
        command = [cxx, "-x", "c++", "-", "-o", str(Path(folder, "trial"))]
        try:
            subprocess.run(
                command, input=_TRIAL.encode(), env=environ, capture_output=True, timeout=60, check=True
            )
        except (OSError, subprocess.SubprocessError):
            return False
    return True


def check_fetchable(missing: Iterable[Wheel], machine: str, libc: str, os_release: Path) -> None:
    """Raise `EngineTrouble`, naming the distribution's package, if no compiler can be fetched for this machine.

    Args:
        machine: as `platform.machine()` says it. libc: as `platform.libc_ver()[0]`, "glibc" or something else.
    """
    if ZIG not in missing or (machine in _ZIG_TARGETS and libc == "glibc"):
        return
    text = os_release.read_text("utf-8") if os_release.exists() else ""
    names = " ".join(re.findall(r'^ID(?:_LIKE)?="?([^"\n]*)', text, re.MULTILINE)).split()
    package = next((_COMPILER_PACKAGE[name] for name in names if name in _COMPILER_PACKAGE), None)
    hint = f"install the package {package}" if package else "install a C and C++ compiler"
    raise EngineTrouble(
        f"no working C++ compiler on this machine ({machine}), and none to fetch for it: {hint}, "
        "then run the same command again"
    )


def wrap_zig(zig: Path, folder: Path) -> list[str]:
    """Write a script for each program that cmake expects of a compiler; return the settings that name them.

    Zig's own caches go below `folder`: nothing stays in the user's home.
    """
    folder.mkdir()
    # no debug checks that need a run-time library; stripped, or the C++ library is built with its symbols
    flags = ["-target", _ZIG_TARGETS[platform.machine()], "-mcpu=baseline", "-fno-sanitize=undefined", "-s"]
    scripts = {
        "C_COMPILER": ["cc", *flags],
        "CXX_COMPILER": ["c++", *flags],
        "AR": ["ar"],
        "RANLIB": ["ranlib"],
    }
    settings = []
    for setting, words in scripts.items():
        script = folder / words[0]
        cache = shlex.quote(str(folder / "cache"))
        script.write_text(
            f"#!/bin/sh\nZIG_GLOBAL_CACHE_DIR={cache} ZIG_LOCAL_CACHE_DIR={cache} "
            f'exec {shlex.join([str(zig), *words])} "$@"\n',
            "utf-8",
        )
        script.chmod(0o755)
        settings.append(f"-DCMAKE_{setting}={script}")
    return settings


def write_stand_in(folder: Path, backend: str, name: str, version: str) -> dict[str, str]:
    """Write a build backend of ours by the name that a source package asks for; return the environment for pip.

    pip cannot download a source package without asking its build backend for name and version, which would
    fetch and run foreign code. Without build isolation pip asks whatever module has the backend's name: this
    one, which says what we know already and builds nothing.
    Source: https://peps.python.org/pep-0517/#build-backend-interface
    """
    module = folder.joinpath(*backend.split("."))
    module.parent.mkdir(parents=True, exist_ok=True)
    (module.parent / "__init__.py").write_text("", "utf-8")
    module.with_suffix(".py").write_text(
        _STAND_IN.format(name=name, stem=name.replace("-", "_"), version=version), "utf-8"
    )
    return {**os.environ, "PYTHONPATH": str(folder)}


_STAND_IN = '''"""Says the name and version that were pinned; builds nothing."""
import pathlib


def get_requires_for_build_wheel(config_settings=None):
    return []


def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    folder = pathlib.Path(metadata_directory, "{stem}-{version}.dist-info")
    folder.mkdir()
    folder.joinpath("METADATA").write_text("Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n", "utf-8")
    return folder.name


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    raise NotImplementedError("this package is downloaded for its sources only")
'''
