"""Build llama-server, once, from pinned public sources, into the user's cache.

Apart from `engine.py` because this is the only part of the demonstration that downloads anything. The
sources are llama.cpp (MIT) as they stand in the source package of llama-cpp-python (MIT); of that package
nothing else is built or installed. pip fetches it from wherever pip is told to fetch things, and refuses other
bytes than the pinned ones before it reads them. pip asks the package's build backend for its name and
version; the package itself is never built by pip.

Order: compiler, room, word to the person, lock, download, check, unpack, build, try, rename. Killed at any
point it leaves a folder that the next run removes; the finished folder appears whole or not at all.
"""

import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from signing.digests import file_sha256

PACKAGE, PACKAGE_VERSION = "llama-cpp-python", "0.3.36"
PACKAGE_SHA256 = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"
ENGINE_VERSION = "0.5.0-dev"  # what the llama.cpp inside calls itself
_SOURCES = f"llama_cpp_python-{PACKAGE_VERSION}/vendor/llama.cpp/"
_MEGABYTES = {"download": 77, "tools": 45, "room": 800}

Say = Callable[[str], None]

# No optimiser for C++: our models are tiny, and the build takes minutes instead of half an hour. No vector
# instructions: the binary must run on whatever the user's next machine is. Nothing is fetched while building.
_FLAGS = (
    "-DCMAKE_BUILD_TYPE=None -DCMAKE_C_FLAGS=-O1 -DCMAKE_CXX_FLAGS=-O0 -DCMAKE_EXE_LINKER_FLAGS=-s "
    "-DBUILD_SHARED_LIBS=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_APP=OFF "
    "-DLLAMA_BUILD_UI=OFF -DLLAMA_USE_PREBUILT_UI=OFF -DLLAMA_OPENSSL=OFF -DGGML_NATIVE=OFF -DGGML_OPENMP=OFF "
    "-DGGML_SSE42=OFF -DGGML_AVX=OFF -DGGML_AVX2=OFF -DGGML_BMI2=OFF -DGGML_FMA=OFF -DGGML_F16C=OFF "
    "-DGGML_LLAMAFILE=OFF -DGGML_CPU_REPACK=OFF -DGGML_CCACHE=OFF "
    f"-DLLAMA_BUILD_NUMBER=0 -DLLAMA_BUILD_COMMIT={PACKAGE}-{PACKAGE_VERSION}"
).split()
_COMPILER_PACKAGE = {
    "debian": "build-essential",
    "ubuntu": "build-essential",
    "fedora": "gcc-c++",
    "rhel": "gcc-c++",
    "suse": "gcc-c++",
    "alpine": "build-base",
    "arch": "base-devel",
}


class EngineTrouble(RuntimeError):
    """The engine cannot be found, built or started; the message says what to do."""


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
    compilers = find_compilers(os.environ, Path("/etc/os-release"))
    _check_room(cache)
    cmake = shutil.which("cmake")
    tools = 0 if cmake else _MEGABYTES["tools"]
    say(
        f"llama-server is not on this machine. Once: {_MEGABYTES['download'] + tools} MB are downloaded through pip "
        f"({PACKAGE} {PACKAGE_VERSION}, for the llama.cpp sources in it{', and cmake' if tools else ''}) and built, "
        f"which takes about 4 minutes on two idle cores. It goes to {target.parent}; deleting that folder undoes it."
    )
    with _only_one(cache, say):
        if target.exists():  # another set-up finished while this one waited
            return target
        with _workshop(cache) as work:
            built = _build(work, cmake, compilers, say)
            finished = work / "finished"
            finished.mkdir()
            shutil.copy2(built, finished / target.name)
            shutil.copy2(work / "llama.cpp" / "LICENSE", finished / "LICENSE")
            if not target.exists():  # a person may have put one there meanwhile
                finished.rename(target.parent)
    return target


def find_compilers(environ: Mapping[str, str], os_release: Path) -> tuple[str, str]:
    """Return the C and the C++ compiler. Raises `EngineTrouble` naming the distribution's package."""
    path = environ.get("PATH")
    c = next(
        filter(None, (shutil.which(n, path=path) for n in (environ.get("CC", "cc"), "gcc", "clang"))), None
    )
    cxx = next(
        filter(None, (shutil.which(n, path=path) for n in (environ.get("CXX", "c++"), "g++", "clang++"))),
        None,
    )
    if c and cxx:
        return c, cxx
    text = os_release.read_text("utf-8") if os_release.exists() else ""
    names = " ".join(re.findall(r'^ID(?:_LIKE)?="?([^"\n]*)', text, re.MULTILINE)).split()
    package = next((_COMPILER_PACKAGE[name] for name in names if name in _COMPILER_PACKAGE), None)
    hint = f"install the package {package}" if package else "install a C and C++ compiler"
    raise EngineTrouble(f"no C++ compiler on this machine: {hint}, then run the same command again")


def _check_room(cache: Path) -> None:
    cache.mkdir(parents=True, exist_ok=True)
    free, needed = shutil.disk_usage(cache).free, _MEGABYTES["room"] * 1_000_000
    if free < needed:
        raise EngineTrouble(f"{cache}: {free // 1_000_000} MB free, the build needs {needed // 1_000_000} MB")


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


def _build(work: Path, cmake: str | None, compilers: tuple[str, str], say: Say) -> Path:
    python = work / "venv" / "bin" / "python"
    log = work / "log.txt"
    _run([sys.executable, "-m", "venv", str(work / "venv")], log, "make a virtual environment (python3-venv)")
    source = _download(work, python, log)
    say("Downloaded and checked. Building.")
    unpack(source, work / "llama.cpp")
    if cmake is None:
        _run(
            [str(python), "-m", "pip", "install", "--quiet", "cmake", "ninja"], log, "install cmake with pip"
        )
        cmake = str(python.parent / "cmake")
    ninja = shutil.which("ninja") or shutil.which(str(python.parent / "ninja"))
    generator = ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}"] if ninja else []
    named = [f"-DCMAKE_C_COMPILER={compilers[0]}", f"-DCMAKE_CXX_COMPILER={compilers[1]}"]
    build = work / "build"
    _run(
        [cmake, *generator, "-S", str(work / "llama.cpp"), "-B", str(build), *named, *_FLAGS],
        log,
        "configure",
    )
    jobs = str(os.cpu_count() or 1)
    _run([cmake, "--build", str(build), "--target", "llama-server", "-j", jobs], log, "compile", say)
    built = build / "bin" / "llama-server"
    _run([str(built), "--version"], log, "start what was built")
    return built


def _download(work: Path, python: Path, log: Path) -> Path:
    """Fetch the pinned source package with pip and check it ourselves too."""
    pinned = work / "pinned.txt"
    pinned.write_text(f"{PACKAGE}=={PACKAGE_VERSION} --hash=sha256:{PACKAGE_SHA256}\n", "utf-8")
    fetch = ["download", "--quiet", "--require-hashes", "--no-deps", "--no-binary", PACKAGE]
    _run([str(python), "-m", "pip", *fetch, "-d", str(work), "-r", str(pinned)], log, f"download {PACKAGE}")
    source = work / f"llama_cpp_python-{PACKAGE_VERSION}.tar.gz"
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


def _run(command: Sequence[str], log: Path, purpose: str, say: Say | None = None) -> None:
    """Run one step, its words into the log, per cent to the person. Raises `EngineTrouble` with the last words."""
    told = 0
    with (
        log.open("a", encoding="utf-8") as sink,
        subprocess.Popen(
            command,
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
