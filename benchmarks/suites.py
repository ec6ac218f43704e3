"""`python -m benchmarks.suites`: what a suite costs beside a bare client that asks the same of the same engine.

A real llama-server serves the demonstration's model. The bare client keeps its connections open, reads each answer
to its end, looks at nothing and writes nothing down; a suite starts a process with pytest, checks every answer
and writes and reads the results. Each round runs both, so that what else the machine does meets both. No time is
asserted: a figure is for people to judge.
"""

import argparse
import http.client
import json
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from demo.engine import find_engine
from pipelines.suites import BUILTIN, talk
from pipelines.suites.format import Suite, load, read
from pipelines.suites.parent import run_child
from pipelines.suites.plan import CANDIDATE, Side
from registry.contracts import Emission, ToolContract, encode

MODEL = Path(__file__).parents[1] / "demo" / "models" / "v1"
HANDS = (1, 4)  # requests in flight at once


@dataclass(frozen=True)
class Round:
    """Seconds for the same requests: by the bare client, by a suite with everything, and by a suite of one request."""

    bare: float
    suite: float
    start: float


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.suites", description="What a suite costs.")
    parser.add_argument("--requests", type=int, default=300, help="in each run; default 300")
    parser.add_argument("--rounds", type=int, default=5, help="how often everything runs; default 5")
    arguments = parser.parse_args()
    engine = find_engine()
    if engine is None:
        sys.exit("No llama-server: run `python -m demo.engine`, or name one in TIDEGATE_LLAMA_SERVER.")
    print(
        f"{arguments.requests} requests, medians of {arguments.rounds} rounds, {engine.name} {engine.version}"
    )
    print(f"{'':24}{'bare':>9}{'suite':>9}{'of it start':>13}{'ratio':>8}{'without start':>15}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with engine.serve(MODEL, folder / "engine.log", ["--parallel", str(max(HANDS))]) as served:
            for hands in HANDS:
                for stream in (False, True):
                    rounds = [
                        measured(folder, served.base_url, arguments.requests, hands, stream=stream)
                        for _ in range(arguments.rounds)
                    ]
                    print(line(rounds, hands, stream=stream))


def line(rounds: Sequence[Round], hands: int, *, stream: bool) -> str:
    """Return one row: seconds, and ratios of the same round."""
    bare, suite, start = (
        statistics.median(getattr(one, name) for one in rounds) for name in ("bare", "suite", "start")
    )
    whole = statistics.median(one.suite / one.bare for one in rounds)
    asking = statistics.median((one.suite - one.start) / one.bare for one in rounds)
    named = f"{hands} at once, {'streamed' if stream else 'not streamed'}"
    return f"{named:24}{bare:8.2f}s{suite:8.2f}s{start:12.2f}s{whole:8.2f}{asking:15.2f}"


def measured(folder: Path, url: str, requests: int, hands: int, *, stream: bool) -> Round:
    """Ask the same by both, once."""
    suite = repeated(requests, hands, stream=stream)
    bodies = [talk.request(case, suite.tools or {}, model="m", seed=7, stream=stream) for case in suite.cases]
    bare = timed(lambda: ask_all(url, bodies, hands, stream=stream))
    whole = timed(lambda: by_suite(folder, url, suite))
    return Round(bare, whole, timed(lambda: by_suite(folder, url, repeated(1, hands, stream=stream))))


def timed(act: Any) -> float:
    """Return how many seconds it took."""
    began = time.monotonic()
    act()
    return time.monotonic() - began


def repeated(requests: int, hands: int, *, stream: bool) -> Suite:
    """Return the single-turn cases of tool-basics, over and over, as one suite."""
    basics = load(BUILTIN / "tool-basics")
    lines = [
        text
        for path, content in basics.files.items()
        if path.startswith("cases/")
        for text in content.splitlines()
        if "multi_turn" not in text
    ]
    cases = [json.loads(lines[number % len(lines)]) | {"id": f"case-{number}"} for number in range(requests)]
    settings = (
        f'format = "tidegate-suite/1"\nname = "bench"\ndescription = "Bench."\ncases = {requests}\nrepeats = 1\n'
        f'timeout_seconds = 60\nlimit_seconds = 3600\nconcurrency = {hands}\nstreaming = ["{"yes" if stream else "no"}"]\n'
        '[gates]\ncases.pass_rate = { min = "1.0" }\n'
    )
    tools = {path: text for path, text in basics.files.items() if path.startswith("tools/")}
    texts = {"suite.toml": settings, "cases/bench.jsonl": "\n".join(map(json.dumps, cases)) + "\n", **tools}
    return read(texts)


def by_suite(folder: Path, url: str, suite: Suite) -> None:
    """Run the suite as `tidegate suites run` does, from its child process on."""
    contract = encode(ToolContract("bench", Emission("hermes"), ("chat",), (), 2048))
    done = run_child(
        folder,
        suite,
        sides=[Side(CANDIDATE, url, "m")],
        contract=contract,
        junit=folder / "junit.xml",
        progress=lambda _done, _total: None,
    )
    wrong = [attempt for attempt in done.results.attempts if attempt.outcome != "passed"]
    if done.results.problems or done.ended.problem or wrong:
        sys.exit(f"The suite did not pass: {done.results.problems} {done.ended} {wrong[:1]}")


def ask_all(url: str, bodies: Sequence[bytes], hands: int, *, stream: bool) -> None:
    """Ask everything, so many at once, each thread on its own connection where the engine keeps one open."""
    waiting, turn = iter(bodies), threading.Lock()
    answered: list[int] = []

    def work() -> None:
        link = http.client.HTTPConnection(urlsplit(url).netloc)
        for body in _taken(waiting, turn):
            link.request("POST", talk.PATH, body, {"Content-Type": "application/json"})
            answer = link.getresponse()
            answered.append(len(answer.read()))
            if stream:  # llama-server closes after a stream without saying so
                link.close()
        link.close()

    threads = [threading.Thread(target=work) for _ in range(hands)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(answered) != len(bodies):
        sys.exit(f"The bare client had {len(answered)} answers to {len(bodies)} requests.")


def _taken(waiting: Iterator[bytes], turn: threading.Lock) -> Iterator[bytes]:
    while True:
        with turn:
            body = next(waiting, None)
        if body is None:
            return
        yield body


if __name__ == "__main__":
    main()
