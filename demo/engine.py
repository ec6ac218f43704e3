"""Find a real serving engine, and serve a model with it on this machine only.

    python -m demo.engine                              find or build llama-server, print its path
    python -m demo.engine serve MODEL [--port N] [flags of llama-server]

The engine is a process of its own that cannot outlive its caller: the kernel ends it when the thread that
started it is gone, however it went. Ready means that a real request was answered by the right file; a
health page says neither.
"""

import contextlib
import ctypes
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo.engine_setup import EngineTrouble, cache_folder, engine_path, set_up_engine

__all__ = ["Engine", "EngineTrouble", "Served", "die_with", "find_engine", "set_up_engine", "stop"]

SETTING = "TIDEGATE_LLAMA_SERVER"  # an operator's own llama-server comes before every other
START_LIMIT = 60.0  # seconds until the first answer; a tiny model needs less than one
STOP_LIMIT = 10.0  # seconds between asking an engine to end and ending it
_PR_SET_PDEATHSIG = 1  # prctl(2)
_LIBC = ctypes.CDLL(None, use_errno=True)  # loaded before any fork

# Two slots of 4096 tokens. One thread: a model this small loses time by sharing work.
_DEFAULTS = ["--threads", "1", "--parallel", "2", "--ctx-size", "8192"]
_DEFAULTS += ["--no-webui", "--offline", "--metrics", "--slots"]


@dataclass(frozen=True)
class Served:
    """A model that answers now: `base_url` ends in `/v1`, `model` is the file that the engine opened."""

    base_url: str
    pid: int
    engine: str
    version: str
    model: Path


@dataclass(frozen=True)
class Engine:
    """One llama-server binary; `version` is what it says of itself, such as `0.5.0-dev`."""

    path: Path
    version: str
    name: str = "llama-server"

    @contextlib.contextmanager
    def serve(
        self, model: Path, log: Path, flags: Sequence[str] = (), port: int | None = None
    ) -> Iterator[Served]:
        """Serve a GGUF file, or the `model.gguf` of a folder, until the block ends.

        Args:
            model: the file or folder; the engine reads it in place.
            log: the engine's words are appended here.
            flags: further llama-server flags, such as `--chat-template-file PATH`; they win over ours.
            port: a loopback port; by default a free one.

        Raises `EngineTrouble` if it does not answer in time, with the last lines of its log.
        Start it from a thread that lives at least as long as the block.
        """
        file = (model / "model.gguf" if model.is_dir() else model).resolve()
        if not file.is_file():
            raise EngineTrouble(f"{file}: no such model file")
        attempts = 1 if port else 3  # a free port can be taken between choosing and using it
        for attempt in range(1, attempts + 1):
            chosen = port or free_port()
            process = self._start(file, chosen, log, flags)
            try:
                if _ready(process, chosen, file):
                    yield Served(f"http://127.0.0.1:{chosen}/v1", process.pid, self.name, self.version, file)
                    return
            finally:
                stop(process)
            if attempt == attempts:
                raise EngineTrouble(f"{self.path} did not serve {file}; see {log}:\n{_last_lines(log)}")

    def _start(self, file: Path, port: int, log: Path, flags: Sequence[str]) -> subprocess.Popen[bytes]:
        command = [str(self.path), "--model", str(file), "--host", "127.0.0.1", "--port", str(port)]
        with log.open("ab") as sink:
            return subprocess.Popen(
                [*command, *_DEFAULTS, *flags],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches us, and we stop it in order
                preexec_fn=die_with(os.getpid()),  # noqa: PLW1509 (one prctl call, nothing that takes a lock)
                env=clean_environment(os.environ),
            )


def find_engine(environ: Mapping[str, str] = os.environ) -> Engine | None:
    """Return the engine that the environment names, else the one on PATH, else the one in the cache, else none.

    Raises `EngineTrouble` if the environment names something that does not run: nobody wants another one silently.
    """
    if named := environ.get(SETTING):
        return _engine(Path(named))
    on_path = shutil.which("llama-server", path=environ.get("PATH"))
    cached = engine_path(cache_folder(environ))
    found = Path(on_path) if on_path else cached
    return _engine(found) if found.exists() else None


def _engine(path: Path) -> Engine:
    try:
        told = subprocess.run(
            [str(path), "--version"], capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError) as exc:
        raise EngineTrouble(f"{path} does not run ({exc}): correct {SETTING}, or remove that file") from exc
    version = re.search(r"version: (\S+)", told.stdout + told.stderr)
    return Engine(path, version[1] if version else "unknown")


def clean_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without `LLAMA_ARG_*`, which llama-server reads as flags nobody sees."""
    return {key: value for key, value in environ.items() if not key.startswith("LLAMA_ARG_")}


def free_port() -> int:
    """Return a loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def die_with(parent: int) -> Callable[[], None]:
    """Return what the child does before it becomes the program: ask the kernel to end it with `parent`."""

    def leash() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # the parent died between fork and prctl
            os._exit(1)

    return leash


def _ready(process: subprocess.Popen[bytes], port: int, file: Path) -> bool:
    """Wait for a real answer from this process about this file. False if the process ended first."""
    deadline = time.monotonic() + START_LIMIT
    question = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1, "temperature": 0}
    while process.poll() is None and time.monotonic() < deadline:
        try:
            ask(f"http://127.0.0.1:{port}/v1/chat/completions", question)
            held = ask(f"http://127.0.0.1:{port}/props")["model_path"]
        except (OSError, ValueError, KeyError):
            time.sleep(0.05)
            continue
        # someone else's server on our port would answer too
        return process.poll() is None and Path(held) == file
    return False


def ask(url: str, body: Mapping[str, Any] | None = None, timeout: float = 30.0) -> Any:
    """Return the JSON answer to a POST of `body`, or to a GET without one. Raises `OSError` or `ValueError`."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # loopback needs no proxy
    with opener.open(request, timeout=timeout) as answer:
        return json.loads(answer.read())


def stop(process: "subprocess.Popen[Any]") -> None:
    """End a process that we started: politely, then not."""
    process.terminate()
    try:
        process.wait(STOP_LIMIT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _last_lines(log: Path, count: int = 12) -> str:
    return "\n".join(log.read_text("utf-8", errors="replace").splitlines()[-count:])


def _serve_until_interrupted(arguments: Sequence[str]) -> None:
    model, *flags = arguments
    port = None
    if "--port" in flags:
        at = flags.index("--port")
        port = int(flags[at + 1])
        del flags[at : at + 2]
    engine = find_engine() or _engine(set_up_engine(_say))
    log = Path(f"llama-server-{os.getpid()}.log").resolve()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with contextlib.suppress(KeyboardInterrupt), engine.serve(Path(model), log, flags, port) as served:
        print(json.dumps({"base_url": served.base_url, "pid": served.pid, "log": str(log)}), flush=True)
        while True:
            signal.pause()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main(arguments: Sequence[str]) -> None:
    """Print the engine's path, or serve a model until interrupted."""
    try:
        match arguments:
            case []:
                found = find_engine()
                print(found.path if found else set_up_engine(_say))
            case ["serve", _, *_]:
                _serve_until_interrupted(arguments[1:])
            case _:
                raise SystemExit(__doc__)
    except EngineTrouble as trouble:
        raise SystemExit(f"Refused: {trouble}") from trouble


if __name__ == "__main__":
    main(sys.argv[1:])
