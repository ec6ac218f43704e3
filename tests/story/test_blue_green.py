"""A tier changes its model under load, and changes back: real nginx, real engines, and nobody notices.

Version 1 and version 2 answer the same question with different words. Every answer of the hour must be, from its
first word to its last, one version's own.
"""

import http.client
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

import pytest

from demo.engine import Engine, find_engine
from demo.engine import ask as ask_engine
from pipelines.drift import drift
from pipelines.engines import process
from pipelines.engines.launch import Slot
from pipelines.rollback import roll_back
from pipelines.rollout.agent import observe
from pipelines.rollout.carry import Done, carry_out
from pipelines.rollout.durations import durations
from pipelines.rollout.hands import EngineHands
from pipelines.suites import BUILTIN
from pipelines.suites.run import add_suite
from registry.home import Home
from tests.rollout_world import DEMO, MODEL, NginxNode, copied, home_with_two_versions

pytestmark = [pytest.mark.engine]

T = TypeVar("T")
QUESTION = "Who are you?"
FLAGS = ["--jinja", "--threads", "1", "--parallel", "4"]
SHORT = 60
LONG = 1600  # tokens of the stream that is in flight during the switch


@pytest.fixture(scope="module")
def engine() -> Engine:
    found = find_engine()
    assert found is not None, "no engine: python -m demo.engine sets one up"
    return found


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return home_with_two_versions(tmp_path_factory.mktemp("built"))


@pytest.fixture(scope="module")
def build(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the engine says of itself while it runs: profiles name that."""
    log = tmp_path_factory.mktemp("asked") / "log"
    with engine.serve(DEMO / "models" / "v1", log) as served:
        return str(ask_engine(served.base_url.removesuffix("/v1") + "/props")["build_info"])


@pytest.fixture
def node(built: Home, build: str, tmp_path: Path, engine: Engine) -> Iterator[NginxNode]:
    """Version 1 and 2 are held, a proxy stands there with its gate shut; whatever was started ends with the test."""
    with copied(built, tmp_path / "home") as work:
        made = NginxNode(work, tmp_path / "node", profile={"version": build, "flags": FLAGS})
        made.write_settings(program=[str(engine.path)], retry_after=7)
        try:
            with made.proxy():
                yield made
        finally:
            for name in ("blue", "green"):
                process.stop(slot_of(made, name), seconds=1)


def slot_of(node: NginxNode, name: str) -> Slot:
    folder = node.serving().slot_folder("team", MODEL, name)
    return Slot(name, folder, "127.0.0.1", node.blue if name == "blue" else node.green)


def ask(
    port: int, *, tokens: int = SHORT, stream: bool = False, began: threading.Event | None = None
) -> tuple[str, str | None]:
    """One whole answer and the slot that gave it. Raises when it is not whole."""
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": QUESTION}],
        "temperature": 0,
        "seed": 1,
        "max_tokens": tokens,
        "ignore_eos": True,
        "stream": stream,
    }
    try:
        link.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
        answer = link.getresponse()
        if answer.status != 200:
            raise http.client.HTTPException(f"status {answer.status}: {answer.read(200)!r}")
        text = (
            streamed(answer, began)
            if stream
            else json.loads(answer.read())["choices"][0]["message"]["content"]
        )
        return text, answer.headers["X-Tidegate-Slot"]
    finally:
        link.close()


def streamed(answer: http.client.HTTPResponse, began: threading.Event | None) -> str:
    """The words of a stream that ended as streams should."""
    words: list[str] = []
    for line in answer:
        if line.strip() == b"data: [DONE]":
            return "".join(words)
        if line.startswith(b"data: "):
            delta = json.loads(line[6:])["choices"][0]["delta"]
            words.append(delta.get("content") or "")
            if began is not None:
                began.set()
    raise http.client.IncompleteRead(b"".join(word.encode() for word in words))


@dataclass
class Clients:
    """People who ask all the time, each time on a new connection, and one whose answer takes long."""

    port: int
    answers: list[tuple[str, str | None]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    long: list[tuple[str, str | None]] = field(default_factory=list)
    began: threading.Event = field(
        default_factory=threading.Event
    )  # the first word of the long answer is there
    over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self.threads = [threading.Thread(target=self._many, args=(stream,)) for stream in (False, True)]
        self.threads.append(threading.Thread(target=self._one))
        for thread in self.threads[:-1]:
            thread.start()
        self.wait_for(3)
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        for thread in self.threads:
            thread.join(120)

    def ask_for_long(self) -> None:
        """Have one long answer in flight."""
        self.threads[-1].start()
        assert self.began.wait(60)

    def wait_for(self, more: int) -> None:
        wanted = len(self.answers) + more
        while len(self.answers) < wanted and not self.errors:
            time.sleep(0.02)

    def _many(self, stream: bool) -> None:
        while not self.over.is_set():
            self._note(self.answers, tokens=SHORT, stream=stream)

    def _one(self) -> None:
        self._note(self.long, tokens=LONG, stream=True, began=self.began)

    def _note(self, where: list[tuple[str, str | None]], **how: Any) -> None:
        try:
            where.append(ask(self.port, **how))
        except (OSError, http.client.HTTPException, ValueError, KeyError) as exc:
            self.errors.append(f"{type(exc).__name__}: {exc}")


def change_under_load(node: NginxNode) -> tuple[Done, Clients]:
    """Carry the pin out while people ask; a long answer begins just before the switch and outlasts it."""
    with Clients(node.front) as clients:

        def say(step: str) -> None:
            if step.startswith("switch"):
                clients.ask_for_long()
            if step.startswith("drain"):
                assert [] == clients.long, (
                    "the long answer is still being given when the old engine is drained"
                )

        done = carry_out(node.at(), "team", MODEL, say=say)
        clients.wait_for(5)
    return done, clients


def test_a_tier_changes_its_model_under_load_and_back_and_every_answer_is_whole(node: NginxNode) -> None:
    node.pin(1)
    first = carry_out(node.at(), "team", MODEL)
    assert ("SERVED", "blue") == (first.outcome, first.live.slot)
    own = {"blue": ask(node.blue)[0]}  # version 1, asked directly

    node.pin(2)
    done, clients = change_under_load(node)
    own["green"] = ask(node.green)[0]

    assert own["blue"] != own["green"], "the two versions can be told apart"
    assert [] == clients.errors
    assert {"blue", "green"} == {slot for _, slot in clients.answers}
    assert [] == [text for text, slot in clients.answers if text != own[str(slot)]], "no mixed answer"
    assert ["blue"] == whole(clients, own), "the stream that was in flight ended, on version 1"
    assert ("SERVED", "green", ()) == (done.outcome, done.live.slot, done.notes)
    assert process.running(slot_of(node, "blue")) is None, "version 1 was stopped once nobody used it"

    roll_back(node.at(), MODEL, "team", reason="answers oddly")
    done, clients = change_under_load(node)
    assert [] == clients.errors
    assert [] == [text for text, slot in clients.answers if text != own[str(slot)]]
    assert ["green"] == whole(clients, own)
    assert ("SERVED", "blue", f"{MODEL}@1") == (done.outcome, done.live.slot, done.pinned.ref)

    with node.work.store.view() as view:
        rows, took = view.rollouts("team", MODEL), durations(view, "team", MODEL)
    assert ["SERVED"] * 3 == [row.outcome for row in rows]
    assert took is not None
    assert (2, rows[-1].milliseconds) == (took.count, took.last)  # the first had nothing to leave
    assert "ALREADY" == carry_out(node.at(), "team", MODEL).outcome, "doing it again does nothing"


def whole(clients: Clients, own: dict[str, str]) -> list[str]:
    """Who gave the long answers; each began as that version begins, and has its full length."""
    return [str(slot) for text, slot in clients.long if text.startswith(own[str(slot)]) and len(text) >= LONG]


def test_it_is_the_drain_that_saves_the_stream(node: NginxNode, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it the same test sees a stream cut off: so it would see one."""
    monkeypatch.setattr(EngineHands, "_drain", lambda _self, _slot: "not waited for")
    node.pin(1)
    carry_out(node.at(), "team", MODEL)
    node.pin(2)
    _, clients = change_under_load(node)
    assert [] == clients.long
    assert [error for error in clients.errors if error.startswith(("IncompleteRead", "ConnectionReset"))]


def observed(node: NginxNode) -> tuple[str, str | None, str]:
    """What the agent sees, and what that is called."""
    work = node.at()
    (row,) = observe(work, "team")
    with work.store.view() as view:
        found = drift(view.pins(), view.observations("team"), now=work.now)
    return row.state, row.version, found[0].kind


def test_what_truly_serves_is_seen_by_its_files(node: NginxNode, engine: Engine) -> None:
    """One box, no room for two: the gate is shut while the engine changes, and the agent looks at every stage."""
    add_suite(node.work, BUILTIN / "smoke")
    own = {"strategy": "recreate", "program": [str(engine.path)], "retry_after": 7}
    node.write_settings(**own, smoke="smoke")
    one = node.pin(1)
    assert ("SILENT", None, "silent") == observed(node)
    assert 503 == status(node.front)["status"], "nobody is sent to an engine that was never proven"

    carry_out(node.at(), "team", MODEL)
    assert ("SERVES", one.version, "as-pinned") == observed(node)
    with node.work.store.view() as view:
        assert ["PASSED"] == [row.outcome for row in view.reports(one.version, "validation")]
    node.write_settings(**own)

    two = node.pin(2)
    assert ("OTHER", one.version, "other-files") == observed(node), "pinned, and not carried out"
    gates: list[dict[str, object]] = []

    def look(step: str) -> None:
        if step.startswith("stop"):
            gates.append(status(node.front))

    done = carry_out(node.at(), "team", MODEL, say=look)
    assert {"status": 503, "retry_after": "7"} == gates[-1]
    assert done.row is not None
    assert json.loads(done.row.body)["closed_ms"] > 0
    assert ("SERVES", two.version, "as-pinned") == observed(node)

    loaded = node.serving().store / two.version / "model.gguf"
    (loaded.parent / "other").write_bytes((DEMO / "models" / "v1" / "model.gguf").read_bytes())
    (loaded.parent / "other").rename(loaded)
    assert ("OTHER", one.version, "other-files") == observed(node), (
        "another file lies where it was loaded from"
    )

    process.stop(slot_of(node, done.live.slot), seconds=1)
    assert ("SILENT", None, "silent") == observed(node)


COMMAND = """
import sys
from pathlib import Path
from pipelines.rollout.carry import carry_out
from registry import home
from tests.conftest import NOON
from tests.world import at_work
with at_work(home.load(Path(sys.argv[1])), actor="ines", now=NOON) as work:
    print(carry_out(work, "team", sys.argv[2]).outcome)
"""


def test_killed_while_the_engine_loads_the_same_command_takes_it_up_with_the_same_engine(
    node: NginxNode,
) -> None:
    """SIGKILL to the command itself: what it started outlives it, and is not started twice."""
    node.pin(1)
    carry_out(node.at(), "team", MODEL)
    node.pin(2)
    words = [sys.executable, "-c", COMMAND, str(node.work.home.path), MODEL]
    command = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        journal = waited(lambda: next((node.work.home.path / "rollouts").glob("*--0002-*.jsonl"), None))
        waited(lambda: b"see ready green" in journal.read_bytes() or None)
    finally:
        command.kill()
        command.wait()
    left = process.running(slot_of(node, "green"))
    assert left is not None
    assert "I am a tiny model" in ask(node.front)[0], "version 1 serves all the while"
    done = carry_out(node.at(), "team", MODEL)
    assert ("SERVED", "green", left) == (
        done.outcome,
        done.live.slot,
        process.running(slot_of(node, "green")),
    )
    assert done.row is not None
    assert 1 == json.loads(done.row.body)["crashes"]


def waited(look: Callable[[], T | None]) -> T:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = look()
        if found is not None:
            return found
        time.sleep(0.005)
    raise AssertionError("waited in vain")


def status(port: int) -> dict[str, object]:
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        link.request("GET", "/v1/models")
        answer = link.getresponse()
        return {"status": answer.status, "retry_after": answer.headers["Retry-After"]}
    finally:
        link.close()
