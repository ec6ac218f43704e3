"""How long a tier takes to change its model and to change it back, under load, and what the load noticed.

    python -m benchmarks.rollout [--rounds N] [--clients N] [--json]

A real nginx in front of two real llama-servers with the demonstration's models. Each round rolls version 2 out and
goes back to version 1 while clients ask without a pause, each request on a new connection; a long answer begins
just before each switch. The engines' own start is a fraction of a second here; with large weights it is the most of
a rollout, and what these figures are for is the rest: switch, drain, and requests that failed.
"""

import argparse
import http.client
import json
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.measure import machine
from demo.engine import Engine, ask, find_engine
from pipelines.engines import process
from pipelines.engines.launch import Slot
from pipelines.rollback import roll_back
from pipelines.rollout.carry import carry_out
from tests.rollout_world import DEMO, MODEL, NginxNode, copied, home_with_two_versions

FLAGS = ["--jinja", "--threads", "1", "--parallel", "4"]
_LONG, _SHORT = 800, 24  # tokens


@dataclass
class Load:
    """Clients that ask all the time. `done` and `failed` count requests, long ones too."""

    port: int
    done: int = 0
    failed: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def of(self, clients: int) -> Iterator[list[threading.Thread]]:
        """Ask until the block ends; more threads may be added to the list."""
        threads = [threading.Thread(target=self._without_pause) for _ in range(clients)]
        for thread in threads:
            thread.start()
        try:
            yield threads
        finally:
            self.over.set()
            for thread in threads:
                thread.join()

    def _without_pause(self) -> None:
        while not self.over.is_set():
            self.ask(_SHORT)

    def ask(self, tokens: int, began: threading.Event | None = None) -> None:
        """One streamed answer, to its end."""
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        body = {"model": MODEL, "messages": [{"role": "user", "content": "Who are you?"}]}
        rest = {"temperature": 0, "max_tokens": tokens, "ignore_eos": True, "stream": True}
        try:
            link.request("POST", "/v1/chat/completions", json.dumps(body | rest))
            answer, last = link.getresponse(), b""
            for line in answer:
                last = line.strip() or last
                if began is not None:
                    began.set()
            whole = answer.status == 200 and last == b"data: [DONE]"
            problem = None if whole else f"status {answer.status}, ended with {last[:80]!r}"
        except (OSError, http.client.HTTPException) as exc:
            problem = f"{type(exc).__name__}: {exc}"
        finally:
            link.close()
        with self.lock:
            self.done += problem is None
            self.failed += [problem] if problem else []


def main() -> None:
    """Measure and report."""
    arguments = _arguments()
    engine = find_engine()
    if engine is None:
        raise SystemExit("No engine: python -m demo.engine sets one up.")
    with tempfile.TemporaryDirectory(prefix="tidegate-rollout-") as folder:
        found = _measure(Path(folder), engine, arguments)
    print(json.dumps(found, indent=2) if arguments.json else _text(found))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.rollout", description=__doc__.split("\n\n")[0]
    )
    parser.add_argument("--rounds", type=int, default=5, help="there and back so often; default 5")
    parser.add_argument("--clients", type=int, default=3, help="who ask without a pause; default 3")
    parser.add_argument("--json", action="store_true", help="figures for programs")
    return parser.parse_args()


def _measure(folder: Path, engine: Engine, arguments: argparse.Namespace) -> dict[str, Any]:
    with engine.serve(DEMO / "models" / "v1", folder / "log") as served:
        build = ask(served.base_url.removesuffix("/v1") + "/props")["build_info"]
    with copied(home_with_two_versions(folder / "built"), folder / "home") as work:
        node = NginxNode(work, folder / "node", profile={"version": build, "flags": FLAGS})
        node.write_settings(program=[str(engine.path)])
        try:
            with node.proxy():
                return _rounds(node, arguments)
        finally:
            for name, port in (("blue", node.blue), ("green", node.green)):
                place = node.serving().slot_folder("team", MODEL, name)
                process.stop(Slot(name, place, "127.0.0.1", port), seconds=5)


def _rounds(node: NginxNode, arguments: argparse.Namespace) -> dict[str, Any]:
    node.pin(1)
    carry_out(node.at(), "team", MODEL)
    rows: dict[str, list[dict[str, Any]]] = {"forth": [], "back": []}
    for _ in range(arguments.rounds):
        node.pin(2)
        rows["forth"].append(_one(node, arguments.clients))
        roll_back(node.at(), MODEL, "team", reason="measured")
        rows["back"].append(_one(node, arguments.clients))
    return {
        "machine": machine(),
        "load_average": os.getloadavg()[0],
        "rounds": arguments.rounds,
        "clients": arguments.clients,
        **{way: _summary(found) for way, found in rows.items()},
    }


def _one(node: NginxNode, clients: int) -> dict[str, Any]:
    load, began = Load(node.front), threading.Event()
    with load.of(clients) as threads:
        time.sleep(0.5)

        def say(step: str) -> None:
            if step.startswith("switch"):
                threads.append(threading.Thread(target=load.ask, args=(_LONG, began)))
                threads[-1].start()
                began.wait(60)

        start, before = time.monotonic(), load.done
        done = carry_out(node.at(), "team", MODEL, say=say)
        seconds, answered = time.monotonic() - start, load.done - before
    assert done.row is not None
    account = json.loads(done.row.body)
    steps = {step["step"].rsplit(" ", 1)[0]: step["ms"] for step in account["steps"]}
    return {
        "total_ms": done.row.milliseconds,
        "switch_ms": account["switch_ms"],
        "ready_ms": steps["start"] + steps["see ready"],
        "drain_ms": steps["drain"],
        "per_second": answered / seconds,
        "answered": load.done,
        "failed": load.failed,
    }


def _summary(found: list[dict[str, Any]]) -> dict[str, Any]:
    names = ("total_ms", "switch_ms", "ready_ms", "drain_ms", "per_second")
    medians = {name: round(statistics.median(one[name] for one in found), 1) for name in names}
    most = {f"{name}_most": max(one[name] for one in found) for name in names[:4]}
    failed = [problem for one in found for problem in one["failed"]]
    return medians | most | {"answered": sum(one["answered"] for one in found), "failed": failed}


def _text(found: dict[str, Any]) -> str:
    lines = []
    lines.append(
        f"{found['rounds']} rounds, {found['clients']} clients; {found['machine']['cores']} cores, "
        f"{found['machine']['processor']}; load average {found['load_average']:.1f}"
    )
    for way, title in (("forth", "rollout"), ("back", "rollback")):
        one = found[way]
        lines.append(
            f"{title}: {one['total_ms']:.0f} ms in all (most {one['total_ms_most']}), of which engine "
            f"{one['ready_ms']:.0f}, switch {one['switch_ms']:.0f} (most {one['switch_ms_most']}), drain "
            f"{one['drain_ms']:.0f}; {one['per_second']:.0f} requests/s meanwhile, {one['answered']} answered, "
            f"{len(one['failed'])} failed"
        )
        lines += [f"  failed: {problem}" for problem in one["failed"][:5]]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
