"""One daemon holds several models, and the name that clients ask for moves from one version to the next: all of it real.

The daemon is llama-server's router mode. What clients would notice is looked at as in the blue-green story.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.engine import Engine
from demo.engine import ask as ask_engine
from pipelines import validate
from pipelines.engines import process
from pipelines.engines.launch import Slot
from pipelines.rollback import roll_back
from pipelines.rollout.carry import carry_out
from pipelines.rollout.hands import EngineHands
from pipelines.rollout.refusals import RolloutTurnedBack, StepFailed
from pipelines.rollout.wanted import companions_held
from pipelines.suites import BUILTIN
from pipelines.suites.run import add_suite
from registry.home import Home
from registry.names import Ref
from signing.digests import sha256_hex
from tests.pipelines.test_rollout import add_texts
from tests.pipelines.test_rollout_systemd import SYSTEMCTL
from tests.rollout_world import DEMO, MODEL, NginxNode, copied, free_ports
from tests.story.test_blue_green import (
    COMMAND,
    FLAGS,
    ask,
    build,
    built,
    change_under_load,
    engine,
    observed,
    waited,
    whole,
)

__all__ = ["build", "built", "engine"]  # fixtures
pytestmark = [pytest.mark.engine]


class DaemonNode(NginxNode):
    """A node whose tier serves by a daemon."""

    port: int

    @property
    def daemon(self) -> Slot:
        return Slot("daemon", self.serving().daemon_folder("team"), "127.0.0.1", self.port)

    def place(self, name: str) -> Slot:
        return Slot(name, self.serving().slot_folder("team", MODEL, name), "127.0.0.1", self.port)

    def listed(self) -> dict[str, dict[str, Any]]:
        """Every model of the daemon, as it says; `blue` and `green` are the two versions' places."""
        entries = ask_engine(f"http://127.0.0.1:{self.port}/models")["data"]
        return {entry["id"].rpartition(".")[2]: entry for entry in entries}

    def models(self) -> dict[str, str]:
        """How each of them is."""
        return {name: entry["status"]["value"] for name, entry in self.listed().items()}

    def directly(self, name: str) -> str:
        """What the version in a place answers when its own process is asked."""
        words = self.listed()[name]["status"]["args"]
        return ask(int(words[words.index("--port") + 1]))[0]


@pytest.fixture
def node(built: Home, build: str, tmp_path: Path, engine: Engine) -> Iterator[DaemonNode]:
    """Versions 1 and 2 are held; a proxy stands there with its gate shut; whatever was started ends with the test."""
    with copied(built, tmp_path / "home") as work:
        made = DaemonNode(work, tmp_path / "node", profile={"version": build, "flags": FLAGS})
        (made.port,) = free_ports(1)
        settle(made, engine)
        try:
            with made.proxy():
                yield made
        finally:
            for slot in (made.daemon, made.place("blue"), made.place("green")):
                process.stop(slot, seconds=1)


def settle(node: DaemonNode, engine: Engine, **more: Any) -> None:
    own = {"strategy": "alias-swap", "daemon": node.port, "program": [str(engine.path)]}
    node.write_settings(**own | more)


def test_the_name_moves_under_load_and_back_within_one_process(node: DaemonNode) -> None:
    add_suite(node.work, BUILTIN / "smoke")
    node.pin(1)
    first = carry_out(node.at(), "team", MODEL)
    assert ("SERVED", "blue") == (first.outcome, first.live.slot)
    daemon = process.running(node.daemon)
    assert daemon is not None
    own = {"blue": node.directly("blue")}

    node.pin(2)
    done, clients = change_under_load(node)
    own["green"] = node.directly("green")
    assert own["blue"] != own["green"], "the two versions can be told apart"
    assert [] == clients.errors
    assert {"blue", "green"} == {slot for _, slot in clients.answers}
    assert [] == [text for text, slot in clients.answers if text != own[str(slot)]], "no mixed answer"
    assert ["blue"] == whole(clients, own), "the stream that was in flight ended, on version 1"
    assert ("SERVED", "green", ()) == (done.outcome, done.live.slot, done.notes)
    assert {"blue": "unloaded", "green": "loaded"} == node.models()
    assert daemon == process.running(node.daemon), "the same process, all the while"
    assert ("SERVES", done.live.version, "as-pinned") == observed(node)

    roll_back(node.at(), MODEL, "team", reason="answers oddly")
    done, clients = change_under_load(node)
    assert [] == clients.errors
    assert [] == [text for text, slot in clients.answers if text != own[str(slot)]]
    assert ["green"] == whole(clients, own)
    assert {"blue": "loaded", "green": "unloaded"} == node.models()
    assert (daemon, "ALREADY") == (
        process.running(node.daemon),
        carry_out(node.at(), "team", MODEL).outcome,
    )


def test_a_candidate_that_fails_is_unloaded_and_the_name_stays_where_it_was(
    node: DaemonNode, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.pin(1)
    carry_out(node.at(), "team", MODEL)
    node.pin(2)

    def refuse(_self: EngineHands, _slot: Slot) -> str:
        raise StepFailed("it has the hiccups")

    with monkeypatch.context() as patch:
        patch.setattr(
            EngineHands, "_front_answers", refuse
        )  # the last that can fail before the old one is drained
        with pytest.raises(RolloutTurnedBack, match=f"hiccups; {MODEL}@1 serves"):
            carry_out(node.at(), "team", MODEL)
    assert {"blue": "loaded", "green": "unloaded"} == node.models()
    assert "blue" == ask(node.front)[1]

    said = node.daemon.folder / "sections" / f"{node.place('green').folder.name}.ini"
    before = said.read_bytes()
    node.profile = node.add_profile({"version": "0", "flags": [*FLAGS, "--no-such-flag"]})
    node.pin(2)
    with pytest.raises(RolloutTurnedBack, match="option 'no-such-flag' not recognized"):
        carry_out(node.at(), "team", MODEL)
    assert before == said.read_bytes(), (
        "a section that the daemon refuses is not left for the next who has it read"
    )
    assert {"blue": "loaded", "green": "unloaded"} == node.models()
    assert "blue" == ask(node.front)[1]


def test_killed_while_the_new_version_loads_or_left_without_a_daemon_the_same_command_mends_it(
    node: DaemonNode,
) -> None:
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
    daemon = process.running(node.daemon)
    assert "blue" == ask(node.front)[1], "version 1 serves all the while"
    done = carry_out(node.at(), "team", MODEL)
    assert ("SERVED", "green", daemon) == (done.outcome, done.live.slot, process.running(node.daemon))
    assert done.row is not None
    assert 1 == json.loads(done.row.body)["crashes"]

    process.stop(node.daemon, seconds=1)  # and all its models with it
    assert "silent" == observed(node)[2]
    done = carry_out(node.at(), "team", MODEL)
    assert ("SERVED", "blue", f"{MODEL}@2") == (done.outcome, done.live.slot, done.pinned.ref)
    assert ("SERVES", done.live.version, "as-pinned") == observed(node)


def test_under_systemd_the_unit_is_the_daemon_and_is_never_started_anew_under_its_models(
    node: DaemonNode, engine: Engine, tmp_path: Path
) -> None:
    (tmp_path / "systemctl.py").write_text(SYSTEMCTL)
    slots, state = node.daemon.folder.parent, tmp_path / "units.json"
    systemctl = [sys.executable, str(tmp_path / "systemctl.py"), str(slots), str(state)]
    settle(node, engine, runner="systemd", systemctl=systemctl)
    node.pin(1)
    carry_out(node.at(), "team", MODEL)
    daemon = process.running(node.daemon)
    assert daemon is not None
    assert {"team--daemon": daemon.pid} == json.loads(state.read_text())

    node.pin(2)
    settle(node, engine, runner="systemd", systemctl=systemctl, environment={"A": "setting"})
    with pytest.raises(RolloutTurnedBack, match="the daemon runs by other settings"):
        carry_out(node.at(), "team", MODEL)
    assert "blue" == ask(node.front)[1]
    settle(node, engine, runner="systemd", systemctl=systemctl)
    assert "green" == carry_out(node.at(), "team", MODEL).live.slot
    assert {"team--daemon": daemon.pid} == json.loads(state.read_text())


def test_what_is_validated_and_what_is_served_have_the_companions_template(
    node: DaemonNode, engine: Engine, tmp_path: Path
) -> None:
    own = (DEMO / "models" / "v1" / "chat_template.jinja").read_text()
    text = "{# reviewed here #}" + own
    companions = add_texts(node, tmp_path / "in", {"chat_template.jinja": text})
    node.pin(1, companions=companions)
    done = carry_out(node.at(), "team", MODEL)
    assert text == ask_engine(f"http://127.0.0.1:{done.live.port}/props")["chat_template"]

    with node.work.store.view() as view:
        rows = [view.document_by_digest(digest) for digest in (node.profile, node.contract)]
        assert rows[0] is not None
        version = view.version(Ref(MODEL, ordinal=1))
        wanted = validate._Set(version, rows[0], rows[1], companions_held(view, companions))
    bench = validate.Bench(tmp_path / "bench", "box", program=[str(engine.path)])
    with validate._engine(node.at(), wanted, bench, "candidate", lambda _text: None) as measured:
        assert text == ask_engine(f"{measured.slot.endpoint}/props")["chat_template"]
        told = measured.driver.fingerprint(measured.slot).template_sha256
    assert told == sha256_hex(text.encode())
    assert process.running(measured.slot) is None


def test_a_tier_comes_to_a_daemon_from_processes_and_goes_back(node: DaemonNode, engine: Engine) -> None:
    settle(node, engine, strategy="blue-green")
    node.pin(1)
    carry_out(node.at(), "team", MODEL)
    assert process.running(node.place("blue")) is not None
    settle(node, engine)
    node.pin(2)
    assert "green" == carry_out(node.at(), "team", MODEL).live.slot
    assert process.running(node.place("blue")) is None
    assert {"green": "loaded"} == node.models()
    node.pin(1)
    done = carry_out(node.at(), "team", MODEL, strategy="blue-green")
    assert ("blue", node.blue, ()) == (done.live.slot, done.live.port, done.notes)
    assert {"green": "unloaded"} == node.models()
