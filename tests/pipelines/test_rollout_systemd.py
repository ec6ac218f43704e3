"""The runner that speaks to systemd, held against a `systemctl` that starts processes as systemd does."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.engines import keeper, process, staged
from pipelines.engines.driver import driver_for
from pipelines.engines.launch import Slot
from pipelines.engines.staged import Staged
from pipelines.rollout.refusals import StepFailed
from pipelines.rollout.runners import SCRIPT, SystemdRunner, unit
from registry.contracts import EngineProfile

# restart, stop, show --property=MainPID --value: what is asked of systemd, and nothing else.
SYSTEMCTL = """\
import json, os, signal, subprocess, sys, time
folder, state, verb, name = sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[-1]
slot = name.removeprefix("tidegate-serve@").removesuffix(".service")
with open(state + ".log", "a") as log:
    log.write(verb + " " + name + "\\n")
known = json.load(open(state)) if os.path.exists(state) else {}
def end():
    pid = known.pop(slot, None)
    if pid:
        os.kill(pid, signal.SIGTERM)
        while os.path.exists(f"/proc/{pid}") and open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[0] != "Z":
            time.sleep(0.01)
if verb == "show":
    print(known.get(slot, 0))
elif verb == "stop":
    end()
else:
    end()
    child = subprocess.Popen(["/bin/sh", f"{folder}/{slot}/run"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL, start_new_session=True)
    known[slot] = child.pid
json.dump(known, open(state, "w"))
"""
PROFILE = EngineProfile("p", "llama-server", "1", ("hermes",), (), ("chat",))


class Init:
    """A machine with units for slots below one folder."""

    def __init__(self, folder: Path) -> None:
        self.slot = Slot("blue", folder / "team--demo--tiny--blue", "127.0.0.1", 9)
        self.slot.folder.mkdir(parents=True)
        self.state = folder / "units.json"
        script = folder / "systemctl.py"
        script.write_text(SYSTEMCTL)
        self.runner = SystemdRunner([sys.executable, str(script), str(folder), str(self.state)])
        self.driver = driver_for(PROFILE)

    def stage(self, *argv: str) -> None:
        wanted = Staged(
            ref="demo/tiny@1",
            version="a" * 64,
            engine="llama-server",
            argv=argv,
            env={"A WORD": "with 'quotes' $HOME"},
            flags=(),
            model="m",
            path="/x",
            calls=True,
            parser=None,
            template_sha256=None,
            dtype=None,
            context=1,
        )
        staged.write(self.slot, wanted)
        self.runner.staged(self.slot)

    def asked(self) -> list[str]:
        return [line.split()[0] for line in Path(f"{self.state}.log").read_text().splitlines()]

    def pid(self) -> int:
        running = process.running(self.slot)
        return running.pid if running else 0


@pytest.fixture
def init(tmp_path: Path) -> Iterator[Init]:
    made = Init(tmp_path / "slots")
    yield made
    made.runner.stop(made.driver, made.slot, seconds=1)


def test_what_is_staged_is_started_with_exactly_its_words_and_its_environment(
    init: Init, tmp_path: Path
) -> None:
    said = tmp_path / "said.json"
    program = "import json,os,sys,time; json.dump([sys.argv[1:], dict(os.environ)], open(sys.argv[1],'w')); time.sleep(60)"
    init.stage(sys.executable, "-c", program, str(said), "two words", "$(touch x)", "'")
    init.runner.start(init.driver, init.slot)
    deadline = time.monotonic() + 20
    while (not said.exists() or not said.read_text()) and time.monotonic() < deadline:
        time.sleep(0.02)
    words, environment = json.loads(said.read_text())
    assert [str(said), "two words", "$(touch x)", "'"] == words
    assert "with 'quotes' $HOME" == environment["A WORD"]
    assert "PATH" not in environment or environment["PATH"] != "", "nothing else is inherited"
    assert init.pid() > 0, "the driver sees the process that systemd started"


def test_starting_twice_starts_once_and_something_new_is_started_anew(init: Init) -> None:
    init.stage("sleep", "60")
    init.runner.start(init.driver, init.slot)
    first = init.pid()
    init.runner.start(init.driver, init.slot)
    assert (first, 1) == (init.pid(), init.asked().count("restart"))
    init.stage("sleep", "61")
    init.runner.start(init.driver, init.slot)
    assert first != init.pid()


def test_an_engine_that_systemd_started_anew_is_still_seen(init: Init) -> None:
    """Else draining would say that nothing runs there, and its streams would be cut."""
    init.stage("sleep", "60")
    init.runner.start(init.driver, init.slot)
    first = init.pid()
    subprocess.run(
        [*init.runner.systemctl, "restart", unit(init.slot)], check=True
    )  # as Restart=on-failure does
    assert 0 == init.pid(), "the number that was written down is of a dead process"
    init.runner.look(init.slot)
    assert init.pid() not in (0, first)


def test_a_stopped_one_is_gone_and_may_be_stopped_again(init: Init) -> None:
    init.stage("sleep", "60")
    init.runner.start(init.driver, init.slot)
    for _ in range(2):
        init.runner.stop(init.driver, init.slot, seconds=1)
        assert not (init.slot.folder / keeper.PID).exists()
    assert (init.slot.folder / SCRIPT).stat().st_mode & 0o111


def test_a_systemctl_that_says_something_else_is_not_guessed_at(init: Init) -> None:
    init.stage("sleep", "60")
    confused = SystemdRunner(["echo"])
    with pytest.raises(StepFailed, match="does not say which process"):
        confused.look(init.slot)
