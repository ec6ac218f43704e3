"""The driver of llama-server with the engine itself: started once, ready by a tool call, proven, drained, ended."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.engine import find_engine
from pipelines.engines import process
from pipelines.engines.driver import AnyEndpoint, Driver, driver_for
from pipelines.engines.endpoint import json_body
from pipelines.engines.footprint import needed
from pipelines.engines.staged import SlotUnusable
from registry.contracts import EngineProfile
from tests.engines.launching import CONTEXT, MODELS, Slots, launch, manifest_of, profile, serve, slots

pytestmark = pytest.mark.engine

PROFILE = profile("llama-server", "--threads", "1", "--parallel", "2", parses=("hermes", "xml-function"))


@pytest.fixture
def places(tmp_path: Path) -> Iterator[Slots]:
    with slots(tmp_path) as found:
        yield found


@pytest.fixture
def driver() -> Driver:
    return of(PROFILE)


def of(what: EngineProfile) -> Driver:
    engine = find_engine()
    assert engine is not None, "no llama-server: run `python -m demo.engine`"
    return driver_for(what, program=(str(engine.path),))


def test_a_version_is_started_once_however_often_it_is_asked_for(driver: Driver, places: Slots) -> None:
    slot = places.new("blue")
    serve(driver, launch("v1", PROFILE), slot)
    there = process.running(slot)
    serve(driver, launch("v1", PROFILE), slot)
    assert there == process.running(slot)
    driver.stop(slot, seconds=5)
    driver.stop(slot, seconds=5)
    assert process.running(slot) is None
    steps = (slot.folder / "journal.jsonl").read_text().splitlines()
    assert ["stage", "stage", "start", "start", "stop", "stop"] == [line.split('"')[-2] for line in steps]


def test_another_version_is_not_started_over_the_one_that_runs(driver: Driver, places: Slots) -> None:
    slot = places.new("blue")
    serve(driver, launch("v1", PROFILE), slot)
    driver.stage(launch("v2", PROFILE), slot)
    with pytest.raises(SlotUnusable, match="still runs what was staged before"):
        driver.start(slot)
    driver.stop(slot, seconds=5)
    driver.start(slot)
    assert driver.ready(slot, seconds=20).ready
    assert driver.identity(slot, manifest_of(MODELS / "v2")).proven


def test_a_port_that_another_engine_has_is_no_place_for_ours(driver: Driver, places: Slots) -> None:
    blue = places.new("blue")
    serve(driver, launch("v1", PROFILE), blue)
    green = places.new("green")
    driver.stage(launch("v2", PROFILE), green)
    taken = type(green)(green.name, green.folder, green.host, blue.port)
    with pytest.raises(SlotUnusable, match="cannot listen"):
        driver.start(taken)
    found = driver.ready(taken, seconds=5)
    assert not found.ready, "blue answered in green's place"


@pytest.mark.parametrize("name", ["v1", "v3"])
def test_ready_is_a_parsed_call_and_identity_the_files(driver: Driver, places: Slots, name: str) -> None:
    """llama-server derives the parser from the template, so both wire formats are parsed."""
    slot = places.new("candidate")
    serve(driver, launch(name, PROFILE), slot)
    found = driver.ready(slot, seconds=10)
    assert (True, True) == (found.ready, found.parses_calls)
    assert driver.identity(slot, manifest_of(MODELS / name)).proven
    assert driver.identity(slot, manifest_of(MODELS / "v2")).contradicted
    assert AnyEndpoint().identity(slot, manifest_of(MODELS / name)).proven
    told = driver.fingerprint(slot)
    assert ("template", "F16", "CPU_Mapped", CONTEXT) == (
        told.parser, told.dtype, told.device, told.context,
    )  # fmt: skip
    assert told.digest == driver.fingerprint(slot).digest


def test_the_old_template_under_a_new_wire_format_is_not_ready_though_it_answers_200(
    driver: Driver, places: Slots
) -> None:
    slot = places.new("candidate")
    old = MODELS / "v1" / "chat_template.jinja"
    driver.stage(launch("v3", PROFILE, template=old), slot)
    driver.start(slot)
    found = driver.ready(slot, seconds=20)
    assert (False, False) == (found.ready, found.parses_calls)
    assert "200, but no parsed tool call" in found.why
    assert "function=get_weather" in found.why


def test_an_engine_is_idle_only_after_its_last_answer(driver: Driver, places: Slots) -> None:
    slot = places.new("blue")
    serve(driver, launch("v1", PROFILE), slot)
    body = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 900, "ignore_eos": True}
    answers: list[int] = []
    client = threading.Thread(
        target=lambda: answers.append(
            slot.endpoint.post("/v1/chat/completions", json_body(body), seconds=60).status
        )
    )
    client.start()
    assert any(driver.in_flight(slot) for _ in range(200)), "the request was never seen"
    drained = driver.drain(slot, seconds=60)
    assert drained.idle, drained.why
    client.join(1)
    assert [200] == answers
    assert 0 == AnyEndpoint().in_flight(slot)


def test_an_engine_that_died_is_not_ready_at_once_and_is_started_anew(driver: Driver, places: Slots) -> None:
    slot = places.new("blue")
    serve(driver, launch("v1", PROFILE), slot)
    there = process.running(slot)
    assert there is not None
    os.kill(there.pid, signal.SIGKILL)
    began = time.monotonic()
    while process.running(slot) is not None:
        assert time.monotonic() - began < 5
    found = driver.ready(slot, seconds=30)
    assert "process has ended" in found.why
    assert time.monotonic() - began < 5, "nobody waits for the dead"
    assert driver.drain(slot, seconds=5).idle
    driver.start(slot)
    assert driver.ready(slot, seconds=20).ready


def test_a_model_file_that_cannot_be_loaded_is_said_with_the_engines_own_words(
    driver: Driver, places: Slots, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "model.gguf").write_bytes((MODELS / "v1" / "model.gguf").read_bytes()[:9000])
    what = launch("v1", PROFILE)
    slot = places.new("candidate")
    driver.stage(type(what)(what.ref, manifest_of(broken), broken, PROFILE, what.served_name, CONTEXT), slot)
    driver.start(slot)
    found = driver.ready(slot, seconds=20)
    assert not found.ready
    assert "status 1" in found.why
    assert "model" in found.why


@pytest.mark.parametrize("flags", [(), ("--cache-type-k", "q8_0", "--cache-type-v", "q8_0", "-fa", "on")])
def test_the_memory_that_was_computed_is_what_the_engine_says_it_took(
    places: Slots, flags: tuple[str, ...]
) -> None:
    what = profile("llama-server", "--threads", "1", "--parallel", "2", *flags)
    driver, slot = of(what), places.new("candidate")
    serve(driver, launch("v1", what), slot)
    said = dict.fromkeys(("model", "KV", "compute"), 0.0)
    for line in (slot.folder / "log").read_text().splitlines():
        for kind in said:
            if f"{kind} buffer size =" in line:
                said[kind] += float(line.split("=")[1].split()[0])
    folder = MODELS / "v1"
    found = needed(
        manifest_of(folder), lambda entry: (folder / entry.path).open("rb"), context=CONTEXT, profile=what
    )
    assert found.kv_cache is not None
    assert found.total is not None
    assert said["KV"] == pytest.approx(found.kv_cache / 2**20, abs=0.01)
    assert said["model"] * 2**20 <= found.weights
    running = process.running(slot)
    assert running is not None
    status = Path(f"/proc/{running.pid}/status").read_text()
    resident = int(status.split("VmRSS:")[1].split()[0]) * 1024
    assert resident <= found.total <= resident * 4, found
