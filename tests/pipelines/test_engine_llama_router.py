"""One model among several of a daemon, as far as that needs no engine; with one it is `tests/story/test_alias_swap.py`."""

import configparser
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.engines import process, staged
from pipelines.engines.driver import NoDriver, daemon_for
from pipelines.engines.flags import FlagRefused
from pipelines.engines.launch import Slot
from pipelines.engines.llama_router import DAEMON, PRESETS, LlamaRouter, section
from pipelines.engines.process import EngineProcessTrouble
from pipelines.engines.staged import SlotUnusable, Staged
from registry.contracts import EngineProfile
from registry.manifests import Manifest
from tests.rollout_world import free_ports

PROFILE = EngineProfile("p", "llama.cpp", "1", ("hermes",), ("--jinja",), ("chat",))
FLAGS = st.from_regex(r"--?[a-z]{1,9}(-[a-z]{1,5})?", fullmatch=True)
VALUES = st.from_regex(r"[A-Za-z0-9_./,-]{1,20}", fullmatch=True).filter(
    lambda value: not value.startswith("-")
)


@given(
    st.dictionaries(FLAGS.map(lambda flag: "--" + flag.lstrip("-")), st.none() | VALUES | st.integers(-9, 9))
)
def test_the_flags_of_a_command_line_are_the_section_of_a_preset(wanted: dict[str, str | int | None]) -> None:
    words = [
        word for flag, value in wanted.items() for word in (flag, str(value))[: 1 if value is None else 2]
    ]
    read = configparser.ConfigParser(interpolation=None)
    read.read_string(section("demo/tiny@0123456789ab.blue", ["llama-server", *words], profile="p"))
    found = dict(read["demo/tiny@0123456789ab.blue"])
    assert "false" == found.pop("load-on-startup")
    assert {f.lstrip("-"): "true" if v is None else str(v) for f, v in wanted.items()} == found


@pytest.mark.parametrize("value", ["1;2", "a # b", " 1", "", "a\nload-on-startup = true", "x\x00"])
def test_a_value_that_would_mean_something_else_in_a_preset_is_refused(value: str) -> None:
    with pytest.raises(FlagRefused, match=r"--threads has a value that a file of presets cannot hold"):
        section("a/b@1.blue", ["--jinja", f"--threads={value}"], profile="p")


def test_an_engine_that_no_daemon_of_ours_serves_is_named() -> None:
    daemon = Slot("daemon", Path("/nowhere"), "127.0.0.1", 1)
    profile = EngineProfile("p", "ollama", "1", (), (), ("chat",))
    with pytest.raises(NoDriver, match=r"ollama with several models in one process.* llama-server"):
        daemon_for(profile, daemon)


class Place:
    """A slot with a model that was staged for a daemon; the daemon is a process that answers nobody."""

    def __init__(self, folder: Path) -> None:
        (port,) = free_ports(1)
        self.daemon = Slot("daemon", folder / "daemon", "127.0.0.1", port)
        self.slot = Slot("blue", folder / "blue", "127.0.0.1", port)
        self.router = daemon_for(PROFILE, self.daemon, program=["sleep", "60"])
        staged.write(self.slot, of("demo/tiny@0123456789ab.blue", ["sleep", "60", "--model", "/x.gguf"]))

    def run_daemon(self, *argv: str) -> None:
        staged.write(self.daemon, of("", argv))
        process.start(self.daemon)


def of(model: str, argv: object) -> Staged:
    words = tuple(str(word) for word in argv)  # type: ignore[attr-defined]
    return Staged(
        ref="demo/tiny@1", version="a" * 64, engine=DAEMON, argv=words, env={"PATH": os.defpath}, flags=(), model=model,
        path="/x.gguf", calls=True, parser=None, template_sha256=None, dtype=None, context=1,
    )  # fmt: skip


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    process.stop(made.daemon, seconds=1)


def test_without_a_daemon_nothing_is_loaded_and_nothing_is_claimed(place: Place) -> None:
    router, slot = place.router, place.slot
    found = router.ready(slot, seconds=1)
    assert (False, True) == (found.ready, "the daemon has ended" in found.why)
    assert router.drain(slot, seconds=1).idle, "nobody works on anything"
    router.stop(slot, seconds=1)
    assert not router.identity(slot, Manifest("demo/tiny", ())).proven
    with pytest.raises(EngineProcessTrouble):
        router.where(slot)
    router.declare(slot)
    assert "model = /x.gguf" in (place.daemon.folder / PRESETS).read_text(), (
        "it will be known when one starts"
    )


def test_a_daemon_that_does_not_answer_is_not_believed_idle_and_takes_nothing(place: Place) -> None:
    place.run_daemon("sleep", "60")
    router, slot = place.router, place.slot
    assert (None, False) == (router.in_flight(slot), router.drain(slot, seconds=0.3).idle)
    assert not router.ready(slot, seconds=0.3).ready
    for act in (router.declare, router.start, router.where):
        with pytest.raises(EngineProcessTrouble):
            act(slot)
    assert "x.gguf" not in (place.daemon.folder / PRESETS).read_text(), "the sections are as they were"


def test_a_daemon_that_ends_at_once_is_told_with_its_last_words(place: Place) -> None:
    place.run_daemon("sh", "-c", "echo no such option; exit 3")
    with pytest.raises(EngineProcessTrouble, match=r"status 3: no such option"):
        place.router.answers()


def test_a_daemon_is_not_given_other_settings_while_it_runs(place: Place) -> None:
    LlamaRouter.stage_daemon(place.router)
    place.run_daemon("sleep", "60")
    with pytest.raises(SlotUnusable, match="by other settings"):
        place.router.stage_daemon()
