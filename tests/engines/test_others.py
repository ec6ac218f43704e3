"""transformers serve and llama-cpp-python: engines that say little of themselves, and one that parses no calls."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.engines.driver import driver_for
from pipelines.engines.probe import identify
from pipelines.suites.identity import hold_against
from tests.engines.launching import MODELS, Slots, launch, manifest_of, profile, serve
from tests.engines.setup import RECIPES

pytestmark = pytest.mark.slow


def test_transformers_serves_a_folder_that_is_proven_though_it_names_no_files(
    program: Callable[[str], Path], places: Slots
) -> None:
    of = profile("transformers", "--device", "cpu")
    driver, slot = driver_for(of, program=(str(program("transformers")),)), places.new("candidate")
    serve(driver, launch("v1", of), slot)
    found = identify(slot.endpoint)  # as a suite asks, which knows no slot
    assert ("transformers", RECIPES["transformers"].version) == (found.engine, found.version)
    assert hold_against(found, slot.endpoint, manifest_of(MODELS / "v1")).proven
    assert hold_against(found, slot.endpoint, manifest_of(MODELS / "v2")).contradicted
    assert "cpu" == driver.fingerprint(slot).device
    drained = driver.drain(slot, seconds=0.3)
    assert (False, None) == (drained.idle, driver.in_flight(slot))
    assert "does not say" in drained.why


def test_transformers_gives_no_parsed_call_for_a_format_that_the_tokenizer_does_not_describe(
    program: Callable[[str], Path], places: Slots
) -> None:
    of = profile("transformers", "--device", "cpu")
    driver, slot = driver_for(of, program=(str(program("transformers")),)), places.new("candidate")
    driver.stage(launch("v3", of), slot)
    driver.start(slot)
    found = driver.ready(slot, seconds=180)
    assert (False, False) == (found.ready, found.parses_calls), found.why


def test_llama_cpp_python_is_ready_and_says_that_it_parses_no_calls(
    program: Callable[[str], Path], places: Slots
) -> None:
    of = profile("llama-cpp-python")
    python = str(program("llama-cpp-python"))
    driver = driver_for(of, program=(python, "-m", "llama_cpp.server"))
    slot = places.new("candidate")
    driver.stage(launch("v1", of), slot)
    driver.start(slot)
    found = driver.ready(slot, seconds=180)
    assert (True, False) == (found.ready, found.parses_calls)
    assert "no parsed tool call" in found.why
    assert driver.identity(slot, manifest_of(MODELS / "v1")).proven
    assert driver.identity(slot, manifest_of(MODELS / "v2")).contradicted
    said = identify(slot.endpoint)
    assert ("llama-cpp-python", "0.3.36", "demo/tiny") == (said.engine, said.version, said.first_model)
