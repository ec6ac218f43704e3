"""vLLM itself: one flag decides whether calls are parsed; paused is not ready; it is drained, then stopped."""

import re
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.engines import keeper, process
from pipelines.engines.driver import Driver, Slot, driver_for
from pipelines.engines.endpoint import Endpoint, json_body
from pipelines.engines.footprint import needed
from pipelines.engines.probe import identify
from registry.contracts import EngineProfile
from tests.engines.launching import MODELS, Slots, launch, manifest_of, profile, serve

pytestmark = pytest.mark.slow

FLAGS = ("--enforce-eager", "--dtype", "float32", "--max-num-seqs", "4", "--enable-auto-tool-choice")
# Two gigabytes less for a cache that tiny models do not need; the page that pauses it is for development only.
ENVIRONMENT = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_SERVER_DEV_MODE": "1"}


def vllm(program: Path, parser: str) -> tuple[Driver, EngineProfile]:
    of = profile("vllm", *FLAGS, "--tool-call-parser", parser)
    return driver_for(of, program=(str(program),), environment=ENVIRONMENT), of


def long_stream(endpoint: Endpoint) -> threading.Thread:
    """Ask for some thousand words, as a client that reads them all."""
    body = {
        "model": "demo/tiny",
        "messages": [{"role": "user", "content": "Hello"}],
        "max_tokens": 900,
        "ignore_eos": True,
        "temperature": 0,
    }
    thread = threading.Thread(
        target=lambda: endpoint.post("/v1/chat/completions", json_body(body), seconds=120)
    )
    thread.start()
    return thread


def memory_of(slot: Slot) -> int:
    """Bytes that the engine's processes hold, pages that they share counted once."""
    there = process.running(slot)
    assert there is not None
    entries = [entry for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    family = [entry for entry in entries if keeper.session_of(int(entry.name)) == there.pid]
    rolled = [(entry / "smaps_rollup").read_text() for entry in family]
    return sum(int(text.split("Pss:")[1].split()[0]) * 1024 for text in rolled)


def test_the_whole_walk_of_a_version_whose_calls_the_parser_knows(
    program: Callable[[str], Path], places: Slots
) -> None:
    driver, of = vllm(program("vllm"), "hermes")
    slot = places.new("blue")
    serve(driver, launch("v1", of), slot, seconds=300)
    there = process.running(slot)
    driver.start(slot)
    assert there == process.running(slot), "started twice, there once"

    assert driver.identity(slot, manifest_of(MODELS / "v1")).proven
    assert driver.identity(slot, manifest_of(MODELS / "v2")).contradicted
    found = driver.fingerprint(slot)
    assert ("vllm", "0.32.0", "hermes", "float32", "cpu", 1024) == (
        found.engine, found.build, found.parser, found.dtype, found.device, found.context,
    )  # fmt: skip

    said = re.search(r"KV cache size: ([\d,]+) tokens", process.log_head(slot))
    assert said is not None
    computed = needed(
        manifest_of(MODELS / "v1"),
        lambda entry: (MODELS / "v1" / entry.path).open("rb"),
        context=int(said[1].replace(",", "")),
        profile=of,
        concurrency=1,
    )
    assert 1 << 30 == computed.kv_cache, "the gigabyte that it was given holds that many tokens"

    assert computed.total is not None
    assert memory_of(slot) <= computed.total, "an estimate on the safe side"

    assert 200 == slot.endpoint.post("/pause", b"", seconds=10).status
    paused = driver.ready(slot, seconds=2)
    assert not paused.ready
    assert "no whole answer" in paused.why
    assert 200 == slot.endpoint.get("/health", seconds=5).status, "the health page is of another opinion"
    slot.endpoint.post("/resume", b"", seconds=10)
    assert driver.ready(slot, seconds=30).ready

    client = long_stream(slot.endpoint)
    deadline = time.monotonic() + 20
    while not driver.in_flight(slot):
        assert time.monotonic() < deadline, "the request was never seen"
    assert not driver.drain(slot, seconds=0.1).idle
    drained = driver.drain(slot, seconds=90)
    client.join()
    assert drained.idle, drained.why
    driver.stop(slot, seconds=30)
    assert process.running(slot) is None


@pytest.mark.parametrize(("parser", "parsed"), [("hermes", False), ("qwen3_xml", True)])
def test_a_version_with_another_wire_format_is_ready_only_under_the_parser_that_fits(
    program: Callable[[str], Path], places: Slots, parser: str, parsed: bool
) -> None:
    driver, of = vllm(program("vllm"), parser)
    slot = places.new("green")
    driver.stage(launch("v3", of), slot)
    driver.start(slot)
    found = driver.ready(slot, seconds=300)
    assert (parsed, parsed) == (found.ready, found.parses_calls), found.why
    assert parsed or "200, but no parsed tool call" in found.why
    assert "vllm" == identify(slot.endpoint).engine
